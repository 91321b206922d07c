"""Strengths and models of many targets by factors of the rows that train."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fasthoag.design.rows import HELD_OUT, TRAIN
from fasthoag.memory import memory_of_process
from fasthoag.spectral.factors import (
    FEW,
    Factor,
    Source,
    across,
    of_gram,
    of_moments,
    of_values,
    slices,
    source_of,
)
from fasthoag.spectral.left_out import (
    HeldOutMoments,
    HeldOutRows,
    LeftOut,
    LeftOutRows,
    Values,
    added,
    left_out,
)
from fasthoag.spectral.moments import Moments, groups_of, moments_of, target_moments_of
from fasthoag.spectral.search import Found, joined, minima, over_blocks, shared_minima
from fasthoag.spectral.workers import Workers
from fasthoag.types import Array

DECADE = float(np.log(10))
BELOW, ABOVE = 7 * DECADE, 12 * DECADE  # of all that the rows determine: nothing, or everything
MOST_LEVELS = 16
TARGET_BYTES = 2**26  # of one array with a column for each target of a block
N_READS = 2.0  # of X: its means, and its factors
LARGEST = 10_000  # rows or features whose matrix of products is factorised
LITTLE, SHARE_OF_MEMORY = 2**25, 0.25  # that factors may take


Note = Callable[[str, Array, Values], Any]


def ignore(phase: str, theta: Array, values: Values) -> None:
    """Nobody hears of evaluations."""


class Plan(NamedTuple):
    """How rows are factorised: by singular values of X, by its products of rows, their eigenvectors
    ("gram") or what makes them tridiagonal, or by products of features ("moments"); or not, but
    by "krylov", runs for the targets."""

    way: str
    n_bytes: int

    @property
    def fits(self) -> bool:
        is_little = self.n_bytes < LITTLE  # The limits of a process are files.
        return is_little or self.n_bytes < SHARE_OF_MEMORY * memory_of_process()


def plan_of(shape: tuple[int, int], n_folds: int, needs_vectors: bool) -> Plan | None:
    """The cheapest `Plan` for this many rows, features and folds, None where all are too large.
    Leave-one-out and no penalty need eigenvectors."""
    n, p = shape
    least = min(n, p)
    if n * p * least * n_folds <= FEW:
        return Plan("values", 8 * (n_folds + 1) * (n + p) * least)
    if least > LARGEST:
        return None
    by_rows = 8 * (n_folds + 1) * n * n
    if n >= p:
        return Plan("moments", 8 * 2 * (n_folds + 1) * p * p)
    return Plan("gram" if needs_vectors else "tridiagonal", by_rows)


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Rows by their factors: every fold that trains, and all rows.

    Attributes
    ----------
    source : Source
    weight : array, shape (n_rows,)
    folds : list of Factor
        One with all rows for leave-one-out.
    held : list of row numbers, or None for leave-one-out
    parts : list
        What every fold has of the rows that it holds out: P of `HeldOutRows`, or M of
        `HeldOutMoments`.
    whole : Factor
    moments : Moments or None
    workers : Workers
    """

    source: Source
    weight: Array
    has_intercept: bool
    folds: list[Factor]
    held: Any
    parts: list[Array]
    whole: Factor
    moments: Moments | None
    workers: Workers
    n_passes = N_READS
    refit_error = 0.0  # models are exact

    # ---- targets ----

    def target_blocks(self, n_targets: int) -> list[slice]:
        """Targets that are held side by side."""
        return slices(n_targets, max(16, TARGET_BYTES // (8 * len(self.weight))))

    def centred_targets(self, Y: Array) -> tuple[Array, Array]:
        """The targets less their means, and the means; without an intercept these are 0. Those of a
        constant target are 0 to the bit."""
        Y = Y.astype(np.float64)
        if not self.has_intercept:
            return Y, np.zeros(Y.shape[1])
        counts = Y[self.weight > 0]
        is_constant = np.ptp(counts, axis=0) == 0
        mean = np.where(is_constant, counts[0], self.weight @ Y / self.weight.sum())
        Y -= mean
        Y[:, is_constant] = 0.0
        return Y, mean

    def criteria(self, Y: Array) -> list[Any]:
        """What every fold says of these targets, less their means."""
        if self.held is None:
            return [self._left_out(Y)]
        if self.moments is not None:
            return self._by_moments(Y)
        each = zip(self.folds, self.held, self.parts, strict=True)
        return self.workers.map(lambda one: self._held_out(Y, *one), each)

    def _held_out(self, Y, factor, rows, P):
        c, mean = self._coordinates(factor, Y)
        root = np.sqrt(self.weight[rows])
        rest = (root[:, None] * (Y[rows] - mean)).astype(P.dtype)
        return HeldOutRows(factor.A, c, P, rest, root)

    def _by_moments(self, Y):
        of_targets = target_moments_of(self.moments, self.source, self.weight, Y)
        found, n_folds = [], len(self.folds)
        for k, (factor, M) in enumerate(zip(self.folds, self.parts, strict=True)):
            mean = of_targets.mean(k, self.has_intercept)
            xy, _ = of_targets.about(k, factor.mean, mean)
            held_xy, squares = of_targets.about(n_folds + k, factor.mean, mean)
            c, with_rest = (factor.basis / factor.e).T @ xy, factor.basis.T @ held_xy
            found.append(HeldOutMoments(factor.A, c, M, with_rest, squares))
        return found

    def _left_out(self, Y):
        factor = self.whole
        c, mean = self._coordinates(factor, Y)
        root = factor.root
        of_mean = root**2 / factor.total if self.has_intercept else np.zeros(len(root))

        def of_rows(rows, U):
            y = (root[rows][:, None] * (Y[rows] - mean)).astype(U.dtype)
            return left_out(U, y, root[rows], of_mean[rows], c, factor.is_full)

        def in_turn() -> Iterator[LeftOut]:  # U is as large as X: its rows are made again.
            for rows in self.source.row_blocks():
                yield of_rows(rows, self._U(factor, rows))

        if factor.U is None:
            return LeftOutRows(factor.e, c, in_turn, factor.is_full, root)
        every = [of_rows(slice(None), factor.U)]
        return LeftOutRows(factor.e, c, lambda: every, factor.is_full, root)

    def _U(self, factor, rows):
        """Rows of U from rows of X, where all rows train."""
        block = self.source.block(rows).astype(np.float64) - factor.mean
        return (block * factor.root[rows][:, None]) @ (factor.basis / factor.e)

    def _coordinates(self, factor, Y):
        """c, and ȳ of the rows that train."""
        root, y = factor.root, Y[factor.rows]
        mean = root**2 @ y / factor.total if self.has_intercept else np.zeros(Y.shape[1])
        y = root[:, None] * (y - mean)
        if factor.U is not None:
            return factor.U.T @ y.astype(factor.U.dtype), mean
        c = np.zeros((len(factor.e), Y.shape[1]))
        for rows in self.source.row_blocks():
            c += self._U(factor, rows).T @ y[rows]
        return c, mean

    # ---- strengths ----

    @property
    def dtype(self) -> Any:
        return self.whole.e.dtype

    def value_error(self, values: Array) -> float:
        """What rounding leaves of criteria."""
        return float(values.sum()) * len(self.weight) * float(np.finfo(self.dtype).eps)

    def box(self) -> tuple[float, float]:
        """log λ that are nothing, and everything."""
        e = self.whole.e
        if not len(e):
            return -BELOW, ABOVE
        low = np.log(np.float64(e[-1])) - BELOW
        if self.whole.basis is None or self.moments is not None:  # Products have half the digits.
            rounding = len(self.weight) * np.finfo(e.dtype).eps
            low = max(low, np.log(np.float64(e[0]) * rounding))
        return float(low), float(np.log(e.sum(dtype=np.float64)) + ABOVE)

    def levels(self, low: float, high: float, points: Any = ()) -> Array:
        """log λ to look at: decades where rows say anything, given points, and both ends."""
        e = self.whole.e
        inner: Any = []
        if len(e):
            bottom = max(low, np.log(np.float64(e[-1])) - 1.5 * DECADE)
            top = min(high, np.log(e.sum(dtype=np.float64)) + DECADE)
            n = int(np.clip(np.ceil((top - bottom) / DECADE) + 1, 2, MOST_LEVELS))
            inner = np.linspace(bottom, top, n) if top > bottom else []
        kept = np.unique([low, high, *points])
        far = [one for one in inner if np.abs(kept - one).min() > 0.3]
        return np.unique([*kept, *far])

    def tuned(
        self, Y: Array, levels: Array, tol: float, shares: Array | None, note: Note = ignore
    ) -> Found:
        """The best strength of every target between the ends of the levels, or one for all with the
        same number in `shares` (see `shared_minima`, as for `note`)."""
        blocks = self.target_blocks(Y.shape[1])
        if shares is None:
            return joined([self._tuned_block(Y[:, some], levels, tol, note) for some in blocks])
        first = self._criteria_of(Y[:, blocks[0]])

        def evaluate(theta, targets, order):
            def values_of(k, theta, targets):  # The first block stays, others are made again.
                parts = first if k == 0 else self._criteria_of(Y[:, blocks[k]])
                return self._values(parts, theta, targets, order)

            return over_blocks(blocks, values_of, theta, targets)

        return shared_minima(evaluate, shares, levels, tol, note)

    def _criteria_of(self, Y):
        centred, _ = self.centred_targets(Y)
        return self.criteria(centred)

    def _tuned_block(self, Y, levels, tol, note):
        parts, every = self._criteria_of(Y), np.arange(Y.shape[1])

        def evaluate(theta, targets, order):
            return self._values(parts, theta, every[targets], order)

        return minima(evaluate, Y.shape[1], levels, tol, note)

    def _values(self, parts, theta, targets, order):
        """The `Values` of some targets of a block, which workers share."""

        def of_piece(piece):
            at = theta if len(theta) == 1 else theta[piece]
            return added(part.values(at, targets[piece], order) for part in parts)

        found = self.workers.map(of_piece, self.workers.pieces(len(targets)))
        return Values(*(np.concatenate(each) for each in zip(*found, strict=True)))

    def fold_values(self, Y: Array, theta: Array) -> Array:
        """The criterion of every fold and target at θ (n_targets,), (n_folds, n_targets)."""
        found = []
        for some in self.target_blocks(Y.shape[1]):
            at = theta[some], np.arange(some.stop - some.start), 0
            values = self.workers.map(methodcaller("values", *at), self._criteria_of(Y[:, some]))
            found.append([one.value for one in values])
        return np.concatenate([np.array(one) for one in found], axis=1)

    @property
    def fold_weights(self) -> Array:
        """The sum of the weights of the rows that are judged, of every fold."""
        if self.held is None:
            return np.array([self.weight.sum()])
        return np.array([self.weight[rows].sum() for rows in self.held])

    def predictions(self, Y: Array, theta: Array) -> list[Array]:
        """Of the rows that every fold holds out, or of every row by the model without it, at θ
        (n_targets,)."""
        centred, mean = self.centred_targets(Y)
        if self.held is not None and self.moments is not None:
            return self._predictions_of_models(centred, theta, mean)
        every, found = np.arange(Y.shape[1]), []
        for k, part in enumerate(self.criteria(centred)):
            rows = slice(None) if self.held is None else self.held[k]
            error = part.errors(theta, every) / np.where(part.root > 0, part.root, 1.0)[:, None]
            found.append(Y[rows] - error)
        return found

    def _predictions_of_models(self, Y, theta, mean):
        found = []
        for factor, rows, part in zip(self.folds, self.held, self.criteria(Y), strict=True):
            w = factor.basis @ factor.A.solutions(part.c, theta, 0)[0]
            of_rows = (self.weight[factor.rows] @ Y[factor.rows]) / factor.total
            level = mean + of_rows if self.has_intercept else mean
            found.append((self.source.block(rows) - factor.mean) @ w + level)
        return found

    # ---- the models on all rows ----

    def models(self, Y: Array, theta: Array, keep: Callable[[slice, Array, Array], None]) -> None:
        """``keep(targets, coefficients (n_features, m), intercepts (m,))`` for blocks of targets at
        θ (n_targets,); θ of -inf is no penalty."""
        factor, source = self.whole, self.source
        p = source.X.shape[1]
        for some in slices(Y.shape[1], max(16, TARGET_BYTES // (8 * (p + len(self.weight))))):
            centred, mean = self.centred_targets(Y[:, some])
            c, level = self._coordinates(factor, centred)
            (v,) = factor.A.solutions(c, theta[some], 0)
            if factor.basis is not None:
                w = factor.basis @ v
            else:
                w = np.empty((p, v.shape[1]), v.dtype)
                source.transposed_product(
                    (factor.root[:, None] * (factor.U @ v)).astype(v.dtype), w, self.workers
                )
            w = w if source.scale is None else w * source.scale[:, None]
            keep(some, w, mean + level - source.mean @ w)


def decompose(
    X: Any,
    weight: Array,
    mask: Any,
    has_intercept: bool,
    factor: Array | None,
    plan: Plan,
    workers: Workers,
) -> Decomposition:
    """The `Decomposition` of these rows for the folds of a mask, None for leave-one-out."""

    def rows_of(bit):
        return [np.flatnonzero((of_fold & bit > 0) & (weight > 0)) for of_fold in mask.T]

    trains, held = (None, None) if mask is None else (rows_of(TRAIN), rows_of(HELD_OUT))
    if plan.way == "values":
        X = X.toarray() if sp.issparse(X) else X
        X = X.astype(np.float64, copy=False)
    source = source_of(X, weight, has_intercept, factor)
    args = source, weight, has_intercept, trains, held, workers
    if plan.way == "tridiagonal":
        return by_gram(*args, is_tridiagonal=True)
    return {"values": by_values, "gram": by_gram, "moments": by_moments}[plan.way](*args)


def by_values(source, weight, has_intercept, trains, held, workers):
    block = source.block(slice(None))

    def factorised(rows):
        return of_values(block, rows, weight, has_intercept)

    def beside(one, rows):
        return (block[rows] - one.mean) @ one.basis

    return by_rows(source, weight, has_intercept, trains, held, workers, factorised, beside)


def by_gram(source, weight, has_intercept, trains, held, workers, is_tridiagonal=False):
    K = source.gram(workers)

    def factorised(rows):
        return of_gram(K, rows, weight, has_intercept, source.dtype, is_tridiagonal)

    def beside(one, rows):
        return across(K, one, rows, has_intercept)

    return by_rows(source, weight, has_intercept, trains, held, workers, factorised, beside)


def by_rows(source, weight, has_intercept, trains, held, workers, factorised, beside):
    """Of factors that ``factorised(rows)`` makes; ``beside(factor, rows)`` are ``(x - m)' A' U`` of
    other rows."""

    def held_out(one):
        factor, rows = one
        return np.sqrt(weight[rows])[:, None].astype(factor.e.dtype) * beside(factor, rows)

    whole, *folds = workers.map(factorised, [np.arange(len(weight)), *(trains or ())])
    parts = [] if held is None else workers.map(held_out, zip(folds, held, strict=True))
    folds = folds if held is not None else [whole]
    return Decomposition(source, weight, has_intercept, folds, held, parts, whole, None, workers)


def by_moments(source, weight, has_intercept, trains, held, workers):
    every = np.arange(len(weight))
    moments = moments_of(source, weight, groups_of(len(weight), trains, held))

    def make(one):
        k, rows = one
        C, mean = moments.factored(k, has_intercept)
        return of_moments(C, mean, rows, np.sqrt(weight[rows]), has_intercept)

    def held_out(one):
        k, factor = one
        return factor.basis.T @ moments.about(len(folds) + k, factor.mean) @ factor.basis

    whole, *folds = workers.map(make, [(-1, every), *enumerate(trains or ())])
    parts = [] if held is None else workers.map(held_out, enumerate(folds))
    folds = folds if held is not None else [whole]
    return Decomposition(source, weight, has_intercept, folds, held, parts, whole, moments, workers)
