"""Targets, weights and θ: vectors, as they are checked."""

from typing import Any

import numpy as np

from fasthoag.design.matrix import check_finite, check_numbers
from fasthoag.kinds import numbers_of
from fasthoag.losses import Loss
from fasthoag.types import Array, ArrayLike


def check_vector(v: Any, n_rows: int, name: str, X_name: str = "X") -> Array:
    """`v` as a contiguous float64 vector of length `n_rows`."""
    v = np.array(numbers_of(v, name), np.float64)  # a copy: the user may change his
    if v.ndim == 2 and v.shape[1] == 1:
        v = np.ascontiguousarray(v[:, 0])
    if v.ndim != 1:
        hint = ""
        if v.ndim == 2 and name in ("y", "y_val"):
            hint = (
                ". Each of several targets is a problem of its own: take the columns one after the "
                "other, or fit an estimator, which takes them all"
            )
        raise ValueError(f"{name} must have 1 dimension; got shape {v.shape}{hint}")
    if len(v) != n_rows:
        raise ValueError(
            f"{name} has {len(v)} values but {X_name} has {n_rows} rows; they must be equal"
        )
    check_finite(v, name)
    return v


def check_weight(weight: Any, n_rows: int, X_name: str = "X") -> Array | None:
    """`weight` as a vector of non-negative numbers that are not all 0, or None."""
    if weight is None:
        return None
    weight = check_vector(weight, n_rows, "sample_weight", X_name)
    if (weight < 0).any():
        raise ValueError(f"sample_weight must not be negative; found {weight.min():g}")
    if not (weight > 0).any():
        raise ValueError(f"sample_weight must have a positive value; all {n_rows} are 0")
    return weight


def check_offset(offset: Any, n_rows: int, loss: Loss, X_name: str = "X") -> Array | None:
    """`offset` as a vector of finite numbers, of the multinomial loss with a column for each class,
    or None."""
    if offset is None:
        return None
    offset = check_columns(offset, n_rows, loss.n_classes, X_name)
    check_numbers(offset, "offset", trains=False)
    return offset


def check_columns(offset, n_rows, n_classes, X_name="X"):
    """`offset` as (n_rows,), or of several classes as (n_rows, n_classes)."""
    if n_classes <= 1:
        return check_vector(offset, n_rows, "offset", X_name)
    offset = np.array(numbers_of(offset, "offset"), np.float64)
    if offset.shape != (n_rows, n_classes):
        raise ValueError(
            f"offset of {n_classes} classes must have a column for each, ({n_rows}, {n_classes}): "
            f"one number a row would move all of them alike; got shape {offset.shape}"
        )
    check_finite(offset, "offset")
    return offset


def offset_to_predict(
    offset: Any, n_rows: int, has_offset: bool, model: str, n_outputs: int, is_joint: bool
) -> Array | None:
    """The offset of rows that a model predicts, which needs one where it was fitted beside one;
    (n_rows, n_outputs) where several outputs are classes of one model (`is_joint`), of several
    targets this or (n_rows, 1)."""
    if has_offset and offset is None:
        raise ValueError(
            f"{model} was fitted beside an offset, and its predictions need one too: pass offset= "
            f"with a number for each of the {n_rows} rows (0 for a row without; where predictions "
            "are exp(z), the logarithm of an exposure)"
        )
    if offset is None:
        return None
    if not has_offset:
        raise ValueError(
            f"{model} was fitted without an offset, and its predictions take none: leave offset "
            "out, or fit with offset="
        )
    if n_outputs > 1 and not is_joint:
        return check_offset_of_targets(offset, (n_rows, n_outputs))
    return check_columns(offset, n_rows, n_outputs)


def check_offset_of_targets(offset: Any, shape: tuple[int, int], X_name: str = "X") -> Array:
    """`offset` of several targets as (n_rows, 1), or with a column for each of them."""
    n_rows, n_targets = shape
    offset = np.array(numbers_of(offset, "offset"), np.float64)
    if offset.ndim < 2 or offset.shape[1] == 1:
        offset = check_vector(offset, n_rows, "offset", X_name)[:, None]
    if offset.shape not in ((n_rows, 1), shape):
        raise ValueError(
            f"offset must have a number for each row of {X_name}, ({n_rows},), or one for each of "
            f"the targets too, ({n_rows}, {n_targets}); got shape {offset.shape}"
        )
    check_finite(offset, "offset")
    check_numbers(offset, "offset", trains=False)
    return offset


def check_classes(found: Array, n_classes: int) -> None:
    """Raises ValueError where a class of 0..n_classes-1 is not among those that rows with a
    positive weight have: its intercept would have no optimum. `n_classes` may be of any size:
    nothing here is as long."""
    if len(found) < n_classes:
        absent = np.setdiff1d(np.arange(min(n_classes, len(found) + 5)), found)
        raise ValueError(
            f"y has no row of class {', '.join(map(str, absent[:5]))} with a positive weight, and "
            f"loss 'multinomial' has the classes 0..{n_classes - 1:.16g}. Number those that there "
            "are without gaps: np.unique(y, return_inverse=True)[1]"
        )


def check_theta(theta: ArrayLike, n_hyper: int, name: str) -> Array:
    """`theta` as a vector of `n_hyper` finite numbers."""
    if isinstance(theta, (bool, np.bool_)):
        raise TypeError(f"{name} must be logs of strengths; got {theta!r}")
    theta = np.atleast_1d(np.array(numbers_of(theta, name), np.float64))
    if theta.shape != (n_hyper,) or not np.isfinite(theta).all():
        raise ValueError(f"{name} must have shape ({n_hyper},) and finite values; got {theta}")
    return theta
