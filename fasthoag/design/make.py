"""The design for what the user has: an array or a matrix, here or on a GPU."""

import numpy as np

from fasthoag.design.cpu import CpuDesign
from fasthoag.design.rows import is_on_device

MOSTLY_ZERO_SIZE, MOSTLY_ZERO_SHARE = 1_000_000, 0.25


def make_design(
    X, *, fit_intercept=False, n_threads=None, low_memory=False, deterministic=False, device=None
):
    """A `CpuDesign` or `GpuDesign` for an array or sparse matrix, where `device` says or else where
    X is; a Design is returned as it is. A large array that is mostly zeros becomes a sparse matrix,
    unless memory is short: MNIST, a fifth of it not 0, is 4 times as fast that way. Columns whose
    squares double precision does not hold are refused."""
    if device not in (None, "cpu", "gpu"):
        raise ValueError(f"device must be 'cpu', 'gpu' or None for where X is; got {device!r}")
    if hasattr(X, "place"):
        here = "gpu" if hasattr(X, "is_given_on_device") else "cpu"
        if device not in (None, here):
            raise ValueError(
                f"X is a design on the {here.upper()}, and device={device!r}. Leave device out, or "
                "pass the matrix itself"
            )
        return X
    is_here = is_on_device(X)
    if is_here and device == "cpu":
        raise ValueError(
            "X is on the GPU, and device='cpu'. Pass X.get(), or leave device out to use the GPU"
        )
    if (
        isinstance(X, np.ndarray)
        and X.ndim == 2
        and X.size >= MOSTLY_ZERO_SIZE
        and not low_memory
        and X.dtype.kind == "f"
    ):
        from scipy.sparse import csr_matrix

        probe = X[:: max(1, len(X) // 100)]
        if (
            np.count_nonzero(probe) <= MOSTLY_ZERO_SHARE * probe.size
            and np.count_nonzero(X) <= MOSTLY_ZERO_SHARE * X.size
        ):
            X = csr_matrix(X)
    if is_here or device == "gpu":
        from fasthoag.design.gpu import GpuDesign

        transpose = False if low_memory else "auto"
        return GpuDesign(X, fit_intercept=fit_intercept, transpose=transpose, trains=True)
    return CpuDesign(
        X,
        fit_intercept=fit_intercept,
        n_threads=n_threads,
        low_memory=low_memory,
        deterministic=deterministic,
        trains=True,
    )
