"""Factors of the rows that train as far as targets need them: block Krylov runs from all targets
side by side.

Lanczos' method from the block ``B = X' S (Y - ȳ)`` makes U with ``U'Φ U = 1`` and ``U'A U`` block
tridiagonal, from products with ``A = X' S (1 - 1s'/Σs) X`` alone (see `fasthoag.inner.krylov` for
one target). In the span of U least squares of every target and every strength is ``w = U v``, ``(T
+ λ) v = c``: what `fasthoag.spectral.left_out` calls moments.

Every target gains from the directions that the others have found: on 20 newsgroups the criterion of
20 classes at their optima is known to a hundredth of its standard error after 28 steps, where one
alone takes about 60.

References
----------
Golub & Underwood (1977), "The block Lanczos method for computing eigenvalues"; O'Leary (1980), "The
block conjugate gradient algorithm and related methods".
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fasthoag.design.rows import HELD_OUT, TRAIN
from fasthoag.inner.problem import InnerProblem
from fasthoag.spectral.left_out import HeldOutMoments
from fasthoag.spectral.shifted import tridiagonal
from fasthoag.types import Array

# of the squares of directions, relative to the largest of a block: less is rounding, or another
# target again
DEPENDENT = 1e-10


@dataclass(eq=False)
class FoldRun:
    """The run of one fold: two blocks of dual vectors ``s = Φ u`` (n_coef, t), the blocks of T, and
    the moments of the predictions P of U by the rows that are held out."""

    s: Array
    held: Any  # row numbers
    root: Array  # √s of these, (n_held, 1)
    rest: Array  # √s (y - ȳ)
    first: Array  # R of B = S R
    last: Any = None
    alphas: list[Array] = field(default_factory=list)
    betas: list[Array] = field(default_factory=list)
    P: Any = None
    M: Any = None

    def keep(self, P):
        """Predictions of one more block of U, (n_held, t)."""
        self.P = P if self.P is None else np.hstack([self.P, P])
        new = self.P.T @ P
        if self.M is None:
            self.M = new
            return
        k, t = len(self.M), P.shape[1]
        M = np.empty((k + t, k + t))
        M[:k, :k], M[:, k:], M[k:, :k] = self.M, new, new[:k].T
        self.M = M

    def criterion(self):
        """What the fold says of its targets in the span of the steps so far."""
        T, t = block_tridiagonal(self.alphas, self.betas[:-1]), len(self.first)
        A, Q = tridiagonal(T)
        squares = np.einsum("ij,ij->j", self.rest, self.rest)
        return HeldOutMoments(A, Q[:t].T @ self.first, self.M, self.P.T @ self.rest, squares, Q)


class BlockRun:
    """Runs of all folds for some targets.

    Parameters
    ----------
    inner : InnerProblem
        Least squares with the folds; its own targets do not matter.
    Y : array, shape (n_rows, t)
    workers : Workers
    """

    def __init__(self, inner: InnerProblem, Y: Array, workers: Any) -> None:
        self.design, self.workers = inner.design, workers
        lam = inner.strengths(np.zeros(1))
        self.over = np.where(lam > 0, 1 / np.where(lam > 0, lam, 1.0), 0.0)
        weight = np.ones(len(Y)) if inner.rows.weight is None else inner.rows.weight
        mask = inner.rows.mask
        self.weights = np.where(mask & TRAIN, weight[:, None], 0.0)
        self.means = self._column_means() if self.design.has_intercept else None
        self.y_mean = self.weights.T @ Y / self.weights.sum(axis=0)[:, None]
        if self.means is None:
            self.y_mean = 0 * self.y_mean
        self.folds = []
        for f, s in enumerate(self.weights.T):
            y = Y - self.y_mean[f]
            b = self._without_intercept(self.design.rmatvec(s[:, None] * y))
            held = np.flatnonzero((mask[:, f] & HELD_OUT > 0) & (weight > 0))
            root = np.sqrt(weight[held])[:, None]
            block, R = orthonormal(b, self.over)
            self.folds.append(FoldRun(block, held, root, root * y[held], R))

    def _column_means(self):
        """Means of the columns over the rows that train, (n_coef, n_folds), in units of the
        constant of the intercept's column."""
        sums = self.design.rmatvec(self.weights)
        return sums / sums[-1:]

    def _without_intercept(self, v):
        """A gradient, whose part for the intercept is 0 up to rounding."""
        if self.means is not None:
            v[-1] = 0.0
        return v

    def step(self) -> None:
        """One more block of U for every fold: a product each."""
        products = []
        for f, run in enumerate(self.folds):
            u = self.over * run.s
            if self.means is not None:
                u[-1] = -self.means[:, f] @ u
            Z, weight = self.design.matvec(u), self.weights[:, f]
            if self.means is not None:
                # 0 up to rounding, of which the mean of the features would make much
                Z -= (weight @ Z) / weight.sum()
            v = self.design.rmatvec(weight[:, None] * Z)
            products.append((run, u, self._without_intercept(v), run.root * Z[run.held]))
        self.workers.map(self._grow, products)

    def _grow(self, product):
        run, u, v, P = product
        k = len(u) - (self.means is not None)
        alpha = u[:k].T @ v[:k]
        alpha = 0.5 * (alpha + alpha.T)
        v -= run.s @ alpha
        if run.last is not None:
            v -= run.last @ run.betas[-1].T
        block, beta = orthonormal(v, self.over)
        run.alphas.append(alpha)
        run.betas.append(beta)
        run.last, run.s = run.s, block
        run.keep(P)

    def criteria(self) -> list[HeldOutMoments]:
        """What every fold says of the targets so far."""
        return self.workers.map(FoldRun.criterion, self.folds)


def orthonormal(v: Array, over: Array) -> tuple[Array, Array]:
    """``v = s R`` with ``s' diag(over) s`` the identity, but for columns of zeros in the place of
    directions that are rounding."""
    G = v.T @ (over * v)
    scale = np.sqrt(np.diag(G))
    scale = np.where(scale > 0, scale, 1.0)
    e, Q = np.linalg.eigh(G / scale / scale[:, None])
    size = np.sqrt(np.where(e > DEPENDENT * max(e[-1], 0.0), e, 0.0))
    over_size = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 0.0)
    return v @ (Q * over_size / scale[:, None]), (Q * size).T * scale


def block_tridiagonal(alphas: list[Array], betas: list[Array]) -> Array:
    """The symmetric matrix of these blocks on its diagonal and below."""
    t, n = len(alphas[0]), len(alphas)
    T = np.zeros((n * t, n * t))
    for k, alpha in enumerate(alphas):
        here, below = slice(k * t, (k + 1) * t), slice((k + 1) * t, (k + 2) * t)
        T[here, here] = alpha
        if k + 1 < n:
            T[below, here], T[here, below] = betas[k], betas[k].T
    return T
