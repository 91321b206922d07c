"""Names for the types of arguments and results, which signatures use. `Any` stands for arrays of a
namespace that is not known before X is."""

from collections.abc import Callable
from os import PathLike
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from fasthoag.design.rows import Design

Array: TypeAlias = NDArray[np.float64]  # on the host: θ, strengths, numbers of folds
Block: TypeAlias = Any  # coefficients (n_coef, m), of the design's namespace
Handle: TypeAlias = Any  # numbers of rows (n_rows, m), which only a design and its rows read
Record: TypeAlias = dict[str, Any]  # one evaluation in the trace
Callback: TypeAlias = Callable[[Record], object]
Path: TypeAlias = str | PathLike[str]
Readable: TypeAlias = Path | IO[bytes]  # of a file, or the file, open
Function: TypeAlias = Callable[[float, float], float]  # of a target and a prediction
Domain: TypeAlias = tuple[str, Callable[[Any], Any]]  # targets, in words and as a test of an array
Scoring: TypeAlias = str | Callable[..., float] | list[str] | dict[str, Any]


class Sparse(Protocol):
    """A sparse matrix, such as SciPy's or CuPy's."""

    @property
    def shape(self) -> Any: ...
    def tocsr(self) -> Any: ...


Matrix: TypeAlias = "ArrayLike | Sparse | Design"  # (n_rows, n_features)

__all__ = [
    "Array",
    "ArrayLike",
    "Block",
    "Callback",
    "Domain",
    "Function",
    "Handle",
    "Matrix",
    "Path",
    "Readable",
    "Record",
    "Scoring",
    "Sparse",
]
