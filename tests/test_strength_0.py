"""Strength 0, which no θ has."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor

import fasthoag
from fasthoag.estimators.final_fit import without_penalty
from fasthoag.hypergradient import Accuracy
from fasthoag.penalties import NoPenalty
from fasthoag.problem import refit


def rows(loss, n=120, p=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    z = X[:, 0] - 0.5 * X[:, 1]
    if loss == "squared":
        return X, z + rng.normal(size=n)
    if loss == "poisson":
        return X, rng.poisson(np.exp(0.5 * z)).astype(float)
    if loss == "multinomial":
        return X, np.digitize(z + 2 * rng.normal(size=n), [-1, 1]).astype(float)
    return X, np.where(z + rng.normal(size=n) > 0, 1.0, -1.0)


def unpenalised(Estimator, **options):
    """The estimator at strength 0, as its users write it."""
    names = Estimator().get_params()
    return Estimator(**({"Cs": [np.inf]} if "Cs" in names else {"alphas": [0.0]}), **options)


ESTIMATORS = {
    "squared": (fasthoag.RidgeCV, LinearRegression()),
    "logistic": (
        fasthoag.LogisticRegressionCV,
        LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky", max_iter=1000),
    ),
    "multinomial": (
        fasthoag.LogisticRegressionCV,
        LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky", max_iter=1000),
    ),
    "poisson": (
        fasthoag.PoissonRegressorCV,
        PoissonRegressor(alpha=0, tol=1e-12, solver="newton-cholesky", max_iter=1000),
    ),
}


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("loss", ESTIMATORS)
def test_it_is_the_model_without_a_penalty(loss, is_sparse):
    X, y = rows(loss)
    Estimator, peer = ESTIMATORS[loss]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = unpenalised(Estimator, refit_tol=1e-10)
        model.fit(sp.csr_array(X) if is_sparse else X, y)
    peer.fit(X, y)
    found = model.coef_ - model.coef_.mean(0) if loss == "multinomial" else model.coef_
    np.testing.assert_allclose(found, peer.coef_, rtol=1e-7, atol=1e-8)


def test_least_squares_go_through_the_rows_where_these_are_few():
    X, y = rows("squared", 20, 60)
    model = fasthoag.RidgeCV([0.0], cv=3, refit_tol=1e-10).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-7)


@pytest.mark.parametrize("loss", ["logistic", "multinomial", "poisson"])
def test_where_no_finite_coefficients_are_best_a_warning_says_so(loss):
    X, y = rows(loss, 30, 3)
    if loss == "poisson":
        X[:, 1] = X[:, 1] > 0
    y = {
        "logistic": np.where(X[:, 1] > 0, 1.0, -1.0),
        "multinomial": np.digitize(X[:, 1], [-0.5, 0.5]).astype(float),
        "poisson": 3.0 * (X[:, 1] == 0),
    }[loss]
    Estimator, _ = ESTIMATORS[loss]
    with pytest.warns(fasthoag.ConvergenceWarning, match=r"strength 0: .*\b1\b.* separate .*posi"):
        model = unpenalised(Estimator, cv=3).fit(X, y)
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("loss", ESTIMATORS)
def test_folds_have_a_criterion_at_strength_0(loss):
    X, y = rows(loss)
    problem = fasthoag.Problem(X, y, loss=loss)
    bound = fasthoag.KFold(3).bind(without_penalty(problem))
    W = problem.design.zeros(bound.inner.units.n_columns)
    found = bound.evaluate(np.zeros(1), W, Accuracy(1e-6, 1e-6))
    near = fasthoag.KFold(3).bind(problem).evaluate(np.full(1, -15.0), W, Accuracy(1e-6, 1e-6))
    assert found.value == pytest.approx(near.value, rel=1e-5)
    assert found.grad == pytest.approx(0)


def test_no_penalty_is_0_at_every_theta():
    penalty = NoPenalty()
    penalty.check(3)
    assert not penalty.strengths(np.array([5.0]), 3).any()
    assert not penalty.strengths_jac(np.array([5.0]), 3).any()
    X, y = rows("squared")
    problem = fasthoag.Problem(X, y, loss="squared", penalty=penalty)
    np.testing.assert_array_equal(refit(problem, [0.0])[0], refit(problem, [5.0])[0])


@pytest.mark.parametrize("options", [{"store_cv_results": True}, {"scoring": "r2"}, {"cv": 3}])
def test_it_goes_with_what_is_kept_and_with_scorers(options):
    X, y = rows("squared")
    model = fasthoag.RidgeCV([0.0], **options).fit(X, y)
    assert model.alpha_ == 0.0
    if "cv" in options:
        return
    hat = np.column_stack([X, np.ones(len(y))])
    hat = hat @ np.linalg.pinv(hat)
    left_out = (y - hat @ y) / (1 - np.diag(hat))
    if options.get("store_cv_results"):
        np.testing.assert_allclose(model.cv_results_[:, 0], left_out**2, rtol=1e-6, atol=1e-9)
    else:
        expected = 1 - (left_out**2).sum() / ((y - y.mean()) ** 2).sum()
        assert model.best_score_ == pytest.approx(expected, rel=1e-6)
