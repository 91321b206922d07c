"""Kernel models: ridge and logistic regression whose kernel widths and strength are tuned."""

from fasthoag.kernels.kernel import KERNELS

__all__ = ["KERNELS"]
