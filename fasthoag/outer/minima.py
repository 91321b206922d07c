"""Local minima of a criterion that was seen at some θ."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fasthoag.types import Array

SAME = 0.5  # log units within which two are one
N_TRIED = 201  # points of the cubic between two


class Minimum(NamedTuple):
    """A local minimum: θ (n_hyper,) and the value there."""

    theta: Array
    value: float


def local_minima(
    x: Array,
    values: Array,
    errors: Array,
    slopes: Array | None = None,
    slope_errors: Array | None = None,
) -> list[tuple[float, float]]:
    """Minima inside a function of one variable that was seen at ascending `x`, pairs of place and
    value: where it falls and rises again by more than the errors at both ends, or has slopes that
    are surely negative and then surely positive; with slopes by the cubic next to the lowest."""
    lowest = by_values(values, errors)
    if slopes is not None and slope_errors is not None:
        lowest |= by_slopes(values, slopes, slope_errors)
    return [lowest_next_to(k, x, values, slopes) for k in sorted(lowest)]


def by_values(values: Array, errors: Array) -> set[int]:
    """Numbers of the lowest points between a sure fall and a sure rise."""
    found, low, high, is_falling = set(), 0, 0, False
    for k in range(1, len(values)):
        if is_falling:
            low = k if values[k] < values[low] else low
            if values[k] - values[low] > errors[k] + errors[low]:
                found.add(low)
                is_falling, high = False, k
        else:
            high = k if values[k] > values[high] else high
            if values[high] - values[k] > errors[k] + errors[high]:
                is_falling, low = True, k
    return found


def by_slopes(values: Array, slopes: Array, errors: Array) -> set[int]:
    """Numbers of the lowest points from a surely negative slope to a surely positive one."""
    sure = np.flatnonzero(np.abs(slopes) > errors)
    return {
        int(i + np.argmin(values[i : j + 1]))
        for i, j in pairwise(sure)
        if slopes[i] < 0 < slopes[j]
    }


def lowest_next_to(k: int, x: Array, values: Array, slopes: Array | None) -> tuple[float, float]:
    """The lowest place about point k: on the side that it slopes down to, where f rises again
    before the next point, by the cubic through both; else the point."""
    if slopes is not None:
        other = k + 1 if slopes[k] < 0 else k - 1
        if 0 <= other < len(x) and slopes[k] * slopes[other] < 0:
            i = min(k, other)
            return lowest_of_cubic(x[i : i + 2], values[i : i + 2], slopes[i : i + 2])
    return float(x[k]), float(values[k])


def lowest_of_cubic(x: Array, values: Array, slopes: Array) -> tuple[float, float]:
    """Where the cubic through two points with slopes is least between them, and its value."""
    h, t = float(x[1] - x[0]), np.linspace(0, 1, N_TRIED)
    cubic = (
        (1 + 2 * t) * (1 - t) ** 2 * values[0]
        + t * t * (3 - 2 * t) * values[1]
        + h * t * (1 - t) * ((1 - t) * slopes[0] - t * slopes[1])
    )
    k = int(np.argmin(cubic))
    return float(x[0] + t[k] * h), float(cubic[k])


def distinct(every: Iterable[Minimum]) -> list[Minimum]:
    """These without those that are next to a lower one, the best first."""
    kept: list[Minimum] = []
    for one in sorted(every, key=lambda one: one.value):
        if all(is_apart(one.theta, other.theta) for other in kept):
            kept.append(one)
    return kept


def is_apart(theta: Sequence[float] | Array, other: Sequence[float] | Array) -> bool:
    return bool(np.abs(np.asarray(theta) - np.asarray(other)).max() > SAME)


def in_other_valleys(
    places: Iterable[tuple[float, float]], known: Sequence[Minimum], x: Array
) -> list[Minimum]:
    """Those of these places and values, found between points at ascending `x`, that are none of the
    minima known better, which lie between the same points or next to them."""
    at = [int(np.searchsorted(x, one.theta[0])) for one in known]
    return [
        Minimum(np.array([place]), value)
        for place, value in places
        if all(abs(int(np.searchsorted(x, place)) - k) > 1 for k in at)
    ]
