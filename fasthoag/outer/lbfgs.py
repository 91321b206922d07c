"""Projected L-BFGS in θ for many hyperparameters: one adjoint a step whatever their number.

Directions by the two-loop recursion on the coordinates that are free of the box (Nocedal & Wright,
Numerical Optimization, Alg. 7.4); steps by a non-monotone Armijo test (Zhang & Hager 2004) on
adjoint-corrected values, as far as their errors tell; accuracy follows the size of the gradient.
"""

from collections import deque
from typing import Any

import numpy as np

from fasthoag.hypergradient import Accuracy, Evaluation
from fasthoag.outer.rules import Box, Past, Proposal, restored, saved

TIGHTEST, LOOSEST = 1e-11, 0.1
MEMORY = 10
MAX_STEP = 3.0  # log units in one coordinate
AVERAGE = 0.85  # weight of earlier values in the reference of the Armijo test


class LBFGS:
    """`accuracy` is what the next evaluation should have."""

    wants = "gradient"
    max_iter = 500
    _remembered = (
        "accuracy",
        "_pairs",
        "_last",
        "_reference",
        "_weight",
        "_length",
        "_n_rejected",
        "_n_in_row",
        "hint",
    )

    def __init__(self, schedule=None):
        if schedule is not None:
            raise ValueError(
                "schedule belongs to method='hoag'; method 'lbfgs' adapts its accuracy by itself. "
                f"Got {schedule!r}"
            )
        self.accuracy = Accuracy(LOOSEST, LOOSEST)
        self._pairs = deque(maxlen=MEMORY)
        self._last = self._reference = None
        self._weight, self._length, self._n_rejected = 1.0, 1.0, 0
        self._n_in_row = 0  # pairs of neighbouring points up to this one
        self.hint = None  # of one hyperparameter: (Hessian, relative error) from before

    def _direction(self, grad, free):
        """-(inverse Hessian) @ grad on the free coordinates."""
        pairs = [(s * free, y * free) for s, y in self._pairs]
        pairs = [
            (s, y, s @ y) for s, y in pairs if s @ y > 1e-10 * np.linalg.norm(s) * np.linalg.norm(y)
        ]
        d, alphas = -grad * free, []
        for s, y, sy in reversed(pairs):
            alphas.append((s @ d) / sy)
            d = d - alphas[-1] * y
        if pairs:
            s, y, sy = pairs[-1]
            d = d * (sy / (y @ y))
        else:
            d = d / max(np.abs(d).max(), 1e-300)  # the first step: one log unit
        for (s, y, sy), alpha in zip(pairs, reversed(alphas), strict=False):
            d = d + (alpha - (y @ d) / sy) * s
        if len(grad) == 1 and self._n_in_row > 1 and len(pairs) > 1 and d[0] != 0:
            d = bent(d, grad, *pairs[-2:])
        return d if grad @ d < 0 else -grad * free

    def _secant(self, evaluation):
        """The step from the last evaluation, what the gradient changed along it, and whether that
        is more than errors, which as a curvature would make a step of any length."""
        last = self._last
        s, y = evaluation.theta - last.theta, evaluation.grad - last.grad
        noise = 0.5 * (evaluation.grad_error + last.grad_error)
        return s, y, s @ y > max(1e-8 * np.linalg.norm(y), noise) * np.linalg.norm(s)

    def hessian(self, evaluation: Evaluation) -> tuple[Any, float]:
        """Of one hyperparameter what the last two hypergradients say of it, or what is known from
        before."""
        if len(evaluation.theta) > 1:
            return None, np.inf
        hint, hint_error = self.hint or (None, np.inf)
        if self._last is None or self._last.is_of(evaluation):
            return hint, hint_error
        s, y, is_sound = self._secant(evaluation)
        moved, noise = abs(float(s[0])), np.hypot(evaluation.grad_error, self._last.grad_error)
        error = moved + noise / abs(float(y[0])) if is_sound else np.inf
        if error < hint_error + moved:
            return np.array([[y[0] / s[0]]]), error
        return hint, hint_error + moved

    def propose(self, evaluation: Evaluation, box: Box, target: float, allowed: float) -> Proposal:
        theta, grad, last = evaluation.theta, evaluation.grad, self._last
        hess, hess_error = known = self.hessian(evaluation)
        self.hint = None if hess is None else known
        if last is not None and not last.is_of(evaluation):
            s, y, is_sound = self._secant(evaluation)
            self._n_in_row = self._n_in_row + 1 if is_sound else 0
            if is_sound:
                self._pairs.append((s, y))
        if self._reference is None or not np.isfinite(self._reference):
            self._reference, self._weight = evaluation.value, 1.0
        self._last = Past(theta, grad, evaluation.grad_error)
        free = ~(((theta <= box.lower) & (grad >= 0)) | ((theta >= box.upper) & (grad <= 0)))
        d = self._direction(grad, free)
        d = d * (self._length * min(1.0, MAX_STEP / max(np.abs(d).max(), 1e-300)))
        d = np.clip(theta + d, *box) - theta
        # which way is not known yet: look closer
        if evaluation.grad_error > 2 * np.linalg.norm(grad * free) > 2 * target:
            d = np.zeros_like(d)
        # perhaps the value that nothing goes below is the wrong one: look at it again, as
        # accurately
        if self._n_rejected == 3:
            d, self._reference, self._n_rejected = np.zeros_like(d), None, 0
        predicted = max(-float(grad @ d), 0.0)
        # of the gradient, after this step; a bent one may be the last
        left = 0.01 if len(grad) == 1 and self._n_in_row > 1 else 0.1
        self._aim(
            evaluation,
            max(left * float(np.linalg.norm(grad * free)), 0.3 * target),
            max(0.1 * predicted, 0.3 * allowed),
        )
        if hess is None:
            return Proposal(d, predicted)
        left = abs(float(grad[0] + hess[0, 0] * d[0]))
        left += np.hypot(evaluation.grad_error, hess_error * abs(float(grad[0])))
        left += abs(float(hess[0, 0] * d[0] ** 2))
        return Proposal(d, predicted, hess, hess_error, left)

    def _aim(self, evaluation, error, value_error):
        """The accuracy at which each error of the hypergradient would be half of `error` (first
        order) and of the value half of `value_error` (second)."""

        def scaled(reached, grad_part, value_part):
            factor = min(
                0.5 * error / max(grad_part, 1e-300),
                np.sqrt(0.5 * value_error / max(value_part, 1e-300)),
            )
            return float(np.clip(max(reached, 1e-16) * min(factor, 3.0), TIGHTEST, LOOSEST))

        reached = evaluation.accuracy
        self.accuracy = Accuracy(
            scaled(reached.inner, evaluation.inner_error, evaluation.value_inner_error),
            scaled(reached.linear, evaluation.linear_error, evaluation.value_linear_error),
        )

    def accept(self, current: Evaluation, trial: Evaluation, proposal: Proposal) -> bool:
        """Whether f fell by a part of what the slope promises, measured from an average of earlier
        values."""
        noise = current.value_error + trial.value_error
        most = self._reference - 1e-4 * proposal.predicted + noise
        if not np.isfinite(trial.value) or trial.value > most:
            return False
        self._length, self._n_rejected = 1.0, 0
        weight = AVERAGE * self._weight + 1.0
        self._reference = (AVERAGE * self._weight * self._reference + trial.value) / weight
        self._weight = weight
        return True

    def reject(self, current: Evaluation, trial: Evaluation, proposal: Proposal) -> None:
        """The next step is shorter: to the minimiser of a parabola, if there is one."""
        predicted = proposal.predicted
        rise = trial.value - current.value + predicted
        shrink = 0.5 * predicted / rise if np.isfinite(rise) and rise > 0 else 0.1
        self._length *= float(np.clip(shrink, 0.1, 0.5))
        self._n_rejected += 1

    def state(self) -> dict[str, Any]:
        return saved(self, self._remembered)

    def restore(self, state: dict[str, Any]) -> None:
        restored(self, state, self._remembered)


def bent(d, grad, before, last):
    """The secant step `d` of one hyperparameter, bent to the nearest zero of the parabola through
    the last three gradients; half to twice as long. (20 newsgroups, leave-one-out: 4 evaluations
    for 8.)"""
    (s0, y0), (s1, y1) = ((float(s[0]), float(y[0])) for s, y, _ in (before, last))
    bend = (y1 / s1 - y0 / s0) / (s0 + s1) if s0 + s1 else 0.0
    slope = y1 / s1 + bend * s1  # at the last point, where the gradient is `grad`
    root = slope**2 - 4 * bend * float(grad[0])
    if slope <= 0 or root < 0:
        return d
    return d * np.clip(-2 * float(grad[0]) / (slope + np.sqrt(root)) / float(d[0]), 0.5, 2.0)
