"""Pairs of rows: K, products and sums with it and its derivatives, from features or, where the
kernel does not come from dense features, from a number of each pair that is made once."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import lapack

from fasthoag import _core
from fasthoag.blas import blas_threads
from fasthoag.design.matrix import SIZES, check_matrix
from fasthoag.design.rows import is_on_device
from fasthoag.kernels.cholesky import LARGEST, factorise
from fasthoag.kernels.device_pairs import DevicePairs
from fasthoag.kernels.iterative import Iterated, single_factor, unless_singular
from fasthoag.kernels.kernel import Kernel
from fasthoag.kernels.nystrom import NystromPairs
from fasthoag.kernels.solve import Singular, Sums, cholesky
from fasthoag.memory import memory_of_process
from fasthoag.threads import computed_once

# features from which a number a pair is kept, for all widths: reading it takes less than adding up
MANY_FEATURES = 64
FEW_ROWS = 6000  # up to which a factor in double precision takes less than other ways
# What a factor of low rank leaves out of the trace of K is at most (n / N_A_STEP)² λ: the steps of
# CG, n² operations each, grow with its root, and a full factor takes n³ / 3.
N_A_STEP = 250
SINGLE = 2e-8  # λ over the trace, from which CG takes up to 20 steps with a factor in float32


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows X (n, p) of a kernel: dense float64 or CSR."""

    kernel: Kernel
    X: Any
    n_threads: int
    n_widths: int = 1
    solver: str = "cholesky"  # of the systems with K: "cholesky", "cg" or "nystrom"
    centres: Any = None  # `Samples`: of "nystrom", and where they precondition "cg"
    keeps_pairs: bool = False  # whether there is room for a number a pair
    device: Any = None  # where pairs are, or None for here

    @property
    def n(self):
        return self.X.shape[0]

    def take(self, rows):
        return replace(self, X=self.X[rows])

    def few(self, rows):
        """Some of these rows, with a factor of their K where they are few enough."""
        if self.solver == "cg" and len(rows) > FEW_ROWS:
            return self.take(rows)
        return replace(self, X=self.X[rows], solver="cholesky", centres=None)

    def of_one_width(self, units):
        """The same with one width, over these of every feature (p,)."""
        centres = None if self.centres is None else self.centres.of_one_width(units)
        X = np.ascontiguousarray(self.X * units**self.kernel.power)
        return replace(self, X=X, n_widths=1, centres=centres)

    def pairs(self, other=None):
        """Of all of these rows with each other, or with other ones."""
        return RowPairs(self, other)


@dataclass(frozen=True, eq=False)
class RowPairs:
    """Pairs of rows whatever the widths."""

    rows: Samples
    columns: Samples | None = None  # None: symmetric

    @property
    def other(self):
        return self.rows if self.columns is None else self.columns

    @computed_once
    def given(self):
        """Σ_k v_k of every pair at widths of 1, or None where features are read each time."""
        kernel, X, Y = self.rows.kernel, self.rows.X, self.other.X
        if kernel.function is not None:
            return np.ascontiguousarray(kernel.function(X, Y), np.float64)
        if not isinstance(X, np.ndarray):
            return of_sparse(kernel, X, Y)
        if X.shape[1] <= MANY_FEATURES or self.rows.n_widths > 1 or not self.rows.keeps_pairs:
            return None
        identity = replace(kernel, shape="power", shift=0.0, degree=1.0)
        out = np.zeros((len(X), len(Y)))
        pairs_of(identity, X, None if Y is X else Y, True).matrix(0, out, self.rows.n_threads)
        return out

    def at(self, widths):
        """The pairs at these widths γ (D,): none, one for all features, or one each."""
        if self.rows.solver == "nystrom":
            return self.through_centres(widths)
        rows, kernel = self.rows, self.rows.kernel
        if rows.device is not None:
            return self.on_device(widths)
        if len(widths) <= 1 and self.given is not None:
            scale = float(widths[0]) if len(widths) else 1.0
            native = pairs_of(kernel, self.given, None, True, self.columns is None, scale)
        else:
            X = scaled(rows, widths)
            Y = None if self.columns is None else scaled(self.columns, widths)
            native = pairs_of(kernel, X, Y, len(widths) <= 1)
        through = partial(self.through_centres, widths)
        return Pairs(native, len(widths), rows.n_threads, rows.solver, through)

    def on_device(self, widths):
        """The `DevicePairs` at these widths, of rows about the middle of the first."""
        rows, xp = self.rows, self.rows.device.xp
        middle = 0.0 if rows.kernel.pair == "products" else self.other.X.mean(axis=0)
        factor = widths**rows.kernel.power if len(widths) else 1.0
        X, Y = ((one.X - middle) * factor for one in (rows, self.other))
        X = xp.asarray(np.ascontiguousarray(X))
        Y = X if self.columns is None else xp.asarray(np.ascontiguousarray(Y))
        return DevicePairs(rows.device, rows.kernel, X, Y, len(widths))

    def through_centres(self, widths):
        """The `NystromPairs` at these widths."""
        left, right, middle = self.to_centres
        left_at = left.at(widths)
        right_at = left_at if right is left else right.at(widths)
        return NystromPairs(left_at, right_at, middle.at(widths), middle.rows.n)

    @computed_once
    def to_centres(self):
        """The pairs of rows, of columns, and of centres with centres."""
        centres = self.rows.centres
        left = replace(self.rows, solver="cholesky", centres=None).pairs(centres)
        if self.columns is None:
            return left, left, centres.pairs()
        right = replace(self.columns, solver="cholesky", centres=None).pairs(centres)
        return left, right, centres.pairs()


def scaled(samples, widths):
    return np.ascontiguousarray(
        samples.X * widths**samples.kernel.power if len(widths) else samples.X
    )


def pairs_of(kernel, X, Y, is_shared, is_symmetric=None, scale=None):
    is_symmetric = Y is None if is_symmetric is None else is_symmetric
    pair, scale = (kernel.pair, 1.0) if scale is None else ("given", scale)
    form = pair, kernel.shape, kernel.shift, kernel.degree
    return _core.Pairs(form, X, Y, is_symmetric, is_shared, scale)


def of_sparse(kernel, X, Y):
    """Σ_k v_k of the pairs of rows of sparse matrices."""
    from sklearn.metrics import pairwise

    if kernel.pair == "products":
        return np.ascontiguousarray((X @ Y.T).toarray())
    if kernel.pair == "distances":
        return pairwise.manhattan_distances(X, Y)
    return pairwise.euclidean_distances(X, None if Y is X else Y, squared=True)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs at one θ: of rows (n) with columns (m), D directions of the width."""

    native: Any
    n_directions: int
    n_threads: int
    solver: str = "cholesky"
    through_centres: Any = None  # makes the `NystromPairs` of the same rows

    @property
    def n_rows(self):
        return self.native.n_rows

    def inverse(self, ridge):
        """The lower triangle of the inverse of ``K + diag(ridge)``."""
        n = self.n_rows
        K = self.matrix(np.zeros((n, n)))
        K.flat[:: n + 1] += ridge
        if not factorise(K):
            raise Singular
        # on several threads it may end the process where n is large, see cholesky.py
        with blas_threads(n if n <= LARGEST else 0, self.n_threads):
            inverse, info = lapack.dpotri(K.T, lower=0, overwrite_c=1)
        if info != 0:
            raise Singular
        return inverse.T

    def factor(self, n, root, lam):
        """What has the ``inverse`` of ``λ I + D^½ K D^½``, `root` = D^½ or None."""
        if self.solver == "cholesky":
            return cholesky(self, n, root, lam)
        precond = self.preconditioner(n, root, lam)
        if precond is None:
            return cholesky(self, n, root, lam)
        return Iterated(self, precond, root, lam)

    def preconditioner(self, n, root, lam):
        """What CG takes fewer operations with than a factor in double precision does, or None. A
        full factor is made when that of low rank is gone: both are large."""
        weight = 1.0 if root is None else root**2
        trace = float(np.sum(weight * self.native.diagonal()))
        bytes_a_pair = memory_of_process() / n**2
        low_rank = unless_singular(self.through_centres().factor, n, root, lam)
        if low_rank is not None:
            is_near = trace - low_rank.trace <= (n / N_A_STEP) ** 2 * lam
            if is_near or bytes_a_pair < 4.8:
                return low_rank
        del low_rank
        if SINGLE * trace <= lam and bytes_a_pair >= 4.8:
            single = unless_singular(single_factor, self, n, root, lam)
            if single is not None:
                return single
        if bytes_a_pair >= 9.6:
            return None
        return self.through_centres().factor(n, root, lam)  # slower, and no less exact

    def matrix(self, out, order=0):
        """K, or a derivative in the logarithm of the one width, into `out` (n, m); of symmetric
        pairs its lower triangle."""
        self.native.matrix(order, out, self.n_threads)
        return out

    def product(self, A):
        """K A, (n, c)."""
        [out] = self._forth(False, A)
        return out

    def back(self, B):
        """Kᵀ B, (m, d)."""
        [out] = self._back(False, B)
        return out

    def derivatives(self, A):
        """``∂K/∂log γ_k A``, (D, n, c)."""
        if self.n_directions == 0:
            return np.empty((0, self.native.n_rows, A.shape[1]))
        return self._forth(True, A)

    def derivatives_back(self, B):
        """``∂K/∂log γ_kᵀ B``, (D, m, d)."""
        if self.n_directions == 0:
            return np.empty((0, self.native.n_columns, B.shape[1]))
        return self._back(True, B)

    def _forth(self, is_derivative, A):
        A = np.ascontiguousarray(A)
        out, _ = self.native.products(is_derivative, A, None, self.n_threads)
        return out

    def _back(self, is_derivative, B):
        none, B = np.empty((self.native.n_columns, 0)), np.ascontiguousarray(B)
        _, out = self.native.products(is_derivative, none, B, self.n_threads)
        return out

    def sums(self, P, Z, W=None, has_hess=True):
        """``Σ_ij (P Zᵀ + W)_ij ∂K_ij/∂log γ_k``, (D,), and the same of second derivatives, (D, D);
        W (n, n) is symmetric, its lower triangle is read."""
        if self.n_directions == 0:
            return Sums(np.zeros(0), np.zeros((0, 0)))
        P, Z = np.ascontiguousarray(P), np.ascontiguousarray(Z)
        return Sums(*self.native.sums(P, Z, W, has_hess, self.n_threads))


def samples_of(X, name, n_features=None, *, trains=False):
    """X as a float64 array or CSR matrix, with as many features as there must be; of rows that
    train with sizes whose squares double precision holds."""
    X = X.get() if is_on_device(X) else X
    X = check_matrix(X, name, **(SIZES if trains else {}))
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(f"{name} must have {n_features} features; got shape {X.shape}")
    if isinstance(X, np.ndarray):
        return np.ascontiguousarray(X, np.float64)
    return X.astype(np.float64)


def like(X, other):
    """X dense where `other` is, else sparse."""
    if isinstance(X, np.ndarray) == isinstance(other, np.ndarray):
        return X
    if isinstance(other, np.ndarray):
        return X.toarray()
    from scipy.sparse import csr_matrix

    return csr_matrix(X)
