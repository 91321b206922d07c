"""Which columns of a block belong together: the one place that knows of several classes."""

from dataclasses import dataclass

import numpy as np

from fasthoag.design.rows import is_on_device, to_host


def column_dots(A, B):
    """Column sums of A * B as NumPy."""
    if isinstance(A, np.ndarray):
        return np.einsum("ij,ij->j", A, B)
    if is_on_device(A):
        product = A * B
        k = len(A) // 512 * 512 if len(A) > 1 << 16 else 0
        if k:  # in two stages: a sum of few columns by itself would keep few threads busy
            head = product[:k].reshape(512, k // 512, product.shape[1]).sum(axis=1).sum(axis=0)
            return to_host(head + product[k:].sum(axis=0))
        return to_host(product.sum(axis=0))
    return np.asarray(A.__array_namespace__().sum(A * B, axis=0))


@dataclass(frozen=True)
class Units:
    """Blocks (n, m) whose columns come in units of `n_classes` side by side, each one vector.

    Unit u is of fold u modulo `n_folds`: several right-hand sides of all folds follow each other.
    Numbers of units are NumPy arrays, (n_units,) or, where columns need one each, (m,).

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.units import Units
    >>> Units(n_folds=2, n_classes=2).dots(np.eye(4), np.eye(4))
    array([2., 2.])
    """

    n_folds: int = 1
    n_classes: int = 1

    @property
    def n_columns(self):
        """Columns of a block with one unit a fold."""
        return self.n_folds * self.n_classes

    def dots(self, A, B):
        """Inner products of units, (n_units,)."""
        return self.sums(column_dots(A, B))

    def norms(self, A):
        """2-norms of units, (n_units,)."""
        return np.sqrt(self.dots(A, A))

    def sums(self, values):
        """Numbers of columns (m,) added up to those of units."""
        return np.asarray(values).reshape(-1, self.n_classes).sum(axis=1)

    def repeat(self, values):
        """Numbers of units for each of their columns, (m,)."""
        return np.repeat(values, self.n_classes)

    def united(self, values):
        """Numbers of columns (m,), each replaced by the sum over its unit."""
        return values if self.n_classes == 1 else self.repeat(self.sums(values))

    def of_units(self, values):
        """Numbers that all columns of a unit share, (m,), one a unit."""
        return values[:: self.n_classes]

    def columns(self, unit):
        """The columns of a unit, a slice."""
        return slice(unit * self.n_classes, (unit + 1) * self.n_classes)

    def in_turn(self, columns, block):
        """Where columns of these numbers, whole units in ascending order, stand in the shortest
        block whose units are of the folds in turn, and that block (n, m): it has the columns of
        `block` there and 0 elsewhere."""
        K = self.n_classes
        fold = np.asarray(columns)[::K] // K % self.n_folds
        rank = np.array([np.count_nonzero(fold[:i] == f) for i, f in enumerate(fold)])
        place = ((rank * self.n_folds + fold)[:, None] * K + np.arange(K)).ravel()
        n = (rank.max() + 1) * self.n_columns
        if np.array_equal(place, np.arange(n)):
            return place, block
        longer = np.zeros((len(block), n), block.dtype)
        longer[:, place] = block
        return place, longer

    def split(self, block):
        """The blocks (n, n_classes) of its units."""
        return [block[:, self.columns(u)] for u in range(block.shape[1] // self.n_classes)]

    def tile(self, xp, block):
        """A block of one column, or one a class, as often as there are folds; one stays one, and a
        block with a column for each class of each fold stays as it is."""
        k = block.shape[1]
        return block if k in (1, self.n_columns) else xp.concat([block] * self.n_folds, axis=1)

    def fold_mean(self, block):
        """The mean over folds of a block with one unit a fold, (n, n_classes)."""
        units = self.split(block)
        return sum(units) / len(units)

    def squeeze(self, w):
        """Coefficients (n, 1) as (n,); those of several classes stay a column each."""
        return w[:, 0] if self.n_classes == 1 else w

    def apart(self, w):
        """Coefficients (n, n_folds) as they are, those of classes as (n, n_folds, n_classes)."""
        return w if self.n_classes == 1 else w.reshape(len(w), -1, self.n_classes)

    def by_class(self, block):
        """The sum over folds of a host block, (n, n_classes)."""
        return block.reshape(len(block), -1, self.n_classes).sum(axis=1)
