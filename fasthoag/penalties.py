"""Penalties: how hyperparameters θ become the strengths λ of the smooth part ½ Σ_j λ_j(θ) w_j²."""
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Penalty(Protocol):
    """``n_hyper(n_features)`` hyperparameters; strengths are per feature, in the user's feature order, and never touch the intercept."""

    def n_hyper(self, n_features): ...
    def strengths(self, theta, n_features): ...           # λ, (n_features,)
    def strengths_jac(self, theta, n_features): ...       # ∂λ/∂θ, (n_features, n_hyper)
    def strengths_vjp(self, theta, u): ...                # (∂λ/∂θ)ᵀ u, (n_hyper,)
    def strengths_hess(self, theta, u): ...               # Σ_j u_j ∂²λ_j/∂θ², (n_hyper, n_hyper)


@dataclass(frozen=True)
class Ridge:
    """One strength for every feature: λ = exp(θ), ``C = 1 / λ`` in scikit-learn's words.

    Examples
    --------
    >>> import numpy as np
    >>> import fasthoag
    >>> fasthoag.Ridge().strengths(np.zeros(1), 2)
    array([1., 1.])
    """

    def n_hyper(self, n_features):
        return 1

    def strengths(self, theta, n_features):
        return np.full(n_features, np.exp(theta[0]))

    def strengths_jac(self, theta, n_features):
        return np.full((n_features, 1), np.exp(theta[0]))

    def strengths_vjp(self, theta, u):
        return np.array([np.exp(theta[0]) * np.sum(u)])

    def strengths_hess(self, theta, u):
        return np.array([[np.exp(theta[0]) * np.sum(u)]])


PENALTIES = {"ridge": Ridge}
