"""When a search ends: what is left to gain, in units of the noise of the criterion."""

from typing import NamedTuple

import numpy as np

from fasthoag.inner.precond import SMALL

SLOPE = 3e-4  # of the size of f, where the criterion has no rows or the rule no curvature
VALUE = 1e-5  # of the size of f: less is not asked for, however many rows tell
NOISE = 0.01  # of a standard error of f, which no data could tell from its minimum
RADIUS = 3.0  # log units within which the parabola at a θ is believed


class Tolerance(NamedTuple):
    """A slope relative to the size of f, and the part of a standard error that may be left to gain:
    0 where the user asks for a slope. ``is_both``: neither stands for the other."""

    slope: float
    noise: float = 0.0
    is_both: bool = False

    @property
    def is_strict(self):
        """Whether a small slope is what was asked for."""
        return self.is_both or self.noise == 0

    def is_of_noise(self, found):
        return self.noise > 0 and np.isfinite(found.standard_error)

    def of_value(self, bound, found):
        """How far above its minimum f may be."""
        size = bound.size(found.value)
        if not self.is_of_noise(found):
            return self.slope * size
        allowed = max(VALUE * size, self.noise * found.standard_error)
        return min(allowed, self.slope * size) if self.is_both else allowed

    def value_share(self, found):
        """Of what f may be above its minimum, that the error of its value may be."""
        return 0.3 if self.is_both or not self.is_of_noise(found) else 1.0

    def of_slope(self, bound, found, hess, hess_error=0.0):
        """What the hypergradient and its error have to come down to together, in the direction of
        least curvature; `hess` is None where a rule knows none."""
        strict = self.slope * bound.size(found.value)
        if hess is None or not self.is_of_noise(found):
            return strict
        allowed = self.of_value(bound, found)
        least = certain(np.linalg.eigvalsh(hess)[:1], hess_error)[0]
        slope = np.sqrt(2 * max(least, 0.0) * allowed)
        if slope > least * RADIUS:
            slope = max(allowed / RADIUS + 0.5 * least * RADIUS, 0.0)
        return float(min(slope, strict) if self.is_both else slope)

    def is_met(self, bound, found, grad, error, hess, hess_error):
        """Whether this part of the hypergradient of an evaluation, give or take its error, leaves
        no more to gain."""
        size = np.linalg.norm(grad) + error
        if size <= self.of_slope(bound, found, hess, hess_error):
            return True
        is_slope_enough = not self.is_both or size <= self.slope * bound.size(found.value)
        if hess is None or not (self.is_of_noise(found) and is_slope_enough):
            return False
        return to_gain(grad, error, hess, hess_error) <= self.of_value(bound, found)


def tolerance(tol, n_coef):
    """The `Tolerance` that the user asks for by `tol`, a number or None, for a model of so many
    coefficients: where they are few, digits cost next to nothing."""
    return Tolerance(SLOPE, NOISE, is_both=n_coef <= SMALL) if tol is None else Tolerance(tol)


def to_gain(grad, error, hess, hess_error=0.0):
    """How far a parabola of this gradient, give or take its error, and this Hessian falls at most
    within `RADIUS`: ½ (|∇f| + e)² / f'' of one hyperparameter."""
    values, vectors = np.linalg.eigh(hess)
    values = certain(values, hess_error)
    known = fall(np.abs(vectors.T @ grad), values).sum()
    # A curvature below 0 counts once, in what is known: there the error adds error · RADIUS.
    of_error = fall(error, np.maximum(values, 0.0)).max()
    return float((np.sqrt(known) + np.sqrt(of_error)) ** 2)


def fall(slope, curvature):
    """The fall of parabolas within `RADIUS`."""
    beyond = slope * RADIUS - 0.5 * curvature * RADIUS**2
    is_inside = (slope <= curvature * RADIUS) & (curvature > 0)
    return np.where(is_inside, 0.5 * slope**2 / np.where(is_inside, curvature, 1.0), beyond)


def certain(curvatures, relative_error):
    """What curvatures are at least; those of rough tangents are too small, if anything."""
    return np.where(curvatures > 0, curvatures / (1 + min(relative_error, 1.0)), curvatures)
