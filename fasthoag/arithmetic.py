"""How NumPy treats overflow and the like: here it is meant to go to infinity or to 0, whatever the
user set with `numpy.seterr`; functions of the user keep his settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

# What the user had set where he called, while arithmetic of this package runs.
_OF_USER: ContextVar[Any] = ContextVar("settings of the user", default=None)


@contextmanager
def our_arithmetic() -> Iterator[None]:
    """A context in which overflow, underflow, division by 0 and invalid operations are silent:
    results that are not finite are looked for where they count."""
    token = _OF_USER.set(np.geterr() if _OF_USER.get() is None else _OF_USER.get())
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _OF_USER.reset(token)


def arithmetic_of_user() -> np.errstate:
    """The context of the user's own settings, for functions of his inside `our_arithmetic`.

    Examples
    --------
    >>> with np.errstate(over="raise"), our_arithmetic():
    ...     inside = np.geterr()["over"]
    ...     with arithmetic_of_user():
    ...         of_user = np.geterr()["over"]
    >>> inside, of_user
    ('ignore', 'raise')
    """
    return np.errstate(**(_OF_USER.get() or np.geterr()))
