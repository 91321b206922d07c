"""X on the device as its kernels read it, and the way there."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag import _core
from fasthoag.design.gpu import columns
from fasthoag.design.gpu.columns import Entries, Order
from fasthoag.design.gpu.launches import N_THREADS, n_blocks
from fasthoag.design.gpu.layout import Layout, only_ones, share_rows
from fasthoag.design.gpu.memory import upload
from fasthoag.design.rows import to_host
from fasthoag.threads import n_threads_of

LEAST_TILE, MOST_TILE = 256, 8192  # entries of a block


@dataclass(frozen=True, eq=False)
class Stored:
    """X on the device.

    Products with X' read its transpose by rows, `columns`. Where there is none, `columns` has the
    column of ones of an intercept only, and products with X' scatter the entries of `rows`.
    """

    device: Any
    shape: tuple
    has_intercept: bool
    order: Any  # `Order` of columns by frequency, or None for the user's order
    counts: Any  # entries of every column of the user where they are known, else None
    rows: Layout
    columns: Layout
    row_max: Any  # (n_rows,) largest size in every row where there is no transpose, else None
    types: tuple  # definitions of the types of stored values and column numbers

    @property
    def xp(self):
        return self.device.xp

    @property
    def has_transpose(self):
        return self.row_max is None


def store(device, X, plan, has_intercept, like=None):
    """X on the device, after a `Plan`; with columns in the order of `like`, another `Stored`."""
    xp, sizes = device.xp, plan.sizes
    (n, p), n_ones = sizes.shape, sizes.shape[0] if has_intercept else 0
    # of X only, so that the same sums are added in the same order on every device
    tile = int(min(MOST_TILE, max(LEAST_TILE, sizes.n_stored // 1024)))
    types = (
        ("FH_VALUE", "float" if sizes.dtype == np.float32 else "double"),
        ("FH_INDEX", "int" if sizes.index_type == np.int32 else "i64"),
    )
    order, counts = None if like is None else like.order, None
    if sizes.is_sparse:
        entries = csr_entries(xp, X, sizes)
        counts = counts_of(xp, X, entries, plan)
        if like is None and plan.renumbers:
            order = Order(*map(xp.asarray, _core.frequency_order(counts)))
        if order is not None:
            entries = renumbered(xp, entries, order, plan)
    else:
        entries = dense_entries(xp, X, sizes, order)
    rows = share_rows(xp, entries, n, 0, tile)
    if not plan.has_transpose:
        turned, row_max = only_ones(xp, entries.data, p, n_ones, tile), xp.empty(n)
        device.module("scatter.cu", types).launch(
            "largest_in_rows", n_blocks(n), N_THREADS, n, entries.indptr, entries.data, row_max
        )
    else:
        row_max = None
        if sizes.is_sparse:
            by_place = counts if order is None else counts[to_host(order.column)]
            transposed = columns.transpose(xp, entries, xp.asarray(by_place), sizes.chunk)
        else:
            transposed = dense_transpose(xp, entries, sizes.shape)
        turned = share_rows(xp, transposed, p, n_ones, tile)
    return Stored(device, sizes.shape, has_intercept, order, counts, rows, turned, row_max, types)


def csr_entries(xp, X, sizes):
    """Row pointers, column numbers and values of a sound sparse matrix on the device."""
    indptr, indices, data = xp.asarray(X.indptr, dtype=np.int64), X.indices, X.data
    if not sizes.is_given_on_device and X.indptr[-1] != len(indices):
        indices, data = indices[: X.indptr[-1]], data[: X.indptr[-1]]
    indices, data = upload(xp, indices, sizes.index_type), upload(xp, data, sizes.dtype)
    return Entries(indptr, indices, data)


def counts_of(xp, X, entries, plan):
    """Entries of every column, counted where X came from. None where they cost a sort on the device
    and are not needed yet."""
    sizes, p = plan.sizes, plan.sizes.shape[1]
    if not sizes.is_given_on_device:
        indices = np.ascontiguousarray(X.indices[: X.indptr[-1]])
        return _core.count_columns(indices, p, n_threads_of(None))
    if plan.renumbers:
        return to_host(columns.count_columns(xp, entries.indices, p, sizes.chunk))
    return None


def renumbered(xp, entries, order, plan):
    """The same matrix with columns in this order, in place but where it came on the device: that is
    copied as far as it changes."""
    sizes, (indptr, indices, data) = plan.sizes, entries
    if sizes.is_given_on_device:
        indices, data = indices.copy(), data.copy() if plan.is_own else data
    columns.renumber(indices, order.rank.astype(sizes.index_type), sizes.chunk)
    entries = Entries(indptr, indices, data)
    if plan.is_own:
        columns.sort_rows(xp, entries, sizes.shape[1], sizes.chunk)
    return entries


def dense_entries(xp, X, sizes, order):
    n, p = sizes.shape
    if not sizes.is_given_on_device:
        X = upload(xp, np.ravel(X), sizes.dtype).reshape(n, p)
    data = xp.ascontiguousarray(X if order is None else X[:, order.column])
    return Entries(xp.arange(n + 1) * p, None, data.reshape(-1))


def dense_transpose(xp, entries, shape):
    n, p = shape
    data = xp.ascontiguousarray(entries.data.reshape(n, p).T).reshape(-1)
    return Entries(xp.arange(p + 1) * n, None, data)
