"""Model files that are hostile or broken, and models that no search leaves."""

import os
import re
import struct
import subprocess
import sys
import zipfile
from io import BytesIO

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fasthoag.io import Model, load_model, save_liblinear, save_model
from fasthoag.io.model_file import FIELDS, LONGEST_DIRECTORY

NAMES = tuple(Model.__dataclass_fields__)


def example(**changes):
    content = {
        "loss": "logistic",
        "coef": [[1.5, -2.0, 0.1]],
        "intercept": [0.3],
        "classes": [3, 7],
        "theta": [-1.5],
        "lam": np.exp([-1.5]),
        "value": 0.25,
        "value_error": 1e-9,
        "status": "converged",
    }
    return Model(**(content | changes))


def arrays(**changes):
    """What the file of the example holds; what becomes None is left out."""
    content = {"format": "fasthoag-model", "version": 5}
    model = example(has_offset=True)
    content |= {name: getattr(model, name) for name in NAMES} | changes
    return {name: np.asarray(value) for name, value in content.items() if value is not None}


def assert_refused(path, *words):
    """One sentence with the path."""
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: ")) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def assert_same(a, b):
    for name in NAMES:
        assert_array_equal(getattr(a, name), getattr(b, name))
        assert type(getattr(a, name)) is type(getattr(b, name))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.model"


# ---- broken files ----


def read_or_why_not(path):
    try:
        return load_model(path)
    except ValueError as error:
        return str(error)


def test_file_with_one_other_byte_is_the_same_model_or_refused(path):
    save_model(path, example())
    content = path.read_bytes()
    n_same = 0
    for i in range(len(content)):
        changed = bytearray(content)
        changed[i] ^= 1 << i % 8
        path.write_bytes(changed)
        found = read_or_why_not(path)
        if isinstance(found, Model):
            assert_same(found, example())
            n_same += 1
        else:
            assert found.startswith(f"{path}: ")
    assert 0 < n_same < len(content) / 4  # times and the like, in the directory


def test_file_of_every_shorter_length_is_refused(path):
    save_model(path, example())
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert_refused(path, "truncated or corrupt")


@pytest.mark.parametrize("name", ["format", "version", *FIELDS])
def test_every_field_is_needed(path, name):
    np.savez(path, **arrays(**{name: None}))
    os.replace(f"{path}.npz", path)
    assert_refused(path, name)


def write_archive(path, members, **options):
    """An archive of pairs of a name and an array, or its bytes."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members:
            if not isinstance(content, bytes):
                file = BytesIO()
                np.lib.format.write_array(file, np.asarray(content))
                content = file.getvalue()
            archive.writestr(f"{name}.npy", content)


def test_unknown_and_double_arrays_are_refused(path):
    write_archive(path, [*arrays().items(), ("more", 1.0)])
    assert_refused(path, "17 parts in place of 16")
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_archive(path, [*arrays().items(), ("classes", [1, 2])])
    assert_refused(path, "17 parts in place of 16")
    old = {"has_offset": None, "has_labels": None, "targets": None}
    write_archive(path, arrays(version=1, **old).items())
    assert_refused(path, "13 parts in place of 12")
    write_archive(path, arrays(version=1, zero_based=None, **old).items())
    assert load_model(path).zero_based == "auto"
    write_archive(path, arrays(version=2, **old).items())
    assert load_model(path).has_offset is False
    write_archive(path, arrays(version=3, has_labels=None, targets=None).items())
    assert load_model(path).has_offset is True
    assert load_model(path).has_labels is False
    write_archive(path, arrays(version=4, targets=None).items())
    assert load_model(path).targets.shape == (0,)
    write_archive(path, arrays(version=0).items())
    assert_refused(path, "version 0")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_arrays_are_refused_before_they_are_unpacked(path, compression):
    coef = np.zeros((1, 10**6))  # a bomb, of some kilobytes
    write_archive(path, arrays(coef=coef).items(), compression=compression)
    assert path.stat().st_size < 2**16
    assert_refused(path, "compressed")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"coef": np.array([["1", "2", "3"]])}, "coef is an array of <U1"),
        ({"coef": np.arange(3.0)}, "coef is an array of float64 with shape (3,)"),
        ({"coef": np.array([[1, 2, 3]])}, "coef is an array of int64"),
        ({"coef": np.array([[1j, 2, 3]])}, "coef is an array of complex128"),
        ({"intercept": 0.3}, "intercept is an array"),
        ({"theta": [[1.0]]}, "theta is an array"),
        ({"value": [1.0, 2.0]}, "value is an array"),
        ({"status": 3}, "status is an array"),
        ({"loss": ["logistic", "squared"]}, "loss is an array"),
        ({"version": 2.5}, "version is an array"),
        ({"version": "two"}, "version is an array"),
        ({"format": "another"}, "another"),
        ({"zero_based": 1.0}, "zero_based is an array"),
        ({"classes": np.array([(1, 2)] * 2, "i4,i4")}, "classes is an array"),
        ({"classes": np.array([b"a", b"b"])}, "classes is an array"),
        # what no model holds
        ({"coef": [[1.0, np.nan, 2.0]]}, "coef has numbers that are not finite (nan)"),
        ({"coef": [[1.0, -np.inf, 2.0]]}, "coef has numbers that are not finite (-inf)"),
        ({"intercept": [np.nan]}, "intercept has numbers"),
        ({"intercept": [1.0, 2.0]}, "intercept must have shape (1,)"),
        ({"coef": np.ones((0, 3)), "intercept": np.ones(0)}, "coef must have shape"),
        ({"classes": [3, 3]}, "classes must differ"),
        ({"classes": [0.0, -0.0]}, "classes must differ"),
        ({"classes": [1, 2, 3]}, "classes must be empty or 2"),
        ({"classes": [1.0, np.nan]}, "classes must be finite"),
        ({"loss": "logistik"}, "loss must be one of"),
        ({"loss": ""}, "loss must be one of"),
        ({"loss": "multinomial"}, "coef must have shape"),
        ({"loss": "multinomial+squared"}, "loss must be one of"),
        ({"theta": [np.nan]}, "theta must have"),
        ({"zero_based": "perhaps"}, "zero_based must be"),
        ({"targets": [1.0, 3.0]}, "targets must be empty or 1"),
    ],
)
def test_array_of_another_kind_and_model_that_is_none_are_refused(path, changes, word):
    write_archive(path, arrays(**changes).items())
    assert_refused(path, word)


def array_file(descr, shape, n_bytes):
    """NumPy's format with a head that claims this, and so many bytes."""
    head = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(n_bytes)


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
    "claim",
    [
        ("<f8", (1, 2**40), 24),
        ("<f8", (1, 2**62), 24),
        ("<f8", (2**32, 2**32), 0),  # 2**64 values: none, in 64 bits
        ("<f8", (1, 10**8), 24),
        ("<f8", (-1, -3), 24),
        ("<f8", (1, 2), 24),
        ("|O", (1, 3), 24),
        ("<U2000000000", (1, 3), 24),
    ],
    ids=str,
)
def test_array_that_claims_more_than_its_bytes_takes_no_memory(path, claim):
    members = arrays() | {"coef": array_file(*claim)}
    write_archive(path, members.items())
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


def test_array_that_the_directory_says_is_longer_than_the_file_is_refused(path):
    save_model(path, example())
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"coef.npy") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)
    assert_refused(path, "coef is said to be longer than the file")


def test_long_directory_is_refused_before_it_is_read(path):
    write_archive(path, [*arrays().items(), *((f"{i:0100}", b"") for i in range(1000))])
    assert path.stat().st_size > LONGEST_DIRECTORY
    assert_refused(path, "directory")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_pipe_is_refused_and_not_waited_for(path):
    os.mkfifo(path)
    assert_refused(path, "pipe")


def test_what_is_said_of_a_file_is_short(path):
    many = {"coef": np.ones((30_000, 1)), "intercept": np.ones(30_000)}
    for changes in (
        {"classes": np.zeros(30_000), **many},
        {"format": "x\n" * 5000},
        {"classes": np.array(["x\n" * 5000] * 2)},
        {"classes": np.zeros(1000)},
        {"loss": "x\n" * 5000},
        {"theta": np.full(5000, np.nan)},
        {"x\n" * 5000: 1.0},
    ):
        write_archive(path, arrays(**changes).items())
        assert len(str(read_or_why_not(path))) < 1000


# ---- models ----


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"loss": "banana"}, "loss must be one of"),
        ({"loss": None}, "loss must be one of"),
        ({"loss": "huber+squared+poisson"}, "loss must be one of"),
        ({"coef": [[np.nan, 1.0, 2.0]]}, "coef has numbers"),
        ({"coef": [["1", "2", "3"]]}, "coef must be numeric"),
        ({"coef": np.ones((1, 1, 3))}, "coef must have shape"),
        ({"coef": [[1j, 2, 3]]}, "Complex data not supported: coef"),
        ({"theta": [[1.0, 2.0]]}, "theta must have shape"),
        ({"lam": [np.nan]}, "lam must have shape"),
        ({"value": "small"}, "value must be numeric"),
        ({"value_error": [1.0, 2.0]}, "value_error must be one number"),
        ({"classes": [1, "a"]}, "classes must be all of one kind"),
        ({"classes": [2**53 + 1, 0.5]}, "classes must be all of one kind"),
        ({"classes": [True, "x"]}, "classes must be all of one kind"),
        ({"classes": ["a", "a\0"]}, "classes must be all of one kind"),
        ({"classes": [2**64, 1]}, "classes must be empty or 2 numbers"),
        ({"classes": [None, 1]}, "classes must be empty or 2 numbers"),
        ({"classes": [b"a", b"b"]}, "classes must be empty or 2 numbers"),
        ({"classes": None}, "classes must be an array; got NoneType"),
        ({"classes": [1.0, np.inf]}, "classes must be finite"),
        ({"classes": np.array(["2020-01-01", "NaT"], "M8[D]")}, "classes must be finite"),
        ({"classes": ["a", "a"]}, "classes must differ"),
        ({"classes": [True, True]}, "classes must differ"),
    ],
)
def test_model_of_unfitting_parts_is_refused(changes, word):
    with pytest.raises((ValueError, TypeError), match=re.escape(word)) as caught:
        example(**changes)
    assert "\n" not in str(caught.value)


CLASSES = {
    "bools": np.array([False, True]),
    "int8": np.array([-1, 1], np.int8),
    "beyond doubles": np.array([2**53, 2**53 + 1]),
    "the largest": np.array([2**64 - 2, 2**64 - 1], np.uint64),
    "fractions": np.array([0.1, 0.2]),
    "float32": np.array([0.1, 0.2], np.float32),
    "other byte order": np.array([1, 2], ">i4"),
    "strings": np.array(["ham", "größer 猫"]),
    "days": np.array(["2020-01-01", "2020-01-02"], "M8[D]"),
    "nanoseconds": np.array(["2020-01-01T00:00:00.123456789", "1900-01-01"], "M8[ns]"),
}


@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES.keys())
def test_classes_of_every_kind_survive_the_file_and_are_predicted(path, classes):
    save_model(path, example(classes=classes))
    model = load_model(path)
    assert_array_equal(model.classes, classes)
    assert model.classes.dtype == classes.dtype
    predicted = model.predict(np.array([[-9.0, 0, 0], [9.0, 0, 0]]))
    assert_array_equal(predicted, classes)
    assert predicted.dtype == classes.dtype
    assert predicted.tolist() == classes.tolist()


def test_strings_among_objects_are_strings():
    model = example(classes=np.array(["ham", "spam"], dtype=object))
    assert model.classes.dtype.kind == "U"
    assert example(classes=("a", "b")).classes.tolist() == ["a", "b"]


@pytest.mark.parametrize("name", ["bools", "beyond doubles", "fractions", "strings", "days"])
def test_classes_that_liblinear_lacks_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="whole numbers of 32 bits"):
        save_liblinear(tmp_path / "a.model", example(classes=CLASSES[name]))


def test_liblinear_text_has_the_shortest_numbers_that_read_back(tmp_path):
    coef = [[0.1, -2.0, 1e-5, 1 / 3, 1e300]]
    save_liblinear(tmp_path / "a.model", example(coef=coef))
    lines = (tmp_path / "a.model").read_text().split("w\n")[1].splitlines()
    assert lines == ["0.1", "-2.0", "1e-05", "0.3333333333333333", "1e+300", "0.3"]


def test_probabilities_of_the_multinomial_loss_are_those_of_its_classes():
    rng = np.random.default_rng(0)
    coef, intercept, X = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(9, 3))
    model = example(loss="multinomial", coef=coef, intercept=intercept, classes=[4, 1, 7, 0])
    expected = np.exp(X @ coef.T + intercept)
    expected /= expected.sum(axis=1, keepdims=True)
    found = model.predict_proba(X)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert_array_equal(model.classes[found.argmax(axis=1)], model.predict(X))
    assert model.predict_proba(1e6 * X).sum() == pytest.approx(9)  # nothing overflows


def test_a_loss_of_ones_own_predicts_what_it_is_fitted_to():
    model = Model("custom", coef=[[2.0]], intercept=[1.0])
    assert_array_equal(model.predict([[3.0]]), [7.0])
    assert_array_equal(Model("custom+huber", [[2.0]], [1.0]).predict([[3.0]]), [7.0])
