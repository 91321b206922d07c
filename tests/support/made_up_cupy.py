"""As much of CuPy as is asked for, on the CPU."""

import types

import scipy.sparse as sp

from fasthoag.design.gpu import cuda
from support.host_device import DeviceArray, HostDevice, HostModule, Namespace


def cupy_reporting(driver=12080, runtime=12080, n_devices=1, has_nvrtc=True):
    """CuPy on a machine with these versions of CUDA and so many devices (-1: it cannot tell)."""

    class CUDARuntimeError(RuntimeError):
        pass

    def count():
        if n_devices < 0:
            raise CUDARuntimeError("cudaErrorUnknown")
        return n_devices

    def version():
        if not has_nvrtc:
            raise ImportError("no libnvrtc")

    module = types.SimpleNamespace
    found = module(
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: runtime,
        getDeviceCount=count,
        getDevice=lambda: 0,
        CUDARuntimeError=CUDARuntimeError,
    )
    return module(
        __version__="14.2.0", cuda=module(nvrtc=module(getVersion=version), runtime=found)
    )


class ArrayOf:
    """An array of the device with this number."""

    def __init__(self, number):
        self.device = types.SimpleNamespace(id=number)


class MadeUpCupy(Namespace):
    """As much of CuPy as `CupyDevice` uses: launches run on the CPU at once, but while a stream
    captures they only go into its graph."""

    __version__ = "14.2.0"
    ndarray = ArrayOf

    def __init__(self):
        self.capturing, self.n_graph_launches, self.options = None, 0, None
        self.cuda = cupy_reporting().cuda
        self.cuda.runtime.getDeviceProperties = lambda number: {"name": b"Made up"}
        self.cuda.Device = lambda number: types.SimpleNamespace(mem_info=(10**9, 2 * 10**9))
        self.cuda.Stream = lambda non_blocking: Stream(self)
        self.cuda.get_current_stream = lambda: "current"

    def get_default_memory_pool(self):
        return types.SimpleNamespace(free_bytes=lambda: 10**6)

    def RawModule(self, code, options):
        self.options = options
        module = HostModule(code, HostDevice())

        def get_function(name):
            def launch(grid, block, args):
                assert grid[0] >= 1
                assert block in ((256,), (512,))
                assert len(grid) == 1
                step = module.bind(
                    name, grid[0], block[0], *(None if a is cuda.NULL else a for a in args)
                )
                if self.capturing is None:
                    step()
                else:
                    self.capturing.append(step)

            return launch

        return types.SimpleNamespace(get_function=get_function)


class Stream:
    """Between `begin_capture` and `end_capture` launches go into a graph."""

    def __init__(self, cupy):
        self.cupy = cupy

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.cupy.capturing is None

    def begin_capture(self):
        self.cupy.capturing = []

    def end_capture(self):
        steps, self.cupy.capturing = self.cupy.capturing, None

        def launch(stream):
            assert stream == "current"
            assert steps
            self.cupy.n_graph_launches += 1
            for step in steps:
                step()

        return types.SimpleNamespace(launch=launch)


class DeviceCsr:
    """As much of cupyx.scipy.sparse.csr_matrix as is asked for."""

    has_canonical_format, format = True, "csr"

    def tocsr(self):
        return self

    def __init__(self, X):
        self.data, self.indices, self.indptr = (
            DeviceArray(a.copy()) for a in (X.data, X.indices, X.indptr)
        )
        self.shape, self.nnz, self.dtype = X.shape, X.nnz, X.dtype

    def get(self):
        arrays = tuple(a.array for a in (self.data, self.indices, self.indptr))
        return sp.csr_matrix(arrays, shape=self.shape)

    def __matmul__(self, V):
        return DeviceArray(self.get() @ V.array)
