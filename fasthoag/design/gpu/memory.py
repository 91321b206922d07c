"""Memory of a device: what X will take there, decided before anything is allocated, and how arrays
of the host get there."""

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.design.rows import is_on_device

# of the free memory that X may take: blocks of coefficients and predictions need room too
SHARE = 0.9
SCRATCH = 80  # bytes for an entry that is sorted
PIECE = 1 << 22  # numbers of a large array that are copied to the device at a time
MOST_KEPT = 64  # short arrays that stay on the device


@dataclass(frozen=True)
class Sizes:
    """What is known of X before anything of it is allocated."""

    shape: tuple
    n_stored: int
    dtype: Any  # of values
    is_sparse: bool
    is_given_on_device: bool
    asked: Any  # whether a transposed copy is wanted: "auto", True or False

    @property
    def index_type(self):
        return np.int32 if max(self.shape) <= np.iinfo(np.int32).max else np.int64

    @property
    def chunk(self):
        """How many entries are sorted at a time."""
        return max(1, min(self.n_stored, max(1 << 18, self.n_stored // 64)))

    def n_bytes(self, has_transpose, is_own=False):
        """Device memory to allocate, in bytes: X, its transpose, scratch of the sort, row pointers.
        With `is_own` even an X that came on the device is copied."""
        n, p = self.shape
        value = self.dtype.itemsize
        index = np.dtype(self.index_type).itemsize if self.is_sparse else 0
        if is_own or not self.is_given_on_device:
            here = value + index
        else:  # read in place, but for renumbered columns
            here = index if has_transpose else 0
        there = value + index if has_transpose else 0
        sorts = has_transpose or (self.asked and not self.is_given_on_device)
        scratch = SCRATCH * self.chunk if self.is_sparse and sorts else 0
        return self.n_stored * (here + there) + scratch + 64 * (n + p * has_transpose + 2)


@dataclass(frozen=True)
class Plan:
    """How X will be held."""

    sizes: Sizes
    has_transpose: bool
    is_own: bool  # the values are a copy, so that rows may be sorted

    @property
    def renumbers(self):
        """Whether columns may be renumbered. A single copy that came on the device stays as it
        is."""
        return self.has_transpose or (self.sizes.asked is not False and self.is_own)


def plan_for(device, sizes, stacklevel):
    """The `Plan` for a matrix of these sizes on a device with as much memory as is free.

    Raises MemoryError when not even X fits. Warns, at `stacklevel` of the caller, when the
    transpose that "auto" asks for does not fit.
    """
    free = device.free_bytes()
    asked, room = sizes.asked, None if free is None else SHARE * free
    has_transpose = bool(asked)
    if room is not None and not (asked and sizes.n_bytes(True) <= room):
        check_size(sizes, free, room)
        if asked == "auto":
            warnings.warn(
                f"X and its transpose need {sizes.n_bytes(True):,} bytes on the device and "
                f"{free:,} are free: one copy is kept, and products with X' are slower. "
                "low_memory=True asks for this and says nothing",
                stacklevel=stacklevel + 1,
            )
        has_transpose = False
    # sorted rows need a copy of what came on the device, which is made only where it is small
    is_small = free is None or sizes.n_bytes(True, is_own=True) <= 0.5 * free
    is_own = not sizes.is_given_on_device or (has_transpose and is_small)
    return Plan(sizes, has_transpose, is_own)


def check_size(sizes, free, room):
    """Raises MemoryError unless what is asked for, or one copy for "auto", fits into `room`
    bytes."""
    needed = sizes.n_bytes(sizes.asked is True)
    if needed <= room:
        return
    if sizes.asked is True and sizes.n_bytes(False) <= room:
        hint = "transpose=False (low_memory=True)"
    else:
        hint = "float32 values or fewer rows, or device='cpu'"
    raise MemoryError(
        f"X of {sizes.shape[0]} rows with {sizes.n_stored} stored values needs {needed:,} bytes on "
        f"the device; {int(room):,} of its {free:,} free bytes may be used. Use {hint}"
    )


def check_room(device, n_rows, n_coef, n_columns):
    """Raises MemoryError unless block solves with this many columns may fit, which take five blocks
    of coefficients and one of predictions at least."""
    needed, free = 8 * n_columns * (5 * n_coef + n_rows), device.free_bytes()
    if free is not None and needed > free:
        raise MemoryError(
            f"linear systems of {n_columns} columns need at least {needed:,} bytes on the "
            f"device beside X, and {free:,} are free. Use fewer folds or rows of your own "
            "(HeldOut), low_memory=True for one copy of X, fewer hyperparameters, or "
            "device='cpu'"
        )


def upload(xp, array, dtype):
    """A large host array on the device, copied piece by piece, because CuPy copies through pinned
    memory of the size of what it copies and keeps that memory."""
    if is_on_device(array) or array.size <= PIECE:
        return xp.asarray(array, dtype=dtype)
    out = xp.empty(array.shape, dtype=dtype)
    for a in range(0, len(array), PIECE):
        out[a : a + PIECE] = xp.asarray(array[a : a + PIECE], dtype=dtype)
    return out


class ShortArrays:
    """Short host arrays on the device. Each is found by its values when it is asked for again."""

    def __init__(self, xp):
        self.xp, self.kept = xp, OrderedDict()

    def __call__(self, array):
        key = array.dtype.str, array.tobytes()
        if key not in self.kept:
            self.kept[key] = self.xp.asarray(array)
            if len(self.kept) > MOST_KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]
