"""Criteria that need no rows beside those that train: approximate leave-one-out, GCV, AIC, BIC, the
evidence. All are functions of the predictions ``u_i`` and of the leverages ``a_i = c_i h_i``, where
``h_i = x_i' H⁻¹ x_i`` and ``c_i`` is the curvature of row i, weight included.

With ω the derivatives of f in u and τ those in c, ``∇f = (∂λ/∂θ)ᵀ (∂f/∂λ - t ∘ w)``, ``t = H⁻¹ Xᵀ
(ω + τ ∘ s ℓ''')``: the rest of the file gets a, τ and ∂f/∂λ out of H, exactly when the coefficients
or the rows are few, from random probes when they are not."""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from fasthoag import linsolve
from fasthoag.criteria import inverses
from fasthoag.criteria.held_out import BoundCriterion
from fasthoag.design.rows import TRAIN, UNWEIGHTED, to_host
from fasthoag.free import free_columns, free_features, n_determined, settled
from fasthoag.hypergradient import Accuracy, Evaluation, solve_inner
from fasthoag.losses import without_smoothing
from fasthoag.null import row_weights
from fasthoag.outer.start import default_box
from fasthoag.solvers import InnerResult


@dataclass(frozen=True, eq=False)
class ApproximateLOO:
    """Approximate leave-one-out: every row is predicted by the model without it, one Newton step
    away from the model with it. A sum.

    ``f = Σ_i s_i ℓ(y_i, u_i + ℓ'_i/ℓ''_i a_i / (1 - a_i))``, for least squares exact. A row is left
    out with all its weight. The outer ℓ is without label smoothing, as in `KFold`.

    Up to 2,000 coefficients or 1,000 rows the leverages a are exact. Beyond, each is estimated from
    `n_probes` random vectors of signs, the same in every evaluation, so that f stays smooth; the
    bias of 1 / (1 - a) from their scatter is taken away. On 20 newsgroups f is then off by 1 to 5
    %, alike at all strengths.

    Parameters
    ----------
    n_probes : int
        At least 2; the work grows with it, the error falls with its root.

    References
    ----------
    Rad & Maleki (2020), "A scalable estimate of the out-of-sample prediction error via approximate
    leave-one-out", JRSS B 82.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), fasthoag.ApproximateLOO()).status
    'converged'
    """

    n_probes: int = 16
    has_tangents = False

    def bind(self, problem):
        return _bind(problem, self, _leave_one_out)


@dataclass(frozen=True, eq=False)
class GCV:
    """Generalised cross-validation of least squares: ``f = Σ_i s_i r_i²/2 / (1 - tr/n)²`` with r
    the residuals, tr the trace of the hat matrix and n the number of rows with a positive weight.
    Leave-one-out with the same leverage for all rows; a row is left out with all its weight.

    Parameters
    ----------
    n_probes : int
        For the trace beyond 2,000 coefficients and 1,000 rows; at least 2.

    References
    ----------
    Golub, Heath & Wahba (1979), "Generalized cross-validation as a method for choosing a good ridge
    parameter", Technometrics 21.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), fasthoag.GCV()).status
    'converged'
    """

    n_probes: int = 16
    has_tangents = False

    def bind(self, problem):
        return _bind(problem, self, _gcv, ("squared",))


@dataclass(frozen=True, eq=False)
class AIC:
    """Half of Akaike's criterion with the trace of the hat matrix as degrees of freedom: ``f = Σ_i
    s_i ℓ_i + tr``; for least squares, whose noise is not known, ``f = n/2 log(Σ_i s_i r_i² / n) +
    tr``. For losses that are likelihoods: squared, logistic, Poisson.

    Parameters
    ----------
    n_probes : int
        For the trace beyond 2,000 coefficients and 1,000 rows; at least 2.

    References
    ----------
    Akaike (1974), "A new look at the statistical model identification", IEEE Transactions on
    Automatic Control 19.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), fasthoag.AIC()).status
    'converged'
    """

    n_probes: int = 16
    has_tangents = False

    def bind(self, problem):
        return _bind(problem, self, _information(lambda n: 1.0), LIKELIHOODS)


@dataclass(frozen=True, eq=False)
class BIC:
    """Half of Schwarz' criterion: as `AIC` with ``log(n)/2 tr`` instead of ``tr``, n the sum of the
    sample weights.

    Parameters
    ----------
    n_probes : int
        For the trace beyond 2,000 coefficients and 1,000 rows; at least 2.

    References
    ----------
    Schwarz (1978), "Estimating the dimension of a model", Annals of Statistics 6.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), fasthoag.BIC()).status
    'converged'
    """

    n_probes: int = 16
    has_tangents = False

    def bind(self, problem):
        return _bind(problem, self, _information(lambda n: 0.5 * np.log(n)), LIKELIHOODS)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Minus the logarithm of the marginal likelihood by Laplace's approximation, up to a constant:
    ``f = h(w*) - ½ Σ_j log λ_j + ½ log det H`` over the penalised coefficients; for least squares,
    whose noise is not known, ``(n - k)/2 log(2 h(w*)/(n - k))`` in place of ``h(w*)``, n being the
    sum of the weights and k the number of coefficients without a penalty: these are integrated out
    like the others, as in restricted maximum likelihood (REML). With `FeatureRidge` it
    is automatic relevance determination: irrelevant features are taken out by themselves, without
    other rows. For losses that are likelihoods: squared (where it is exact), logistic, Poisson; up
    to 2,000 coefficients or 1,000 rows.

    References
    ----------
    MacKay (1992), "Bayesian interpolation", Neural Computation 4; Tipping (2001), "Sparse Bayesian
    learning", JMLR 1; Harville (1974), "Bayesian inference for variance components using only error
    contrasts", Biometrika 61, for n - k.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 5))
    >>> y = X[:, 0] + rng.normal(size=60)                           # the other features are noise
    >>> problem = fasthoag.Problem(X, y, loss="squared", penalty=fasthoag.FeatureRidge())
    >>> lam = fasthoag.hoag(problem, fasthoag.Evidence()).lam
    >>> bool(lam[0] < 0.1 * lam[1:].min())
    True
    """

    n_probes = None
    has_tangents = False

    def bind(self, problem):
        return _bind(problem, self, _evidence, LIKELIHOODS)


LIKELIHOODS = ("squared", "logistic", "poisson")
FLAT = ("quantile", "smoothed_hinge")


def _bind(problem, criterion, formula, losses=None):
    name, n_probes, loss = type(criterion).__name__, criterion.n_probes, problem.loss
    if loss.n_classes > 1 or loss.has_kinks or problem.tuned:
        raise ValueError(
            f"{name} needs a smooth loss of one output and hyperparameters of the penalty only; "
            f"got loss '{loss.name}' and {len(problem.tuned)} kinds of other hyperparameters. Use "
            "KFold"
        )
    if losses is not None and loss.name not in losses:
        raise ValueError(
            f"{name} is for loss {' or '.join(map(repr, losses))}; got '{loss.name}'. Use KFold or "
            "ApproximateLOO"
        )
    if losses is LIKELIHOODS and (loss.parameters or {}).get("smoothing"):
        raise ValueError(
            f"{name} needs a likelihood; loss '{loss.name}' with "
            f"smoothing={loss.parameters['smoothing']:g} is none. Use KFold or ApproximateLOO"
        )
    n, p = problem.design.shape[0], problem.design.n_coef
    is_exact = p <= inverses.FEW_COEFFICIENTS or n <= inverses.FEW_ROWS
    few = f"{inverses.FEW_COEFFICIENTS} coefficients or {inverses.FEW_ROWS} rows"
    if n_probes is None and not is_exact:
        raise ValueError(
            f"{name} takes up to {few}; there are {p} and {n}. Use ApproximateLOO or KFold"
        )
    if n_probes is not None and not (
        isinstance(n_probes, (int, np.integer)) and not isinstance(n_probes, bool) and n_probes >= 2
    ):
        raise ValueError(f"n_probes must be an integer >= 2; got {n_probes!r}")
    is_flat = any(one.name in FLAT for one in loss.mixed or (loss,))
    # h = a / c drowns where c is nearly 0
    if formula is _leave_one_out and is_flat and not is_exact:
        raise ValueError(
            f"{name} of loss '{loss.name}', which is straight for most rows, takes up to "
            f"{few}; there are {p} and {n}. Use KFold"
        )
    if loss.name == "squared" and name in ("AIC", "BIC") and p >= n:
        raise ValueError(
            f"{name} of least squares needs more rows than coefficients, else a perfect fit makes "
            f"it minus infinity; there are {n} and {p}. Use GCV, ApproximateLOO or KFold"
        )
    if (
        loss.name == "squared"
        and losses is LIKELIHOODS
        and np.ptp(
            problem.y[problem.sample_weight > 0] if problem.sample_weight is not None else problem.y
        )
        == 0
    ):
        raise ValueError(
            f"{name} of least squares estimates the noise of y; all targets are {problem.y[0]:g}. "
            "Use KFold"
        )
    inner = settled(problem.inner())
    bound = BoundLeverage(inner, inner.rows, TRAIN, loss, formula, n_probes, {})
    if formula is _leave_one_out:
        check_every_row_can_be_left_out(inner)
    elif formula is not _gcv:
        check_counts(name, bound)
    return bound


def check_counts(name, bound):
    """Warns, or raises, where the weights, which are counts of rows here, are too few for a
    likelihood."""
    weight, p, weights = bound.weight, bound.inner.design.n_coef, bound.inner.rows.weight
    if bound.formula is _evidence and bound.loss.name == "squared" and weight <= bound.n_free:
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
            stacklevel=5,
        )


def check_every_row_can_be_left_out(inner):
    """Raises for a row that alone determines a coefficient without a penalty: without it nothing
    predicts it."""
    design, features = inner.design, free_features(inner.penalty, inner.n_features)
    trains = np.flatnonzero(row_weights(inner.rows)[:, 0])
    k = len(features) + int(design.has_intercept)
    if len(features) == 0 or k * design.shape[0] > inverses.CHUNK:
        return
    columns = free_columns(design, features).columns[trains]
    if design.has_intercept:
        columns = np.column_stack([columns, np.ones(len(trains))])
    size = np.linalg.norm(columns, axis=0)
    columns = columns / np.where(size > 0, size, 1.0)
    U, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    alone = np.flatnonzero((U[:, sizes > 1e-10 * sizes[0]] ** 2).sum(axis=1) > 1 - 1e-10)
    if len(alone):
        raise ValueError(
            f"row {trains[alone[0]]} alone determines a coefficient without a penalty "
            f"({len(alone)} such rows): nothing predicts it when it is left out. Give the "
            "coefficient a positive penalty_factor, drop the rows, or use KFold"
        )


class Terms(NamedTuple):
    """A formula's value; ω at fixed leverages, its derivatives in the leverages and in the squares
    of their standard errors, handles (n_rows, 1) or None for 0; and where it depends on the
    strengths by itself, that derivative (n_coef, 1)."""

    value: float
    in_u: Any
    in_a: Any
    in_v: Any = None
    in_lam: Any = None


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


def leaving_out(xp, a, e, v):
    """What 1 / (1 - a) - 1 becomes, with its derivatives in a and in v, at a leverage a, e = 1 - a,
    known up to the standard error √v.

    1 / e is biased by v / e³; ``e / (e² + v)`` is not to first order. Where e < √v the estimate
    says no more than that; there its largest value, 1 / (2√v), is taken.
    """
    one, zero = xp.ones_like(e), xp.zeros_like(e)
    root, square = xp.sqrt(v), e * e
    is_known = e > root
    known = xp.where(is_known, square + v, one)
    least = xp.maximum(root, xp.full_like(root, 1e-300))
    inverse = xp.where(is_known, e / known, 0.5 / xp.where(is_known, one, least))
    # without the difference of large numbers where a and v are tiny
    c = xp.where(is_known, (e * a - v) / known, inverse - 1.0)
    is_inside = c > 0
    e_there = xp.where(is_known, e, one)
    in_a = xp.where(is_known, (square - v) * (inverse / e_there) ** 2, zero)
    root_there = xp.where(root > 0, root, one)
    at_most = xp.where(root > 0, -0.25 / root_there**3, zero)
    in_v = xp.where(is_known, -(inverse**2) / e_there, at_most)
    return [xp.where(is_inside, part, zero) for part in (c, in_a, in_v)]


def _leave_one_out(fit, hat, **_):
    rows, judge = fit.rows, without_smoothing(fit.loss)
    l1, l2, l3 = (fit.terms(order, UNWEIGHTED) for order in (1, 2, 3))
    shares = rows.map(
        lambda block, *known: block.xp.concat(leaving_out(block.xp, *known), axis=1),
        *(hat.a, hat.e, hat.v),
    )  # c, its derivatives in a and in v

    # never 0
    l2 = rows.map(lambda block, l2: block.xp.maximum(l2, block.xp.full_like(l2, 1e-200)), l2)
    left_out = rows.map(lambda _, u, l1, l2, s: u + l1 * (s[:, :1] / l2), fit.u, l1, l2, shares)
    g = rows.terms(judge, 1, TRAIN, left_out)

    def in_u(_, g, l1, l2, l3, s):
        c = s[:, :1]
        return g * (1.0 + c - (c / l2) * l1 * (l3 / l2))

    def slope(k):
        return rows.map(lambda _, g, l1, l2, s: g * l1 / l2 * s[:, k : k + 1], g, l1, l2, shares)

    value = float(rows.sums(judge, TRAIN, left_out)[0])
    return Terms(value, rows.map(in_u, g, l1, l2, l3, shares), slope(1), slope(2))


def _gcv(fit, hat, **_):
    left = max(1.0 - total(fit.rows, hat.a) / fit.n_rows, 1e-6)
    value = fit.sum_of_losses / left**2
    in_u = scaled(fit.rows, 1 / left**2, fit.terms(1))
    return Terms(value, in_u, constant(fit.rows, 2 * value / (left * fit.n_rows), hat.a))


def of_likelihood(fit, loss, n_free=0):
    """Minus a log-likelihood and its derivative in its sum of losses (plus a penalty); of least
    squares that of the best noise, where `n_free` coefficients were integrated out."""
    if fit.loss.name != "squared":
        return loss, 1.0
    n = fit.n - n_free
    return 0.5 * n * np.log(2 * loss / n), 0.5 * n / loss


def _information(price):
    """Criteria that add ``price(n)`` for every degree of freedom."""

    def formula(fit, hat, **_):
        value, factor = of_likelihood(fit, fit.sum_of_losses)
        value += price(fit.n) * total(fit.rows, hat.a)
        in_u = scaled(fit.rows, factor, fit.terms(1))
        return Terms(value, in_u, constant(fit.rows, price(fit.n), hat.a))

    return formula


def _evidence(fit, hat, lam, W):
    lam, w = to_host(lam), to_host(W)
    is_penalised = lam > 0
    h = fit.sum_of_losses + 0.5 * float((lam * w**2).sum())
    value, factor = of_likelihood(fit, h, fit.n_free)
    value += 0.5 * (hat.log_det - float(np.log(lam[is_penalised]).sum()))
    # h stands still at w*; log det H depends on the leverages alone: d log det H = Σ h_i dc_i +
    # Σ (H⁻¹)_jj dλ_j
    over_lam = np.where(is_penalised, 1 / np.where(is_penalised, lam, 1.0), 0.0)
    in_lam = 0.5 * (factor * w**2 + hat.inverse_diagonal[:, None] - over_lam)
    return Terms(value, None, None, None, in_lam)


@dataclass(frozen=True, eq=False)
class BoundLeverage(BoundCriterion):
    """A criterion of this file on its inner problem."""

    formula: Any
    n_probes: int
    cache: dict  # what inverses keep between evaluations

    @cached_property
    def null_value(self):
        inner, rows, null = self.inner, self.rows, self.inner.null
        lam = inner.strengths(inner.start(0.0))
        is_penalised = to_host(lam) > 0
        if (~is_penalised).sum() > inner.design.has_intercept:  # it has more than an intercept
            theta = default_box(inner)[1]
            return self.evaluate(theta, null.W, Accuracy(0.1, 0.1)).value
        u = rows.at_constant(null.b)
        c = inner.curvature(u).values
        share = 1 / total(rows, c) if inner.design.has_intercept else 0.0
        a = scaled(rows, share, c)
        e, v = (rows.map(f, a) for f in (lambda _, a: 1.0 - a, lambda _, a: 0.0 * a))
        log_det = -np.log(share * inner.design.coefficients.intercept**-2) if share else 0.0
        hat = NullHat(a, e, v, float(log_det), np.zeros(inner.design.n_coef))
        fit = self.fit(u)
        return self.formula(fit, hat, lam=is_penalised, W=null.W).value

    def size(self, value):
        """Logarithms of likelihoods have a constant, which depends on units: what tells models
        apart is a unit of them, or how far they are from the null model."""
        if self.formula in (_leave_one_out, _gcv):
            return super().size(value)
        return max(abs(value - self.null_value), 1.0)

    @property
    def is_exact(self):
        """Whether leverages come without probes."""
        theta = self.inner.start(0.0)
        way = inverses.exact_way(self.inner, theta, self.inner.strengths(theta))
        return way is not None

    @property
    def weight(self):
        """The sum of the weights of all rows."""
        return float(self.rows.reduce(lambda block: block.xp.sum(block.weights(TRAIN))))

    @cached_property
    def n_free(self):
        return n_determined(self.inner)

    def fit(self, u):
        n_rows = int((row_weights(self.rows) > 0).sum())
        n_free = self.n_free if self.formula is _evidence else 0
        return Fit(self.rows, self.loss, u, self.weight, n_rows, n_free)

    def one_fold(self, index):
        return self

    def evaluate(self, theta, W, accuracy, precond=None, Q=None):
        """f and ∇f at `theta`; `Q` are the solutions of the linear systems at a θ nearby."""
        inner, rows = self.inner, self.rows
        design, units = inner.design, inner.units
        lam = inner.strengths(theta)
        way = inverses.exact_way(inner, theta, lam)
        if way is not None and self.loss.is_quadratic:  # the solution comes with the inverse
            solution, hat, norm = self._solve_with_inverse(way, lam, W)
            n_inner, n_cg = solution.n_iter, 0
        else:
            solution, hat, n_inner, n_cg, precond = self._solve(way, theta, W, accuracy, precond, Q)
            norm = partial(precond.norms, units)
        W = solution.W
        fit = self.fit(solution.Z)
        terms = self.formula(fit, hat, lam=lam, W=W)
        third = rows.terms(self.loss, 3, TRAIN, solution.Z)
        if terms.in_u is None:  # a function of log det H alone
            in_lam, omega = 0.0, rows.map(lambda _, h, third: 0.5 * h * third, hat.h, third)
        else:
            in_c, in_lam = hat.pull(terms.in_a, terms.in_v)
            omega = rows.map(lambda _, u, c, third: u + c * third, terms.in_u, in_c, third)
        t = hat.solve(design.rmatvec(omega))
        in_lam = in_lam - t * W
        in_lam = in_lam if terms.in_lam is None else in_lam + design.xp.asarray(terms.in_lam)
        penalty = inner.penalty
        grad = penalty.strengths_vjp(theta, inner.by_feature(in_lam))
        missed = float(units.dots(t, solution.grad)[0])  # what a Newton step to w* would change
        reached = float(solution.grad_norm[0]) / (float(norm(lam * W)[0]) or 1.0)
        # the value is corrected to second order
        size, second = float(np.linalg.norm(grad)), min(1.0, 10 * reached) * abs(missed)
        linear_error = hat.grad_error(lambda v: penalty.strengths_vjp(theta, inner.by_feature(v)))
        is_solved = (solution.status <= linsolve.STALLED).all() and np.isfinite(terms.value)
        return Evaluation(
            theta=theta,
            value=terms.value - missed + hat.value_left,
            value_inner_error=second,
            value_linear_error=1e-12 * abs(terms.value) + hat.value_error,
            fold_values=np.array([terms.value]),
            grad=grad,
            inner_error=10 * reached * size + second,
            linear_error=linear_error,
            hess=None,
            W=W,
            Q=hat.solutions(t),
            T=None,
            V=0 * W,
            accuracy=Accuracy(max(10 * reached, 1e-16), max(hat.reached, 1e-16)),
            n_inner=n_inner,
            n_cg=n_cg + hat.n_cg,
            is_solved=bool(is_solved and hat.is_solved),
            precond=precond,
        )

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
        status = np.array([linsolve.CONVERGED])
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
            quick = linsolve.make_precond(inner.rows, curvature, lam, n_sketch=sketch)
        tol = min(accuracy.linear, 0.01)
        setting = inverses.ProbeSetting(self.n_probes, tol, quick, Q)
        hat = inverses.Probes(inner.rows, curvature, lam, setting, self.cache)
        return solution, hat, n_inner, n_cg, quick
