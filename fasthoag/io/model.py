"""A fitted linear model by itself: what is kept of a search, and enough to predict."""

from dataclasses import dataclass
from reprlib import repr as shown  # of a long value the beginning
from typing import Any

import numpy as np
import scipy.sparse

from fasthoag.arithmetic import our_arithmetic
from fasthoag.design.matrix import check_finite
from fasthoag.design.structure import sound_csr
from fasthoag.io.inputs import counted_from
from fasthoag.kinds import array_of, numbers_of
from fasthoag.losses import INVERSE_LINKS, LOSSES, MULTINOMIAL, likeliest, link_of
from fasthoag.options import check_flag
from fasthoag.thin import product
from fasthoag.types import Array, ArrayLike
from fasthoag.vectors import offset_to_predict

CUSTOM = "custom"  # what stands for every loss of a user's own: predictions are z themselves
KINDS_OF_CLASSES = "biufUM"  # of NumPy: numbers, strings, dates


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted linear model: what a model file holds.

    Parameters
    ----------
    loss : str
        The name of a built-in loss, two joined by "+" for a mix, or "custom" for a loss of your
        own.
    coef : array, shape (n_outputs, n_features)
        Of float32 it stays so, and is not copied.
    intercept : array, shape (n_outputs,)
    classes : array, shape (0,), (2,) or (n_outputs,)
        Labels in the order of the outputs; with one output, the second is the positive class.
        Numbers, strings or dates (``datetime64``), no two of them equal. Empty for regression. -1
        and +1 if left empty with loss "logistic" and one output.
    theta, lam : array, shape (n_hyper,)
        Hyperparameters on log scale, and the strengths they stand for.
    value, value_error : float
        Outer criterion, and the bound or estimate of its error.
    status, message : str
        How the search ended.
    zero_based : {"auto", True, False}
        Whether the text that it was trained on counts features from 0, for `load_svmlight` to read
        other text alike; "auto" if that is not known.
    has_offset : bool
        Whether it was fitted beside an offset: then predictions need one too.
    has_labels : bool
        Whether every output is a label of its own, of which a row may have several: ``classes`` are
        then the two values that say without and with it.
    targets : array, shape (n_outputs,)
        The numbers by which several targets, or labels, were called; empty for 0, 1, ...

    Raises
    ------
    ValueError
        Names the argument: shapes that do not fit, coefficients that are not finite, a loss that is
        not known, classes that are equal, missing or of several kinds.

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
    has_offset: bool = False
    has_labels: bool = False
    targets: Any = ()

    def __post_init__(self) -> None:
        coef = np.atleast_2d(finite_numbers("coef", self.coef, keeps_single=True))
        intercept = np.atleast_1d(finite_numbers("intercept", self.intercept))
        check_outputs(self.loss, coef, intercept)
        converted: dict[str, Any] = {"coef": coef, "intercept": intercept}
        has_labels = converted["has_labels"] = check_flag(self.has_labels, "has_labels")
        n_classes = 1 if has_labels else len(coef)
        converted["classes"] = checked_classes(self.classes, self.loss, n_classes)
        if has_labels and not converted["classes"].size:
            raise ValueError("classes must be the two values of labels with has_labels=True")
        converted |= {name: hyperparameters(name, getattr(self, name)) for name in ("theta", "lam")}
        converted |= {
            name: single_number(name, getattr(self, name)) for name in ("value", "value_error")
        }
        converted |= {name: str(getattr(self, name)) for name in ("loss", "status", "message")}
        converted["zero_based"] = counted_from(self.zero_based)
        converted["has_offset"] = check_flag(self.has_offset, "has_offset")
        converted["targets"] = np.atleast_1d(finite_numbers("targets", self.targets))
        if converted["targets"].shape not in ((0,), (len(coef),)):
            raise ValueError(
                f"targets must be empty or {len(coef)} numbers, one for each row of coef; found "
                f"shape {converted['targets'].shape}."
            )
        for name, value in converted.items():
            object.__setattr__(self, name, value)

    @property
    def n_features(self) -> int:
        return int(self.coef.shape[1])

    @property
    def n_outputs(self) -> int:
        return len(self.coef)

    def decision_function(self, X: Any, *, offset: ArrayLike | None = None) -> Array:
        """Predictions ``z = X w + intercept``, shape (n_rows,) with one output, else (n_rows,
        n_outputs); plus the `offset` of these rows where the model has one, (n_rows,), with loss
        "multinomial" (n_rows, n_outputs), which it may be of several targets too."""
        is_sparse = scipy.sparse.issparse(X)
        X = sound_csr(X) if is_sparse else numbers_of(X, "X")
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(
                f"X must have {self.n_features} columns; found shape {X.shape}. Load it with that "
                "n_features."
            )
        check_finite(numbers_of(X.data, "X") if is_sparse else X, "X")
        X = X if X.dtype == np.float32 else X.astype(np.float64, copy=False)
        given = offset, X.shape[0], self.has_offset, "the model"
        outputs = self.n_outputs, self.loss == MULTINOMIAL.name
        offset = offset_to_predict(*given, *outputs)
        with our_arithmetic():
            z = product(X, self.coef) + self.intercept
            z = z if offset is None else z + offset.reshape(len(z), -1)
        return z[:, 0] if len(self.coef) == 1 else z

    def predict(self, X: Any, *, offset: ArrayLike | None = None) -> Any:
        """Labels of a classifier, means of a regression (`Loss.inverse_link`); a column for each
        of several targets."""
        z = self.decision_function(X, offset=offset)
        return self.classes[(z > 0) * 1] if self.has_labels else answers(z, self.loss, self.classes)

    def predict_proba(self, X: Any, *, offset: ArrayLike | None = None) -> Array:
        """Probabilities of the classes, in their order: shape (n_rows, 2) with loss "logistic" and
        one output, (n_rows, n_outputs) with loss "multinomial"; with loss "logistic" and
        ``has_labels`` that a row has each of them, (n_rows, n_outputs). Other models have none."""
        if self.has_labels and self.loss == "logistic":
            from scipy.special import expit

            return np.asarray(expit(self.decision_function(X, offset=offset)))
        return probabilities(self, X, offset=offset)


def answers(z, loss, classes):
    """What is predicted from z: labels where there are classes, else means."""
    if classes.size:
        return classes[likeliest(z)]
    link = link_of(loss)
    with our_arithmetic():  # There are no labels that probabilities would be of.
        return z if link == "logit" else INVERSE_LINKS[link](z)


def probabilities(model, X, **known):
    """Those of the classes of a model, in their order; raises ValueError where it has none. `known`
    goes to its predictions."""
    if model.loss != MULTINOMIAL.name and (model.loss != "logistic" or model.n_outputs != 1):
        raise ValueError(
            "probabilities need loss 'logistic' with one output, or 'multinomial'; this model "
            f"has loss {model.loss!r} and {model.n_outputs} outputs."
        )
    z = model.decision_function(X, **known)
    with our_arithmetic():
        return INVERSE_LINKS["logit"](z)


def check_outputs(loss, coef, intercept):
    """Raises ValueError unless the parts are those of a linear model with this loss."""
    parts = loss.split("+") if isinstance(loss, str) else []
    is_mix = len(parts) == 2 and all(part in {*LOSSES, CUSTOM} for part in parts)
    if not is_mix and (len(parts) != 1 or loss not in {*LOSSES, CUSTOM, MULTINOMIAL.name}):
        raise ValueError(
            f"loss must be one of {', '.join(map(repr, [*LOSSES, MULTINOMIAL.name]))}, a mix of "
            f"two such as 'huber+squared', or {CUSTOM!r} for a loss of your own; found "
            f"{shown(loss)}."
        )
    if coef.ndim != 2 or len(coef) < (2 if loss == MULTINOMIAL.name else 1):
        raise ValueError(
            "coef must have shape (n_outputs, n_features), with a row for each class of loss "
            f"'multinomial'; found {coef.shape} for loss {loss!r}."
        )
    if intercept.shape != (len(coef),):
        raise ValueError(
            f"intercept must have shape ({len(coef)},) for this coef; found {intercept.shape}."
        )


def checked_classes(given, loss, n_outputs):
    """The labels as an array of one kind, without a change to any of them."""
    classes = array_of(given, "classes")
    if classes.size == 0 and classes.ndim == 1:
        return np.array([-1.0, 1.0]) if loss == "logistic" and n_outputs == 1 else np.empty(0)
    if classes.dtype.kind not in KINDS_OF_CLASSES:  # Objects may be strings all the same.
        given = classes.tolist()
        classes = np.asarray(given)
    n_classes = max(2, n_outputs)
    if classes.dtype.kind not in KINDS_OF_CLASSES or classes.shape != (n_classes,):
        raise ValueError(
            f"classes must be empty or {n_classes} numbers, strings or dates (datetime64); found "
            f"{shown(classes.tolist())}."
        )
    if classes.dtype.kind in "fM" and not np.isfinite(classes).all():
        raise ValueError(f"classes must be finite; found {classes[~np.isfinite(classes)][0]}.")
    # An array of several kinds, or of whole numbers beside fractions, changes what it holds.
    is_list = isinstance(given, (list, tuple)) and classes.dtype.kind != "M"
    if is_list and classes.tolist() != list(given):
        raise ValueError(f"classes must be all of one kind and size; found {shown(given)}.")
    values, counts = np.unique(classes, return_counts=True)
    if len(values) < n_classes:
        twice = shown(values[counts > 1].tolist())
        raise ValueError(f"classes must differ from each other; {twice} are there more than once.")
    return classes


def real_numbers(name, value):
    """`value` as an array of doubles."""
    return np.asarray(numbers_of(value, name), dtype=np.float64)


def finite_numbers(name, value, keeps_single=False):
    """`value` as an array of doubles, all of them finite; with `keeps_single` one of float32 as it
    is."""
    array = numbers_of(value, name)
    if not (keeps_single and array.dtype == np.float32):
        array = array.astype(np.float64, copy=False)
    if array.size:
        for extreme in (array.min(), array.max()):  # NaN is both; this needs no second array.
            if not np.isfinite(extreme):
                raise ValueError(
                    f"{name} has numbers that are not finite ({extreme}); tune again, or correct "
                    "them."
                )
    return array


def hyperparameters(name, value):
    """`value` as a vector of doubles without NaN."""
    array = np.atleast_1d(real_numbers(name, value))
    if array.ndim != 1 or np.isnan(array).any():
        raise ValueError(
            f"{name} must have shape (n_hyper,) and no NaN; found {shown(array.tolist())}."
        )
    return array


def single_number(name, value):
    """`value` as a float."""
    array = real_numbers(name, value)
    if array.size != 1:
        raise ValueError(f"{name} must be one number; found {shown(array.tolist())}.")
    return float(array.item())
