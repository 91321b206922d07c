"""What scikit-learn's checks of arrays let pass, or refuse without the name of the argument."""

from typing import Any, Protocol, runtime_checkable

import scipy.sparse as sp

from fasthoag.design.blocks import is_in_blocks
from fasthoag.design.rows import is_design
from fasthoag.design.structure import sound_csr
from fasthoag.kinds import REAL_KINDS, numbers_of


@runtime_checkable
class Table(Protocol):
    """A table of pandas, or of what is made like it."""

    dtypes: Any
    iloc: Any


def check_in_one_piece(X, name):
    if is_in_blocks(X) or is_design(X):
        what = f"a list of {len(X)} blocks" if is_in_blocks(X) else f"a {type(X).__name__}"
        raise TypeError(
            f"{name} must be one array or sparse matrix here; got {what}. Linear models with a "
            "ridge, and fasthoag.Problem, take rows in blocks"
        )


def of_numbers(X, name):
    """X, which has to be of numbers: an array, a table or a sparse matrix. Tables stay what they
    are, as their columns have names and may be sparse; sparse matrices become CSR, before
    scikit-learn calls any of their methods."""
    check_in_one_piece(X, name)
    if sp.issparse(X):
        return sound_csr(X, name)
    if not isinstance(X, Table):
        return numbers_of(X, name)
    for j, dtype in enumerate(X.dtypes):
        if dtype.kind not in REAL_KINDS:
            numbers_of(X.iloc[:, j], f"{name} (its column {X.columns[j]!r})")
    return X
