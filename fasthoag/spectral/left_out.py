"""Criteria of least squares in the coordinates of a factor, with two derivatives in θ = log λ, for
a θ of its own of every target.

With ``q = λ / (e + λ)``, whose derivative is ``q (1 - q)``, and ``g = 1 / (e + λ)``, whose
derivative is ``-q g``, predictions of other rows are ``ȳ + P (g c)``. What the model without row i
errs by is ``ρ / d``, ``ρ = ρ0 + U (q c)``, ``d = d0 + U² q``: ρ0 and d0 are what lies outside of
the columns of U, and exactly 0 where nothing does, so that no digits are lost at tiny λ."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fasthoag.spectral.shifted import Shifted, shrinkage
from fasthoag.types import Array

IN_CACHE, FEWEST_ROWS = 1 << 14, 512  # numbers of a block, and rows of one


class Values(NamedTuple):
    """The criterion, its slope and its curvature, a number for each θ; 0 for those of a higher
    order than was asked for."""

    value: Array
    slope: Array
    curvature: Array


def added(parts: Any) -> Values:
    return Values(*(sum(each) for each in zip(*parts, strict=True)))


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Rows that a fold holds out, for some targets.

    Attributes
    ----------
    A : Shifted
    c : array, shape (rank, n_targets)
    P : array, shape (n_rows, rank)
    rest : array, shape (n_rows, n_targets)
        √s (y - ȳ).
    root : array, shape (n_rows,)
        √s.
    """

    A: Shifted
    c: Array
    P: Array
    rest: Array
    root: Array

    def errors(self, theta: Array, columns: Any) -> Array:
        """√s times what the model errs by, (n_rows, len(columns))."""
        (v,) = self.A.solutions(self.c[:, columns], theta, 0)
        return self.rest[:, columns] - self.P @ v

    def values(self, theta: Array, columns: Any, order: int = 2) -> Values:
        v, *derivatives = self.A.solutions(self.c[:, columns], theta, order)
        error = self.rest[:, columns] - self.P @ v
        return of_errors(error, *(self.P @ one for one in derivatives))


@dataclass(frozen=True, eq=False)
class HeldOutMoments:
    """The same where the rows are many and features few: from the products M = P'P, P' rest and
    the squares of rest alone. P may be in other coordinates than A, of which those of A are `Q`."""

    A: Shifted
    c: Array
    M: Array
    with_rest: Array
    squares: Array
    Q: Array | None = None

    def values(self, theta: Array, columns: Any, order: int = 2) -> Values:
        b = self.with_rest[:, columns]
        solutions = self.A.solutions(self.c[:, columns], theta, order)
        v, *falls = (one if self.Q is None else self.Q @ one for one in solutions)
        Mv = self.M @ v
        value = np.maximum(0.5 * (self.squares[columns] + dots(v, Mv - 2 * b)), 0.0)
        slope = curvature = np.zeros(len(value))
        if order > 0:
            slope = -dots(falls[0], Mv - b)
        if order > 1:
            curvature = dots(falls[0], self.M @ falls[0]) - dots(falls[1], Mv - b)
        return Values(value, slope, curvature)


class LeftOut(NamedTuple):
    """Some rows of U, their squares, and what lies outside of its columns: ρ0 (n_rows, n_targets)
    and d0 (n_rows, 1), or 0."""

    U: Array
    squares: Array
    rho0: Any
    d0: Any

    def pieces(self, n_columns: int) -> "Iterator[LeftOut]":
        """The same in blocks of rows whose numbers for so many columns stay in a cache."""
        step = max(FEWEST_ROWS, IN_CACHE // max(1, n_columns))
        for first in range(0, len(self.U), step):
            rows = slice(first, first + step)
            yield LeftOut(*(one[rows] if np.ndim(one) else one for one in self))

    def errors(self, qs: Any, c: Array, columns: Any) -> tuple[Array, ...]:
        """√s times what the models without each row err by, and as many derivatives of it as there
        are of q."""
        rho, *rhos = (self.U @ (one * c[:, columns]) for one in qs)
        d, *ds = (self.squares @ one for one in qs)
        rho = rho + (self.rho0[:, columns] if np.ndim(self.rho0) else 0.0)
        found, d = [], d + self.d0
        found.append(rho / d)
        if rhos:
            found.append((rhos[0] - found[0] * ds[0]) / d)
        if rhos[1:]:
            found.append((rhos[1] - 2 * found[1] * ds[0] - found[0] * ds[1]) / d)
        return tuple(found)


def left_out(U: Array, y: Array, root: Array, of_mean: Array, c: Array, is_full: bool) -> LeftOut:
    """The `LeftOut` of some rows.

    Parameters
    ----------
    y : array, shape (n_rows, n_targets)
        √s (y - ȳ).
    root : array, shape (n_rows,)
        √s.
    of_mean : array, shape (n_rows,)
        What the mean has of the leverage: s / Σs, or 0 without an intercept.
    is_full : bool
        Whether nothing lies outside of the columns of U but the mean.
    """
    squares = U**2
    if is_full:  # Rows of weight 0 have no leverage.
        return LeftOut(U, squares, 0.0, (root == 0).astype(U.dtype)[:, None])
    d0 = np.maximum(1.0 - of_mean - squares.sum(axis=1), 1e-15)
    return LeftOut(U, squares, y - U @ c, d0[:, None].astype(U.dtype))


@dataclass(frozen=True, eq=False)
class LeftOutRows:
    """Rows each of which is left out in turn, for some targets.

    Attributes
    ----------
    blocks : callable
        Gives the `LeftOut` of blocks of rows, in their order.
    is_full : bool
    root : array, shape (n_rows,)
        √s.
    """

    e: Array
    c: Array
    blocks: Callable[[], Iterable[LeftOut]]
    is_full: bool
    root: Array

    def errors(self, theta: Array, columns: Any) -> Array:
        """√s times what the model without the row errs by, (n_rows, len(columns))."""
        qs = (shrinkage(self.e, self._least(theta)),)
        return np.concatenate([one.errors(qs, self.c, columns)[0] for one in self.blocks()])

    def values(self, theta: Array, columns: Any, order: int = 2) -> Values:
        q = shrinkage(self.e, self._least(theta))
        first = q * (1 - q)
        qs = (q, first, first * (1 - 2 * q))[: order + 1]
        pieces = (piece for one in self.blocks() for piece in one.pieces(q.shape[1]))
        return added(of_errors(*one.errors(qs, self.c, columns)) for one in pieces)

    def _least(self, theta):
        """θ, no lower than where the limit of no penalty is reached: there 0 / 0 is."""
        if not (self.is_full and len(self.e)):
            return theta
        return np.maximum(theta, np.log(np.float64(self.e[-1])) - 36)


def of_errors(error, first=None, second=None):
    """The `Values` of errors and as many of their derivatives as there are."""
    value, unknown = 0.5 * dots(error, error), np.zeros(error.shape[1])
    slope = unknown if first is None else dots(error, first)
    curvature = unknown if second is None else dots(first, first) + dots(error, second)
    return Values(value, slope, curvature)


def dots(a, b):
    """Of every column."""
    return np.einsum("ij,ij->j", a, b, dtype=np.float64)
