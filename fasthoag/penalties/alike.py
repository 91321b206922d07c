"""Which features have the same strength at every θ, and a penalty over some of its features: what
columns that stand for several others need."""

import copy
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from fasthoag.penalties.composed import Fixed, PerClass, Shaped
from fasthoag.penalties.penalty import Penalty
from fasthoag.penalties.shapes import QUADRATIC
from fasthoag.penalties.strengths import GroupRidge, Ridge, SumPenalty
from fasthoag.types import Array

# By their very type: a penalty that is made of one of these may have other strengths.
OF_FEATURES, OF_PARTS, OF_ANOTHER = (Ridge, GroupRidge), (SumPenalty,), (PerClass, Fixed, Shaped)
ALONE = -1


def alike(penalty: Penalty, n_features: int) -> Any:
    """Numbers (n_features,) that features have in common whose strengths are the same at every θ,
    `ALONE` for those without a penalty; None for a penalty of which nothing is known.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> from fasthoag.penalties.alike import alike
    >>> alike(fasthoag.Ridge(penalty_factor=np.array([1.0, 2.0, 1.0, 0.0])), 4)
    array([ 1,  2,  1, -1])
    >>> alike(fasthoag.FeatureRidge(), 4) is None
    True
    """
    found = labels(penalty) if penalty.shape == QUADRATIC else None
    if found is None or any(len(one) != n_features for one in found):  # no penalty for these
        return None
    number = np.zeros(n_features, np.int64)
    for one in found:
        _, index = np.unique(one, return_inverse=True)
        _, number = np.unique(number * (int(index.max()) + 1) + index, return_inverse=True)
    if found:
        number[is_free(penalty)] = ALONE
    return number


def labels(penalty: Penalty) -> list[Array] | None:
    """Arrays (n_features,) that tell features of different strengths apart, or None."""
    kind = type(penalty)
    if kind in OF_ANOTHER:
        return labels(penalty.penalty)  # type: ignore[attr-defined]
    if kind in OF_PARTS:
        parts = [labels(part) for part in penalty.parts]  # type: ignore[attr-defined]
        return None if None in parts else [one for part in parts for one in part or ()]
    if kind not in OF_FEATURES:
        return None
    own = [penalty.index] if isinstance(penalty, GroupRidge) else []
    return own if penalty.penalty_factor is None else [*own, penalty.penalty_factor]


def is_free(penalty: Penalty) -> Any:
    """Which features no part of a penalty of these types penalises."""
    if type(penalty) in OF_ANOTHER:
        return is_free(penalty.penalty)  # type: ignore[attr-defined]
    if isinstance(penalty, SumPenalty):
        return reduce(np.logical_and, map(is_free, penalty.parts))
    factor = penalty.penalty_factor
    return False if factor is None else factor == 0


def over(penalty: Any, features: Array, factor: Array | None) -> Any:
    """A penalty of these types over some features, times a factor of each; its θ stay the same,
    also those of groups that none of them is in.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> from fasthoag.penalties.alike import over
    >>> penalty = over(fasthoag.GroupRidge(["a", "b", "c"]), np.array([2]), np.array([0.5]))
    >>> penalty.n_hyper(1), penalty.strengths(np.log([1.0, 2.0, 4.0]), 1)
    (3, array([2.]))
    """
    kind = type(penalty)
    if kind in OF_ANOTHER:
        return replace(penalty, penalty=over(penalty.penalty, features, factor))
    if kind in OF_PARTS:
        parts = tuple(over(part, features, factor) for part in penalty.parts)
        return replace(penalty, parts=parts)
    found = copy.copy(penalty)
    own = penalty.penalty_factor
    own = factor if own is None else own[features] * (1.0 if factor is None else factor)
    object.__setattr__(found, "penalty_factor", own)
    if kind is GroupRidge:
        object.__setattr__(found, "index", penalty.index[features])
    return found
