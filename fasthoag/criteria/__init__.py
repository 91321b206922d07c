"""What is minimised over θ. A criterion is bound to a `Problem` by ``bind(problem)``; see
`BoundCriterion` for what that returns.

`HeldOut` and `KFold` take the loss on rows that did not train; `ApproximateLOO`, `GCV`, `AIC`,
`BIC` and `Evidence` need no such rows; `CustomCriterion` is any function of predictions."""

from collections.abc import Callable

from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.criterion import Criterion
from fasthoag.criteria.custom import CustomCriterion
from fasthoag.criteria.evidence import Evidence
from fasthoag.criteria.gcv import GCV
from fasthoag.criteria.held_out import HeldOut
from fasthoag.criteria.information import AIC, BIC
from fasthoag.criteria.k_fold import KFold
from fasthoag.criteria.leave_one_out import ApproximateLOO

CRITERIA: dict[str, Callable[..., Criterion]] = {
    "held_out": HeldOut,
    "k_fold": KFold,
    "loo": ApproximateLOO,
    "gcv": GCV,
    "aic": AIC,
    "bic": BIC,
    "evidence": Evidence,
    "custom": CustomCriterion,
}

__all__ = [
    "AIC",
    "BIC",
    "CRITERIA",
    "GCV",
    "ApproximateLOO",
    "BoundCriterion",
    "Criterion",
    "CustomCriterion",
    "Evidence",
    "HeldOut",
    "KFold",
]
