"""The scikit-learn estimators: scikit-learn's own checks, its models at the chosen strength, and
what the arguments say."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    TweedieRegressor,
)
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.utils.estimator_checks import parametrize_with_checks

import fasthoag
from fasthoag.criteria.folds import split_weight
from fasthoag.estimators.passive import passive_of
from fasthoag.estimators.tuned import TunedEstimator

EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
LINEAR = [E for E in EVERY if issubclass(E, TunedEstimator)]
MULTICLASS = [fasthoag.LogisticRegressionCV, fasthoag.LinearSVCCV, fasthoag.RidgeClassifierCV]
every = pytest.mark.parametrize("Estimator", EVERY, ids=lambda E: E.__name__)
linear = pytest.mark.parametrize("Estimator", LINEAR, ids=lambda E: E.__name__)
every_multiclass = pytest.mark.parametrize("Estimator", MULTICLASS, ids=lambda E: E.__name__)


def test_every_estimator_is_found_in_the_package_and_in_its_module():
    public = {name for name in fasthoag.__all__ if name.endswith("CV")} - {"GCV", "TunedCV"}
    assert public == set(fasthoag.estimators.ESTIMATORS)
    for Estimator in EVERY:  # The second is where pickles of earlier versions look.
        assert getattr(fasthoag, Estimator.__name__) is Estimator
        assert getattr(fasthoag.estimators, Estimator.__name__) is Estimator
    with pytest.raises(AttributeError, match="no attribute 'LassoCV'"):
        _ = fasthoag.estimators.LassoCV


@pytest.mark.no_map("where a search ends depends on the design's units")
@parametrize_with_checks([Estimator() for Estimator in EVERY])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def iris(n_classes=3):
    X, y = load_iris(return_X_y=True)
    keep = y >= 3 - n_classes
    return StandardScaler().fit_transform(X[keep]), y[keep]


def data(Estimator, n=150, p=6, seed=0):
    """Rows for an estimator: two classes, or targets > 0 that depend on two features."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    z = X[:, 0] - 0.5 * X[:, 1]
    if is_classifier(Estimator()):
        return X, np.array(["no", "yes"])[(z + rng.normal(size=n) > 0).astype(int)]
    return X, np.exp(0.5 * z) * rng.gamma(4, 0.25, size=n)


# the same objective in scikit-learn, at the strength that was chosen for a sum of n rows
SAME = {
    "logistic": (
        fasthoag.LogisticRegressionCV(),
        lambda m, n: LogisticRegression(C=m.C_, tol=1e-10, max_iter=10000),
    ),
    "logistic balanced": (
        fasthoag.LogisticRegressionCV(class_weight="balanced"),
        lambda m, n: LogisticRegression(C=m.C_, tol=1e-10, max_iter=10000, class_weight="balanced"),
    ),
    "svc": (
        fasthoag.LinearSVCCV(fit_intercept=False),
        lambda m, n: LinearSVC(C=m.C_, dual=False, fit_intercept=False, tol=1e-10, max_iter=100000),
    ),
    "ridge": (fasthoag.RidgeCV(), lambda m, n: Ridge(alpha=m.alpha_)),
    "ridge classifier": (
        fasthoag.RidgeClassifierCV(class_weight="balanced"),
        lambda m, n: RidgeClassifier(alpha=m.alpha_, class_weight="balanced"),
    ),
    "svr": (
        fasthoag.LinearSVRCV(epsilon=0.1, fit_intercept=False),
        lambda m, n: LinearSVR(
            C=m.C_,
            epsilon=0.1,
            loss="squared_epsilon_insensitive",
            dual=False,
            fit_intercept=False,
            tol=1e-10,
            max_iter=100000,
        ),
    ),
    "poisson": (
        fasthoag.PoissonRegressorCV(),
        lambda m, n: PoissonRegressor(alpha=m.alpha_ / n, tol=1e-10, max_iter=1000),
    ),
    "gamma": (
        fasthoag.GammaRegressorCV(),
        lambda m, n: GammaRegressor(alpha=m.alpha_ / n, tol=1e-10, max_iter=1000),
    ),
    "tweedie": (
        fasthoag.TweedieRegressorCV(power=1.3),
        lambda m, n: TweedieRegressor(
            power=1.3, link="log", alpha=m.alpha_ / n, tol=1e-10, max_iter=1000
        ),
    ),
} | {
    f"tweedie {power} {link}": (
        fasthoag.TweedieRegressorCV(power=power, link=link),
        lambda m, n: TweedieRegressor(
            power=m.power, link=m.link, alpha=m.alpha_ / n, tol=1e-10, max_iter=1000
        ),
    )
    for power, link in ((0, "auto"), (0, "identity"), (1, "auto"), (1.0, "log"), (2, "auto"))
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_the_model_is_that_of_scikit_learn_at_the_chosen_strength(name, is_sparse):
    model, peer = SAME[name]
    X, y = data(type(model))
    X = sp.csr_array(X) if is_sparse else X
    model = clone(model).fit(X, y)
    assert model.hoag_result_.status == "converged"
    peer = peer(model, X.shape[0]).fit(X, y)
    scale = np.abs(peer.coef_).max()
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-4 * scale)
    np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=1e-4 * scale)
    assert abs(model.score(X, y) - peer.score(X, y)) < 1e-3


def test_multinomial_is_that_of_scikit_learn_at_the_chosen_strength():
    X, y = iris()
    model = fasthoag.LogisticRegressionCV().fit(X, y)
    peer = LogisticRegression(C=model.C_, tol=1e-12, max_iter=10000).fit(X, y)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-4 * np.abs(peer.coef_).max())
    np.testing.assert_allclose(
        model.intercept_, peer.intercept_, atol=1e-4 * np.abs(peer.coef_).max()
    )
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(
        model.predict_log_proba(X), np.log(model.predict_proba(X)), atol=1e-9
    )
    assert model.decision_function(X).shape == (150, 3)
    assert model.coef_.shape == (3, 4)
    assert model.intercept_.shape == (3,)


def test_probabilities_of_two_classes():
    X, y = data(fasthoag.LogisticRegressionCV)
    model = fasthoag.LogisticRegressionCV().fit(X, y)
    z = model.decision_function(X)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-z)))
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    assert np.isfinite(model.predict_log_proba(1e6 * X)).all()


def test_svc_with_three_classes_is_each_against_the_rest():
    X, y = iris()
    model = fasthoag.LinearSVCCV(cv=StratifiedKFold(3)).fit(X, y)
    assert model.C_.shape == model.lam_.shape == (3,)
    assert model.scores_.shape == (3, 3)
    assert model.score_mean_.shape == (3,)
    folds = list(StratifiedKFold(3).split(X, y))
    for c in range(3):
        one = fasthoag.LinearSVCCV(cv=folds).fit(X, y == c)
        np.testing.assert_allclose(model.coef_[c], one.coef_[0], rtol=1e-6)
        np.testing.assert_allclose(model.C_[c], one.C_, rtol=1e-6)
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize(
    ("per", "shape"),
    [
        ("feature", (4,)),
        ("class", (3, 4)),
        ("feature_class", (3, 4)),
        (["sepal", "sepal", "petal", "petal"], (4,)),
        ({"sepal": [0, 1], "petal": [2, 3]}, (4,)),
        ([[0, 1], [2, 3]], (4,)),
    ],
)
def test_strengths_of_logistic_regression_on_iris(per, shape):
    X, y = iris()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model = fasthoag.LogisticRegressionCV(penalty_per=per, bounds=(-9, 9), cv=3).fit(X, y)
        single = fasthoag.LogisticRegressionCV(bounds=(-9, 9), cv=3).fit(X, y)
    assert model.lam_.shape == model.C_.shape == shape
    np.testing.assert_allclose(model.C_ * model.lam_, 1)
    assert model.score_mean_ >= single.score_mean_ - 1e-4 * abs(single.score_mean_)
    assert model.score(X, y) > 0.9
    n_distinct = {"feature": 4, "class": 3, "feature_class": 12}.get(
        per if isinstance(per, str) else "", 2
    )
    assert len(np.unique(model.lam_)) <= n_distinct
    assert model.hoag_result_.theta.shape == (n_distinct,)


@linear
def test_a_strength_for_each_feature(Estimator):
    X, y = data(Estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model = Estimator(penalty_per="feature", bounds=(-6, 6)).fit(X, y)
        groups = Estimator(
            penalty_per=[0, 0, 1, 1, 1, 1], penalty_factor=[1, 1, 1, 1, 1, 2], bounds=(-6, 6)
        ).fit(X, y)
    strengths = model.alpha_ if hasattr(model, "alpha_") else 1 / model.C_
    np.testing.assert_allclose(strengths, model.lam_)
    assert strengths.shape == (6,)
    assert strengths[0] < strengths[2:].max()
    assert groups.lam_[5] == pytest.approx(2 * groups.lam_[4])
    assert groups.lam_[0] == groups.lam_[1] < groups.lam_[2]


@every_multiclass
def test_a_strength_for_each_feature_of_three_classes(Estimator):
    X, y = iris()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model = Estimator(penalty_per="feature", bounds=(-6, 6), cv=3).fit(X, y)
    assert model.lam_.shape == ((4,) if Estimator is fasthoag.LogisticRegressionCV else (3, 4))
    assert model.score(X, y) > 0.8


@linear
def test_validation_and_stop_on(Estimator):
    X, y = data(Estimator, n=240)
    model = Estimator().fit(X[:120], y[:120], validation=(X[120:180], y[120:180]))
    assert model.scores_.shape == (1,)
    assert np.isnan(model.score_se_)
    other = Estimator(cv=[(np.arange(120), np.arange(120, 180))]).fit(X[:180], y[:180])
    # whose corners follow y
    if not isinstance(model, (fasthoag.QuantileRegressorCV, fasthoag.HuberRegressorCV)):
        np.testing.assert_allclose(model.scores_, other.scores_, rtol=1e-3)
    stopped = Estimator(penalty_per="feature", bounds=(-6, 6), method="lbfgs").fit(
        X[:120], y[:120], validation=(X[120:180], y[120:180]), stop_on=(X[180:], y[180:])
    )
    assert any("stop_value" in record for record in stopped.hoag_result_.trace)
    for name in ("validation", "stop_on"):
        with pytest.raises(ValueError, match=name):
            Estimator().fit(X, y, **{name: 3})
        with pytest.raises(ValueError, match="features"):
            Estimator().fit(X, y, **{name: (X[:, :2], y)})


@every_multiclass
@pytest.mark.parametrize("n_classes", [2, 3])
def test_validation_of_classifiers(Estimator, n_classes):
    X, y = iris(n_classes)
    names = np.array(["c", "a", "b"])[y]
    parts = np.arange(len(y)) % 3
    model = Estimator(class_weight="balanced", bounds=(-6, 6)).fit(
        X[parts == 0],
        names[parts == 0],
        validation=(X[parts == 1], names[parts == 1]),
        stop_on=(X[parts == 2], names[parts == 2]),
    )
    assert model.score(X, names) > 0.8
    with pytest.raises(ValueError, match="validation has labels"):
        Estimator().fit(X, names, validation=(X, np.full(len(y), "z")))


@linear
def test_one_standard_error_is_stronger(Estimator):
    X, y = data(Estimator)
    best, strong = Estimator(cv=5).fit(X, y), Estimator(cv=5, one_se=True).fit(X, y)
    assert strong.lam_ > best.lam_
    with pytest.raises(ValueError, match="one_se"):
        Estimator(one_se=True, penalty_per="feature").fit(X, y)
    with pytest.raises(ValueError, match="one_se"):
        Estimator(one_se=True).fit(X, y, validation=(X, y))


@every
def test_pandas_pipeline_grid_search_clone_pickle(Estimator):
    pd = pytest.importorskip("pandas")
    X, y = data(Estimator)
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    model = Estimator(cv=3, n_jobs=1).fit(frame, y)
    assert list(model.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    assert clone(model).get_params() == model.get_params()
    assert not [name for name in model.get_params() if name.startswith("_")]
    grid = {f"{Estimator.__name__.lower()}__fit_intercept": [True, False]}
    search = GridSearchCV(make_pipeline(StandardScaler(), Estimator(cv=3)), grid, cv=3).fit(
        frame, y
    )
    assert np.isfinite(search.best_score_)


BAD_ARGUMENTS = [
    ({"penalty_per": "rows"}, "penalty_per"),
    ({"penalty_per": None}, "penalty_per"),
    ({"penalty_per": 3}, "penalty_per"),
    ({"penalty_per": "class"}, "penalty_per"),
    ({"penalty_per": "feature_class"}, "penalty_per"),
    ({"penalty_per": [0, 1]}, "groups"),
    ({"penalty_factor": [1.0]}, "penalty_factor"),
    ({"tol": -1.0}, "tol"),
    ({"max_iter": 0}, "max_iter"),
    ({"bounds": (1, 0)}, "bounds"),
    ({"method": "sweep"}, "method"),
    ({"method": ["newton"]}, "method"),
    ({"cv": 1}, "cv"),
    ({"cv": "5"}, "cv must be a whole number"),
    ({"cv": True}, "cv must be a whole number"),
    ({"cv": 2.5}, "cv must be a whole number"),
    ({"cv": [1, 2]}, "cv must give"),
    ({"tol": "small"}, "tol must be"),
    ({"tol": True}, "tol must be"),
    ({"max_iter": True}, "max_iter must be"),
    ({"n_threads": 0}, "n_threads must be"),
    ({"n_threads": True}, "n_threads must be"),
    ({"n_jobs": 0}, "n_jobs must be"),
    ({"n_jobs": "all"}, "n_jobs must be"),
    ({"penalty_factor": "one"}, "penalty_factor must be"),
    ({"bounds": ("low", 1)}, "bounds must be"),
    ({"callback": 3}, "callback must be"),
    ({"scoring": 3}, "scoring must be"),
    ({"device": "tpu"}, "device must be"),
    ({"kernel": "sigmoid"}, "kernel must be"),
    ({"kernel": np.ndarray}, "kernel must be"),
    ({"kernel": "linear", "per_feature": True}, "per_feature=True needs a kernel with widths"),
    ({"kernel": "poly", "degree": 1.5}, "degree must be"),
    ({"kernel": "poly", "coef0": -1.0}, "coef0 must be"),
    ({"solver": "svd", "kernel": "rbf"}, "solver must be"),
    ({"n_components": 0}, "n_components must be"),
]


def takes(Estimator, names):
    return {*names} <= Estimator().get_params().keys()


@pytest.mark.parametrize(
    ("Estimator", "arguments", "match"),
    [(E, *case) for E in EVERY for case in BAD_ARGUMENTS if takes(E, case[0])],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_bad_arguments(Estimator, arguments, match):
    X, y = data(Estimator)
    work = {"callback": lambda record: pytest.fail("work was done")}
    with pytest.raises((ValueError, TypeError), match=match):
        Estimator(**{**work, **arguments}).fit(X, y)


FLAGS = [
    "fit_intercept",
    "one_se",
    "low_memory",
    "deterministic",
    "store_folds",
    "store_cv_results",
    "warm_start",
    "refit",
    "per_feature",
    "alpha_per_target",
]


@pytest.mark.parametrize(
    ("Estimator", "name"),
    [(E, name) for E in EVERY for name in FLAGS if takes(E, [name])],
)
def test_flags_are_true_or_false(Estimator, name):
    X, y = data(Estimator)
    for value in ("no", 0, 1, None, np.array([True, False])):
        if name == "alpha_per_target" and isinstance(value, np.ndarray):  # labels
            continue
        with pytest.raises(TypeError, match=f"{name} must be True or False; got"):
            Estimator(**{name: value}).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        for value in (np.True_, np.False_):
            Estimator(cv=3, **{name: value}).fit(X, y)


def test_every_flag_is_tested():
    found = {
        name
        for Estimator in EVERY
        for name, value in Estimator().get_params().items()
        if isinstance(value, bool) and name not in passive_of(Estimator)
    }
    assert found == set(FLAGS)


# ---- classes that are absent -------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("absent", [0, -1])
@every_multiclass
def test_a_class_absent_from_a_training_part_is_named_before_any_work(Estimator, absent, n_classes):
    rng = np.random.default_rng(0)
    names = np.array(["ape", "bee", "cat", "dog"])[:n_classes]
    y = names[np.arange(60) % n_classes]
    rows, X = np.arange(60), rng.normal(size=(60, 3))
    cv = [(rows[:30], rows[30:]), (rows[y != names[absent]], rows[:9])]
    message = f"the training part of fold 1 has .*no row of class '{names[absent]}'"
    work = {"callback": lambda record: pytest.fail("work was done")}
    with pytest.raises(ValueError, match=message):
        Estimator(cv=cv, **work).fit(X, y)
    with pytest.raises(ValueError, match="training part of fold 1 .* class 1"):
        Estimator(cv=cv, **work).fit(X, np.where(y == names[absent], 1, 5 + rows % (n_classes - 1)))


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("by", ["sample_weight", "class_weight", "part of the rows"])
@every_multiclass
def test_a_class_that_weights_take_out_is_named_before_any_work(Estimator, by, n_classes):
    rng = np.random.default_rng(0)
    y, X = np.arange(60) % n_classes, rng.normal(size=(60, 3))
    work = {"callback": lambda record: pytest.fail("work was done")}
    weight = np.where(y == 1, 0.0, 1.0)
    if by == "class_weight":
        model = Estimator(class_weight={c: float(c != 1) for c in range(n_classes)}, **work)
        weight = None
    else:
        model = Estimator(cv=KFold(2), **work)
    where = "y has"
    if by == "part of the rows":
        weight[30:], where = 1.0, "the training part of fold 1 has"
    with pytest.raises(ValueError, match=f"{where} .*no row of class 1|{where} no row of class 1"):
        model.fit(X, y, sample_weight=weight)


@every_multiclass
def test_a_class_that_is_gone_with_the_rows_held_back_is_named_before_any_work(Estimator):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 140)), np.arange(120) % 2
    y[:5] = 2
    loss = fasthoag.find_loss("multinomial")
    coded = y if Estimator is fasthoag.LogisticRegressionCV else np.where(y == 2, 1.0, -1.0)
    is_back = split_weight(None, coded, loss)[1] > 0
    assert is_back[:5].sum() == 1  # of 5 rows one is held back, and the others judge in one fold
    judges = (y == 2) & ~is_back | (np.arange(120) % 3 == 0) & (y < 2)
    folds = [(np.flatnonzero(~judges), np.flatnonzero(judges))] * 2
    model = Estimator(
        penalty_per="feature", cv=folds, callback=lambda record: pytest.fail("work was done")
    )
    with pytest.raises(ValueError, match="no row of class 2, a fifth of the rows held back"):
        model.fit(X, y)


# ---- what is kept ------------------------------------------------------------------------------

WIDE = {
    "logistic": (fasthoag.LogisticRegressionCV(cv=5), 2),
    "multinomial": (fasthoag.LogisticRegressionCV(cv=5), 3),
    "svc": (fasthoag.LinearSVCCV(cv=5), 2),
    "svc 3": (fasthoag.LinearSVCCV(cv=5), 3),
    "ridge": (fasthoag.RidgeCV(cv=5), 0),
    "ridge loo": (fasthoag.RidgeCV(), 0),
    "svr": (fasthoag.LinearSVRCV(), 0),
    "poisson": (fasthoag.PoissonRegressorCV(), 1),
}


def wide(n_classes, p=20_000):
    X = sp.random(150, p, 0.005, format="csr", random_state=0)
    z = np.asarray(X[:, : p // 20].sum(axis=1)).ravel()
    z = (z - z.mean()) / z.std()
    if n_classes == 0:
        return X, z
    return X, np.digitize(z, np.quantile(z, np.arange(1, max(2, n_classes)) / max(2, n_classes)))


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
def test_a_pickle_is_hardly_larger_than_the_coefficients(name):
    model, n_classes = WIDE[name]
    X, y = wide(n_classes)
    model = clone(model).set_params(tol=1e-2).fit(X, y)
    assert len(pickle.dumps(model)) <= 1.5 * model.coef_.nbytes
    results = model.hoag_result_ if isinstance(model.hoag_result_, list) else [model.hoag_result_]
    assert all(one.w is None and one.w_all is None and one.theta.size == 1 for one in results)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("name", ["logistic", "svc 3", "ridge"])
@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
def test_a_pickle_of_many_strengths_is_hardly_larger_than_what_is_documented(name):
    model, n_classes = WIDE[name]
    X, y = wide(n_classes, 5000)
    model = clone(model).set_params(penalty_per="feature", max_iter=3).fit(X, y)
    strengths = model.alpha_ if hasattr(model, "alpha_") else model.C_
    documented = model.coef_.nbytes + model.lam_.nbytes + strengths.nbytes
    assert len(pickle.dumps(model)) <= 1.5 * documented


@linear
def test_folds_are_kept_when_asked_for(Estimator):
    X, y = data(Estimator)
    model, other = Estimator(cv=4, store_folds=True).fit(X, y), Estimator(cv=4).fit(X, y)
    assert model.hoag_result_.w.shape == (7, 4)
    assert model.hoag_result_.w_all.shape == (7,)
    assert other.hoag_result_.w is other.hoag_result_.w_all is None
    np.testing.assert_array_equal(model.coef_, other.coef_)
    assert model.hoag_result_.lam.shape == other.hoag_result_.lam.shape == (1,)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (fasthoag.LinearSVCCV(loss="hinge"), "got 'hinge'.* write loss='smoothed_hinge'"),
        (fasthoag.LinearSVRCV(loss="epsilon_insensitive"), "loss must be.* HuberRegressorCV"),
        (fasthoag.LinearSVRCV(epsilon=-1), "epsilon"),
        (fasthoag.HuberRegressorCV(epsilon=0), "epsilon"),
        (fasthoag.QuantileRegressorCV(quantile=1), "quantile"),
        (fasthoag.QuantileRegressorCV(smoothing=0), "smoothing"),
        (fasthoag.TweedieRegressorCV(power=3), "power must be 0 or .*inverse Gaussian"),
        (fasthoag.TweedieRegressorCV(power=0.5), "power"),
        (fasthoag.TweedieRegressorCV(power=[1]), "power"),
        (fasthoag.TweedieRegressorCV(link="sqrt"), "link must be"),
        (fasthoag.TweedieRegressorCV(power=0, link="log"), "write power=1"),
        (fasthoag.TweedieRegressorCV(link="identity"), "write link='log', or power=0"),
    ],
    ids=str,
)
def test_bad_losses(model, match):
    X, y = data(type(model))
    with pytest.raises(ValueError, match=match):
        model.fit(X, y)


@pytest.mark.parametrize(
    ("Estimator", "bad"),
    [
        (fasthoag.PoissonRegressorCV, -1),
        (fasthoag.TweedieRegressorCV, -1),
        (fasthoag.GammaRegressorCV, 0),
        (fasthoag.GammaRegressorCV, -1),
    ],
)
def test_targets_outside_the_domain(Estimator, bad):
    X, y = data(Estimator)
    y[3] = bad
    with pytest.raises(ValueError, match="y must contain numbers >"):
        Estimator().fit(X, y)


def test_smoothed_hinge_and_quantiles():
    X, y = data(fasthoag.LinearSVCCV)
    assert fasthoag.LinearSVCCV(loss="smoothed_hinge").fit(X, y).score(X, y) > 0.7
    X, y = data(fasthoag.QuantileRegressorCV, n=400)
    for quantile in (0.1, 0.5, 0.9):
        below = y < fasthoag.QuantileRegressorCV(quantile=quantile).fit(X, y).predict(X)
        assert abs(below.mean() - quantile) < 0.05
    scaled = fasthoag.QuantileRegressorCV().fit(X, 1000 * y).predict(X)
    np.testing.assert_allclose(
        scaled, 1000 * fasthoag.QuantileRegressorCV().fit(X, y).predict(X), rtol=0.05, atol=10
    )


def test_a_feature_without_penalty():
    X, y = data(fasthoag.RidgeCV)
    model = fasthoag.RidgeCV(penalty_factor=[0, 1, 1, 1, 1, 1], bounds=(12, 13))
    with pytest.warns(fasthoag.ConvergenceWarning):
        model.fit(X, y)
    assert abs(model.coef_[0]) > 0.1 > np.abs(model.coef_[1:]).max()


@pytest.mark.parametrize("has_weights", [False, True], ids=["alike", "weighted"])
def test_ridge_by_leave_one_out_is_that_of_scikit_learn(has_weights):
    X, y = load_diabetes(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if has_weights else None
    ours = fasthoag.RidgeCV(tol=1e-6).fit(X, y, weight)
    grid = np.geomspace(ours.alpha_ / 2, ours.alpha_ * 2, 201)
    theirs = linear_model.RidgeCV(grid).fit(X, y, weight)
    assert ours.alpha_ == pytest.approx(theirs.alpha_, rel=0.01)
    mean = 1.0 if weight is None else weight.mean()  # theirs is a mean over rows
    # ours is half the square
    assert 2 * ours.score_mean_ * mean == pytest.approx(theirs.best_score_, rel=1e-4)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0.02)


def test_ridge_on_sparse_rows_needs_no_square_matrix():
    rng = np.random.default_rng(0)
    X = sp.random(1500, 20000, density=0.002, random_state=0, format="csr")
    y = X @ rng.normal(size=20000) + 0.1 * rng.normal(size=1500)
    tracemalloc.start()
    model = fasthoag.RidgeCV(tol=1e-2).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(model.score_mean_)
    assert model.hoag_result_.status in ("converged", "at_bound")
    # some blocks of 33 columns; a Gram matrix of the features would take 3.2 GB
    assert peak < 20000 * 400 * 8


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"one_se": True}, "one_se=True"),
        ({"scoring": ["r2"]}, r"scoring=\['r2'\]"),
        ({"method": "newton"}, "method='newton'"),
    ],
)
def test_what_needs_folds_is_refused_by_leave_one_out_before_any_work(options, name):
    X, y = load_diabetes(return_X_y=True)
    calls = []
    with pytest.raises(ValueError, match=f"{name} needs rows that are held out, .* pass cv=5"):
        fasthoag.RidgeCV(callback=calls.append, **options).fit(X, y)
    assert not calls


# ---- small and awkward tables ------------------------------------------------------------------


def test_one_standard_error_of_three_classes():
    X, y = iris()
    model = fasthoag.LogisticRegressionCV(cv=3, one_se=True).fit(X, y)
    assert 0 < model.C_ <= fasthoag.LogisticRegressionCV(cv=3).fit(X, y).C_


@pytest.mark.parametrize("X", [np.zeros((600, 4)), np.full((600, 4), 3.0)], ids=["0", "constant"])
def test_classes_without_a_feature_are_the_shares(X):
    y = np.random.default_rng(0).integers(0, 3, 600)
    model = fasthoag.LogisticRegressionCV().fit(X, y)
    assert model.hoag_result_.status == "converged"
    np.testing.assert_allclose(model.predict_proba(X[:1])[0], np.bincount(y) / 600, atol=1e-6)


def test_few_rows_to_judge_by_are_enough():
    X, y = load_breast_cancer(return_X_y=True)
    X, order = scale(X), np.random.default_rng(0).permutation(569)
    train, judge = order[:200], order[200:205]
    model = fasthoag.LogisticRegressionCV(penalty_per="feature")
    model.fit(X[train], y[train], validation=(X[judge], y[judge]))
    assert np.isfinite(model.score_mean_)


def test_rows_of_weight_0_are_not_there_for_many_strengths():
    X, y = load_breast_cancer(return_X_y=True)
    X, rng, rows = scale(X), np.random.default_rng(0), np.arange(120)
    cv = [(rows[rows % 3 != k], rows[rows % 3 == k]) for k in range(3)]
    model = fasthoag.LogisticRegressionCV(cv=cv, penalty_per="feature")
    score = model.fit(X[:120], y[:120]).score_mean_
    X = np.concatenate([X[:120], rng.normal(size=(1200, 30))])
    y = np.concatenate([y[:120], rng.integers(0, 2, 1200)])
    weight = np.concatenate([np.ones(120), np.zeros(1200)])
    assert model.fit(X, y, sample_weight=weight).score_mean_ == pytest.approx(score, rel=1e-3)


def test_quantiles_of_counts_are_better_than_a_constant():
    rng = np.random.default_rng(1005)
    X = rng.normal(size=(759, 3))
    y = rng.poisson(3 * np.exp(0.5 * X[:, 0])).astype(float)
    r = y - fasthoag.QuantileRegressorCV(quantile=0.95).fit(X, y).predict(X)
    constant = y - np.quantile(y, 0.95)
    pinball, least = (np.maximum(0.95 * e, -0.05 * e).mean() for e in (r, constant))
    assert pinball < 0.8 * least
