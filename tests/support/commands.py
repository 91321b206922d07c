"""The command line as tests use it."""

import json

import numpy as np
import pytest
import scipy.sparse
from typer.testing import CliRunner

import fasthoag
from fasthoag import cli
from fasthoag.io import data_set


def run(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], prog_name="fasthoag")


def run_json(*args):
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def assert_fails(result, *words):
    """One sentence on stderr, nothing on stdout, exit code 1."""
    assert result.exit_code == 1, result.output
    assert result.stdout == "", result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("fasthoag: ")
    assert "internal error" not in result.stderr
    for word in words:
        assert word in result.stderr


def make_rows(n_rows, seed, loss="logistic", labels=(-1, 1), n_features=12):
    """Sparse rows in class order, and the labels of a model with noise."""
    rng = np.random.default_rng(seed)
    X = scipy.sparse.random(n_rows, n_features, density=0.5, format="csr", rng=rng)
    z = X @ np.linspace(-4, 4, n_features) + 0.5
    if loss == "squared":
        return X, z + rng.normal(size=n_rows)
    y = np.where(rng.random(n_rows) < 1 / (1 + np.exp(-z)), labels[1], labels[0])
    order = np.argsort(y)
    return X[order], y[order]


def forbid_work(monkeypatch):
    for owner, name in ((data_set, "read_together"), (fasthoag, "load_model"), (fasthoag, "hoag")):
        monkeypatch.setattr(owner, name, lambda *args, **options: pytest.fail("work was done"))
