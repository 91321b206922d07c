"""Penalties that are made of others: one for each class, one that is not tuned, one of another
shape."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.kinds import numbers_of
from fasthoag.penalties.penalty import Made, Penalty
from fasthoag.penalties.shapes import Shape
from fasthoag.types import Array, ArrayLike


@dataclass(frozen=True, eq=False)
class PerClass(Made):
    """A penalty for each class of the multinomial loss: θ is that of `penalty` for the first class,
    then for the second, and so on. Over ``FeatureRidge()`` it is a strength for every (feature,
    class).

    Parameters
    ----------
    penalty : Penalty
    n_classes : int

    References
    ----------
    Pedregosa (2016), section 4.3 (a penalty for every feature and class on MNIST).

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> fasthoag.PerClass(fasthoag.Ridge(), 2).strengths(np.log([1.0, 3.0]), 2)
    array([[1., 3.],
           [1., 3.]])
    """

    penalty: Any  # an `OwnPenalty`
    n_classes: int
    is_per_class = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.n_classes, (int, np.integer)) and self.n_classes >= 2):
            raise ValueError(f"n_classes must be a whole number >= 2; got {self.n_classes!r}")
        if self.penalty.is_per_class:
            raise ValueError("penalty of PerClass has strengths for classes already")

    def units(self, scales: Array) -> Array:
        return np.tile(self.penalty.units(scales), self.n_classes)

    def of_features(self, values: Array, n_features: int) -> Array:
        each = (self.penalty.of_features(v, n_features) for v in self._split(values))
        return np.column_stack(list(each))

    def _split(self, theta: Array) -> list[Array]:
        return np.split(np.asarray(theta), self.n_classes)

    def n_hyper(self, n_features: int) -> int:
        return self.n_classes * self.penalty.n_hyper(n_features)

    def start(self, level: float, n_features: int) -> Array:
        return np.tile(self.penalty.start(level, n_features), self.n_classes)

    def box(self, low: float, high: float, n_features: int) -> tuple[Array, Array]:
        least, most = self.penalty.box(low, high, n_features)
        return np.tile(least, self.n_classes), np.tile(most, self.n_classes)

    def strengths(self, theta: Array, n_features: int) -> Array:
        return np.column_stack([self.penalty.strengths(t, n_features) for t in self._split(theta)])

    def strengths_vjp(self, theta: Array, u: Array) -> Array:
        return np.concatenate(
            [self.penalty.strengths_vjp(t, u[:, c]) for c, t in enumerate(self._split(theta))]
        )

    def strengths_jac(self, theta: Array, n_features: int) -> Array:
        """∂λ/∂θ, (n_features, n_classes, n_hyper)."""
        each = [self.penalty.strengths_jac(t, n_features) for t in self._split(theta)]
        k = each[0].shape[1]
        out = np.zeros((n_features, self.n_classes, self.n_classes * k))
        for c, jac in enumerate(each):
            out[:, c, c * k : (c + 1) * k] = jac
        return out

    def strengths_hess(self, theta: Array, u: Array) -> Array:
        from scipy.linalg import block_diag  # it takes as long to import as all of fasthoag

        parts = enumerate(self._split(theta))
        return block_diag(*(self.penalty.strengths_hess(t, u[:, c]) for c, t in parts))


@dataclass(frozen=True, eq=False)
class Fixed(Made):
    """A penalty that is not tuned: its θ are given and there are no hyperparameters. For tuning
    something else, such as the weights of rows, at a strength found before.

    Parameters
    ----------
    penalty : Penalty
    theta : array, shape (n_hyper of penalty,)

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> fasthoag.Fixed(fasthoag.Ridge(), [np.log(2.0)]).strengths(np.empty(0), 2)
    array([2., 2.])
    """

    penalty: Any  # an `OwnPenalty`
    theta: ArrayLike
    is_partition = False

    def check(self, n_features: int) -> None:
        self.penalty.check(n_features)
        theta, k = numbers_of(self.theta, "theta"), self.penalty.n_hyper(n_features)
        if theta.shape != (k,) or not np.isfinite(theta).all():
            raise ValueError(
                f"theta of a fixed penalty must have shape ({k},) and finite values; got "
                f"{self.theta!r}"
            )

    def n_hyper(self, n_features: int) -> int:
        return 0

    def start(self, level: float, n_features: int) -> Array:
        return np.empty(0)

    def box(self, low: float, high: float, n_features: int) -> tuple[Array, Array]:
        return np.empty(0), np.empty(0)

    def strengths(self, theta: Array, n_features: int) -> Array:
        return self.penalty.strengths(np.asarray(self.theta, np.float64), n_features)

    def strengths_jac(self, theta: Array, n_features: int) -> Array:
        return np.empty((n_features, 0))

    def strengths_vjp(self, theta: Array, u: Array) -> Array:
        return np.empty(0)

    def strengths_hess(self, theta: Array, u: Array) -> Array:
        return np.empty((0, 0))


@dataclass(frozen=True, eq=False)
class Shaped(Made):
    """The strengths of a penalty with another shape, such as ``Shaped(FeatureRidge(), shape)``.

    Parameters
    ----------
    penalty : Penalty
        Whose strengths, by feature, group, class or property, are taken.
    shape : Shape

    Examples
    --------
    >>> import fasthoag
    >>> from fasthoag.penalties import QUADRATIC, Shaped
    >>> Shaped(fasthoag.Ridge(), QUADRATIC).shape.name
    'quadratic'
    """

    penalty: Any  # an `OwnPenalty`
    shape: Shape


def with_shape_of(penalty: Penalty, other: Penalty) -> Penalty:
    """The strengths of one penalty with the shape of another."""
    return penalty if penalty.shape == other.shape else Shaped(penalty, other.shape)
