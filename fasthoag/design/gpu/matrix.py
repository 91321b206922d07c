"""What users give as X on a GPU, and what is checked of it."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from fasthoag.design.gpu.launches import N_THREADS, n_blocks
from fasthoag.design.matrix import check_finite, check_sizes
from fasthoag.design.rows import to_host


@runtime_checkable
class Csr(Protocol):
    """A matrix in compressed rows, of SciPy or CuPy."""

    indptr: Any
    indices: Any
    data: Any


@runtime_checkable
class SparseMatrix(Protocol):
    """A sparse matrix of any format."""

    format: str

    def tocsr(self): ...


def check_given(device, X, *, least=0.0, most=np.inf):
    """X on a GPU as the kernels read it; raises where that cannot be. No value may be beyond `most`
    in size, no column all below `least`."""
    if isinstance(X, SparseMatrix) and X.format != "csr":
        raise ValueError(
            f"X on the GPU must be CSR or dense; got format {X.format!r}. Use X.tocsr()"
        )
    is_sparse = isinstance(X, Csr)
    arrays = (X.data, X.indices, X.indptr) if is_sparse else (X,)
    if not all(device.holds(array) for array in arrays):
        raise ValueError(
            "X is on another GPU than the current device. Copy it, or choose its device with "
            "cupy.cuda.Device(number).use()"
        )
    values = arrays[0]
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(
            f"X must have 2 dimensions, at least one row and one feature; got shape {X.shape}"
        )
    if values.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"X on the GPU must have float32 or float64 values; got dtype {values.dtype}"
        )
    total = float(values.sum(dtype=np.float64))
    if total - total != 0:  # not finite; a sum that overflowed is told apart on the host
        check_finite(to_host(values), "X")
    if values.dtype == np.float64 and most < np.inf:  # float32 holds nothing that is out of range
        smallest, largest = extreme_sizes(device.xp, values)
        if not (smallest >= least and largest <= most):  # rarely, and looked at on the host
            check_sizes(X.get(), (smallest, largest), "X", least, most)
    check_if_sparse(X)
    # duplicates are summed in a copy, the caller's matrix stays as it is
    if is_sparse and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def check_if_sparse(X, name="X"):
    """Raises ValueError unless the arrays of X on the device, if it is CSR, are those of a matrix
    of its shape; see `fasthoag.design.structure`."""
    if not isinstance(X, Csr):
        return
    (n, p), indptr, indices = X.shape, X.indptr, X.indices
    is_whole = tuple(indptr.shape) == (n + 1,) and len(indices) == len(X.data)
    is_whole = is_whole and int(indptr[0]) == 0 and int(indptr[-1]) == len(indices)
    if not is_whole or bool((indptr[1:] < indptr[:-1]).any()):
        raise ValueError(
            f"{name} has row pointers that do not start at 0, decrease or do not end with its "
            "values. Make it anew from sound arrays"
        )
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < p:
        raise ValueError(
            f"{name} has column indices outside 0..{p - 1}. Make it anew from sound arrays"
        )


def fingerprint(device, values):
    """A number that differs when any of the values, or its place, does (csrc/cuda/fingerprint.cu);
    for the price of reading them once."""
    words = values.reshape((-1,)).view(np.int32)
    grid = n_blocks(len(words))
    sums = device.xp.zeros(grid * N_THREADS, dtype=np.int64)
    device.module("fingerprint.cu").launch("fingerprint", grid, N_THREADS, len(words), words, sums)
    return int(sums.sum())


def extreme_sizes(xp, values):
    """The smallest size of a value that is not 0 and the largest, as floats; some at a time."""
    flat, step, smallest, largest = xp.reshape(values, (-1,)), 1 << 24, np.inf, 0.0
    for k in range(0, flat.shape[0], step):
        sizes = xp.abs(flat[k : k + step])
        largest = max(largest, float(sizes.max()))
        smallest = min(smallest, float(xp.where(sizes > 0, sizes, np.inf).min()))
    return smallest, largest
