"""Every kind of Design by name, small random problems, and where the real data are."""

import pathlib

import numpy as np
import pytest
import scipy.sparse as sp
from blocks import BlockDesign
from host_device import HostDevice

from fasthoag.design import to_host
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.gpu import GpuDesign, find_device
from fasthoag.design.reference import ReferenceDesign
from fasthoag.losses import COUNTS, LOSSES, POSITIVE, REAL

DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
DTYPES = ("float32", "float64")
EPS = np.finfo(np.float64).eps


def dense(X):
    return X.toarray() if sp.issparse(X) else X


def device():
    """The GPU of this machine, or where there is none the CPU in its place, running the same
    kernels."""
    try:
        return find_device()
    except ValueError:
        return HostDevice()


DEVICE = device()


def strict_design(X, fit_intercept=False):
    import array_api_strict  # NumPy without anything that is not in the array API standard

    return ReferenceDesign(dense(X), fit_intercept=fit_intercept, xp=array_api_strict)


# name -> factory(X, fit_intercept); one thread: small problems, and the tests of threads are in
# test_passes.py and test_hoag.py
DESIGNS = {
    "cpu sparse": lambda X, fit_intercept=False: CpuDesign(
        X, fit_intercept=fit_intercept, n_threads=1
    ),
    "cpu sparse low_memory": lambda X, fit_intercept=False: CpuDesign(
        X, fit_intercept=fit_intercept, n_threads=1, low_memory=True
    ),
    "cpu sparse deterministic": lambda X, fit_intercept=False: CpuDesign(
        X, fit_intercept=fit_intercept, n_threads=1, deterministic=True
    ),
    "cpu dense": lambda X, fit_intercept=False: CpuDesign(
        dense(X), fit_intercept=fit_intercept, n_threads=1
    ),
    "cpu dense deterministic": lambda X, fit_intercept=False: CpuDesign(
        dense(X), fit_intercept=fit_intercept, n_threads=1, deterministic=True
    ),
    "gpu sparse": lambda X, fit_intercept=False: GpuDesign(
        X, fit_intercept=fit_intercept, device=DEVICE
    ),
    "gpu sparse one copy": lambda X, fit_intercept=False: GpuDesign(
        X, fit_intercept=fit_intercept, device=DEVICE, transpose=False
    ),
    "gpu dense": lambda X, fit_intercept=False: GpuDesign(
        dense(X), fit_intercept=fit_intercept, device=DEVICE
    ),
    "reference sparse": lambda X, fit_intercept=False: ReferenceDesign(
        X, fit_intercept=fit_intercept
    ),
    "reference dense": lambda X, fit_intercept=False: ReferenceDesign(
        dense(X), fit_intercept=fit_intercept
    ),
    "reference dense array_api_strict": strict_design,
    "reference in blocks": BlockDesign,
}


# All losses on one design with kernels and on one over the protocol: a loss sees predictions only,
# not how X is stored. Two on every other design.
ALL_LOSSES_ON = (
    ("cpu sparse", "float64"),
    ("gpu sparse", "float64"),
    ("reference sparse", "float64"),
)
FEW_LOSSES = ("squared", "logistic")


def with_losses(designs, fixture="make_a_design"):
    """Parametrises the design `fixture` and ``loss`` with the pairs that run; `designs` are (name,
    dtype)."""
    pairs = [
        pytest.param(design, loss, id=f"{' '.join(design)}-{loss}")
        for design in designs
        for loss in LOSSES
        if design in ALL_LOSSES_ON or loss in FEW_LOSSES
    ]
    return pytest.mark.parametrize((fixture, "loss"), pairs, indirect=[fixture])


def rows_for(name, X):
    """`X` in the format that design `name` holds: what a criterion on other rows is given."""
    return dense(X) if "dense" in name else X


def sparse_matrix(rng, n_rows, n_features, density=0.3):
    """CSR whose columns range from full to empty, with empty rows among others; values that float32
    holds exactly, so that every dtype is the same problem."""
    share = np.minimum(1, density * 2 ** rng.normal(size=n_features))
    share[:: max(3, n_features // 4)] = 0
    X = rng.normal(size=(n_rows, n_features)) * (rng.random((n_rows, n_features)) < share)
    X[:: max(5, n_rows // 4)] = 0
    return sp.csr_matrix(X.astype(np.float32).astype(np.float64))


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
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no real data at {path}; they are not part of the project")
    return path


def assert_near(actual, expected, scale=None, factor=1e3, message=""):
    """Equal up to ``factor * eps`` times the largest magnitude (or `scale`): rounding of sums of
    some hundred terms."""
    actual, expected = to_host(actual), to_host(expected)
    assert actual.shape == expected.shape, f"{message}: shape {actual.shape} for {expected.shape}"
    scale = max(np.abs(expected).max(initial=0), 1e-300) if scale is None else scale
    np.testing.assert_allclose(actual, expected, rtol=0, atol=factor * EPS * scale, err_msg=message)
