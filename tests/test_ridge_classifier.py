"""Least squares on labels."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import RidgeClassifier
from sklearn.linear_model import RidgeClassifierCV as Theirs
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import scale

from fasthoag import RidgeClassifierCV, RidgeCV


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), np.array(["ill", "well"])[y]


def test_by_leave_one_out_it_is_that_of_scikit_learn():
    X, y = cancer()
    ours = RidgeClassifierCV(tol=1e-6, refit_tol=1e-10).fit(X, y)
    theirs = Theirs(np.geomspace(ours.alpha_ / 2, ours.alpha_ * 2, 201)).fit(X, y)
    assert ours.alpha_ == pytest.approx(theirs.alpha_, rel=0.01)
    assert 2 * ours.score_mean_ == pytest.approx(theirs.best_score_, rel=1e-6)  # half the square
    theirs = RidgeClassifier(ours.alpha_).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-8)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-8)
    assert ours.score(X, y) == theirs.score(X, y)


def test_it_is_ridge_regression_on_labels():
    X, y = cancer()
    number = np.where(y == "well", 1.0, -1.0)
    for cv in (None, list(StratifiedKFold(4).split(X, y))):
        model, other = RidgeClassifierCV(cv=cv).fit(X, y), RidgeCV(cv=cv).fit(X, number)
        assert model.alpha_ == pytest.approx(other.alpha_, rel=1e-3)
        np.testing.assert_allclose(model.scores_, other.scores_, rtol=1e-5)


def test_numbers_of_folds_are_stratified():
    X, y = cancer()
    order = np.argsort(y)  # One class after the other.
    model = RidgeClassifierCV(cv=4).fit(X[order], y[order])
    folds = list(StratifiedKFold(4).split(X, y[order]))
    assert model.alpha_ == RidgeClassifierCV(cv=folds).fit(X[order], y[order]).alpha_


def test_three_classes_are_each_against_the_rest():
    X, y = load_iris(return_X_y=True)
    model = RidgeClassifierCV().fit(X, y)
    assert model.alpha_.shape == model.lam_.shape == (3,)
    assert model.coef_.shape == (3, 4)
    for c in range(3):
        one = RidgeClassifierCV().fit(X, y == c)
        assert model.alpha_[c] == pytest.approx(one.alpha_, rel=1e-6)
        np.testing.assert_allclose(model.coef_[c], one.coef_, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(X), model.decision_function(X).argmax(axis=1))


def test_scorers_are_asked_about_labels():
    X, y = cancer()
    model = RidgeClassifierCV(cv=3, scoring=["accuracy", "roc_auc"]).fit(X, y)
    assert (model.hoag_result_.scores["accuracy"] > 0.9).all()
    assert (model.hoag_result_.scores["roc_auc"] > 0.9).all()


def test_a_feature_without_penalty_may_separate_the_classes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    model = RidgeClassifierCV(penalty_factor=[0, 1, 1], cv=4).fit(X, X[:, 0] > 0)
    assert model.score(X, X[:, 0] > 0) > 0.9
