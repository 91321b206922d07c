"""The executable specification of a Design: plain NumPy/SciPy, or any array namespace for a dense
X. Slow, short, and what the others must equal."""

import numpy as np
import scipy.sparse as sp

from fasthoag import _core
from fasthoag.design import HELD_OUT, MAX_HOT, TRAIN, UNWEIGHTED
from fasthoag.design.blocks import nonzeros
from fasthoag.design.coefficients import Identity
from fasthoag.design.matrix import check_matrix
from fasthoag.design.rows import LossGrad, RowBlock, beside, place, to_host
from fasthoag.inner.cg import cg_columns
from fasthoag.inner.newton import newton_columns
from fasthoag.losses import find_loss
from fasthoag.threads import PerThread


class ReferenceDesign:
    """X as SciPy or array-namespace products, one column layout and no renumbering.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.design.reference import ReferenceDesign
    >>> ReferenceDesign(np.eye(2)).matvec(np.array([[3.0], [4.0]])).ravel()
    array([3., 4.])
    """

    native_solvers = ("cg", "newton_cg")  # the algorithms in Python, as the reference
    has_float_products = contracts_in_blocks = can_sample = False
    where, is_given_on_device, compression = "cpu", False, None
    n_passes = PerThread()

    def __init__(self, X, *, fit_intercept=False, xp=np, coefficients=None):
        X = check_matrix(X)
        self.shape, self.dtype, self.has_intercept = X.shape, X.dtype, bool(fit_intercept)
        self.xp, self.counts = xp, nonzeros(X)
        self.lengths = X.shape[:1]
        self.coefficients = coefficients or Identity(X.shape[1] + self.has_intercept)
        self.n_coef = self.coefficients.n_design
        X = self.coefficients.of_rows(
            X.astype(np.float64)
        )  # products in float64 whatever is stored
        self.is_sparse, self.n_stored = sp.issparse(X), X.nnz if sp.issparse(X) else X.size
        self.n_hot = min(X.shape[1], MAX_HOT)
        if self.has_intercept:
            ones = np.full((X.shape[0], 1), self.coefficients.intercept)
            X = sp.hstack([X, ones]).tocsr() if self.is_sparse else np.hstack([X, ones])
        self._X = X if xp is np else xp.asarray(X)
        self._XT = X.T if self.is_sparse else self._X.T

    def like(self, X):
        maps = {"coefficients": self.coefficients, "xp": self.xp}
        return ReferenceDesign(X, fit_intercept=self.has_intercept, **maps)

    def check_unchanged(self):
        """X was copied."""

    def check_room(self, n_columns):
        """Blocks of coefficients live in the memory of this process, which grows as it is asked."""

    def with_threads(self, n_threads):
        return self

    def zeros(self, m):
        return self.xp.zeros((self.n_coef, m))

    def encode(self, w):
        return self.xp.asarray(self.coefficients.solve(np.array(w, np.float64)))

    def decode(self, u):
        return self.coefficients.apply(np.array(u))

    # ---- rows ----

    def place(self, y, weight=None, mask=None, offset=None):
        return place(self, y, weight, mask, offset)

    def put(self, arrays):
        y, weight, mask, offset = (None if a is None else np.asarray(a) for a in arrays)
        column = None if weight is None else weight[:, None]
        return RowBlock(np, y[:, None], column, mask, 0), offset

    def _weights(self, rows, part, m, K):
        weights = rows[0].weights(part)
        return weights[:, np.arange(m) // K % weights.shape[1]]

    def _loss(self, loss, order, y, Z):
        if loss.n_classes > 1:
            return _softmax(loss.n_classes, loss.parameters["smoothing"], order, y, Z)
        Z = np.ascontiguousarray(np.asarray(Z))
        rows = _core.Rows(np.ascontiguousarray(y[:, 0]), None, None, None)
        return rows.terms(loss.native, order, UNWEIGHTED, Z, 1)

    def loss_grad(self, rows, loss, W, part, has_grad):
        offset = None if rows[1] is None else self.xp.asarray(rows[1])
        Z = beside(self.xp, self.matvec(W), offset)
        G = self._XT @ self.terms(rows, loss, 1, part, Z) if has_grad else None
        other = TRAIN + HELD_OUT - part
        return LossGrad(*(self.sums(rows, loss, one, Z) for one in (part, other)), G, Z)

    def terms(self, rows, loss, order, part, Z):
        loss = find_loss(loss)
        weights = self._weights(rows, part, Z.shape[1], loss.n_classes)
        values = self._loss(loss, order, rows[0].y, Z)
        with np.errstate(invalid="ignore"):  # a row that does not count may be infinite
            return self.xp.asarray(np.where(weights != 0, weights * values, 0.0))

    def sums(self, rows, loss, part, Z):
        return np.asarray(self.terms(rows, loss, 0, part, Z)).sum(axis=0)

    # ---- passes ----

    def dense(self):
        return self._X.toarray() if self.is_sparse else np.asarray(self._X)

    def matvec(self, V):
        self.n_passes += 1
        return self._X @ V

    def rmatvec(self, H):
        self.n_passes += 1
        return self._XT @ H

    def hvp(self, c, V):
        self.n_passes += 1
        K, U = c.n_classes, self._X @ V
        fold = np.arange(U.shape[1] // K) % (c.values.shape[1] // K)
        if K == 1:
            return self._XT @ (self.xp.take(c.values, self.xp.asarray(fold), axis=1) * U)
        a = np.asarray(c.values).reshape(self.shape[0], -1, K)[:, fold]
        u = np.asarray(U).reshape(self.shape[0], -1, K)
        s = a.sum(axis=2, keepdims=True)
        u = a * (u - (a * u).sum(axis=2, keepdims=True) / np.where(s > 0, s, 1))
        return self._XT @ self.xp.asarray(u.reshape(self.shape[0], -1))

    def hess_diag(self, c):
        self.n_passes += 1
        X = self._X
        return (X.multiply(X).T if self.is_sparse else (X * X).T) @ c.values

    def gram(self, c):
        return self.hvp(c, self.xp.asarray(np.eye(self.n_coef)))

    def contract(self, a, b, Q, U):
        self.n_passes += 1
        K, n = (a or b).n_classes, self.shape[0]
        F = (a or b).values.shape[1] // K
        u = to_host(self._X @ U).reshape(n, -1, F, K)
        q = None if Q is None else to_host(self._X @ Q).reshape(n, F, K)
        M = 0.0
        for c, is_third in ((a, False), (b, True)):
            if c is None:
                continue
            w = to_host(c.values).reshape(n, F, K)
            if K == 1:
                w, centred = w * q if is_third else w, u
            else:
                s = w.sum(axis=2, keepdims=True)
                p = w / np.where(s != 0, s, 1)
                centred = u - np.einsum("ifc,iafc->iaf", p, u)[..., None]
                w = w * (q - (p * q).sum(axis=2, keepdims=True)) if is_third else w
            M = M + np.einsum("ifc,iafc,ibfc->fab", w, centred, centred)
        return M

    # ---- solvers ----

    def cg(self, *args):
        return cg_columns(*args)

    def newton_cg(self, *args, **limits):
        return newton_columns(*args, **limits)


def _softmax(K, smoothing, order, y, Z):
    """Of the multinomial loss: the value in the first column of a unit (0), the gradient (1),
    probabilities (2, 3)."""
    z = np.asarray(Z).reshape(len(y), -1, K)
    top = z.max(axis=2, keepdims=True)
    e = np.exp(z - top)
    target = (smoothing / K + (1 - smoothing) * np.eye(K)[y[:, 0].astype(int)])[:, None]
    if order == 0:
        out = np.zeros_like(z)
        out[:, :, 0] = np.log(e.sum(axis=2)) + top[:, :, 0] - (z * target).sum(axis=2)
        return out.reshape(Z.shape)
    return (e / e.sum(axis=2, keepdims=True) - target * (order == 1)).reshape(Z.shape)
