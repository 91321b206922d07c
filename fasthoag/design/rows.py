"""The seam between mathematics and memory: protocols of `Design` and `Rows`, and their records.

A `Design` is X with its coefficient map w = E u (see `coefficients`), wherever X lives: CPU, GPU,
later files and clusters. ``design.place(y, weight, mask, offset)`` gives `Rows`: everything of
length n_rows, put where X is, once. Two spaces meet here:

- Coefficients. Blocks have shape ``(n_coef, m)``, one row a coefficient u of the design and, with
  an intercept, that one last; one column a fold (or a strength, or a right-hand side).
- Rows. Predictions, derivatives and curvatures ``(n_rows, m)`` are handles that only `Rows` and
  `Design` read: nobody else does arithmetic on them, so that their blocks may live anywhere. What
  others want of them is a function handed to `Rows.map` or `Rows.reduce`.

Invariant: predictions, what is called Z, have the offset of their rows in them, whoever makes them
(`Rows.loss_grad`, `Rows.predictions`, `Rows.at_constant`). Products with X (`Design.matvec`) have
not: a direction has no offset.

With the multinomial loss of K classes every column becomes a unit of K columns side by side, and
unit u is of fold u modulo n_folds: see `fasthoag.units`.

A pass visits every row once, whatever the number of columns: one loss and gradient, one Hessian
product or one plain product is one pass.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from fasthoag.losses import Loss, find_loss
from fasthoag.threads import computed_once
from fasthoag.types import Array, ArrayLike, Block, Handle

# Parts of the rows: bits of the mask. Every row with weight 1 is no part.
TRAIN, HELD_OUT, UNWEIGHTED = 1, 2, 0


def is_on_device(array: Any) -> bool:
    """Whether an array or a sparse matrix (its values) is in the memory of a GPU."""
    if isinstance(array, np.ndarray):  # One of dates has no `data`.
        return False
    return any(
        hasattr(type(a), "__cuda_array_interface__") and hasattr(a, "get")
        for a in (array, getattr(array, "data", None))
    )


def to_host(array: Any) -> Any:
    """`array` as NumPy, wherever it lives."""
    return np.asarray(array.get() if is_on_device(array) else array)


@dataclass(frozen=True)
class LossGrad:
    """A pass: sums of s ℓ over the rows of a part and of the other part, (m,), with the value of a
    unit in its first column; the gradients of the part (n_coef, m), or None; predictions Z, a
    handle."""

    value: np.ndarray
    other: np.ndarray
    grad: Any
    Z: Any


@dataclass(frozen=True)
class Curvature:
    """Second (or third) derivatives s ℓ'' of every row and fold, a handle (n_rows, n_folds); of the
    multinomial loss s p, (n_rows, n_folds n_classes), from which all that is needed follows."""

    values: Any
    n_classes: int = 1


@dataclass(frozen=True, eq=False)
class CurvatureAt:
    """What a `Curvature` is made of, for designs that make it a block of rows at a time."""

    rows: Any
    loss: Any
    order: int
    part: int
    Z: Any  # predictions

    @property
    def n_classes(self):
        return self.loss.n_classes


@dataclass(frozen=True, eq=False)
class RowBlock:
    """What a function under `Rows.map` sees of the rows whose handles it gets: arrays of `xp`."""

    xp: Any
    y: Any  # (n, 1)
    weight: Any  # (n, 1), or None for 1
    mask: Any  # (n, n_folds), or None for "every row trains"
    first: int  # number of the first row among all

    def weights(self, part: int) -> Any:
        """Weights of the rows in a part, (n, n_folds), or (n, 1) where folds are alike."""
        xp, n = self.xp, self.y.shape[0]
        if part == UNWEIGHTED:
            return xp.ones((n, 1))
        weight = xp.ones((n, 1)) if self.weight is None else self.weight
        if self.mask is None:
            return weight if part == TRAIN else 0 * weight
        return xp.where((self.mask & part) != 0, weight, xp.zeros_like(weight))


@runtime_checkable
class CanPlace(Protocol):
    """What a `Design` has and a matrix has not."""

    def place(self, y, weight=None, mask=None, offset=None): ...


def is_design(X: Any) -> bool:
    """Whether X is a `Design` and no matrix, by its class: a column ``place`` of a table is an
    attribute."""
    return issubclass(type(X), CanPlace)


class Design(Protocol):
    shape: tuple[int, int]  # (n_rows, n_features) as the user has it
    lengths: tuple[int, ...]  # n_rows of the blocks that it has the rows in
    # how the user's features became those of inner problems, such as a `Merging`; None: as they are
    compression: Any
    coefficients: Any  # the map E from these, see `CoefficientMap`
    n_coef: int  # coefficients u: coefficients.n_design
    has_intercept: bool
    is_sparse: bool
    dtype: Any  # of the stored values; everything computed is float64
    xp: Any  # array namespace of coefficient blocks
    n_stored: int  # stored entries: the size of one pass

    @property
    def counts(
        self,
    ) -> Any: ...  # of entries that are not 0 (sparse: stored) of every feature of the user
    @property
    def n_passes(self) -> int: ...  # passes so far that the calling thread asked for

    n_hot: int  # first coefficients where a preconditioner may look for the largest eigenvalues
    contracts_in_blocks: bool  # whether `contract` takes `CurvatureAt`
    # whether hvp, matvec and rmatvec take blocks in float32 and return them so
    has_float_products: bool
    # which of "cg" and "newton_cg" it brings itself, see `find_cg` and `find_newton` in
    # `fasthoag.inner`; where it brings none and `xp` is NumPy, C++ calls its operations back
    native_solvers: tuple[str, ...]
    n_threads: int  # for blocks of coefficients in C++
    where: str  # "cpu" or "gpu"
    is_given_on_device: bool  # whether the user's X was in the memory of a GPU
    can_sample: bool  # whether it has `sample`

    # raises MemoryError unless blocks of so many columns fit beside X
    def check_room(self, n_columns: int) -> None: ...
    # raises ValueError where the user changed an X that is read in place; `place` looks too
    def check_unchanged(self) -> None: ...
    # the same data, kernels on this many threads
    def with_threads(self, n_threads: int | None) -> "Design": ...
    # of the same kind, coefficient map and intercept
    def like(self, X: Any) -> "Design": ...
    # a copy of some rows, numbers that ascend; where `can_sample`
    def sample(self, index: Any) -> "Design": ...
    def place(self, y: Any, weight: Any = None, mask: Any = None, offset: Any = None) -> "Rows": ...
    def zeros(self, m: int) -> Block: ...
    # a block u from the user's coefficients (n_user,) or (n_user, m)
    def encode(self, w: Any) -> Block: ...
    def decode(self, u: Block) -> Array: ...  # the user's coefficients E u, as NumPy
    def hvp(self, c: Curvature, V: Block) -> Block: ...  # X' (c * (X V))
    # sum_i c_if x_ij^2, (n_coef, n_folds); one class
    def hess_diag(self, c: Curvature) -> Block: ...
    def gram(self, c: Curvature) -> Block: ...  # X' diag(c) X of one column of c, (n_coef, n_coef)
    def matvec(self, V: Block) -> Handle: ...  # X V, without the offset
    def rmatvec(self, H: Handle) -> Block: ...  # X' H
    # X of the design with the intercept's column as one array, for small X
    def dense(self) -> Array: ...
    # sum_i (a_if + b_if x_i q_f) (x_i u_a) (x_i u_b), (n_folds, k, k); a or b may be None
    def contract(
        self,
        a: Curvature | CurvatureAt | None,
        b: Curvature | CurvatureAt | None,
        Q: Block | None,
        U: Block,
    ) -> Array: ...


class Rows(Protocol):
    @property
    def design(self) -> Any: ...  # a Design
    @property
    def y(self) -> Any: ...  # as placed, on the host; so are weight, mask and offset
    @property
    def weight(self) -> Any: ...
    @property
    def mask(self) -> Any: ...
    @property
    def offset(self) -> Any: ...
    @property
    def n_folds(self) -> int: ...

    # of TRAIN or HELD_OUT, one pass
    def loss_grad(
        self, loss: str | Loss, W: Block, part: int = TRAIN, has_grad: bool = True
    ) -> LossGrad: ...
    # X W + offset, one pass
    def predictions(self, W: Block) -> Handle: ...

    # reading no X:
    # s * derivative of this order
    def terms(self, loss: str | Loss, order: int, part: int, Z: Handle) -> Handle: ...
    # the same as Curvature
    def curvature(
        self, loss: str | Loss, Z: Handle, part: int = TRAIN, order: int = 2
    ) -> Curvature: ...
    # the same for `Design.contract` alone, which then needs no array of it
    def curvature_at(
        self, loss: str | Loss, Z: Handle, part: int = TRAIN, order: int = 2
    ) -> Curvature | CurvatureAt: ...
    def sums(self, loss: str | Loss, part: int, Z: Handle) -> Array: ...  # sums of s ℓ, (m,)
    # predictions of the user's intercepts b (m,) where all other coefficients are 0
    def at_constant(self, b: ArrayLike) -> Handle: ...
    # Z + t (Z1 - Z), t (m,); 0 and 1 give Z and Z1 themselves
    def blend(self, Z: Handle, t: Array, Z1: Handle) -> Handle: ...
    # the diagonal of a Curvature, averaged over columns
    def mean(self, c: Curvature, by_class: bool = False) -> Curvature: ...
    # the handle of f(block, *arrays), run where each block lives
    def map(self, f: Callable[..., Any], *handles: Handle) -> Handle: ...
    # the sum over blocks of f(block, *arrays), as NumPy
    def reduce(self, f: Callable[..., Any], *handles: Handle) -> Any: ...
    def to_host(self, handle: Handle) -> Any: ...  # never inside a solver
    def from_host(self, array: Any) -> Handle: ...

    # other Rows of the same X:
    def fold(self, index: int) -> "Rows": ...  # one fold alone
    def with_weight(self, weight: Any) -> "Rows": ...
    def all_training(self) -> "Rows": ...  # without folds
    def sample(self, index: Any) -> "Rows": ...  # some rows, see `Design`


def beside(xp, Z, offset):
    """Predictions Z (n, m) with the offset (n,) or (n, n_classes) of their rows, or None."""
    if offset is None:
        return Z
    if offset.ndim == 1:
        return Z + offset[:, None]
    units = xp.reshape(Z, (Z.shape[0], -1, offset.shape[1]))
    return xp.reshape(units + offset[:, None, :], Z.shape)


def dense_by_products(design):
    """X of a design as one array on the host, by products with a unit matrix."""
    n, p, asarray = design.shape[0], design.n_coef, design.xp.asarray
    if n < p:
        return to_host(design.rmatvec(asarray(np.eye(n)))).T
    return to_host(design.matvec(asarray(np.eye(p))))


class RowArrays(NamedTuple):
    """Everything that rows carry: y (n_rows,), weight (n_rows,), mask (n_rows, n_folds) and offset
    (n_rows,) or (n_rows, n_classes), None for what they do not."""

    y: Any
    weight: Any = None
    mask: Any = None
    offset: Any = None


def place(design, *arrays, first=0):
    """`Rows` of a design whose X is in one memory; `first` is the number of its first row."""
    host = RowArrays(*arrays)
    there = RowArrays(*(None if a is None else design.xp.asarray(a) for a in host))
    return PlacedRows(design, host, there, first)


@dataclass(frozen=True, eq=False)
class PlacedRows:
    """`Rows` in one memory: handles are arrays of the design's namespace."""

    design: Any
    host: RowArrays
    there: RowArrays  # the same where X is
    first: int

    y = property(lambda self: self.host.y)
    weight = property(lambda self: self.host.weight)
    mask = property(lambda self: self.host.mask)
    offset = property(lambda self: self.host.offset)

    @property
    def n_folds(self):
        return 1 if self.mask is None else self.mask.shape[1]

    @computed_once
    def data(self):
        """What the design's kernels take."""
        return self.design.put(self.there)

    @computed_once
    def block(self):
        y, weight, mask, _ = self.there
        weight = None if weight is None else weight[:, None]
        return RowBlock(self.design.xp, y[:, None], weight, mask, self.first)

    def _with(self, **changed):
        """The same rows with other arrays of these names."""
        there = {
            name: None if a is None else self.design.xp.asarray(a) for name, a in changed.items()
        }
        return replace(self, host=self.host._replace(**changed), there=self.there._replace(**there))

    def loss_grad(self, loss, W, part=TRAIN, has_grad=True):
        return self.design.loss_grad(self.data, loss, W, part, has_grad)

    def predictions(self, W):
        return beside(self.design.xp, self.design.matvec(W), self.there.offset)

    def terms(self, loss, order, part, Z):
        return self.design.terms(self.data, loss, order, part, Z)

    def curvature(self, loss, Z, part=TRAIN, order=2):
        loss = find_loss(loss)
        return Curvature(self.terms(loss, order, part, Z), loss.n_classes)

    def curvature_at(self, loss, Z, part=TRAIN, order=2):
        if self.design.contracts_in_blocks:
            return CurvatureAt(self, find_loss(loss), order, part, Z)
        return self.curvature(loss, Z, part, order)

    def sums(self, loss, part, Z):
        return self.design.sums(self.data, loss, part, Z)

    def at_constant(self, b):
        xp = self.design.xp
        Z = xp.zeros((len(self.y), 1)) + xp.asarray(np.asarray(b, np.float64)[None, :])
        return beside(xp, Z, self.there.offset)

    def blend(self, Z, t, Z1):
        xp = self.design.xp
        some = xp.asarray(t)
        # where a column is taken as it is, the other may be infinite
        with np.errstate(invalid="ignore", over="ignore"):
            between = Z + some * (Z1 - Z)
        return xp.where(some == 0, Z, xp.where(some == 1, Z1, between))

    def mean(self, c, by_class=False):
        return Curvature(
            self.map(lambda block, v: mean_diagonal(block.xp, v, c, by_class), c.values)
        )

    def map(self, f, *handles):
        return f(self.block, *handles)

    def reduce(self, f, *handles):
        return to_host(f(self.block, *handles))

    def to_host(self, handle):
        return to_host(handle)

    def from_host(self, array):
        return self.design.xp.asarray(array)

    def fold(self, index):
        if self.mask is None:
            return self
        return self._with(mask=np.ascontiguousarray(self.mask[:, index : index + 1]))

    def with_weight(self, weight):
        return self._with(weight=weight)

    def all_training(self):
        return self if self.mask is None else self._with(mask=None)

    def sample(self, index):
        some = (None if a is None else np.ascontiguousarray(a[index]) for a in self.host)
        return place(self.design.sample(index), *some)


def mean_diagonal(xp, values, c, by_class):
    """The diagonal of curvatures averaged over columns, (n, 1), or over folds, (n, n_classes)."""
    K = c.n_classes
    if K > 1:  # s p -> s p (1 - p)
        a = xp.reshape(values, (values.shape[0], -1, K))
        s = xp.sum(a, axis=2, keepdims=True)
        values = xp.reshape(a - a * a / xp.where(s > 0, s, xp.ones_like(s)), values.shape)
    if by_class:
        n_folds = values.shape[1] // K
        return sum(values[:, f * K : (f + 1) * K] for f in range(n_folds)) / n_folds
    return xp.sum(values, axis=1, keepdims=True) / values.shape[1]
