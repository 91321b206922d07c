"""Regressors whose predictions are the linear function itself, and what all regressors share."""

from dataclasses import field, replace
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from fasthoag.design import to_host
from fasthoag.design.matrix import check_numbers
from fasthoag.design.offsets import FAR
from fasthoag.estimators.each import check_alike
from fasthoag.estimators.factored import suits_one_target, why_not
from fasthoag.estimators.least_squares import (
    BEST_SCORE,
    CV_OF_RIDGE,
    LeastSquares,
    check_coef_out,
    less_offsets,
)
from fasthoag.estimators.other_rows import Rows
from fasthoag.estimators.parameters import Strengths, find_loss_among, with_parameters
from fasthoag.estimators.placement import beside
from fasthoag.estimators.scikit_learn import OfRidgeCV, OfSupportVectorRegression
from fasthoag.estimators.tuned import TunedEstimator, judged_by_scorers
from fasthoag.kinds import named
from fasthoag.losses import find_loss
from fasthoag.null import less_offset, weighted_quantile
from fasthoag.options import check_flag, is_number
from fasthoag.types import ArrayLike, Matrix
from fasthoag.vectors import check_offset


@with_parameters()
class TunedRegressor(RegressorMixin, TunedEstimator):
    """What regressors share. A class adds its loss, `_loss_name`."""

    score, _score = TunedEstimator.score, staticmethod(r2_score)
    _strength = "alpha_"

    def _fit(self, X, y, sample_weight, validation, stop_on, offset=None, coef_out=None):
        y, weight = y.astype(np.float64), self._weight(sample_weight, y)
        is_column = y.shape[1:] == (1,)
        y = y[:, 0] if is_column else y
        others = self._held_out(validation, "validation"), self._held_out(stop_on, "stop_on")
        check_alike(others, y)
        known = find_loss(self._loss_name)
        offset = check_offset(offset, len(y), known)
        self.has_offset_ = offset is not None
        if y.ndim == 2:
            self._check_columns(y, known, others)
            fits = self._fit_each(
                y, others, lambda one, y, own: one._fit_one(X, y, weight, own, offset), coef_out
            )
            self.coef_, self.intercept_ = (beside(X, part) for part in fits)
            return
        check_numbers(y, "y")  # Its scale is taken next.
        self._fit_one(X, y, weight, others, offset)
        if is_column:  # As in scikit-learn it has the coefficients of one target.
            self.intercept_ = beside(X, np.atleast_1d(self.intercept_))

    def _check_columns(self, y, loss, others):
        """Raises ValueError for the first of several targets that this loss does not take."""
        sides = {"y": y}
        for rows, name in zip(others, ("validation", "stop_on"), strict=True):
            sides |= {} if rows is None else {f"y of {name}": rows.y_val}
        for name, targets in sides.items():
            for j, column in enumerate(targets.T):
                loss.check_y(column, f"target {j} of {name}")
                check_numbers(column, f"target {j} of {name}", trains=name == "y")

    def _fit_one(self, X, y, weight, others, offset):
        """The model of one target."""
        known = find_loss(self._loss_name)
        unexplained = less_offset(known, y, offset)
        level = self._level(X, unexplained, weight, others)
        judged = judged_by_scorers(weight, others)

        def tune(loss):
            codings = [lambda y: y - level]
            return self._tune(X, y, loss, weight, others, codings, judged, offset)

        coef, intercept = self._search(X, unexplained, weight, level, tune)
        if level and self.store_folds:
            w, w_all = self.hoag_result_.w.copy(), self.hoag_result_.w_all.copy()
            w[-1], w_all[-1] = w[-1] + level, w_all[-1] + level
            self.hoag_result_ = replace(self.hoag_result_, w=w, w_all=w_all)
        if level and self._keeps_coefficients:
            self.coefs_paths_[..., -1] += level
        self.coef_ = beside(X, coef[:, 0])
        self.intercept_ = np.float64(float(intercept[0]) + level)

    def _search(self, X, y, weight, level, tune):
        """Coefficients (n_features, 1) and intercept (1,) for targets less `level`; ``tune(loss)``
        gives them for a loss and sets the attributes that tell of the search."""
        return tune(self._make_loss(y, weight))

    @property
    def loss_name(self) -> str:
        """The loss, whose inverse link makes predictions."""
        return self._loss_name

    def _make_loss(self, y, weight):
        return find_loss(self._loss_name)

    def _level(self, X, y, weight, others):
        """What is taken from the targets while the model is sought and given to the intercept
        after."""
        return level_for(self, y, weight)

    def predict(self, X: Matrix, *, offset: ArrayLike | None = None) -> Any:
        """Predictions, (n_rows,) or of several targets (n_rows, n_targets); beside the `offset` of
        these rows where `fit` had one."""
        loss = find_loss(self._loss_name)
        return beside(X, loss.inverse_link(to_host(self._linear(X, offset))))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def level_for(estimator, y, weight):
    """`level_of`, 0 where there is no intercept, or a scorer that would miss it."""
    if not estimator.fit_intercept or estimator.scoring is not None:
        return 0.0
    return level_of(y, weight)


def level_of(y, weight):
    """The middle of targets that are far from 0 for their spread, whose rounding would count; else
    0."""
    if not np.isfinite(y).all():
        return 0.0
    middle = weighted_quantile(y, np.ones(len(y)) if weight is None else weight, 0.5)
    return middle if abs(middle) > FAR * robust_scale(y, weight) else 0.0


def robust_scale(y, weight):
    """The distance between the quartiles of y; if that is 0 its standard deviation, if that is too
    1. A weight counts as copies of its row."""
    weight = np.ones(len(y)) if weight is None else weight
    if not weight.sum() > 0:
        return 1.0  # Weights without a positive one are refused later.
    low, high = (weighted_quantile(y, weight, share) for share in (0.25, 0.75))
    mean = np.average(y, weights=weight)
    return float(high - low) or float(np.sqrt(np.average((y - mean) ** 2, weights=weight))) or 1.0


@with_parameters(
    own="""\
alpha_per_target : bool or array, shape (n_targets,), default False
    Of several targets: a strength for each. False: one for all, of least sum of their errors; an
    array of labels: one for all targets with the same label.
""",
    cv=CV_OF_RIDGE,
    best_score=BEST_SCORE,
    shapes="an array, shape (n_targets,), with alpha_per_target, or (n_features,)",
    folds="(n_folds,), with alpha_per_target (n_targets, n_folds)",
)
class RidgeCV(LeastSquares, TunedRegressor, OfRidgeCV):
    """Least squares whose ℓ2 strength is tuned by hypergradient on the held-out squared error.

    Minimises ``Σ_i s_i (y_i - x_i w - b)² + alpha ||w||²``, as scikit-learn's Ridge does, and
    chooses alpha, a continuous value.

    y may have a column for each of several targets, which are tuned and fitted side by side: X is
    factorised once for every fold, and each model at each strength is a product. Rows or features
    may be as many as memory holds where the others are at most 10,000, whose matrix of products is
    factorised for every fold. Beyond that a search for each target goes over X again and again,
    with ``alpha_per_target=True``. Dense float32 data stay so. Targets are taken in blocks; what
    grows with them is Y and ``coef_`` alone (see ``coef_out`` of `fit`). One column has the shapes
    of one target but for ``intercept_``, as in scikit-learn.

    {parameters}
    cv_results_ : array, shape (n_rows, n_points), with ``store_cv_results`` and ``cv=None``
        The squared error of every row by the model without it, times its weight; with ``scoring``
        what that model predicts. (n_rows, n_targets, n_points) of several targets, of which no
        ``coefs_paths_`` are kept.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> import fasthoag
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = fasthoag.RidgeCV().fit(X, y)
    >>> bool(0 < model.alpha_ < 0.1)
    True
    >>> fasthoag.RidgeCV(alphas=[0.01, 0.1, 1.0], store_cv_results=True).fit(X, y).cv_results_.shape
    (442, 3)

    Two targets, each with its own strength:

    >>> import numpy as np
    >>> Y = np.column_stack([y, X[:, 0]])
    >>> model = fasthoag.RidgeCV(alpha_per_target=True, cv=5).fit(X, Y)
    >>> model.coef_.shape, model.alpha_.shape, model.predict(X).shape
    ((2, 10), (2,), (442, 2))
    """

    alpha_per_target: bool | ArrayLike = False
    _loss_name, _has_columns = "squared", True

    def fit(
        self,
        X: Matrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: Rows | None = None,
        stop_on: Rows | None = None,
        groups: ArrayLike | None = None,
        coef_out: Any = None,
        *,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Tune and fit.

        Whatever ends a fit before its time, an error or Ctrl-C, leaves the estimator as it was,
        with the model of an earlier fit.

        Parameters
        ----------
        X : array, sparse matrix, list of these or Design, shape (n_rows, n_features)
            A list is of blocks of rows, which no copy joins; a `fasthoag.ShardedDesign` or
            `fasthoag.DaskDesign` holds them elsewhere. `y`, `sample_weight`, `groups` and `offset`
            may be lists then too, with an array for each block.
        y : array, shape (n_rows,) or (n_rows, n_targets)
        sample_weight : array, shape (n_rows,), optional
        validation : (X, y), (X, y, sample_weight) or HeldOut, optional
            Tune on these rows instead of by cross-validation. A `fasthoag.HeldOut` may hold, beside
            `offset`, offsets of its rows.
        stop_on : (X, y), (X, y, sample_weight) or HeldOut, optional
            Rows that neither train nor tune: the search ends when their loss falls no more. For
            many strengths; see `fasthoag.hoag`.
        groups : array, shape (n_rows,), optional
            Rows of a group stay together where folds are cut: by ``GroupKFold`` where ``cv`` is a
            number, else by the splitter.
        coef_out : array, shape (n_targets, n_features), optional
            Of several targets: where coefficients are written to, such as a memory map; it becomes
            ``coef_``.
        offset : array, shape (n_rows,), optional
            A known part of every prediction, ``z = x w + b + offset``. Those of other rows need one
            then too. Several targets may have a column each, (n_rows, n_targets).
        """
        others = sample_weight, validation, stop_on, coef_out
        return self._fit_whole(X, y, *others, groups=groups, offset=offset)

    def _fit(self, X, y, sample_weight, validation, stop_on, coef_out=None, offset=None):
        if y.ndim == 1 and coef_out is not None:
            raise ValueError("coef_out= is for several targets, y of shape (n_rows, n_targets)")
        if y.ndim == 1 or (y.shape[1] == 1 and coef_out is None):
            self._shares(1)
            super()._fit(X, y, sample_weight, validation, stop_on, offset)
            if y.ndim == 2 and self.store_cv_results:
                self.cv_results_ = self.cv_results_[:, None]
            return
        check_coef_out(coef_out, (y.shape[1], X.shape[1]))
        Y = y.astype(np.float64)
        check_numbers(Y, "y")
        others = self._held_out(validation, "validation"), self._held_out(stop_on, "stop_on")
        check_alike(others, y)
        has_factors = why_not(self, X, others) is None
        is_taken_off = has_factors or np.shape(offset)[1:] not in ((), (1,))
        # Scorers judge whole targets.
        if offset is not None and self.scoring is None and is_taken_off:
            Y, others = less_offsets(Y, others, offset)
            self._fit_columns(X, Y, sample_weight, others, coef_out)
            self._has_been_beside_offset()
            return
        self._fit_columns(X, Y, sample_weight, others, coef_out, offset)

    def _has_been_beside_offset(self):
        """Says of what was fitted to targets less an offset that predictions need one."""
        self.has_offset_, found = True, self.hoag_result_
        if isinstance(found, list):
            self.hoag_result_ = [replace(one, has_offset=True) for one in found]
        else:
            self.hoag_result_ = replace(found, has_offset=True)

    def _fit_columns(self, X, Y, sample_weight, others, coef_out, offset=None):
        """Models of the columns of Y, by factors of X or a search for each."""
        y, weight = Y, self._weight(sample_weight, Y)
        reason = why_not(self, X, others, offset)
        kind = {"shares": self._shares(y.shape[1]), "is_classifier": False, "coef_out": coef_out}
        models = self._fit_targets(X, Y, weight, reason, **kind)
        if models is None:
            super()._fit(X, y, sample_weight, *others, offset, coef_out)
            return
        self.has_offset_ = False
        # As in scikit-learn one column has the coefficients of one target.
        coef = models.coef if y.shape[1] > 1 or coef_out is not None else models.coef[0]
        self.coef_, self.intercept_ = beside(X, coef), beside(X, models.intercept)

    def _check_parameters(self):
        super()._check_parameters()
        if self._labels is None:
            check_flag(self.alpha_per_target, "alpha_per_target")

    @property
    def _labels(self):
        """The labels of targets, (n_targets,), or None where a flag says which share a strength."""
        with named("alpha_per_target"):
            labels = np.asarray(self.alpha_per_target)
        return labels if labels.ndim > 0 else None

    def _shares(self, n_targets):
        """Whether all targets have one strength, or the number of that of each."""
        labels = self._labels
        if labels is None:
            return not self.alpha_per_target or n_targets == 1
        if labels.shape != (n_targets,):
            raise ValueError(
                "alpha_per_target must be True, False or a label for each of the targets, "
                f"{n_targets}; got an array of shape {labels.shape}"
            )
        if self.scoring is not None:
            raise ValueError(
                "alpha_per_target with labels of targets excludes scoring=, which chooses for each "
                "target, or for all; pass True or False, or leave scoring= out"
            )
        with named("alpha_per_target"):
            return np.unique(labels, return_inverse=True)[1]

    def _level(self, X, y, weight, others):
        is_centred = suits_one_target(self, X, others)  # by the factors
        return 0.0 if is_centred else super()._level(X, y, weight, others)


@with_parameters(
    own="""\
epsilon : float, default 0
    Errors up to it cost nothing; in units of y.
loss : {"squared_epsilon_insensitive"}
    scikit-learn's "epsilon_insensitive" has corners, and is refused.
""",
    strength="C_",
    lam="``1 / C_``",
)
class LinearSVRCV(TunedRegressor, OfSupportVectorRegression):
    """Linear support vector regression whose strength is tuned by hypergradient on its own held-out
    loss.

    Minimises ``C Σ_i s_i max(0, |y_i - x_i w - b| - epsilon)² + ||w||² / 2``, as scikit-learn's
    LinearSVR does (which also penalises b), and chooses C = 1/λ.

    {parameters}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> import fasthoag
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = fasthoag.LinearSVRCV(epsilon=20.0).fit(X, y)
    >>> model.score(X, y) > 0.5
    True
    """

    Cs: Strengths = None
    epsilon: float = 0.0
    loss: str = "squared_epsilon_insensitive"
    _strength = "C_"
    _loss_name = "squared_epsilon_insensitive"

    def _make_loss(self, y, weight):
        loss = find_loss_among(
            self.loss,
            self._loss_name,
            instead=". Where errors shall count without a square, a search by gradient needs "
            "smooth corners: write HuberRegressorCV(), or QuantileRegressorCV() for the median",
        )
        return find_loss(loss, epsilon=self.epsilon)


@with_parameters(
    own="""\
epsilon : "auto" or float, default "auto"
    Where the loss turns from a square into a line; in units of y. "auto" is the distance between
    the quartiles of y, 1.35 standard deviations of normal targets (if that is 0 their standard
    deviation, if that is too 1): the same model in every unit of y.
"""
)
class HuberRegressorCV(TunedRegressor):
    """Regression with the Huber loss whose ℓ2 strength is tuned by hypergradient on the held-out
    Huber loss.

    Minimises ``Σ_i s_i H(y_i - x_i w - b) + alpha/2 ||w||²`` with ``H(r) = r² / 2`` up to ``|r| =
    epsilon`` and ``epsilon |r| - epsilon² / 2`` beyond, and chooses alpha. This is the plain Huber
    loss: epsilon is fixed and in units of y. scikit-learn's HuberRegressor estimates a scale of the
    errors too, and its epsilon is in units of that.

    {parameters}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> import fasthoag
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = fasthoag.HuberRegressorCV(epsilon=50.0).fit(X, y)
    >>> model.score(X, y) > 0.5
    True
    """

    alphas: Strengths = field(default=None, kw_only=False)
    epsilon: float | str = "auto"
    _loss_name = "huber"

    def _make_loss(self, y, weight):
        epsilon = self.epsilon
        if isinstance(epsilon, str) and epsilon == "auto":
            return find_loss("huber", delta=robust_scale(y, weight))
        if not is_number(epsilon, 0):
            raise ValueError(f'epsilon must be a positive number or "auto"; got {epsilon!r}')
        return find_loss("huber", delta=epsilon)
