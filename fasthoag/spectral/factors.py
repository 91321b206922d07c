"""Factors of training rows: with ``A = √s (X - 1 m')`` and its singular values, ``A = U S V'``, the
coefficients of least squares at strength λ are ``w = A' U v`` with ``v = c / (S² + λ)`` and ``c =
U' √s (y - ȳ)``, for every λ and every target."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from fasthoag.spectral.shifted import Diagonal, Shifted, tridiagonal
from fasthoag.types import Array

BLOCK_BYTES = 2**25  # of the rows or columns of X that are centred at a time
# Multiply-adds of a singular value decomposition up to which it is taken: it keeps the digits of
# tiny strengths, which the matrix of products loses.
FEW = 10**8


@dataclass(frozen=True, eq=False)
class Source:
    """X as it came, with what is taken from its columns and what they are multiplied by.

    Attributes
    ----------
    X : array or CSR matrix, shape (n_rows, n_features)
    mean : array, shape (n_features,)
        Of all rows, or 0 without an intercept.
    center : array, shape (n_features,)
        This in the precision of X: products of differences from it keep the digits that those of
        far columns would lose.
    scale : array, shape (n_features,), or None
    """

    X: Any
    mean: Array
    center: Array
    scale: Array | None

    @property
    def dtype(self) -> Any:
        """Of products: that of X where it is dense."""
        return np.dtype(np.float64) if sp.issparse(self.X) else self.X.dtype

    def block(self, rows: Any, columns: Any = slice(None)) -> Array:
        """These rows and columns as an array of their own, centred and scaled."""
        X = self.X[rows][:, columns] if sp.issparse(self.X) else self.X[rows, columns]
        block = X.toarray() if sp.issparse(X) else X
        block = block - self.center[columns].astype(block.dtype)
        return block if self.scale is None else block * self.scale[columns].astype(block.dtype)

    def row_blocks(self) -> list[slice]:
        n, p = self.X.shape
        return slices(n, max(1, BLOCK_BYTES // (8 * p)))

    def column_blocks(self) -> list[slice]:
        n, p = self.X.shape
        return slices(p, max(1, BLOCK_BYTES // (8 * n)))

    def gram(self, workers: Any) -> Array:
        """The products of all rows, (n_rows, n_rows), float64."""
        if sp.issparse(self.X):
            return self._gram_of_sparse()
        n, p = self.X.shape  # each thread has a sum of its own: together no more than X has
        return sum(workers.map(self._gram_of, workers.turns(self.column_blocks(), p // n)))

    def _gram_of_sparse(self):
        """That of columns with few values, and beside it that of others: they may be far from 0,
        where only products of what is left without the center have digits."""
        n, p = self.X.shape
        is_filled = np.bincount(self.X.indices, minlength=p) > n // 2
        K = np.zeros((n, n))
        for columns in slices(np.count_nonzero(is_filled), self.column_blocks()[0].stop):
            block = self.block(slice(None), np.flatnonzero(is_filled)[columns]).astype(np.float64)
            K += block @ block.T
        rest = np.flatnonzero(~is_filled)
        X, center = sp.csr_array(self.X)[:, rest].astype(np.float64), self.center[rest]
        if self.scale is not None:
            X, center = (X * self.scale[None, rest]).tocsr(), center * self.scale[rest]
        with_center = X @ center
        K += (X @ X.T).toarray()
        return K - with_center[:, None] - with_center + center @ center

    def _gram_of(self, column_blocks):
        K = np.zeros((len(self.X),) * 2)
        for columns in column_blocks:
            block = self.block(slice(None), columns)
            K += block @ block.T
        return K

    def transposed_product(self, B: Array, out: Array, workers: Any) -> None:
        """``(X - 1 center')' B``, scaled, into `out` (n_features, m)."""
        if sp.issparse(self.X):
            found = self.X.T @ B - np.outer(self.center, B.sum(axis=0))
            out[:] = found if self.scale is None else found * self.scale[:, None]
            return

        def fill(columns):
            out[columns] = self.block(slice(None), columns).T @ B

        workers.map(fill, self.column_blocks())


def slices(n: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, n)) for first in range(0, n, step)]


def source_of(X: Any, weight: Array, has_intercept: bool, factor: Array | None) -> Source:
    """The `Source` of X; the penalty of feature j is `factor` j times the strength."""
    mean = np.zeros(X.shape[1])
    if has_intercept:
        # Differences from a row first: a sum of large numbers has no digits left for small ones.
        first = np.zeros(X.shape[1]) if sp.issparse(X) else X[0].astype(np.float64)
        for rows in slices(X.shape[0], max(1, BLOCK_BYTES // (8 * X.shape[1]))):
            block = X[rows] if sp.issparse(X) else X[rows] - first
            mean += weight[rows] @ block
        mean = first + mean / weight.sum()
    center = mean.astype(X.dtype).astype(np.float64)
    return Source(X, mean, center, None if factor is None else 1 / np.sqrt(factor))


@dataclass(frozen=True, eq=False)
class Factor:
    """The rows that train a fold, factorised.

    Attributes
    ----------
    A : Shifted
        ``A A'`` in the coordinates of U: S² on its diagonal, those that are more than rounding, or
        tridiagonal.
    rows : array of row numbers
    root : array, shape (len(rows),)
        √s.
    mean : array, shape (n_features,), or None
        m less the center of the source; None where only products of rows are known.
    U : array, shape (len(rows), rank), or None where X gives it, block by block
    basis : array, shape (n_features, rank), or None
        V S.
    """

    A: Shifted
    rows: Array
    root: Array
    mean: Array | None
    U: Any
    basis: Array | None
    is_full: bool  # whether the columns of U span all that targets can be, less the mean

    @property
    def e(self) -> Array:
        """S², in falling order."""
        return self.A.e

    @property
    def total(self) -> float:
        return float(self.root @ self.root)


def rank_of(e, rounding):
    """How many of these squares, in falling order, are more than rounding."""
    return int(np.count_nonzero(e > rounding * (e[0] if len(e) else 0.0)))


def is_full(rank, root, has_intercept):
    return rank >= np.count_nonzero(root) - int(has_intercept)


def of_values(block: Array, rows: Array, weight: Array, has_intercept: bool) -> Factor:
    """The `Factor` of these rows by the singular values of `block`, all rows of the source."""
    root, mean = np.sqrt(weight[rows]), np.zeros(block.shape[1])
    A = block[rows]
    if has_intercept:
        mean = (root**2 @ A) / (root @ root)
        A = A - mean
    A = A * root[:, None]
    U, S, Vt = np.linalg.svd(A, full_matrices=False)
    rank = rank_of(S, max(A.shape) * np.finfo(np.float64).eps)
    U, S, Vt = U[:, :rank], S[:rank], Vt[:rank]
    full = is_full(rank, root, has_intercept)
    return Factor(Diagonal(S**2), rows, root, mean, np.ascontiguousarray(U), Vt.T * S, full)


def of_gram(
    K: Array, rows: Array, weight: Array, has_intercept: bool, dtype: Any, is_tridiagonal: bool
) -> Factor:
    """The same by the products K of all rows of the source: by their eigenvectors, or by what makes
    them tridiagonal."""
    root = np.sqrt(weight[rows])
    A = K[np.ix_(rows, rows)]
    if has_intercept:
        A = centred(A, root**2 / (root @ root))
    A *= root[:, None] * root
    if is_tridiagonal:
        T, Q = tridiagonal(A.astype(dtype))
        return Factor(T, rows, root, None, Q, None, is_full(len(T.e), root, has_intercept))
    e, U = scipy.linalg.eigh(A.astype(dtype), check_finite=False, **driver(dtype))
    e, U = e[::-1], U[:, ::-1]
    rank = rank_of(e, len(rows) * np.finfo(dtype).eps)
    U, full = np.ascontiguousarray(U[:, :rank]), is_full(rank, root, has_intercept)
    return Factor(Diagonal(e[:rank]), rows, root, None, U, None, full)


def driver(dtype):
    # Of single precision the one by bisection takes several times as long.
    return {"driver": "evr" if dtype == np.float64 else "evd", "overwrite_a": True}


def centred(K, share):
    """Products of rows less their mean with these shares, from products of rows."""
    with_mean = K @ share
    K -= with_mean[:, None]
    K -= with_mean
    K += share @ with_mean
    return K


def across(K: Array, factor: Factor, rows: Array, has_intercept: bool) -> Array:
    """``(x - m)' A' U`` of other rows, (len(rows), rank)."""
    part = K[np.ix_(rows, factor.rows)]
    if has_intercept:
        share = factor.root**2 / factor.total
        own = K[np.ix_(factor.rows, factor.rows)] @ share
        part = part - (part @ share)[:, None] - own + share @ own
    dtype = factor.U.dtype
    return (part * factor.root).astype(dtype) @ factor.U


def of_moments(C: Array, mean: Array, rows: Array, root: Array, has_intercept: bool) -> Factor:
    """The same by ``C = A'A``."""
    e, V = scipy.linalg.eigh(C, check_finite=False, driver="evr")
    e, V = e[::-1], V[:, ::-1]
    rank = rank_of(e, max(len(rows), len(e)) * np.finfo(np.float64).eps)
    e, V = e[:rank], V[:, :rank]
    full = is_full(rank, root, has_intercept)
    return Factor(Diagonal(e), rows, root, mean, None, V * np.sqrt(e), full)
