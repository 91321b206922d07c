"""What estimators of linear models share: the call of `hoag`, the choice of the strength and the
final fit on all rows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fasthoag.arithmetic import our_arithmetic
from fasthoag.criteria import ApproximateLOO, HeldOut, KFold
from fasthoag.design import to_host
from fasthoag.estimators.estimator import Estimator
from fasthoag.estimators.parameters import with_parameters
from fasthoag.estimators.placement import beside
from fasthoag.estimators.strengths import penalty_for
from fasthoag.hoag import hoag, one_standard_error
from fasthoag.inner.precond import SMALL
from fasthoag.kinds import named
from fasthoag.outer.result import ConvergenceWarning, HoagResult
from fasthoag.outer.search import is_many
from fasthoag.outer.trials import TRIALS
from fasthoag.outer.trust_region import FEW
from fasthoag.problem import Problem, refit
from fasthoag.scoring import find_scorers
from fasthoag.threads import stacklevel_of_user
from fasthoag.types import ArrayLike, Matrix, Scoring

# About the relative error of the coefficients. Few coefficients are solved to more digits, which
# cost next to nothing.
REFIT_TOL, REFIT_TOL_FEW = 1e-4, 1e-6
REFIT_WARNING = 1e-2


class Tuned(NamedTuple):
    """A search, the strengths that it chose and the model w on all rows."""

    result: HoagResult
    lam: Any
    w: Any


@with_parameters()
class TunedEstimator(Estimator):
    """What linear models share. A class adds its loss (`_make_loss`), its score (`_score`) and
    the name of the attribute that holds its strength, `_strength`: α = λ or C = 1/λ."""

    penalty_per: str | ArrayLike | Mapping[Any, ArrayLike] | Sequence[ArrayLike] = "all"
    penalty_factor: ArrayLike | None = None
    one_se: bool = False
    low_memory: bool = False
    deterministic: bool = False
    store_folds: bool = False
    scoring: Scoring | None = None
    device: str | None = None
    flags = (*Estimator.flags, "one_se", "low_memory", "deterministic", "store_folds")

    def fit(
        self,
        X: Matrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: tuple[Matrix, ArrayLike] | None = None,
        stop_on: tuple[Matrix, ArrayLike] | None = None,
    ) -> Self:
        """Tune and fit.

        Parameters
        ----------
        X : array or sparse matrix, shape (n_rows, n_features)
        y : array, shape (n_rows,)
        sample_weight : array, shape (n_rows,), optional
        validation : (X, y), optional
            Tune on these rows instead of by cross-validation.
        stop_on : (X, y), optional
            Rows that neither train nor tune: the search ends when their loss falls no more. For
            many strengths; see `fasthoag.hoag`.

        Whatever ends a fit before its time, an error or Ctrl-C, leaves the estimator as it was,
        with the model of an earlier fit.
        """
        return self._fit_whole(X, y, sample_weight, validation, stop_on)

    def _check_parameters(self):
        super()._check_parameters()
        if self.scoring is not None:
            find_scorers(self.scoring)

    # ---- the search ----

    @property
    def _has_one_strength(self):
        return isinstance(self.penalty_per, str) and self.penalty_per == "all"

    def _penalty(self, n_classes, n_features):
        if self.one_se and not self._has_one_strength:
            raise ValueError('one_se=True needs a single strength, penalty_per="all"')
        with named("penalty_per or penalty_factor"):
            penalty = penalty_for(self.penalty_per, self.penalty_factor, n_classes)
            penalty.check(n_features)
        return penalty

    def _tune(self, X, y, loss, weight, others, codings):
        """Coefficients (n_features, n_models) and intercepts (n_models,), a model for every coding
        of the targets; of the multinomial loss, whose coding is one, (n_features, n_classes).

        `others` are the rows of ``validation`` and of ``stop_on``, each of them None, (X, y) or
        (X, y, weight)."""
        for rows, name in zip(others, ("validation", "stop_on"), strict=True):
            if rows is not None and not loss.is_classification:
                loss.check_y(rows[1], f"y of {name}")
        validation, stop_on = others
        penalty, cv = self._penalty(loss.n_classes, X.shape[1]), self.cv
        if loss.is_classification and validation is None:  # All codings have the same folds.
            n, p = X.shape
            n = n if weight is None else int((weight > 0).sum())
            asked = {"n_hyper": penalty.n_hyper(p), "n_used": n, "n_features": p, "loss": loss}
            steps = stop_on is None and self.method not in TRIALS
            is_held_back = steps and is_many(SimpleNamespace(penalty=penalty, **asked))
            cv = self._checked_splits(KFold(cv), y, codings, weight, is_held_back)
        first, *_ = codings
        problem = Problem(
            X,
            first(y),
            loss=loss,
            penalty=penalty,
            fit_intercept=self.fit_intercept,
            sample_weight=weight,
            low_memory=self.low_memory,
            deterministic=self.deterministic,
            device=self.device,
        )
        problem = problem if self._threads is None else problem.with_threads(self._threads)
        found = []
        for coding in codings:
            if found:
                problem = replace(problem, X=problem.design, y=coding(y))
            found.append(self._tune_one(problem, cv, *(_coded(rows, coding) for rows in others)))
        self._keep(found)
        w, n = np.column_stack([to_host(one.w) for one in found]), X.shape[1]
        return w[:n], w[n] if self.fit_intercept else np.zeros(w.shape[1])

    def _tune_one(self, problem, cv, validation, stop_on):
        criterion = self._criterion(cv, validation)
        bounds = self._bounds(problem)
        result = hoag(
            problem,
            criterion,
            method=self.method,
            bounds=bounds,
            tol=self.tol,
            max_iter=self.max_iter,
            n_trials=self.n_trials,
            random_state=self._seed(),
            callback=self.callback,
            scoring=self.scoring,
            stop_on="auto" if stop_on is None else HeldOut(*stop_on),
        )
        theta = result.theta
        if self.one_se:
            if len(result.fold_values) < 2:
                raise ValueError(
                    "one_se=True needs cross-validation: there is one criterion value only with "
                    "validation= or leave-one-out"
                )
            theta = one_standard_error(problem, criterion, result, bounds=bounds)
        w = self._refit(problem, theta, result.w_all)
        if not self._has_one_strength:
            return Tuned(result, problem.penalty.strengths(theta, problem.n_features).T, w)
        return Tuned(result, float(np.exp(theta[0])), w)

    def _criterion(self, cv, validation):
        """What is minimised over the strength: the loss on `validation`, else that of `cv`."""
        if validation is not None:
            return HeldOut(*validation)
        criterion = self._leave_one_out() if cv is None else KFold(cv)
        if not isinstance(criterion, ApproximateLOO):
            return criterion
        for name, is_asked in (
            ("one_se", self.one_se),
            ("scoring", self.scoring is not None),
            ("method", self.method == "newton"),
        ):
            if is_asked:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} needs rows that are held out, and cv=None is "
                    "leave-one-out; pass cv=5 or validation="
                )
        return criterion

    def _leave_one_out(self):
        """What cv=None means."""
        return KFold(5)

    def _bounds(self, problem):
        return self.bounds

    def _refit(self, problem, theta, w_all):
        """The model on all rows, with a warning where it is not solved."""
        tol = REFIT_TOL_FEW if problem.design.n_coef <= SMALL else REFIT_TOL
        w, error, is_converged = refit(problem, theta, w_all, tol=tol)
        if not is_converged:
            # There is nearly no penalty, and there the null model is the better start.
            w_again, error_again, is_converged = refit(problem, theta, tol=tol)
            if is_converged or not error_again >= error:
                w, error = w_again, error_again
        if not (is_converged or error <= REFIT_WARNING):
            warnings.warn(
                "the final model is not solved at the chosen strength: its gradient is "
                f"{error:.1e} of the penalty's. Raise the lower bound of log lambda (bounds=)",
                ConvergenceWarning,
                stacklevel=stacklevel_of_user(),
            )
        return w

    def _keep(self, found):
        """Sets the attributes that tell of the search; of several models lists, or arrays with a
        row for each."""
        results, lam, _ = zip(*found, strict=True)
        is_one = len(found) == 1
        kept = list(results) if self.store_folds else [_without_folds(one) for one in results]
        self.hoag_result_ = kept[0] if is_one else kept
        self._keep_scores(results)
        self.lam_ = lam[0] if is_one else np.array(lam)
        setattr(self, self._strength, self.lam_ if self._strength == "alpha_" else 1.0 / self.lam_)

    # ---- predictions ----

    def _linear(self, X):
        """X w + b, beside X."""
        check_is_fitted(self)
        X = self._matrix(X)
        with our_arithmetic():
            return X @ beside(X, self.coef_).T + beside(X, self.intercept_)


def _coded(rows, coding):
    """These rows, (X, y) or (X, y, weight) or None, with their targets coded."""
    if rows is None:
        return None
    X, y, *weight = rows
    return X, coding(y), *weight


def _without_folds(result):
    """A `HoagResult` without what is as long as the coefficients of every fold; of many
    hyperparameters also without what is as long as those of the model once more."""
    if len(result.theta) <= FEW:
        return replace(result, w=None, w_all=None)
    trace = [record | {"theta": None} for record in result.trace]
    return replace(result, w=None, w_all=None, lam=None, grad=None, trace=trace)
