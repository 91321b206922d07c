"""Evaluations of a criterion at one θ after another, each started from what those before found."""

from collections import deque
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fasthoag.hypergradient import Accuracy
from fasthoag.inner.precond import SMALL

MOST_KEPT = 16  # solutions that later ones may start from
NEAR = 3.5  # log units within which a solution is a start
SERVES = 7.0  # log units within which a preconditioner serves
USUAL, USUAL_FEW = Accuracy(0.1, 0.1), Accuracy(0.01, 0.01)
ON_THE_WAY = Accuracy(0.3, 0.3)
FARTHEST = 2.0  # of the distance of two solutions, to which the line through them is followed
SHARPER, FINEST = 0.3, 1e-7  # steps of accuracy, and the last


class Start(NamedTuple):
    """Where the solves at a θ begin: inner solutions, adjoint and preconditioner, None where
    unknown."""

    W: Any
    Q: Any = None
    precond: Any = None


class Continuation:
    """The last evaluations of a bound criterion, and where others start from them."""

    def __init__(self, bound, accuracy=None):
        self.bound, self._kept = bound, deque(maxlen=MOST_KEPT)
        is_few = bound.inner.design.n_coef <= SMALL
        # Of a first look; of few coefficients digits cost next to nothing.
        self.accuracy = accuracy or (USUAL_FEW if is_few else USUAL)
        self._made_at = {}  # θ that the data of preconditioners are of, by their identity

    def keep(self, found):
        """Takes note of an `Evaluation`."""
        self._kept.append(found)
        now = {made_of(one.precond): one.theta for one in self._kept}
        self._made_at = now | {key: at for key, at in self._made_at.items() if key in now}

    def nearest(self, theta):
        """The evaluations that are kept, the nearest first."""
        return sorted(self._kept, key=lambda one: float(np.linalg.norm(one.theta - theta)))

    def start(self, theta):
        """The `Start` at θ: the solution at the nearest one; of a single hyperparameter that on the
        line through the two nearest, which is off by the square of the distance only."""
        kept = self.nearest(theta)
        if not kept:
            return Start(self.bound.inner.null.W)
        nearest, *others = kept
        W, Q, precond = nearest.W - nearest.V, nearest.Q, nearest.precond
        made_at = self._made_at[made_of(precond)]
        if precond is not None and np.abs(made_at - theta).max() > SERVES:
            precond = replace(precond, is_rough=True)  # made anew at the solution
        others = [one for one in others if one.theta[0] != nearest.theta[0]]
        if len(theta) > 1 or not others:
            return Start(W, Q, precond)
        other = others[0]
        t = float((theta[0] - nearest.theta[0]) / (nearest.theta[0] - other.theta[0]))
        if abs(t) > FARTHEST:
            return Start(W, Q, precond)
        W = W + t * (W - (other.W - other.V))
        Q = None if Q is None or other.Q is None else Q + t * (Q - other.Q)
        return Start(W, Q, precond)

    def evaluate(self, theta, share):
        """The `Evaluation` at θ, with its slope and an error of at most this share of the size of
        the criterion; again from the null model where the start was not good enough."""
        self._walk_down(theta)
        found = self._from(self.start(theta), theta, self.accuracy)
        if not is_of_use(found) and self._kept:
            found = self._from(Start(self.bound.inner.null.W), theta, self.accuracy)
        return self.evaluate_within(found, share)

    def _walk_down(self, theta):
        """Solutions on the way to a θ of far weaker strengths: a leap there costs more."""
        while self._kept:
            nearest, *_ = self.nearest(theta)
            step = theta - nearest.theta
            length = float(np.abs(step).max())
            if length <= NEAR or step.sum() > 0:
                break
            there = nearest.theta + step / np.ceil(length / NEAR)
            found = self._from(self.start(there), there, ON_THE_WAY)
            if not is_of_use(found):
                break
            self.keep(found)

    def evaluate_within(self, found, share):
        """The evaluation again until its error is at most this share of the size of the criterion,
        as far as rounding allows."""
        accuracy = found.accuracy
        while (
            is_of_use(found)
            and found.value_error > share * self.bound.size(found.value)
            and accuracy.inner > FINEST
        ):
            accuracy = Accuracy(
                *(SHARPER * min(one, 0.3) for one in (accuracy.inner, accuracy.linear))
            )
            at = Start(found.W - found.V, found.Q, found.precond)
            found = self._from(at, found.theta, accuracy)
        return found

    def evaluate_alone(self, found, share):
        """The same of an evaluation that may be of a block, and without a slope."""
        if np.isfinite(found.grad).all():
            return self.evaluate_within(found, share)
        at = Start(found.W - found.V, found.Q, found.precond)
        return self.evaluate_within(self._from(at, found.theta, self.accuracy), share)

    def _from(self, start, theta, accuracy):
        options = {"Q": start.Q, "precond": start.precond, "has_tangents": False}
        return self.bound.evaluate(theta, start.W, accuracy, **options)


def made_of(precond):
    """What tells a preconditioner that was made at one θ from those made at others: the identity of
    its curvatures."""
    return None if precond is None else id(precond.data)


def is_of_use(found):
    """Whether the inner problem was solved and f is a number."""
    return found.is_solved and np.isfinite(found.value)
