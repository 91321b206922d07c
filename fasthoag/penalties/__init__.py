"""Penalties: strengths, how hyperparameters θ become a λ for every coefficient, times a shape, what
the penalty does to a coefficient. All of today are quadratic, ½ Σ_j λ_j(θ) w_j².

`strengths` has the maps of the package, `composed` what is made of others, `shapes` the shapes. A
penalty of your own needs the methods of `OwnPenalty`."""

from collections.abc import Callable

from fasthoag.penalties.composed import Fixed, PerClass, Shaped, with_shape_of
from fasthoag.penalties.penalty import OwnPenalty, Penalty, adopted
from fasthoag.penalties.shapes import QUADRATIC, Quadratic, Shape
from fasthoag.penalties.strengths import (
    FeatureRidge,
    GroupRidge,
    NoPenalty,
    Ridge,
    StructuredRidge,
    SumPenalty,
)
from fasthoag.penalties.units import InUnits, standardised

PENALTIES: dict[str, Callable[..., Penalty]] = {
    "ridge": Ridge,
    "feature_ridge": FeatureRidge,
    "group_ridge": GroupRidge,
    "structured_ridge": StructuredRidge,
    "sum": SumPenalty,
    "fixed": Fixed,
}

__all__ = [
    "PENALTIES",
    "QUADRATIC",
    "FeatureRidge",
    "Fixed",
    "GroupRidge",
    "InUnits",
    "NoPenalty",
    "OwnPenalty",
    "Penalty",
    "PerClass",
    "Quadratic",
    "Ridge",
    "Shape",
    "Shaped",
    "StructuredRidge",
    "SumPenalty",
    "adopted",
    "standardised",
    "with_shape_of",
]
