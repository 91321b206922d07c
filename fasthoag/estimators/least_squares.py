"""What ridge regression and ridge classification share: leave-one-out, several targets, and what
scikit-learn says of them."""

import time
from dataclasses import field, replace
from functools import partial
from typing import Any

import numpy as np

from fasthoag.criteria import ApproximateLOO, KFold
from fasthoag.criteria.folds import pairs_of_classes
from fasthoag.design.offsets import offset_map
from fasthoag.estimators.choice import Chosen
from fasthoag.estimators.factored import (
    factored,
    models_of,
    reported,
    splits_for,
    strengths_of,
    suits_one_target,
    why_not,
)
from fasthoag.estimators.judged import judge_of
from fasthoag.estimators.other_rows import check_other_offset
from fasthoag.estimators.parameters import Strengths, with_parameters
from fasthoag.estimators.tuned import Tuned
from fasthoag.spectral.subspaces import Unsettled
from fasthoag.spectral.tuning import LARGEST
from fasthoag.vectors import check_offset_of_targets

CV_OF_RIDGE = """int, splitter, iterable of (train, test) pairs or None, default None
    None is leave-one-out as in scikit-learn: exact up to 2,000 features or 1,000 rows, beyond by
    probes, without a matrix of either size squared; see `fasthoag.ApproximateLOO`. It has no folds
    for ``one_se``, and one scorer judges the predictions of every row by the model without it. With
    more strengths than one, which overfit it, None is 5 folds."""
BEST_SCORE = "; without ``scoring`` minus the mean squared error, twice the loss"


@with_parameters()
class LeastSquares:
    """Before the estimator among the bases of a class."""

    alphas: Strengths = field(default=None, kw_only=False)
    cv: Any = None

    def _leave_one_out(self):
        return ApproximateLOO() if self._has_one_strength else KFold(5)

    def _keep_points(self, points):
        super()._keep_points(points)
        self.__dict__.pop("cv_results_", None)
        if points is not None and points.of_rows is not None:
            self.cv_results_ = points.of_rows

    def _keep_scorer(self, results, chosen):
        super()._keep_scorer(results, chosen)
        if chosen.scores is None:
            self.best_score_ *= 2  # The loss is half the squared error.

    # ---- by factors of the rows ----

    def _tune(self, X, y, loss, weight, others, codings, judged_weight, offset=None):
        """As for other losses, but for few rows or features, which go by factors of the rows, and
        for classes of many, which go side by side."""
        if suits_one_target(self, X, others):
            level = 0.0 if offset is None else offset
            Y = np.column_stack([coding(y) - level for coding in codings])
            args = self._given, X, Y, weight
            fit = factored(self, *args, shares=False, splits=lambda: None)
            if fit is not None:
                offset_map(X)  # It warns of columns that have no digits left.
                with fit.workers(self._threads, self.deterministic) as workers:
                    return self._tune_small(fit, workers, has_offset=offset is not None)
        if len(codings) > 1 and self.cv is not None and not self.store_cv_results:
            models = self._tune_classes(X, y, weight, others, codings, offset)
            if models is not None:
                return models.coef.T, models.intercept
        return super()._tune(X, y, loss, weight, others, codings, judged_weight, offset)

    def _tune_classes(self, X, y, weight, others, codings, offset):
        """The `Models` of classes against the rest by block Krylov runs, or None."""
        if why_not(self, X, others, offset) is not None:
            return None
        Y, of_y = np.column_stack([coding(y) for coding in codings]), (y, codings, weight)
        pairs = pairs_of_classes(self._folds(), *of_y, self.classes_).pairs
        args = self._given, X, Y, weight
        fit = factored(self, *args, shares=False, splits=lambda: pairs)
        if fit is None or fit.plan.way != "krylov":
            return None
        models = self._models_of_targets(fit, None, None)
        if models is not None:
            self.best_score_ = float(self.best_score_.mean())
        return models

    def _tune_small(self, fit, workers, has_offset):
        """Coefficients (n_features, n_models) and intercepts (n_models,), a search for each
        column."""
        began, n = time.perf_counter(), fit.Y.shape[1]
        rows = fit.decomposition(self, workers)
        found = [strengths_of(self, fit.target(j), rows, None, began) for j in range(n)]
        points = reported(self, fit, rows, None, has_w=True)
        if points is not None and len(found) == 1:
            points = replace(points, of_rows=points.of_rows[:, 0])
        thetas = tuple(one.theta for one in found)
        results = (replace(one.result, has_offset=has_offset) for one in found)
        tuned = [Tuned(one, float(one.lam[0]), None) for one in results]
        self._keep(tuned, Chosen(thetas, None, points))
        models = models_of(fit, rows, np.concatenate(thetas))
        return models.coef.T, models.intercept

    # ---- several targets ----

    def _fit_targets(self, X, Y, weight, reason, *, shares, is_classifier, coef_out=None):
        """The `Models` of the columns of Y by factors of X, with the attributes that tell of the
        search; None where targets are searched for one by one, as for a `reason`."""
        models, is_left_out = None, reason is None and self.cv is None
        if reason is None:
            models = self._by_factors(X, Y, weight, shares, is_classifier, coef_out)
            reason = f"X of shape {X.shape}, more than {LARGEST} rows and features"
        if models is None and shares is not False:
            raise ValueError(
                f"one strength for {Y.shape[1]} targets is found by factors of X, and {reason} is "
                "for a search that goes over X; pass "
                + ("cv=5, whose folds more rows and features have, or " if is_left_out else "")
                + "alpha_per_target=True, which searches for each target, or leave it out"
            )
        return models

    def _by_factors(self, X, Y, weight, shares, is_classifier, coef_out):
        """The same by factors; None where rows and features are too many."""
        splits = partial(splits_for, self, self._groups, X, Y, is_classifier)
        fit = factored(self, self._given, X, Y, weight, shares, splits)
        if fit is None:
            return None
        if self.store_cv_results and fit.mask is not None:
            raise ValueError(
                "store_cv_results=True keeps of several targets what leave-one-out says of every "
                f"row; use cv=None, or store_cv_results=False with cv={self.cv!r}"
            )
        return self._models_of_targets(fit, judge_of(self.scoring, is_classifier), coef_out)

    def _models_of_targets(self, fit, judge, coef_out):
        began = time.perf_counter()
        with fit.workers(self._threads, self.deterministic) as workers:
            rows = fit.decomposition(self, workers)
            try:
                found = strengths_of(self, fit, rows, judge, began)
            except Unsettled:  # each of them can go on for longer
                if fit.shares is None:
                    return None
                raise ValueError(
                    "no common strength was found: for some targets nearly none is best, of which "
                    "runs for all of them know too little; pass alpha_per_target=True, which "
                    "searches for each target, or bounds= that begin with a larger log lambda"
                ) from None
            self._keep_targets(fit, found, reported(self, fit, rows, judge))
            return models_of(fit, rows, found.theta, coef_out, self.refit_tol)

    def _keep_targets(self, fit, found, points):
        """Sets the attributes that tell of the search; without one strength for all arrays with a
        row for each target."""
        given, lam = self._given, found.result.lam
        strength = float(lam[0]) if fit.is_shared else lam
        self.alpha_ = self.lam_ = strength if given is None else given.as_given(strength)
        self.hoag_result_, self.n_iter_ = found.result, found.result.n_iter
        weights = found.result.fold_weights
        values = found.values.mean(axis=1)[None] if fit.is_shared else found.values.T
        scores, means = -values / weights, -values.sum(axis=1) / weights.sum()
        best = 2 * means  # The loss is half the squared error.
        self.__dict__.pop("lam_by_loss_", None)
        if found.scores is not None:
            by_loss = np.exp(found.by_loss)
            self.lam_by_loss_ = float(by_loss[0]) if fit.is_shared else by_loss
            scores = np.atleast_2d(found.scores)
            best = means = np.nanmean(scores, axis=1)
        errors, n_folds = np.full(len(scores), np.nan), scores.shape[1]
        if n_folds > 1:
            errors = np.nanstd(scores, axis=1, ddof=1) / np.sqrt(n_folds)
        is_one = fit.is_shared or (found.scores is not None and found.scores.ndim == 1)
        self.scores_ = scores[0] if is_one else scores
        self.score_mean_, self.score_se_, self.best_score_ = (
            float(one[0]) if is_one else one for one in (means, errors, best)
        )
        self._keep_points(points)


def less_offsets(Y, others, offset):
    """Targets of several columns, and those of the `HeldOut` of others, less their offsets, which
    of least squares is the same as to fit beside them."""
    for rows, name in zip(others, ("validation", "stop_on"), strict=True):
        check_other_offset(rows, name, offset)
    Y = Y - check_offset_of_targets(offset, Y.shape)
    rest = []
    for rows in others:
        if rows is not None:
            y = np.asarray(rows.y_val)
            own = check_offset_of_targets(rows.offset, y.shape, "X_val")
            rows = replace(rows, y_val=y - own, offset=None)
        rest.append(rows)
    return Y, rest


def check_coef_out(coef_out, shape):
    """Raises ValueError for an array that coefficients of this shape cannot be written to."""
    if coef_out is None:
        return
    is_array = isinstance(coef_out, np.ndarray) and coef_out.dtype in (np.float32, np.float64)
    if not (is_array and coef_out.shape == shape and coef_out.flags.writeable):
        raise ValueError(
            f"coef_out must be a writable array of float32 or float64, shape {shape}, such as a "
            f"numpy.memmap; got {type(coef_out).__name__} of shape {np.shape(coef_out)}"
        )
