"""Hyperparameters of large sparse regression and classification models, tuned by gradient.

>>> import numpy as np, fasthoag
>>> X, y = np.eye(4), np.array([1.0, -1.0, 1.0, -1.0])
>>> fasthoag.hoag(fasthoag.Problem(X, y), fasthoag.HeldOut(X, -y), bounds=(-3, 3)).status
'at_bound'

Names are imported on first use: NumPy, SciPy and scikit-learn take a second, and the command line
listens to signals before it."""

import sys
from types import ModuleType

__version__ = "0.2.0"  # the only place; pyproject.toml reads it

__all__ = [
    "AIC",
    "BIC",
    "GCV",
    "ApproximateLOO",
    "ClassWeights",
    "ConvergenceWarning",
    "Curve",
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
    "Interrupted",
    "KFold",
    "KernelLogisticRegressionCV",
    "KernelProblem",
    "KernelRidgeCV",
    "LinearSVCCV",
    "LinearSVRCV",
    "LogisticRegressionCV",
    "LossParameter",
    "Minimum",
    "MixingWeight",
    "Mixture",
    "PerClass",
    "PoissonRegressorCV",
    "Problem",
    "QuantileRegressorCV",
    "Ridge",
    "RidgeCV",
    "RidgeClassifierCV",
    "SampleWeights",
    "ShardedDesign",
    "SharedRows",
    "SharedRowsWarning",
    "StructuredRidge",
    "SumPenalty",
    "TunedCV",
    "TweedieRegressorCV",
    "check_hypergrad",
    "curve",
    "custom_loss",
    "find_loss",
    "hoag",
    "load_data",
    "load_model",
    "load_svmlight",
    "mix_losses",
    "save_liblinear",
    "save_model",
    "save_report",
    "shared_rows",
]

# Where a name is; the kernels are loaded by a module that says how.
_MODULES = {
    "AIC": "criteria",
    "ApproximateLOO": "criteria",
    "BIC": "criteria",
    "ClassWeights": "tuned",
    "ConvergenceWarning": "outer.result",
    "Curve": "curve",
    "CustomCriterion": "criteria",
    "DaskDesign": "design.dask",
    "Evidence": "criteria",
    "FeatureRidge": "penalties",
    "Fixed": "penalties",
    "GCV": "criteria",
    "GammaRegressorCV": "estimators",
    "GroupRidge": "penalties",
    "HeldOut": "criteria",
    "HoagResult": "outer.result",
    "HuberRegressorCV": "estimators",
    "Interrupted": "outer.record",
    "KFold": "criteria",
    "KernelLogisticRegressionCV": "estimators",
    "KernelProblem": "kernels.problem",
    "KernelRidgeCV": "estimators",
    "LinearSVCCV": "estimators",
    "LinearSVRCV": "estimators",
    "LogisticRegressionCV": "estimators",
    "LossParameter": "tuned",
    "Minimum": "outer.minima",
    "MixingWeight": "tuned",
    "Mixture": "tuned",
    "PerClass": "penalties",
    "PoissonRegressorCV": "estimators",
    "Problem": "problem",
    "QuantileRegressorCV": "estimators",
    "Ridge": "penalties",
    "RidgeCV": "estimators",
    "RidgeClassifierCV": "estimators",
    "SampleWeights": "tuned",
    "ShardedDesign": "design.sharded",
    "SharedRows": "criteria.shared",
    "SharedRowsWarning": "criteria.shared",
    "StructuredRidge": "penalties",
    "SumPenalty": "penalties",
    "TunedCV": "estimators",
    "TweedieRegressorCV": "estimators",
    "_core": "openmp",
    "check_hypergrad": "hoag",
    "curve": "curve",
    "custom_loss": "custom_loss",
    "find_loss": "losses",
    "hoag": "hoag",
    "load_data": "io",
    "load_model": "io",
    "load_svmlight": "io",
    "mix_losses": "losses",
    "save_liblinear": "io",
    "save_model": "io",
    "save_report": "report.save",
    "shared_rows": "shared_rows",
}

TYPE_CHECKING = False  # type checkers take it for that of typing, which takes a while to import
if TYPE_CHECKING:
    from fasthoag import datasets as datasets
    from fasthoag import plots as plots
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
    from fasthoag.criteria.shared import SharedRows, SharedRowsWarning
    from fasthoag.curve import Curve, curve
    from fasthoag.custom_loss import custom_loss
    from fasthoag.design.dask import DaskDesign
    from fasthoag.design.sharded import ShardedDesign
    from fasthoag.estimators import (
        GammaRegressorCV,
        HuberRegressorCV,
        KernelLogisticRegressionCV,
        KernelRidgeCV,
        LinearSVCCV,
        LinearSVRCV,
        LogisticRegressionCV,
        PoissonRegressorCV,
        QuantileRegressorCV,
        RidgeClassifierCV,
        RidgeCV,
        TunedCV,
        TweedieRegressorCV,
    )
    from fasthoag.hoag import check_hypergrad, hoag
    from fasthoag.io import load_data, load_model, load_svmlight, save_liblinear, save_model
    from fasthoag.kernels.problem import KernelProblem
    from fasthoag.losses import find_loss, mix_losses
    from fasthoag.outer.minima import Minimum
    from fasthoag.outer.record import Interrupted
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
    from fasthoag.report.save import save_report
    from fasthoag.shared_rows import shared_rows
    from fasthoag.tuned import ClassWeights, LossParameter, MixingWeight, Mixture, SampleWeights
else:

    def __getattr__(name):
        from importlib import import_module
        from importlib.util import find_spec

        if name in _MODULES:
            globals()[name] = getattr(import_module(f"fasthoag.{_MODULES[name]}"), name)
            return globals()[name]
        if not name.startswith("_") and find_spec(f"fasthoag.{name}"):
            return import_module(f"fasthoag.{name}")
        raise AttributeError(f"module 'fasthoag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Some functions, such as `hoag`, are in modules of their names, which Python would put in
    their place when they are imported."""

    def __setattr__(self, name, value):
        if name not in __all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __reduce__(self):
        """Pickled by name, as other modules are by cloudpickle: a function that names the package
        goes to the workers of joblib and Dask."""
        from importlib import import_module

        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
