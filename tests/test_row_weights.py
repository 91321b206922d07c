"""Weights of rows at every entrance: a row of weight 0 is no row, a weight of 2 is a row twice, and
what cannot be weighed is refused by name."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.base import is_classifier
from sklearn.metrics import log_loss
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from support.estimators import CLASSIFIERS, EVERY, FORMATS, LINEAR, rows_for
from support.problems import sparse_problem

import fasthoag
from fasthoag import (
    AIC,
    BIC,
    GCV,
    ApproximateLOO,
    Evidence,
    HeldOut,
    KernelProblem,
    KFold,
    Problem,
    hoag,
)
from fasthoag.losses import LOSSES

N, N_MORE, P, N_FOLDS = 60, 20, 4, 4
# Same sums in another order of rows, and of columns where these are numbered by frequency.
ROUNDING = 1e-10
every_estimator = pytest.mark.parametrize("Estimator", EVERY, ids=lambda E: E.__name__)
every_classifier = pytest.mark.parametrize("Estimator", CLASSIFIERS, ids=lambda E: E.__name__)
every_format = pytest.mark.parametrize("form", FORMATS)


def among_others(X, y, other_X, other_y, seed=0):
    """These rows among others of weight 0: X, y, weight, the folds of all and which are kept, and
    the folds of these rows alone."""
    rng = np.random.default_rng(seed)
    n, n_all = len(y), len(y) + len(other_y)
    order = rng.permutation(n_all)
    X_all, y_all = np.vstack([X, other_X])[order], np.concatenate([y, other_y])[order]
    weight = np.concatenate([rng.uniform(0.5, 2, n), np.zeros(len(other_y))])[order]
    kept = np.flatnonzero(weight)
    fold = np.arange(n_all) % N_FOLDS
    fold[kept] = np.arange(n) % N_FOLDS
    return X_all, y_all, weight, pairs_of(fold), kept, pairs_of(np.arange(n) % N_FOLDS)


def pairs_of(fold):
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(fold.max() + 1)]


def wild(p, seed=1):
    """Rows that would ruin every mean, scale and spread that counts them."""
    rng = np.random.default_rng(seed)
    return 1e5 * (1 + rng.normal(size=(N_MORE, p)))


def raw(model, X):
    return model.decision_function(X) if is_classifier(model) else model.predict(X)


def quiet(fit, *args, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        return fit(*args, **given)


# ---- weight 0 ----------------------------------------------------------------------------------


@every_format
@every_estimator
def test_rows_of_weight_0_are_no_rows_for_estimators(Estimator, form):
    X, y = rows_for(Estimator, N, P)
    labels = np.array(["yes", "no"] * (N_MORE // 2))
    more = labels if Estimator in CLASSIFIERS else 1e5 + np.arange(N_MORE)
    X_all, y_all, weight, all_folds, kept, folds = among_others(X, y, wild(P), more)
    has_balance = {"class_weight": "balanced"} if Estimator in CLASSIFIERS else {}
    cvs = [(all_folds, folds), *([(None, None)] if "Ridge" in Estimator.__name__ else [])]
    for cv_all, cv in cvs:
        one = Estimator(cv=cv_all, **has_balance)
        quiet(one.fit, FORMATS[form](X_all), y_all, sample_weight=weight)
        other = Estimator(cv=cv, **has_balance)
        quiet(other.fit, FORMATS[form](X_all[kept]), y_all[kept], sample_weight=weight[kept])
        np.testing.assert_allclose(one.scores_, other.scores_, rtol=ROUNDING)
        theta = other.hoag_result_.theta
        np.testing.assert_allclose(one.hoag_result_.theta, theta, atol=ROUNDING)
        expected = raw(other, X)
        atol = ROUNDING * np.abs(expected).max()
        np.testing.assert_allclose(raw(one, X), expected, atol=atol)


CRITERIA = {
    "loo": ApproximateLOO,
    "gcv": GCV,
    "aic": AIC,
    "bic": BIC,
    "evidence": Evidence,
    "k_fold": KFold,
    "held_out": HeldOut,
}
OF_LEVERAGES = {
    "squared": ("loo", "gcv", "aic", "bic", "evidence"),
    "logistic": ("loo", "aic", "bic", "evidence"),
    "poisson": ("loo", "aic", "bic", "evidence"),
}
PAIRS = [(loss, name) for loss in LOSSES for name in ("k_fold", "held_out")]
PAIRS += [(loss, name) for loss, names in OF_LEVERAGES.items() for name in names]


def two_criteria(name, all_rows, rows, all_folds, folds):
    """The criterion of all rows, and that of those that count."""
    if name == "k_fold":
        return KFold(all_folds), KFold(folds)
    if name == "held_out":
        return HeldOut(*all_rows), HeldOut(*rows)
    return CRITERIA[name](), CRITERIA[name]()


@every_format
@pytest.mark.parametrize(("loss", "criterion"), PAIRS)
def test_rows_of_weight_0_are_no_rows_for_criteria(loss, criterion, form):
    """The null model, the start, the unit of the strengths, numbers of rows in AIC, BIC and GCV,
    and the standard error that ends the search: all are in what the search finds."""
    X, y = sparse_problem(loss, 0, N, P)
    X = X.toarray() if sp.issparse(X) else X
    more = np.random.default_rng(3).permutation(y)[:N_MORE]
    X_all, y_all, weight, *folds = among_others(X, y, wild(P), more)
    all_folds, kept, own_folds = folds
    found = []
    all_rows = FORMATS[form](X_all), y_all, weight
    rows = FORMATS[form](X_all[kept]), y_all[kept], weight[kept]
    rules = two_criteria(criterion, all_rows, rows, all_folds, own_folds)
    for (X_one, y_one, weight_one), rule in zip((all_rows, rows), rules, strict=True):
        problem = Problem(X_one, y_one, loss=loss, sample_weight=weight_one)
        unseen = HeldOut(X_one, y_one, weight_one)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(hoag(problem, rule, unseen=unseen, max_iter=8))
    one, other = found
    assert one.status == other.status
    assert one.value == pytest.approx(other.value, rel=ROUNDING)
    np.testing.assert_allclose(one.theta, other.theta, atol=1e-8)
    error = other.standard_error
    assert one.standard_error == pytest.approx(error, rel=ROUNDING, nan_ok=True)
    last = other.trace[-1]["unseen_value"]
    assert one.trace[-1]["unseen_value"] == pytest.approx(last, rel=ROUNDING)


def test_rows_of_weight_0_are_no_rows_in_shards():
    X, y = sparse_problem("logistic", 0, N, P)
    X = X.toarray() if sp.issparse(X) else X
    X_all, y_all, weight, all_folds, kept, folds = among_others(X, y, wild(P), y[:N_MORE])
    design = fasthoag.ShardedDesign([X_all[:50], X_all[50:]], fit_intercept=True)
    one = hoag(Problem(design, y_all, sample_weight=weight), KFold(all_folds))
    other = Problem(X_all[kept], y_all[kept], sample_weight=weight[kept])
    other = hoag(other, KFold(folds), tol=1e-6)
    assert one.value == pytest.approx(other.value, rel=1e-4)
    assert one.standard_error == pytest.approx(other.standard_error, rel=1e-2)


@pytest.mark.parametrize("cv", [None, 0], ids=["leave-one-out", "folds"])
@pytest.mark.parametrize("per_target", [False, True])
@every_format
def test_rows_of_weight_0_are_no_rows_for_several_targets(per_target, cv, form):
    X, y = rows_for(fasthoag.RidgeCV, N, P)
    Y = np.column_stack([y, X[:, 0] - y])
    X_all, Y_all, weight, all_folds, kept, folds = among_others(X, Y, wild(P), wild(2))
    found = []
    for rows, weights, own in ((X_all, weight, all_folds), (X_all[kept], weight[kept], folds)):
        model = fasthoag.RidgeCV(cv=None if cv is None else own, alpha_per_target=per_target)
        targets = Y_all if len(rows) == len(Y_all) else Y_all[kept]
        found.append(quiet(model.fit, FORMATS[form](rows), targets, sample_weight=weights))
    one, other = found
    np.testing.assert_allclose(one.alpha_, other.alpha_, rtol=1e-8)
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-8)
    np.testing.assert_allclose(one.scores_, other.scores_, rtol=1e-8)


def test_rows_of_weight_0_are_no_rows_for_matrices_of_labels():
    X, y = rows_for(fasthoag.RidgeCV, N, P)
    Y = np.column_stack([y > 0, X[:, 0] > 0]).astype(int)
    X_all, Y_all, weight, all_folds, kept, folds = among_others(X, Y, wild(P), Y[:N_MORE])
    one = fasthoag.RidgeClassifierCV(cv=all_folds).fit(X_all, Y_all, sample_weight=weight)
    other = fasthoag.RidgeClassifierCV(cv=folds)
    other.fit(X_all[kept], Y_all[kept], sample_weight=weight[kept])
    np.testing.assert_allclose(one.alpha_, other.alpha_, rtol=1e-8)
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-8)


def test_features_of_rows_of_weight_0_alone_change_nothing():
    """They have no scale, which the box and the unit of the strengths are made of."""
    X, y = sparse_problem("logistic", 0, N, P)
    X = np.hstack([X.toarray() if sp.issparse(X) else X, np.zeros((N, 3))])
    X_all, y_all, weight, all_folds, kept, folds = among_others(X, y, wild(P + 3), y[:N_MORE])
    for penalty in (fasthoag.Ridge(), fasthoag.FeatureRidge()):
        one = Problem(sp.csr_array(X_all), y_all, penalty=penalty, sample_weight=weight)
        other = Problem(
            sp.csr_array(X_all[kept]), y_all[kept], penalty=penalty, sample_weight=weight[kept]
        )
        one, other = quiet(hoag, one, KFold(all_folds)), quiet(hoag, other, KFold(folds))
        assert one.value == pytest.approx(other.value, rel=1e-6)


OF_SCIKIT_LEARN = {
    "ridge": (linear_model.Ridge(), fasthoag.RidgeCV),
    "logistic": (linear_model.LogisticRegression(), fasthoag.LogisticRegressionCV),
    "balanced": (
        linear_model.LogisticRegression(class_weight="balanced"),
        fasthoag.LogisticRegressionCV,
    ),
    "poisson": (linear_model.PoissonRegressor(), fasthoag.PoissonRegressorCV),
    "huber": (linear_model.HuberRegressor(max_iter=1000), fasthoag.HuberRegressorCV),
}


@pytest.mark.parametrize(
    ("name", "has_scorer"),
    [(name, name in ("logistic", "poisson")) for name in OF_SCIKIT_LEARN],
)
def test_rows_of_weight_0_are_no_rows_for_tuned_cv(name, has_scorer):
    model, like = OF_SCIKIT_LEARN[name]
    X, y = rows_for(like, N, P)
    more = np.array(["yes", "no"] * (N_MORE // 2)) if like in CLASSIFIERS else np.ones(N_MORE)
    X_all, y_all, weight, all_folds, kept, folds = among_others(X, y, wild(P), more)
    scoring = ("accuracy" if like in CLASSIFIERS else "r2") if has_scorer else None
    one = fasthoag.TunedCV(model, cv=all_folds, scoring=scoring, refit=False)
    other = fasthoag.TunedCV(model, cv=folds, scoring=scoring, refit=False)
    quiet(one.fit, X_all, y_all, sample_weight=weight)
    quiet(other.fit, X_all[kept], y_all[kept], sample_weight=weight[kept])
    assert list(one.best_params_.values()) == pytest.approx(list(other.best_params_.values()))
    assert one.best_score_ == pytest.approx(other.best_score_, rel=ROUNDING)


@pytest.mark.parametrize("name", OF_SCIKIT_LEARN)
@pytest.mark.parametrize("has_steps", [False, True])
def test_tuned_cv_names_a_fold_without_weight(name, has_steps):
    model, like = OF_SCIKIT_LEARN[name]
    X, y = rows_for(like, N, P)
    fold, of_rows = np.arange(N) % N_FOLDS, "sample_weight"
    if has_steps:
        of_rows = f"{type(model).__name__.lower()}__sample_weight"
        model = make_pipeline(StandardScaler(), model)
    search = fasthoag.TunedCV(model, cv=pairs_of(fold))
    with pytest.raises(ValueError, match="fold 2 of cv has no test row with a positive weight"):
        search.fit(X, y, **{of_rows: (fold != 2).astype(float)})
    with pytest.raises(ValueError, match=r"[Nn]egative values in .*sample_weight"):
        search.fit(X, y, **{of_rows: np.where(fold == 2, -1.0, 1.0)})


# ---- what is refused ---------------------------------------------------------------------------


@every_format
@every_estimator
def test_a_fold_without_weight_is_named(Estimator, form):
    X, y = rows_for(Estimator, N, P)
    fold = np.arange(N) % N_FOLDS
    work = {"callback": lambda _: pytest.fail("work was done")}
    model = Estimator(cv=pairs_of(fold)[1:], **work)
    with pytest.raises(ValueError, match="fold 1 of cv has no test row with a positive weight"):
        model.fit(FORMATS[form](X), y, sample_weight=(fold != 2).astype(float))
    with pytest.raises(ValueError, match="fold 0 of cv has no training row with a positive weight"):
        model.fit(FORMATS[form](X), y, sample_weight=(fold == 1).astype(float))


BAD = {
    "negative": (np.where(np.arange(N) == 7, -1.0, 1.0), "sample_weight"),
    "zero": (np.zeros(N), "sample_weight|positive weight"),
    "NaN": (np.where(np.arange(N) == 7, np.nan, 1.0), "sample_weight"),
    "short": (np.ones(N - 1), "sample_weight"),
    "matrix": (np.ones((N, 2)), "[Ss]ample.weight"),
}


@pytest.mark.parametrize("bad", BAD)
@every_estimator
def test_weights_that_are_none_are_named_before_any_work(Estimator, bad):
    X, y = rows_for(Estimator, N, P)
    weight, says = BAD[bad]
    model = Estimator(callback=lambda _: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=says):
        model.fit(X, y, sample_weight=weight)


# ---- weights of classes ------------------------------------------------------------------------


@every_classifier
def test_weights_of_classes_multiply_those_of_rows(Estimator):
    X, y = rows_for(Estimator, N, P)
    weight = np.random.default_rng(0).uniform(0.5, 2, N)
    both, cv = {"yes": 3.0, "no": 0.5}, pairs_of(np.arange(N) % 2)
    balanced = compute_class_weight(
        "balanced", classes=np.array(["no", "yes"]), y=y, sample_weight=weight
    )
    for asked, values in (
        (both, both),
        ("balanced", dict(zip(["no", "yes"], balanced, strict=True))),
    ):
        own = weight * np.array([values[label] for label in y])
        one = Estimator(cv=cv, class_weight=asked)
        quiet(one.fit, X, y, sample_weight=weight)
        other = quiet(Estimator(cv=cv).fit, X, y, sample_weight=own)
        np.testing.assert_array_equal(one.hoag_result_.theta, other.hoag_result_.theta)
        np.testing.assert_allclose(raw(one, X), raw(other, X), rtol=1e-12)


def test_balanced_weights_are_of_all_rows_as_in_scikit_learn():
    """Its LogisticRegressionCV balances once for all folds, by the weights of the rows."""
    X, y = rows_for(fasthoag.LogisticRegressionCV, 3 * N, P)
    y = np.where(np.arange(3 * N) % 5 == 0, "yes", y)
    weight = np.random.default_rng(0).uniform(0.5, 2, 3 * N)
    cv = pairs_of(np.arange(3 * N) % N_FOLDS)
    given = {"Cs": [0.7], "cv": cv, "class_weight": "balanced", "use_legacy_attributes": False}
    ours = fasthoag.LogisticRegressionCV(**given, scoring="neg_log_loss", refit_tol=1e-9)
    ours.fit(X, y, weight)
    peer = linear_model.LogisticRegressionCV(
        **given, scoring="neg_log_loss", l1_ratios=(0,), tol=1e-10, max_iter=10000
    ).fit(X, y, weight)
    np.testing.assert_allclose(ours.coef_, peer.coef_, rtol=1e-5)
    np.testing.assert_allclose(np.ravel(ours.scores_), np.ravel(peer.scores_), rtol=1e-4)


def test_tuned_cv_balances_every_training_fold():
    X, y = rows_for(fasthoag.LogisticRegressionCV, N, P)
    cv = [(np.arange(N) % 3 != k, np.arange(N) % 3 == k) for k in range(3)]
    model = linear_model.LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=10000)
    search = fasthoag.TunedCV(model, cv=cv, scoring="neg_log_loss").fit(X, y)
    for k, (train, test) in enumerate(cv):
        weight = compute_sample_weight("balanced", y[train])
        fold = linear_model.LogisticRegression(tol=1e-10, max_iter=10000, **c_of(search))
        probability = fold.fit(X[train], y[train], weight).predict_proba(X[test])
        expected = -log_loss(y[test], probability, labels=fold.classes_)
        found = search.cv_results_[f"split{k}_test_score"][search.best_index_]
        assert found == pytest.approx(expected, rel=1e-4)


def c_of(search):
    return {"C": search.best_params_["C"]}


# ---- weights that judge ------------------------------------------------------------------------


@pytest.mark.parametrize("Estimator", LINEAR, ids=lambda E: E.__name__)
def test_scores_weigh_rows(Estimator):
    """What is reported at the chosen strength is the weighted score of the model of each fold."""
    X, y = rows_for(Estimator, N, P)
    weight = np.random.default_rng(0).integers(0, 3, N).astype(float)
    scoring = "accuracy" if Estimator in CLASSIFIERS else "neg_mean_squared_error"
    cv = pairs_of(np.arange(N) % N_FOLDS)
    model = quiet(Estimator(cv=cv, scoring=[scoring]).fit, X, y, sample_weight=weight)
    rows = np.repeat(np.arange(N), weight.astype(int))
    position = [np.flatnonzero(rows == i) for i in range(N)]
    twice = [tuple(np.concatenate([position[i] for i in part]) for part in pair) for pair in cv]
    again = quiet(Estimator(cv=twice, scoring=[scoring]).fit, X[rows], y[rows])
    np.testing.assert_allclose(
        model.hoag_result_.scores[scoring], again.hoag_result_.scores[scoring], rtol=1e-3
    )
    found, expected = model.score(X, y, weight), model.score(X[rows], y[rows])
    assert found == pytest.approx(expected, rel=1e-12)


@every_estimator
def test_rows_that_judge_have_weights_of_their_own(Estimator):
    """A weight of 2 is a row twice, whether these rows tune or end the search."""
    X, y = rows_for(Estimator, 2 * N, P)
    weight = np.where(X[N:, 0] > 0, 3, np.arange(N) % 2)
    rows = N + np.repeat(np.arange(N), weight)
    is_linear = Estimator in LINEAR
    more = {"penalty_per": "feature", "method": "lbfgs", "max_iter": 3} if is_linear else {}
    found = []
    for judge in ((X[N:], y[N:], weight), (X[rows], y[rows])):
        model = Estimator(**more, tol=1e-6)
        others = {"validation": judge} | ({"stop_on": judge} if is_linear else {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(model.fit(X[:N], y[:N], **others))
    one, other = found
    if is_linear:
        traces = [model.hoag_result_.trace for model in found]
        values = [[r["stop_value"] for r in trace if "stop_value" in r] for trace in traces]
        assert values[0][0] == pytest.approx(values[1][0], rel=1e-6)
    assert one.score_mean_ == pytest.approx(other.score_mean_, rel=1e-4)
    plain = Estimator(**more, tol=1e-6)
    quiet(plain.fit, X[:N], y[:N], validation=(X[N:], y[N:]))
    assert one.score_mean_ != pytest.approx(plain.score_mean_, rel=1e-3)


@pytest.mark.parametrize("name", ["validation", "stop_on"])
@pytest.mark.parametrize("Estimator", LINEAR, ids=lambda E: E.__name__)
def test_weights_of_other_rows_are_checked(Estimator, name):
    X, y = rows_for(Estimator, N, P)
    model = Estimator(callback=lambda _: pytest.fail("work was done"))
    for weight, _ in (BAD["negative"], BAD["NaN"], BAD["short"], BAD["matrix"]):
        with pytest.raises(ValueError, match=f"(?i)sample.weight of {name}|{name}"):
            model.fit(X, y, **{name: (X, y, weight)})
    with pytest.raises(ValueError, match=rf"{name} must be a pair \(X, y\) .*sample_weight"):
        model.fit(X, y, **{name: (X, y, np.ones(N), 1)})


def test_a_scorer_weighs_the_rows_of_validation():
    X, y = rows_for(fasthoag.RidgeCV, 2 * N, P)
    weight = np.random.default_rng(0).integers(0, 3, N)
    rows = N + np.repeat(np.arange(N), weight)
    given = {"alphas": [1.0], "scoring": "neg_mean_absolute_error"}
    one = fasthoag.RidgeCV(**given).fit(X[:N], y[:N], validation=(X[N:], y[N:], weight))
    other = fasthoag.RidgeCV(**given).fit(X[:N], y[:N], validation=(X[rows], y[rows]))
    assert one.best_score_ == pytest.approx(other.best_score_, rel=1e-12)


def test_kernel_problems_leave_out_rows_of_weight_0():
    X, y = rows_for(fasthoag.KernelRidgeCV, N, P)
    X_all, y_all, weight, *_, kept, _ = among_others(X, y, wild(P), y[:N_MORE])
    rows = ((X_all, y_all, weight), (X_all[kept], y_all[kept], weight[kept]))
    one, other = (
        hoag(KernelProblem(X, y, sample_weight=s, loss="squared"), ApproximateLOO())
        for X, y, s in rows
    )
    np.testing.assert_allclose(one.theta, other.theta, atol=ROUNDING)


# ---- what a weight means -----------------------------------------------------------------------


def repeated(X, y, weight):
    rows = np.repeat(np.arange(len(y)), weight)
    return X[rows], y[rows], rows


def test_leave_one_out_leaves_all_copies_of_a_row_out():
    """A weight of 2 is a row twice that is one observation: a fold of both copies, not one beside
    its twin."""
    X, y = rows_for(fasthoag.RidgeCV, 30, P)
    weight = np.random.default_rng(0).integers(1, 4, 30)
    one = fasthoag.RidgeCV(cv=None, tol=1e-8).fit(X, y, sample_weight=weight)
    X_again, y_again, rows = repeated(X, y, weight)
    groups = fasthoag.RidgeCV(cv=LeaveOneGroupOut(), tol=1e-8).fit(X_again, y_again, groups=rows)
    assert one.alpha_ == pytest.approx(groups.alpha_, rel=1e-4)
    alone = fasthoag.RidgeCV(cv=None, tol=1e-8).fit(X_again, y_again)
    assert abs(np.log(alone.alpha_ / one.alpha_)) > 0.1


COUNTS = {"aic": AIC, "bic": BIC, "evidence": Evidence}


@pytest.mark.parametrize("rule", COUNTS)
@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson"])
def test_information_criteria_take_weights_as_copies(rule, loss):
    X, y = sparse_problem(loss, 0, N, P)
    weight = np.random.default_rng(0).integers(1, 4, N)
    X_again, y_again, _ = repeated(X, y, weight)
    one = hoag(Problem(X, y, loss=loss, sample_weight=weight), COUNTS[rule](), tol=1e-8)
    other = hoag(Problem(X_again, y_again, loss=loss), COUNTS[rule](), tol=1e-8)
    assert one.value == pytest.approx(other.value, rel=1e-7)
    np.testing.assert_allclose(one.theta, other.theta, atol=1e-4)


def test_gcv_takes_weights_as_precisions():
    """Weights in another unit, with a strength that moves with them, are the same model and find
    the same of it; as copies they would be more rows."""
    X, y = sparse_problem("squared", 0, N, P)
    weight = np.random.default_rng(0).uniform(0.5, 2, N)
    one, other = (
        hoag(Problem(X, y, loss="squared", sample_weight=unit * weight), GCV(), tol=1e-8)
        for unit in (1, 100)
    )
    np.testing.assert_allclose(other.theta - np.log(100), one.theta, atol=1e-4)
    weight = np.random.default_rng(0).integers(1, 4, N)
    X_again, y_again, _ = repeated(X, y, weight)
    copies = hoag(Problem(X_again, y_again, loss="squared"), GCV(), tol=1e-8)
    own = hoag(Problem(X, y, loss="squared", sample_weight=weight), GCV(), tol=1e-8)
    assert abs(copies.theta - own.theta).max() > 0.01


def test_the_standard_error_takes_weights_as_copies():
    X, y = sparse_problem("logistic", 0, 4 * N, P)
    half = 2 * N
    weight = np.random.default_rng(0).integers(0, 4, half)
    problem = Problem(X[:half], y[:half])
    one = hoag(problem, HeldOut(X[half:], y[half:], weight))
    X_again, y_again, _ = repeated(X[half:], y[half:], weight)
    copies = hoag(problem, HeldOut(X_again, y_again))
    assert one.value == pytest.approx(copies.value, rel=1e-6)
    assert one.standard_error == pytest.approx(copies.standard_error, rel=1e-6)
