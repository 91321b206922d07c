"""Matrices in ``.npz`` files, whose labels are in an ``.npy`` file."""

import os

import numpy as np
import scipy.sparse

from fasthoag.io.inputs import existing_file, raise_unless_content


def is_npz(path):
    """Whether the name of the file says that it is a ``.npz``."""
    return os.path.splitext(os.fspath(path))[1].lower() == ".npz"


def read_npz(path, labels, dtype, needs_labels, max_features):
    """X and y. Without `needs_labels`, y is None where labels are neither named nor beside the
    file."""
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
    y = _npy_labels(path, existing_file(labels, "the labels of " + path))
    if len(y) != X.shape[0]:
        raise ValueError(
            f"{path} has {X.shape[0]} rows, but its labels file has {len(y)}; give the matching "
            "labels=."
        )
    return X, y


def _labels_path(path):
    """Where the labels of this ``.npz`` file are by default."""
    return os.path.splitext(path)[0] + ".npy"


def _npz_matrix(path, dtype):
    """The matrix as CSR, with indices that are sound and values that are finite."""
    try:
        X = scipy.sparse.load_npz(path)
        if X.format in ("csr", "csc", "bsr"):
            X.check_format(full_check=True)  # Conversions and kernels trust the indices.
    except Exception as error:
        raise_unless_content(error)
        raise ValueError(
            f"{path}: not a sparse matrix that scipy.sparse.save_npz wrote ({error})."
        ) from error
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise ValueError(
            f"{path}: need a real matrix with two dimensions; found shape {X.shape}, dtype "
            f"{X.dtype}."
        )
    with np.errstate(over="ignore"):  # Infinite values are reported below.
        X = scipy.sparse.csr_matrix(X, dtype=dtype)
    X.sum_duplicates()
    if not np.isfinite(X.data).all():
        raise ValueError(f"{path}: some values are not finite in {dtype}; remove or replace them.")
    if 0 in X.shape:
        raise ValueError(f"{path}: the matrix is empty, shape {X.shape}.")
    return X


def _npy_labels(path, labels):
    """The labels as doubles; `path` is the file whose rows they are of."""
    try:
        y = np.load(labels, allow_pickle=False)
    except Exception as error:
        raise_unless_content(error)
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
