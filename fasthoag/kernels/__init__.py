"""Kernel models: ridge and logistic regression whose kernel widths and strength are tuned."""

from fasthoag.kernels.kernel import KERNELS
from fasthoag.kernels.problem import KernelProblem

__all__ = ["KERNELS", "KernelProblem"]
