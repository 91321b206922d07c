"""Every kind of Design by name, and which of them run what."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from fasthoag.design import to_host
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.gpu import GpuDesign, find_device
from fasthoag.design.reference import ReferenceDesign
from fasthoag.design.sharded import ShardedDesign
from fasthoag.losses import LOSSES
from support.host_device import HostDevice

DTYPES = ("float32", "float64")
EPS = np.finfo(np.float64).eps


def dense(X):
    return X.toarray() if sp.issparse(X) else X


def device():
    """The GPU of this machine and None, or where there is none the CPU in its place, running the
    same kernels, and what is missing."""
    try:
        return find_device(), None
    except ValueError as error:
        return HostDevice(), str(error)


DEVICE, NO_GPU = device()


def needs_gpu(test):
    """A test, or a class of tests, for a real device only."""
    return pytest.mark.gpu(pytest.mark.skipif(NO_GPU is not None, reason=str(NO_GPU))(test))


def strict_design(X, fit_intercept=False):
    import array_api_strict  # NumPy without anything that is not in the array API standard

    return ReferenceDesign(dense(X), fit_intercept=fit_intercept, xp=array_api_strict)


def cut_rows(X, n_blocks=3):
    """X in blocks of unequal numbers of rows, from 3 on one of them of one row."""
    n = X.shape[0]
    ends = {1: [], 2: [n // 3], 3: [n // 3, n // 3 + 1], 5: [n // 4, n // 4 + 1, n // 3, n - 2]}
    if n < 8:  # a row each
        return [X[i : i + 1] for i in range(n)]
    bounds = [0, *ends[n_blocks], n]
    return [X[a:b] for a, b in itertools.pairwise(bounds)]


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
    "cpu sparse in blocks": lambda X, fit_intercept=False: CpuDesign(
        cut_rows(X), fit_intercept=fit_intercept, n_threads=1
    ),
    "sharded sparse": lambda X, fit_intercept=False: ShardedDesign(
        cut_rows(X), fit_intercept=fit_intercept, n_threads=1
    ),
}


# for what is built on passes, which have tests with everything: every design of use once, and
# float32 where kernels differ
OF_USE = [
    (name, "float64") for name in DESIGNS if name not in ("cpu dense deterministic", "gpu dense")
] + [("cpu sparse", "float32"), ("cpu dense", "float32")]


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


class MakeDesign:
    """``make(X, fit_intercept)`` gives the design, ``make.rows(X)`` rows of the same format and
    dtype for a criterion."""

    def __init__(self, name, dtype):
        self.name, self.dtype = name, np.dtype(dtype)

    def __call__(self, X, fit_intercept=False):
        return DESIGNS[self.name](X.astype(self.dtype), fit_intercept)

    def rows(self, X):
        return rows_for(self.name, X.astype(self.dtype))


def assert_near(actual, expected, scale=None, factor=1e3, message=""):
    """Equal up to ``factor * eps`` times the largest magnitude (or `scale`): rounding of sums of
    some hundred terms."""
    actual, expected = to_host(actual), to_host(expected)
    assert actual.shape == expected.shape, f"{message}: shape {actual.shape} for {expected.shape}"
    scale = max(np.abs(expected).max(initial=0), 1e-300) if scale is None else scale
    np.testing.assert_allclose(actual, expected, rtol=0, atol=factor * EPS * scale, err_msg=message)
