"""Rows that judge and train: a criterion that sees the rows of its own fits follows their noise."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.criterion import Criterion
from fasthoag.design.rows import HELD_OUT, TRAIN
from fasthoag.threads import stacklevel_of_user
from fasthoag.types import Array

ALIKE = 1e-11  # of products with random numbers, relative: sums of other designs round otherwise
LEAST_SHARE = 0.01  # of the rows that judge: fewer change next to nothing
SIGMAS = 3.0


class SharedRowsWarning(UserWarning):
    """Rows of the criterion are training rows."""


@dataclass(frozen=True, eq=False)
class SharedRows:
    """Rows of a criterion that train too: the same features, target and fold.

    Attributes
    ----------
    n_rows, n_shared : int
        Rows that judge, and those of them that are training rows of the same fold; a row counts in
        every fold where it does. Without rows of weight 0.
    n_expected : float
        How many would be by chance: by the share of training rows that have a copy among the other
        training rows.
    pairs : array, shape (n_shared, 3)
        Fold, number of the row that judges, and the number of the first training row that it
        equals.
    """

    n_rows: int
    n_shared: int
    n_expected: float
    pairs: Any

    @property
    def is_suspect(self) -> bool:
        """Whether there are far more than chance explains."""
        most = self.n_expected + SIGMAS * np.sqrt(self.n_expected)
        return self.n_shared - most > LEAST_SHARE * self.n_rows


def shared_rows_of(bound: Any) -> SharedRows:
    """The `SharedRows` of a bound criterion."""
    if not (isinstance(bound, BoundCriterion) and bound.is_of_w and bound.has_targets):
        raise TypeError(
            "criterion must have rows that judge and their targets, as fasthoag.HeldOut and "
            "fasthoag.KFold do"
        )
    train, judge = bound.inner.rows, bound.rows
    if bound.is_shared:
        ids = numbers_of_rows([train])
        of_train = of_judge = ids
    else:
        ids = numbers_of_rows([train, judge])
        of_train, of_judge = ids[: len(train.y)], ids[len(train.y) :]
    pairs, n_rows, expected = [], 0, 0.0
    for fold in range(bound.n_folds):
        trains = np.flatnonzero(is_in(train, TRAIN, fold))
        judges = np.flatnonzero(is_in(judge, bound.part, fold))
        first = np.full(ids.max() + 1, -1)
        first[of_train[trains][::-1]] = trains[::-1]
        hit = first[of_judge[judges]]
        is_hit = hit >= 0
        pairs.append(np.column_stack([np.full(is_hit.sum(), fold), judges[is_hit], hit[is_hit]]))
        n_rows += len(judges)
        expected += len(judges) * share_of_copies(of_train[trains])
    every = np.concatenate(pairs)
    return SharedRows(n_rows, len(every), expected, every)


def is_in(rows: Any, part: int, fold: int) -> Any:
    """Whether rows are in this part of a fold, with a positive weight."""
    is_there = np.ones(len(rows.y), bool) if rows.weight is None else rows.weight > 0
    if rows.mask is None:
        return is_there & (part == TRAIN)
    return is_there & ((rows.mask[:, min(fold, rows.mask.shape[1] - 1)] & part) != 0)


def share_of_copies(ids: Any) -> float:
    """The share of rows that have a copy among the others, with what a few rows may hide of it
    (three sigmas, and the rule of three where there is none)."""
    n = len(ids)
    share = float((np.bincount(ids)[ids] > 1).mean())
    return min(1.0, share + SIGMAS * np.sqrt(share * (1 - share) / n) + 3 / n)


def numbers_of_rows(every: list[Any]) -> Any:
    """Numbers of the rows of all of these together: the same for rows with the same features,
    target and offset, (n_rows,)."""
    first, *_ = every
    design = first.design
    rng = np.random.default_rng(20160101)
    U = design.xp.asarray(rng.normal(size=(design.n_coef, 2)))
    products = [rows.to_host(rows.design.matvec(U)) for rows in every]
    z, y = np.concatenate(products), np.concatenate([rows.y for rows in every])
    exact = [y] if first.offset is None else [y, np.concatenate([rows.offset for rows in every])]
    ids = runs(z[:, 0])
    some = np.flatnonzero(np.bincount(ids)[ids] > 1)  # of most rows one product is enough
    if len(some):
        apart, n = ids[some], len(ids)
        numbers = (np.unique(one[some], axis=0, return_inverse=True)[1].ravel() for one in exact)
        for other in (runs(z[some, 1]), *numbers):
            apart = np.unique(apart * n + other, return_inverse=True)[1]
        ids[some] = n + apart
    return ids


def runs(values: Array) -> Any:
    """Numbers of values that are the same up to rounding, (n,)."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    least = 1e-3 * float(np.abs(values).max(initial=0.0))
    is_new = np.diff(ascending) > ALIKE * np.maximum(np.abs(ascending[1:]), least)
    found = np.empty(len(order), np.int64)
    found[order] = np.append(0, np.cumsum(is_new))
    return found


def warn_of_shared_rows(criterion: Criterion, bound: Any) -> None:
    """Warns where rows of `HeldOut`, or of a fold of `KFold`, are those that it trains on."""
    name = type(criterion).__name__
    if name == "HeldOut" and isinstance(bound, BoundCriterion):
        found = shared_rows_of(bound)
        if found.is_suspect:
            warnings.warn(
                f"{found.n_shared} of the {found.n_rows} rows of HeldOut are training rows too: "
                "the criterion follows their noise, and the strength that it finds is too small. "
                "Judge by rows that do not train (fasthoag.shared_rows names those that do)",
                SharedRowsWarning,
                stacklevel=stacklevel_of_user(),
            )
    elif name == "KFold" and isinstance(bound, BoundCriterion) and bound.rows.mask is not None:
        mask = bound.rows.mask
        is_both = (mask & TRAIN != 0) & (mask & HELD_OUT != 0)
        n_both = int(is_both.any(axis=1).sum())
        if n_both:
            warnings.warn(
                f"{n_both} of the {len(mask)} rows are in the training part and in the test part "
                "of the same fold: the criterion follows their noise. Give parts without common "
                "rows to cv=",
                SharedRowsWarning,
                stacklevel=stacklevel_of_user(),
            )
