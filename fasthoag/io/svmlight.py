"""LIBSVM (svmlight) text, plain or compressed."""

import importlib
import mmap
import os
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike

from fasthoag import _core
from fasthoag.io.inputs import (
    counted_from,
    existing_file,
    raise_unless_content,
    real_type,
    whole_number,
)
from fasthoag.threads import n_threads_of
from fasthoag.types import Array, Path

NO_LIMIT = 2**62
COMPRESSED = {".bz2": "bz2", ".gz": "gzip", ".xz": "lzma"}


def load_svmlight(
    path: Path,
    *,
    n_features: int | None = None,
    dtype: DTypeLike = np.float64,
    zero_based: bool | str = "auto",
    n_threads: int | None = None,
) -> tuple[Any, Array]:
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
    n_features = whole_number("n_features", n_features)
    n_threads = n_threads_of(n_threads)
    X, y, _ = read_text(path, real_type(dtype), counted_from(zero_based), n_threads, n_features)
    return with_features(path, X, n_features), y


def read_text(path, dtype, zero_based, n_threads, n_features=None, max_features=None):
    """X with as many columns as the text shows, y, and whether the text has an index 0."""
    if max_features is None:
        max_features = max_features_in_memory(1) if n_features is None else NO_LIMIT
    base = -1 if isinstance(zero_based, str) else int(zero_based)
    path = existing_file(path)
    with open(path, "rb") as file:
        text = _text(path, file)
        try:
            y, indptr, indices, values, n_seen, has_feature_0 = _core.parse_svmlight(
                text, base, dtype == np.float32, n_threads, max_features
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        finally:
            if isinstance(text, mmap.mmap):
                text.close()
    X = scipy.sparse.csr_matrix((values, indices, indptr), shape=(len(y), n_seen), copy=False)
    X.has_canonical_format = True  # SciPy need not look whether indices are sorted and distinct.
    return X, y, has_feature_0


def max_features_in_memory(n_vectors):
    """The largest number of features for which so many vectors of doubles fit into memory."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return NO_LIMIT  # On Windows the first allocation will tell.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (8 * n_vectors)


def with_features(path, X, n_features):
    """X with `n_features` columns, by default as many as the file shows."""
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
    library = COMPRESSED.get(os.path.splitext(path)[1].lower())
    if library is None:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError):  # An empty file and a pipe cannot be mapped.
            return file.read()
    try:
        with importlib.import_module(library).open(file) as stream:
            return stream.read()
    except Exception as error:
        raise_unless_content(error)
        raise ValueError(
            f"{path}: truncated or corrupt {library} data ({error}); fetch it again."
        ) from error
