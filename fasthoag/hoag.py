"""`hoag`, the entry: arguments are checked, a start is found, the loop runs, a result comes back.
Arithmetic on θ only, always in NumPy on the host."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasthoag.arguments import box_of, check_options, check_watch
from fasthoag.arithmetic import our_arithmetic
from fasthoag.blas import blas_threads_for
from fasthoag.criteria import Criterion, HeldOut
from fasthoag.criteria.criterion import check_criterion
from fasthoag.criteria.shared import warn_of_shared_rows
from fasthoag.hypergradient import Accuracy, Evaluation
from fasthoag.inner.precond import SMALL
from fasthoag.kinds import numbers_of
from fasthoag.null import row_weights
from fasthoag.options import is_number
from fasthoag.outer import METHODS, TRIALS, start
from fasthoag.outer.record import Run, Watched, interruptible
from fasthoag.outer.result import (
    MESSAGES,
    SAFETY,
    HoagResult,
    Outcome,
    at_ends,
    coefficients_at,
    concluded,
    in_time,
    result_of,
    warn_unless_converged,
)
from fasthoag.outer.search import Settings, is_many
from fasthoag.outer.tolerance import tolerance
from fasthoag.outer.trials import N_TRIALS, TrialSettings, check_trials
from fasthoag.outer.trust_region import FEW
from fasthoag.problem import Problem
from fasthoag.progress import progress
from fasthoag.types import ArrayLike, Callback, Scoring
from fasthoag.vectors import check_theta

if TYPE_CHECKING:
    from fasthoag.kernels.problem import KernelProblem


def hoag(
    problem: "Problem | KernelProblem",
    criterion: Criterion,
    theta0: ArrayLike | None = None,
    *,
    w0: ArrayLike | None = None,
    method: str = "auto",
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    tol: float | None = None,
    max_iter: int | None = None,
    schedule: str | Callable[[int], float] | None = None,
    n_trials: int | None = None,
    random_state: int | None = None,
    stop_on: HeldOut | str | None = "auto",
    unseen: HeldOut | None = None,
    scoring: Scoring | None = None,
    callback: Callback | None = None,
    max_seconds: float | None = None,
    verbose: bool | int = 0,
    n_threads: int | None = None,
) -> HoagResult:
    """Minimise the criterion over the hyperparameters by approximate hypergradients.

    Parameters
    ----------
    problem : Problem or KernelProblem
    criterion : HeldOut, KFold, ApproximateLOO, GCV, AIC, BIC, Evidence or CustomCriterion
    theta0 : array, shape (n_hyper,), optional
        Start, log scale. Without it looks at strengths find one: up to 1,000,000 stored values on
        all folds from where the penalty is everything to where it is nothing, else at three on one
        fold. Where a search ends no better than the null model others begin elsewhere.
    w0 : array, shape (n_features + fit_intercept, n_folds), optional
        Coefficients of all folds near those at `theta0`, such as ``w`` of an earlier result; (...,
        n_classes) with the multinomial loss. For a Problem.
    method : {"auto", "newton", "lbfgs", "hoag", "grid", "random", "bayes"}
        ``"newton"``: exact Newton steps in θ from tangents and adjoints of one block solve,
        accuracy adapted to the steps; what "auto" takes for up to 16 hyperparameters of the penalty
        (128 where there are no more coefficients). ``"lbfgs"``: projected quasi-Newton steps from
        one adjoint, whatever the number of hyperparameters. ``"hoag"``: the paper's gradient method
        with its tolerance schedule. ``"grid"``, ``"random"``, ``"bayes"``: the best of `n_trials`
        points within `bounds`, to compare with: a product grid, points drawn evenly, or those that
        Optuna's TPE proposes (``pip install 'fasthoag[bayes]'``). Their status is "searched": they
        prove no optimum.
    bounds : (low, high), optional
        Of θ, scalars or arrays of shape (n_hyper,). Default: 1e-12 times the smallest to 1e6 times
        the largest scale of a feature, its curvature at the null model over its penalty_factor. For
        trials, where strengths matter: from 1e-4 S / min(n_rows, n_features) to 10 S, with S the
        sum of these scales (of each hyperparameter's own features, where it has some).
    tol : float, optional
        Stop when the 2-norm of the projected hypergradient plus its error is at most `tol` times
        the size of the criterion, and the error of the value a third of it. The size is the value;
        of `AIC`, `BIC`, `Evidence` and `CustomCriterion`, which may have a constant added, how far
        it is from that of the null model (a unit of likelihoods at least). Default: with method
        "newton", or "lbfgs" of one hyperparameter, and a criterion that is a sum over rows
        (`HeldOut`, `KFold`, `ApproximateLOO`), when what is left to gain, ``½ (|∇f| + its error)² /
        f''``, is at most a hundredth of a standard error of the criterion (or 1e-5 of its size, if
        that is more), which no data could tell; else 3e-4. Up to 128 coefficients, where digits
        cost next to nothing, both.
    max_iter : int, optional
        Outer steps at most; default 50, 500 for "lbfgs".
    schedule : {"exponential", "quadratic", "cubic", "exact"} or callable k -> ε_k, optional
        Tolerances of method "hoag".
    n_trials : int, optional
        Of "grid", "random" and "bayes"; default 20. A grid of k hyperparameters has the largest m
        with m**k <= n_trials values of each, bounds included; m < 2 is refused.
    random_state : int, optional
        Seed of "random" and "bayes"; default 0. The same seed gives the same bits.
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
        Called with the record of every evaluation, as they are in the trace; returning True stops
        the loop. ``record["w"]()`` is the coefficients there, of a `Problem`: (n_features +
        fit_intercept, n_folds), of several classes (..., n_folds, n_classes).
    max_seconds : float, optional
        After so many seconds the evaluation that goes on is the last: the best point so far is
        returned, with status "out_of_time" and a message that says how far it is.
    verbose : bool or int, default 0
        1 shows every evaluation on stderr: a table that grows on a terminal (with rich, ``pip
        install 'fasthoag[cli]'``), else lines. Python's logger "fasthoag" gets the lines in any
        case, at level INFO.
    n_threads : int, optional
        Threads of every kernel; None means all cores.

    Returns
    -------
    HoagResult

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work.
    Interrupted
        For Ctrl-C: a KeyboardInterrupt whose ``result`` is the best point so far, or None.

    Warns
    -----
    ConvergenceWarning
        When the status is not "converged" (or "stopped", "stopped_early" or "searched").
    SharedRowsWarning
        When rows that judge train too; see `shared_rows`.

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
    check_start(problem, theta0, w0)
    check_watch(max_seconds, verbose)
    others = {"theta0": theta0, "w0": w0, "schedule": schedule, "max_iter": max_iter}
    rows = {"stop_on": stop_on if isinstance(stop_on, HeldOut) else None}
    check_trials(method, n_trials, random_state, others | rows)
    with our_arithmetic(), progress(verbose) as show:
        began = time.perf_counter()
        problem = problem if n_threads is None else problem.with_threads(n_threads)
        theta0 = None if theta0 is None else check_theta(theta0, problem.n_hyper, "theta0")
        box = box_of(bounds, problem.n_hyper)
        asked = Asked(method, tol, max_iter, schedule, n_trials, random_state, w0)
        watched = Watched(stop_on, unseen, scoring, show, callback, max_seconds, began)
        tuned = tuned_linear if isinstance(problem, Problem) else of_kernels()
        with interruptible():
            return tuned(problem, criterion, theta0, box, asked, watched)


class Asked(NamedTuple):
    """How the user wants the search."""

    method: str
    tol: float | None
    max_iter: int | None
    schedule: Any
    n_trials: int | None
    random_state: int | None
    w0: Any

    def settings(self, method, n_coef):
        """The settings of a method, which make its search, for a model of so many coefficients."""
        allowed = tolerance(self.tol, n_coef)
        if method in TRIALS:
            seed = self.random_state or 0
            return TrialSettings(method, self.n_trials or N_TRIALS, seed, allowed)
        rule = METHODS[method]
        most = self.max_iter or rule.max_iter
        return Settings(rule, self.schedule, allowed, most)


def of_kernels():
    """`tuned_kernel`, whose libraries take as long to import as all of fasthoag."""
    from fasthoag.kernels.tuning import tuned_kernel

    return tuned_kernel


def tuned_linear(problem, criterion, theta0, box, asked, watched):
    """The `HoagResult` for a `Problem`."""
    with blas_threads_for(problem.design):
        return searched(problem, criterion, theta0, box, asked, watched)


def searched(problem, criterion, theta0, box, asked, watched):
    """The same on as many threads of BLAS as there are."""
    method = chosen_method(problem, criterion, asked.method)
    settings = asked.settings(method, problem.design.n_coef)
    settings.check(problem)
    whole = problem.judged_by(criterion)
    warn_of_shared_rows(criterion, whole)
    stop_on = None if method in TRIALS else watched.stop_on  # they follow no noise
    bound, stop_on, holds_back = held_back(problem, criterion, whole, stop_on)
    run = Run(bound, problem, watched._replace(stop_on=stop_on))
    run.holds_back = holds_back
    n_blocks = settings.n_blocks(problem.n_hyper)
    problem.design.check_room(bound.inner.units.n_columns * n_blocks)
    W0 = None if asked.w0 is None else coefficients_of_folds(bound, asked.w0)
    trivial = why_trivial(bound, problem)
    if trivial is not None:
        return null_result(run, method, theta0, box, MESSAGES[trivial])
    seen = start.measured(bound, box is not None)
    theta0, search_box, known = seen.given(theta0, box, settings.default_box)
    search = settings.search(seen, whole, run, search_box)
    run.for_user = partial(seen.for_user, known=known)
    run.grad_tol = partial(settings.slope, seen.bound)
    run.coefficients = partial(coefficients_at, bound.inner)
    finish = partial(finished, run, search, method)
    with interruptible(run.best_so_far, finish):
        best, status = in_time(run, *run.best_for_stop_on(*search.run_from(theta0, W0)))
        if holds_back and search.is_small and status not in ("stopped", "out_of_time"):
            best, status = search.on_all_rows(best, status)
            run.judge_all_rows(whole, problem, watched.scoring)
    problem.design.check_unchanged()
    return finish(best, status)


def finished(run, search, method, best, status):
    """The `HoagResult` of the best evaluation of a search."""
    theta = run.for_user(best.theta)
    best, status, message = concluded(best, status, theta, search)
    compression = search.bound.inner.design.compression
    message += "" if compression is None else compression.told
    warn_unless_converged(status, message)
    w_all = search.solution_on_all_rows(best, best.predict(0 * best.theta))
    minima = [one._replace(theta=run.for_user(one.theta)) for one in search.minima(best, status)]
    ends = at_ends(best.theta, search.box, ~search.is_common)
    outcome = Outcome(status, message, search.n_iter, method, minima, *ends)
    return result_of(run, search.seen.evaluation_for_user(best, theta), w_all, outcome)


def coefficients_of_folds(bound, w0):
    """`w0` as coefficients of the design, (n_coef, n_folds * n_classes)."""
    design, units = bound.inner.design, bound.inner.units
    shape = (design.shape[1] + int(design.has_intercept), units.n_folds)
    shape += () if units.n_classes == 1 else (units.n_classes,)
    w0 = numbers_of(w0, "w0").astype(np.float64)
    if w0.shape != shape or not np.isfinite(w0).all():
        raise ValueError(f"w0 must have shape {shape} and finite values; got shape {w0.shape}")
    return design.encode(w0.reshape(len(w0), -1))


def held_back(problem, criterion, whole, stop_on):
    """The bound criterion, the rows of `stop_on`, and whether these were the criterion's: where
    many hyperparameters would follow its noise."""
    if not isinstance(stop_on, str):
        return whole, stop_on, False
    is_enough = (row_weights(whole.rows) > 0).any(axis=1).sum() >= 5
    parts = criterion.hold_back(problem) if is_many(problem) and is_enough else None
    if parts is None:
        return whole, None, False
    judge, back = parts
    return judge.bind(problem), back, True


def why_trivial(bound, problem):
    """Why the null model is the solution of every fold at every strength, or None."""
    inner = bound.inner
    if not bound.is_of_w or not (inner.has_equal_targets or inner.is_featureless):
        return None
    if inner.is_featureless:
        return None if problem.tuned and not inner.has_equal_targets else "featureless"
    return "equal_targets"


def chosen_method(problem, criterion, method):
    """The method that "auto" stands for; raises ValueError where one asks for what is not there."""
    n_hyper, has_hessian = problem.n_hyper, "hessian" in criterion.gives
    if n_hyper == 0:
        raise ValueError(
            "problem has no hyperparameter to tune: its penalty is fixed and tuned= is empty"
        )
    is_few = n_hyper <= FEW or (
        n_hyper <= SMALL and problem.design.n_coef * problem.loss.n_classes <= SMALL
    )
    is_few = is_few and not problem.penalty.is_per_class and problem.penalty.has_hessian
    if method in TRIALS:
        return method
    if method == "auto":
        return "newton" if is_few and has_hessian and not problem.tuned else "lbfgs"
    if METHODS[method].wants == "hessian" and not has_hessian:
        raise ValueError(
            f"method 'newton' needs the outer Hessian, which {type(criterion).__name__} does not "
            "have. Use method='lbfgs'"
        )
    if METHODS[method].wants == "hessian" and not problem.penalty.has_hessian:
        raise ValueError(
            "method 'newton' needs the outer Hessian, and a penalty with the methods strengths_jac "
            "and strengths_hess; that of the problem lacks them. Use method='lbfgs'"
        )
    if method == "newton" and problem.penalty.is_per_class:
        raise ValueError(
            "method 'newton' is for strengths that all classes share; the penalty has some for "
            "each class. Use method='lbfgs'"
        )
    if method == "newton" and (problem.tuned or not is_few):
        raise ValueError(
            f"method 'newton' is for up to {FEW} hyperparameters of the penalty; there are "
            f"{n_hyper}, {len(problem.tuned)} kinds of them outside the penalty. Use method='lbfgs'"
        )
    return method


def null_result(run, method, theta0, box, message):
    """What `hoag` returns where the null model is the solution of every fold at every strength;
    nothing is searched for."""
    bound, inner = run.bound, run.bound.inner
    theta = inner.start(0.0) if theta0 is None else theta0
    theta = theta if box is None else np.clip(theta, *box)
    values = np.asarray(bound.values(inner.null.W, inner.rows.at_constant(inner.null.b)))
    rounding = 1024 * np.finfo(np.float64).eps * float(np.abs(values).sum()) / SAFETY
    W = inner.null.W
    best = Evaluation(
        theta=theta,
        value=float(values.sum()),
        value_inner_error=0.0,
        value_linear_error=rounding,
        fold_values=values,
        grad=np.zeros(len(theta)),
        inner_error=0.0,
        linear_error=0.0,
        hess=None,
        W=W,
        Q=None,
        T=None,
        V=0 * W,
        accuracy=Accuracy(0.0, 0.0),
        n_inner=0,
        n_cg=0,
        is_solved=True,
        precond=None,
    )
    return result_of(run, best, inner.units.fold_mean(W), Outcome("converged", message, 0, method))


def check_arguments(problem, criterion, method, tol, max_iter, stop_on, unseen, callback):
    """Raises for what `hoag` cannot use, before any work."""
    check_what_is_tuned(problem, criterion, has_kernels=True)
    check_options(method, tol, max_iter, callback)
    if not (unseen is None or isinstance(unseen, HeldOut)):
        raise TypeError(f"unseen must be a fasthoag.HeldOut or None; got {unseen!r}")
    if not (
        stop_on is None
        or isinstance(stop_on, HeldOut)
        or (isinstance(stop_on, str) and stop_on == "auto")
    ):
        raise TypeError(f"stop_on must be a fasthoag.HeldOut, 'auto' or None; got {stop_on!r}")


def check_start(problem, theta0, w0):
    """Raises ValueError for coefficients that no search starts from."""
    if w0 is not None and (theta0 is None or not isinstance(problem, Problem)):
        raise ValueError(
            "w0 is where a search of a Problem starts together with theta0; pass theta0 too, or "
            "leave w0 out"
        )


def check_what_is_tuned(problem, criterion, *, has_kernels=False):
    """Raises TypeError for what is no problem and for what is no criterion."""
    if not (isinstance(problem, Problem) or (has_kernels and is_kernel_problem(problem))):
        kinds = "fasthoag.Problem or KernelProblem" if has_kernels else "fasthoag.Problem"
        raise TypeError(f"problem must be a {kinds}; got {type(problem).__name__}")
    check_criterion(criterion)


def is_kernel_problem(problem):
    from fasthoag.kernels.problem import KernelProblem

    return isinstance(problem, KernelProblem)


def check_hypergrad(
    problem: Problem,
    criterion: Criterion,
    theta: ArrayLike,
    *,
    step: float = 1e-4,
    n_threads: int | None = None,
) -> float:
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
    check_what_is_tuned(problem, criterion)
    if not is_number(step, 0):
        raise ValueError(f"step must be a positive number; got {step!r}")
    if n_threads is not None:
        problem = problem.with_threads(n_threads)
    theta = check_theta(theta, problem.n_hyper, "theta")
    with our_arithmetic():
        bound = criterion.bind(problem)
        zero = problem.design.zeros(bound.inner.units.n_columns)
        exact = Accuracy(1e-11, 1e-11)
        penalty = problem.penalty
        is_few = problem.n_hyper <= FEW and penalty.has_hessian and not penalty.is_per_class
        has_tangents = is_few and not problem.tuned and "hessian" in criterion.gives
        at = bound.evaluate(theta, zero, exact, has_tangents=has_tangents)
        difference = np.empty_like(theta)
        for j in range(len(theta)):
            shift = float(step) * (np.arange(len(theta)) == j)
            above, below = (
                bound.evaluate(theta + sign * shift, at.W, exact, has_tangents=False).value
                for sign in (1, -1)
            )
            difference[j] = (above - below) / (2 * step)
        return float(
            np.abs(at.grad - difference).max()
            / max(np.linalg.norm(difference), 1e-8 * abs(at.value), 1e-300)
        )
