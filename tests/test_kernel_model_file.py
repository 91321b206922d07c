"""Model files of kernel models: what they hold, and hostile or broken ones."""

import os
import re
import subprocess
import sys
import zipfile
from io import BytesIO

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

import fasthoag
from fasthoag.io import DualModel, load_model, save_liblinear, save_model
from fasthoag.io.model_file import KERNEL_FIELDS, SPARSE

NAMES = tuple(DualModel.__dataclass_fields__)
X = np.array([[0.5, 0.0, -1.0], [0.0, 2.0, 0.25]])
FORMATS = {"dense": np.asarray, "sparse": sp.csr_matrix}
in_every_format = pytest.mark.parametrize("form", FORMATS)


def example(form="dense", **changes):
    content = {
        "loss": "logistic",
        "kernel": "rbf",
        "gamma": 0.5,
        "X": FORMATS[form](X),
        "dual_coef": [1.5, -2.0],
        "intercept": 0.3,
        "classes": [3, 7],
        "theta": [-0.7, -1.5],
        "alpha": 0.2,
        "value": 0.25,
        "value_error": 1e-9,
        "status": "converged",
    }
    return DualModel(**(content | changes))


def assert_same(a, b):
    for name in NAMES:
        one, other = getattr(a, name), getattr(b, name)
        assert type(one) is type(other)
        if sp.issparse(one):
            one, other = one.toarray(), other.toarray()
        assert_array_equal(one, other)


def arrays(form="dense", **changes):
    """What the file of the example holds; what becomes None is left out."""
    model = example(form)
    content = {"format": "fasthoag-kernel-model", "version": 1}
    content |= {name: getattr(model, name) for name in NAMES if name != "X"}
    if form == "dense":
        content["X"] = model.X
    else:
        content |= {name: getattr(model.X, name.removeprefix("X_")) for name in SPARSE}
    content |= changes
    return {name: np.asarray(value) for name, value in content.items() if value is not None}


def write_archive(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in members.items():
            file = BytesIO()
            np.lib.format.write_array(file, value)
            archive.writestr(f"{name}.npy", file.getvalue())


def assert_refused(path, *words):
    """One short sentence with the path."""
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: ")) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    for word in words:
        assert word in str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.model"


# ---- files -------------------------------------------------------------------------------------


@in_every_format
def test_what_is_written_is_read(path, form):
    save_model(path, example(form))
    assert_same(load_model(path), example(form))


def read_or_why_not(path):
    try:
        return load_model(path)
    except ValueError as error:
        return str(error)


@in_every_format
def test_file_with_one_other_byte_is_the_same_model_or_refused(path, form):
    save_model(path, example(form))
    content = path.read_bytes()
    n_same = 0
    for i in range(0, len(content), 5):
        changed = bytearray(content)
        changed[i] ^= 1 << i % 8
        path.write_bytes(changed)
        found = read_or_why_not(path)
        if isinstance(found, DualModel):
            assert_same(found, example(form))
            n_same += 1
        else:
            assert found.startswith(f"{path}: ")
    assert 0 < n_same < len(content) / 4  # times and the like, in the directory


@in_every_format
def test_file_of_every_shorter_length_is_refused(path, form):
    save_model(path, example(form))
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert_refused(path, "truncated or corrupt")


@pytest.mark.parametrize("name", ["format", "version", *KERNEL_FIELDS, "X"])
def test_every_field_is_needed(path, name):
    write_archive(path, arrays(**{name: None}))
    assert_refused(path, name)


@pytest.mark.parametrize("name", SPARSE)
def test_every_part_of_sparse_rows_is_needed(path, name):
    write_archive(path, arrays("sparse", **{name: None}))
    assert_refused(path, name)


def test_a_newer_version_and_unknown_parts_are_refused(path):
    write_archive(path, arrays(version=2))
    assert_refused(path, "version 2; this fasthoag reads 1 to 1")
    write_archive(path, arrays(more=1.0))
    assert_refused(path, "19 parts in place of 18")
    write_archive(path, arrays("sparse") | {"X": X})
    assert_refused(path, "22 parts in place of 18")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"X": np.ones((2, 3, 1))}, "X is an array"),
        ({"X": np.ones((2, 3), complex)}, "X is an array"),
        ({"X": np.ones((3, 3))}, "X must have the 2 rows"),
        ({"X": np.ones((2, 0))}, "X must have at least one row and one feature"),
        ({"X": np.full((2, 3), np.nan)}, "X contains NaN"),
        ({"X": np.full((2, 3), np.inf)}, "X contains NaN or inf"),
        ({"dual_coef": np.ones((2, 2))}, "dual_coef must have one output"),
        ({"dual_coef": np.ones((0, 1)), "X": np.ones((0, 3))}, "dual_coef must have shape"),
        ({"dual_coef": np.array([[np.nan], [1.0]])}, "dual_coef has numbers that are not finite"),
        ({"intercept": [1.0, 2.0]}, "intercept must have shape (1,)"),
        ({"intercept": [np.inf]}, "intercept has numbers"),
        ({"kernel": "sigmoid"}, "kernel must be 'rbf'"),
        ({"kernel": "callable"}, "kernel must be 'rbf'"),
        ({"kernel": "x\n" * 5000}, "kernel must be 'rbf'"),
        ({"kernel": "linear"}, "gamma must have shape (0,)"),
        ({"kernel": "poly", "degree": 1.5}, "degree must be"),
        ({"kernel": "poly", "degree": np.nan}, "degree must be"),
        ({"kernel": "poly", "coef0": -1.0}, "coef0 must be"),
        ({"gamma": np.empty(0, int)}, "gamma is an array"),
        ({"gamma": np.empty(0)}, "gamma must have shape (1,) or (3,)"),
        ({"gamma": [1.0, 2.0]}, "gamma must have shape (1,) or (3,)"),
        ({"gamma": [-1.0]}, "gamma must not be negative"),
        ({"gamma": [np.nan]}, "gamma has numbers"),
        ({"gamma": [np.inf]}, "gamma has numbers"),
        ({"loss": "huber"}, "loss of a kernel model must be"),
        ({"classes": [3, 3]}, "classes must differ"),
        ({"theta": [np.nan, 1.0]}, "theta must have"),
        ({"alpha": [1.0]}, "alpha is an array"),
    ],
)
def test_arrays_that_are_no_model_are_refused(path, changes, word):
    write_archive(path, arrays(**changes))
    assert_refused(path, word)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"X_indices": np.array([0, 2, 1, 9])}, ""),
        ({"X_indices": np.array([0, 2, 1, -1])}, ""),
        ({"X_indptr": np.array([0, 3, 2])}, ""),
        ({"X_indptr": np.array([0, 2, 2**31])}, ""),
        ({"X_indptr": np.array([0, 4])}, ""),
        ({"X_data": np.ones(3)}, ""),
        ({"X_data": np.array([1.0, np.nan, 1.0, 1.0])}, "X contains NaN"),
        ({"X_shape": np.array([2, 2])}, ""),
        ({"X_shape": np.array([2, -3])}, ""),
        ({"X_shape": np.array([2])}, ""),
        ({"X_shape": np.array([2, 3, 1])}, ""),
        ({"X_shape": np.array([2**40, 3])}, ""),
        ({"X_shape": np.array([2, 2**62])}, ""),
        ({"X_shape": np.array([2.0, 3.0])}, "X_shape is an array"),
        ({"gamma": np.ones(3)}, "gamma must have shape (1,)"),
    ],
)
def test_sparse_rows_that_are_no_matrix_are_refused(path, changes, word):
    write_archive(path, arrays("sparse", **changes))
    assert_refused(path, word)


# Runs with little memory, and says how much it took at most.
LITTLE_MEMORY = """
import resource, sys
from fasthoag.io import load_model
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_model(sys.argv[1])
except ValueError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units")
@pytest.mark.parametrize(
    "changes",
    [
        {"X_shape": np.array([2, 2**45])},
        {"X_shape": np.array([2**45, 3])},
        {"X_indptr": np.array([0, 2, 2**45])},
        {"dual_coef": np.empty((2**45, 0))},
    ],
    ids=str,
)
def test_claims_take_no_memory(path, changes):
    write_archive(path, arrays("sparse", **changes))
    found = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()
    assert len(found) == 2
    assert found[0].startswith(f"{path}: not a model file")
    assert int(found[1]) < 20_000  # kilobytes


# ---- models ------------------------------------------------------------------------------------


@in_every_format
@pytest.mark.parametrize(
    ("kernel", "gamma"), [("rbf", 0.7), ("laplacian", [0.7]), ("poly", 0.2), ("linear", None)]
)
def test_a_saved_estimator_predicts_the_same(path, form, kernel, gamma):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3))
    y = np.column_stack([np.sin(rows[:, 0]), rows[:, 1]]) + 0.1 * rng.normal(size=(60, 2))
    fitted = fasthoag.KernelRidgeCV(kernel=kernel, degree=2, coef0=0.5, cv=3)
    fitted.fit(FORMATS[form](rows), y)
    model = DualModel(
        "squared",
        kernel=kernel,
        gamma=fitted.gamma_,
        X=fitted.X_fit_,
        dual_coef=fitted.dual_coef_,
        intercept=fitted.intercept_,
        degree=2,
        coef0=0.5,
    )
    save_model(path, model)
    for other in FORMATS.values():
        found = load_model(path).predict(other(rows))
        np.testing.assert_allclose(found, fitted.predict(FORMATS[form](rows)), rtol=0, atol=1e-12)


def test_probabilities_are_those_of_the_log_odds(path):
    save_model(path, example())
    model = load_model(path)
    z = model.decision_function(X)
    expected = np.exp(-0.5 * ((X[:, None] - X) ** 2).sum(axis=2)) @ [1.5, -2.0] + 0.3
    np.testing.assert_allclose(z, expected, rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-z)))
    assert_array_equal(model.predict(X), np.where(z > 0, 7, 3))
    with pytest.raises(ValueError, match="probabilities need loss 'logistic'"):
        example(loss="squared", classes=()).predict_proba(X)
    with pytest.raises(ValueError, match="X must have 3 features"):
        model.predict(X[:, :2])


def test_a_function_is_not_saved():
    with pytest.raises(ValueError, match=r"no file holds a function \(pickle the estimator\)"):
        example(kernel=lambda A, B: A @ B.T)


def test_liblinear_has_no_kernel_models(tmp_path):
    with pytest.raises(ValueError, match="LIBLINEAR has linear models only"):
        save_liblinear(tmp_path / "a.model", example())
    assert not os.listdir(tmp_path)


def test_what_is_no_model_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"fasthoag.io.Model or DualModel.*got dict"):
        save_model(tmp_path / "a.model", {"kernel": "rbf"})
    assert not os.listdir(tmp_path)
