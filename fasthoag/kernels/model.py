"""A kernel model that is fitted: what it predicts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.kernels.kernel import Kernel
from fasthoag.kernels.pairs import Samples, like, samples_of
from fasthoag.threads import n_threads_of
from fasthoag.types import Array, Matrix


@dataclass(frozen=True, eq=False)
class KernelModel:
    """``z = Σ_i k(x, x_i) α_i + b`` over the rows that it was fitted to.

    Attributes
    ----------
    kernel : Kernel
    gamma : array, shape (n_widths,)
        No width, one, or one each feature.
    X : array or sparse matrix, shape (n_rows, n_features)
    dual_coef : array, shape (n_rows,) or (n_rows, n_targets)
    intercept : float or array, shape (n_targets,)
    """

    kernel: Kernel
    gamma: Array
    X: Any
    dual_coef: Array
    intercept: Any

    def predict(self, X: Matrix, n_threads: int | None = None) -> Array:
        """z of these rows, (n,) or (n, n_targets)."""
        X = like(samples_of(X, "X", self.X.shape[1]), self.X)
        n_threads, n_widths = n_threads_of(n_threads), len(self.gamma)
        rows, own = (Samples(self.kernel, one, n_threads, n_widths) for one in (X, self.X))
        block = np.reshape(self.dual_coef, (len(self.dual_coef), -1))
        z = rows.pairs(own).at(self.gamma).product(block) + self.intercept
        return z if self.dual_coef.ndim == 2 else z[:, 0]
