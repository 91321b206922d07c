"""Trust-region Newton-CG for all columns at once. A design brings the solver itself, or the
algorithm in C++ calls the operations of its rows back where coefficients are NumPy's, or the same
algorithm runs over its array namespace."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fasthoag import _core
from fasthoag.design.rows import TRAIN, LossGrad
from fasthoag.inner.cg import (
    CONVERGED,
    INDEFINITE,
    MAX_ITER,
    NONFINITE,
    STALLED,
    Hessian,
    cg_in_ball,
)
from fasthoag.threads import computed_once
from fasthoag.units import Units, column_dots

# as csrc/newton_cg.hpp: relative residuals of the linear systems
MAX_FORCING, MIN_FORCING = 0.25, 1e-3
EPS = np.finfo(np.float64).eps


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


# numbers of columns in it
OF_COLUMNS = ("train", "held_out", "grad_norm", "n_iter", "n_cg", "status")


def find_newton(design):
    """The solver for rows of a design, ``minimise(rows, loss, strengths, W, tol, precond, *,
    max_iter, max_cg)``: its own, the one in C++ over its rows, or the one over its namespace."""
    if "newton_cg" in design.native_solvers:
        return design.newton_cg
    return newton_by_calls if design.xp is np else newton_columns


# ---- C++ over any rows ----


class RowOperations:
    """What csrc/newton_cg.hpp asks of the rows (its `RowSpace`), over the protocol of `Rows`.

    `columns` are numbers of whole units among the m of the problem. Predictions, the current ones
    of all columns and those of the trial, stay where the rows are: handles that nobody reads."""

    def __init__(self, rows, loss, m):
        self.rows, self.loss, self.m = rows, loss, m
        self.units = Units(rows.n_folds, loss.n_classes)
        self.Z = self.trial = self.place = self.curvature = self.curved = None

    def start(self, W):
        """A pass at the first coefficients of all columns."""
        found = self.rows.loss_grad(self.loss, W)
        self.Z = found.Z
        return found

    def evaluate(self, columns, w):
        """A pass at the trial's coefficients (n_coef, a) of these columns."""
        self.curvature = None
        place, block = self.units.in_turn(columns, w)
        found = self.rows.loss_grad(self.loss, block)
        self.trial, self.place = found.Z, place
        return LossGrad(found.value[place], found.other[place], found.grad[:, place], None)

    def keep(self, columns, is_taken):
        """The trial's predictions become the current ones of columns that are taken."""
        if not is_taken.any():
            return
        source, is_new = np.zeros(self.m, np.int64), np.zeros(self.m, bool)
        source[columns], is_new[columns] = self.place, is_taken

        def chosen(block, Z, Z1):
            xp = block.xp
            return xp.where(xp.asarray(is_new), xp.take(Z1, xp.asarray(source), axis=1), Z)

        is_all = is_new.all() and np.array_equal(source, np.arange(self.m))
        self.Z = self.trial if is_all else self.rows.map(chosen, self.Z, self.trial)
        self.trial = None

    def curve(self, columns):
        """The curvature at the current predictions of these columns."""
        self.curvature, self.curved = self.rows.curvature(self.loss, self.Z), np.arange(self.m)
        self.pick(columns)
        self.curved = np.arange(len(columns))

    def product(self, positions, d):
        """Xᵀ diag(c) X d for columns at these positions of the curvature's."""
        self.pick(positions)
        return self.rows.design.hvp(self.curvature, d)

    def pick(self, columns):
        """Lets all other columns of the curvature go."""
        if len(columns) == len(self.curved):
            return
        at, c = np.searchsorted(self.curved, columns), self.curvature

        def picked(block, values):
            return block.xp.take(values, block.xp.asarray(at), axis=1)

        self.curvature, self.curved = replace(c, values=self.rows.map(picked, c.values)), columns

    def sum_along(self, columns, j, t):
        """The training loss at ``z + t (z1 - z)`` of the unit at position j of the trial's."""
        unit = slice(j, j + self.units.n_classes)
        now, tried = columns[unit], self.place[unit]

        def along(block, Z, Z1):
            xp = block.xp
            z, z1 = xp.take(Z, xp.asarray(now), axis=1), xp.take(Z1, xp.asarray(tried), axis=1)
            return z + t * (z1 - z)

        one = self.rows.fold(int(now[0]) // self.units.n_classes % self.units.n_folds)
        between = self.rows.map(along, self.Z, self.trial)
        return float(np.sum(one.sums(self.loss, TRAIN, between)))


def newton_by_calls(rows, loss, strengths, W, tol, precond, *, max_iter, max_cg):
    """The algorithm of csrc/newton_cg.hpp, which calls the operations of the rows."""
    operations = RowOperations(rows, loss, W.shape[1])
    found = _core.newton_cg(
        operations,
        loss.n_classes,
        strengths.native,
        np.ascontiguousarray(W, np.float64),
        tol,
        precond.native,
        max_iter=max_iter,
        max_cg=max_cg,
        has_floats=rows.design.has_float_products,
        n_threads=rows.design.n_threads,
    )
    numbers = {name: getattr(found, name) for name in OF_COLUMNS}
    return InnerResult(W=found.W, grad=found.grad, Z=operations.Z, **numbers)


# ---- the reference, over an array namespace ----


@dataclass(frozen=True)
class Point:
    """Coefficients of all columns with what the algorithm knows of them; numbers are those of the
    column's unit, in each of its columns."""

    W: Any
    grad: Any
    Z: Any
    train: np.ndarray
    held_out: np.ndarray
    value: np.ndarray
    norm: np.ndarray


@dataclass(frozen=True)
class Objective:
    """h of all columns."""

    rows: Any
    loss: Any
    strengths: Any
    precond: Any

    @property
    def xp(self):
        return self.rows.design.xp

    @computed_once
    def units(self):
        return Units(self.rows.n_folds, self.loss.n_classes)

    @computed_once
    def lam(self):
        return self.strengths.of_columns(self.xp)

    def dots(self, A, B):
        return self.units.united(column_dots(A, B))

    def norms(self, A):
        return self.units.repeat(self.precond.norms(self.units, A))

    def evaluate(self, W):
        found, united = self.rows.loss_grad(self.loss, W), self.units.united
        grad = found.grad + self.lam * W
        train, held_out = united(found.value), united(found.other)
        value = train + 0.5 * self.dots(self.lam * W, W)
        return Point(W, grad, found.Z, train, held_out, value, self.norms(grad))

    def choose(self, where, one, other):
        """Column by column the point `one` or the point `other`."""
        is_one, t = self.xp.asarray(where), where.astype(float)
        pairs = ((one.W, other.W), (one.grad, other.grad))
        blocks = (self.xp.where(is_one, a, b) for a, b in pairs)
        numbers = ("train", "held_out", "value", "norm")
        return Point(
            *blocks,
            self.rows.blend(other.Z, t, one.Z),
            *(np.where(where, getattr(one, name), getattr(other, name)) for name in numbers),
        )


@dataclass
class State:
    """Where all columns are, and what the next step starts from."""

    now: Point
    radius: np.ndarray
    forcing: np.ndarray
    n_stalls: np.ndarray  # steps in a row that gained rounding only
    n_iter: np.ndarray
    n_cg: np.ndarray


@dataclass(frozen=True)
class Step:
    """Steps of all columns: solutions x of the linear systems with their lengths, what is left of
    the gradient by the linear model, the slopes along them, and where the objective would be 0 down
    the gradient."""

    x: Any
    length: np.ndarray
    residual_norm: np.ndarray
    slope: np.ndarray
    reach: np.ndarray


def newton_columns(rows, loss, strengths, W, tol, precond, *, max_iter, max_cg):
    """The algorithm of csrc/newton_cg.hpp over the protocol of `Rows` and an array namespace: the
    reference. Finished columns stay in the block with a zero step."""
    objective = Objective(rows, loss, strengths, precond)
    state = first_state(objective, W)
    for iteration in range(max_iter + 1):
        now = state.now
        is_bad = ~np.isfinite(now.value + now.norm)
        ends = [is_bad, now.norm <= tol, state.n_stalls >= 2]
        status = np.select(ends, [NONFINITE, CONVERGED, STALLED], MAX_ITER).astype(np.int32)
        is_active = status == MAX_ITER
        if not is_active.any() or iteration == max_iter:
            break
        state.n_iter[is_active] = iteration + 1
        step = find_step(objective, state, is_active, tol, max_cg)
        trial = objective.evaluate(now.W + step.x)
        t, step = judge(objective, state, step, trial, is_active)
        # where every column is where it was or where it tried to go, all is known
        is_known = np.isin(t, (0.0, 1.0)).all()
        between = None if is_known else now.W + objective.xp.asarray(t) * step.x
        state.now = (
            objective.choose(t == 1, trial, now) if is_known else objective.evaluate(between)
        )
    now = state.now
    found = now.W, now.grad, now.Z, now.train, now.held_out, now.norm
    return InnerResult(*found, state.n_iter, state.n_cg, status)


def first_state(objective, W):
    now, m = objective.evaluate(W), W.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = now.norm / objective.norms(objective.lam * W)
    # a start near the solution needs few linear systems, well solved
    near = np.maximum(MAX_FORCING * distance, MIN_FORCING)
    forcing = np.where(distance < 1.0, near, MAX_FORCING)
    counts = (np.zeros(m, np.int32) for _ in range(3))
    return State(now, np.full(m, np.inf), forcing, *counts)


def find_step(objective, state, is_active, tol, max_cg):
    """H x = -∇h in the ball, at the curvature of every column."""
    now, precond = state.now, objective.precond
    c = objective.rows.curvature(objective.loss, now.Z)
    hess = Hessian(objective.rows.design, c, objective.strengths.lam, objective.strengths.lam_of)
    # never tighter than what the outer tolerance asks for
    cg_tol = np.where(is_active, np.maximum(state.forcing * now.norm, 0.3 * tol), np.inf)
    found = cg_in_ball(hess, -now.grad, cg_tol, precond, max_cg, state.radius)
    state.n_cg[is_active] += found.n_iter[is_active]
    # no curvature at all: down the gradient, as far as it would take the objective to 0
    is_flat = is_active & (found.status == INDEFINITE) & (found.n_iter == 0)
    reach = np.abs(now.value) / np.maximum(now.norm, 1e-300)
    down = np.minimum(state.radius, reach)
    x, length = found.x, np.where(is_flat, down, found.length)
    if is_flat.any():
        scale = np.where(is_flat, down / np.maximum(now.norm, 1e-300), 0.0)
        x = x - objective.xp.asarray(scale) * precond.apply(now.grad)
    return Step(x, length, found.residual_norm, objective.dots(now.grad, x), reach)


def judge(objective, state, step, trial, is_active):
    """How far every column goes along its step, 0 to 1, and the steps, with 0 for those that lead
    nowhere; radii and the accuracy of the next step follow."""
    now, xp = state.now, objective.xp
    # the part of the gradient that the linear model did not foresee (Eisenstat & Walker 1996,
    # choice 1)
    with np.errstate(invalid="ignore"):
        unforeseen = np.abs(trial.norm - step.residual_norm) / np.maximum(now.norm, 1e-300)
    is_foreseen = unforeseen < MAX_FORCING
    forcing = np.where(is_foreseen, np.maximum(unforeseen, MIN_FORCING), MAX_FORCING)
    state.forcing = np.where(is_active, forcing, state.forcing)
    rounding = 10 * EPS * np.abs(now.value)
    # the objective is rounding: there the gradient decides
    is_level = trial.value <= now.value + 1e-8 * np.abs(now.value)
    is_flat = (trial.norm <= 0.5 * now.norm) & is_level
    is_lower = trial.value <= now.value + 1e-4 * step.slope + rounding
    is_down = is_active & (is_lower | is_flat)
    is_floor = is_down & (now.value - trial.value <= rounding) & (trial.norm > 0.5 * now.norm)
    state.n_stalls = np.where(is_floor, state.n_stalls + 1, np.where(is_down, 0, state.n_stalls))
    is_taken = is_down & ~(is_floor & (trial.norm >= now.norm))
    t = np.where(is_taken, 1.0, 0.0)
    is_longer = is_taken & np.isfinite(state.radius)
    longer = np.maximum(state.radius, 4 * step.length)
    # hardly any curvature: a ball around w keeps it finite
    is_lost = is_active & ~is_down & ~np.isfinite(trial.value + step.length)
    shorter = 0.1 * np.fmin(state.radius, step.length)
    ball = np.where(np.isfinite(shorter), shorter, step.reach)
    state.radius = np.where(is_longer, longer, np.where(is_lost, ball, state.radius))
    if is_lost.any():
        x = xp.where(xp.asarray(is_lost), xp.zeros_like(step.x), step.x)
        step = replace(step, x=x)
    units = objective.units
    for j in np.flatnonzero(is_active & ~is_down & ~is_lost)[:: units.n_classes]:
        unit = units.columns(j // units.n_classes)
        t[unit] = shorten(objective, now, step, trial, j)
        if t[j]:
            state.radius[unit] = t[j] * step.length[j]
        else:
            state.n_stalls[unit] = 2
    return t, step


def shorten(objective, now, step, trial, j):
    """How far the unit of column j goes, on the cached predictions; 0 where nothing is lower."""
    t, value, slope, m = 1.0, trial.value[j], step.slope[j], len(now.value)
    for _ in range(40):
        with np.errstate(divide="ignore", invalid="ignore"):
            quadratic = -0.5 * slope * t / ((value - now.value[j]) / t - slope)
        is_known = np.isfinite(quadratic)
        t = min(0.5 * t, max(0.1 * t, float(quadratic))) if is_known else 0.1 * t
        w = now.W + t * step.x
        z = objective.rows.blend(now.Z, np.full(m, t), trial.Z)
        sums = objective.rows.sums(objective.loss, TRAIN, z)
        train = objective.units.united(sums)[j]
        value = train + 0.5 * objective.dots(objective.lam * w, w)[j]
        if value <= now.value[j] + 1e-4 * t * slope:
            break
    return t if value <= now.value[j] + 10 * EPS * np.abs(now.value[j]) else 0.0
