"""A scorer chooses the strength after the search by the loss: as scikit-learn at given points or
better, whatever the units, and both choices are reported."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.base import is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.metrics import balanced_accuracy_score, f1_score, get_scorer, make_scorer
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.preprocessing import scale

import fasthoag
from fasthoag.estimators.tuned import TunedEstimator

EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
LINEAR = [E for E in EVERY if issubclass(E, TunedEstimator)]
linear = pytest.mark.parametrize("Estimator", LINEAR, ids=lambda E: E.__name__)
CS, ALPHAS = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0], [0.01, 0.1, 1.0, 10.0, 100.0]
FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)


def noisy(n=240, p=8, seed=0):
    """Two classes that overlap, unlike many."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.geomspace(0.3, 3, p)
    z = X[:, 0] - 0.5 * X[:, 1] + 0.2 * X[:, 2] - 1
    return X, np.array(["no", "yes"])[(z + 1.5 * rng.normal(size=n) > 0).astype(int)]


def data(Estimator):
    X, y = noisy()
    if is_classifier(Estimator()):
        return X, y
    rng = np.random.default_rng(1)
    return X, np.exp(0.3 * X[:, 0] - 0.1 * X[:, 1]) * rng.gamma(3, 1 / 3, size=len(X))


def iris():
    X, y = load_iris(return_X_y=True)
    return scale(X) + 0.7 * np.random.default_rng(0).normal(size=X.shape), y


def breast():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def name_of(Estimator):
    return "Cs" if "Cs" in Estimator().get_params() else "alphas"


@pytest.mark.parametrize("load", [breast, noisy, iris])
@pytest.mark.parametrize(
    "scoring", ["accuracy", "roc_auc", "f1", "average_precision", "neg_brier_score", "own"]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_at_given_points_scores_are_those_of_scikit_learn_and_none_is_better(load, scoring):
    X, y = load()
    if load is noisy:
        y = (y == "yes").astype(int)
    by_classes = {"roc_auc": "roc_auc_ovr", "f1": "f1_macro", "neg_brier_score": "accuracy"}
    by_classes |= {"average_precision": "balanced_accuracy"}
    scoring = by_classes.get(scoring, scoring) if load is iris else scoring
    if scoring == "own":

        def scoring(model, X, y):
            return balanced_accuracy_score(y, model.predict(X))

    options = {"Cs": CS, "scoring": scoring, "cv": FOLDS, "use_legacy_attributes": False}
    model = fasthoag.LogisticRegressionCV(**options).fit(X, y)
    peer = linear_model.LogisticRegressionCV(**options, l1_ratios=(0,), tol=1e-8, max_iter=10000)
    peer.fit(X, y)
    np.testing.assert_allclose(model.scores_, peer.scores_, atol=2e-3)
    theirs = peer.scores_.mean(axis=(0, 1))
    assert model.best_score_ >= theirs.max() - 1e-4
    assert min(CS) <= model.C_ <= max(CS)
    if model.C_ in CS:  # The best point, or one of several that tie.
        assert theirs[CS.index(model.C_)] >= theirs.max() - 1e-4


def test_scores_of_many_columns_are_those_of_solved_models():
    rng = np.random.default_rng(0)
    n, p, k = 400, 1500, 30
    columns = (p * rng.random((n, k)) ** 3).astype(int)
    values = np.abs(rng.normal(size=n * k)) / 5
    X = sp.csr_matrix((values, columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, p))
    X.sum_duplicates()
    y = (X @ (3 * rng.normal(size=p)) + 0.5 * rng.normal(size=n) > 0).astype(int)
    folds, Cs = StratifiedKFold(3), [0.01, 0.1, 1.0, 10.0, 100.0]
    options = {"Cs": Cs, "cv": folds, "use_legacy_attributes": False}
    model = fasthoag.LogisticRegressionCV(scoring="roc_auc", **options).fit(X, y)
    solver = {"solver": "newton-cg", "tol": 1e-8, "max_iter": 1000}
    for fold, (train, test) in enumerate(folds.split(X, y)):
        for C, score in zip(Cs, model.scores_[fold, 0], strict=True):
            peer = linear_model.LogisticRegression(C=C, **solver).fit(X[train], y[train])
            assert abs(get_scorer("roc_auc")(peer, X[test], y[test]) - score) < 5e-4


@pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error", "neg_max_error", "own"])
def test_ridge_is_as_good_as_that_of_scikit_learn(scoring):
    X, y = load_diabetes(return_X_y=True)
    X = X + 0.05 * np.random.default_rng(0).normal(size=X.shape)
    if scoring == "own":

        def scoring(model, X, y):
            return -np.median(np.abs(y - model.predict(X)))

    options = {"alphas": ALPHAS, "scoring": scoring, "cv": KFold(4)}
    model = fasthoag.RidgeCV(**options).fit(X, y + 1e4)
    peer = linear_model.RidgeCV(**options).fit(X, y + 1e4)
    assert model.best_score_ >= peer.best_score_ - 1e-6 * abs(peer.best_score_)
    grid = GridSearchCV(
        linear_model.Ridge(), {"alpha": [model.alpha_]}, scoring=scoring, cv=KFold(4)
    ).fit(X, y + 1e4)
    assert grid.best_score_ == pytest.approx(model.best_score_, rel=1e-4)


@linear
def test_both_choices_are_reported(Estimator):
    X, y = data(Estimator)
    scoring = "accuracy" if is_classifier(Estimator()) else "neg_mean_absolute_error"
    model, plain = (Estimator(cv=4, scoring=one).fit(X, y) for one in (scoring, None))
    if Estimator is not fasthoag.QuantileRegressorCV:
        assert model.lam_by_loss_ == plain.lam_
    assert model.hoag_result_.lam[0] == model.lam_by_loss_
    assert model.scores_.shape == (4,)
    assert model.best_score_ == model.score_mean_ == pytest.approx(model.scores_.mean())
    at_optimum = model.hoag_result_.scores[scoring].mean()
    assert model.best_score_ >= at_optimum - 1e-4 * abs(at_optimum)
    assert not hasattr(plain, "lam_by_loss_")


@linear
@pytest.mark.parametrize("several", [list, dict])
def test_several_scorers_are_reported_and_choose_nothing(Estimator, several):
    X, y = data(Estimator)
    names = ["accuracy", "f1"] if is_classifier(Estimator()) else ["r2", "neg_max_error"]
    names = names[:1] if Estimator is fasthoag.LinearSVCCV else names
    scoring = names if several is list else {name: name for name in names}
    model, plain = (Estimator(cv=4, scoring=one).fit(X, y) for one in (scoring, None))
    assert list(model.hoag_result_.scores) == names
    assert model.lam_ == plain.lam_
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    np.testing.assert_array_equal(model.scores_, plain.scores_)


@linear
def test_one_standard_error_is_that_of_the_scorer(Estimator):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(240, 8))
    z = X[:, 0] - X[:, 1] + 0.3 * rng.normal(size=240)
    is_classes = is_classifier(Estimator())
    y, scoring = (z > 0.5, "accuracy") if is_classes else (np.exp(0.5 * z), "r2")
    best, strong = (
        Estimator(cv=4, scoring=scoring, one_se=one_se).fit(X, y) for one_se in (False, True)
    )
    if Estimator is fasthoag.QuantileRegressorCV:
        return  # Another strength, another corner.
    assert strong.lam_ > best.lam_
    assert strong.lam_by_loss_ == best.lam_by_loss_
    assert strong.best_score_ >= best.best_score_ - best.score_se_
    name, lam = name_of(Estimator), 4 * strong.lam_
    beyond = Estimator(cv=4, scoring=scoring, **{name: [1 / lam if name == "Cs" else lam]})
    assert beyond.fit(X, y).best_score_ < best.best_score_ - best.score_se_


def test_of_equal_scores_that_of_less_loss_is_taken():
    X, y = breast()

    def same(model, X, y):
        return 1.0

    model = fasthoag.LogisticRegressionCV(cv=3, scoring=same, Cs=CS).fit(X, y)
    assert model.lam_ == model.lam_by_loss_


def test_a_scorer_that_rises_outwards_is_followed():
    X, y = noisy()

    def small(model, X, y):
        return -np.abs(model.decision_function(X)).max()

    model = fasthoag.LogisticRegressionCV(cv=3, scoring=small).fit(X, y)
    assert model.lam_ > np.exp(8) * model.lam_by_loss_
    bounded = fasthoag.LogisticRegressionCV(cv=3, scoring=small, Cs=CS).fit(X, y)
    assert bounded.C_ == 0.001


@linear
@pytest.mark.parametrize("per", [[0, 0, 0, 0, 1, 1, 1, 1], "feature"], ids=["groups", "feature"])
def test_strengths_of_their_own_move_by_a_common_factor(Estimator, per):
    X, y = data(Estimator)
    scoring = "accuracy" if is_classifier(Estimator()) else "neg_mean_absolute_error"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Estimator(cv=3, scoring=scoring, penalty_per=per, bounds=(-6, 6)).fit(X, y)
    lam, by_loss = np.unique(model.lam_), np.unique(model.lam_by_loss_)
    assert model.lam_by_loss_.shape == model.hoag_result_.theta.shape
    is_inside = (lam > np.exp(-5.9)) & (lam < np.exp(5.9))
    inside = (by_loss > np.exp(-5.9)) & (by_loss < np.exp(5.9))
    if len(lam) == len(by_loss) and (is_inside & inside).sum() > 1:
        ratio = (lam / by_loss)[is_inside & inside]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)


def test_rows_of_validation_choose():
    X, y = noisy(400)
    validation = X[200:], y[200:]
    model = fasthoag.LogisticRegressionCV(Cs=CS, scoring="roc_auc")
    model.fit(X[:200], y[:200], validation=validation)
    each = [
        linear_model.LogisticRegression(C=C, tol=1e-10, max_iter=10000).fit(X[:200], y[:200])
        for C in CS
    ]
    best = max(get_scorer("roc_auc")(one, *validation) for one in each)
    assert model.scores_.shape == (1,)
    assert model.best_score_ >= best - 1e-4
    assert np.isnan(model.score_se_)


@pytest.mark.parametrize("scoring", ["neg_mean_squared_error", "r2", "neg_mean_absolute_error"])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_a_scorer_judges_leave_one_out_as_in_scikit_learn(scoring, is_weighted):
    X, y = load_diabetes(return_X_y=True)
    weight = np.arange(len(y)) % 3 + 1.0 if is_weighted else None
    given = {"alphas": [0.01, 0.1, 1.0], "scoring": scoring}
    model = fasthoag.RidgeCV(**given).fit(X, y, weight)
    theirs = linear_model.RidgeCV(**given).fit(X, y, weight)
    assert model.best_score_ >= theirs.best_score_ - 1e-10 * abs(theirs.best_score_)
    again = linear_model.RidgeCV([model.alpha_], scoring=scoring).fit(X, y, weight)
    assert model.best_score_ == pytest.approx(again.best_score_, rel=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_scorer_of_labels_judges_each_by_models_without_it(n_classes):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = np.digitize(X[:, 0] + rng.normal(size=60), [0.0] if n_classes == 2 else [-1.0, 1.0])
    model = fasthoag.RidgeClassifierCV([3.0], scoring="accuracy").fit(X, y)
    one = linear_model.RidgeClassifier(3.0)
    hits = [one.fit(np.delete(X, i, 0), np.delete(y, i)).predict(X[[i]]) == y[i] for i in range(60)]
    assert model.best_score_ == pytest.approx(np.mean(hits))


def test_several_scorers_have_no_rows_to_report_of_leave_one_out():
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="scoring=.* is leave-one-out; pass cv=5"):
        fasthoag.RidgeCV(scoring=["r2"]).fit(X, y)


# ---- classes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro", "own"])
def test_models_against_the_rest_are_judged_together(scoring):
    X, y = iris()
    y = np.array(["u", "v", "w"])[y]
    if scoring == "own":

        def scoring(model, X, y):
            return float(np.mean(model.predict(X)[y == "v"] == "v"))

    options = {"cv": FOLDS, "Cs": CS, "store_cv_results": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model = fasthoag.LinearSVCCV(scoring=scoring, **options).fit(X, y)
    by_hand = np.zeros((5, len(CS)))
    for fold, (_, test) in enumerate(FOLDS.split(X, y)):
        for k in range(len(CS)):
            w = model.coefs_paths_[fold, 0, k]
            predicted = np.unique(y)[(X[test] @ w[:, :-1].T + w[:, -1]).argmax(axis=1)]
            if scoring == "accuracy":
                by_hand[fold, k] = np.mean(predicted == y[test])
            elif scoring == "f1_macro":
                by_hand[fold, k] = f1_score(y[test], predicted, average="macro")
            else:
                by_hand[fold, k] = np.mean(predicted[y[test] == "v"] == "v")
    assert model.best_score_ >= by_hand.mean(axis=0).max() - 1e-9
    ratio = model.lam_ / model.lam_by_loss_
    is_free = (model.lam_ < 0.999 / CS[0]) & (model.lam_ > 1.001 / CS[-1])
    if not np.isin(model.C_, CS).all() and is_free.sum() > 1:
        np.testing.assert_allclose(ratio[is_free], ratio[is_free][0], rtol=1e-6)


@pytest.mark.parametrize("Estimator", [fasthoag.LogisticRegressionCV, fasthoag.LinearSVCCV])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_callables_see_the_labels_of_the_user(Estimator, n_classes):
    X, y = iris()
    X, y = X[y < n_classes], np.array(["u", "v", "w"])[y[y < n_classes]]
    seen = set()

    def own(model, X, y):
        seen.update(y.tolist(), model.predict(X).tolist())
        return np.mean(model.predict(X) == y)

    Estimator(cv=3, scoring=own).fit(X, y)
    assert seen <= {"u", "v", "w"}
    if n_classes == 2:
        f1 = make_scorer(f1_score, pos_label="u")
        model = Estimator(cv=3, scoring=f1).fit(X, y)
        flipped = Estimator(cv=3, scoring="f1").fit(X, np.where(y == "u", 1, 0))
        assert model.best_score_ == pytest.approx(flipped.best_score_, abs=1e-9)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_of_classes_are_for_the_fits_alone():
    X, y = noisy()
    y = (y == "yes").astype(int)
    options = {"Cs": CS, "scoring": "accuracy", "cv": FOLDS, "class_weight": {0: 1.0, 1: 4.0}}
    options |= {"use_legacy_attributes": False}
    model = fasthoag.LogisticRegressionCV(**options).fit(X, y)
    peer = linear_model.LogisticRegressionCV(**options, l1_ratios=(0,), tol=1e-8).fit(X, y)
    np.testing.assert_allclose(model.scores_, peer.scores_, atol=2e-3)


# ---- the same choice ----------------------------------------------------------------------------


def weighted(X, y, folds):
    """Rows twice as weights 2, and as two rows."""
    twice = np.arange(len(y)) % 3 == 0
    rows = np.concatenate([np.arange(len(y)), np.flatnonzero(twice)])
    again = [tuple(np.flatnonzero(np.isin(rows, part)) for part in split) for split in folds]
    return (X, y, 1.0 + twice, folds), (X[rows], y[rows], None, again)


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc", "neg_log_loss"])
@pytest.mark.parametrize("what", ["weights", "units", "constant", "offset", "order"])
def test_the_choice_does_not_depend_on_how_rows_and_columns_are_written(what, scoring):
    X, y = noisy()
    folds = list(FOLDS.split(X, y))
    here, factor = (X, y, None, folds), 1.0
    if what == "weights":
        here, there = weighted(X, y, folds)
    elif what == "units":
        there, factor = (1000 * X, y, None, folds), 1e6
    elif what == "constant":
        there = (np.column_stack([X, np.full(len(y), 7.0)]), y, None, folds)
    elif what == "offset":
        there = (X + 1e5, y, None, folds)
    else:
        order = np.random.default_rng(3).permutation(len(y))
        place = np.argsort(order)
        there = (X[order], y[order], None, [tuple(place[part] for part in s) for s in folds])
    found = []
    for X, y, weight, cv in (here, there):
        model = fasthoag.LogisticRegressionCV(cv=cv, scoring=scoring, tol=1e-6)
        found.append(model.fit(X, y, weight))
    a, b = found
    assert b.best_score_ == pytest.approx(a.best_score_, abs=5e-3)
    if scoring != "accuracy":  # A row more or less on the right side decides between equals.
        np.testing.assert_allclose(b.lam_, factor * a.lam_, rtol=1e-3)
        np.testing.assert_allclose(b.scores_, a.scores_, atol=2e-4)


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("Estimator", "scoring"),
    [
        (fasthoag.LogisticRegressionCV, "f1"),
        (fasthoag.LinearSVCCV, "f1"),
        (fasthoag.LinearSVCCV, "neg_log_loss"),
        (fasthoag.LinearSVCCV, lambda model, X, y: model.no_such_method()),
    ],
)
def test_a_scorer_that_does_not_suit_three_classes_is_refused_before_any_work(Estimator, scoring):
    X, y = iris()
    work = {"callback": lambda record: pytest.fail("work was done")}
    with pytest.raises(ValueError, match="cannot judge loss"):
        Estimator(scoring=scoring, **work).fit(X, y)


def test_a_scorer_without_a_number_chooses_nothing():
    X, y = load_diabetes(return_X_y=True)
    with (
        pytest.warns(UserWarning, match="gives NaN on fold 0"),
        pytest.raises(ValueError, match="scoring gives no number on any fold"),
    ):
        fasthoag.RidgeCV(scoring="r2").fit(X[:100], y[:100], validation=(X[:1], y[:1]))


def test_a_fold_that_cannot_be_judged_is_left_out():
    X, y = noisy()
    rows, one = np.arange(len(y)), np.flatnonzero(y == "yes")[:20]
    folds = [(np.setdiff1d(rows, one), one), (rows[::2], rows[1::2]), (rows[1::2], rows[::2])]
    with pytest.warns(UserWarning, match="gives NaN on fold 0"):
        model = fasthoag.LogisticRegressionCV(cv=folds, scoring="roc_auc").fit(X, y)
    assert np.isnan(model.scores_[0])
    assert model.best_score_ == pytest.approx(model.scores_[1:].mean())


def test_where_no_time_is_left_the_point_is_compared_with_no_others():
    X, y = load_breast_cancer(return_X_y=True)
    options = {"scoring": "roc_auc", "cv": FOLDS, "max_seconds": 1e-9}
    with pytest.warns(fasthoag.ConvergenceWarning, match="max_seconds"):
        model = fasthoag.LogisticRegressionCV(**options).fit(scale(X), y)
    assert model.hoag_result_.status == "out_of_time"
    assert model.lam_ == model.lam_by_loss_
