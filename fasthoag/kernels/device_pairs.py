"""Pairs of rows on a GPU: the verbs of `pairs.Pairs` over an array namespace, in blocks of rows.

Blocks of numbers of rows (α, residuals) come and go as NumPy arrays: they are small beside the
pairs. Squared distances are taken as ``|x|² + |y|² - 2 x·y`` of centred rows, by one matrix
product.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.kernels.solve import Singular, Sums

N_BLOCKS = 8  # of the size of a block of pairs that are there at a time


@dataclass(frozen=True, eq=False)
class DevicePairs:
    """Pairs of rows X (n, p) with rows Y (m, p), which are X itself for symmetric ones, both scaled
    by their widths and on the device."""

    device: Any
    kernel: Any
    X: Any
    Y: Any
    n_directions: int

    @property
    def xp(self):
        return self.device.xp

    @property
    def n_rows(self):
        return len(self.X)

    @property
    def is_shared(self):
        return self.n_directions <= 1

    def blocks(self):
        """(rows, s) block by block."""
        xp, X, Y = self.xp, self.X, self.Y
        kind, free = self.kernel.pair, self.device.free_bytes() or 2**30
        n_each = max(1, int(free // (N_BLOCKS * 8 * len(Y))))
        y_size = xp.sum(Y * Y, axis=1)
        for i in range(0, len(X), n_each):
            rows = slice(i, min(i + n_each, len(X)))
            x = X[rows]
            if kind == "products":
                s = x @ Y.T
            elif kind == "squares":
                s = xp.sum(x * x, axis=1)[:, None] + y_size[None] - 2.0 * (x @ Y.T)
                s = xp.maximum(s, xp.zeros_like(s))
            else:
                s = xp.zeros((len(x), len(Y)))
                for k in range(X.shape[1]):
                    s += self.feature(rows, k)
            yield rows, s

    def feature(self, rows, k):
        """v_k of a block of rows with all columns."""
        x, y = self.X[rows][:, k : k + 1], self.Y[:, k][None]
        if self.kernel.pair == "products":
            return x * y
        d = x - y
        return d * d if self.kernel.pair == "squares" else self.xp.abs(d)

    def phi(self, s, order):
        """K, φ'(s) or φ''(s)."""
        if self.kernel.shape == "exponential":
            e = self.xp.exp(-s)
            return -e if order == 1 else e
        d, base = self.kernel.degree, s + self.kernel.shift
        factor = (1.0, d, d * (d - 1.0))[order]
        return factor * base ** max(d - order, 0.0)

    def weights(self, rows, s, k):
        """∂K/∂log γ_k of a block."""
        return self.phi(s, 1) * (s if self.is_shared else self.feature(rows, k))

    def matrix(self, out, order=0):
        """K, or a derivative in the logarithm of the one width, into `out` (n, m) of NumPy."""
        for rows, s in self.blocks():
            block = self.phi(s, order) if order == 0 else self.phi(s, 1) * s
            if order == 2:
                block = block + self.phi(s, 2) * s * s
            out[rows] = block.get()
        return out

    def product(self, A):
        A = self.xp.asarray(np.ascontiguousarray(A))
        return self.joined([self.phi(s, 0) @ A for _, s in self.blocks()])

    def back(self, B):
        [out] = self._back(B, lambda rows, s: [self.phi(s, 0)])
        return out

    def derivatives(self, A):
        A, D = self.xp.asarray(np.ascontiguousarray(A)), self.n_directions
        parts = [[self.weights(rows, s, k) @ A for k in range(D)] for rows, s in self.blocks()]
        if D == 0:
            return np.empty((0, len(self.X), A.shape[1]))
        return np.stack([self.joined(column) for column in zip(*parts, strict=True)])

    def derivatives_back(self, B):
        D = self.n_directions
        if D == 0:
            return np.empty((0, len(self.Y), B.shape[1]))
        return self._back(B, lambda rows, s: (self.weights(rows, s, k) for k in range(D)))

    def _back(self, B, weights):
        B, total = self.xp.asarray(np.ascontiguousarray(B)), None
        for rows, s in self.blocks():
            part = [W.T @ B[rows] for W in weights(rows, s)]
            total = part if total is None else [a + b for a, b in zip(total, part, strict=True)]
        return np.stack([one.get() for one in total])

    def joined(self, blocks):
        return np.concatenate([block.get() for block in blocks])

    def sums(self, P, Z, W=None, has_hess=True):
        """``Σ_ij (P Zᵀ + W)_ij`` times first and second derivatives, (D,) and (D, D)."""
        xp, D = self.xp, self.n_directions
        P, Z = (xp.asarray(np.ascontiguousarray(one)) for one in (P, Z))
        grad, hess = np.zeros(D), np.zeros((D, D))
        for rows, s in self.blocks() if D else ():
            M = P[rows] @ Z.T
            if W is not None:
                M = M + xp.asarray(np.ascontiguousarray(W[rows]))
            first, second = M * self.phi(s, 1), M * self.phi(s, 2)
            for k in range(D):
                v = s if self.is_shared else self.feature(rows, k)
                grad[k] += float(xp.sum(first * v))
                for j in range(k + 1) if has_hess else ():
                    other = s if self.is_shared else self.feature(rows, j)
                    hess[k, j] += float(xp.sum(second * v * other))
        hess = np.tril(hess) + np.tril(hess, -1).T
        return Sums(grad, hess + np.diag(grad))

    def system_matrix(self, root, ridge):
        """``D^½ K D^½ + diag(ridge)`` on the device."""
        xp, n = self.xp, len(self.X)
        K = xp.empty((n, n))
        for rows, s in self.blocks():
            K[rows] = self.phi(s, 0)
        if root is not None:
            root = xp.asarray(root)
            K *= root[:, None]
            K *= root[None]
        ridge = np.full(n, ridge) if np.ndim(ridge) == 0 else ridge
        every = xp.arange(n)
        K[every, every] += xp.asarray(np.ascontiguousarray(ridge))
        return K

    def factor(self, n, root, lam):
        return DeviceCholesky(self.device, self.device.cholesky(self.system_matrix(root, lam)))

    def inverse(self, ridge):
        """The inverse of ``K + diag(ridge)`` (n, n) in NumPy's memory."""
        lower = self.device.cholesky(self.system_matrix(None, ridge))
        return DeviceCholesky(self.device, lower).inverse(np.eye(len(self.X)))


@dataclass(frozen=True, eq=False)
class DeviceCholesky:
    """What `solve.Cholesky` is, on the device; raises Singular where there is none."""

    device: Any
    lower: Any

    def __post_init__(self):
        if not bool(self.device.xp.isfinite(self.lower).all()):  # as cuSOLVER says it
            raise Singular

    def inverse(self, block):
        x = self.device.xp.asarray(np.ascontiguousarray(block))
        x = self.device.solve_triangular(self.lower, x)
        return self.device.solve_triangular(self.lower, x, is_transposed=True).get()
