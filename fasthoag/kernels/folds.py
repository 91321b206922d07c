"""Least squares on all folds from ONE factor: with B the inverse of ``A = K + λ S⁻¹`` (of A
bordered by the intercept), a fold F that is held out has the errors ``e = y_F - z_F = B_FF⁻¹ (B
y)_F``, its model the coefficients ``Z = B y - B_:F e``, and with c = -s e its adjoint is ``P = B_:F
B_FF⁻¹ c``:
    ∂f/∂θ_k      = P · ∂_k A Z
    ∂²f/∂θ_k∂θ_l = Σ s ż_k ż_l + P · ∂_kl A Z + ∂_k A P · Ż_l + ∂_l A P · Ż_k
with ``ż_k = B_FF⁻¹ B_F: ∂_k A Z`` and ``Ż_k = B_:F ż_k - B ∂_k A Z``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve

from fasthoag.kernels.derivatives import Derivatives


@dataclass(frozen=True, eq=False)
class Inverse:
    """B, (n, n), of which the lower triangle of C order is there; `correction` (n,) times its
    transpose is to be taken away where there is an intercept."""

    triangle: Any
    correction: Any

    def product(self, block):
        """B times a block (n, c)."""
        out = blas.dsymm(1.0, self.triangle.T, np.asfortranarray(block), side=0, lower=0)
        if self.correction is not None:
            out = out - self.correction[:, None] * (self.correction @ block)
        return np.ascontiguousarray(out)

    def part(self, rows):
        """B_FF of some rows in order."""
        part = np.tril(self.triangle[np.ix_(rows, rows)])
        part = part + np.tril(part, -1).T
        if self.correction is not None:
            part -= np.outer(self.correction[rows], self.correction[rows])
        return part

    def diagonal(self):
        out = self.triangle.diagonal().copy()
        return out if self.correction is None else out - self.correction**2

    def whole(self):
        """B with both triangles, in its own memory."""
        whole = fill_upper(self.triangle)
        if self.correction is not None:
            whole -= np.outer(self.correction, self.correction)
        return whole


def fill_upper(triangle, block=512):
    """`triangle` with its lower part mirrored above the diagonal, in place."""
    n = len(triangle)
    for i in range(0, n, block):
        end = min(i + block, n)
        part = triangle[i:end, i:end]
        part[:] = np.tril(part) + np.tril(part, -1).T
        triangle[i:end, end:] = triangle[end:, i:end].T
    return triangle


def inverse_of(pairs, lam, weight, has_intercept):
    """The `Inverse` of ``K + λ S⁻¹``, bordered by an intercept or not."""
    triangle = pairs.inverse(lam if weight is None else lam / weight)
    if not has_intercept:
        return Inverse(triangle, None)
    s = Inverse(triangle, None).product(np.ones((len(triangle), 1)))[:, 0]
    return Inverse(triangle, s / np.sqrt(s.sum()))


def derivatives_of_folds(pairs, y, weight, tests, lam, has_intercept, has_tangents):
    """(`Derivatives` of the sum over folds, values of every fold, α of all rows with b, relative
    residual). y is (n, t); `tests` are the rows of every fold, which trains on all others."""
    n, t = y.shape
    B = inverse_of(pairs, lam, weight, has_intercept)
    alpha = B.product(y)
    s = np.ones((n, 1)) if weight is None else weight[:, None]
    c, spread = np.zeros((n, len(tests), t)), np.zeros((n, len(tests), 2, t))
    values, solves = np.zeros(len(tests)), []
    for f, rows in enumerate(tests):
        solve = cho_factor(B.part(rows), lower=True)
        e = cho_solve(solve, alpha[rows])
        c[rows, f] = -s[rows] * e
        spread[rows, f, 0], spread[rows, f, 1] = e, cho_solve(solve, c[rows, f])
        values[f] = 0.5 * float(np.sum(s[rows] * e**2))
        solves.append(solve)
    spread = B.product(spread.reshape(n, -1)).reshape(n, len(tests), 2, t)
    Z, P = alpha[:, None] - spread[:, :, 0], spread[:, :, 1]
    for f, rows in enumerate(tests):  # exactly, not up to rounding
        Z[rows, f], P[rows, f] = 0.0, c[rows, f]
    flat = [block.reshape(n, -1) for block in (Z, P)]
    ridge = lam if weight is None else (lam / weight)[:, None]
    both = pairs.derivatives(np.concatenate(flat, axis=1))
    m = flat[0].shape[1]
    dZ = [*both[:, :, :m], ridge * flat[0]]
    dP = [*both[:, :, m:], ridge * flat[1]]
    grad = np.array([np.sum(flat[1] * d) for d in dZ])
    residual = pairs.product(alpha) + ridge * alpha - y
    b = -(s[:, 0] @ residual) / s.sum() if has_intercept else np.zeros(t)
    residual = residual + b
    error = float(np.abs(np.sum(P * residual[:, None])))
    W = np.concatenate([alpha, b[None]])
    relative = float(np.linalg.norm(residual) / (np.linalg.norm(ridge * alpha) + 1e-300))
    if not has_tangents:
        scale = np.linalg.norm([np.sum(np.abs(flat[1] * d)) for d in dZ])
        one = Derivatives(values.sum(), error, grad, scale * relative, None, [])
        return one, values, W, relative
    moved, slopes = [], []
    for d in dZ:
        along = B.product(d).reshape(n, len(tests), t)
        z = np.zeros_like(along)
        for f, rows in enumerate(tests):
            z[rows, f] = cho_solve(solves[f], along[rows, f])
        back = B.product(z.reshape(n, -1)).reshape(along.shape)
        Zdot = back - along
        for f, rows in enumerate(tests):
            Zdot[rows, f] = 0.0
        moved.append(Zdot.reshape(n, -1))
        slopes.append(z.reshape(n, -1))
    grad_again = np.array([np.sum(c.reshape(n, -1) * z) for z in slopes])
    hess = np.array([[np.sum(s * a * z) for a in slopes] for z in slopes])
    cross = np.array([[np.sum(h * a) for a in moved] for h in dP])
    hess += cross + cross.T
    D = len(both)
    hess[:D, :D] += pairs.sums(flat[1], flat[0]).hess
    hess[D, D] += np.sum(flat[1] * ridge * flat[0])
    grad_error = float(np.linalg.norm(grad - grad_again))
    return Derivatives(values.sum(), error, grad, grad_error, hess, []), values, W, relative
