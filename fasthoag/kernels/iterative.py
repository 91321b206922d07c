"""The systems of a kernel model where its matrix in double precision is too large or takes too
long: conjugate gradients over blocks of K that are made anew, preconditioned by a Cholesky factor
in single precision or, where that does not fit either, by a factor of low rank (Nyström).

A single precision factor takes half the memory and half the time, and leaves 4 to 17 steps. It
fails where λ is lost in its rounding; the factor of low rank does not, and leaves 6 to 10 steps
where it takes up nearly all of K.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

from fasthoag.kernels.cholesky import factorise
from fasthoag.kernels.solve import Singular

TOL, MAX_STEPS = 1e-11, 300


@dataclass(frozen=True, eq=False)
class SingleFactor:
    """A Cholesky factor of ``λ I + D^½ K D^½`` in float32."""

    cholesky: Any

    def inverse(self, block):
        x, info = lapack.spotrs(self.cholesky.T, np.asarray(block, np.float32), lower=0)
        if info != 0:
            raise ValueError(f"spotrs: argument {-info}")
        return np.asarray(x, np.float64)


@dataclass(frozen=True, eq=False)
class LowRank:
    """The inverse of ``λ I + Φ Φᵀ``, Φ (n, m), from the Cholesky factor of ``λ I + ΦᵀΦ``."""

    features: Any
    cholesky: Any
    lam: float

    @property
    def trace(self):
        """Of ``Φ Φᵀ``."""
        return float(np.vdot(self.features, self.features))

    def inverse(self, block):
        x, info = lapack.dpotrs(self.cholesky, self.features.T @ block, lower=1)
        if info != 0:
            raise ValueError(f"dpotrs: argument {-info}")
        return (block - self.features @ x) / self.lam


def single_factor(pairs, n, root, lam):
    """The `SingleFactor`; raises Singular where λ is lost in its rounding."""
    K = pairs.matrix(np.zeros((n, n), np.float32))
    if root is not None:
        K *= root[:, None].astype(np.float32)
        K *= root.astype(np.float32)
    K.flat[:: n + 1] += np.float32(lam)
    if not factorise(K):
        raise Singular
    return SingleFactor(K)


def low_rank(features, lam):
    """The `LowRank` inverse of these features (n, m)."""
    gram = features.T @ features
    gram.flat[:: len(gram) + 1] += lam
    cholesky, info = lapack.dpotrf(gram, lower=1, clean=0, overwrite_a=1)
    if info != 0:
        raise Singular
    return LowRank(features, cholesky, lam)


def unless_singular(factor, *args):
    """The factor, or None where it is singular."""
    try:
        return factor(*args)
    except Singular:
        return None


def conjugate_gradients(product, b, precond, tol=TOL):
    """x (n, c) with ``|b - A x| <= tol |b|`` for every column up to rounding, and the number of
    products. (The residual is not computed anew on the way: where λ is tiny rounding alone is more
    than `tol`, and steps against it make x worse.)"""
    x, r = np.zeros_like(b), b.copy()
    goal = tol * np.linalg.norm(b, axis=0)
    z = precond(r)
    p, rho = z.copy(), np.sum(r * z, axis=0)
    for n_steps in range(1, MAX_STEPS + 1):
        is_open = np.linalg.norm(r, axis=0) > goal
        if not is_open.any():
            return x, n_steps - 1
        q = product(p)
        curvature = np.sum(p * q, axis=0)
        step = np.where(is_open & (curvature > 0), rho / np.where(curvature > 0, curvature, 1), 0)
        x += step * p
        r -= step * q
        z = precond(r)
        before, rho = rho, np.sum(r * z, axis=0)
        p = z + np.where(before > 0, rho / np.where(before > 0, before, 1), 0) * p
    return x, MAX_STEPS


@dataclass(frozen=True, eq=False)
class Iterated:
    """What `solve.Cholesky` is, by conjugate gradients."""

    pairs: Any
    precond: Any
    root: Any
    lam: float

    def inverse(self, block):
        def product(p):
            scaled = p if self.root is None else self.root[:, None] * p
            K_p = self.pairs.product(scaled)
            return self.lam * p + (K_p if self.root is None else self.root[:, None] * K_p)

        x, _ = conjugate_gradients(product, np.ascontiguousarray(block), self.precond.inverse)
        return x
