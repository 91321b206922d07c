import errno
import gzip
import os
import pathlib
import random
import threading
from decimal import Decimal, localcontext

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.datasets import load_svmlight_file
from support.texts import COMPRESS, ODD, REFUSED, random_text

from fasthoag.io import (
    Model,
    load_data,
    load_model,
    load_svmlight,
    save_liblinear,
    save_model,
    svmlight,
)

DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def read(tmp_path):
    def read(content, name="rows.txt", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_svmlight(path, **options)

    return read


def assert_same_rows(result, expected):
    (X, y), (X_expected, y_expected) = result, expected
    X_expected = X_expected.copy()
    X_expected.eliminate_zeros()  # scikit-learn keeps explicit zeros
    assert X.shape == X_expected.shape
    assert_array_equal(y, y_expected)
    assert_array_equal(X.indptr, X_expected.indptr)
    assert_array_equal(X.indices, X_expected.indices)
    assert_array_equal(X.data, X_expected.data)
    assert X.dtype == X_expected.dtype


finite = st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(
    st.tuples(finite, st.dictionaries(st.integers(1, 60), finite)), min_size=1, max_size=20
)


@settings(max_examples=60, deadline=None)
@given(
    rows=rows,
    base=st.sampled_from([0, 1]),
    float32=st.booleans(),
    end=st.sampled_from(["", "\n", "\r\n"]),
)
def test_equals_sklearn_on_generated_files(tmp_path_factory, rows, base, float32, end):
    path = tmp_path_factory.mktemp("generated") / "rows.txt"
    dtype = np.float32 if float32 else np.float64
    if float32:
        rows = [
            (label, {j: float(np.float32(np.clip(v, -3e38, 3e38))) for j, v in row.items()})
            for label, row in rows
        ]
    lines = (
        f"{label!r} " + " ".join(f"{j - 1 + base}:{row[j]!r}" for j in sorted(row))
        for label, row in rows
    )
    path.write_bytes(((end or "\n").join(lines) + end).encode())
    options = {"n_features": 61, "dtype": dtype, "zero_based": base == 0}
    assert_same_rows(load_svmlight(path, **options), load_svmlight_file(path, **options))


@pytest.mark.parametrize("name", ["a9a/a9a", "regression-small/housing", "rt-polarity/rt-polarity"])
def test_equals_sklearn_on_real_data(name):
    path = DATA / f"{name}.bz2"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    assert_same_rows(load_svmlight(path), load_svmlight_file(path))


def test_result_does_not_depend_on_the_number_of_threads(read):
    text = random_text(12_000, seed=0)
    assert len(text) > 8 * 2**16  # enough for several parts
    X, y = read(text, n_threads=1)
    for n_threads in (2, 3, 7):
        X_other, y_other = read(text, n_threads=n_threads)
        assert_array_equal(y, y_other)
        for name in ("indptr", "indices", "data"):
            assert_array_equal(getattr(X, name), getattr(X_other, name))
        assert X.shape == X_other.shape


def test_random_text_equals_a_reader_in_python(read):
    text = random_text(500, seed=1)
    X, y = read(text)
    lines = [line.split("#")[0].replace("qid:3", "").split() for line in text.split("\n")]
    lines = [line for line in lines if line]
    expected = np.zeros((len(lines), X.shape[1]))
    for i, line in enumerate(lines):
        for j, value in (token.split(":") for token in line[1:]):
            expected[i, int(j) - 1] = float(value)
    assert_array_equal(X.toarray(), expected)
    assert_array_equal(y, [float(line[0]) for line in lines])
    assert (X.data != 0).all()
    assert scipy.sparse.csr_matrix((X.data, X.indices, X.indptr), shape=X.shape).has_sorted_indices


def decimal_strings(n, seed):
    rng = random.Random(seed)
    for _ in range(n):
        digits = "".join(
            rng.choices("0123456789", k=rng.choice([1, 2, 6, 15, 16, 17, 18, 19, 20, 25, 60]))
        )
        cut = rng.randint(0, len(digits))
        number = (
            rng.choice(["", "-", "+"]) + digits[:cut] + rng.choice([".", ".", ""]) + digits[cut:]
        )
        exponent = rng.choice(["", f"e{rng.randint(-30, 30)}", f"E{rng.randint(-345, 250):+d}"])
        yield number + exponent
        value = rng.uniform(-1, 1) * 10.0 ** rng.randint(-320, 300)
        yield from (repr(value), f"{value:.6g}", f"{value:.17g}", f"{value:.25e}")


def test_numbers_equal_pythons_float_bit_for_bit(read):
    hard = [
        "9007199254740993",
        "9007199254740992.99999",
        "6929495644600919.5",
        "1e23",
        "8.5e22",
        "7.",
        ".5",
        "-0",
        "0e999",
        "1e-400",
        "5e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.2250738585072011e-308",
        "1.7976931348623158e308",
        "-1e-99999999999999999999",
        "1e0000000000000000000000005",
        "123456789012345678901234567890",
    ]
    hard += [
        "0." + "0" * 400 + "1e401",
        "1" + "0" * 400 + "e-400",
        "1" * 800 + "e-700",
        "0" * 30 + "1",
    ]
    texts = hard + list(decimal_strings(20_000, seed=0))
    _, y = read("\n".join(texts), n_features=1)
    expected = np.array([float(text) for text in texts])
    assert_array_equal(y.view(np.int64), expected.view(np.int64))


def test_float32_values_are_rounded_once(read):
    rng = np.random.default_rng(0)
    low = np.concatenate(
        [rng.random(200), 10.0 ** rng.uniform(-44, 37, 200), [1e-45, np.finfo(np.float32).tiny]]
    )
    low = low.astype(np.float32)
    high = np.nextafter(low, np.float32(np.inf))
    even = np.where(low.view(np.int32) % 2 == 0, low, high)
    with localcontext(prec=200):
        middle = [
            (Decimal(float(a)) + Decimal(float(b))) / 2 for a, b in zip(low, high, strict=False)
        ]
        beside = 1 + Decimal(10) ** -30  # closer to the middle than doubles can tell
        X, _ = read(
            "\n".join(f"1 1:{m / beside:e} 2:{m:e} 3:{m * beside:e}" for m in middle),
            dtype=np.float32,
        )
    assert_array_equal(X.toarray(), np.column_stack([low, even, high]))


def test_numbers_below_float32_are_dropped_and_beyond_are_refused(read):
    X, _ = read("1 1:1e-50 2:1e-46 3:2", dtype=np.float32)
    assert X.nnz == 1
    assert X[0, 2] == 2
    with pytest.raises(ValueError, match="line 2: value in '1:1e39' is too large for float32"):
        read("1 1:1\n1 1:1e39", dtype=np.float32)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_odd_file_is_read(read, text):
    X, y = read(text)
    assert_array_equal(X.toarray(), [[2, 0, 4], [0, 5, 0]])
    assert_array_equal(y, [1, -1])
    assert X.nnz == 3
    assert X.dtype == np.float64
    assert X.indices.dtype == np.int32


def test_long_rows_in_any_order_are_sorted(read):
    order = np.random.default_rng(0).permutation(3000)
    orders = [order, np.arange(3000)[::-1], np.roll(np.arange(3000), 1)]
    X, _ = read("\n".join("1 " + " ".join(f"{j + 1}:{j + 1}" for j in order) for order in orders))
    assert_array_equal(X.toarray(), [np.arange(1, 3001)] * 3)


@pytest.mark.parametrize(
    ("text", "options", "n_columns"),
    [
        ("1 1:2 9:0", {}, 9),
        ("1 1:3", {"zero_based": True}, 2),
        ("1 1:3", {"zero_based": False}, 1),
        ("1 3:1", {"n_features": 7}, 7),
        ("1\n1", {"n_features": 7}, 7),
    ],
)
def test_number_of_columns_follows_the_largest_index_the_base_and_n_features(
    read, text, options, n_columns
):
    assert read(text, **options)[0].shape[1] == n_columns


def test_indices_beyond_int32_are_int64(read):
    X, _ = read("1 5:1 3000000000:2\n-1 1:1", n_features=3_000_000_000)
    assert X.shape == (2, 3_000_000_000)
    assert X.indices.dtype == np.int64
    assert_array_equal(X.indices, [4, 2_999_999_999, 0])
    assert read("1 2147483647:2")[0].indices.dtype == np.int32


@pytest.mark.parametrize("index", [1001, 2**31, 4_000_000_000, 10**17])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_index_beyond_memory_is_refused_with_its_line_unless_n_features_is_given(
    read, monkeypatch, index, n_threads
):
    monkeypatch.setattr(svmlight, "max_features_in_memory", lambda n_vectors: 1000)
    text = f"1 1000:1\n# c\n-1 1:1 {index}:1"
    message = (
        f"line 3: feature index in '{index}:1' is too large: a model of at most 1000 features is "
        "possible here; renumber"
    )
    with pytest.raises(ValueError, match=rf"rows\.txt: {message}"):
        read(text, n_threads=n_threads)
    assert read(text, n_features=index, n_threads=n_threads)[0].shape == (2, index)
    assert read("1 1000:1\n-1 1:1")[0].shape == (2, 1000)


def test_fault_before_an_index_beyond_memory_is_named_first(read, monkeypatch):
    monkeypatch.setattr(svmlight, "max_features_in_memory", lambda n_vectors: 1000)
    with pytest.raises(ValueError, match="line 1: value in '1:x' is not a number"):
        read("1 1:x\n1 4000000000:1")


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_bad_file_is_refused_with_path_and_line(read, content, message, n_threads):
    with pytest.raises(ValueError, match=r"rows\.txt: " + message):
        read(content, n_threads=n_threads)


def test_line_number_is_right_far_into_a_file_read_in_parts(read):
    text = random_text(12_000, seed=2).split("\n")
    text[9876] = "1 3:4 bad"
    for n_threads in (1, 3):
        with pytest.raises(ValueError, match="line 9877: expected index:value, found 'bad'"):
            read("\n".join(text), n_threads=n_threads)


def test_index_0_is_refused_when_features_count_from_1(read):
    with pytest.raises(ValueError, match="line 2: feature index 0, but zero_based=False"):
        read("1 1:1\n1 5:1 0:1", zero_based=False)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dtype": np.int32}, ValueError),
        ({"zero_based": "yes"}, ValueError),
        ({"zero_based": 1}, ValueError),
        ({"n_features": 0}, ValueError),
        ({"n_features": 2}, ValueError),
        ({"n_features": 2.5}, TypeError),
        ({"n_threads": 0}, ValueError),
    ],
)
def test_bad_option_is_refused_by_name(read, options, error):
    with pytest.raises(error, match=next(iter(options))):
        read("1 3:1", **options)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        load_svmlight(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match="is a folder"):
        load_svmlight(tmp_path)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_file_equals_plain_file(read, suffix):
    text = random_text(300, seed=3).encode() + b"\n"
    compress = COMPRESS[suffix]
    expected = read(text)
    assert_same_rows(read(compress(text), "rows" + suffix), expected)
    # as pbzip2 and pigz write
    in_streams = b"".join(compress(line) for line in text.splitlines(keepends=True))
    assert_same_rows(read(in_streams, "streams" + suffix), expected)


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("damage", ["truncated", "second stream truncated", "followed", "flipped"])
def test_damaged_compressed_file_is_named_as_such(read, suffix, damage):
    content = COMPRESS[suffix](random_text(300, seed=3).encode() + b"\n")
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 0xFF
    damaged = {
        "truncated": content[: len(content) // 2],
        "second stream truncated": content + content[:-20],
        "followed": content + b"1 1:2\n",
        "flipped": bytes(flipped),
    }[damage]
    with pytest.raises(ValueError, match=rf"rows\{suffix}: truncated or corrupt"):
        read(damaged, "rows" + suffix)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=["1 2:3\n"]).start()  # waits for the reader
    assert load_svmlight(pipe)[0].shape == (1, 2)


@pytest.fixture
def saved(tmp_path):
    X = scipy.sparse.random(20, 8, 0.4, "csr", random_state=0)
    y = np.where(np.arange(20) % 3 == 0, 1, -1)
    scipy.sparse.save_npz(tmp_path / "train.npz", X)
    np.save(tmp_path / "train.npy", y)
    return tmp_path, X, y


def test_npz_is_read_with_its_labels(saved):
    folder, X, y = saved
    assert_same_rows(load_data(folder / "train.npz"), (X, y))
    np.save(folder / "other.npy", -y)
    X_read, y_read = load_data(
        folder / "train.npz", folder / "other.npy", dtype=np.float32, n_features=10
    )
    assert X_read.shape == (20, 10)
    assert X_read.dtype == np.float32
    assert_array_equal(y_read, -y)


@pytest.mark.parametrize("form", ["csc", "coo", "bsr", "dia"])
def test_npz_of_any_sparse_form_becomes_csr(saved, form):
    folder, X, _ = saved
    scipy.sparse.save_npz(folder / "train.npz", X.asformat(form))
    X_read, _ = load_data(folder / "train.npz")
    assert scipy.sparse.isspmatrix_csr(X_read)
    assert_array_equal(X_read.toarray(), X.toarray())


def test_any_other_name_is_libsvm_text(tmp_path):
    (tmp_path / "rows").write_text("1 2:3\n")
    assert load_data(tmp_path / "rows", n_features=4)[0].shape == (1, 4)
    with pytest.raises(ValueError, match="holds its own labels"):
        load_data(tmp_path / "rows", "labels.npy")


ZERO, NO_ZERO = "1 0:2 3:4\n-1 1:5\n", "1 3:4\n-1 1:5\n"


@pytest.mark.parametrize("texts", [(ZERO, NO_ZERO), (NO_ZERO, ZERO), (NO_ZERO, ZERO, NO_ZERO)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_read_together_count_features_from_0_if_one_of_them_does(tmp_path, texts, suffix):
    paths = [tmp_path / f"{i}.txt{suffix}" for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(gzip.compress(text.encode()) if suffix else text.encode())
    pairs = load_data(paths)
    for (X, y), path, text in zip(pairs, paths, texts, strict=True):
        assert_same_rows((X, y), load_svmlight(path, zero_based=True))
        assert_array_equal(X.toarray(), [[2 * (text == ZERO), 0, 0, 4], [0, 5, 0, 0]])
        assert X.indices.dtype == np.int32
        assert X.has_canonical_format
    for (X, y), same in zip(load_data(paths, zero_based=True), pairs, strict=True):
        assert_same_rows((X, y), same)
    with pytest.raises(ValueError, match=r"\.txt.*line 1: feature index 0, but zero_based=False"):
        load_data(paths, zero_based=False)


def test_an_explicit_zero_counts_as_a_feature_0(tmp_path):
    (tmp_path / "a").write_text("1 0:0 2:1\n")
    (tmp_path / "b").write_text("1 1:1\n")
    for X, _ in load_data([tmp_path / "a", tmp_path / "b"]):
        assert X.shape == (1, 3)
    assert load_data([tmp_path / "a", tmp_path / "b"])[1][0][0, 1] == 1


def test_files_read_together_without_a_0_count_from_1_and_are_equally_wide(tmp_path):
    (tmp_path / "a").write_text("1 2:1\n")
    (tmp_path / "b").write_text("1 5:1\n")
    (tmp_path / "c").write_text("1\n-1\n")  # no feature at all
    pairs = load_data([tmp_path / name for name in "abc"])
    assert [X.shape for X, _ in pairs] == [(1, 5), (1, 5), (2, 5)]
    assert pairs[0][0][0, 1] == pairs[1][0][0, 4] == 1
    pairs = load_data([tmp_path / "a", tmp_path / "b"], n_features=7)
    assert [X.shape for X, _ in pairs] == [(1, 7)] * 2
    with pytest.raises(ValueError, match="b has 5 features, more than n_features=4"):
        load_data([tmp_path / "a", tmp_path / "b"], n_features=4)


def test_largest_int32_index_is_moved_without_overflow(tmp_path):
    (tmp_path / "a").write_text("1 0:1\n")
    (tmp_path / "b").write_text("1 2147483647:1\n")
    X, _ = load_data([tmp_path / "a", tmp_path / "b"])[1]
    assert X.shape == (1, 2**31)
    assert_array_equal(X.indices, [2**31 - 1])


def test_text_and_npz_are_read_together(saved):
    folder, X, y = saved
    (folder / "test.txt").write_text("1 7:1\n")
    np.save(folder / "other.npy", -y)
    (X_read, y_read), (test, _) = load_data(
        [folder / "train.npz", folder / "test.txt"], [folder / "other.npy", None], n_threads=1
    )
    assert_same_rows((X_read, y_read), (X, -y))
    assert test.shape == (1, 8)
    assert test[0, 6] == 1
    with pytest.raises(ValueError, match="zero_based: for LIBSVM text only"):
        load_data([folder / "train.npz"], zero_based=True)
    assert_same_rows(load_data(folder / "train.npz", zero_based="auto"), (X, y))


@pytest.mark.parametrize("arguments", [([],), (["a", "b"], ["c"]), (["a", "b"], "c")])
def test_list_of_files_with_unfitting_labels_is_refused(arguments):
    with pytest.raises(ValueError, match="labels a list as long"):
        load_data(*arguments)


def test_bad_npz_is_refused(saved):
    folder, X, y = saved
    path, labels = folder / "train.npz", folder / "train.npy"

    def refused(message, error=ValueError, **options):
        with pytest.raises(error, match=message):
            load_data(path, **options)

    refused("n_threads: for LIBSVM text only", n_threads=2)
    refused("has 8 features, more than n_features=3", n_features=3)
    refused("absent.npy", FileNotFoundError, labels=folder / "absent.npy")
    np.save(labels, y[:-1])
    refused("20 rows, but its labels file has 19")
    np.save(labels, np.where(np.arange(20) == 7, np.nan, y))
    refused("label 7 .* is not finite")
    np.save(labels, y[:, None])
    assert load_data(path)[1].shape == (20, 1)
    np.save(labels, np.where(np.arange(40).reshape(20, 2) == 15, np.nan, 1.0))
    refused("label 7 of target 1, the first that has such, .* is not finite")
    np.save(labels, y[:, None, None])
    refused(r"shape \(n_rows,\) or \(n_rows, n_targets\); found shape \(20, 1, 1\)")
    np.save(labels, y.astype(object), allow_pickle=True)
    refused("train.npy: not an array")
    os.unlink(labels)
    refused("train.npy", FileNotFoundError)
    path.write_bytes(path.read_bytes()[:-40])
    refused("train.npz: not a sparse matrix")
    np.savez(path, X=X.toarray())
    refused("train.npz: not a sparse matrix")
    X.indices[3] = 99
    scipy.sparse.save_npz(path, X)
    refused("train.npz: not a sparse matrix")
    X.indices[3], X.data[3] = 0, np.inf
    scipy.sparse.save_npz(path, X)
    refused("not finite")


def logistic_model(**changes):
    rng = np.random.default_rng(0)
    content = {
        "loss": "logistic",
        "coef": rng.standard_normal((1, 6)),
        "intercept": [0.3],
        "classes": [3, 5],
    }
    content |= {
        "theta": [-1.5, 2.0],
        "lam": np.exp([-1.5, 2.0]),
        "value": 0.25,
        "value_error": 1e-9,
    }
    return Model(**{**content, "status": "CONVERGED", "message": "step below tol", **changes})


SQUARED = Model("squared", coef=[[1.0, 1 / 3, -2.0]], intercept=[0.1])
FOUR = {
    "coef": np.random.default_rng(2).standard_normal((4, 6)),
    "intercept": [0.1, -0.2, 0.3, 0],
    "classes": [4, 1, 7, 0],
}


@pytest.mark.parametrize(
    "model",
    [
        logistic_model(),
        logistic_model(classes=["ham", "spam"], value=np.nan),
        SQUARED,
        logistic_model(loss="multinomial", **FOUR),
        logistic_model(zero_based=True),
        logistic_model(zero_based=np.False_),
    ],
)
def test_model_survives_the_round_trip(tmp_path, model):
    save_model(tmp_path / "a.model", model)
    read = load_model(tmp_path / "a.model")
    for name in Model.__dataclass_fields__:
        a, b = getattr(model, name), getattr(read, name)
        assert_array_equal(a, b)
        assert type(a) is type(b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
    assert os.listdir(tmp_path) == ["a.model"]


def test_model_predicts():
    model = logistic_model()
    X = np.random.default_rng(1).standard_normal((9, 6))
    z = X @ model.coef[0] + 0.3
    np.testing.assert_allclose(model.decision_function(scipy.sparse.csr_matrix(X)), z, rtol=1e-14)
    assert_array_equal(model.predict(X), np.where(z > 0, 5, 3))
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-14)
    assert_array_equal(logistic_model(classes=()).predict(X), np.where(z > 0, 1, -1))
    several = logistic_model(**FOUR)
    assert_array_equal(
        several.predict(X), several.classes[several.decision_function(X).argmax(axis=1)]
    )
    with pytest.raises(ValueError, match="must have 6 columns"):
        model.predict(X[:, :5])
    with pytest.raises(ValueError, match="probabilities need"):
        SQUARED.predict_proba(X[:, :3])


@pytest.mark.parametrize(
    "changes",
    [
        {"intercept": [1, 2]},
        {"classes": [1, 2, 3]},
        {"classes": np.array([1, None])},
        {"zero_based": "no"},
    ],
)
def test_model_with_unfitting_parts_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        logistic_model(**changes)


def test_what_is_no_model_file_is_refused(tmp_path):
    path = tmp_path / "a.model"
    save_model(path, SQUARED)
    content = path.read_bytes()
    flipped = content.replace(np.float64(1 / 3).tobytes(), np.float64(0.5).tobytes())
    for damaged in (
        b"",
        b"solver_type L2R_LR\n",
        content[: len(content) // 2],
        content[:-30],
        flipped,
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="a.model: not a model file of fasthoag"):
            load_model(path)
    np.savez(tmp_path / "other.npz", coef=[1.0])
    with pytest.raises(ValueError, match="not a model file"):
        load_model(tmp_path / "other.npz")
    # a newer version is said to be one, whatever it holds
    newer = {"format": "fasthoag-model", "version": 6}
    for content in ({}, {"parts": np.array([{}, None])}):
        np.savez(tmp_path / "newer.npz", **newer, **content)
        with pytest.raises(ValueError, match="version 6; this fasthoag reads 1 to 5. Update"):
            load_model(tmp_path / "newer.npz")
    with pytest.raises(FileNotFoundError, match="nowhere.model"):
        load_model(tmp_path / "nowhere.model")


def test_model_file_of_version_1_is_read(tmp_path):
    model = logistic_model()
    content = {name: getattr(model, name) for name in Model.__dataclass_fields__}
    for name in ("zero_based", "has_offset", "has_labels", "targets"):
        del content[name]
    np.savez(tmp_path / "old.npz", format="fasthoag-model", version=1, **content)
    read = load_model(tmp_path / "old.npz")
    assert_array_equal(read.coef, model.coef)
    assert read.zero_based == "auto"


def test_model_says_how_to_read_text(tmp_path):
    (tmp_path / "rows").write_text("1 1:3\n")
    for zero_based, column in ((True, 1), (False, 0), ("auto", 0)):
        save_model(tmp_path / "model", logistic_model(zero_based=zero_based), overwrite=True)
        found = load_model(tmp_path / "model").zero_based
        X, _ = load_data(tmp_path / "rows", n_features=6, zero_based=found)
        assert X[0, column] == 3


LIBLINEAR = {
    "labels 3 5": logistic_model(),
    "labels -1 1": logistic_model(classes=[-1, 1]),
    "squared": SQUARED,
    "four classes": logistic_model(**FOUR),
    "squared hinge": logistic_model(loss="squared_hinge", classes=[-1.0, 1.0]),
    "squared hinge, four classes": logistic_model(loss="squared_hinge", **FOUR),
    "epsilon": Model("squared_epsilon_insensitive", coef=[[1.0, 1 / 3, -2.0]], intercept=[0.1]),
}


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("labels 3 5", "solver_type L2R_LR|nr_class 2|label 5 3|nr_feature 6|bias 1|w"),
        ("squared", "solver_type L2R_L2LOSS_SVR|nr_class 2|nr_feature 3|bias 1|w"),
        ("squared hinge", "solver_type L2R_L2LOSS_SVC|nr_class 2|label 1 -1|nr_feature 6|bias 1|w"),
        (
            "squared hinge, four classes",
            "solver_type L2R_L2LOSS_SVC|nr_class 4|label 4 1 7 0|nr_feature 6|bias 1|w",
        ),
        ("epsilon", "solver_type L2R_L2LOSS_SVR|nr_class 2|nr_feature 3|bias 1|w"),
    ],
)
def test_liblinear_text_has_its_head_and_a_line_for_every_feature(tmp_path, name, head):
    model = LIBLINEAR[name]
    save_liblinear(tmp_path / "liblinear.model", model)
    lines = (tmp_path / "liblinear.model").read_text().splitlines()
    n_head = head.count("|") + 1
    assert lines[:n_head] == head.split("|")
    weights = np.array([line.split() for line in lines[n_head:]], float)
    assert_array_equal(weights, np.vstack([model.coef.T, model.intercept]))


@pytest.mark.parametrize("model", LIBLINEAR.values(), ids=LIBLINEAR.keys())
def test_liblinear_predicts_the_same_from_the_saved_file(tmp_path, model):
    liblinear = pytest.importorskip("liblinear.liblinearutil")
    path = tmp_path / "liblinear.model"
    save_liblinear(path, model)
    theirs = liblinear.load_model(str(path))
    X = scipy.sparse.csr_matrix(np.random.default_rng(3).standard_normal((50, model.coef.shape[1])))
    labels, _, values = liblinear.predict([], X, theirs, "-q")
    np.testing.assert_allclose(labels, model.predict(X), rtol=1e-14)
    np.testing.assert_allclose(np.squeeze(values), model.decision_function(X), rtol=0, atol=1e-14)
    if model.loss == "logistic" and len(model.coef) == 1:
        _, _, probabilities = liblinear.predict([], X, theirs, "-q -b 1")
        np.testing.assert_allclose(
            np.array(probabilities)[:, ::-1], model.predict_proba(X), rtol=0, atol=1e-14
        )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (logistic_model(loss="huber", classes=()), "no loss 'huber'"),
        (logistic_model(classes=[0.5, 1.5]), "whole numbers"),
        (logistic_model(classes=["a", "b"]), "whole numbers"),
        (logistic_model(classes=[0, 3_000_000_000]), "whole numbers of 32 bits"),
        (logistic_model(loss="squared_hinge", classes=()), "give the model its classes"),
        (logistic_model(loss="squared_hinge", classes=[0.5, 1]), "whole numbers"),
        (logistic_model(loss="multinomial", **FOUR), "no loss 'multinomial'"),
        (
            logistic_model(coef=np.eye(2), intercept=[0, 0], classes=[0, 1]),
            "two classes have one output",
        ),
        (
            logistic_model(loss="squared", coef=np.eye(2), intercept=[0, 0], classes=()),
            "one output",
        ),
    ],
)
def test_model_that_liblinear_lacks_is_refused(tmp_path, model, message):
    with pytest.raises(ValueError, match=message):
        save_liblinear(tmp_path / "liblinear.model", model)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("save", [save_model, save_liblinear])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, save, step):
    path = tmp_path / "a.model"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left.*a.model") as caught:
        save(path, SQUARED, overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.model"]


@pytest.mark.parametrize("save", [save_model, save_liblinear])
def test_existing_file_is_refused_unless_overwrite(tmp_path, save):
    path = tmp_path / "a.model"
    path.write_text("old")
    with pytest.raises(FileExistsError, match="pass overwrite=True.*a.model"):
        save(path, SQUARED)
    assert path.read_text() == "old"
    save(path, SQUARED, overwrite=True)
    assert path.read_bytes() != b"old"
    assert os.listdir(tmp_path) == ["a.model"]


@pytest.mark.parametrize("save", [save_model, save_liblinear])
def test_name_of_the_greatest_length_is_written(tmp_path, save):
    save(tmp_path / ("a" * 255), SQUARED)
    assert os.listdir(tmp_path) == ["a" * 255]


def test_link_stays_a_link_and_absent_folder_is_named(tmp_path):
    link = tmp_path / "link.model"
    (tmp_path / "a.model").write_text("old")
    link.symlink_to(tmp_path / "a.model")
    save_model(link, SQUARED, overwrite=True)
    assert link.is_symlink()
    assert load_model(tmp_path / "a.model").loss == "squared"
    with pytest.raises(FileNotFoundError, match="nowhere/a.model"):
        save_model(tmp_path / "nowhere" / "a.model", SQUARED)
