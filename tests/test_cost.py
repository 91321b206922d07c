"""What a search is said to take before it is begun, beside what it takes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

import fasthoag
from fasthoag import cost as cost_module

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fasthoag.__file__)))


def problem(n=200, p=30, **options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    return fasthoag.Problem(X, np.where(X[:, 0] + rng.normal(size=n) > 0, 1.0, -1.0), **options)


# ---- memory ----

MEASURE = """
import json, sys, warnings
from pathlib import Path
import numpy as np, scipy.sparse as sp, fasthoag

def high_water():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

def tuned(n, p, per_row, n_folds, loss, penalty, low_memory):
    rng = np.random.default_rng(0)
    steps = p // per_row
    columns = np.arange(per_row) * steps + (steps * rng.random((n, per_row)) ** 3).astype(int)
    starts = np.arange(0, n * per_row + 1, per_row, dtype=np.int32)
    parts = rng.random(n * per_row), columns.ravel().astype(np.int32), starts
    X = sp.csr_matrix(parts, (n, p)) if per_row < p else rng.normal(size=(n, p))
    z = X @ rng.normal(size=p)
    y = np.where(z > np.median(z), 1.0, -1.0)
    if loss == "multinomial":
        y = np.digitize(z, np.quantile(z, [1 / 3, 2 / 3])).astype(float)
    of_X = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if sp.issparse(X) else X.nbytes
    Path("/proc/self/clear_refs").write_text("5")
    before = high_water()
    penalty = getattr(fasthoag, penalty)(*[np.arange(p) % 4] * (penalty == "GroupRidge"))
    problem = fasthoag.Problem(X, y, loss=loss, penalty=penalty, low_memory=low_memory)
    criterion = fasthoag.KFold(n_folds)
    said = problem.cost(criterion).peak_bytes
    fasthoag.hoag(problem, criterion, max_iter=2, n_threads=2)
    return said, high_water() - before + of_X

warnings.simplefilter("ignore")
tuned(300, 40, 5, 3, "logistic", "Ridge", False)  # imports, threads
print(json.dumps(tuned(*json.loads(sys.argv[1]))))
"""

# rows, features, values a row, folds, loss, penalty, low_memory
SHAPES = {
    "wide": [30_000, 150_000, 50, 5, "logistic", "Ridge", False],
    "wide, in one copy": [30_000, 150_000, 50, 5, "logistic", "Ridge", True],
    "wide, few values": [30_000, 150_000, 10, 3, "logistic", "Ridge", False],
    "several strengths": [30_000, 100_000, 50, 3, "logistic", "GroupRidge", False],
    "classes": [20_000, 40_000, 60, 3, "multinomial", "Ridge", False],
    "narrow": [150_000, 100, 20, 5, "logistic", "Ridge", False],
    "dense": [150_000, 40, 40, 5, "logistic", "Ridge", False],
}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="asks /proc for memory")
@pytest.mark.parametrize("shape", SHAPES)
def test_peak_of_memory_is_within_30_percent(shape):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(SHAPES[shape])],
        env=os.environ | {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    said, measured = json.loads(done.stdout)
    assert 0.7 * measured <= said <= 1.3 * measured


OPTIONS = [{}, {"low_memory": True}, {"deterministic": True}]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("option", OPTIONS)
def test_bytes_of_an_array_are_those_of_its_values(dtype, option):
    X = np.random.default_rng(0).normal(size=(300, 40)).astype(dtype)
    n_bytes = fasthoag.Problem(X, np.sign(X[:, 0]), **option).cost(fasthoag.KFold(3)).n_bytes
    assert n_bytes["X"] == X.nbytes
    assert n_bytes["copies of it"] == X.nbytes * ("deterministic" in option)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("option", OPTIONS)
def test_bytes_of_a_matrix_are_those_of_its_arrays_and_copies(dtype, option):
    n, p = 500, 30_000
    X = sp.random(n, p, 0.01, "csr", dtype=dtype, random_state=0)
    y = np.random.default_rng(0).choice([-1.0, 1.0], n)
    n_bytes = fasthoag.Problem(X, y, **option).cost(fasthoag.KFold(3)).n_bytes
    assert n_bytes["X"] == X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    renumbered_and_transposed = X.nnz * (4 + 4 + X.data.itemsize) * ("low_memory" not in option)
    left = n_bytes["copies of it"] - renumbered_and_transposed
    assert 0 <= left <= 8 * (n + 1 + 4 * p)


def test_an_array_that_is_mostly_zeros_counts_beside_the_matrix_that_it_becomes():
    X = sp.random(1000, 2000, 0.01, "csr", random_state=0).toarray()
    y = np.random.default_rng(0).choice([-1.0, 1.0], 1000)
    n_bytes = fasthoag.Problem(X, y).cost(fasthoag.KFold(3)).n_bytes
    assert n_bytes["X"] == X.nbytes
    assert n_bytes["copies of it"] > 12 * np.count_nonzero(X)


def test_rows_of_a_criterion_count():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1000, 30)), rng.choice([-1.0, 1.0], 1000)
    alone = problem().cost(fasthoag.KFold(2))
    beside = problem().cost(fasthoag.HeldOut(X, y))
    assert beside.n_bytes["X"] == alone.n_bytes["X"] + X.nbytes
    assert beside.n_columns == 1


def test_more_folds_classes_and_strengths_take_more():
    def peak(n_folds=3, **options):
        return problem(**options).cost(fasthoag.KFold(n_folds)).peak_bytes

    assert peak() < peak(6) < peak(12)
    assert peak() < peak(penalty=fasthoag.GroupRidge(np.arange(30) % 5))


def test_too_little_memory_is_a_warning_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(cost_module, "memory_of_process", lambda: 1000)
    with pytest.warns(UserWarning, match="may use 1 kB. Use fewer folds") as caught:
        cost = problem().cost(fasthoag.KFold(3))
    assert not cost.fits
    assert caught[0].filename == __file__


# ---- passes and seconds ----


@pytest.mark.parametrize(
    ("penalty", "words"),
    [
        (fasthoag.Ridge(), "one strength"),
        (fasthoag.GroupRidge(np.arange(30) % 3), "up to 16 strengths"),
        (fasthoag.FeatureRidge(), "many strengths"),
    ],
)
def test_passes_are_those_of_searches_with_as_many_strengths(penalty, words):
    cost = problem(penalty=penalty).cost(fasthoag.KFold(3))
    assert words in cost.passes.source
    low, high = cost.seconds
    assert 0 < low < high == cost.passes.high * cost.seconds_per_pass
    assert words in str(cost)


@pytest.mark.parametrize("loss", ["logistic", "squared", "squared_hinge"])
def test_searches_with_one_strength_take_so_many_passes(loss):
    made = problem(n=2000, loss=loss)
    low, high, _ = made.cost(fasthoag.KFold(5)).passes
    assert 0.5 * low <= fasthoag.hoag(made, fasthoag.KFold(5)).n_passes <= 1.5 * high


def test_a_pass_is_measured_on_the_columns_that_the_folds_need(monkeypatch):
    widths, product = [], cost_module.Hessian.matvec
    monkeypatch.setattr(
        cost_module.Hessian, "matvec", lambda self, V: (widths.append(V.shape[1]), product(self, V))
    )
    cost = problem().cost(fasthoag.KFold(7))
    assert widths == [7, 7]
    assert cost.n_columns == 7


def test_a_price_changes_no_bit_of_the_search():
    made, criterion = problem(), fasthoag.KFold(3)
    before = fasthoag.hoag(made, criterion)
    made.cost(criterion)
    after = fasthoag.hoag(made, criterion)
    assert (before.theta, before.n_passes) == (after.theta, after.n_passes)


CRITERIA = [fasthoag.ApproximateLOO(), fasthoag.GCV(), fasthoag.BIC(), fasthoag.Evidence()]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda one: type(one).__name__)
def test_criteria_without_rows_have_a_price(criterion):
    cost = problem(loss="squared").cost(criterion)
    assert cost.peak_bytes > 0
    assert cost.seconds_per_pass > 0


def test_what_has_no_price_is_refused_by_name():
    with pytest.raises(TypeError, match="^criterion must be"):
        problem().cost(5)
    shards = fasthoag.ShardedDesign([np.eye(4), np.eye(4)])
    with pytest.raises(TypeError, match="cost counts what X takes .* ShardedDesign"):
        fasthoag.Problem(shards, np.tile([1.0, -1.0], 4)).cost(fasthoag.KFold(2))


# ---- the command ----


def run(*args):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    from typer.testing import CliRunner

    from fasthoag import cli

    return CliRunner().invoke(cli.app, [str(arg) for arg in args], prog_name="fasthoag")


@pytest.fixture
def train(tmp_path):
    (tmp_path / "train.txt").write_text(
        "".join(f"{1 - 2 * (i % 2)} 1:{i} 2:1\n" for i in range(20))
    )
    return tmp_path / "train.txt"


def test_dry_run_says_the_price_and_searches_nothing(train, monkeypatch):
    args = "tune", train, "--dry-run", "--out", train.with_name("model")
    run(*args)  # It is imported.
    monkeypatch.setattr(fasthoag, "hoag", None)
    result = run(*args)
    assert (result.exit_code, result.stderr) == (0, "")
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == ["memory", "pass", "passes", "time"]
    assert os.listdir(train.parent) == ["train.txt"]


def test_dry_run_as_json(train):
    result = run("tune", train, "--dry-run", "--json", "--cv", 4)
    found = json.loads(result.stdout)
    assert found["peak_bytes"] == sum(found["n_bytes"].values())
    assert (found["n_columns"], found["passes"], found["fits"]) == (4, [80, 280], True)


def test_dry_run_warns_where_memory_will_not_do(train, monkeypatch):
    monkeypatch.setattr(cost_module, "memory_of_process", lambda: 1000)
    result = run("tune", train, "--dry-run")
    assert result.exit_code == 0
    assert result.stderr.startswith("fasthoag: warning: the search takes about ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kernel", "rbf"], "--kernel rbf excludes --dry-run."),
        (["--device", "gpu"], "excludes gpu"),
    ],
)
def test_dry_run_of_what_has_no_price_is_refused(train, options, words):
    result = run("tune", train, "--dry-run", *options)
    assert result.exit_code == 2
    assert words in result.stderr
