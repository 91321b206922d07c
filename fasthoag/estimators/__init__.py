"""scikit-learn estimators: parameters in, `hoag` called, attributes out. They do no mathematics.

An estimator is its parameters, its loss and its score. What all share is in `tuned`; classifiers
and regressors have one fit each. They are imported on first use, as scikit-learn takes a second."""

from importlib import import_module

_MODULES = {
    "GammaRegressorCV": "log_link",
    "HuberRegressorCV": "regression",
    "LinearSVCCV": "classification",
    "LinearSVRCV": "regression",
    "LogisticRegressionCV": "classification",
    "PoissonRegressorCV": "log_link",
    "QuantileRegressorCV": "quantile",
    "RidgeCV": "regression",
    "TweedieRegressorCV": "log_link",
}
ESTIMATORS = tuple(_MODULES)

__all__ = ["ESTIMATORS", *ESTIMATORS]


def __getattr__(name):
    if name in _MODULES:
        return getattr(import_module(f"fasthoag.estimators.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'fasthoag.estimators' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *ESTIMATORS])
