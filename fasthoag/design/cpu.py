"""X in memory, passes in C++."""

import copy
import os

import numpy as np
import scipy.sparse as sp

from fasthoag import _core
from fasthoag.design import MAX_HOT, is_on_device
from fasthoag.losses import find_loss


def check_n_threads(n_threads):
    """The number of threads to use: None means all cores that this process may use."""
    if n_threads is None:
        return _core.hardware_threads()
    if (
        isinstance(n_threads, bool)
        or not isinstance(n_threads, (int, np.integer))
        or n_threads == 0
    ):
        raise ValueError(
            f"n_threads must be a positive integer, -1 for all cores, or None; got {n_threads!r}"
        )
    return (
        int(n_threads)
        if n_threads > 0
        else max(
            1,
            len(os.sched_getaffinity(0)) + 1 + int(n_threads)
            if hasattr(os, "sched_getaffinity")
            else (os.cpu_count() or 1),
        )
    )


def check_matrix(X, name="X"):
    """X as C-ordered float array or canonical CSR matrix with float32 or float64 values, not copied
    when it is one already."""
    if is_on_device(X):
        raise ValueError(
            f"{name} is on the GPU and the problem is not. Pass {name}.get(), or device='gpu' with "
            "the problem"
        )
    if sp.issparse(X):
        if X.ndim != 2:
            raise ValueError(f"{name} must have 2 dimensions; got shape {X.shape}")
        if X.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: {name} has dtype {X.dtype}")
        X = X.tocsr()
        if X.dtype not in (np.float32, np.float64):
            X = X.astype(np.float64)
        # unsorted or duplicate column numbers: summed in a copy, the caller's matrix stays as it is
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        values = X.data
    else:
        X = np.asarray(X)
        if X.ndim != 2:
            raise ValueError(
                f"{name} must have 2 dimensions; got shape {X.shape}. Reshape one feature with "
                "X.reshape(-1, 1)"
            )
        if X.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: {name} has dtype {X.dtype}")
        if X.dtype not in (np.float32, np.float64):
            try:
                X = X.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} must be numeric; got dtype {X.dtype} ({error})") from None
        if type(X) is not np.ndarray:
            X = X.view(np.ndarray)  # memory maps: same memory
        values = X = np.ascontiguousarray(X)
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(f"{name} must have at least one row and one feature; got shape {X.shape}")
    check_finite(values, name)
    return X


def check_finite(values, name):
    """Raises ValueError when there is a NaN or an infinity, naming the argument and how many."""
    with np.errstate(all="ignore"):
        # one fast read; an overflowing sum is looked at again
        is_suspect = values.size and not np.isfinite(values.sum(dtype=np.float64))
    if is_suspect:
        n_bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if n_bad:
            kind = "NaN" if np.isnan(values).any() else "infinity"
            raise ValueError(
                f"{name} contains NaN or infinity ({n_bad} values, {kind} among them). Remove or "
                "impute them first"
            )


class CpuDesign:
    """X on this machine: the user's values are read in place; columns are renumbered by frequency
    in a copy of the indices.

    Parameters
    ----------
    X : array or sparse matrix, shape (n_rows, n_features)
    fit_intercept : bool
        Whether coefficient blocks have one more row, for a column of ones that is not stored.
    n_threads : int or None
        None: all cores.
    low_memory : bool
        Neither the renumbered nor the transposed copy is made.
    deterministic : bool
        The same bits for every number of threads; uses the transposed copy, so it cannot go with
        `low_memory`.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.design.cpu import CpuDesign
    >>> CpuDesign(np.eye(2)).matvec(np.array([[3.0], [4.0]])).ravel()
    array([3., 4.])
    """

    xp = np

    def __init__(
        self,
        X,
        *,
        fit_intercept=False,
        n_threads=None,
        low_memory=False,
        deterministic=False,
        like=None,
    ):
        if low_memory and deterministic:
            raise ValueError(
                "deterministic=True needs the transposed copy that low_memory=True forbids; choose "
                "one"
            )
        X = check_matrix(X)
        self.n_threads = check_n_threads(n_threads)
        self.shape, self.dtype, self.has_intercept = X.shape, X.dtype, bool(fit_intercept)
        self.n_coef = X.shape[1] + self.has_intercept
        self.low_memory, self.deterministic = low_memory, deterministic
        self.n_hot = 0 if low_memory else min(X.shape[1], MAX_HOT)
        self.is_sparse, self.array, self._counts = sp.issparse(X), None, None
        # (order, rank) of the renumbering, shared with designs of other rows
        self.order = None if like is None else like.order
        if sp.issparse(X):
            self._matrix = self._csr(X, is_free=like is None)
        else:
            if self.order is not None:
                X = np.ascontiguousarray(X[:, self.order[0]])
            self.array = X
            self._matrix = _core.Matrix(
                X,
                self.has_intercept,
                np.ascontiguousarray(X.T) if deterministic else None,
                deterministic,
            )
        self.n_stored = self._matrix.n_stored

    def _csr(self, X, is_free):
        p = X.shape[1]
        threads = self.n_threads
        indptr, indices = np.ascontiguousarray(X.indptr, np.int64), np.ascontiguousarray(X.indices)
        if indptr[0] != 0 or indptr[-1] > len(indices) or (np.diff(indptr) < 0).any():
            raise ValueError(
                "X has row pointers that do not start at 0, decrease or go beyond its data"
            )
        data = np.ascontiguousarray(X.data)
        if len(indices) != indptr[-1]:
            indices, data = indices[: indptr[-1]], data[: indptr[-1]]
        counts = _core.count_columns(indices, p, threads)
        if counts is None:
            raise ValueError(f"X has column indices outside 0..{p - 1}")
        self._counts = counts
        if is_free and not self.low_memory:
            self.order = _core.frequency_order(counts)
        if self.order is not None:
            indices = _core.relabel(indices, self.order[1], p > np.iinfo(np.int32).max, threads)
        transposed = None
        if not self.low_memory and (
            self.deterministic
            or not _core.Matrix(indptr, indices, data, p, self.has_intercept).is_narrow
        ):
            transposed = _core.transpose(indptr, indices, data, p, threads)
        return _core.Matrix(
            indptr, indices, data, p, self.has_intercept, transposed, self.deterministic
        )

    @property
    def n_passes(self):
        return self._matrix.n_passes

    @property
    def counts(self):
        if self._counts is None:  # dense; some rows at a time
            step = max(1, (1 << 22) // self.shape[1])
            self._counts = sum(
                np.count_nonzero(self.array[i : i + step], axis=0)
                for i in range(0, self.shape[0], step)
            )
        return self._counts

    def with_threads(self, n_threads):
        other = copy.copy(self)
        other.n_threads = check_n_threads(n_threads)
        return other

    def like(self, X):
        return CpuDesign(
            X,
            fit_intercept=self.has_intercept,
            n_threads=self.n_threads,
            low_memory=self.low_memory,
            deterministic=self.deterministic,
            like=self,
        )

    def encode(self, w):
        w = np.asarray(w, dtype=np.float64)
        if self.order is not None:
            w = np.concatenate([w[: self.shape[1]][self.order[0]], w[self.shape[1] :]])
        return np.ascontiguousarray(w)

    def decode(self, w):
        if self.order is None:
            return np.array(w)
        return np.concatenate([w[: self.shape[1]][self.order[1]], w[self.shape[1] :]])

    # kernels take C-ordered blocks; slices of a block are copied here, at the seam
    def loss_grad(self, loss, y, rows, fold, W, want_grad=True):
        return self._matrix.loss_grad(
            find_loss(loss).native,
            y,
            rows.weight,
            rows.mask,
            fold,
            _block(W),
            want_grad,
            self.n_threads,
        )

    def row_terms(self, loss, order, y, rows, part, fold, Z):
        return _core.row_terms(
            find_loss(loss).native,
            order,
            y,
            rows.weight,
            rows.mask,
            part,
            fold,
            _block(Z),
            self.n_threads,
        )

    def loss_sum(self, loss, y, rows, part, fold, Z):
        return _core.loss_sum(
            find_loss(loss).native, y, rows.weight, rows.mask, part, fold, _block(Z), self.n_threads
        )

    def hvp(self, curvature, fold, V, n_classes=1):
        return self._matrix.hvp(_block(curvature), fold, _block(V), n_classes, self.n_threads)

    def hess_diag(self, curvature):
        return self._matrix.hess_diag(_block(curvature), self.n_threads)

    def matvec(self, V):
        return self._matrix.matvec(_block(V), self.n_threads)

    def rmatvec(self, R):
        return self._matrix.rmatvec(_block(R), self.n_threads)

    def contract(self, A, B, Q, U, n_classes=1):
        return self._matrix.contract(
            _block(A), _block(B), _block(Q), _block(U), n_classes, self.n_threads
        )

    def cg(self, curvature, fold, lam, lam_of, b, start, tol, max_iter, precond, n_classes):
        return self._matrix.cg(
            _block(curvature),
            fold,
            _block(lam),
            lam_of,
            _block(b),
            _block(start),
            tol,
            max_iter,
            *map(_block, precond.parts),
            n_classes,
            self.n_threads,
        )

    def newton_cg(self, loss, y, rows, fold, lam, lam_of, W, tol, max_iter, max_cg, precond):
        return self._matrix.newton_cg(
            find_loss(loss).native,
            y,
            rows.weight,
            rows.mask,
            fold,
            _block(lam),
            lam_of,
            _block(W),
            tol,
            max_iter,
            max_cg,
            *map(_block, precond.parts),
            self.n_threads,
        )


def _block(array):
    return None if array is None else np.ascontiguousarray(array, np.float64)
