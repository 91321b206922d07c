"""Coordinates of the hyperparameters in which the Newton method takes the criterion for a parabola:
log strengths, or shares. About the middle both have the same unit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthoag.hypergradient import Evaluation
from fasthoag.outer.rules import Box
from fasthoag.types import Array

REACH = 7.0  # log units from the middle, or from θ beyond it, that a step goes towards an end
FLATTEST = 1e-100  # slope of a share at least: its square is a number
DEEPEST = 3.0  # log units
MOST = 700.0  # of which the exponential is a number


@dataclass(frozen=True, eq=False)
class Parabola:
    """A model of f about one θ, for steps d within bounds. `bent` is the Hessian that steps are
    sought with."""

    grad: Array
    hess: Array
    bent: Array
    lower: Array
    upper: Array
    step: Callable[[Array], Array]  # in θ
    slope_after: Callable[[Array], Array]  # of the coordinates in θ, after a step in θ

    def fall(self, d):
        """How far f falls."""
        return -float(self.grad @ d + 0.5 * d @ self.hess @ d)

    def grad_after(self, d):
        """∇f in θ after the step."""
        return (self.grad + self.hess @ d) * self.slope_after(self.step(d))


def in_logs(found: Evaluation, hess: Array, hess_error: float, box: Box, enough: float):
    """The `Parabola` in θ about an evaluation. Where f runs out like c exp(±θ_j), gradient and
    curvature vanish together and Newton would go one log unit a step: one of several may go
    three."""
    theta, grad = found.theta, found.grad
    is_tail = (np.diag(hess) < 1.5 * np.abs(grad)) & (len(grad) > 1)
    bent = hess - np.diag(0.7 * np.abs(grad) * is_tail)
    lower, upper = box.lower - theta, box.upper - theta
    return Parabola(grad, hess, bent, lower, upper, lambda d: d, np.ones_like)


@dataclass(frozen=True, eq=False)
class Shares:
    """Makes the `Parabola` in ``4 λ / (λ + a)``, four times the share that a strength has of itself
    and the curvature a that the data give the coefficients of its features while all others follow.

    Of one strength w is linear in it from end to end: a step goes to an end at once, or comes back,
    where in θ slope and curvature vanish. (ijcnn1, 22 strengths on held-out rows: 31 evaluations
    for 67.) θ has the unit of the curvature at the null model."""

    inner: Any

    def __call__(
        self, found: Evaluation, hess: Array, hess_error: float, box: Box, enough: float
    ) -> Parabola:
        """Ends nearer than a fall of `enough` are near enough."""
        grad, middle = found.grad, self.middles(found)
        theta, slope = found.theta - middle, slope_of(found.theta - middle)
        curved = np.diag(hess) + grad * np.tanh(0.5 * theta)
        # towards an end these two cancel, and what they leave is error where the Hessian has one
        curved = np.where(np.abs(curved) <= hess_error * np.abs(grad), 0.0, curved)
        hess = (hess + np.diag(curved - np.diag(hess))) / slope[:, None] / slope
        is_near = (grad * theta < 0) & (np.abs(grad) <= enough)
        low = np.where(is_near & (theta < 0), theta, np.minimum(theta, 0) - REACH)
        high = np.where(is_near & (theta > 0), theta, np.maximum(theta, 0) + REACH)
        low, high = np.maximum(low, box.lower - middle), np.minimum(high, box.upper - middle)
        lower, upper = between(theta, low), between(theta, high)

        def step(d):
            with np.errstate(divide="ignore", invalid="ignore"):
                there = np.log((share(theta) + 0.25 * d) / (share(-theta) - 0.25 * d))
            there = np.where(d <= lower, low, np.where(d >= upper, high, there))
            return np.where(d == 0, 0.0, np.clip(there, low, high) - theta)

        return Parabola(
            grad / slope, hess, hess, lower, upper, step, lambda step: slope_of(theta + step)
        )

    def middles(self, found):
        """log a, as the tangents tell it: the share is -∂ log w / ∂θ. At most that of the null
        model, and less by `DEEPEST` at most: among features that stand in for each other it is
        that of a valley as narrow (ijcnn1 ends 0.4 % higher without)."""
        inner, theta, W = self.inner, found.theta, found.W

        def of_own(block):
            return inner.penalty.strengths_vjp(theta, inner.by_feature(block))

        along = np.array([of_own(W * T)[j] for j, T in enumerate(found.T)])
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = -along / of_own(W * W)
            others = np.maximum(1 - shares, found.accuracy.tangents)
            middle = theta + np.log(others / np.maximum(shares, 0))
        return np.where(np.isfinite(middle), np.clip(middle, -DEEPEST, 0.0), 0.0)


def share(theta):
    """λ / (λ + a), to all digits near 0."""
    return 1.0 / (1.0 + np.exp(-np.clip(theta, -MOST, MOST)))


def slope_of(theta):
    return np.maximum(4.0 * share(theta) * share(-theta), FLATTEST)


def between(one, other):
    """The step from one θ to another."""
    return -4.0 * np.expm1(np.clip(one - other, -MOST, MOST)) * share(-one) * share(other)
