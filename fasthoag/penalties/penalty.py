"""What a penalty is: the protocol, and the base of penalties that are made of another one."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

from fasthoag.penalties.shapes import QUADRATIC, Shape
from fasthoag.types import Array


class OwnPenalty(Protocol):
    """The methods that a penalty of your own needs. ``n_hyper(n_features)`` is the number of its
    hyperparameters; strengths are per feature, in the user's feature order, and never touch the
    intercept."""

    # raises ValueError when it does not fit so many features
    def check(self, n_features: int, /) -> None: ...
    def n_hyper(self, n_features: int, /) -> int: ...
    # θ at which strengths are about exp(level), (n_hyper,)
    def start(self, level: float, n_features: int, /) -> Array: ...
    # bounds of θ for strengths between exp(low) and exp(high), two (n_hyper,)
    def box(self, low: float, high: float, n_features: int, /) -> tuple[Array, Array]: ...
    def strengths(self, theta: Array, n_features: int, /) -> Array: ...  # λ, (n_features,)
    # (∂λ/∂θ)ᵀ u, (n_hyper,)
    def strengths_vjp(self, theta: Array, u: Array, /) -> Array: ...


@runtime_checkable
class Penalty(OwnPenalty, Protocol):
    """What `Problem` asks of a penalty. One of your own that has the methods of `OwnPenalty` may
    leave out the attributes, whose values are then those that stand here."""

    @property
    def is_per_class(self) -> bool:
        """Whether strengths differ by class, (n_features, n_classes)."""
        return False

    @property
    def n_classes(self) -> int:
        """Of the strengths."""
        return 1

    @property
    def penalty_factor(self) -> Any:
        """Fixed relative strengths, (n_features,), or None."""
        return None

    @property
    def is_partition(self) -> bool:
        """Whether every feature has one hyperparameter alone. Then ``units(scales)`` are the means
        of numbers of the features over those of each hyperparameter, and ``of_features(values, n)``
        is the way back."""
        return False

    @property
    def shape(self) -> Shape:
        """What the penalty does to a coefficient of strength 1."""
        return QUADRATIC

    @property
    def has_hessian(self) -> bool:
        """Whether it has `strengths_jac` and `strengths_hess`, which method "newton" needs. One of
        your own without them is tuned by method "lbfgs"."""
        return True

    # ∂λ/∂θ, (n_features, n_hyper); asked for few hyperparameters only
    def strengths_jac(self, theta: Array, n_features: int, /) -> Array: ...
    # Σ_j u_j ∂²λ_j/∂θ², (n_hyper, n_hyper); asked for few only
    def strengths_hess(self, theta: Array, u: Array, /) -> Array: ...


SECOND = ("strengths_jac", "strengths_hess")
ATTRIBUTES = ("is_per_class", "n_classes", "penalty_factor", "is_partition", "shape", "has_hessian")
METHODS = ("check", "n_hyper", "start", "box", "strengths", "strengths_vjp")


class Made:
    """A penalty that is made of another one, ``self.penalty``, and what it has of that: all but
    what it says itself."""

    penalty: Any
    is_per_class: bool
    n_classes: int
    penalty_factor: Any
    is_partition: bool
    shape: Shape
    has_hessian: bool

    def __post_init__(self) -> None:
        penalty = adopted(self.penalty)
        own = {**vars(type(self)), **vars(self)}
        for name, value in zip(ATTRIBUTES, attrgetter(*ATTRIBUTES)(penalty), strict=True):
            if name not in own:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "penalty", penalty)

    def units(self, scales: Array) -> Array:
        return self.penalty.units(scales)

    def of_features(self, values: Array, n_features: int) -> Array:
        return self.penalty.of_features(values, n_features)

    def check(self, n_features: int) -> None:
        self.penalty.check(n_features)

    def n_hyper(self, n_features: int) -> int:
        return self.penalty.n_hyper(n_features)

    def start(self, level: float, n_features: int) -> Array:
        return self.penalty.start(level, n_features)

    def box(self, low: float, high: float, n_features: int) -> tuple[Array, Array]:
        return self.penalty.box(low, high, n_features)

    def strengths(self, theta: Array, n_features: int) -> Array:
        return self.penalty.strengths(theta, n_features)

    def strengths_jac(self, theta: Array, n_features: int) -> Array:
        return self.penalty.strengths_jac(theta, n_features)

    def strengths_vjp(self, theta: Array, u: Array) -> Array:
        return self.penalty.strengths_vjp(theta, u)

    def strengths_hess(self, theta: Array, u: Array) -> Array:
        return self.penalty.strengths_hess(theta, u)


@dataclass(frozen=True, eq=False)
class Adopted(Made):
    """A user's penalty with the attributes of `Penalty` that it left out."""

    penalty: Any
    is_per_class: bool
    n_classes: int
    penalty_factor: Any
    is_partition: bool
    shape: Any
    has_hessian: bool

    def __post_init__(self) -> None:
        """Everything is there already."""


def is_missing(penalty: Any, name: str) -> bool:
    """Whether a penalty lacks a method, or has that of a protocol, which does nothing."""
    owners = [cls for cls in type(penalty).__mro__ if name in vars(cls)]
    return name not in dir(penalty) or (owners[:1] in ([OwnPenalty], [Penalty]))


def adopted(penalty: OwnPenalty) -> Penalty:
    """`penalty` itself, or a user's with the attributes that it left out.

    Raises
    ------
    TypeError
        For what is no penalty, naming the methods that it lacks.
    """
    missing = [name for name in METHODS if is_missing(penalty, name)]
    has_hessian = not any(is_missing(penalty, name) for name in SECOND)
    is_whole = has_hessian and not missing
    if isinstance(penalty, Penalty) and not isinstance(penalty, type) and is_whole:
        return penalty
    if isinstance(penalty, type) or len(missing) == len(METHODS):
        raise TypeError(f"penalty must be a penalty such as fasthoag.Ridge(); got {penalty!r}")
    if missing:
        raise TypeError(
            f"penalty must have the methods of fasthoag.penalties.Penalty; {penalty!r} lacks "
            f"{', '.join(missing)}"
        )
    usual = {name: vars(Penalty)[name].fget(penalty) for name in ATTRIBUTES}
    own = {name: getattr(penalty, name, usual[name]) for name in ATTRIBUTES}
    return Adopted(penalty, **own | {"has_hessian": has_hessian and own["has_hessian"]})
