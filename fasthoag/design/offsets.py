"""Columns far from 0 for their spread, such as years, timestamps and temperatures in kelvin. Beside
an intercept they are held less a constant: products with them as they are would be all offset. So
are constants that are large beside the other columns, or the only columns there are."""

import warnings
from functools import partial, reduce

import numpy as np
import scipy.sparse as sp

from fasthoag.design.blocks import blocks_here
from fasthoag.design.coefficients import Shift

FAR = 100.0  # spreads from 0
LARGE = (
    1e4  # of a constant, in sizes of the other columns: its square is lost beside the intercept's
)
N_SAMPLE = 512  # rows that tell which columns may be far at all
LEAST_DIGITS = 32  # spacings of the dtype in a spread


def offset_map(X):
    """`common_offset_map` of an array or a CSR matrix."""
    return common_offset_map(blocks_here([X]))


def common_offset_map(blocks, numbers=None):
    """The `Shift` of the columns stored in every row whose mean is more than `FAR` spreads from 0,
    or that are constants more than `LARGE` times the size of the other columns, by a number that
    the dtype of X holds; None where there is none.

    `blocks` are `Blocks` of arrays, or of CSR matrices with sorted rows; `numbers` what the user
    calls their columns, where that is not their order. A few rows tell which
    columns may be: of text that is none, and nothing more is read. Their moments are those of
    differences from the first row, which lose no digits, and add up over blocks.

    Warns
    -----
    UserWarning
        When the values of such a column differ by little more than rounding.
    """
    n, p = blocks.shape
    rows = np.linspace(0, n - 1, min(n, N_SAMPLE)).astype(np.int64)  # rising
    sample = blocks.pick(rows)
    found = [one for one in blocks.each(stored_everywhere, sample) if one is not None]
    columns = reduce(partial(np.intersect1d, assume_unique=True), found)
    if len(columns) == 0 or n < 2:
        return None
    columns = columns[may_be_far(*moments(blocks, columns, len(rows), sample))]
    if len(columns) == 0:
        return None
    mean, spread = moments(blocks, columns, n)  # of columns that are stored everywhere, else NaN
    is_far = np.abs(mean) > FAR * spread
    is_constant = is_far & (spread == 0)
    if is_constant.any():
        size = size_of_others(blocks, columns[is_far], len(rows), sample)
        is_far &= ~is_constant | (np.abs(mean) > LARGE * size)
    if not is_far.any():
        return None
    columns, mean, spread = columns[is_far], mean[is_far], spread[is_far]
    shift = np.zeros(p)
    shift[columns] = mean.astype(blocks.dtype)
    is_spread = spread > 0
    names = columns if numbers is None else numbers[columns]
    warn_of_digits(blocks.dtype, names[is_spread], mean[is_spread], spread[is_spread])
    return Shift(shift)


def size_of_others(blocks, columns, n_rows, sample):
    """The size (root mean square) of the columns that are none of these, over some rows."""
    n_others = blocks.n_features - len(columns)
    if n_others == 0:
        return 0.0
    total = sum(blocks.each(squares_of_others, columns, sample))
    return float(np.sqrt(total / (n_rows * n_others)))


def squares_of_others(X, columns, rows):
    """The sum of squares of the columns that are none of these, over some rows."""
    some = X[rows]
    if sp.issparse(some):
        values = some.data[~np.isin(some.indices, columns)].astype(np.float64)
    else:
        values = np.delete(some, columns, axis=1).astype(np.float64)
    return (values * values).sum()


def warn_of_digits(dtype, columns, mean, spread):
    """Warns of the column whose values differ by little more than rounding, if there is one."""
    if len(columns) == 0:
        return
    spacing = np.spacing(np.abs(mean).astype(dtype)).astype(np.float64)
    worst = int(np.argmax(spacing / spread))
    if spread[worst] < LEAST_DIGITS * spacing[worst]:
        warnings.warn(
            f"column {columns[worst]} of X has values about {mean[worst]:.6g} that differ by "
            f"{spread[worst]:.2g}, and {dtype} holds them to {spacing[worst]:.2g} there: few or "
            "none of their digits are left. Subtract a constant from it, in float64, first",
            UserWarning,
            stacklevel=7,
        )


def may_be_far(mean, spread):
    """Whether the columns of a sample may be more than `FAR` spreads from 0 in all rows."""
    return np.abs(mean) > 0.3 * FAR * spread


def stored_everywhere(X, rows):
    """Columns that all of these rows store; None of no rows."""
    if len(rows) == 0:
        return None
    if not sp.issparse(X):
        return np.arange(X.shape[1])
    found = None
    for i in rows:
        stored = X.indices[X.indptr[i] : X.indptr[i + 1]]
        found = stored if found is None else np.intersect1d(found, stored, assume_unique=True)
        if len(found) == 0:
            break
    return np.sort(found).astype(np.int64)


def moments(blocks, columns, n_rows, rows=None):
    """Mean and standard deviation of columns over these rows (all), NaN where a row does not store
    the column."""
    pivot, *_ = blocks.each(first_values, columns)
    found = blocks.each(sums_about, columns, pivot, rows)
    total, squares = (sum(one) for one in zip(*found, strict=True))
    mean = total / n_rows
    return pivot + mean, np.sqrt(np.maximum(squares / n_rows - mean * mean, 0.0))


def first_values(X, columns):
    """What the first row has in these columns."""
    return stored_values(X[:1], columns).ravel()


def sums_about(X, columns, pivot, rows):
    """Sums of differences from `pivot` and of their squares over these rows (all)."""
    n = X.shape[0] if rows is None else len(rows)
    step, total, squares = max(1, (1 << 20) // len(columns)), 0.0, 0.0
    for k in range(0, n, step):
        some = X[k : k + step] if rows is None else X[rows[k : k + step]]
        apart = stored_values(some, columns) - pivot
        total, squares = total + apart.sum(axis=0), squares + (apart * apart).sum(axis=0)
    return total, squares


def stored_values(X, columns):
    """These columns as an array, NaN where a row does not store the column."""
    some = X[:, columns]
    if not sp.issparse(some):
        return some.astype(np.float64)
    some.sort_indices()
    full = np.bincount(some.indices, minlength=len(columns)) == some.shape[0]
    values = some.toarray().astype(np.float64)
    values[:, ~full] = np.nan
    return values
