"""How the rows of a matrix are shared among the blocks of a launch: see csrc/cuda/passes.cu."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.design.rows import to_host

# entries, and a quarter of a tile, from which a row has blocks of its own: a shorter one has a warp
LONG_ROW = 512
EMPTY_ROW = 8  # an empty row costs about as much as so many entries


@dataclass(frozen=True, eq=False)
class Layout:
    """A matrix by rows on the device, and how they are shared."""

    n_rows: int
    indptr: Any
    indices: Any  # None: the matrix is dense
    data: Any
    blocks: Any  # (n_blocks, 2): first and end row
    segments: Any  # (n_segments, 4) and
    long_rows: Any  # (n_long, 3), see `cut_rows`
    n_parts: int


def share_rows(xp, entries, n_rows, n_ones, tile):
    """The `Layout` whose blocks have about `tile` entries each. With `n_ones` there is one more row
    of so many ones: the column of ones of an intercept, transposed."""
    indptr = entries.indptr
    lengths = indptr[1:] - indptr[:-1]
    is_long = lengths > max(LONG_ROW, tile // 4)
    # rows of the same key share a block, and long rows have none
    key = (indptr[:-1] + EMPTY_ROW * xp.arange(n_rows)) // tile
    is_first = xp.ones(n_rows, dtype=bool)
    is_first[1:] = (key[1:] != key[:-1]) | is_long[1:] | is_long[:-1]
    first = xp.flatnonzero(is_first)
    end = xp.concatenate([first[1:], xp.asarray(np.array([n_rows]))])
    keep = xp.flatnonzero(~is_long[first])
    blocks = xp.ascontiguousarray(xp.stack([first[keep], end[keep]], axis=1).astype(np.int64))
    long = xp.flatnonzero(is_long)
    row, begin, stop = (to_host(a) for a in (long, indptr[long], indptr[long + 1]))
    if n_ones:
        row, begin, stop = np.append(row, n_rows), np.append(begin, 0), np.append(stop, n_ones)
    segments, long_rows, n_parts = cut_rows(row, begin, stop, tile)
    return Layout(n_rows, *entries, blocks, xp.asarray(segments), xp.asarray(long_rows), n_parts)


def only_ones(xp, data, n_rows, n_ones, tile):
    """The `Layout` of a matrix of which nothing is there but the row of ones below it."""
    has_ones = int(n_ones > 0)
    row, begin, stop = (np.full(has_ones, v) for v in (n_rows, 0, n_ones))
    segments, long_rows, n_parts = cut_rows(row, begin, stop, tile)
    none, no_blocks = xp.zeros(1, dtype=np.int64), xp.zeros((0, 2), dtype=np.int64)
    segments, long_rows = xp.asarray(segments), xp.asarray(long_rows)
    return Layout(n_rows, none, None, data[:1], no_blocks, segments, long_rows, n_parts)


def cut_rows(row, begin, stop, tile):
    """Segments (., 4) of at most `tile` entries of these rows: row, first and end entry, number of
    the partial sum or -1 for a whole row. The rows (., 3) that have several: row, first and end
    partial sum. How many partial sums there are."""
    n_each = -(-(stop - begin) // tile)
    total = int(n_each.sum())
    of, first = np.repeat(np.arange(len(row)), n_each), np.cumsum(n_each) - n_each
    a = begin[of] + (np.arange(total) - first[of]) * tile
    is_cut = n_each > 1
    n_before = np.cumsum(n_each * is_cut) - n_each * is_cut
    part = np.where(is_cut[of], n_before[of] + np.arange(total) - first[of], -1)
    segments = np.column_stack([row[of], a, np.minimum(a + tile, stop[of]), part]).astype(np.int64)
    long_rows = np.column_stack([row, n_before, n_before + n_each])[is_cut].astype(np.int64)
    return segments.reshape(-1, 4), long_rows.reshape(-1, 3), int((n_each * is_cut).sum())
