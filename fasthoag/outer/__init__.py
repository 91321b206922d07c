"""Step rules of the outer loop: how θ moves and how accurately the next inner problem is solved."""

from fasthoag.outer.classic import Classic
from fasthoag.outer.lbfgs import LBFGS
from fasthoag.outer.rules import StepRule
from fasthoag.outer.trials import TRIALS
from fasthoag.outer.trust_region import TrustRegion

__all__ = ["METHODS", "TRIALS"]

METHODS: dict[str, type[StepRule]] = {"newton": TrustRegion, "lbfgs": LBFGS, "hoag": Classic}
