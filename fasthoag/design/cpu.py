"""X in memory, passes in C++."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from fasthoag import _core
from fasthoag.design import MAX_HOT
from fasthoag.design.blocks import (
    blocks_here,
    len_of,
    nonzeros,
    shape_of,
)
from fasthoag.design.coefficients import Compose, Identity, Permute
from fasthoag.design.matrix import CHANGED, SIZES, arrays_of, check_blocks, check_matrix
from fasthoag.design.merging import merging_of
from fasthoag.design.offsets import common_offset_map
from fasthoag.design.row_space import row_space_of
from fasthoag.design.rows import CurvatureAt, LossGrad, dense_by_products, place
from fasthoag.design.structure import csr_arrays
from fasthoag.losses import find_loss
from fasthoag.options import check_flag
from fasthoag.threads import n_threads_of


@dataclass(frozen=True, eq=False)
class Layout:
    """How designs of the same columns hold them: those that stay of alike ones, or None for all, a
    coefficient map after it, or None, and their order by frequency after that with its inverse, or
    None."""

    first: Any = None
    order: Any = None
    compression: Any = None

    @property
    def intercept(self):
        return 1.0 if self.first is None else self.first.intercept

    def coefficients(self, n_coef, has_intercept):
        """The coefficient map of first and order."""
        maps = [] if self.first is None else [self.first]
        if self.order is not None:
            maps.append(Permute(*self.order, has_intercept))
        return Compose(maps) if len(maps) > 1 else [*maps, Identity(n_coef)][0]


def check_options(fit_intercept, low_memory, deterministic):
    """Raises TypeError for options that are no flags, ValueError for those that cannot go
    together."""
    check_flag(fit_intercept, "fit_intercept")
    check_flag(low_memory, "low_memory")
    check_flag(deterministic, "deterministic")
    if low_memory and deterministic:
        raise ValueError(
            "deterministic=True needs the transposed copy that low_memory=True forbids; choose one"
        )


def rows_of(part, index, n_columns):
    """These rows of a part of X, as the kernels take it."""
    if len(part) == 1:
        (dense,) = part
        return (dense[index],)
    from scipy.sparse import csr_matrix

    indptr, indices, data = part
    shape = (len(indptr) - 1, n_columns)
    return csr_arrays(csr_matrix((data, indices, indptr), shape=shape, copy=False)[index])


class CpuDesign:
    """X on this machine: the user's values are read in place; columns are renumbered by frequency
    in a copy of the indices.

    Parameters
    ----------
    X : array, sparse matrix or list of blocks of rows, shape (n_rows, n_features)
        Blocks are all sparse or all arrays with values of one type; they are never joined.
    fit_intercept : bool
        Whether coefficient blocks have one more row, for a column of ones that is not stored.
    n_threads : int or None
        None: all cores that this process may use, or what OMP_NUM_THREADS says.
    low_memory : bool
        Neither the renumbered nor the transposed copy is made.
    deterministic : bool
        The same bits for every number of threads; uses the transposed copy, so it cannot go with
        `low_memory`.
    coefficients : CoefficientMap, optional
        Hold X E instead of X: a copy, which `fasthoag.design.coefficients` makes. The renumbering
        by frequency comes after it. Without one and with an intercept, columns that are far from 0
        for their spread are shifted, see `fasthoag.design.offsets`.
    trains : bool
        Refuse columns whose squares double precision does not hold.
    alike : function, optional
        ``alike(n_features)`` has equal numbers for features of equal strengths, see
        `fasthoag.penalties.alike`. Sparse columns among these that are multiples of each other are
        held as one, see `fasthoag.design.merging`, but with `low_memory`; where all have one
        strength few rows are held in their own space, see `fasthoag.design.row_space`, unless
        `deterministic`. Not with `coefficients`.
    layout : Layout, optional
        That of another design, instead of `coefficients`, columns that are alike and an order found
        here.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.design.cpu import CpuDesign
    >>> CpuDesign(np.eye(2)).matvec(np.array([[3.0], [4.0]])).ravel()
    array([3., 4.])
    >>> CpuDesign([np.eye(2), np.ones((1, 2))]).matvec(np.array([[3.0], [4.0]])).ravel()
    array([3., 4., 7.])
    """

    xp = np
    native_solvers = ("cg", "newton_cg")
    has_float_products = contracts_in_blocks = True
    where, is_given_on_device = "cpu", False
    can_sample = True

    def __init__(
        self,
        X,
        *,
        fit_intercept=False,
        n_threads=None,
        low_memory=False,
        deterministic=False,
        coefficients=None,
        trains=False,
        alike=None,
        layout=None,
    ):
        check_options(fit_intercept, low_memory, deterministic)
        self.n_threads = n_threads_of(n_threads)
        blocks = check_blocks(X, **(SIZES if trains else {}))
        first, *_ = blocks
        self.shape, self.lengths = shape_of(blocks), tuple(len_of(one) for one in blocks)
        self.dtype, self.has_intercept = first.dtype, bool(fit_intercept)
        self.low_memory, self.deterministic = low_memory, deterministic
        self._arrays, self._counts, self._read_in_place = None, None, []
        self.layout, is_free = layout or Layout(coefficients), layout is None
        given, can_find = blocks, is_free and coefficients is None
        if can_find and alike is not None and not low_memory:
            self.layout = Layout(compression=merging_of(blocks, alike, self.n_threads))
        if self.compression is not None:
            blocks = self.compression.of_rows(blocks, self.n_threads, is_free)
        if can_find and self.has_intercept:
            numbers = None if self.compression is None else self.compression.kept
            first = common_offset_map(blocks_here(blocks), numbers)
            self.layout = replace(self.layout, first=first)
        if can_find and alike is not None and self.layout.first is None and not deterministic:
            space = row_space_of(given, blocks, alike, self.has_intercept, self.n_threads)
            self.layout = self.layout if space is None else Layout(compression=space)
            blocks = blocks if space is None else space.of_rows(given, self.n_threads, True)
        self._given = None if self.compression is None else given
        if self.layout.first is not None:
            if self.compression is None:
                self._counts = sum(nonzeros(one) for one in blocks)
            blocks = [check_matrix(self.layout.first.of_rows(one)) for one in blocks]
        self.is_sparse = all(sp.issparse(one) for one in blocks)
        _, self._n_columns = shape_of(blocks)
        self.n_hot = 0 if low_memory else min(self._n_columns, MAX_HOT)
        self._matrix = self._csr(blocks, is_free) if self.is_sparse else self._dense(blocks)
        if self._given is not None:  # which other penalties, or coefficients, may need again
            self._watch(arrays_of(self._given))
        self.n_stored, self.n_coef = self._matrix.n_stored, self._matrix.n_coef
        self.coefficients = self.layout.coefficients(self.n_coef, self.has_intercept)

    def _dense(self, blocks):
        if self.layout.order is not None:
            order, _ = self.layout.order
            blocks = [np.ascontiguousarray(one[:, order]) for one in blocks]
        self._arrays = blocks
        self._watch(blocks)
        return self._of_dense(blocks)

    def _of_dense(self, blocks):
        """The kernels' matrix of these rows."""
        self._parts, turned = [(one,) for one in blocks], None
        if self.deterministic:
            turned = np.empty(shape_of(blocks)[::-1], blocks[0].dtype)
            np.concatenate([one.T for one in blocks], axis=1, out=turned)
        return self._joined(self._parts, turned)

    def _csr(self, blocks, is_free):
        p, threads = self._n_columns, self.n_threads
        arrays = [csr_arrays(one) for one in blocks]
        counts = sum(_core.count_columns(indices, p, threads) for _, indices, _ in arrays)
        if self._counts is None and self.compression is None:
            self._counts = counts
        if is_free and not self.low_memory:
            self.layout = replace(self.layout, order=_core.frequency_order(counts))
        if self.layout.order is not None:
            _, rank = self.layout.order
            is_wide = p > np.iinfo(np.int32).max
            arrays = [
                (indptr, _core.relabel(indices, rank, is_wide, threads), data)
                for indptr, indices, data in arrays
            ]
        self._watch([data for *_, data in arrays])
        if self.layout.order is None:
            self._watch([indices for _, indices, _ in arrays])
        return self._of_csr(arrays)

    def _of_csr(self, arrays):
        """The kernels' matrix of these rows, whose columns have their places."""
        p, threads, (first, *_) = self._n_columns, self.n_threads, arrays
        self._parts = arrays
        is_narrow = _core.Matrix(*first, p, self.has_intercept).is_narrow
        transposed = None
        if not self.low_memory and (self.deterministic or not is_narrow):
            transposed = _core.transpose(arrays, p, threads)
        return self._joined([(*one, p) for one in arrays], transposed)

    def _joined(self, parts, transposed):
        """The kernels' matrix of the rows of all parts."""
        options = self.deterministic, self.layout.intercept
        first, *others = parts
        if not others:
            return _core.Matrix(*first, self.has_intercept, transposed, *options)
        matrices = [_core.Matrix(*one, self.has_intercept, None, *options) for one in parts]
        return _core.Matrix.stacked(matrices, transposed, self.deterministic)

    def _watch(self, arrays):
        """Notes what these arrays hold, which may be the user's."""
        self._read_in_place += [(one, _core.fingerprint(one, self.n_threads)) for one in arrays]

    def check_unchanged(self):
        """Raises ValueError where X was changed since the design was made of it."""
        for array, seen in self._read_in_place:
            if _core.fingerprint(array, self.n_threads) != seen:
                raise ValueError(CHANGED)

    @property
    def n_passes(self):
        """Passes so far that the calling thread asked for."""
        return self._matrix.n_passes

    @property
    def compression(self):
        return self.layout.compression

    def suited_to(self, alike):
        """This design, or one of the same X with all its columns where columns that are one here
        have no common strength by ``alike(n_features)``."""
        if self.compression is None or self.compression.suits(alike(self.compression.n_features)):
            return self
        options = {"low_memory": self.low_memory, "deterministic": self.deterministic}
        options |= {"fit_intercept": self.has_intercept, "n_threads": self.n_threads}
        return CpuDesign(self._given, **options, trains=True, alike=alike)

    @property
    def is_narrow(self):
        """Whether X has so few columns that every product reads it once, in the fused form."""
        return self._matrix.is_narrow

    @property
    def counts(self):
        if self._counts is None:
            of_user = self._arrays if self._given is None else self._given
            self._counts = sum(nonzeros(one) for one in of_user)
        return self._counts

    def n_bytes(self):
        """Bytes of X, and of the copies of it that are held."""
        n, p = self.shape[0], self.n_coef - self.has_intercept
        given = None if self._given is None else sum(one.nbytes for one in arrays_of(self._given))
        is_copied = self.layout.first is not None or given is not None
        if not self.is_sparse:
            held = n * p * (8 if self.layout.compression is not None else self.dtype.itemsize)
            return given or held, held * (self.deterministic + is_copied)
        index = 8 if p > np.iinfo(np.int32).max else 4
        values, indices = self.n_stored * self.dtype.itemsize, self.n_stored * index
        held, copies = values + indices + index * (n + 1), 8 * (n + 1)
        if is_copied:
            copies += held
        if self.layout.order is not None:  # renumbered columns
            copies += indices + 3 * 8 * p
        if not self.low_memory and (self.deterministic or not self.is_narrow):  # its transpose
            copies += values + indices + 8 * p
        return given or held, copies

    def check_room(self, n_columns):
        """Blocks of coefficients live in the memory of this process, which grows as it is asked."""

    def with_threads(self, n_threads):
        other = copy.copy(self)
        other.n_threads = n_threads_of(n_threads)
        return other

    def like(self, X):
        return CpuDesign(
            X,
            fit_intercept=self.has_intercept,
            n_threads=self.n_threads,
            low_memory=self.low_memory,
            deterministic=self.deterministic,
            layout=self.layout,
        )

    def sample(self, index):
        """Some rows, numbers that ascend, as a design with the same coefficients: a copy of
        theirs."""
        other, ends = copy.copy(self), np.cumsum([0, *self.lengths])
        cuts = np.searchsorted(index, ends)
        some = [
            rows_of(part, index[a:b] - first, self._n_columns)
            for part, first, a, b in zip(self._parts, ends, cuts, cuts[1:], strict=False)
            if a < b
        ]
        other.shape = (len(index), self.shape[1])
        other.lengths = tuple(int(n) for n in np.diff(cuts) if n)
        other._read_in_place, other._arrays = [], None if self.is_sparse else [x for (x,) in some]
        other._matrix = other._of_csr(some) if self.is_sparse else other._of_dense(other._arrays)
        other.n_stored = other._matrix.n_stored
        return other

    def zeros(self, m):
        return np.zeros((self.n_coef, m))

    def encode(self, w):
        w = np.asarray(w, np.float64)
        w = w if self.compression is None else self.compression.solve(w)
        return np.ascontiguousarray(self.coefficients.solve(w))

    def decode(self, u):
        w = self.coefficients.apply(u)
        return np.array(w) if self.compression is None else self.compression.apply(w)

    # ---- rows ----

    def place(self, y, weight=None, mask=None, offset=None):
        self.check_unchanged()
        return place(self, y, weight, mask, offset)

    def put(self, arrays):
        return _core.Rows(*arrays)

    # kernels take C-ordered blocks; slices of a block are copied here, at the seam
    def loss_grad(self, rows, loss, W, part, has_grad):
        native = find_loss(loss).native
        found = rows.loss_grad(self._matrix, native, _block(W), part, has_grad, self.n_threads)
        return LossGrad(found.value, found.other, found.grad, found.Z)

    def terms(self, rows, loss, order, part, Z):
        return rows.terms(find_loss(loss).native, order, part, _block(Z), self.n_threads)

    def sums(self, rows, loss, part, Z):
        return rows.sums(find_loss(loss).native, part, _block(Z), self.n_threads)

    # ---- passes ----

    def hvp(self, c, V):
        return self._matrix.hvp(_block(c.values), _single_or_double(V), c.n_classes, self.n_threads)

    def hess_diag(self, c):
        return self._matrix.hess_diag(_block(c.values), self.n_threads)

    def gram(self, c):
        return self.hvp(c, np.eye(self.n_coef))

    def dense(self):
        if self._arrays is None:
            return dense_by_products(self)
        X = np.vstack(self._arrays)
        ones = np.full((len(X), self.n_coef - X.shape[1]), self.coefficients.intercept)
        return np.hstack([X, ones])

    def matvec(self, V):
        return self._matrix.matvec(_single_or_double(V), self.n_threads)

    def rmatvec(self, H):
        return self._matrix.rmatvec(_single_or_double(H), self.n_threads)

    def contract(self, a, b, Q, U):
        K, blocks = (a or b).n_classes, (_block(Q), _block(U))
        return self._matrix.contract(_terms(a), _terms(b), *blocks, K, self.n_threads)

    # ---- solvers ----

    def cg(self, hess, b, start, tol, precond, max_iter, radius=None):
        curvature, K = _block(hess.curvature.values), hess.curvature.n_classes
        native = _core.Hessian(self._matrix, curvature, K, hess.strengths(b.shape[1]).native)
        args = _block(b), _block(start), tol, precond.native, max_iter, _block(radius)
        return native.solve(*args, n_threads=self.n_threads)

    def newton_cg(self, rows, loss, strengths, W, tol, precond, **limits):
        return _core.newton_cg(
            rows.data,
            self._matrix,
            loss.native,
            strengths.native,
            _block(W),
            tol,
            precond.native,
            n_threads=self.n_threads,
            **limits,
        )


def _terms(c):
    """What the kernels read of a curvature, or None."""
    if isinstance(c, CurvatureAt):
        return _core.Terms(c.rows.data, c.loss.native, c.order, c.part, _block(c.Z))
    return None if c is None else _core.Terms(_block(c.values))


def _single_or_double(block):
    return np.ascontiguousarray(block) if block.dtype == np.float32 else _block(block)


def _block(array):
    return None if array is None else np.ascontiguousarray(array, np.float64)
