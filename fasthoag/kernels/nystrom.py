"""Kernels of low rank (Nyström): ``K̃ = K_nm C K_mn`` with m rows as centres and C the inverse of
K_mm, to which a little is added. Everything that is done with K can be done with K̃, from pairs of
rows with centres alone, and its derivatives are exact ones of K̃:

    ∂K̃ Z = ∂K_nm u + K_nm C (∂K_mn Z - ∂K_mm u),  u = C K_mn Z

Williams and Seeger (2001), "Using the Nyström method to speed up kernel machines", NeurIPS."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, lapack, solve_triangular

from fasthoag.kernels.iterative import low_rank
from fasthoag.kernels.solve import Singular, Sums
from fasthoag.threads import computed_once

JITTER = 1e-10  # over the mean of the diagonal of K_mm


@dataclass(frozen=True, eq=False)
class NystromPairs:
    """Pairs of rows (n) with columns (k) through centres (m): `left` and `right` are the pairs of
    rows and of columns with centres, `middle` of centres. It has the verbs of `Pairs`."""

    left: Any
    right: Any
    middle: Any
    n_centres: int

    @property
    def n_directions(self):
        return self.middle.n_directions

    @computed_once
    def triangle(self):
        """The lower Cholesky factor of K_mm."""
        m = self.n_centres
        K = self.middle.matrix(np.zeros((m, m)))
        K.flat[:: m + 1] += JITTER * max(K.diagonal().mean(), np.finfo(float).tiny)
        L, info = lapack.dpotrf(K.T, lower=0, clean=1, overwrite_a=1)
        if info != 0:
            raise Singular
        return np.ascontiguousarray(L.T)

    def inner(self, block):
        """C times a block (m, ...)."""
        flat = block.reshape(len(block), -1)
        return np.ascontiguousarray(cho_solve((self.triangle, True), flat)).reshape(block.shape)

    def features(self):
        """Φ (n, m) with ``K̃ = Φ Φᵀ`` of symmetric pairs."""
        K = self.left.matrix(np.empty((self.left.n_rows, self.n_centres)))
        return solve_triangular(self.triangle, K.T, lower=True, overwrite_b=True).T

    def through(self, A):
        """The coefficients of the centres, (m, c), for those of the columns."""
        return self.inner(self.right.back(A))

    def product(self, A):
        return self.left.product(self.through(A))

    def back(self, B):
        return self.right.product(self.inner(self.left.back(B)))

    def derivatives(self, A):
        return derivatives(self, self.left, self.right, A)

    def derivatives_back(self, B):
        return derivatives(self, self.right, self.left, B)

    def sums(self, P, Z, has_hess=True):
        u, v = self.inner(self.right.back(Z)), self.inner(self.left.back(P))
        parts = [
            pairs.sums(a, b, has_hess=has_hess)
            for pairs, a, b in ((self.left, P, u), (self.right, Z, v), (self.middle, v, u))
        ]
        grad, hess = (parts[0][i] + parts[1][i] - parts[2][i] for i in (0, 1))
        if has_hess:
            a = self.right.derivatives_back(Z) - self.middle.derivatives(u)
            b = self.left.derivatives_back(P) - self.middle.derivatives(v)
            inner_a = np.stack([self.inner(one) for one in a]) if len(a) else a
            cross = np.einsum("kmc,lmc->kl", b, inner_a)
            hess = hess + cross + cross.T
        return Sums(grad, hess)

    def factor(self, n, root, lam):
        features = self.features()
        if root is not None:
            features *= root[:, None]
        return low_rank(features, lam)


def derivatives(pairs, left, right, A):
    """``∂_k K̃ A``, (D, n, c)."""
    u = pairs.inner(right.back(A))
    direct = left.derivatives(u)
    D, n, c = direct.shape
    if D == 0:
        return direct
    inside = right.derivatives_back(A) - pairs.middle.derivatives(u)  # (D, m, c)
    inside = pairs.inner(np.ascontiguousarray(inside.transpose(1, 0, 2))).reshape(len(u), D * c)
    through = left.product(inside).reshape(n, D, c).transpose(1, 0, 2)
    return direct + through
