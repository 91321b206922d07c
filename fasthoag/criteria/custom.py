"""A criterion of the user's own: any differentiable function of the predictions on rows that do not
train."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasthoag.arithmetic import arithmetic_of_user
from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.held_out import design_of, n_rows_of_other, offset_of_other
from fasthoag.design.rows import TRAIN
from fasthoag.free import settled
from fasthoag.kinds import numbers_of
from fasthoag.threads import computed_once
from fasthoag.types import Array, ArrayLike, Block, Handle, Matrix

if TYPE_CHECKING:
    from fasthoag.problem import Problem


@dataclass(frozen=True, eq=False)
class CustomCriterion:
    """``g(w) = φ(X_val w + b + offset)`` with φ of the user: a smooth AUC, an expected cost, a
    fairness gap. (A sum over rows of a loss of one's own is ``HeldOut(...,
    loss=custom_loss(...))``, which is faster and knows folds.)

    Parameters
    ----------
    X_val : array, sparse matrix or list of blocks of rows, shape (n_val, n_features)
    value_and_grad : callable z -> (float, array)
        φ and its gradient at predictions z, shape (n_val,); with the multinomial loss (n_val,
        n_classes). It must be twice differentiable; its curvature is taken from differences of the
        gradient.
    offset : array, shape (n_val,), optional
        Of these rows, where the problem has an offset.

    Raises
    ------
    ValueError
        When `hoag` starts and the gradient is not that of the value, or either is not finite; the
        message has both.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(200, 5)), np.ones(5)
    >>> y = np.sign(X @ w + 2 * rng.normal(size=200))
    >>> X_val, is_pos = X[100:], y[100:] > 0
    >>> def smooth_auc(z):  # mean over pairs of the sigmoid of how far they are in the wrong order
    ...     s = 1 / (1 + np.exp(z[is_pos][:, None] - z[~is_pos]))
    ...     slope, grad = s * (1 - s) / s.size, np.empty_like(z)
    ...     grad[is_pos], grad[~is_pos] = -slope.sum(axis=1), slope.sum(axis=0)
    ...     return s.mean(), grad
    >>> problem = fasthoag.Problem(X[:100], y[:100])
    >>> result = fasthoag.hoag(problem, fasthoag.CustomCriterion(X_val, smooth_auc))
    >>> bool(result.value < 0.35)
    True
    """

    X_val: Matrix
    value_and_grad: Callable[[Array], tuple[float, ArrayLike]]
    offset: ArrayLike | None = None
    gives = ("gradient", "hessian")
    needs = ()

    def hold_back(self, problem: "Problem") -> None:
        return None

    def bind(self, problem: "Problem") -> BoundCriterion:
        if not callable(self.value_and_grad):
            raise TypeError(f"value_and_grad must be callable; got {self.value_and_grad!r}")
        n_rows = n_rows_of_other(self.X_val, problem)
        offset = offset_of_other(self, n_rows, problem)
        rows = design_of(self.X_val, problem).place(np.zeros(n_rows), offset=offset)
        inner = settled(problem.inner(), rows.design)
        bound = BoundCustom(inner, rows, TRAIN, problem.loss, self.value_and_grad)
        check_gradient(bound.phi, bound.null_z, bound.spread)
        return bound


class Phi(NamedTuple):
    """φ and its gradient (n_val, n_classes) at some predictions."""

    value: float
    grad: np.ndarray


def check_gradient(phi, null, spread):
    """Raises ValueError unless the gradient is that of the value, in a random direction at a random
    point about the predictions of the null model, as far from them as targets are."""
    rng = np.random.default_rng(0)
    z, d = (spread * rng.normal(size=null.shape) for _ in range(2))
    z, step = null + z, step_of(null, spread) / spread
    here, above, below = (phi(z + t * d) for t in (0.0, step, -step))
    slope, difference = float((here.grad * d).sum()), (above.value - below.value) / (2 * step)
    size = max(abs(slope), abs(difference), 1e-8 * abs(here.value))
    if abs(slope - difference) > 1e-4 * size:
        raise ValueError(
            "value_and_grad returns a gradient that is not that of the value: at a random point "
            f"the slope in a random direction is {slope:g} by the gradient and {difference:g} by "
            "differences"
        )


def step_of(z, spread):
    """A step of predictions about z for differences: small beside their spread, and large beside
    their rounding."""
    rounding = float(np.finfo(np.float64).eps * np.abs(z).max())
    return max(1e-4 * spread, 10 * np.cbrt(rounding * spread**2))


@dataclass(frozen=True, eq=False)
class BoundCustom(BoundCriterion):
    """The criterion of `CustomCriterion` on its inner problem."""

    value_and_grad_of: Callable[[Array], tuple[float, ArrayLike]]
    has_targets = False
    can_stack = False  # φ is one number

    @computed_once
    def fold_weights(self) -> Array:
        return np.array([float(len(self.rows.y))])

    def standard_error(self, fold_values: Array, Z: Handle) -> float:
        """Unknown: φ need not be a sum over rows."""
        return np.nan

    @property
    def null_z(self):
        """Predictions of the null model on the rows of φ."""
        return self.rows.to_host(self.rows.at_constant(self.null_b))

    @computed_once
    def null_value(self):
        return self.phi(self.null_z).value

    @computed_once
    def spread(self):
        """How far predictions are apart, about."""
        loss, y = self.inner.loss, self.inner.unexplained
        has_units = not (loss.is_classification or loss.has_log_link)
        return (float(y.std()) if has_units else 0.0) or 1.0

    def size(self, value: float) -> float:
        """φ may have any constant added: what tells models apart is how far it is from that of the
        null model."""
        return max(abs(value - self.null_value), 1e-8 * max(abs(value), abs(self.null_value)))

    def phi(self, z):
        """Value and gradient at predictions (n_val, n_classes), checked."""
        with arithmetic_of_user():
            found = self.value_and_grad_of(z[:, 0].copy() if z.shape[1] == 1 else z.copy())
        if not (isinstance(found, (tuple, list)) and len(found) == 2):
            raise ValueError(
                f"value_and_grad must return a number and an array of the shape of z, {z.shape}; "
                f"got {type(found).__name__}"
            )
        value, grad = (numbers_of(one, "what value_and_grad returns") for one in found)
        grad = grad.astype(np.float64)
        grad = grad[:, None] if grad.ndim == 1 and z.shape[1] == 1 else grad
        if np.size(value) != 1 or grad.shape != z.shape:
            raise ValueError(
                f"value_and_grad must return a number and an array of the shape of z, {z.shape}; "
                f"got shapes {np.shape(value)} and {grad.shape}"
            )
        if not (np.isfinite(value) and np.isfinite(grad).all()):
            raise ValueError(
                f"value_and_grad returned {float(value):g} with "
                f"{np.count_nonzero(~np.isfinite(grad))} non-finite derivatives, at z between "
                f"{z.min():g} and {z.max():g}"
            )
        return Phi(float(np.reshape(value, ())), grad)

    def value_and_grad(self, W: Block, Z: Handle) -> tuple[Array, Block, Handle]:
        z = self.rows.to_host(self.rows.predictions(W))
        found, rows = self.phi(z), self.rows
        grad = rows.design.rmatvec(rows.from_host(found.grad))
        return np.array([found.value]), grad, z

    def values(self, W: Block, Z: Handle) -> Array:
        return np.array([self.phi(z).value for z in self.predictions(W)])

    def lagrangian_hessian(self, Q: Block, U: Block, Z: Handle, Z_criterion: Handle) -> Array:
        along = self.rows.to_host(self.rows.design.matvec(U))
        z, columns = Z_criterion, self.inner.units.split(along)
        size = step_of(z, self.spread)
        bent = []
        for u in columns:  # φ'' u by central differences
            top = float(np.abs(u).max())
            step = size / top if top > 0 else 1.0
            change = self.phi(z + step * u).grad - self.phi(z - step * u).grad
            bent.append(change / (2 * step))
        curved = np.array([[float((u * b).sum()) for b in bent] for u in columns])
        return self.third_order(Q, U, Z) + curved[None]
