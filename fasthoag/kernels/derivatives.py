"""The criterion of one fold and its derivatives in θ = (log γ, log λ), from one factor.

With c = s ℓ' of the rows that judge, P = (-π, c) where ``λ π + D (K π + q_b - K_vᵀ c) = 0``, ``Σ π
= Σ c`` is the adjoint, q = (K_vᵀ c - K π - q_b) / λ, and α̇_k, ż_k the tangents,
    ∂f/∂θ_k      = H_k · α             with H_k = ∂_k K P (of all rows, at those that train)
    ∂²f/∂θ_k∂θ_l = Σ s ℓ'' ż_k ż_l + P·∂²K α + H_k · α̇_l + H_l · α̇_k - q · (s ℓ''' ż_k ż_l)
where for λ itself ``H_λ = -λ q``. All sums over the targets.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.losses import derivative


@dataclass(frozen=True, eq=False)
class Judge:
    """Rows that judge a model: pairs with those that train, targets, weights and loss."""

    pairs: Any
    y: Any
    weight: Any
    loss: Any

    def weights(self):
        return np.ones(len(self.y)) if self.weight is None else self.weight

    def terms(self, order, z):
        """Derivatives of s ℓ at predictions z (n, t)."""
        y = self.y if self.y.ndim == 2 else self.y[:, None]
        columns = [derivative(self.loss, order, y[:, k], z[:, k]) for k in range(z.shape[1])]
        return self.weights()[:, None] * np.stack(columns, axis=1)

    def value(self, z):
        return float(self.terms(0, z).sum())


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Of one fold: f, what its error is to first order, ∇f, the largest error of its entries, ∇²f,
    and the tangents of (α, b), (n + 1, t) for each θ."""

    value: float
    value_error: float
    grad: np.ndarray
    grad_error: float
    hess: Any
    tangents: list


def derivatives_of(pairs, train, judge, solution, lam, has_tangents):
    """The `Derivatives` of a fold at its `Solution`; `train` are its rows as a `Judge`."""
    alpha, systems = solution.alpha, solution.systems
    has_intercept, t = systems[0].has_intercept, alpha.shape[1]
    z = judge.pairs.product(alpha) + solution.b
    c = judge.terms(1, z)
    back = judge.pairs.back(c)

    def solve(G, totals):
        """Blocks (n, k, t) and (k, t) by the systems of their targets."""
        n, k, t = G.shape
        totals = totals if has_intercept else np.zeros((k, t))
        if all(one is systems[0] for one in systems):
            beta, b = systems[0].solve(G.reshape(n, -1), totals.ravel())
            return beta.reshape(G.shape), b.reshape(k, t)
        found = [one.solve(G[:, :, i], totals[:, i]) for i, one in enumerate(systems)]
        return np.stack([one[0] for one in found], axis=2), np.stack(
            [one[1] for one in found], axis=1
        )

    # adjoint and tangents in one block: CG makes K once for all of its columns
    d_alpha = pairs.derivatives(alpha) if has_tangents else ()
    moving = [*d_alpha, -(solution.z - solution.b)] if has_tangents else []
    totals = np.zeros((1 + len(moving), t))
    totals[0] = c.sum(axis=0)
    beta, B = solve(np.stack([-back, *moving], axis=1), totals)
    pi, q_b, B = np.ascontiguousarray(beta[:, 0]), B[0], B[1:]
    d_pi = pairs.derivatives(pi)
    q = (back - pairs.product(pi) - q_b) / lam
    H = [*(judge.pairs.derivatives_back(c) - d_pi), -lam * q]
    grad = np.array([np.sum(h * alpha) for h in H])
    value_error = abs(float(np.sum(q * solution.residual)))
    value = judge.value(z)
    if not has_tangents:
        scale = np.array([np.sum(np.abs(h * alpha)) for h in H])
        error = float(np.linalg.norm(scale)) * relative_residual(solution, lam)
        return Derivatives(value, value_error, grad, error, None, [])
    A = list(np.ascontiguousarray(beta[:, 1:].transpose(1, 0, 2)))
    A[-1] = A[-1] - alpha
    moved = judge.pairs.product(np.concatenate(A, axis=1)).reshape(len(z), len(A), t)
    direct = [*judge.pairs.derivatives(alpha), 0.0]
    Z = [moved[:, k] + direct[k] + B[k] for k in range(len(A))]
    grad_again = np.array([np.sum(c * zk) for zk in Z])
    second = judge.terms(2, z)
    hess = np.array([[np.sum(second * a * b) for a in Z] for b in Z])
    cross = np.array([[np.sum(h * a) for a in A] for h in H])
    hess += cross + cross.T
    D = len(d_alpha)
    hess[:D, :D] += judge.pairs.sums(c, alpha).hess - pairs.sums(pi, alpha).hess
    hess[D, D] -= lam * np.sum(q * alpha)
    if not train.loss.is_quadratic:
        hess -= third_order(pairs, train, solution, d_alpha, A, B, q)
    tangents = [np.concatenate([a, b[None]]) for a, b in zip(A, B, strict=True)]
    error = float(np.linalg.norm(grad - grad_again))
    return Derivatives(value, value_error, grad, error, hess, tangents)


def third_order(pairs, train, solution, d_alpha, A, B, q):
    """Σ q s ℓ''' ż_k ż_l over the rows that train."""
    n, t = solution.alpha.shape
    moved = pairs.product(np.concatenate(A, axis=1)).reshape(n, len(A), t)
    direct = [*d_alpha, 0.0]
    Z = [moved[:, k] + direct[k] + B[k] for k in range(len(A))]
    third = q * train.terms(3, solution.z)
    return np.array([[np.sum(third * a * b) for a in Z] for b in Z])


def relative_residual(solution, lam):
    size = np.linalg.norm(lam * solution.alpha) + 1e-300
    return float(np.linalg.norm(solution.residual) / size)
