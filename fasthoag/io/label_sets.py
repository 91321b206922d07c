"""Rows that may have several labels, or none."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from fasthoag.types import Array


@dataclass(frozen=True, eq=False)
class LabelSets:
    """The labels of every row: those of row i are ``values[indptr[i]:indptr[i + 1]]``, sorted, each
    of them once. One that is NaN says that they are not known."""

    values: Array
    indptr: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def tuples(self) -> list[tuple[float, ...]]:
        """A tuple for every row, as scikit-learn's ``load_svmlight_file`` has them."""
        values, ends = self.values.tolist(), self.indptr.tolist()
        return [tuple(values[begin:end]) for begin, end in pairwise(ends)]

    def classes(self) -> Array:
        """All labels that there are, sorted."""
        return np.unique(self.values[np.isfinite(self.values)])

    def is_known(self) -> NDArray[np.bool_]:
        """Whether a row says which labels it has, (n_rows,)."""
        unknown = np.zeros(len(self), bool)
        unknown[self.rows()[np.isnan(self.values)]] = True
        return ~unknown

    def rows(self) -> NDArray[np.int64]:
        """The number of the row of every value."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    def first_other(self, classes: Array) -> Any:
        """The first label that is none of these, which are sorted, or None."""
        is_other = np.isfinite(self.values) & ~np.isin(self.values, classes)
        return self.values[is_other.argmax()] if is_other.any() else None

    def indicator(self, classes: Array) -> Any:
        """Whether row i has label j of `classes`, which are sorted and have all labels: a sparse
        matrix of bool by columns, (n_rows, n_classes)."""
        is_known = np.isfinite(self.values)
        columns = np.searchsorted(classes, self.values[is_known])
        ones, shape = np.ones(len(columns), bool), (len(self), len(classes))
        return scipy.sparse.csc_array((ones, (self.rows()[is_known], columns)), shape=shape)
