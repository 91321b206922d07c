"""The criterion along a strength: what a search goes down, as numbers and as a picture."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.arithmetic import our_arithmetic
from fasthoag.criteria import Criterion
from fasthoag.hoag import check_what_is_tuned, why_trivial
from fasthoag.kinds import numbers_of
from fasthoag.options import is_number
from fasthoag.outer import start
from fasthoag.outer.continuation import Continuation, is_of_use
from fasthoag.outer.minima import Minimum, distinct, local_minima
from fasthoag.outer.result import SAFETY
from fasthoag.problem import Problem
from fasthoag.types import Array, ArrayLike

N_POINTS = 40


@dataclass(frozen=True, eq=False)
class Curve:
    """The criterion at some θ.

    Attributes
    ----------
    thetas : array, shape (n_points, n_hyper)
        Hyperparameters, log scale; one ascends.
    values, value_errors : array, shape (n_points,)
        The criterion at the exact inner solutions is within ``values ± value_errors`` (see
        `HoagResult`); NaN where the inner problem was not solved.
    grads, grad_errors : array, shape (n_points, n_hyper) and (n_points,)
        Hypergradients and the 2-norms of their errors.
    fold_values, fold_weights : array, shape (n_points, n_folds) and (n_folds,)
        Criterion of every fold, and the sum of the weights of its rows.
    minima : list of Minimum
        The local minima inside the curve, pairs of ``theta`` and ``value``, the best first: where
        it surely falls and then surely rises, placed to a part of the distance of two points.
    n_passes, seconds : float
        Passes over the training rows, and time.
    """

    thetas: Array
    values: Array
    value_errors: Array
    grads: Array
    grad_errors: Array
    fold_values: Array
    fold_weights: Array
    minima: list[Minimum]
    n_passes: float
    seconds: float

    @property
    def x(self) -> Array:
        """Where the points are drawn: θ, the mean of several."""
        return self.thetas.mean(axis=1)

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """The picture: the criterion over θ, a band of ± its error, and the minima as dots.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where it is drawn; by default those of a new figure, ``plot().figure``.
        line
            Settings of the line, such as ``color=`` and ``label=``.

        Returns
        -------
        matplotlib axes

        Raises
        ------
        ImportError
            Without matplotlib (``pip install 'fasthoag[plot]'``).
        """
        if ax is None:
            ax = new_axes()
        (drawn,) = ax.plot(self.x, self.values, **{"marker": ".", **line})
        low, high = self.values - self.value_errors, self.values + self.value_errors
        ax.fill_between(self.x, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
        for one in self.minima:
            ax.plot(one.theta.mean(), one.value, "o", color=drawn.get_color())
        many = self.thetas.shape[1] > 1
        ax.set_xlabel("mean of θ = log λ" if many else "θ = log λ")
        ax.set_ylabel("criterion")
        return ax


def new_axes(n: int = 1) -> Any:
    """Axes of a figure of their own, which no global state of matplotlib knows; several side by
    side."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "a picture needs matplotlib, which is not installed: pip install 'fasthoag[plot]'"
        ) from None
    return Figure((6.4 * n, 4.8), layout="constrained").subplots(1, n)


def curve(
    problem: Problem,
    criterion: Criterion,
    thetas: ArrayLike | None = None,
    *,
    tol: float = 2e-2,
    n_threads: int | None = None,
) -> Curve:
    """The criterion at many strengths, each solved from those before: f(θ), its error and its
    slope.

    Parameters
    ----------
    problem : Problem
    criterion : HeldOut, KFold, ApproximateLOO, GCV, AIC, BIC, Evidence or CustomCriterion
    thetas : array, shape (n_points,) or (n_points, n_hyper), optional
        Log scale; those of one hyperparameter are sorted. Default: 40 levels of all strengths
        together, over the bounds that `hoag` has for trials.
    tol : float
        The errors of the values are at most `tol` times the size of the criterion (see `hoag`), as
        far as rounding allows.
    n_threads : int, optional
        Threads of every kernel; None means all cores.

    Returns
    -------
    Curve

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(200, 30)), rng.normal(size=30)
    >>> y = np.sign(X @ w + 3 * rng.normal(size=200))
    >>> curve = fasthoag.curve(fasthoag.Problem(X, y), fasthoag.KFold(5), [-2, 0, 1, 2, 3, 5])
    >>> [one] = curve.minima
    >>> bool(abs(one.theta[0] - 1.6) < 0.1)
    True
    """
    check_what_is_tuned(problem, criterion)
    if not is_number(tol, 0):
        raise ValueError(f"tol must be a positive number; got {tol!r}")
    thetas = None if thetas is None else check_thetas(thetas, problem.n_hyper)
    with our_arithmetic():
        problem = problem if n_threads is None else problem.with_threads(n_threads)
        began, whole = time.perf_counter(), criterion.bind(problem)
        passes_before = whole.n_passes
        seen = start.measured(whole, has_box=True)
        if thetas is None:
            low, high = start.levels_of_trials(seen.inner, seen.scales)
            levels = (seen.rays[0].level(level) for level in np.linspace(low, high, N_POINTS))
            thetas = np.array([seen.for_user(theta) for theta in levels])
        if why_trivial(whole, problem) is not None:
            found = [null_of(seen.bound)] * len(thetas)
        else:
            found = evaluations(seen.bound, [seen.from_user(theta) for theta in thetas], tol)
        problem.design.check_unchanged()
        return curve_of(thetas, found, whole, passes_before, began)


def check_thetas(thetas, n_hyper):
    """θ of the points, (n_points, n_hyper)."""
    found = np.asarray(numbers_of(thetas, "thetas"), np.float64)
    found = found[:, None] if found.ndim == 1 and n_hyper == 1 else found
    if found.ndim != 2 or found.shape[1] != n_hyper or not len(found):
        raise ValueError(
            f"thetas must have a row of {n_hyper} for each point, (n_points, {n_hyper}); got shape "
            f"{np.shape(thetas)}"
        )
    if not np.isfinite(found).all():
        raise ValueError("thetas must be finite numbers, of the log scale")
    return np.sort(found, axis=0) if n_hyper == 1 else found


def kept(found):
    """The numbers of an evaluation: (value, error, fold values, slope, its error)."""
    value = found.value if is_of_use(found) else np.nan
    error = SAFETY * found.value_error
    return value, error, found.fold_values, found.grad, found.grad_error


def null_of(bound):
    """The same of the null model, which is the solution at every strength."""
    inner = bound.inner
    values = np.asarray(bound.values(inner.null.W, inner.rows.at_constant(inner.null.b)))
    rounding = 1024 * np.finfo(np.float64).eps * float(np.abs(values).sum())
    return float(values.sum()), rounding, values, np.zeros(inner.n_hyper), 0.0


def evaluations(bound, thetas, tol):
    """What is `kept` at all θ, from the strongest to the weakest."""
    continuation, found = Continuation(bound), [None] * len(thetas)
    for i in sorted(range(len(thetas)), key=lambda i: -thetas[i].sum()):
        one = continuation.evaluate(thetas[i], tol / SAFETY)
        if is_of_use(one):
            continuation.keep(one)
        found[i] = kept(one)
    return found


def curve_of(thetas, found, bound, passes_before, began):
    """The `Curve` of what was `kept`."""
    values, errors, fold_values, grads, grad_errors = (
        np.array(column) for column in zip(*found, strict=True)
    )
    return Curve(
        thetas=thetas,
        values=values,
        value_errors=errors,
        grads=grads,
        grad_errors=grad_errors,
        fold_values=fold_values,
        fold_weights=bound.fold_weights,
        minima=minima_along(thetas, values, errors, grads, grad_errors),
        n_passes=bound.n_passes - passes_before,
        seconds=time.perf_counter() - began,
    )


def minima_along(thetas, values, errors, grads, grad_errors):
    """The local minima along the way from one θ to the next, whose length is in log units."""
    is_there = np.isfinite(values)
    is_there[1:] &= (np.diff(thetas, axis=0) != 0).any(axis=1)
    columns = (thetas, values, errors, grads, grad_errors)
    thetas, values, errors, grads, grad_errors = (one[is_there] for one in columns)
    if len(thetas) < 2:
        return []
    x = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(thetas, axis=0), axis=1)))
    along = np.gradient(thetas, x, axis=0)
    slopes, lengths = (grads * along).sum(axis=1), np.linalg.norm(along, axis=1)
    places = local_minima(x, values, errors, slopes, grad_errors * lengths)

    def at(place):
        return np.array([np.interp(place, x, column) for column in thetas.T])

    return distinct(Minimum(at(place), value) for place, value in places)
