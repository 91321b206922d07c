"""The types of the extension module, whose bindings are csrc/bind/*.cpp. Arrays are C-ordered and
never converted: of float64 where nothing else is said."""

from collections.abc import Callable
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_Doubles = NDArray[np.float64]
_Ints = NDArray[np.int32]
_Longs = NDArray[np.int64]
_Indices = NDArray[np.int32] | NDArray[np.int64]
_Values = NDArray[np.float32] | NDArray[np.float64]

STATUS: tuple[str, ...]
has_openmp: bool
has_clones: bool
compiler: str

def hardware_threads() -> int: ...
def share_cores(n: int) -> None: ...
def loss_names() -> list[str]: ...

class Matrix:
    @overload
    def __init__(
        self,
        indptr: _Longs,
        indices: _Indices,
        data: _Values,
        n_cols: int,
        has_intercept: bool,
        transposed: tuple[_Longs, _Indices, _Values] | None = None,
        deterministic: bool = False,
        intercept: float = 1.0,
    ) -> None: ...
    @overload
    def __init__(
        self,
        dense: _Values,
        has_intercept: bool,
        transposed: _Values | None = None,
        deterministic: bool = False,
        intercept: float = 1.0,
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def n_coef(self) -> int: ...
    @property
    def n_stored(self) -> int: ...
    @property
    def n_passes(self) -> int: ...
    @property
    def is_narrow(self) -> bool: ...
    def hvp(self, C: _Doubles, V: _Doubles, n_classes: int, n_threads: int) -> _Doubles: ...
    def hess_diag(self, C: _Doubles, n_threads: int) -> _Doubles: ...
    def matvec(self, V: _Values, n_threads: int) -> Any: ...
    def rmatvec(self, R: _Values, n_threads: int) -> Any: ...
    def contract(
        self,
        A: Terms | None,
        B: Terms | None,
        Q: _Doubles | None,
        U: _Doubles,
        n_classes: int,
        n_threads: int,
    ) -> _Doubles: ...

class Loss:
    @overload
    def __init__(self, name: str, a0: float, a1: float) -> None: ...
    @overload
    def __init__(self, value_d1: int, derivative: int) -> None: ...
    @overload
    def __init__(self, n_classes: int, smoothing: float) -> None: ...
    @overload
    def __init__(self, loss: Loss, other: Loss, weight: float) -> None: ...
    @property
    def n_classes(self) -> int: ...

class LossGrad:
    @property
    def value(self) -> _Doubles: ...
    @property
    def other(self) -> _Doubles: ...
    @property
    def grad(self) -> _Doubles | None: ...
    @property
    def Z(self) -> _Doubles: ...

class Rows:
    def __init__(
        self,
        y: _Doubles,
        weight: _Doubles | None,
        mask: NDArray[np.uint8] | None,
        offset: _Doubles | None,
    ) -> None: ...
    def loss_grad(
        self, matrix: Matrix, loss: Loss, W: _Doubles, part: int, has_grad: bool, n_threads: int
    ) -> LossGrad: ...
    def terms(self, loss: Loss, order: int, part: int, Z: _Doubles, n_threads: int) -> _Doubles: ...
    def sums(self, loss: Loss, part: int, Z: _Doubles, n_threads: int) -> _Doubles: ...

class Terms:
    @overload
    def __init__(self, values: _Doubles) -> None: ...
    @overload
    def __init__(self, rows: Rows, loss: Loss, order: int, part: int, Z: _Doubles) -> None: ...

class Preconditioner:
    def __init__(
        self, diagonal: _Doubles | None, low_rank: _Doubles | None, inverse: _Doubles | None
    ) -> None: ...

class Strengths:
    def __init__(self, lam: _Doubles, lam_of: _Ints) -> None: ...

class CgResult:
    @property
    def x(self) -> _Doubles: ...
    @property
    def residual(self) -> _Doubles: ...
    @property
    def n_iter(self) -> _Ints: ...
    @property
    def residual_norm(self) -> _Doubles: ...
    @property
    def length(self) -> _Doubles: ...
    @property
    def energy(self) -> _Doubles: ...
    @property
    def status(self) -> _Ints: ...

class Hessian:
    @overload
    def __init__(
        self, matrix: Matrix, curvature: _Doubles, n_classes: int, strengths: Strengths
    ) -> None: ...
    @overload
    def __init__(
        self, product: Callable[[_Ints, _Doubles], Any], n_classes: int, strengths: Strengths
    ) -> None: ...
    def solve(
        self,
        b: _Doubles,
        start: _Doubles | None,
        tol: _Doubles,
        precond: Preconditioner,
        max_iter: int,
        radius: _Doubles | None,
        *,
        n_threads: int,
    ) -> CgResult: ...

class NewtonResult:
    @property
    def W(self) -> _Doubles: ...
    @property
    def grad(self) -> _Doubles: ...
    @property
    def Z(self) -> _Doubles | None: ...
    @property
    def train(self) -> _Doubles: ...
    @property
    def held_out(self) -> _Doubles: ...
    @property
    def grad_norm(self) -> _Doubles: ...
    @property
    def n_iter(self) -> _Ints: ...
    @property
    def n_cg(self) -> _Ints: ...
    @property
    def status(self) -> _Ints: ...

@overload
def newton_cg(
    rows: Rows,
    matrix: Matrix,
    loss: Loss,
    strengths: Strengths,
    W: _Doubles,
    tol: _Doubles,
    precond: Preconditioner,
    *,
    max_iter: int,
    max_cg: int,
    n_threads: int,
) -> NewtonResult: ...
@overload
def newton_cg(
    operations: Any,
    n_classes: int,
    strengths: Strengths,
    W: _Doubles,
    tol: _Doubles,
    precond: Preconditioner,
    *,
    max_iter: int,
    max_cg: int,
    n_threads: int,
) -> NewtonResult: ...
def look_at(
    indptr: _Indices, indices: _Indices, n_stored: int, n_cols: int, n_threads: int, /
) -> tuple[str, int, bool]: ...
def fingerprint(array: NDArray[Any], n_threads: int, /) -> int: ...
def sizes(values: _Values, n_threads: int, /) -> tuple[float, float]: ...
def count_columns(indices: _Indices, n_cols: int, n_threads: int, /) -> _Longs | None: ...
def frequency_order(counts: _Longs, /) -> tuple[_Longs, _Longs]: ...
def relabel(
    indices: _Indices, rank: _Longs | None, is_wide: bool, n_threads: int, /
) -> _Indices: ...
def transpose(
    indptr: _Longs, indices: _Indices, data: _Values, n_cols: int, n_threads: int, /
) -> tuple[_Longs, _Indices, _Values]: ...
def alike_columns(
    matrices: list[tuple[_Longs, _Indices, _Values]],
    n_cols: int,
    alike: _Longs | None,
    step: int,
    most: int,
    n_threads: int,
    /,
) -> tuple[_Longs, _Doubles] | None: ...
def merge_columns(
    arrays: tuple[_Longs, _Indices, _Values],
    group: _Longs,
    weight: _Doubles | None,
    n_threads: int,
    /,
) -> tuple[_Longs, _Indices, _Values]: ...
def solve_tridiagonal(
    diagonal: _Doubles,
    off_diagonal: _Doubles,
    shift: _Doubles,
    C: _Values,
    n_powers: int,
    n_threads: int,
) -> list[Any]: ...

SVMLIGHT_PADDING: int

class SvmlightParser:
    def __init__(
        self,
        zero_based: int,
        float32: bool,
        max_index: int,
        max_bytes: int,
        needs_labels: bool = True,
        has_weights: bool = False,
        reads_queries: bool = False,
        has_several: bool = False,
    ) -> None: ...
    def read(self, buffer: Any, size: int, n_threads: int, is_kept: bool = True) -> int: ...
    @property
    def n_lines(self) -> int: ...
    @property
    def n_bytes(self) -> int: ...
    def result(
        self,
    ) -> tuple[
        _Doubles,
        _Longs,
        _Indices,
        _Values,
        int,
        bool,
        _Doubles | None,
        _Longs | None,
        _Longs | None,
    ]: ...
