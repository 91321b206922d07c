"""Scorers on predictions of several targets, of the rows that are held out."""

import warnings
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

from fasthoag.path import Point, Scored, best_by_score
from fasthoag.scoring import ask
from fasthoag.types import Array


class _Numbers(RegressorMixin, BaseEstimator):
    """What a scorer takes for a fitted model of one target or more, whose predictions are known."""

    def __init__(self, z):
        self.z = z

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        return self.z


class _Labels(ClassifierMixin, _Numbers):
    """The same of labels that a row may have several of."""

    @property
    def classes_(self):
        return np.arange(self.z.shape[1])

    def decision_function(self, X):
        return self.z

    def predict(self, X):
        return (self.z > 0).astype(int)


class _Walk:
    """Targets at one θ after another, or at one of each, as `Scored` asks for them."""

    def __init__(self, rows, Y, n_hyper):
        self.rows, self.Y, self.direction = rows, Y, np.ones(n_hyper)

    def at(self, theta):
        return Point(theta, 0.0, 0.0, None, None, 0)

    def predictions(self, point):
        return self.rows.predictions(self.Y, np.broadcast_to(point.theta, self.Y.shape[1:]))


def judged_by(
    judge: Any, fit: Any, rows: Any, theta: Array, box: tuple[float, float], points: Any
) -> tuple[Array, Array]:
    """The strengths that a scorer likes best, around those of the loss and among given ones, and
    the scores of the folds there.

    A scorer of labels judges all of them together, at strengths that move by a common factor;
    numbers with strengths of their own it judges one by one."""
    is_apart = not (fit.is_shared or judge.is_of_labels)
    targets = [[j] for j in range(fit.Y.shape[1])] if is_apart else [slice(None)]
    found = []
    for some in targets:
        own = theta[some] if is_apart else theta
        walk: Any = _Walk(rows, fit.Y[:, some], len(own))
        folds = [None] if rows.held is None else rows.held
        of_folds = partial(scores_of, judge, fit, some, folds)
        ends = np.full(len(own), box[0]), np.full(len(own), box[1])
        scored = Scored([walk], of_folds, [ends])
        levels = (max(np.log(lam), box[0]) if lam > 0 else box[0] for lam in points)
        given = [scored.at([np.full(len(own), level)]) for level in levels]
        best = best_by_score(scored, [own], given)
        if not np.isfinite(best.mean):
            raise ValueError(
                "scoring gives no number on any fold, so that it can choose no strength; use "
                "another scorer, or scoring=None"
            )
        found.append(best)
    scores = np.array([one.scores for one in found])
    return np.concatenate([one.thetas[0] for one in found]), scores if is_apart else scores[0]


def scores_of(judge, fit, some, folds, Z):
    """Scores of the folds, (n_folds,), NaN where one cannot be judged."""
    (Z,), found = Z, np.empty(len(folds))
    is_judged = np.ones(len(fit.Y), bool) if fit.weight is None else fit.weight > 0
    for k, (rows, z) in enumerate(zip(folds, Z, strict=True)):
        if rows is None:
            rows, z = np.flatnonzero(is_judged), z[is_judged]
        y, weight = fit.Y[rows][:, some], None if fit.weight is None else fit.weight[rows]
        found[k], reason = ask(judge.scorer, *judge.shown(z, y), weight)
        if reason is not None:
            warnings.warn(f"scoring gives NaN on fold {k}: {reason}", UserWarning, stacklevel=2)
    return found


class Judge(NamedTuple):
    """A scorer, and whether it is shown labels that a row may have several of, or numbers."""

    scorer: Any
    is_of_labels: bool

    def shown(self, z: Array, y: Array) -> tuple[Any, Array]:
        """The model and the targets that it sees; of one target (n_rows,)."""
        if self.is_of_labels:
            return _Labels(z), (y > 0).astype(int)
        return (_Numbers(z[:, 0]), y[:, 0]) if z.shape[1] == 1 else (_Numbers(z), y)


def judge_of(scoring: Any, is_classifier: bool) -> Judge | None:
    if scoring is None:
        return None
    return Judge(get_scorer(scoring) if isinstance(scoring, str) else scoring, is_classifier)
