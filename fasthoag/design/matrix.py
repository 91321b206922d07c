"""What X may be: formats that kernels read, values that double precision holds."""

import numpy as np
import scipy.sparse as sp

from fasthoag import _core
from fasthoag.design.blocks import (
    check_kinds,
    is_in_blocks,
    shape_of,
)
from fasthoag.design.rows import is_on_device
from fasthoag.design.structure import sound_csr
from fasthoag.kinds import numbers_of
from fasthoag.threads import n_threads_of

# Sizes of values of X, targets and weights within which double precision (1e-308 to 1e308) holds
# the squares of their sums: (s x²)² in solvers, (s x y)² in norms of gradients. The least is that
# of the largest of a column.
LEAST, MOST = 1e-50, 1e50
SIZES = {"least": LEAST, "most": MOST}
CHANGED = (
    "X was changed after the problem was made of it, whose values are read in place. Make a new "
    "problem of the changed X, or make it of X.copy()"
)


def check_matrix(X, name="X", *, least=0.0, most=np.inf):
    """X as C-ordered float array or canonical CSR matrix with float32 or float64 values, not copied
    when it is one already. No value may be beyond `most` in size, no column all below `least`."""
    X = in_format(X, name)
    check_sizes(X, sizes_of(X), name, least, most)
    return X


def check_blocks(X, name="X", *, least=0.0, most=np.inf):
    """The same of a matrix, in a list, or of a list of blocks, whose columns are those of all."""
    if not is_in_blocks(X):
        return [check_matrix(X, name, least=least, most=most)]
    shape_of(X, name)
    blocks = [in_format(one, f"{name}[{i}]") for i, one in enumerate(X)]
    check_kinds([sp.issparse(one) for one in blocks], [one.dtype for one in blocks], name)
    found = [sizes_of(one) for one in blocks]
    for i, (one, (_, largest)) in enumerate(zip(blocks, found, strict=True)):
        if not largest < np.inf:
            check_finite(one.data if sp.issparse(one) else one, f"{name}[{i}]")
    smallest, largest = zip(*found, strict=True)
    if max(largest) > most or min(smallest) < least:
        sizes = np.max([column_sizes(one) for one in blocks], axis=0)
        check_column_sizes(sizes, name, least, most)
    return blocks


def sizes_of(X):
    """The smallest size of a value of X that is not 0 and the largest, NaN beside what is not
    finite."""
    values = np.ascontiguousarray(X.data if sp.issparse(X) else X)
    return _core.sizes(values, n_threads_of(None))


def in_format(X, name):
    """X in a format that the kernels read; see `check_matrix`."""
    if is_on_device(X):
        raise ValueError(
            f"{name} is on the GPU and the problem is not. Pass {name}.get(), or device='gpu' with "
            "the problem"
        )
    if sp.issparse(X):
        X = sound_csr(X, name)
        if X.dtype not in (np.float32, np.float64):
            X = X.astype(np.float64)
        # unsorted or duplicate column numbers: summed in a copy, the caller's matrix stays as it is
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    else:
        X = numbers_of(X, name)
        if X.ndim != 2:
            raise ValueError(
                f"{name} must have 2 dimensions; got shape {X.shape}. Reshape one feature with "
                "X.reshape(-1, 1)"
            )
        if X.dtype not in (np.float32, np.float64):
            X = X.astype(np.float64)
        X = np.ascontiguousarray(X)
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(f"{name} must have at least one row and one feature; got shape {X.shape}")
    return X


def check_sizes(X, found, name, least, most):
    """Raises ValueError where X has a NaN or an infinity, values beyond `most` or columns below
    `least`; `found` are its smallest size that is not 0 and its largest, NaN beside what is not
    finite."""
    smallest, largest = found
    if not largest < np.inf:
        check_finite(X.data if sp.issparse(X) else X, name)
    if largest > most or smallest < least:
        check_column_sizes(column_sizes(X), name, least, most)


def check_column_sizes(sizes, name, least, most):
    """Raises ValueError where the largest size of a column is beyond `most` or below `least`."""
    is_small = (sizes > 0) & (sizes < least)  # beside large ones small values do no harm
    is_bad = is_small | (sizes > most)
    if is_bad.any():
        j = int(is_bad.argmax())
        what, limit = ("no value above", least) if is_small[j] else ("values beyond", most)
        more = "" if is_bad.sum() == 1 else f", as have {is_bad.sum() - 1} other columns"
        raise ValueError(
            f"{name} has {what} {limit:g} in column {j} (largest: {sizes[j]:.3g}){more}, and "
            "double precision cannot hold their squares. Scale such columns to about 1 first "
            "(scikit-learn: MaxAbsScaler), or leave them out"
        )


def column_sizes(X):
    """The largest size of a value in every column, (n_features,)."""
    if sp.issparse(X):
        sizes = np.zeros(X.shape[1])
        np.maximum.at(sizes, X.indices, np.abs(X.data))
        return sizes
    step = max(1, (1 << 22) // X.shape[1])  # some rows at a time
    parts = (np.abs(X[i : i + step]).max(axis=0) for i in range(0, X.shape[0], step))
    return np.max(list(parts), axis=0).astype(np.float64)


def check_numbers(values, name, *, trains=True, least=LEAST, most=MOST):
    """Raises ValueError where targets or weights are too large for their squares, or (where they
    train) all too small: beyond limits of double precision, or of single."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest > most or (trains and 0 < largest < least):
        what, limit = ("values beyond", most) if largest > most else ("no value above", least)
        precision = "double" if most == MOST else "single"
        raise ValueError(
            f"{name} has {what} {limit:g} (largest: {largest:.3g}), and {precision} precision "
            f"cannot hold their squares. Multiply {name} by a constant first"
        )


def check_finite(values, name):
    """Raises ValueError when there is a NaN or an infinity, naming the argument and how many."""
    with np.errstate(all="ignore"):
        # one fast read; an overflowing sum is looked at again
        is_suspect = values.size and not np.isfinite(values.sum(dtype=np.float64))
    if is_suspect:
        n_bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if n_bad:
            kind = "NaN" if np.isnan(values).any() else "infinity"
            raise ValueError(
                f"{name} contains NaN or infinity ({n_bad} values, {kind} among them). Remove or "
                "impute them first"
            )


def arrays_of(blocks):
    """The arrays that blocks consist of."""
    return [
        part
        for one in blocks
        for part in ((one.data, one.indices, one.indptr) if sp.issparse(one) else (one,))
    ]
