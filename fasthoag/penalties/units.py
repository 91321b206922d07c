"""θ in units that suit the data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from fasthoag.penalties.composed import Shaped
from fasthoag.penalties.penalty import Made, Penalty
from fasthoag.penalties.strengths import StructuredRidge
from fasthoag.types import Array

MOST_DENSE = 1 << 22  # numbers of a sparse Z up to which it is made dense


@dataclass(frozen=True, eq=False)
class InUnits(Made):
    """A penalty whose θ are relative to a unit of strength, one for all features or an array of
    theirs, λ = unit · penalty(θ): how searches see it, so that no unit of the data is left in their
    θ."""

    penalty: Any
    unit: Any

    is_partition = False  # its θ are not those of `units`

    def strengths(self, theta: Array, n_features: int) -> Array:
        return self.unit * self.penalty.strengths(theta, n_features)

    def strengths_jac(self, theta: Array, n_features: int) -> Array:
        unit = self.unit if np.ndim(self.unit) == 0 else self.unit[:, None]
        return unit * self.penalty.strengths_jac(theta, n_features)

    def strengths_vjp(self, theta: Array, u: Array) -> Array:
        return self.penalty.strengths_vjp(theta, self.unit * u)

    def strengths_hess(self, theta: Array, u: Array) -> Array:
        return self.penalty.strengths_hess(theta, self.unit * u)


def standardised(penalty: Any) -> tuple[Penalty, Array | None]:
    """The same penalty with properties of features that are centred (where strengths have a
    constant) and at most 1, and the matrix A of its hyperparameters: θ = A θ'. (penalty, None)
    where nothing changes."""
    if isinstance(penalty, Shaped):
        inner, A = standardised(penalty.penalty)
        return (penalty, None) if A is None else (Shaped(inner, penalty.shape), A)
    if isinstance(penalty, StructuredRidge) and penalty.Z.shape[1] > 1:
        Z, A = standard_columns(penalty.Z)
        return StructuredRidge(Z, penalty.penalty_factor), A
    return penalty, None


def standard_columns(Z: Any) -> tuple[Any, Array]:
    """Columns of `Z` less their means, if one of them is constant, over their largest absolute
    value (those of a large sparse matrix only the latter), and A with ``Z A`` the result."""
    Z = Z.toarray() if sp.issparse(Z) and np.prod(Z.shape) <= MOST_DENSE else Z
    is_sparse = sp.issparse(Z)
    A = np.eye(Z.shape[1])
    constant: Any = [] if is_sparse else np.flatnonzero(np.ptp(Z, axis=0) == 0)
    if len(constant):
        others = np.setdiff1d(np.arange(len(A)), constant)
        A[constant[0], others] = -Z[:, others].mean(axis=0) / Z[0, constant[0]]
    size = abs(Z).max(axis=0).toarray().ravel() if is_sparse else np.abs(Z @ A).max(axis=0)
    A = A / size
    return (Z @ sp.diags_array(1 / size) if is_sparse else Z @ A), A
