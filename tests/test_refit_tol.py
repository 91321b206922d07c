"""The tolerance of the final fit."""

import warnings

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import is_classifier

import fasthoag
from fasthoag.estimators.tuned import TunedEstimator

EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
linear = pytest.mark.parametrize(
    "Estimator", [E for E in EVERY if issubclass(E, TunedEstimator)], ids=lambda E: E.__name__
)

# the same objective in scikit-learn, at the strength that was chosen for n rows
PEERS = {
    "logistic": (
        fasthoag.LogisticRegressionCV(),
        lambda m, n: linear_model.LogisticRegression(
            C=m.C_, tol=1e-14, max_iter=1000, solver="newton-cholesky"
        ),
    ),
    "ridge": (fasthoag.RidgeCV(), lambda m, n: linear_model.Ridge(alpha=m.alpha_, solver="svd")),
    "ridge by folds": (
        fasthoag.RidgeCV(cv=3, fit_intercept=False),
        lambda m, n: linear_model.Ridge(alpha=m.alpha_, solver="svd", fit_intercept=False),
    ),
    "poisson": (
        fasthoag.PoissonRegressorCV(),
        lambda m, n: linear_model.PoissonRegressor(
            alpha=m.alpha_ / n, tol=1e-14, max_iter=1000, solver="newton-cholesky"
        ),
    ),
}


def rows(Estimator, p):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, p))
    y = np.exp(0.5 * X[:, 0]) * rng.gamma(4, 0.25, size=120)
    return X, (y > 1) if is_classifier(Estimator()) else y


@pytest.mark.parametrize("p", [5, 160])
@pytest.mark.parametrize("name", PEERS)
def test_the_final_model_is_solved_to_ten_digits(name, p):
    model, peer = PEERS[name]
    X, y = rows(type(model), p)
    model = model.set_params(refit_tol=1e-10).fit(X, y)
    expected = peer(model, len(y)).fit(X, y).coef_
    assert np.abs(model.coef_ - expected).max() <= 1e-9 * np.abs(expected).max()


@linear
def test_what_is_chosen_does_not_depend_on_it(Estimator):
    X, y = rows(Estimator, 160)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        usual, exact = (Estimator(cv=3, refit_tol=tol).fit(X, y) for tol in (None, 1e-9))
    if Estimator is not fasthoag.QuantileRegressorCV:  # its corner follows the final model
        assert usual.lam_ == exact.lam_
    difference = np.abs(usual.coef_ - exact.coef_).max()
    assert 0 < difference < 1e-3 * np.abs(exact.coef_).max()


@linear
def test_a_tolerance_that_is_not_reached_is_said_so(Estimator):
    X, y = rows(Estimator, 5)
    with pytest.warns(
        fasthoag.ConvergenceWarning, match="refit_tol=1e-30 is not reached: .*Loosen"
    ):
        Estimator(cv=3, refit_tol=1e-30).fit(X, y)


@linear
@pytest.mark.parametrize("refit_tol", [0, -1e-3, 1, "small", True, np.nan], ids=str)
def test_bad_tolerances(Estimator, refit_tol):
    X, y = rows(Estimator, 5)
    model = Estimator(refit_tol=refit_tol, callback=lambda record: pytest.fail("work was done"))
    with pytest.raises(ValueError, match="refit_tol must be a number between 0 and 1 or None"):
        model.fit(X, y)
