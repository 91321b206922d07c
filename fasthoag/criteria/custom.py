"""A criterion of the user's own: any differentiable function of the predictions on rows that do not
train."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fasthoag.criteria.held_out import BoundCriterion, design_of
from fasthoag.design import TRAIN, RowWeights, to_host


@dataclass(frozen=True, eq=False)
class CustomCriterion:
    """``g(w) = φ(X_val w + b)`` with φ of the user: a smooth AUC, an expected cost, a fairness gap.
    (A sum over rows of a loss of one's own is ``HeldOut(..., loss=custom_loss(...))``, which is
    faster and knows folds.)

    Parameters
    ----------
    X_val : array or sparse matrix, shape (n_val, n_features)
    value_and_grad : callable z -> (float, array)
        φ and its gradient at predictions z, shape (n_val,); with the multinomial loss (n_val,
        n_classes). It must be twice differentiable; its curvature is taken from differences of the
        gradient.

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

    X_val: Any
    value_and_grad: Any

    def bind(self, problem):
        if not callable(self.value_and_grad):
            raise TypeError(f"value_and_grad must be callable; got {self.value_and_grad!r}")
        shape = getattr(self.X_val, "shape", None) or np.shape(self.X_val)
        if len(shape) != 2 or shape[1] != problem.n_features:
            raise ValueError(
                f"X_val must have the {problem.n_features} features of X; got shape {tuple(shape)}"
            )
        bound = BoundCustom(
            problem.inner(),
            design_of(self.X_val, problem),
            None,
            RowWeights(),
            TRAIN,
            problem.loss,
            self.value_and_grad,
        )
        check_gradient(bound.phi, (shape[0], problem.loss.n_classes))
        return bound


def check_gradient(phi, shape):
    """Raises ValueError unless the gradient is that of the value, in a random direction at a random
    point."""
    rng, step = np.random.default_rng(0), 1e-5
    z, d = rng.normal(size=shape), rng.normal(size=shape)
    slope, difference = (
        float((phi(z)[1] * d).sum()),
        (phi(z + step * d)[0] - phi(z - step * d)[0]) / (2 * step),
    )
    size = max(abs(slope), abs(difference), 1e-8 * abs(phi(z)[0]))
    if abs(slope - difference) > 1e-4 * size:
        raise ValueError(
            "value_and_grad returns a gradient that is not that of the value: at a random point "
            f"the slope in a random direction is {slope:g} by the gradient and {difference:g} by "
            "differences"
        )


@dataclass(frozen=True, eq=False)
class BoundCustom(BoundCriterion):
    """The criterion of `CustomCriterion` on its inner problem."""

    value_and_grad_of: Any

    @property
    def fold_weights(self):
        return np.array([float(self.design.shape[0])])

    @property
    def value_at_zero(self):
        return abs(self.phi(np.zeros((self.design.shape[0], self.inner.n_classes)))[0])

    def phi(self, z):
        """Value and gradient at predictions (n_val, n_classes), checked."""
        found = self.value_and_grad_of(z[:, 0].copy() if z.shape[1] == 1 else z.copy())
        if not (isinstance(found, (tuple, list)) and len(found) == 2):
            raise ValueError(
                f"value_and_grad must return a number and an array of the shape of z, {z.shape}; "
                f"got {type(found).__name__}"
            )
        value, grad = found
        grad = np.asarray(grad, np.float64)
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
        return float(np.reshape(value, ())), grad

    def value_and_grad(self, W, Z):
        z = to_host(self.design.matvec(W))
        value, grad = self.phi(z)
        return np.array([value]), self.design.rmatvec(self.design.xp.asarray(grad)), z

    def values(self, W, fold, Z):
        z, K = to_host(self.design.matvec(W)), self.inner.n_classes
        return np.array([self.phi(z[:, j : j + K])[0] for j in range(0, z.shape[1], K)])

    def lagrangian_hessian(self, Q, U, Z, Z_criterion):
        inner, K = self.inner, self.inner.n_classes
        third = inner.design.row_terms(inner.loss, 3, inner.y, inner.rows, TRAIN, self.fold, Z)
        data = inner.design.contract(0 * third, -third, Q, U, K)
        XU, z = to_host(self.design.matvec(U)), to_host(Z_criterion)
        columns = [XU[:, j : j + K] for j in range(0, XU.shape[1], K)]
        size = max(1.0, float(np.abs(z).max()))
        bent = []
        for u in columns:  # φ'' u by central differences
            top = float(np.abs(u).max())
            step = 1e-4 * size / top if top > 0 else 1.0
            bent.append((self.phi(z + step * u)[1] - self.phi(z - step * u)[1]) / (2 * step))
        return data + np.array([[float((u * b).sum()) for b in bent] for u in columns])[None]

    def one_fold(self, index):
        return replace(self, inner=self.inner.one_fold(index))
