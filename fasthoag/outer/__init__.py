"""Step rules of the outer loop: how θ moves and how accurately the next inner problem is solved."""

from fasthoag.outer.classic import Classic
from fasthoag.outer.lbfgs import LBFGS
from fasthoag.outer.rules import StepRule
from fasthoag.outer.trust_region import TrustRegion

METHODS: dict[str, type[StepRule]] = {"newton": TrustRegion, "lbfgs": LBFGS, "hoag": Classic}
