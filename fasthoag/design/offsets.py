"""Columns far from 0 for their spread, such as years, timestamps and temperatures in kelvin. Beside
an intercept they are held less a constant: products with them as they are would be all offset. So
are constants that are large beside the other columns, or the only columns there are."""

import warnings

import numpy as np
import scipy.sparse as sp

from fasthoag.design.coefficients import Shift

FAR = 100.0  # spreads from 0
LARGE = (
    1e4  # of a constant, in sizes of the other columns: its square is lost beside the intercept's
)
N_SAMPLE = 512  # rows that tell which columns may be far at all
LEAST_DIGITS = 32  # spacings of the dtype in a spread


def offset_map(X):
    """The `Shift` of the columns stored in every row whose mean is more than `FAR` spreads from 0,
    or that are constants more than `LARGE` times the size of the other columns, by a number that
    the dtype of X holds; None where there is none.

    X is an array, or a CSR matrix with sorted rows. A few rows tell which columns may be: of text
    that is none, and nothing more is read. Their moments are those of differences from the first
    row, which lose no digits.

    Warns
    -----
    UserWarning
        When the values of such a column differ by little more than rounding.
    """
    n, p = X.shape
    rows = np.unique(np.linspace(0, n - 1, min(n, N_SAMPLE)).astype(np.int64))
    columns = stored_everywhere(X, rows)
    if len(columns) == 0 or n < 2:
        return None
    columns = columns[may_be_far(*moments(X, columns, rows))]
    if len(columns) == 0:
        return None
    mean, spread = moments(X, columns)  # of columns that are stored everywhere, else NaN
    is_far = np.abs(mean) > FAR * spread
    is_constant = is_far & (spread == 0)
    if is_constant.any():
        is_far &= ~is_constant | (np.abs(mean) > LARGE * size_of_others(X, columns[is_far], rows))
    if not is_far.any():
        return None
    columns, mean, spread = columns[is_far], mean[is_far], spread[is_far]
    shift = np.zeros(p)
    shift[columns] = mean.astype(X.dtype)
    warn_of_digits(X, columns[spread > 0], mean[spread > 0], spread[spread > 0])
    return Shift(shift)


def size_of_others(X, columns, rows):
    """The size (root mean square) of the columns that are none of these, over some rows."""
    n_others = X.shape[1] - len(columns)
    if n_others == 0:
        return 0.0
    some = X[rows]
    if sp.issparse(some):
        values = some.data[~np.isin(some.indices, columns)].astype(np.float64)
    else:
        values = np.delete(some, columns, axis=1).astype(np.float64)
    return float(np.sqrt((values * values).sum() / (len(rows) * n_others)))


def warn_of_digits(X, columns, mean, spread):
    """Warns of the column whose values differ by little more than rounding, if there is one."""
    if len(columns) == 0:
        return
    spacing = np.spacing(np.abs(mean).astype(X.dtype)).astype(np.float64)
    worst = int(np.argmax(spacing / spread))
    if spread[worst] < LEAST_DIGITS * spacing[worst]:
        warnings.warn(
            f"column {columns[worst]} of X has values about {mean[worst]:.6g} that differ by "
            f"{spread[worst]:.2g}, and {X.dtype} holds them to {spacing[worst]:.2g} there: few or "
            "none of their digits are left. Subtract a constant from it, in float64, first",
            UserWarning,
            stacklevel=6,
        )


def may_be_far(mean, spread):
    """Whether the columns of a sample may be more than `FAR` spreads from 0 in all rows."""
    return np.abs(mean) > 0.3 * FAR * spread


def stored_everywhere(X, rows):
    """Columns that all of these rows store."""
    if not sp.issparse(X):
        return np.arange(X.shape[1])
    found = None
    for i in rows:
        stored = X.indices[X.indptr[i] : X.indptr[i + 1]]
        found = stored if found is None else np.intersect1d(found, stored, assume_unique=True)
        if len(found) == 0:
            break
    return np.sort(found).astype(np.int64)


def moments(X, columns, rows=None):
    """Mean and standard deviation of columns over these rows (all), NaN where a row does not store
    the column."""
    rows = np.arange(X.shape[0]) if rows is None else rows
    step, n = max(1, (1 << 20) // len(columns)), len(rows)
    pivot, total, squares = None, 0.0, 0.0
    for k in range(0, n, step):
        some = X[rows[k : k + step]] if len(rows) < X.shape[0] else X[k : k + step]
        some = some[:, columns]
        if sp.issparse(some):
            some.sort_indices()
            full = np.bincount(some.indices, minlength=len(columns)) == some.shape[0]
            some = some.toarray().astype(np.float64)
            some[:, ~full] = np.nan
        pivot = some[0].astype(np.float64) if pivot is None else pivot
        apart = some - pivot
        total, squares = total + apart.sum(axis=0), squares + (apart * apart).sum(axis=0)
    mean = total / n
    return pivot + mean, np.sqrt(np.maximum(squares / n - mean * mean, 0.0))
