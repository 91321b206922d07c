"""Products of blocks (n, m) that are tall and thin. BLAS would wake its threads for them, which
costs more than the work: on a busy machine a QR of 16,000 rows and 16 columns took 0.5 s, and
three sketches of the Hessian two thirds of a search. Other arrays than NumPy's have no such
threads."""

import numpy as np
import scipy.sparse as sp

# of a product of rows, columns and columns: below 4 * 65536 OpenBLAS works on the calling thread
FEW_PRODUCTS = 1 << 17
LARGE = 1 << 26  # bytes of coefficients that are not copied as a whole


def _in_parts(A, n_columns):
    """A block as parts of so few rows that BLAS wakes nobody, (parts, rows, m), and the rest."""
    n_rows = max(1, FEW_PRODUCTS // max(1, A.shape[1] * n_columns))
    n_parts = len(A) // n_rows
    whole = n_parts * n_rows
    return A[:whole].reshape(n_parts, n_rows, A.shape[1]), A[whole:]


def inner_product(A, B):
    """``AᵀB`` of two blocks (n, a) and (n, b).

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.thin import inner_product
    >>> inner_product(np.ones((3, 1)), np.eye(3))
    array([[1., 1., 1.]])
    """
    if not isinstance(A, np.ndarray):
        return A.T @ B
    (parts, rest), (others, other_rest) = _in_parts(A, B.shape[1]), _in_parts(B, A.shape[1])
    return np.matmul(parts.transpose(0, 2, 1), others).sum(axis=0) + rest.T @ other_rest


def times(A, M):
    """``A M`` of a block (n, a) and a small matrix (a, b).

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.thin import times
    >>> times(np.ones((2, 3)), np.eye(3))
    array([[1., 1., 1.],
           [1., 1., 1.]])
    """
    if not isinstance(A, np.ndarray):
        return A @ M
    parts, rest = _in_parts(A, M.shape[1])
    product = np.empty((len(A), M.shape[1]))
    k = len(A) - len(rest)
    np.matmul(parts, M, out=product[:k].reshape(*parts.shape[:2], M.shape[1]))
    np.matmul(rest, M, out=product[k:])
    return product


def product(X, coef):
    """``X coef'`` of rows and coefficients (n_outputs, n_features). Many coefficients, which may be
    in a memory map, are taken in parts where they would be copied: for double precision, or to be
    multiplied by a sparse matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.thin import product
    >>> product(np.ones((2, 3)), np.eye(3))[0]
    array([1., 1., 1.])
    """
    if not isinstance(coef, np.ndarray) or coef.nbytes <= LARGE:
        return X @ coef.T
    dtype = np.result_type(X.dtype, coef.dtype)
    if not sp.issparse(X) and coef.dtype == dtype:
        return X @ coef.T
    found = np.empty((X.shape[0], len(coef)), dtype)
    step = max(1, LARGE // (dtype.itemsize * coef.shape[1]))
    for k in range(0, len(coef), step):
        some = slice(k, k + step)
        found[:, some] = X @ coef[some].astype(dtype, copy=False).T
    return found
