"""The protocols `Design` and `Rows` over blocks that live at a `Place`, in this process or
elsewhere.

Sums over rows are those of the blocks, added by their number, so that the bits depend on the blocks
and not on where they live. A pass is one call of the place with all of its blocks; what needs no
answer waits for it.
"""

import copy
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fasthoag import _core
from fasthoag.design import MAX_HOT
from fasthoag.design.blocks import (
    Blocks,
    Each,
    check_block_shapes,
    check_kinds,
    cut,
    nonzeros,
)
from fasthoag.design.cpu import CpuDesign, Layout, check_options
from fasthoag.design.matrix import (
    LEAST,
    MOST,
    check_column_sizes,
    check_finite,
    column_sizes,
    in_format,
    sizes_of,
)
from fasthoag.design.offsets import common_offset_map
from fasthoag.design.places import SOURCE, Handle, HerePlace, Place, Ref, Store, same
from fasthoag.design.rows import (
    TRAIN,
    Curvature,
    LossGrad,
    PlacedRows,
    RowArrays,
    place,
)
from fasthoag.losses import find_loss
from fasthoag.threads import PerThread, n_threads_of
from fasthoag.types import Array, Block

# ---- what runs where the blocks live ----


class Facts(NamedTuple):
    """What is known of a block once it is loaded."""

    shape: tuple
    dtype: Any
    is_sparse: bool
    smallest: float
    largest: float


def load(source, name):
    """A block in a format that kernels read, and its `Facts`; loaded first where it is a loader."""
    X = in_format(source() if callable(source) else source, name)
    smallest, largest = sizes_of(X)
    if not largest < np.inf:
        check_finite(X.data if sp.issparse(X) else X, name)
    return X, Facts(X.shape, X.dtype, sp.issparse(X), smallest, largest)


def counts_after(X, first):
    """Entries of every column after a map, None where that is not sparse."""
    X = X if first is None else first.of_rows(X)
    return nonzeros(X) if sp.issparse(X) else None


def hold(X, layout, fit_intercept, options):
    """The design of a block, and what counts of it for all."""
    options = options | {"n_threads": n_threads_there(options.get("n_threads"))}
    design = CpuDesign(X, layout=layout, fit_intercept=fit_intercept, **options)
    return design, (design.n_stored, design.counts, design.is_sparse)


def n_threads_there(asked):
    """At most the cores where a block lives, which may be more or fewer than here."""
    return n_threads_of(asked, warns=False)


def with_threads(design, asked):
    return design.with_threads(n_threads_there(asked))


def loss_and_grad(rows, *args):
    found = rows.loss_grad(*args)
    return found.Z, (found.value, found.other, found.grad)


def mean_values(rows, c, by_class):
    return rows.mean(c, by_class).values


def placed(design, first, *arrays):
    design.check_unchanged()
    return place(design, *arrays, first=first)


# ---- the protocols over a place ----


def added(parts):
    """The sum of what all blocks sent, in their order."""
    return reduce(add, parts)


def added_blocks(parts, n_threads):
    """The same of blocks of coefficients, which are large and belong to whom they are sent to."""
    total = np.require(
        parts[0], requirements=["C", "W"]
    )  # what came from elsewhere is not writable
    for part in parts[1:]:
        _core.add_to(total, np.ascontiguousarray(part), n_threads)
    return total


class ShardedDesign:
    """X as a list of blocks of rows that need not be in this process; see `fasthoag.DaskDesign`.
    One coefficient map for all of them.

    Parameters
    ----------
    blocks : list of arrays or sparse matrices, or of functions that return them; or Place
        All sparse or all arrays, with values of one type. Functions are called where the block
        lives. A place is what has them already.
    fit_intercept : bool
    coefficients : CoefficientMap, optional
        As for `fasthoag.design.cpu.CpuDesign`.
    layout : Layout, optional
        That of another design, instead of one found here.
    **options
        ``n_threads``, ``low_memory`` and ``deterministic`` of the `CpuDesign` of every block.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> design = fasthoag.ShardedDesign([np.eye(2), np.ones((1, 2))], fit_intercept=False)
    >>> np.asarray(design.matvec(np.array([[3.0], [4.0]]))).ravel()
    array([3., 4., 7.])
    >>> fasthoag.Problem(design, [1, -1, 1]).n_rows
    3
    """

    xp = np
    native_solvers = ()
    has_float_products, contracts_in_blocks, can_sample = True, False, False
    where, is_given_on_device, compression = "cpu", False, None
    n_passes = PerThread()

    def __init__(
        self,
        blocks: Any,
        *,
        fit_intercept: bool = True,
        coefficients: Any = None,
        layout: Any = None,
        **options: Any,
    ) -> None:
        flags = (options.get(name, False) for name in ("low_memory", "deterministic"))
        check_options(fit_intercept, *flags)
        # of sums in this process; a place may have more cores
        if not (layout is None or isinstance(layout, Layout)):
            raise TypeError(f"layout must be the layout of another design, or None; got {layout!r}")
        self.n_threads = n_threads_of(options.get("n_threads"), warns=not isinstance(blocks, Place))
        if not isinstance(blocks, Place):
            if not isinstance(blocks, (list, tuple)) or len(blocks) == 0:
                raise ValueError(
                    "blocks must be a list with a matrix, or a function that returns one, for "
                    f"each block; got {type(blocks).__name__} of {np.size(blocks)}"
                )
            blocks = HerePlace(blocks)
        self.store, self.options = Store(blocks), options
        self.has_intercept = bool(fit_intercept)
        n, names = blocks.n_blocks, [f"X[{i}]" for i in range(blocks.n_blocks)]
        X, facts = self.store.keep_and_ask(load, Ref(SOURCE), Each(names))
        self.store.released.append(SOURCE)
        check_facts(facts)
        self._check_sizes(X, facts, 0.0 if layout else LEAST)
        self.lengths, (p, *_) = zip(*(one.shape for one in facts), strict=True)
        self.shape, (self.dtype, *_) = (sum(self.lengths), p), [one.dtype for one in facts]
        self.layout = layout or self._find_layout(X, coefficients)
        self._design, found = self.store.keep_and_ask(
            hold, X, self.layout, self.has_intercept, options
        )
        n_stored, counts, is_sparse = zip(*found, strict=True)
        self.n_stored, self.counts, self.is_sparse = sum(n_stored), added(counts), all(is_sparse)
        first = self.layout.first
        self.n_coef = self.shape[1] + self.has_intercept if first is None else first.n_design
        self.coefficients = self.layout.coefficients(self.n_coef, self.has_intercept)
        p = self.n_coef - self.has_intercept
        self.n_hot = 0 if options.get("low_memory") else min(p, MAX_HOT)
        self.first_rows = np.cumsum([0, *self.lengths])[:n].tolist()

    def _check_sizes(self, X, facts, least):
        is_large = max(one.largest for one in facts) > MOST
        if is_large or min(one.smallest for one in facts) < least:
            sizes = np.max(self.store.ask(column_sizes, X), axis=0)
            check_column_sizes(sizes, "X", least, MOST)

    def _find_layout(self, X, first):
        """The map and the order of all blocks."""
        if first is None and self.has_intercept:
            each = lambda f, *args: self.store.ask(f, X, *args)  # noqa: E731
            first = common_offset_map(Blocks(each, self.lengths, self.shape[1], self.dtype))
        if self.options.get("low_memory"):
            return Layout(first)
        counts = self.store.ask(counts_after, X, first)
        is_sparse = all(one is not None for one in counts)
        return Layout(first, _core.frequency_order(added(counts)) if is_sparse else None)

    def check_unchanged(self) -> None:
        self.store.ask(CpuDesign.check_unchanged, self._design)

    def check_room(self, n_columns: int) -> None:
        """Blocks of coefficients live in the memory of this process, which grows as it is asked."""

    def with_threads(self, n_threads: int | None) -> "ShardedDesign":
        other = copy.copy(self)
        other.n_threads = n_threads_of(n_threads, warns=False)
        other._design = self.store.keep(with_threads, self._design, n_threads)
        return other

    def like(self, X: Any) -> "ShardedDesign":
        """A design of a list of blocks where the blocks of this one live, or of one matrix in this
        process."""
        is_list = isinstance(X, (list, tuple))
        where = self.store.place.beside(X) if is_list else HerePlace([X])
        return ShardedDesign(
            where, fit_intercept=self.has_intercept, layout=self.layout, **self.options
        )

    def zeros(self, m: int) -> Block:
        return np.zeros((self.n_coef, m))

    def encode(self, w: Any) -> Block:
        return np.ascontiguousarray(self.coefficients.solve(np.asarray(w, np.float64)))

    def decode(self, u: Block) -> Array:
        return np.array(self.coefficients.apply(u))

    def place(
        self, y: Any, weight: Any = None, mask: Any = None, offset: Any = None
    ) -> "ShardedRows":
        host = RowArrays(y, weight, mask, offset)
        parts = (self.parts(array) for array in host)
        there = self.store.keep(placed, self._design, Each(self.first_rows), *parts)
        return ShardedRows(self, host, there)

    def parts(self, array: Any) -> Any:
        """An array of all rows as it goes to the blocks; a handle and None as they are."""
        if isinstance(array, Curvature):
            return replace(array, values=self.parts(array.values))
        return (
            array if array is None or isinstance(array, Handle) else Each(cut(array, self.lengths))
        )

    # ---- passes ----

    def _sum(self, f, *args):
        self.n_passes += 1
        found = self.store.ask(f, self._design, *map(contiguous, args))
        return added_blocks(found, self.n_threads)

    def hvp(self, c: Curvature, V: Block) -> Block:
        return self._sum(CpuDesign.hvp, self.parts(c), V)

    def hess_diag(self, c: Curvature) -> Block:
        return self._sum(CpuDesign.hess_diag, self.parts(c))

    def gram(self, c: Curvature) -> Block:
        return self._sum(CpuDesign.gram, self.parts(c))

    def rmatvec(self, H: Any) -> Block:
        return self._sum(CpuDesign.rmatvec, self.parts(H))

    def matvec(self, V: Block) -> Any:
        self.n_passes += 1
        return self.store.keep(CpuDesign.matvec, self._design, contiguous(V))

    def contract(
        self, a: Curvature | None, b: Curvature | None, Q: Block | None, U: Block
    ) -> Array:
        return self._sum(CpuDesign.contract, self.parts(a), self.parts(b), Q, U)

    def dense(self) -> Array:
        return np.concatenate(self.store.ask(CpuDesign.dense, self._design))


def contiguous(arg):
    """A block of coefficients as the kernels take it, so that it is copied once, not once for each
    block of rows."""
    if not isinstance(arg, np.ndarray):
        return arg
    return np.ascontiguousarray(arg, np.float32 if arg.dtype == np.float32 else np.float64)


def check_facts(facts):
    """Raises ValueError unless blocks have the same columns and are of one kind."""
    check_block_shapes([one.shape for one in facts])
    check_kinds([one.is_sparse for one in facts], [one.dtype for one in facts])


@dataclass(frozen=True, eq=False)
class ShardedRows:
    """`Rows` of a `ShardedDesign`: `there` is the handle of those of the blocks, `host` has the
    arrays of all rows in this process."""

    design: ShardedDesign
    host: RowArrays
    there: Handle

    y = property(lambda self: self.host.y)
    weight = property(lambda self: self.host.weight)
    mask = property(lambda self: self.host.mask)
    offset = property(lambda self: self.host.offset)

    @property
    def n_folds(self):
        return 1 if self.mask is None else self.mask.shape[1]

    def _keep(self, f, *args):
        return self.design.store.keep(f, self.there, *args)

    def _sum(self, f, *args):
        return added(self.design.store.ask(f, self.there, *args))

    def loss_grad(self, loss, W, part=TRAIN, has_grad=True):
        self.design.n_passes += 1
        args = loss, contiguous(W), part, has_grad
        Z, found = self.design.store.keep_and_ask(loss_and_grad, self.there, *args)
        value, other, grad = zip(*found, strict=True)
        grad = added_blocks(grad, self.design.n_threads) if has_grad else None
        return LossGrad(added(value), added(other), grad, Z)

    def predictions(self, W):
        self.design.n_passes += 1
        return self._keep(PlacedRows.predictions, contiguous(W))

    def terms(self, loss, order, part, Z):
        return self._keep(PlacedRows.terms, loss, order, part, self.design.parts(Z))

    def curvature(self, loss, Z, part=TRAIN, order=2):
        loss = find_loss(loss)
        return Curvature(self.terms(loss, order, part, Z), loss.n_classes)

    curvature_at = curvature

    def sums(self, loss, part, Z):
        return self._sum(PlacedRows.sums, loss, part, self.design.parts(Z))

    def at_constant(self, b):
        return self._keep(PlacedRows.at_constant, b)

    def blend(self, Z, t, Z1):
        if np.isin(t, (0, 1)).all() and np.ptp(t) == 0:  # all of one
            return Z1 if t[0] else Z
        return self._keep(PlacedRows.blend, self.design.parts(Z), t, self.design.parts(Z1))

    def mean(self, c, by_class=False):
        return Curvature(self._keep(mean_values, self.design.parts(c), by_class))

    def map(self, f, *handles):
        return self._keep(PlacedRows.map, f, *map(self.design.parts, handles))

    def reduce(self, f, *handles):
        return self._sum(PlacedRows.reduce, f, *map(self.design.parts, handles))

    def to_host(self, handle):
        return np.asarray(handle)

    def from_host(self, array):
        return (
            array
            if isinstance(array, Handle)
            else self.design.store.keep(same, self.design.parts(array))
        )

    def fold(self, index):
        if self.mask is None:
            return self
        mask = np.ascontiguousarray(self.mask[:, index : index + 1])
        there = self._keep(PlacedRows.fold, index)
        return replace(self, host=self.host._replace(mask=mask), there=there)

    def with_weight(self, weight):
        there = self._keep(PlacedRows.with_weight, self.design.parts(weight))
        return replace(self, host=self.host._replace(weight=weight), there=there)

    def all_training(self):
        if self.mask is None:
            return self
        there = self._keep(PlacedRows.all_training)
        return replace(self, host=self.host._replace(mask=None), there=there)
