"""Data sets of one file or several that belong together, whatever their formats."""

from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike

from fasthoag.io.inputs import counted_from, existing_file, name_of, real_type, whole_number
from fasthoag.io.label_sets import LabelSets
from fasthoag.io.npz import read_npz
from fasthoag.io.source import is_archive
from fasthoag.io.svmlight import Rows, max_features_in_memory, read_text, with_features
from fasthoag.memory import NO_LIMIT, limit_of
from fasthoag.options import check_flag
from fasthoag.threads import check_n_threads, n_threads_of
from fasthoag.types import Array, Readable


@overload
def load_data(
    path: Readable,
    labels: Readable | None = None,
    *,
    n_features: int | None = None,
    dtype: DTypeLike = ...,
    zero_based: bool | str = "auto",
    n_threads: int | None = None,
    max_bytes: int | None = None,
    multilabel: bool = False,
) -> tuple[Any, Array]: ...
@overload
def load_data(
    path: list[Readable] | tuple[Readable, ...],
    labels: list[Readable | None] | tuple[Readable | None, ...] | None = None,
    *,
    n_features: int | None = None,
    dtype: DTypeLike = ...,
    zero_based: bool | str = "auto",
    n_threads: int | None = None,
    max_bytes: int | None = None,
    multilabel: bool = False,
) -> list[tuple[Any, Array]]: ...
def load_data(
    path: Any,
    labels: Any = None,
    *,
    n_features: int | None = None,
    dtype: DTypeLike = np.float64,
    zero_based: bool | str = "auto",
    n_threads: int | None = None,
    max_bytes: int | None = None,
    multilabel: bool = False,
) -> Any:
    """Matrix and labels of a data set: ``.npz`` with ``.npy``, or LIBSVM text; of several at once.

    Parameters
    ----------
    path : str, path or open binary file, or a list of them
        What begins as ``.npz`` files do is a matrix saved by `scipy.sparse.save_npz`, whatever its
        name, which cannot come through a pipe. Anything else is LIBSVM text, plain or compressed,
        see `load_svmlight`. A list is of files that belong together, such as training and test
        rows: all get the same number of columns, and `zero_based` is decided for all text among
        them.
    labels : str, path or open binary file, or a list of them, optional
        For ``.npz`` only: the ``.npy`` file of the labels, by default the same name with ``.npy``.
        A list, with None for text, where `path` is one.
    n_features, dtype, max_bytes
        As of `load_svmlight`; `max_bytes` is for all files together.
    zero_based, n_threads
        As of `load_svmlight`, for LIBSVM text only. "auto": features count from 0 if any of the
        files has an index 0.
    multilabel : bool
        As of `load_svmlight`, for LIBSVM text only. Labels in ``.npy`` may be a matrix.

    Returns
    -------
    X : csr_matrix, shape (n_rows, n_features)
    y : array of float64, shape (n_rows,), or of labels in ``.npy`` (n_rows, n_targets)
        With `multilabel` a list of tuples, as of `load_svmlight`. Of a list, a list of pairs
        ``(X, y)``.

    Raises
    ------
    FileNotFoundError
    ValueError
        A file is malformed or takes more than `max_bytes`, values are not finite, or the numbers of
        rows and labels differ.

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
    n_features = whole_number("n_features", n_features)
    found, _ = read_together(
        list(zip(paths, labels, strict=True)),
        dtype=dtype,
        zero_based=zero_based,
        n_threads=n_threads,
        max_bytes=max_bytes,
        n_features=n_features,
        has_several=check_flag(multilabel, "multilabel"),
    )
    if is_list and n_features is None:
        n_features = max(rows.X.shape[1] for rows in found) or None
    pairs = [
        (
            with_features(path, rows.X, n_features),
            rows.y.tuples() if isinstance(rows.y, LabelSets) else rows.y,
        )
        for path, rows in zip(paths, found, strict=True)
    ]
    return pairs if is_list else pairs[0]


def read_together(
    files,
    *,
    dtype=np.float64,
    zero_based="auto",
    n_threads=None,
    max_bytes=None,
    n_features=None,
    max_features=None,
    **of_text,
):
    """A list of `Rows`, one for every ``(path, labels)`` of `files`, and whether text counts
    features from 0. `of_text` are settings of `read_text`.

    Every X is as wide as its own file. "auto" as `zero_based` is decided for all text together: it
    counts from 0 if any text has an index 0. Where no file is text it stays "auto", and
    ``has_feature_0`` of a ``.npz`` file is None. Without `needs_labels`, y is None for a ``.npz``
    file whose labels are neither named nor beside it, and labels may be NaN.
    """
    dtype, zero_based = real_type(dtype), counted_from(zero_based)
    check_n_threads(n_threads)
    limit = limit_of(whole_number("max_bytes", max_bytes))
    if max_features is None:
        max_features = max_features_in_memory(1) if n_features is None else NO_LIMIT
    files = [(existing_file(path), labels) for path, labels in files]
    are_npz = [is_archive(path) for path, _ in files]
    if all(are_npz):
        given = [("n_threads", n_threads is not None), ("zero_based", zero_based != "auto")]
        given.append(("label_weight", of_text.get("has_weights", False)))
        given.append(("multilabel", of_text.get("has_several", False)))
        if unused := ", ".join(name for name, is_given in given if is_given):
            raise ValueError(
                f"{name_of(files[0][0])}: {unused}: for LIBSVM text only; drop it for .npz."
            )
    else:
        n_threads = n_threads_of(n_threads)
    for (path, labels), is_npz in zip(files, are_npz, strict=True):
        if labels is not None and not is_npz:
            raise ValueError(
                f"{name_of(path)}: LIBSVM text holds its own labels; drop labels="
                f"{name_of(labels)!r}."
            )
    found = []
    for (path, labels), is_npz in zip(files, are_npz, strict=True):
        if is_npz:
            needs_labels = of_text.get("needs_labels", True)
            X, y = read_npz(path, labels, dtype, limit, needs_labels, max_features)
            rows = Rows(X, y, None)
        else:
            how = dtype, zero_based, n_threads, limit, max_features
            rows = read_text(path, *how, **of_text)
        found.append(rows)
        y = (rows.y.values, rows.y.indptr) if isinstance(rows.y, LabelSets) else (rows.y,)
        X, given = rows.X, [one for one in (*y, *rows[3:]) if one is not None]
        limit = limit.after(X.data, X.indices, X.indptr, *given)
    has_feature_0 = [rows.has_feature_0 for rows in found if rows.has_feature_0 is not None]
    if zero_based == "auto" and has_feature_0:
        zero_based = any(has_feature_0)
        for X, _, has_one, *_ in found if zero_based else ():
            if has_one is False:  # It was read as if it counted from 1.
                # No index overflows: the file held numbers of 32 bits, and indices are one less.
                X.indices += 1
                X.resize((X.shape[0], X.shape[1] + 1))
    return found, zero_based
