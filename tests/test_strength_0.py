"""Strength 0, which no θ has."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor

import fasthoag
from fasthoag.estimators.tuned import without_penalty
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
    problem = fasthoag.Problem(sp.csr_array(X) if is_sparse else X, y, loss=loss)
    Estimator, peer = ESTIMATORS[loss]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        w = Estimator(refit_tol=1e-10)._refit(problem, np.array([-np.inf]), None)
    coef = peer.fit(X, y).coef_
    coef, found = (coef.T, w[:-1] - w[:-1].mean(1)[:, None]) if w.ndim == 2 else (coef, w[:-1])
    np.testing.assert_allclose(found, np.squeeze(coef), rtol=1e-7, atol=1e-8)


def test_least_squares_go_through_the_rows_where_these_are_few():
    X, y = rows("squared", 20, 60)
    problem = fasthoag.Problem(X, y, loss="squared")
    w = fasthoag.RidgeCV(refit_tol=1e-10)._refit(problem, np.array([-np.inf]), None)
    np.testing.assert_allclose(X @ w[:-1] + w[-1], y, atol=1e-7)


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
    model = ESTIMATORS[loss][0]()
    with pytest.warns(fasthoag.ConvergenceWarning, match=r"strength 0: .*\b1\b.* separate .*posi"):
        w = model._refit(fasthoag.Problem(X, y, loss=loss), np.array([-np.inf]), None)
    assert np.isfinite(w).all()


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
