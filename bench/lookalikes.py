"""Data for machines that have none, made to look like known sets, and 20 newsgroups where it is."""

import os
from pathlib import Path

import numpy as np
import scipy.sparse as sp


def read_news():
    """20 newsgroups where the files are, else a look-alike; (X, y, X_val, y_val, name)."""
    from fasthoag import load_svmlight

    folder = (
        Path(
            os.environ.get("FASTHOAG_DATA")
            or Path(__file__).resolve().parents[2] / "shared" / "data"
        )
        / "20newsgroups"
    )
    paths = [folder / f"20news-bydate.counts.{part}.bz2" for part in ("train", "test")]
    if all(path.exists() for path in paths):
        X, y = load_svmlight(str(paths[0]))
        X_val, y_val = load_svmlight(str(paths[1]), n_features=X.shape[1])
        return (
            unit_rows(X),
            np.where(y > 10, 1.0, -1.0),
            unit_rows(X_val),
            np.where(y_val > 10, 1.0, -1.0),
            "20 newsgroups",
        )
    X, y = text_like(18846, 130107, 150)
    return X[:11314], y[:11314], X[11314:], y[11314:], "look-alike of 20 newsgroups"


def unit_rows(X):
    norms = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    return sp.diags(1 / np.where(norms > 0, norms, 1)) @ X.tocsr()


def text_like(n_rows, n_features, n_words, seed=0):
    """Rows of unit norm of `n_words` draws with frequency ~ 1/rank, and labels of a logistic
    model."""
    rng = np.random.default_rng(seed)
    rank = np.exp(np.log(n_features + 1) * rng.random(n_rows * n_words)).astype(np.int64) - 1
    where = np.repeat(np.arange(n_rows), n_words), rng.permutation(n_features)[rank % n_features]
    X = sp.csr_matrix((np.ones(len(rank)), where), shape=(n_rows, n_features))
    X = sp.csr_matrix(unit_rows(X))
    z = X @ rng.normal(size=n_features)
    return X, np.where(rng.random(n_rows) < 1 / (1 + np.exp(-3 * z / z.std())), 1.0, -1.0)


def a9a_like(n_rows, seed=0):
    """14 of 123 binary features a row, as a9a."""
    rng = np.random.default_rng(seed)
    columns = np.column_stack(
        [rng.integers(9 * g, 9 * g + min(9, 123 - 9 * g), n_rows) for g in range(14)]
    )
    X = sp.csr_matrix(
        (np.ones(columns.size), columns.ravel(), np.arange(0, columns.size + 1, 14)),
        shape=(n_rows, 123),
    )
    z = X @ rng.normal(size=123)
    return X, np.where(rng.random(n_rows) < 1 / (1 + np.exp(-z)), 1.0, -1.0)


def friedman(n, seed=0):
    """Rows (n, 10) of Friedman's first function, standardised, and its noisy values."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 10))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2
    y += 10 * X[:, 3] + 5 * X[:, 4] + rng.normal(size=n)
    return (X - 0.5) * 12**0.5, y
