"""What the readers ask of their arguments, and of errors that come while they read."""

import errno
import io
import operator
import os

import numpy as np


def existing_file(path, what="a file"):
    """The path as text; raises where there is no file, or a folder. An open binary file is left as
    it is."""
    if isinstance(path, io.TextIOBase):
        raise TypeError(f'{name_of(path)} is open as text; open it with mode "rb".')
    if isinstance(path, io.IOBase):
        return path
    path = os.fsdecode(path)
    if not os.path.exists(path):
        raise FileNotFoundError(
            errno.ENOENT, f"no such file (expected {what}); check the path", path
        )
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder; give the path of a file.")
    return path


def name_of(path):
    """What errors call a path, or an open file."""
    if isinstance(path, io.IOBase):
        name = getattr(path, "name", f"<{type(path).__name__}>")
        return f"file descriptor {name}" if isinstance(name, int) else str(name)
    return os.fsdecode(path)


def real_type(dtype):
    """The dtype of the values of X: float64 or float32."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.float64, np.float32):
        raise ValueError(f"dtype must be float64 or float32; found {dtype!r}.")
    return found


def whole_number(name, value):
    """`value` as an int of at least 1, or None."""
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a whole number or None; found {value!r}.")
    if number < 1:
        raise ValueError(f"{name} must be at least 1; found {value}.")
    return number


def counted_from(zero_based):
    """`zero_based` as "auto", True or False."""
    is_auto = isinstance(zero_based, str) and zero_based == "auto"
    if not (is_auto or isinstance(zero_based, (bool, np.bool_))):
        raise ValueError(f'zero_based must be "auto", True or False; found {zero_based!r}.')
    return zero_based if isinstance(zero_based, str) else bool(zero_based)


def raise_unless_content(error):
    """Raises the error again unless the content of a file may be at fault. Decompressors and
    archives have many exceptions of their own for bad content; a fault of the disk has an errno.
    EINVAL is none: a corrupt archive says that something lies in front of its begin."""
    if isinstance(error, (MemoryError, ImportError)) or (
        isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
    ):
        raise error
