"""What is broken about files and matrices of which little is. `rng` is a `random.Random`, whose
choices hypothesis may make."""

import io
import zipfile

import numpy as np
import scipy.sparse as sp

N_ROWS = 4  # of every matrix before it is broken
# Where types end or wrap around, and small ones.
NUMBERS = [
    *range(-2, 9),
    *(sign * 2**power + more for sign in (1, -1) for power in (31, 32, 40, 62) for more in (0, 1)),
    2**31 - 1,
    2**63 - 1,
    -(2**63),
]
KINDS = ["int8", "int16", "uint16", "int32", "int64", "uint32", "uint64", ">i4", ">i8", "bool"]
KINDS += ["float16", "float32", "float64", ">f8", "longdouble", "complex64", "U1", "U9", "S3"]
KINDS += ["datetime64[s]", "V4", "object"]


# ---- bytes ----


def scrambled(rng, content):
    """Bytes of which some are others, are gone, or are there twice."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, max(0, len(content) - 1))
        n = rng.choice([1, 1, 2, 4, 8, 64])
        how = rng.choice(["flip", "put", "remove", "insert", "end", "twice"])
        if how == "flip" and content:
            content[at] ^= 1 << rng.randint(0, 7)
        elif how == "put":
            content[at : at + n] = bytes(rng.randint(0, 255) for _ in range(n))
        elif how == "remove":
            del content[at : at + n]
        elif how == "insert":
            content[at:at] = bytes(rng.randint(0, 255) for _ in range(n))
        elif how == "end":
            del content[at:]
        else:
            content[at:at] = content[at : at + n]
    return bytes(content)


# ---- arrays ----


def broken_array(rng, array):
    """An array with other numbers, of another length, type or shape."""
    array = np.array(array)
    how = rng.choice(["put", "put", "put", "shorter", "longer", "kind", "shape", "any"])
    if how == "put" and array.size and array.dtype.kind in "iuf":
        return with_number(rng, array)
    if how == "shorter" and array.ndim:
        return array[: rng.randint(0, len(array))]
    if how == "longer" and array.ndim:
        return np.concatenate([array, array[: rng.randint(0, 3)]])
    if how == "kind":
        return cast(array, rng.choice(KINDS))
    if how == "shape":
        array = array.reshape(rng.choice([(-1, 1), (1, -1), (-1,), (1, 1, -1)]))
        return array[..., ::-1] if rng.randint(0, 1) else array
    if how == "any":
        return np.array(rng.choice([0, 1.5, "csr", b"", [], [[]], None]))
    return array


def with_number(rng, array):
    value = rng.choice(NUMBERS)
    if array.dtype.kind == "f":
        value = rng.choice([float(value), np.nan, np.inf, -np.inf, 1e308, 5e-324])
    elif rng.randint(0, 1):
        array = array.astype(np.int64)
    with np.errstate(over="ignore"):
        value = np.asarray(value).astype(array.dtype)  # Wraps around, as in C.
    array = array.copy()
    array.flat[rng.randint(0, array.size - 1)] = value
    return array


def cast(array, kind):
    try:
        with np.errstate(all="ignore"):
            return array.astype(kind)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # There is none.
        return np.zeros(array.shape, kind)


# ---- NumPy's files ----

SHAPES = ["(1099511627776,)", "(4611686018427387904, 4611686018427387904)", "(-1,)", "(-4, -4)"]
SHAPES += ["()", "(2,)", "(3, 5)", "(4,)", "(True,)", "(4.0,)", "'4'", "(4L,)", "(0,)", "(0, 2**9)"]
SHAPES += ["(" * 3000, "-" * 3000 + "1", "(18446744073709551617,)", "(65536, 65536, 65536, 65536)"]
DTYPES = ["'<f8'", "'>f8'", "'|O'", "'<U1000000000'", "'|V0'", "'|S0'", "'<f2'", "'<M8[ns]'"]
DTYPES += ["'<c16'", "'|b1'", "'<i8'", "'nothing'", "[('a', '<f8')]", "[]", "7", "'<f8,<f8'"]
DTYPES += ["[('a', '<f8', (1099511627776,))]", "'|V2147483647'", "('<f8', (2, 2))"]
VERSIONS = [b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\4\0", b"\xff\xff"]


def npy(rng, array, may_claim=True):
    """An array as the bytes of a file, whose header may claim something else."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    content = file.getvalue()
    if may_claim and rng.randint(0, 3) == 0:
        content = with_header(rng, content)
    return scrambled(rng, content) if rng.randint(0, 9) == 0 else content


def with_header(rng, content):
    values = content[10 + int.from_bytes(content[8:10], "little") :]
    header = (
        f"{{'descr': {rng.choice(DTYPES)}, 'fortran_order': {rng.choice(['False', 'True', '1'])}, "
        f"'shape': {rng.choice(SHAPES)}, }}\n"
    ).encode()
    version = rng.choice(VERSIONS)
    width = 2 if version == b"\1\0" else 4
    n = (len(header) + rng.choice([0, 0, 0, -1, 1, 2**16, 2**31])) % 256**width
    return b"\x93NUMPY" + version + n.to_bytes(width, "little") + header + values


def archive(rng, arrays):
    """Named arrays as the bytes of an ``.npz``, some of which may be broken, missing or more."""
    arrays = dict(arrays)
    for _ in range(rng.randint(0, 3)):
        name = rng.choice(sorted(arrays))
        arrays[name] = broken_array(rng, arrays[name])
    if len(arrays) > 1 and rng.randint(0, 9) == 0:
        del arrays[rng.choice(sorted(arrays))]
    file = io.BytesIO()
    method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    with zipfile.ZipFile(file, "w", method) as members:
        for name, array in arrays.items():
            suffix = rng.choice([".npy"] * 9 + ["", ".npy.npy"])
            members.writestr(name + suffix, npy(rng, array, rng.randint(0, 4) == 0))
    content = file.getvalue()
    return scrambled(rng, content) if rng.randint(0, 4) == 0 else content


# ---- sparse matrices ----

FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil"]


def parts(rng, formats):
    """A sparse matrix of N_ROWS rows as its format, shape and arrays, sound ones."""
    normal = np.random.default_rng(rng.randint(0, 99))
    size = N_ROWS, 2 * rng.randint(1, 3)
    dense = normal.normal(size=size) * (normal.random(size) < 0.6)
    return parts_of(sp.csr_array(dense), rng.choice(formats))


def parts_of(X, form):
    """Lists of rows are kept as the arrays of CSR, and cut to lists when they are put together."""
    if form == "bsr":
        Y = sp.bsr_matrix(X, blocksize=(2, 2))
    else:
        Y = X if form == "lil" else X.asformat(form)
    if form == "coo":
        arrays = {"row": Y.coords[0], "col": Y.coords[1]}
    elif form == "dia":
        arrays = {"offsets": Y.offsets}
    else:
        arrays = {"indptr": Y.indptr, "indices": Y.indices}
    return {"format": np.array(form), "shape": np.array(Y.shape), **arrays, "data": Y.data}


def broken_parts(rng):
    """Parts of which some arrays are broken, or the shape is."""
    found = parts(rng, FORMATS)
    arrays = [name for name in found if name not in ("format", "shape")]
    for _ in range(rng.randint(0, 3)):
        name = rng.choice(arrays)
        found[name] = broken_array(rng, found[name])
    if rng.randint(0, 4) == 0:
        shape = found["shape"].astype(np.int64)
        shape[rng.randint(0, 1)] = rng.choice(NUMBERS)
        found["shape"] = shape
    return found
