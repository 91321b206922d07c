"""Strengths side by side: what the folds say at some of them, each solved from those before, and
which of them the criterion or a scorer likes best."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from fasthoag.arguments import box_of
from fasthoag.arithmetic import our_arithmetic
from fasthoag.criteria import ApproximateLOO, Criterion
from fasthoag.design import to_host
from fasthoag.hoag import hoag, why_trivial
from fasthoag.hypergradient import Accuracy
from fasthoag.outer import TRIALS
from fasthoag.outer.continuation import Continuation, is_of_use
from fasthoag.outer.record import SOON, Run, Watched
from fasthoag.outer.result import (
    MESSAGES,
    SAFETY,
    HoagResult,
    Outcome,
    coefficients_at,
    result_of,
    warn_unless_converged,
)
from fasthoag.outer.start import default_box
from fasthoag.outer.tolerance import tolerance
from fasthoag.problem import Problem, for_user
from fasthoag.progress import progress
from fasthoag.types import Array

# Of solutions that scorers judge: values are corrected to second order, scores are not. With 0.1 an
# area under the curve of 6,000 columns was off by 2e-3, with 0.01 by 7e-5 (strengths: by 5e-4).
OF_SCORES = Accuracy(0.01, 0.1)
LOOSE = 1e-2  # of the size of the criterion that the error of a value has at most
NEARBY = 3.0  # log units to both sides of the optimum of the loss where a scorer looks
STEP, FINEST = 1.0, 0.25  # log units between two strengths there, in the end
MOST_BEYOND = 8  # more steps outwards, while the scores rise


class Point(NamedTuple):
    """What the folds say at one θ: the criterion at the exact inner solutions is within ``value ±
    value_error``, NaN where they were not found; with the criterion of every fold, (n_folds,),
    their coefficients in the design's units and the Newton steps that these took."""

    theta: Array
    value: float
    value_error: float
    fold_values: Array
    W: Any
    n_inner: int


class Walk:
    """A criterion of a problem at one θ after another, with solutions of this accuracy at least.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> from fasthoag.path import Walk
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> problem = fasthoag.Problem(X, X @ w + rng.normal(size=60), loss="squared")
    >>> walk = Walk(problem, fasthoag.KFold(3))
    >>> walk.at(walk.level(5.0)).value > walk.at(walk.level(0.0)).value
    True
    """

    def __init__(
        self, problem: Problem, criterion: Criterion, accuracy: Accuracy | None = None
    ) -> None:
        self.problem, self.criterion = problem, criterion
        self.bound: Any = criterion.bind(problem)
        self._continuation = Continuation(self.bound, accuracy)
        self._is_trivial = why_trivial(self.bound, problem) is not None

    def begin(self, theta: Array, w: Any) -> None:
        """Takes note of the coefficients of all folds at θ, those of a `HoagResult`."""
        inner = self.bound.inner
        W = inner.design.encode(np.reshape(to_host(w), (len(w), -1)))
        # A search that was stopped on its first fold has no others.
        if W.shape[1] == inner.units.n_columns and not self._is_trivial:
            accuracy = self._continuation.accuracy
            found = self.bound.evaluate(theta, W, accuracy, has_tangents=False)
            if is_of_use(found):
                self._continuation.keep(found)

    def at(self, theta: Array, share: float = LOOSE) -> Point:
        """The `Point` at θ, its error at most this share of the size of the criterion, as far as
        rounding allows."""
        if self._is_trivial:
            return self._null(theta)
        found = self._continuation.evaluate(theta, share / SAFETY)
        is_solved = is_of_use(found)
        if is_solved:
            self._continuation.keep(found)
        value, error = found.value if is_solved else np.nan, SAFETY * found.value_error
        W = found.predict(0 * theta)
        return Point(theta, value, error, found.fold_values, W, found.n_inner)

    def _null(self, theta):
        """The null model, which is the solution at every strength."""
        inner = self.bound.inner
        W, b = inner.null.W, inner.null.b
        values = np.asarray(self.bound.values(W, inner.rows.at_constant(b)))
        return Point(theta, float(values.sum()), 0.0, values, W, 0)

    def level(self, log_strength: float) -> Array:
        """θ at which all strengths are this one; for -inf, no penalty, at which they are as good as
        none."""
        return self.bound.inner.start(self._least if log_strength == -np.inf else log_strength)

    @cached_property
    def _least(self):
        low, _ = default_box(self.bound.inner)
        return float(np.max(low))

    @cached_property
    def direction(self) -> Array:
        """How θ moves where all strengths grow by one log unit."""
        return self.level(1.0) - self.level(0.0)

    def fits(self, theta: Array, w: Any) -> bool:
        """Whether these are θ and coefficients of all folds of such a problem."""
        inner = self.bound.inner
        of_folds = (inner.design.shape[1] + int(inner.design.has_intercept), inner.n_folds)
        of_classes = () if inner.units.n_classes == 1 else (inner.units.n_classes,)
        return theta.shape == (inner.n_hyper,) and np.shape(w) == of_folds + of_classes

    def box(self, bounds: Any) -> tuple[Array, Array]:
        """The bounds of θ, by default those of a search."""
        low, high = default_box(self.bound.inner) if bounds is None else bounds
        n = self.problem.n_hyper
        low, high = (self._least if np.isneginf(side).all() else side for side in (low, high))
        return np.broadcast_to(low, (n,)), np.broadcast_to(high, (n,))

    def predictions(self, point: Point) -> list[Array]:
        """Of the rows that the criterion judges, (n_rows, n_classes) of every fold, in this memory;
        of leave-one-out those of every row by the model without it."""
        if isinstance(self.criterion, ApproximateLOO):
            return [self.bound.left_out(point.theta, point.W)[:, None]]
        return self.bound.predictions(point.W)

    def coefficients(self, W: Any) -> Any:
        """Coefficients of all folds in the order of the features, the intercept last, (n_features +
        fit_intercept, n_folds), or (..., n_classes) of the multinomial loss."""
        design = self.bound.inner.design
        return self.bound.inner.units.apart(for_user(design, design.decode(W)))


def along(
    walks: Sequence[Walk],
    strengths: Array,
    note: Callable[[tuple[Point, ...]], Any],
    share: float = LOOSE,
) -> list[Any]:
    """What ``note(points of all models)`` says of each of these λ, in their order. They are solved
    from the strongest to the weakest, with errors of at most this share of the size of the
    criterion, and no coefficients are kept for it."""
    found = {}
    for i in np.argsort(-strengths, kind="stable"):
        level = float(np.log(strengths[i])) if strengths[i] > 0 else -np.inf
        found[i] = note(tuple(walk.at(walk.level(level), share) for walk in walks))
    return [found[i] for i in range(len(strengths))]


# ---- what the criterion likes best ----


def hoag_among(
    problem: Problem, criterion: Criterion, strengths: Array, *, tol: float | None, **options: Any
) -> HoagResult:
    """The result of a search from the weakest to the strongest of these λ that none of them beats
    by more than the tolerance.

    A search ends in one valley of the criterion; where a point shows a lower one it goes on from
    there. `options` are those of `hoag`."""
    ends = np.log(strengths.min()), np.log(strengths.max())
    options, began = {"bounds": ends, "tol": tol, **options}, time.perf_counter()
    result = hoag(problem, criterion, **options)
    if result.status in ("stopped", "out_of_time"):
        return result
    with our_arithmetic():
        walk = Walk(problem, criterion)
        walk.begin(result.theta, result.w)
        points = along([walk], strengths, lambda points: points[0]._replace(W=None))
    best = beats(walk, points, result, tol)
    if best is not None and options.get("method") not in TRIALS:
        if options.get("max_seconds") is not None:
            left = options["max_seconds"] - (time.perf_counter() - began)
            options["max_seconds"] = max(left, SOON)
        again = hoag(problem, criterion, **options | {"theta0": best.theta, "w0": None})
        result = again if not result.value <= again.value else result
        best = beats(walk, points, result, tol)
    return result if best is None else result_at(problem, criterion, best.theta, **options)


def beats(walk, points, result, tol):
    """The lowest point where it is surely below the result by more than the tolerance, else
    None."""
    size = walk.bound.size(result.value)
    allowed = tolerance(tol, walk.bound.inner.design.n_coef).of_value(walk.bound, result)

    def is_lower(point, slack):
        # Also where the result has no number.
        return np.isfinite(point.value) and not point.value - slack >= result.value - allowed

    with our_arithmetic():
        near = [point for point in points if is_lower(point, point.value_error)]
        near = [walk.at(point.theta, 0.3 * allowed / max(size, 1e-300)) for point in near]
    near = [point for point in near if is_lower(point, 0.0)]
    return min(near, key=lambda point: point.value) if near else None


def result_at(
    problem: Problem,
    criterion: Criterion,
    theta: Array,
    *,
    tol: float | None,
    scoring: Any = None,
    callback: Any = None,
    verbose: bool | int = 0,
    **_: Any,
) -> HoagResult:
    """The `HoagResult` at a given θ: nothing is searched for. Other options are those of a
    search."""
    with our_arithmetic(), progress(verbose) as show:
        bound = criterion.bind(problem)
        watched = Watched(None, None, scoring, show, callback, None, time.perf_counter())
        run = Run(bound, problem, watched)
        run.for_user = lambda theta: theta
        run.coefficients = partial(coefficients_at, bound.inner)
        slope = tolerance(tol, bound.inner.design.n_coef).slope
        run.grad_tol = lambda found: slope * bound.size(found.value)
        found = Continuation(bound).evaluate(theta, 0.3 * slope)
        run.record("all", found, found.accuracy, True)
        status = "given" if is_of_use(found) else "inner_failed"
        if status != "given":
            warn_unless_converged(status, MESSAGES[status])
        w_all = bound.inner.units.fold_mean(found.predict(0 * theta))
        return result_of(run, found, w_all, Outcome(status, MESSAGES[status], 0, "given"))


# ---- what a scorer likes best ----


class Candidate(NamedTuple):
    """θ of all models that are judged together, with the scores of the folds (n_folds,), the mean
    of those that are numbers, and the criterion."""

    thetas: tuple[Array, ...]
    scores: Array
    mean: float
    value: float


class Scored:
    """Strengths that a scorer compares, of one model or of one for each class against the rest.

    Parameters
    ----------
    walks : sequence of Walk
        One for each model.
    scores : callable
        Scores of the folds, (n_folds,), from the predictions of all models, those of
        `Walk.predictions`.
    boxes : sequence of (low, high)
        The bounds of θ of each model.
    """

    def __init__(
        self,
        walks: Sequence[Walk],
        scores: Callable[[list[Any]], Array],
        boxes: Sequence[tuple[Array, Array]],
    ) -> None:
        self.walks, self._scores, self._boxes = walks, scores, boxes
        self._seen: dict[bytes, Candidate] = {}  # without coefficients, which are large

    def at(self, thetas: Iterable[Array]) -> Candidate:
        """The `Candidate` at these θ of the models, within their bounds."""
        inside = [np.clip(one, *box) for one, box in zip(thetas, self._boxes, strict=True)]
        key = b"".join(one.tobytes() for one in inside)
        if key not in self._seen:
            points = (walk.at(one) for walk, one in zip(self.walks, inside, strict=True))
            self._seen[key] = self.judged(points)
        return self._seen[key]

    def judged(self, points: Iterable[Point]) -> Candidate:
        """The `Candidate` of points that are known."""
        points = tuple(points)
        scores = self._scores(
            [walk.predictions(point) for walk, point in zip(self.walks, points, strict=True)]
        )
        is_known = np.isfinite(scores)
        mean = float(scores[is_known].mean()) if is_known.any() else -np.inf
        value = sum(point.value for point in points)
        return Candidate(tuple(point.theta for point in points), scores, mean, value)

    def moved(self, thetas: Iterable[Array], step: float) -> Candidate:
        """The candidate at strengths that are all this many log units larger."""
        return self.at(
            theta + step * walk.direction for theta, walk in zip(thetas, self.walks, strict=True)
        )


def better(one: Candidate, other: Candidate) -> Candidate:
    """The one with the better score; of equal ones that with the lower criterion, or the first."""
    if one.mean != other.mean:
        return one if one.mean > other.mean else other
    return other if other.value < one.value else one


def best_by_score(
    scored: Scored, thetas: Sequence[Array], given: Iterable[Candidate] = ()
) -> Candidate:
    """The best of the given candidates and of strengths around `thetas`, where the criterion is
    least: outwards, on while the scores rise, and between the best and its neighbours. Of equal
    scores the one of lower criterion is taken, since many strengths have the same accuracy."""
    best = at_optimum = scored.at(thetas)
    for one in given:
        best = better(best, one)
    for sign in (1, -1):
        best = best_outwards(scored, thetas, sign, best)
    width = STEP / 2
    while width >= FINEST:
        around = best
        for sign in (1, -1):
            best = better(best, scored.moved(around.thetas, sign * width))
        width /= 2
    if best.mean == -np.inf:
        return at_optimum
    return best


def best_outwards(scored, thetas, sign, best):
    """The best of this candidate and of steps away from `thetas`, further while scores rise."""
    for step in np.arange(STEP, NEARBY + MOST_BEYOND * STEP, STEP):
        one = scored.moved(thetas, sign * step)
        is_rising = one.mean > best.mean
        best = better(best, one)
        if step >= NEARBY and not is_rising:
            break
    return best


def strongest_within(scored: Scored, best: Candidate, error: float) -> Candidate:
    """The strongest strengths on the way up from the best candidate whose mean score is lower by
    the error at most."""

    def is_within(one):
        return one.mean >= best.mean - error

    last, step, factor = best, STEP, 2.0  # Steps grow until one goes too far.
    while step >= FINEST:
        one = scored.moved(last.thetas, step)
        if one is last:  # at the upper bounds
            break
        if is_within(one):
            last = one
        else:
            factor = 0.5
        step *= factor
    return last


def one_standard_error(
    problem: Problem, criterion: Criterion, result: HoagResult, bounds: Any = None
) -> Array:
    """The largest θ of one strength whose criterion is within one standard error (over folds) of
    that of `result`, (1,).

    Newton's method on f(θ) = f* + SE from the quadratic model at the optimum. SE = ``sqrt(F) *
    std(fold values)``, that of their sum."""
    if problem.n_hyper != 1:
        raise ValueError("one_se needs a single strength")
    with our_arithmetic():
        bound = criterion.bind(problem)
        _, upper = box_of(bounds, 1) or default_box(bound.inner)
        means = result.fold_values / result.fold_weights
        limit = result.value + result.fold_weights.sum() * means.std(ddof=1) / np.sqrt(len(means))
        design = bound.inner.design
        W = design.encode(np.reshape(result.w, (len(result.w), -1)))
        current = bound.evaluate(result.theta, W, Accuracy(0.01, 0.01))
        # of the parabola where it crosses the limit
        slope = np.sqrt(max(2 * (limit - current.value) * current.hess[0, 0], 1e-300))
        step = np.array([(limit - current.value) * 2 / slope])
        for _ in range(30):
            theta = np.clip(current.theta + np.clip(step, -2, 2), result.theta, upper)
            if abs(theta[0] - current.theta[0]) < 1e-3:
                break
            current = bound.evaluate(
                theta,
                current.predict(theta - current.theta),
                Accuracy(0.01, 0.01),
                Q=current.Q,
                T=current.T,
                precond=current.precond,
            )
            step = np.array([(limit - current.value) / max(current.grad[0], 1e-3 * slope)])
        return current.theta
