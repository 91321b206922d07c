"""What a model file holds of a fitted estimator, or of a search."""

from typing import Any

import numpy as np

from fasthoag.design.rows import to_host
from fasthoag.io.dual_model import DualModel
from fasthoag.io.model import CUSTOM, Model
from fasthoag.losses import LOSSES, MULTINOMIAL
from fasthoag.outer.result import HoagResult

OF_SEARCH = "theta", "value", "value_error", "status", "message"


def model_of(found: Any) -> Model | DualModel:
    """The `Model` or `DualModel` that predicts as a fitted estimator does, to the bit, or that of
    the coefficients ``w_all`` of a `HoagResult`; they as they are.

    Raises
    ------
    TypeError, ValueError
        For what is none of these, and for what no file holds, with what to save instead.
    """
    if isinstance(found, (Model, DualModel)):
        return found
    if isinstance(found, HoagResult):
        return model_of_result(found)
    from fasthoag.estimators.estimator import Estimator  # scikit-learn takes a second to import

    if not isinstance(found, Estimator):
        raise TypeError(
            "model must be a fitted estimator of fasthoag, a HoagResult, or a fasthoag.io.Model or "
            f"DualModel; got {type(found).__name__}"
        )
    from fasthoag.estimators.saved import model_of_estimator

    return model_of_estimator(found)


def model_of_result(result: HoagResult) -> Model:
    """The model of the coefficients that are near the solution on all rows. Labels are those of the
    problem: -1 and +1, or class numbers."""
    if result.fit_intercept is None:
        raise ValueError(
            "model is the HoagResult of a KernelProblem, whose model needs its rows; make a "
            "fasthoag.io.DualModel of what problem.fit(result.theta) gives"
        )
    if result.w_all is None:
        raise ValueError(
            "model is the HoagResult that an estimator keeps, without coefficients; save the "
            "estimator itself"
        )
    w = np.asarray(to_host(result.w_all))
    w = w.reshape(len(w), -1)
    coef, intercept = (w[:-1], w[-1]) if result.fit_intercept else (w, np.zeros(w.shape[1]))
    parts = [
        part if part in (*LOSSES, MULTINOMIAL.name) else CUSTOM for part in result.loss.split("+")
    ]
    classes: Any = ()
    if parts == [MULTINOMIAL.name]:
        classes = np.arange(w.shape[1])
    elif all(part in LOSSES and LOSSES[part].is_classification for part in parts):
        classes = [-1.0, 1.0]
    search = {name: getattr(result, name) for name in (*OF_SEARCH, "has_offset")}
    return Model(
        "+".join(parts), coef.T, intercept, classes=classes, lam=np.exp(result.theta), **search
    )
