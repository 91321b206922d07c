"""Matrices in ``.npz`` files, whose labels are in an ``.npy`` file.

The arrays are read one by one: what a file says of their sizes is compared with what it holds
before there is memory for them, and a matrix is made only of arrays that fit together.
"""

import io
import math
import os
import zipfile

import numpy as np
import scipy.sparse

from fasthoag.design.structure import (
    check_blocks_of_rows,
    check_compressed,
    check_coordinates,
    check_diagonals,
    check_values,
)
from fasthoag.io.inputs import existing_file, name_of, raise_unless_content
from fasthoag.io.source import fill, opened, read_fully, size_of
from fasthoag.memory import NO_LIMIT

# The arrays of every form beside its data, as `scipy.sparse.save_npz` calls them.
PARTS = {
    "csr": ("indices", "indptr"),
    "csc": ("indices", "indptr"),
    "bsr": ("indices", "indptr"),
    "coo": ("row", "col"),
    "dia": ("offsets",),
}
REAL, WHOLE = "fiub", "iu"
READ = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # what NumPy writes
LONGEST_HEADER = 1024  # bytes; that of a plain array has about 100


def read_npz(path, labels, dtype, limit, needs_labels, max_features):
    """X and y. Without `needs_labels`, y is None where labels are neither named nor beside the
    file, and may have numbers that are not finite."""
    X = _npz_matrix(path, dtype, limit, max_features)
    if labels is None:
        labels = labels_path(path)
        if not needs_labels and (labels is None or not os.path.exists(labels)):
            return X, None
    if labels is None:
        raise ValueError(
            f"{name_of(path)}: an open .npz file has no labels beside it; give labels=."
        )
    limit = limit.after(X.data, X.indices, X.indptr)
    labels = existing_file(labels, "the labels of " + name_of(path))
    y = _npy_labels(path, labels, limit, needs_labels)
    if len(y) != X.shape[0]:
        raise ValueError(
            f"{name_of(path)} has {X.shape[0]} rows, but its labels file has {len(y)}; give the "
            "matching labels=."
        )
    return X, y


def labels_path(path):
    """Where the labels of this ``.npz`` file are by default; None for an open file."""
    if isinstance(path, io.IOBase):
        return None
    return os.path.splitext(os.fsdecode(path))[0] + ".npy"


def _npz_matrix(path, dtype, limit, max_features):
    """The matrix as CSR, with indices that are sound and values that are finite."""
    name = name_of(path)
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            form, arrays = _read_parts(archive, limit)
        shape = _shape(arrays.pop("shape"))
        _sound(form, shape, **arrays)
    except Exception as error:
        raise_unless_content(error)
        raise ValueError(
            f"{name}: not a sparse matrix that scipy.sparse.save_npz wrote ({error})."
        ) from error
    if 0 in shape:
        raise ValueError(f"{name}: the matrix is empty, shape {shape}.")
    if max_features is not None and shape[1] > max_features:
        raise ValueError(
            f"{name} has {shape[1]} features, too many: a model of at most {max_features} is "
            "possible here; drop columns."
        )
    n_bytes = 8 * (shape[0] + 1) + arrays["data"].size * (dtype.itemsize + 8)
    if n_bytes > limit.left:
        raise limit.error(f"{name}: its {shape[0]} rows")
    with np.errstate(over="ignore"):  # Infinite values are reported below.
        arrays["data"] = arrays["data"].astype(dtype, copy=False)  # SciPy knows no float16
    X = scipy.sparse.csr_matrix(_matrix(form, shape, **arrays))
    X.sum_duplicates()
    if not np.isfinite(X.data).all():
        raise ValueError(f"{name}: some values are not finite in {dtype}; remove or replace them.")
    return X


# ---- the archive ----


def _read_parts(archive, limit):
    """The form of the matrix and its arrays by name."""
    members = {}
    for info in archive.infolist():
        if info.filename in members:
            raise ValueError(f"two members are called {info.filename!r}")
        members[info.filename] = info
    form = _read_member(archive, members, "format", "SU", limit)
    form = str(form.astype("U")) if form.size == 1 else form.shape
    if form not in PARTS:
        raise ValueError(f"format {form!r} is none of {', '.join(PARTS)}")
    names = ["shape", "data", *PARTS[form]]
    if form == "coo" and "coords.npy" in members:  # as SciPy saves arrays of any dimension
        names = ["shape", "data", "coords"]
    # The mark of a sparse array, which is not a sparse matrix, makes no difference here.
    for other in sorted(members.keys() - {f"{n}.npy" for n in ["format", "_is_array", *names]}):
        raise ValueError(f"member {other!r} is no part of a matrix of format {form}")
    arrays = {}
    for name in names:
        kinds = REAL if name == "data" else WHOLE
        arrays[name] = _read_member(archive, members, name, kinds, limit)
        limit = limit.after(arrays[name])
    return form, arrays


def _read_member(archive, members, name, kinds, limit):
    info = members.get(name + ".npy")
    if info is None:
        raise ValueError(f"there is no {name}.npy in it")
    if info.flag_bits & 1:
        raise ValueError(f"{name}.npy is encrypted")
    if info.compress_type not in READ:
        raise ValueError(f"{name}.npy is compressed otherwise than NumPy does")
    with archive.open(info) as stream:
        return _read_array(stream, name + ".npy", info.file_size, kinds, limit)


# ---- one array ----


def _read_array(stream, name, size, kinds, limit):
    """The array of a stream in ``.npy`` format of `size` bytes (None: not known), which must be
    of one of these kinds. There is memory for it only once its header and `size` agree."""
    dtype, shape, is_fortran, n_header = _read_header(stream, name)
    if dtype.kind not in kinds:
        raise ValueError(f"{name} has dtype {dtype}")
    n_bytes = math.prod(shape) * dtype.itemsize
    if size is not None and n_bytes != size - n_header:
        raise ValueError(
            f"{name} claims {n_bytes} bytes of shape {shape}, but holds {size - n_header}"
        )
    if n_bytes > limit.left:
        raise limit.error(f"the values of {name}")
    array = np.empty(math.prod(shape), dtype)
    if n_bytes:
        with memoryview(array.view(np.uint8)) as view:
            if fill(stream, view) < n_bytes:
                raise EOFError(f"{name} ends too early")
    if stream.read(1):  # That it is the end lets an archive compare the checksum, too.
        raise ValueError(f"{name} goes on behind its values")
    array = array.astype(dtype.newbyteorder("="), copy=False)
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


def _read_header(stream, name):
    """The dtype, shape and order that the header says, and how many bytes it has."""
    begin = read_fully(stream, 8)
    version = tuple(begin[6:])
    if begin[:6] != b"\x93NUMPY" or version not in {(1, 0), (2, 0)}:
        raise ValueError(f"{name} is no array that numpy.save wrote")
    length = read_fully(stream, 2 * version[0])
    n = int.from_bytes(length, "little")
    if n > LONGEST_HEADER:
        raise ValueError(f"{name} has a header of {n} bytes")
    text = io.BytesIO(length + read_fully(stream, n))
    read = np.lib.format.read_array_header_1_0
    if version == (2, 0):
        read = np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(text)
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{name} has shape {shape}")
    return dtype, shape, is_fortran, 8 + len(length) + n


def _npy_labels(path, labels, limit, needs_labels):
    """The labels as doubles; `path` is the file whose rows they are of."""
    name = name_of(labels)
    try:
        with opened(labels) as file:
            y = _read_array(file, "it", size_of(file), REAL, limit)
    except Exception as error:
        raise_unless_content(error)
        raise ValueError(f"{name}: not an array that numpy.save wrote ({error}).") from error
    if y.ndim not in (1, 2) or y.shape[1:] == (0,):
        raise ValueError(
            f"{name}: the labels of {name_of(path)} must be real numbers of shape (n_rows,) or "
            f"(n_rows, n_targets); found shape {y.shape}, dtype {y.dtype}."
        )
    y = y.astype(np.float64)
    if needs_labels and not np.isfinite(y).all():
        column, row = np.argwhere(~np.isfinite(y.T.reshape(-1, len(y))))[0]
        target = f" of target {column}, the first that has such," if y.ndim == 2 else ""
        raise ValueError(f"{name}: label {row}{target} (counting from 0) is not finite.")
    return y


# ---- soundness ----


def _shape(numbers):
    """The shape of a matrix."""
    shape = tuple(numbers.ravel().tolist())
    if numbers.ndim != 1 or len(shape) != 2 or not all(0 <= n < NO_LIMIT for n in shape):
        raise ValueError(f"need two dimensions; found shape {shape}")
    return shape


def _sound(form, shape, data, indices=None, indptr=None, **where):
    """Raises ValueError unless the arrays fit together: SciPy trusts them, from the start."""
    name = "the matrix"
    n_stored = len(check_values(data, {"bsr": 3, "dia": 2}.get(form, 1), name))
    if indices is not None and indices.shape != (n_stored,):
        raise ValueError(f"indices have shape {indices.shape}, and there are {n_stored} values")
    if form == "dia":
        check_diagonals(where["offsets"], data, shape, name)
    elif form == "coo":
        pair = where["coords"] if "coords" in where else (where["row"], where["col"])
        check_coordinates(*pair, n_stored, shape, name)
    elif form == "bsr":
        check_blocks_of_rows(indptr, indices, data, shape, name)
    elif form == "csr":
        check_compressed(indptr, indices, n_stored, shape, name)
    else:
        check_compressed(indptr, indices, n_stored, shape[::-1], name, words=("column", "row"))


def _matrix(form, shape, data, **where):
    """The matrix of arrays that are sound."""
    make = getattr(scipy.sparse, f"{form}_matrix")
    if form == "dia":
        return make((data, where["offsets"]), shape=shape)
    if form == "coo":
        return make((data, where.get("coords", tuple(where.values()))), shape=shape)
    return make((data, where["indices"], where["indptr"]), shape=shape)
