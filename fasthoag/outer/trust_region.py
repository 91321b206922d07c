"""Exact Newton in θ inside a trust region and a box, with inner accuracy that follows the size of
the steps."""

from typing import Any

import numpy as np

from fasthoag.hypergradient import V_TOL, Accuracy, Evaluation
from fasthoag.outer.coordinates import Shares, in_logs
from fasthoag.outer.rules import Box, Past, Proposal, restored, saved

TIGHTEST = 1e-11
SECANT = 0.8  # relative error of a secant at most: beyond, most of it is noise
# hyperparameters up to which their tangents are worth their columns; more come with as few
# coefficients only, see hoag.py
FEW = 16


def loosest(n_hyper):
    """The loosest accuracy. With few coefficients the preconditioner is nearly the inverse, and
    digits are nearly free: on ijcnn1 with 22 strengths loose steps wander through valleys (5
    starts: 5 x 10 s and three ends; 4 to 8 s and one end with these digits and radius)."""
    return (
        Accuracy(0.5, 0.3, tangents=0.3) if n_hyper <= FEW else Accuracy(1e-3, 1e-3, tangents=1e-3)
    )


def solve_trust_region(grad, hess, radius, lower, upper):
    """The minimiser of gᵀd + ½ dᵀHd over ||d|| <= radius and lower <= d <= upper (coordinates at a
    bound are fixed one after another)."""
    # A power of 2 takes the unit of f away, exactly. The squares of 1 / 1e-150 are numbers, too.
    _, unit = np.frexp(max(np.abs(grad).max(initial=0.0), np.abs(hess).max(initial=0.0)))
    grad, hess = np.ldexp(grad, -unit), np.ldexp(hess, -unit)
    d, free = np.zeros_like(grad), np.ones(len(grad), bool)
    for _ in range(len(grad) + 1):
        if not free.any():
            break
        values, vectors = np.linalg.eigh(hess[np.ix_(free, free)])
        rhs = vectors.T @ -(grad[free] + hess[np.ix_(free, ~free)] @ d[~free])
        room = np.sqrt(max(radius**2 - d[~free] @ d[~free], 0.0))
        shift = (
            max(0.0, -values[0] * (1 + 1e-10) + 1e-10 * abs(values[-1])) if values[0] <= 0 else 0.0
        )

        def length(s, rhs=rhs, values=values):
            return np.linalg.norm(rhs / np.maximum(values + s, 1e-150))

        if length(shift) > room:  # bisection in the shift; k is small
            low, high = shift, shift + np.linalg.norm(rhs) / max(room, 1e-300) + abs(values).max()
            for _ in range(100):
                middle = 0.5 * (low + high)
                low, high = (middle, high) if length(middle) > room else (low, middle)
            shift = high
        step = vectors @ (rhs / np.maximum(values + shift, 1e-150))
        if values[0] <= 0 and np.linalg.norm(step) < room and np.linalg.norm(rhs) > 0:
            step = step * room / np.linalg.norm(step)  # no minimum inside: to the edge
        d[free] = step
        outside = free & ((d < lower) | (d > upper))
        if not outside.any():
            break
        d = np.where(outside, np.clip(d, lower, upper), d)
        free &= ~outside
    return np.clip(d, lower, upper)


class TrustRegion:
    """Radius and accuracy of the Newton method. `accuracy` is what the next evaluation should
    have."""

    wants = "hessian"
    max_iter = 50
    _remembered = ("accuracy", "hint", "radius", "_last", "_n_rejected")
    # in log units, root mean square: strengths differ by a factor of about 50 at most between two
    # steps
    max_radius = 4.0

    def __init__(self, schedule=None):
        if not (schedule is None or (isinstance(schedule, str) and schedule == "adaptive")):
            raise ValueError(
                "schedule belongs to method='hoag'; method 'newton' adapts its accuracy by "
                f"itself. Got {schedule!r}"
            )
        self.coordinates = in_logs  # or `Shares`, where strengths are of features of their own
        self.radius = None
        self.accuracy = Accuracy(0.5, 0.3)
        self.hint = None  # (Hessian, relative error) from before
        self._last = None
        self._n_rejected = 0

    def hessian(self, evaluation: Any) -> tuple[Any, float]:
        """The outer Hessian and its relative error: the fresh one, what is known from before, or
        what the last two hypergradients say. The first has an error of first order in the tangents'
        residuals (3 to 16 times as large on 20 newsgroups), hypergradients of second."""
        hess, hess_error, last = evaluation.hess, 20.0 * evaluation.accuracy.tangents, self._last
        moved = 0.0 if last is None else float(np.linalg.norm(evaluation.theta - last.theta))
        if self.hint is not None and self.hint[1] + moved < hess_error:
            hess, hess_error = self.hint[0], self.hint[1] + moved
        if moved > 0:
            s, y = evaluation.theta - last.theta, evaluation.grad - last.grad
            gap = y - hess @ s
            noise = np.hypot(evaluation.grad_error, last.grad_error)
            noise /= max(np.linalg.norm(y), 1e-300)
            # f'' changes by a third to a half in a log unit, on text; by more where losses have
            # corners, so that what is said of it stays the whole
            is_closer = 0.5 * moved + noise < min(hess_error, SECANT)
            if is_closer and abs(gap @ s) > 1e-8 * moved * np.linalg.norm(gap):
                # symmetric rank one: hess @ s = y
                hess, hess_error = hess + np.outer(gap, gap) / (gap @ s), moved + noise
        return hess, hess_error

    def propose(self, evaluation: Evaluation, box: Box, target: float, allowed: float) -> Proposal:
        """The minimiser of the quadratic model within the radius; sets the accuracy that judging it
        needs."""
        hess, hess_error = self.hint = self.hessian(evaluation)
        theta, grad = evaluation.theta, evaluation.grad
        self._last = Past(theta, grad, evaluation.grad_error)
        if self.radius is None:
            self.radius = 3.0 if len(grad) <= FEW else 1.0
        model = self.parabola(evaluation, hess, hess_error, box, allowed)
        d = self._step_of(model)
        # perhaps the value that nothing goes below is the wrong one: look at it again, as
        # accurately
        if self._n_rejected >= 2:
            d, self._n_rejected = np.zeros_like(d), 0
        # Newton squares the error: the next gradient is about |H| |d|^2, or the error of this one;
        # less than a part of it buys nothing
        predicted, step = model.fall(d), model.step(d)
        after = 0.3 * float(np.linalg.norm(hess, 2)) * float(d @ d)
        # where the step is likely the last its value has to be known
        is_last = after <= target
        self._aim(
            evaluation,
            0.3 * max(after, 0.3 * evaluation.grad_error, target),
            0.6 * allowed if is_last else 0.3 * max(predicted, allowed),
            is_hess_known=hess_error + np.linalg.norm(step) < 0.5,
        )
        # of the hypergradient that the step leaves, as far as its own model can tell
        error_after = float(
            np.linalg.norm(model.grad_after(d))
            + np.hypot(evaluation.grad_error, hess_error * np.linalg.norm(grad))
            + np.linalg.norm(hess, 2) * (d @ d)
        )
        length = float(np.linalg.norm(d)) / np.sqrt(len(d))
        return Proposal(step, predicted, hess, hess_error, error_after, length)

    def parabola(self, evaluation, hess, hess_error, box, allowed):
        """The model of f at an evaluation, in the coordinates of this rule."""
        enough = 0.1 * allowed / len(evaluation.grad)
        return self.coordinates(evaluation, hess, hess_error, box, enough)

    def _step_of(self, model):
        """The minimiser of a model within the radius, root mean square."""
        size = self.radius * np.sqrt(len(model.grad))
        return solve_trust_region(model.grad, model.bent, size, model.lower, model.upper)

    def promise(self, evaluation: Evaluation, box: Box, allowed: float) -> float:
        """How far f falls by the model where slopes in θ vanish; 0 where they tell all."""
        if self.coordinates is in_logs or self.radius is None:
            return 0.0
        model = self.parabola(evaluation, *self.hessian(evaluation), box, allowed)
        return model.fall(self._step_of(model))

    def _aim(self, evaluation, error, value_error, is_hess_known):
        """The accuracy at which each part of the hypergradient's error would be half of `error`,
        and that of the value `value_error`, from what was reached now. Tangents stay loose where
        the Hessian is known well enough without them."""

        def factor(grad_part, value_part):
            return min(
                0.5 * error / max(grad_part, 1e-300), 0.5 * value_error / max(value_part, 1e-300)
            )

        reached, most = evaluation.accuracy, loosest(len(evaluation.theta))
        # errors go with (V_TOL + inner) inner
        inner_factor = factor(evaluation.inner_error, evaluation.value_inner_error)
        inner = -0.5 * V_TOL + np.sqrt(
            0.25 * V_TOL**2 + inner_factor * (V_TOL + reached.inner) * reached.inner
        )
        # that of the slope with linear * tangents
        linear_factor = factor(evaluation.linear_error, 0.0)
        product = max(reached.linear, 1e-16) * max(reached.tangents, 1e-16) * linear_factor
        tangents = most.tangents if is_hess_known else min(np.sqrt(product), most.tangents)
        # that of the value with linear and the size of the Newton correction
        shrinks = min(1.0, inner / max(reached.inner, 1e-300))
        of_value = reached.linear * factor(0.0, evaluation.value_linear_error) / shrinks
        linear = min(product / max(tangents, TIGHTEST), of_value)
        self.accuracy = Accuracy(
            float(np.clip(inner, TIGHTEST, most.inner)),
            float(np.clip(linear, TIGHTEST, most.linear)),
            tangents=float(np.clip(tangents, TIGHTEST, most.tangents)),
        )

    def accept(self, current: Evaluation, trial: Evaluation, proposal: Proposal) -> bool:
        """Whether the trial decreased f by enough, as far as the errors of both values tell; sets
        the radius."""
        noise, predicted = current.value_error + trial.value_error, proposal.predicted
        actual, size = current.value - trial.value, proposal.length
        if not np.isfinite(trial.value) or actual < 0.1 * predicted - noise:
            return False
        self._n_rejected = 0
        if actual > 0.75 * predicted and size > 0.9 * self.radius:
            self.radius = min(2.0 * self.radius, self.max_radius)
        elif actual < 0.25 * predicted - noise:
            self.radius = max(0.5 * size, 0.1)
        return True

    def reject(self, current: Evaluation, trial: Evaluation, proposal: Proposal) -> None:
        self.radius = 0.25 * proposal.length
        self._n_rejected += 1

    def state(self) -> dict[str, Any]:
        return saved(self, self._remembered)

    def restore(self, state: dict[str, Any]) -> None:
        restored(self, state, self._remembered)


def fitted(rule, seen):
    """The rule as it suits the criterion: of many strengths, each of features of its own, a Newton
    method steps in shares, and digits are nearly free from the first evaluation on."""
    k = seen.inner.n_hyper
    if rule.wants == "hessian" and k > FEW:
        rule.accuracy = loosest(k)
        rule.coordinates = Shares(seen.inner) if seen.is_of_shares else in_logs
    return rule
