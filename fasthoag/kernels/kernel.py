"""Kernel functions: what pairs of rows they look at, and their widths.

k(x, y) = phi(s) with s = Σ_k v_k: ``v_k = γ_k (x_k - y_k)²`` and ``phi = exp(-s)`` for "rbf",
``v_k = γ_k |x_k - y_k|`` for "laplacian", ``v_k = γ_k x_k y_k`` and ``phi = (s + coef0)^degree``
for "poly", the same without widths and with degree 1 for "linear". The derivative in log γ_k is
``phi'(s) v_k``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fasthoag.options import is_number

LOSSES = "squared", "logistic"  # of kernel models


@dataclass(frozen=True)
class Kernel:
    """A kernel function. `pair` and `shape` are what csrc/kernel.hpp calls so; features are
    multiplied by ``γ^power``; `function` is one of the user's."""

    name: str
    pair: str
    shape: str
    power: float
    shift: float = 0.0
    degree: float = 1.0
    has_width: bool = True
    function: Callable[[Any, Any], Any] | None = None

    def n_widths(self, n_features: int, per_feature: bool) -> int:
        if not self.has_width:
            return 0
        return n_features if per_feature else 1


KERNELS = {
    "rbf": Kernel("rbf", "squares", "exponential", 0.5),
    "laplacian": Kernel("laplacian", "distances", "exponential", 1.0),
    "linear": Kernel("linear", "products", "power", 0.5, has_width=False),
    "poly": Kernel("poly", "products", "power", 0.5, shift=1.0, degree=3.0),
}


def find_kernel(kernel: Any, *, degree: float = 3, coef0: float = 1) -> Kernel:
    """The `Kernel` of a name or of a function; raises ValueError for what is neither."""
    if callable(kernel) and not isinstance(kernel, type):
        return Kernel("callable", "given", "power", 1.0, has_width=False, function=kernel)
    if not (isinstance(kernel, str) and kernel in KERNELS):
        raise ValueError(
            f"kernel must be {', '.join(map(repr, KERNELS))} or a function of two arrays of rows "
            f"that returns their kernel matrix; got {kernel!r}"
        )
    found = KERNELS[kernel]
    if found.name != "poly":
        return found
    if not (is_number(degree, 0) and float(degree).is_integer()):
        raise ValueError(f"degree must be a whole number >= 1; got {degree!r}")
    if not (is_number(coef0) and coef0 >= 0):  # else K is not positive semidefinite
        raise ValueError(f"coef0 must be a number >= 0; got {coef0!r}")
    return replace(found, degree=float(degree), shift=float(coef0))
