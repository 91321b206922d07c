"""Estimators of kernel models: scikit-learn's models at the θ that was found, closed forms, and
what the arguments mean."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import linear_kernel, pairwise_kernels
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneOut,
    cross_val_predict,
)

import fasthoag
from fasthoag import KernelLogisticRegressionCV, KernelRidgeCV

TIGHT = 1e-7  # the last step is not evaluated: it moves the losses of folds by its square root
KERNELS = ["rbf", "laplacian", "poly", "linear"]
FORMATS = {"dense": np.asarray, "csr": sp.csr_array, "csc": sp.csc_matrix}
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
both = pytest.mark.parametrize(
    "Estimator", [KernelRidgeCV, KernelLogisticRegressionCV], ids=lambda E: E.__name__
)


def data(n=90, p=3, seed=0):
    """A curve of two features, with noise; a third of X is 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.67)
    return X, np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] ** 2 + 0.2 * rng.normal(size=n)


def targets(Estimator, y):
    return y if Estimator is KernelRidgeCV else np.where(y > np.median(y), "yes", "no")


def matrix(model, X, Y=None):
    """The kernel of a fitted model, by scikit-learn."""
    if model.kernel == "linear":
        return linear_kernel(X, Y)
    own = {"degree": model.degree, "coef0": model.coef0} if model.kernel == "poly" else {}
    return pairwise_kernels(X, Y, metric=model.kernel, gamma=model.gamma_, **own)


def closed_form(K, y, lam, weight=None):
    """α and b of least squares with an intercept, by one bordered system."""
    n = len(K)
    ridge = lam / (np.ones(n) if weight is None else weight)
    system = np.block([[K + np.diag(ridge), np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    found = np.linalg.solve(system, np.concatenate([y, np.zeros((1, *y.shape[1:]))]))
    return found[:n], found[n]


# ---- the model ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
@every_kernel
def test_predictions_are_those_of_kernel_ridge_at_the_same_hyperparameters(kernel, form):
    X, y = data()
    X, X_new = FORMATS[form](X[:60]), FORMATS[form](X[60:])
    model = KernelRidgeCV(kernel=kernel, degree=2, coef0=0.5, fit_intercept=False, cv=3)
    model.fit(X, y[:60])
    peer = KernelRidge(kernel=kernel, alpha=model.alpha_, gamma=model.gamma_, degree=2, coef0=0.5)
    peer.fit(X, y[:60])
    scale = np.abs(y).max()
    np.testing.assert_allclose(model.predict(X_new), peer.predict(X_new), atol=1e-8 * scale)
    assert model.score(X_new, y[60:]) == pytest.approx(peer.score(X_new, y[60:]), abs=1e-7)
    assert model.intercept_ == 0


@pytest.mark.parametrize("is_weighted", [False, True], ids=["alike", "weighted"])
@every_kernel
def test_with_an_intercept_the_model_is_that_of_the_bordered_system(kernel, is_weighted):
    X, y = data()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y)) if is_weighted else None
    model = KernelRidgeCV(kernel=kernel, cv=3).fit(X, y, weight)
    alpha, b = closed_form(matrix(model, X), y, model.alpha_, weight)
    expected = matrix(model, X) @ alpha + b
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-8 * np.abs(y).max())
    assert isinstance(model.intercept_, float)
    assert model.dual_coef_.shape == y.shape
    assert abs(model.dual_coef_.sum()) <= 1e-8 * np.abs(model.dual_coef_).sum()


@every_kernel
def test_logistic_regression_solves_its_equations(kernel):
    X, y = data()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    labels = targets(KernelLogisticRegressionCV, y)
    model = KernelLogisticRegressionCV(kernel=kernel, bounds=(-4, 2), cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model.fit(X, labels, weight)
    sign = np.where(labels == "yes", 1.0, -1.0)
    z = matrix(model, X) @ model.dual_coef_ + model.intercept_
    np.testing.assert_allclose(model.decision_function(X), z, atol=1e-9)
    slopes = -weight * sign * expit(-sign * z)
    np.testing.assert_allclose(model.alpha_ * model.dual_coef_, -slopes, atol=1e-6)
    assert abs(slopes.sum()) < 1e-6
    assert 1 / model.alpha_ == model.C_


def test_labels_and_probabilities_of_the_classifier():
    X, y = data()
    labels = targets(KernelLogisticRegressionCV, y)
    model = KernelLogisticRegressionCV().fit(X, labels)
    z = model.decision_function(X)
    assert model.classes_.tolist() == ["no", "yes"]
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], expit(z), rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), np.where(z > 0, "yes", "no"))
    assert model.score(X, labels) == np.mean(model.predict(X) == labels) > 0.8


def test_more_classes_than_two_are_refused_with_a_way_out():
    X, y = data()
    three = np.digitize(y, np.quantile(y, [1 / 3, 2 / 3]))
    with pytest.raises(ValueError, match=r"y has 3 classes; .* OneVsRestClassifier"):
        KernelLogisticRegressionCV(callback=lambda _: pytest.fail("work was done")).fit(X, three)


@both
def test_the_model_of_low_rank_predicts_what_it_was_fitted_with(Estimator):
    X, y = data(200)
    model = Estimator(solver="nystrom", n_components=20, bounds=(-3, 0), cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model.fit(X, targets(Estimator, y))
    assert model.X_fit_.shape == (20, 3)
    assert model.dual_coef_.shape == (20,)
    C, K = matrix(model, model.X_fit_), matrix(model, X, model.X_fit_)
    if (
        Estimator is KernelRidgeCV
    ):  # in the coefficients of the centres, where λ aᵀCa is the penalty
        system = np.block(
            [
                [K.T @ K + model.alpha_ * C, K.sum(axis=0)[:, None]],
                [K.sum(axis=0)[None], np.full((1, 1), len(y))],
            ]
        )
        found = np.linalg.solve(system, np.append(K.T @ y, y.sum()))
        expected = K @ found[:-1] + found[-1]
        np.testing.assert_allclose(model.predict(X), expected, atol=1e-5)
    z = model.linear_predictor(X)
    np.testing.assert_allclose(z, K @ model.dual_coef_ + model.intercept_, atol=1e-9)


# ---- what is chosen ----------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "linear"])
def test_no_point_of_a_grid_is_better(kernel):
    X, y = data()
    folds = KFold(4, shuffle=True, random_state=0)
    grid = {"alpha": np.geomspace(1e-4, 1e2, 13)}
    grid |= {} if kernel == "linear" else {"gamma": np.geomspace(1e-3, 1e1, 13)}
    peer = GridSearchCV(
        KernelRidge(kernel=kernel), grid, cv=folds, scoring="neg_mean_squared_error"
    )
    peer.fit(X, y)
    model = KernelRidgeCV(kernel=kernel, cv=folds, fit_intercept=False, tol=TIGHT).fit(X, y)
    each = [
        -np.mean((y[test] - predicted(model, X, y, train, test)) ** 2) / 2
        for train, test in folds.split(X)
    ]
    np.testing.assert_allclose(model.scores_, each, rtol=1e-4)
    assert model.score_se_ == pytest.approx(np.std(model.scores_, ddof=1) / 2)
    assert 2 * np.mean(model.scores_) >= peer.best_score_ * (1 + 1e-3)
    assert model.hoag_result_.status == "converged"


def predicted(model, X, y, train, test):
    """By scikit-learn's model of the training part, at the hyperparameters of `model`."""
    peer = KernelRidge(kernel=model.kernel, alpha=model.alpha_, gamma=model.gamma_)
    return peer.fit(X[train], y[train]).predict(X[test])


@every_kernel
def test_leave_one_out_is_exact(kernel):
    X, y = data(40)
    model = KernelRidgeCV(kernel=kernel, cv=None, fit_intercept=False, tol=TIGHT).fit(X, y)
    own = {"degree": 3, "coef0": 1} if kernel == "poly" else {}
    peer = KernelRidge(kernel=kernel, alpha=model.alpha_, gamma=model.gamma_, **own)
    errors = y - cross_val_predict(peer, X, y, cv=LeaveOneOut())
    np.testing.assert_allclose(model.scores_, -(errors**2) / 2, atol=1e-4)
    assert model.score_mean_ == pytest.approx(-np.mean(errors**2) / 2, rel=1e-6)
    folds = KernelRidgeCV(kernel=kernel, cv=LeaveOneOut(), fit_intercept=False).fit(X, y)
    assert folds.score_mean_ == pytest.approx(model.score_mean_, rel=1e-3)


def test_widths_of_features_find_those_that_count():
    X, y = data(120, 5)
    shared, each = (KernelRidgeCV(per_feature=one, cv=4).fit(X, y) for one in (False, True))
    assert each.gamma_.shape == (5,)
    assert isinstance(shared.gamma_, float)
    assert each.score_mean_ > shared.score_mean_
    assert each.gamma_[0] > 10 * each.gamma_[2:].max()
    scaled = KernelRidge(kernel="rbf", gamma=1.0, alpha=each.alpha_)
    scaled.fit(X * each.gamma_**0.5, y - each.intercept_)
    np.testing.assert_allclose(
        each.predict(X), scaled.predict(X * each.gamma_**0.5) + each.intercept_, atol=1e-6
    )


@both
def test_validation_rows_are_a_fold(Estimator):
    X, y = data(120)
    y = targets(Estimator, y)
    options = {"bounds": (-4, 2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model = Estimator(**options).fit(X[:80], y[:80], validation=(X[80:], y[80:]))
        fold = Estimator(cv=[(np.arange(80), np.arange(80, 120))], **options).fit(X, y)
    assert model.scores_.shape == (1,)
    assert np.isnan(model.score_se_)
    np.testing.assert_allclose(model.scores_, fold.scores_, rtol=1e-3)
    assert model.X_fit_.shape == (80, 3)
    for bad in (3, (X[:, :2], y), (X, y[1:])):
        with pytest.raises(ValueError, match="validation|features"):
            Estimator().fit(X, y, validation=bad)


@pytest.mark.parametrize("method", ["grid", "random"])
def test_trials_are_searched_too(method):
    X, y = data(60)
    model = KernelRidgeCV(method=method, n_trials=9, random_state=1, cv=3).fit(X, y)
    assert model.hoag_result_.status == "searched"
    assert model.score_mean_ <= KernelRidgeCV(cv=3).fit(X, y).score_mean_ * (1 - 1e-6)


# ---- targets and weights -----------------------------------------------------------------------


@pytest.mark.parametrize("cv", [3, None])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_several_targets_are_several_models_of_one_kernel(fit_intercept, cv):
    X, y = data()
    Y = np.column_stack([y, -2 * y + 1e3, np.cos(3 * X[:, 0])])
    model = KernelRidgeCV(fit_intercept=fit_intercept, cv=cv).fit(X, Y)
    theta = model.hoag_result_.theta
    assert model.dual_coef_.shape == model.predict(X).shape == Y.shape
    for j in range(3):
        one = KernelRidgeCV(fit_intercept=fit_intercept, cv=cv, bounds=(theta - 1e-12, theta))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
            one.fit(X, Y[:, j])
        np.testing.assert_allclose(model.predict(X)[:, j], one.predict(X), rtol=1e-6, atol=1e-6)
    assert model.intercept_.shape == (3,)
    column = KernelRidgeCV(fit_intercept=fit_intercept, cv=cv).fit(X, y[:, None])
    assert column.predict(X).shape == (len(y), 1)
    same = KernelRidgeCV(fit_intercept=fit_intercept, cv=cv).fit(X, y)
    np.testing.assert_array_equal(column.predict(X)[:, 0], same.predict(X))


def test_validation_has_the_targets_of_the_rows():
    X, y = data()
    Y = np.column_stack([y, -y])
    model = KernelRidgeCV().fit(X[:60], Y[:60], validation=(X[60:], Y[60:]))
    assert model.predict(X).shape == (90, 2)
    for bad in (y[60:], Y[60:, :1], np.column_stack([Y, y])[60:]):
        with pytest.raises(ValueError, match="y of validation must have the targets of y"):
            KernelRidgeCV().fit(X[:60], Y[:60], validation=(X[60:], bad))


@both
def test_integer_weights_are_repeated_rows(Estimator):
    X, y = data(60)
    y = targets(Estimator, y)
    weight = np.random.default_rng(2).integers(0, 4, 60)
    fold = np.arange(60) % 3
    again = np.repeat(np.arange(60), weight)

    def pairs(fold):
        return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]

    one = Estimator(cv=pairs(fold)).fit(X, y, weight)
    other = Estimator(cv=pairs(fold[again])).fit(X[again], y[again])
    assert one.hoag_result_.status == other.hoag_result_.status == "converged"
    np.testing.assert_allclose(one.hoag_result_.theta, other.hoag_result_.theta, atol=1e-4)
    np.testing.assert_allclose(one.linear_predictor(X), other.linear_predictor(X), atol=1e-4)
    assert (one.dual_coef_[weight == 0] == 0).all()
    assert one.X_fit_.shape == X.shape


def test_class_weights_are_sample_weights():
    X, y = data()
    labels = targets(KernelLogisticRegressionCV, y)
    weight = np.where(labels == "yes", 2.0, 0.5)
    one = KernelLogisticRegressionCV(class_weight={"yes": 2.0, "no": 0.5}).fit(X, labels)
    other = KernelLogisticRegressionCV().fit(X, labels, weight)
    np.testing.assert_array_equal(one.dual_coef_, other.dual_coef_)


@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_units_of_features_and_targets_do_not_count(kernel):
    X, y = data()
    before = KernelRidgeCV(kernel=kernel).fit(X, y)
    power = 2 if kernel == "rbf" else 1
    after = KernelRidgeCV(kernel=kernel).fit(1e-3 * X + 5, 1e4 * y + 1e7)
    assert after.gamma_ * 1e-3**power == pytest.approx(before.gamma_, rel=1e-3)
    assert after.alpha_ == pytest.approx(before.alpha_, rel=1e-3)
    np.testing.assert_allclose(
        after.predict(1e-3 * X + 5), 1e4 * before.predict(X) + 1e7, atol=1e4 * 1e-3
    )


# ---- awkward rows ------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [None, 3])
@both
def test_of_constant_columns_the_intercept_is_the_model(Estimator, cv):
    _, y = data()
    y = targets(Estimator, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Estimator(cv=cv).fit(np.full((len(y), 2), 3.0), y)
    assert "No kernel model judges better than none" in model.hoag_result_.message
    expected = y.mean() if Estimator is KernelRidgeCV else 0.0
    np.testing.assert_allclose(model.linear_predictor(np.full((1, 2), 3.0)), expected, atol=1e-6)


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("value", [0.0, 1e-9, 37.0, 1e9])
def test_equal_targets_are_the_prediction(value, cv):
    X, _ = data()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = KernelRidgeCV(cv=cv).fit(X, np.full(len(X), value))
    assert model.hoag_result_.status == "converged"
    np.testing.assert_allclose(model.predict(X), value, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
def test_noise_is_said_to_be_noise():
    X, y = data()
    model = KernelRidgeCV().fit(X, np.random.default_rng(2).normal(size=len(y)))
    assert "No kernel model judges better than none" in model.hoag_result_.message


def test_a_class_absent_from_a_training_part_is_named():
    X, y = data()
    labels = targets(KernelLogisticRegressionCV, y)
    cv = [(np.flatnonzero(labels == "no"), np.arange(9))]
    with pytest.raises(ValueError, match="the training part of fold 0 has .*class 'yes'"):
        KernelLogisticRegressionCV(cv=cv).fit(X, labels)


@both
def test_sparse_rows_have_no_widths_of_their_own(Estimator):
    X, y = data()
    with pytest.raises(ValueError, match="per_feature=True needs dense X"):
        Estimator(per_feature=True).fit(sp.csr_array(X), targets(Estimator, y))


# ---- what is kept ------------------------------------------------------------------------------


def products(X, Y):
    return X @ Y.T


def test_a_function_is_a_kernel_without_a_width():
    X, y = data()
    own, named = (KernelRidgeCV(kernel=kernel).fit(X, y) for kernel in (products, "linear"))
    assert own.gamma_ is named.gamma_ is None
    assert own.alpha_ == pytest.approx(named.alpha_, rel=1e-6)
    again = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(again.predict(X), own.predict(X))
    np.testing.assert_allclose(own.predict(X), named.predict(X), atol=1e-8)


@both
def test_the_model_keeps_no_array_of_the_caller_and_no_parameter(Estimator):
    X, y = data()
    rows = X.copy()
    model = Estimator(cv=3).fit(rows, targets(Estimator, y))
    before = model.predict(X)
    rows[:] = 0.0
    model.set_params(kernel="poly", degree=7, per_feature=True)
    np.testing.assert_array_equal(model.predict(X), before)
    assert model.hoag_result_.w is model.hoag_result_.w_all is None
