"""Where a search begins: the box of θ, and looks at strengths before any step is taken.

All θ here are relative to the scale of the data (see `measured`): levels, boxes and starts are then
the same numbers whatever the units of features, targets and weights."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from fasthoag.hypergradient import Accuracy
from fasthoag.inner.precond import SMALL as FEW_COEFFICIENTS
from fasthoag.outer.rules import Box
from fasthoag.penalties import InUnits, Ridge, standardised, with_shape_of

DECADE = np.log(10)
SMALL = 1_000_000  # stored values up to which every level is looked at, on all folds
SMALL_TEXT = 100_000
MOST_LEVELS = 12
LOOSE = Accuracy(0.3, 0.2)
SHRINKS, ALL_ROWS = 0.45, 3.0
FEW_MORE = 2  # other levels that are started from, at most
CLEARLY = 0.9
NEARLY_ONE = np.log(2)  # units within it are not looked at apart


@dataclass(frozen=True)
class Ray:
    """Strengths that move together: θ of an inner problem at every level of them, and the scales
    (k,) that levels are compared with. ``unit`` of the strengths is one number, or an array of the
    features."""

    inner: Any
    unit: Any
    scales: np.ndarray
    offset: np.ndarray

    def level(self, log_strength):
        """θ of about this strength, in its unit."""
        return self.inner.start(log_strength) + self.offset


@dataclass(frozen=True)
class Measured:
    """A criterion whose θ are relative to units of strength: the mean scale of the features of each
    hyperparameter, or of all of them where hyperparameters share features. ``shift`` (n_hyper,)
    makes them the user's, ``scales`` are those of the features in their units; ``rays`` are all at
    their own scale and all at one strength, one ray where that is nearly the same: of one
    strength where many start from it (``single_rays``)."""

    bound: Any
    shift: np.ndarray
    scales: np.ndarray
    rays: tuple
    single_rays: tuple
    matrix: Any = None  # of the user's θ, = A (θ + shift), where the penalty was standardised
    # whether each θ is the log of a strength over the curvature of its own features
    is_of_shares: bool = False

    @property
    def inner(self):
        return self.bound.inner

    def for_user(self, theta, known=()):
        """θ as the user has it; what he gave comes back to the bit, `known` pairs of his θ here and
        as it was."""
        out = theta + self.shift
        out = out if self.matrix is None else self.matrix @ out
        for here, given in known:
            same = theta == here
            out = np.where(same if self.matrix is None else same.all(), given, out)
        return out

    def from_user(self, theta):
        theta = theta if self.matrix is None else np.linalg.solve(self.matrix, theta)
        return theta - self.shift

    def given(self, theta0, box, default):
        """What the user gave as start and bounds, here: θ or None, the `Box`, that of
        ``default(inner, scales)`` without, and the pairs of his θ here and as it was that
        `for_user` knows."""
        if box is None:
            here = Box(*default(self.inner, self.scales))
            known = []
        else:
            here = Box(*map(self.from_user, box))
            known = list(zip(here, box, strict=True))
        if theta0 is None:
            return None, here, known
        start = self.from_user(theta0)
        return np.clip(start, *here), here, [(start, theta0), *known]

    def evaluation_for_user(self, evaluation, theta):
        """An evaluation at the user's `theta`, with the derivatives in his θ and their error."""
        grad, hess, factor = evaluation.grad, evaluation.hess, 1.0
        if self.matrix is not None:
            inverse = np.linalg.inv(self.matrix)
            grad, factor = inverse.T @ grad, float(np.linalg.norm(inverse, 2))
            hess = None if hess is None else inverse.T @ hess @ inverse
        errors = {name: factor * vars(evaluation)[name] for name in ("inner_error", "linear_error")}
        return replace(evaluation, theta=theta, grad=grad, hess=hess, **errors)


def measured(bound, has_box=False):
    """The `Measured` of a criterion. Bounds of the user are none in another basis of θ."""
    inner = bound.inner
    penalty, matrix = (inner.penalty, None) if has_box else standardised(inner.penalty)
    n, none = inner.n_features, np.zeros(inner.n_hyper)
    every, scales = inner.feature_scales, inner.scales
    if matrix is not None:
        from scipy.linalg import block_diag  # it takes as long to import as all of fasthoag

        matrix = block_diag(matrix, np.eye(len(none) - len(matrix)))
        inner = inner.with_penalty(penalty)
        bound = replace(bound, inner=inner)

    def as_it_is():
        rays = (Ray(inner, 1.0, scales, none),)
        return Measured(bound, none, scales, rays, rays, matrix)

    if penalty.n_hyper(n) == 0:
        return as_it_is()
    mean, zero = float(scales.mean()), penalty.start(0.0, n)
    to_mean = penalty.start(np.log(mean), n) - zero
    is_of_shares = penalty.is_partition and len(zero) > 1
    if is_of_shares:
        units = penalty.units(every)
        unit, shift = penalty.of_features(units, n), np.log(units)
    else:
        unit, shift, expected = mean, to_mean, mean * penalty.strengths(zero, n)
        # a penalty whose strengths cannot all be multiplied keeps the unit of the user
        if not np.allclose(penalty.strengths(zero + shift, n), expected, rtol=1e-9, atol=0):
            return as_it_is()
    rest = none[len(shift) :]  # of what is tuned beside the penalty
    shift, to_mean = np.append(shift, rest), np.append(to_mean, rest)
    inner = inner.in_units(unit)
    bound = replace(bound, inner=inner)
    of_feature = unit if np.ndim(unit) < 2 else unit.mean(axis=1)
    relative = inner.spread_out(every / of_feature)
    relative = relative[relative > 0] if (every > 0).any() else np.ones(1)
    own = Ray(inner, of_feature, relative, none)
    alike = Ray(inner, mean, scales / mean, to_mean - shift)
    is_near = np.ptp(shift) < NEARLY_ONE
    rays, single = ((own,), (alike,)) if is_near else ((own, alike),) * 2
    return Measured(bound, shift, relative, rays, single, matrix, is_of_shares)


def default_box(inner, scales=None):
    """Bounds of θ from 1e-12 times the smallest to 1e6 times the largest scale of a feature: beyond
    them λ is nothing or everything."""
    scales = inner.scales if scales is None else scales
    return inner.box(np.log(scales.min()) - 12 * DECADE, np.log(scales.max()) + 6 * DECADE)


def levels_of_trials(inner, scales=None):
    """Log strengths between which something changes: from 1e-4 times what the features have of
    curvature in a direction that the rows determine, to 10 times what they have in all. Beyond, λ
    is nearly nothing, or everything."""
    scales = inner.scales if scales is None else scales
    total, n_directions = scales.sum(), max(1, min(len(scales), inner.n_used))
    return np.log(total / n_directions) - 4 * DECADE, np.log(total) + DECADE


def box_of_trials(inner, scales=None):
    """Bounds of θ for searches that try points."""
    return inner.box(*levels_of_trials(inner, scales))


def is_small(inner):
    """Whether every level is looked at, on all folds. Of one strength of many sparse features,
    whose weak levels take most passes, some rows tell about as much."""
    is_text = inner.design.is_sparse and inner.n_hyper == 1
    is_text = is_text and inner.design.n_coef > FEW_COEFFICIENTS
    return inner.design.n_stored <= (SMALL_TEXT if is_text else SMALL)


@dataclass(frozen=True)
class Look:
    """A level that was looked at: log strength, what was found there, and the slope of the
    criterion in the level."""

    ray: Ray
    level: float
    found: Any
    slope: float

    @property
    def value(self):
        return self.found.value

    @property
    def W(self):
        return self.found.predict(0 * self.found.theta)


def look_everywhere(bound, ray, box, record):
    """The criterion and its slope at some strengths of a ray on all folds, from where the penalty
    is everything down to where it is nothing, and between two where f is lower; the best first. f
    may have a valley for every scale of a feature, and be flat between. Levels are a decade apart,
    or more where scales differ by many; those that are not solved are left out.

    Solutions are loose, each started from that of the level above. Returns the looks and whether
    ``record(evaluation, accuracy, is_accepted)`` asked to stop."""
    inner, scales = bound.inner, ray.scales
    top, bottom = np.log(scales.sum()), np.log(scales.min()) - 4 * DECADE
    step = max(DECADE, (top - bottom) / MOST_LEVELS)
    is_wide = inner.design.n_coef > FEW_COEFFICIENTS
    if is_wide and not bound.is_of_w:
        step = max(2 * DECADE, step)
    null, level, n_worse, looks, is_stopped = bound.null_value, top, 0, [], False

    def look(level, last):
        nonlocal is_stopped
        now = look_at(bound, ray, level, box, last)
        if now is None:
            return None
        is_stopped |= record(now.found, LOOSE, False)
        looks.append(now)
        return now

    while level >= bottom and n_worse < 2 and not is_stopped:
        last = looks[-1] if looks else None
        is_beyond_box = (ray.level(level - step) >= box.upper).all()  # the next is at it too
        now = None if is_beyond_box else look(level, last)
        level -= step
        if is_beyond_box:
            continue
        if now is None:
            if is_wide:
                break  # weaker ones are harder still
            continue
        is_beyond = now.level < np.log(scales.min())  # λ is less than every scale
        best = min(one.value for one in looks)
        if null - best > 0.3 * bound.size(null):  # a valley was found
            limit = best + 0.5 * bound.size(best)
        else:
            limit = null + (0.5 if is_beyond else 1.0) * bound.size(null)
        n_worse = n_worse + 1 if now.value > limit else 0
        is_still = last and abs(now.value - last.value) <= 1e-4 * bound.size(now.value)
        if (is_beyond and is_still) or (now.found.theta <= box.lower).all():
            break  # nothing changes any more
    for above, below in pairwise(tuple(looks)):
        level = between(above, below)
        if level is not None and not is_stopped:
            look(level, min(above, below, key=lambda one: abs(one.level - level)))
    return sorted(looks, key=lambda one: one.value), is_stopped


def look_at(bound, ray, level, box, last):
    """The `Look` at a level from the `last` one, or None where no solution was found."""
    found = evaluate_loosely(bound, ray.level(level), box, last and last.found)
    if found is None:
        return None
    slope = float(found.grad @ (ray.level(1.0) - ray.level(0.0)))
    return Look(ray, level, found, slope)


def evaluate_loosely(bound, theta, box, last):
    """The evaluation at θ within bounds, started from the `last` one, or None where no solution was
    found."""
    inner, theta = bound.inner, np.clip(theta, *box)
    W, precond = (last.predict(0 * last.theta), last.precond) if last else (inner.null.W, None)
    is_smooth = not inner.has_kinks
    if precond is not None and inner.design.n_coef <= FEW_COEFFICIENTS:
        if bound.is_of_w and is_smooth:
            W, precond = one_step(inner.at(theta), theta, W, precond)
        else:
            precond = replace(precond, is_rough=True)  # made anew where the solution is
    found = bound.evaluate(theta, W, LOOSE, has_tangents=False, precond=precond)
    if not (found.is_solved and np.isfinite(found.value)):
        return None
    return replace(found, Q=None)  # with all columns of Q many would be large


def one_step(inner, theta, W, precond):
    """A Newton step at θ and the inverse of the Hessian where it ends: with few coefficients that
    costs one pass and saves several, since the curvatures of the level above are far off."""
    lam = inner.strengths(theta)
    precond = precond.at(lam)
    tol = inner.units.repeat(LOOSE.inner_tol(inner.cross_norms(lam, W, precond)))
    step = inner.solve(lam, W, tol=tol, precond=precond, max_iter=1)
    return step.W, inner.precond(inner.curvature(step.Z), lam)


def between(above, below):
    """The level of the least value between two levels of which f falls away, by the cubic through
    their values and slopes but not next to one of them; None where f does not."""
    if not (below.slope < 0 < above.slope):
        return None
    h = above.level - below.level
    t = np.linspace(0.25, 0.75, 21)
    values = (
        (1 + 2 * t) * (1 - t) ** 2 * below.value
        + t * t * (3 - 2 * t) * above.value
        + h * t * (1 - t) * ((1 - t) * below.slope - t * above.slope)
    )
    return below.level + float(t[np.argmin(values)]) * h


def look_at_three(seen, box):
    """A quick look at three levels of every ray about the scale of the data on the first fold: the
    best start (ray, level, w). All at one strength, unless their own scales are clearly better."""
    first = seen.bound.one_fold(0)
    if not first.is_of_w:  # no rows but those that train, whose losses tell nothing
        return seen.rays[0], 0.0, first.inner.null.W
    found = [(*three_levels(first, ray, box), ray) for ray in seen.single_rays]
    value, level, W, ray = found[-1]
    for other in found[:-1]:
        if other[0] < CLEARLY * value or not np.isfinite(value):
            value, level, W, ray = other
    return ray, level, W


def three_levels(first, ray, box):
    """The best (value, level, w) of three levels, as columns of one block with few iterations,
    among those that came near their solution; else infinity and the strongest. One that is still
    far looks like a larger strength."""
    inner, design, units = first.inner, first.inner.design, first.inner.units
    levels = [k * DECADE for k in (1, 0, -1)]
    thetas = [np.clip(ray.level(level), *box) for level in levels]
    xp = design.xp
    lam = xp.concat([inner.strengths(theta)[:, :1] for theta in thetas], axis=1)
    lam_of = units.repeat(np.arange(len(levels), dtype=np.int32))
    precond = inner.first_precond(lam[:, 1:2])
    start = xp.concat([inner.null.W] * len(levels), axis=1)
    unit = precond.norms(units, inner.rows.loss_grad(inner.loss, inner.null.W).grad)[0]
    solve = {"lam_of": lam_of, "precond": precond, "max_iter": 4, "max_cg": 8}
    result = inner.solve(lam, start, tol=0.1 * unit, **solve)
    values = first.values(result.W, result.Z)
    reach = 2 * inner.cross_norms(xp.take(lam, xp.asarray(lam_of), axis=1), result.W, precond)
    is_near = np.isfinite(values) & (units.of_units(result.grad_norm) <= reach)
    values = np.where(is_near, values, np.inf)
    best = int(np.argmin(values))
    return float(values[best]), levels[best], units.split(result.W)[best]


def solve_all_rows(inner, theta, W, precond):
    """About the inner solution on all rows, from the solution `W` on some of them or of one
    fold."""
    whole = inner.all_rows()
    lam = whole.strengths(theta)
    precond = precond.at(lam) if precond else whole.first_precond(lam)
    tol = inner.units.repeat(ALL_ROWS * whole.cross_norms(lam, W, precond))
    return whole.solve(lam, shrunk(whole, W), tol=tol, precond=precond).W


def shrunk(inner, W):
    """A start for a fit of more rows than `W` is of: towards the null model, as rows that were left
    out may be far on the wrong side, where the curvature is nearly 0 and Newton steps overshoot (20
    newsgroups, from a quarter of the rows: 37 passes from W, 24 from 0.45 W, 53 from 0)."""
    null = inner.null.W
    return W if inner.loss.is_quadratic else null + SHRINKS * (W - null)


def single_strength(bound, seen, ray):
    """A criterion with one strength in the place of the penalty's hyperparameters, those of others
    at their start, and its `Ray`: in the units of a ray of the search."""
    own = seen.inner.penalty
    penalty = InUnits(with_shape_of(Ridge(own.penalty_factor), own), ray.unit)
    inner = bound.inner.at(seen.inner.start(0.0))
    bound = replace(bound, inner=replace(inner, penalty=penalty, tuned=()))
    return bound, Ray(bound.inner, ray.unit, ray.scales, np.zeros(1))


def times(found, factor):
    """An evaluation of a multiple of the criterion."""
    names = ("value", "value_inner_error", "value_linear_error", "fold_values", "grad")
    names += ("inner_error", "linear_error", "standard_error")
    return replace(found, hess=None, **{name: factor * vars(found)[name] for name in names})
