"""Inner solvers: native where the design has them, else the same algorithm over the Design
protocol."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fasthoag import linsolve
from fasthoag.design import TRAIN
from fasthoag.linsolve import CONVERGED, MAX_ITER, NO_PRECONDITIONER, NONFINITE, STALLED, Hessian


@dataclass(frozen=True)
class InnerResult:
    """Coefficients, gradients (n_coef, m) and predictions (n_rows, m) where the solver stopped, and
    per column: training and held-out loss, gradient 2-norm, Newton and CG iterations, status."""

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
    problem,
    lam,
    W,
    *,
    tol,
    fold=None,
    lam_of=None,
    precond=NO_PRECONDITIONER,
    max_iter=100,
    max_cg=1000,
):
    """Minimise the inner problem in every column by trust-region Newton-CG from `W`.

    Stops a column when ``||∇h||_2 <= tol`` (absolute), tested before the first step, so a solution
    as start costs one pass.

    Parameters
    ----------
    problem : InnerProblem
    lam : array, shape (n_coef, n_lam)
        Strengths, in the design's order.
    W : array, shape (n_coef, m)
    tol : float or array, shape (m,)
    fold, lam_of : int array, shape (m,)
        Row-weight column and strength column of every column of `W`; default ``0..m-1`` and all 0.

    Returns
    -------
    InnerResult
        ``status`` per column is CONVERGED, MAX_ITER, STALLED (rounding allows no further decrease)
        or NONFINITE; never raises for these.

    References
    ---------- Lin, Weng, Keerthi (2008), "Trust region Newton method for large-scale logistic
    regression"; Nocedal & Yuan (1998)."""
    m = W.shape[1]
    fold = np.arange(m, dtype=np.int32) // problem.loss.n_classes if fold is None else fold
    lam_of = (np.arange(m, dtype=np.int32) % lam.shape[1]) if lam_of is None else lam_of
    tol = np.ascontiguousarray(np.broadcast_to(np.asarray(tol, np.float64), (m,)))
    args = (
        problem.loss,
        problem.y,
        problem.rows,
        fold,
        lam,
        lam_of,
        W,
        tol,
        max_iter,
        max_cg,
        precond,
    )
    if hasattr(problem.design, "newton_cg"):
        return InnerResult(*problem.design.newton_cg(*args))
    return _newton_columns(problem.design, *args)


def _newton_columns(design, loss, y, rows, fold, lam, lam_of, W, tol, max_iter, max_cg, precond):
    """The algorithm of csrc/newton_cg.hpp over the Design protocol; finished columns stay in the
    block with a zero step."""
    xp, m, K = design.xp, W.shape[1], loss.n_classes

    def dots(A, B):  # of units
        return linsolve.united(linsolve.dots(A, B), K)

    def norms(A):
        return np.sqrt(dots(A, A))

    lams = xp.take(lam, xp.asarray(lam_of), axis=1)
    eps = np.finfo(np.float64).eps

    def evaluate(W):
        train, held, G, Z = design.loss_grad(loss, y, rows, fold, W)
        G = G + lams * W
        train, held = linsolve.united(np.asarray(train), K), linsolve.united(np.asarray(held), K)
        return train, held, G, Z, train + 0.5 * dots(lams * W, W), norms(G)

    train, held, G, Z, value, norm = evaluate(W)
    radius = np.full(m, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = norm / norms(lams * W)
    # a start near the solution needs few linear systems, well solved
    forcing = np.where(distance < 1.0, np.maximum(0.25 * distance, 1e-3), 0.25)
    n_iter, n_cg, n_stalls, status = (
        np.zeros(m, np.int32),
        np.zeros(m, np.int32),
        np.zeros(m, int),
        np.full(m, MAX_ITER, np.int32),
    )
    for iteration in range(max_iter + 1):
        is_bad = ~np.isfinite(value + norm)
        is_active = ~is_bad & (norm > tol) & (n_stalls < 2)
        status[:] = np.where(
            is_bad,
            NONFINITE,
            np.where(norm <= tol, CONVERGED, np.where(n_stalls >= 2, STALLED, MAX_ITER)),
        )
        if not is_active.any() or iteration == max_iter:
            break
        n_iter[is_active] = iteration + 1
        hess = Hessian(
            design,
            design.row_terms(loss, 2, y, rows, TRAIN, fold, Z),
            np.arange(m, dtype=np.int32) // K,
            lam,
            lam_of,
            K,
        )
        cg_tol = np.where(is_active, np.maximum(forcing * norm, 0.3 * tol), np.inf)
        step = linsolve.cg_in_ball(hess, -G, cg_tol, precond, max_cg, radius)
        n_cg[is_active] += step.n_iter[is_active]
        # no curvature at all: down the gradient
        is_flat = is_active & (step.status == linsolve.INDEFINITE) & (step.n_iter == 0)
        if is_flat.any():
            scale = np.where(
                is_flat, np.minimum(radius, 1 + norms(W)) / np.maximum(norm, 1e-300), 0.0
            )
            step = replace(step, x=step.x - xp.asarray(scale) * G)
        slope, length = dots(G, step.x), norms(step.x)
        trial = evaluate(W + step.x)
        # the part of the gradient that the linear model did not foresee (Eisenstat & Walker 1996,
        # choice 1)
        with np.errstate(invalid="ignore"):
            unforeseen = np.abs(trial[5] - step.residual_norm) / np.maximum(norm, 1e-300)
        forcing = np.where(
            is_active, np.where(unforeseen < 0.25, np.maximum(unforeseen, 1e-3), 0.25), forcing
        )
        rounding = 10 * eps * np.abs(value)
        # the objective is rounding: there the gradient decides
        is_flat = (trial[5] <= 0.5 * norm) & (trial[4] <= value + 1e-8 * np.abs(value))
        is_down = is_active & ((trial[4] <= value + 1e-4 * slope + rounding) | is_flat)
        is_floor = is_down & (value - trial[4] <= rounding) & (trial[5] > 0.5 * norm)
        n_stalls = np.where(is_floor, n_stalls + 1, np.where(is_down, 0, n_stalls))
        t = np.where(is_down & ~(is_floor & (trial[5] >= norm)), 1.0, 0.0)
        # hardly any curvature: a ball around w keeps it finite
        is_lost = is_active & ~np.isfinite(trial[4] + length)
        if is_lost.any():
            radius = np.where(
                is_lost, np.where(np.isfinite(radius), 0.1 * radius, 10 * (1 + norms(W))), radius
            )
            step = replace(step, x=xp.where(xp.asarray(is_lost), xp.zeros_like(W), step.x))
        # shorten on the cached predictions, a unit at a time
        for j in np.flatnonzero(is_active & ~is_down & ~is_lost)[::K]:
            unit = slice(j, j + K)
            t[j], new = 1.0, trial[4][j]
            for _ in range(40):
                quadratic = -0.5 * slope[j] * t[j] / ((new - value[j]) / t[j] - slope[j])
                t[j] = (
                    min(0.5 * t[j], max(0.1 * t[j], quadratic))
                    if np.isfinite(quadratic)
                    else 0.1 * t[j]
                )
                w, z = W + float(t[j]) * step.x, Z + float(t[j]) * (trial[3] - Z)
                new = (
                    linsolve.united(np.asarray(design.loss_sum(loss, y, rows, TRAIN, fold, z)), K)[
                        j
                    ]
                    + 0.5 * dots(lams * w, w)[j]
                )
                if new <= value[j] + 1e-4 * t[j] * slope[j]:
                    break
            if not new <= value[j] + rounding[j]:
                t[j], n_stalls[unit] = 0.0, 2
            t[unit] = t[j]
            radius[unit] = t[j] * length[j] if t[j] else radius[j]
        is_longer = is_down & np.isfinite(radius)
        radius[is_longer] = np.maximum(radius, 4 * length)[is_longer]
        W = W + xp.asarray(t) * step.x
        if np.isin(t, (0.0, 1.0)).all():  # every column is where it was or where it tried to go
            is_new, now = xp.asarray(t == 1), (train, held, G, Z, value, norm)
            train, held, G, Z, value, norm = (
                np.where(t == 1, a, b)
                if isinstance(a, np.ndarray) and a.ndim == 1
                else xp.where(is_new, a, b)
                for a, b in zip(trial, now, strict=False)
            )
        else:
            train, held, G, Z, value, norm = evaluate(W)
    return InnerResult(W, G, Z, train, held, norm, n_iter, n_cg, status)
