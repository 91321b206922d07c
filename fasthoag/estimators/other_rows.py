"""Rows that do not train, as `fit` gets them: ``validation`` and ``stop_on``."""

from dataclasses import replace
from typing import TypeAlias

from fasthoag.criteria import HeldOut
from fasthoag.types import ArrayLike, Matrix

Rows: TypeAlias = tuple[Matrix, ArrayLike] | tuple[Matrix, ArrayLike, ArrayLike] | HeldOut


def coded(rows, coding):
    """These rows, a `HeldOut` or None, with their targets coded."""
    return None if rows is None else replace(rows, y_val=coding(rows.y_val))


def check_other_offset(rows, name, offset):
    """Raises ValueError where these rows have an offset and those that train have none, or the
    other way round."""
    if rows is None or (rows.offset is None) == (offset is None):
        return
    if offset is None:
        raise ValueError(f"{name} has an offset and fit has none; pass fit(..., offset=) too")
    raise ValueError(
        f"fit has an offset and {name} has none; pass {name}=fasthoag.HeldOut(X, y, offset=...) "
        "with a number for each of its rows (0 for a row without)"
    )
