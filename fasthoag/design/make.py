"""The design for what the user has: an array or a matrix, here or on a GPU."""

import numpy as np

from fasthoag.design.blocks import is_in_blocks
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.rows import is_design, is_on_device

MOSTLY_ZERO_SIZE, MOSTLY_ZERO_SHARE = 1_000_000, 0.25


def make_design(
    X,
    *,
    fit_intercept=False,
    n_threads=None,
    low_memory=False,
    deterministic=False,
    device=None,
    alike=None,
):
    """A `CpuDesign` or `GpuDesign` for an array or sparse matrix, where `device` says or else where
    X is; a `CpuDesign` for a list of blocks; a Design is returned as it is. A large array that is
    mostly zeros becomes a sparse matrix, unless memory is short: MNIST, a fifth of it not 0, is 4
    times as fast that way. Columns whose squares double precision does not hold are refused.
    `alike` tells on the CPU which may be held as one, see `CpuDesign`; a design in which others are
    is made anew."""
    if not (device is None or (isinstance(device, str) and device in ("cpu", "gpu"))):
        raise ValueError(f"device must be 'cpu', 'gpu' or None for where X is; got {device!r}")
    if is_design(X):
        if device not in (None, X.where):
            raise ValueError(
                f"X is a design on the {X.where.upper()}, and device={device!r}. Leave device out, "
                "or pass the matrix itself"
            )
        for name, value in (("low_memory", low_memory), ("deterministic", deterministic)):
            if value:
                raise ValueError(
                    f"X is a design, which was made with or without {name}; {name}=True cannot "
                    "change it. Give it to the design, or pass the matrix itself"
                )
        return X.suited_to(alike) if alike is not None and X.compression is not None else X
    is_here = is_on_device(X)
    if is_in_blocks(X):
        check_device(X, device)
    if is_here and device == "cpu":
        raise ValueError(
            "X is on the GPU, and device='cpu'. Pass X.get(), or leave device out to use the GPU"
        )
    blocks = X if is_in_blocks(X) else [X]
    if not low_memory and is_mostly_zero(blocks):
        from scipy.sparse import csr_matrix

        blocks = [csr_matrix(one) for one in blocks]
        X = blocks if is_in_blocks(X) else blocks[0]
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
        alike=alike,
    )


def check_device(blocks, device, name="X"):
    """Raises ValueError for blocks of rows that are, or should be, on a GPU."""
    if device == "gpu" or any(is_on_device(one) for one in blocks):
        raise ValueError(
            f"{name} is a list of blocks, which the GPU does not take. Join them with "
            "scipy.sparse.vstack or numpy.concatenate, or those on the GPU with the same of CuPy"
        )


def is_mostly_zero(blocks):
    """Whether arrays are large and have few values that are not 0; a hundred rows tell first."""
    is_array = (
        isinstance(X, np.ndarray)
        and not isinstance(X, np.ma.MaskedArray)
        and X.ndim == 2
        and X.dtype.kind == "f"
        for X in blocks
    )
    if not all(is_array) or sum(X.size for X in blocks) < MOSTLY_ZERO_SIZE:
        return False
    step = max(1, sum(len(X) for X in blocks) // 100)
    return all(
        sum(map(np.count_nonzero, some)) <= MOSTLY_ZERO_SHARE * sum(X.size for X in some)
        for some in ([X[::step] for X in blocks], blocks)
    )
