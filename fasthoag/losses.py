"""The losses by name, their parameters, and which targets each accepts. Their formulas are in csrc/losses.hpp only."""
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fasthoag import _core
from fasthoag.design import TRAIN



def is_label(y):
    return (y == 1) | (y == -1)


def is_not_negative(y):
    return y >= 0


def is_positive(y):
    return y > 0


LABELS, REAL = ("only -1 and +1", is_label), ("real numbers", np.isfinite)
COUNTS, POSITIVE = ("numbers >= 0", is_not_negative), ("numbers > 0", is_positive)


@dataclass(frozen=True)
class Loss:
    """A loss with its parameters: ``find_loss("huber", delta=2.0)``. What Python needs to know of it; `native` is what the kernels take.

    Attributes
    ----------
    name, formula : str
    domain : (str, callable)
        Which targets it accepts, in words and as a test of an array.
    parameters : dict
        Up to two numbers, in the order of the kernel.
    limits : dict
        Open interval of each parameter.
    is_classification, is_quadratic, has_kinks : bool
        Targets are -1 and +1; the third derivative is 0 everywhere; the second derivative jumps, so that f is only piecewise twice differentiable.
    """

    name: str
    formula: str
    domain: tuple = REAL
    parameters: dict = None
    limits: dict = None
    is_classification: bool = False
    is_quadratic: bool = False
    has_kinks: bool = False
    compiled: Any = None
    cuda: Any = None        # of a custom loss: value, d1, d2 and d3 as CUDA expressions
    n_classes: int = 1      # more: the multinomial loss

    @cached_property
    def native(self):
        if self.compiled is not None:
            return self.compiled.native
        if self.n_classes > 1:
            return _core.Loss(self.n_classes)
        a = [*(self.parameters or {}).values(), 0.0, 0.0]
        return _core.Loss(self.name, a[0], a[1])

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "native"}

    def check_y(self, y, name="y"):
        """Raises ValueError when a target is outside the domain of the loss."""
        is_bad = ~self.domain[1](y)
        if is_bad.any():
            found = np.unique(y[is_bad])
            shown = ", ".join(f"{v:g}" for v in found[:3]) + (", ..." if len(found) > 3 else "")
            hint = ". Map two labels with 2*y - 1, or use an estimator, which maps labels itself" if self.domain is LABELS else \
                ". Choose a loss for such targets, or correct them"
            raise ValueError(f"{name} must contain {self.domain[0]} for loss '{self.name}'; found {shown}{hint}")


LOSSES = {loss.name: loss for loss in (
    Loss("squared", "(z - y)^2 / 2", is_quadratic=True),
    Loss("logistic", "log(1 + exp(-y z)), y in {-1, +1}", LABELS, is_classification=True),
    Loss("squared_hinge", "max(0, 1 - y z)^2, y in {-1, +1}", LABELS, is_classification=True, has_kinks=True),
    Loss("smoothed_hinge", "width log(1 + exp((1 - y z) / width)): the hinge with a smooth corner, y in {-1, +1}", LABELS, {"width": 0.5},
         {"width": (0, np.inf)}, is_classification=True),
    Loss("huber", "with r = z - y: r^2 / 2 up to |r| = delta, delta |r| - delta^2 / 2 beyond", REAL, {"delta": 1.35}, {"delta": (0, np.inf)}, has_kinks=True),
    Loss("squared_epsilon_insensitive", "max(0, |z - y| - epsilon)^2", REAL, {"epsilon": 0.1}, {"epsilon": (-1e-300, np.inf)}, has_kinks=True),
    Loss("quantile", "with r = y - z: quantile r + h log(1 + exp(-r / h)), h = smoothing: the pinball loss with a smooth corner", REAL,
         {"quantile": 0.5, "smoothing": 0.1}, {"quantile": (0, 1), "smoothing": (0, np.inf)}),
    Loss("poisson", "exp(z) - y z + y log(y) - y, y >= 0: half the deviance", COUNTS),
    Loss("gamma", "z + y exp(-z) - log(y) - 1, y > 0: half the deviance", POSITIVE),
    Loss("tweedie", "exp((2 - p) z) / (2 - p) - y exp((1 - p) z) / (1 - p) + y^(2 - p) / ((1 - p) (2 - p)), y >= 0, 1 < p = power < 2: half the deviance", COUNTS, {"power": 1.5}, {"power": (1, 2)}),
)}


def is_class_number(y):
    return (y >= 0) & (y == np.floor(y))


# n_classes = 0: as many as y has, which Problem fills in
MULTINOMIAL = Loss("multinomial", "log(sum_c exp(z_c)) - z_y, y in 0..n_classes-1, all classes at once", ("class numbers 0, 1, 2, ...", is_class_number),
                   is_classification=True, n_classes=0)


def find_loss(loss, **parameters):
    """The `Loss` of this name with these parameters; a `Loss` is returned as it is.

    Parameters
    ----------
    loss : str or Loss
        One of ``fasthoag.losses.LOSSES``, or ``"multinomial"``.
    **parameters
        ``delta`` of "huber", ``width`` of "smoothed_hinge", ``epsilon`` of "squared_epsilon_insensitive", ``quantile`` and ``smoothing`` of
        "quantile", ``power`` of "tweedie".

    Raises
    ------
    ValueError
        For an unknown name or parameter, or one outside its interval.

    Examples
    --------
    >>> import fasthoag
    >>> fasthoag.find_loss("huber", delta=2.0).parameters
    {'delta': 2.0}
    """
    if isinstance(loss, Loss) and not parameters:
        return loss
    if loss == "multinomial":
        n_classes = parameters.pop("n_classes", None)
        if parameters or not (n_classes is None or (isinstance(n_classes, (int, np.integer)) and n_classes >= 2)):
            raise ValueError(f"loss 'multinomial' has one parameter, n_classes, a whole number >= 2; got {n_classes!r} {parameters or ''}")
        return replace(MULTINOMIAL, n_classes=int(n_classes or 0))
    name = loss.name if isinstance(loss, Loss) else loss
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(map(repr, sorted(LOSSES)))}, or what custom_loss makes; got {loss!r}")
    found = LOSSES[name]
    for key, value in parameters.items():
        if key not in (found.parameters or {}):
            known = ", ".join(found.parameters or {}) or "none"
            raise ValueError(f"loss '{name}' has no parameter {key!r}; it has {known}")
        low, high = found.limits[key]
        if not (isinstance(value, (int, float, np.number)) and low < value < high):
            raise ValueError(f"{key} of loss '{name}' must be a number between {max(low, 0):g} and {high:g}; got {value!r}")
    return replace(found, parameters={**found.parameters, **{k: float(v) for k, v in parameters.items()}}) if parameters else found


def derivative(loss, order, y, z):
    """The derivative of this order (0 to 3) of the loss (a name or a `Loss`) at every ``(y, z)``; arrays of one shape ``(n,)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.losses import derivative
    >>> derivative("squared", 1, np.array([1.0]), np.array([3.0]))
    array([2.])
    """
    y, z = np.ascontiguousarray(y, np.float64), np.ascontiguousarray(z, np.float64)
    return _core.row_terms(find_loss(loss).native, order, y, None, None, TRAIN, np.zeros(1, np.int32), z.reshape(-1, 1), 1).ravel()
