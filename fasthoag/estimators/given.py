"""Strengths that the user gives, ``Cs=`` or ``alphas=``, as scikit-learn's users write them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.kinds import numbers_of
from fasthoag.options import is_number
from fasthoag.types import Array

MOST_COMPARED = 20  # strengths that are compared with what the search finds
MOST_POINTS = 10_000  # of a whole number of them
LOWEST, HIGHEST = -4, 4  # decades of scikit-learn's own Cs


@dataclass(frozen=True, eq=False)
class Given:
    """Strengths as they are reported, in the order in which they came, and their λ."""

    shown: Array
    lam: Array
    is_range: bool  # whether only the first and the last of them matter

    @property
    def is_fixed(self) -> bool:
        """Whether there is one strength and nothing to search for."""
        return bool(self.lam.min() == self.lam.max())

    @property
    def has_none(self) -> bool:
        """Whether no penalty is one of several."""
        return bool(self.lam.min() == 0 and self.lam.any())

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest log λ."""
        with np.errstate(divide="ignore"):  # strength 0
            return float(np.log(self.lam.min())), float(np.log(self.lam.max()))

    def as_given(self, strength: Any) -> Any:
        """A strength, or an array of them, where it is one of these up to rounding to the bit as it
        came: θ are logarithms."""
        nearest = self.shown[np.abs(np.subtract.outer(strength, self.shown)).argmin(axis=-1)]
        found = np.where(np.isclose(strength, nearest, rtol=1e-13, atol=0.0), nearest, strength)
        return float(found) if np.ndim(strength) == 0 else found


def strengths_given(value: Any, name: str) -> Given | None:
    """The `Given` of the parameter ``Cs`` or ``alphas``, None without. A whole number is
    scikit-learn's range of Cs; a number is one alpha."""
    if value is None:
        return None
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and name == "Cs":
        if not 1 <= value <= MOST_POINTS:
            raise ValueError(f"Cs must be a whole number from 1 to {MOST_POINTS}; got {value!r}")
        shown = np.logspace(LOWEST, HIGHEST, int(value))
        return Given(shown, 1.0 / shown, is_range=True)
    if isinstance(value, (bool, str)) or (name == "Cs" and is_number(value)):
        what = (
            "a whole number, how many there are from 1e-4 to 1e4, or a list of strengths, [1.0]"
            if name == "Cs"
            else "a number or a list of them"
        )
        raise ValueError(f"{name} must be {what}; got {value!r}")
    shown = np.atleast_1d(numbers_of(value, name)).astype(np.float64)
    if shown.ndim != 1 or not len(shown):
        raise ValueError(
            f"{name} must be one strength or a list of them; got shape {np.shape(value)}"
        )
    if name == "Cs":
        is_known = (np.isfinite(shown) & (shown > 0)) | (len(shown) == 1 and shown == np.inf)
    else:
        is_known = np.isfinite(shown) & (shown >= 0)
    if not np.all(is_known):
        also = "" if name == "Cs" else " or 0"
        raise ValueError(f"{name} must have positive finite numbers{also}; got {value!r}")
    lam = 1.0 / shown if name == "Cs" else shown
    return Given(shown, lam, is_range=len(shown) > MOST_COMPARED)


def default_points(name: str) -> Given:
    """What is reported where strengths were not given: scikit-learn's own."""
    shown = np.logspace(LOWEST, HIGHEST, 10) if name == "Cs" else np.array([0.1, 1.0, 10.0])
    return Given(shown, 1.0 / shown if name == "Cs" else shown, is_range=True)
