"""`TunedCV`: no strength of a grid beats the one that it finds, judged by scikit-learn itself."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.metrics import log_loss, make_scorer, mean_tweedie_deviance
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, scale
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.utils.estimator_checks import parametrize_with_checks

import fasthoag
from fasthoag import TunedCV
from fasthoag.estimators import together
from fasthoag.estimators.wrapped import KINDS

TIGHT = {"tol": 1e-9, "max_iter": 20000}


def mean_of(loss):
    """A scorer: minus the mean of ``loss(y, z)``."""

    def score(model, X, y, sample_weight=None):
        z = model.decision_function(X) if is_classifier(model) else model.predict(X)
        return -np.average(loss(signs(model, y, z), z), weights=sample_weight)

    return score


def signs(model, y, z):
    """Targets -1 and +1 beside the predictions of each class against the rest."""
    if not is_classifier(model):
        return y
    of_one = np.asarray(y)[:, None] == model.classes_
    return np.where(of_one if z.ndim == 2 else of_one[:, 1], 1.0, -1.0)


def summed(loss):
    """A loss of the classes against the rest, summed over them."""
    return lambda y, z: loss(y, z) if z.ndim == 1 else loss(y, z).sum(axis=1)


def tube(epsilon):
    return lambda y, z: np.maximum(0, np.abs(z - y) - epsilon) ** 2


def huber(delta):
    return lambda y, z: np.where(
        np.abs(z - y) <= delta, (z - y) ** 2 / 2, delta * np.abs(z - y) - delta**2 / 2
    )


def deviance(power):
    return make_scorer(mean_tweedie_deviance, greater_is_better=False, power=power)


squared_hinge = mean_of(summed(lambda y, z: np.maximum(0, 1 - y * z) ** 2))
squares = mean_of(summed(lambda y, z: (y - z) ** 2))
logistic = mean_of(summed(lambda y, z: np.logaddexp(0, -y * z)))
SGD = {"max_iter": 3000, "tol": None, "random_state": 0, "average": True}
SGD_STEPS = SGD | {"learning_rate": "constant", "eta0": 0.001}

# A model, and what scikit-learn has of the loss that chooses; targets are those of `data`.
EVERY = {
    "ridge": (Ridge(), "neg_mean_squared_error"),
    "ridge without intercept": (Ridge(fit_intercept=False), "neg_mean_squared_error"),
    "logistic": (LogisticRegression(**TIGHT), "neg_log_loss"),
    "logistic balanced": (
        LogisticRegression(class_weight="balanced", **TIGHT),
        "neg_log_loss",
    ),
    "logistic liblinear": (
        LogisticRegression(solver="liblinear", intercept_scaling=0.5, **TIGHT),
        "neg_log_loss",
    ),
    "ridge classifier": (RidgeClassifier(class_weight={0: 2.0}), squares),
    "poisson": (PoissonRegressor(solver="newton-cholesky"), "neg_mean_poisson_deviance"),
    "gamma": (GammaRegressor(solver="newton-cholesky"), "neg_mean_gamma_deviance"),
    "tweedie 0": (TweedieRegressor(power=0, solver="newton-cholesky"), "neg_mean_squared_error"),
    "tweedie 1.5": (
        TweedieRegressor(power=1.5, solver="newton-cholesky"),
        deviance(1.5),
    ),
    "svc": (LinearSVC(**TIGHT), squared_hinge),
    "svc weighted": (
        LinearSVC(class_weight="balanced", intercept_scaling=2, **TIGHT),
        squared_hinge,
    ),
    "svr": (
        LinearSVR(loss="squared_epsilon_insensitive", epsilon=0.3, **TIGHT),
        mean_of(tube(0.3)),
    ),
    "sgd": (SGDClassifier("log_loss", **SGD_STEPS), "neg_log_loss"),
    "sgd huber": (
        SGDRegressor("huber", epsilon=0.5, **SGD_STEPS),
        mean_of(huber(0.5)),
    ),
}
SEVERAL = {
    "logistic": (LogisticRegression(**TIGHT), "neg_log_loss"),
    "logistic weighted": (
        LogisticRegression(class_weight={0: 3.0}, **TIGHT),
        "neg_log_loss",
    ),
    "ridge classifier": (RidgeClassifier(class_weight="balanced"), squares),
    "svc": (LinearSVC(**TIGHT), squared_hinge),
    "svc weighted": (LinearSVC(class_weight={0: 3.0}, **TIGHT), squared_hinge),
    "sgd": (SGDClassifier("squared_hinge", class_weight={0: 3.0}, **SGD_STEPS), squared_hinge),
}


SCORED = {
    type(model): model
    for models in (SEVERAL, EVERY)
    for model, _ in models.values()
    if "intercept" not in str(model) and "liblinear" not in str(model)
}


def data(model, n=83, p=7, n_classes=2, seed=0):
    """Rows with targets for a model: classes, or numbers > 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    z = X[:, 0] - 0.5 * X[:, 1] + 0.7
    if is_classifier(model):
        noisy = z + rng.normal(size=n)
        return X, np.searchsorted(np.quantile(noisy, np.arange(1, n_classes) / n_classes), noisy)
    return X, np.exp(0.5 * z) * rng.gamma(3, 1 / 3, size=n)


def parameter_of(search):
    [(name, value)] = search.best_params_.items()
    return name, value


def check_no_grid_is_better(search, X, y, scoring, tol, **fit_params):
    """The criterion of scikit-learn's own fits at the strength that was found, at its neighbours
    and far away."""
    name, best = parameter_of(search)
    grid = best * np.append(
        np.array([0.5, 0.8, 1.0, 1.25, 2.0]), 10.0 ** np.array([-3.0, -1.0, 1.0, 3.0])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = GridSearchCV(search.estimator, {name: grid}, scoring=scoring, cv=search.cv)
        found.fit(X, y, **fit_params)
    scores = found.cv_results_["mean_test_score"]
    assert search.best_score_ == pytest.approx(scores[2], rel=tol)
    assert scores[2] >= scores.max() - tol * abs(scores.max())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EVERY)
def test_no_strength_of_a_grid_is_better(name):
    model, scoring = EVERY[name]
    X, y = data(model)
    search = TunedCV(model, cv=4).fit(X, y)
    check_no_grid_is_better(search, X, y, scoring, 5e-3 if "sgd" in name else 1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SEVERAL)
def test_several_classes_have_one_strength(name):
    model, scoring = SEVERAL[name]
    X, y = data(model, n_classes=3)
    search = TunedCV(model, cv=4).fit(X, y)
    check_no_grid_is_better(search, X, y, scoring, 5e-3 if "sgd" in name else 1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "model", [kind() for kind in KINDS], ids=lambda model: type(model).__name__
)
def test_a_scorer_judges_what_scikit_learn_would_fit(model, n_classes):
    model = clone(SCORED.get(type(model), model))
    X, y = data(model, n_classes=n_classes)
    scoring = "balanced_accuracy" if is_classifier(model) else "r2"
    search = TunedCV(model, cv=4, scoring=scoring).fit(X, y)
    scores = cross_val_score(search.best_estimator_, X, y, cv=4, scoring=scoring)
    assert search.best_score_ == pytest.approx(scores.mean(), abs=0.02)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


# ---- what is counted ----


@pytest.mark.parametrize(
    "model", [Ridge(), PoissonRegressor(solver="newton-cholesky"), LinearSVC(**TIGHT)]
)
@pytest.mark.filterwarnings("ignore")
def test_weights_count_rows_in_fits_and_where_they_are_held_out(model):
    """A whole number is that many copies of a row, as all of them are in one fold."""
    X, y = data(model)
    weight = np.random.default_rng(1).integers(0, 4, size=len(y)).astype(float)
    splits = list(KFold(4).split(X))
    search = TunedCV(model, cv=splits).fit(X, y, sample_weight=weight)
    copies = np.repeat(np.arange(len(y)), weight.astype(int))
    of_copies = [tuple(np.flatnonzero(np.isin(copies, part)) for part in split) for split in splits]
    again = TunedCV(model, cv=of_copies).fit(X[copies], y[copies])
    assert search.best_score_ == pytest.approx(again.best_score_, rel=1e-6)
    assert parameter_of(search)[1] == pytest.approx(parameter_of(again)[1], rel=1e-2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["svc weighted", "poisson", "logistic balanced", "sgd huber"])
def test_weights_and_class_weights_together_are_those_of_scikit_learn(name):
    model, scoring = EVERY[name]
    X, y = data(model)
    weight = np.random.default_rng(1).uniform(0.1, 3, size=len(y))
    search = TunedCV(model, cv=4).fit(X, y, sample_weight=weight)
    model = clone(search.estimator).set_params(**search.best_params_)
    values = []
    for train, test in (StratifiedKFold if is_classifier(model) else KFold)(4).split(X, y):
        model.fit(X[train], y[train], sample_weight=weight[train])
        scorer = make_scorer(log_loss, greater_is_better=False, response_method="predict_proba")
        scorer = {"neg_log_loss": scorer, "neg_mean_poisson_deviance": deviance(1)}.get(
            scoring if isinstance(scoring, str) else "", scoring
        )
        values.append(scorer(model, X[test], y[test], sample_weight=weight[test]))
    tol = 5e-3 if "sgd" in name else 1e-5
    assert search.best_score_ == pytest.approx(np.mean(values), rel=tol)


def test_folds_of_different_sizes_count_alike():
    """The strength of a mean loss is another one in every fold, and so is a fold's number of
    rows."""
    model = PoissonRegressor(solver="newton-cholesky")
    X, y = data(model)
    groups = np.sort(np.random.default_rng(0).choice(4, size=len(y), p=[0.6, 0.2, 0.1, 0.1]))
    search = TunedCV(model, cv=GroupKFold(4)).fit(X, y, groups=groups)
    assert search.n_splits_ == 4
    check_no_grid_is_better(search, X, y, "neg_mean_poisson_deviance", 1e-4, groups=groups)


def test_folds_of_equal_sizes_are_one_problem_with_the_same_result():
    X, y = data(Ridge(), n=80)
    joint = TunedCV(Ridge(), cv=4, tol=1e-7).fit(X, y)
    # Steps that do nothing make each fold a problem by itself.
    steps = Pipeline([("same", FunctionTransformer()), ("model", Ridge())])
    apart = TunedCV(steps, cv=4, tol=1e-7).fit(X, y)
    assert joint.best_score_ == pytest.approx(apart.best_score_, rel=1e-7)
    assert list(apart.best_params_) == ["model__alpha"]
    alpha = apart.best_params_["model__alpha"]
    assert joint.best_params_["alpha"] == pytest.approx(alpha, rel=1e-4)
    tuned = fasthoag.RidgeCV(cv=4, tol=1e-6).fit(X, y)
    assert joint.best_params_["alpha"] == pytest.approx(tuned.alpha_, rel=1e-4)


def test_folds_that_differ_by_less_than_a_thousandth_count_as_equal():
    model = PoissonRegressor(solver="newton-cholesky")
    X, y = data(model, n=4001, p=3)
    search = TunedCV(model, cv=2).fit(X, y)
    check_no_grid_is_better(search, X, y, "neg_mean_poisson_deviance", 1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["ridge", "logistic", "svc", "poisson"])
def test_three_looks_at_large_data_end_at_the_same_strength(name, monkeypatch):
    model, _ = EVERY[name]
    X, y = data(model)
    want = TunedCV(model, cv=4, tol=1e-6).fit(X, y)
    monkeypatch.setattr(together, "SMALL", 0)
    found = TunedCV(model, cv=4, tol=1e-6).fit(X, y)
    assert sum(one["phase"] == "look" for one in found.hoag_result_.trace) <= 3
    assert parameter_of(found)[1] == pytest.approx(parameter_of(want)[1], rel=1e-3)


def test_rows_that_train_twice_count_twice():
    X, y = data(Ridge())
    rng = np.random.default_rng(0)
    draws = [rng.choice(len(y), size=len(y)) for _ in range(3)]
    splits = [(draw, np.setdiff1d(np.arange(len(y)), draw)) for draw in draws]
    search = TunedCV(Ridge(), cv=splits).fit(X, y)
    check_no_grid_is_better(search, X, y, "neg_mean_squared_error", 1e-4)


def test_several_targets_have_one_strength():
    X, y = data(Ridge())
    Y = np.column_stack([y, X[:, 2] + 0.1 * y, 3 * X[:, 3]])
    search = TunedCV(Ridge(), cv=4).fit(X, Y)
    assert search.predict(X).shape == Y.shape
    check_no_grid_is_better(search, X, Y, "neg_mean_squared_error", 1e-4)


@pytest.mark.parametrize("model", [Ridge(), LogisticRegression(**TIGHT)])
def test_strengths_follow_the_unit_of_the_features(model):
    X, y = data(model)
    found, scaled = (TunedCV(model, cv=4).fit(unit * X, y) for unit in (1.0, 64.0))
    ratio = parameter_of(scaled)[1] / parameter_of(found)[1]
    power = 2 if isinstance(model, Ridge) else -2
    assert ratio == pytest.approx(64.0**power, rel=1e-3)
    assert scaled.best_score_ == pytest.approx(found.best_score_, rel=1e-6)


@pytest.mark.parametrize("model", [Ridge(), LogisticRegression(**TIGHT), LinearSVC(**TIGHT)])
def test_sparse_and_float32_rows_are_tuned_alike(model):
    X, y = data(model)
    X[np.abs(X) < 0.5] = 0.0
    X = X.astype(np.float32)
    want = TunedCV(model, cv=4).fit(X.astype(np.float64), y)
    for other in (X, sp.csr_array(X), sp.csc_matrix(X.astype(np.float64))):
        found = TunedCV(model, cv=4).fit(other, y)
        assert parameter_of(found)[1] == pytest.approx(parameter_of(want)[1], rel=1e-3)
        assert found.best_score_ == pytest.approx(want.best_score_, rel=1e-5)


# ---- pipelines ----


def test_steps_are_fitted_on_the_training_rows_of_every_fold():
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8, max_iter=1000))
    search = TunedCV(model).fit(X, y)
    check_no_grid_is_better(search, X, y, "neg_log_loss", 1e-4)
    assert search.best_estimator_[0].mean_ == pytest.approx(X.mean(axis=0))


def test_words_may_differ_between_folds():
    rng = np.random.default_rng(0)
    words = np.array([f"word{k}" for k in range(60)])
    y = rng.integers(0, 2, size=90)
    texts = [" ".join(rng.choice(words[20 * label : 20 * label + 40], size=6)) for label in y]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(tol=1e-8))
    search = TunedCV(model, cv=3).fit(texts, np.array(["no", "yes"])[y])
    check_no_grid_is_better(search, texts, np.array(["no", "yes"])[y], "neg_log_loss", 1e-4)
    by_rank = TunedCV(model, cv=3, scoring="roc_auc").fit(texts, y)
    auc = cross_val_score(by_rank.best_estimator_, texts, y, scoring="roc_auc", cv=3).mean()
    assert by_rank.best_score_ == pytest.approx(auc, abs=1e-3)


def test_it_may_be_a_step_of_a_pipeline():
    X, y = data(LogisticRegression())
    model = make_pipeline(StandardScaler(), TunedCV(LogisticRegression(), cv=3)).fit(X, y)
    assert model.predict_proba(X).shape == (len(y), 2)
    assert cross_val_score(model, X, y, cv=3).shape == (3,)


def test_steps_get_what_is_meant_for_them():
    X, y = data(Ridge())
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    model = Pipeline([("scale", StandardScaler()), ("model", Ridge())])
    names = {"scale__sample_weight": weight, "model__sample_weight": weight}
    search = TunedCV(model, cv=4).fit(X, y, **names)
    with config_context(enable_metadata_routing=True):
        steps = [
            ("scale", StandardScaler().set_fit_request(sample_weight=True)),
            ("model", Ridge().set_fit_request(sample_weight=True)),
        ]
        routed = TunedCV(Pipeline(steps), cv=4).fit(X, y, sample_weight=weight)
    assert routed.best_params_ == search.best_params_
    other = TunedCV(model, cv=4).fit(X, y, model__sample_weight=weight)
    assert other.best_params_ != search.best_params_


# ---- as GridSearchCV ----


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc", "f1", None])
def test_the_best_of_a_scorer_is_that_of_scikit_learns_fits(scoring):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X[:, :8])
    model = LogisticRegression(tol=1e-8, max_iter=1000)
    search = TunedCV(model, scoring=scoring).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == scores.max() == scores[search.best_index_]
    assert search.cv_results_["rank_test_score"][search.best_index_] == 1
    grid = {"C": search.cv_results_["param_C"].data}
    found = GridSearchCV(model, grid, scoring=scoring or "neg_log_loss").fit(X, y)
    assert scores == pytest.approx(found.cv_results_["mean_test_score"], abs=1e-4)
    for k in range(5):
        name = f"split{k}_test_score"
        assert search.cv_results_[name] == pytest.approx(found.cv_results_[name], abs=1e-3)
    assert set(search.cv_results_) - {"mean_test_loss"} <= set(found.cv_results_)
    assert search.score(X, y) == pytest.approx(
        GridSearchCV(model, {"C": [search.best_params_["C"]]}, scoring=scoring)
        .fit(X, y)
        .score(X, y)
    )


def test_the_best_estimator_is_scikit_learns_own_at_the_strength_that_was_found():
    X, y = load_wine(return_X_y=True)
    search = TunedCV(LogisticRegression(C=7.0, max_iter=500), cv=3).fit(scale(X), y)
    assert type(search.best_estimator_) is LogisticRegression
    assert search.best_estimator_.C == search.best_params_["C"] == 1 / search.hoag_result_.lam[0]
    again = LogisticRegression(C=search.best_params_["C"], max_iter=500).fit(scale(X), y)
    np.testing.assert_array_equal(search.predict_proba(scale(X)), again.predict_proba(scale(X)))
    assert (search.classes_ == [0, 1, 2]).all()
    assert search.n_features_in_ == 13
    assert search.estimator.C == 7.0
    assert search.hoag_result_.status == "converged"


def test_it_has_the_methods_of_its_estimator():
    assert hasattr(TunedCV(LogisticRegression()), "predict_proba")
    assert not hasattr(TunedCV(LinearSVC()), "predict_proba")
    assert not hasattr(TunedCV(Ridge()), "decision_function")
    assert is_classifier(TunedCV(LinearSVC()))
    with pytest.raises(NotFittedError):
        TunedCV(Ridge()).predict(np.eye(3))


def test_without_refit_there_is_a_strength_and_no_model():
    X, y = data(Ridge())
    search = TunedCV(Ridge(), refit=False).fit(X, y)
    assert search.best_params_["alpha"] > 0
    with pytest.raises(AttributeError):
        search.predict(X)


def test_parameters_reach_the_estimator_inside():
    search = TunedCV(make_pipeline(StandardScaler(), Ridge()), cv=3)
    search.set_params(estimator__ridge__fit_intercept=False)
    assert not clone(search).estimator[-1].fit_intercept
    assert clone(search).get_params()["cv"] == 3


def test_bounds_are_of_the_parameter():
    X, y = data(LogisticRegression())
    with pytest.warns(fasthoag.ConvergenceWarning, match="C = 0.001"):
        search = TunedCV(LogisticRegression(), bounds=(1e-4, 1e-3)).fit(X, y)
    assert search.best_params_["C"] == pytest.approx(1e-3)


def test_metadata_go_where_they_were_requested():
    X, y = data(LogisticRegression())
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    groups = np.arange(len(y)) % 4
    plain = TunedCV(LogisticRegression(), cv=GroupKFold(4))
    plain.fit(X, y, sample_weight=weight, groups=groups)
    with config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=True)
        routed = TunedCV(model.set_score_request(sample_weight=True), cv=GroupKFold(4))
        routed.fit(X, y, sample_weight=weight, groups=groups)
    assert routed.best_params_ == plain.best_params_


def test_progress_is_printed_when_it_is_asked_for(capsys):
    X, y = data(Ridge())
    TunedCV(Ridge()).fit(X, y)
    assert capsys.readouterr() == ("", "")
    search = TunedCV(Ridge(), verbose=1).fit(X, y)
    out, lines = capsys.readouterr()
    assert out == ""  # As everywhere it goes to stderr.
    assert len(lines.splitlines()) == len(search.hoag_result_.trace)
    assert "hypergradient" in lines


def test_random_splits_are_drawn_once():
    X, y = data(Ridge())
    search = TunedCV(Ridge(), cv=ShuffleSplit(3, test_size=0.4)).fit(X, y)
    assert search.n_splits_ == 3


@parametrize_with_checks([TunedCV(LogisticRegression()), TunedCV(Ridge())])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# ---- refusals ----

REFUSED = [
    (fasthoag.Ridge(), TypeError, "is a penalty.*sklearn.linear_model.Ridge"),
    (fasthoag.RidgeCV(), TypeError, "tunes itself"),
    (Ridge, TypeError, "got the class"),
    (Lasso(), TypeError, "ℓ1 penalties are not there yet"),
    (ElasticNet(), TypeError, "ℓ1 penalties are not there yet"),
    (LogisticRegressionCV(), TypeError, "one of .*LogisticRegression.*GridSearchCV"),
    (StandardScaler(), TypeError, "one of .*Ridge.*GridSearchCV"),
    (make_pipeline(StandardScaler(), Lasso()), TypeError, "ℓ1"),
    (Ridge(positive=True), ValueError, r"Ridge\(positive=True\)"),
    (LogisticRegression(l1_ratio=0.5), ValueError, "l1_ratio=0.5.*ℓ1"),
    (LinearSVC(penalty="l1", dual=False), ValueError, "penalty='l1'.*ℓ1"),
    (LinearSVC(loss="hinge"), ValueError, "smoothed_hinge"),
    (LinearSVR(), ValueError, "squared_epsilon_insensitive"),
    (SGDClassifier(), ValueError, "loss='hinge'"),
    (SGDClassifier(loss="log_loss", penalty="l1"), ValueError, "ℓ1"),
    (SGDRegressor(early_stopping=True), ValueError, "early_stopping=True"),
    (TweedieRegressor(power=3), ValueError, "power=3"),
    (TweedieRegressor(power=1, link="identity"), ValueError, "link='identity'"),
]


@pytest.mark.parametrize(("estimator", "error", "words"), REFUSED)
def test_what_cannot_be_tuned_is_refused(estimator, error, words):
    X, y = data(Ridge())
    with pytest.raises(error, match=words):
        TunedCV(estimator).fit(X, y > 1 if is_classifier_of(estimator) else y)


def is_classifier_of(estimator):
    return not isinstance(estimator, type) and isinstance(
        estimator, (LogisticRegression, LinearSVC, SGDClassifier)
    )


ARGUMENTS = [
    ({"cv": fasthoag.KFold(5)}, TypeError, "fasthoag.KFold is a criterion.*cv=5"),
    ({"cv": 1}, ValueError, "k-fold|n_splits"),
    ({"cv": "five"}, ValueError, "cv must be"),
    ({"scoring": ["r2"]}, ValueError, "scoring must be"),
    ({"scoring": "no such"}, ValueError, "no such"),
    ({"refit": "r2"}, TypeError, "refit must be"),
    ({"bounds": (2, 1)}, ValueError, "bounds must be"),
    ({"tol": 0}, ValueError, "tol must be"),
    ({"n_jobs": 0}, ValueError, "n_jobs must be"),
    ({"max_iter": 0}, ValueError, "max_iter must be"),
]


@pytest.mark.parametrize(("options", "error", "words"), ARGUMENTS)
def test_arguments_without_sense_are_refused(options, error, words):
    X, y = data(Ridge())
    with pytest.raises(error, match=words):
        TunedCV(Ridge(), **options).fit(X, y)


def test_a_class_that_no_fold_has_seen_is_named():
    X, y = np.eye(8), np.repeat(["a", "b"], 4)
    with pytest.raises(ValueError, match="one class only.*'a'"):
        TunedCV(LogisticRegression(), cv=KFold(2)).fit(X, y)


def test_what_fit_cannot_use_is_refused():
    X, y = data(Ridge())
    with pytest.raises(ValueError, match="fit takes sample_weight.*coef_init"):
        TunedCV(SGDRegressor()).fit(X, y, coef_init=np.zeros(X.shape[1]))


def test_the_examples_of_its_page_run():
    """Those of the comparison with fewer rows."""
    page = Path(__file__).resolve().parents[1] / "docs" / "tuned_cv.md"
    first, comparison = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    exec(compile(first, str(page), "exec"), {})
    assert "n, p = 10_000, 20_000" in comparison
    fewer = comparison.replace("10_000, 20_000", "400, 90").replace("-4, 4, 20", "-1, 1, 3")
    exec(compile(fewer, str(page), "exec"), {})


def test_every_kind_is_tried():
    tried = {type(model) for models in (EVERY, SEVERAL) for model, _ in models.values()}
    assert tried | {HuberRegressor} == set(KINDS)


def test_a_model_that_estimates_a_scale_is_tuned_in_units_of_it():
    """Its alpha and epsilon are in units of the scale, which changes with alpha and the fold."""
    X, y = data(HuberRegressor())
    y[::9] += 20.0
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    model = HuberRegressor(max_iter=5000, tol=1e-9)
    search = TunedCV(model, cv=4).fit(X, y, sample_weight=weight)
    splits = list(KFold(4).split(X))

    def fits(factor):
        alpha = factor * search.best_params_["alpha"]
        own = [clone(model).set_params(alpha=alpha) for _ in splits]
        return [
            one.fit(X[train], y[train], sample_weight=weight[train])
            for one, (train, _) in zip(own, splits, strict=True)
        ]

    scorer = mean_of(huber(model.epsilon * np.mean([one.scale_ for one in fits(1.0)])))

    def score(factor):
        each = zip(fits(factor), splits, strict=True)
        return np.mean([scorer(one, X[test], y[test], weight[test]) for one, (_, test) in each])

    best = score(1.0)
    assert search.best_score_ == pytest.approx(best, rel=1e-4)
    for factor in (0.001, 0.1, 0.5, 0.8, 1.25, 2.0, 10.0, 1000.0):
        assert score(factor) <= best + 1e-4 * abs(best)
