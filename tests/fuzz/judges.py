"""What has to hold for any input: a result that a second reading confirms, or an error that says
whose fault it is. Everything here runs in the process of a `fuzzing.Worker`."""

import contextlib
import functools
import io
import itertools
import os
import warnings

import numpy as np
import scipy.sparse as sp
from mutations import N_ROWS

import fasthoag
from fasthoag.io import Model, load_data, load_model, load_svmlight

REFUSED = object()
MOST = 2**20  # rows or columns of what may be written out densely


def outcome(act, names, errors=(ValueError, OSError)):
    """What the call returns, or REFUSED where it raises an error that holds one of the names."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return act()
    except errors as error:
        if not any(name in str(error) for name in names):
            raise AssertionError(f"names none of {names}: {error!r}") from error
        return REFUSED


def read_twice(read, path):
    """What the reader makes of the file, which must be the same twice."""
    first, second = (outcome(lambda: read(path), [os.fspath(path)]) for _ in range(2))
    assert (first is REFUSED) == (second is REFUSED)
    return first, second


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        a, b = (np.asarray(v.toarray() if sp.issparse(v) else v) for v in (a, b))
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


@contextlib.contextmanager
def folder_with(**contents):
    """The folder of this process with these files only; their names have _ for the dot."""
    folder = os.getcwd()
    for name, content in contents.items():
        with open(os.path.join(folder, name.replace("_", ".")), "wb") as file:
            file.write(content)
    try:
        yield folder
    finally:
        for entry in os.scandir(folder):
            os.rmdir(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)


def assert_data(X, y):
    assert X.format == "csr"
    assert y.dtype == np.float64
    assert X.shape[0] == len(y) > 0
    assert np.isfinite(X.data).all()
    assert np.isfinite(y).all()
    X.check_format(full_check=True)


def text(content, suffix=".txt"):
    with folder_with(**{"rows" + suffix.replace(".", "_"): content}) as folder:
        for options in ({}, {"dtype": np.float32, "zero_based": True, "n_features": 9}):
            path = os.path.join(folder, "rows" + suffix)
            first, second = read_twice(lambda path: load_svmlight(path, **options), path)
            if first is not REFUSED:
                assert_data(*first)
                if first[0].shape[1] < MOST:
                    assert_same(first, second)


def matrix(content):
    with folder_with(rows_npz=content, rows_npy=npy_bytes(np.arange(N_ROWS))) as folder:
        first, second = read_twice(load_data, os.path.join(folder, "rows.npz"))
        if first is REFUSED:
            return
        assert_data(*first)
        if first[0].shape[1] < MOST:
            assert_same(first, second)
            with np.load(os.path.join(folder, "rows.npz")) as archive:
                expected = dense_of({name: archive[name] for name in archive.files})
            assert expected is not None, "what is no matrix was taken for one"
            np.testing.assert_array_equal(first[0].toarray(), expected)


def labels(content):
    X = io.BytesIO()
    sp.save_npz(X, sp.csr_matrix(np.eye(N_ROWS)))
    with folder_with(rows_npz=X.getvalue(), other_npy=content) as folder:
        path = os.path.join(folder, "other.npy")
        matrix = os.path.join(folder, "rows.npz")
        # A number of rows that differs is a fault of both files; the message names the first.
        first, second = (outcome(lambda: load_data(matrix, path), [path, matrix]) for _ in range(2))
        if first is not REFUSED:
            assert_data(*first)
            assert_same(first, second)


def model(content):
    with folder_with(fitted_model=content) as folder:
        first, second = read_twice(load_model, os.path.join(folder, "fitted.model"))
    if first is REFUSED:
        return
    assert_same([first.coef, first.intercept], [second.coef, second.intercept])
    assert (first.loss, first.status) == (second.loss, second.status)
    n_features = first.coef.shape[1]
    if n_features < MOST:
        z = first.predict(np.zeros((3, n_features)))
        assert len(z) == 3


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# ---- matrices that are made in memory ----


def put_together(parts):
    """A matrix of SciPy whose arrays were replaced after it was made."""
    form, shape = str(parts["format"]), tuple(parts["shape"].tolist())
    if form == "lil":
        return lists_of(parts, shape)
    sound = sp.csr_matrix(np.ones((2, 2)))
    X = sp.bsr_matrix(sound, blocksize=(2, 2)) if form == "bsr" else sound.asformat(form)
    if form == "coo":
        X.coords = parts["row"], parts["col"]  # The attribute X.row converts what it is given.
    for name, array in parts.items():
        if name not in ("format", "shape", "row", "col"):
            setattr(X, name, array)
    X._shape = shape
    return X


def lists_of(parts, shape):
    X = sp.lil_matrix((2, 2))
    for name, lists in (("rows", slices(parts, "indices")), ("data", slices(parts, "data"))):
        array = np.empty(len(lists), object)
        array[:] = lists
        setattr(X, name, array)
    X._shape = shape
    return X


def slices(parts, name):
    """The rows of an array, whatever the pointers are."""
    pointers = parts["indptr"].tolist()
    return [parts[name][i:j].tolist() for i, j in itertools.pairwise(pointers)]


def dense_of(parts):
    """The matrix entry by entry; None where the arrays are not those of one."""
    n, p = (int(size) for size in parts["shape"])
    form = parts["format"].item()
    form = form.decode() if isinstance(form, bytes) else form
    if not (0 <= n < MOST and 0 <= p < MOST):
        return None
    try:
        entries = ENTRIES[form](n, p, parts)
    except (IndexError, TypeError, ValueError):
        return None
    dense = np.zeros((n, p))
    for i, j, value in entries:
        i, j = int(i), int(j)
        if not (0 <= i < n and 0 <= j < p):
            return None
        dense[i, j] += float(value)
    return dense


def compressed(n, p, parts):
    pointers, numbers = parts["indptr"].tolist(), parts["indices"].tolist()
    values = parts["data"]
    if len(pointers) != n + 1 or pointers[0] != 0 or sorted(pointers) != pointers:
        raise IndexError
    if pointers[-1] > min(len(numbers), len(values)):
        raise IndexError
    return [
        (i, numbers[k], values[k]) for i in range(n) for k in range(pointers[i], pointers[i + 1])
    ]


def blocks(n, p, parts):
    _, height, width = parts["data"].shape
    if height == 0 or width == 0 or n % height or p % width:
        raise IndexError
    return [
        (i * height + a, j * width + b, block[a, b])
        for i, j, block in compressed(n // height, p // width, parts)
        for a in range(height)
        for b in range(width)
        if j >= 0  # a negative one must not come into range
    ] + [(i, j, 0.0) for i, j, _ in compressed(n // height, p // width, parts)]


def coordinates(n, p, parts):
    row, column = parts["row"].tolist(), parts["col"].tolist()
    if not len(row) == len(column) == len(parts["data"]):
        raise IndexError
    return zip(row, column, parts["data"], strict=True)


def diagonals(n, p, parts):
    offsets, data = parts["offsets"].tolist(), parts["data"]
    if len(offsets) != len(data) or len(set(offsets)) != len(offsets):
        raise IndexError
    return [
        (j - offset, j, values[j])
        for offset, values in zip(offsets, data, strict=True)
        for j in range(min(p, len(values)))
        if 0 <= j - offset < n
    ]


def lists(n, p, parts):
    rows, data = slices(parts, "indices"), slices(parts, "data")
    if len(rows) != n or [*map(len, rows)] != [*map(len, data)]:
        raise IndexError
    return [(i, j, value) for i in range(n) for j, value in zip(rows[i], data[i], strict=True)]


ENTRIES = {
    "csr": compressed,
    "csc": lambda n, p, parts: [(i, j, v) for j, i, v in compressed(p, n, parts)],
    "bsr": blocks,
    "coo": coordinates,
    "dia": diagonals,
    "lil": lists,
}


def width(X):
    """How many features models have that X is held against: its own where they are not many."""
    return X.shape[1] if X.shape[1] in (2, 4, 6) else 4


def by_problem(X, y):
    problem = fasthoag.Problem(X, y, loss="squared")
    w = np.arange(1.0, X.shape[1] + 2)[:, None]
    return problem.design.matvec(problem.design.encode(w))[:, 0]


def by_held_out(X, y):
    p = width(X)
    sound = np.linspace(-1, 1, 5 * p).reshape(5, p) ** 3
    problem = fasthoag.Problem(sound, np.arange(5.0), loss="squared")
    bound = fasthoag.HeldOut(X, y).bind(problem)
    w = np.arange(1.0, p + 2)[:, None]
    return bound.rows.design.matvec(bound.rows.design.encode(w))[:, 0]


CLASSIFIER, REGRESSOR = fasthoag.LogisticRegressionCV, fasthoag.RidgeCV


@functools.cache
def fitted(Estimator, n_features):
    rows = np.random.default_rng(0).normal(size=(30, n_features))
    target = rows[:, 0] + rows[:, -1] + 0.5 * np.cos(np.arange(30))
    return Estimator(cv=3).fit(rows, target > 0.5 if Estimator is CLASSIFIER else target)


def by_fit(Estimator):
    def fit(X, y):
        model = Estimator(cv=2, n_threads=1).fit(X, y > 1 if Estimator is CLASSIFIER else y)
        assert np.isfinite(model.coef_).all()
        return np.zeros(1)  # Formats may differ in the last digits.

    return fit


def by_estimator(Estimator, method):
    def use(X, y):
        model = fitted(Estimator, width(X))
        found = getattr(model, method)(*((X, y) if method == "score" else (X,)))
        return np.ravel(np.asarray(found, np.float64))

    return use


def by_model(X, y):
    return Model("squared", coef=[np.arange(1.0, width(X) + 1)], intercept=[0.5]).predict(X)


ENTRANCES = {
    "Problem": by_problem,
    "HeldOut": by_held_out,
    "fit of a regressor": by_fit(REGRESSOR),
    "fit of a classifier": by_fit(CLASSIFIER),
    "predict": by_estimator(REGRESSOR, "predict"),
    "predict_proba": by_estimator(CLASSIFIER, "predict_proba"),
    "score": by_estimator(REGRESSOR, "score"),
    "Model.predict": by_model,
}


OF_SKLEARN = ["sample", "0 feature(s)", "Complex data"]  # sentences that do not name X


def structure(content, entrance):
    """A matrix, made of the arrays in an ``.npz``, at one entrance: the same as for its dense twin,
    or an error about X."""
    with np.load(io.BytesIO(content), allow_pickle=True) as archive:
        parts = {name: archive[name] for name in archive.files}
    act, y = ENTRANCES[entrance], np.arange(float(N_ROWS))
    try:
        X = put_together(parts)
    except (IndexError, TypeError, ValueError, AttributeError, OverflowError):
        return  # There is no such object.
    found = outcome(lambda: act(X, y), ["X", *OF_SKLEARN], (ValueError, TypeError))
    if found is REFUSED:
        return
    dense = dense_of(parts)
    assert dense is not None, "what is no matrix was taken for one"
    np.testing.assert_allclose(found, act(dense, y), rtol=1e-9, atol=1e-9)
