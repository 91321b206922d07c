"""The loop: step, evaluate, test. Arithmetic on θ only; w, q and T pass through untouched."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fasthoag.hypergradient import moved
from fasthoag.outer.tolerance import Tolerance

NEAR = 0.5  # log units that a parabola is followed without another look


class From(NamedTuple):
    """Where a loop begins: θ, inner solutions nearby, and tangents and a preconditioner where they
    are known."""

    theta: np.ndarray
    W: Any
    T: Any = None
    precond: Any = None


class Until(NamedTuple):
    """When it ends: what is left to gain is within the tolerance, or after `max_iter` accepted
    steps."""

    tolerance: Tolerance
    max_iter: int


def minimise(bound, rule, begin, box, until, record):
    """Steps of `rule` from `begin` within `box`: the last accepted Evaluation, a status and the
    number of accepted steps. ``record(evaluation, accuracy, is_accepted)`` returns whether to
    stop."""
    has_tangents, (asked, max_iter) = rule.wants == "hessian", until
    current = bound.evaluate(
        *begin[:2], rule.accuracy, T=begin.T, has_tangents=has_tangents, precond=begin.precond
    )
    is_stopped, n_iter, n_trials, n_still, n_tiny = record(current, rule.accuracy, True), 0, 0, 0, 0
    lowest = current  # of all that were accepted: steps need not be downhill each
    while True:
        if not is_of_use(current):
            return current, "inner_failed", n_iter
        grad, error, is_at_bound = projected(current, box)
        hess, hess_error = rule.hessian(current)
        # without curvature nobody knows what a slope leaves to gain
        tolerance = Tolerance(asked.slope) if hess is None else asked
        target, allowed = goals(tolerance, bound, current, hess, hess_error)
        is_known = current.value_error <= tolerance.value_share(current) * allowed
        is_met = is_known and tolerance.is_met(bound, current, grad, error, hess, hess_error)
        if is_met and not promises_more(rule, current, box, allowed):
            if is_at_bound or tolerance.is_strict:
                return current, "at_bound" if is_at_bound else "converged", n_iter
            return with_last_step(bound, rule, current, box, target, allowed), "converged", n_iter
        if is_stopped:
            return current, "stopped", n_iter
        lowest = min(lowest, current, key=lambda one: one.value + one.value_error)
        if n_iter >= max_iter or n_trials >= 5 * max_iter:
            return lowest, "max_iter", n_iter
        proposal = rule.propose(current, box, target, allowed)
        d = proposal.step
        if proposal.error_after <= target and is_known and not is_met and bound.is_foreseen:
            there = moved(current, proposal)
            if there.value_error <= 3 * allowed:
                return there, "converged", n_iter + 1
        # else adjoint and tangents are no better a start than 0, which saves a product
        is_near = np.linalg.norm(d) < 1.0
        trial = bound.evaluate(
            current.theta + d,
            current.predict(d),
            rule.accuracy,
            Q=current.Q if is_near else None,
            T=current.T if is_near else None,
            has_tangents=has_tangents,
            precond=current.precond,
        )
        if not is_of_use(trial):  # what it says is no criterion
            trial = replace(trial, value=np.nan)
        n_trials, before = n_trials + 1, current
        is_accepted = not d.any() or rule.accept(current, trial, proposal)
        if not is_accepted:
            rule.reject(current, trial, proposal)
        is_stopped = record(trial, rule.accuracy, is_accepted)
        if is_accepted:
            n_iter, current = n_iter + bool(d.any()), trial
        n_tiny = n_tiny + 1 if 0 < np.linalg.norm(d) <= 1e-9 else 0
        if bound.has_kinks and (n_tiny == 3 or is_bracket(before, trial, allowed)):
            return current, "at_kink", n_iter
        is_still = np.linalg.norm(d) <= 1e-9 and trial.grad_error >= 0.95 * before.grad_error
        n_still = n_still + 1 if is_still else 0
        # neither θ nor the errors move any more
        if (n_still == 3 and rule.accuracy.inner <= 1e-6) or n_still == 50:
            return lowest, "stalled", n_iter


def goals(tolerance, bound, current, hess, hess_error):
    """What the hypergradient has to come down to, and how far above its minimum f may be."""
    target = tolerance.of_slope(bound, current, hess, hess_error)
    return target, tolerance.of_value(bound, current)


def promises_more(rule, current, box, allowed):
    """Whether the rule's model falls by more than what may be left, however small the slopes."""
    if rule.wants != "hessian":
        return False
    return rule.promise(current, box, allowed) > allowed + current.value_error


def with_last_step(bound, rule, current, box, target, allowed):
    """An evaluation that leaves nothing worth another, at the minimum of its parabola, where that
    is near: the step costs nothing, and θ is better by a digit."""
    if not bound.is_foreseen:
        return current
    proposal = rule.propose(current, box, target, allowed)
    there = moved(current, proposal)
    is_near = np.linalg.norm(proposal.step) <= NEAR and proposal.predicted <= allowed
    return there if is_near and there.value_error <= 3 * allowed else current


def is_of_use(evaluation):
    """Whether the inner problem was solved, and f and its derivatives are numbers."""
    hess = 0.0 if evaluation.hess is None else evaluation.hess
    parts = (evaluation.value, evaluation.grad, hess)
    return evaluation.is_solved and all(np.isfinite(part).all() for part in parts)


def projected(current, box):
    """The hypergradient where θ is free to move, else 0, the norm of its error, 0 where every θ is
    surely held by its bound, and whether some θ is held by a bound that leaves it room."""
    is_fixed = box.lower == box.upper
    is_down = (current.theta <= box.lower) & (current.grad > 0)
    is_up = (current.theta >= box.upper) & (current.grad < 0)
    is_held = is_down | is_up | is_fixed
    grad = np.where(is_held, 0.0, current.grad)
    is_outwards = is_held.all() and (np.abs(current.grad) > current.grad_error).all()
    error = 0.0 if is_outwards else current.grad_error
    return grad, error, bool((is_held & ~is_fixed).any())


def is_bracket(one, other, target):
    """Whether f falls from two θ towards each other, and by no more than the target between
    them."""
    if len(one.theta) > 1 or not one.grad[0] * other.grad[0] < 0:
        return False
    slope = max(abs(one.grad[0]), abs(other.grad[0]))
    is_inside = (other.theta[0] - one.theta[0]) * one.grad[0] < 0
    return is_inside and slope * abs(other.theta[0] - one.theta[0]) <= 0.3 * target
