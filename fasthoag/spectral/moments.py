"""Sums of products of features over the rows that train and over those that are held out: every
row is read once, in however many folds it is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.spectral.factors import Source, slices
from fasthoag.types import Array


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows that are in the same parts of the same folds.

    Attributes
    ----------
    rows : list of row numbers
    belongs : array, shape (n_groups, n_sums), bool
        Which sums a group is added to: one for each fold that it trains in, one for each that holds
        it out, and one of all rows.
    """

    rows: list[Array]
    belongs: Array

    @property
    def n_sums(self) -> int:
        return self.belongs.shape[1]


def groups_of(n_rows: int, trains: list[Array], held: list[Array] | None) -> Groups:
    """The `Groups` of rows, sums in the order train, held out, all."""
    parts = [] if held is None else [*trains, *held]
    belongs = np.zeros((n_rows, len(parts) + 1), bool)
    belongs[:, -1] = True
    for k, rows in enumerate(parts):
        belongs[rows, k] = True
    kinds, kind = np.unique(belongs, axis=0, return_inverse=True)
    order = np.argsort(kind.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(kind.ravel()))[:-1]
    return Groups(np.split(order, ends), kinds)


@dataclass(frozen=True, eq=False)
class Moments:
    """Σs, Σ s x and Σ s x x' of every sum of the groups, x less the center of the source."""

    groups: Groups
    total: Array
    x: Array
    xx: Array

    def about(self, k: int, mean: Array) -> Array:
        """``Σ s (x - mean) (x - mean)'`` of sum k."""
        with_mean = np.outer(self.x[k], mean)
        return self.xx[k] - with_mean - with_mean.T + self.total[k] * np.outer(mean, mean)

    def factored(self, k: int, has_intercept: bool) -> tuple[Array, Array]:
        """``A'A`` and m of sum k."""
        mean = self.x[k] / self.total[k] if has_intercept else np.zeros(self.x.shape[1])
        return self.about(k, mean), mean


def moments_of(source: Source, weight: Array, groups: Groups) -> Moments:
    p, n_sums = source.X.shape[1], groups.n_sums
    total, x, xx = np.zeros(n_sums), np.zeros((n_sums, p)), np.zeros((n_sums, p, p))
    for belongs, block, s, _ in blocks_of_groups(source, weight, groups):
        weighted = block * s[:, None]
        total[belongs] += s.sum()
        x[belongs] += weighted.sum(axis=0)
        xx[belongs] += weighted.T @ block
    return Moments(groups, total, x, xx)


@dataclass(frozen=True, eq=False)
class TargetMoments:
    """Σ s y, Σ s y² and Σ s x y' of every sum, for some targets."""

    moments: Moments
    y: Array
    yy: Array
    xy: Array

    def mean(self, k: int, has_intercept: bool) -> Array:
        return self.y[k] / self.moments.total[k] if has_intercept else np.zeros(self.y.shape[1])

    def about(self, k: int, mean: Array, y_mean: Array) -> tuple[Array, Array]:
        """``Σ s (x - mean) (y - y_mean)'`` and ``Σ s (y - y_mean)²`` of sum k."""
        total, x = self.moments.total[k], self.moments.x[k]
        y = self.y[k]
        xy = self.xy[k] - np.outer(x, y_mean) - np.outer(mean, y) + total * np.outer(mean, y_mean)
        return xy, self.yy[k] - 2 * y * y_mean + total * y_mean**2


def target_moments_of(moments: Moments, source: Source, weight: Array, Y: Array) -> TargetMoments:
    groups, (n_sums, p), t = moments.groups, moments.x.shape, Y.shape[1]
    y, yy, xy = np.zeros((n_sums, t)), np.zeros((n_sums, t)), np.zeros((n_sums, p, t))
    for belongs, block, s, rows in blocks_of_groups(source, weight, groups):
        weighted = Y[rows] * s[:, None]
        y[belongs] += weighted.sum(axis=0)
        yy[belongs] += np.sum(weighted * Y[rows], axis=0)
        xy[belongs] += block.T @ weighted
    return TargetMoments(moments, y, yy, xy)


def blocks_of_groups(source: Source, weight: Array, groups: Groups) -> Any:
    """``(sums that a block belongs to, x, s, row numbers)`` of blocks of the rows of groups."""
    step = source.row_blocks()[0].stop
    for rows, belongs in zip(groups.rows, groups.belongs, strict=True):
        for some in slices(len(rows), step):
            which = rows[some]
            yield belongs, source.block(which).astype(np.float64), weight[which], which
