"""What a step rule is: how θ moves, and how accurately the next evaluation is made."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from fasthoag.hypergradient import Accuracy, Evaluation
from fasthoag.types import Array


class Box(NamedTuple):
    """Bounds of θ, two arrays (n_hyper,)."""

    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True, eq=False)
class Proposal:
    """A step in θ, (n_hyper,), and the decrease of f that it promises. A rule with a model of f
    adds the outer Hessian, the relative error of that, a bound of the hypergradient after the step
    (where that is small enough nobody needs to look), and the step's length in its own unit."""

    step: np.ndarray
    predicted: float
    hess: Any = None
    hess_error: float = np.inf
    error_after: float = np.inf
    length: float = np.nan


class Past(NamedTuple):
    """What a rule remembers of an evaluation."""

    theta: np.ndarray
    grad: np.ndarray
    grad_error: float

    def is_of(self, evaluation: Evaluation) -> bool:
        """Whether it is this evaluation, and not another one at the same θ."""
        is_same = np.array_equal(self.theta, evaluation.theta)
        is_same = is_same and np.array_equal(self.grad, evaluation.grad)
        return is_same and self.grad_error == evaluation.grad_error


class StepRule(Protocol):
    """The verbs of a step rule. The loop proposes, evaluates, and either accepts or rejects;
    `state` and `restore` carry everything that a rule knows to another one of its kind, which goes
    on with the same bits."""

    wants: str  # of an evaluation: "gradient" or "hessian"
    max_iter: int  # accepted steps, unless hoag() is told otherwise
    accuracy: Accuracy  # that the next evaluation should have

    # sets the accuracy to judge it, where slopes and values are told apart from these on
    def propose(
        self, evaluation: Evaluation, box: Box, target: float, allowed: float
    ) -> Proposal: ...
    # whether the trial is taken
    def accept(self, current: Evaluation, trial: Evaluation, proposal: Proposal) -> bool: ...
    # told so when it was not
    def reject(self, current: Evaluation, trial: Evaluation, proposal: Proposal) -> None: ...
    def state(self) -> dict[str, Any]: ...  # plain values and arrays
    def restore(self, state: dict[str, Any]) -> None: ...

    # the best that it knows of the outer Hessian, or None, and the relative error of that
    def hessian(self, evaluation: Evaluation) -> tuple[Array | None, float]: ...


class SecondOrderRule(StepRule, Protocol):
    """A step rule that wants the hessian."""

    # how far f falls by its model where slopes do not tell
    def promise(self, evaluation: Evaluation, box: Box, allowed: float) -> float: ...


def saved(rule: object, names: Iterable[str]) -> dict[str, Any]:
    """A copy of these attributes of a rule."""
    return {name: copy.deepcopy(vars(rule)[name]) for name in names}


def restored(rule: object, state: dict[str, Any], names: Iterable[str]) -> None:
    """Gives a rule the attributes that `saved` took, or some of them."""
    unknown = set(state) - set(names)
    if unknown:
        raise ValueError(
            f"state has {', '.join(sorted(unknown))}, which {type(rule).__name__} does not; it is "
            "that of another rule"
        )
    vars(rule).update(copy.deepcopy(state))
