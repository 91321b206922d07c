"""The executable specification of a Design: plain NumPy/SciPy, or any array namespace for a dense
X. Slow, short, and what the others must equal."""

import numpy as np
import scipy.sparse as sp

from fasthoag import _core
from fasthoag.design import HELD_OUT, MAX_HOT, TRAIN
from fasthoag.design.cpu import check_matrix
from fasthoag.losses import find_loss


class ReferenceDesign:
    """X as SciPy or array-namespace products, one column layout and no renumbering.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.design.reference import ReferenceDesign
    >>> ReferenceDesign(np.eye(2)).matvec(np.array([[3.0], [4.0]])).ravel()
    array([3., 4.])
    """

    def __init__(self, X, *, fit_intercept=False, xp=np):
        X = check_matrix(X)
        self.shape, self.dtype, self.has_intercept, self.xp = (
            X.shape,
            X.dtype,
            bool(fit_intercept),
            xp,
        )
        self.n_coef = X.shape[1] + self.has_intercept
        self.n_hot = min(X.shape[1], MAX_HOT)
        self.n_stored = X.nnz if sp.issparse(X) else X.size
        self.is_sparse, self.n_passes = sp.issparse(X), 0
        self.counts = X.getnnz(axis=0) if self.is_sparse else np.count_nonzero(X, axis=0)
        X = X.astype(np.float64)  # products in float64 whatever is stored
        if self.has_intercept:
            X = (
                sp.hstack([X, np.ones((X.shape[0], 1))]).tocsr()
                if sp.issparse(X)
                else np.hstack([X, np.ones((X.shape[0], 1))])
            )
        self._X = X if xp is np else xp.asarray(X)
        self._XT = X.T if sp.issparse(X) else self._X.T

    def like(self, X):
        return ReferenceDesign(X, fit_intercept=self.has_intercept, xp=self.xp)

    def with_threads(self, n_threads):
        return self

    def encode(self, w):
        return self.xp.asarray(np.ascontiguousarray(w, dtype=np.float64))

    def decode(self, w):
        return np.array(w)

    def _weights(self, rows, part, fold):
        return rows.matrix(self.shape[0], part)[
            :, fold if rows.mask is not None else np.zeros(len(fold), int)
        ]

    def _loss(self, loss, order, y, Z):
        loss = find_loss(loss)
        if loss.n_classes > 1:
            return self._softmax(loss.n_classes, loss.parameters["smoothing"], order, y, Z)
        return _core.row_terms(
            loss.native,
            order,
            y,
            None,
            None,
            TRAIN,
            np.zeros(Z.shape[1], np.int32),
            np.ascontiguousarray(np.asarray(Z)),
            1,
        )

    def _softmax(self, K, smoothing, order, y, Z):
        """Of the multinomial loss: value in the first column of a unit (0), gradient (1),
        probabilities (2, 3)."""
        z = np.asarray(Z).reshape(len(y), -1, K)
        top = z.max(axis=2, keepdims=True)
        e = np.exp(z - top)
        target = (smoothing / K + (1 - smoothing) * np.eye(K)[y.astype(int)])[:, None]
        if order == 0:
            out = np.zeros_like(z)
            out[:, :, 0] = np.log(e.sum(axis=2)) + top[:, :, 0] - (z * target).sum(axis=2)
            return out.reshape(Z.shape)
        return (e / e.sum(axis=2, keepdims=True) - target * (order == 1)).reshape(Z.shape)

    def loss_grad(self, loss, y, rows, fold, W, want_grad=True):
        self.n_passes += 1
        Z = self._X @ W
        values = self._loss(loss, 0, y, Z)
        train, held = self._weights(rows, TRAIN, fold), self._weights(rows, HELD_OUT, fold)
        G = self._XT @ self.xp.asarray(train * self._loss(loss, 1, y, Z)) if want_grad else None
        return (
            np.where(train != 0, train * values, 0).sum(0),
            np.where(held != 0, held * values, 0).sum(0),
            G,
            Z,
        )

    def row_terms(self, loss, order, y, rows, part, fold, Z):
        return self.xp.asarray(self._weights(rows, part, fold) * self._loss(loss, order, y, Z))

    def loss_sum(self, loss, y, rows, part, fold, Z):
        return (self._weights(rows, part, fold) * self._loss(loss, 0, y, Z)).sum(0)

    def hvp(self, curvature, fold, V, n_classes=1):
        self.n_passes += 1
        if n_classes > 1:
            K = n_classes
            a, u = (
                np.asarray(curvature).reshape(self.shape[0], -1, K)[:, fold[::K]],
                np.asarray(self._X @ V).reshape(self.shape[0], -1, K),
            )
            s = a.sum(axis=2, keepdims=True)
            return self._XT @ self.xp.asarray(
                (a * (u - (a * u).sum(axis=2, keepdims=True) / np.where(s > 0, s, 1))).reshape(
                    self.shape[0], -1
                )
            )
        return self._XT @ (self.xp.take(curvature, self.xp.asarray(fold), axis=1) * (self._X @ V))

    def hess_diag(self, curvature):
        self.n_passes += 1
        squares = self._X.multiply(self._X).T if sp.issparse(self._X) else (self._X * self._X).T
        return squares @ curvature

    def matvec(self, V):
        self.n_passes += 1
        return self._X @ V

    def rmatvec(self, R):
        self.n_passes += 1
        return self._XT @ R

    def contract(self, A, B, Q, U, n_classes=1):
        self.n_passes += 1
        A, F = np.array(A), A.shape[1] // n_classes
        if n_classes > 1:
            K, n = n_classes, self.shape[0]
            u, M = np.asarray(self._X @ U).reshape(n, -1, F, K), 0.0
            for weight, q in ((A, None), (B, Q)) if Q is not None else ((A, None),):
                w = np.asarray(weight).reshape(n, F, K)
                p = w / np.where(w.sum(axis=2, keepdims=True) != 0, w.sum(axis=2, keepdims=True), 1)
                centred = u - np.einsum("ifc,iafc->iaf", p, u)[..., None]
                if q is not None:
                    q = np.asarray(self._X @ q).reshape(n, F, K)
                    w = w * (q - (p * q).sum(axis=2, keepdims=True))
                M = M + np.einsum("ifc,iafc,ibfc->fab", w, centred, centred)
            return M
        if Q is not None:
            A = A + np.asarray(B) * np.asarray(self._X @ Q)
        XU = np.asarray(self._X @ U).reshape(self.shape[0], -1, F)
        return np.einsum("if,iaf,ibf->fab", A, XU, XU)
