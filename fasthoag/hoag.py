"""The outer loop: arithmetic on θ only, always in NumPy on the host; w, q and T pass through
untouched."""

import time
import warnings
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from fasthoag import linsolve, solvers
from fasthoag.criteria import HeldOut
from fasthoag.hypergradient import Accuracy, evaluate, moved
from fasthoag.null import row_weights, weighted_quantile
from fasthoag.outer import METHODS, start
from fasthoag.outer.trust_region import FEW
from fasthoag.problem import Problem, check_theta, for_user

MANY = 128  # hyperparameters from which the criterion is overfitted unless something stops it
# rows for each strength of a feature of its own below which it is too. Wine, 13 strengths and 118
# rows: the loss on unseen rows went from 4 to 39, breast cancer with 30 and 381 from 19 to 661
ROWS_EACH = 20
RARE = 10  # rows of a class below which they tell nothing of a strength of its own
FEWEST_ROWS = 25  # of which some are held back
FLAT = 2.0  # log units to both sides within which the criterion changes by less than its tolerance
SAFETY = 2.0  # of the reported error of f: an estimate, of which 99 of 100 shall hold
ON_ALL_ROWS = Accuracy(1e-6, 1e-6)
FAR = 6.0  # log units from the scale of the data: there a strength is everything or nothing
ROUNDS = 3  # of searches from what looks lower
PATIENCE = 5  # steps without a lower loss on the rows of stop_on


class ConvergenceWarning(UserWarning):
    """The result is not what was asked for; its ``status`` and ``message`` say why and what to
    do."""


@dataclass(frozen=True, eq=False)
class HoagResult:
    """What `hoag` found.

    Attributes
    ----------
    theta : array, shape (n_hyper,)
        Hyperparameters, log scale.
    lam : array, shape (n_hyper,)
        ``exp(theta)``: the strengths for `Ridge`.
    value, value_error : float
        The criterion at the exact inner solutions is ``value ± value_error``, an estimate of which
        99 of 100 shall hold; `value` is corrected to second order, not what `w` itself gives. NaN
        where the inner problem was not solved.
    grad, grad_error : array, shape (n_hyper,), and float
        Hypergradient and an estimate of the 2-norm of its error. After a last step that was so
        small that it was taken on the quadratic model, `grad` is what the model leaves (about 0)
        and `grad_error` bounds the true one.
    fold_values, fold_weights : array, shape (n_folds,)
        Criterion of every fold, and the sum of the weights of its rows.
    w : array, shape (n_features + fit_intercept, n_folds)
        Inner solutions in the order of the features, the intercept last; one column a fold.
        (n_features + fit_intercept, n_folds, n_classes) with the multinomial loss.
    w_all : array, shape (n_features + fit_intercept,) or with a column a class
        Near the solution on all rows: where a refit starts.
    inner_error : float
        ``|∇h| / |λ w|`` at the inner solutions in the norm of `fasthoag.linsolve`, largest over
        folds: about the error of θ that it stands for.
    status : str
        ``"converged"``, ``"at_bound"``, ``"max_iter"``, ``"stopped"`` (by the callback),
        ``"stopped_early"`` (by `stop_on`), ``"stalled"`` or ``"inner_failed"``.
    message : str
        The same as a sentence that says what to do, and which θ are as good where many are.
    n_iter, n_passes : int, float
        Accepted outer steps; passes over the training rows (other rows in proportion).
    trace : list of dict
        One record an outer evaluation: phase ("look" at strengths, "one fold", "all" folds, "all
        rows" with those that were held back), theta,
        value, value_error, grad_norm, grad_error, inner_tol, linear_tol, n_inner, n_cg, n_passes,
        seconds, is_accepted; with `stop_on`, `unseen` and `scoring` also stop_value, unseen_value
        and scores of the accepted ones on all folds.
    unseen_value : float
        Loss on the rows of `unseen`; NaN without.
    scores : dict
        Scores of every fold, (n_folds,), by the names of `scoring`.
    """

    theta: np.ndarray
    lam: np.ndarray
    value: float
    value_error: float
    grad: np.ndarray
    grad_error: float
    fold_values: np.ndarray
    fold_weights: np.ndarray
    w: np.ndarray
    w_all: np.ndarray
    inner_error: float
    status: str
    message: str
    n_iter: int
    n_passes: float
    seconds: float
    method: str
    trace: list = field(repr=False)
    unseen_value: float = np.nan
    scores: dict = field(default_factory=dict)


MESSAGES = {
    "converged": "The hypergradient is below its tolerance.",
    "at_bound": "The optimum is at the bound of theta ({where}); the criterion still falls beyond "
    "it. Widen bounds=, or doubt the data: at the upper bound the features do not help, at the "
    "lower one no penalty is needed.",
    "at_kink": "The criterion has a kink here, where a row enters or leaves the curved part of the "
    "loss, and falls on neither side.",
    "featureless": "No feature tells rows apart, all are constants or 0: the intercept is the "
    "model, whatever the strength.",
    "equal_targets": "All targets are equal: the intercept is the model, whatever the strength.",
    "max_iter": "max_iter outer steps were not enough; raise max_iter= or loosen tol=.",
    "stopped": "The callback stopped the loop.",
    "stopped_early": "The loss on the rows of stop_on fell no more; this is the step where it was "
    "least.",
    "no_better": "The best step for the rows of stop_on is no better on all rows than the best "
    "single strength, which is returned.",
    "stalled": "No step decreases the criterion by more than its own error; tol= asks for more "
    "than rounding allows.",
    "inner_failed": "An inner problem was not solved (non-finite values, or no progress); scale "
    "the features or raise the lower bound of theta.",
}


def hoag(
    problem,
    criterion,
    theta0=None,
    *,
    method="auto",
    bounds=None,
    tol=3e-4,
    max_iter=None,
    schedule=None,
    stop_on="auto",
    unseen=None,
    scoring=None,
    callback=None,
    n_threads=None,
):
    """Minimise the criterion over the hyperparameters by approximate hypergradients.

    Parameters
    ----------
    problem : Problem
    criterion : HeldOut, KFold, ApproximateLOO, GCV, AIC, BIC, Evidence or CustomCriterion
    theta0 : array, shape (n_hyper,), optional
        Start, log scale. Without it looks at strengths find one: up to 1,000,000 stored values on
        all folds from where the penalty is everything to where it is nothing, else at three on one
        fold. Where a search ends no better than the null model others begin elsewhere.
    method : {"auto", "newton", "lbfgs", "hoag"}
        ``"newton"``: exact Newton steps in θ from tangents and adjoints of one block solve,
        accuracy adapted to the steps; what "auto" takes for up to 16 hyperparameters of the penalty
        (128 where there are no more coefficients). ``"lbfgs"``: projected quasi-Newton steps from
        one adjoint, whatever the number of hyperparameters. ``"hoag"``: the paper's gradient method
        with its tolerance schedule.
    bounds : (low, high), optional
        Of θ, scalars or arrays of shape (n_hyper,). Default: 1e-12 times the smallest to 1e6 times
        the largest scale of a feature, its curvature at the null model over its penalty_factor.
    tol : float
        Stop when the 2-norm of the projected hypergradient plus its error is at most `tol` times
        the size of the criterion, and the error of the value a third of it. The size is the value;
        of `AIC`, `BIC`, `Evidence` and `CustomCriterion`, which may have a constant added, how far
        it is from that of the null model (a unit of likelihoods at least).
    max_iter : int, optional
        Outer steps at most; default 50, 500 for "lbfgs".
    schedule : {"exponential", "quadratic", "cubic", "exact"} or callable k -> ε_k, optional
        Tolerances of method "hoag".
    stop_on : HeldOut, "auto" or None
        Rows that the criterion does not see. With many hyperparameters the criterion itself is
        overfitted: when the loss on these rows has not fallen for 5 steps the loop ends, and the
        best step for them is returned, with status "stopped_early". Their loss is in the trace as
        ``stop_value``. "auto" holds back a fifth of the rows of the criterion (of all rows, for
        `KFold`) when there are more than 128 hyperparameters, or one for most features and fewer
        than 20 rows for each (10 of every class of the multinomial loss); in the end the criterion
        is evaluated on all rows, with the best single strength where that is lower (up to 1,000,000
        stored values). Of the rows held back three at least count as wrong for a loss that is a
        logarithm of probabilities (label smoothing). Criteria without rows of their own have none
        to hold back.
    unseen : HeldOut, optional
        Rows for the record only, that neither the fits nor the criterion nor `stop_on` see: what
        the model is worth. Their loss (the mean over folds of the sum over rows) is
        ``result.unseen_value``, and ``unseen_value`` in the trace.
    scoring : str, callable, list or dict, optional
        scikit-learn's scorers by name, or ``scorer(estimator, X, y)`` of one's own (X comes without
        columns), to be reported on the criterion's rows of every fold: ``result.scores``, and
        ``scores`` in the trace. They choose nothing. Labels are -1 and +1, or class numbers. A fold
        that a scorer cannot judge (one class, one row) has NaN, with a warning; a scorer that the
        loss does not suit is refused.
    callback : callable, optional
        Called with the record of every evaluation; returning True stops the loop.
    n_threads : int, optional
        Threads of every kernel; None means all cores.

    Returns
    -------
    HoagResult

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work.

    Warns
    -----
    ConvergenceWarning
        When the status is not "converged" (or "stopped").

    References
    ----------
    Pedregosa (2016), "Hyperparameter optimization with approximate gradient", ICML.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(200, 30)), rng.normal(size=30)
    >>> y = np.sign(X @ w + 3 * rng.normal(size=200))
    >>> result = fasthoag.hoag(fasthoag.Problem(X, y), fasthoag.KFold(5))
    >>> result.status, bool(result.lam[0] > 1)
    ('converged', True)
    """
    check_arguments(problem, criterion, method, tol, max_iter, stop_on, unseen, callback)
    if n_threads is not None:
        problem = problem.with_threads(n_threads)
    n_hyper = problem.n_hyper
    theta0 = None if theta0 is None else check_theta(theta0, n_hyper, "theta0")
    box = _box(bounds, n_hyper)
    if n_hyper == 0:
        raise ValueError(
            "problem has no hyperparameter to tune: its penalty is fixed and tuned= is empty"
        )
    is_few = n_hyper <= FEW or (
        n_hyper <= linsolve.SMALL
        and problem.design.n_coef * problem.loss.n_classes <= linsolve.SMALL
    )
    is_few = (
        is_few
        and not getattr(problem.penalty, "is_per_class", False)
        and getattr(criterion, "has_tangents", True)
    )
    if method == "auto":
        method = "newton" if is_few and not problem.tuned else "lbfgs"
    if method == "newton" and not getattr(criterion, "has_tangents", True):
        raise ValueError(
            f"method 'newton' needs the outer Hessian, which {type(criterion).__name__} does not "
            "have. Use method='lbfgs'"
        )
    if method == "newton" and (problem.tuned or not is_few):
        raise ValueError(
            f"method 'newton' is for up to {FEW} hyperparameters of the penalty; there are "
            f"{n_hyper}, {len(problem.tuned)} kinds of them outside the penalty. Use method='lbfgs'"
        )
    rule = METHODS[method](schedule)
    max_iter = max_iter or getattr(rule, "max_iter", 50)
    began = time.perf_counter()
    bound = whole = criterion.bind(problem)
    holds_back = isinstance(stop_on, str) and is_many(problem) and hasattr(criterion, "hold_back")
    if holds_back:
        criterion, stop_on = criterion.hold_back(problem)
        bound = criterion.bind(problem)
    stop_on = None if isinstance(stop_on, str) else stop_on
    run = Run(bound, problem, stop_on, unseen, scoring, callback, began)
    run.holds_back = holds_back
    if hasattr(problem.design, "check_room"):
        n_blocks = 2 + (n_hyper if rule.has_tangents else 0)
        problem.design.check_room(bound.inner.units.n_columns * n_blocks)
    if bound.inner.has_equal_targets and not hasattr(bound, "evaluate"):
        return null_result(bound, problem, run, method, theta0, box)
    seen = start.measured(bound, box is not None)
    is_featureless = bound.inner.is_featureless
    bound, inner = seen.bound, seen.inner
    if box is None:
        lower, upper = start.default_box(inner, seen.scales)
    else:
        lower, upper = map(seen.from_user, box)
    search = Search(seen, whole, run, method, schedule, lower, upper, tol, max_iter)
    known = [] if box is None else list(zip((lower, upper), box, strict=True))
    if theta0 is not None:
        known.insert(0, (seen.from_user(theta0), theta0))
        theta0 = np.clip(known[0][0], lower, upper)
    run.for_user = partial(seen.for_user, known=known)
    best, status = search.run_from(rule, theta0)
    best, status = run.best_for_stop_on(best, status)
    if holds_back and search.is_small and best.is_solved and status != "stopped":
        best, status = search.on_all_rows(best, status)
        bound = run.judge_all_rows(whole, problem, scoring)
    n_iter, units, theta = search.n_iter, inner.units, run.for_user(best.theta)
    is_at_bound = (best.theta <= lower) | (best.theta >= upper)
    at_bound = np.flatnonzero(is_at_bound & ~search.is_common)
    # that some of many are taken out, or let go, is what they are for
    if status == "at_bound" and n_hyper > FEW:
        status, message = (
            "converged",
            f"The hypergradient is below its tolerance; {len(at_bound)} of {n_hyper} "
            "hyperparameters are at their bounds.",
        )
    else:
        where = ", ".join(f"theta[{j}] = {theta[j]:g}" for j in at_bound[:5]) + (
            f" and {len(at_bound) - 5} more" if len(at_bound) > 5 else ""
        )
        message = MESSAGES[status].format(where=where)
    status = {"at_kink": "converged", "no_better": "stopped_early"}.get(status, status)
    if status == "inner_failed":  # no number of it is one
        message = narrow_corner(inner) or message
        nothing = np.full_like(best.fold_values, np.nan)
        best = replace(best, value=np.nan, value_inner_error=np.nan, fold_values=nothing)
    elif is_featureless and status in ("converged", "at_bound"):
        status, message = "converged", MESSAGES["featureless"]
    elif n_hyper == 1 and status == "converged":
        message += flat_range(best, theta, search)
    elif search.is_common.any():
        message += common_classes(inner, search.is_common)
    if status not in ("converged", "stopped", "stopped_early"):
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
    W = best.predict(0 * best.theta)
    # stopped before all folds were looked at: nothing to say
    last = run.look(W) if W.shape[1] == units.n_columns else {}
    W_all = search.solution_on_all_rows(best, W)
    design = bound.inner.design
    w, w_all = (for_user(design, design.decode(block)) for block in (W, W_all))
    w, w_all = units.apart(w), units.squeeze(w_all)
    return HoagResult(
        theta,
        np.exp(theta),
        best.value,
        SAFETY * best.value_error,
        *seen.gradient_for_user(best.grad, best.grad_error),
        best.fold_values,
        bound.fold_weights,
        w,
        w_all,
        best.accuracy.inner,
        status,
        message,
        n_iter,
        run.n_passes(),
        run.seconds(),
        method,
        run.trace,
        last.get("unseen_value", np.nan),
        last.get("scores", {}),
    )


def is_many(problem):
    """Whether there are so many hyperparameters, of a Problem or an InnerProblem, that the
    criterion is overfitted: more than `MANY`, or with few rows one for nearly every feature."""
    if problem.n_hyper > MANY:
        return True
    penalty, p = problem.penalty, problem.n_features
    k, n_sets = penalty.n_hyper(p), getattr(penalty, "n_classes", 1)
    n_needed = ROWS_EACH * k * max(1.0, 0.5 * problem.loss.n_classes)
    return 2 * k > n_sets * p > 1 and n_needed > problem.n_rows >= FEWEST_ROWS


def null_result(bound, problem, run, method, theta0, box):
    """What `hoag` returns where the null model is the solution of every fold at every strength;
    nothing is searched for."""
    inner, n_hyper = bound.inner, problem.n_hyper
    design, units, W = inner.design, inner.units, inner.null.W
    theta = inner.start(0.0) if theta0 is None else theta0
    theta = theta if box is None else np.clip(theta, *box)
    values = np.asarray(bound.values(W, inner.rows.at_constant(inner.null.b)))
    rounding = 1024 * np.finfo(np.float64).eps * float(np.abs(values).sum())
    last = run.look(W)
    w, w_all = (for_user(design, design.decode(block)) for block in (W, units.fold_mean(W)))
    return HoagResult(
        theta,
        np.exp(theta),
        float(values.sum()),
        rounding,
        np.zeros(n_hyper),
        0.0,
        values,
        bound.fold_weights,
        units.apart(w),
        units.squeeze(w_all),
        0.0,
        "converged",
        MESSAGES["equal_targets"],
        0,
        run.n_passes(),
        run.seconds(),
        method,
        run.trace,
        last.get("unseen_value", np.nan),
        last.get("scores", {}),
    )


def of_rare_classes(inner):
    """Which hyperparameters belong to classes so rare that rows tell nothing of a strength of their
    own, (n_hyper,)."""
    is_rare = np.zeros(inner.n_hyper, bool)
    if getattr(inner.penalty, "is_per_class", False):
        weight = row_weights(inner.rows).max(axis=1) > 0
        counts = np.bincount(inner.rows.y[weight].astype(int), minlength=inner.loss.n_classes)
        k = inner.penalty.n_hyper(inner.n_features)
        is_rare[:k] = np.repeat(counts < RARE, k // len(counts))
    return is_rare


def common_classes(inner, is_common):
    """The sentence about classes that keep the best single strength."""
    k, K = inner.penalty.n_hyper(inner.n_features), inner.loss.n_classes
    classes = np.flatnonzero(is_common[:k].reshape(K, -1).any(axis=1))
    shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
    return (
        f" Classes with fewer than {RARE} rows ({len(classes)} of {K}: {shown}) keep the best "
        "single strength."
    )


def narrow_corner(inner):
    """What is wrong with a loss whose curved part hardly a row can be in, or nothing."""
    loss, y = inner.loss, inner.rows.y
    name = solvers.CORNERS.get(loss.name)
    if name is None or loss.is_classification:
        return ""
    low, high = (weighted_quantile(y, np.ones(len(y)), share) for share in (0.25, 0.75))
    width = loss.parameters[name]
    if not width < 1e-3 * (high - low):
        return ""
    return (
        f"An inner problem was not solved: loss '{loss.name}' is curved over {name}={width:g} "
        f"only, and half of the targets are {high - low:g} apart: hardly a row has a curvature. "
        f"Widen {name}, such as to a tenth of that."
    )


def flat_range(best, theta, search):
    """A sentence about the θ that are as good, where these are many: by the levels that were looked
    at around, else by the parabola of f."""
    allowed = search.tol * search.bound.size(best.value)
    here, shift = float(best.theta[0]), float(theta[0] - best.theta[0])
    reach = 0.0
    if best.hess is not None and best.hess[0, 0] > 0 and not search.looks:
        reach = float(np.sqrt(2 * allowed / best.hess[0, 0]))
    as_good = [here - reach, here + reach]
    for side in (-1, 1):  # outwards, as far as the criterion stays
        looks = [one for one in search.looks if (one.found.theta[0] - here) * side > 0]
        for one in sorted(looks, key=lambda one: side * one.found.theta[0]):
            if not one.value <= best.value + allowed:
                break
            as_good.append(float(one.found.theta[0]))
    low, high = np.clip([min(as_good), max(as_good)], search.lower[0], search.upper[0]) + shift
    if high - low < 2 * FLAT:
        return ""
    return (
        f" The criterion is flat: theta from about {low:.3g} to {high:.3g} changes it by less than "
        "its tolerance."
    )


def check_arguments(problem, criterion, method, tol, max_iter, stop_on, unseen, callback):
    """Raises for what `hoag` cannot use, before any work."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a fasthoag.Problem; got {type(problem).__name__}")
    if not hasattr(criterion, "bind"):
        raise TypeError(
            "criterion must be one of fasthoag.HeldOut, KFold, ApproximateLOO, GCV, AIC, BIC, "
            f"Evidence, CustomCriterion; got {type(criterion).__name__}"
        )
    if isinstance(criterion, type):
        raise TypeError(
            f"criterion must be an instance such as {criterion.__name__}(...); got the class"
        )
    check_options(method, tol, max_iter, callback)
    if not (unseen is None or isinstance(unseen, HeldOut)):
        raise TypeError(f"unseen must be a fasthoag.HeldOut or None; got {unseen!r}")
    if not (
        stop_on is None
        or isinstance(stop_on, HeldOut)
        or (isinstance(stop_on, str) and stop_on == "auto")
    ):
        raise TypeError(f"stop_on must be a fasthoag.HeldOut, 'auto' or None; got {stop_on!r}")


def check_options(method, tol, max_iter, callback):
    """Raises for what is no option of `hoag`, whatever the problem."""
    if not (isinstance(method, str) and method in ("auto", *METHODS)):
        raise ValueError(
            f"method must be 'auto', {' or '.join(map(repr, METHODS))}; got {method!r}"
        )
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable; got {callback!r}")
    if not (
        isinstance(tol, (int, float, np.number)) and not isinstance(tol, bool) and 0 < tol < np.inf
    ):
        raise ValueError(f"tol must be a positive number; got {tol!r}")
    is_whole = isinstance(max_iter, (int, np.integer)) and not isinstance(max_iter, bool)
    if not (max_iter is None or (is_whole and max_iter >= 1)):
        raise ValueError(f"max_iter must be an integer >= 1; got {max_iter!r}")


class Run:
    """What a run writes down: the trace, the passes, the losses on rows that are watched, and
    whether those of `stop_on` have seen enough."""

    def __init__(self, bound, problem, stop_on, unseen, scoring, callback, began):
        self.for_user = None  # θ as the user has it
        self.holds_back = False  # whether the rows of stop_on were the criterion's
        self.bound, self.callback, self.n_hyper, self.trace, self._began = (
            bound,
            callback,
            problem.n_hyper,
            [],
            began,
        )
        self._watched = {
            name: rule.bind(problem)
            for name, rule in (("stop_value", stop_on), ("unseen_value", unseen))
            if rule is not None
        }
        self._apart = {
            id(w.rows.design): w
            for w in self._watched.values()
            if w.rows.design not in (bound.rows.design, bound.inner.design)
        }.values()
        self._scores, self._best, self._n_worse, self._passes_before = None, None, 0, 0.0
        if scoring is not None:
            from fasthoag.scoring import score_function  # scikit-learn takes a second to import

            self._scores = score_function(bound, problem, scoring)
        self._passes_before = self.n_passes()

    def expect_errors(self, W):
        """Judges the rows that were held back as if some were wrong, as `W` finds too few."""
        if self.holds_back:
            self._watched["stop_value"] = self._watched["stop_value"].with_errors(W)

    def n_passes(self):
        return self.bound.n_passes + sum(w.other_passes for w in self._apart) - self._passes_before

    def seconds(self):
        return time.perf_counter() - self._began

    def look(self, W):
        """Loss on the rows that are watched, the mean over folds, and scores, at these inner
        solutions."""
        found = {name: float(w.values(W, None).mean()) for name, w in self._watched.items()}
        return found | ({} if self._scores is None else {"scores": self._scores(W)})

    def record(self, phase, evaluation, accuracy, is_accepted):
        """Appends to the trace; returns whether to stop."""
        theta = self.for_user(evaluation.theta)
        theta = theta.tolist() if self.n_hyper <= 1000 else theta
        self.trace.append(
            {
                "phase": phase,
                "theta": theta,
                "value": evaluation.value,
                "value_error": evaluation.value_error,
                "grad_norm": float(np.linalg.norm(evaluation.grad)),
                "grad_error": evaluation.grad_error,
                "inner_tol": accuracy.inner,
                "linear_tol": accuracy.linear,
                "n_inner": evaluation.n_inner,
                "n_cg": evaluation.n_cg,
                "n_passes": self.n_passes(),
                "seconds": self.seconds(),
                "is_accepted": bool(is_accepted),
            }
        )
        if is_accepted and phase == "all":
            self.trace[-1] |= self.look(evaluation.predict(0 * evaluation.theta))
            value = self.trace[-1].get("stop_value")
            if value is not None:
                self._n_worse += 1
                if self._best is None or value < self._best[0]:
                    self._best, self._n_worse = (value, evaluation), 0
        is_stopped = self.callback is not None and bool(self.callback(self.trace[-1]))
        return is_stopped or self._n_worse >= PATIENCE

    def judge_all_rows(self, whole, problem, scoring):
        """From here on the criterion is that of all rows, also of those that were held back."""
        if scoring is not None:
            from fasthoag.scoring import score_function

            self._scores = score_function(whole, problem, scoring)
        return whole

    def best_for_stop_on(self, best, status):
        """The evaluation that the rows of `stop_on` like best, if it is not the last."""
        if self._best is None or self._best[1] is best:
            return best, status
        is_worse = self._n_worse >= PATIENCE or self._best[0] < self.trace[-1].get(
            "stop_value", np.inf
        )
        return (self._best[1], "stopped_early") if is_worse else (best, status)


def is_bracket(one, other, target):
    """Whether f falls from two θ towards each other, and by no more than the target between
    them."""
    if len(one.theta) > 1 or not one.grad[0] * other.grad[0] < 0:
        return False
    slope = max(abs(one.grad[0]), abs(other.grad[0]))
    is_inside = (other.theta[0] - one.theta[0]) * one.grad[0] < 0
    return is_inside and slope * abs(other.theta[0] - one.theta[0]) <= 0.3 * target


class Search:
    """The searches of one call of `hoag`: from a first start, and from others where these promise a
    lower criterion."""

    def __init__(self, seen, whole, run, method, schedule, lower, upper, tol, max_iter):
        self.seen, self.bound, self.whole, self.run = seen, seen.bound, whole, run
        inner = self.bound.inner
        self.is_small = start.is_small(inner) and getattr(self.bound, "is_exact", True)
        # so many that they may follow the noise: they begin where a single one is best
        self.is_many = inner.n_hyper > 1 and (is_many(inner) or not METHODS[method].has_tangents)
        self.method, self.schedule = method, schedule
        self.lower, self.upper, self.tol, self.max_iter = lower, upper, tol, max_iter
        self.best_single = None  # its θ and w
        self.piloted_from = None  # θ from which several were sought on one fold
        self.is_common = np.zeros(inner.n_hyper, bool)  # which keep the best single strength
        self.n_iter, self._all_rows = 0, None  # (θ, w) of all rows on the way, or None
        self.looks = []

    def run_from(self, rule, theta):
        """(best evaluation, status) from θ, or without from the best of a look at strengths."""
        bound, inner = self.bound, self.bound.inner
        is_tuned = inner.penalty.n_hyper(inner.n_features) > 0
        theta, W, look, is_stopped = self.begin(theta, is_tuned)
        if is_stopped:
            return look[0], "stopped"
        # what many find on one fold is its noise
        if bound.n_folds > 2 and rule.has_tangents and not self.is_many and look is None:
            found = self.pilot(rule, theta, inner.units.split(W)[0])
        else:
            found = self.minimise(rule, theta, W)
        best, status = found
        if status == "stopped" or not is_tuned:
            return found
        return self.improved(best, status, look)

    def begin(self, theta, is_tuned):
        """(θ, w, looks or None, whether the callback stopped them): the start, from what was given
        or sought."""
        bound, inner = self.bound, self.bound.inner
        W, given = inner.null.W, theta
        if not is_tuned:
            theta = np.clip(inner.start(0.0), self.lower, self.upper) if theta is None else theta
            return theta, W, None, False
        if given is None and self.is_many and not hasattr(bound, "evaluate"):
            theta, W = self.single()
            self.run.expect_errors(W)
            self.is_common = of_rare_classes(inner)
            self.lower, self.upper = (
                np.where(self.is_common, theta, side) for side in (self.lower, self.upper)
            )
            return theta, W, None, False
        if given is None and not self.is_small:
            ray, level, W = start.look_at_three(self.seen, self.lower, self.upper)
            return np.clip(ray.level(level), self.lower, self.upper), W, None, False
        if given is not None and not (self.is_small and self.is_far(given).any()):
            return given, W, None, False
        found = []
        if given is not None:
            there = start.evaluate_loosely(bound, given, self.lower, self.upper, None)
            found = [] if there is None else [there]
            if there is not None and self.run.record("all", there, start.LOOSE, True):
                return there.theta, there.predict(0 * given), [there], True
        looks, is_stopped = self.look()
        found += [one.found for one in looks[:1]]
        if not found:
            theta = np.clip(inner.start(0.0), self.lower, self.upper) if given is None else given
            return theta, W, looks, False
        best = min(found, key=lambda one: one.value)
        return best.theta, best.predict(0 * best.theta), [best] if is_stopped else looks, is_stopped

    def look(self):
        """Looks at strengths on all folds, and whether the callback stopped them; one step."""
        self.n_iter += 1
        record, looks, is_stopped = partial(self.run.record, "look"), [], False
        for ray in self.seen.rays:
            args = self.bound, ray, self.lower, self.upper, record
            more, is_stopped = start.look_everywhere(*args) if not is_stopped else ([], True)
            looks += more
        self.looks = sorted(looks, key=lambda one: one.value)
        return self.looks, is_stopped

    def minimise(self, rule, theta, W, T=None, precond=None):
        """From θ on all folds."""
        bound, units = self.bound, self.bound.inner.units
        W = bound.inner.design.xp.concat([W] * (units.n_columns // W.shape[1]), axis=1)
        left = max(1, self.max_iter - self.n_iter)
        record = partial(self.run.record, "all")
        args = theta, W, self.lower, self.upper, self.tol, left, record, T, precond
        best, status, n_iter = minimise(bound, rule, *args)
        self.n_iter += n_iter
        return best, status

    def pilot(self, rule, theta, W):
        """θ is found on one fold; the others join for the last steps only. They start from the
        solution on all rows: leaving rows out moves it little, while rows that a fold never saw
        would have to be unlearned (measured: 1 Newton step each against 6 to 9)."""
        bound, inner, n_folds = self.bound, self.bound.inner, self.bound.n_folds
        first, xp, other = bound.one_fold(0), inner.design.xp, METHODS[self.method]()
        record = partial(self.run.record, "one fold")
        tol, share = max(30 * self.tol, 0.01), max(1, self.max_iter // 2)
        args = theta, W, self.lower, self.upper, tol, share, record
        found, status, n_iter = minimise(first, other, *args)
        self.n_iter += n_iter
        self.piloted_from = theta if len(theta) > 1 else None
        theta, (hess, hess_error) = found.theta, other.hessian(found)
        # the Hessian of one fold, well solved, serves all: theirs would need as good tangents, one
        # a fold
        if hess_error > 0.2 and status != "stopped":
            accuracy = Accuracy(0.05, 0.05, tangents=0.01)
            at = found.predict(0 * theta)
            found = evaluate(first, theta, at, accuracy, Q=found.Q, T=found.T)
            hess, is_stopped = found.hess, record(found, accuracy, True)
            status = "stopped" if is_stopped else status
        if status == "stopped":
            return found, status
        # the optimum of all folds is some tenths of a unit from that of one
        rule.accuracy = Accuracy(0.2, 0.1, tangents=0.3)
        rule.hint = (n_folds * hess, 0.2)
        W = start.solve_all_rows(inner, theta, found.W, found.precond)
        self._all_rows = theta, W
        W = xp.concat([found.predict(0 * theta)] + [W] * (n_folds - 1), axis=1)
        T = [xp.concat([t] * n_folds, axis=1) for t in found.T]
        return self.minimise(rule, theta, W, T, found.precond)

    def single(self):
        """(θ, w) at the best single strength, the hyperparameters beside the penalty at their
        start: where many begin. On one fold where all would cost much; on all rows, also those
        that are held back."""
        best, starts = None, self.seen.single_rays
        if not self.is_small:
            ray, level, W = start.look_at_three(self.seen, self.lower, self.upper)
            starts = (ray,)
        for ray in starts:
            single, along = start.single_strength(self.whole, self.seen, ray)
            low, high = start.default_box(single.inner, ray.scales)
            if self.is_small:

                def record(found, accuracy, is_accepted, ray=ray):
                    theta = np.clip(ray.level(float(found.theta[0])), self.lower, self.upper)
                    return self.run.record("look", replace(found, theta=theta), accuracy, False)

                looks, _ = start.look_everywhere(single, along, low, high, record)
                at = (looks[0].found.theta, looks[0].W) if looks else (None, None)
            else:
                single, record = single.one_fold(0), lambda *_: False  # of one fold: no record
                at = along.level(level), W
            if at[0] is None:
                continue
            args = *at, low, high, self.tol, self.max_iter, record
            found, _, _ = minimise(single, METHODS["newton"](), *args)
            if best is None or found.value < best[1].value:
                best = ray, found
        if best is None:
            theta = self.bound.inner.start(0.0)
            return np.clip(theta, self.lower, self.upper), self.bound.inner.null.W
        ray, found = best
        theta = np.clip(ray.level(float(found.theta[0])), self.lower, self.upper)
        self.best_single = theta, found.predict(0 * found.theta)
        return self.best_single

    def on_all_rows(self, best, status):
        """The evaluation on all rows, also those that were held back, at the best θ or at the best
        single strength where that is lower."""
        penalty, found = self.seen.inner.penalty, []
        whole = replace(self.whole, inner=replace(self.whole.inner, penalty=penalty))
        at = [(status, best.theta, best.predict(0 * best.theta))]
        if self.best_single is not None:
            at.append(("no_better", *self.best_single))
        for now, theta, W in at:
            one = evaluate(whole, theta, W, ON_ALL_ROWS, has_tangents=False)
            self.run.record("all rows", one, ON_ALL_ROWS, False)
            found.append((one, now))
        return min(found, key=lambda one: one[0].value if one[0].is_solved else np.inf)

    def improved(self, best, status, look):
        """The best of this evaluation and of searches from what a look promises to be better; f may
        have more than one valley, and a start on a plateau is no optimum."""
        bound = self.bound
        nothing_found = not best.value < bound.null_value - 10 * self.tol * bound.size(best.value)
        is_open = nothing_found or status == "inner_failed" or self.is_plateau(best, status)
        if look is None and (is_open or len(self.far(best))):
            look, is_stopped = self.look()
            status = "stopped" if is_stopped else status
        for _ in range(ROUNDS):
            before, candidates = best, self.candidates(best, look or ())
            for value, theta, W in candidates:
                if not self.is_lower(value, best) or status == "stopped":
                    continue
                found, now = self.minimise(METHODS[self.method](self.schedule), theta, W)
                is_better = found.is_solved and found.value < best.value
                if is_better or not (best.is_solved and np.isfinite(best.value)):
                    best, status, self._all_rows = found, now, None
                status = now if now == "stopped" else status
            if best is before:
                break
        return best, status

    def is_lower(self, value, best):
        is_known = abs(best.value) < np.inf and best.is_solved
        return not is_known or value < best.value - self.tol * self.bound.size(best.value)

    def candidates(self, best, looks):
        """(value, θ, w) that are lower than the best evaluation as far as their errors tell, the
        lowest first, the null model among them."""
        null, null_value = self.bound.inner.null, self.bound.null_value
        found = [*(one.found for one in looks), *self.far_ones(best)]
        if self.piloted_from is not None:  # what one fold made worse is not believed
            args = self.piloted_from, self.lower, self.upper, best
            before, self.piloted_from = start.evaluate_loosely(self.bound, *args), None
            found += [] if before is None else [before]
        found = [one for one in found if self.is_lower(one.value + one.value_error, best)]
        found = sorted(found, key=lambda one: one.value)[: start.FEW_MORE]
        found = [(one.value, one.theta, one.predict(0 * one.theta)) for one in found]
        if self.is_lower(null_value, best):
            found.append((null_value, self.upper, null.W))
        return sorted(found, key=lambda one: one[0])

    def is_plateau(self, best, status):
        """Whether a start at which the search ended without a step is none of a valley: f is lower,
        or the same, far to both sides."""
        if status != "converged" or self.n_iter > 0:
            return False
        ray, allowed = self.seen.rays[0], self.tol * self.bound.size(best.value)
        away = FLAT * (ray.level(1.0) - ray.level(0.0))
        found = [self.value_at(best, best.theta + sign * away) for sign in (-1, 1)]
        return min(found) < best.value - allowed or max(found) <= best.value + allowed

    def is_far(self, theta):
        """Which hyperparameters are so far from the scale of the data that f hardly depends on
        them, and not for want of room."""
        nearer = np.clip(np.clip(theta, -FAR, FAR), self.lower, self.upper)
        return np.abs(nearer - theta) > FLAT

    def far(self, best):
        """The numbers of those at an evaluation, if hyperparameters are few."""
        if not (1 < len(best.theta) <= FEW and self.is_small and best.is_solved):
            return np.empty(0, int)
        return np.flatnonzero(self.is_far(best.theta))

    def value_at(self, best, theta):
        """f at θ, loosely, from an evaluation elsewhere; infinite where it is not solved."""
        found = start.evaluate_loosely(self.bound, theta, self.lower, self.upper, best)
        return np.inf if found is None else found.value

    def far_ones(self, best):
        """Evaluations with one of those moved back to about the scale of the data: f may be lower
        between."""
        found, record = [], partial(self.run.record, "look")
        for j in self.far(best):
            for level in (0.0, np.sign(best.theta[j]) * 0.5 * FAR):
                theta = np.where(np.arange(len(best.theta)) == j, level, best.theta)
                one = start.evaluate_loosely(self.bound, theta, self.lower, self.upper, best)
                if one is not None and not record(one, start.LOOSE, False):
                    found.append(one)
        return found

    def solution_on_all_rows(self, best, W):
        """Near the solution on all rows at the best θ, whose fold solutions are `W`."""
        units = self.bound.inner.units
        if self._all_rows is None:
            return units.fold_mean(W)
        theta, W_all = self._all_rows
        for tangent, step in zip(best.T or (), best.theta - theta, strict=False):
            W_all = W_all + units.fold_mean(tangent) * float(step)
        return W_all


def minimise(bound, rule, theta, W, lower, upper, tol, max_iter, record, T=None, precond=None):
    """The loop: step, evaluate, test. Returns the last accepted Evaluation, a status and the number
    of accepted steps."""
    current = evaluate(
        bound, theta, W, rule.accuracy, T=T, has_tangents=rule.has_tangents, precond=precond
    )
    is_stopped, n_iter, n_trials, n_still, n_tiny = record(current, rule.accuracy, True), 0, 0, 0, 0
    lowest = current  # of all that were accepted: steps need not be downhill each
    while True:
        target = tol * bound.size(current.value)
        is_low, is_high = current.theta <= lower, current.theta >= upper
        is_fixed = lower == upper
        at_bound = (is_low & (current.grad > 0)) | (is_high & (current.grad < 0)) | is_fixed
        size = np.linalg.norm(np.where(at_bound, 0.0, current.grad))
        is_outwards = at_bound.all() and (np.abs(current.grad) > current.grad_error).all()
        error = 0.0 if is_outwards else current.grad_error
        if not current.is_solved or not np.isfinite(current.value):
            return current, "inner_failed", n_iter
        is_known = current.value_error <= 0.3 * target
        if size + error <= target and is_known:
            return current, "at_bound" if (at_bound & ~is_fixed).any() else "converged", n_iter
        if is_stopped:
            return current, "stopped", n_iter
        lowest = min(lowest, current, key=lambda one: one.value + one.value_error)
        if n_iter >= max_iter or n_trials >= 5 * max_iter:
            return lowest, "max_iter", n_iter
        d, predicted = rule.step(current, lower, upper, target)
        error = rule.error_after(current, d)
        # the model does not see beyond a kink
        if error <= target and is_known and not bound.inner.loss.has_kinks:
            return moved(current, d, *rule.hint, error), "converged", n_iter + 1
        # else adjoint and tangents are no better a start than 0, which saves a product
        is_near = np.linalg.norm(d) < 1.0
        trial = evaluate(
            bound,
            current.theta + d,
            current.predict(d),
            rule.accuracy,
            Q=current.Q if is_near else None,
            T=current.T if is_near else None,
            has_tangents=rule.has_tangents,
            precond=current.precond,
        )
        n_trials, current_error, before = n_trials + 1, current.grad_error, current
        if not trial.is_solved:  # what it says is no criterion
            trial = replace(trial, value=np.nan)
        is_accepted = not d.any() or rule.accept(current, trial, d, predicted)
        is_stopped = record(trial, rule.accuracy, is_accepted)
        if is_accepted:
            n_iter += bool(d.any())
            current = trial
        n_tiny = n_tiny + 1 if 0 < np.linalg.norm(d) <= 1e-9 else 0
        if bound.inner.loss.has_kinks and (n_tiny == 3 or is_bracket(before, trial, target)):
            return current, "at_kink", n_iter
        is_still = np.linalg.norm(d) <= 1e-9 and trial.grad_error >= 0.95 * current_error
        n_still = n_still + 1 if is_still else 0
        # neither θ nor the errors move any more
        if (n_still == 3 and rule.accuracy.inner <= 1e-6) or n_still == 50:
            return lowest, "stalled", n_iter


def one_standard_error(problem, criterion, result, bounds=None):
    """The largest θ of one strength whose criterion is within one standard error (over folds) of
    that of `result`, (1,).

    Newton's method on f(θ) = f* + SE from the quadratic model at the optimum. SE = ``sqrt(F) *
    std(fold values)``, that of their sum."""
    if problem.n_hyper != 1:
        raise ValueError("one_se needs a single strength")
    bound = criterion.bind(problem)
    _, upper = _box(bounds, 1) or start.default_box(bound.inner)
    means = result.fold_values / result.fold_weights
    limit = result.value + result.fold_weights.sum() * means.std(ddof=1) / np.sqrt(len(means))
    design = bound.inner.design
    current = evaluate(bound, result.theta, design.encode(result.w), Accuracy(0.01, 0.01))
    # of the parabola where it crosses the limit
    slope = np.sqrt(max(2 * (limit - current.value) * current.hess[0, 0], 1e-300))
    step = np.array([(limit - current.value) * 2 / slope])
    for _ in range(30):
        theta = np.clip(current.theta + np.clip(step, -2, 2), result.theta, upper)
        if abs(theta[0] - current.theta[0]) < 1e-3:
            break
        current = evaluate(
            bound,
            theta,
            current.predict(theta - current.theta),
            Accuracy(0.01, 0.01),
            Q=current.Q,
            T=current.T,
            precond=current.precond,
        )
        step = np.array([(limit - current.value) / max(current.grad[0], 1e-3 * slope)])
    return current.theta


def _box(bounds, n_hyper):
    """The bounds that were given as two arrays, or None."""
    if bounds is None:
        return None
    try:
        low, high = bounds
        low, high = (
            np.broadcast_to(np.asarray(b, np.float64), (n_hyper,)).copy() for b in (low, high)
        )
    except (TypeError, ValueError):
        raise ValueError(
            f"bounds must be a pair (low, high) of numbers or of arrays of shape ({n_hyper},); got "
            f"{bounds!r}"
        ) from None
    if not (low < high).all():
        raise ValueError(f"bounds must have low < high; got {bounds!r}")
    return low, high


def check_hypergrad(problem, criterion, theta, *, step=1e-4, n_threads=None):
    """Relative error of the hypergradient at `theta` against central finite differences of exactly
    solved problems.

    Returns ``max_j |p_j - d_j| / max(||d||, 1e-8 |f|)`` with p the hypergradient and ``d_j = (f(θ +
    step e_j) - f(θ - step e_j)) / (2 step)``. For users who write a penalty or a criterion of their
    own: expect 1e-6 or less.

    Parameters
    ----------
    problem : Problem
    criterion : HeldOut or KFold
    theta : array, shape (n_hyper,)
    step : float
        In units of θ.
    n_threads : int, optional

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(40, 6)), np.sign(rng.normal(size=40))
    >>> fasthoag.check_hypergrad(fasthoag.Problem(X, y), fasthoag.KFold(4), [0.5]) < 1e-6
    True
    """
    if n_threads is not None:
        problem = problem.with_threads(n_threads)
    theta = check_theta(theta, problem.n_hyper, "theta")
    bound = criterion.bind(problem)
    zero = problem.design.zeros(bound.inner.units.n_columns)
    exact = Accuracy(1e-11, 1e-11)
    has_tangents = (
        not problem.tuned
        and problem.n_hyper <= FEW
        and not getattr(problem.penalty, "is_per_class", False)
    )
    at = evaluate(bound, theta, zero, exact, has_tangents=has_tangents)
    difference = np.empty_like(theta)
    for j in range(len(theta)):
        shift = step * (np.arange(len(theta)) == j)
        above, below = (
            evaluate(bound, theta + sign * shift, at.W, exact, has_tangents=False).value
            for sign in (1, -1)
        )
        difference[j] = (above - below) / (2 * step)
    return float(
        np.abs(at.grad - difference).max()
        / max(np.linalg.norm(difference), 1e-8 * abs(at.value), 1e-300)
    )
