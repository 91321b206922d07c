"""Columns of a CSR matrix on the device: counted, renumbered by frequency, sorted in every row, and
the transposed copy. All of it sorts some entries at a time, so that the scratch is a small part of
X whatever its size."""

from typing import Any, NamedTuple

import numpy as np


class Entries(NamedTuple):
    """A matrix by rows on the device."""

    indptr: Any
    indices: Any  # None: the matrix is dense
    data: Any


class Order(NamedTuple):
    """Columns by frequency, on the device: the column in every place, the place of every column."""

    column: Any
    rank: Any


def count_columns(xp, indices, n_cols, chunk):
    """Entries of every column. Counted by sorting too, because the histogram of CuPy takes
    gigabytes for a million columns."""
    counts, columns = xp.zeros(n_cols, dtype=np.int64), xp.arange(n_cols + 1)
    for a in range(0, len(indices), chunk):
        first = xp.searchsorted(xp.sort(indices[a : a + chunk]), columns)
        counts += first[1:] - first[:-1]
    return counts


def renumber(indices, rank, chunk):
    """Column numbers become their ranks, in place."""
    for a in range(0, len(indices), chunk):
        indices[a : a + chunk] = rank[indices[a : a + chunk]]


def sort_rows(xp, entries, n_cols, chunk):
    """Entries of every row by column number, in place: lanes side by side then read the same
    sectors of frequent features."""
    indptr, indices, data = entries
    for a in range(0, len(indices), chunk):
        b = min(a + chunk, len(indices))
        row = xp.searchsorted(indptr, xp.arange(a, b), side="right")
        order = xp.argsort((row - row[0]) * n_cols + indices[a:b])
        indices[a:b], data[a:b] = indices[a:b][order], data[a:b][order]


def transpose(xp, entries, counts, chunk):
    """The transpose by rows; `counts` are the entries of every column. It sorts `chunk` entries at
    a time, which takes about `memory.SCRATCH` bytes for each of them."""
    indptr, indices, data = entries
    nnz, columns = len(data), xp.arange(len(counts) + 1)
    t_indptr = xp.concatenate([xp.zeros(1, dtype=np.int64), xp.cumsum(counts)])
    t_indices, t_data = xp.empty(nnz, dtype=indices.dtype), xp.empty(nnz, dtype=data.dtype)
    following = t_indptr[:-1].copy()  # where the next entry of every column goes
    for a in range(0, nnz, chunk):
        b = min(a + chunk, nnz)
        number = xp.arange(b - a)
        key = xp.sort(indices[a:b].astype(np.int64) * (b - a) + number)  # by column, then by place
        column, place = key // (b - a), key % (b - a)
        first = xp.searchsorted(column, columns)
        to = following[column] + number - first[:-1][column]
        t_data[to] = data[a:b][place]
        t_indices[to] = (xp.searchsorted(indptr, place + a, side="right") - 1).astype(indices.dtype)
        following += first[1:] - first[:-1]
    return Entries(t_indptr, t_indices, t_data)
