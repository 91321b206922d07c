"""Where X lives: the seam between the outer loop and CPU, mapped file, GPU or cluster.

Everything that touches X goes through a `Design`. Coefficient blocks have shape ``(n_coef, m)``:
one row a feature and, with an intercept, one more as the last row; one column a fold (or a
strength, or a right-hand side). Their feature order and memory belong to the design: `encode` takes
a user's array there and `decode` brings it back. Arrays of shape ``(n_rows, m)`` hold predictions
and curvatures.

With the multinomial loss of K classes every column becomes a unit of K columns side by side: column
f K + c is class c of fold f, and `fold` repeats f. Values of a unit are in its first column, 0 in
the others.

A pass visits every row once, whatever the number of columns: one loss and gradient, one Hessian
product or one plain product is one pass."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

TRAIN, HELD_OUT = 1, 2  # bits of RowWeights.mask
MOSTLY_ZERO_SIZE, MOSTLY_ZERO_SHARE = 1_000_000, 0.25
# of Design.n_hot: 20 newsgroups has 84 % of its entries in as many of its 130,107 columns
MAX_HOT = 8192


def is_on_device(array):
    """Whether an array or a sparse matrix (its values) is in the memory of a GPU."""
    return any(
        hasattr(type(a), "__cuda_array_interface__") and hasattr(a, "get")
        for a in (array, getattr(array, "data", None))
    )


def to_host(array):
    """`array` as NumPy, wherever it lives."""
    return np.asarray(array.get() if is_on_device(array) else array)


@dataclass(frozen=True)
class RowWeights:
    """Weight of every row in every fold without a copy of the data: ``weight[i]`` where ``mask[i,
    fold]`` has the bit of the part, else 0.

    ``weight`` is ``(n_rows,)`` or None for 1; ``mask`` is uint8 ``(n_rows, n_folds)`` or None for
    "every row trains, one fold"."""

    weight: Any = None
    mask: Any = None

    @property
    def n_folds(self):
        return 1 if self.mask is None else self.mask.shape[1]

    def matrix(self, n_rows, part):
        """Weights of this part as numbers, (n_rows, n_folds)."""
        weight = np.ones(n_rows) if self.weight is None else self.weight
        in_part = (
            np.full((n_rows, 1), part == TRAIN) if self.mask is None else (self.mask & part) != 0
        )
        return weight[:, None] * in_part

    def fold(self, index):
        """The row weights of one fold alone."""
        return (
            self
            if self.mask is None
            else replace(self, mask=np.ascontiguousarray(self.mask[:, index : index + 1]))
        )


class Design(Protocol):
    shape: tuple  # (n_rows, n_features)
    n_coef: int  # n_features + has_intercept
    has_intercept: bool
    is_sparse: bool
    dtype: Any  # of the stored values; everything computed is float64
    xp: Any  # array namespace of coefficient blocks
    n_stored: int  # stored entries: the size of one pass
    # of entries that are not 0 (sparse: stored) of every feature, in the user's order
    counts: Any
    n_passes: int  # passes so far
    # the first coefficients, where a preconditioner may look for the largest eigenvalues; 0:
    # nowhere
    n_hot: int

    def with_threads(self, n_threads): ...  # the same data, kernels on this many threads
    # a Design of the same kind, feature order and intercept for other rows
    def like(self, X): ...
    def encode(self, w): ...  # (n_coef,) or (n_coef, m) from the user's order
    def decode(self, w): ...  # and back, as NumPy
    # training values (m,), held-out values (m,), gradients, predictions Z
    def loss_grad(self, loss, y, rows, fold, W, want_grad=True): ...
    # s * derivative of this order, (n_rows, m); reads no X. Multinomial 2, 3: s p
    def row_terms(self, loss, order, y, rows, part, fold, Z): ...
    # sums of s * loss, (m,); reads no X
    def loss_sum(self, loss, y, rows, part, fold, Z): ...
    # X'(c * (X V)); column j uses curvature[:, fold[j]]; multinomial: (diag(sp) - spp') (X V)
    def hvp(self, curvature, fold, V, n_classes=1): ...
    def hess_diag(self, curvature): ...  # sum_i c_if x_ij^2, (n_coef, n_folds)
    def matvec(self, V): ...  # X V
    def rmatvec(self, R): ...  # X' R
    # (n_folds, k, k): sum_i (A_if + B_if x_i q_f)(x_i u_a)(x_i u_b)
    def contract(self, A, B, Q, U, n_classes=1): ...

    # optional: array, dense X in the order of coefficients; check_room(n_columns) raises
    # MemoryError where block solves will not fit optional, native: cg(...), cg_in_ball(...) and
    # newton_cg(...) as linsolve.cg, linsolve.cg_in_ball and solvers.newton_cg call them


def make_design(
    X, *, fit_intercept=False, n_threads=None, low_memory=False, deterministic=False, device=None
):
    """A `CpuDesign` or `GpuDesign` for an array or sparse matrix, where `device` says or else where
    X is; a Design is returned as it is. A large array that is mostly zeros becomes a sparse matrix,
    unless memory is short: MNIST, a fifth of it not 0, is 4 times as fast that way."""
    if device not in (None, "cpu", "gpu"):
        raise ValueError(f"device must be 'cpu', 'gpu' or None for where X is; got {device!r}")
    if hasattr(X, "loss_grad"):
        here = "gpu" if hasattr(X, "is_given_on_device") else "cpu"
        if device not in (None, here):
            raise ValueError(
                f"X is a design on the {here.upper()}, and device={device!r}. Leave device out, or "
                "pass the matrix itself"
            )
        return X
    is_here = is_on_device(X)
    if is_here and device == "cpu":
        raise ValueError(
            "X is on the GPU, and device='cpu'. Pass X.get(), or leave device out to use the GPU"
        )
    if (
        isinstance(X, np.ndarray)
        and X.ndim == 2
        and X.size >= MOSTLY_ZERO_SIZE
        and not low_memory
        and X.dtype.kind == "f"
    ):
        from scipy.sparse import csr_matrix

        probe = X[:: max(1, len(X) // 100)]
        if (
            np.count_nonzero(probe) <= MOSTLY_ZERO_SHARE * probe.size
            and np.count_nonzero(X) <= MOSTLY_ZERO_SHARE * X.size
        ):
            X = csr_matrix(X)
    if is_here or device == "gpu":
        from fasthoag.design.gpu import GpuDesign

        return GpuDesign(X, fit_intercept=fit_intercept, transpose=False if low_memory else "auto")
    from fasthoag.design.cpu import CpuDesign

    return CpuDesign(
        X,
        fit_intercept=fit_intercept,
        n_threads=n_threads,
        low_memory=low_memory,
        deterministic=deterministic,
    )
