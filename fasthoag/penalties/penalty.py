"""What a penalty is: the protocol, and the base of penalties that are made of another one."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

from fasthoag.penalties.shapes import QUADRATIC


@runtime_checkable
class Penalty(Protocol):
    """``n_hyper(n_features)`` hyperparameters; strengths are per feature, in the user's feature
    order, and never touch the intercept.

    A penalty of your own that has the methods may leave out the attributes, whose values are then
    those that stand here."""

    is_per_class = False  # whether strengths differ by class, (n_features, n_classes)
    n_classes = 1  # of the strengths
    penalty_factor: Any = None  # fixed relative strengths (n_features,)
    # whether every feature has one hyperparameter alone; then ``units(scales)`` are the means of
    # numbers of the features over those of each hyperparameter, and ``of_features(values, n)`` the
    # way back
    is_partition = False
    shape: Any = QUADRATIC  # see `Shape`

    # raises ValueError when it does not fit so many features
    def check(self, n_features): ...
    def n_hyper(self, n_features): ...
    # θ at which strengths are about exp(level), (n_hyper,)
    def start(self, level, n_features): ...
    # bounds of θ for strengths between exp(low) and exp(high), two (n_hyper,)
    def box(self, low, high, n_features): ...
    def strengths(self, theta, n_features): ...  # λ, (n_features,)
    def strengths_vjp(self, theta, u): ...  # (∂λ/∂θ)ᵀ u, (n_hyper,)
    # ∂λ/∂θ, (n_features, n_hyper); asked for few hyperparameters only
    def strengths_jac(self, theta, n_features): ...
    # Σ_j u_j ∂²λ_j/∂θ², (n_hyper, n_hyper); asked for few only
    def strengths_hess(self, theta, u): ...


ATTRIBUTES = ("is_per_class", "n_classes", "penalty_factor", "is_partition", "shape")
METHODS = ("check", "n_hyper", "start", "box", "strengths", "strengths_vjp")


class Made:
    """A penalty that is made of another one, ``self.penalty``, and what it has of that: all but
    what it says itself."""

    penalty: Any

    def __post_init__(self):
        penalty = adopted(self.penalty)
        own = {**vars(type(self)), **vars(self)}
        for name, value in zip(ATTRIBUTES, attrgetter(*ATTRIBUTES)(penalty), strict=True):
            if name not in own:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "penalty", penalty)

    def units(self, scales):
        return self.penalty.units(scales)

    def of_features(self, values, n_features):
        return self.penalty.of_features(values, n_features)

    def check(self, n_features):
        self.penalty.check(n_features)

    def n_hyper(self, n_features):
        return self.penalty.n_hyper(n_features)

    def start(self, level, n_features):
        return self.penalty.start(level, n_features)

    def box(self, low, high, n_features):
        return self.penalty.box(low, high, n_features)

    def strengths(self, theta, n_features):
        return self.penalty.strengths(theta, n_features)

    def strengths_jac(self, theta, n_features):
        return self.penalty.strengths_jac(theta, n_features)

    def strengths_vjp(self, theta, u):
        return self.penalty.strengths_vjp(theta, u)

    def strengths_hess(self, theta, u):
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

    def __post_init__(self):
        """Everything is there already."""


def adopted(penalty):
    """`penalty` itself, or a user's with the attributes that it left out.

    Raises
    ------
    TypeError
        For what is no penalty, naming the methods that it lacks.
    """
    if isinstance(penalty, Penalty) and not isinstance(penalty, type):
        return penalty
    missing = [name for name in METHODS if name not in dir(penalty)]
    if isinstance(penalty, type) or len(missing) == len(METHODS):
        raise TypeError(f"penalty must be a penalty such as fasthoag.Ridge(); got {penalty!r}")
    if missing:
        raise TypeError(
            f"penalty must have the methods of fasthoag.Penalty; {penalty!r} lacks "
            f"{', '.join(missing)}"
        )
    own = {name: getattr(penalty, name, vars(Penalty)[name]) for name in ATTRIBUTES}
    return Adopted(penalty, **own)
