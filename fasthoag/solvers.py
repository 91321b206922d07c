"""Inner solvers: native where the design has them, else the same algorithm over the Design
protocol."""

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from fasthoag import linsolve
from fasthoag.design.rows import TRAIN
from fasthoag.linsolve import CONVERGED, MAX_ITER, NO_PRECONDITIONER, NONFINITE, STALLED, Hessian
from fasthoag.losses import find_loss
from fasthoag.units import Units, column_dots

# the parameter that is the width of a loss's corner: few rows lie in a narrow one, and a step of
# Newton's method leaves it
CORNERS = {"quantile": "smoothing", "smoothed_hinge": "width", "huber": "delta"}
STEPS_WIDER, LONG = 12, 100


@dataclass(frozen=True)
class InnerResult:
    """Coefficients, gradients (n_coef, m) and predictions (n_rows, m) where the solver stopped, and
    per column: training and held-out loss, norm of the gradient, Newton and CG iterations,
    status."""

    W: Any
    grad: Any
    Z: Any
    train: np.ndarray
    held_out: np.ndarray
    grad_norm: np.ndarray
    n_iter: np.ndarray
    n_cg: np.ndarray
    status: np.ndarray


def newton_cg(
    inner, lam, W, *, tol, lam_of=None, precond=NO_PRECONDITIONER, max_iter=100, max_cg=1000
):
    """Minimise the inner problem in every column by trust-region Newton-CG from `W`.

    Stops a column when the norm of ∇h, ``√(∇hᵀP⁻¹∇h)`` with the preconditioner P (see `linsolve`),
    is at most `tol` (absolute), tested before the first step, so a solution as start costs one
    pass.

    Parameters
    ----------
    inner : InnerProblem
    lam : array, shape (n_coef, n_lam)
        Strengths, in the design's units.
    W : array, shape (n_coef, m)
        Its columns are those of the folds in turn; several strengths of one fold stand side by
        side.
    tol : float or array, shape (m,)
    lam_of : int array, shape (m,)
        Strength of every column of `W`; by default its number modulo n_lam.

    Returns
    -------
    InnerResult
        ``status`` per column is CONVERGED, MAX_ITER, STALLED (rounding allows no further decrease)
        or NONFINITE; never raises for these.

    References
    ----------
    Lin, Weng, Keerthi (2008), "Trust region Newton method for large-scale logistic regression";
    Nocedal & Yuan (1998).
    """
    lam_of = linsolve.columns_of_lam(lam, lam_of, W.shape[1])
    tol = np.ascontiguousarray(np.broadcast_to(np.asarray(tol, np.float64), (W.shape[1],)))
    design, rows = inner.design, inner.rows
    is_native = "newton_cg" in design.native_solvers
    solve = partial(design.newton_cg if is_native else newton_columns, max_cg=max_cg)
    found = solve(rows, inner.loss, lam, lam_of, W, tol, precond, max_iter=max_iter)
    name = CORNERS.get(inner.loss.name)
    if max_iter >= LONG and name and np.isin(found.status, (MAX_ITER, STALLED)).any():
        # a corner narrower than the gaps between rows: through wider ones
        parameters, start = inner.loss.parameters, found.W
        widest = np.ptp(rows.y) / parameters[name]  # where no row is straight any more
        for k in range(int(np.ceil(np.log(max(widest, 4.0)) / np.log(4.0))), 0, -1):
            factor = 4.0**k
            wide = find_loss(inner.loss, **{**parameters, name: factor * parameters[name]})
            c = rows.curvature(wide, rows.loss_grad(wide, start, has_grad=False).Z)
            near = linsolve.make_precond(rows, c, lam[:, :1], is_quick=True)
            start = solve(rows, wide, lam, lam_of, start, 0 * tol, near, max_iter=STEPS_WIDER).W
        again = solve(rows, inner.loss, lam, lam_of, start, tol, precond, max_iter=max_iter)
        is_better = again.grad_norm <= np.where(found.status == CONVERGED, 0.0, found.grad_norm)
        found = again if is_better.all() else found
    return InnerResult(*(getattr(found, field.name) for field in fields(InnerResult)))


@dataclass(frozen=True)
class _Point:
    """Coefficients of all columns with what the algorithm knows of them; numbers are those of the
    column's unit, in each of its columns."""

    W: Any
    grad: Any
    Z: Any
    train: np.ndarray
    held_out: np.ndarray
    value: np.ndarray
    norm: np.ndarray


def newton_columns(rows, loss, lam, lam_of, W, tol, precond, *, max_iter, max_cg):
    """The algorithm of csrc/newton_cg.hpp over the protocol of `Rows`; finished columns stay in the
    block with a zero step."""
    # long because it is one algorithm whose steps share all of their state
    design, xp, m = rows.design, rows.design.xp, W.shape[1]
    units = Units(rows.n_folds, loss.n_classes)

    def dots(A, B):
        return units.united(column_dots(A, B))

    def norms(A):
        return units.repeat(precond.norms(units, A))

    lams = xp.take(lam, xp.asarray(lam_of), axis=1)
    eps = np.finfo(np.float64).eps

    def evaluate(W):
        found = rows.loss_grad(loss, W)
        grad = found.grad + lams * W
        train, held_out = units.united(found.value), units.united(found.other)
        value = train + 0.5 * dots(lams * W, W)
        return _Point(W, grad, found.Z, train, held_out, value, norms(grad))

    def chosen(where, one, other):
        """Column by column the point `one` or the point `other`."""
        is_one, t = xp.asarray(where), where.astype(float)
        blocks = (xp.where(is_one, a, b) for a, b in ((one.W, other.W), (one.grad, other.grad)))
        numbers = ("train", "held_out", "value", "norm")
        return _Point(
            *blocks,
            rows.blend(other.Z, t, one.Z),
            *(np.where(where, getattr(one, name), getattr(other, name)) for name in numbers),
        )

    now = evaluate(W)
    radius = np.full(m, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = now.norm / norms(lams * W)
    # a start near the solution needs few linear systems, well solved
    forcing = np.where(distance < 1.0, np.maximum(0.25 * distance, 1e-3), 0.25)
    n_iter, n_cg = np.zeros(m, np.int32), np.zeros(m, np.int32)
    n_stalls, status = np.zeros(m, int), np.full(m, MAX_ITER, np.int32)
    for iteration in range(max_iter + 1):
        is_bad = ~np.isfinite(now.value + now.norm)
        is_active = ~is_bad & (now.norm > tol) & (n_stalls < 2)
        status[:] = np.select(
            [is_bad, now.norm <= tol, n_stalls >= 2], [NONFINITE, CONVERGED, STALLED], MAX_ITER
        )
        if not is_active.any() or iteration == max_iter:
            break
        n_iter[is_active] = iteration + 1
        c = rows.curvature(loss, now.Z)
        # the curvature of every column is its own
        hess = Hessian(design, c, lam, lam_of)
        cg_tol = np.where(is_active, np.maximum(forcing * now.norm, 0.3 * tol), np.inf)
        step = linsolve.cg_in_ball(hess, -now.grad, cg_tol, precond, max_cg, radius)
        n_cg[is_active] += step.n_iter[is_active]
        # no curvature at all: down the gradient
        is_flat = is_active & (step.status == linsolve.INDEFINITE) & (step.n_iter == 0)
        # as far as it would take the objective to 0
        reach = np.minimum(radius, np.abs(now.value) / np.maximum(now.norm, 1e-300))
        length = np.where(is_flat, reach, step.length)
        if is_flat.any():
            scale = np.where(is_flat, reach / np.maximum(now.norm, 1e-300), 0.0)
            step = replace(step, x=step.x - xp.asarray(scale) * precond.apply(now.grad))
        slope = dots(now.grad, step.x)
        trial = evaluate(now.W + step.x)
        # the part of the gradient that the linear model did not foresee (Eisenstat & Walker 1996,
        # choice 1)
        with np.errstate(invalid="ignore"):
            unforeseen = np.abs(trial.norm - step.residual_norm) / np.maximum(now.norm, 1e-300)
        next_forcing = np.where(unforeseen < 0.25, np.maximum(unforeseen, 1e-3), 0.25)
        forcing = np.where(is_active, next_forcing, forcing)
        rounding = 10 * eps * np.abs(now.value)
        # the objective is rounding: there the gradient decides
        is_level = trial.value <= now.value + 1e-8 * np.abs(now.value)
        is_flat = (trial.norm <= 0.5 * now.norm) & is_level
        is_lower = trial.value <= now.value + 1e-4 * slope + rounding
        is_down = is_active & (is_lower | is_flat)
        is_floor = is_down & (now.value - trial.value <= rounding) & (trial.norm > 0.5 * now.norm)
        n_stalls = np.where(is_floor, n_stalls + 1, np.where(is_down, 0, n_stalls))
        t = np.where(is_down & ~(is_floor & (trial.norm >= now.norm)), 1.0, 0.0)
        # hardly any curvature: a ball around w keeps it finite
        is_lost = is_active & ~np.isfinite(trial.value + length)
        if is_lost.any():
            shorter = 0.1 * np.minimum(radius, length)
            radius = np.where(is_lost, np.where(np.isfinite(shorter), shorter, reach), radius)
            step = replace(step, x=xp.where(xp.asarray(is_lost), xp.zeros_like(W), step.x))
        # shorten on the cached predictions, a unit at a time
        for j in np.flatnonzero(is_active & ~is_down & ~is_lost)[:: units.n_classes]:
            unit = units.columns(j // units.n_classes)
            along = t.copy()
            t_j, new = 1.0, trial.value[j]
            for _ in range(40):
                quadratic = -0.5 * slope[j] * t_j / ((new - now.value[j]) / t_j - slope[j])
                t_j = (
                    min(0.5 * t_j, max(0.1 * t_j, quadratic))
                    if np.isfinite(quadratic)
                    else 0.1 * t_j
                )
                along[:] = t_j
                w, z = now.W + float(t_j) * step.x, rows.blend(now.Z, along, trial.Z)
                train = units.united(rows.sums(loss, TRAIN, z))
                new = train[j] + 0.5 * dots(lams * w, w)[j]
                if new <= now.value[j] + 1e-4 * t_j * slope[j]:
                    break
            if not new <= now.value[j] + rounding[j]:
                t_j, n_stalls[unit] = 0.0, 2
            t[unit] = t_j
            radius[unit] = t_j * length[j] if t_j else radius[j]
        is_longer = is_down & np.isfinite(radius)
        radius[is_longer] = np.maximum(radius, 4 * length)[is_longer]
        if np.isin(t, (0.0, 1.0)).all():  # every column is where it was or where it tried to go
            now = chosen(t == 1, trial, now)
        else:
            now = evaluate(now.W + xp.asarray(t) * step.x)
    return InnerResult(
        now.W, now.grad, now.Z, now.train, now.held_out, now.norm, n_iter, n_cg, status
    )
