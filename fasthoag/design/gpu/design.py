"""The design on a GPU: where its parts meet. What X becomes there is in `stored`, passes over it in
`passes`, what is done with predictions in `rows`, the solver in `cg`."""

from dataclasses import replace

import numpy as np

from fasthoag.design import HELD_OUT, MAX_HOT, TRAIN
from fasthoag.design.coefficients import Compose, Identity, Permute
from fasthoag.design.gpu import cg, columns, memory, passes, rows
from fasthoag.design.gpu.device import find_device
from fasthoag.design.gpu.launches import run
from fasthoag.design.gpu.matrix import Csr, check_given, fingerprint
from fasthoag.design.gpu.memory import ShortArrays, Sizes, plan_for
from fasthoag.design.gpu.stored import store
from fasthoag.design.matrix import CHANGED, SIZES, check_matrix
from fasthoag.design.offsets import N_SAMPLE, offset_map
from fasthoag.design.rows import (
    LossGrad,
    beside,
    dense_by_products,
    is_on_device,
    place,
    to_host,
)
from fasthoag.losses import find_loss
from fasthoag.threads import PerThread

WIDE = 1 << 27  # numbers of a block of predictions that a Hessian product makes at a time


class GpuDesign:
    """X on a GPU. Stored values are float32 or float64, everything computed is float64; two runs
    give the same bits.

    Columns are renumbered by frequency on the device, so that the coefficients of frequent features
    share cache lines. Products with X' read a stored transpose. Where memory is short
    (``transpose=False``) X is there once and products with X' add in fixed point, exactly and in
    any order, by atomics: the same bits in every run too, several times slower for that half of a
    pass.

    Parameters
    ----------
    X : array or sparse matrix of NumPy, SciPy or CuPy, shape (n_rows, n_features)
        From the host it is copied once. What is on the device is read in place, or copied with
        sorted rows where that takes no more than half of the free memory.
    fit_intercept : bool
    transpose : "auto", True or False
        Whether a transposed copy is made; "auto": if memory allows, else a warning says that there
        is none.
    device : CupyDevice, optional
        The current CUDA device.
    trains : bool
        Refuse columns whose squares double precision does not hold.

    Raises
    ------
    ValueError
        When there is no device that can be used; the message says what to do.
    MemoryError
        When X does not fit, with the bytes needed and had, before anything is allocated.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp
    >>> from fasthoag.design.gpu import GpuDesign, describe_device
    >>> if "GB free" in describe_device()[1]:
    ...     design = GpuDesign(sp.eye(2, format="csr"))
    ...     design.matvec(design.encode(np.array([[3.0], [4.0]]))).get().ravel()
    ... else:
    ...     np.array([3.0, 4.0])
    array([3., 4.])
    """

    where, has_float_products, compression = "gpu", False, None
    contracts_in_blocks = can_sample = False
    n_passes = PerThread()
    native_solvers = ("cg",)

    def __init__(
        self, X, *, fit_intercept=False, transpose="auto", device=None, trains=False, like=None
    ):
        if transpose not in (True, False, "auto"):
            raise ValueError(f"transpose must be True, False or 'auto'; got {transpose!r}")
        self.device = device or find_device()
        self.xp = self.device.xp
        self.is_given_on_device = is_on_device(X)
        limits = SIZES if trains else {}
        if self.is_given_on_device:
            X = check_given(self.device, X, **limits)
        else:
            X = check_matrix(X, **limits)
        self._first = like._first if like else self._offsets(X) if fit_intercept else None
        X = X if self._first is None else self._shifted(X)
        self.is_sparse = isinstance(X, Csr)
        self.shape, self.dtype = tuple(X.shape), np.dtype(X.dtype)
        n, p = self.shape
        self.lengths = (n,)
        self.has_intercept = bool(fit_intercept)
        self.n_coef = p + self.has_intercept
        self.n_stored = int(X.nnz) if self.is_sparse else n * p
        self.sizes = Sizes(
            self.shape,
            self.n_stored,
            self.dtype,
            is_sparse=self.is_sparse,
            is_given_on_device=self.is_given_on_device,
            asked=transpose,
        )
        plan = plan_for(self.device, self.sizes, stacklevel=5)
        self.has_transpose = plan.has_transpose
        self.stored = store(self.device, X, plan, self.has_intercept, like and like.stored)
        self.short, self._counts, self._checked = ShortArrays(self.xp), self.stored.counts, set()
        order = self.stored.order
        self.n_hot = min(p, MAX_HOT) if order is not None or not self.is_sparse else 0
        renumbered = Identity(self.n_coef)
        if order is not None:
            renumbered = Permute(*map(to_host, order), self.has_intercept)
        self._seen = self._fingerprint()
        has_one = self._first is None
        self.coefficients = renumbered if has_one else Compose([self._first, renumbered])

    # ---- columns far from 0 ----

    def _offsets(self, X):
        """The map of `offset_map`, of an array on the device from some of its rows. A sparse matrix
        there stays as it is."""
        if not self.is_given_on_device:
            return offset_map(X)
        step = X.shape[0] // N_SAMPLE + 1
        return None if isinstance(X, Csr) else offset_map(to_host(X[::step]))

    def _shifted(self, X):
        """X less the constants: where it is if it is an array, else on the host."""
        if is_on_device(X) and not isinstance(X, Csr):
            return X - self.xp.asarray(self._first.shift.astype(X.dtype))
        return check_matrix(self._first.of_rows(X.get() if is_on_device(X) else X))

    # ---- set-up ----

    @property
    def counts(self):
        if self._counts is None:  # of what came on the device and stays as it is
            X, xp = self.stored.rows, self.xp
            if self.is_sparse:
                found = columns.count_columns(xp, X.indices, self.shape[1], self.sizes.chunk)
            else:
                found = xp.count_nonzero(X.data.reshape(self.shape), axis=0)
            self._counts = to_host(found)
        return self._counts

    def check_room(self, n_columns):
        """Raises MemoryError unless block solves with this many columns may fit."""
        memory.check_room(self.device, self.shape[0], self.n_coef, n_columns)

    def _fingerprint(self):
        """Of what came on the device, and may be read in place."""
        values = self.stored.rows.data
        return fingerprint(self.device, values) if self.is_given_on_device else None

    def check_unchanged(self):
        """Raises ValueError where X, given on the device, was changed since."""
        if self._fingerprint() != self._seen:
            raise ValueError(CHANGED)

    def with_threads(self, n_threads):
        """This design: threads are those of the host, and none of its kernels runs there."""
        return self

    def like(self, X):
        return GpuDesign(
            X,
            fit_intercept=self.has_intercept,
            transpose=self.sizes.asked,
            device=self.device,
            like=self,
        )

    # ---- arrays between host and device ----

    def zeros(self, m):
        return self.xp.zeros((self.n_coef, m))

    def encode(self, w):
        w = self.coefficients.solve(to_host(w).astype(np.float64))
        return self.xp.asarray(np.ascontiguousarray(w))

    def decode(self, u):
        return self.coefficients.apply(to_host(u))

    def block(self, array):
        """A block of the device as kernels read it: contiguous float64. None stays None."""
        if array is None:
            return None
        is_double = array.dtype == np.float64
        return self.xp.ascontiguousarray(array if is_double else array.astype(np.float64))

    # ---- passes ----

    def product(self, c, fold, V, out, *, lam=None, lam_of=None, n_active=None):
        """Launches that compute out = X' (c * (X V)) + lam V with curvatures and strengths of any
        fold for every column: see `passes.product`."""
        fold = self.short(np.ascontiguousarray(fold, np.int32))
        if lam is not None:
            lam_of = self.short(np.ascontiguousarray(lam_of, np.int32))
        strengths = {"lam": lam, "lam_of": lam_of}
        return passes.product(self.stored, c, fold, V, out, **strengths, n_active=n_active)

    def hvp(self, c, V):
        self.n_passes += 1
        m, K = V.shape[1], c.n_classes
        fold = (np.arange(m) // K % (c.values.shape[1] // K)).astype(np.int32)
        # some columns at a time: the unit matrix has as many as there are coefficients
        width = max(1, WIDE // (self.shape[0] * K)) * K
        c, V = replace(c, values=self.block(c.values)), self.block(V)
        starts = range(0, m, min(width, m))
        parts = [V] if width >= m else [self.block(V[:, a : a + width]) for a in starts]
        out = [self.xp.empty(part.shape) for part in parts]
        for a, part, found in zip(starts, parts, out, strict=True):
            run(self.product(c, fold[a : a + part.shape[1]], part, found))
        return out[0] if len(out) == 1 else self.xp.concat(out, axis=1)

    def hess_diag(self, c):
        self.n_passes += 1
        return self._to_columns(c.values, is_squared=True)

    def gram(self, c):
        return self.hvp(c, self.xp.asarray(np.eye(self.n_coef)))

    def dense(self):
        return dense_by_products(self)

    def matvec(self, V):
        self.n_passes += 1
        return self._to_rows(V)

    def rmatvec(self, R):
        self.n_passes += 1
        return self._to_columns(R)

    def _to_rows(self, V):
        Z = self.xp.empty((self.shape[0], V.shape[1]))
        run(passes.to_rows(self.stored, self.block(V), Z))
        return Z

    def _to_columns(self, R, is_squared=False):
        out = self.xp.empty((self.n_coef, R.shape[1]))
        run(passes.to_columns(self.stored, self.block(R), out, is_squared=is_squared))
        return out

    def contract(self, a, b, Q, U):
        self.n_passes += 1
        K = (a or b).n_classes
        A, B = (None if c is None else self.block(c.values) for c in (a, b))
        A = self.xp.zeros(B.shape) if A is None else A
        Z = self._to_rows(U if Q is None else self.xp.concatenate([U, Q], axis=1))
        return rows.contract(self, A, B, Z, U.shape[1] // A.shape[1], K)

    # ---- rows ----

    def place(self, y, weight=None, mask=None, offset=None):
        self.check_unchanged()
        return place(self, y, weight, mask, offset)

    def put(self, arrays):
        return arrays

    def loss_grad(self, placed, loss, W, part, has_grad):
        self.n_passes += 1
        loss, Z = find_loss(loss), beside(self.xp, self._to_rows(W), placed.offset)
        self._check_expressions(loss, placed.y)
        values, R = rows.losses(self, placed, loss, Z, has_grad and part == TRAIN)
        if part == HELD_OUT:
            values, R = values[::-1], self.terms(placed, loss, 1, part, Z) if has_grad else None
        return LossGrad(*values, self._to_columns(R) if has_grad else None, Z)

    def terms(self, placed, loss, order, part, Z):
        return rows.terms(self, placed, find_loss(loss), order, part, Z)

    def sums(self, placed, loss, part, Z):
        return rows.sums(self, placed, find_loss(loss), part, self.block(Z))

    def _check_expressions(self, loss, y):
        """`rows.check_expressions`, once for every custom loss."""
        for one in loss.mixed or ():
            self._check_expressions(one, y)
        if loss.compiled is None or loss.cuda is None or loss in self._checked:
            return
        rows.check_expressions(self, loss, y)
        self._checked.add(loss)

    # ---- solvers ----

    def cg(self, hess, b, start, tol, precond, max_iter, radius=None):
        """What `inner.cg.cg` gives; a `radius` (m,) makes it `inner.cg.cg_in_ball`."""
        c = replace(hess.curvature, values=self.block(hess.curvature.values))
        hess = replace(hess, curvature=c, lam=self.block(hess.lam))
        precond = replace(
            precond,
            diagonal=self.block(precond.diagonal),
            low_rank=self.block(precond.low_rank),
            inverse=self.block(precond.inverse),
        )
        return cg.solve(hess, self.block(b), start, tol, precond, max_iter, radius)
