"""A criterion together with a kernel problem: what the outer loop minimises. θ = (log γ, log λ),
the widths first, of which a kernel may have none."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fasthoag.blas import blas_threads
from fasthoag.hypergradient import Accuracy, Evaluation
from fasthoag.kernels.derivatives import Judge, derivatives_of
from fasthoag.kernels.folds import derivatives_of_folds
from fasthoag.kernels.leave_one_out import derivatives_of_rows
from fasthoag.kernels.solve import Singular, solve_newton, solve_quadratic
from fasthoag.threads import computed_once

# relative residual of Newton's method, from the tolerance that the outer loop has at the moment
TIGHTEST, LOOSEST = 1e-13, 1e-4
UNKNOWN = 0.01  # an error of f over its size, from which the inner problem was not solved


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with targets y (n, t) and weights (n,), all positive, or None."""

    samples: Any
    y: Any
    weight: Any = None

    @property
    def n(self):
        return len(self.y)

    def take(self, rows):
        return self._with(self.samples.take(rows), rows)

    def few(self, rows):
        """Some rows, few enough for a factor of their K."""
        return self._with(self.samples.few(rows), rows)

    def of_one_width(self, units):
        """The same with one width, over these of every feature (p,)."""
        return replace(self, samples=self.samples.of_one_width(units))

    def _with(self, samples, rows):
        weight = None if self.weight is None else self.weight[rows]
        return Rows(samples, self.y[rows], weight)

    @property
    def weights(self):
        return np.ones(self.n) if self.weight is None else self.weight


class Model(NamedTuple):
    """What is fitted: the loss, and whether there is an intercept."""

    loss: Any
    has_intercept: bool

    def constant(self, rows):
        """The best constant predictions, (t,)."""
        if not self.has_intercept:
            return np.zeros(rows.y.shape[1])
        if not self.loss.is_classification:
            return np.average(rows.y, axis=0, weights=rows.weights)
        positive = np.average(rows.y > 0, axis=0, weights=rows.weights)
        with np.errstate(divide="ignore"):
            return np.log(positive) - np.log1p(-positive)

    def solve(self, pairs, rows, lam, start, tol):
        """The `Solution` at λ."""
        if self.loss.is_quadratic:
            return solve_quadratic(pairs, rows.y, rows.weight, lam, self.has_intercept)
        args = self.loss, lam, self.has_intercept, start, tol
        return solve_newton(pairs, rows.y, rows.weight, *args)


class Found(NamedTuple):
    """`Derivatives` of the sum over folds, values of the folds, (α, b) as a block (n + 1, m), the
    relative residual of the inner problem and the number of factorisations."""

    derivatives: Any
    values: np.ndarray
    W: Any
    residual: float
    n_factors: int = 1


@dataclass(frozen=True, eq=False)
class Apart:
    """Folds that are fitted one by one: pairs of rows that train and rows that judge."""

    model: Model
    folds: tuple  # of (Rows, Rows)
    loss: Any  # of the criterion

    @computed_once
    def pairs(self):
        return [
            (train.samples.pairs(), judge.samples.pairs(train.samples))
            for train, judge in self.folds
        ]

    @property
    def has_hessian(self):
        return True

    @property
    def n_threads(self):
        return self.folds[0][0].samples.n_threads

    def judges(self):
        return [judge for _, judge in self.folds]

    def constants(self):
        return [self.model.constant(train) for train, _ in self.folds]

    def sample(self, n):
        """The same of at most n rows that train, and of as many that judge, one fold for all."""
        train, judge = self.folds[0]
        parts = (some_of(rows, n, self.model.loss) for rows in (train, judge))
        return replace(self, folds=(tuple(parts),))

    def of_one_width(self, units):
        pairs = ((a.of_one_width(units), b.of_one_width(units)) for a, b in self.folds)
        return replace(self, folds=tuple(pairs))

    @property
    def n_train(self):
        return max(train.n for train, _ in self.folds)

    def find(self, theta, start, tol, has_tangents):
        widths, lam = split(theta)
        parts, at = [], 0
        for (train, judge), (square, other) in zip(self.folds, self.pairs, strict=True):
            own = start[at : at + train.n + 1]
            at += train.n + 1
            pairs = square.at(widths)
            solution = self.model.solve(pairs, train, lam, own, tol)
            judge_of = Judge(other.at(widths), judge.y, judge.weight, self.loss)
            train_of = Judge(pairs, train.y, train.weight, self.model.loss)
            found = derivatives_of(pairs, train_of, judge_of, solution, lam, has_tangents)
            size = np.linalg.norm(lam * solution.alpha) + 1e-300
            W = np.concatenate([solution.alpha, solution.b[None]])
            residual = float(np.linalg.norm(solution.residual) / size)
            parts.append(Found(found, found.value, W, residual, solution.n_factors))
        return joined(parts)

    def zeros(self):
        n = sum(train.n + 1 for train, _ in self.folds)
        return np.zeros((n, self.folds[0][0].y.shape[1]))


@dataclass(frozen=True, eq=False)
class OneFactor:
    """Least squares on all rows but those of a fold, for every fold of `tests`; None for
    leave-one-out."""

    model: Model
    rows: Rows
    tests: Any  # a list of arrays of rows, or None

    @computed_once
    def pairs(self):
        return self.rows.samples.pairs()

    @property
    def has_hessian(self):
        return self.tests is not None or self.n_widths <= 1

    @property
    def n_widths(self):
        return self.rows.samples.n_widths

    @property
    def n_threads(self):
        return self.rows.samples.n_threads

    @property
    def loss(self):
        return self.model.loss

    def _test_rows(self):
        return range(self.rows.n) if self.tests is None else self.tests

    def judges(self):
        return [self.rows.take(np.atleast_1d(rows)) for rows in self._test_rows()]

    def constants(self):
        if not self.model.has_intercept:
            return [np.zeros(self.rows.y.shape[1])] * len(self._test_rows())
        s = self.rows.weights
        total, sums = s.sum(), s @ self.rows.y
        return [
            (sums - np.atleast_1d(s[rows]) @ np.atleast_2d(self.rows.y[rows]))
            / (total - s[rows].sum())
            for rows in self._test_rows()
        ]

    def sample(self, n):
        """Some rows for training, and as many for judging."""
        rows = np.random.default_rng(0).permutation(self.rows.n)
        n = min(n, self.rows.n * 2 // 3)
        train, judge = (np.sort(part) for part in (rows[:n], rows[n : 2 * n]))
        if self.tests is not None:  # whole folds stay apart, such as rows of one group
            judge = self.tests[0]
            others = np.setdiff1d(rows, judge, assume_unique=True)
            train = np.sort(np.random.default_rng(0).permutation(others)[:n])
            judge = np.sort(np.random.default_rng(0).permutation(judge)[:n])
        parts = self.rows.few(train), self.rows.few(judge)
        return Apart(self.model, (parts,), self.model.loss)

    def of_one_width(self, units):
        return replace(self, rows=self.rows.of_one_width(units))

    @property
    def n_train(self):
        return self.rows.n

    def find(self, theta, start, tol, has_tangents):
        widths, lam = split(theta)
        rows, pairs = self.rows, self.pairs.at(widths)
        if self.tests is None:
            args = rows.y, rows.weight, lam, self.model.has_intercept, has_tangents
            return Found(*derivatives_of_rows(pairs, *args))
        args = rows.y, rows.weight, self.tests, lam, self.model.has_intercept, has_tangents
        return Found(*derivatives_of_folds(pairs, *args))

    def zeros(self):
        return np.zeros((self.rows.n + 1, self.rows.y.shape[1]))


def some_of(rows, n, loss):
    """At most n of the rows, of both classes alike."""
    if rows.n <= n:
        return rows.few(np.arange(rows.n))
    rank = np.random.default_rng(0).permutation(rows.n)
    if loss.is_classification:
        label = rows.y[rank, 0] > 0
        place = np.empty(rows.n)
        for value in (False, True):
            place[label == value] = (np.arange((label == value).sum()) + 0.5) / (
                label == value
            ).sum()
        rank = rank[np.argsort(place, kind="stable")]
    return rows.few(np.sort(rank[:n]))


def joined(parts):
    """The sum over folds that were found one by one."""
    each = [part.derivatives for part in parts]
    first = each[0]
    total = replace(
        first,
        value=sum(one.value for one in each),
        value_error=sum(one.value_error for one in each),
        grad=sum(one.grad for one in each),
        grad_error=sum(one.grad_error for one in each),
        hess=None if first.hess is None else sum(one.hess for one in each),
        tangents=[np.concatenate(block) for block in zip(*(o.tangents for o in each), strict=True)],
    )
    values = np.array([one.value for one in each])
    W = np.concatenate([part.W for part in parts])
    residual, n_factors = max(one.residual for one in parts), sum(one.n_factors for one in parts)
    return Found(total, values, W, residual, n_factors)


def split(theta):
    """Widths (D,) and λ."""
    return np.exp(theta[:-1]), float(np.exp(theta[-1]))


@dataclass
class Work:
    """What a run costs: factorisations, in units of n³/3 flops of all rows that train."""

    n_train: int
    n_factors: float = 0.0

    def add(self, n_train, n_factors):
        self.n_factors += n_factors * (n_train / self.n_train) ** 3


@dataclass(frozen=True, eq=False)
class BoundKernel:
    """A criterion of a kernel problem; `folds` are `Apart` or `OneFactor`."""

    folds: Any
    work: Work
    has_kinks = False
    is_foreseen = False  # a last step is evaluated too: that is exact, and what the result says

    @property
    def n_passes(self):
        return self.work.n_factors

    @computed_once
    def null_value(self):
        """f of the model without features."""
        values = []
        for constant, judge in zip(self.folds.constants(), self.folds.judges(), strict=True):
            z = np.broadcast_to(constant, judge.y.shape)
            values.append(Judge(None, judge.y, judge.weight, self.folds.loss).value(z))
        return float(sum(values))

    @property
    def fold_weights(self):
        return np.array([judge.weights.sum() for judge in self.folds.judges()])

    def size(self, value):
        """What tolerances of f are relative to."""
        return max(abs(value), 1e-8 * abs(self.null_value))

    def sample(self, n):
        return BoundKernel(self.folds.sample(n), self.work)

    def of_one_width(self, units):
        return BoundKernel(self.folds.of_one_width(units), self.work)

    def start(self):
        return self.folds.zeros()

    def evaluate(self, theta, W, accuracy, *, Q=None, T=None, has_tangents=True, precond=None):
        """The `Evaluation` of f at θ; `W` is where Newton's method starts, for losses that need
        it."""
        tol = float(np.clip(accuracy.inner, TIGHTEST, LOOSEST))
        has_tangents = has_tangents and self.folds.has_hessian
        try:
            with blas_threads(self.folds.n_train, self.folds.n_threads):
                found = self.folds.find(theta, W, tol, has_tangents)
        except Singular:
            return self.failed(theta, W, accuracy)
        self.work.add(self.folds.n_train, found.n_factors)
        one = found.derivatives
        rounding = 1e-15 * len(W) * abs(one.value)
        return Evaluation(
            theta=theta,
            value=float(one.value),
            value_inner_error=one.value_error + rounding,
            value_linear_error=0.0,
            fold_values=np.atleast_1d(found.values),
            grad=one.grad,
            inner_error=one.grad_error,
            linear_error=0.0,
            hess=one.hess,
            W=found.W,
            Q=None,
            T=one.tangents or None,
            V=0.0 * found.W,
            accuracy=Accuracy(max(float(found.residual), 1e-15), 1e-15, tangents=1e-10),
            n_inner=1,
            n_cg=0,
            # else Newton's method or CG ended before, and f is not known
            is_solved=bool(one.value_error <= UNKNOWN * self.size(one.value)),
            precond=None,
        )

    def failed(self, theta, W, accuracy):
        """Where λ is lost in the rounding of K."""
        nothing = np.full(len(theta), np.nan)
        return Evaluation(
            theta=theta,
            value=np.nan,
            value_inner_error=0.0,
            value_linear_error=0.0,
            fold_values=np.full(len(self.fold_weights), np.nan),
            grad=nothing,
            inner_error=0.0,
            linear_error=0.0,
            hess=None,
            W=W,
            Q=None,
            T=None,
            V=0.0 * W,
            accuracy=accuracy,
            n_inner=0,
            n_cg=0,
            is_solved=False,
            precond=None,
        )
