"""The loop: step, evaluate, test. Arithmetic on θ only; w, q and T pass through untouched."""

from dataclasses import replace

import numpy as np

from fasthoag.hypergradient import evaluate, moved


def minimise(bound, rule, theta, W, lower, upper, tol, max_iter, record, T=None, precond=None):
    """The loop: step, evaluate, test. Returns the last accepted Evaluation, a status and the number
    of accepted steps."""
    current = evaluate(
        bound, theta, W, rule.accuracy, T=T, has_tangents=rule.has_tangents, precond=precond
    )
    is_stopped, n_iter, n_trials, n_still, n_tiny = record(current, rule.accuracy, True), 0, 0, 0, 0
    lowest = current  # of all that were accepted: steps need not be downhill each
    while True:
        target = tol * bound.size(current.value)
        is_low, is_high = current.theta <= lower, current.theta >= upper
        is_fixed = lower == upper
        at_bound = (is_low & (current.grad > 0)) | (is_high & (current.grad < 0)) | is_fixed
        size = np.linalg.norm(np.where(at_bound, 0.0, current.grad))
        is_outwards = at_bound.all() and (np.abs(current.grad) > current.grad_error).all()
        error = 0.0 if is_outwards else current.grad_error
        if not current.is_solved or not np.isfinite(current.value):
            return current, "inner_failed", n_iter
        is_known = current.value_error <= 0.3 * target
        if size + error <= target and is_known:
            return current, "at_bound" if (at_bound & ~is_fixed).any() else "converged", n_iter
        if is_stopped:
            return current, "stopped", n_iter
        lowest = min(lowest, current, key=lambda one: one.value + one.value_error)
        if n_iter >= max_iter or n_trials >= 5 * max_iter:
            return lowest, "max_iter", n_iter
        d, predicted = rule.step(current, lower, upper, target)
        error = rule.error_after(current, d)
        # the model does not see beyond a kink
        if error <= target and is_known and not bound.inner.loss.has_kinks:
            return moved(current, d, *rule.hint, error), "converged", n_iter + 1
        # else adjoint and tangents are no better a start than 0, which saves a product
        is_near = np.linalg.norm(d) < 1.0
        trial = evaluate(
            bound,
            current.theta + d,
            current.predict(d),
            rule.accuracy,
            Q=current.Q if is_near else None,
            T=current.T if is_near else None,
            has_tangents=rule.has_tangents,
            precond=current.precond,
        )
        n_trials, current_error, before = n_trials + 1, current.grad_error, current
        if not trial.is_solved:  # what it says is no criterion
            trial = replace(trial, value=np.nan)
        is_accepted = not d.any() or rule.accept(current, trial, d, predicted)
        is_stopped = record(trial, rule.accuracy, is_accepted)
        if is_accepted:
            n_iter += bool(d.any())
            current = trial
        n_tiny = n_tiny + 1 if 0 < np.linalg.norm(d) <= 1e-9 else 0
        if bound.inner.loss.has_kinks and (n_tiny == 3 or is_bracket(before, trial, target)):
            return current, "at_kink", n_iter
        is_still = np.linalg.norm(d) <= 1e-9 and trial.grad_error >= 0.95 * current_error
        n_still = n_still + 1 if is_still else 0
        # neither θ nor the errors move any more
        if (n_still == 3 and rule.accuracy.inner <= 1e-6) or n_still == 50:
            return lowest, "stalled", n_iter


def is_bracket(one, other, target):
    """Whether f falls from two θ towards each other, and by no more than the target between
    them."""
    if len(one.theta) > 1 or not one.grad[0] * other.grad[0] < 0:
        return False
    slope = max(abs(one.grad[0]), abs(other.grad[0]))
    is_inside = (other.theta[0] - one.theta[0]) * one.grad[0] < 0
    return is_inside and slope * abs(other.theta[0] - one.theta[0]) <= 0.3 * target
