"""Model files: NumPy ``.npz`` archives without pickles or compression."""

import errno
import math
import os
import zipfile
from dataclasses import fields
from functools import partial
from reprlib import repr as shown
from typing import Any

import numpy as np
import scipy.sparse
from numpy.lib import format as npy

from fasthoag.io.dual_model import DualModel
from fasthoag.io.inputs import existing_file, raise_unless_content
from fasthoag.io.model import KINDS_OF_CLASSES, Model
from fasthoag.io.replacement import replace_file
from fasthoag.types import Path

# What a file says that it is, of which record and by which version.
LINEAR, KERNEL = "fasthoag-model", "fasthoag-kernel-model"
RECORDS: dict[str, type[Any]] = {LINEAR: Model, KERNEL: DualModel}
VERSIONS = {LINEAR: 5, KERNEL: 1}
# The versions of linear models that have these. A model without the last ones is written as the
# version before them, which earlier releases read too.
SINCE = {"zero_based": 2, "has_offset": 3, "has_labels": 4, "targets": 5}

# Of every array in the file: the kinds of NumPy that it may have, and its number of dimensions.
HEAD = {"format": ("U", 0), "version": ("iu", 0)}
SEARCH = {
    "classes": (KINDS_OF_CLASSES, 1),
    "theta": ("f", 1),
    "value": ("f", 0),
    "value_error": ("f", 0),
    "status": ("U", 0),
    "message": ("U", 0),
    "zero_based": ("bU", 0),
}
FIELDS = {"loss": ("U", 0), "coef": ("f", 2), "intercept": ("f", 1), "lam": ("f", 1)} | SEARCH
FIELDS |= {"has_offset": ("b", 0), "has_labels": ("b", 0), "targets": ("f", 1)}
KERNEL_FIELDS = {
    "loss": ("U", 0),
    "kernel": ("U", 0),
    "gamma": ("f", 1),
    "degree": ("f", 0),
    "coef0": ("f", 0),
    "dual_coef": ("f", 2),
    "intercept": ("f", 1),
    "alpha": ("f", 0),
} | SEARCH
DENSE = {"X": ("f", 2)}
SPARSE = {"data": ("f", 1), "indices": ("i", 1), "indptr": ("i", 1), "shape": ("i", 1)}
SPARSE = {f"X_{name}": kind for name, kind in SPARSE.items()}
LONGEST_DIRECTORY = 2**16  # bytes, of which these arrays fill about a thousand


def save_model(path: Path, model: Any, *, overwrite: bool = False) -> None:
    """Write a model file, which `load_model` reads: a NumPy ``.npz`` archive without pickles.

    Coefficients of single precision stay so, and those in a memory map are read from there. Of a
    fitted estimator it holds what predicts, and how the search ended: what `load_model`
    returns has its ``predict``, ``predict_proba`` and ``decision_function``, to the bit, for arrays
    and sparse matrices. (Labels come back as numbers, strings or dates; of targets in one column
    predictions are (n_rows,).) Of a `HoagResult` of a `Problem` it holds the coefficients
    ``w_all``, near the solution on all rows.

    The file appears under its name only when it is complete: after a full disk or a crash the old
    one is still there.

    Parameters
    ----------
    path : str or path
    model : fitted estimator, HoagResult, Model or DualModel
    overwrite : bool, default False

    Raises
    ------
    FileExistsError
        The file exists and `overwrite` is False.
    OSError
        Writing failed; names the path.
    TypeError, ValueError
        `model` is none of these, or no file holds it: a kernel that is a function, the result of a
        `KernelProblem`, or one without coefficients as estimators keep it.
    sklearn.exceptions.NotFittedError
        The estimator is not fitted.

    Examples
    --------
    >>> import os, tempfile
    >>> from fasthoag.io import Model, load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "ridge.model")
    ...     model = Model("squared", coef=[[2.0, 0.0]], intercept=[1.0], status="CONVERGED")
    ...     save_model(path, model)
    ...     model = load_model(path)
    >>> model.predict([[3.0, 5.0]]), model.status
    (array([7.]), 'CONVERGED')

    An estimator:

    >>> import numpy as np, fasthoag
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> y = np.where(X[:, 0] + np.sin(50 * X[:, 0]) > 0, "yes", "no")
    >>> estimator = fasthoag.LogisticRegressionCV().fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(os.path.join(folder, "model"), estimator)
    ...     model = load_model(os.path.join(folder, "model"))
    >>> model.predict([[1.0]]).tolist()
    ['yes']
    """
    from fasthoag.io.model_of import model_of  # The outer loop takes a while to import.

    model = model_of(model)
    (form,) = [n for n, record in RECORDS.items() if isinstance(model, record)]
    arrays = {field.name: getattr(model, field.name) for field in fields(model)}
    if scipy.sparse.issparse(arrays.get("X")):
        X = arrays.pop("X")
        arrays |= {name: getattr(X, name.removeprefix("X_")) for name in SPARSE}
    version = VERSIONS[form]
    for name in ("targets", "has_labels", "has_offset"):
        value = arrays.get(name, True)
        if value.size if isinstance(value, np.ndarray) else value:
            break
        version = SINCE[name] - 1
        del arrays[name]
    content = partial(np.savez, format=form, version=version, **arrays)  # no copy in memory
    replace_file(path, content, overwrite)


def load_model(path: Path) -> Model | DualModel:
    """The `Model`, or for a kernel the `DualModel`, in a file that `save_model` wrote (see there
    for an example).

    Raises
    ------
    FileNotFoundError
    ValueError
        With the path: not a model file, truncated or corrupt, of a newer version, or what it holds
        is no such model.
    """
    path = existing_file(path, "a model file")
    if not os.path.isfile(path):
        raise ValueError(f"{path}: a model is an ordinary file; this is a pipe or a device.")
    try:
        with open(path, "rb") as file:
            check_directory(file)
            with zipfile.ZipFile(file) as archive:
                # The version comes first: what a newer one holds may not be readable here.
                form, version = read_version(archive)
                if version <= VERSIONS[form]:
                    return read_fields(archive, form, version)
    except Exception as error:
        # The place of a part may be a place where no file has one, which the system says.
        if not (isinstance(error, OSError) and error.errno == errno.EINVAL):
            raise_unless_content(error)
        why = " ".join(str(error).split())
        raise ValueError(
            f"{path}: not a model file of fasthoag, or truncated or corrupt ({why})."
        ) from error
    raise ValueError(
        f"{path}: model file of version {version}; this fasthoag reads 1 to {VERSIONS[form]}. "
        "Update fasthoag."
    )


def check_directory(file):
    """Raises ValueError unless the directory of the archive, which is at the end of the file, is
    short: to read it takes many times its size in memory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 98))
    end = file.read(98)
    length = end[-10:-6]
    if end[-42:-38] == b"PK\x06\x07":  # Files beyond 4 GiB have a second, larger record.
        length = end[-58:-50]
    if end[-22:-18] != b"PK\x05\x06" or int.from_bytes(length, "little") > LONGEST_DIRECTORY:
        raise ValueError("no short directory of an archive at its end")


def read_version(archive):
    """Of which format of ours a model file is, and its version."""
    head = {name: read_array(archive, name, *kind).item() for name, kind in HEAD.items()}
    form, version = head["format"], head["version"]
    if form not in RECORDS or version < 1:
        raise ValueError(f"format {shown(form)}, version {version}")
    return form, version


def kinds_of(form, version, found):
    """The arrays that a file of these parts has to hold."""
    if form == KERNEL:
        return KERNEL_FIELDS | (DENSE if "X.npy" in found else SPARSE)
    return {name: kind for name, kind in FIELDS.items() if version >= SINCE.get(name, 1)}


def read_fields(archive, form, version):
    """The model; the archive must hold all of its arrays, once, and nothing else."""
    found = sorted(archive.namelist())
    kinds = kinds_of(form, version, found)
    expected = sorted(f"{name}.npy" for name in (*HEAD, *kinds))
    if found != expected:
        absent = sorted({*expected} - {*found})
        raise ValueError(
            f"it lacks {', '.join(absent)}"
            if absent
            else f"it holds {len(found)} parts in place of {len(expected)}, some unknown or twice"
        )
    content = {name: read_array(archive, name, *kind) for name, kind in kinds.items()}
    if SPARSE.keys() <= content.keys():
        data, indices, indptr, shape = (content.pop(name) for name in SPARSE)
        content["X"] = scipy.sparse.csr_matrix((data, indices, indptr), shape=tuple(shape.tolist()))
    is_array = {"X", *(name for name, value in content.items() if value.ndim)}
    return RECORDS[form](**{k: v if k in is_array else v.item() for k, v in content.items()})


def read_array(archive, name, kinds, ndim):
    """An array of the archive. What it claims to be is compared with the bytes that the file has
    for it before there is memory for it: so no file needs more than a few times its size."""
    part = archive.getinfo(f"{name}.npy")
    if part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size:
        raise ValueError(f"{name} is compressed, which save_model does not do")
    if part.file_size > os.fstat(archive.fp.fileno()).st_size:
        raise ValueError(f"{name} is said to be longer than the file")
    with archive.open(part) as stream:
        shape, dtype = read_head_of_array(stream)
        if dtype.kind not in kinds or len(shape) != ndim:
            raise ValueError(f"{name} is an array of {dtype} with shape {shape}")
        if math.prod(shape) * dtype.itemsize != part.file_size - stream.tell():
            raise ValueError(f"{name} has other bytes than shape {shape} of {dtype} takes")
        stream.seek(0)
        return npy.read_array(stream, allow_pickle=False)


def read_head_of_array(stream):
    """Shape and dtype of an array in NumPy's format."""
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(stream)
    if version not in read:
        raise ValueError(f"version {version} of NumPy's format")
    shape, _, dtype = read[version](stream)
    return shape, dtype
