"""Hyperparameters of large sparse regression and classification models, tuned by gradient.

>>> import numpy as np, fasthoag
>>> X, y = np.eye(4), np.array([1.0, -1.0, 1.0, -1.0])
>>> fasthoag.hoag(fasthoag.Problem(X, y), fasthoag.HeldOut(X, -y), bounds=(-3, 3)).status
'at_bound'
"""

from typing import TYPE_CHECKING

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

__version__ = "0.1.0"  # the only place; pyproject.toml reads it

__all__ = [
    "AIC",
    "BIC",
    "GCV",
    "ApproximateLOO",
    "ClassWeights",
    "ConvergenceWarning",
    "CustomCriterion",
    "DaskDesign",
    "Evidence",
    "FeatureRidge",
    "Fixed",
    "GammaRegressorCV",
    "GroupRidge",
    "HeldOut",
    "HoagResult",
    "HuberRegressorCV",
    "KFold",
    "LinearSVCCV",
    "LinearSVRCV",
    "LogisticRegressionCV",
    "LossParameter",
    "MixingWeight",
    "Mixture",
    "PerClass",
    "PoissonRegressorCV",
    "Problem",
    "QuantileRegressorCV",
    "Ridge",
    "RidgeCV",
    "SampleWeights",
    "ShardedDesign",
    "StructuredRidge",
    "SumPenalty",
    "TweedieRegressorCV",
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
]


if TYPE_CHECKING:
    from fasthoag.estimators import (
        GammaRegressorCV,
        HuberRegressorCV,
        LinearSVCCV,
        LinearSVRCV,
        LogisticRegressionCV,
        PoissonRegressorCV,
        QuantileRegressorCV,
        RidgeCV,
        TweedieRegressorCV,
    )
else:

    def __getattr__(name):
        if name in estimators.ESTIMATORS:
            return getattr(estimators, name)
        raise AttributeError(f"module 'fasthoag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *estimators.ESTIMATORS])
