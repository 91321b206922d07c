"""Sparse columns that are multiples of each other, held as one of them, and empty ones not at all.
With one strength for all of them nothing is lost, and blocks of coefficients are shorter: half of
the words of a text may be in one row only, and hashed features leave most columns empty.

Columns ``x_j = r_j x`` of a group predict ``v x`` with ``v = Σ r_j w_j``. The least ``Σ w_j²`` of
that is ``v² / Σ r_j²``, at ``w_j = v r_j / Σ r_j²``: a ridge on v, its strength over ``Σ r_j²``. x
itself, the largest of them, is stored as it is, so that no value is rounded.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from fasthoag import _core
from fasthoag.design.structure import csr_arrays
from fasthoag.threads import computed_once

FEWEST = 256  # columns: blocks of fewer coefficients cost nothing beside passes
LEAST_SHARE = 0.1  # of the columns that have to vanish
MOST_STORED = 64  # entries of X for each of them: their copy costs more than vectors do
SAMPLE = 16  # each so many rows tell first whether too many columns differ


@dataclass(frozen=True, eq=False)
class Merging:
    """How the features of a user become fewer.

    Parameters
    ----------
    n_features : int
        Of the user.
    members : array of int, shape (n_members,)
        The columns that do not vanish, in order; the others are empty.
    group : array of int, shape (n_members,)
        Which of those that stay each is a multiple of.
    ratio : array, shape (n_members,)
        The multiple, at most 1 in size.
    kept : array of int, shape (n_kept,)
        The columns that stay, in order, by the user's numbers.

    Examples
    --------
    >>> like, ratio = np.array([0, 0]), np.array([0.5, 1.0])
    >>> merging = Merging(3, np.array([0, 1]), like, ratio, kept=np.array([1]))
    >>> merging.apply(np.array([2.5]))
    array([1., 2., 0.])
    >>> merging.solve(np.array([1.0, 2.0, 7.0]))
    array([2.5])
    """

    n_features: int
    members: Any
    group: Any
    ratio: Any
    kept: Any

    told = ""  # what a result says of it: other sums, the same problem

    @computed_once
    def squares(self):
        """Σ r² of every group, (n_kept,)."""
        return np.bincount(self.group, self.ratio * self.ratio)

    @property
    def factor(self):
        """Of the strengths of the columns that stay; None where all are 1."""
        return None if len(self.members) == len(self.kept) else 1 / self.squares

    @computed_once
    def share(self):
        """w_j / v of every member, (n_members,)."""
        return self.ratio / self.squares[self.group]

    @computed_once
    def products(self):
        """The matrix of v from w, (n_kept, n_members)."""
        n = len(self.members)
        return sp.csr_array((self.ratio, (self.group, np.arange(n))), shape=(len(self.kept), n))

    def apply(self, v):
        """The user's coefficients (n_features, ...) of those of the columns that stay; rows beyond
        these, of an intercept, as they are."""
        n, k = self.n_features, len(self.kept)
        w = np.zeros((n + len(v) - k, *v.shape[1:]))
        w[self.members] = (self.share if v.ndim == 1 else self.share[:, None]) * v[self.group]
        w[n:] = v[k:]
        return w

    def solve(self, w):
        """The coefficients with the predictions of `w`, the other way round."""
        return np.concatenate([self.products @ w[self.members], w[self.n_features :]])

    def spread_out(self, values):
        """Numbers of the columns that stay, such as squares of sizes, as those of the members: each
        has its part of the sum."""
        return values[self.group] * self.ratio * self.share

    def suits(self, alike):
        """Whether all columns that are one have one strength, and empty ones have any, by the
        numbers of `fasthoag.penalties.alike`."""
        if alike is None:
            return False
        is_free = alike < 0
        is_free[self.kept[self.squares == 1.0]] = False  # alone
        is_same = alike[self.members] == alike[self.kept[self.group]]
        return bool(is_same.all() and not is_free.any())

    def of_rows(self, blocks, n_threads, is_own=False):
        """The columns that stay of blocks of rows: with the same w they predict the same. Of those
        that it was made of (`is_own`) one of every group is all that is needed, and is as it was.
        """
        n, where = self.n_features, self.members
        if is_own:
            group, weight = np.empty(n, np.int64), None  # no other columns are read
            group[where] = -1
            group[self.kept] = np.arange(len(self.kept))
        elif not all(sp.issparse(one) for one in blocks):
            entries, shape = (self.share, (where, self.group)), (n, len(self.kept))
            return [one @ sp.csr_array(entries, shape, one.dtype) for one in blocks]
        else:
            group, weight = np.full(n, -1), np.zeros(n)
            group[where], weight[where] = self.group, self.share
        return [self._taken(one, group, weight, n_threads) for one in blocks]

    def _taken(self, X, group, weight, n_threads):
        indptr, indices, data = _core.merge_columns(csr_arrays(X), group, weight, n_threads)
        taken = sp.csr_matrix((data, indices, indptr), shape=(X.shape[0], len(self.kept)))
        taken.has_canonical_format = True
        return taken


def merging_of(blocks, alike, n_threads):
    """The `Merging` of blocks of CSR rows, of the columns of one number in ``alike(n_features)``;
    None where that says nothing, and where too few would vanish to pay for a copy of X.

    Columns are multiples of each other where all values are to 16 units of rounding, in double
    precision, which every value is looked at for.
    """
    n_features = blocks[0].shape[1]
    is_wanted = n_features >= FEWEST and all(sp.issparse(one) for one in blocks)
    labels = alike(n_features) if is_wanted else None
    if labels is None:
        return None
    labels = labels if labels.any() else None  # all are alike
    arrays = [csr_arrays(one) for one in blocks]
    n_stored = sum(len(data) for *_, data in arrays)
    most = int(n_features - max(LEAST_SHARE * n_features, n_stored / MOST_STORED))
    if most < 1:
        return None
    found = alike_columns(arrays, n_features, labels, most, n_threads)
    if found is None:
        return None
    members, like, ratio = found
    is_kept = like == np.arange(len(like))
    kept, number = members[is_kept], np.cumsum(is_kept) - 1
    if not 0 < len(kept) <= most:
        return None
    return Merging(n_features, members, number[like], ratio, kept)


def alike_columns(arrays, n_features, labels, most, n_threads):
    """Columns that are not empty, or stay alone; which of them each is a multiple of, by its place
    there; and the multiple. None where more than `most` differ."""
    n_stored = sum(len(data) for *_, data in arrays)
    if n_stored >= n_features or labels is not None:
        found = _core.alike_columns(arrays, n_features, labels, SAMPLE, most, n_threads)
        if found is None:
            return None
        like, ratio = found
        members = np.flatnonzero(like >= 0)
        place = np.empty(n_features, np.int64)
        place[members] = np.arange(len(members))
        return members, place[like[members]], ratio[members]
    # nothing is as long as the columns where most are empty
    counts = sum(_core.count_columns(one, n_features, n_threads) for _, one, _ in arrays)
    members = np.flatnonzero(counts)
    place = np.empty(n_features, np.int64)
    place[members] = np.arange(len(members))
    arrays = [
        (indptr, _core.relabel(indices, place, False, n_threads), data)
        for indptr, indices, data in arrays
    ]
    found = alike_columns(arrays, len(members), None, most, n_threads)
    if found is None:
        return None
    there, like, ratio = found
    return members[there], like, ratio
