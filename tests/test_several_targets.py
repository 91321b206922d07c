"""Several targets, y of shape (n_rows, n_targets), as independent problems: every estimator of
linear models, on every design."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.metrics import accuracy_score, d2_tweedie_score, log_loss, r2_score
from sklearn.model_selection import KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC, LinearSVR
from support.several_targets import (
    LINEAR,
    N_ROWS,
    N_TARGETS,
    is_classifier,
    is_positive,
    made,
    rows,
    strength_of,
)

import fasthoag
from fasthoag.criteria.held_out import design_of
from fasthoag.design.make import make_design

forms = pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "CSR"])
every = pytest.mark.parametrize("Estimator", LINEAR, ids=lambda E: E.__name__)
# Whatever a fit says of a search that ends at a bound, it says it of each target too.
pytestmark = pytest.mark.filterwarnings("ignore")


CASES = {
    "plain": {},
    "weights": {"sample_weight": np.random.default_rng(3).integers(0, 3, N_ROWS).astype(float)},
    "offset": {"offset": np.random.default_rng(3).normal(size=N_ROWS)},
    "groups": {"groups": np.arange(N_ROWS) % 9},
    "other rows": {},
}


@every
@pytest.mark.parametrize(
    ("form", "case"),
    [
        (np.asarray, "plain"),
        (sp.csr_array, "weights"),
        (np.asarray, "offset"),
        (sp.csr_array, "groups"),
        (sp.csr_array, "other rows"),
    ],
)
def test_targets_are_independent_fits(Estimator, form, case):
    X, Y = rows(Estimator)
    X, known = form(X), CASES[case]

    def fitted(y):
        own = known | ({"validation": (X[:40], y[:40])} if case == "other rows" else {})
        own |= {"stop_on": (X[40:], y[40:])} if case == "other rows" else {}
        return made(Estimator, cv=3 if case == "groups" else KFold(3)).fit(X, y, **own)

    model, singles = fitted(Y), [fitted(y) for y in Y.T]
    offset = {"offset": known["offset"]} if "offset" in known else {}
    assert model.coef_.shape == (N_TARGETS, 8)
    assert model.intercept_.shape == (N_TARGETS,)
    for name in (strength_of(model), "lam_", "scores_", "score_mean_", "score_se_", "best_score_"):
        expected = np.array([getattr(one, name) for one in singles])
        np.testing.assert_allclose(getattr(model, name), expected, rtol=1e-8, atol=1e-12)
    assert [one.theta.tolist() for one in model.hoag_result_] == [
        one.hoag_result_.theta.tolist() for one in singles
    ]
    assert model.n_iter_ == max(one.n_iter_ for one in singles)
    predicted = np.column_stack([one.predict(X, **offset) for one in singles])
    np.testing.assert_allclose(model.coef_, [np.ravel(one.coef_) for one in singles], rtol=1e-8)
    np.testing.assert_allclose(model.predict(X, **offset), predicted, rtol=1e-8)
    if is_classifier(Estimator):
        z = np.column_stack([one.decision_function(X, **offset) for one in singles])
        np.testing.assert_allclose(model.decision_function(X, **offset), z, rtol=1e-8, atol=1e-10)
        score = accuracy_score(Y, predicted)
    else:
        score = np.mean([one.score(X, y, **offset) for one, y in zip(singles, Y.T, strict=True)])
    assert model.score(X, Y, **offset) == pytest.approx(score, rel=1e-8)


@every
def test_x_is_prepared_once(Estimator, monkeypatch):
    X, Y = rows(Estimator)
    seen = []

    def noted(X, **known):
        seen.append(X)
        return make_design(X, **known)

    def noted_of_others(X_val, problem):
        seen_of_others.append(X_val)
        return design_of(X_val, problem)

    seen_of_others = []
    monkeypatch.setattr("fasthoag.problem.make_design", noted)
    monkeypatch.setattr("fasthoag.criteria.held_out.design_of", noted_of_others)
    monkeypatch.setattr("fasthoag.estimators.estimator.design_of", noted_of_others)
    made(Estimator).fit(sp.csr_array(X), Y, validation=(sp.csr_array(X), Y))
    for found in (seen, seen_of_others):
        assert len(found) >= N_TARGETS
        assert [sp.issparse(X) for X in found] == [True] + [False] * (len(found) - 1)


# ---- by scikit-learn ---------------------------------------------------------------------------


@forms
def test_models_are_those_of_scikit_learn_at_the_same_strengths(form):
    X, Y = rows(fasthoag.PoissonRegressorCV)
    model = fasthoag.PoissonRegressorCV(cv=3, refit_tol=1e-9).fit(form(X), Y)
    for j, y in enumerate(Y.T):
        peer = PoissonRegressor(alpha=model.alpha_[j] / N_ROWS, tol=1e-10, max_iter=10**4).fit(X, y)
        np.testing.assert_allclose(model.coef_[j], peer.coef_, atol=1e-6)
    each = [d2_tweedie_score(y, z, power=1) for y, z in zip(Y.T, model.predict(X).T, strict=True)]
    assert model.score(form(X), Y) == pytest.approx(np.mean(each))
    X, Y = rows(fasthoag.LinearSVRCV)
    model = fasthoag.LinearSVRCV(cv=3, fit_intercept=False, refit_tol=1e-9).fit(form(X), Y)
    for j, y in enumerate(Y.T):
        loss = "squared_epsilon_insensitive"
        peer = LinearSVR(C=model.C_[j], loss=loss, fit_intercept=False, dual=False, tol=1e-10)
        np.testing.assert_allclose(model.coef_[j], peer.fit(X, y).coef_, atol=1e-6)
    assert model.score(form(X), Y) == pytest.approx(r2_score(Y, model.predict(X)))


@forms
def test_labels_are_those_of_one_against_the_rest(form):
    X, Y = rows(fasthoag.LogisticRegressionCV)
    model = fasthoag.LogisticRegressionCV(cv=3, Cs=[0.5], refit_tol=1e-9).fit(form(X), Y)
    peer = OneVsRestClassifier(LogisticRegression(C=0.5, tol=1e-10)).fit(X, Y)
    np.testing.assert_allclose(
        model.coef_, np.vstack([e.coef_ for e in peer.estimators_]), atol=1e-6
    )
    np.testing.assert_allclose(model.predict_proba(form(X)), peer.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    np.testing.assert_array_equal(model.predict(form(X)), peer.predict(X))
    np.testing.assert_array_equal(model.classes_, peer.classes_)
    assert model.score(form(X), Y) == peer.score(X, Y)
    svc = fasthoag.LinearSVCCV(cv=3, Cs=[0.5], fit_intercept=False, refit_tol=1e-9).fit(form(X), Y)
    peer = OneVsRestClassifier(LinearSVC(C=0.5, fit_intercept=False, dual=False, tol=1e-10))
    np.testing.assert_allclose(
        svc.decision_function(X), peer.fit(X, Y).decision_function(X), atol=1e-5
    )


# ---- shapes ------------------------------------------------------------------------------------


@every
def test_a_column_is_one_target(Estimator):
    X, Y = rows(Estimator, t=1)
    model, plain = made(Estimator), made(Estimator).fit(X, Y[:, 0])
    is_told = is_classifier(Estimator) or is_positive(Estimator)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        model.fit(X, Y)
    assert is_told == any(one.category is DataConversionWarning for one in heard)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    if not is_told:
        assert model.intercept_.shape == (1,)


@every
def test_a_constant_target_is_its_mean(Estimator):
    X, Y = rows(Estimator)
    Y[:, 1] = 1
    model = made(Estimator, cv=KFold(3))
    if is_classifier(Estimator):
        with pytest.raises(ValueError, match=r"label 1 in all rows of column 1"):
            model.fit(X, Y)
        return
    model.fit(X, Y)
    np.testing.assert_allclose(model.predict(X)[:, 1], 1.0, rtol=1e-3)
    assert not model.coef_[1].any()


@pytest.mark.parametrize("values", [(-1, 1), (0, 1), (1, 2), (False, True)])
def test_labels_come_back_as_they_are(values):
    X, Y = rows(fasthoag.LinearSVCCV)
    Y = np.array(values)[Y]
    weight = {values[0]: 1.0, values[1]: 2.0}
    model = fasthoag.LinearSVCCV(cv=3, class_weight=weight).fit(X, Y, validation=(X, Y))
    assert set(np.unique(model.predict(X)).tolist()) == set(values)
    one = fasthoag.LinearSVCCV(cv=3, class_weight=weight).fit(X, Y[:, 2], validation=(X, Y[:, 2]))
    np.testing.assert_array_equal(model.predict(X)[:, 2], one.predict(X))
    model.fit(X, Y[:, 0])  # One column after several has nothing left of them.
    assert model.predict(X).shape == (N_ROWS,)


# ---- what goes with them -----------------------------------------------------------------------


@every
def test_what_a_search_keeps_is_kept_of_each(Estimator):
    X, Y = rows(Estimator)
    given = {"Cs" if strength_of(made(Estimator)) == "C_" else "alphas": [0.1, 10.0]}
    known = {"store_cv_results": True, "store_folds": True, "warm_start": True} | given
    model = made(Estimator, **known).fit(X, Y)
    one = made(Estimator, **known).fit(X, Y[:, 2])
    (name,) = given
    np.testing.assert_array_equal(getattr(model, f"{name}_"), [0.1, 10.0])
    np.testing.assert_allclose(model.coefs_paths_[:, :, :, 2:], one.coefs_paths_)
    assert model.coefs_paths_.shape == (3, 1, 2, N_TARGETS, 9)
    np.testing.assert_allclose(model.hoag_result_[2].w, one.hoag_result_.w)
    before = model.n_iter_
    assert model.fit(X, Y).n_iter_ <= before


@every
@pytest.mark.parametrize("name", ["deterministic", "low_memory"])
def test_how_x_is_kept_is_asked_for_once(Estimator, name):
    X, Y = rows(Estimator)
    model = made(Estimator, **{name: True}).fit(X, Y)
    one = made(Estimator, **{name: True}).fit(X, Y[:, 2])
    np.testing.assert_allclose(model.coef_[2], np.ravel(one.coef_), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["deterministic", "low_memory"])
@pytest.mark.parametrize("Estimator", [fasthoag.RidgeClassifierCV, fasthoag.LinearSVCCV])
def test_how_x_is_kept_is_asked_for_once_of_classes_too(Estimator, name):
    X, Y = rows(Estimator)
    model = Estimator(cv=3, **{name: True}).fit(X, Y.sum(axis=1) % 3)
    np.testing.assert_allclose(model.coef_, Estimator(cv=3).fit(X, Y.sum(axis=1) % 3).coef_)
    if Estimator is fasthoag.RidgeClassifierCV:
        free = Estimator(alphas=0.0, cv=3, **{name: True}).fit(X, Y[:, 0])
        np.testing.assert_allclose(free.coef_, Estimator(0.0, cv=3).fit(X, Y[:, 0]).coef_)


def test_splits_that_can_be_read_once_are_those_of_every_search(monkeypatch):
    X, Y = rows(fasthoag.RidgeClassifierCV)
    classes, pairs = Y.sum(axis=1) % 3, list(KFold(3).split(X))
    one, other = (
        fasthoag.RidgeClassifierCV(cv=cv).fit(X, classes) for cv in (iter(pairs), KFold(3))
    )
    np.testing.assert_array_equal(one.alpha_, other.alpha_)
    # as for more rows and features than are factorised
    monkeypatch.setattr("fasthoag.estimators.factored.plan_of", lambda *args: None)
    one, other = (
        fasthoag.RidgeCV(cv=cv, alpha_per_target=True, tol=1e-6).fit(X, Y)
        for cv in (iter(pairs), KFold(3))
    )
    np.testing.assert_array_equal(one.alpha_, other.alpha_)


def test_a_scorer_chooses_for_each_target_on_its_own():
    X, Y = rows(fasthoag.LogisticRegressionCV)
    known = {"cv": 3, "scoring": "roc_auc"}
    model = fasthoag.LogisticRegressionCV(**known).fit(X, Y)
    singles = [fasthoag.LogisticRegressionCV(**known).fit(X, y) for y in Y.T]
    np.testing.assert_allclose(model.C_, [one.C_ for one in singles])
    np.testing.assert_allclose(model.lam_by_loss_, [one.lam_by_loss_ for one in singles])
    scores = [one.score(X, y) for one, y in zip(singles, Y.T, strict=True)]
    assert model.score(X, Y) == pytest.approx(np.mean(scores))
    loss = fasthoag.LogisticRegressionCV(cv=3, scoring="neg_log_loss").fit(X, Y)
    each = [log_loss(y, p) for y, p in zip(Y.T, loss.predict_proba(X).T, strict=True)]
    assert loss.score(X, Y) == pytest.approx(-np.mean(each))


def test_splits_that_can_be_read_once_are_those_of_every_target():
    X, Y = rows(fasthoag.HuberRegressorCV)
    a = fasthoag.HuberRegressorCV(cv=iter(list(KFold(3).split(X)))).fit(X, Y)
    b = fasthoag.HuberRegressorCV(cv=KFold(3)).fit(X, Y)
    np.testing.assert_array_equal(a.coef_, b.coef_)


def test_targets_share_the_seconds_of_a_fit():
    X, Y = rows(fasthoag.HuberRegressorCV, t=4)
    ends = []
    model = fasthoag.HuberRegressorCV(max_seconds=60, callback=lambda record: ends.append(record))
    model.fit(X, Y)
    assert all(one.status == "converged" for one in model.hoag_result_)
    late = fasthoag.HuberRegressorCV(max_seconds=1e-9).fit(X, Y)
    assert all(one.status == "out_of_time" for one in late.hoag_result_)


# ---- what is refused ---------------------------------------------------------------------------


@every
def test_bad_targets_are_refused_before_any_work(Estimator):
    X, Y = rows(Estimator)
    model, asked = made(Estimator, callback=lambda record: pytest.fail("work")), Y.astype(float)
    if not is_classifier(Estimator):
        asked[5, 1] = asked[7, 2] = np.nan
        with pytest.raises(ValueError, match="target 1 is the first that does, in row 5"):
            model.fit(X, asked)
        with pytest.raises(ValueError, match="y of validation contains NaN or infinity: target 1"):
            model.fit(X, Y, validation=(X, asked))
    if is_positive(Estimator):
        asked = Y.copy()
        asked[4, 2] = -1
        with pytest.raises(ValueError, match="target 2 of y must contain"):
            model.fit(X, asked)
        with pytest.raises(ValueError, match="target 2 of y of validation must contain"):
            model.fit(X, Y, validation=(X, asked))
    with pytest.raises(
        ValueError, match=r"y of validation must have the 3 columns of y.*\(90, 2\)"
    ):
        model.fit(X, Y, validation=(X, Y[:, :2]))
    with pytest.raises(ValueError, match=r"y of stop_on must have one dimension.*\(90, 3\)"):
        model.fit(X, Y[:, 0], stop_on=(X, Y))
    if Estimator is not fasthoag.RidgeCV:
        with pytest.raises(ValueError, match=r"offset must have 1 dimension; got shape \(90, 3\)"):
            model.fit(X, Y, offset=np.zeros(Y.shape))


def test_errors_of_a_fit_say_of_which_column():
    X, Y = rows(fasthoag.LogisticRegressionCV)
    Y[:, 2] = np.arange(N_ROWS) == 4
    with pytest.raises(ValueError, match=r"training part of fold 0 .* column 2 of y was fitted"):
        fasthoag.LogisticRegressionCV(cv=KFold(3)).fit(X, Y)
    with pytest.raises(ValueError, match="takes no matrix of labels"):
        fasthoag.LogisticRegressionCV(use_legacy_attributes=False).fit(X, Y)
    with pytest.raises(ValueError, match="y should be a 1d array"):
        fasthoag.LogisticRegressionCV().fit(X, Y + np.arange(3))


# ---- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HuberRegressorCV", "LogisticRegressionCV"])
def test_the_command_line_writes_a_line_of_targets_for_each_row(name, tmp_path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from fasthoag import cli

    X, Y = rows(getattr(fasthoag, name))
    model = made(getattr(fasthoag, name)).fit(X, Y)
    fasthoag.save_model(tmp_path / "model", model)
    dump_svmlight_file(X, Y[:, 0], str(tmp_path / "rows"), zero_based=False)
    args = ["predict", str(tmp_path / "model"), str(tmp_path / "rows")]
    found = CliRunner().invoke(cli.app, [*args, "--one-based"], prog_name="fasthoag")
    lines = found.stdout.splitlines()
    np.testing.assert_allclose([[*map(float, line.split())] for line in lines], model.predict(X))
    assert "has 3 targets" in " ".join(found.stderr.split())
    if name == "LogisticRegressionCV":
        found = CliRunner().invoke(cli.app, [*args, "--proba"], prog_name="fasthoag")
        shares = [[*map(float, line.split())] for line in found.stdout.splitlines()]
        np.testing.assert_allclose(shares, model.predict_proba(X))
