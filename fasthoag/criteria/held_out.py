"""The loss on rows that do not train."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.folds import split_weight
from fasthoag.design.cpu import MOST, check_matrix, check_numbers
from fasthoag.design.rows import TRAIN, is_on_device
from fasthoag.free import settled
from fasthoag.losses import find_loss, without_smoothing
from fasthoag.problem import check_vector, check_weight


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The loss on other rows: ``g(w) = Σ_i s_i ℓ(y_i, x_i w + b)`` over ``(X_val, y_val)``, a sum.

    Parameters
    ----------
    X_val : array or sparse matrix, shape (n_val, n_features)
    y_val : array, shape (n_val,)
    sample_weight : array, shape (n_val,), optional
    loss : str or Loss, optional
        Of the criterion; by default that of the problem as it came, without label smoothing.

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

    X_val: Any
    y_val: Any
    sample_weight: Any = None
    loss: Any = None
    gives = ("gradient", "hessian")
    needs = ()

    def hold_back(self, problem):
        """This criterion without a fifth of its rows, and one on these."""
        bound = self.bind(problem)  # one design for both
        design, y = bound.rows.design, bound.rows.y
        judge, back = split_weight(bound.rows.weight, y, problem.loss)
        return (HeldOut(design, y, weight, self.loss) for weight in (judge, back))

    def bind(self, problem):
        shape = getattr(self.X_val, "shape", None) or np.shape(self.X_val)
        if len(shape) != 2 or shape[1] != problem.n_features:
            raise ValueError(
                f"X_val must have the {problem.n_features} features of X; got shape {tuple(shape)}"
            )
        y = check_vector(self.y_val, shape[0], "y_val")
        loss = criterion_loss(self.loss, problem)
        loss.check_y(y, "y_val")
        check_numbers(y, "y_val", trains=False)
        weight = check_weight(self.sample_weight, shape[0])
        if weight is not None:
            check_numbers(weight, "sample_weight", trains=False)
        design = design_of(self.X_val, problem)
        inner = settled(problem.inner(), design)
        return BoundCriterion(inner, design.place(y, weight), TRAIN, loss)


def design_of(X_val, problem):
    """The design of the rows of a criterion, where and as that of the problem."""
    if hasattr(X_val, "place"):
        return X_val
    is_there = is_on_device(X_val) and hasattr(problem.design, "is_given_on_device")
    return problem.design.like(X_val if is_there else check_matrix(X_val, "X_val", most=MOST))


def criterion_loss(loss, problem):
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
