"""What the parts of a model are called: its strengths, features and outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.design.rows import to_host
from fasthoag.outer.result import HoagResult
from fasthoag.penalties import FeatureRidge, GroupRidge, PerClass, Ridge
from fasthoag.problem import Problem


@dataclass(frozen=True)
class Named:
    """What a report knows of a model beside its result.

    Attributes
    ----------
    thetas : list of str
        The hyperparameters of every result, in the order of θ; empty where they have no names.
    strengths : list of (str, float)
        All strengths of the model; empty where there is one, or none.
    coefficients : array, shape (n_outputs, n_features), or None
    features, outputs : sequence
        Their names; outputs are classes or targets, and empty where there is one.
    found : fitted estimator or None
        Whose choice is marked in pictures.
    """

    thetas: Sequence[str] = ()
    strengths: Sequence[tuple[str, float]] = ()
    coefficients: Any = None
    features: Sequence[Any] = ()
    outputs: Sequence[Any] = ()
    found: Any = None


def numbered(what: str, n: int, first: int = 0) -> list[str]:
    """ "feature 0", "feature 1", ..."""
    return [f"{what} {j}" for j in range(first, first + n)]


def named_by_problem(result: HoagResult, problem: Any, coef: Any, features: Any, outputs: Any):
    """The `Named` of a result of this problem, linear or of a kernel; `coef` are the coefficients
    (n_features + fit_intercept,) or with a column an output, or None, where it has some that are
    for users; names are None where nobody gave any."""
    if not isinstance(problem, Problem):
        return Named(of_widths(result.theta), features=features or ())
    n, n_classes = problem.n_features, problem.loss.n_classes
    features = numbered("feature", n) if features is None else list(features)
    if n_classes > 1:
        outputs = numbered("class", n_classes) if outputs is None else list(outputs)
    else:
        outputs = []
    thetas = names_of_thetas(problem.penalty, features, outputs)
    own = problem.penalty.n_hyper(n)
    strengths: list[tuple[str, float]] = []
    if thetas is None:
        lam = np.asarray(problem.read(result.theta)["strengths"], np.float64)
        strengths = list(zip(of_columns(features, outputs, lam.ndim), lam.T.ravel(), strict=True))
        thetas = numbered("θ", own)
    elif own > 1:
        strengths = list(zip(thetas, exponentials(result.theta[:own]), strict=True))
    for one in problem.tuned:
        k = one.n_hyper(problem)
        thetas = thetas + (numbered(one.name, k) if k > 1 else [one.name] * k)
    rows = None if coef is None else np.asarray(to_host(coef)).reshape(len(coef), -1)[:n].T
    return Named(thetas, strengths, rows, features, outputs)


def of_widths(theta):
    """The hyperparameters of a kernel model."""
    n = len(theta) - 1
    return [*(numbered("width", n) if n > 1 else ["the width"] * n), "the strength"]


def of_columns(features, outputs, n_dimensions):
    """The names of strengths of features, or of every class and feature."""
    if n_dimensions < 2:
        return features
    return [f"{output}: {feature}" for output in outputs for feature in features]


def names_of_thetas(penalty, features, outputs):
    """What every θ of a penalty is the logarithm of a strength of; None of other penalties."""
    if isinstance(penalty, PerClass):
        each = names_of_thetas(penalty.penalty, features, outputs)
        if each is None:
            return None
        is_one = len(each) == 1
        return [str(one) if is_one else f"{one}: {name}" for one in outputs for name in each]
    if isinstance(penalty, Ridge):
        return ["the strength"]
    if isinstance(penalty, FeatureRidge):
        return [str(one) for one in features]
    return [str(one) for one in penalty.names] if isinstance(penalty, GroupRidge) else None


def exponentials(theta):
    with np.errstate(over="ignore"):
        return np.exp(theta).tolist()


# ---- of estimators ----


def named_by_estimator(model: Any, features: Any = None) -> Named:
    """The `Named` of a fitted estimator."""
    own = vars(model)
    results = own["hoag_result_"] if isinstance(own["hoag_result_"], list) else [model.hoag_result_]
    n_hyper = len(results[0].theta)
    if "coef_" not in own:
        thetas = of_widths(results[0].theta) if "dual_coef_" in own else ["the strength"]
        return Named(thetas if len(thetas) == n_hyper else (), features=features or (), found=model)
    coef = np.atleast_2d(to_host(model.coef_))
    n_outputs, n = coef.shape
    if features is None:
        features = own.get("feature_names_in_")
    features = numbered("feature", n) if features is None else list(features)
    outputs = outputs_of(own, n_outputs)
    penalty = penalty_of(model, n_outputs)
    thetas = names_of_thetas(penalty, features, outputs) or []
    if len(results) == 1 and n_hyper == n_outputs > len(thetas):
        thetas = outputs  # A strength for every target.
    strengths: list[tuple[str, float]] = []
    for k, (result, lam) in enumerate(zip(results, lam_of(model, len(results)), strict=True)):
        names = thetas if len(results) == 1 else names_within(outputs[k], thetas)
        if len(names) > 1 or len(results) > 1:
            strengths += zip(names, strengths_at(penalty, result.theta, lam, n), strict=True)
    return Named(thetas, strengths, coef, features, outputs, model)


def outputs_of(own, n_outputs):
    """The names of classes or targets, of which there are several."""
    if n_outputs == 1:
        return []
    classes = own.get("classes_")
    is_named = classes is not None and len(classes) == n_outputs
    return [str(one) for one in classes] if is_named else numbered("target", n_outputs)


def penalty_of(model, n_outputs):
    """The penalty of every search of an estimator."""
    from fasthoag.estimators.strengths import penalty_for  # after scikit-learn, which takes a while

    per, factor = getattr(model, "penalty_per", "all"), getattr(model, "penalty_factor", None)
    return penalty_for(per, factor, n_outputs)


def names_within(output, thetas):
    return [str(output)] if len(thetas) == 1 else [f"{output}: {name}" for name in thetas]


def lam_of(model, n_models):
    """The strengths that were chosen, a row each model."""
    return np.asarray(to_host(model.lam_), np.float64).reshape(n_models, -1)


def strengths_at(penalty, theta, lam, n_features):
    """What the hyperparameters of a search stand for beside the strengths that were chosen, which
    are its own or all in one proportion to them."""
    own = np.asarray(penalty.strengths(theta[: penalty.n_hyper(n_features)], n_features)).T.ravel()
    if len(lam) != len(own):  # one strength, of a model or a target
        return lam.tolist()
    is_there = np.isfinite(own) & (own > 0)
    share = np.median(lam[is_there] / own[is_there]) if is_there.any() else 1.0
    return (np.array(exponentials(theta)) * share).tolist()
