"""The loss on rows that do not train."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.folds import split_weight
from fasthoag.design.blocks import is_in_blocks, joined, shape_of
from fasthoag.design.make import check_device
from fasthoag.design.matrix import MOST, check_blocks, check_matrix, check_numbers
from fasthoag.design.rows import TRAIN, is_design, is_on_device, to_host
from fasthoag.free import settled
from fasthoag.losses import Loss, find_loss, without_smoothing
from fasthoag.types import ArrayLike, Matrix
from fasthoag.vectors import check_offset, check_vector, check_weight

if TYPE_CHECKING:
    from fasthoag.problem import Problem


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The loss on other rows: ``g(w) = Σ_i s_i ℓ(y_i, x_i w + b + offset_i)`` over ``(X_val,
    y_val)``, a sum.

    Parameters
    ----------
    X_val : array, sparse matrix or list of blocks of rows, shape (n_val, n_features)
    y_val : array, shape (n_val,), or list with one for each block
        So may be `sample_weight` and `offset`.
    sample_weight : array, shape (n_val,), optional
    loss : str or Loss, optional
        Of the criterion; by default that of the problem as it came, without label smoothing.
    offset : array, shape (n_val,), optional
        Of these rows, where the problem has an offset.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> problem = fasthoag.Problem(X[:30], y[:30], loss="squared")
    >>> result = fasthoag.hoag(problem, fasthoag.HeldOut(X[30:], y[30:]))
    >>> result.status
    'converged'
    """

    X_val: Matrix
    y_val: ArrayLike
    sample_weight: ArrayLike | None = None
    loss: str | Loss | None = None
    offset: ArrayLike | None = None
    gives = ("gradient", "hessian")
    needs = ()

    def hold_back(self, problem: "Problem") -> tuple["HeldOut", "HeldOut"]:
        """This criterion without a fifth of its rows, and one on these."""
        bound = self.bind(problem)  # one design for both
        design, y = bound.rows.design, bound.rows.y
        parts = split_weight(bound.rows.weight, y, problem.loss)
        judge, back = (HeldOut(design, y, one, self.loss, bound.rows.offset) for one in parts)
        return judge, back

    def bind(self, problem: "Problem") -> BoundCriterion:
        n_rows = n_rows_of_other(self.X_val, problem)
        y, weight = (
            joined(values, self.X_val, name, "X_val")
            for name, values in (("y_val", self.y_val), ("sample_weight", self.sample_weight))
        )
        y = check_vector(y, n_rows, "y_val", "X_val")
        loss = criterion_loss(self.loss, problem)
        loss.check_y(y, "y_val")
        check_numbers(y, "y_val", trains=False)
        weight = check_weight(weight, n_rows, "X_val")
        if weight is not None:
            check_numbers(weight, "sample_weight", trains=False)
        offset = offset_of_other(self, n_rows, problem)
        design = design_of(self.X_val, problem)
        inner = settled(problem.inner(), design)
        return BoundCriterion(inner, design.place(y, weight, None, offset), TRAIN, loss)


def n_rows_of_other(X_val, problem):
    """How many rows a criterion has of its own, which must have the features of the problem."""
    n_rows, *n_features = shape_of(X_val, "X_val") or (0,)
    if n_features != [problem.n_features]:
        raise ValueError(
            f"X_val must have the {problem.n_features} features of X; got shape "
            f"{shape_of(X_val, 'X_val')}"
        )
    return n_rows


def offset_of_other(criterion, n_rows, problem):
    """The offset of the rows of a criterion, which has one where the problem has one."""
    name, offset = type(criterion).__name__, criterion.offset
    if problem.offset is not None and offset is None:
        raise ValueError(
            f"the problem has an offset, and its {name} has none: pass {name}(..., offset=) with a "
            f"number for each of the {n_rows} rows of X_val (0 for a row without)"
        )
    if problem.offset is None and offset is not None:
        raise ValueError(
            f"{name} has an offset, and the problem has none: pass Problem(..., offset=) too, or "
            "leave both out"
        )
    offset = joined(offset, criterion.X_val, "offset", "X_val")
    return check_offset(offset, n_rows, problem.loss, "X_val")


def design_of(X_val, problem):
    """The design of the rows of a criterion, where and as that of the problem."""
    design = problem.design
    if is_design(X_val):
        check_alike(X_val, design)
        return X_val
    if is_in_blocks(X_val):
        check_device(X_val, design.where, "X_val")
        return design.like(check_blocks(X_val, "X_val", most=MOST))
    is_there = is_on_device(X_val) and design.where == "gpu"
    return design.like(X_val if is_there else check_matrix(X_val, "X_val", most=MOST))


def check_alike(other, design):
    """Raises ValueError unless a design has the coefficients of that of the problem: its numbers
    for the columns, its shifts, its intercept."""
    if other.has_intercept == design.has_intercept:
        n_user = design.shape[1] + int(design.has_intercept)
        w = np.random.default_rng(0).normal(size=(n_user, 1))
        if np.array_equal(*(to_host(one.encode(w)) for one in (other, design))):
            return
    raise ValueError(
        "X_val is a design whose coefficients are not those of the problem's design. Pass its "
        "blocks as a list, or problem.design.like(blocks)"
    )


def criterion_loss(loss: str | Loss | None, problem: "Problem") -> Loss:
    """The loss of a criterion; unless it is given, that of the problem without label smoothing,
    which is about training."""
    loss = without_smoothing(problem.loss) if loss is None else find_loss(loss)
    if loss.name == "multinomial" and problem.loss.name == "multinomial":
        loss = replace(loss, n_classes=problem.loss.n_classes)
    if loss.n_classes != problem.loss.n_classes:
        raise ValueError(
            f"loss of the criterion must predict as many columns as loss '{problem.loss.name}'; "
            f"'{loss.name}' does not"
        )
    if loss.is_classification and not problem.loss.is_classification:
        raise ValueError(
            f"loss of the criterion must fit the targets of loss '{problem.loss.name}'; "
            f"'{loss.name}' is for labels -1 and +1"
        )
    return loss
