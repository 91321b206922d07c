"""What a criterion is, and what it may ask of a problem."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from fasthoag.null import less_offset

if TYPE_CHECKING:
    from fasthoag.criteria.bound import BoundCriterion
    from fasthoag.criteria.held_out import HeldOut
    from fasthoag.problem import Problem

LIKELIHOODS = ("squared", "logistic", "poisson")


@runtime_checkable
class Criterion(Protocol):
    """What `hoag` asks of a criterion. ``bind`` gives a `BoundCriterion`, whose verbs are the same
    for all."""

    @property
    def gives(self) -> tuple[str, ...]: ...  # of an evaluation: "gradient", perhaps "hessian"
    @property
    def needs(self) -> tuple[str, ...]: ...  # of a problem: names of `REQUIREMENTS`
    def bind(self, problem: "Problem") -> "BoundCriterion": ...
    # this criterion without a fifth of its rows, and a `HeldOut` of these; None where it has no
    # rows of its own
    def hold_back(self, problem: "Problem") -> tuple["Criterion", "HeldOut"] | None: ...


class Requirement(NamedTuple):
    """Whether a problem meets it, and what to say of one that does not."""

    is_met: Callable[[Any], bool]
    sentence: Callable[[str, Any], str]  # of the criterion's name and the problem


def has_noise(problem):
    """Whether targets of least squares differ, so that there is a noise to estimate."""
    weight, y = problem.sample_weight, less_offset(problem.loss, problem.y, problem.offset)
    y = y if weight is None else y[weight > 0]
    return problem.loss.name != "squared" or np.ptp(y) > 0


def smoothing_of(loss):
    return (loss.parameters or {}).get("smoothing", 0.0)


def not_one_output(name, problem):
    return (
        f"{name} needs a smooth loss of one output and hyperparameters of the penalty only; got "
        f"loss '{problem.loss.name}' and {len(problem.tuned)} kinds of other hyperparameters. Use "
        "KFold"
    )


def not_quadratic(name, problem):
    return f"{name} needs a quadratic penalty; got '{problem.penalty.shape.name}'. Use KFold"


def no_likelihood(name, problem):
    return (
        f"{name} is for loss {' or '.join(map(repr, LIKELIHOODS))}; got '{problem.loss.name}'. Use "
        "KFold or ApproximateLOO"
    )


def not_squared(name, problem):
    return f"{name} is for loss 'squared'; got '{problem.loss.name}'. Use KFold or ApproximateLOO"


def is_smoothed(name, problem):
    return (
        f"{name} needs a likelihood; loss '{problem.loss.name}' with "
        f"smoothing={smoothing_of(problem.loss):g} is none. Use KFold or ApproximateLOO"
    )


def too_few_rows(name, problem):
    return (
        f"{name} of least squares needs more rows than coefficients, else a perfect fit makes it "
        f"minus infinity; there are {problem.n_rows} and {problem.design.n_coef}. Use GCV, "
        "ApproximateLOO or KFold"
    )


def no_noise(name, problem):
    return (
        f"{name} of least squares estimates the noise of y; all targets are {problem.y[0]:g}"
        f"{'' if problem.offset is None else ' beside their offset'}. Use KFold"
    )


ONE_OUTPUT = ("smooth", "one output", "penalty only", "quadratic")
REQUIREMENTS = {
    "smooth": Requirement(lambda problem: not problem.loss.has_kinks, not_one_output),
    "one output": Requirement(lambda problem: problem.loss.n_classes == 1, not_one_output),
    "penalty only": Requirement(lambda problem: not problem.tuned, not_one_output),
    "quadratic": Requirement(
        lambda problem: problem.penalty.shape.name == "quadratic", not_quadratic
    ),
    "squared": Requirement(lambda problem: problem.loss.name == "squared", not_squared),
    "likelihood": Requirement(lambda problem: problem.loss.name in LIKELIHOODS, no_likelihood),
    "unsmoothed": Requirement(lambda problem: not smoothing_of(problem.loss), is_smoothed),
    "rows": Requirement(
        lambda problem: problem.loss.name != "squared" or problem.design.n_coef < problem.n_rows,
        too_few_rows,
    ),
    "noise": Requirement(has_noise, no_noise),
}


def check_needs(criterion: Criterion, problem: "Problem") -> None:
    """Raises ValueError where the problem lacks what the criterion needs, naming both."""
    for need in criterion.needs:
        is_met, sentence = REQUIREMENTS[need]
        if not is_met(problem):
            raise ValueError(sentence(type(criterion).__name__, problem))


def check_criterion(criterion: Any) -> None:
    """Raises TypeError for what is no criterion."""
    if isinstance(criterion, type):
        raise TypeError(
            f"criterion must be an instance such as {criterion.__name__}(...); got the class"
        )
    if not isinstance(criterion, Criterion):
        raise TypeError(
            "criterion must be one of fasthoag.HeldOut, KFold, ApproximateLOO, GCV, AIC, BIC, "
            f"Evidence, CustomCriterion; got {type(criterion).__name__}"
        )
