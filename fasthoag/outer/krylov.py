"""Where a search of one strength for least squares begins: at the minimum of the whole curve f(λ),
which one Krylov run gives, with the solutions there. What f is there, how far it is known and that
it is a minimum is for an evaluation to say."""

from collections import deque
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.probes import random_signs
from fasthoag.design.rows import HELD_OUT, TRAIN, to_host
from fasthoag.hypergradient import Accuracy
from fasthoag.inner.krylov import SQUARED, Judged, Lanczos, OfCoefficients, OfRows, curve_of
from fasthoag.outer.lbfgs import LBFGS, MEMORY
from fasthoag.outer.trust_region import TrustRegion

STEPS = 8  # between two looks at the curve
MOST_STEPS = 128  # the optimum of what takes more is where λ is nearly nothing
N_FOLDS = 5  # that stand for leave-one-out
SPACING = 0.25  # log units between strengths that are looked at
BELOW = 30.0  # log units below the sum of the scales, where λ is nothing
# The curve is good where two looks, `STEPS` apart, agree: θ to what an evaluation there makes good
# by one step of Newton's method (its error is the square), and f to a part of itself.
SETTLED, AGREED = 0.02, 0.01
LEAST_ERROR = 0.02  # of f'', relative
# of the evaluation at the minimum, which starts from its solutions
ACCURACY = Accuracy(0.05, 0.02, tangents=0.05, correction=0.02)
OF_FOLDS = 0.3  # relative error of f'' of leave-one-out by that of folds
OF_LEVERAGES = Accuracy(0.03, 0.003)  # the same of criteria that are estimated by probes


class Found(NamedTuple):
    """The minimum of a curve: θ, coefficients there, those of the null model where they were not
    kept, and what a step rule begins with."""

    theta: np.ndarray
    W: Any
    state: dict


def has_curve(bound, rule):
    """Whether f, or f of folds that stand for it, is a function of the strength that one Krylov run
    gives: least squares in training and judging, and one strength times what is fixed of all
    coefficients but the intercept. The `rule` is one that a curvature helps."""
    inner = bound.inner
    if not inner.loss.name == bound.loss.name == SQUARED:
        return False
    if not isinstance(rule, TrustRegion if bound.is_of_w else LBFGS):
        return False
    if not bound.is_of_w and (bound.is_exact or bound.criterion.is_likelihood):
        return False
    if inner.n_hyper != 1 or inner.tuned or inner.anchors is not None:
        return False
    if inner.penalty.shape.name != "quadratic" or not inner.penalty.has_hessian:
        return False
    at_zero = np.zeros(1)
    lam = to_host(inner.strengths(at_zero))
    free = lam[: len(lam) - int(inner.design.has_intercept)] <= 0
    return not free.any() and np.array_equal(to_host(inner.strengths_jac(at_zero)), lam)


def in_folds(bound):
    """Cross-validation with rows drawn by their numbers, in the place of leave-one-out or what
    estimates it, whose minimum is near: within 0.05 of that of leave-one-out on 20 newsgroups."""
    inner = bound.inner
    is_back = np.arange(N_FOLDS) == fold_numbers(inner.n_rows)[:, None]
    mask = np.where(is_back, HELD_OUT, TRAIN).astype(np.uint8)
    rows = inner.design.place(inner.y, inner.rows.weight, mask, inner.rows.offset)
    return BoundCriterion(replace(inner, rows=rows), rows, HELD_OUT, bound.loss)


def fold_numbers(n_rows):
    """Numbers of folds that depend on that of the row alone, in no order that rows may have."""
    bits = random_signs(0, n_rows, 16) > 0
    return bits @ (1 << np.arange(16)) % N_FOLDS


def state_of_leverages(accuracy, hess, hess_error):
    """That of a rule for criteria of leverages which begins with this outer Hessian (1, 1)."""
    pairs = deque([(np.ones(1), hess[0])], maxlen=MEMORY)
    return {"accuracy": accuracy, "_pairs": pairs, "hint": (hess, hess_error)}


def lowest(curve, thetas):
    """θ of the least f between two of these, or None where f is least at an end of them."""
    values = curve.values(thetas)
    k = int(np.argmin(values))
    if k in (0, len(thetas) - 1):
        return None
    low, high, theta = thetas[k - 1], thetas[k + 1], thetas[k]
    for _ in range(60):  # Newton's method in a bracket
        _, slope, curved = curve.at(theta)
        low, high = (low, theta) if slope > 0 else (theta, high)
        step = theta - slope / curved if curved > 0 else high
        step = step if low < step < high else 0.5 * (low + high)
        if abs(step - theta) <= 1e-10:
            return float(step)
        theta = step
    return float(theta)


def kept(run, most_numbers):
    """What the coefficients are made of in the end, or None where it would take more numbers than
    X."""
    (n, _), m = run.design.shape, run.inner.n_folds
    n_coef = run.design.n_coef
    if run.is_orthogonal or min(n, n_coef) * m * MOST_STEPS // 2 <= most_numbers:
        return OfCoefficients(run) if n_coef <= n or run.is_orthogonal else OfRows(run)
    return None


def minimum_of_curve(bound, box, is_late):
    """The `Found` minimum, or None where f has none inside the box as far as the run tells, or
    time is over."""
    is_of_w = bound.is_of_w
    bound = bound if is_of_w else in_folds(bound)
    inner = bound.inner
    top = np.log(inner.scales.sum()) + 3.0
    low, high = max(float(box.lower[0]), top - BELOW), min(float(box.upper[0]), top)
    if not low < high:
        return None
    thetas = np.linspace(low, high, 2 + int((high - low) / SPACING))
    run = Lanczos(inner, MOST_STEPS)
    judged = Judged(bound)
    basis = kept(run, 3 * inner.design.n_stored)
    theta, value, last_hess = None, np.inf, np.nan
    while run.n_steps < MOST_STEPS and not is_late():
        for _ in range(STEPS):
            u, Z = run.step()
            judged.add(u, Z)
            if basis is not None:
                basis.add(u, Z)
            if run.is_ended:
                break
        curve = curve_of(run, judged)
        before, theta = theta, lowest(curve, thetas)
        if theta is None:
            if run.is_ended:
                return None
            continue
        values, _, hess = curve.at(theta)
        last, value = value, float(values.sum())
        was_hess, last_hess = last_hess, hess
        is_settled = before is not None and abs(theta - before) <= SETTLED
        if run.is_ended or (is_settled and abs(value - last) <= AGREED * value):
            W = inner.null.W
            W = W if basis is None else W + basis.combined(curve.coordinates(theta))
            error = 0.0 if run.is_ended else abs(hess / was_hess - 1)
            if is_of_w:
                hint = np.array([[hess]]), max(error, LEAST_ERROR)
                return Found(np.array([theta]), W, {"accuracy": ACCURACY, "hint": hint})
            W = inner.units.fold_mean(W)
            hint = np.array([[hess]]), OF_FOLDS
            return Found(np.array([theta]), W, state_of_leverages(OF_LEVERAGES, *hint))
    return None
