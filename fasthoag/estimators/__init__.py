"""scikit-learn estimators: parameters in, `hoag` called, attributes out. They do no mathematics.

An estimator is its parameters, its loss and its score. What all share is in `tuned`; classifiers
and regressors have one fit each. They are imported on first use, as scikit-learn takes a second."""

from importlib import import_module
from typing import TYPE_CHECKING

_MODULES = {
    "GammaRegressorCV": "log_link",
    "HuberRegressorCV": "regression",
    "KernelLogisticRegressionCV": "kernel",
    "KernelRidgeCV": "kernel",
    "LinearSVCCV": "classification",
    "LinearSVRCV": "regression",
    "LogisticRegressionCV": "classification",
    "PoissonRegressorCV": "log_link",
    "QuantileRegressorCV": "quantile",
    "RidgeCV": "regression",
    "RidgeClassifierCV": "ridge_classifier",
    "TweedieRegressorCV": "log_link",
}
ESTIMATORS = tuple(_MODULES)
_MODULES["TunedCV"] = "tuned_cv"  # It wraps an estimator, which it cannot be made without.

__all__ = [
    "ESTIMATORS",
    "GammaRegressorCV",
    "HuberRegressorCV",
    "KernelLogisticRegressionCV",
    "KernelRidgeCV",
    "LinearSVCCV",
    "LinearSVRCV",
    "LogisticRegressionCV",
    "PoissonRegressorCV",
    "QuantileRegressorCV",
    "RidgeCV",
    "RidgeClassifierCV",
    "TunedCV",
    "TweedieRegressorCV",
]


if TYPE_CHECKING:
    from fasthoag.estimators.classification import LinearSVCCV, LogisticRegressionCV
    from fasthoag.estimators.kernel import KernelLogisticRegressionCV, KernelRidgeCV
    from fasthoag.estimators.log_link import (
        GammaRegressorCV,
        PoissonRegressorCV,
        TweedieRegressorCV,
    )
    from fasthoag.estimators.quantile import QuantileRegressorCV
    from fasthoag.estimators.regression import HuberRegressorCV, LinearSVRCV, RidgeCV
    from fasthoag.estimators.ridge_classifier import RidgeClassifierCV
    from fasthoag.estimators.tuned_cv import TunedCV
else:

    def __getattr__(name):
        if name in _MODULES:
            return getattr(import_module(f"fasthoag.estimators.{_MODULES[name]}"), name)
        raise AttributeError(f"module 'fasthoag.estimators' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
