"""Sparse matrices whose arrays are what they claim: SciPy's conversions and products trust row
pointers and column numbers, and read or write foreign memory where those are wrong. So a matrix is
looked at before any of its methods is called, at every entrance."""

import numpy as np

from fasthoag import _core
from fasthoag.kinds import numbers_of
from fasthoag.memory import memory_of_process

SURELY_FIT = 1 << 20  # rows or columns, for which the limits of this machine need not be read
VECTORS = 4  # of doubles, as long as X has rows or columns: the least that any work needs


def check_structure(X, name="X"):
    """Raises ValueError unless the arrays of a sparse matrix are those of a matrix of its shape.

    Of CSR every number is read once, in parallel, and SciPy's own notes whether rows are sorted and
    without duplicates are set to what was seen.

    Parameters
    ----------
    X : sparse matrix or array of SciPy
    name : str
        What the sentence calls it.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from fasthoag.design.structure import check_structure
    >>> X = sp.csr_matrix([[0.0, 2.0], [1.0, 0.0]])
    >>> X.indices[0] = 7
    >>> check_structure(X)
    Traceback (most recent call last):
    ValueError: X has column index 7 outside 0..1, in row 0. Make it anew from sound arrays
    """
    shape = check_shape(X.shape, name)
    if X.format == "csr":
        values = check_values(X.data, 1, name)
        X.has_canonical_format = check_compressed(X.indptr, X.indices, len(values), shape, name)
    elif X.format == "csc":
        values = check_values(X.data, 1, name)
        turned = "column", "row"
        check_compressed(X.indptr, X.indices, len(values), shape[::-1], name, words=turned)
    elif X.format == "bsr":
        check_blocks_of_rows(X.indptr, X.indices, X.data, shape, name)
    elif X.format == "coo":
        check_coordinates(*X.coords, len(check_values(X.data, 1, name)), shape, name)
    elif X.format == "dia":
        check_diagonals(X.offsets, X.data, shape, name)
    elif X.format == "dok":
        check_coordinates(*numbers_of_keys(X.keys(), name), len(X.keys()), shape, name)
    elif X.format == "lil":
        check_lists(X.rows, X.data, shape, name)


def sound_csr(X, name="X"):
    """A sparse matrix of SciPy as CSR that has been looked at; itself if it is CSR with numbers of
    int32 or int64 and no values beyond its last pointer."""
    check_structure(X, name)
    if X.format != "csr":
        is_known = X.dtype in (np.float32, np.float64)
        try:
            X = (X if is_known else X.astype(np.float64)).tocsr()  # SciPy converts no float16
        except (TypeError, ValueError, OverflowError) as error:  # lists, bytes in another order
            raise ValueError(f"{name} has entries that CSR cannot hold ({error})") from None
        check_structure(X, name)  # lists hold any numbers
    nnz = int(X.indptr[-1])
    is_plain = X.indptr.dtype == X.indices.dtype and X.indices.dtype in (np.int32, np.int64)
    if is_plain and X.indices.dtype.isnative and len(X.indices) == len(X.data) == nnz:
        return X
    indices, indptr = (integers(one, name) for one in (X.indices[:nnz], X.indptr))
    return type(X)((X.data[:nnz], indices, indptr), shape=X.shape)


def csr_arrays(X):
    """Row pointers, column numbers and values of a sound CSR matrix as the kernels take them."""
    indptr, indices = X.indptr.astype(np.int64), np.ascontiguousarray(X.indices)
    return indptr, indices[: indptr[-1]], np.ascontiguousarray(X.data)[: indptr[-1]]


def check_shape(shape, name):
    """The shape as two whole numbers, for which vectors fit into the memory of this machine."""
    if len(shape) != 2:
        raise ValueError(f"{name} must have 2 dimensions; got shape {shape}")
    n, p = (int(size) for size in shape)
    if 0 <= min(n, p) <= max(n, p) <= SURELY_FIT:
        return n, p
    most = memory_of_process() // (8 * VECTORS)
    for size, what in ((n, "rows"), (p, "columns")):
        if not 0 <= size <= most:
            raise ValueError(
                f"{name} claims to have {size} {what}; this machine has memory for vectors of "
                f"{most} numbers at most. Check its shape, {shape}, or leave empty {what} out"
            )
    return n, p


def check_array(array, name):
    """Raises ValueError for a list, say, of which SciPy's methods do not find the dtype."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a NumPy array; got {type(array).__name__}")


def check_values(data, n_dims, name):
    """The array of stored values."""
    check_array(data, f"{name}.data")
    if np.ndim(data) != n_dims:
        raise ValueError(f"{name}.data must have {n_dims} dimensions; got shape {np.shape(data)}")
    if numbers_of(data, name).dtype != data.dtype and data.dtype.itemsize <= 8:
        raise ValueError(
            f"{name} has values of dtype {data.dtype}; convert them with {name}.astype(float)"
        )
    return data


def numbers_of_keys(keys, name):
    """Row and column numbers of a matrix with a dictionary of entries (DOK)."""
    try:
        return np.array(list(keys), dtype=np.int64).reshape(-1, 2).T
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} has keys that are not two whole numbers ({error})") from None


def integers(array, name):
    """Row pointers or column numbers as the look takes them: contiguous int32 or int64."""
    check_array(array, name)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a vector of whole numbers; got shape {array.shape}, dtype "
            f"{array.dtype}"
        )
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} has the number {array.max()}. Make it anew from sound arrays")
    if array.dtype not in (np.int32, np.int64):  # other widths, signs and byte orders
        array = array.astype(np.int64)
    return np.ascontiguousarray(array)


def check_compressed(indptr, indices, n_values, shape, name, *, words=("row", "column")):
    """Whether the numbers increase within every row, of the arrays of a matrix in compressed rows;
    raises ValueError where they are not those of a matrix. `words` are what rows and columns are
    called: of CSC the other way round."""
    (n, p), (row, column) = shape, words
    pointers, numbers = integers(indptr, f"{name}.indptr"), integers(indices, f"{name}.indices")
    if len(pointers) != n + 1:
        raise ValueError(
            f"{name}.indptr must have {n + 1} values, one for each {row} and one more; got "
            f"{len(pointers)}"
        )
    n_stored = min(len(numbers), n_values)
    threads = _core.hardware_threads()
    fault, at, is_canonical = _core.look_at(pointers, numbers, n_stored, p, threads)
    if fault == "none":
        return is_canonical
    if fault == "index":
        where = int(np.searchsorted(pointers, at, side="right")) - 1
        what = f"{column} index {indices[at]} outside 0..{p - 1}, in {row} {where}"
    elif fault == "decrease":
        what = (
            f"{row} pointers that decrease after {row} {at}, from {indptr[at]} to {indptr[at + 1]}"
        )
    elif fault == "start":
        what = f"{row} pointers that start at {indptr[0]}, not 0"
    else:
        what = f"{row} pointers that end at {indptr[-1]}, beyond the {n_stored} stored values"
    raise ValueError(f"{name} has {what}. Make it anew from sound arrays")


def check_blocks_of_rows(indptr, indices, data, shape, name):
    """Raises ValueError unless these are the arrays of a matrix in blocks (BSR)."""
    n_blocks, *size = check_values(data, 3, name).shape
    if not all(size) or any(length % block for length, block in zip(shape, size, strict=True)):
        raise ValueError(f"{name} has blocks of shape {tuple(size)}, which do not fill {shape}")
    n, p = (length // block for length, block in zip(shape, size, strict=True))
    blocks = ("row of blocks", "block column")
    check_compressed(indptr, indices, n_blocks, (n, p), name, words=blocks)


def check_coordinates(row, column, n_values, shape, name):
    """Raises ValueError unless these are the arrays of a matrix in coordinates (COO)."""
    parts = ("row", row), ("column", column)
    for (what, numbers), size in zip(parts, shape, strict=True):
        numbers = integers(numbers, f"{name}.{what}")
        if len(numbers) != n_values:
            raise ValueError(
                f"{name} has {len(numbers)} {what} numbers for {n_values} stored values. Make it "
                "anew from sound arrays"
            )
        if n_values and not 0 <= int(numbers.min()) <= int(numbers.max()) < size:
            bad = numbers[(numbers < 0) | (numbers >= size)][0]
            raise ValueError(
                f"{name} has {what} index {bad} outside 0..{size - 1}. Make it anew from sound "
                "arrays"
            )


def check_diagonals(offsets, data, shape, name):
    """Raises ValueError unless these are the arrays of a matrix by diagonals (DIA)."""
    (n, p), offsets = shape, integers(offsets, f"{name}.offsets")
    n_diagonals, _ = check_values(data, 2, name).shape
    is_sound = len(offsets) == n_diagonals == len(np.unique(offsets))
    if not is_sound or (n_diagonals and not -n < offsets.min() <= offsets.max() < p):
        raise ValueError(
            f"{name} has {n_diagonals} diagonals of values with the offsets {offsets[:5]}; they "
            f"must be as many, distinct and within -{n - 1}..{p - 1}"
        )


def check_lists(rows, data, shape, name):
    """Raises ValueError unless these are the lists of a matrix of lists (LIL)."""
    n, _ = shape
    check_array(rows, f"{name}.rows")
    check_array(data, f"{name}.data")
    if not len(rows) == len(data) == n:
        raise ValueError(f"{name} has {len(rows)} and {len(data)} lists for {n} rows")
    for i, (numbers, values) in enumerate(zip(rows, data, strict=True)):
        if not isinstance(numbers, list) or not isinstance(values, list):
            raise ValueError(f"{name} must have two lists for row {i}")
        if len(numbers) != len(values):
            raise ValueError(
                f"{name} has {len(numbers)} column numbers and {len(values)} values in row {i}"
            )
