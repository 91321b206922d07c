"""When a search ends: what is left to gain, in units of the noise of the criterion."""

from typing import NamedTuple

import numpy as np

SLOPE = 3e-4  # of the size of f, where the criterion has no rows or the rule no curvature
VALUE = 1e-5  # of the size of f: less is not asked for, however many rows tell
NOISE = 0.01  # of a standard error of f, which no data could tell from its minimum
RADIUS = 3.0  # log units within which the parabola at a θ is believed


class Tolerance(NamedTuple):
    """A slope relative to the size of f, and the part of a standard error that may be left to gain:
    0 where the user asks for a slope."""

    slope: float
    noise: float = 0.0

    def of_value(self, bound, found):
        """How far above its minimum f may be."""
        if self.is_of_noise(found):
            return max(VALUE * bound.size(found.value), self.noise * found.standard_error)
        return self.slope * bound.size(found.value)

    def is_met(self, bound, found, grad, error, hess, hess_error):
        """Whether this part of the hypergradient of an evaluation, give or take its error, leaves
        no more to gain."""
        if np.linalg.norm(grad) + error <= self.of_slope(bound, found, hess, hess_error):
            return True
        if hess is None or not self.is_of_noise(found):
            return False
        allowed = self.of_value(bound, found)
        return to_gain(grad, error, hess, hess_error) <= allowed

    def value_share(self, found):
        """Of what f may be above its minimum, that the error of its value may be."""
        return 1.0 if self.is_of_noise(found) else 0.3

    def is_of_noise(self, found):
        return self.noise > 0 and np.isfinite(found.standard_error)

    def of_slope(self, bound, found, hess, hess_error=0.0):
        """What the hypergradient and its error have to come down to together, in the direction of
        least curvature; `hess` is None where a rule knows none."""
        if hess is None or not self.is_of_noise(found):
            return self.slope * bound.size(found.value)
        allowed = self.of_value(bound, found)
        least = certain(np.linalg.eigvalsh(hess)[:1], hess_error)[0]
        slope = np.sqrt(2 * max(least, 0.0) * allowed)
        is_inside = slope <= least * RADIUS
        return float(slope if is_inside else max(allowed / RADIUS + 0.5 * least * RADIUS, 0.0))


def tolerance(tol):
    """The `Tolerance` that the user asks for by `tol`, a number or None."""
    return Tolerance(SLOPE, NOISE) if tol is None else Tolerance(tol)


def to_gain(grad, error, hess, hess_error=0.0):
    """How far a parabola of this gradient, give or take its error, and this Hessian falls at most
    within `RADIUS`: ½ (|∇f| + e)² / f'' of one hyperparameter."""
    values, vectors = np.linalg.eigh(hess)
    values = certain(values, hess_error)
    known = fall(np.abs(vectors.T @ grad), values).sum()
    return float((np.sqrt(known) + np.sqrt(fall(error, values).max())) ** 2)


def fall(slope, curvature):
    """The fall of parabolas within `RADIUS`."""
    beyond = slope * RADIUS - 0.5 * curvature * RADIUS**2
    is_inside = (slope <= curvature * RADIUS) & (curvature > 0)
    return np.where(is_inside, 0.5 * slope**2 / np.where(is_inside, curvature, 1.0), beyond)


def certain(curvatures, relative_error):
    """What curvatures are at least; those of rough tangents are too small, if anything."""
    return np.where(curvatures > 0, curvatures / (1 + min(relative_error, 1.0)), curvatures)
