"""The inner problem of a kernel model: ``h(α, b) = Σ_i s_i ℓ(y_i, z_i) + ½ λ αᵀKα`` with ``z = Kα +
b``, in its dual form ``λ α_i + s_i ℓ'(y_i, z_i) = 0`` and ``Σ α_i = 0``.

Everything linear about it is one system: β and ḃ with ``λ β + D (K β + ḃ + G) = 0`` and ``Σ β =
total``, D = diag(s ℓ''). It is solved by a Cholesky factor of ``λ I + D^½ K D^½``, whose
eigenvalues are λ at least, whatever rows have no curvature.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack

from fasthoag.kernels.cholesky import factorise
from fasthoag.losses import derivative

MAX_NEWTON = 100


class Sums(NamedTuple):
    """Sums over pairs of rows with first derivatives of K, (D,), and with second ones, (D, D)."""

    grad: Any
    hess: Any


class Singular(ArithmeticError):
    """``λ I + D^½ K D^½`` is not positive definite in the precision that it is factorised in."""


@dataclass(frozen=True, eq=False)
class Cholesky:
    """A factor of ``λ I + D^½ K D^½``."""

    triangle: Any  # (n, n), lower triangle of C order

    def inverse(self, block):
        x, info = lapack.dpotrs(self.triangle.T, block, lower=0)
        if info != 0:
            raise ValueError(f"dpotrs: argument {-info}")
        return np.ascontiguousarray(x)


@dataclass(eq=False)
class System:
    """The system of all that is linear. `factor` has the inverse of ``λ I + D^½ K D^½``; `root` is
    D^½ (n,), or None for ones; `direction` (n,), the inverse times `root`, is that of the
    intercept."""

    factor: Any
    root: Any
    has_intercept: bool
    direction: Any = None  # from the first call of `solve`, of whose block it is a column

    def solve(self, G, total=0.0):
        """β (n, c) and ḃ (c,) for G (n, c) and totals (c,) or one."""
        a = -self.rooted(G)
        if not self.has_intercept:
            return self.rooted(self.factor.inverse(a)), np.zeros(G.shape[1])
        root = np.ones(len(G)) if self.root is None else self.root
        if self.direction is None:
            a = self.factor.inverse(np.column_stack([a, root]))
            a, self.direction = a[:, :-1], a[:, -1]
        else:
            a = self.factor.inverse(a)
        b = (root @ a - total) / (root @ self.direction)
        return self.rooted(a - self.direction[:, None] * b), b

    def rooted(self, block):
        return block if self.root is None else self.root[:, None] * block


def system(pairs, n, curvature, lam, has_intercept):
    """The `System` at these curvatures (n,), or None for ones."""
    root = None if curvature is None else np.sqrt(curvature)
    return System(pairs.factor(n, root, lam), root, has_intercept)


def cholesky(pairs, n, root, lam):
    """The `Cholesky` factor in double precision."""
    K = pairs.matrix(np.zeros((n, n)))
    if root is not None:
        K *= root[:, None]
        K *= root
    K.flat[:: n + 1] += lam
    if not factorise(K):
        raise Singular
    return Cholesky(K)


@dataclass(frozen=True, eq=False)
class Solution:
    """α (n, t), b (t,), predictions z = Kα + b, the residual ``R = λ α + s ℓ'(z)``, a `System` for
    each column of y (all the same for a quadratic loss) and the number of factorisations."""

    alpha: Any
    b: Any
    z: Any
    residual: Any
    systems: list
    n_factors: int


def solve_quadratic(pairs, y, weight, lam, has_intercept):
    """Of the loss ``½ (y - z)²``."""
    factor = system(pairs, len(y), weight, lam, has_intercept)
    alpha, b = factor.solve(-y)
    z = pairs.product(alpha) + b
    weights = 1.0 if weight is None else weight[:, None]
    residual = lam * alpha + weights * (z - y)
    return Solution(alpha, b, z, residual, [factor] * y.shape[1], 1)


def solve_newton(pairs, y, weight, loss, lam, has_intercept, start, tol):
    """Of any smooth convex loss, by Newton's method from `start`, (n + 1, t) with the intercept
    last; ``|R| <= tol |λ α|`` for every column."""
    parts = [
        newton_column(pairs, y[:, k], weight, loss, lam, has_intercept, start[:, k], tol)
        for k in range(y.shape[1])
    ]
    return Solution(
        *(np.stack([one[i] for one in parts], axis=-1) for i in range(4)),
        [one[4] for one in parts],
        sum(one[5] for one in parts),
    )


def newton_column(pairs, y, weight, loss, lam, has_intercept, start, tol):
    n, weight = len(y), np.ones(len(y)) if weight is None else weight
    alpha, b = start[:-1].copy(), float(start[-1])
    alpha = alpha - alpha.mean() if has_intercept else alpha
    K_alpha, factor = pairs.product(alpha[:, None])[:, 0], None

    def objective(alpha, K_alpha, b):
        return weight @ derivative(loss, 0, y, K_alpha + b) + 0.5 * lam * alpha @ K_alpha

    for n_iter in range(MAX_NEWTON):
        z = K_alpha + b
        slope = weight * derivative(loss, 1, y, z)
        residual = lam * alpha + slope
        size = np.linalg.norm(lam * alpha) + 1e-300
        is_done = np.linalg.norm(residual) <= tol * size
        factor = None  # before the next one takes as much memory
        factor = system(pairs, n, weight * derivative(loss, 2, y, z), lam, has_intercept)
        if is_done and abs(slope.sum()) <= tol * size * n**0.5:
            return alpha, b, z, residual, factor, n_iter + 1
        # α + step solves λ α + slope + D (K step + db) = 0 with step = -R/λ + β
        K_residual = pairs.product(residual[:, None])[:, 0]
        total = residual.sum() / lam - alpha.sum()
        beta, db = factor.solve(-K_residual[:, None] / lam, total)
        step = beta[:, 0] - residual / lam
        K_step = pairs.product(beta)[:, 0] - K_residual / lam
        before, decrease = objective(alpha, K_alpha, b), residual @ (K_step + db[0])
        t = 1.0
        while t > 1e-6:
            now = objective(alpha + t * step, K_alpha + t * K_step, b + t * db[0])
            if now <= before + 1e-4 * t * min(decrease, 0.0) + 1e-14 * abs(before):
                break
            t *= 0.5
        alpha, K_alpha, b = alpha + t * step, K_alpha + t * K_step, b + t * db[0]
    return alpha, b, K_alpha + b, residual, factor, MAX_NEWTON
