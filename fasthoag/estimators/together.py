"""One strength for several problems: the sum of their criteria, and the search for its minimum.

The problems may be folds whose features, weights or numbers of rows differ, or classes against the
rest, each with an X, targets and folds of its own. θ is the logarithm of the common strength."""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fasthoag.hypergradient import Accuracy, Evaluation, solve_inner
from fasthoag.outer.loop import From, Until, minimise
from fasthoag.outer.record import entry
from fasthoag.outer.result import SAFETY
from fasthoag.outer.rules import Box
from fasthoag.outer.start import DECADE, LOOSE, MOST_LEVELS, SMALL, default_box
from fasthoag.outer.tolerance import Tolerance
from fasthoag.outer.trust_region import TrustRegion
from fasthoag.threads import computed_once

SETTLED = 0.01  # log units: strengths as near are one

NEAR = 1.0  # log units of the first step: a look is not far from the lowest place
NEARER = Accuracy(0.05, 0.1)  # of looks that cost next to nothing
ACCURATE = Accuracy(1e-5, 1e-3)  # of losses that are reported
# Classes that can be separated drive λ down to where double precision tells models no longer apart.
LEAST_OF_CLASSES = np.log(1e5)


@dataclass(frozen=True, eq=False)
class Part:
    """One of the problems, with a column for each of its folds.

    Attributes
    ----------
    bound : BoundCriterion
    shift : float
        Its own log λ less θ.
    folds : array, shape (n_columns,)
        Which of all folds its columns are of.
    weights : array, shape (n_columns,)
        What the losses of its columns are divided by.
    """

    bound: Any
    shift: float
    folds: Any
    weights: Any

    @property
    def scale(self):
        """One number for all columns, whose weights are nearly the same."""
        return 1.0 / float(self.weights.mean())

    def by_fold(self, values, n_folds):
        """Losses of its columns, (n_folds,)."""
        return np.bincount(self.folds, weights=values / self.weights, minlength=n_folds)

    def range_of(self, low, high):
        """Levels of θ a number of log units below its smallest scale of a feature, and above the
        sum of all."""
        scales = self.bound.inner.scales
        return np.log(scales.min()) + low - self.shift, np.log(scales.sum()) + high - self.shift


class Losses(NamedTuple):
    """What every fold has lost at one θ, (n_folds,), and the inner solutions."""

    theta: float
    folds: np.ndarray
    W: np.ndarray


@dataclass(frozen=True, eq=False)
class Together:
    """The mean over folds of the criteria of all parts. Blocks of coefficients of the parts are one
    vector, since their numbers of features may differ."""

    parts: tuple
    n_folds: int
    has_kinks = False  # a sum of many small ones

    @property
    def is_foreseen(self):
        return not any(part.bound.has_kinks for part in self.parts)

    @computed_once
    def shapes(self):
        return [part.bound.inner.null.W.shape for part in self.parts]

    @computed_once
    def null_W(self):
        """Coefficients of the null models."""
        return joined([part.bound.inner.null.W for part in self.parts])

    @computed_once
    def null_value(self):
        return self._mean(part.scale * part.bound.null_value for part in self.parts)

    @property
    def n_passes(self):
        """Passes over all parts that share an X, summed over the different X and counted in the
        unit of their mean size."""
        designs = {id(part.bound.inner.design): part.bound.inner.design for part in self.parts}
        stored = [design.n_stored for design in designs.values()]
        passes = [design.n_passes for design in designs.values()]
        return float(np.dot(passes, stored)) / max(1.0, float(np.mean(stored)))

    def size(self, value):
        return max(abs(value), 1e-8 * abs(self.null_value))

    def split(self, vector):
        """The blocks of the parts, or None for each."""
        if vector is None:
            return [None] * len(self.parts)
        ends = np.cumsum([np.prod(shape) for shape in self.shapes])[:-1]
        blocks = zip(np.split(vector, ends), self.shapes, strict=True)
        return [block.reshape(shape) for block, shape in blocks]

    def _mean(self, values):
        return float(sum(values)) / self.n_folds

    def evaluate(self, theta, W, accuracy, *, Q=None, T=None, has_tangents=True, precond=None):
        """The `Evaluation` of the mean at θ, as `BoundCriterion.evaluate` gives that of a part."""
        tangents = self.split(None if T is None else T[0])
        preconds = precond or [None] * len(self.parts)
        each = zip(self.parts, self.split(W), self.split(Q), tangents, preconds, strict=True)
        found = [
            part.bound.evaluate(
                theta + part.shift,
                w,
                accuracy,
                Q=q,
                T=None if t is None else [t],
                has_tangents=has_tangents,
                precond=p,
            )
            for part, w, q, t, p in each
        ]
        return self._sum(theta, found, has_tangents)

    def _sum(self, theta, found, has_tangents):
        scales = [part.scale for part in self.parts]

        def mean(name):
            return self._mean(s * vars(one)[name] for s, one in zip(scales, found, strict=True))

        def of_gradients(name):
            return sum(s * vars(one)[name] for s, one in zip(scales, found, strict=True))

        linear = [s * one.linear_error for s, one in zip(scales, found, strict=True)]
        reached = [one.accuracy for one in found]
        return Evaluation(
            theta=theta,
            value=mean("value"),
            value_inner_error=mean("value_inner_error"),
            value_linear_error=mean("value_linear_error"),
            fold_values=self.by_fold([one.fold_values for one in found]),
            grad=of_gradients("grad") / self.n_folds,
            inner_error=mean("inner_error"),
            linear_error=float(np.linalg.norm(linear)) / self.n_folds,  # unrelated between parts
            hess=of_gradients("hess") / self.n_folds if has_tangents else None,
            W=joined([one.W for one in found]),
            Q=joined([one.Q for one in found]),
            T=[joined([one.T[0] for one in found])] if has_tangents else None,
            V=joined([one.V for one in found]),
            accuracy=Accuracy(
                max(one.inner for one in reached),
                max(one.linear for one in reached),
                tangents=max(one.tangents for one in reached) if has_tangents else None,
            ),
            n_inner=max(one.n_inner for one in found),
            n_cg=max(one.n_cg for one in found),
            is_solved=all(one.is_solved for one in found),
            precond=[one.precond for one in found],
        )

    def by_fold(self, values):
        """The losses of every fold from those of the columns of every part, (n_folds,)."""
        each = zip(self.parts, values, strict=True)
        return sum(part.by_fold(one, self.n_folds) for part, one in each)

    def losses(self, theta, W):
        """The accurate `Losses` at θ, the inner solves starting from W."""
        solved, values = [], []
        for part, w in zip(self.parts, self.split(W), strict=True):
            bound, here = part.bound, np.array([theta + part.shift])
            quick = bound.inner.first_precond(bound.inner.strengths(here))
            _, solution, _, _ = solve_inner(bound, here, w, ACCURATE, quick)
            solved.append(solution.W)
            values.append(bound.values(solution.W, solution.Z))
        return Losses(theta, self.by_fold(values), joined(solved))

    def coefficients(self, W):
        """Coefficients of every fold as the user has them, the intercept last, a column for each
        of its models, or of its classes."""
        found = [[] for _ in range(self.n_folds)]
        for part, w in zip(self.parts, self.split(W), strict=True):
            inner = part.bound.inner
            for fold, block in zip(part.folds, inner.units.split(w), strict=True):
                found[fold].append(inner.design.decode(block))
        return [np.concatenate(blocks, axis=1) for blocks in found]

    # ---- the search ----

    def box(self):
        """Bounds of θ, beyond which a strength is nothing or everything for every part."""
        low, high = zip(*(default_box(part.bound.inner) for part in self.parts), strict=True)
        shifts = [part.shift for part in self.parts]
        low, high = np.ravel(low) - shifts, np.ravel(high) - shifts
        is_of_classes = any(part.bound.inner.loss.is_classification for part in self.parts)
        least = low.min() + (LEAST_OF_CLASSES if is_of_classes else 0.0)
        return Box(np.array([least]), np.array([high.max()]))

    @property
    def is_small(self):
        """Whether looks at every level cost next to nothing."""
        inners = [part.bound.inner for part in self.parts]
        return sum(one.design.n_stored * one.units.n_columns for one in inners) <= SMALL

    def levels(self, box):
        """θ to look at, from where the penalty is everything down to where it is nothing; of large
        data three about the scale of a feature."""
        if self.is_small:
            ranges = [part.range_of(-4 * DECADE, 0.0) for part in self.parts]
            bottom, top = min(low for low, _ in ranges), max(high for _, high in ranges)
            levels = np.arange(top, bottom, -max(DECADE, (top - bottom) / MOST_LEVELS))
        else:
            scales = [np.log(part.bound.inner.scales.mean()) - part.shift for part in self.parts]
            levels = np.mean(scales) + DECADE * np.array([1.0, 0.0, -1.0])
        return np.unique(np.clip(levels, box.lower[0], box.upper[0]))[::-1]

    def look(self, box, record):
        """Evaluations at levels, as far down as the criterion promises anything and is solved."""
        found, W, n_worse = [], self.null_W, 0
        worse, most, accuracy = (0.5, 2, NEARER) if self.is_small else (0.02, 1, LOOSE)
        for level in self.levels(box):
            one = self.evaluate(np.array([level]), W, accuracy, has_tangents=False)
            if not (one.is_solved and np.isfinite(one.value)):
                if self.is_small:
                    continue
                break  # weaker penalties are harder still
            found.append(one)
            W = one.predict(np.zeros(1))
            record("look", one, accuracy, False)
            best = min(one.value for one in found)
            n_worse = n_worse + 1 if one.value > best + worse * self.size(best) else 0
            if n_worse == most:
                break
        return found

    def minimum(self, box, tol, max_iter, record):
        """The best evaluation, its status and the number of steps: from the lowest look, and from
        others that are lower than what was found."""
        starts = sorted(self.look(box, record), key=lambda one: one.value)
        starts = [
            (one.value + one.value_error, one.theta, one.predict(0 * one.theta)) for one in starts
        ]
        starts.append((self.null_value, box.upper, self.null_W))
        best, status, n_iter = None, "inner_failed", 0
        until = Until(Tolerance(tol), max_iter)
        for value, theta, W in starts:
            is_known = best is not None and best.is_solved and np.isfinite(best.value)
            if is_known and not value < best.value - tol * self.size(best.value):
                continue
            begin, rule = From(theta, W), TrustRegion()
            rule.restore({"radius": NEAR})
            found, now, n = minimise(self, rule, begin, box, until, partial(record, "all"))
            n_iter += n
            if not is_known or found.value < best.value:
                best, status = found, now
        return best, status, n_iter


def joined(blocks):
    """Blocks of coefficients as one vector."""
    return np.concatenate([np.ravel(block) for block in blocks])


class Points(NamedTuple):
    """Strengths by θ (n_points,) with what every fold scores and loses there, (n_points,
    n_folds)."""

    thetas: np.ndarray
    scores: np.ndarray
    losses: np.ndarray


class Seen:
    """The evaluations of a search: its trace, and the losses of the folds at every strength."""

    def __init__(self, together, tol, show):
        self.together, self.tol, self.show = together, tol, show
        self.trace, self._losses, self._errors = [], {}, {}
        self._began = time.perf_counter()

    def seconds(self):
        return time.perf_counter() - self._began

    def record(self, phase, found, accuracy, is_accepted):
        """Appends to the trace; returns whether to stop, which nobody asks for."""
        theta = float(found.theta[0])
        if found.is_solved:
            self._losses[theta] = found.fold_values
            self._errors[theta] = SAFETY * found.value_error
        self.trace.append(
            entry(
                phase,
                [theta],
                found,
                accuracy,
                grad_tol=self.tol * self.together.size(found.value),
                n_passes=self.together.n_passes,
                seconds=self.seconds(),
                is_accepted=bool(is_accepted),
            )
        )
        self.show(self.trace[-1])
        return False

    def points(self, theta, end):
        """The `Points` of all strengths, θ at the end among them; what may be lower there is not
        left to rough values."""
        losses = {t: one for t, one in self._losses.items() if abs(t - theta) > SETTLED}
        for other in losses:
            if losses[other].mean() - self._errors[other] <= end.folds.mean():
                losses[other] = self.together.losses(other, end.W).folds
        losses[theta] = end.folds
        thetas = np.array(sorted(losses))
        found = np.array([losses[each] for each in thetas])
        return Points(thetas, -found, found)
