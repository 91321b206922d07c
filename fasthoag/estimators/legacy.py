"""The attributes of scikit-learn's LogisticRegressionCV, in its old style and in its new one."""

from typing import Any

import numpy as np

from fasthoag.estimators.choice import PointsOfFolds
from fasthoag.types import Array


def attributes_of_scikit_learn(
    points: PointsOfFolds,
    strength: float,
    classes: Array,
    *,
    is_legacy: bool,
    has_l1_ratios: bool = False,
) -> dict[str, Any]:
    """What scikit-learn says of strengths that folds compared.

    Old style: dicts by class (by the second of two) of arrays (n_folds, n_points) and (n_folds,
    n_points, n_dof), a strength for each class; with ``l1_ratios`` an axis of them follows that of
    points. New style: arrays (n_folds, n_l1_ratios, n_points) and (n_folds, n_l1_ratios, n_points,
    n_models, n_dof), and one strength. There is one ℓ1 ratio, 0."""
    scores, n_folds = points.scores.T, points.scores.shape[1]
    n_iter = np.tile(points.n_iter, (n_folds, 1))
    found: dict[str, Any] = {"Cs_": points.given.shown, "l1_ratios_": np.zeros(1)}
    if not is_legacy:
        found |= {"C_": strength, "l1_ratio_": 0.0}
        found |= {"scores_": scores[:, None], "n_iter_": n_iter[:, None]}
        return found  # The coefficients are in this style anyway.
    shown = classes[1:] if len(classes) == 2 else classes
    last: Any = (..., None) if has_l1_ratios else ...
    found |= {"C_": np.full(len(shown), strength), "l1_ratio_": np.zeros(len(shown))}
    found |= {"scores_": {one: scores[last].copy() for one in shown}, "n_iter_": n_iter[None][last]}
    if points.w is not None:  # (n_points, n_folds, n_models, n_dof)
        third: Any = (slice(None), slice(None), None) if has_l1_ratios else ...
        found["coefs_paths_"] = {
            one: np.swapaxes(points.w[:, :, k], 0, 1)[third] for k, one in enumerate(shown)
        }
    return found


def mean_of_best(points: PointsOfFolds) -> tuple[float, Array]:
    """What scikit-learn takes for the model without a refit: the mean of the strengths that every
    fold likes best, and of its coefficients there, (n_features + fit_intercept, n_models)."""
    scores = np.where(np.isfinite(points.scores), points.scores, -np.inf)
    best = scores.argmax(axis=0)
    w = np.mean([points.w[k, fold] for fold, k in enumerate(best)], axis=0)
    return float(points.given.shown[best].mean()), w.T
