"""The losses by name, and which targets each accepts. Their formulas are in csrc/losses.hpp only."""
from dataclasses import dataclass

import numpy as np

from fasthoag import _core
from fasthoag.design import TRAIN


@dataclass(frozen=True)
class Loss:
    """What Python needs to know of a loss: its name, a sentence about its targets, and the curvature at z = 0 that sets a scale."""

    name: str
    formula: str
    is_classification: bool = False

    def check_y(self, y, name="y"):
        """Raises ValueError when a target is outside the domain of the loss."""
        if self.is_classification:
            is_bad = (y != 1) & (y != -1)
            if is_bad.any():
                found = np.unique(y[is_bad])
                shown = ", ".join(f"{v:g}" for v in found[:3]) + (", ..." if len(found) > 3 else "")
                raise ValueError(f"{name} must contain only -1 and +1 for loss '{self.name}'; found {shown}. "
                                 "Map two labels with 2*y - 1, or use an estimator, which maps labels itself")


LOSSES = {
    "squared": Loss("squared", "(z - y)^2 / 2"),
    "logistic": Loss("logistic", "log(1 + exp(-y z)), y in {-1, +1}", is_classification=True),
}


def find_loss(name):
    """The `Loss` of this name.

    Examples
    --------
    >>> from fasthoag.losses import find_loss
    >>> find_loss("squared").formula
    '(z - y)^2 / 2'
    """
    if name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(map(repr, sorted(LOSSES)))}; got {name!r}")
    return LOSSES[name]


def derivative(name, order, y, z):
    """The derivative of this order (0 to 3) of the loss at every ``(y, z)``; arrays of one shape ``(n,)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.losses import derivative
    >>> derivative("squared", 1, np.array([1.0]), np.array([3.0]))
    array([2.])
    """
    y, z = np.ascontiguousarray(y, np.float64), np.ascontiguousarray(z, np.float64)
    return _core.row_terms(find_loss(name).name, order, y, None, None, TRAIN, np.zeros(1, np.int32), z.reshape(-1, 1), 1).ravel()

