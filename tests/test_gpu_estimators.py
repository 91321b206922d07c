"""scikit-learn classes with X on the GPU, or with device="gpu"."""

import numpy as np
import pytest
from sklearn.base import is_classifier
from support.host_device import DeviceArray
from support.made_up_cupy import DeviceCsr
from support.problems import sparse_problem

import fasthoag
from fasthoag.design import to_host
from fasthoag.estimators.tuned import TunedEstimator

EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
LINEAR = [E for E in EVERY if issubclass(E, TunedEstimator)]


def test_estimators_take_a_device(on_host):
    X, y = sparse_problem("logistic", 0)
    here, there = (
        fasthoag.LogisticRegressionCV(device=device).fit(X, y) for device in ("cpu", "gpu")
    )
    assert pytest.approx(here.C_, rel=1e-3) == there.C_
    assert isinstance(there.coef_, np.ndarray)
    np.testing.assert_array_equal(there.predict(X), here.predict(X))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize(
    "Estimator",
    LINEAR,
    ids=lambda E: E.__name__,
)
def test_estimators_work_where_x_is(on_host, Estimator, kind):
    X, z = sparse_problem("squared", 0, 80, 6)
    y = (
        np.array([0, 5])[(z > np.median(z)).astype(int)]
        if is_classifier(Estimator())
        else np.exp(z / np.abs(z).max())
    )
    weight = np.random.default_rng(0).random(80) + 0.5
    X = X.toarray() if kind == "dense" else X
    X_there = DeviceArray(X) if kind == "dense" else DeviceCsr(X)
    here = Estimator(cv=3).fit(X, y, weight)
    there = Estimator(cv=3).fit(X_there, DeviceArray(y), DeviceArray(weight))
    assert isinstance(there.coef_, DeviceArray)
    assert there.n_features_in_ == 6
    np.testing.assert_allclose(
        to_host(there.coef_), here.coef_, atol=1e-3 * np.abs(here.coef_).max()
    )
    for name in ("predict", "decision_function", "predict_proba", "predict_log_proba"):
        if hasattr(there, name):
            expected, found = getattr(here, name)(X), getattr(there, name)(X_there)
            assert isinstance(found, DeviceArray)
            np.testing.assert_allclose(found.get(), expected, atol=3e-3 * np.abs(expected).max())
            # rows of the other side
            np.testing.assert_allclose(
                getattr(there, name)(X), expected, atol=3e-3 * np.abs(expected).max()
            )
            np.testing.assert_array_equal(getattr(here, name)(X_there).get(), expected)
    assert there.score(X_there, DeviceArray(y), DeviceArray(weight)) == pytest.approx(
        here.score(X, y, weight), abs=0.01
    )


def test_estimators_on_the_device_say_what_is_wrong(on_host):
    X, y = sparse_problem("logistic", 0, 80, 6)
    model = fasthoag.LogisticRegressionCV().fit(DeviceCsr(X), np.where(y > 0, "yes", "no"))
    assert set(model.predict(DeviceCsr(X))) == {"yes", "no"}  # words cannot be on a GPU
    with pytest.raises(
        ValueError,
        match="X has 5 features, but LogisticRegressionCV is expecting 6 features as input",
    ):
        model.predict(DeviceCsr(X[:, :5]))
    with pytest.raises(ValueError, match="y has 79 values and X has 80 rows"):
        model.fit(DeviceCsr(X), y[1:])
    with pytest.raises(ValueError, match="X must have 2 dimensions"):
        model.fit(DeviceArray(y), y)
    with pytest.raises(ValueError, match="device='cpu'"):
        fasthoag.LogisticRegressionCV(device="cpu").fit(DeviceCsr(X), y)
    X_val = sparse_problem("logistic", 1, 30, 6)
    expected = fasthoag.LogisticRegressionCV().fit(X, y, validation=X_val)
    found = fasthoag.LogisticRegressionCV().fit(
        DeviceCsr(X), y, validation=(DeviceCsr(X_val[0]), X_val[1])
    )
    assert pytest.approx(expected.C_, rel=1e-3) == found.C_


@pytest.mark.parametrize("is_given_there", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "Estimator", [fasthoag.LogisticRegressionCV, fasthoag.LinearSVCCV, fasthoag.RidgeCV]
)
def test_given_strengths_scorers_and_warm_starts(on_host, Estimator, n_classes, is_given_there):
    X, z = sparse_problem("squared", 0, 80, 6)
    y = np.digitize(z, np.quantile(z, np.arange(1, n_classes) / n_classes))
    is_ridge = Estimator is fasthoag.RidgeCV
    points = {"alphas" if is_ridge else "Cs": [0.1, 1.0, 10.0]}
    scoring = "neg_mean_absolute_error" if is_ridge else "balanced_accuracy"
    options = {"cv": 3, "scoring": scoring, "store_cv_results": True, "warm_start": True, **points}
    if Estimator is fasthoag.LogisticRegressionCV:
        options |= {"refit": False}
    here = Estimator(**options).fit(X, y)
    device = {} if is_given_there else {"device": "gpu"}
    there = Estimator(**options, **device)
    rows = (DeviceCsr(X), DeviceArray(y)) if is_given_there else (X, y)
    for _ in range(2):
        there.fit(*rows)
        assert isinstance(there.coefs_paths_, np.ndarray)
        scale = np.abs(here.coefs_paths_).max()
        np.testing.assert_allclose(there.coefs_paths_, here.coefs_paths_, atol=1e-3 * scale)
        assert there.best_score_ == pytest.approx(here.best_score_, abs=0.02)
        assert there.score(*rows) == pytest.approx(here.score(X, y), abs=0.02)


def test_errors_of_rows_left_out(on_host):
    X, y = sparse_problem("squared", 0, 80, 6)
    here, there = (
        fasthoag.RidgeCV([0.1, 1.0], store_cv_results=True).fit(rows, y)
        for rows in (X, DeviceCsr(X))
    )
    np.testing.assert_allclose(there.cv_results_, here.cv_results_, rtol=1e-6, atol=1e-9)


KERNEL = [E for E in EVERY if E not in LINEAR]


@pytest.mark.parametrize("Estimator", KERNEL)
def test_kernel_models_work_where_x_is(on_host, Estimator):
    X, z = sparse_problem("squared", 0, 80, 6)
    X, y = X.toarray(), (z > np.median(z)) + 0 if is_classifier(Estimator()) else z
    here = Estimator(cv=3).fit(X, y)
    there = Estimator(cv=3).fit(DeviceArray(X), DeviceArray(y))
    asked = Estimator(cv=3, device="gpu").fit(X, y)
    for model in (there, asked):
        np.testing.assert_allclose(model.hoag_result_.theta, here.hoag_result_.theta, atol=1e-3)
    found = there.predict(DeviceArray(X))
    assert isinstance(found, DeviceArray)
    np.testing.assert_allclose(found.get(), here.predict(X), atol=1e-3 * np.abs(z).max())
    assert isinstance(there.predict(X), np.ndarray)
    assert there.score(DeviceArray(X), DeviceArray(y)) == pytest.approx(here.score(X, y), abs=0.01)


@pytest.mark.parametrize("Estimator", KERNEL)
def test_kernel_models_of_sparse_rows_are_not_on_a_gpu(on_host, Estimator):
    X, y = sparse_problem("logistic", 0, 80, 6)
    with pytest.raises(ValueError, match=r"X is sparse and on the GPU; pass X.get\(\)"):
        Estimator().fit(DeviceCsr(X), y)
