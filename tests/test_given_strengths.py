"""Strengths that the user gives, Cs= and alphas=: what is searched, compared and reported, with the
shapes and values of scikit-learn; and fits that start from the last one."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import scale

import fasthoag
from fasthoag.estimators.choice import PointsOfFolds
from fasthoag.estimators.given import strengths_given
from fasthoag.estimators.legacy import attributes_of_scikit_learn
from fasthoag.estimators.tuned import TunedEstimator
from fasthoag.path import hoag_among

EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
LINEAR = [E for E in EVERY if issubclass(E, TunedEstimator)]
linear = pytest.mark.parametrize("Estimator", LINEAR, ids=lambda E: E.__name__)
CS, ALPHAS = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0], [0.001, 0.01, 0.1, 1.0, 10.0]
FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)


def name_of(Estimator):
    return "Cs" if "Cs" in Estimator().get_params() else "alphas"


def strength(model):
    return getattr(model, "C_" if name_of(type(model)) == "Cs" else "alpha_")


def data(Estimator, n=150, p=6):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    z = X[:, 0] - 0.5 * X[:, 1]
    if is_classifier(Estimator()):
        return X, np.array(["no", "yes"])[(z + rng.normal(size=n) > 0).astype(int)]
    return X, np.exp(0.5 * z) * rng.gamma(4, 0.25, size=n)


def breast():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def iris():
    X, y = load_iris(return_X_y=True)
    return scale(X), np.array(["a", "b", "c"])[y]


# ---- what is searched --------------------------------------------------------------------------


@linear
def test_one_strength_is_fixed_to_the_bit(Estimator):
    X, y = data(Estimator)
    model = Estimator(cv=3, **{name_of(Estimator): [0.3]}).fit(X, y)
    assert strength(model) == 0.3
    assert model.hoag_result_.status == "given"
    assert model.hoag_result_.n_iter == 0
    bounds = np.log(model.lam_) - 1e-9, np.log(model.lam_) + 1e-9
    if Estimator is not fasthoag.QuantileRegressorCV:  # whose corner follows the model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
            searched = Estimator(cv=3, bounds=bounds).fit(X, y)
        np.testing.assert_allclose(model.coef_, searched.coef_, rtol=1e-3, atol=1e-4)
        assert model.score_mean_ == pytest.approx(searched.score_mean_, rel=1e-3)
    scoring = "accuracy" if is_classifier(model) else "r2"
    assert strength(model.set_params(scoring=scoring).fit(X, y)) == 0.3
    assert model.scores_.shape == (3,)


def test_a_number_is_one_alpha_and_alphas_are_positional():
    X, y = load_diabetes(return_X_y=True)
    a, b = fasthoag.RidgeCV(2).fit(X, y), fasthoag.RidgeCV([2.0]).fit(X, y)
    assert a.alpha_ == b.alpha_ == 2.0
    peer = linear_model.Ridge(2.0).fit(X, y)
    np.testing.assert_allclose(a.coef_, peer.coef_, rtol=1e-4)
    assert clone(fasthoag.RidgeCV([1.0, 2.0])).alphas == [1.0, 2.0]


@linear
def test_none_of_the_points_is_better_by_more_than_the_tolerance(Estimator):
    X, y = data(Estimator)
    name, points = name_of(Estimator), [100.0, 0.5, 2.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model = Estimator(cv=3, tol=3e-4, **{name: points}).fit(X, y)
        each = [Estimator(cv=3, **{name: [one]}).fit(X, y) for one in points]
    assert 0.5 <= strength(model) <= 100.0
    assert getattr(model, f"{name}_").tolist() == points
    if Estimator is not fasthoag.QuantileRegressorCV:
        best = max(one.score_mean_ for one in each)
        assert model.score_mean_ >= best - 2 * model.tol * abs(best)


@pytest.mark.parametrize("method", ["auto", "lbfgs", "grid"])
def test_a_lower_valley_that_a_point_shows_is_taken(method):
    rng = np.random.default_rng(0)  # a valley for each of two scales of features
    n, p = 60, 25
    strong, weak = rng.normal(size=(2, 2 * n, p))
    X = np.hstack([1e3 * strong, 1e-3 * weak])
    w = np.hstack([1e-3 * rng.normal(size=p), 1e3 * rng.normal(size=p)])
    y = X @ w + 4 * rng.normal(size=2 * n)
    problem = fasthoag.Problem(X[:n], y[:n], loss="squared", fit_intercept=False)
    rule = fasthoag.HeldOut(X[n:], y[n:])
    thetas = np.linspace(-20, 20, 81)
    curve = fasthoag.curve(problem, rule, thetas)
    lowest, other, *_ = (one.theta[0] for one in curve.minima)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        options = {"tol": 3e-4, "method": method}
        if method == "grid":  # of two trials, both worse than a point
            options["n_trials"] = 2
        else:
            options["theta0"] = [other]
        strengths = np.exp([-20.0, lowest, 20.0])
        found = hoag_among(problem, rule, strengths, **options)
    assert found.value <= curve.values.min() * (1 + 1e-3)
    assert abs(found.theta[0] - lowest) < 0.5


def test_a_callback_that_stops_the_search_stops_all_of_it():
    X, y = breast()
    calls = []
    model = fasthoag.LogisticRegressionCV(Cs=CS, callback=lambda record: calls.append(1) or True)
    assert model.fit(X, y).hoag_result_.status == "stopped"
    assert len(calls) == 1


def test_a_whole_number_is_the_range_of_scikit_learn_and_a_long_list_its_own():
    X, y = breast()
    model, plain = (fasthoag.LogisticRegressionCV(Cs=Cs).fit(X, y) for Cs in (10, None))
    np.testing.assert_array_equal(model.Cs_, np.logspace(-4, 4, 10))
    np.testing.assert_allclose(model.C_, plain.C_, rtol=1e-2)
    with pytest.warns(fasthoag.ConvergenceWarning, match="Cs="):
        model = fasthoag.LogisticRegressionCV(Cs=np.linspace(1e-3, 1e-2, 30)).fit(X, y)
    assert model.C_ == 1e-2
    assert fasthoag.LogisticRegressionCV(Cs=1).fit(X, y).C_ == 1e-4


@linear
def test_strengths_of_their_own_are_within_the_given_ones(Estimator):
    X, y = data(Estimator)
    points = {name_of(Estimator): [0.1, 1.0, 10.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model = Estimator(penalty_per=[0, 0, 0, 1, 1, 1], cv=3, **points).fit(X, y)
    assert (strength(model) >= 0.1 * (1 - 1e-9)).all()
    assert (strength(model) <= 10 * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"Cs": 0}, "Cs must be a whole number from 1 to 10000; got 0"),
        ({"Cs": True}, "Cs must be a whole number"),
        ({"Cs": 0.5}, r"or a list of strengths, \[1.0\]; got 0.5"),
        ({"Cs": []}, "Cs must be one strength or a list of them"),
        ({"Cs": [[1.0, 2.0]]}, r"got shape \(1, 2\)"),
        ({"Cs": [1.0, -1.0]}, "Cs must have positive finite numbers"),
        ({"Cs": [1.0, np.inf]}, "Cs must have positive finite numbers"),
        ({"Cs": ["1"]}, "Cs must be numeric"),
        ({"Cs": [1.0, 2.0], "bounds": (-1, 1)}, "Cs and bounds= both say"),
        ({"Cs": [1.0], "one_se": True}, "one_se=True chooses among strengths"),
        ({"refit": False, "one_se": True}, "refit=False"),
        ({"refit": 1}, "refit must be True or False"),
        ({"use_legacy_attributes": "warn"}, "use_legacy_attributes must be True or False"),
        ({"use_legacy_attributes": True, "penalty_per": "feature"}, "has one strength"),
    ],
)
def test_bad_strengths_are_refused_before_any_work(arguments, match):
    X, y = breast()
    work = {"callback": lambda record: pytest.fail("work was done")}
    with pytest.raises((ValueError, TypeError), match=match):
        fasthoag.LogisticRegressionCV(**work, **arguments).fit(X, y)


def test_alphas_are_positive_numbers():
    X, y = load_diabetes(return_X_y=True)
    for bad in (-1.0, np.nan, "1", True, [-1.0, 1.0]):
        with pytest.raises((ValueError, TypeError), match="alphas must"):
            fasthoag.RidgeCV(alphas=bad).fit(X, y)


# ---- what is reported --------------------------------------------------------------------------


@pytest.mark.parametrize("load", [breast, iris])
@pytest.mark.parametrize("is_legacy", [True, False])
@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_attributes_are_those_of_scikit_learn(load, is_legacy, refit, fit_intercept):
    X, y = load()
    options = {"Cs": CS, "cv": FOLDS, "scoring": "neg_log_loss", "refit": refit}
    options |= {"use_legacy_attributes": is_legacy, "fit_intercept": fit_intercept}
    model = fasthoag.LogisticRegressionCV(**options, store_cv_results=True).fit(X, y)
    more = {} if is_legacy else {"l1_ratios": (0,)}
    peer = linear_model.LogisticRegressionCV(**options, **more, tol=1e-8, max_iter=10000)
    peer.fit(X, y)
    for name in ("C_", "Cs_", "scores_", "coefs_paths_", "n_iter_", "l1_ratio_"):
        ours, theirs = getattr(model, name), getattr(peer, name)
        if isinstance(theirs, dict):
            assert list(ours) == list(theirs)
            ours, theirs = list(ours.values()), list(theirs.values())
        assert type(ours) is type(theirs)
        assert np.shape(ours) == np.shape(theirs)
        if name in ("scores_", "coefs_paths_"):
            scale = np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, atol=1e-3 * scale)
    if not refit:
        np.testing.assert_allclose(model.C_, peer.C_)
        np.testing.assert_allclose(model.coef_, peer.coef_, atol=2e-3 * np.abs(peer.coef_).max())
        np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=2e-3)


@pytest.mark.parametrize("load", [breast, iris])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_l1_ratios_have_an_axis_in_the_old_style(load):
    X, y = load()
    peer = linear_model.LogisticRegressionCV(
        Cs=[0.1, 1.0], cv=3, l1_ratios=(0,), use_legacy_attributes=True
    ).fit(X, y)
    n_models, n_dof = len(peer.coefs_paths_), X.shape[1] + 1
    points = PointsOfFolds(
        given=strengths_given([0.1, 1.0], "Cs"),
        scores=np.zeros((2, 3)),
        n_iter=np.ones(2, int),
        w=np.zeros((2, 3, n_models, n_dof)),
        of_rows=None,
        candidates=[],
    )
    options = {"is_legacy": True, "has_l1_ratios": True}
    ours = attributes_of_scikit_learn(points, 1.0, peer.classes_, **options)
    for name, found in ours.items():
        theirs = getattr(peer, name)
        if isinstance(theirs, dict):
            assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in theirs.items()}
        else:
            assert found.shape == theirs.shape


def test_scores_of_points_are_minus_the_loss_without_a_scorer():
    X, y = breast()
    model = fasthoag.LogisticRegressionCV(Cs=CS, cv=FOLDS, use_legacy_attributes=False).fit(X, y)
    other = fasthoag.LogisticRegressionCV(
        Cs=CS, cv=FOLDS, use_legacy_attributes=False, scoring="neg_log_loss"
    ).fit(X, y)
    np.testing.assert_allclose(model.scores_, other.scores_, rtol=1e-2)
    default = fasthoag.LogisticRegressionCV(cv=FOLDS, use_legacy_attributes=True).fit(X, y)
    assert default.scores_[1].shape == (5, 10)


def test_without_a_refit_and_points_the_model_is_the_mean_of_the_folds():
    X, y = iris()
    model = fasthoag.LogisticRegressionCV(cv=3, refit=False, tol=1e-6).fit(X, y)
    plain = fasthoag.LogisticRegressionCV(cv=3, tol=1e-6, store_folds=True).fit(X, y)
    assert model.C_ == plain.C_
    w = plain.hoag_result_.w.mean(axis=1)
    np.testing.assert_allclose(model.coef_, w[:4].T, atol=1e-3)


@linear
@pytest.mark.parametrize("target", [0.0, 1e4])
def test_kept_coefficients_are_those_of_the_folds(Estimator, target):
    X, y = data(Estimator)
    if is_classifier(Estimator()) or Estimator in (
        fasthoag.PoissonRegressorCV,
        fasthoag.GammaRegressorCV,
        fasthoag.TweedieRegressorCV,
    ):
        target = 0.0
    y = y if target == 0.0 else y + target
    folds = list(KFold(3).split(X))
    points = {name_of(Estimator): [0.5, 2.0]}
    model = Estimator(cv=folds, store_cv_results=True, **points)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (fasthoag.ConvergenceWarning))
        model.fit(X, y)
    assert model.coefs_paths_.shape == (3, 1, 2, 1, 7)
    if Estimator in (fasthoag.QuantileRegressorCV, fasthoag.HuberRegressorCV):
        return  # Their corners follow y.
    for fold, (train, _) in enumerate(folds):
        one = Estimator(cv=2, **{name_of(Estimator): [0.5]}).fit(X[train], y[train])
        w = np.append(one.coef_, one.intercept_)
        found = model.coefs_paths_[fold, 0, 0, 0]
        np.testing.assert_allclose(found, w, atol=3e-3 * max(1.0, np.abs(w[:-1]).max()))


def test_coefficients_that_were_not_kept_say_what_to_pass():
    X, y = iris()
    model = fasthoag.LinearSVCCV(cv=3, Cs=[0.1, 1.0])
    with pytest.raises(AttributeError, match="has no attribute 'coefs_paths_'"):
        _ = model.coefs_paths_
    model.fit(X, y)
    assert not hasattr(model, "coefs_paths_")
    with pytest.raises(AttributeError, match="pass store_cv_results=True"):
        _ = model.coefs_paths_
    assert pickle.loads(pickle.dumps(model)).C_.shape == (3,)
    model.set_params(store_cv_results=True).fit(X, y)
    assert model.coefs_paths_.shape == (3, 1, 2, 3, 5)
    assert not hasattr(model.set_params(store_cv_results=False).fit(X, y), "coefs_paths_")
    assert not hasattr(model.set_params(Cs=None).fit(X, y), "Cs_")


@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_errors_of_rows_left_out_are_those_of_scikit_learn(has_weights, fit_intercept):
    X, y = load_diabetes(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if has_weights else None
    options = {"alphas": ALPHAS, "store_cv_results": True, "fit_intercept": fit_intercept}
    model = fasthoag.RidgeCV(**options).fit(X, y, weight)
    peer = linear_model.RidgeCV(**options).fit(X, y, weight)
    np.testing.assert_allclose(model.cv_results_, peer.cv_results_, rtol=1e-6)
    if not has_weights:  # scikit-learn divides by the number of rows all the same.
        assert model.best_score_ >= peer.best_score_ * (1 + 1e-9)
        fixed = fasthoag.RidgeCV([0.1], fit_intercept=fit_intercept).fit(X, y)
        peer = linear_model.RidgeCV([0.1], fit_intercept=fit_intercept).fit(X, y)
        assert fixed.best_score_ == pytest.approx(peer.best_score_, rel=1e-6)


# ---- warm starts -------------------------------------------------------------------------------


@linear
def test_a_warm_start_takes_fewer_passes_to_the_same_strengths(Estimator):
    X, y = data(Estimator, n=300)
    model = Estimator(cv=4, warm_start=True).fit(X, y)
    first, passes = clone(model).set_params(warm_start=False).fit(X, y), model.hoag_result_.n_passes
    if Estimator is not fasthoag.QuantileRegressorCV:  # which starts its later searches warm
        assert first.lam_ == model.lam_
    again = model.fit(X, y)
    assert again.hoag_result_.n_passes < 0.6 * passes
    assert again.score_mean_ == pytest.approx(first.score_mean_, rel=2e-3)


def test_a_warm_start_of_another_shape_is_a_first_fit():
    X, y = iris()
    model = fasthoag.LogisticRegressionCV(cv=3, warm_start=True).fit(X, y)
    for columns, cv, rows in ((slice(2), 3, slice(None)), (slice(None), 4, slice(None))):
        warm = model.set_params(cv=cv).fit(X[rows, columns], y[rows])
        cold = fasthoag.LogisticRegressionCV(cv=cv).fit(X[rows, columns], y[rows])
        assert warm.C_ == cold.C_
    two = y != "a"
    cold = fasthoag.LogisticRegressionCV(cv=4).fit(X[two], y[two])
    assert model.fit(X[two], y[two]).C_ == cold.C_


def test_a_warm_start_of_many_strengths_goes_on():
    X, y = iris()
    options = {"cv": 3, "penalty_per": [0, 0, 1, 1], "warm_start": True}
    model = fasthoag.LogisticRegressionCV(**options).fit(X, y)
    first = model.hoag_result_
    model.fit(X, y)
    assert model.hoag_result_.n_passes < 0.5 * first.n_passes
    assert model.hoag_result_.value <= first.value * (1 + 1e-3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"w0": np.zeros((3, 4))}, "w0 is where a search of a Problem starts together with theta0"),
        ({"theta0": [0.0], "w0": np.zeros((3, 2))}, r"w0 must have shape \(4, 3\)"),
        ({"theta0": [0.0], "w0": np.full((4, 3), np.nan)}, "w0 must have shape .* finite values"),
        ({"theta0": [0.0], "w0": np.zeros((4, 3)), "method": "grid"}, "for methods that follow"),
    ],
)
def test_bad_starts_are_refused(options, match):
    X = np.random.default_rng(0).normal(size=(30, 3))
    problem = fasthoag.Problem(X, X.sum(axis=1), loss="squared")
    with pytest.raises(ValueError, match=match):
        fasthoag.hoag(problem, fasthoag.KFold(3), **options)


def test_a_search_from_its_own_end_takes_a_few_passes():
    X, y = breast()
    problem = fasthoag.Problem(X, np.where(y == 1, 1.0, -1.0))
    first = fasthoag.hoag(problem, fasthoag.KFold(5))
    again = fasthoag.hoag(problem, fasthoag.KFold(5), first.theta, w0=first.w)
    assert again.status == "converged"
    assert again.n_passes < 0.3 * first.n_passes
    assert again.value == pytest.approx(first.value, rel=3e-4)


@pytest.mark.parametrize("scoring", [None, "accuracy"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_is_kept_of_leave_one_out_of_labels_is_that_of_scikit_learn(n_classes, scoring):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4))
    y = np.digitize(X[:, 0] + rng.normal(size=50), [0.0] if n_classes == 2 else [-1.0, 1.0])
    options = {"alphas": [0.1, 1.0, 10.0], "store_cv_results": True, "scoring": scoring}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model = fasthoag.RidgeClassifierCV(**options).fit(X, y)
    peer = linear_model.RidgeClassifierCV(**options).fit(X, y)
    np.testing.assert_allclose(model.cv_results_, peer.cv_results_, rtol=1e-6, atol=1e-9)
