"""A device that is this very CPU: the kernels of csrc/cuda compiled by g++, and arrays that, like
CuPy's, never become NumPy arrays by accident."""

import ctypes
import hashlib
import os
import pathlib
import subprocess
import tempfile

import numpy as np
import scipy.linalg

from fasthoag.design import gpu
from fasthoag.design.gpu import cuda
from fasthoag.design.gpu import design as gpu_design

SHIM = pathlib.Path(__file__).with_name("cuda_on_host.hpp")
CACHE = pathlib.Path(tempfile.gettempdir()) / f"fasthoag-host-kernels-{os.getuid()}"
FLAGS = (
    "-std=c++17",
    "-O1",
    "-shared",
    "-fPIC",
    "-ffp-contract=off",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-Wno-unused-function",
)


def compiled(text, warp):
    """The shared library of a source, kept for the next process."""
    kernels = cuda.kernels(text)
    launchers = "".join(
        f'extern "C" int launch_{name}(int grid, int block, void** a) '
        f"{{ return emulated::launch({name}, grid, block, a); }}\n"
        for name in kernels
    )
    whole = f'#define FH_WARP {warp}\n#include "{SHIM.name}"\n{text}\n{launchers}'
    key = hashlib.sha256((whole + SHIM.read_text() + " ".join(FLAGS)).encode()).hexdigest()[:24]
    target = CACHE / f"{key}.so"
    if not target.exists():
        CACHE.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            (pathlib.Path(folder) / "source.cpp").write_text(whole)
            made = os.path.join(folder, "made.so")
            ran = subprocess.run(
                ["g++", *FLAGS, "-I", SHIM.parent, os.path.join(folder, "source.cpp"), "-o", made],
                capture_output=True,
                text=True,
            )
            if ran.returncode:
                raise RuntimeError(ran.stderr[:4000])
            os.replace(made, target)  # at once, for processes that run beside this one
    return ctypes.CDLL(str(target))


class DeviceArray:
    """A NumPy array behind CuPy's rules: arithmetic with numbers and its own kind only; `get` is
    the one way to NumPy."""

    __array_ufunc__ = None  # NumPy's operators leave it alone
    __cuda_array_interface__ = None

    def __init__(self, array):
        self.array = array

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct "
            "a NumPy array explicitly."
        )

    def get(self):
        return self.array.copy()

    def __len__(self):
        return len(self.array)

    def __int__(self):
        return int(self.array)

    def __float__(self):
        return float(self.array)

    def __bool__(self):
        return bool(self.array)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return wrapped(getattr(self.array, name))

    def __getitem__(self, key):
        return wrapped(self.array[unwrapped(key, is_index=True)])

    def __setitem__(self, key, value):
        self.array[unwrapped(key, is_index=True)] = unwrapped(value)

    def copy(self):
        return DeviceArray(self.array.copy())


def _operator(name):
    def apply(self, *others):
        return wrapped(getattr(self.array, name)(*map(unwrapped, others)))

    return apply


for _name in (
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "truediv",
    "rtruediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "rmatmul",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
    "and",
    "or",
    "neg",
    "abs",
    "invert",
    "iadd",
    "isub",
    "imul",
    "ifloordiv",
):
    setattr(DeviceArray, f"__{_name}__", _operator(f"__{_name}__"))


def wrapped(value):
    if isinstance(value, np.ndarray):
        return DeviceArray(value)
    if isinstance(value, np.generic):  # CuPy gives arrays without dimensions
        return DeviceArray(np.asarray(value))
    if callable(value) and not isinstance(value, type):
        return lambda *args, **kwargs: wrapped(
            value(*map(unwrapped, args), **{k: unwrapped(v) for k, v in kwargs.items()})
        )
    return value


def unwrapped(value, is_index=False):
    if isinstance(value, DeviceArray):
        return value.array
    if isinstance(value, (tuple, list)):
        return type(value)(unwrapped(v, is_index) for v in value)
    if isinstance(value, np.ndarray) and value.ndim and not is_index:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return value


class Namespace:
    """NumPy's functions for device arrays; `asarray` alone takes what NumPy has."""

    def __getattr__(self, name):
        value = getattr(np, name)
        return value if isinstance(value, type) else wrapped(value)

    @staticmethod
    def asarray(array, dtype=None, copy=None):
        array = array.array if isinstance(array, DeviceArray) else np.array(array)
        return DeviceArray(
            np.array(array, dtype=dtype, copy=copy or None, order="C" if dtype is None else None)
        )

    ascontiguousarray = staticmethod(
        lambda array: DeviceArray(np.ascontiguousarray(unwrapped(array)))
    )


class HostModule:
    def __init__(self, text, device):
        self.kernels, self.library, self.device = (
            cuda.kernels(text),
            compiled(text, device.warp),
            device,
        )

    def bind(self, name, grid, n_threads, *values):
        """A function that launches this kernel with these arguments."""
        values = self.kernels[name].arguments(values)
        held = [
            ctypes.c_void_p(v.array.ctypes.data)
            if isinstance(v, DeviceArray)
            else np.ctypeslib.as_ctypes_type(v.dtype)(v.item())
            for v in values
        ]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(v) for v in held))
        run, grid, n_threads = (
            getattr(self.library, f"launch_{name}"),
            int(grid),
            min(n_threads, self.device.n_threads),
        )

        def launch(held=(values, held)):
            if run(grid, n_threads, pointers):
                raise RuntimeError(
                    f"kernel {name}: threads wait for each other for ever, or some have ended "
                    "before a barrier"
                )

        return launch

    def launch(self, *args):
        self.bind(*args)()


class HostDevice:
    """A device for `GpuDesign` that is the CPU.

    A block has `n_threads` threads at most and a warp `warp` lanes: 1 and 1 is fast, more of them
    run as fibers that take turns. `free` is the memory that it says it has.
    """

    xp = Namespace()

    def __init__(self, n_threads=1, warp=1, free=None):
        self.n_threads, self.warp, self.free, self.modules = n_threads, warp, free, {}
        self.n_repeats = 0

    def module(self, name, defines=(), custom=None):
        key = name, tuple(defines), custom
        if key not in self.modules:
            self.modules[key] = HostModule(cuda.source(name, defines, custom), self)
        return self.modules[key]

    def holds(self, array):
        return isinstance(array, DeviceArray)

    def free_bytes(self):
        return self.free

    def cholesky(self, matrix):
        lower, info = scipy.linalg.lapack.dpotrf(matrix.array, lower=1, clean=1)
        return DeviceArray(lower if info == 0 else np.full_like(lower, np.nan))

    def solve_triangular(self, lower, block, is_transposed=False):
        options = {"trans": int(is_transposed), "lower": True}
        return DeviceArray(scipy.linalg.solve_triangular(lower.array, block.array, **options))

    def repeated(self, steps):
        """A function that does these launches; on a GPU they become a graph."""
        self.n_repeats += 1
        return lambda: [step() for step in steps]

    def __str__(self):
        return "CPU"


def use_host(monkeypatch):
    """The device of ``device="gpu"`` is this CPU."""
    from fasthoag.kernels import problem as kernel_problem

    for module in (gpu, gpu_design, kernel_problem):
        monkeypatch.setattr(module, "find_device", HostDevice)
