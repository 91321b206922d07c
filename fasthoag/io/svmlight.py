"""LIBSVM (svmlight) text, plain or compressed."""

from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike

from fasthoag import _core
from fasthoag.io.inputs import counted_from, existing_file, name_of, real_type, whole_number
from fasthoag.io.label_sets import LabelSets
from fasthoag.io.source import fill, opened_text
from fasthoag.memory import NO_LIMIT, limit_of, memory_of_process
from fasthoag.options import check_flag
from fasthoag.threads import n_threads_of
from fasthoag.types import Array, Readable

BLOCK = 1 << 21  # bytes of text that are parsed at once
LINE_END = ord("\n")
PADDING = _core.SVMLIGHT_PADDING + 1  # and a line end
# How far damage of a compressed file is looked for behind text that is no LIBSVM text.
FURTHER = 1 << 28


class Rows(NamedTuple):
    """What a file holds of rows. Without labels y is None, and a `LabelSets` of rows that may have
    several; `has_feature_0` is None of a file that
    numbers no features; `weight` and `query` are None where there are none, or nobody asked."""

    X: Any
    y: Any
    has_feature_0: bool | None
    weight: Any = None
    query: Any = None


@overload
def load_svmlight(
    path: Readable,
    *,
    n_features: int | None = None,
    dtype: DTypeLike = ...,
    zero_based: bool | str = "auto",
    n_threads: int | None = None,
    max_bytes: int | None = None,
    label_weight: Literal[False] = False,
    query_id: Literal[False] = False,
    multilabel: Literal[False] = False,
) -> tuple[Any, Array]: ...
@overload
def load_svmlight(
    path: Readable,
    *,
    n_features: int | None = None,
    dtype: DTypeLike = ...,
    zero_based: bool | str = "auto",
    n_threads: int | None = None,
    max_bytes: int | None = None,
    label_weight: bool = False,
    query_id: bool = False,
    multilabel: bool = False,
) -> tuple[Any, ...]: ...
def load_svmlight(
    path: Readable,
    *,
    n_features: int | None = None,
    dtype: DTypeLike = np.float64,
    zero_based: bool | str = "auto",
    n_threads: int | None = None,
    max_bytes: int | None = None,
    label_weight: bool = False,
    query_id: bool = False,
    multilabel: bool = False,
) -> tuple[Any, ...]:
    """Matrix and labels of a file in LIBSVM (svmlight) format.

    One row a line: ``label [qid:n] index:value index:value ... [# comment]``, with `label_weight`
    ``label:weight`` in the place of a label, with `multilabel` ``label,label,...`` or nothing.
    Indices may come in any order, but not twice in a row. Explicit zeros are not stored. Every
    number is rounded correctly to `dtype`.

    Parameters
    ----------
    path : str, path or open binary file
        What begins as bz2, gz, xz or zst data do is unpacked, whatever its name; zst needs Python
        3.14 or the package backports.zstd. It may be a pipe. An open file, such as
        ``sys.stdin.buffer``, is read from where it stands and stays open. The text is never in
        memory as a whole.
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
        All processors by default, and never more. The result does not depend on it.
    max_bytes : int, optional
        How much memory `X`, `y` and the longest line may take, beside some 100 MB for work. Half of
        the memory that this process may use by default. A small compressed file can hold very many
        rows.

    label_weight : bool
        Whether a label may have the weight of its row behind it, as XGBoost writes it; 1 where it
        has none. Then the weights are returned too.
    query_id : bool
        Return the numbers of the queries, ``qid:n``, too, which every row must have: the `groups`
        of `fasthoag.KFold`.
    multilabel : bool
        Whether a row may have several labels, or none.

    Returns
    -------
    X : csr_matrix, shape (n_rows, n_features)
        Sorted indices, no duplicates. Indices are int32 where they fit, else int64.
    y : array, shape (n_rows,)
        With `multilabel` a list of tuples as scikit-learn's ``load_svmlight_file`` returns it:
        ``MultiLabelBinarizer().fit_transform(y)`` is the matrix that classifiers take.
    sample_weight : array, shape (n_rows,), with `label_weight`
    query_id : array of int64, shape (n_rows,), with `query_id`

    Raises
    ------
    FileNotFoundError
    ValueError
        With the path, the line and what is wrong in it: a number that is malformed or not finite,
        an index that is negative, too large or appears twice, rows that take more than `max_bytes`;
        `n_features` too small, no rows, a truncated or corrupt compressed file.

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
    limit = limit_of(whole_number("max_bytes", max_bytes))
    max_features = max_features_in_memory(1) if n_features is None else NO_LIMIT
    dtype, zero_based, path = real_type(dtype), counted_from(zero_based), existing_file(path)
    asked = {
        "has_weights": check_flag(label_weight, "label_weight"),
        "reads_queries": check_flag(query_id, "query_id"),
        "has_several": check_flag(multilabel, "multilabel"),
    }
    if multilabel and label_weight:
        raise ValueError(f"{name_of(path)}: multilabel=True excludes label_weight=True.")
    found = read_text(path, dtype, zero_based, n_threads, limit, max_features, **asked)
    if query_id and found.query is None:
        raise ValueError(f"{name_of(path)}: the first row has no qid:n; use query_id=False.")
    if query_id:
        check_queries(path, found.query)
    more = found.weight, found.query
    return (
        with_features(path, found.X, n_features),
        found.y.tuples() if multilabel else found.y,
        *(one for one in more if one is not None),
    )


def read_text(
    path,
    dtype,
    zero_based,
    n_threads,
    limit,
    max_features,
    needs_labels=True,
    has_weights=False,
    reads_queries=False,
    has_several=False,
):
    """The `Rows` of text, with as many columns as it shows. Without `needs_labels` those that are
    not finite, or ``?``, are NaN. With `has_weights` labels may have weights behind them, and with
    `reads_queries` the numbers of queries are kept where the first row has one. With `has_several`
    y is a `LabelSets`."""
    base = -1 if isinstance(zero_based, str) else int(zero_based)
    how = base, dtype == np.float32, max_features, limit.left, needs_labels
    parser = _core.SvmlightParser(*how, has_weights, reads_queries, has_several)
    try:
        with opened_text(path) as (stream, is_packed):
            _parse(stream, is_packed, parser, n_threads, limit)
        y, indptr, indices, values, n_seen, has_feature_0, *more, labelptr = parser.result()
    except ValueError as error:
        raise ValueError(f"{name_of(path)}: {error}") from None
    X = scipy.sparse.csr_matrix(
        (values, indices, indptr), shape=(len(indptr) - 1, n_seen), copy=False
    )
    X.has_canonical_format = True  # SciPy need not look whether indices are sorted and distinct.
    return Rows(X, LabelSets(y, labelptr) if has_several else y, has_feature_0, *more)


def check_queries(path, query):
    """Raises ValueError where a row has no number of a query, which is -1."""
    n_without = int((query < 0).sum())
    if n_without:
        raise ValueError(
            f"{name_of(path)}: the first row has a qid:n, and {n_without} of {len(query)} rows "
            "have none; give every row one, or read them without."
        )


def _parse(stream, is_packed, parser, n_threads, limit):
    """Gives the text to the parser in blocks of whole lines."""

    def parse(size, is_kept=True):
        try:
            beyond = parser.read(buffer, size, n_threads, is_kept)
        except ValueError:
            if is_packed:
                _find_damage(stream)
            raise
        if beyond:
            raise limit.error(f"line {beyond}: the rows up to here")

    buffer, n, is_end = bytearray(BLOCK + PADDING), 0, False
    while not is_end:
        begin, room = n, len(buffer) - PADDING
        with memoryview(buffer) as view, view[begin:room] as free:
            n += fill(stream, free)
        if is_end := n < room:
            n += _close_line(buffer, n)
        size = n if is_end else buffer.rfind(b"\n", begin, n) + 1
        if size:
            parse(size)
            buffer, n = _rest(buffer, size, n), n - size
        elif not is_end:
            if parser.n_bytes + n > limit.left:
                raise limit.error(
                    f"line {parser.n_lines + 1}, which does not end, and the rows before it"
                )
            if room == BLOCK:  # What is wrong at its begin already is not gathered to its end.
                with _cut_at_blank(buffer, n) as size:
                    parse(size, is_kept=False)
            buffer.extend(bytes(BLOCK))


def _close_line(buffer, n):
    """Ends the last line of the text where its file does not; returns by how many bytes."""
    if n == 0 or buffer[n - 1] == LINE_END:
        return 0
    buffer[n] = LINE_END  # The padding has room for it.
    return 1


def _rest(buffer, size, n):
    """A buffer of the usual length with what is behind `size` bytes of `n`."""
    rest = buffer[size:n]
    if len(buffer) > BLOCK + PADDING:  # for a line that was longer than a block
        buffer = bytearray(BLOCK + PADDING)
    buffer[: len(rest)] = rest
    return buffer


@contextmanager
def _cut_at_blank(buffer, n):
    """Makes a line of the first tokens, as many as are whole; yields how many bytes it has."""
    last = max(buffer.rfind(b" ", 0, n), buffer.rfind(b"\t", 0, n))
    end = n if last < 0 else last
    kept, buffer[end] = buffer[end], LINE_END
    yield end + 1
    buffer[end] = kept


def _find_damage(stream):
    """Raises ValueError if a compressed stream turns out to be damaged a little further: where its
    text makes no sense, this may be why."""
    with memoryview(bytearray(BLOCK)) as view:
        for _ in range(FURTHER // BLOCK):
            if fill(stream, view) < BLOCK:
                return


def max_features_in_memory(n_vectors):
    """The largest number of features for which so many vectors of doubles fit into memory."""
    return memory_of_process() // (8 * n_vectors)


def with_features(path, X, n_features):
    """X with `n_features` columns, by default as many as the file shows."""
    name, n_seen = name_of(path), X.shape[1]
    if n_features is None and n_seen == 0:
        raise ValueError(f"{name}: no row has any feature; give n_features if that is meant.")
    if n_features is not None and n_features < n_seen:
        raise ValueError(
            f"{name} has {n_seen} features, more than n_features={n_features}. Give a larger "
            "n_features, or none."
        )
    if n_features is not None:
        X.resize((X.shape[0], n_features))
    return X
