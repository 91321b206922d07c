"""What is checked of the settings of a search, whatever the problem."""

import numpy as np

from fasthoag.kinds import numbers_of
from fasthoag.options import is_number
from fasthoag.outer import METHODS, TRIALS


def check_options(method, tol, max_iter, callback):
    """Raises for what is no option of `hoag`, whatever the problem."""
    if not (isinstance(method, str) and method in ("auto", *METHODS, *TRIALS)):
        ways = " or ".join(map(repr, (*METHODS, *TRIALS)))
        raise ValueError(f"method must be 'auto', {ways}; got {method!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable; got {callback!r}")
    if not (tol is None or is_number(tol, 0)):
        raise ValueError(f"tol must be a positive number; got {tol!r}")
    is_whole = isinstance(max_iter, (int, np.integer)) and not isinstance(max_iter, bool)
    if not (max_iter is None or (is_whole and max_iter >= 1)):
        raise ValueError(f"max_iter must be an integer >= 1; got {max_iter!r}")


def check_watch(max_seconds, verbose):
    """Raises ValueError for what is no time, and for what is no flag."""
    if not (max_seconds is None or is_number(max_seconds, 0)):
        raise ValueError(
            f"max_seconds must be a positive number of seconds or None; got {max_seconds!r}"
        )
    if not (isinstance(verbose, (bool, np.bool_, int, np.integer)) and verbose >= 0):
        raise ValueError(
            f"verbose must be 0, or 1 to show every evaluation on stderr; got {verbose!r}"
        )


def box_of(bounds, n_hyper):
    """The bounds that were given as two arrays, or None."""
    if bounds is None:
        return None
    try:
        if any(isinstance(side, (bool, np.bool_)) for side in bounds):
            raise TypeError("a flag is no bound")
        low, high = (
            np.broadcast_to(numbers_of(side, "bounds"), (n_hyper,)).astype(np.float64)
            for side in bounds
        )
    except (TypeError, ValueError):
        raise ValueError(
            f"bounds must be a pair (low, high) of numbers or of arrays of shape ({n_hyper},); got "
            f"{bounds!r}"
        ) from None
    if not (low < high).all():
        raise ValueError(f"bounds must have low < high; got {bounds!r}")
    return low, high
