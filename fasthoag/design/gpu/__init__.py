"""X on a GPU. Passes and conjugate gradients run in CUDA (csrc/cuda); `device` is the only module
that imports CuPy, and only when a device is asked for."""

from fasthoag.design.gpu.design import GpuDesign
from fasthoag.design.gpu.device import CupyDevice, describe_device, find_device

__all__ = ["CupyDevice", "GpuDesign", "describe_device", "find_device"]
