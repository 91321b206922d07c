"""Whatever lies under a path, and whatever is given for an argument, it is read or refused."""

import os
import socket

import fuzzing
import judges
import numpy as np
import pytest
import scipy.sparse as sp

from fasthoag.io import (
    Model,
    load_data,
    load_model,
    load_svmlight,
    save_liblinear,
    save_model,
)

MODEL = Model("logistic", coef=[[1.0, 2.0]], intercept=[0.5])
READ = {
    "load_data": load_data,
    "load_data of several": lambda path: load_data([path, path]),
    "load_svmlight": load_svmlight,
    "load_model": load_model,
    "labels": None,
}
WRITE = {
    "save_model": save_model,
    "save_liblinear": save_liblinear,
}


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


def link_to_itself(path):
    os.symlink(path, path)


def file_with(content):
    def make(path):
        with open(path, "wb") as file:
            file.write(content)

    return make


WAITS = "a pipe that nobody writes to"  # as every program does that reads one: for its writer
# What is put at a path of a name that the readers may take for one of their own.
PLACES = {
    "nothing": lambda path: None,
    "an empty file": file_with(b""),
    "one byte": file_with(b"\0"),
    "a line end": file_with(b"\n"),
    "a sound text": file_with(b"1 1:2\n"),
    "a sound text without line end": file_with(b"1 1:2"),
    "a folder": os.mkdir,
    WAITS: os.mkfifo,
    "a socket": socket_at,
    "a link to itself": link_to_itself,
    "a link to nothing": lambda path: os.symlink(path + "x", path),
    "a link to a folder": lambda path: os.symlink(os.path.dirname(path), path),
    "a link to the null device": lambda path: os.symlink("/dev/null", path),
    "a link to endless zeros": lambda path: os.symlink("/dev/zero", path),
    "a link to memory": lambda path: os.symlink("/proc/self/mem", path),
    "a link to a file of the system without a size": lambda path: os.symlink("/proc/stat", path),
}
NAMES = ["rows", "rows.npz", "rows.npy", "rows.gz", "rows.bz2", "rows.xz", b"\xff.txt", "é\n.npz"]


def place(what, name, how):
    """One thing under one name, for one reader or writer."""
    with judges.folder_with() as folder:
        path = os.path.join(folder, os.fsdecode(name))
        PLACES[what](path)
        if how == "labels":
            matrix = os.path.join(folder, "matrix.npz")
            sp.save_npz(matrix, sp.csr_matrix(np.eye(2)))
            judges.outcome(lambda: load_data(matrix, path), [path, repr(path)])
        elif how in READ:
            judges.outcome(lambda: READ[how](path), [path, repr(path)])
        else:
            for overwrite in (False, True):
                judges.outcome(
                    lambda: WRITE[how](path, MODEL, overwrite=overwrite),
                    [path, repr(path)],
                )


@pytest.fixture(scope="module")
def look():
    worker = fuzzing.Worker(place)
    yield worker
    worker.close()


CASES = [(what, how) for what in PLACES for how in [*READ, *WRITE]]


@pytest.mark.parametrize(
    ("what", "how"),
    [(what, how) for what, how in CASES if what != WAITS or how in [*WRITE, "load_model"]],
)
def test_what_lies_under_a_path_is_read_or_refused(look, what, how):
    for name in NAMES:
        look(what, name, how)


# ---- arguments ----

VALUES = [None, True, False, 0, 1, -1, 3, 2**31, 2**63, 2**70, 10**400, 1.0, 0.5, np.nan, np.inf]
VALUES += [1e300, 1j, "auto", "", "x", "f", "d", "float32", "float64", "\0", "\udcff", b"", b"rows"]
VALUES += [(), [], {}, set(), object, [None], [[]], np.float32, np.float64, np.int64, np.int8(3)]
VALUES += [np.dtype("f4"), np.dtype(">f8"), np.float64(2), np.array(3), np.array([3])]
VALUES += [np.array("auto"), np.array([1, 2]), Ellipsis]
KEYS = ["n_features", "dtype", "zero_based", "n_threads"]


def call(how, path, options):
    """Any arguments; TypeError is allowed for them, and messages name the argument or the path."""
    with judges.folder_with(rows_txt=b"1 1:2 3:1\n0 2:1\n") as folder:
        path = os.path.join(folder, "rows.txt") if path is Ellipsis else path
        named = [
            *options,
            repr(path),
            str(path),
            "path",
            "PathLike",
            "null",
            "encode",
            "surrogates",
        ]
        errors = (ValueError, OSError, TypeError)
        function = {"load_data": load_data, "load_svmlight": load_svmlight}.get(how)
        if function:
            judges.outcome(lambda: function(path, **options), named, errors)
        elif how == "load_model":
            judges.outcome(lambda: load_model(path), named, errors)
        else:
            judges.outcome(lambda: WRITE[how](path, MODEL, **options), named, errors)


def some(rng, names):
    return {rng.choice(names): rng.choice(VALUES) for _ in range(rng.randint(0, 2))}


def test_any_arguments_of_readers_are_taken_or_refused():
    readers = ["load_data", "load_svmlight"]
    fuzzing.try_cases(lambda rng: (rng.choice(readers), ..., some(rng, KEYS)), call, n_cases=150)


def test_any_path_is_taken_or_refused():
    which = ["load_data", "load_svmlight", "load_model", *WRITE]
    fuzzing.try_cases(lambda rng: (rng.choice(which), rng.choice(VALUES), {}), call, n_cases=150)


FIELDS = ["coef", "intercept", "classes", "theta", "lam", "value", "status", "zero_based", "loss"]


def make(fields):
    """A model of any fields is one that predicts and is written, or is refused."""
    sound = {"loss": "squared", "coef": [[1.0, 2.0]], "intercept": [0.5]}
    named = [*fields, "intercept", "array", "float", "could not convert", "inhomogeneous"]
    made = judges.outcome(lambda: Model(**sound | fields), named, (ValueError, TypeError))
    if made is judges.REFUSED or made.coef.shape[1] > judges.MOST:
        return
    with judges.folder_with() as folder:
        path = os.path.join(folder, "made.model")
        judges.outcome(lambda: made.predict(np.zeros((2, made.coef.shape[1]))), ["loss", *fields])
        if judges.outcome(lambda: save_model(path, made), [path]) is not judges.REFUSED:
            again = load_model(path)
            judges.assert_same([made.coef, made.intercept], [again.coef, again.intercept])


def test_any_fields_make_a_model_or_are_refused():
    fuzzing.try_cases(lambda rng: (some(rng, FIELDS),), make, n_cases=150)
