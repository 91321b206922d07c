"""The outer loop: arithmetic on θ only, always in NumPy on the host; w, q and T pass through untouched."""
import time
import warnings
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from fasthoag import linsolve, solvers
from fasthoag.hypergradient import Accuracy, evaluate
from fasthoag.outer import METHODS


class ConvergenceWarning(UserWarning):
    """The result is not what was asked for; its ``status`` and ``message`` say why and what to do."""


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
        The criterion at the exact inner solutions is ``value ± value_error``; `value` is corrected to second order, not what `w` itself gives.
    grad, grad_error : array, shape (n_hyper,), and float
        Hypergradient and an estimate of the 2-norm of its error.
    fold_values : array, shape (n_folds,)
    w : array, shape (n_features + fit_intercept, n_folds)
        Inner solutions in the order of the features, the intercept last; one column a fold.
    inner_error : float
        ``||∇h||_2 / ||λ w||_2`` at the inner solutions, largest over folds: about the error of θ that it stands for.
    status : str
        ``"converged"``, ``"at_bound"``, ``"max_iter"``, ``"stopped"`` (by the callback), ``"stalled"`` or ``"inner_failed"``.
    message : str
        The same as a sentence that says what to do.
    n_iter, n_passes : int, float
        Accepted outer steps; passes over the training rows (other rows in proportion).
    trace : list of dict
        One record an outer evaluation: theta, value, value_error, grad_norm, grad_error, inner_tol, linear_tol, n_inner, n_cg, n_passes, seconds,
        is_accepted.
    """

    theta: np.ndarray
    lam: np.ndarray
    value: float
    value_error: float
    grad: np.ndarray
    grad_error: float
    fold_values: np.ndarray
    w: np.ndarray
    inner_error: float
    status: str
    message: str
    n_iter: int
    n_passes: float
    seconds: float
    method: str
    trace: list = field(repr=False)


MESSAGES = {
    "converged": "The hypergradient is below its tolerance.",
    "at_bound": "The optimum is at the bound of theta ({where}); the criterion still falls beyond it. Widen bounds=, or doubt the data: "
                "at the upper bound the features do not help, at the lower one no penalty is needed.",
    "max_iter": "max_iter outer steps were not enough; raise max_iter= or loosen tol=.",
    "stopped": "The callback stopped the loop.",
    "stalled": "No step decreases the criterion by more than its own error; tol= asks for more than rounding allows.",
    "inner_failed": "An inner problem was not solved (non-finite values, or no progress); scale the features or raise the lower bound of theta.",
}


def hoag(problem, criterion, theta0=None, *, method="auto", bounds=None, tol=1e-4, max_iter=50, schedule=None, callback=None, n_threads=None):
    """Minimise the criterion over the hyperparameters by approximate hypergradients.

    Parameters
    ----------
    problem : Problem
    criterion : HeldOut or KFold
    theta0 : array, shape (n_hyper,), optional
        Start, log scale. Without it a loose sweep over strengths finds one.
    method : {"auto", "newton", "hoag"}
        ``"newton"``: exact Newton steps in θ from tangents and adjoints of one block solve, accuracy adapted to the steps.
        ``"hoag"``: the paper's gradient method with its tolerance schedule.
    bounds : (low, high), optional
        Of θ, scalars or arrays of shape (n_hyper,). Default: 1e-12 to 1e6 times the scale of the data.
    tol : float
        Stop when the 2-norm of the projected hypergradient plus its error is at most ``tol * |value|``.
    max_iter : int
        Outer steps at most.
    schedule : {"exponential", "quadratic", "cubic", "exact"} or callable k -> ε_k, optional
        Tolerances of method "hoag".
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
    from fasthoag.problem import Problem

    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a fasthoag.Problem; got {type(problem).__name__}")
    if not hasattr(criterion, "bind"):
        raise TypeError(f"criterion must be fasthoag.HeldOut or fasthoag.KFold; got {type(criterion).__name__}")
    if method not in ("auto", *METHODS):
        raise ValueError(f"method must be 'auto', {' or '.join(map(repr, METHODS))}; got {method!r}")
    if not (np.isscalar(tol) and tol > 0):
        raise ValueError(f"tol must be a positive number; got {tol!r}")
    if not (isinstance(max_iter, (int, np.integer)) and max_iter >= 1):
        raise ValueError(f"max_iter must be an integer >= 1; got {max_iter!r}")
    if n_threads is not None:
        problem = problem.with_threads(n_threads)
    n_hyper = problem.n_hyper
    if theta0 is not None:
        theta0 = np.atleast_1d(np.array(theta0, np.float64))
        if theta0.shape != (n_hyper,) or not np.isfinite(theta0).all():
            raise ValueError(f"theta0 must have shape ({n_hyper},) and finite values; got {theta0}")
    method = "newton" if method == "auto" else method
    rule = METHODS[method](schedule)
    began = time.perf_counter()
    bound = criterion.bind(problem)
    lower, upper = _box(bounds, n_hyper, scale_of(bound.inner))
    trace, passes_before = [], bound.n_passes

    def record(phase, evaluation, accuracy, is_accepted):
        trace.append({
            "phase": phase, "theta": evaluation.theta.tolist(), "value": evaluation.value, "value_error": evaluation.value_error,
            "grad_norm": float(np.linalg.norm(evaluation.grad)), "grad_error": evaluation.grad_error, "inner_tol": accuracy.inner,
            "linear_tol": accuracy.linear, "n_inner": evaluation.n_inner, "n_cg": evaluation.n_cg, "n_passes": bound.n_passes - passes_before,
            "seconds": time.perf_counter() - began, "is_accepted": bool(is_accepted)})
        return callback is not None and bool(callback(trace[-1]))

    xp = bound.inner.design.xp
    if theta0 is None:
        theta0, W = sweep(bound, lower, upper)
    else:
        theta0, W = np.clip(theta0, lower, upper), bound.inner.design.encode(np.zeros((problem.design.n_coef, 1)))
    status, n_iter = None, 0
    if bound.n_folds > 2 and rule.has_tangents:
        # θ is found on one fold; the others join for the last steps only, starting from its solution
        found, status, n_iter = minimise(bound.one_fold(0), METHODS[method](), theta0, W, lower, upper, 30 * tol, max_iter, partial(record, "one fold"))
        theta0, W = found.theta, found.predict(np.zeros(n_hyper))
    if status == "stopped":
        best = found
    else:
        W = xp.concat([W] * bound.n_folds, axis=1)
        best, status, n_more = minimise(bound, rule, theta0, W, lower, upper, tol, max_iter, partial(record, "all"))
        n_iter += n_more
    where = ", ".join(f"theta[{j}] = {best.theta[j]:g}" for j in np.flatnonzero((best.theta <= lower) | (best.theta >= upper)))
    message = MESSAGES[status].format(where=where)
    if status not in ("converged", "stopped"):
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
    W = best.predict(np.zeros(n_hyper))
    unit = np.maximum(best.cross_norm, 1e-300)
    return HoagResult(best.theta, np.exp(best.theta), best.value, best.value_error, best.grad, best.grad_error, best.fold_values,
                      bound.inner.design.decode(W), float(np.max(best.inner_tol / unit)), status, message, n_iter,
                      bound.n_passes - passes_before, time.perf_counter() - began, method, trace)


def minimise(bound, rule, theta, W, lower, upper, tol, max_iter, record):
    """The loop: step, evaluate, test, tighten. Returns the last accepted Evaluation, a status and the number of accepted steps."""
    current = evaluate(bound, theta, W, rule.accuracy, has_tangents=rule.has_tangents)
    is_stopped, n_iter = record(current, rule.accuracy, True), 0
    while True:
        target = tol * abs(current.value)
        at_bound = ((current.theta <= lower) & (current.grad > 0)) | ((current.theta >= upper) & (current.grad < 0))
        size = np.linalg.norm(np.where(at_bound, 0.0, current.grad))
        if not current.is_solved or not np.isfinite(current.value):
            return current, "inner_failed", n_iter
        if size + current.grad_error <= target:
            return current, "at_bound" if at_bound.any() else "converged", n_iter
        if is_stopped:
            return current, "stopped", n_iter
        if n_iter >= max_iter:
            return current, "max_iter", n_iter
        d, predicted = rule.step(current, lower, upper, target)
        if current.grad_error > target and (size <= target or current.grad_error > size):   # the errors hide the slope: look again, closer, at the same place
            if not rule.tighten(current, target):
                return current, "stalled", n_iter
            d = np.zeros_like(d)
        trial = evaluate(bound, current.theta + d, current.predict(d), rule.accuracy, previous=current, has_tangents=rule.has_tangents,
                         precond=current.precond)
        is_accepted = not d.any() or rule.accept(current, trial, d, predicted)
        is_stopped = record(trial, rule.accuracy, is_accepted)
        if is_accepted:
            n_iter += bool(d.any())
            current = trial
        elif np.linalg.norm(d) < 1e-10:
            return current, "stalled", n_iter


def sweep(bound, lower, upper):
    """A loose look at seven strengths around the scale of the data on the first fold, all as columns of one block: the best start (θ, w)."""
    first = bound.one_fold(0)
    inner, n_hyper = first.inner, len(lower)
    design, xp = inner.design, inner.design.xp
    levels = [np.clip(scale_of(inner) + step * np.log(10), lower, upper) for step in (2, 1, 0, -1, -2, -3, -4)]
    m = len(levels)
    lam = xp.concat([inner.strengths(theta) for theta in levels], axis=1)
    fold, lam_of = np.zeros(m, np.int32), np.arange(m, dtype=np.int32)
    zero = design.encode(np.zeros((design.n_coef, m)))
    unit = linsolve.norms(design.loss_grad(inner.loss, inner.y, inner.rows, first.fold, zero[:, :1])[2])[0]
    result = solvers.newton_cg(inner, lam, zero, tol=0.03 * unit, fold=fold, lam_of=lam_of, max_iter=10, max_cg=30)
    if first.is_shared:
        values = result.held_out
    else:
        values = first.design.loss_grad(inner.loss, first.y, first.rows, fold, result.W, False)[0]
    best = int(np.argmin(np.where(np.isfinite(values), values, np.inf)))
    return levels[best], result.W[:, best:best + 1]


def scale_of(inner):
    """log of the mean non-zero eigenvalue of XᵀDX at w = 0: the θ where penalty and data weigh about the same."""
    design = inner.design
    n_rows, n_features = design.shape
    curvature = inner.curvature(design.xp.zeros((n_rows, inner.n_folds)))
    diagonal = np.asarray(design.decode(design.hess_diag(curvature)))[:n_features]
    return float(np.log(max(diagonal.sum() / inner.n_folds, 1e-300) / min(n_rows, n_features)))


def _box(bounds, n_hyper, center):
    if bounds is None:
        return np.full(n_hyper, center - 12 * np.log(10)), np.full(n_hyper, center + 6 * np.log(10))
    try:
        low, high = bounds
        low, high = (np.broadcast_to(np.asarray(b, np.float64), (n_hyper,)).copy() for b in (low, high))
    except (TypeError, ValueError):
        raise ValueError(f"bounds must be a pair (low, high) of numbers or of arrays of shape ({n_hyper},); got {bounds!r}") from None
    if not (low < high).all():
        raise ValueError(f"bounds must have low < high; got {bounds!r}")
    return low, high


def check_hypergrad(problem, criterion, theta, *, step=1e-4, n_threads=None):
    """Relative error of the hypergradient at `theta` against central finite differences of exactly solved problems.

    Returns ``max_j |p_j - d_j| / max(||d||, 1e-8 |f|)`` with p the hypergradient and ``d_j = (f(θ + step e_j) - f(θ - step e_j)) / (2 step)``. For users who
    write a penalty or a criterion of their own: expect 1e-6 or less.

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
    theta = np.atleast_1d(np.array(theta, np.float64))
    if theta.shape != (problem.n_hyper,) or not np.isfinite(theta).all():
        raise ValueError(f"theta must have shape ({problem.n_hyper},) and finite values; got {theta}")
    bound = criterion.bind(problem)
    zero = bound.inner.design.encode(np.zeros((problem.design.n_coef, bound.n_folds)))
    exact = Accuracy(1e-11, 1e-11)
    at = evaluate(bound, theta, zero, exact)
    difference = np.empty_like(theta)
    for j in range(len(theta)):
        shift = step * (np.arange(len(theta)) == j)
        difference[j] = (evaluate(bound, theta + shift, at.W, exact).value - evaluate(bound, theta - shift, at.W, exact).value) / (2 * step)
    return float(np.abs(at.grad - difference).max() / max(np.linalg.norm(difference), 1e-8 * abs(at.value), 1e-300))
