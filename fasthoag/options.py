"""Checks of arguments that are one value."""

from typing import Any

import numpy as np


def is_number(value: Any, low: float = -np.inf, high: float = np.inf) -> bool:
    """Whether `value` is a real number between `low` and `high`, neither of them included, that
    double precision holds; a flag is none.

    Examples
    --------
    >>> [is_number(value, 0) for value in (1.5, np.float32(2), 0, True, "1", 1j, np.nan, 10**400)]
    [True, True, False, False, False, False, False, False]
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    try:
        return low < float(value) < high
    except OverflowError:  # an integer of more than 308 digits
        return False


def check_flag(value: Any, name: str) -> bool:
    """`value` as a bool, which it must be."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)
