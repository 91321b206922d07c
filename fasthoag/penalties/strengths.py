"""How hyperparameters θ become strengths λ. All maps here are log-linear,
``λ = penalty_factor exp(A θ)``, and differ in A (n_features, n_hyper): a column of ones, the
identity, membership of groups, a matrix of the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from fasthoag.kinds import array_of, labels_of, numbers_of
from fasthoag.penalties.penalty import OwnPenalty, adopted
from fasthoag.penalties.shapes import QUADRATIC
from fasthoag.types import Array, ArrayLike

MOST_LOG = 345.0  # 1e150


class LogLinear:
    """λ = penalty_factor exp(A θ) from ``_apply(θ, n)`` = A θ, ``_adjoint(u)`` = Aᵀ u and
    ``_matrix(n)`` = A."""

    is_per_class: bool = False
    n_classes: int = 1
    shape: Any = QUADRATIC
    is_partition: bool = False  # whether A is membership
    has_hessian: bool = True
    penalty_factor: Any

    def __post_init__(self) -> None:
        if self.penalty_factor is not None:
            factor = np.asarray(numbers_of(self.penalty_factor, "penalty_factor"), np.float64)
            object.__setattr__(self, "penalty_factor", factor)

    def n_hyper(self, n_features: int) -> int:
        raise NotImplementedError

    def _apply(self, theta: Array, n_features: int) -> Array:
        raise NotImplementedError

    def _adjoint(self, u: Array) -> Array:
        raise NotImplementedError

    def _matrix(self, n_features: int) -> Array:
        raise NotImplementedError

    def units(self, scales: Array) -> Array:
        """Means of positive numbers of features over those of every hyperparameter of a partition,
        (n_hyper,), the mean of all where it has none."""
        is_there = scales > 0
        count, total = self._adjoint(is_there.astype(np.float64)), self._adjoint(scales)
        whole = scales[is_there].mean() if is_there.any() else 1.0
        return np.where(count > 0, total / np.maximum(count, 1.0), whole)

    def of_features(self, values: Array, n_features: int) -> Array:
        """Numbers of hyperparameters of a partition for their features, (n_features,)."""
        return self._apply(values, n_features)

    def check(self, n_features: int) -> None:
        factor = self.penalty_factor
        if factor is None:
            return
        factor = np.asarray(factor, np.float64)
        if factor.shape != (n_features,):
            raise ValueError(
                f"penalty_factor must have one value a feature, shape ({n_features},); got shape "
                f"{factor.shape}"
            )
        if not (np.isfinite(factor).all() and (factor >= 0).all() and (factor > 0).any()):
            raise ValueError(
                "penalty_factor must be finite and >= 0 (0: not penalised), and not 0 everywhere"
            )

    def start(self, level: float, n_features: int) -> Array:
        return np.full(self.n_hyper(n_features), float(level))

    def box(self, low: float, high: float, n_features: int) -> tuple[Array, Array]:
        k = self.n_hyper(n_features)
        return np.full(k, float(low)), np.full(k, float(high))

    def strengths(self, theta: Array, n_features: int) -> Array:
        # beyond, λ is nothing or everything, and its products still are numbers
        lam = np.exp(np.clip(self._apply(theta, n_features), -MOST_LOG, MOST_LOG))
        return lam if self.penalty_factor is None else self.penalty_factor * lam

    def strengths_jac(self, theta: Array, n_features: int) -> Array:
        return self.strengths(theta, n_features)[:, None] * self._matrix(n_features)

    def strengths_vjp(self, theta: Array, u: Array) -> Array:
        return self._adjoint(self.strengths(theta, len(u)) * u)

    def strengths_hess(self, theta: Array, u: Array) -> Array:
        A = self._matrix(len(u))
        return A.T @ ((self.strengths(theta, len(u)) * u)[:, None] * A)

    def __add__(self, other: OwnPenalty) -> "SumPenalty":
        return SumPenalty(
            (
                *(self.parts if isinstance(self, SumPenalty) else (self,)),
                *(other.parts if isinstance(other, SumPenalty) else (other,)),
            )
        )


@dataclass(frozen=True, eq=False)
class Ridge(LogLinear):
    """One strength for every feature: λ_j = penalty_factor_j exp(θ), ``C = 1 / λ`` in
    scikit-learn's words.

    Parameters
    ----------
    penalty_factor : array, shape (n_features,), optional
        Fixed relative strengths (glmnet's penalty.factor): 1 by default, 0 for a feature that is
        not penalised.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> fasthoag.Ridge(penalty_factor=np.array([1.0, 0.0])).strengths(np.zeros(1), 2)
    array([1., 0.])
    """

    penalty_factor: ArrayLike | None = None
    is_partition = True

    def n_hyper(self, n_features: int) -> int:
        return 1

    def _apply(self, theta: Array, n_features: int) -> Array:
        return np.full(n_features, float(theta[0]))

    def _adjoint(self, u: Array) -> Array:
        return np.array([np.sum(u)])

    def _matrix(self, n_features: int) -> Array:
        return np.ones((n_features, 1))


@dataclass(frozen=True, eq=False)
class NoPenalty(Ridge):
    """Strength 0 at every θ, which no logarithm has.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.penalties import NoPenalty
    >>> NoPenalty().strengths(np.zeros(1), 2)
    array([0., 0.])
    """

    def strengths(self, theta: Array, n_features: int) -> Array:
        return np.zeros(n_features)


@dataclass(frozen=True, eq=False)
class FeatureRidge(LogLinear):
    """A strength for each feature: λ_j = penalty_factor_j exp(θ_j). Features that do not help are
    taken out by λ_j → ∞ (relevance determination).

    Parameters
    ----------
    penalty_factor : array, shape (n_features,), optional
        As for `Ridge`.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> fasthoag.FeatureRidge().strengths(np.log([1.0, 4.0]), 2)
    array([1., 4.])
    """

    penalty_factor: ArrayLike | None = None
    is_partition = True

    def n_hyper(self, n_features: int) -> int:
        return n_features

    def _apply(self, theta: Array, n_features: int) -> Array:
        return np.asarray(theta, np.float64)

    def _adjoint(self, u: Array) -> Array:
        return u

    def _matrix(self, n_features: int) -> Array:
        return np.eye(n_features)


@dataclass(frozen=True, eq=False)
class GroupRidge(LogLinear):
    """A strength for each group of features: λ_j = penalty_factor_j exp(θ_group(j)).

    Parameters
    ----------
    groups : array, shape (n_features,), or dict of name to indices, or list of index arrays
        The group of every feature, or the features of every group; groups must cover all features
        and not overlap. θ is in sorted order of the labels of an array, else in the order of the
        dict or list.
    penalty_factor : array, shape (n_features,), optional
        As for `Ridge`.

    Attributes
    ----------
    names : list
        Of the groups, in the order of θ.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> fasthoag.GroupRidge(["a", "b", "a"]).strengths(np.log([1.0, 4.0]), 3)
    array([1., 4., 1.])
    """

    groups: ArrayLike | Mapping[Any, ArrayLike] | Sequence[ArrayLike]
    penalty_factor: ArrayLike | None = None
    is_partition = True

    if TYPE_CHECKING:
        names: list[Any] = field(init=False)
        index: Any = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        groups: Any = self.groups
        is_lists = isinstance(groups, dict) or (
            isinstance(groups, (list, tuple)) and len(groups) > 0 and np.ndim(groups[0]) == 1
        )
        if is_lists and len(groups) > 0:
            names = list(groups) if isinstance(groups, dict) else list(range(len(groups)))
            members = [
                array_of(m, "groups")
                for m in (groups.values() if isinstance(groups, dict) else groups)
            ]
            if any(m.ndim != 1 or m.dtype.kind not in "iu" or (m < 0).any() for m in members):
                raise ValueError(
                    "groups must be lists of feature numbers >= 0, or one label a feature"
                )
            # A number of a feature may be of any size: nothing is as long before all are known.
            every, counts = np.unique(np.concatenate(members), return_counts=True)
            if (counts > 1).any():
                raise ValueError(
                    f"groups must not overlap; feature {every[np.argmax(counts > 1)]} is in "
                    f"{counts.max()} of them. Use a sum of penalties"
                )
            is_missing = every != np.arange(len(every))
            if is_missing.any():
                raise ValueError(
                    f"groups must cover all features; feature {np.argmax(is_missing)} is in none"
                )
            index = np.empty(len(every), np.int64)
            for g, m in enumerate(members):
                index[m] = g
        else:
            labels = labels_of(groups, "groups")
            if labels.ndim != 1 or len(labels) == 0:
                raise ValueError(f"groups must have one label a feature; got shape {labels.shape}")
            found, index = np.unique(labels, return_inverse=True)
            names = found.tolist()
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "index", index)

    def check(self, n_features: int) -> None:
        super().check(n_features)
        if len(self.index) != n_features:
            raise ValueError(
                f"groups must cover all features; they have {len(self.index)} and X has "
                f"{n_features}"
            )

    def n_hyper(self, n_features: int) -> int:
        return len(self.names)

    def _apply(self, theta: Array, n_features: int) -> Array:
        return np.asarray(theta, np.float64)[self.index]

    def _adjoint(self, u: Array) -> Array:
        return np.bincount(self.index, weights=u, minlength=len(self.names)).astype(np.float64)

    def _matrix(self, n_features: int) -> Array:
        return np.eye(len(self.names))[self.index]


@dataclass(frozen=True, eq=False)
class StructuredRidge(LogLinear):
    """Strengths that follow known properties of the features: λ = penalty_factor exp(Z γ). Few γ
    regularise what a strength a feature would overfit.

    Parameters
    ----------
    Z : array or sparse matrix, shape (n_features, n_hyper)
        Properties of the features, such as a column of ones, the log frequency, membership of
        groups. θ is γ.
    penalty_factor : array, shape (n_features,), optional
        As for `Ridge`.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> penalty = fasthoag.StructuredRidge(np.array([[1.0, 0.0], [1.0, 2.0]]))
    >>> penalty.strengths(np.log([2.0, 3.0]), 2)
    array([ 2., 18.])
    """

    Z: Any  # an array or a sparse matrix
    penalty_factor: ArrayLike | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        Z = self.Z if sp.issparse(self.Z) else np.asarray(numbers_of(self.Z, "Z"), np.float64)
        values = Z.data if sp.issparse(Z) else Z
        if Z.ndim != 2 or not np.isfinite(values).all():
            raise ValueError(
                f"Z must be a finite matrix with one row a feature; got shape {Z.shape}"
            )
        if (np.asarray(abs(Z).sum(axis=0)).ravel() == 0).any():
            raise ValueError(
                "Z must not have a column of zeros: nothing would depend on its hyperparameter"
            )
        object.__setattr__(self, "Z", Z)

    def check(self, n_features: int) -> None:
        super().check(n_features)
        if self.Z.shape[0] != n_features:
            raise ValueError(
                f"Z must have one row a feature; it has {self.Z.shape[0]} and X has {n_features}"
            )

    def n_hyper(self, n_features: int) -> int:
        return self.Z.shape[1]

    def start(self, level: float, n_features: int) -> Array:
        ZZ, Z1 = self.Z.T @ self.Z, np.asarray(self.Z.sum(axis=0)).ravel()
        return np.linalg.lstsq(ZZ.toarray() if sp.issparse(ZZ) else ZZ, level * Z1, rcond=None)[0]

    def box(self, low: float, high: float, n_features: int) -> tuple[Array, Array]:
        largest = abs(self.Z).max(axis=0)
        largest = (largest.toarray() if sp.issparse(largest) else largest).ravel()
        reach = max(abs(low), abs(high)) / largest  # each term alone stays within the strengths
        return -reach, reach

    def _apply(self, theta: Array, n_features: int) -> Array:
        return np.asarray(self.Z @ np.asarray(theta, np.float64)).ravel()

    def _adjoint(self, u: Array) -> Array:
        return np.asarray(self.Z.T @ u).ravel()

    def _matrix(self, n_features: int) -> Array:
        return self.Z.toarray() if sp.issparse(self.Z) else self.Z


@dataclass(frozen=True, eq=False)
class SumPenalty(LogLinear):
    """The sum of penalties, ``Ridge() + GroupRidge(groups)``: strengths add, θ is all of theirs in
    order.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> (fasthoag.Ridge() + fasthoag.GroupRidge([0, 1])).strengths(np.zeros(3), 2)
    array([2., 2.])
    """

    parts: tuple[Any, ...]
    penalty_factor = None  # of the sum: each part has its own

    def __post_init__(self) -> None:
        if not isinstance(self.parts, (list, tuple)) or not self.parts:
            raise TypeError(
                f"parts of a sum of penalties must be a tuple of one or more; got {self.parts!r}"
            )
        parts = tuple(map(adopted, self.parts))
        first, *_ = parts
        for part in parts:
            if part.is_per_class:
                raise ValueError(
                    f"{type(part).__name__} of a sum has strengths for classes. Sum first: "
                    "PerClass(Ridge() + ..., n_classes)"
                )
            if part.shape != first.shape:
                raise ValueError(
                    "penalties of a sum must have one shape; got "
                    f"'{first.shape.name}' and '{part.shape.name}'"
                )
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "has_hessian", all(part.has_hessian for part in parts))
        object.__setattr__(self, "shape", first.shape)

    def _split(self, theta: Array, n_features: int) -> list[Array]:
        ends = np.cumsum([part.n_hyper(n_features) for part in self.parts])[:-1]
        return np.split(np.asarray(theta), ends)

    def check(self, n_features: int) -> None:
        for part in self.parts:
            part.check(n_features)

    def n_hyper(self, n_features: int) -> int:
        return sum(part.n_hyper(n_features) for part in self.parts)

    def start(self, level: float, n_features: int) -> Array:
        return np.concatenate(
            [part.start(level - np.log(len(self.parts)), n_features) for part in self.parts]
        )

    def box(self, low: float, high: float, n_features: int) -> tuple[Array, Array]:
        boxes = [part.box(low, high, n_features) for part in self.parts]
        least, most = (np.concatenate(side) for side in zip(*boxes, strict=False))
        return least, most

    def strengths(self, theta: Array, n_features: int) -> Array:
        return sum(
            part.strengths(t, n_features)
            for part, t in zip(self.parts, self._split(theta, n_features), strict=False)
        )

    def strengths_jac(self, theta: Array, n_features: int) -> Array:
        return np.concatenate(
            [
                part.strengths_jac(t, n_features)
                for part, t in zip(self.parts, self._split(theta, n_features), strict=False)
            ],
            axis=1,
        )

    def strengths_vjp(self, theta: Array, u: Array) -> Array:
        return np.concatenate(
            [
                part.strengths_vjp(t, u)
                for part, t in zip(self.parts, self._split(theta, len(u)), strict=False)
            ]
        )

    def strengths_hess(self, theta: Array, u: Array) -> Array:
        from scipy.linalg import block_diag

        return block_diag(
            *(
                part.strengths_hess(t, u)
                for part, t in zip(self.parts, self._split(theta, len(u)), strict=False)
            )
        )
