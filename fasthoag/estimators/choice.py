"""Which strengths an estimator takes: those of least loss, those that a scorer likes best, or given
ones; and what the folds say of given ones."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fasthoag.criteria import ApproximateLOO, Criterion, HeldOut
from fasthoag.design import to_host
from fasthoag.estimators.given import Given
from fasthoag.outer.result import HoagResult
from fasthoag.path import (
    LOOSE,
    OF_SCORES,
    Candidate,
    Scored,
    Walk,
    along,
    best_by_score,
    one_standard_error,
    strongest_within,
)
from fasthoag.problem import Problem
from fasthoag.scoring import scores_of_models
from fasthoag.types import Array, Scoring

FINE = 1e-4  # of the size of the criterion, where coefficients of the folds are shown


class Task(NamedTuple):
    """What one search is asked: a problem, a criterion, the rows of ``stop_on`` and the bounds."""

    problem: Problem
    criterion: Criterion
    stop_on: HeldOut | None
    bounds: Any


@dataclass(frozen=True, eq=False)
class PointsOfFolds:
    """What the folds say of some strengths, in their order.

    Attributes
    ----------
    given : Given
    scores : array, shape (n_points, n_folds)
        By the scorer, else minus the mean held-out loss.
    n_iter : array, shape (n_points,)
        Newton steps of the slowest fold.
    w : array, shape (n_points, n_folds, n_models, n_features + fit_intercept), or None
        Coefficients, the intercept last.
    of_rows : array, shape (n_rows, n_points), or (n_rows, n_models, n_points), or None
        Of leave-one-out: what the model without it predicts for every row where a scorer judges
        that, else its squared error, times its weight.
    candidates : list of Candidate, of None without a scorer
    """

    given: Given
    scores: Array
    n_iter: Array
    w: Any
    of_rows: Any
    candidates: list[Candidate | None]


class Chosen(NamedTuple):
    """The θ of every model; the scores of the folds there, where a scorer chose; and what the folds
    say of strengths that are reported."""

    thetas: tuple[Array, ...]
    scores: Array | None
    points: PointsOfFolds | None


@dataclass(frozen=True, eq=False)
class Chooser:
    """How the strengths of all models of a fit are chosen after the searches by the loss.

    `scores` are those of the folds by the scorer that chooses, of the predictions of all models, or
    None; `points` are strengths that are compared or reported, with the coefficients of the
    folds if `has_w`."""

    tasks: list[Task]
    walks: list[Walk]
    scores: Any
    points: Given | None
    one_se: bool
    has_w: bool

    def chosen(self, results: list[HoagResult]) -> Chosen:
        """The strengths that are taken; the loss likes those of the results best."""
        if self.scores is None and self.points is None:
            return Chosen(self._by_loss(results), None, None)
        for walk, result in zip(self.walks, results, strict=True):
            walk.begin(result.theta, result.w)
        scored = None if self.scores is None else self._scored()
        points = None if self.points is None else self._reported(scored)
        if scored is None:
            return Chosen(self._by_loss(results), None, points)
        found = [result.theta for result in results]
        is_late = any(result.status == "out_of_time" for result in results)
        if is_late:
            best = scored.at(found)  # No time is left to compare it with others.
        else:
            best = best_by_score(scored, found, [] if points is None else points.candidates)
        if not np.isfinite(best.mean):
            raise ValueError(
                "scoring gives no number on any fold, so that it can choose no strength; use "
                "another scorer, or scoring=None"
            )
        if self.one_se and not is_late:
            known = best.scores[np.isfinite(best.scores)]
            check_folds(len(known))
            error = float(known.std(ddof=1) / np.sqrt(len(known)))
            best = strongest_within(scored, best, error)
        return Chosen(best.thetas, best.scores, points)

    def _by_loss(self, results):
        if not self.one_se:
            return tuple(result.theta for result in results)
        for result in results:
            check_folds(len(result.fold_values))
        return tuple(
            one_standard_error(task.problem, task.criterion, result, bounds=task.bounds)
            for task, result in zip(self.tasks, results, strict=True)
        )

    def _scored(self):
        boxes = [walk.box(t.bounds) for walk, t in zip(self.walks, self.tasks, strict=True)]
        return Scored(self.walks, self.scores, boxes)

    def _reported(self, scored):
        """The `PointsOfFolds` of all points, judged where a scorer chooses."""

        def note(points):
            candidate = None if scored is None else scored.judged(points)
            by_loss = [
                -point.fold_values / walk.bound.fold_weights
                for point, walk in zip(points, self.walks, strict=True)
            ]
            scores = np.mean(by_loss, axis=0) if candidate is None else candidate.scores
            Ws = [point.W for point in points]
            w = self.coefficients(Ws) if self.has_w else None
            errors = self._of_rows(points) if self.has_w and leaves_out else None
            return candidate, scores, max(point.n_inner for point in points), w, errors

        leaves_out = isinstance(self.tasks[0].criterion, ApproximateLOO)
        share = FINE if self.has_w else LOOSE
        found = along(self.walks, self.points.lam, note, share)
        candidates, scores, n_iter, w, errors = zip(*found, strict=True)
        return PointsOfFolds(
            given=self.points,
            scores=np.array(scores),
            n_iter=np.array(n_iter),
            w=np.array(w) if self.has_w else None,
            of_rows=np.stack(errors, axis=-1) if self.has_w and leaves_out else None,
            candidates=list(candidates),
        )

    def _of_rows(self, points):
        """What is kept of every row by the models without it: (n_rows,), or with a column for each
        model."""
        found = []
        for walk, point in zip(self.walks, points, strict=True):
            weight, y = walk.problem.sample_weight, walk.problem.y
            left_out = walk.bound.left_out(point.theta, point.W)
            squared = (y - left_out) ** 2 * (1.0 if weight is None else weight)
            found.append(squared if self.scores is None else left_out)
        return found[0] if len(found) == 1 else np.column_stack(found)

    def coefficients(self, Ws: list[Any]) -> Array:
        """Those of all folds and models in this memory, (n_folds, n_models, n_features +
        fit_intercept)."""
        models = []
        for walk, W in zip(self.walks, Ws, strict=True):
            w = to_host(walk.coefficients(W))
            models.append(w.reshape(*w.shape[:2], -1))
        return np.moveaxis(np.concatenate(models, axis=2), 0, 2)

    def coefficients_at(self, results: list[HoagResult], thetas: tuple[Array, ...]) -> Array:
        """The same at some θ of the models, near those of the results."""
        found = []
        for task, result, theta in zip(self.tasks, results, thetas, strict=True):
            walk = Walk(task.problem, task.criterion)
            walk.begin(result.theta, result.w)
            found.append((walk, walk.at(theta, FINE).W))
        walks, Ws = zip(*found, strict=True)
        return replace(self, walks=list(walks)).coefficients(list(Ws))


def check_folds(n_folds):
    """Raises ValueError where there is no standard error over folds."""
    if n_folds < 2:
        raise ValueError(
            "one_se=True needs cross-validation: there is one criterion value only with "
            "validation= or leave-one-out"
        )


def chooser_for(
    tasks: list[Task],
    scoring: Scoring | None,
    weight: Any,
    points: Given | None,
    *,
    one_se: bool,
    is_warm: bool,
    has_w: bool,
) -> Chooser:
    """The `Chooser` of a fit. A scorer that cannot judge the loss is refused here, before any work;
    `weight` are those of the rows that it judges."""
    scores = None
    if scoring is None and points is None and not is_warm:
        return Chooser(tasks, [], None, None, one_se, has_w)
    walks = [Walk(task.problem, task.criterion, OF_SCORES) for task in tasks]
    if scoring is not None:
        loss, bounds = tasks[0].problem.loss, [walk.bound for walk in walks]
        by_name = scores_of_models(bounds, loss, scoring, weight)

        def scores(Z):
            (found,) = by_name(Z).values()
            return found

    return Chooser(tasks, walks, scores, points, one_se, has_w)
