"""Calls as users of scikit-learn write them, with the import changed and nothing else. Each runs
and gives the model of scikit-learn at the strength that was chosen, or is refused by a sentence
before any work."""

import re
import warnings
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import fbeta_score, make_scorer
from sklearn.model_selection import (
    KFold,
    LeaveOneOut,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
)

from fasthoag import ConvergenceWarning, LogisticRegressionCV, RidgeClassifierCV, RidgeCV

GRID = np.logspace(-3, 3, 7)
NO_L1 = "keep scikit-learn's LogisticRegressionCV for the ℓ1 norm, which is not there yet"
SPLITS = [
    (np.arange(0, 150, 2), np.arange(1, 150, 2)),
    (np.arange(1, 150, 2), np.arange(0, 150, 2)),
]


@dataclass(frozen=True)
class Call:
    """The arguments of a call and what comes of it: `says` is in the sentence that refuses it;
    `within` are the least and the largest strength (C or alpha) that it may choose."""

    given: dict[str, Any] = field(default_factory=dict)
    says: str | None = None
    within: tuple[float, float] = (0.0, np.inf)

    def __str__(self):
        given = ", ".join(f"{name}={value}" for name, value in self.given.items())
        return re.sub(r" at 0x\w+", "", " ".join(given.split()))[:80] or "nothing"


def call(says=None, within=(0.0, np.inf), **given):
    return Call(given, says, within)


OF_LOGISTIC_REGRESSION = [
    # each parameter alone
    call(),
    call(Cs=10, within=(1e-4, 1e4)),
    call(Cs=1, within=(1e-4, 1e-4)),
    call(Cs=[1.0], within=(1.0, 1.0)),
    call(Cs=(0.5,), within=(0.5, 0.5)),
    call(Cs=[0.01, 0.1, 1, 10], within=(0.01, 10)),
    call(Cs=np.logspace(-4, 4, 20), within=(1e-4, 1e4)),
    call(Cs=np.logspace(-6, 6, 101), within=(1e-6, 1e6)),
    call(Cs=[0.0], says="Cs"),
    call(Cs=[-1.0, 1.0], says="Cs"),
    call(cv=None),
    call(cv=3),
    call(cv=10),
    call(cv=KFold(4)),
    call(cv=StratifiedKFold(5, shuffle=True, random_state=0)),
    call(cv=RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)),
    call(cv=ShuffleSplit(4, test_size=0.25, random_state=0)),
    call(cv=SPLITS),
    call(cv=iter(SPLITS)),
    call(fit_intercept=True),
    call(fit_intercept=False),
    call(class_weight=None),
    call(class_weight="balanced"),
    call(class_weight={0: 1, 1: 3}),
    call(penalty="l2"),
    call(penalty="deprecated"),
    call(penalty="l1", says=NO_L1),
    call(penalty="elasticnet", says=NO_L1),
    call(penalty=None, says=r"no penalty is Cs=\[np.inf\]"),
    call(penalty="none", says="penalty='none' is not there"),
    call(l1_ratios=None),
    call(l1_ratios=(0,)),
    call(l1_ratios=[0.0]),
    call(l1_ratios=(1,), says=NO_L1),
    call(l1_ratios=[0.1, 0.5, 0.9], says=NO_L1),
    call(dual=False),
    call(dual=True),
    call(solver="lbfgs"),
    call(solver="liblinear"),
    call(solver="newton-cg"),
    call(solver="newton-cholesky"),
    call(solver="sag"),
    call(solver="saga"),
    call(solver="adam", says="solver='adam' is none of scikit-learn's"),
    call(tol=1e-4),
    call(tol=1e-6),
    call(tol=1e-2),
    call(max_iter=100),
    call(max_iter=10_000),
    call(n_jobs=None),
    call(n_jobs=1),
    call(n_jobs=-1),
    call(verbose=0),
    call(verbose=1),
    call(refit=True),
    call(refit=False),
    call(intercept_scaling=1),
    call(intercept_scaling=1.0),
    call(intercept_scaling=100.0, says="intercept_scaling=100.0 has no meaning"),
    call(random_state=None),
    call(random_state=42),
    call(random_state=np.random.RandomState(0)),
    call(multi_class="auto"),
    call(multi_class="multinomial"),
    call(multi_class="deprecated"),
    call(multi_class="ovr", says="OneVsRestClassifier"),
    call(use_legacy_attributes=True),
    call(use_legacy_attributes=False),
    call(scoring=None),
    call(scoring="accuracy"),
    call(scoring="balanced_accuracy"),
    call(scoring="neg_log_loss"),
    call(scoring="neg_brier_score"),
    call(scoring="roc_auc_ovr"),
    call(scoring="f1_macro"),
    call(scoring=make_scorer(fbeta_score, beta=2, average="macro")),
    call(scoring="no_such_scorer", says="scoring"),
    # as in scikit-learn's documents and in the code of its users
    call(cv=5, random_state=0),
    call(Cs=[1.0], cv=3, scoring="neg_log_loss", fit_intercept=False, within=(1.0, 1.0)),
    call(cv=5, random_state=0, solver="liblinear", max_iter=1000),
    call(cv=5, penalty="l2", solver="saga", tol=1e-3, max_iter=5000, n_jobs=-1),
    call(cv=10, class_weight="balanced", max_iter=10_000, n_jobs=-1, random_state=1),
    call(cv=5, dual=False, fit_intercept=True, intercept_scaling=1.0, refit=True, tol=1e-4),
    call(
        cv=5,
        random_state=0,
        use_legacy_attributes=False,
        l1_ratios=(0,),
        scoring="neg_log_loss",
    ),
    call(Cs=10, cv=5, penalty="l2", scoring="accuracy", solver="lbfgs", within=(1e-4, 1e4)),
    call(Cs=GRID, cv=3, solver="newton-cholesky", scoring="neg_log_loss", within=(1e-3, 1e3)),
    call(Cs=[0.1, 1, 10], cv=5, class_weight="balanced", max_iter=1000, within=(0.1, 10)),
    call(Cs=10, cv=5, penalty="l1", solver="liblinear", says=NO_L1),
    call(Cs=10, penalty="elasticnet", solver="saga", l1_ratios=[0, 0.5, 1], says=NO_L1),
]

OF_RIDGE = [
    call(),
    call(alphas=(0.1, 1.0, 10.0), within=(0.1, 10)),
    call(alphas=[1e-3, 1e-2, 1e-1, 1], within=(1e-3, 1)),
    call(alphas=GRID, within=(1e-3, 1e3)),
    call(alphas=np.logspace(-6, 6, 200), within=(1e-6, 1e6)),
    call(alphas=[1.0], within=(1.0, 1.0)),
    call(alphas=0.5, within=(0.5, 0.5)),
    call(alphas=[0.0], cv=5, within=(0.0, 0.0)),
    call(alphas=[-1.0], says="alphas"),
    call(alphas=["one"], says="alphas"),
    call(fit_intercept=False),
    call(cv=None),
    call(cv=5),
    call(cv=KFold(5, shuffle=True, random_state=0)),
    call(cv=ShuffleSplit(4, test_size=0.25, random_state=0)),
    call(cv=SPLITS),
    call(cv=LeaveOneOut()),
    call(gcv_mode=None),
    call(gcv_mode="auto"),
    call(gcv_mode="svd"),
    call(gcv_mode="eigen"),
    call(gcv_mode="qr", says="gcv_mode='qr' is none of"),
    call(alpha_per_target=False),
    call(alpha_per_target=True),
    call(store_cv_results=False),
    call(store_cv_results=True),
    call(scoring="neg_mean_squared_error"),
    call(scoring="r2", cv=5),
    call(scoring="neg_mean_absolute_error", cv=5),
    call(alphas=GRID, cv=5, scoring="neg_mean_squared_error", within=(1e-3, 1e3)),
    call(alphas=GRID, fit_intercept=True, gcv_mode="svd", within=(1e-3, 1e3)),
    call(alphas=GRID, store_cv_results=True, within=(1e-3, 1e3)),
]

OF_RIDGE_CLASSIFIER = [
    call(),
    call(alphas=[1e-3, 1e-2, 1e-1, 1], within=(1e-3, 1)),
    call(alphas=[1.0], within=(1.0, 1.0)),
    call(fit_intercept=False),
    call(cv=None),
    call(cv=5),
    call(cv=StratifiedKFold(4)),
    call(class_weight="balanced"),
    call(class_weight={0: 1, 1: 3}, cv=5),
    call(scoring="accuracy", cv=5),
    call(store_cv_results=True),
]


def two_classes():
    X, y = load_iris(return_X_y=True)
    X, y = X[50:], y[50:] - 1
    rng = np.random.default_rng(0)
    return np.vstack([X, X[:50] + rng.normal(size=(50, 4))]), np.concatenate([y, y[:50]])


def three_classes():
    X, y = load_iris(return_X_y=True)
    return X + np.random.default_rng(0).normal(size=X.shape), y


def numbers():
    X, y = load_diabetes(return_X_y=True)
    return X[:150], y[:150]


def of(calls):
    return pytest.mark.parametrize("call", [pytest.param(one, id=str(one)) for one in calls])


def assert_means_what_it_says(model, call, data, peer, weight=()):
    """`peer` makes the model of scikit-learn of the strength that was chosen and of `weight`, those
    of the arguments that both have."""
    X, y = data
    if call.says is not None:
        model.set_params(callback=lambda record: pytest.fail("work was done"))
        with pytest.raises((ValueError, TypeError), match=call.says):
            model.fit(X, y)
        return
    with warnings.catch_warnings():
        is_bounded = bool({"Cs", "alphas"} & call.given.keys())
        warnings.simplefilter("ignore" if is_bounded else "error", ConvergenceWarning)
        model.set_params(refit_tol=1e-8).fit(X, y)
    strength = np.unique(model.C_ if isinstance(model, LogisticRegressionCV) else model.alpha_)
    assert strength.shape == (1,)
    low, high = call.within
    assert low * (1 - 1e-12) <= strength[0] <= high * (1 + 1e-12)
    shared = {name: call.given[name] for name in ("fit_intercept", *weight) if name in call.given}
    expected = peer(strength[0], **shared).fit(X, y)
    assert model.predict(X).shape == expected.predict(X).shape
    if not call.given.get("refit", True):
        folds = [
            peer(strength[0]).fit(X[rows], y[rows]) for rows, _ in StratifiedKFold(5).split(X, y)
        ]
        expected.coef_ = np.mean([one.coef_ for one in folds], axis=0)
        expected.intercept_ = np.mean([one.intercept_ for one in folds], axis=0)
    scale, digits = np.abs(expected.coef_).max(), 1e-6 if call.given.get("refit", True) else 1e-2
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=digits * scale)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, atol=10 * digits * scale)


def logistic_regression(C, **shared):
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000, **shared)


@of(OF_LOGISTIC_REGRESSION)
@pytest.mark.parametrize("data", [two_classes, three_classes], ids=["two classes", "three classes"])
def test_calls_of_logistic_regression(call, data):
    model = LogisticRegressionCV(**deepcopy(call.given))
    assert_means_what_it_says(model, call, data(), logistic_regression, ["class_weight"])


@of(OF_RIDGE)
def test_calls_of_ridge_regression(call):
    def peer(alpha, **shared):
        return Ridge(alpha=alpha, solver="svd", **shared)

    assert_means_what_it_says(RidgeCV(**deepcopy(call.given)), call, numbers(), peer)


@of(OF_RIDGE_CLASSIFIER)
def test_calls_of_ridge_classification(call):
    model = RidgeClassifierCV(**deepcopy(call.given))
    assert_means_what_it_says(model, call, two_classes(), RidgeClassifier, ["class_weight"])


@pytest.mark.parametrize("Estimator", [RidgeCV, RidgeClassifierCV])
def test_strengths_may_be_passed_without_their_name(Estimator):
    assert Estimator(GRID).get_params()["alphas"] is GRID
