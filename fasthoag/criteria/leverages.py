"""What the criteria that need no rows beside those that train share. All are functions of the
predictions ``u_i`` and of the leverages ``a_i = c_i h_i``, where ``h_i = x_i' H⁻¹ x_i`` and ``c_i``
is the curvature of row i, weight included.

With ω the derivatives of f in u and τ those in c, ``∇f = (∂λ/∂θ)ᵀ (∂f/∂λ - t ∘ w)`` with
``t = H⁻¹ Xᵀ (ω + τ ∘ s d³ℓ)``. A criterion's ``terms`` say how f depends on u, a and λ; `inverses`
gets a, τ and ∂f/∂λ out of H, exactly when the coefficients or the rows are few, from random probes
when they are not."""

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fasthoag.criteria import inverses
from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.criterion import check_needs
from fasthoag.design.rows import TRAIN, to_host
from fasthoag.free import n_determined, settled
from fasthoag.hypergradient import Accuracy, Evaluation, solve_inner
from fasthoag.inner.cg import CONVERGED, STALLED
from fasthoag.inner.newton import InnerResult
from fasthoag.inner.precond import SMALL, make_precond
from fasthoag.null import row_weights
from fasthoag.outer.start import default_box
from fasthoag.threads import computed_once, stacklevel_of_user

MOST_PROBES = 1 << 16
LEFT_OUT = Accuracy(1e-6, 1e-6)  # of predictions that are shown
# of the standard error of f by its probes: 95 of 100 of Student's t with 7 degrees of freedom
PROBES_ERROR = 2.4
# Of the solves of probes, relative. 20 newsgroups, in four orders of the rows, with 0.01: 213 to
# 226 passes, with 0.02: 193 to 253, since a slope in error asks for another look
LOOSEST = 0.01
FEW = f"{inverses.FEW_COEFFICIENTS} coefficients or {inverses.FEW_ROWS} rows"


def bound_of_leverages(problem, criterion):
    """The `BoundLeverage` of a criterion, which needs these of it: ``terms(fit, hat, lam, W)``, its
    number of probes (None for none), whether these bias it, whether it is a likelihood, whose
    constant means nothing, and whether coefficients without a penalty are integrated out."""
    check_needs(criterion, problem)
    n_probes = criterion.n_probes
    is_whole = isinstance(n_probes, (int, np.integer)) and not isinstance(n_probes, bool)
    if n_probes is not None and not (is_whole and 2 <= n_probes <= MOST_PROBES):
        raise ValueError(f"n_probes must be an integer from 2 to {MOST_PROBES}; got {n_probes!r}")
    inner = settled(problem.inner())
    return BoundLeverage(inner, inner.rows, TRAIN, problem.loss, criterion, {})


def checked_counts(bound):
    """The same bound criterion; warns, or raises, where the weights, which are counts of rows here,
    are too few for a likelihood."""
    name = type(bound.criterion).__name__
    weight, p, weights = bound.weight, bound.inner.design.n_coef, bound.inner.rows.weight
    if bound.criterion.integrates_free and bound.loss.name == "squared" and weight <= bound.n_free:
        raise ValueError(
            f"{name} of least squares needs more rows than coefficients without a penalty, "
            f"{bound.n_free}; the weights of all rows add up to {weight:g}. Penalise more of them"
        )
    if weights is not None and weight < p:
        warnings.warn(
            f"sample_weight adds up to {weight:g}, less than the {p} coefficients; {name} takes a "
            "weight for the number of copies of its row. Scale the weights so that they add up to "
            "the number of rows, or use GCV, ApproximateLOO or KFold, where only ratios count",
            UserWarning,
            stacklevel=stacklevel_of_user(),
        )
    return bound


class Terms(NamedTuple):
    """A formula's value; ω at fixed leverages, its derivatives in the leverages and in the squares
    of their standard errors, handles (n_rows, 1) or None for 0; where it depends on the strengths
    by itself, that derivative (n_coef, 1); and of a sum over rows its standard error."""

    value: float
    in_u: Any
    in_a: Any
    in_v: Any = None
    in_lam: Any = None
    standard_error: float = np.nan


class NullHat(NamedTuple):
    """Leverages of the null model: those of an intercept, or 0. For its value alone."""

    a: Any
    e: Any
    v: Any
    log_det: float
    inverse_diagonal: np.ndarray


class Fit(NamedTuple):
    """Rows, loss, predictions, a handle (n_rows, 1), n, the sum of the weights, the number of rows
    with a weight, and how many coefficients have no penalty but are determined by the rows."""

    rows: Any
    loss: Any
    u: Any
    n: float
    n_rows: int
    n_free: int

    def terms(self, order, part=TRAIN):
        return self.rows.terms(self.loss, order, part, self.u)

    @property
    def sum_of_losses(self):
        return float(self.rows.sums(self.loss, TRAIN, self.u)[0])


def total(rows, handle):
    """The sum of a handle (n_rows, 1)."""
    return float(rows.reduce(lambda block, a: block.xp.sum(a), handle))


def scaled(rows, factor, handle):
    return rows.map(lambda block, a: factor * a, handle)


def constant(rows, value, handle):
    """A handle of the shape of another that has this value everywhere."""
    return rows.map(lambda block, a: block.xp.full_like(a, value), handle)


def of_likelihood(fit, loss, n_free=0):
    """Minus a log-likelihood and its derivative in its sum of losses (plus a penalty); of least
    squares that of the best noise, where `n_free` coefficients were integrated out."""
    if fit.loss.name != "squared":
        return loss, 1.0
    n = fit.n - n_free
    return 0.5 * n * np.log(2 * loss / n), 0.5 * n / loss


@dataclass(frozen=True, eq=False)
class BoundLeverage(BoundCriterion):
    """A criterion of leverages on its inner problem."""

    criterion: Any  # whose `terms` it takes
    cache: dict  # what inverses keep between evaluations
    has_targets = is_of_w = False

    @computed_once
    def null_value(self):
        inner, rows, null = self.inner, self.rows, self.inner.null
        lam = inner.strengths(inner.start(0.0))
        is_penalised = to_host(lam) > 0
        if (~is_penalised).sum() > inner.design.has_intercept:  # it has more than an intercept
            _, most = default_box(inner)
            return self.evaluate(most, null.W, Accuracy(0.1, 0.1)).value
        u = rows.at_constant(null.b)
        c = inner.curvature(u).values
        share = 1 / total(rows, c) if inner.design.has_intercept else 0.0
        a = scaled(rows, share, c)
        e, v = (rows.map(f, a) for f in (lambda _, a: 1.0 - a, lambda _, a: 0.0 * a))
        log_det = -np.log(share * inner.design.coefficients.intercept**-2) if share else 0.0
        hat = NullHat(a, e, v, float(log_det), np.zeros(inner.design.n_coef))
        fit = self.fit(u)
        return self.criterion.terms(fit, hat, is_penalised, null.W).value

    def size(self, value):
        """Logarithms of likelihoods have a constant, which depends on units: what tells models
        apart is a unit of them, or how far they are from the null model."""
        if not self.criterion.is_likelihood:
            return super().size(value)
        return max(abs(value - self.null_value), 1.0)

    @property
    def is_exact(self):
        """Whether leverages come without probes."""
        theta = self.inner.start(0.0)
        way = inverses.exact_way(self.inner, theta, self.inner.strengths(theta))
        return way is not None

    @property
    def is_foreseen(self):
        """Where coefficients are few the last look costs next to nothing, and gives all digits."""
        return super().is_foreseen and self.inner.design.n_coef > SMALL

    @property
    def weight(self):
        """The sum of the weights of all rows."""
        return float(self.rows.reduce(lambda block: block.xp.sum(block.weights(TRAIN))))

    @computed_once
    def n_free(self):
        return n_determined(self.inner)

    def fit(self, u):
        n_rows = int((row_weights(self.rows) > 0).sum())
        n_free = self.n_free if self.criterion.integrates_free else 0
        return Fit(self.rows, self.loss, u, self.weight, n_rows, n_free)

    def one_fold(self, index):
        return self

    def evaluate(self, theta, W, accuracy, *, Q=None, T=None, has_tangents=False, precond=None):
        """f and ∇f at `theta`; `Q` are the solutions of the linear systems at a θ nearby."""
        inner, rows = self.inner, self.rows
        design, units = inner.design, inner.units
        lam, solution, hat, norm, n_inner, n_cg, precond = self._solved(
            theta, W, accuracy, Q, precond
        )
        W = solution.W
        fit = self.fit(solution.Z)
        terms = self.criterion.terms(fit, hat, lam, W)
        third = rows.terms(self.loss, 3, TRAIN, solution.Z)
        if terms.in_u is None:  # a function of log det H alone
            in_lam, omega = 0.0, rows.map(lambda _, h, third: 0.5 * h * third, hat.h, third)
        else:
            in_c, in_lam = hat.pull(terms.in_a, terms.in_v)
            omega = rows.map(lambda _, u, c, third: u + c * third, terms.in_u, in_c, third)
        t, T = self._adjoint_and_tangent(hat, theta, design.rmatvec(omega), W)
        in_lam = in_lam - t * W
        in_lam = in_lam if terms.in_lam is None else in_lam + design.xp.asarray(terms.in_lam)
        penalty = inner.penalty
        grad = penalty.strengths_vjp(theta, inner.by_feature(in_lam))
        missed = float(units.dots(t, solution.grad)[0])  # what a Newton step to w* would change
        reached = float(solution.grad_norm[0]) / (float(norm(lam * W)[0]) or 1.0)
        # the value is corrected to second order
        size, second = float(np.linalg.norm(grad)), min(1.0, 10 * reached) * abs(missed)
        linear_error = hat.grad_error(lambda v: penalty.strengths_vjp(theta, inner.by_feature(v)))
        bias = self._bias(fit, hat, lam, W, terms.value)
        is_solved = (solution.status <= STALLED).all() and np.isfinite(terms.value)
        return Evaluation(
            theta=theta,
            value=terms.value - missed + hat.value_left,
            value_inner_error=second,
            value_linear_error=1e-12 * abs(terms.value) + hat.value_error,
            value_probe_error=PROBES_ERROR * hat.spread + bias,
            fold_values=np.array([terms.value]),
            grad=grad,
            inner_error=10 * reached * size + second,
            linear_error=linear_error,
            hess=None,
            W=W,
            Q=hat.solutions(),
            T=T,
            V=0 * W,
            accuracy=Accuracy(max(10 * reached, 1e-16), max(hat.reached, 1e-16)),
            n_inner=n_inner,
            n_cg=n_cg + hat.n_cg,
            is_solved=bool(is_solved and hat.is_solved),
            precond=precond,
            standard_error=terms.standard_error,
        )

    def _adjoint_and_tangent(self, hat, theta, b, W):
        """``H⁻¹ b``, and of one hyperparameter, in the same solve, a list with ∂w/∂θ, where a step
        leads to; else None."""
        penalty = self.inner.penalty
        if len(theta) > 1 or self.inner.tuned or not penalty.has_hessian:
            return hat.solve(b), None
        cross = self.inner.strengths_jac(theta) * W
        found = hat.solve(self.inner.design.xp.concat([b, -cross], axis=1))
        return found[:, :1], [found[:, 1:]]

    def _bias(self, fit, hat, lam, W, value):
        """How far the part of the formula that falls as one over the number of probes takes its
        value, of criteria that are not linear in the leverages."""
        if not self.criterion.has_probe_bias:
            return 0.0
        each = ((factor, self.criterion.terms(fit, view, lam, W)) for factor, view in hat.halves())
        return abs(sum(factor * (one.value - value) for factor, one in each))

    def left_out(self, theta, W):
        """The prediction of every row by the model without it, (n_rows,), of a criterion that
        leaves rows out; the solves start from `W`."""
        _, solution, hat, *_ = self._solved(theta, W, LEFT_OUT, None, None)
        found = self.criterion.left_out(self.fit(solution.Z), hat)
        return self.rows.to_host(found)[:, 0]

    def _solved(self, theta, W, accuracy, Q, precond):
        """Strengths, the inner solution, the inverse of its Hessian, the norm of its gradients,
        inner and CG iterations, and the preconditioner for the next time."""
        inner = self.inner
        lam = inner.strengths(theta)
        way = inverses.exact_way(inner, theta, lam)
        if way is not None and self.loss.is_quadratic:  # the solution comes with the inverse
            solution, hat, norm = self._solve_with_inverse(way, lam, W)
            return lam, solution, hat, norm, solution.n_iter, 0, precond
        solution, hat, n_inner, n_cg, precond = self._solve(way, theta, W, accuracy, precond, Q)
        return lam, solution, hat, partial(precond.norms, inner.units), n_inner, n_cg, precond

    def _solve_with_inverse(self, way, lam, W):
        """The solution of least squares and the inverse that gave it."""
        inner, units = self.inner, self.inner.units
        at = inner.rows.loss_grad(self.loss, W)
        hat, grad, n_iter = (
            way(inner.rows, inner.curvature(at.Z), lam, self.cache),
            at.grad + lam * W,
            0,
        )

        def norm(r, solved=None):  # √(rᵀH⁻¹r), the length of the step that it asks for
            solved = hat.solve(r) if solved is None else solved
            return np.sqrt(np.maximum(units.dots(r, solved), 0.0))

        step = hat.solve(grad)
        before = norm(grad, step)
        for _ in range(5):  # the first is the solution, the others take away its rounding
            n_iter += 1
            trial = W - step
            found = inner.rows.loss_grad(self.loss, trial)
            new = found.grad + lam * trial
            step = hat.solve(new)
            after, last = norm(new, step), before
            if after[0] < before[0]:
                W, grad, at, before = trial, new, found, after
            if not after[0] < 0.1 * last[0]:
                break
        status = np.array([CONVERGED])
        values = at.value, at.other, before, n_iter, 0, status
        return InnerResult(W, grad, at.Z, *values), hat, norm

    def _solve(self, way, theta, W, accuracy, precond, Q):
        """The inner solution, the inverse (or probes of it) there, inner and CG iterations, and the
        preconditioner for the next time."""
        inner = self.inner
        lam = inner.strengths(theta)
        quick = precond.at(lam) if precond else inner.first_precond(lam)
        # leverages go with the curvature: of first order in w
        tight = replace(accuracy, inner=0.1 * accuracy.inner)
        lam, solution, n_inner, n_cg = solve_inner(self, theta, W, tight, quick)
        curvature = inner.curvature(solution.Z)
        if way is not None:
            return solution, way(inner.rows, curvature, lam, self.cache), n_inner, n_cg, quick
        if quick.is_rough:
            sketch = inverses.SKETCH
            quick = make_precond(inner.rows, curvature, lam, n_sketch=sketch)
        tol = min(accuracy.linear, LOOSEST)
        setting = inverses.ProbeSetting(self.criterion.n_probes, tol, quick, Q)
        hat = inverses.Probes(inner.rows, curvature, lam, setting, self.cache)
        return solution, hat, n_inner, n_cg, quick
