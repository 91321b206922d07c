"""A criterion together with the inner problem of a `Problem`: what the outer loop minimises."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fasthoag.design.rows import HELD_OUT, Rows
from fasthoag.free import free_features
from fasthoag.hypergradient import Accuracy, Evaluation, evaluate
from fasthoag.inner.problem import InnerProblem
from fasthoag.losses import Loss, find_loss
from fasthoag.threads import computed_once
from fasthoag.types import Array, Block, Handle

ENOUGH_FOLDS = 5  # that their values tell how much these vary


@dataclass(frozen=True, eq=False)
class BoundCriterion:
    """A criterion together with the inner problem of a `Problem`: g of every fold, its gradient and
    its curvature."""

    inner: InnerProblem
    rows: Rows  # of g; those of the inner problem itself when both are parts of one X
    part: int  # TRAIN: rows of its own; HELD_OUT: the held-out rows of the inner problem's X
    loss: Loss  # of g; that of the inner problem may be another
    has_targets = True  # whether the rows of g have targets that a scorer can judge
    is_of_w = True  # whether g is a function of w alone, else of the inverse Hessian too
    is_exact = True  # whether g comes without random probes

    @property
    def can_stack(self) -> bool:
        """Whether several θ can stand side by side, as more folds would."""
        return self.is_of_w and not self.inner.tuned

    @property
    def is_quadratic(self) -> bool:
        """Whether g and h are quadratic in w: g is its expansion to second order."""
        inner = self.inner
        is_quadratic = inner.loss.is_quadratic and self.loss.is_quadratic
        return is_quadratic and inner.penalty.shape.name == "quadratic"

    @property
    def is_shared(self) -> bool:
        return self.part == HELD_OUT

    @property
    def n_folds(self) -> int:
        return self.inner.n_folds

    @property
    def has_kinks(self) -> bool:
        return self.inner.has_kinks

    @property
    def is_foreseen(self) -> bool:
        """Whether the quadratic model tells of a small step: it does not see beyond a kink."""
        return not self.inner.has_kinks

    def predictions(self, W: Block) -> list[Array]:
        """Of its rows, (n_rows, n_classes) of every fold, in this memory."""
        rows = self.rows
        return self.inner.units.split(rows.to_host(rows.predictions(W)))

    @property
    def n_passes(self) -> float:
        """Passes over the training rows; other rows count by their stored entries."""
        return float(self.inner.design.n_passes) + self.other_passes

    @property
    def other_passes(self) -> float:
        """Passes over rows of its own, by their stored entries."""
        own, inner = self.rows.design, self.inner.design
        return 0.0 if own is inner else own.n_passes * own.n_stored / max(1, inner.n_stored)

    @computed_once
    def fold_weights(self) -> Array:
        """Sum of the row weights of every fold's criterion, (n_folds,)."""
        part = self.part
        return self.rows.reduce(lambda block: block.xp.sum(block.weights(part), axis=0))

    @computed_once
    def null_value(self) -> float:
        """f of the null model."""
        return float(self.rows.sums(self.loss, self.part, self.rows.at_constant(self.null_b)).sum())

    @property
    def null_b(self) -> Array:
        return self.inner.null.b

    def size(self, value: float) -> float:
        """What tolerances of f are relative to: f itself, which is 0 for a perfect fit; below a
        part of its value at the null model it is rounding."""
        return max(abs(value), 1e-8 * abs(self.null_value))

    def evaluate(
        self,
        theta: Array,
        W: Block,
        accuracy: Accuracy,
        *,
        Q: Block | None = None,
        T: list[Block] | None = None,
        has_tangents: bool = True,
        precond: Any = None,
    ) -> Evaluation:
        """The `Evaluation` of f at θ, the inner solve starting from `W`, the linear ones from `Q`
        and `T`."""
        options = {"Q": Q, "T": T, "has_tangents": has_tangents, "precond": precond}
        return evaluate(self, theta, W, accuracy, **options)

    def value_and_grad(self, W: Block, Z: Handle) -> tuple[Array, Block, Handle]:
        """Values (n_folds,), gradients (n_coef, n_folds) and predictions on the rows of g; `Z` are
        the inner problem's predictions."""
        rows, sums = self.rows, self.inner.units.sums
        if self.is_shared:
            values = sums(rows.sums(self.loss, self.part, Z))
            return values, rows.design.rmatvec(rows.terms(self.loss, 1, self.part, Z)), Z
        found = rows.loss_grad(self.loss, W)
        return sums(found.value), found.grad, found.Z

    def values(self, W: Block, Z: Handle) -> Array:
        """Values alone of any units; `Z` are the inner problem's predictions."""
        if self.is_shared:
            values = self.rows.sums(self.loss, self.part, Z)
        else:
            values = self.rows.loss_grad(self.loss, W, has_grad=False).value
        return self.inner.units.sums(values)

    def standard_error(self, fold_values: Array, Z: Handle) -> float:
        """Of f, a sum of independent parts: folds, or the rows that judge where folds are fewer
        than `ENOUGH_FOLDS`; a weight is so many rows alike. `Z` are predictions on these rows."""
        F, weights = len(fold_values), self.fold_weights
        total = float(weights.sum())
        if F >= ENOUGH_FOLDS:
            rest = fold_values - weights * (fold_values.sum() / total)
            return float(np.sqrt(F / (F - 1) * (rest @ rest)))
        return error_of_rows(self.rows, self.loss, self.part, Z, total)

    def with_errors(self, W: Block, n_errors: int = 3) -> "BoundCriterion":
        """The same with a loss that judges at least so many rows of classes as wrong, whatever
        `W` makes of them: some that are all on the right side would ask for predictions without
        limit, but of n without an error the next are wrong with a probability of up to 3/n ("rule
        of three", at 95 %). By label smoothing."""
        loss, rows, K = self.loss, self.rows, max(2, self.loss.n_classes)
        if loss.name not in ("logistic", "multinomial"):
            return self
        Z = rows.to_host(rows.loss_grad(loss, W, has_grad=False).Z)
        Z = Z.reshape(len(Z), -1, loss.n_classes)
        label = Z.argmax(axis=2) if loss.n_classes > 1 else np.where(Z[:, :, 0] > 0, 1.0, -1.0)
        is_there = np.ones(len(Z), bool) if rows.weight is None else rows.weight > 0
        wrong = float((label != rows.y[:, None])[is_there].mean(axis=1).sum())
        share = max(0.0, n_errors - wrong) / (is_there.sum() + n_errors)
        return replace(self, loss=find_loss(loss, smoothing=min(0.5, share * K / (K - 1))))

    def lagrangian_hessian(self, Q: Block, U: Block, Z: Handle, Z_criterion: Handle) -> Array:
        """Uᵀ (∇²g - Xᵀ diag(ℓ''' ∘ Xq) X) U for every fold, (n_folds, k, k); column a * n_folds + f
        of U is fold f's."""
        second = self.rows.curvature_at(self.loss, Z_criterion, self.part)
        if self.is_shared:
            third = self.inner.rows.curvature_at(self.inner.loss, Z, order=3)
            return self.rows.design.contract(second, third, -Q, U)
        return self.rows.design.contract(second, None, None, U) + self.third_order(Q, U, Z)

    def third_order(self, Q: Block, U: Block, Z: Handle) -> Array | float:
        """The part of the inner problem, -Uᵀ Xᵀ diag(ℓ''' ∘ Xq) X U."""
        inner = self.inner
        if not inner.loss.has_third:
            return 0.0
        third = inner.rows.curvature_at(inner.loss, Z, order=3)
        return inner.design.contract(None, third, -Q, U)

    def at(self, theta: Array) -> "BoundCriterion":
        """The criterion with its inner problem at these hyperparameters."""
        return replace(self, inner=self.inner.at(theta)) if self.inner.tuned else self

    @property
    def can_sample(self) -> bool:
        """Whether some of the rows of its one X may stand for all: f is a sum over rows, and the
        penalty leaves no coefficient to the rows that are left out."""
        inner = self.inner
        is_sum = self.is_shared and self.is_of_w and inner.design.can_sample
        return (
            is_sum and not inner.tuned and not len(free_features(inner.penalty, inner.n_features))
        )

    def sample(self, share: float) -> "BoundCriterion":
        """The criterion of about this share of the rows, drawn with a fixed seed among those with a
        weight, of every class alike."""
        rows = self.inner.rows.sample(sampled(self.inner.rows, self.inner.loss, share))
        return replace(self, inner=replace(self.inner, rows=rows), rows=rows)

    def one_fold(self, index: int) -> "BoundCriterion":
        inner = self.inner.one_fold(index)
        return replace(self, inner=inner, rows=inner.rows if self.is_shared else self.rows)


def sampled(rows, loss, share):
    """Numbers of about this share of the rows, ascending."""
    index = np.arange(len(rows.y)) if rows.weight is None else np.flatnonzero(rows.weight > 0)
    index, y = np.random.default_rng(0).permutation(index), rows.y
    if loss.is_classification:
        parts = [index[y[index] == value] for value in np.unique(y[index])]
    else:
        parts = [index]
    return np.sort(np.concatenate([one[: int(np.ceil(share * len(one)))] for one in parts]))


def error_of_rows(rows, loss, part, Z, total):
    """The standard error of the sum of the losses of rows at predictions `Z`, weights `total`."""
    losses = rows.terms(loss, 0, part, Z)
    value = rows.reduce(lambda block, values: block.xp.sum(values), losses)
    squares = rows.reduce(partial(sum_of_squares, part=part), losses)
    return float(np.sqrt(max(squares - value**2 / total, 0.0)))


def sum_of_squares(block, values, part):
    """Of losses per row, whose values come times the weights of their rows."""
    weights = block.weights(part)
    repeats = values.shape[1] // weights.shape[1]
    weights = block.xp.concat([weights] * repeats, axis=1) if repeats > 1 else weights
    return block.xp.sum(values**2 / block.xp.where(weights > 0, weights, 1.0))
