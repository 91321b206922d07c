"""NVRTC through ctypes, from the wheel nvidia-cuda-nvrtc-cu12: it compiles CUDA without a driver or
a device."""

import ctypes
import importlib.util
import pathlib


def library():
    """Path of libnvrtc in the installed wheels, or None."""
    found = importlib.util.find_spec("nvidia")
    folders = [pathlib.Path(folder) for folder in found.submodule_search_locations] if found else []
    paths = [
        path
        for folder in folders
        for path in sorted(folder.glob("*/lib/libnvrtc.so.*"))
        if "alt" not in path.name
    ]
    return paths[-1] if paths else None


def compile_for(arch, text, name="source.cu"):
    """The cubin of `text` for an architecture such as sm_90; RuntimeError with the compiler's
    words, for a warning too."""
    nvrtc = ctypes.CDLL(str(library()))
    program = ctypes.c_void_p()
    # as CuPy
    options = (ctypes.c_char_p * 4)(
        f"--gpu-architecture={arch}".encode(),
        b"-std=c++17",
        b"-ftz=true",
        b"--device-as-default-execution-space",
    )
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
    try:
        code, size = nvrtc.nvrtcCompileProgram(program, len(options), options), ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        if code or b"warning" in log.value:
            raise RuntimeError(f"NVRTC error {code} for {arch}: {log.value.decode()[:4000]}")
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        cubin = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetCUBIN(program, cubin)
        return cubin.raw
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
