"""Sparse columns that are multiples of each other, held as one of them, and empty ones not at all.
With one strength for all of them nothing is lost, and blocks of coefficients are shorter: half of
the words of a text may be in one row only, and hashed features leave most columns empty.

Columns ``x_j = r_j x`` of a group predict ``v x`` with ``v = Σ r_j w_j``. The least ``Σ w_j²`` of
that is ``v² / Σ r_j²``, at ``w_j = v r_j / Σ r_j²``: a ridge on v with its strength over ``Σ r_j²``.
x itself, the largest of them, is stored as it is, so that no value is rounded.
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
    kept : array of int, shape (n_kept,)
        The user's numbers of the columns that stay, in order.
    group : array of int, shape (n_features,)
        Which of them a column is a multiple of; -1 for an empty one that vanishes.
    ratio : array, shape (n_features,)
        The multiple, at most 1 in size.

    Examples
    --------
    >>> merging = Merging(np.array([1]), np.array([0, 0, -1]), np.array([0.5, 1.0, 0.0]))
    >>> merging.apply(np.array([2.5]))
    array([1., 2., 0.])
    >>> merging.solve(np.array([1.0, 2.0, 7.0]))
    array([2.5])
    """

    kept: Any
    group: Any
    ratio: Any

    @computed_once
    def members(self):
        """Columns that do not vanish."""
        return np.flatnonzero(self.group >= 0)

    @computed_once
    def squares(self):
        """Σ r² of every group, (n_kept,)."""
        where = self.members
        ratio = self.ratio[where]
        return np.bincount(self.group[where], ratio * ratio, minlength=len(self.kept))

    @property
    def factor(self):
        """Of the strengths of the columns that stay; None where all are 1."""
        return None if len(self.members) == len(self.kept) else 1 / self.squares

    @computed_once
    def share(self):
        """w_j / v of every column, (n_features,)."""
        share = np.zeros(len(self.group))
        where = self.members
        share[where] = self.ratio[where] / self.squares[self.group[where]]
        return share

    @computed_once
    def products(self):
        """The matrix of v from w, (n_kept, n_members)."""
        where = self.members
        entries = self.ratio[where], (self.group[where], np.arange(len(where)))
        return sp.csr_array(entries, shape=(len(self.kept), len(where)))

    def apply(self, v):
        """The user's coefficients (n_features, ...) of those of the columns that stay; rows beyond
        these, of an intercept, as they are."""
        n, k, where = len(self.group), len(self.kept), self.members
        w = np.zeros((n + len(v) - k, *v.shape[1:]))
        share = self.share[where]
        w[where] = (share if v.ndim == 1 else share[:, None]) * v[self.group[where]]
        w[n:] = v[k:]
        return w

    def solve(self, w):
        """The coefficients with the predictions of `w`, the other way round."""
        return np.concatenate([self.products @ w[self.members], w[len(self.group) :]])

    def spread_out(self, values):
        """Numbers of the columns that stay, such as squares of sizes, as those of the user's that
        do not vanish, (n_members,): each has its part of the sum."""
        where = self.members
        return values[self.group[where]] * self.ratio[where] * self.share[where]

    def suits(self, alike):
        """Whether columns are as one that have one strength, by the numbers of
        `fasthoag.penalties.alike`."""
        if alike is None:
            return False
        empty, where = self.group < 0, self.members
        is_same = alike[where] == alike[self.kept[self.group[where]]]
        is_alone = (alike < 0) & (self.ratio != 1.0)
        return bool(is_same.all() and not is_alone.any() and (alike[empty] >= 0).all())

    def of_rows(self, X, n_threads, is_own=False):
        """The columns that stay: with the same w they predict the same. Of the rows that it was
        made of (`is_own`) one of every group is all that is needed, and is as it was."""
        if is_own:
            own = np.full(len(self.group), -1, np.int64)
            own[self.kept] = np.arange(len(self.kept))
            return self._taken(X, own, None, n_threads)
        if not sp.issparse(X):
            n = len(self.group)
            entries = self.share[self.members], (self.members, self.group[self.members])
            return X @ sp.csr_array(entries, shape=(n, len(self.kept))).astype(X.dtype)
        return self._taken(X, self.group, self.share, n_threads)

    def _taken(self, X, group, weight, n_threads):
        indptr, indices, data = _core.merge_columns(csr_arrays(X), group, weight, n_threads)
        taken = sp.csr_matrix((data, indices, indptr), shape=(X.shape[0], len(self.kept)))
        taken.has_canonical_format = True
        return taken


def merging_of(blocks, alike, n_threads):
    """The `Merging` of blocks of CSR rows, of the columns of one number in ``alike(n_features)``;
    None where that says nothing, and where too few would vanish to pay for a copy of X.

    Columns are multiples of each other where all values are to 64 units of rounding, in double
    precision, which every value is looked at for.
    """
    n_features, arrays = blocks[0].shape[1], [csr_arrays(one) for one in blocks]
    numbers = alike(n_features) if n_features >= FEWEST else None
    if numbers is None:
        return None
    n_stored = sum(len(data) for *_, data in arrays)
    most = n_features - max(LEAST_SHARE * n_features, n_stored / MOST_STORED)
    if most < 1:
        return None
    numbers = numbers if numbers.any() else None  # all are alike
    found = _core.alike_columns(arrays, n_features, numbers, SAMPLE, int(most), n_threads)
    if found is None:
        return None
    like, ratio = found
    kept = np.flatnonzero(like == np.arange(n_features))
    if not 0 < len(kept) <= most:
        return None
    number = np.full(n_features + 1, -1, np.int64)  # the last is that of like = -1
    number[kept] = np.arange(len(kept))
    return Merging(kept, number[like], ratio)
