"""Coefficients in the space of few rows: with one strength for all features the minimiser is a
combination of rows, so that as many coefficients as rows are enough for any number of features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from fasthoag.blas import blas_threads

FEWEST = 256  # features: blocks of fewer coefficients cost nothing beside passes
MOST_ROWS = 2000  # their products and a decomposition of these are made
GAIN = 4  # times the numbers of a pass, and of vectors, that it must save
VECTORS = 16  # of coefficients that a pass comes with
SURE = 1e-7  # of the largest square of a singular value: above it and below rounding none is lost
CHUNK = 1 << 22  # numbers


@dataclass(frozen=True, eq=False)
class RowSpace:
    """Features as combinations V u of the rows of X, where ``V = X' A`` has orthonormal columns.

    Parameters
    ----------
    rows : list of arrays or CSR matrices, shape (n, n_features)
        X, in blocks, or any other rows that span the same. They are not copied.
    A : array, shape (n, rank)
    Z : array, shape (n_rows, rank)
        X V of the rows it was made of.
    part : array, shape (n_varying,)
        Of the sum of squares of all columns, without their means beside an intercept, that of each
        column that has one.

    Examples
    --------
    >>> space = row_space([np.array([[3.0, 4.0, 0.0], [6.0, 8.0, 0.0]])], has_intercept=False)
    >>> space.Z.shape, np.round(space.apply(space.solve(np.array([3.0, 4.0, 5.0]))), 6) + 0.0
    ((2, 1), array([3., 4., 0.]))
    """

    rows: Any
    A: Any
    Z: Any
    part: Any

    factor = None  # of strengths

    @property
    def n_features(self):
        return self.rows[0].shape[1]

    @property
    def told(self):
        """What a result says of it."""
        r = self.A.shape[1]
        return f" Solved among combinations of rows: {r} coefficients for {self.n_features}."

    @property
    def kept(self):
        """A feature that has the strength of each coefficient: the first, as all have one."""
        return np.zeros(self.A.shape[1], np.int64)

    def apply(self, u):
        """The user's coefficients V u; rows beyond these, of an intercept, as they are."""
        r = self.A.shape[1]
        n, parts = 0, self.A @ u[:r]
        w = np.zeros((self.n_features, *u.shape[1:]))
        for block in self.rows:
            w += block.T @ parts[n : n + block.shape[0]]
            n += block.shape[0]
        return np.concatenate([w, u[r:]])

    def solve(self, w):
        """The u with the predictions of `w` in the rows of X."""
        p = self.n_features
        products = [block @ w[:p] for block in self.rows]
        return np.concatenate([self.A.T @ np.concatenate(products), w[p:]])

    def spread_out(self, values):
        """Numbers of coefficients, such as squares of sizes, as those of the user's features: each
        has its part of the sum."""
        return values.sum() * self.part

    def suits(self, alike):
        """Whether all features have one strength, by the numbers of `fasthoag.penalties.alike`."""
        return alike is not None and is_one(alike)

    def of_rows(self, blocks, n_threads, is_own=False):
        """X V of blocks of other rows, or of those it was made of (`is_own`), which it has."""
        if is_own:
            ends = np.cumsum([one.shape[0] for one in blocks])[:-1]
            return np.split(self.Z, ends)
        return [np.ascontiguousarray(self.products(one) @ self.A) for one in blocks]

    def products(self, X):
        """X times all rows."""
        return np.hstack([as_array(double(X) @ double(one).T) for one in self.rows])


def is_one(alike):
    """Whether all features have the same strength, and have one."""
    return alike[0] >= 0 and not np.ptp(alike)


def as_array(X):
    return X.toarray() if sp.issparse(X) else np.asarray(X)


def double(X):
    return X.astype(np.float64, copy=False)


def row_space_of(blocks, held, alike, has_intercept, n_threads):
    """The `RowSpace` of blocks of rows whose features all have one number in ``alike(n_features)``;
    None where that says something else, and where it does not save most of the numbers that a pass
    over them as they would be `held` else reads and writes."""
    n, p = sum(one.shape[0] for one in blocks), blocks[0].shape[1]
    n_stored = sum(one.nnz if sp.issparse(one) else one.size for one in held)
    saves = GAIN * n * n <= n_stored + VECTORS * held[0].shape[1]
    if not (saves and n <= MOST_ROWS and p >= FEWEST):
        return None
    labels = alike(p)
    if labels is None or not is_one(labels):
        return None
    with blas_threads(n, n_threads):
        return row_space(blocks, has_intercept)


def row_space(blocks, has_intercept):
    """The `RowSpace` of blocks of rows, None where all are 0."""
    squares, vectors = np.linalg.eigh(gram(blocks))
    largest = squares[-1]
    noise = len(squares) * np.finfo(np.float64).eps * largest
    if not largest > 0:
        return None
    part = parts(blocks, has_intercept)
    is_sure = (squares <= noise) | (squares > SURE * largest)
    if is_sure.all():
        is_there = squares > noise
        sizes, U = np.sqrt(squares[is_there]), vectors[:, is_there]
        return RowSpace(blocks, U / sizes, np.ascontiguousarray(U * sizes), part)
    # squares of singular values lose half of the digits of the small ones
    U, sizes, rows = np.linalg.svd(
        np.vstack([as_array(one) for one in blocks]).astype(np.float64), full_matrices=False
    )
    is_there = sizes > len(sizes) * np.finfo(np.float64).eps * sizes[0]
    Z = np.ascontiguousarray((U * sizes)[:, is_there])
    return RowSpace([rows[is_there]], np.eye(Z.shape[1]), Z, part)


def gram(blocks):
    """X X', (n_rows, n_rows)."""
    if sp.issparse(blocks[0]):
        X = double(sp.vstack(blocks, format="csr"))
        return (X @ X.T).toarray()
    n, p = sum(one.shape[0] for one in blocks), blocks[0].shape[1]
    total, step = np.zeros((n, n)), max(1, CHUNK // n)
    for k in range(0, p, step):  # some columns at a time: double precision is a copy of float32
        X = np.vstack([one[:, k : k + step] for one in blocks]).astype(np.float64, copy=False)
        total += X @ X.T
    return total


def parts(blocks, has_intercept):
    """The part of each column in the sum of squares of all, less their means beside an intercept,
    where it is not 0."""
    n = sum(one.shape[0] for one in blocks)
    sums, squares = 0.0, 0.0
    for one in blocks:
        if sp.issparse(one):
            p, values = one.shape[1], one.data.astype(np.float64)
            sums = sums + np.bincount(one.indices, values, minlength=p)
            squares = squares + np.bincount(one.indices, values * values, minlength=p)
        else:
            sums = sums + one.sum(axis=0, dtype=np.float64)
            squares = squares + np.einsum("ij,ij->j", one, one, dtype=np.float64)
    if has_intercept:
        left = squares - sums * sums / n
        squares = np.where(left > 1e-10 * squares, left, 0.0)  # a constant has none
    squares = squares[squares > 0]
    return squares / squares.sum()
