"""Several targets as independent problems: what is checked of them first, and what is kept of the
fit of each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from fasthoag.criteria import HeldOut
from fasthoag.design import to_host
from fasthoag.types import Array

# Attributes that every target has of its own, beside its strength.
OF_EACH = ("lam_", "lam_by_loss_", "scores_", "score_mean_", "score_se_", "best_score_")
OF_ALL = ("alphas_", "Cs_")  # The same for all of them.
AXES = {"coefs_paths_": 3, "cv_results_": 1}  # where these have the models


def check_targets(y: Array, name: str = "y") -> None:
    """Raises ValueError for the first of several targets that is not all numbers."""
    if y.ndim != 2 or y.dtype.kind != "f":
        return
    for j, column in enumerate(y.T):
        is_bad = ~np.isfinite(column)
        if is_bad.any():
            raise ValueError(
                f"{name} contains NaN or infinity: target {j} is the first that does, in row "
                f"{int(is_bad.argmax())} ({is_bad.sum()} of its {len(column)} rows). Leave these "
                "rows out, or fit the target on its own without them"
            )


def check_alike(others: Sequence[HeldOut | None], y: Array) -> None:
    """Raises ValueError where rows that do not train have other targets than those that do."""
    for rows, name in zip(others, ("validation", "stop_on"), strict=True):
        if rows is not None and np.shape(rows.y_val)[1:] != y.shape[1:]:
            what = f"the {y.shape[1]} columns of y" if y.ndim == 2 else "one dimension, as y has"
            raise ValueError(f"y of {name} must have {what}; got shape {np.shape(rows.y_val)}")


def check_both(y: Array, weight: Array | None) -> None:
    """Raises ValueError for the first column of labels of which all rows, or all of a positive
    weight, have the same."""
    y = y if weight is None else y[weight > 0]
    is_same = (y == y[:1]).all(axis=0)
    if len(y) and is_same.any():
        j = int(is_same.argmax())
        raise ValueError(
            f"y has the label {y[0, j].item()!r} in all rows of column {j}, and a classifier needs "
            "both; leave the column out"
        )


def columns_like(y: Array, z: Array) -> Array:
    """Targets as an array that has the columns of these predictions."""
    y = np.asarray(y)
    if y.shape != z.shape:
        raise ValueError(
            f"y must have shape {z.shape}, a column for each of y of the fit; got {y.shape}"
        )
    return y


def of_target(rows: HeldOut | None, j: int) -> HeldOut | None:
    """These rows with one of their targets."""
    return None if rows is None else replace(rows, y_val=np.asarray(rows.y_val)[:, j])


@contextmanager
def in_column(j: int) -> Iterator[None]:
    """Errors of checks inside say of which column of y they are."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error} (found when column {j} of y was fitted)") from error


def coefficients_of(model: Any) -> tuple[Array, float]:
    """Those of one target in this memory, which the model gives away."""
    coef, intercept = to_host(model.coef_), to_host(model.intercept_)
    del model.coef_, model.intercept_
    return np.ravel(coef), float(np.ravel(intercept)[0])


def gathered(models: list[Any], names: Sequence[str]) -> dict[str, Any]:
    """Attributes of fits side by side: arrays of these with a row for each model, and of the others
    what tells of all."""
    found: dict[str, Any] = {name: vars(models[-1])[name] for name in OF_ALL if has(models, name)}
    for name in (*names, *AXES):
        if not has(models, name):
            continue
        values, axis = [vars(one)[name] for one in models], AXES.get(name, 0)
        join = np.concatenate if axis and values[0].ndim > axis + 1 else np.stack
        found[name] = join(values, axis=axis)
    found["hoag_result_"] = [one.hoag_result_ for one in models]
    found["n_iter_"] = max(one.n_iter_ for one in models)
    return found


def has(models, name):
    """Whether fits have an attribute of this name."""
    return name in vars(models[-1])
