"""What `hoag` does for a kernel problem: the same loop and step rules, with a start of its own."""

from functools import partial

import numpy as np

from fasthoag.criteria import HeldOut
from fasthoag.criteria.shared import warn_of_shared_rows
from fasthoag.kernels.search import EXACT, KernelSearch, KernelTrials
from fasthoag.outer import METHODS, TRIALS
from fasthoag.outer.record import OF_CRITERION, Run, interruptible
from fasthoag.outer.result import (
    MESSAGES,
    Outcome,
    at_ends,
    how_far,
    in_time,
    warn_unless_converged,
    with_coefficients,
)
from fasthoag.problem import Problem

LITTLE = 0.05  # of the criterion of the intercept alone: an improvement that is worth a word
FEW = 128  # widths up to which their tangents are worth their columns


def tuned_kernel(problem, criterion, theta0, box, asked, watched):
    """The `HoagResult` for a `KernelProblem`."""
    check_watched(watched)
    bound = problem.judged_by(criterion)
    if isinstance(criterion, HeldOut):
        warn_of_shared_rows(*as_linear(problem, criterion))
    method = chosen_method(problem, bound, asked.method)
    settings = asked.settings(method, len(problem.rows.y))
    settings.check(problem)
    run = Run(bound, problem, watched._replace(stop_on=None))
    run.for_user, run.of_criterion = np.array, OF_CRITERION  # looks are at some of the rows
    run.grad_tol = partial(settings.slope, bound)
    search = (KernelTrials if method in TRIALS else KernelSearch)(
        problem.rows, bound, run.record, settings, box
    )
    if problem.fit_intercept and np.ptp(problem.rows.y, axis=0).max() == 0:
        best, outcome = search.null(theta0), ("converged", MESSAGES["equal_targets"])
        return finished(run, problem, search, method, best, *outcome)

    def finish(best, status):
        status, message = concluded(best, status, search)
        if status != "interrupted":
            message += how_it_was_solved(problem, criterion, best)
        return finished(run, problem, search, method, best, status, message)

    with interruptible(run.best_so_far, finish):
        best, status = in_time(run, *search.run_from(theta0))
    return finish(best, status)


def finished(run, problem, search, method, best, status, message):
    """The `HoagResult` of the best evaluation of a search."""
    warn_unless_converged(status, message)
    W = best.predict(0 * best.theta)
    W = W[:, 0] if problem.y.ndim == 1 else W
    minima, ends = search.minima(best, status), at_ends(best.theta, search.box)
    outcome = Outcome(status, message, search.n_iter, method, minima, *ends)
    return with_coefficients(run, best, W, W, {}, outcome)


def as_linear(problem, criterion):
    """The criterion, and as it is bound to a linear problem with the same rows and the first of the
    targets: what tells which rows are the same."""
    y, y_val = (np.reshape(y, (len(y), -1))[:, 0] for y in (problem.y, criterion.y_val))
    linear = Problem(problem.X, y, problem.loss, sample_weight=problem.sample_weight)
    criterion = HeldOut(criterion.X_val, y_val, criterion.sample_weight)
    return criterion, criterion.bind(linear)


def check_watched(watched):
    """Raises ValueError for what a kernel problem cannot watch."""
    given = {"unseen": watched.unseen, "scoring": watched.scoring}
    given["stop_on"] = None if isinstance(watched.stop_on, str) else watched.stop_on
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{name} is for a fasthoag.Problem; of a KernelProblem judge the model itself, "
                "which problem.fit(result.theta) gives"
            )


def chosen_method(problem, bound, method):
    """The method that "auto" stands for; raises ValueError where newton lacks the Hessian."""
    if method in TRIALS:
        return method
    has_hessian = bound.folds.has_hessian and problem.n_hyper <= FEW
    if method == "auto":
        return "newton" if has_hessian else "lbfgs"
    if METHODS[method].wants == "hessian" and not has_hessian:
        raise ValueError(
            f"method 'newton' is for up to {FEW} hyperparameters of a KernelProblem, and for one "
            f"width with leave-one-out; there are {problem.n_hyper}. Use method='lbfgs'"
        )
    return method


def concluded(best, status, search):
    """The status and its sentence."""
    lower, upper = search.box
    names = [f"log gamma[{k}]" for k in range(len(lower) - 1)] + ["log lambda"]
    names = ["log gamma", "log lambda"] if len(names) == 2 else names
    at_bound = np.flatnonzero((best.theta <= lower) | (best.theta >= upper))
    if status == "at_bound" and len(lower) > 2 and at_bound.max(initial=0) < len(lower) - 1:
        where = f"{len(at_bound)} of {len(lower) - 1} widths are at their bounds"
        return "converged", f"The hypergradient is below its tolerance; {where}."
    where = ", ".join(f"{names[k]} = {best.theta[k]:g}" for k in at_bound[:5])
    known = {"where": where, "n_iter": search.n_iter, "how_far": how_far(best, status, search)}
    known["left"] = ""
    message = MESSAGES[status].format(**known)
    null = search.bound.null_value
    is_whole = status not in ("inner_failed", "out_of_time", "interrupted")
    if is_whole and search.is_flat(best):
        message = (
            f"No kernel model judges better than none: the criterion is {best.value:.6g}, that of "
            f"the intercept alone {null:.6g}. The features, as this kernel sees them, do not help "
            "on the rows that judge."
        )
    elif status == "converged" and best.value > (1 - LITTLE) * null:
        message += (
            f" That is only {1 - best.value / null:.1%} below the criterion of the intercept alone."
        )
    elif status == "at_bound" and best.theta[-1] <= lower[-1] and search.is_default_box:
        message = (
            f"λ is at {np.exp(lower[-1]):.2g}, below which it is lost in the rounding of the "
            "kernel matrix; the criterion still falls. " + message
        )
    elif status == "inner_failed":
        message = (
            "The kernel matrix is singular in double precision at this λ (rows may be there "
            "twice); raise the lower bound of log lambda."
        )
    return status, message


def how_it_was_solved(problem, criterion, best):
    """A sentence for what is not solved by a factor in double precision; of a kernel of low rank,
    how much its rank matters."""
    samples = problem.rows.samples
    if samples.solver == "cholesky" or not best.is_solved:
        return ""
    if samples.solver == "cg":
        return f" Solved by conjugate gradients, to a residual of {best.accuracy.inner:.1g}."
    m = samples.centres.n
    bound = problem.with_centres(max(1, m // 2)).judged_by(criterion)
    half = bound.evaluate(best.theta, bound.start(), EXACT, has_tangents=False)
    return (
        f" Solved with a kernel of low rank (Nyström) through {m} of {problem.rows.n} rows; with "
        f"half as many the criterion is {half.value / best.value - 1:+.2%}."
    )
