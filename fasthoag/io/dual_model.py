"""A fitted kernel model by itself: the rows that it was fitted to, and enough to predict."""

from dataclasses import dataclass
from reprlib import repr as shown  # of a long value the beginning
from typing import Any

import numpy as np

from fasthoag.arithmetic import our_arithmetic
from fasthoag.io.inputs import counted_from
from fasthoag.io.model import (
    answers,
    checked_classes,
    finite_numbers,
    hyperparameters,
    probabilities,
    single_number,
)
from fasthoag.kernels.kernel import KERNELS, LOSSES, Kernel, find_kernel
from fasthoag.options import is_number
from fasthoag.types import Array


@dataclass(frozen=True, eq=False)
class DualModel:
    """A fitted kernel model, ``z = Σ_i k(x, x_i) dual_coef_i + intercept``: what its model file
    holds.

    Parameters
    ----------
    loss : {"squared", "logistic"}
    kernel : {"rbf", "laplacian", "poly", "linear"}
    gamma : float, array, shape (n_features,), or None
        One width, one for each feature, or none for "linear".
    X : array or sparse matrix, shape (n_rows, n_features)
        The rows that it was fitted to.
    dual_coef : array, shape (n_rows,) or (n_rows, n_outputs)
    intercept : float or array, shape (n_outputs,)
    degree, coef0 : float
        Of "poly".
    classes, theta, value, value_error, status, message, zero_based
        As of `Model`.
    alpha : float
        λ.

    Raises
    ------
    ValueError, TypeError
        Names the argument: as of `Model`, and for a kernel that is a function, which no file holds.

    Examples
    --------
    >>> from fasthoag.io import DualModel
    >>> rows, dual_coef = [[0.0], [1.0]], [1.0, -1.0]
    >>> model = DualModel("squared", kernel="rbf", gamma=1.0, X=rows, dual_coef=dual_coef)
    >>> model.predict([[0.5]])
    array([0.])
    """

    loss: str
    kernel: str
    gamma: Any
    X: Any
    dual_coef: Any
    intercept: Any = 0.0
    degree: float = 3.0
    coef0: float = 1.0
    classes: Any = ()
    theta: Any = ()
    alpha: float = np.nan
    value: float = np.nan
    value_error: float = np.nan
    status: str = ""
    message: str = ""
    zero_based: bool | str = "auto"

    def __post_init__(self) -> None:
        kernel = named_kernel(self.kernel, self.degree, self.coef0)
        if not (isinstance(self.loss, str) and self.loss in LOSSES):
            names = " or ".join(map(repr, LOSSES))
            raise ValueError(f"loss of a kernel model must be {names}; found {shown(self.loss)}.")
        dual_coef = finite_numbers("dual_coef", self.dual_coef)
        dual_coef = dual_coef[:, None] if dual_coef.ndim == 1 else dual_coef
        intercept = np.atleast_1d(finite_numbers("intercept", self.intercept))
        check_outputs(self.loss, dual_coef, intercept)
        from fasthoag.kernels.pairs import samples_of  # SciPy's LAPACK takes a while to import

        X = samples_of(self.X, "X")
        if X.shape[0] != len(dual_coef):
            raise ValueError(
                f"X must have the {len(dual_coef)} rows of dual_coef; found shape {X.shape}."
            )
        converted: dict[str, Any] = {"X": X, "dual_coef": dual_coef, "intercept": intercept}
        converted["gamma"] = checked_widths(self.gamma, kernel, X)
        converted["classes"] = checked_classes(self.classes, self.loss, dual_coef.shape[1])
        converted["theta"] = hyperparameters("theta", self.theta)
        for name in ("degree", "coef0", "alpha", "value", "value_error"):
            converted[name] = single_number(name, getattr(self, name))
        converted |= {name: str(getattr(self, name)) for name in ("status", "message")}
        converted["zero_based"] = counted_from(self.zero_based)
        for name, value in converted.items():
            object.__setattr__(self, name, value)

    @property
    def n_features(self) -> int:
        return int(self.X.shape[1])

    @property
    def n_outputs(self) -> int:
        return int(self.dual_coef.shape[1])

    def decision_function(self, X: Any) -> Array:
        """Predictions z, shape (n_rows,) with one output, else (n_rows, n_outputs)."""
        kernel = find_kernel(self.kernel, degree=self.degree, coef0=self.coef0)
        from fasthoag.kernels.model import KernelModel

        model = KernelModel(kernel, self.gamma, self.X, self.dual_coef, self.intercept)
        with our_arithmetic():
            z = model.predict(X)
        return z[:, 0] if self.n_outputs == 1 else z

    def predict(self, X: Any) -> Any:
        """Labels of a classifier, means of a regression."""
        return answers(self.decision_function(X), self.loss, self.classes)

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the two classes, in their order: shape (n_rows, 2), with loss
        "logistic"."""
        return probabilities(self, X)


def named_kernel(kernel: Any, degree: Any, coef0: Any) -> Kernel:
    """The `Kernel`, which must have a name."""
    if not (isinstance(kernel, str) and kernel in KERNELS):
        why = ", as no file holds a function (pickle the estimator)" if callable(kernel) else ""
        raise ValueError(
            f"kernel must be {', '.join(map(repr, KERNELS))}{why}; found {shown(kernel)}."
        )
    for name, value in (("degree", degree), ("coef0", coef0)):
        if not is_number(value):
            raise ValueError(f"{name} must be a finite number; found {shown(value)}.")
    return find_kernel(kernel, degree=degree, coef0=coef0)


def check_outputs(loss, dual_coef, intercept):
    """Raises ValueError unless the parts are those of a kernel model with this loss."""
    if dual_coef.ndim != 2 or 0 in dual_coef.shape:
        raise ValueError(f"dual_coef must have shape (n_rows, n_outputs); found {dual_coef.shape}.")
    if loss == "logistic" and dual_coef.shape[1] != 1:
        raise ValueError(
            f"dual_coef must have one output with loss 'logistic'; found {dual_coef.shape[1]}."
        )
    if intercept.shape != dual_coef.shape[1:]:
        raise ValueError(
            f"intercept must have shape {dual_coef.shape[1:]} for this dual_coef; found "
            f"{intercept.shape}."
        )


def checked_widths(gamma, kernel, X):
    """The widths as an array (n_widths,)."""
    gamma = () if gamma is None else gamma
    gamma = np.atleast_1d(finite_numbers("gamma", gamma))
    p = X.shape[1]
    shapes = (
        [(0,)] if not kernel.has_width else [(1,), (p,)] if isinstance(X, np.ndarray) else [(1,)]
    )
    if gamma.shape not in shapes:
        raise ValueError(
            f"gamma must have shape {' or '.join(map(str, shapes))} for kernel {kernel.name!r} and "
            f"this X; found {gamma.shape}."
        )
    if (gamma < 0).any():
        raise ValueError(f"gamma must not be negative; found {gamma.min()}.")
    return gamma
