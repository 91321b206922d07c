"""Hyperparameters outside the penalty: in the weights of the rows and in the loss. θ of the penalty
comes first, then theirs in order.

Each needs ∂(s ℓ')/∂θ only: with u = X q, the hypergradient is ``-Σ_i u_i ∂(s_i ℓ'_i)/∂θ``, one
product for any number of them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from fasthoag.design.rows import TRAIN
from fasthoag.kinds import array_of, labels_of
from fasthoag.losses import find_loss
from fasthoag.options import is_number
from fasthoag.types import Array, ArrayLike, Handle


def row_slopes(inner, Z, U):
    """-Σ_j s_i ℓ'_ij u_ij of every row, (n_rows,)."""
    terms = inner.rows.terms(inner.loss, 1, TRAIN, Z)
    slopes = inner.rows.map(lambda block, a, u: -block.xp.sum(a * u, axis=1), terms, U)
    return inner.rows.to_host(slopes)


@runtime_checkable
class Tuned(Protocol):
    """What `Problem` asks of a kind of hyperparameter."""

    @property
    def name(self) -> str: ...
    def check(self, problem: Any) -> None: ...  # raises ValueError when it does not fit
    def n_hyper(self, problem: Any) -> int: ...
    def start(self, problem: Any) -> Array: ...  # θ to start from, (n_hyper,)
    def box(self, problem: Any) -> tuple[Array, Array]: ...  # bounds, two (n_hyper,)
    def apply(self, theta: Array, inner: Any) -> Any: ...  # the inner problem at these θ
    # -Σ_i u_i ∂(s_i ℓ'_i)/∂θ from predictions Z and U = X q, both (n_rows, n_folds)
    def vjp(self, theta: Array, inner: Any, Z: Handle, U: Handle) -> Array: ...
    def read(self, theta: Array, problem: Any) -> Any: ...  # what θ means: weights, a parameter


def sigmoid(t: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(t)))


def logit(share: Any) -> Any:
    return np.log(share) - np.log1p(-np.asarray(share))


# weight, slope, bound of |θ|
LINKS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], float]] = {
    "exp": (np.exp, np.exp, 12.0),
    "sigmoid": (sigmoid, lambda t: sigmoid(t) * sigmoid(-np.asarray(t)), 15.0),
}


@dataclass(frozen=True, eq=False)
class SampleWeights:
    """A weight for every row, or every group of rows: ``s_i = sample_weight_i link(θ_g(i))``. With
    one a row, rows that hurt the criterion (wrong labels) lose their weight: data cleaning.

    Parameters
    ----------
    link : {"sigmoid", "exp"}
        ``"sigmoid"`` keeps weights in (0, 1).
    groups : array, shape (n_rows,), optional
        Group of every row; by default each row is its own. θ is in sorted order of the labels.

    References
    ----------
    Pedregosa (2016), eq. 3, with the cross-derivative ``s_i' ℓ'_i x_i``.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(80, 3)), np.ones(3)
    >>> y = np.sign(X @ w)
    >>> y[:10] *= -1  # ten wrong labels
    >>> problem = fasthoag.Problem(X[:40], y[:40], tuned=[fasthoag.SampleWeights()])
    >>> result = fasthoag.hoag(problem, fasthoag.HeldOut(X[40:], y[40:]), tol=1e-2)
    >>> s = problem.read(result.theta)["sample_weights"]
    >>> bool(s[:10].mean() < s[10:].mean())
    True
    """

    link: str = "sigmoid"
    groups: ArrayLike | None = None
    name = "sample_weights"

    if TYPE_CHECKING:  # of `groups`
        labels: Any = field(init=False)
        index: Any = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.link, str) or self.link not in LINKS:
            raise ValueError(
                f"link must be one of {', '.join(map(repr, LINKS))}; got {self.link!r}"
            )
        if self.groups is not None:
            groups = labels_of(self.groups, "groups")
            labels, index = np.unique(groups, return_inverse=True)
            object.__setattr__(self, "labels", labels)
            object.__setattr__(self, "index", index)

    def check(self, problem: Any) -> None:
        if self.groups is not None and self.index.shape != (problem.n_rows,):
            raise ValueError(
                f"groups must have one label a row; got shape {self.index.shape} and X has "
                f"{problem.n_rows} rows"
            )

    def n_hyper(self, problem: Any) -> int:
        return problem.n_rows if self.groups is None else len(self.labels)

    def start(self, problem: Any) -> Array:
        return np.zeros(self.n_hyper(problem))

    def box(self, problem: Any) -> tuple[Array, Array]:
        bound = np.full(self.n_hyper(problem), LINKS[self.link][2])
        return -bound, bound

    def _rows(self, values):
        return values if self.groups is None else values[self.index]

    def _sum(self, values):
        return (
            values
            if self.groups is None
            else np.bincount(self.index, weights=values, minlength=len(self.labels))
        )

    def apply(self, theta: Array, inner: Any) -> Any:
        return inner.with_weight(self._rows(LINKS[self.link][0](theta)))

    def vjp(self, theta: Array, inner: Any, Z: Handle, U: Handle) -> Array:
        weight, slope, _ = LINKS[self.link]
        # with the weight in; its log-derivative replaces it
        rows = row_slopes(inner, Z, U)
        w = self._rows(weight(theta))
        return self._sum(rows * self._rows(slope(theta)) / np.where(w > 0, w, 1.0))

    def read(self, theta: Array, problem: Any) -> Any:
        return LINKS[self.link][0](theta)


@dataclass(frozen=True, eq=False)
class ClassWeights:
    """A weight for each class: ``s_i = sample_weight_i exp(θ_class(i))``, classes in sorted order
    of y.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> problem = fasthoag.Problem(np.eye(3), [1, -1, 1], tuned=[fasthoag.ClassWeights()])
    >>> problem.n_hyper
    3
    """

    name = "class_weights"

    def _inner(self, problem):
        return SampleWeights("exp", problem.y)

    def check(self, problem: Any) -> None:
        if not problem.loss.is_classification:
            raise ValueError(
                f"ClassWeights needs a loss for classes; loss '{problem.loss.name}' is for numbers"
            )

    def n_hyper(self, problem: Any) -> int:
        return len(np.unique(problem.y))

    def start(self, problem: Any) -> Array:
        return np.zeros(self.n_hyper(problem))

    def box(self, problem: Any) -> tuple[Array, Array]:
        return self._inner(problem).box(problem)

    def apply(self, theta: Array, inner: Any) -> Any:
        return self._inner(inner).apply(theta, inner)

    def vjp(self, theta: Array, inner: Any, Z: Handle, U: Handle) -> Array:
        return self._inner(inner).vjp(theta, inner, Z, U)

    def read(self, theta: Array, problem: Any) -> Any:
        return dict(zip(np.unique(problem.y).tolist(), np.exp(theta).tolist(), strict=False))


@dataclass(frozen=True, eq=False)
class Mixture:
    """The mixing weight of two data sets stacked in X: ``s_i = σ(θ)`` in the rows of the second,
    ``1 - σ(θ)`` in those of the first, as in ``αJ₁ + (1 - α)J₂`` of clean and perturbed copies.

    Parameters
    ----------
    is_second : bool array, shape (n_rows,)

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> mixture = fasthoag.Mixture([False, False, True, True])
    >>> problem = fasthoag.Problem(np.eye(4), [1, -1, 1, -1], tuned=[mixture])
    >>> problem.read(np.zeros(2))["mixture"]
    0.5
    """

    is_second: ArrayLike
    name = "mixture"

    def check(self, problem: Any) -> None:
        is_second = array_of(self.is_second, "is_second")
        if (
            is_second.shape != (problem.n_rows,)
            or is_second.dtype != bool
            or is_second.all()
            or not is_second.any()
        ):
            raise ValueError(
                f"is_second must be a boolean for each of the {problem.n_rows} rows, with both "
                f"values; got shape {is_second.shape}, dtype {is_second.dtype}"
            )

    def n_hyper(self, problem: Any) -> int:
        return 1

    def start(self, problem: Any) -> Array:
        return np.zeros(1)

    def box(self, problem: Any) -> tuple[Array, Array]:
        return np.array([-15.0]), np.array([15.0])

    def _weight(self, theta):
        return np.where(self.is_second, sigmoid(theta[0]), sigmoid(-theta[0]))

    def apply(self, theta: Array, inner: Any) -> Any:
        return inner.with_weight(self._weight(theta))

    def vjp(self, theta: Array, inner: Any, Z: Handle, U: Handle) -> Array:
        rows = row_slopes(inner, Z, U)
        # slope / weight
        return np.array(
            [np.sum(rows * np.where(self.is_second, sigmoid(-theta[0]), -sigmoid(theta[0])))]
        )

    def read(self, theta: Array, problem: Any) -> Any:
        return float(sigmoid(theta[0]))


# s ∂ℓ'/∂θ from s ℓ' and s ℓ'' of the loss, θ being the logarithm of its parameter a: these losses
# are aᵏ φ(r / a) of a residual r, so that no formula of theirs is needed. y and z are arrays.
SCALED = {
    ("huber", "delta"): lambda y, z, d1, d2: d1 - (z - y) * d2,
    ("quantile", "smoothing"): lambda y, z, d1, d2: -(z - y) * d2,
    ("smoothed_hinge", "width"): lambda y, z, d1, d2: (y - z) * d2,
}
# the same of a tube, whose ℓ' is its curvature times how far r is outside of it
TUBES = {("squared_epsilon_insensitive", "epsilon"): lambda xp, a, d1, d2: -a * d2 * xp.sign(d1)}
SHARES = ("logistic", "smoothing"), ("multinomial", "smoothing")  # in (0, 1); ℓ' is linear in them
KNOWN = (*SCALED, *TUBES, *SHARES)
# near 1 a loss does not see its labels any more: w = 0 fits them all
SHARE_START, SHARE_LIMITS = 0.05, (1e-4, 0.9)


@dataclass(frozen=True, eq=False)
class LossParameter:
    """A parameter of the training loss, θ its logarithm: δ of "huber", ``smoothing`` of "quantile",
    ``width`` of "smoothed_hinge", ``epsilon`` of "squared_epsilon_insensitive"; or label smoothing
    s, θ = log(s / (1 - s)): ``smoothing`` of "logistic" and "multinomial".

    The criterion keeps the parameter that the loss came with, or has a loss of its own: it does not
    change with θ. Of label smoothing it keeps none (see `find_loss`): what counts on rows that did
    not train are their labels as they are.

    Parameters
    ----------
    parameter : str
    low, high : float
        Bounds of the parameter; by default 1/1000 and 1000 times what the loss has, 0.0001 and 0.9
        for label smoothing, which starts at 0.05 where the loss has none.

    Raises
    ------
    ValueError
        From `Problem`, for a parameter that its loss does not have, and for bounds outside the
        interval of the parameter or in the wrong order.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> delta = fasthoag.LossParameter("delta")
    >>> problem = fasthoag.Problem(np.eye(3), [1.0, 2.0, 30.0], loss="huber", tuned=[delta])
    >>> problem.read(np.log([1.0, 2.0]))["delta"]
    2.0
    >>> smoothing = fasthoag.LossParameter("smoothing")
    >>> problem = fasthoag.Problem(np.eye(3), [1, -1, 1], loss="logistic", tuned=[smoothing])
    >>> round(problem.read([0.0, np.log(1 / 9)])["smoothing"], 12)
    0.1
    """

    parameter: str
    low: float | None = None
    high: float | None = None

    @property
    def name(self) -> str:
        return self.parameter

    def check(self, problem: Any) -> None:
        is_name = isinstance(self.parameter, str)
        if not is_name or (problem.loss.name, self.parameter) not in KNOWN:
            known = ", ".join(f"{p} of {loss}" for loss, p in KNOWN)
            raise ValueError(
                f"parameter {self.parameter!r} of loss '{problem.loss.name}' cannot be tuned; "
                f"known are {known}"
            )
        low, high = self._limits(problem)
        for name, value in (("low", low), ("high", high)):
            if not is_number(value):
                raise ValueError(
                    f"{name} of LossParameter('{self.parameter}') must be a number; got {value!r}"
                )
        most = 1 if self._is_share(problem) else np.inf
        if not 0 < low < high < most:
            raise ValueError(
                f"low and high of LossParameter('{self.parameter}') must satisfy 0 < low < high < "
                f"{most:g}; got {low:g} and {high:g}"
            )

    def n_hyper(self, problem: Any) -> int:
        return 1

    def _is_share(self, problem):
        return (problem.loss.name, self.parameter) in SHARES

    def _now(self, problem):
        now = float(problem.loss.parameters[self.parameter])
        return now or SHARE_START if self._is_share(problem) else now

    def _limits(self, problem):
        low, high = (
            SHARE_LIMITS
            if self._is_share(problem)
            else (self._now(problem) / 1000, self._now(problem) * 1000)
        )
        low, high = (
            own if given is None else float(given) if is_number(given) else given
            for own, given in ((low, self.low), (high, self.high))
        )
        return low, high

    def _theta(self, values, problem):
        return logit(values) if self._is_share(problem) else np.log(values)

    def start(self, problem: Any) -> Array:
        return self._theta([self._now(problem)], problem)

    def box(self, problem: Any) -> tuple[Array, Array]:
        return tuple(self._theta([bound], problem) for bound in self._limits(problem))

    def apply(self, theta: Array, inner: Any) -> Any:
        return replace(
            inner,
            loss=find_loss(
                inner.loss, **{**inner.loss.parameters, self.parameter: self.read(theta, inner)}
            ),
        )

    def vjp(self, theta: Array, inner: Any, Z: Handle, U: Handle) -> Array:
        rows, loss, key = inner.rows, inner.loss, (inner.loss.name, self.parameter)

        def terms(loss, order):
            return rows.terms(loss, order, TRAIN, Z)

        if key in SHARES:
            share = self.read(theta, inner)
            ends = (terms(find_loss(loss, **{self.parameter: end}), 1) for end in (0.5, 0.0))
            total = rows.reduce(lambda block, a, b, u: block.xp.sum((a - b) * u), *ends, U)
            return np.array([-2.0 * share * (1.0 - share) * float(total)])
        parameter = self.read(theta, inner)

        def slope(block, z, u, d1, d2):
            if key in TUBES:
                return block.xp.sum(TUBES[key](block.xp, parameter, d1, d2) * u)
            return block.xp.sum(SCALED[key](block.y, z, d1, d2) * u)

        return np.array([-float(rows.reduce(slope, Z, U, terms(loss, 1), terms(loss, 2)))])

    def read(self, theta: Array, problem: Any) -> Any:
        return float((sigmoid if self._is_share(problem) else np.exp)(theta[0]))


@dataclass(frozen=True, eq=False)
class MixingWeight:
    """The weight α = σ(θ) of a training loss ``α ℓ_a + (1 - α) ℓ_b`` that `mix_losses` made. It
    starts at the weight of the mix, or at 0.05 or 0.95 where that is 0 or 1.

    The criterion keeps the mix that the problem came with, or has a loss of its own: it does not
    change with θ.

    Raises
    ------
    ValueError
        From `Problem`, for a loss that is no mix.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> loss = fasthoag.mix_losses("logistic", "squared_hinge")
    >>> weight = fasthoag.MixingWeight()
    >>> problem = fasthoag.Problem(np.eye(3), [1, -1, 1], loss=loss, tuned=[weight])
    >>> problem.read(np.zeros(2))["mixing_weight"]
    0.5
    """

    name = "mixing_weight"

    def check(self, problem: Any) -> None:
        if problem.loss.mixed is None:
            raise ValueError(
                f"MixingWeight needs a loss made by mix_losses; got loss '{problem.loss.name}'"
            )

    def n_hyper(self, problem: Any) -> int:
        return 1

    def start(self, problem: Any) -> Array:
        weight = problem.loss.parameters["weight"]
        return logit([weight if 0 < weight < 1 else np.clip(weight, SHARE_START, 1 - SHARE_START)])

    def box(self, problem: Any) -> tuple[Array, Array]:
        return np.array([-15.0]), np.array([15.0])

    def apply(self, theta: Array, inner: Any) -> Any:
        return replace(inner, loss=find_loss(inner.loss, weight=self.read(theta, inner)))

    def vjp(self, theta: Array, inner: Any, Z: Handle, U: Handle) -> Array:
        first, second = (inner.rows.terms(loss, 1, TRAIN, Z) for loss in inner.loss.mixed)
        total = inner.rows.reduce(
            lambda block, a, b, u: block.xp.sum((a - b) * u), first, second, U
        )
        return np.array([-float(sigmoid(theta[0]) * sigmoid(-theta[0])) * float(total)])

    def read(self, theta: Array, problem: Any) -> Any:
        return float(sigmoid(theta[0]))


TUNED: dict[str, Callable[..., Tuned]] = {
    "sample_weights": SampleWeights,
    "class_weights": ClassWeights,
    "mixture": Mixture,
    "loss_parameter": LossParameter,
    "mixing_weight": MixingWeight,
}
