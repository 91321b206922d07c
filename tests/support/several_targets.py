"""Estimators of linear models, and rows with several targets that suit each of them."""

import numpy as np

import fasthoag
from fasthoag.estimators.tuned import TunedEstimator

LINEAR = [
    E
    for E in (getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS)
    if issubclass(E, TunedEstimator)
]
N_ROWS, N_TARGETS = 90, 3


def is_classifier(Estimator):
    return hasattr(Estimator, "decision_function")


def is_positive(Estimator):
    """Whether no target may be negative."""
    return Estimator().__sklearn_tags__().target_tags.positive_only


def made(Estimator, **options):
    """An estimator whose targets are searched for one by one, by a method that has no factors."""
    own = {"method": "lbfgs"} if "Ridge" in Estimator.__name__ else {}
    own |= {"alpha_per_target": True} if Estimator is fasthoag.RidgeCV else {}
    return Estimator(**{"cv": 3, **own, **options})


def strength_of(model):
    """The attribute of its strength."""
    return "C_" if "Cs" in model.get_params() else "alpha_"


def rows(Estimator, t=N_TARGETS, seed=0):
    """Sparse rows and targets that suit the loss, of little, some and much noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N_ROWS, 8)) * (rng.uniform(size=(N_ROWS, 8)) < 0.7)
    Z = 0.5 * X @ rng.normal(size=(8, t)) + rng.normal(size=(N_ROWS, t)) * np.geomspace(0.1, 1, t)
    if is_classifier(Estimator):
        return X, (Z > 0.2).astype(int)
    if is_positive(Estimator):
        return X, np.exp(Z)
    return X, Z
