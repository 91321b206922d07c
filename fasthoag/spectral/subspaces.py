"""Strengths and models of many targets where rows and features are too many to be factorised."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fasthoag.design.rows import HELD_OUT
from fasthoag.inner.cg import CONVERGED, Hessian, cg
from fasthoag.inner.problem import InnerProblem
from fasthoag.outer.tolerance import VALUE, Tolerance
from fasthoag.spectral.block_krylov import BlockRun
from fasthoag.spectral.factors import slices
from fasthoag.spectral.left_out import added
from fasthoag.spectral.search import Found, joined, minima, over_blocks, shared_minima
from fasthoag.types import Array

SIDE_BY_SIDE = 24  # targets of a run: three lines of a cache, and products of 24 columns
FIRST, BETWEEN, MOST_STEPS = 8, 4, 64  # steps before the first look, between looks, at most
USUAL_STEPS = 30
LITTLE = 1e-5  # of the criterion of the strongest penalty: noise is no smaller
BELOW, ABOVE = 16.0, 27.6  # log units about the sum of the scales: λ is nothing, or all
NEARLY = 3.0  # log units above it, from where criteria have no minimum but that of λ of all
SPACING = 1.2  # log units between levels
# multiply-adds of a run over those of a factor that take as long, and those of factors that take
# little time, and have all digits
RUN_OVER_FACTOR, FEW = 3.0, 10**10


class Unsettled(Exception):
    """A target whose optimum a run does not find: nearly no penalty is best."""


@dataclass(eq=False)
class Subspaces:
    """What `fasthoag.spectral.tuning.Decomposition` does for targets, by block Krylov runs.

    Attributes
    ----------
    inner : InnerProblem
        Least squares with the folds, and with the targets of one of them.
    whole : InnerProblem
        The same of all rows.
    workers : Workers
    tolerance : Tolerance
        Of the criterion of every target: what the last steps have changed of it. What steps to come
        would is about as much.
    refit_tol : float
        Of models, relative to the gradient of the penalty.
    """

    inner: InnerProblem
    whole: InnerProblem
    workers: Any
    tolerance: Tolerance
    refit_tol: float
    dtype: Any = np.float64
    refit_error: float = 0.0
    _parts: dict[int, list[Any]] = field(default_factory=dict)  # by the first target of a block
    _errors: dict[int, Array] = field(default_factory=dict)

    @property
    def n_passes(self) -> float:
        return float(self.inner.design.n_passes)  # it was made for this search

    @property
    def fold_weights(self) -> Array:
        """The sum of the weights of the rows that are judged, of every fold."""
        rows = self.inner.rows
        weight = np.ones(self.inner.n_rows) if rows.weight is None else rows.weight
        return weight @ (rows.mask & HELD_OUT > 0)

    def box(self) -> tuple[float, float]:
        """log λ that are nothing, and everything."""
        return self._everything - BELOW, self._everything + ABOVE

    @property
    def _everything(self):
        return float(np.log(self.inner.scales.sum()))

    def levels(self, low: float, high: float, points: Any = ()) -> Array:
        """log λ to look at."""
        most = max(low, min(high, self._everything + NEARLY))
        n = max(2, 1 + int(np.ceil((most - low) / SPACING)))
        return np.unique([*np.linspace(low, most, n), high, *points])

    def _blocks(self, n_targets):
        n_runs = -(-n_targets // SIDE_BY_SIDE)
        return slices(n_targets, -(-n_targets // n_runs))

    def tuned(self, Y: Array, levels: Array, tol: float, shares: Any, note: Any) -> Found:
        """The best strength of every target between the ends of the levels, or one for all with the
        same number in `shares`; raises `Unsettled` where that is not found. See `minima` and
        `shared_minima`."""

        def look(evaluate, n):
            if shares is None:
                found = minima(evaluate, n, levels, tol, note)
                return found.theta, found
            found = shared_minima(evaluate, shares, levels, tol, note)
            return found.theta[shares], found

        blocks = self._blocks(Y.shape[1])
        together = [[some] for some in blocks] if shares is None else [blocks]
        found = joined([self._settle(Y, some, look) for some in together])
        lowest, _ = self.box()
        if (found.theta <= lowest).any():
            raise Unsettled
        return found

    def _settle(self, Y, blocks, look):
        """What ``look(evaluate, number of targets)`` finds for the targets of blocks, (θ of each,
        anything), where two looks agree."""
        runs = [BlockRun(self.inner, Y[:, some], self.workers) for some in blocks]
        first, end = blocks[0].start, blocks[-1].stop
        blocks = [slice(some.start - first, some.stop - first) for some in blocks]
        every, theta, value = np.arange(end - first), None, None
        for k in range(1, MOST_STEPS + 1):
            for run in runs:
                run.step()
            if k < FIRST or (k - FIRST) % BETWEEN:
                continue
            parts = [run.criteria() for run in runs]
            evaluate = partial(evaluated, blocks, parts)
            before, was = theta, value
            theta, found = look(evaluate, len(every))
            value = evaluate(theta, every, 0).value
            if before is None:
                continue
            # what the steps since have changed, and what the old θ would lose
            change = np.abs(value - was) + np.abs(evaluate(before, every, 0).value - value)
            each = zip(runs, parts, blocks, strict=True)
            allowed = [self._allowed(run, of, theta[some], value[some]) for run, of, some in each]
            if (change <= np.concatenate(allowed)).all():
                for some, of_block in zip(blocks, parts, strict=True):
                    self._parts[first + some.start] = of_block
                    self._errors[first + some.start] = change[some]
                return found
        raise Unsettled

    def _allowed(self, run, parts, theta, value):
        """How far above their minima criteria may be, (t,)."""
        size = np.maximum(value, LITTLE * np.sum([part.squares for part in parts], axis=0))
        if self.tolerance.noise == 0:
            return self.tolerance.slope * size
        noise = run.standard_errors(parts, theta)
        return np.maximum(VALUE * size, self.tolerance.noise * noise)

    def fold_values(self, Y: Array, theta: Array) -> Array:
        """The criterion of every fold and target at θ (n_targets,), (n_folds, n_targets)."""
        found = []
        for some in self._blocks(Y.shape[1]):
            at, every = theta[some], np.arange(some.stop - some.start)
            if some.start not in self._parts:  # nothing was searched for
                self._settle(Y, [some], lambda evaluate, n: (at, None))  # noqa: B023
            parts = self._parts[some.start]
            found.append([part.values(at, every, 0).value for part in parts])
        return np.concatenate([np.array(one) for one in found], axis=1)

    def value_error(self, values: Array) -> float:
        """What the criteria of all targets are known to, together."""
        return float(sum(one.sum() for one in self._errors.values()))

    def models(self, Y: Array, theta: Array, keep: Any) -> None:
        """``keep(targets, coefficients (n_features, m), intercepts (m,))`` for blocks of targets at
        θ (n_targets,)."""
        for some in self._blocks(Y.shape[1]):
            w = self._models_of(Y[:, some], theta[some])
            n = len(w) - int(self.whole.design.has_intercept)
            keep(some, w[:n], w[n] if n < len(w) else np.zeros(w.shape[1]))

    def _models_of(self, Y, theta):
        inner, design = self.whole, self.whole.design
        weight = np.ones(len(Y)) if inner.rows.weight is None else inner.rows.weight
        level = (weight @ Y) / weight.sum() if design.has_intercept else np.zeros(Y.shape[1])
        b = design.rmatvec(weight[:, None] * (Y - level))
        lam = inner.strengths(np.zeros(1)) * np.exp(theta)
        c = inner.curvature(inner.rows.at_constant(inner.null.b))
        precond = inner.precond(c, np.exp(np.mean(theta)) * inner.strengths(np.zeros(1)))
        hess, x = Hessian(design, c, lam, n_folds=1), None
        unit = precond.norms(inner.units, b)
        for _ in range(20):  # the unit settles with the solution
            tol = np.maximum(self.refit_tol * unit, 1e-300)
            found = cg(hess, b, x, tol=tol, precond=precond)
            x, unit = found.x, precond.norms(inner.units, lam * found.x)
            error = np.where(unit > 0, found.residual_norm / np.where(unit > 0, unit, 1.0), 0.0)
            if (error <= 1.5 * self.refit_tol).all() or (found.status != CONVERGED).any():
                break
        self.refit_error = max(self.refit_error, float(error.max()))
        w = design.decode(x)
        if design.has_intercept:
            w[-1] += level
        return w


def evaluated(blocks, parts, theta, targets, order):
    """The `Values` of targets in blocks, from the criteria of the folds of each."""

    def values_of(k, theta, targets):
        return added(part.values(theta, targets, order) for part in parts[k])

    return over_blocks(blocks, values_of, theta, np.arange(blocks[-1].stop)[targets])


def bytes_of_runs(shape: tuple[int, int], n_folds: int, n_targets: int, is_shared: bool) -> int:
    """What the blocks of runs take that go side by side, and the predictions of their usual number
    of steps."""
    n, p = shape
    t = n_targets if is_shared else min(n_targets, SIDE_BY_SIDE)
    return 8 * t * (3 * p * n_folds + USUAL_STEPS * n)


def is_cheaper(X: Any, n_targets: int, n_folds: int) -> bool:
    """Whether runs take less time than factors of the rows or of the features of a sparse X."""
    t, (n, p) = min(n_targets, SIDE_BY_SIDE), X.shape
    n_runs = -(-n_targets // SIDE_BY_SIDE)
    of_runs = USUAL_STEPS * n_runs * n_folds * t * (4 * X.nnz + 10 * p * t)
    return max(RUN_OVER_FACTOR * of_runs, FEW) < (n_folds + 1) * 8 / 3 * min(n, p) ** 3
