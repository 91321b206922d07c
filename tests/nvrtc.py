"""NVRTC through ctypes, from the wheel nvidia-cuda-nvrtc: it compiles CUDA without a driver or a device."""
import ctypes
import importlib.util
import pathlib


def library():
    """Path of libnvrtc in the installed wheels (CUDA 13 or 12), or None."""
    found = importlib.util.find_spec("nvidia")
    folders = [pathlib.Path(folder) for folder in found.submodule_search_locations] if found else []
    paths = [path for folder in folders for path in sorted(folder.glob("*/lib/libnvrtc.so.*")) if "alt" not in path.name]
    return paths[-1] if paths else None


def compile_for(arch, text, name="source.cu"):
    """The cubin of `text` for an architecture such as sm_90; RuntimeError with the compiler's words."""
    nvrtc = ctypes.CDLL(str(library()))
    program, options = ctypes.c_void_p(), (ctypes.c_char_p * 3)(f"--gpu-architecture={arch}".encode(), b"-std=c++17", b"-Werror=all-warnings")
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
    try:
        code, size = nvrtc.nvrtcCompileProgram(program, len(options), options), ctypes.c_size_t()
        if code:
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            nvrtc.nvrtcGetProgramLog(program, log)
            raise RuntimeError(f"NVRTC error {code} for {arch}: {log.value.decode()[:4000]}")
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        cubin = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetCUBIN(program, cubin)
        return cubin.raw
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
