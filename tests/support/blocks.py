"""Rows in blocks: a stand-in for designs whose rows live in several places.

Its handles allow no arithmetic, so that whatever works on them beside `Rows` fails; sums over rows
are those of the blocks in order, so that a loop that knows of blocks nothing gives the same model.
"""

from dataclasses import dataclass

import numpy as np

from fasthoag.design.cpu import check_matrix
from fasthoag.design.reference import ReferenceDesign
from fasthoag.design.rows import Curvature, LossGrad, RowArrays, place


class Handle:
    """The arrays of all blocks. `get` is the one way out, as for arrays of a device."""

    __array_ufunc__ = None
    __cuda_array_interface__ = None

    def __init__(self, arrays):
        self.arrays = list(arrays)

    def get(self):
        return np.concatenate(self.arrays)


class BlockDesign:
    """The rows of X in three blocks, one of them of one row."""

    xp = np
    native_solvers = ()
    n_threads = 1

    def __init__(self, X, fit_intercept=False, like=None):
        X = check_matrix(X)
        n, self.has_intercept = X.shape[0], bool(fit_intercept)
        self.ends = [0, n // 3, n // 3 + 1, n] if n > 3 else [0, n]
        # its map is that of all blocks
        whole = like.blocks[0] if like else ReferenceDesign(X, fit_intercept=fit_intercept)
        self.blocks = [whole.like(X[a:b]) for a, b in zip(self.ends, self.ends[1:], strict=False)]
        first = self.blocks[0]
        self.shape, self.dtype, self.is_sparse = X.shape, X.dtype, first.is_sparse
        self.coefficients, self.n_coef, self.n_hot = first.coefficients, first.n_coef, first.n_hot
        self.n_stored = sum(one.n_stored for one in self.blocks)
        self.counts = sum(one.counts for one in self.blocks)
        self.zeros, self.encode, self.decode = first.zeros, first.encode, first.decode

    @property
    def n_passes(self):
        return self.blocks[0].n_passes

    def check_room(self, n_columns):
        """Blocks of coefficients live in the memory of this process, which grows as it is asked."""

    def with_threads(self, n_threads):
        return self

    def like(self, X):
        return BlockDesign(X, self.has_intercept, like=self)

    def place(self, y, weight=None, mask=None, offset=None):
        return BlockRows(self, RowArrays(y, weight, mask, offset))

    def split(self, array):
        """An array of all rows as a handle; a handle as it is."""
        if isinstance(array, Handle):
            return array
        return Handle(array[a:b] for a, b in zip(self.ends, self.ends[1:], strict=False))

    def parts_of(self, c):
        """The curvature of every block."""
        if c is None:
            return [None] * len(self.blocks)
        return [Curvature(a, c.n_classes) for a in self.split(c.values).arrays]

    def _sum(self, name, rows, *others):
        found = zip(self.blocks, rows, strict=True)
        return sum(getattr(block, name)(one, *others) for block, one in found)

    def hvp(self, c, V):
        return self._sum("hvp", self.parts_of(c), V)

    def hess_diag(self, c):
        return self._sum("hess_diag", self.parts_of(c))

    def gram(self, c):
        return self._sum("gram", self.parts_of(c))

    def rmatvec(self, H):
        return self._sum("rmatvec", self.split(H).arrays)

    def matvec(self, V):
        return Handle(block.matvec(V) for block in self.blocks)

    def contract(self, a, b, Q, U):
        parts = zip(self.blocks, self.parts_of(a), self.parts_of(b), strict=True)
        return sum(block.contract(one, other, Q, U) for block, one, other in parts)

    def dense(self):
        return np.concatenate([block.dense() for block in self.blocks])


@dataclass(frozen=True, eq=False)
class BlockRows:
    """`Rows` of a `BlockDesign`: those of its blocks, in order."""

    design: BlockDesign
    host: RowArrays

    y = property(lambda self: self.host.y)
    weight = property(lambda self: self.host.weight)
    mask = property(lambda self: self.host.mask)

    @property
    def n_folds(self):
        return 1 if self.mask is None else self.mask.shape[1]

    @property
    def parts(self):
        ends = self.design.ends
        bounds = zip(self.design.blocks, ends, ends[1:], strict=False)
        return [
            place(block, *(None if v is None else v[a:b] for v in self.host), first=a)
            for block, a, b in bounds
        ]

    def _each(self, name, *args, **options):
        """A method of every block's rows; handles among the arguments are those of the block."""
        handles = [self.design.split(a) if isinstance(a, Handle) else a for a in args]
        found = []
        for i, part in enumerate(self.parts):
            own = [a.arrays[i] if isinstance(a, Handle) else a for a in handles]
            found.append(getattr(part, name)(*own, **options))
        return found

    def loss_grad(self, loss, W, *options, **named):
        found = self._each("loss_grad", loss, W, *options, **named)
        value, other = (sum(getattr(one, name) for one in found) for name in ("value", "other"))
        grad = None if found[0].grad is None else sum(one.grad for one in found)
        return LossGrad(value, other, grad, Handle(one.Z for one in found))

    def terms(self, loss, order, part, Z):
        return Handle(self._each("terms", loss, order, part, self.design.split(Z)))

    def curvature(self, loss, Z, *options, **named):
        found = self._each("curvature", loss, self.design.split(Z), *options, **named)
        return Curvature(Handle(one.values for one in found), found[0].n_classes)

    def sums(self, loss, part, Z):
        return sum(self._each("sums", loss, part, self.design.split(Z)))

    def at_constant(self, b):
        return Handle(self._each("at_constant", b))

    def blend(self, Z, t, Z1):
        return Handle(self._each("blend", self.design.split(Z), t, self.design.split(Z1)))

    def mean(self, c, by_class=False):
        parts = zip(self.parts, self.design.parts_of(c), strict=True)
        return Curvature(Handle(part.mean(one, by_class).values for part, one in parts))

    def map(self, f, *handles):
        return Handle(self._each("map", f, *map(self.design.split, handles)))

    def reduce(self, f, *handles):
        return sum(self._each("reduce", f, *map(self.design.split, handles)))

    def to_host(self, handle):
        return handle.get()

    def from_host(self, array):
        return self.design.split(array)

    def fold(self, index):
        if self.mask is None:
            return self
        mask = self.mask[:, index : index + 1].copy()
        return BlockRows(self.design, self.host._replace(mask=mask))

    def with_weight(self, weight):
        return BlockRows(self.design, self.host._replace(weight=weight))

    def all_training(self):
        if self.mask is None:
            return self
        return BlockRows(self.design, self.host._replace(mask=None))
