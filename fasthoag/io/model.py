"""A fitted linear model by itself: what is kept of a search, and enough to predict."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from fasthoag.arithmetic import our_arithmetic
from fasthoag.design.cpu import check_finite
from fasthoag.design.structure import sound_csr
from fasthoag.io.inputs import counted_from
from fasthoag.kinds import array_of, numbers_of
from fasthoag.losses import INVERSE_LINKS, likeliest, link_of
from fasthoag.types import Array


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted linear model: what a model file holds.

    Parameters
    ----------
    loss : str
    coef : array, shape (n_outputs, n_features)
    intercept : array, shape (n_outputs,)
    classes : array, shape (0,), (2,) or (n_outputs,)
        Labels in the order of the outputs; with one output, the second is the positive class. Empty
        for regression. -1 and +1 if left empty with loss "logistic" and one output.
    theta, lam : array, shape (n_hyper,)
        Hyperparameters on log scale, and the strengths they stand for.
    value, value_error : float
        Outer criterion, and the bound or estimate of its error.
    status, message : str
        How the search ended.
    zero_based : {"auto", True, False}
        Whether the text that it was trained on counts features from 0, for `load_svmlight` to read
        other text alike; "auto" if that is not known.

    Examples
    --------
    >>> from fasthoag.io import Model
    >>> model = Model("logistic", coef=[[1.0, -2.0]], intercept=[0.5], classes=[0, 1])
    >>> model.decision_function([[1.0, 0.0], [0.0, 1.0]])
    array([ 1.5, -1.5])
    >>> model.predict([[1.0, 0.0], [0.0, 1.0]])
    array([1, 0])
    """

    loss: str
    coef: Any
    intercept: Any
    classes: Any = ()
    theta: Any = ()
    lam: Any = ()
    value: float = np.nan
    value_error: float = np.nan
    status: str = ""
    message: str = ""
    zero_based: bool | str = "auto"

    def __post_init__(self) -> None:
        coef = np.atleast_2d(np.asarray(numbers_of(self.coef, "coef"), np.float64))
        intercept = np.atleast_1d(np.asarray(numbers_of(self.intercept, "intercept"), np.float64))
        classes = array_of(self.classes, "classes")
        if classes.size == 0 and self.loss == "logistic" and len(coef) == 1:
            classes = np.array([-1.0, 1.0])
        if coef.ndim != 2 or intercept.shape != (len(coef),):
            raise ValueError(
                f"intercept must have shape ({len(coef)},) for this coef; found {intercept.shape}."
            )
        n_classes = 2 if len(coef) == 1 else len(coef)
        if classes.dtype == object or classes.ndim != 1 or classes.size not in (0, n_classes):
            raise ValueError(
                f"classes must be empty or {n_classes} numbers or strings; found {self.classes!r}."
            )
        converted: dict[str, Any] = {"coef": coef, "intercept": intercept, "classes": classes}
        converted |= {
            name: np.atleast_1d(np.asarray(numbers_of(getattr(self, name), name), np.float64))
            for name in ("theta", "lam")
        }
        converted |= {name: float(getattr(self, name)) for name in ("value", "value_error")}
        converted |= {name: str(getattr(self, name)) for name in ("loss", "status", "message")}
        converted["zero_based"] = counted_from(self.zero_based)
        for name, value in converted.items():
            object.__setattr__(self, name, value)

    def decision_function(self, X: Any) -> Array:
        """Predictions ``z = X w + intercept``, shape (n_rows,) with one output, else (n_rows,
        n_outputs)."""
        is_sparse = scipy.sparse.issparse(X)
        X = sound_csr(X) if is_sparse else np.asarray(numbers_of(X, "X"), np.float64)
        n_features = self.coef.shape[1]
        if X.ndim != 2 or X.shape[1] != n_features:
            raise ValueError(
                f"X must have {n_features} columns; found shape {X.shape}. Load it with that "
                "n_features."
            )
        check_finite(self.coef, "coef")
        check_finite(self.intercept, "intercept")
        X = X.tocsr() if is_sparse else X
        check_finite(numbers_of(X.data, "X") if is_sparse else X, "X")
        X = X.astype(np.float64, copy=False)
        with our_arithmetic():
            z = np.asarray(X @ self.coef.T) + self.intercept
        return z[:, 0] if len(self.coef) == 1 else z

    def predict(self, X: Any) -> Any:
        """Labels of a classifier, means of a regression (`Loss.inverse_link`)."""
        z, link = self.decision_function(X), link_of(self.loss)
        if self.classes.size == 0:  # There are no labels that probabilities would be of.
            with our_arithmetic():
                return z if link == "logit" else INVERSE_LINKS[link](z)
        return self.classes[likeliest(z)]

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the two classes, shape (n_rows, 2). Only models with loss "logistic" and
        one output have them."""
        if self.loss != "logistic" or len(self.coef) != 1:
            raise ValueError(
                "probabilities need loss 'logistic' with one output; this model has loss "
                f"{self.loss!r}."
            )
        z = self.decision_function(X)
        with our_arithmetic():
            return INVERSE_LINKS["logit"](z)
