"""Penalties: how hyperparameters θ become the strengths λ of the smooth part ½ Σ_j λ_j(θ) w_j².

All of them are log-linear, ``λ = penalty_factor exp(A θ)``, and differ in A (n_features, n_hyper):
a column of ones, the identity, membership of groups, a matrix of the user. A penalty of your own
needs the methods of `Penalty` and nothing else."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

MOST_LOG = 345.0  # 1e150
MOST_DENSE = 1 << 22  # numbers of a sparse Z up to which it is made dense


class Penalty(Protocol):
    """``n_hyper(n_features)`` hyperparameters; strengths are per feature, in the user's feature
    order, and never touch the intercept."""

    # raises ValueError when it does not fit so many features
    def check(self, n_features): ...
    def n_hyper(self, n_features): ...
    # θ at which strengths are about exp(level), (n_hyper,)
    def start(self, level, n_features): ...
    # bounds of θ for strengths between exp(low) and exp(high), two (n_hyper,)
    def box(self, low, high, n_features): ...
    def strengths(self, theta, n_features): ...  # λ, (n_features,)
    # ∂λ/∂θ, (n_features, n_hyper); asked for few hyperparameters only
    def strengths_jac(self, theta, n_features): ...
    def strengths_vjp(self, theta, u): ...  # (∂λ/∂θ)ᵀ u, (n_hyper,)
    # Σ_j u_j ∂²λ_j/∂θ², (n_hyper, n_hyper); asked for few only
    def strengths_hess(self, theta, u): ...


class _LogLinear:
    """λ = penalty_factor exp(A θ) from ``_apply(θ, n)`` = A θ, ``_adjoint(u)`` = Aᵀ u and
    ``_matrix(n)`` = A."""

    is_partition = False  # whether A is membership: every feature has one hyperparameter alone

    def units(self, scales):
        """Means of positive numbers of features over those of every hyperparameter of a partition,
        (n_hyper,), the mean of all where it has none."""
        is_there = scales > 0
        count, total = self._adjoint(is_there.astype(np.float64)), self._adjoint(scales)
        whole = scales[is_there].mean() if is_there.any() else 1.0
        return np.where(count > 0, total / np.maximum(count, 1.0), whole)

    def of_features(self, values, n_features):
        """Numbers of hyperparameters of a partition for their features, (n_features,)."""
        return self._apply(values, n_features)

    def check(self, n_features):
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

    def start(self, level, n_features):
        return np.full(self.n_hyper(n_features), float(level))

    def box(self, low, high, n_features):
        k = self.n_hyper(n_features)
        return np.full(k, float(low)), np.full(k, float(high))

    def strengths(self, theta, n_features):
        # beyond, λ is nothing or everything, and its products still are numbers
        lam = np.exp(np.clip(self._apply(theta, n_features), -MOST_LOG, MOST_LOG))
        return lam if self.penalty_factor is None else self.penalty_factor * lam

    def strengths_jac(self, theta, n_features):
        return self.strengths(theta, n_features)[:, None] * self._matrix(n_features)

    def strengths_vjp(self, theta, u):
        return self._adjoint(self.strengths(theta, len(u)) * u)

    def strengths_hess(self, theta, u):
        A = self._matrix(len(u))
        return A.T @ ((self.strengths(theta, len(u)) * u)[:, None] * A)

    def __add__(self, other):
        return SumPenalty(
            (
                *(self.parts if isinstance(self, SumPenalty) else (self,)),
                *(other.parts if isinstance(other, SumPenalty) else (other,)),
            )
        )


@dataclass(frozen=True, eq=False)
class Ridge(_LogLinear):
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

    penalty_factor: Any = None
    is_partition = True

    def n_hyper(self, n_features):
        return 1

    def _apply(self, theta, n_features):
        return np.full(n_features, float(theta[0]))

    def _adjoint(self, u):
        return np.array([np.sum(u)])

    def _matrix(self, n_features):
        return np.ones((n_features, 1))


@dataclass(frozen=True, eq=False)
class FeatureRidge(_LogLinear):
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

    penalty_factor: Any = None
    is_partition = True

    def n_hyper(self, n_features):
        return n_features

    def _apply(self, theta, n_features):
        return np.asarray(theta, np.float64)

    def _adjoint(self, u):
        return u

    def _matrix(self, n_features):
        return np.eye(n_features)


@dataclass(frozen=True, eq=False)
class GroupRidge(_LogLinear):
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

    groups: Any
    penalty_factor: Any = None
    is_partition = True

    def __post_init__(self):
        groups = self.groups
        is_lists = isinstance(groups, dict) or (
            isinstance(groups, (list, tuple)) and len(groups) > 0 and np.ndim(groups[0]) == 1
        )
        if is_lists:
            names = list(groups) if isinstance(groups, dict) else list(range(len(groups)))
            members = [
                np.asarray(m) for m in (groups.values() if isinstance(groups, dict) else groups)
            ]
            if any(m.ndim != 1 or m.dtype.kind not in "iu" or (m < 0).any() for m in members):
                raise ValueError(
                    "groups must be lists of feature numbers >= 0, or one label a feature"
                )
            every = np.concatenate(members)
            size = int(every.max()) + 1 if len(every) else 0
            counts = np.bincount(every, minlength=size)
            if (counts > 1).any():
                raise ValueError(
                    f"groups must not overlap; feature {int(np.argmax(counts > 1))} is in "
                    f"{int(counts.max())} of them. Use a sum of penalties"
                )
            if (counts == 0).any():
                raise ValueError(
                    f"groups must cover all features; feature {int(np.argmin(counts))} is in none"
                )
            index = np.empty(size, np.int64)
            for g, m in enumerate(members):
                index[m] = g
        else:
            labels = np.asarray(groups)
            if labels.ndim != 1 or len(labels) == 0:
                raise ValueError(f"groups must have one label a feature; got shape {labels.shape}")
            found, index = np.unique(labels, return_inverse=True)
            names = found.tolist()
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "index", index)

    def check(self, n_features):
        super().check(n_features)
        if len(self.index) != n_features:
            raise ValueError(
                f"groups must cover all features; they have {len(self.index)} and X has "
                f"{n_features}"
            )

    def n_hyper(self, n_features):
        return len(self.names)

    def _apply(self, theta, n_features):
        return np.asarray(theta, np.float64)[self.index]

    def _adjoint(self, u):
        return np.bincount(self.index, weights=u, minlength=len(self.names))

    def _matrix(self, n_features):
        return np.eye(len(self.names))[self.index]


@dataclass(frozen=True, eq=False)
class StructuredRidge(_LogLinear):
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

    Z: Any
    penalty_factor: Any = None

    def __post_init__(self):
        Z = self.Z if sp.issparse(self.Z) else np.asarray(self.Z, np.float64)
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

    def check(self, n_features):
        super().check(n_features)
        if self.Z.shape[0] != n_features:
            raise ValueError(
                f"Z must have one row a feature; it has {self.Z.shape[0]} and X has {n_features}"
            )

    def n_hyper(self, n_features):
        return self.Z.shape[1]

    def start(self, level, n_features):
        ZZ, Z1 = self.Z.T @ self.Z, np.asarray(self.Z.sum(axis=0)).ravel()
        return np.linalg.lstsq(ZZ.toarray() if sp.issparse(ZZ) else ZZ, level * Z1, rcond=None)[0]

    def box(self, low, high, n_features):
        largest = abs(self.Z).max(axis=0)
        largest = (largest.toarray() if sp.issparse(largest) else largest).ravel()
        reach = max(abs(low), abs(high)) / largest  # each term alone stays within the strengths
        return -reach, reach

    def _apply(self, theta, n_features):
        return np.asarray(self.Z @ np.asarray(theta, np.float64)).ravel()

    def _adjoint(self, u):
        return np.asarray(self.Z.T @ u).ravel()

    def _matrix(self, n_features):
        return self.Z.toarray() if sp.issparse(self.Z) else self.Z


@dataclass(frozen=True, eq=False)
class SumPenalty(_LogLinear):
    """The sum of penalties, ``Ridge() + GroupRidge(groups)``: strengths add, θ is all of theirs in
    order.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> (fasthoag.Ridge() + fasthoag.GroupRidge([0, 1])).strengths(np.zeros(3), 2)
    array([2., 2.])
    """

    parts: tuple

    def _split(self, theta, n_features):
        ends = np.cumsum([part.n_hyper(n_features) for part in self.parts])[:-1]
        return np.split(np.asarray(theta), ends)

    def check(self, n_features):
        for part in self.parts:
            part.check(n_features)

    def n_hyper(self, n_features):
        return sum(part.n_hyper(n_features) for part in self.parts)

    def start(self, level, n_features):
        return np.concatenate(
            [part.start(level - np.log(len(self.parts)), n_features) for part in self.parts]
        )

    def box(self, low, high, n_features):
        boxes = [part.box(low, high, n_features) for part in self.parts]
        return tuple(np.concatenate(side) for side in zip(*boxes, strict=False))

    def strengths(self, theta, n_features):
        return sum(
            part.strengths(t, n_features)
            for part, t in zip(self.parts, self._split(theta, n_features), strict=False)
        )

    def strengths_jac(self, theta, n_features):
        return np.concatenate(
            [
                part.strengths_jac(t, n_features)
                for part, t in zip(self.parts, self._split(theta, n_features), strict=False)
            ],
            axis=1,
        )

    def strengths_vjp(self, theta, u):
        return np.concatenate(
            [
                part.strengths_vjp(t, u)
                for part, t in zip(self.parts, self._split(theta, len(u)), strict=False)
            ]
        )

    def strengths_hess(self, theta, u):
        from scipy.linalg import block_diag

        return block_diag(
            *(
                part.strengths_hess(t, u)
                for part, t in zip(self.parts, self._split(theta, len(u)), strict=False)
            )
        )


@dataclass(frozen=True, eq=False)
class InUnits:
    """A penalty whose θ are relative to a unit of strength, one for all features or an array of
    theirs, λ = unit · penalty(θ): how searches see it, so that no unit of the data is left in their
    θ."""

    penalty: Any
    unit: Any

    def check(self, n_features):
        self.penalty.check(n_features)

    def n_hyper(self, n_features):
        return self.penalty.n_hyper(n_features)

    def start(self, level, n_features):
        return self.penalty.start(level, n_features)

    def box(self, low, high, n_features):
        return self.penalty.box(low, high, n_features)

    def strengths(self, theta, n_features):
        return self.unit * self.penalty.strengths(theta, n_features)

    def strengths_jac(self, theta, n_features):
        unit = self.unit if np.ndim(self.unit) == 0 else self.unit[:, None]
        return unit * self.penalty.strengths_jac(theta, n_features)

    def strengths_vjp(self, theta, u):
        return self.penalty.strengths_vjp(theta, self.unit * u)

    def strengths_hess(self, theta, u):
        return self.penalty.strengths_hess(theta, self.unit * u)

    @property
    def n_classes(self):
        return getattr(self.penalty, "n_classes", 1)

    @property
    def is_per_class(self):
        return getattr(self.penalty, "is_per_class", False)

    @property
    def penalty_factor(self):
        return getattr(self.penalty, "penalty_factor", None)


@dataclass(frozen=True, eq=False)
class PerClass:
    """A penalty for each class of the multinomial loss: θ is that of `penalty` for the first class,
    then for the second, and so on. Over ``FeatureRidge()`` it is a strength for every (feature,
    class).

    Parameters
    ----------
    penalty : Penalty
    n_classes : int

    References
    ----------
    Pedregosa (2016), section 4.3 (a penalty for every feature and class on MNIST).

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> fasthoag.PerClass(fasthoag.Ridge(), 2).strengths(np.log([1.0, 3.0]), 2)
    array([[1., 3.],
           [1., 3.]])
    """

    penalty: Any
    n_classes: int
    is_per_class = True

    def __post_init__(self):
        if not hasattr(self.penalty, "strengths_vjp"):
            raise TypeError(
                f"penalty must be a penalty such as fasthoag.Ridge(); got {self.penalty!r}"
            )
        if not (isinstance(self.n_classes, (int, np.integer)) and self.n_classes >= 2):
            raise ValueError(f"n_classes must be a whole number >= 2; got {self.n_classes!r}")

    @property
    def penalty_factor(self):
        return getattr(self.penalty, "penalty_factor", None)

    @property
    def is_partition(self):
        return getattr(self.penalty, "is_partition", False)

    def units(self, scales):
        return np.tile(self.penalty.units(scales), self.n_classes)

    def of_features(self, values, n_features):
        each = (self.penalty.of_features(v, n_features) for v in self._split(values))
        return np.column_stack(list(each))

    def _split(self, theta):
        return np.split(np.asarray(theta), self.n_classes)

    def check(self, n_features):
        self.penalty.check(n_features)

    def n_hyper(self, n_features):
        return self.n_classes * self.penalty.n_hyper(n_features)

    def start(self, level, n_features):
        return np.tile(self.penalty.start(level, n_features), self.n_classes)

    def box(self, low, high, n_features):
        return tuple(
            np.tile(side, self.n_classes) for side in self.penalty.box(low, high, n_features)
        )

    def strengths(self, theta, n_features):
        return np.column_stack([self.penalty.strengths(t, n_features) for t in self._split(theta)])

    def strengths_vjp(self, theta, u):
        return np.concatenate(
            [self.penalty.strengths_vjp(t, u[:, c]) for c, t in enumerate(self._split(theta))]
        )


@dataclass(frozen=True, eq=False)
class Fixed(_LogLinear):
    """A penalty that is not tuned: its θ are given and there are no hyperparameters. For tuning
    something else, such as the weights of rows, at a strength found before.

    Parameters
    ----------
    penalty : Penalty
    theta : array, shape (n_hyper of penalty,)

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> fasthoag.Fixed(fasthoag.Ridge(), [np.log(2.0)]).strengths(np.empty(0), 2)
    array([2., 2.])
    """

    penalty: Any
    theta: Any

    @property
    def penalty_factor(self):
        return getattr(self.penalty, "penalty_factor", None)

    @property
    def is_per_class(self):
        return getattr(self.penalty, "is_per_class", False)

    @property
    def n_classes(self):
        return self.penalty.n_classes

    def check(self, n_features):
        self.penalty.check(n_features)
        theta, k = np.asarray(self.theta, np.float64), self.penalty.n_hyper(n_features)
        if theta.shape != (k,) or not np.isfinite(theta).all():
            raise ValueError(
                f"theta of a fixed penalty must have shape ({k},) and finite values; got "
                f"{self.theta!r}"
            )

    def n_hyper(self, n_features):
        return 0

    def start(self, level, n_features):
        return np.empty(0)

    def box(self, low, high, n_features):
        return np.empty(0), np.empty(0)

    def strengths(self, theta, n_features):
        return self.penalty.strengths(np.asarray(self.theta, np.float64), n_features)

    def strengths_jac(self, theta, n_features):
        return np.empty((n_features, 0))

    def strengths_vjp(self, theta, u):
        return np.empty(0)

    def strengths_hess(self, theta, u):
        return np.empty((0, 0))


def standardised(penalty):
    """The same penalty with properties of features that are centred (where strengths have a
    constant) and at most 1, and the matrix A of its hyperparameters: θ = A θ'. (penalty, None)
    where nothing changes."""
    if isinstance(penalty, StructuredRidge) and penalty.Z.shape[1] > 1:
        Z, A = standard_columns(penalty.Z)
        return StructuredRidge(Z, penalty.penalty_factor), A
    return penalty, None


def standard_columns(Z):
    """Columns of `Z` less their means, if one of them is constant, over their largest absolute
    value (those of a large sparse matrix only the latter), and A with ``Z A`` the result."""
    Z = Z.toarray() if sp.issparse(Z) and np.prod(Z.shape) <= MOST_DENSE else Z
    is_sparse = sp.issparse(Z)
    A = np.eye(Z.shape[1])
    constant = [] if is_sparse else np.flatnonzero(np.ptp(Z, axis=0) == 0)
    if len(constant):
        others = np.setdiff1d(np.arange(len(A)), constant)
        A[constant[0], others] = -Z[:, others].mean(axis=0) / Z[0, constant[0]]
    size = abs(Z).max(axis=0).toarray().ravel() if is_sparse else np.abs(Z @ A).max(axis=0)
    A = A / size
    return (Z @ sp.diags_array(1 / size) if is_sparse else Z @ A), A


PENALTIES = {
    "ridge": Ridge,
    "feature_ridge": FeatureRidge,
    "group_ridge": GroupRidge,
    "structured_ridge": StructuredRidge,
    "sum": SumPenalty,
    "fixed": Fixed,
}
