"""Hyperparameters of large sparse regression and classification models, tuned by gradient.

>>> import numpy as np, fasthoag
>>> X, y = np.eye(4), np.array([1.0, -1.0, 1.0, -1.0])
>>> fasthoag.hoag(fasthoag.Problem(X, y), fasthoag.HeldOut(X, -y), bounds=(-3, 3)).status
'at_bound'
"""

from fasthoag import estimators, openmp  # noqa: F401  (openmp first: it loads the kernels)
from fasthoag.criteria import (
    AIC,
    BIC,
    GCV,
    ApproximateLOO,
    CustomCriterion,
    Evidence,
    HeldOut,
    KFold,
)
from fasthoag.custom_loss import custom_loss
from fasthoag.design.dask import DaskDesign
from fasthoag.design.sharded import ShardedDesign

# This is imported here at once: later the module would hide the function.
from fasthoag.hoag import check_hypergrad, hoag
from fasthoag.io import load_data, load_model, load_svmlight, save_liblinear, save_model
from fasthoag.losses import find_loss, mix_losses
from fasthoag.outer.result import ConvergenceWarning, HoagResult
from fasthoag.penalties import (
    FeatureRidge,
    Fixed,
    GroupRidge,
    PerClass,
    Ridge,
    StructuredRidge,
    SumPenalty,
)
from fasthoag.problem import Problem
from fasthoag.tuned import ClassWeights, LossParameter, MixingWeight, Mixture, SampleWeights

__version__ = "0.1.0"

__all__ = [
    "AIC",
    "ApproximateLOO",
    "BIC",
    "ClassWeights",
    "ConvergenceWarning",
    "CustomCriterion",
    "DaskDesign",
    "Evidence",
    "FeatureRidge",
    "Fixed",
    "GCV",
    "GroupRidge",
    "HeldOut",
    "HoagResult",
    "KFold",
    "LossParameter",
    "MixingWeight",
    "Mixture",
    "PerClass",
    "Problem",
    "Ridge",
    "SampleWeights",
    "ShardedDesign",
    "StructuredRidge",
    "SumPenalty",
    "check_hypergrad",
    "custom_loss",
    "find_loss",
    "hoag",
    "load_data",
    "load_model",
    "load_svmlight",
    "mix_losses",
    "save_liblinear",
    "save_model",
    *estimators.ESTIMATORS,
]


def __getattr__(name):
    if name in estimators.ESTIMATORS:
        return getattr(estimators, name)
    raise AttributeError(f"module 'fasthoag' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *estimators.ESTIMATORS])
