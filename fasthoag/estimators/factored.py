"""Ridge regression by factors of the rows, `fasthoag.spectral`: of several targets, and by
leave-one-out of small data."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.sparse as sp

from fasthoag.arguments import box_of
from fasthoag.blas import FEW_ROWS, blas_threads
from fasthoag.criteria import KFold
from fasthoag.criteria.folds import mask_of_folds
from fasthoag.design import is_on_device
from fasthoag.design.matrix import SIZES, check_numbers, column_sizes
from fasthoag.estimators.blocks import is_in_parts
from fasthoag.estimators.choice import PointsOfFolds
from fasthoag.estimators.final_fit import refit_tol_of, warn_unless_solved
from fasthoag.estimators.given import default_points
from fasthoag.estimators.judged import judged_by
from fasthoag.losses import find_loss
from fasthoag.outer.result import MESSAGES, HoagResult, warn_unless_converged
from fasthoag.outer.tolerance import NOISE, SLOPE, Tolerance, tolerance
from fasthoag.penalties import Ridge
from fasthoag.problem import Problem
from fasthoag.progress import progress
from fasthoag.scoring import chooses
from fasthoag.spectral.search import Found
from fasthoag.spectral.subspaces import Subspaces, bytes_of_runs, is_cheaper
from fasthoag.spectral.tuning import Decomposition, Plan, decompose, plan_of
from fasthoag.spectral.workers import Workers
from fasthoag.threads import n_threads_of
from fasthoag.types import Array
from fasthoag.vectors import check_weight

# How factors are made, for the message; see `plan_of`.
HOW = {
    "values": " Solved by singular values of X.",
    "gram": " Solved by products of rows.",
    "tridiagonal": " Solved by products of rows.",
    "moments": " Solved by products of features.",
    "krylov": " Solved by block Krylov runs.",
}
# What watches or leads one search, by the value that asks for nothing.
OF_ONE_SEARCH = {
    "callback": None,
    "max_seconds": None,
    "max_iter": None,
    "warm_start": False,
    "store_folds": False,
    "one_se": False,
    "method": "auto",
    "penalty_per": "all",
}
BY_ROWS = ("gram", "tridiagonal")  # ways that keep single precision
SINGLE_OF_X = {"least": 1e-15, "most": 1e15}
SINGLE_OF_TARGETS = {"least": 1e-25, "most": 1e25}
FIRST_ROWS = 64
FEW_FOR_ONE = 2 * 10**7  # multiply-adds of a factor up to which one target takes this way

ROUNDING = 1e-9  # of the size of the criterion, below which a slope is none


@dataclass(frozen=True, eq=False)
class Factored:
    """A fit: its data and how they are factorised.

    Attributes
    ----------
    Y : array, shape (n_rows, n_targets)
    weight : array, shape (n_rows,), or None
    mask : array or None
        Of the folds; None for leave-one-out.
    shares : array, shape (n_targets,), or None
        The number of the strength of every target, those of a common one the same; None for one of
        its own for each.
    is_shared : bool
        Whether what is told is of all targets together, as they have one strength.
    """

    X: Any
    Y: Array
    weight: Array | None
    mask: Array | None
    shares: Array | None
    is_shared: bool
    plan: Plan
    given: Any  # strengths that were given, or None

    @contextmanager
    def workers(self, asked: int | None, is_deterministic: bool) -> Iterator[Workers]:
        """Threads, and BLAS on one each; of leave-one-out, which has one factor, those of BLAS. One
        alone where bits must not depend on them: sums of factors are cut by threads."""
        size = max(min(self.X.shape), self.Y.shape[1])
        is_few = size <= FEW_ROWS and asked is None  # The limits of a process are files.
        is_alone = is_few or (is_deterministic and self.plan.way != "krylov")
        n = 1 if is_alone else n_threads_of(asked)
        with blas_threads(size, n if self.mask is None else 1):
            yield Workers(1 if self.mask is None else n)

    def target(self, j: int) -> "Factored":
        """The fit of one of the targets."""
        return replace(self, Y=self.Y[:, [j]], shares=None)

    def decomposition(self, model: Any, workers: Workers) -> Decomposition | Subspaces:
        if self.plan.way == "krylov":
            return self._subspaces(model, workers)
        weight = np.ones(len(self.Y)) if self.weight is None else self.weight
        how = model.fit_intercept, model.penalty_factor, self.plan, workers
        return decompose(self.X, weight, self.mask, *how)

    def _subspaces(self, model, workers):
        problem = Problem(
            self.X,
            self.Y[:, 0],
            loss="squared",
            penalty=Ridge(model.penalty_factor),
            fit_intercept=model.fit_intercept,
            sample_weight=self.weight,
            low_memory=model.low_memory,
            deterministic=model.deterministic,
        ).with_threads(workers.n_threads)
        tol = refit_tol_of(problem.design, model.refit_tol)
        asked = Tolerance(SLOPE, NOISE) if model.tol is None else Tolerance(model.tol)
        return Subspaces(problem.inner(self.mask), problem.inner(), workers, asked, tol)


def why_not(model: Any, X: Any, others: Any, offset: Any = None) -> str | None:
    """What of a call of `fit` is for a search of its own and not for factors, or None."""
    for name, nothing in OF_ONE_SEARCH.items():
        value = getattr(model, name)
        if not (isinstance(value, type(nothing)) and value == nothing) and value is not nothing:
            return f"{name}={value!r}"
    for name, rows in zip(("validation", "stop_on"), others, strict=True):
        if rows is not None:
            return f"{name}="
    if offset is not None:
        return "offset="
    if is_in_parts(X):
        return "X in blocks"
    if model.device == "gpu" or is_on_device(X):
        return "a GPU"
    if model.penalty_factor is not None and not (np.asarray(model.penalty_factor) > 0).all():
        return "a penalty_factor with zeros"
    if model.scoring is not None and not chooses(model.scoring):
        return "scoring= with several scorers"
    return None


def factored(
    model: Any,
    given: Any,
    X: Any,
    Y: Array,
    weight: Array | None,
    shares: Any,
    splits: Any,
) -> Factored | None:
    """The `Factored` fit of these targets, None where rows and features are too many. `shares` is
    True for one strength, False for one of each, or has the numbers of those that are shared;
    ``splits()`` gives pairs of (train, test), or None for leave-one-out."""
    if weight is not None:
        weight = check_weight(weight, len(Y))
        check_numbers(weight, "sample_weight")
    check_numbers(X.data if sp.issparse(X) else X, "X", trains=False)
    box_of(model.bounds, 1)
    pairs, mask = splits(), None
    if pairs is not None:
        mask = mask_of_folds(pairs, np.ones(len(Y)) if weight is None else weight)
    needs_vectors = mask is None or (given is not None and given.lam.min() == 0)
    n_folds = 1 if mask is None else mask.shape[1]
    plan = plan_of(X.shape, n_folds, needs_vectors)
    if not needs_vectors and suits_runs(model, X, Y, mask, plan):
        size = X.shape, n_folds, Y.shape[1], shares is not False
        plan = Plan("krylov", bytes_of_runs(*size))
    if plan is None or not plan.fits:
        return None
    check_sizes(X, Y, plan)
    is_shared = shares is True
    if isinstance(shares, bool):
        shares = np.zeros(Y.shape[1], int) if shares else None
    return Factored(X, Y, weight, mask, shares, is_shared, plan, given)


def check_sizes(X: Any, Y: Array, plan: Plan) -> None:
    """Raises ValueError for the first target, and for X, whose numbers are beyond the precision of
    products."""
    limits: Any = {}
    if plan.way in BY_ROWS and not sp.issparse(X) and X.dtype == np.float32:
        limits = SINGLE_OF_TARGETS
        check_numbers(X, "X of float32", **SINGLE_OF_X)
    sizes, limits = column_sizes(Y), SIZES | limits
    is_bad = (sizes > limits["most"]) | ((sizes > 0) & (sizes < limits["least"]))
    for j in np.flatnonzero(is_bad):
        check_numbers(Y[:, j], f"target {j} of y", **limits)


def splits_for(model: Any, groups: Any, X: Any, Y: Array, is_class: bool) -> Any:
    """Pairs of (train, test) for these targets, cut between `groups` where there are any; None for
    leave-one-out."""
    if model.cv is None:
        return None
    loss = replace(find_loss("squared"), is_classification=is_class)
    y = (Y > 0).astype(int) if is_class else Y
    return KFold(model.cv, groups).splits(SimpleNamespace(X=X, n_rows=len(Y), y=y, loss=loss))


def suits_runs(model: Any, X: Any, Y: Array, mask: Any, plan: Plan | None) -> bool:
    """Whether there are several targets of which a search asks for no more digits than block Krylov
    runs give, nor for predictions, and these take less time than the factors of a `Plan`."""
    has_digits = model.tol is None or model.tol >= SLOPE
    if Y.shape[1] < 2 or not has_digits or model.scoring is not None:
        return False
    return plan is None or (sp.issparse(X) and is_cheaper(X, Y.shape[1], mask.shape[1]))


def suits_one_target(model: Any, X: Any, others: Any) -> bool:
    """Whether one target is tuned by factors: leave-one-out of small data that nobody watches.
    That X has constants alone is told by the other way."""
    n, p = X.shape
    is_small = n * p * min(n, p) <= FEW_FOR_ONE
    is_plain = model.cv is None and model.scoring is None
    return is_small and is_plain and why_not(model, X, others) is None and tells_apart(X)


def tells_apart(X):
    """Whether a feature is no constant: of most data the first rows tell."""
    if not sp.issparse(X) and (X[:FIRST_ROWS] != X[0]).any():
        return True
    low, high = (X.min(axis=0), X.max(axis=0))
    low, high = (one.toarray() if sp.issparse(one) else one for one in (low, high))
    return bool((high > low).any())


# ---- strengths ----


@dataclass(frozen=True, eq=False)
class Strengths:
    """What was found of a fit.

    Attributes
    ----------
    theta, by_loss : array, shape (n_targets,), or (1,) where they share it
        What is taken, and what the loss likes best.
    result : HoagResult
    values : array, shape (n_folds, n_targets)
    scores : array, shape (n_folds,) or (n_targets, n_folds), or None without a scorer
    """

    theta: Array
    by_loss: Array
    result: HoagResult
    values: Array
    scores: Array | None


def strengths_of(model: Any, fit: Factored, rows: Any, judge: Any, began: float) -> Strengths:
    """The strengths that an estimator takes: given, or found by the loss, and then by the scorer
    of a `Judge`; `began` is when its work on X did."""
    given = fit.given
    low, high = ends_of(model, given, rows)
    with progress(model.verbose) as show:
        trace = Trace(show, began, tolerance(model.tol, 0).slope, rows)
        searched = search(model, fit, rows, (low, high), trace)
    theta, scores = searched.theta, None
    if judge is not None:
        points = () if given is None or given.is_range else given.lam
        theta, scores = judged_by(judge, fit, rows, theta, (low, high), points)
    if given is not None and given.lam.min() == 0:
        theta = np.where(theta <= low, -np.inf, theta)  # It is as good as none.
    values = rows.fold_values(fit.Y, np.broadcast_to(theta, fit.Y.shape[1:]))
    at = at_bound(searched, (low, high))
    status = status_of(given, at, values)
    result = HoagResult(
        theta=theta,
        lam=np.exp(theta),
        value=float(values.sum()),
        value_error=rows.value_error(values),
        grad=searched.slope,
        grad_error=0.0,
        fold_values=values.sum(axis=1),
        fold_weights=rows.fold_weights,
        w=None,
        w_all=None,
        inner_error=0.0,
        status=status,
        message=message_of(status, searched.theta, at) + HOW[fit.plan.way],
        n_iter=searched.n_steps,
        n_passes=rows.n_passes,
        seconds=time.perf_counter() - began,
        method="given" if status == "given" else "newton",
        trace=trace.records,
        loss="squared",
        fit_intercept=model.fit_intercept,
    )
    if status != "given":
        warn_unless_converged(status, result.message)
    return Strengths(theta, searched.theta, result, values, scores)


def ends_of(model, given, rows):
    """The least and the largest log λ of the search."""
    low, high = rows.box()
    if given is not None:
        least, most = given.ends
        return (min(low, most) if least == -np.inf else least), most
    if model.bounds is not None:
        low, high = (float(side[0]) for side in box_of(model.bounds, 1))
    return low, high


def search(model, fit, rows, ends, trace):
    """What the loss likes best."""
    given, n = fit.given, 1 if fit.is_shared else fit.Y.shape[1]
    if given is not None and given.is_fixed:
        return Found(np.full(n, ends[1]), *np.zeros((3, n)), 0)
    is_compared = given is not None and not given.is_range
    points = np.log(given.lam[given.lam > 0]) if is_compared else ()
    levels = rows.levels(*ends, points)
    found = rows.tuned(fit.Y, levels, tolerance(model.tol, 0).slope, fit.shares, trace.note)
    if fit.shares is None or fit.is_shared:
        return found
    return Found(*(one[fit.shares] for one in found[:4]), found.n_steps)


def status_of(given, at, values):
    """How a search ended, `at` which targets are at a bound."""
    if not np.isfinite(values).all():
        return "inner_failed"
    if given is not None and given.is_fixed:
        return "given"
    return "at_bound" if at.any() else "converged"


def at_bound(found, ends):
    """Which targets are at a bound where the criterion still falls beyond it, as far as rounding
    tells."""
    falls = np.abs(found.slope) > ROUNDING * found.size
    is_low = (found.theta <= ends[0]) & (found.slope > 0)
    return falls & (is_low | ((found.theta >= ends[1]) & (found.slope < 0)))


def message_of(status, theta, at):
    if status != "at_bound":
        return MESSAGES[status].format(left="")
    some = np.flatnonzero(at)
    where = ", ".join(f"theta[{j}] = {theta[j]:g}" for j in some[:5])
    where += f" and {len(some) - 5} more" if len(some) > 5 else ""
    return MESSAGES[status].format(where=where)


class Trace:
    """The records of a search: of several targets the mean θ and the sums of what is evaluated
    together."""

    def __init__(self, show: Any, began: float, tol: float, rows: Any) -> None:
        self.records: list[dict[str, Any]] = []
        self._show, self._began, self._tol, self._rows = show, began, tol, rows

    def note(self, phase: str, theta: Array, values: Any) -> None:
        value = float(values.value.sum())
        record = {
            "phase": phase,
            "theta": [float(theta.mean())],
            "value": value,
            "value_error": 0.0,
            "grad_norm": float(np.linalg.norm(values.slope)),
            "grad_error": 0.0,
            "inner_tol": 0.0,
            "linear_tol": 0.0,
            "n_inner": 0,
            "n_cg": 0,
            "grad_tol": self._tol * value,
            "n_passes": self._rows.n_passes,
            "seconds": time.perf_counter() - self._began,
            "is_accepted": True,
        }
        self.records.append(record)
        self._show(record)


# ---- what is reported of given strengths ----


def reported(
    model: Any, fit: Factored, rows: Any, judge: Any, *, has_w: bool = False
) -> PointsOfFolds | None:
    """What leave-one-out says of the strengths that were given, by default scikit-learn's; with
    the models there if `has_w`."""
    if not model.store_cv_results:
        return None
    given = default_points("alphas") if fit.given is None else fit.given
    n, kept, w, scores = fit.Y.shape[1], [], [], []
    weight = np.ones(len(fit.Y)) if fit.weight is None else fit.weight
    for lam in given.lam:
        theta = np.full(n, np.log(lam) if lam > 0 else -np.inf)
        (left_out,) = rows.predictions(fit.Y, theta)
        squares = (fit.Y - left_out) ** 2 * weight[:, None]
        kept.append(squares if judge is None else left_out)
        scores.append(-0.5 * squares.sum() / (weight.sum() * n))
        if has_w:
            models = models_of(fit, rows, theta)
            last = [models.intercept[:, None]] if model.fit_intercept else []
            w.append(np.hstack([models.coef, *last]))
    return PointsOfFolds(
        given=given,
        scores=np.array(scores)[:, None],
        n_iter=np.zeros(len(given.lam), int),
        w=np.array(w)[:, None] if has_w else None,
        of_rows=np.stack(kept, axis=-1),
        candidates=[None] * len(given.lam),
    )


# ---- the models ----


class Models:
    """Coefficients (n_targets, n_features) and intercepts (n_targets,), filled block by block."""

    def __init__(self, coef: Any, n_targets: int) -> None:
        self.coef, self.intercept = coef, np.zeros(n_targets)

    def keep(self, targets: slice, coef: Array, intercept: Array) -> None:
        self.coef[targets] = coef.T
        self.intercept[targets] = intercept


def models_of(
    fit: Factored, rows: Any, theta: Array, coef_out: Any = None, asked: float | None = None
) -> Models:
    """The models of all targets on all rows at θ, their coefficients in `coef_out` where it is
    given."""
    n = fit.Y.shape[1]
    if coef_out is None:
        coef_out = np.empty((n, fit.X.shape[1]), rows.dtype)
    models = Models(coef_out, n)
    rows.models(fit.Y, np.broadcast_to(theta, (n,)), models.keep)
    warn_unless_solved(rows.refit_error, is_converged=False, asked=asked)
    return models
