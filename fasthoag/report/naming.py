"""What the parts of a model are called: its strengths, features and outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
    thetas : sequence of str
        The hyperparameters of every result, in the order of θ; empty where they have no names.
    of_strengths : sequence of str
        What the strengths of the model belong to; empty where there is one.
    strengths : array, shape (n_strengths,)
    coefficients : array, shape (n_outputs, n_features), or None
    features, outputs : sequence
        Their names; outputs are classes or targets, and empty where there is one.
    found : fitted estimator or None
        Whose choice is marked in pictures.
    """

    thetas: Sequence[str] = ()
    of_strengths: Sequence[str] = ()
    strengths: Any = ()
    coefficients: Any = None
    features: Sequence[Any] = ()
    outputs: Sequence[Any] = ()
    found: Any = None


@dataclass(frozen=True)
class Names(Sequence[str]):
    """Names that are made when they are asked for: there may be millions."""

    n: int
    name: Callable[[int], str]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, j: Any) -> Any:
        if isinstance(j, slice):
            return [self.name(k) for k in range(*j.indices(self.n))]
        if not 0 <= j < self.n:
            raise IndexError(j)
        return self.name(int(j))


def numbered(what: str, n: int, first: int = 0) -> Sequence[str]:
    """ "feature 0", "feature 1", ..."""
    return Names(n, lambda j: f"{what} {first + j}")


def texts(names: Sequence[Any]) -> Sequence[str]:
    return Names(len(names), lambda j: str(names[j]))


def pairs(outputs: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """Every name of the first output, then of the second, and so on."""
    k = len(names)
    if k == 1:
        return outputs
    return Names(len(outputs) * k, lambda j: f"{outputs[j // k]}: {names[j % k]}")


def named_by_problem(result: HoagResult, problem: Any, coef: Any, features: Any, outputs: Any):
    """The `Named` of a result of this problem, linear or of a kernel; `coef` are the coefficients
    (n_features + fit_intercept,) or with a column an output, or None, where it has some that are
    for users; names are None where nobody gave any."""
    if not isinstance(problem, Problem):
        return Named(of_widths(result.theta), features=features or ())
    n, n_classes = problem.n_features, problem.loss.n_classes
    features = numbered("feature", n) if features is None else texts(features)
    if n_classes > 1:
        outputs = numbered("class", n_classes) if outputs is None else texts(outputs)
    else:
        outputs = []
    thetas = names_of_thetas(problem.penalty, features, outputs)
    own = problem.penalty.n_hyper(n)
    of_strengths, strengths = ([], []) if own == 1 else (thetas, exponentials(result.theta[:own]))
    if thetas is None:
        lam = np.asarray(problem.read(result.theta)["strengths"], np.float64)
        thetas, strengths = numbered("θ", own), lam.T.ravel()
        if len(np.unique(strengths)) > 1:
            of_strengths = features if lam.ndim == 1 else pairs(outputs, features)
        else:
            of_strengths, strengths = [], []
    beside = [(one.name, one.n_hyper(problem)) for one in problem.tuned]
    if beside:
        more = [f"{name} {k}" if n > 1 else name for name, n in beside for k in range(n)]
        thetas = [*thetas, *more]
    rows = None if coef is None else np.asarray(to_host(coef)).reshape(len(coef), -1)[:n].T
    return Named(thetas, of_strengths, strengths, rows, features, outputs)


def of_widths(theta):
    """The hyperparameters of a kernel model."""
    n = len(theta) - 1
    return [*(numbered("width", n) if n > 1 else ["the width"] * n), "the strength"]


def names_of_thetas(penalty, features, outputs):
    """What every θ of a penalty is the logarithm of a strength of; None of other penalties."""
    if isinstance(penalty, PerClass):
        each = names_of_thetas(penalty.penalty, features, outputs)
        return None if each is None else pairs(outputs, each)
    if isinstance(penalty, Ridge):
        return ["the strength"]
    if isinstance(penalty, FeatureRidge):
        return features
    return texts(penalty.names) if isinstance(penalty, GroupRidge) else None


def exponentials(theta):
    with np.errstate(over="ignore"):
        return np.exp(theta)


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
    features = numbered("feature", n) if features is None else texts(features)
    outputs = outputs_of(own, n_outputs)
    penalty = penalty_of(model, n_outputs)
    thetas = names_of_thetas(penalty, features, outputs) or []
    if len(results) == 1 and n_hyper == n_outputs > len(thetas):
        thetas = outputs  # A strength for every target.
    of_strengths = thetas if len(results) == 1 else pairs(outputs, thetas)
    if len(of_strengths) < 2:
        return Named(thetas, (), (), coef, features, outputs, model)
    lam = np.asarray(to_host(model.lam_), np.float64).reshape(len(results), -1)
    own_strengths = partial(strengths_at, penalty, n)
    strengths = np.concatenate([own_strengths(*one) for one in zip(results, lam, strict=True)])
    return Named(thetas, of_strengths, strengths, coef, features, outputs, model)


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

    own = vars(model)
    return penalty_for(own.get("penalty_per", "all"), own.get("penalty_factor"), n_outputs)


def strengths_at(penalty, n_features, result, lam):
    """What the hyperparameters of a search stand for beside the strengths that were chosen, which
    are its own or all in one proportion to them."""
    theta = result.theta
    own = np.asarray(penalty.strengths(theta[: penalty.n_hyper(n_features)], n_features)).T.ravel()
    if len(lam) != len(own):  # one strength, of a model or a target
        return lam
    is_there = np.isfinite(own) & (own > 0)
    share = np.median(lam[is_there] / own[is_there]) if is_there.any() else 1.0
    return exponentials(theta) * share
