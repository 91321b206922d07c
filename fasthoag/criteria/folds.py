"""Which rows train and which are held out: splits as masks, and what makes them impossible."""

from collections.abc import Iterable, Sized
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fasthoag.design.rows import HELD_OUT, TRAIN
from fasthoag.kinds import labels_of
from fasthoag.losses import find_loss

BITS = TRAIN, HELD_OUT


def split_weight(weight, y, loss):
    """Row weights of four fifths of the rows, and of the fifth that is held back, drawn with a
    fixed seed among those with a positive weight, of every class alike."""
    weight = np.ones(len(y)) if weight is None else weight
    rows = np.flatnonzero(weight > 0)
    if len(rows) < 5:
        raise ValueError(
            f"the criterion has {len(rows)} rows with a positive weight, too few to hold some "
            "back; use stop_on=None"
        )
    rank, is_back = np.random.default_rng(0).permutation(len(rows)), np.zeros(len(y), bool)
    rows = rows[np.argsort(rank)]
    for value in np.unique(y[rows]) if loss.is_classification else [None]:
        some = rows if value is None else rows[y[rows] == value]
        is_back[some[: len(some) // 5]] = True
    if not is_back.any():  # of classes that have hardly a row each
        is_back[rows[: len(rows) // 5]] = True
    return weight * ~is_back, weight * is_back


def split_weight_of_folds(weight, y, loss, mask, groups):
    """The same for folds of this mask. Of groups whole ones are held back, where every fold keeps
    others; rows of all where that cannot be, as where each fold leaves out one."""
    is_back = None if groups is None else groups_to_hold_back(weight, mask, groups)
    if is_back is None:
        return split_weight(weight, y, loss)
    weight = np.ones(len(y)) if weight is None else weight
    return weight * ~is_back, weight * is_back


def groups_to_hold_back(weight, mask, groups):
    """Which rows are of groups with up to a fifth of the rows, drawn with a fixed seed, without
    which every part of every fold still has some; None where there are none."""
    is_used = np.ones(len(groups), bool) if weight is None else weight > 0
    _, index = np.unique(groups, return_inverse=True)
    n_rows = np.bincount(index[is_used], minlength=index.max() + 1)
    parts = [is_used & (mask[:, k] & bit > 0) for k in range(mask.shape[1]) for bit in BITS]
    is_in = np.array([np.bincount(index[part], minlength=len(n_rows)) > 0 for part in parts]).T
    left, n_left, chosen = is_in.sum(axis=0), n_rows.sum() // 5, []
    for group in np.random.default_rng(0).permutation(len(n_rows)):
        if 0 < n_rows[group] <= n_left and (left - is_in[group] > 0).all():
            left, n_left = left - is_in[group], n_left - n_rows[group]
            chosen.append(group)
    return np.isin(index, chosen) if chosen else None


@dataclass(frozen=True, eq=False)
class Pairs:
    """A splitter whose (train, test) pairs are known: they may stand beside groups."""

    pairs: Any

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        return self.pairs


@runtime_checkable
class Splitter(Protocol):
    """What scikit-learn's splitters have."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any: ...


def check_is_cv(cv):
    """Raises ValueError for what can never be what scikit-learn calls cv."""
    is_cv = cv is None or isinstance(cv, (int, np.integer))
    is_cv = is_cv or isinstance(cv, (Splitter, Iterable))
    is_cv = is_cv and not (isinstance(cv, np.ndarray) and cv.ndim == 0)
    if not is_cv or isinstance(cv, (bool, np.bool_, str, bytes, type)):
        raise ValueError(
            "cv must be a whole number >= 2, a splitter of scikit-learn or an iterable of (train, "
            f"test) pairs; got {cv!r}"
        )


def checked_groups(groups, n_rows):
    """The labels of the groups of all rows, or None; raises ValueError for what are no labels of
    these rows."""
    if groups is None:
        return None
    groups = labels_of(groups, "groups")
    groups = groups[:, 0] if groups.ndim == 2 and groups.shape[1] == 1 else groups
    if groups.shape != (n_rows,):
        raise ValueError(f"groups must have one label a row, ({n_rows},); got shape {groups.shape}")
    return groups


def splitter_of(cv, y, groups, is_classification):
    """The splitter of scikit-learn that `cv` stands for; raises ValueError for groups that it would
    not use. A number of folds cuts between groups where there are some, and of classes as evenly as
    these allow."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, check_cv
    from sklearn.utils.multiclass import type_of_target

    is_number = cv is None or isinstance(cv, (int, np.integer))
    if groups is None or not is_number:
        if groups is not None and not isinstance(cv, Splitter):
            raise ValueError(
                "groups= is for a splitter, or a number of folds; cv has (train, test) pairs, "
                "which say already where rows go. Drop one of them"
            )
        return check_cv(cv, y, classifier=is_classification)
    n_folds, n_groups = 5 if cv is None else int(cv), len(np.unique(groups))
    if n_folds > n_groups:
        instead = f"Use cv <= {n_groups}" if n_groups > 1 else "There is nothing to cut between"
        raise ValueError(
            f"cv={n_folds} folds need at least as many groups; the number of groups is {n_groups}. "
            f"{instead}"
        )
    is_stratified = is_classification and type_of_target(y) in ("binary", "multiclass")
    return (StratifiedGroupKFold if is_stratified else GroupKFold)(n_folds)


def splits_of(splitter, y, groups):
    """The (train, test) pairs of a splitter; raises ValueError where it needs groups."""
    try:
        return list(splitter.split(np.zeros((len(y), 1)), y, groups))
    except ValueError as error:
        if groups is None and "groups" in str(error):
            raise ValueError(
                f"cv={splitter} needs groups=, a label for every row, in fit or in KFold"
            ) from error
        raise


def check_pairs(splits):
    """Raises ValueError for what are no pairs of rows."""
    for fold, split in enumerate(splits):
        if isinstance(split, str) or not isinstance(split, Sized) or len(split) != 2:
            raise ValueError(
                f"cv must give (train, test) pairs of row numbers; fold {fold} is {split!r}"
            )


def mask_of_folds(splits, weight):
    """Which rows train and which are held out, (n_rows, n_folds) bits; raises ValueError for splits
    that are none of these rows."""
    n = len(weight)
    if not splits:
        raise ValueError("cv gives no split of the rows; give at least one (train, test) pair")
    mask = np.zeros((n, len(splits)), np.uint8)
    for fold, (train, test) in enumerate(splits):
        for name, index, bit in (("training", train, TRAIN), ("test", test, HELD_OUT)):
            index = np.asarray(index)
            if index.ndim != 1 or index.dtype.kind not in "iub":
                if index.size:
                    raise ValueError(
                        f"cv must give {name} rows as integers or a boolean mask; fold {fold} "
                        f"has dtype {index.dtype}, shape {index.shape}"
                    )
                index = index.astype(int).ravel()
            if index.dtype.kind == "b" and len(index) != n:
                raise ValueError(
                    f"cv gives fold {fold} a {name} mask of {len(index)} rows; X has {n}"
                )
            if index.dtype.kind != "b" and len(index) and (index.min() < -n or index.max() >= n):
                raise ValueError(f"cv gives fold {fold} {name} rows outside 0..{n - 1}")
            mask[index, fold] |= bit
            if not (weight[index] > 0).any():
                raise ValueError(
                    f"fold {fold} of cv has no {name} row with a positive weight; use fewer "
                    "folds or other splits"
                )
    return mask


def check_fold_classes(y, weight, mask, names=None, *, when=""):
    """Raises ValueError where a class of y has no row with a positive weight in the training part
    of a fold; `names` are what the user calls the sorted values of y."""
    values = np.unique(y)
    y = np.searchsorted(values, y)  # which takes less memory than `unique` for its inverse
    total = np.bincount(y[weight > 0], minlength=len(values))
    for fold in range(mask.shape[1]):
        is_training = (weight > 0) & (mask[:, fold] & TRAIN > 0)
        count = np.bincount(y[is_training], minlength=len(values))
        absent = np.flatnonzero((count == 0) & (total > 0))
        if len(absent) == 0:
            continue
        shown = " and ".join(
            f"{name:g}" if isinstance(name, float) else repr(name)
            for name in (values if names is None else np.asarray(names))[absent[:5]].tolist()
        )
        is_alone = np.count_nonzero(count) == 1
        what = "one class only" if is_alone else f"no row of class {shown}"
        more = f" (no row of class {shown})" if is_alone else ""
        if total[absent].min() == 1:
            more += ", or leave out a class that has one row"
        raise ValueError(
            f"the training part of fold {fold} has {what}{when}; use stratified or shuffled folds, "
            f"or fewer of them{more}"
        )


def pairs_of_classes(folds, y, codings, weight, classes, *, is_held_back=False):
    """The `Pairs` of the rows by a `KFold`, for all codings of the classes, whose numbers are y and
    whose names are `classes`. A class that is absent from a training part raises ValueError here,
    before the first model is tuned; with `is_held_back` also where a fifth of the rows is."""
    first, *_ = codings
    is_binary = len(classes) == 2
    coded, name = (first(y), "logistic") if is_binary else (y, "multinomial")
    loss = find_loss(name)
    splits = folds.splits(SimpleNamespace(X=None, n_rows=len(y), y=coded, loss=loss))
    weight = np.ones(len(y)) if weight is None else weight
    if not (weight > 0).any():
        return Pairs(splits)  # Weights without a positive one are refused later, by name.
    mask = mask_of_folds(splits, weight)
    check_fold_classes(y, weight, mask, classes)
    for coding in codings if is_held_back else ():
        left, _ = split_weight_of_folds(weight, coding(y), loss, mask, folds.groups)
        when = ", a fifth of the rows held back (stop_on= takes rows of your own instead)"
        check_fold_classes(y, weight, mask * (left > 0)[:, None], classes, when=when)
    # As masks: ten bytes a row for five folds, where the numbers of the rows would be 40.
    return Pairs([tuple(fold & bit > 0 for bit in BITS) for fold in mask.T])
