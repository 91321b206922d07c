"""The inner problem: how loss, penalty and rows make h(w, θ), its Hessian and its
cross-derivative."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fasthoag.design.rows import to_host
from fasthoag.inner.cg import Hessian, Restricted, cg
from fasthoag.inner.precond import diagonal_precond, make_precond
from fasthoag.inner.solve import NEWTON
from fasthoag.null import feature_scales, less_offset, null_model
from fasthoag.penalties import InUnits
from fasthoag.threads import computed_once
from fasthoag.units import Units


def n_hyper_of(problem):
    """How many hyperparameters the penalty and each of `tuned` have, of a Problem or an
    InnerProblem."""
    return [
        problem.penalty.n_hyper(problem.n_features),
        *(one.n_hyper(problem) for one in problem.tuned),
    ]


def split_theta(problem, theta):
    """θ in parts: of the penalty, of each of `tuned`."""
    return np.split(theta, np.cumsum(n_hyper_of(problem))[:-1]) if problem.tuned else [theta]


def own_theta(problem, theta):
    """θ of the penalty."""
    own, *_ = split_theta(problem, theta)
    return own


@dataclass(frozen=True, eq=False)
class InnerProblem:
    """h for every fold at once: the columns of one block over one copy of X."""

    rows: Any
    loss: Any
    penalty: Any
    tuned: tuple = ()
    # strengths (n_features, n_folds) of coefficients without a penalty that the rows of a fold do
    # not determine, see `fasthoag.free`; None where all are
    anchors: Any = None
    solver: Any = NEWTON  # one of `fasthoag.inner.solve.SOLVERS`, or the user's

    @property
    def design(self):
        return self.rows.design

    @property
    def y(self):
        return self.rows.y

    @computed_once
    def units(self):
        return Units(self.rows.n_folds, self.loss.n_classes)

    @property
    def n_rows(self):
        return self.design.shape[0]

    @property
    def n_features(self):
        """Of the features that strengths are of: where the design has made fewer of the user's, as
        many."""
        return self.design.coefficients.n_user - int(self.design.has_intercept)

    @property
    def n_used(self):
        weight = self.rows.weight
        return self.n_rows if weight is None else int((weight > 0).sum())

    @property
    def n_folds(self):
        return self.rows.n_folds

    def at(self, theta):
        """The inner problem at the hyperparameters outside the penalty that θ holds."""
        inner = self
        for one, t in zip(self.tuned, split_theta(self, theta)[1:], strict=False):
            inner = one.apply(t, inner)
        return inner

    def with_weight(self, factor):
        """The same with all row weights multiplied."""
        weight = factor * (1.0 if self.rows.weight is None else self.rows.weight)
        return replace(self, rows=self.rows.with_weight(weight))

    @property
    def n_hyper(self):
        return sum(n_hyper_of(self))

    def start(self, level):
        """θ with strengths of about exp(level), (n_hyper,)."""
        return np.concatenate(
            [self.penalty.start(level, self.n_features), *(one.start(self) for one in self.tuned)]
        )

    def box(self, low, high):
        """Bounds of θ for strengths between exp(low) and exp(high)."""
        boxes = [
            self.penalty.box(low, high, self.n_features),
            *(one.box(self) for one in self.tuned),
        ]
        return tuple(np.concatenate(side) for side in zip(*boxes, strict=False))

    def vjp(self, theta, wq, Z, XQ):
        """-(∂∇h/∂θ)ᵀ q at these θ, (n_hyper,), with wq (n_features,) the products of coefficients
        and adjoint; Z and ``XQ()`` predictions of both."""
        theta, *others = split_theta(self, theta)
        parts = [-self.penalty.strengths_vjp(theta, wq)]
        if others:
            U = XQ()
            parts += [one.vjp(t, self, Z, U) for one, t in zip(self.tuned, others, strict=False)]
        return np.concatenate(parts)

    def by_feature(self, block):
        """A block of derivatives by design strengths, (n_coef, m), as derivatives by those of the
        features: summed over folds, and over classes unless strengths differ by class."""
        total = self.design.coefficients.collect(to_host(block))[: self.n_features]
        return self.units.by_class(total) if self.penalty.is_per_class else total.sum(axis=1)

    def strengths(self, theta):
        """λ in the design's units, (n_coef, 1), or (n_coef, n_classes) where they differ by class,
        or a column of each fold's block where they differ by fold; 0 for the intercept."""
        lam = self.penalty.strengths(own_theta(self, theta), self.n_features)
        lam = lam[:, None] if lam.ndim == 1 else lam
        if self.anchors is not None:
            K = self.units.n_classes
            lam = np.tile(lam, self.n_folds * (K // lam.shape[1]))
            lam = lam + np.repeat(self.anchors, K, axis=1)
        return self._spread(lam)

    def strengths_jac(self, theta):
        """∂λ/∂θ in the design's units, (n_coef, n_hyper)."""
        return self._spread(self.penalty.strengths_jac(own_theta(self, theta), self.n_features))

    def _spread(self, lam):
        """Strengths of features for the design's coefficients."""
        none = np.zeros((int(self.design.has_intercept), lam.shape[1]))
        lam = self.design.coefficients.spread(np.concatenate([lam, none]))
        return self.design.xp.asarray(np.ascontiguousarray(lam))

    @computed_once
    def null(self):
        """The null model of every fold, see `fasthoag.null`."""
        return null_model(self)

    @computed_once
    def has_equal_targets(self):
        """Whether every row has the same number as its target, which an intercept fits without
        features: the null model is the solution at every strength."""
        weight, offset = self.rows.weight, self.rows.offset
        y = self.unexplained
        y = y if weight is None else y[weight > 0]
        is_fitted = self.design.has_intercept and not self.loss.is_classification
        if offset is not None and self.loss.has_log_link:  # y / exp(offset) is what would be equal
            is_fitted &= np.ptp(offset) == 0
        return bool(is_fitted and not self.tuned and len(y) and np.ptp(y) == 0)

    @property
    def unexplained(self):
        """What predictions without the offset are like: the targets, less the offset where these
        are in the same unit, (n_rows,)."""
        return less_offset(self.loss, self.y, self.rows.offset)

    @computed_once
    def feature_scales(self):
        """Strengths at which the penalty weighs as much as the data, feature by feature,
        (n_features,), at λ = exp(θ) of about these θ matters; 0 for constants and features without
        a penalty."""
        of_data = self.penalty.shape.scales(self)
        unit = self.penalty.strengths(self.penalty.start(0.0, self.n_features), self.n_features)
        unit = unit if unit.ndim == 1 else unit.mean(axis=1)
        is_there = (of_data > 0) & (unit > 0)
        return np.where(is_there, of_data / np.where(is_there, unit, 1.0), 0.0)

    def spread_out(self, values):
        """Numbers of features that add up, as those of the user's that are no empty columns."""
        compression = self.design.compression
        return values if compression is None else compression.spread_out(values)

    @property
    def scales(self):
        """The positive ones of these, of the user's features."""
        scales = self.spread_out(self.feature_scales)
        return scales[scales > 0] if (scales > 0).any() else np.ones(1)

    @computed_once
    def curvature_scales(self):
        """Curvatures of the loss at the null model, feature by feature, see `fasthoag.null`."""
        return feature_scales(self)

    @property
    def is_featureless(self):
        """Whether no feature tells rows apart: all are 0, or constants beside an intercept."""
        return not (self.curvature_scales > 0).any()

    def in_units(self, unit):
        """The same with θ of the penalty relative to a unit of strength."""
        return self.with_penalty(InUnits(self.penalty, unit))

    def with_penalty(self, penalty):
        """The same with another penalty of the same features."""
        same = replace(self, penalty=penalty)
        # what knows of no penalty stays
        same.__dict__.update({"null": self.null, "curvature_scales": self.curvature_scales})
        return same

    @property
    def has_kinks(self):
        """Whether the inner solutions have kinks in θ, of the loss or of the penalty."""
        return self.loss.has_kinks or not self.penalty.shape.is_smooth

    def first_precond(self, lam):
        """A preconditioner from the curvature at the null model, until a solution is known."""
        at_null = self.curvature(self.rows.at_constant(self.null.b))
        return replace(self.precond(at_null, lam, is_quick=True), is_rough=True)

    def precond(self, c, lam, is_quick=False):
        """The preconditioner for these curvatures and strengths; of a penalty with kinks, whose
        coefficients do not all move, the diagonal of the data's part."""
        if self.penalty.shape.is_smooth:
            return make_precond(self.rows, c, lam, is_quick=is_quick)
        return diagonal_precond(self.rows, c)

    def cross_norms(self, lam, W, precond):
        """How far a unit of θ moves ∇h for every unit, in the norm of `fasthoag.inner.precond`,
        which is what accuracies of inner solutions are relative to."""
        cross = self.units.tile(self.design.xp, lam) * self.penalty.shape.gradient(W)
        return precond.norms(self.units, cross)

    def solve(self, lam, W, **options):
        """Inner solutions by the solver for this loss and this penalty."""
        return self.solver.solve(self, lam, W, **options)

    def solve_linear(self, at, curvature, b, start, tol):
        """Solutions of H x = b at this curvature and the strengths and preconditioner of `at`, for
        the coefficients that move; 0 for the others."""
        shape, options = self.penalty.shape, {"tol": tol, "precond": at.precond}
        lam = at.lam * shape.diagonal(at.W)
        hess = Hessian(self.design, curvature, lam, n_folds=self.n_folds)
        if shape.is_smooth:
            return cg(hess, b, start, **options)
        moves = shape.support(self.units.tile(self.design.xp, at.lam), at.W)
        return Restricted(hess, moves).cg(b, start, **options)

    def curvature(self, Z):
        return self.rows.curvature(self.loss, Z)

    def all_rows(self):
        """The inner problem of the final model: one column, every row trains."""
        return replace(self, rows=self.rows.all_training(), anchors=None)

    def one_fold(self, index):
        anchors = None if self.anchors is None else self.anchors[:, [index]]
        return replace(self, rows=self.rows.fold(index), anchors=anchors)
