"""Cross-validation: the loss on the rows that every fold holds out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.folds import (
    Splitter,
    check_fold_classes,
    check_is_cv,
    check_pairs,
    checked_groups,
    mask_of_folds,
    split_weight_of_folds,
    splits_of,
    splitter_of,
)
from fasthoag.criteria.held_out import HeldOut, criterion_loss
from fasthoag.design.blocks import joined
from fasthoag.design.rows import HELD_OUT
from fasthoag.free import settled
from fasthoag.losses import Loss
from fasthoag.types import ArrayLike

if TYPE_CHECKING:
    from fasthoag.problem import Problem


@dataclass(frozen=True, eq=False)
class KFold:
    """The held-out loss of every fold, summed over folds: one X, each fold a column whose held-out
    rows have weight 0.

    Parameters
    ----------
    cv : int, scikit-learn splitter or iterable of (train, test) index pairs
        What scikit-learn calls cv; an int means stratified folds for classes and plain ones
        for numbers, without shuffling. Not every row has to be in a test part, and one may be in
        several. Every class has to have a row with a positive weight in every training part.
    groups : array, shape (n_rows,), or list with one for each block of X, optional
        Labels such as the patient a row belongs to, passed to the splitter: `GroupKFold`,
        `LeaveOneGroupOut` and others keep the rows of a group together, and so does a number of
        folds (which are stratified for classes as far as groups allow).
    loss : str or Loss, optional
        Of the criterion; by default that of the problem as it came, without label smoothing.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), fasthoag.KFold(3)).lam.shape
    (1,)
    """

    cv: Any = 5  # of scikit-learn's kinds
    groups: ArrayLike | None = None
    loss: str | Loss | None = None
    gives = ("gradient", "hessian")
    needs = ()

    def __post_init__(self) -> None:
        if isinstance(
            self.cv, Iterator
        ):  # a generator: kept, so that it can be used more than once
            object.__setattr__(self, "cv", list(self.cv))

    def splits(self, problem: Any) -> list[tuple[Any, Any]]:
        n = problem.n_rows
        check_is_cv(self.cv)
        if isinstance(self.cv, (int, np.integer)):
            if self.cv < 2:
                raise ValueError(f"cv must be at least 2; got {self.cv}")
            if self.cv > n:
                raise ValueError(
                    f"cv={self.cv} folds need at least as many rows; X has {n}. Use cv <= {n}"
                )
        is_classification = problem.loss.is_classification
        y = problem.y.astype(int) if is_classification else problem.y
        if isinstance(self.cv, Iterable) and not isinstance(self.cv, Splitter):
            check_pairs(self.cv)
        groups = self._groups(problem)
        return splits_of(splitter_of(self.cv, y, groups, is_classification), y, groups)

    def _groups(self, problem):
        return checked_groups(joined(self.groups, problem.X, "groups"), problem.n_rows)

    def hold_back(self, problem: "Problem") -> tuple["KFold", HeldOut]:
        """This criterion without a fifth of the rows, in training and test parts alike, and one on
        these; both on the one X. Of groups these are whole ones, where folds keep others."""
        mask, groups = self.bind(problem).inner.rows.mask, self._groups(problem)
        rows = problem.sample_weight, problem.y, problem.loss
        judge, back = split_weight_of_folds(*rows, mask, groups)
        every, keeps = np.arange(problem.n_rows), judge > 0
        splits = [
            tuple(every[part][keeps[every[part]]] for part in split)
            for split in self.splits(problem)
        ]
        judged = replace(self, cv=splits, groups=None)
        of_rows = problem.design, problem.y, back, self.loss, problem.offset
        return judged, HeldOut(*of_rows)

    def bind(self, problem: "Problem") -> BoundCriterion:
        loss = criterion_loss(self.loss, problem)
        loss.check_y(problem.y, "y")
        weight = problem.sample_weight
        weight = np.ones(problem.n_rows) if weight is None else weight
        mask = mask_of_folds(self.splits(problem), weight)
        if problem.loss.is_classification:
            check_fold_classes(problem.y, weight, mask)
        inner = settled(problem.inner(mask))
        return BoundCriterion(inner, inner.rows, HELD_OUT, loss)
