"""Small random problems of every loss, and where the real data are. The benchmark of the GPU uses
them too."""

import pathlib

import numpy as np
import scipy.sparse as sp

from fasthoag.losses import COUNTS, LOSSES, POSITIVE, REAL

DATA = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"


def sparse_matrix(rng, n_rows, n_features, density=0.3):
    """CSR whose columns range from full to empty, with empty rows among others; values that float32
    holds exactly, so that every dtype is the same problem."""
    share = np.minimum(1, density * 2 ** rng.normal(size=n_features))
    share[:: max(3, n_features // 4)] = 0
    X = rng.normal(size=(n_rows, n_features)) * (rng.random((n_rows, n_features)) < share)
    X[:: max(5, n_rows // 4)] = 0
    return sp.csr_matrix(X.astype(np.float32).astype(np.float64))


def tall_matrix(dtype="float64"):
    """Columns from full (many segments of the transpose) to empty, rows of 0 to 700 entries (a
    segment of X)."""
    rng = np.random.default_rng(0)
    share = np.r_[1, 0.5, 0.2, 0, 0.03 * np.ones(796)]
    X = rng.normal(size=(3000, 800)) * (rng.random((3000, 800)) < share)
    X[::5] = 0
    X[7] = rng.normal(size=800)
    return sp.csr_matrix(X.astype(dtype))


def targets(loss, score, rng):
    """Targets in the domain of the loss that follow `score` with noise."""
    noisy = score + rng.normal(size=len(score)) * max(1.0, 0.7 * score.std())
    if LOSSES[loss].is_classification:
        return np.where(noisy > 0, 1.0, -1.0)
    if LOSSES[loss].domain is REAL:
        return noisy
    mean = np.exp(score / max(1.0, score.std()))
    return (
        rng.poisson(mean).astype(float)
        if LOSSES[loss].domain is COUNTS
        else mean * (0.1 + rng.gamma(2.0, 0.5, len(score)))
    )


def has_log_link(loss):
    """exp(prediction) is the mean: predictions of hundreds overflow."""
    return LOSSES[loss].domain in (COUNTS, POSITIVE)


def sparse_problem(loss, seed, n_rows=80, n_features=15, density=0.4):
    """``X, y`` whose best strength is neither 0 nor infinite."""
    rng = np.random.default_rng(seed)
    X = sparse_matrix(rng, n_rows, n_features, density)
    return X, targets(loss, 0.3 + X @ rng.normal(size=n_features), rng)


def real_data(*parts):
    """Path of a real data file; skips the test when this machine has none."""
    import pytest  # which the benchmark has no need of

    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no real data at {path}; they are not part of the project")
    return path
