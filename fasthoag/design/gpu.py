"""X on a GPU: passes in CUDA (csrc/cuda), the only file that imports CuPy.

Kernels are compiled by `cupy.RawModule` when they are first used, a second or so each, and kept on
disk by CuPy. `CupyDevice` is all that `GpuDesign` asks of a GPU: an array namespace, launches, free
memory, repetition. Tests put another device in its place that runs the same kernels on the CPU."""

import warnings
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fasthoag import _core
from fasthoag.design import HELD_OUT, MAX_HOT, TRAIN, UNWEIGHTED, cuda, gpu_cg
from fasthoag.design.coefficients import Compose, Identity, Permute
from fasthoag.design.cpu import SIZES, check_finite, check_matrix, check_sizes
from fasthoag.design.offsets import N_SAMPLE, offset_map
from fasthoag.design.rows import LossGrad, dense_by_products, is_on_device, place, to_host
from fasthoag.losses import derivative, find_loss

N_THREADS = 256  # of a block
MOST_BLOCKS = 1024  # of kernels over rows or coefficients
LEAST_TILE, MOST_TILE = 256, 8192  # entries of a block
# entries, and a quarter of a tile, from which a row has blocks of its own: shorter ones have a warp
LONG_ROW = 512
# of the free memory that X may take: blocks of coefficients and predictions need room too
SHARE = 0.9
LEAST_CUDA = 12  # of the driver
SCRATCH = 80  # bytes for an entry that is sorted
PIECE = 1 << 25  # numbers of a large array that are copied to the device at a time
WIDE = 1 << 27  # numbers of a block of predictions that a Hessian product makes at a time
MOST_KEPT = 64  # short arrays that stay on the device


class CupyDevice:
    """The current CUDA device through CuPy."""

    warp, n_threads = 32, N_THREADS

    def __init__(self):
        import cupy

        self.xp, self._modules, self.number = cupy, {}, cupy.cuda.runtime.getDevice()
        # for captures: the default stream cannot be captured
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def module(self, name, defines=(), custom=None):
        """The kernels of csrc/cuda/`name` with these definitions."""
        key = name, tuple(defines), custom
        if key not in self._modules:
            self._modules[key] = CupyModule(cuda.source(name, defines, custom), self.xp)
        return self._modules[key]

    def holds(self, array):
        """Whether `array` is in the memory of this device."""
        device = getattr(array, "device", None) or getattr(
            getattr(array, "data", None), "device", None
        )
        return device is not None and getattr(device, "id", None) == self.number

    def free_bytes(self):
        return (
            self.xp.cuda.Device(self.number).mem_info[0]
            + self.xp.get_default_memory_pool().free_bytes()
        )

    def repeated(self, steps):
        """A function that does these launches as one: a CUDA graph. They must allocate nothing."""
        with self._stream:
            self._stream.begin_capture()
            gpu_cg.run(steps)
            graph = self._stream.end_capture()
        return partial(graph.launch, self.xp.cuda.get_current_stream())

    def __str__(self):
        return self.xp.cuda.runtime.getDeviceProperties(self.number)["name"].decode()


class CupyModule:
    def __init__(self, text, cupy):
        self.kernels = cuda.kernels(text)
        self._module = cupy.RawModule(code=text, options=("-std=c++17",))
        self._functions = {}

    def bind(self, name, grid, n_threads, *values):
        """A function that launches this kernel with these arguments: checked once, launched
        often."""
        if name not in self._functions:
            self._functions[name] = self._module.get_function(name)
        return partial(
            self._functions[name], (int(grid),), (n_threads,), self.kernels[name].arguments(values)
        )

    def launch(self, *args):
        self.bind(*args)()


def find_device():
    """The current CUDA device, or a ValueError that says what is missing and what to do."""
    try:
        import cupy
    except ImportError as error:
        raise ValueError(
            f"device='gpu' needs CuPy, which cannot be imported ({error}). Install it with pip "
            "install 'fasthoag[gpu12]' for CUDA 12 or 'fasthoag[gpu13]' for CUDA 13, or use "
            "device='cpu'"
        ) from None
    runtime = cupy.cuda.runtime
    driver, library = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        raise ValueError(
            "device='gpu' needs an NVIDIA driver, and this machine has none. Install one, or use "
            "device='cpu'"
        )
    if driver // 1000 < max(library // 1000, LEAST_CUDA):
        raise ValueError(
            "device='gpu' needs a newer NVIDIA driver: this one is for CUDA "
            f"{driver // 1000}.{driver % 1000 // 10}, CuPy for CUDA {library // 1000}. Update the "
            "driver, install the CuPy of its version, or use device='cpu'"
        )
    try:
        n_devices = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise ValueError(
            f"device='gpu' needs a CUDA device, and CUDA reports: {error}. Check nvidia-smi, or "
            "use device='cpu'"
        ) from None
    if n_devices == 0:
        raise ValueError(
            "device='gpu' needs a CUDA device, and this machine shows none. Check nvidia-smi and "
            "CUDA_VISIBLE_DEVICES, or use device='cpu'"
        )
    try:
        cupy.cuda.nvrtc.getVersion()
    except ImportError as error:
        raise ValueError(
            "device='gpu' needs NVRTC, CUDA's compiler library, which CuPy does not find "
            f"({str(error).splitlines()[0]}). Install the CUDA toolkit, or pip install "
            f"'cupy-cuda{library // 1000}x[ctk]', or use device='cpu'"
        ) from None
    return CupyDevice()


def describe_device():
    """(version of CuPy, name of the device) with what is missing as a sentence in its place."""
    try:
        device = find_device()
    except ValueError as error:
        try:
            import cupy
        except ImportError:
            return None, str(error)
        return cupy.__version__, str(error)
    return device.xp.__version__, f"{device}, {device.free_bytes() / 1e9:.1f} GB free"


@dataclass(frozen=True, eq=False)
class Layout:
    """A matrix by rows, and how they are shared among the blocks of a launch: see
    csrc/cuda/passes.cu."""

    n_rows: int
    indptr: Any
    indices: Any  # None: dense
    data: Any
    blocks: Any  # (n_blocks, 2)
    segments: Any  # (n_segments, 4)
    long_rows: Any  # (n_long, 3)
    n_parts: int


def share_rows(xp, indptr, indices, data, n_rows, n_ones, tile):
    """`Layout` whose blocks have about `tile` entries; with `n_ones` there is one more row, the
    transposed column of ones of an intercept."""
    lengths = indptr[1:] - indptr[:-1]
    is_long = lengths > max(LONG_ROW, tile // 4)
    # an empty row costs about as much as 8 entries
    key = (indptr[:-1] + 8 * xp.arange(n_rows)) // tile
    is_first = xp.ones(n_rows, dtype=bool)
    is_first[1:] = (key[1:] != key[:-1]) | is_long[1:] | is_long[:-1]
    first = xp.flatnonzero(is_first)
    end = xp.concatenate([first[1:], xp.asarray(np.array([n_rows]))])
    keep = xp.flatnonzero(~is_long[first])
    blocks = xp.ascontiguousarray(xp.stack([first[keep], end[keep]], axis=1).astype(np.int64))
    long = xp.flatnonzero(is_long)
    row, begin, stop = (to_host(a) for a in (long, indptr[long], indptr[long + 1]))
    if n_ones:
        row, begin, stop = np.append(row, n_rows), np.append(begin, 0), np.append(stop, n_ones)
    segments, long_rows, n_parts = cut_rows(row, begin, stop, tile)
    return Layout(
        n_rows, indptr, indices, data, blocks, xp.asarray(segments), xp.asarray(long_rows), n_parts
    )


def cut_rows(row, begin, stop, tile):
    """Segments (., 4) of at most `tile` entries of these rows, the rows (., 3) that have more than
    one, and how many partial sums these have."""
    n_each = -(-(stop - begin) // tile)
    total = int(n_each.sum())
    of, first = np.repeat(np.arange(len(row)), n_each), np.cumsum(n_each) - n_each
    a = begin[of] + (np.arange(total) - first[of]) * tile
    is_cut = n_each > 1
    n_before = np.cumsum(n_each * is_cut) - n_each * is_cut
    part = np.where(is_cut[of], n_before[of] + np.arange(total) - first[of], -1)
    segments = np.column_stack([row[of], a, np.minimum(a + tile, stop[of]), part]).astype(np.int64)
    long_rows = np.column_stack([row, n_before, n_before + n_each])[is_cut].astype(np.int64)
    return segments.reshape(-1, 4), long_rows.reshape(-1, 3), int((n_each * is_cut).sum())


def transpose(xp, indptr, indices, data, counts, index_type, chunk):
    """CSR of the transpose; `counts` are the entries of every column. By sorting `chunk` entries at
    a time: about `SCRATCH` bytes for each of these, whatever the size of X."""
    nnz, columns = len(data), xp.arange(len(counts) + 1)
    t_indptr = xp.concatenate([xp.zeros(1, dtype=np.int64), xp.cumsum(counts)])
    t_indices, t_data, following = (
        xp.empty(nnz, dtype=index_type),
        xp.empty(nnz, dtype=data.dtype),
        t_indptr[:-1].copy(),
    )
    for a in range(0, nnz, chunk):
        b = min(a + chunk, nnz)
        number = xp.arange(b - a)
        key = xp.sort(indices[a:b].astype(np.int64) * (b - a) + number)  # by column, then by place
        column, place = key // (b - a), key % (b - a)
        first = xp.searchsorted(column, columns)
        to = following[column] + number - first[:-1][column]
        t_data[to] = data[a:b][place]
        t_indices[to] = (xp.searchsorted(indptr, place + a, side="right") - 1).astype(index_type)
        following += first[1:] - first[:-1]
    return t_indptr, t_indices, t_data


def sort_rows(xp, indptr, indices, data, n_cols, chunk):
    """Entries of every row by column number, in place: lanes side by side then read the same
    sectors of frequent features."""
    for a in range(0, len(indices), chunk):
        b = min(a + chunk, len(indices))
        row = xp.searchsorted(indptr, xp.arange(a, b), side="right")
        order = xp.argsort((row - row[0]) * n_cols + indices[a:b])
        indices[a:b], data[a:b] = indices[a:b][order], data[a:b][order]


def count_columns(xp, indices, n_cols, chunk):
    """Entries of every column. By sorting too: the histogram of CuPy takes gigabytes for a million
    columns."""
    counts, columns = xp.zeros(n_cols, dtype=np.int64), xp.arange(n_cols + 1)
    for a in range(0, len(indices), chunk):
        first = xp.searchsorted(xp.sort(indices[a : a + chunk]), columns)
        counts += first[1:] - first[:-1]
    return counts


def upload(xp, array, dtype):
    """A large host array on the device piece by piece: what CuPy copies from goes through pinned
    memory of that size, which it keeps."""
    if is_on_device(array) or array.size <= PIECE:
        return xp.asarray(array, dtype=dtype)
    out = xp.empty(array.shape, dtype=dtype)
    for a in range(0, len(array), PIECE):
        out[a : a + PIECE] = xp.asarray(array[a : a + PIECE], dtype=dtype)
    return out


class GpuDesign:
    """X on a GPU. Stored values are float32 or float64, everything computed is float64; two runs
    give the same bits.

    Columns are renumbered by frequency on the device, so that the coefficients of frequent features
    share cache lines. Products with X' read a stored transpose. Where memory is short
    (``transpose=False``) X is there once and products with X' add in fixed point, exactly and in
    any order, by atomics: the same bits in every run too, several times slower for that half of a
    pass.

    Parameters
    ----------
    X : array or sparse matrix of NumPy, SciPy or CuPy, shape (n_rows, n_features)
        From the host it is copied once. What is on the device is read in place, or copied with
        sorted rows where that takes no more than half of the free memory.
    fit_intercept : bool
    transpose : "auto", True or False
        Whether a transposed copy is made; "auto": if memory allows, else a warning says that there
        is none.
    device : CupyDevice, optional
        The current CUDA device.
    trains : bool
        Refuse columns whose squares double precision does not hold.

    Raises
    ------
    ValueError
        When there is no device that can be used; the message says what to do.
    MemoryError
        When X does not fit, with the bytes needed and had, before anything is allocated.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp
    >>> from fasthoag.design.gpu import GpuDesign, describe_device
    >>> if "GB free" in describe_device()[1]:
    ...     design = GpuDesign(sp.eye(2, format="csr"))
    ...     design.matvec(design.encode(np.array([[3.0], [4.0]]))).get().ravel()
    ... else:
    ...     np.array([3.0, 4.0])
    array([3., 4.])
    """

    native_solvers = ("cg", "cg_in_ball")

    def __init__(
        self, X, *, fit_intercept=False, transpose="auto", device=None, trains=False, like=None
    ):
        if transpose not in (True, False, "auto"):
            raise ValueError(f"transpose must be True, False or 'auto'; got {transpose!r}")
        self.device = device or find_device()
        self.xp, self.is_given_on_device, self.n_passes = self.device.xp, is_on_device(X), 0
        is_here = self.is_given_on_device
        sizes = SIZES if trains else {}
        X = check_device_matrix(self.device, X, **sizes) if is_here else check_matrix(X, **sizes)
        self._first = like._first if like else self._offsets(X) if fit_intercept else None
        X = X if self._first is None else self._shifted(X)
        self.is_sparse, self._counts = hasattr(X, "indptr"), None
        self.shape, self.dtype, self.has_intercept = (
            tuple(X.shape),
            np.dtype(X.dtype),
            bool(fit_intercept),
        )
        n, p = self.shape
        self.n_coef = p + self.has_intercept
        self.n_stored = int(X.nnz) if self.is_sparse else n * p
        self.index_type = np.int32 if max(n, p) <= np.iinfo(np.int32).max else np.int64
        self._asked = transpose
        self.has_transpose = self._fits(transpose)
        self._is_own = not self.is_given_on_device or (
            self.has_transpose and self._is_small(is_own=True)
        )
        # of X only: the same sums on every device
        self.tile = int(min(MOST_TILE, max(LEAST_TILE, self.n_stored // 1024)))
        defines = (
            ("FH_VALUE", "float" if self.dtype == np.float32 else "double"),
            ("FH_INDEX", "int" if self.index_type == np.int32 else "i64"),
        )
        self._types, self._kept, self._checked = defines, OrderedDict(), set()
        self.order = None if like is None else like.order
        self._load(X, is_free=like is None)
        self.n_hot = min(p, MAX_HOT) if self.order is not None or not self.is_sparse else 0
        renumbered = Identity(self.n_coef)
        if self.order is not None:
            renumbered = Permute(*map(to_host, self.order), self.has_intercept)
        has_one = self._first is None
        self.coefficients = renumbered if has_one else Compose([self._first, renumbered])

    # ---- columns far from 0 ----

    def _offsets(self, X):
        """The map of `offset_map`, from some rows of an array on the device. A sparse matrix there
        stays as it is."""
        if not self.is_given_on_device:
            return offset_map(X)
        step = X.shape[0] // N_SAMPLE + 1
        return None if hasattr(X, "indptr") else offset_map(to_host(X[::step]))

    def _shifted(self, X):
        """X less the constants, where it is if it is an array."""
        if is_on_device(X) and not hasattr(X, "indptr"):
            return X - self.xp.asarray(self._first.shift.astype(X.dtype))
        return check_matrix(self._first.of_rows(X.get() if is_on_device(X) else X))

    # ---- memory and set-up ----

    def _bytes(self, has_transpose, is_own=False):
        """Of device memory to allocate: X (and its transpose), scratch of the sort, row pointers. X
        that came on the device is copied with `is_own` only."""
        (n, p), size, index = (
            self.shape,
            self.dtype.itemsize,
            np.dtype(self.index_type).itemsize if self.is_sparse else 0,
        )
        here = (
            size + index if is_own or not self.is_given_on_device else index if has_transpose else 0
        )
        scratch = (
            SCRATCH * self._chunk()
            if self.is_sparse and (has_transpose or (self._asked and not self.is_given_on_device))
            else 0
        )
        return (
            self.n_stored * (here + has_transpose * (size + index))
            + scratch
            + 64 * (n + p * has_transpose + 2)
        )

    def _is_small(self, is_own):
        free = self.device.free_bytes()
        return free is None or self._bytes(True, is_own) <= 0.5 * free

    def _chunk(self):
        return max(1, min(self.n_stored, max(1 << 18, self.n_stored // 64)))

    def _fits(self, asked):
        """Whether there will be a transpose; MemoryError when not even X fits."""
        free = self.device.free_bytes()
        if free is None:
            return bool(asked)
        room = SHARE * free
        if asked and self._bytes(True) <= room:
            return True
        needed = self._bytes(bool(asked is True))
        if needed > room:
            has_room = asked is True and self._bytes(False) <= room
            hint = (
                "transpose=False (low_memory=True)"
                if has_room
                else "float32 values or fewer rows, or device='cpu'"
            )
            raise MemoryError(
                f"X of {self.shape[0]} rows with {self.n_stored} stored values needs {needed:,} "
                f"bytes on the device; {int(room):,} of its {free:,} free bytes may be used. Use "
                f"{hint}"
            )
        if asked == "auto":
            warnings.warn(
                f"X and its transpose need {self._bytes(True):,} bytes on the device and {free:,} "
                "are free: one copy is kept, and products with X' are slower. low_memory=True "
                "asks for this and says nothing",
                stacklevel=6,
            )
        return False

    def check_room(self, n_columns):
        """Raises MemoryError unless block solves with this many columns may fit: five blocks of
        coefficients and one of predictions at least."""
        needed, free = 8 * n_columns * (5 * self.n_coef + self.shape[0]), self.device.free_bytes()
        if free is not None and needed > free:
            raise MemoryError(
                f"linear systems of {n_columns} columns need at least {needed:,} bytes on the "
                f"device beside X, and {free:,} are free. Use fewer folds or rows of your own "
                "(HeldOut), low_memory=True for one copy of X, fewer hyperparameters, or "
                "device='cpu'"
            )

    def _load(self, X, is_free):
        xp, (n, p), chunk = self.xp, self.shape, self._chunk()
        if self.is_sparse:
            indptr, indices, data = self._csr(X, is_free, chunk)
        else:
            data = (
                X if self.is_given_on_device else upload(xp, np.ravel(X), self.dtype).reshape(n, p)
            )
            data = xp.ascontiguousarray(
                data if self.order is None else data[:, self.order[0]]
            ).reshape(-1)
            indices = None
            indptr = xp.arange(n + 1) * p
        self._rows = share_rows(xp, indptr, indices, data, n, 0, self.tile)
        n_ones = n if self.has_intercept else 0
        if not self.has_transpose:
            none = xp.zeros(1, dtype=np.int64)
            segments, long_rows, n_parts = cut_rows(
                *(np.full(int(self.has_intercept), v) for v in (p, 0, n)), self.tile
            )
            self._columns = Layout(
                p,
                none,
                None,
                data[:1],
                xp.zeros((0, 2), dtype=np.int64),
                xp.asarray(segments),
                xp.asarray(long_rows),
                n_parts,
            )
            self._row_max = xp.empty(n)
            self.device.module("scatter.cu", self._types).launch(
                "largest_in_rows", chunks(n), N_THREADS, n, indptr, data, self._row_max
            )
        elif self.is_sparse:
            counts = xp.asarray(
                self.counts if self.order is None else self.counts[to_host(self.order[0])]
            )
            self._columns = share_rows(
                xp,
                *transpose(xp, indptr, indices, data, counts, self.index_type, chunk),
                p,
                n_ones,
                self.tile,
            )
        else:
            self._columns = share_rows(
                xp,
                xp.arange(p + 1) * n,
                None,
                xp.ascontiguousarray(data.reshape(n, p).T).reshape(-1),
                p,
                n_ones,
                self.tile,
            )

    def _csr(self, X, is_free, chunk):
        """Row pointers, renumbered column numbers and values on the device."""
        xp, p = self.xp, self.shape[1]
        indptr, indices, data = xp.asarray(X.indptr, dtype=np.int64), X.indices, X.data
        if not self.is_given_on_device and X.indptr[-1] != len(indices):
            indices, data = indices[: X.indptr[-1]], data[: X.indptr[-1]]
        indices, data = upload(xp, indices, self.index_type), upload(xp, data, self.dtype)
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < p:
            raise ValueError(f"X has column indices outside 0..{p - 1}")
        if (
            int(indptr[0]) != 0
            or int(indptr[-1]) != len(indices)
            or bool((indptr[1:] < indptr[:-1]).any())
        ):
            raise ValueError(
                "X has row pointers that do not start at 0, decrease or go beyond its data"
            )
        # one copy that came on the device stays as it is
        renumbers = self.has_transpose or (self._asked is not False and self._is_own)
        if not self.is_given_on_device:
            self._counts = _core.count_columns(
                np.ascontiguousarray(X.indices[: X.indptr[-1]]), p, _core.hardware_threads()
            )
        elif renumbers:
            self._counts = to_host(count_columns(xp, indices, p, chunk))
        if is_free and renumbers:
            order, rank = _core.frequency_order(self.counts)
            self.order = xp.asarray(order), xp.asarray(rank)
        if self.order is None:
            return indptr, indices, data
        if self.is_given_on_device:
            indices, data = indices.copy(), data.copy() if self._is_own else data
        rank = self.order[1].astype(self.index_type)
        for a in range(0, len(indices), chunk):
            indices[a : a + chunk] = rank[indices[a : a + chunk]]
        if self._is_own:
            sort_rows(xp, indptr, indices, data, p, chunk)
        return indptr, indices, data

    @property
    def counts(self):
        if self._counts is None and self.is_sparse:  # what came on the device and stays as it is
            self._counts = to_host(
                count_columns(self.xp, self._rows.indices, self.shape[1], self._chunk())
            )
        elif self._counts is None:
            self._counts = to_host(
                self.xp.count_nonzero(self._rows.data.reshape(self.shape), axis=0)
            )
        return self._counts

    def with_threads(self, n_threads):
        """This design: threads are those of the host, and none of its kernels runs there."""
        return self

    def like(self, X):
        return GpuDesign(
            X,
            fit_intercept=self.has_intercept,
            transpose=self._asked,
            device=self.device,
            like=self,
        )

    # ---- arrays between host and device ----

    def zeros(self, m):
        return self.xp.zeros((self.n_coef, m))

    def encode(self, w):
        w = self.coefficients.solve(to_host(w).astype(np.float64))
        return self.xp.asarray(np.ascontiguousarray(w))

    def decode(self, u):
        return self.coefficients.apply(to_host(u))

    def _block(self, array):
        return (
            None
            if array is None
            else self.xp.ascontiguousarray(
                array if array.dtype == np.float64 else array.astype(np.float64)
            )
        )

    def _here(self, array):
        """A short host array on the device, kept for the next call by its values."""
        key = array.dtype.str, array.tobytes()
        if key not in self._kept:
            self._kept[key] = self.xp.asarray(array)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _fold(self, m, K, n_folds):
        """Fold of every column: unit u is of fold u modulo n_folds."""
        return self._here((np.arange(m) // K % n_folds).astype(np.int32))

    # ---- passes ----

    def _gather(
        self,
        rows,
        V,
        out,
        *,
        is_squared=False,
        shift=None,
        scale=None,
        add=None,
        U=None,
        n_active=None,
    ):
        """Launches that compute out = X V of these rows with an epilogue (csrc/cuda/passes.cu).
        They allocate nothing, so that they can be repeated."""
        m = out.shape[1]
        lanes = self._lanes(m)
        n_each = min(4, 1 << (-(-m // lanes) - 1).bit_length())
        bind = self.device.module("passes.cu", (*self._types, ("FH_PER_LANE", n_each))).bind
        parts = self.xp.empty((rows.n_parts, m)) if rows.n_parts else None
        (scale, scale_of), (add, add_of) = scale or (None, None), add or (None, None)
        epilogue = (
            shift,
            scale,
            scale_of,
            0 if scale is None else scale.shape[1],
            add,
            add_of,
            0 if add is None else add.shape[1],
            U,
            out,
        )
        n_blocks, n_long = len(rows.blocks), len(rows.long_rows)
        grid = n_blocks + len(rows.segments)

        steps = []
        if grid:
            steps.append(
                bind(
                    "gather",
                    grid,
                    N_THREADS,
                    rows.indptr,
                    rows.indices,
                    rows.data,
                    rows.n_rows,
                    rows.blocks,
                    n_blocks,
                    rows.segments,
                    m,
                    lanes,
                    is_squared,
                    V,
                    *epilogue,
                    parts,
                    n_active,
                )
            )
        if n_long:
            steps.append(
                bind(
                    "add_segments", n_long, N_THREADS, rows.long_rows, m, parts, *epilogue, n_active
                )
            )
        return steps

    def _lanes(self, m):
        """Columns that lie side by side in a warp: a power of two."""
        return 1 << (min(m, self.device.warp, self.device.n_threads).bit_length() - 1)

    def _gather_rows(self, V, out, **options):
        p = self.shape[1]
        return self._gather(
            self._rows, V, out, shift=V[p:].reshape(-1) if self.has_intercept else None, **options
        )

    def _gather_columns(self, R, out, is_squared=False, **options):
        """As `_gather` for out = X' R, in either form."""
        steps = self._gather(self._columns, R, out, is_squared=is_squared, **options)
        return steps if self.has_transpose else self._scatter(R, out, is_squared, steps, **options)

    def _scatter(self, R, out, is_squared, add_ones, add=None, U=None, n_active=None):
        xp, (n, p), m, rows = self.xp, self.shape, out.shape[1], self._rows
        bind, lanes = self.device.module("scatter.cu", self._types).bind, self._lanes(m)
        n_parts, log2_n = chunks(n), int(n).bit_length()
        bound, unit, sums = xp.empty((n_parts, m)), xp.empty(m), xp.empty((p, m, 2), dtype=np.int64)
        add, add_of = add or (None, None)
        epilogue = (None, None, None, 0, add, add_of, 0 if add is None else add.shape[1], U, out)
        grid = len(rows.blocks) + len(rows.segments)

        steps = [
            bind(
                "row_bounds",
                n_parts,
                N_THREADS,
                n,
                m,
                self._row_max,
                R,
                is_squared,
                bound,
                n_active,
            ),
            bind("fixed_units", 1, N_THREADS, n_parts, m, log2_n, bound, unit, n_active),
            partial(sums.fill, 0),
        ]
        if grid:
            steps.append(
                bind(
                    "scatter",
                    grid,
                    N_THREADS,
                    rows.indptr,
                    rows.indices,
                    rows.data,
                    p,
                    rows.blocks,
                    len(rows.blocks),
                    rows.segments,
                    m,
                    lanes,
                    log2_n,
                    is_squared,
                    R,
                    unit,
                    sums,
                    n_active,
                )
            )
        return [
            *steps,
            bind(
                "from_fixed",
                chunks(p * m),
                N_THREADS,
                p,
                m,
                log2_n,
                sums,
                unit,
                *epilogue,
                n_active,
            ),
            *add_ones,
        ]

    def product(self, curvature, fold, K, V, out, *, lam=None, lam_of=None, n_active=None):
        """Launches that compute out = X' (c * (X V)) + lam V; they allocate nothing."""
        n, m = self.shape[0], V.shape[1]
        Z, fold = self.xp.empty((n, m)), self._here(np.ascontiguousarray(fold, np.int32))
        add = None if lam is None else (lam, self._here(np.ascontiguousarray(lam_of, np.int32)))
        to_rows = self._gather_rows(
            V, Z, scale=(curvature, fold) if K == 1 else None, n_active=n_active
        )
        to_columns = self._gather_columns(
            Z, out, add=add, U=None if lam is None else V, n_active=n_active
        )
        if K > 1:
            units = (
                chunks(n * m // K),
                N_THREADS,
                n,
                m,
                K,
                curvature,
                curvature.shape[1] // K,
                fold,
                Z,
                n_active,
            )
            to_rows.append(self._row_kernels(None)[0].bind("curve", *units))
        return to_rows + to_columns

    def hvp(self, c, V):
        self.n_passes += 1
        m, K = V.shape[1], c.n_classes
        fold = (np.arange(m) // K % (c.values.shape[1] // K)).astype(np.int32)
        # the unit matrix has as many columns as there are coefficients
        width = max(1, WIDE // (self.shape[0] * K)) * K
        curvature, V = self._block(c.values), self._block(V)
        starts = range(0, m, min(width, m))
        parts = [V] if width >= m else [self._block(V[:, a : a + width]) for a in starts]
        out = [self.xp.empty(part.shape) for part in parts]
        for a, part, found in zip(starts, parts, out, strict=True):
            columns = fold[a : a + part.shape[1]]
            gpu_cg.run(self.product(curvature, columns, K, part, found))
        return out[0] if len(out) == 1 else self.xp.concat(out, axis=1)

    def hess_diag(self, c):
        self.n_passes += 1
        out = self.xp.empty((self.n_coef, c.values.shape[1]))
        gpu_cg.run(self._gather_columns(self._block(c.values), out, is_squared=True))
        return out

    def gram(self, c):
        return self.hvp(c, self.xp.asarray(np.eye(self.n_coef)))

    def dense(self):
        return dense_by_products(self)

    def _predict(self, V):
        Z = self.xp.empty((self.shape[0], V.shape[1]))
        gpu_cg.run(self._gather_rows(self._block(V), Z))
        return Z

    def matvec(self, V):
        self.n_passes += 1
        return self._predict(V)

    def _rmatvec(self, R):
        out = self.xp.empty((self.n_coef, R.shape[1]))
        gpu_cg.run(self._gather_columns(self._block(R), out))
        return out

    def rmatvec(self, R):
        self.n_passes += 1
        return self._rmatvec(R)

    # ---- rows ----

    def _row_kernels(self, loss):
        """The kernels with the formulas of a loss, its parameters and its number of classes."""
        if loss is None or loss.n_classes > 1:
            a = (0.0, 0.0) if loss is None else (loss.parameters["smoothing"], 0.0)
            return (
                self.device.module("rows.cu", (("FH_LOSS", "squared"),)),
                a,
                1 if loss is None else loss.n_classes,
            )
        if loss.compiled is None:
            return (
                self.device.module("rows.cu", (("FH_LOSS", loss.name),)),
                tuple((*(loss.parameters or {}).values(), 0.0, 0.0)[:2]),
                1,
            )
        if loss.cuda is None:
            raise ValueError(
                f"loss '{loss.name}' is compiled by Numba for the CPU. On the GPU it needs its "
                "formulas as CUDA expressions of y and z: custom_loss(..., cuda=(value, d1, d2, "
                "d3)); or use device='cpu'"
            )
        return self.device.module("rows.cu", (("FH_LOSS", "custom"),), loss.cuda), (0.0, 0.0), 1

    def place(self, y, weight=None, mask=None, offset=None):
        return place(self, y, weight, mask, offset)

    def put(self, arrays):
        return arrays

    def _row_arguments(self, rows, m, K):
        n_folds = 1 if rows.mask is None else rows.mask.shape[1]
        return rows.y, rows.weight, rows.mask, n_folds, self._fold(m, K, n_folds)

    def _losses(self, rows, loss, Z, wants_grad):
        """Training and held-out values (2, m) as NumPy, and s * (first derivative)."""
        if loss.mixed is not None:
            (first, R_first), (second, R_second) = (
                self._losses(rows, one, Z, wants_grad) for one in loss.mixed
            )
            R = _mixed(loss, R_first, R_second) if wants_grad else None
            return _mixed(loss, first, second), R
        (kernels, a, K), (n, m), xp = self._row_kernels(loss), Z.shape, self.xp
        R = xp.empty((n, m)) if wants_grad or K > 1 else None
        n_parts, n_units = chunks(n), m // K
        parts, sums = xp.empty((n_parts, 2, n_units)), xp.empty((2, n_units))
        row_data = self._row_arguments(rows, m, K)
        args = n, m, K, *row_data, *a, Z, R, wants_grad, parts
        kernels.launch("losses", n_parts, N_THREADS, *args)
        kernels.launch("add_up", 1, N_THREADS, n_parts, 2, n_units, parts, sums)
        values = np.zeros((2, m))
        values[:, ::K] = to_host(sums)
        return values, R

    def loss_grad(self, rows, loss, W, part, has_grad):
        self.n_passes += 1
        loss, Z = find_loss(loss), self._predict(W)
        if rows.offset is not None:
            Z = Z + rows.offset[:, None]
        self.check_custom(loss, rows.y)
        values, R = self._losses(rows, loss, Z, has_grad and part == TRAIN)
        if part == HELD_OUT:
            values, R = values[::-1], self.terms(rows, loss, 1, part, Z) if has_grad else None
        return LossGrad(*values, self._rmatvec(R) if has_grad else None, Z)

    def terms(self, rows, loss, order, part, Z):
        loss = find_loss(loss)
        if part == UNWEIGHTED:
            rows, part = _bare(rows), TRAIN
        if loss.mixed is not None:
            return _mixed(loss, *(self.terms(rows, one, order, part, Z) for one in loss.mixed))
        (kernels, a, K), Z = self._row_kernels(loss), self._block(Z)
        out = self.xp.empty(Z.shape)
        row_data = self._row_arguments(rows, Z.shape[1], K)
        args = *Z.shape, K, *row_data, *a, order, part, Z, out
        kernels.launch("row_terms", chunks(Z.size // K), N_THREADS, *args)
        return out

    def sums(self, rows, loss, part, Z):
        rows = _bare(rows) if part == UNWEIGHTED else rows
        train, held_out = self._losses(rows, find_loss(loss), self._block(Z), False)[0]
        return held_out if part == HELD_OUT else train

    def contract(self, a, b, Q, U):
        self.n_passes += 1
        xp, K, n = self.xp, (a or b).n_classes, self.shape[0]
        A, B = (None if c is None else self._block(c.values) for c in (a, b))
        A = xp.zeros(B.shape) if A is None else A
        F = A.shape[1] // K
        k = U.shape[1] // (F * K)
        Z = self._predict(U if Q is None else xp.concatenate([U, Q], axis=1))
        n_parts = chunks(n)
        parts, M = xp.empty((n_parts, F * k * k)), xp.empty((F, k, k))
        rows = self._row_kernels(None)[0]
        rows.launch("contract", n_parts, N_THREADS, n, F, k, K, A, B, Z, Z.shape[1], parts)
        rows.launch("add_up", 1, N_THREADS, n_parts, 1, F * k * k, parts, M)
        return to_host(M)

    def check_custom(self, loss, y):
        """Once for every custom loss: its CUDA expressions are those of its Python functions, at
        some targets and predictions."""
        for one in loss.mixed or ():
            self.check_custom(one, y)
        if loss.compiled is None or loss.cuda is None or loss in self._checked:
            return
        z, targets = np.linspace(-5, 5, 21), np.unique(to_host(y))
        targets = targets[:: max(1, len(targets) // 10)]
        yy, zz = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(targets, z))
        kernels, ones, at = (
            self._row_kernels(loss)[0],
            self.xp.asarray(np.zeros(1, np.int32)),
            self.xp.asarray(zz[:, None]),
        )
        for order, role in enumerate(("value", "d1", "d2", "d3")):
            out = self.xp.empty((len(zz), 1))
            kernels.launch(
                "row_terms",
                1,
                N_THREADS,
                len(zz),
                1,
                1,
                self.xp.asarray(yy),
                None,
                None,
                1,
                ones,
                0.0,
                0.0,
                order,
                1,
                at,
                out,
            )
            found, expected = to_host(out)[:, 0], derivative(loss, order, yy, zz)
            allowed = (1e-3 if order == 3 else 1e-9) * (np.abs(expected) + np.abs(expected).max())
            bad = np.flatnonzero(~(np.abs(found - expected) <= allowed))
            if len(bad):
                i = bad[0]
                raise ValueError(
                    f"the CUDA expression of {role} of loss '{loss.name}' is not its Python "
                    f"function: at y = {yy[i]:g}, z = {zz[i]:g} it gives {found[i]:.10g} for "
                    f"{expected[i]:.10g}"
                )
        self._checked.add(loss)

    # ---- solvers ----

    def cg(self, hess, b, start, tol, precond, max_iter, radius=None):
        blocks = self._block(hess.curvature.values), self._block(hess.lam)
        curvature = replace(hess.curvature, values=blocks[0])
        hess = replace(hess, curvature=curvature, lam=blocks[1])
        precond = replace(
            precond,
            diagonal=self._block(precond.diagonal),
            low_rank=self._block(precond.low_rank),
            inverse=self._block(precond.inverse),
        )
        return gpu_cg.solve(hess, self._block(b), start, tol, precond, max_iter, radius)

    def cg_in_ball(self, hess, b, tol, precond, max_iter, radius):
        return self.cg(hess, b, None, tol, precond, max_iter, radius)


def _bare(rows):
    """These rows without weights and folds: every one trains with weight 1."""
    return rows._replace(weight=None, mask=None)


def _mixed(loss, first, second):
    weight = loss.parameters["weight"]  # 0 times an overflow would be NaN
    return (
        first
        if weight == 1
        else second
        if weight == 0
        else weight * first + (1.0 - weight) * second
    )


def chunks(n):
    """Blocks of a launch over n rows: of sizes only, so that sums are the same everywhere."""
    return int(max(1, min(MOST_BLOCKS, n // N_THREADS)))


def check_device_matrix(device, X, *, least=0.0, most=np.inf):
    """X on a GPU as the kernels read it; raises where that cannot be."""
    arrays = (
        [getattr(X, name) for name in ("data", "indices", "indptr")]
        if hasattr(X, "indptr")
        else [X]
    )
    if hasattr(X, "tocsr") and getattr(X, "format", "csr") != "csr":
        raise ValueError(
            f"X on the GPU must be CSR or dense; got format {X.format!r}. Use X.tocsr()"
        )
    if not all(device.holds(array) for array in arrays):
        raise ValueError(
            "X is on another GPU than the current device. Copy it, or choose its device with "
            "cupy.cuda.Device(number).use()"
        )
    values = arrays[0]
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(
            f"X must have 2 dimensions, at least one row and one feature; got shape {X.shape}"
        )
    if values.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"X on the GPU must have float32 or float64 values; got dtype {values.dtype}"
        )
    total = float(values.sum(dtype=np.float64))
    if total - total != 0:
        check_finite(to_host(values), "X")
    if values.dtype == np.float64 and most < np.inf:  # float32 holds nothing that is out of range
        found = device_sizes(device.xp, values)
        if not (found[0] >= least and found[1] <= most):  # rarely, and looked at on the host
            check_sizes(X.get(), found, "X", least, most)
    # duplicates are summed in a copy, the caller's matrix stays as it is
    if hasattr(X, "indptr") and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def device_sizes(xp, values):
    """The smallest size of a value that is not 0 and the largest, as floats; some at a time."""
    flat, step, smallest, largest = xp.reshape(values, (-1,)), 1 << 24, np.inf, 0.0
    for k in range(0, flat.shape[0], step):
        sizes = xp.abs(flat[k : k + step])
        largest = max(largest, float(sizes.max()))
        smallest = min(smallest, float(xp.where(sizes > 0, sizes, np.inf).min()))
    return smallest, largest
