"""Model files of estimators and of results: what is read predicts as what was written."""

import warnings
import zipfile
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError

import fasthoag
from fasthoag import load_model, save_model
from fasthoag.io import DualModel, Model

pytestmark = pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
ESTIMATORS = fasthoag.estimators.ESTIMATORS
METHODS = "predict", "predict_proba", "decision_function"
LABELS = {
    "strings": ["no", "perhaps", "yes"],
    "numbers": [-3, 0, 7],
    "floats": [-1.0, 1.0, 4.0],
    "flags": [False, True],
}


def rows(n=80, p=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, X[:, 0] - 0.5 * X[:, 1] + 0.3 * rng.normal(size=n)


def targets(estimator, z, labels="strings", n_classes=2):
    if not is_classifier(estimator):
        return np.exp(0.5 * z)
    cuts = np.quantile(z, np.arange(1, n_classes) / n_classes)
    return np.array(LABELS[labels][:n_classes])[np.digitize(z, cuts)]


def cases():
    for name in ESTIMATORS:
        estimator = getattr(fasthoag, name)()
        if not is_classifier(estimator):
            yield name, "numbers", 2
            continue
        has_many = estimator.__sklearn_tags__().classifier_tags.multi_class
        for labels, known in LABELS.items():
            for n_classes in range(2, (len(known) if has_many else 2) + 1):
                yield name, labels, n_classes


@cache
def fitted(name, labels="strings", n_classes=2):
    estimator, (X, z) = getattr(fasthoag, name)(cv=3), rows()
    return estimator.fit(X, targets(estimator, z, labels, n_classes))


def kinds_of_rows():
    X, _ = rows(n=33, seed=1)
    return {
        "array": X,
        "single precision": X.astype(np.float32),
        "columns": np.asfortranarray(X),
        "csr": sp.csr_matrix(X),
        "csc": sp.csc_array(X),
    }


def assert_predicts_alike(read, written):
    """All that the estimator predicts, to the bit."""
    for X in kinds_of_rows().values():
        for method in METHODS:
            if hasattr(written, method):
                expected, found = getattr(written, method)(X), getattr(read, method)(X)
                assert_array_equal(found, expected)
                assert found.dtype == expected.dtype


@pytest.mark.parametrize(("name", "labels", "n_classes"), [*cases()])
def test_a_saved_estimator_predicts_to_the_bit(name, labels, n_classes, tmp_path):
    estimator = fitted(name, labels, n_classes)
    save_model(tmp_path / "model", estimator)
    assert_predicts_alike(load_model(tmp_path / "model"), estimator)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_file_of_an_estimator_tells_of_its_search_and_has_no_pickles(name, tmp_path):
    estimator = fitted(name)
    save_model(tmp_path / "model", estimator)
    read, result = load_model(tmp_path / "model"), estimator.hoag_result_
    assert (read.status, read.message) == (result.status, result.message)
    assert (read.value, read.value_error) == (result.value, result.value_error)
    assert isinstance(read, DualModel if hasattr(estimator, "kernel_") else Model)
    with zipfile.ZipFile(tmp_path / "model") as archive:
        for part in archive.namelist():
            with archive.open(part) as file:
                np.lib.format.read_array(file, allow_pickle=False)


SETTINGS = [
    ("RidgeCV", {"cv": None}),
    ("RidgeCV", {"fit_intercept": False}),
    ("RidgeCV", {"penalty_per": "feature", "penalty_factor": [0, 1, 1, 1, 1], "cv": 3}),
    ("LogisticRegressionCV", {"penalty_per": "feature", "cv": 3}),
    ("LogisticRegressionCV", {"one_se": True}),
    ("LinearSVCCV", {"loss": "smoothed_hinge"}),
    ("KernelRidgeCV", {"kernel": "poly", "degree": 2, "coef0": 0.5, "cv": 3}),
    ("KernelRidgeCV", {"kernel": "linear", "cv": 3}),
    ("KernelRidgeCV", {"kernel": "laplacian", "cv": None}),
    ("KernelRidgeCV", {"per_feature": True, "cv": 3}),
    ("KernelLogisticRegressionCV", {"solver": "nystrom", "n_components": 20, "cv": 3}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_settings_of_an_estimator_are_in_the_file(name, settings, tmp_path):
    estimator, (X, z) = getattr(fasthoag, name)(**settings), rows()
    estimator.fit(X, targets(estimator, z))
    save_model(tmp_path / "model", estimator)
    assert_predicts_alike(load_model(tmp_path / "model"), estimator)


LINEAR = [name for name in ESTIMATORS if not name.startswith("Kernel")]


@pytest.mark.parametrize("name", LINEAR)
def test_several_targets_and_labels_are_in_the_file(name, tmp_path):
    (X, z), estimator = rows(), getattr(fasthoag, name)(cv=3)
    Y = np.column_stack([targets(estimator, sign * z, "numbers") for sign in (1, -1, 1)])
    estimator.fit(X, Y)
    save_model(tmp_path / "model", estimator)
    read = load_model(tmp_path / "model")
    assert_predicts_alike(read, estimator)
    assert read.has_labels == is_classifier(estimator)
    if read.has_labels:
        with pytest.raises(ValueError, match="LIBLINEAR's models have one label a row"):
            fasthoag.io.save_liblinear(tmp_path / "liblinear", read)


def test_liblinear_text_of_an_estimator_is_that_of_its_model(tmp_path):
    X, z = rows()
    estimator = fasthoag.LogisticRegressionCV(cv=3).fit(X, np.where(z > np.median(z), 2, 1))
    save_model(tmp_path / "model", estimator)
    fasthoag.save_liblinear(tmp_path / "of_model", load_model(tmp_path / "model"))
    fasthoag.save_liblinear(tmp_path / "of_estimator", estimator)
    assert (tmp_path / "of_estimator").read_text() == (tmp_path / "of_model").read_text()


def test_an_offset_of_several_targets_is_wanted_by_the_file(tmp_path):
    (X, z), offset = rows(), np.linspace(-1, 1, len(rows()[0]))
    estimator = fasthoag.HuberRegressorCV(cv=3).fit(X, np.column_stack([z, -z]), offset=offset)
    save_model(tmp_path / "model", estimator)
    found = load_model(tmp_path / "model").predict(X, offset=offset)
    assert_array_equal(found, estimator.predict(X, offset=offset))


def test_several_targets_and_sparse_rows_of_a_kernel_are_in_the_file(tmp_path):
    X, z = rows()
    for k, (rows_of, y) in enumerate([(X, np.column_stack([z, z**2])), (sp.csr_array(X), z)]):
        estimator = fasthoag.KernelRidgeCV(cv=3).fit(rows_of, y)
        save_model(tmp_path / str(k), estimator)
        assert_predicts_alike(load_model(tmp_path / str(k)), estimator)


def test_tables_are_predicted_by_columns(tmp_path):
    pd, (X, z) = pytest.importorskip("pandas"), rows()
    table = pd.DataFrame(X, columns=list("abcde"))
    estimator = fasthoag.RidgeCV().fit(table, z)
    save_model(tmp_path / "model", estimator)
    assert_array_equal(load_model(tmp_path / "model").predict(table), estimator.predict(table))


def test_parameters_that_change_after_the_fit_do_not_count(tmp_path):
    estimator, (X, z) = fasthoag.KernelRidgeCV(kernel="poly", cv=3), rows()
    expected = estimator.fit(X, z).predict(X)
    save_model(tmp_path / "model", estimator.set_params(degree=5, kernel="rbf"))
    assert_array_equal(load_model(tmp_path / "model").predict(X), expected)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    ("loss", "classes"),
    [
        ("squared", []),
        ("poisson", []),
        ("logistic", [-1, 1]),
        ("squared_hinge", [-1, 1]),
        ("multinomial", [0, 1, 2]),
    ],
)
def test_a_saved_result_has_its_coefficients(loss, classes, fit_intercept, tmp_path):
    X, z = rows()
    y = {0: np.exp(z), 2: np.where(z > 0, 1, -1), 3: np.arange(len(z)) % 3}[len(classes)]
    problem = fasthoag.Problem(X, y, loss=loss, fit_intercept=fit_intercept)
    result = fasthoag.hoag(problem, fasthoag.KFold(3))
    save_model(tmp_path / "model", result)
    read = load_model(tmp_path / "model")
    w = result.w_all.reshape(len(result.w_all), -1)
    z = X @ w[:5] + (w[5] if fit_intercept else 0.0)
    np.testing.assert_allclose(read.decision_function(X), np.squeeze(z), rtol=1e-13, atol=1e-13)
    assert read.classes.tolist() == classes
    assert (read.loss, read.status, read.value) == (loss, result.status, result.value)
    assert_array_equal(read.lam, result.lam)


def results_without_a_model():
    X, z = rows()
    problem = fasthoag.KernelProblem(X[:40], z[:40])
    return {
        "rows": fasthoag.hoag(problem, fasthoag.KFold(3), max_iter=1),
        "estimator itself": fitted("RidgeCV").hoag_result_,
        "holds a function": fasthoag.KernelRidgeCV(kernel=lambda A, B: A @ B.T, cv=3).fit(X, z),
    }


def test_what_no_file_holds_is_refused_in_a_sentence(tmp_path):
    for words, found in results_without_a_model().items():
        with pytest.raises(ValueError, match=words):
            save_model(tmp_path / "model", found)
    with pytest.raises(NotFittedError):
        save_model(tmp_path / "model", fasthoag.RidgeCV())
    for other in (None, "model", {}, np.eye(2), fasthoag.RidgeCV):
        with pytest.raises(TypeError, match="model must be a fitted estimator of fasthoag"):
            save_model(tmp_path / "model", other)
    assert list(tmp_path.iterdir()) == []


def test_an_estimator_is_not_written_over_a_file(tmp_path):
    (tmp_path / "model").write_text("kept")
    with pytest.raises(FileExistsError):
        save_model(tmp_path / "model", fitted("RidgeCV"))
    save_model(tmp_path / "model", fitted("RidgeCV"), overwrite=True)
    assert load_model(tmp_path / "model").status == "converged"


# ---- skops ----


@pytest.mark.parametrize("name", ESTIMATORS)
def test_skops_keeps_an_estimator_and_asks_to_trust_this_package_alone(name):
    skops = pytest.importorskip("skops.io")
    estimator = fitted(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = skops.dumps(estimator)
        unknown = skops.get_untrusted_types(data=content)
        read = skops.loads(content, trusted=unknown)
    assert {one.split(".")[0] for one in unknown} == {"fasthoag"}
    assert_array_equal(read.predict(rows()[0]), estimator.predict(rows()[0]))
    assert read.hoag_result_.theta.tolist() == estimator.hoag_result_.theta.tolist()
    assert read.get_params() == estimator.get_params()
