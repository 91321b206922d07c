"""Rows in blocks: a list of arrays or of sparse matrices stands for all of their rows, which are
never copied into one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from fasthoag.design.rows import is_design, to_host


def is_in_blocks(X):
    """Whether X is a list of matrices. A list of lists of numbers is one matrix.

    Examples
    --------
    >>> is_in_blocks([np.eye(2), np.ones((1, 2))]), is_in_blocks([[1.0, 0.0], [0.0, 1.0]])
    (True, False)
    """
    return isinstance(X, (list, tuple)) and any(
        not isinstance(one, (list, tuple)) and np.ndim(one) == 2 for one in X
    )


def shape_of(X, name="X"):
    """(n_rows, n_features) of a matrix, a design or a list of blocks, or the shape of what is none
    of these.

    Raises
    ------
    ValueError
        For blocks without rows or of different numbers of columns.
    """
    if not is_in_blocks(X):
        try:
            return tuple(np.shape(X))
        except (TypeError, ValueError) as error:  # of lists of different lengths
            raise ValueError(f"{name} must be an array ({error})") from None
    shapes = [tuple(np.shape(one)) for one in X]
    check_block_shapes(shapes, name)
    lengths, (n_features, *_) = zip(*shapes, strict=True)
    return sum(lengths), n_features


def n_rows_of(X):
    """Rows of X, which must be a matrix, a design or a list of blocks."""
    shape = shape_of(X)
    if len(shape) != 2:
        raise ValueError(f"X must have 2 dimensions; got shape {shape}")
    n_rows, _ = shape
    return n_rows


def check_block_shapes(shapes, name="X"):
    """Raises ValueError unless these are the shapes of blocks with the same columns."""
    first = None
    for i, shape in enumerate(shapes):
        if len(shape) != 2:
            raise ValueError(f"{name}[{i}] must have 2 dimensions; got shape {shape}")
        n_rows, n_columns = shape
        if n_rows == 0:
            raise ValueError(f"{name}[{i}] has no rows; leave such blocks out")
        first = n_columns if first is None else first
        if n_columns != first:
            raise ValueError(
                f"{name}[{i}] has {n_columns} columns, {name}[0] has {first}; blocks must have "
                "the same ones"
            )


def check_kinds(is_sparse, dtypes, name="X"):
    """Raises ValueError unless all blocks are sparse or none, and have the same type of values."""
    words = [
        f"{'sparse' if sparse else 'dense'}, {dtype}"
        for sparse, dtype in zip(is_sparse, dtypes, strict=True)
    ]
    first, *_ = words
    for i, word in enumerate(words):
        if word != first:
            raise ValueError(
                f"{name}[{i}] is {word}, {name}[0] is {first}; blocks must be of one kind. "
                "Convert them with scipy.sparse.csr_matrix, toarray() or astype()"
            )


def joined(values, X, name, X_name="X"):
    """What is given for all rows: a list with an array for each block of X as one array, anything
    else as it is."""
    if not isinstance(values, (list, tuple)) or len(values) == 0 or np.ndim(values[0]) == 0:
        return values
    if is_design(X):
        lengths = X.lengths
    elif is_in_blocks(X):
        lengths = [len_of(one) for one in X]
    else:
        return values
    if len(values) != len(lengths):
        if all(np.size(one) == 1 for one in values):  # a column of numbers
            return values
        raise ValueError(
            f"{name} has {len(values)} parts but {X_name} has {len(lengths)} blocks; they must be "
            "equal, or one array for all rows"
        )
    for i, (one, n) in enumerate(zip(values, lengths, strict=True)):
        if len_of(one) != n:
            raise ValueError(
                f"{name}[{i}] has {np.size(one)} values but {X_name}[{i}] has {n} rows; they must "
                "be equal"
            )
    return np.concatenate([to_host(one) for one in values])


def len_of(one):
    """Rows of an array or matrix, of a number none."""
    return next(iter(np.shape(one)), 0)


def cut(array, lengths):
    """An array of all rows in the parts of blocks of these lengths."""
    return np.split(array, np.cumsum(lengths)[:-1])


@dataclass(frozen=True, eq=False)
class Each:
    """An argument that is another one for every block."""

    values: Any

    @staticmethod
    def pick(arg, i):
        """What block i gets of an argument."""
        return arg.values[i] if isinstance(arg, Each) else arg


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of rows, wherever they are: ``each(f, *args)`` is the list of ``f(X, *args)`` over
    them."""

    each: Any
    lengths: Any
    n_features: int
    dtype: Any

    @property
    def shape(self):
        return sum(self.lengths), self.n_features

    def pick(self, rows):
        """Numbers of rows among all, sorted, as those in each block."""
        ends = np.cumsum(self.lengths)
        parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
        return Each(
            [part - end + n for part, end, n in zip(parts, ends, self.lengths, strict=True)]
        )


def blocks_here(matrices):
    """The `Blocks` of matrices in this memory."""

    def each(f, *args):
        return [f(X, *(Each.pick(arg, i) for arg in args)) for i, X in enumerate(matrices)]

    (_, n_features), (first, *_) = shape_of(matrices), matrices
    return Blocks(each, [len_of(X) for X in matrices], n_features, first.dtype)


def nonzeros(X):
    """Entries that are not 0 (sparse: stored) of every column."""
    if sp.issparse(X):
        return np.bincount(X.indices, minlength=X.shape[1])
    step = max(1, (1 << 22) // X.shape[1])  # some rows at a time
    return sum(np.count_nonzero(X[i : i + step], axis=0) for i in range(0, X.shape[0], step))
