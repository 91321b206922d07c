"""What is minimised over θ. A criterion is bound to a `Problem` by ``bind(problem)``; see
`BoundCriterion` for what that returns.

`HeldOut` and `KFold` take the loss on rows that did not train; `ApproximateLOO`, `GCV`, `AIC`,
`BIC` and `Evidence` need no such rows; `CustomCriterion` is any function of predictions."""

from fasthoag.criteria.custom import CustomCriterion
from fasthoag.criteria.held_out import BoundCriterion, HeldOut, KFold
from fasthoag.criteria.leverage import AIC, BIC, GCV, ApproximateLOO, Evidence

CRITERIA = {
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
    "CustomCriterion",
    "Evidence",
    "HeldOut",
    "KFold",
]
