"""Files in and out: data sets (LIBSVM text, or ``.npz`` with ``.npy``) and fitted models."""

from __future__ import annotations

import errno
import importlib
import io
import mmap
import operator
import os
import secrets
import stat
from dataclasses import dataclass, fields

import numpy as np
import scipy.sparse

from fasthoag import _core
from fasthoag.losses import is_log_link

__all__ = ["Model", "load_data", "load_model", "load_svmlight", "save_liblinear", "save_model"]

_NO_LIMIT = 2**62
_COMPRESSED = {".bz2": "bz2", ".gz": "gzip", ".xz": "lzma"}
_MODEL_FORMAT, _MODEL_VERSION = "fasthoag-model", 2  # version 1 had no zero_based


# ---- data ----


def load_svmlight(path, *, n_features=None, dtype=np.float64, zero_based="auto", n_threads=None):
    """Matrix and labels of a file in LIBSVM (svmlight) format.

    One row a line: ``label [qid:n] index:value index:value ... [# comment]``. Indices may come in
    any order, but not twice in a row. Explicit zeros are not stored. Every number is rounded
    correctly to `dtype`.

    Parameters
    ----------
    path : str or path
        A name that ends in ``.bz2``, ``.gz`` or ``.xz`` is decompressed in memory. Anything else is
        text and is mapped: it must not shrink while it is read.
    n_features : int, optional
        Number of columns; the largest index in the file by default, which then must be small enough
        for an array of that length to fit into memory. Give it for a test set, which may lack the
        last features of the training set.
    dtype : float64 or float32
        Type of the values of `X`. Labels are always float64.
    zero_based : {"auto", True, False}
        Whether features count from 0. "auto": they do if the file has an index 0, and count from 1
        otherwise. A file that counts from 0 may lack feature 0: read files that belong together by
        ``load_data([train, test])``, which decides for all of them, or say it.
    n_threads : int, optional
        All processors by default. The result does not depend on it.

    Returns
    -------
    X : csr_matrix, shape (n_rows, n_features)
        Sorted indices, no duplicates. Indices are int32 where they fit, else int64.
    y : array, shape (n_rows,)

    Raises
    ------
    FileNotFoundError
    ValueError
        With the path, the line and what is wrong in it: a number that is malformed or not finite,
        an index that is negative, too large or appears twice, `n_features` too small, no rows, a
        truncated or corrupt compressed file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fasthoag.io import load_svmlight
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "two_rows.txt")
    ...     _ = path.write_text("+1 1:0.5 3:2\\n-1 2:1\\n")
    ...     X, y = load_svmlight(path)
    >>> X.toarray()
    array([[0.5, 0. , 2. ],
           [0. , 1. , 0. ]])
    >>> y
    array([ 1., -1.])
    """
    n_features = _count("n_features", n_features)
    n_threads = _count("n_threads", n_threads)
    X, y, _ = _read_text(path, _real_type(dtype), _counted_from(zero_based), n_threads, n_features)
    return _with_features(path, X, n_features), y


def _read_text(path, dtype, zero_based, n_threads, n_features=None, max_features=None):
    """X with as many columns as the text shows, y, and whether the text has an index 0."""
    if max_features is None:
        max_features = _max_features(1) if n_features is None else _NO_LIMIT
    base = -1 if isinstance(zero_based, str) else int(zero_based)
    path = _existing(path)
    with open(path, "rb") as file:
        text = _text(path, file)
        try:
            y, indptr, indices, values, n_seen, has_feature_0 = _core.parse_svmlight(
                text, base, dtype == np.float32, n_threads or _n_processors(), max_features
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        finally:
            if isinstance(text, mmap.mmap):
                text.close()
    X = scipy.sparse.csr_matrix((values, indices, indptr), shape=(len(y), n_seen), copy=False)
    X.has_canonical_format = True  # sorted and without duplicates: saves scipy a pass
    return X, y, has_feature_0


def _read_together(
    files,
    *,
    dtype=np.float64,
    zero_based="auto",
    n_threads=None,
    n_features=None,
    max_features=None,
    needs_labels=True,
):
    """``(X, y, has_feature_0)`` of every (path, labels), as wide as each file is, and `zero_based`
    as decided for all text among them.

    "auto": from 0 if any text has an index 0. It stays "auto" where no file is text, and
    ``has_feature_0`` is None of such a file. Without `needs_labels`, y is None of a ``.npz`` file
    whose labels are neither named nor beside it.
    """
    dtype, zero_based = _real_type(dtype), _counted_from(zero_based)
    n_threads = _count("n_threads", n_threads)
    files = [(_existing(path), labels) for path, labels in files]
    if all(_is_npz(path) for path, _ in files):
        given = [("n_threads", n_threads is not None), ("zero_based", zero_based != "auto")]
        if unused := ", ".join(name for name, is_given in given if is_given):
            raise ValueError(f"{files[0][0]}: {unused}: for LIBSVM text only; drop it for .npz.")
    found = []
    for path, labels in files:
        if _is_npz(path):
            found.append((*_read_npz(path, labels, dtype, needs_labels, max_features), None))
        elif labels is None:
            found.append(_read_text(path, dtype, zero_based, n_threads, n_features, max_features))
        else:
            raise ValueError(
                f"{path}: LIBSVM text holds its own labels; drop labels={os.fspath(labels)!r}."
            )
    has_feature_0 = [has_one for _, _, has_one in found if has_one is not None]
    if zero_based == "auto" and has_feature_0:
        zero_based = any(has_feature_0)
        for X, _, has_one in found if zero_based else ():
            if has_one is False:  # read as if it counted from 1
                X.indices += 1  # the largest that int32 holds was written, and is none yet
                X.resize((X.shape[0], X.shape[1] + 1))
    return found, zero_based


def load_data(
    path, labels=None, *, n_features=None, dtype=np.float64, zero_based="auto", n_threads=None
):
    """Matrix and labels of a data set: ``.npz`` with ``.npy``, or LIBSVM text; of several at once.

    Parameters
    ----------
    path : str or path, or a list of them
        ``.npz``: a matrix saved by `scipy.sparse.save_npz`. Any other name is LIBSVM text, see
        `load_svmlight`. A list is of files that belong together, such as training and test rows:
        all get the same number of columns, and `zero_based` is decided for all text among them.
    labels : str or path, or a list of them, optional
        For ``.npz`` only: the ``.npy`` file of the labels, by default the same name with ``.npy``.
        A list, with None for text, where `path` is one.
    n_features, dtype
        As of `load_svmlight`.
    zero_based, n_threads
        As of `load_svmlight`, for LIBSVM text only. "auto": features count from 0 if any of the
        files has an index 0.

    Returns
    -------
    X : csr_matrix, shape (n_rows, n_features)
    y : array of float64, shape (n_rows,)
        Of a list, a list of pairs ``(X, y)``.

    Raises
    ------
    FileNotFoundError
    ValueError
        A file is malformed, values are not finite, or the numbers of rows and labels differ.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, scipy.sparse
    >>> from fasthoag.io import load_data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "train.npz")
    ...     scipy.sparse.save_npz(path, scipy.sparse.eye(3, format="csr"))
    ...     np.save(os.path.join(folder, "train.npy"), [1.0, -1.0, 1.0])
    ...     X, y = load_data(os.path.join(folder, "train.npz"))
    >>> X.shape, y
    ((3, 3), array([ 1., -1.,  1.]))
    """
    is_list = isinstance(path, (list, tuple))
    paths = list(path) if is_list else [path]
    labels = [labels] if not is_list else [None] * len(paths) if labels is None else labels
    if is_list and not (isinstance(labels, (list, tuple)) and len(labels) == len(paths) > 0):
        raise ValueError(
            "a list for path must not be empty, and labels a list as long, or None; found "
            f"{len(paths)} files and labels={labels!r}."
        )
    n_features = _count("n_features", n_features)
    found, _ = _read_together(
        list(zip(paths, labels, strict=True)),
        dtype=dtype,
        zero_based=zero_based,
        n_threads=n_threads,
        n_features=n_features,
    )
    if is_list and n_features is None:
        n_features = max(X.shape[1] for X, _, _ in found) or None
    pairs = [
        (_with_features(path, X, n_features), y)
        for path, (X, y, _) in zip(paths, found, strict=True)
    ]
    return pairs if is_list else pairs[0]


def _is_npz(path):
    return os.path.splitext(os.fspath(path))[1].lower() == ".npz"


def _read_npz(path, labels, dtype, needs_labels, max_features):
    X = _npz_matrix(path, dtype)
    if max_features is not None and X.shape[1] > max_features:
        raise ValueError(
            f"{path} has {X.shape[1]} features, too many: a model of at most {max_features} is "
            "possible here; drop columns."
        )
    if labels is None:
        labels = _labels_path(path)
        if not needs_labels and not os.path.exists(labels):
            return X, None
    y = _npy_labels(path, _existing(labels, "the labels of " + path))
    if len(y) != X.shape[0]:
        raise ValueError(
            f"{path} has {X.shape[0]} rows, but its labels file has {len(y)}; give the matching "
            "labels=."
        )
    return X, y


def _labels_path(path):
    """Where the labels of this ``.npz`` file are by default."""
    return os.path.splitext(path)[0] + ".npy"


def _counted_from(zero_based):
    if not (isinstance(zero_based, (bool, np.bool_)) or zero_based == "auto"):
        raise ValueError(f'zero_based must be "auto", True or False; found {zero_based!r}.')
    return zero_based if isinstance(zero_based, str) else bool(zero_based)


def _max_features(n_vectors):
    """The largest number of features for which so many vectors of doubles fit into memory."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return _NO_LIMIT  # Windows: the first allocation will tell
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (8 * n_vectors)


def _existing(path, what="a file"):
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(
            errno.ENOENT, f"no such file (expected {what}); check the path", path
        )
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder; give the path of a file.")
    return path


def _real_type(dtype):
    if np.dtype(dtype) not in (np.float64, np.float32):
        raise ValueError(f"dtype must be float64 or float32; found {dtype!r}.")
    return np.dtype(dtype)


def _count(name, value):
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number or None; found {value!r}.")
    if operator.index(value) < 1:
        raise ValueError(f"{name} must be at least 1; found {value}.")
    return operator.index(value)


def _n_processors():
    # the processors this process may use, which in a container or under taskset are fewer than the
    # machine's
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _with_features(path, X, n_features):
    """The matrix with so many columns, by default those that the file has."""
    path, n_seen = os.fspath(path), X.shape[1]
    if n_features is None and n_seen == 0:
        raise ValueError(f"{path}: no row has any feature; give n_features if that is meant.")
    if n_features is not None and n_features < n_seen:
        raise ValueError(
            f"{path} has {n_seen} features, more than n_features={n_features}. Give a larger "
            "n_features, or none."
        )
    if n_features is not None:
        X.resize((X.shape[0], n_features))
    return X


def _text(path, file):
    """The bytes of the file: mapped if they are plain text, else decompressed."""
    library = _COMPRESSED.get(os.path.splitext(path)[1].lower())
    if library is None:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError):  # empty, or a pipe
            return file.read()
    try:
        with importlib.import_module(library).open(file) as stream:
            return stream.read()
    except Exception as error:
        _raise_unless_content(error)
        raise ValueError(
            f"{path}: truncated or corrupt {library} data ({error}); fetch it again."
        ) from error


def _raise_unless_content(error):
    # Decompressors and archives have many exceptions of their own for bad content; a fault of the
    # disk has an errno.
    if isinstance(error, (MemoryError, ImportError)) or getattr(error, "errno", None):
        raise error


def _npz_matrix(path, dtype):
    try:
        X = scipy.sparse.load_npz(path)
        if hasattr(X, "check_format"):
            X.check_format(full_check=True)  # conversions and kernels trust the indices
    except Exception as error:
        _raise_unless_content(error)
        raise ValueError(
            f"{path}: not a sparse matrix that scipy.sparse.save_npz wrote ({error})."
        ) from error
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise ValueError(
            f"{path}: need a real matrix with two dimensions; found shape {X.shape}, dtype "
            f"{X.dtype}."
        )
    with np.errstate(over="ignore"):  # reported below
        X = scipy.sparse.csr_matrix(X, dtype=dtype)
    X.sum_duplicates()
    if not np.isfinite(X.data).all():
        raise ValueError(f"{path}: some values are not finite in {dtype}; remove or replace them.")
    if 0 in X.shape:
        raise ValueError(f"{path}: the matrix is empty, shape {X.shape}.")
    return X


def _npy_labels(path, labels):
    try:
        y = np.load(labels, allow_pickle=False)
    except Exception as error:
        _raise_unless_content(error)
        raise ValueError(f"{labels}: not an array that numpy.save wrote ({error}).") from error
    if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in "fiub":
        found = f"shape {y.shape}, dtype {y.dtype}" if isinstance(y, np.ndarray) else "an archive"
        raise ValueError(
            f"{labels}: the labels of {path} must be one-dimensional real numbers; found {found}."
        )
    y = y.astype(np.float64)
    if not np.isfinite(y).all():
        raise ValueError(
            f"{labels}: label {np.flatnonzero(~np.isfinite(y))[0]} (counting from 0) is not finite."
        )
    return y


# ---- models ----


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted linear model: what a model file holds.

    Parameters
    ----------
    loss : str
    coef : array, shape (n_outputs, n_features)
    intercept : array, shape (n_outputs,)
    classes : array, shape (0,), (2,) or (n_outputs,)
        Labels in the order of the outputs; with one output, the second is the positive class. Empty
        for regression. -1 and +1 if left empty with loss "logistic" and one output.
    theta, lam : array, shape (n_hyper,)
        Hyperparameters on log scale, and the strengths they stand for.
    value, value_error : float
        Outer criterion, and the bound or estimate of its error.
    status, message : str
        How the search ended.
    zero_based : {"auto", True, False}
        Whether the text that it was trained on counts features from 0, for `load_svmlight` to read
        other text alike; "auto" if that is not known.

    Examples
    --------
    >>> from fasthoag.io import Model
    >>> model = Model("logistic", coef=[[1.0, -2.0]], intercept=[0.5], classes=[0, 1])
    >>> model.decision_function([[1.0, 0.0], [0.0, 1.0]])
    array([ 1.5, -1.5])
    >>> model.predict([[1.0, 0.0], [0.0, 1.0]])
    array([1, 0])
    """

    loss: str
    coef: np.ndarray
    intercept: np.ndarray
    classes: np.ndarray = ()
    theta: np.ndarray = ()
    lam: np.ndarray = ()
    value: float = np.nan
    value_error: float = np.nan
    status: str = ""
    message: str = ""
    zero_based: bool | str = "auto"

    def __post_init__(self):
        coef = np.atleast_2d(np.asarray(self.coef, dtype=np.float64))
        intercept = np.atleast_1d(np.asarray(self.intercept, dtype=np.float64))
        classes = np.asarray(self.classes)
        if classes.size == 0 and self.loss == "logistic" and len(coef) == 1:
            classes = np.array([-1.0, 1.0])
        if coef.ndim != 2 or intercept.shape != (len(coef),):
            raise ValueError(
                f"intercept must have shape ({len(coef)},) for this coef; found {intercept.shape}."
            )
        n_classes = 2 if len(coef) == 1 else len(coef)
        if classes.dtype == object or classes.ndim != 1 or classes.size not in (0, n_classes):
            raise ValueError(
                f"classes must be empty or {n_classes} numbers or strings; found {self.classes!r}."
            )
        converted = {"coef": coef, "intercept": intercept, "classes": classes}
        converted |= {
            name: np.atleast_1d(np.asarray(getattr(self, name), np.float64))
            for name in ("theta", "lam")
        }
        converted |= {name: float(getattr(self, name)) for name in ("value", "value_error")}
        converted |= {name: str(getattr(self, name)) for name in ("loss", "status", "message")}
        converted["zero_based"] = _counted_from(self.zero_based)
        for name, value in converted.items():
            object.__setattr__(self, name, value)

    def decision_function(self, X):
        """Predictions ``z = X w + intercept``, shape (n_rows,) with one output, else (n_rows,
        n_outputs)."""
        if not scipy.sparse.issparse(X):
            X = np.asarray(X, dtype=np.float64)
        n_features = self.coef.shape[1]
        if X.ndim != 2 or X.shape[1] != n_features:
            raise ValueError(
                f"X must have {n_features} columns; found shape {X.shape}. Load it with that "
                "n_features."
            )
        z = np.asarray(X @ self.coef.T) + self.intercept
        return z[:, 0] if len(self.coef) == 1 else z

    def predict(self, X):
        """Labels for a classifier, predictions for a regression."""
        z = self.decision_function(X)
        if self.classes.size == 0:
            return np.exp(z) if is_log_link(self.loss) else z
        return self.classes[(z > 0).astype(np.intp) if z.ndim == 1 else z.argmax(axis=1)]

    def predict_proba(self, X):
        """Probabilities of the two classes, shape (n_rows, 2); for loss "logistic" with one output
        only."""
        if self.loss != "logistic" or len(self.coef) != 1:
            raise ValueError(
                "probabilities need loss 'logistic' with one output; this model has loss "
                f"{self.loss!r}."
            )
        from scipy.special import expit  # overflows nowhere

        z = self.decision_function(X)
        return np.column_stack([expit(-z), expit(z)])


def save_model(path, model, *, overwrite=False):
    """Write a model file, which `load_model` reads: a NumPy ``.npz`` archive without pickles.

    The file appears under its name only when it is complete: after a full disk or a crash the old
    one is still there.

    Raises
    ------
    FileExistsError
        The file exists and `overwrite` is False.
    OSError
        Writing failed; names the path.

    Examples
    --------
    >>> import os, tempfile
    >>> from fasthoag.io import Model, load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "ridge.model")
    ...     model = Model("squared", coef=[[2.0, 0.0]], intercept=[1.0], status="CONVERGED")
    ...     save_model(path, model)
    ...     model = load_model(path)
    >>> model.predict([[3.0, 5.0]]), model.status
    (array([7.]), 'CONVERGED')
    """
    content = io.BytesIO()
    arrays = {field.name: getattr(model, field.name) for field in fields(Model)}
    np.savez(content, format=_MODEL_FORMAT, version=_MODEL_VERSION, **arrays)
    _write(path, content.getbuffer(), overwrite)


def load_model(path):
    """The `Model` in a file that `save_model` wrote (see there for an example).

    Raises
    ------
    FileNotFoundError
    ValueError
        Not a model file, truncated or corrupt, or of a newer version.
    """
    path = _existing(path, "a model file")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            if archive["format"] != _MODEL_FORMAT:
                raise ValueError("another format")
            # first of all: a newer version may hold what cannot be read here
            version = int(archive["version"])
            if version <= _MODEL_VERSION:
                content = {name: archive[name] for name in archive.files}
                del content["format"], content["version"]
                return Model(**{name: v if v.ndim else v.item() for name, v in content.items()})
    except Exception as error:
        _raise_unless_content(error)
        raise ValueError(
            f"{path}: not a model file of fasthoag, or truncated or corrupt ({error})."
        ) from error
    raise ValueError(
        f"{path}: model file of version {version}; this fasthoag reads 1 to {_MODEL_VERSION}. "
        "Update fasthoag."
    )


def save_liblinear(path, model, *, overwrite=False):
    """Write a model as LIBLINEAR's text format, which its ``predict`` reads.

    Loss "logistic" becomes L2R_LR and "squared_hinge" L2R_L2LOSS_SVC (several outputs: one against
    the rest), "squared_epsilon_insensitive" and "squared" become L2R_L2LOSS_SVR. The intercept is
    the weight of a last feature of value ``bias 1``. With two classes the positive one comes first,
    as LIBLINEAR's weights are those of its first label.

    Raises
    ------
    FileExistsError, OSError
        As `save_model`.
    ValueError
        LIBLINEAR has no such model: another loss, labels that are not whole numbers of 32 bits, a
        regression with many outputs, two outputs for two classes.

    Examples
    --------
    >>> import os, tempfile
    >>> from fasthoag.io import Model, save_liblinear
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "liblinear.model")
    ...     model = Model("logistic", coef=[[1.0, -2.0]], intercept=[0.5], classes=[-1, 1])
    ...     save_liblinear(path, model)
    ...     print(open(path).read().split("w\\n")[0].splitlines())
    ['solver_type L2R_LR', 'nr_class 2', 'label 1 -1', 'nr_feature 2', 'bias 1']
    """
    solver, is_regression = _liblinear_solver(model.loss)
    n_outputs, n_features = model.coef.shape
    head = [f"solver_type {solver}"]
    if is_regression:
        if n_outputs > 1 or model.classes.size:
            raise ValueError(
                "LIBLINEAR's regression has one output and no classes; this model is another kind."
            )
        head += ["nr_class 2"]
    else:
        if n_outputs == 2:
            raise ValueError(
                "LIBLINEAR's models of two classes have one output; this model has two."
            )
        labels = _liblinear_labels(model.classes)[:: -1 if n_outputs == 1 else 1]
        head += [f"nr_class {len(labels)}", f"label {' '.join(map(str, labels))}"]
    head += [f"nr_feature {n_features}", "bias 1", "w", ""]
    content = io.BytesIO()
    content.write("\n".join(head).encode("ascii"))
    np.savetxt(content, np.vstack([model.coef.T, model.intercept]), fmt="%.17g")
    _write(path, content.getbuffer(), overwrite)


_LIBLINEAR = {  # solver type, and whether it is a regression
    "logistic": ("L2R_LR", False),
    "squared_hinge": ("L2R_L2LOSS_SVC", False),
    "squared_epsilon_insensitive": ("L2R_L2LOSS_SVR", True),
    "squared": ("L2R_L2LOSS_SVR", True),
}


def _liblinear_solver(loss):
    if loss not in _LIBLINEAR:
        raise ValueError(
            f"LIBLINEAR has no loss {loss!r}; only {', '.join(map(repr, _LIBLINEAR))} can be "
            "written in its format. Write the format of fasthoag instead."
        )
    return _LIBLINEAR[loss]


def _liblinear_labels(classes):
    """The labels as integers."""
    if classes.size == 0:
        raise ValueError("LIBLINEAR's classifiers have labels; give the model its classes.")
    limits = np.iinfo(np.int32)
    if (
        classes.dtype.kind not in "fiu"
        or not (
            (classes == np.rint(classes)) & (classes >= limits.min) & (classes <= limits.max)
        ).all()
    ):
        raise ValueError(
            f"LIBLINEAR's labels are whole numbers of 32 bits; found {classes.tolist()}. Renumber "
            "them, or write the format of fasthoag instead."
        )
    return classes.astype(np.int32)


def _write(path, content, overwrite):
    """Put the bytes under `path` at once: a reader sees the old file or the new one, never a
    part."""
    path = os.fspath(path)
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(errno.EEXIST, "file exists; pass overwrite=True to replace it", path)
    target, temporary = _places(path)
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            what = f"cannot write: {error.strerror}; the old file, if any, is untouched"
            raise OSError(error.errno, what, path) from error
        raise


def _places(path):
    """The file to replace, where a link points to, as a link stays a link; and a temporary name."""
    target = os.path.realpath(path)
    # in the same folder: replacing across disks is no single step; short: the other may be long
    name = f".fasthoag-{secrets.token_hex(4)}.tmp"
    return target, os.path.join(os.path.dirname(target), name)


def _check_writable(path):
    """Raises OSError where `_write` would fail, as far as can be known without a replacement."""
    target, temporary = _places(path)
    folder = os.stat(os.path.dirname(target))
    open(temporary, "xb").close()
    os.unlink(temporary)
    try:
        owner = os.lstat(target).st_uid
    except FileNotFoundError:
        return
    if not folder.st_mode & stat.S_ISVTX or not hasattr(os, "geteuid"):
        return
    # in a folder such as /tmp only the owner replaces a file
    if os.geteuid() not in (0, owner, folder.st_uid):
        raise PermissionError(errno.EACCES, "the file is another user's", os.fspath(path))
