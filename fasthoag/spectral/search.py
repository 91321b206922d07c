"""The strengths of many targets at once: every target has a minimum of its own, and all take their
steps together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fasthoag.spectral.left_out import Values
from fasthoag.types import Array

MOST_STEPS, MOST_VALLEYS = 40, 3
SIDE_BY_SIDE = 64  # columns of few targets at several levels
LEAST = 1e-8  # of the criterion of the strongest penalty
SHARPER = 1e-3  # than a slope of tol leaves: the last step of Newton's method costs little


class Found(NamedTuple):
    """θ of every target, (n_targets,), with the criterion there, its slope and the size that slopes
    are compared with, and the number of steps."""

    theta: Array
    value: Array
    slope: Array
    size: Array
    n_steps: int


def joined(found: list[Found]) -> Found:
    """What was found of blocks of targets, as of all."""
    theta, value, slope, size = (np.concatenate([one[k] for one in found]) for k in range(4))
    return Found(theta, value, slope, size, max(one.n_steps for one in found))


class Brackets(NamedTuple):
    """Where minima are, an entry for each: its target, the levels on both sides, where the cubic
    through both has its minimum and what it is there."""

    target: Array
    low: Array
    high: Array
    theta: Array
    value: Array


def minima(
    evaluate: Callable[[Array, Any, int], Values],
    n_targets: int,
    levels: Array,
    tol: float,
    note: Callable[[str, Array, Values], Any],
) -> Found:
    """The lowest minimum of every target between the first and the last of `levels`, which rise.

    ``evaluate(theta, targets, order)`` gives the `Values` of these targets, each at its own θ;
    ``note(phase, theta, values)`` hears of all. Between two levels where the criterion first falls
    and then rises Newton's method goes on from the minimum of a cubic, and bisects where it would
    leave them. The lowest of these minima and of the levels at both ends is taken."""
    targets = np.arange(n_targets)
    value, slope = looks(evaluate, n_targets, levels, note)
    best = value.shape[0] - 1 - np.argmin(value[::-1], axis=0)  # the strongest of equal ones
    # Where targets are without noise the criterion may be nothing but rounding.
    least = LEAST * value[-1]
    found = Found(levels[best], value[best, targets], slope[best, targets], least, 0)
    brackets, n_steps = brackets_of(levels, value, slope), 0
    for valley in range(MOST_VALLEYS):
        brackets = lower_than(brackets, found, tol, valley == 0)
        if not len(brackets.target):
            break
        first = first_of_targets(brackets)
        chosen = Brackets(*(one[first] for one in brackets))
        brackets = Brackets(*(one[~first] for one in brackets))
        stepped = newton(evaluate, chosen, SHARPER * tol**2, least[chosen.target], note)
        n_steps += stepped.n_steps
        is_lower = stepped.value <= found.value[chosen.target]
        where = chosen.target[is_lower]
        for old, new in zip(found[:3], stepped[:3], strict=True):
            old[where] = new[is_lower]
    return found._replace(size=np.maximum(least, found.value), n_steps=n_steps)


def shared_minima(
    evaluate: Callable[[Array, Any, int], Values],
    shares: Array,
    levels: Array,
    tol: float,
    note: Callable[[str, Array, Values], Any],
) -> Found:
    """The same for targets of which those with the same number in `shares` have one strength, with
    the least sum of their criteria; an entry for each of these numbers, which begin with 0."""
    n_groups = int(shares.max()) + 1

    def of_groups(theta, groups, order):
        groups, found = np.arange(n_groups)[groups], []
        for first in range(0, len(groups), n_groups):  # some, or several levels of all
            some = groups[first : first + n_groups]
            at = theta if len(theta) == 1 else theta[first : first + n_groups]
            place = np.full(n_groups, -1)
            place[some] = np.arange(len(some))
            targets = np.flatnonzero(place[shares] >= 0)
            of = place[shares[targets]]
            values = evaluate(at if len(at) == 1 else at[of], targets, order)
            found.append([np.bincount(of, each, len(some)) for each in values])
        return Values(*np.concatenate(found, axis=1))

    return minima(of_groups, n_groups, levels, tol, note)


def over_blocks(blocks: list[slice], values_of: Any, theta: Array, targets: Array) -> Values:
    """The `Values` of these targets, each at its θ or all at one: ``values_of(k, θ, targets)`` are
    those of block k, whose targets are counted from its first."""
    found = np.empty((3, len(targets)))
    for k, some in enumerate(blocks):
        inside = (targets >= some.start) & (targets < some.stop)
        if inside.any():
            at = theta if len(theta) == 1 else theta[inside]
            found[:, inside] = values_of(k, at, targets[inside] - some.start)
    return Values(*found)


def looks(evaluate, n_targets, levels, note):
    """The criterion and its slope at all levels, (n_levels, n_targets); of few targets many levels
    side by side."""
    targets, value, slope = np.arange(n_targets), [], []
    step = max(1, SIDE_BY_SIDE // n_targets)
    for some in (levels[k : k + step] for k in range(0, len(levels), step)):
        if len(some) == 1:  # One θ for all is one column of numbers.
            found = evaluate(some, slice(None), 1)
        else:
            found = evaluate(np.repeat(some, n_targets), np.tile(targets, len(some)), 1)
        shaped = Values(*(each.reshape(len(some), n_targets) for each in found))
        for k, level in enumerate(some):
            note("look", np.array([level]), Values(*(each[k] for each in shaped)))
        value.append(shaped.value)
        slope.append(shaped.slope)
    return np.concatenate(value), np.concatenate(slope)


def brackets_of(levels, value, slope):
    """The `Brackets` of all targets, the lowest of each target first."""
    at, target = np.nonzero((slope[:-1] < 0) & (slope[1:] > 0))
    low, high = levels[at], levels[at + 1]
    ends = (value[at, target], value[at + 1, target], slope[at, target], slope[at + 1, target])
    theta, lowest = cubic_minimum(low, high, *ends)
    order = np.lexsort((lowest, target))
    return Brackets(*(one[order] for one in (target, low, high, theta, lowest)))


def cubic_minimum(low, high, f0, f1, g0, g1):
    """Where the cubic with these values and slopes at both ends has its minimum, and what it is
    there (Nocedal & Wright, Numerical Optimization, 2nd ed., (3.59))."""
    width = high - low
    a = g0 + g1 - 3 * (f1 - f0) / width
    root = np.sqrt(np.maximum(a * a - g0 * g1, 0.0))
    share = np.clip(1 - (g1 + root - a) / (g1 - g0 + 2 * root), 0.02, 0.98)
    t = share
    value = (
        f0 * (1 + 2 * t) * (1 - t) ** 2
        + f1 * t * t * (3 - 2 * t)
        + width * (g0 * t * (1 - t) ** 2 - g1 * t * t * (1 - t))
    )
    return low + share * width, value


def lower_than(brackets, found, tol, is_first):
    """The brackets that may have something lower than what was found; at first all."""
    if is_first:
        return brackets
    known = found.value[brackets.target]
    keep = brackets.value < known * (1 - tol)
    return Brackets(*(one[keep] for one in brackets))


def first_of_targets(brackets):
    target = brackets.target
    return np.concatenate([[True], target[1:] != target[:-1]])


def newton(evaluate: Any, brackets: Brackets, tol: float, least: Array, note: Any) -> Found:
    """The minimum in each of these brackets, up to `tol` times the criterion, or times the least
    size that it may have."""
    low, high, theta = brackets.low.copy(), brackets.high.copy(), brackets.theta.copy()
    value, slope = np.full(len(theta), np.inf), np.zeros(len(theta))
    active, n_steps = np.arange(len(theta)), 0
    while len(active) and n_steps < MOST_STEPS:
        n_steps += 1
        here = theta[active]
        f, g, h = values = evaluate(here, brackets.target[active], 2)
        note("all", here, values)
        value[active], slope[active] = f, g
        is_rising = g > 0
        high[active[is_rising]], low[active[~is_rising]] = here[is_rising], here[~is_rising]
        step = np.where(h > 0, -g / np.where(h > 0, h, 1.0), np.nan)
        new = here + step
        middle = 0.5 * (low[active] + high[active])
        is_inside = (new > low[active]) & (new < high[active])
        # What the step still gains on the quadratic model, g² / 2h.
        is_done = (h > 0) & (g * g <= 2 * h * tol * np.maximum(f, least[active]))
        is_done |= high[active] - low[active] < 1e-10
        # The last step is taken without another look: it leaves the square of what was left.
        theta[active] = np.where(is_inside, new, np.where(is_done, here, middle))
        active = active[~is_done]
    return Found(theta, value, slope, least, n_steps)
