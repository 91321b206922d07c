"""Ridge regression on labels, of which a row may have several."""

from dataclasses import replace

import numpy as np

from fasthoag.estimators.classes import CLASS_WEIGHT
from fasthoag.estimators.classification import TunedClassifier
from fasthoag.estimators.factored import why_not
from fasthoag.estimators.least_squares import (
    BEST_SCORE,
    CV_OF_RIDGE,
    LeastSquares,
)
from fasthoag.estimators.parameters import with_parameters
from fasthoag.estimators.placement import beside
from fasthoag.estimators.scikit_learn import OfRidge
from fasthoag.losses import LABELS, find_loss


@with_parameters(
    own=CLASS_WEIGHT,
    cv=CV_OF_RIDGE,
    best_score=BEST_SCORE,
    shapes="with more than 2 classes an array, shape (n_classes,); with a last axis of the "
    "features",
    folds="(n_folds,), with more than 2 classes (n_classes, n_folds)",
)
class RidgeClassifierCV(LeastSquares, TunedClassifier, OfRidge):
    """Least squares on labels -1 and +1 whose ℓ2 strength is tuned by hypergradient on the held-out
    squared error.

    Minimises ``Σ_i s_i (y_i - x_i w - b)² + alpha ||w||²``, as scikit-learn's RidgeClassifier does,
    and chooses alpha, a continuous value. Rows are of the class on whose side of 0 ``x w + b`` is,
    or where it is largest. With more than two classes each against the rest has an alpha of its own
    (scikit-learn's has one for all). As there ``coef_`` of two classes is (n_features,).

    y may also be a matrix of labels, (n_rows, n_labels), of two values such as 0 and 1, of which a
    row may have several: each label has a model and an alpha of its own, and so has ``predict`` a
    column for each.

    {parameters}
        With more than 2 classes a list of them, and ``n_iter_`` the largest.
    classes_ : array, shape (n_classes,)

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> import fasthoag
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = fasthoag.RidgeClassifierCV().fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    _strength = "alpha_"

    def _fit(self, X, y, sample_weight, validation, stop_on, offset=None):
        super()._fit(X, y, sample_weight, validation, stop_on, offset)
        if len(self.classes_) == 2 and not self._has_labels:
            self.coef_ = self.coef_[0]

    def _fit_labels(self, X, y, sample_weight, others, offset):
        """By factors of X where nothing asks for a search for each."""
        self._set_labels(y)
        Y, weight = np.where(y == self.labels_[1], 1.0, -1.0), self._weight(sample_weight, y)
        reason = why_not(self, X, others, offset)
        reason = reason if self.class_weight is None else "class_weight="
        kind = {"shares": False, "is_classifier": True}
        models = self._fit_targets(X, Y, weight, reason, **kind)
        if models is None:
            super()._fit_labels(X, y, sample_weight, others, offset)
            return
        self.has_offset_ = False
        self.coef_, self.intercept_ = beside(X, models.coef), beside(X, models.intercept)

    def _keep_points(self, points):
        super()._keep_points(points)
        found = self.__dict__.get("cv_results_")
        if found is not None and found.ndim == 2:  # As in scikit-learn one model has its axis too.
            self.cv_results_ = found[:, None]

    def _make_loss(self):
        # It is that of labels, so that folds are stratified and scorers are asked about labels.
        return replace(find_loss("squared"), domain=LABELS, is_classification=True)

    def _default_bounds(self, problem):
        """Those of `hoag`: this loss has an optimum for classes that can be separated too."""
