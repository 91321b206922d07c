"""The CUDA device through CuPy, which no other module imports.

`CupyDevice` has all that a `GpuDesign` asks of a GPU: an array namespace, kernels by the name of
their source, free memory, and launches repeated as one. Tests put another device in its place that
runs the same kernels on the CPU. CuPy compiles a source when it is first used, which takes about a
second, and keeps the result on disk.
"""

from functools import partial

from fasthoag.design.gpu import cuda
from fasthoag.design.gpu.launches import N_THREADS, run

LEAST_CUDA = 12  # of the driver


class CupyDevice:
    """The current CUDA device."""

    warp, n_threads = 32, N_THREADS

    def __init__(self):
        import cupy

        self.xp, self._modules, self.number = cupy, {}, cupy.cuda.runtime.getDevice()
        # launches are captured on a stream of their own, because the default stream cannot be
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def module(self, name, defines=(), custom=None):
        """The kernels of csrc/cuda/`name` with these definitions."""
        key = name, tuple(defines), custom
        if key not in self._modules:
            self._modules[key] = CupyModule(cuda.source(name, defines, custom), self.xp)
        return self._modules[key]

    def holds(self, array):
        """Whether `array` is in the memory of this device."""
        return isinstance(array, self.xp.ndarray) and array.device.id == self.number

    def free_bytes(self):
        return (
            self.xp.cuda.Device(self.number).mem_info[0]
            + self.xp.get_default_memory_pool().free_bytes()
        )

    def cholesky(self, matrix):
        """The lower Cholesky factor, by cuSOLVER; NaN where the matrix has none."""
        return self.xp.linalg.cholesky(matrix)

    def solve_triangular(self, lower, block, is_transposed=False):
        """The solution with a lower triangle, or its transpose, by cuBLAS."""
        from cupyx.scipy.linalg import solve_triangular

        return solve_triangular(lower, block, trans=int(is_transposed), lower=True)

    def repeated(self, steps):
        """A function that does these launches as one, a CUDA graph. They must allocate nothing."""
        with self._stream:
            self._stream.begin_capture()
            run(steps)
            graph = self._stream.end_capture()
        return partial(graph.launch, self.xp.cuda.get_current_stream())

    def __str__(self):
        return self.xp.cuda.runtime.getDeviceProperties(self.number)["name"].decode()


class CupyModule:
    """The kernels of one source, compiled."""

    def __init__(self, text, cupy):
        self.kernels = cuda.kernels(text)
        self._module = cupy.RawModule(code=text, options=("-std=c++17",))
        self._functions = {}

    def bind(self, name, grid, n_threads, *values):
        """A function that launches this kernel with these arguments. They are checked here, once,
        however often it is called."""
        if name not in self._functions:
            self._functions[name] = self._module.get_function(name)
        arguments = self.kernels[name].arguments(values)
        return partial(self._functions[name], (int(grid),), (n_threads,), arguments)

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
    """(version of CuPy or None, name and free memory of the device). Where no device can be used,
    the second one is a sentence that says why."""
    try:
        device = find_device()
    except ValueError as error:
        try:
            import cupy
        except ImportError:
            return None, str(error)
        return cupy.__version__, str(error)
    return device.xp.__version__, f"{device}, {device.free_bytes() / 1e9:.1f} GB free"
