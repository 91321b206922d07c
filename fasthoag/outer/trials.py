"""Searches that try points of a box and keep the best: grid, random and Bayesian, as other tools
tune. They share everything but the steps with the methods that follow the slope: one X, folds as
columns, values corrected to second order with their errors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fasthoag.hypergradient import Evaluation, corrected
from fasthoag.inner.problem import InnerProblem
from fasthoag.outer.continuation import Continuation, is_of_use
from fasthoag.outer.minima import Minimum, distinct, local_minima
from fasthoag.outer.rules import Box
from fasthoag.outer.start import box_of_trials
from fasthoag.outer.tolerance import Tolerance
from fasthoag.threads import computed_once
from fasthoag.types import Array
from fasthoag.units import Units

N_TRIALS, MOST_TRIALS = 20, 1_000_000
MOST_COLUMNS = 8  # of a block: a gathered row of them is one cache line
SHARE = 0.01  # of the size of the criterion that the error of a trial has at most


# ---- which points ----


def grid(box: Box, n_trials: int, seed: int) -> Array:
    """A product grid of at most `n_trials` points, bounds included."""
    k = len(box.lower)
    n_each = per_axis(n_trials, k)
    axes = [np.linspace(low, high, n_each) for low, high in zip(*box, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, k)


def per_axis(n_trials: int, n_hyper: int) -> int:
    """How many values of each hyperparameter a product grid of at most `n_trials` points has."""
    n = max(1, round(n_trials ** (1 / n_hyper)))
    return n - 1 if n**n_hyper > n_trials else n


def random(box: Box, n_trials: int, seed: int) -> Array:
    """Points drawn evenly from the box, that is log-evenly for strengths."""
    rng = np.random.default_rng(seed)
    return rng.uniform(box.lower, box.upper, (n_trials, len(box.lower)))


class Tree:
    """Optuna's tree-structured Parzen estimator: points where those before promise most, after the
    first, which it draws."""

    n_drawn = 10

    def __init__(self, box: Box, seed: int) -> None:
        optuna = import_optuna()
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study it makes
        try:
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.n_drawn)
            self._study = optuna.create_study(sampler=sampler)
        finally:
            optuna.logging.set_verbosity(before)
        self._failed, self._box = optuna.trial.TrialState.FAIL, box
        self._asked: list[Any] = []

    def ask(self, n_points: int) -> Array:
        """Points, (n_points, n_hyper)."""
        self._asked = [self._study.ask() for _ in range(n_points)]
        sides = list(enumerate(zip(*self._box, strict=True)))
        return np.array(
            [
                [trial.suggest_float(f"theta[{j}]", low, high) for j, (low, high) in sides]
                for trial in self._asked
            ]
        )

    def tell(self, values: list[float]) -> None:
        """What f is at these points; NaN where it is unknown."""
        for trial, value in zip(self._asked, values, strict=True):
            if np.isfinite(value):
                self._study.tell(trial, value)
            else:
                self._study.tell(trial, state=self._failed)


def import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ImportError(
            "method 'bayes' needs Optuna, which is not installed: pip install 'fasthoag[bayes]', "
            "or take method='random'"
        ) from None
    return optuna


class Way(NamedTuple):
    """A way to choose trials: ``points(box, n_trials, seed)`` of all at once, or None where each
    follows from those before; and whether it draws random numbers."""

    points: Callable[[Box, int, int], Array] | None
    is_random: bool


TRIALS = {"grid": Way(grid, False), "random": Way(random, True), "bayes": Way(None, True)}
DRAWING = [name for name, way in TRIALS.items() if way.is_random]


def check_trials(method: Any, n_trials: Any, random_state: Any, others: dict[str, Any]) -> None:
    """Raises for settings that the method does not use, and for those that are none; `others` are
    settings of methods that step, by name, None where they are not given."""
    way = TRIALS.get(method) if isinstance(method, str) else None
    if way is None:
        ways = " or ".join(map(repr, TRIALS))
        for name, value in (("n_trials", n_trials), ("random_state", random_state)):
            if value is not None:
                raise ValueError(
                    f"{name}={value!r} is for method {ways}, which try points; method {method!r} "
                    "follows the slope. Leave it out"
                )
        return
    for name, value in others.items():
        if value is not None:
            raise ValueError(
                f"{name}={value!r} is for methods that follow the slope; method {method!r} tries "
                "n_trials= points within bounds=. Leave it out"
            )
    check_whole(n_trials, "n_trials", 1, MOST_TRIALS)
    check_seed(random_state)
    if random_state is not None and not way.is_random:
        raise ValueError(
            f"random_state={random_state!r} is for methods that draw; method {method!r} does not. "
            "Leave it out"
        )
    if way.points is None:
        import_optuna()


def check_seed(random_state: Any) -> None:
    check_whole(random_state, "random_state", 0, 2**32 - 1)


def check_whole(value: Any, name: str, least: int, most: int) -> None:
    """Raises ValueError for what is neither None nor a whole number between these."""
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not (value is None or (is_whole and least <= value <= most)):
        raise ValueError(f"{name} must be an integer from {least} to {most} or None; got {value!r}")


# ---- what they are worth ----


@dataclass(frozen=True, eq=False)
class SideBySide(InnerProblem):
    """An inner problem at several θ at once: column t * n_folds + f is fold f at the t-th θ. All
    that is said of folds is said of these columns."""

    n_trials: int = 1

    @computed_once
    def units(self):
        return Units(self.n_trials * self.rows.n_folds, self.loss.n_classes)

    @property
    def n_folds(self):
        return self.n_trials * self.rows.n_folds

    def strengths(self, theta):
        """λ of all, (n_coef, n_columns), from their θ in turn."""
        xp, m = self.design.xp, self.rows.n_folds * self.loss.n_classes
        every = [super(SideBySide, self).strengths(one) for one in np.split(theta, self.n_trials)]
        return xp.concat([lam for lam in every for _ in range(m // lam.shape[1])], axis=1)

    def usual(self, lam):
        """Strengths between those of all columns, (n_coef, n_classes): their geometric means."""
        xp, K = self.design.xp, self.loss.n_classes
        safe = xp.log(xp.where(lam > 0, lam, xp.ones_like(lam)))
        means = [xp.exp(xp.mean(safe[:, j::K], axis=1, keepdims=True)) for j in range(K)]
        means = xp.concat(means, axis=1)
        means = xp.where(lam[:, :K] > 0, means, xp.zeros_like(means))
        return means if self.penalty.is_per_class else means[:, :1]

    def precond(self, c, lam, is_quick=False):
        return super().precond(c, self.usual(lam), is_quick=is_quick)


class TrialSettings(NamedTuple):
    """What `hoag` was asked for: the method, how many trials, the seed, the tolerance of f."""

    method: str
    n_trials: int
    seed: int
    tolerance: Tolerance

    def check(self, problem):
        """Raises ValueError for a grid of which hyperparameters would have one value each."""
        k = problem.n_hyper
        if self.method == "grid" and per_axis(self.n_trials, k) < 2:
            raise ValueError(
                f"method 'grid' is a product grid, of 2 values at least for each of the {k} "
                f"hyperparameters: n_trials >= 2**{k}; got n_trials={self.n_trials}. Use "
                "method='random', or a method that follows the slope"
            )

    def default_box(self, inner, scales):
        return box_of_trials(inner, scales)

    def n_blocks(self, n_hyper):
        return 2

    def slope(self, bound, found):
        """What the hypergradient of an evaluation has to come down to."""
        return self.tolerance.of_slope(bound, found, None)

    def search(self, seen, whole, run, box):
        return TrialSearch(seen, run, self, box)


class TrialSearch:
    """The trials of one call of `hoag`; to the entry it looks as `fasthoag.outer.search.Search`."""

    is_small = False  # no rows are held back

    def __init__(self, seen, run, settings, box):
        self.seen, self.bound, self.run = seen, seen.bound, run
        self.settings, self.box, self.tol = settings, box, settings.tolerance.slope
        self.is_common = np.zeros(len(box.lower), bool)
        self.looks, self.n_iter, self.trials = [], 0, []
        self._continuation, self._best = Continuation(self.bound), None

    def run_from(self, theta, W=None):
        """(evaluation of the best trial, status); `theta` and `W` are None, nothing to start
        from."""
        method, n_trials, seed, _ = self.settings
        points = TRIALS[method].points
        if points is not None:
            _, is_stopped = self.try_points(points(self.box, n_trials, seed))
            return self.best(is_stopped)
        tree, is_stopped = Tree(self.box, seed), False
        while self.n_iter < n_trials and not is_stopped:
            n = 1 if self.n_iter else min(tree.n_drawn, n_trials)
            values, is_stopped = self.try_points(tree.ask(n))
            if not is_stopped:
                tree.tell(values)
        return self.best(is_stopped)

    def try_points(self, points):
        """Values of f at these points, NaN where it is not known, and whether the callback asked to
        stop. From the strongest to the weakest, each next to the one before: far from those that
        are solved a trial costs many times as much."""
        order, values = np.argsort(-points.sum(axis=1), kind="stable"), np.full(len(points), np.nan)
        n = self.n_at_once
        for first in range(0, len(points), n):
            some = order[first : first + n]
            for i, found in zip(some, self.evaluate(points[some]), strict=True):
                values[i] = found.value if is_of_use(found) else np.nan
                if self.take(found):
                    return values, True
        return values, False

    @property
    def n_at_once(self):
        """How many trials are solved as one block."""
        if not self.bound.can_stack:
            return 1
        return max(1, MOST_COLUMNS // self.bound.inner.units.n_columns)

    def evaluate(self, points):
        """The evaluations at some points: as one block, or else one by one."""
        found, continuation = None, self._continuation
        if len(points) > 1:
            starts = [continuation.start(one) for one in points]
            found = together(self.bound, points, starts, continuation.accuracy)
        if found is None:
            return (continuation.evaluate(one, SHARE) for one in points)
        return (continuation.evaluate_within(one, SHARE) for one in found)

    def take(self, found):
        """Takes note of a trial; returns whether the callback asks to stop."""
        self.n_iter += 1
        is_best = is_of_use(found) and (self._best is None or found.value < self._best.value)
        self._best = found if is_best else self._best
        if is_of_use(found):
            self._continuation.keep(found)
        self.trials.append(replace(found, W=None, V=None, Q=None, precond=None))
        return self.run.record("trial", found, found.accuracy, is_best)

    def best(self, is_stopped):
        """The best trial as an evaluation of its own, as accurate as `tol` asks for."""
        if self._best is None:
            return self._continuation.evaluate(self.trials[0].theta, SHARE), "inner_failed"
        found = self._continuation.evaluate_alone(self._best, 0.3 * self.tol)
        self.run.record("all", found, found.accuracy, True)
        if is_stopped:
            return found, "stopped"
        outwards = np.where(found.theta <= self.box.lower, found.grad, 0.0)
        outwards = np.where(found.theta >= self.box.upper, -found.grad, outwards)
        return found, "at_bound" if (outwards > found.grad_error).any() else "searched"

    def minima(self, best, status):
        """The local minima among the trials of a single hyperparameter, else the best."""
        first = Minimum(best.theta, best.value)
        if len(best.theta) > 1 or status == "inner_failed":
            return [first]
        trials = sorted(filter(is_of_use, self.trials), key=lambda one: float(one.theta[0]))
        numbers = ((one.theta[0], one.value, one.value_error) for one in trials)
        columns = (np.array(column) for column in zip(*numbers, strict=True))
        places = local_minima(*columns)
        others = (Minimum(np.array([x]), value) for x, value in places if x != best.theta[0])
        return [first, *distinct(others)]

    def solution_on_all_rows(self, best, W):
        """Near the solution on all rows: the mean of those of the folds, `W`."""
        return self.bound.inner.units.fold_mean(W)


def together(bound, points, starts, accuracy):
    """The evaluations at several θ as columns of one block, from these starts; None where a column
    is not solved."""
    inner, xp = bound.inner, bound.inner.design.xp
    names = ("rows", "loss", "penalty", "tuned", "anchors", "solver")
    side = SideBySide(**{name: getattr(inner, name) for name in names}, n_trials=len(points))
    W = xp.concat([start.W for start in starts], axis=1)
    Q = xp.concat([0 * start.W if start.Q is None else start.Q for start in starts], axis=1)
    theta = np.concatenate(points)
    precond = inner.first_precond(side.usual(side.strengths(theta)))
    options = {"Q": Q, "has_tangents": False, "precond": precond}
    found = corrected(replace(bound, inner=side), theta, W, accuracy, **options)
    if not (found.is_solved.all() and np.isfinite(found.fold_values).all()):
        return None
    return [of_trial(found, inner, point, t) for t, point in enumerate(points)]


def of_trial(found, inner, point, t):
    """The `Evaluation` of the t-th θ of a block, without a slope."""
    xp, F, m = inner.design.xp, inner.n_folds, inner.units.n_columns
    folds, columns = slice(t * F, (t + 1) * F), slice(t * m, (t + 1) * m)

    def own(block):
        return xp.asarray(block[:, columns], copy=True)

    return Evaluation(
        theta=point,
        value=float(found.fold_values[folds].sum()),
        value_inner_error=float(found.inner_errors[folds].sum()),
        value_linear_error=float(found.linear_errors[folds].sum()),
        fold_values=found.fold_values[folds],
        grad=np.full(len(point), np.nan),
        inner_error=np.nan,
        linear_error=np.nan,
        hess=None,
        W=own(found.at.W),
        Q=own(found.solves.Q),
        T=None,
        V=own(found.solves.V),
        accuracy=found.reached,
        n_inner=found.n_inner,
        n_cg=found.n_cg,
        is_solved=True,
        precond=found.at.precond,
    )
