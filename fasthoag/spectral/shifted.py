"""Products of the rows that train a fold, A, in coordinates in which every ``A + λ`` is cheap to
solve with: those of its eigenvectors, and those in which it is tridiagonal, which are had in a
tenth of the time."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from fasthoag import _core
from fasthoag.spectral.reduction import reduced
from fasthoag.threads import computed_once
from fasthoag.types import Array


class Shifted(Protocol):
    """A in such coordinates."""

    @property
    def e(self) -> Array: ...  # its eigenvalues, in falling order

    def solutions(self, c: Array, theta: Array, order: int) -> list[Array]:
        """``v = (A + λ)⁻¹ c``, λ = exp(θ), and as many of ``-∂v/∂θ`` and ``-∂²v/∂θ²`` as `order`
        says; c (rank, n_targets), θ (n_targets,), or (1,) where it is that of all."""


@dataclass(frozen=True, eq=False)
class Diagonal:
    """A in the coordinates of its eigenvectors, with eigenvalues e (rank,)."""

    e: Array

    def solutions(self, c, theta, order):
        q, v = shrinkage(self.e, theta), inverse(self.e, theta) * c
        found = [v]
        if order > 0:
            found.append(v * q)
        if order > 1:
            found.append(found[1] * (1 - 2 * q))
        return found


@dataclass(frozen=True, eq=False)
class Tridiagonal:
    """A tridiagonal A: its diagonal (n,) and what is beside it (n - 1,), float64, made of numbers
    of `dtype`."""

    diagonal: Array
    beside: Array
    dtype: Any

    @computed_once
    def e(self):
        values = scipy.linalg.eigvalsh_tridiagonal(self.diagonal, self.beside)[::-1]
        return values[values > self._rounding(values[0])].astype(self.dtype)

    @computed_once
    def floor(self):
        """The strength below which A has no digits left."""
        return self._rounding(self.e.max(initial=0.0))

    def _rounding(self, largest):
        return len(self.diagonal) * float(np.finfo(self.dtype).eps) * max(float(largest), 0.0)

    def solutions(self, c, theta, order):
        lam = np.clip(np.exp(theta, dtype=np.float64), self.floor, np.finfo(c.dtype).max / 4)
        args = self.diagonal, self.beside, lam, np.ascontiguousarray(c)
        # (λ (A + λ)⁻¹)ᵏ v
        found = _core.solve_tridiagonal(*args, order + 1, 1)
        if order > 1:
            found[2] = found[1] - 2 * found[2]
        return found


def tridiagonal(A: Array) -> tuple[Tridiagonal, Array]:
    """A symmetric matrix as ``Q T Qᵀ`` with T tridiagonal: (T, Q). `A` may be overwritten.

    References
    ----------
    Golub & Van Loan, Matrix Computations, 4th ed., 8.3.1.
    """
    n, dtype = len(A), A.dtype
    packed, d, off, tau = reduced(A)
    Q = np.eye(n, dtype=dtype)
    if n > 1:
        # The reflections are those of a QR factorisation without the first row and last column.
        orgqr, *_ = lapack.get_lapack_funcs(("orgqr",), (A,))
        Q[1:, 1:], _, failed = orgqr(packed[1:, :-1], tau, lwork=64 * n)
        if failed:
            raise ValueError(f"LAPACK refused argument {-failed} of orgqr")
    return Tridiagonal(d.astype(np.float64), off.astype(np.float64), dtype), Q


def inverse(e: Array, theta: Array) -> Array:
    """1 / (e + λ), (rank, len(theta))."""
    return 1 / (e[:, None] + strengths(e, theta))


def shrinkage(e: Array, theta: Array) -> Array:
    """λ / (e + λ), (rank, len(theta))."""
    lam = strengths(e, theta)
    return lam / (e[:, None] + lam)


def strengths(e: Array, theta: Array) -> Any:
    """λ in the precision of e, which holds sums with it."""
    return np.minimum(np.exp(theta), np.finfo(e.dtype).max / 4).astype(e.dtype)
