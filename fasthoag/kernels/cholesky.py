"""Cholesky factors in place, block by block where matrices are large: LAPACK's own, as OpenBLAS has
it on several threads, ended the process at 20,000 rows. (At 6,000 it takes less than half of the
time of blocks, on a quiet machine.)"""

import numpy as np
from scipy.linalg import blas, lapack

LARGEST, BLOCK = 8192, 1024


def factorise(K):
    """The lower triangle of K (n, n), C order, becomes its Cholesky factor; returns whether K is
    positive definite."""
    if len(K) <= LARGEST:
        return is_factorised(K)
    n = len(K)
    for first in range(0, n, BLOCK):
        end = min(first + BLOCK, n)
        corner = np.ascontiguousarray(K[first:end, first:end])
        if not is_factorised(corner):
            return False
        K[first:end, first:end] = corner
        eliminate(K, first, end, corner)
    return True


def eliminate(K, first, end, corner):
    """What is left of K without the columns whose factor is `corner`; their rows below it become
    P with P L' = K. One panel and one tile are all that is held beside K."""
    (trsm,) = blas.get_blas_funcs(("trsm",), (K,))
    panel = np.asfortranarray(K[end:, first:end].T)
    panel = trsm(1.0, corner.T, panel, side=0, lower=0, trans_a=1, overwrite_b=1).T
    K[end:, first:end] = panel
    rest, n = K[end:, end:], len(panel)
    tiles = [slice(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK)]
    for i, rows in enumerate(tiles):
        for columns in tiles[: i + 1]:
            rest[rows, columns] -= panel[rows] @ panel[columns].T


def is_factorised(K):
    """The same by LAPACK."""
    (potrf,) = lapack.get_lapack_funcs(("potrf",), (K,))
    _, info = potrf(K.T, lower=0, clean=0, overwrite_a=1)
    return info == 0
