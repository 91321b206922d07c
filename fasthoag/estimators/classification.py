"""Classifiers that are linear models."""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from fasthoag.design import is_on_device, to_host
from fasthoag.estimators.blocks import joined_of
from fasthoag.estimators.classes import CLASS_WEIGHT, Classifier, LogLossClassifier, probabilities
from fasthoag.estimators.each import check_alike, check_both, columns_like
from fasthoag.estimators.given import default_points
from fasthoag.estimators.legacy import attributes_of_scikit_learn, mean_of_best
from fasthoag.estimators.parameters import Strengths, find_loss_among, with_parameters
from fasthoag.estimators.placement import beside
from fasthoag.estimators.scikit_learn import OfLogisticRegression, OfSupportVectorClassifier
from fasthoag.estimators.tuned import Tuned, TunedEstimator, judged_by_scorers
from fasthoag.kinds import named
from fasthoag.losses import MULTINOMIAL, find_loss, log_probabilities
from fasthoag.options import check_flag
from fasthoag.outer.start import default_box
from fasthoag.scoring import chooses, find_scorers, for_labels, predicted, takes_weights
from fasthoag.types import ArrayLike, Matrix
from fasthoag.vectors import check_offset

LIKE_SCIKIT_LEARN = """\
refit : bool, default True
    False: the mean of the folds' coefficients instead of a fit on all rows, those of every fold at
    the one of ``Cs`` that it likes best and ``C_`` the mean of these, as in scikit-learn; without
    ``Cs`` those at the strength that was chosen.
use_legacy_attributes : bool or None
    None: the attributes below. True or False: ``C_``, ``scores_``, ``n_iter_``, ``l1_ratio_``,
    ``l1_ratios_`` and ``coefs_paths_`` have the shapes of scikit-learn's LogisticRegressionCV, old
    or new style, for ``Cs`` (by default ten). Scores are those of ``scoring``, by default minus the
    loss.
"""
LOW = "1e-7"  # This is what TunedClassifier._default_bounds does.


@with_parameters()
class TunedClassifier(Classifier, TunedEstimator):
    """What classifiers of linear models share. With more than two classes there is one multinomial
    model (`_is_joint`) or a model for each class against the rest."""

    _strength = "C_"
    _is_joint = False
    score = TunedEstimator.score

    @property
    def loss_name(self) -> str:
        """The loss of the fitted model, whose inverse link makes predictions."""
        is_joint = self._is_joint and len(self.classes_) > 2 and not self._has_labels
        return MULTINOMIAL.name if is_joint else self._make_loss().name

    def _fit(self, X, y, sample_weight, validation, stop_on, offset=None):
        vars(self).pop("labels_", None)  # those of an earlier fit
        if y.ndim == 2:
            with named("y"):
                is_matrix = type_of_target(y) == "multilabel-indicator"
                y = y if is_matrix else column_or_1d(y, warn=True)
            if is_matrix:
                self._fit_labels(X, y, sample_weight, (validation, stop_on), offset)
                return
        index = self._set_classes(y)
        K = len(self.classes_)
        is_joint = self._is_joint and K > 2
        if offset is not None and K > 2 and not is_joint:
            raise ValueError(
                f"offset= of {type(self).__name__} is for two classes, and y has {K}, each against "
                "the rest. Leave it out, or use LogisticRegressionCV"
            )
        loss = find_loss("multinomial", n_classes=K) if is_joint else self._make_loss()
        offset = check_offset(offset, len(index), loss)
        self.has_offset_ = offset is not None
        others = self._held_out(validation, "validation"), self._held_out(stop_on, "stop_on")
        check_alike(others, index)
        # Scorers know no weights of classes.
        judged_weight = judged_by_scorers(self._weight(sample_weight, index), others)
        weight, others = self._weigh(index, sample_weight, others)

        def against_rest(c):
            return lambda index: np.where(index == c, 1.0, -1.0)

        if is_joint:
            codings = [lambda index: index.astype(np.float64)]
        else:
            codings = [against_rest(c) for c in ([1] if K == 2 else range(K))]
        given = loss, weight, others, codings, judged_weight, offset
        coef, intercept = self._tune(X, index, *given)
        if is_joint:  # Only differences between classes count.
            intercept = intercept - intercept.mean()
        self.coef_ = beside(X, np.ascontiguousarray(coef.T))
        self.intercept_ = beside(X, intercept)

    def _set_labels(self, y):
        """Sets ``classes_``, the numbers of the columns, and ``labels_``, their two values."""
        self.classes_, values = np.arange(y.shape[1]), np.unique(y)
        self.labels_ = values if len(values) == 2 else np.array([0, 1])

    def _fit_labels(self, X, y, sample_weight, others, offset):
        """A model for each column of y, of two values."""
        self._set_labels(y)
        check_both(y, self._weight(sample_weight, y))
        validation, stop_on = others
        others = self._held_out(validation, "validation"), self._held_out(stop_on, "stop_on")
        check_alike(others, y)
        offset = check_offset(offset, len(y), self._make_loss())
        self.has_offset_ = offset is not None

        def fit(one, y, own):
            one._fit(X, y, sample_weight, *own, offset)

        self.coef_, self.intercept_ = (beside(X, part) for part in self._fit_each(y, others, fit))

    def _default_bounds(self, problem):
        """Classes that can be separated drive λ down to where double precision no longer tells
        models apart: 1e-7 is as good as 0."""
        low, high = default_box(problem.inner())
        return low + np.log(1e5), high

    @property
    def _scoring(self):
        return None if self.scoring is None else for_labels(self.scoring, self.classes_)

    def decision_function(self, X: Matrix, *, offset: ArrayLike | None = None) -> Any:
        """``X w + b``: (n_rows,) for two classes, positive for the second, else (n_rows,
        n_classes), and of a matrix of labels (n_rows, n_labels); beside the `offset` of these rows
        where `fit` had one."""
        z = self._linear(X, offset)
        return z[:, 0] if z.shape[1:] == (1,) else z

    def predict(self, X: Matrix, *, offset: ArrayLike | None = None) -> Any:
        """Labels, (n_rows,), or where y was a matrix of them (n_rows, n_labels); beside the
        `offset` of these rows where `fit` had one."""
        return self._labels(X, self.decision_function(X, offset=offset))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags


@with_parameters(
    own=CLASS_WEIGHT + LIKE_SCIKIT_LEARN,
    low=LOW,
    per='"all", "feature", "class", "feature_class" or groups',
    strength="C_",
    shapes="an array, shape (n_features,) or (n_classes, n_features),",
    lam="``1 / C_``",
)
class LogisticRegressionCV(LogLossClassifier, TunedClassifier, OfLogisticRegression):
    """Logistic regression whose ℓ2 strength is tuned by hypergradient on the held-out log-loss.

    Two classes: minimises ``Σ_i s_i log(1 + exp(-y_i (x_i w + b))) + ||w||² / (2 C)`` and chooses C
    = 1/λ, a continuous value, not one of a grid. More: the multinomial loss ``Σ_i s_i (log(Σ_c
    exp(x_i w_c + b_c)) - x_i w_{y_i} - b_{y_i}) + Σ_c ||w_c||² / (2 C)``.

    y may also be a matrix of labels, (n_rows, n_labels), of two values such as 0 and 1, of which a
    row may have several: each label has a model of two classes and a C of its own, `predict` a
    column for each, and ``predict_proba`` the probability of each.

    {parameters}
    classes_ : array, shape (n_classes,)

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> import fasthoag
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = fasthoag.LogisticRegressionCV(cv=5).fit(scale(X), y)
    >>> bool(0.1 < model.C_ < 10)
    True
    >>> model = fasthoag.LogisticRegressionCV(Cs=[0.01, 0.1, 1, 10], scoring="roc_auc", cv=5)
    >>> bool(model.fit(scale(X), y).best_score_ > 0.99)
    True
    """

    Cs: Strengths = None
    refit: bool = True
    use_legacy_attributes: bool | None = None
    flags = (*TunedClassifier.flags, "refit")
    _is_joint = True

    def _check_parameters(self):
        super()._check_parameters()
        if self.use_legacy_attributes is not None:
            check_flag(self.use_legacy_attributes, "use_legacy_attributes")
        if not self.refit and self.one_se:
            raise ValueError(
                "refit=False takes the best strength of every fold, and one_se=True one that is "
                "nearly as good; pass one of them"
            )
        if self.use_legacy_attributes is not None and not self._has_one_strength:
            raise ValueError(
                f"use_legacy_attributes={self.use_legacy_attributes!r} gives the attributes of "
                "scikit-learn's LogisticRegressionCV, which has one strength; leave it out, or use "
                'penalty_per="all"'
            )

    def score(
        self,
        X: Matrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
    ) -> float:
        """The accuracy of `predict` for these rows; where ``scoring`` is one scorer, its score. Of
        a matrix of labels: the share of rows whose labels are all right, or the mean of the scores
        of the labels."""
        if not chooses(self.scoring):
            return super().score(X, y, sample_weight, offset=offset)
        (scorer,) = find_scorers(self.scoring).values()
        y, sample_weight = joined_of(X, y=y, sample_weight=sample_weight)
        rows: Any = X  # Scorers know no arrays of a device.
        rows, labels = rows.get() if is_on_device(rows) else rows, to_host(y)
        judged: list[tuple[Any, Any]] = [(self, labels)]
        if offset is not None or self._has_labels:  # Scorers ask for predictions of rows alone.
            judged = self._judged(to_host(self.decision_function(X, offset=offset)), labels)
        known = {}
        if sample_weight is not None:
            if not takes_weights(scorer):
                raise ValueError(f"scoring={self.scoring!r} takes no sample_weight; leave it out")
            known = {"sample_weight": to_host(sample_weight)}
        return float(np.mean([scorer(model, rows, y, **known) for model, y in judged]))

    def _judged(self, z, y):
        """Pairs of a model that scorers take, which predicts z, and its targets; one of each
        column of a matrix of labels."""
        if self._has_labels:
            columns, loss = zip(z.T, columns_like(y, z).T, strict=True), self._make_loss()
            return [(predicted(z, loss, self.labels_), y) for z, y in columns]
        K = len(self.classes_)
        loss = find_loss("multinomial", n_classes=K) if K > 2 else self._make_loss()
        return [(predicted(z, loss, self.classes_), y)]

    def predict_log_proba(self, X: Matrix, *, offset: ArrayLike | None = None) -> Any:
        """Logarithms of `predict_proba`, without cancellation."""
        z = to_host(self.decision_function(X, offset=offset))
        return beside(X, -np.logaddexp(0, -z) if self._has_labels else log_probabilities(z))

    def predict_proba(self, X: Matrix, *, offset: ArrayLike | None = None) -> Any:
        """Probabilities of ``classes_``, (n_rows, n_classes), where y was a matrix of labels that a
        row has each of them, (n_rows, n_labels); beside the `offset` of these rows where `fit` had
        one."""
        z = to_host(self.decision_function(X, offset=offset))
        return beside(X, expit(z) if self._has_labels else probabilities(z))

    def _fit_labels(self, X, y, sample_weight, others, offset):
        if self.use_legacy_attributes is not None:
            raise ValueError(
                f"use_legacy_attributes={self.use_legacy_attributes!r} gives the attributes of "
                "scikit-learn's LogisticRegressionCV, which takes no matrix of labels; leave it out"
            )
        super()._fit_labels(X, y, sample_weight, others, offset)

    def _make_loss(self):
        return find_loss("logistic")

    @property
    def _averages_folds(self):
        """Whether the model is what scikit-learn takes without a refit: of every fold its best
        point."""
        return not self.refit and self._given is not None and self._has_one_strength

    @property
    def _points(self):
        if self.use_legacy_attributes is None and not self._averages_folds:
            return super()._points
        return default_points("Cs") if self._given is None else self._given

    def _chooser(self, tasks, weight):
        chooser = super()._chooser(tasks, weight)
        return replace(chooser, has_w=chooser.has_w or self._averages_folds)

    def _models(self, chooser, chosen, results):
        if self.refit:
            return super()._models(chooser, chosen, results)
        if self._averages_folds:
            strength, w = mean_of_best(chosen.points)
            lam = 1.0 / strength
        else:
            lam = self._lam(chooser.tasks[0].problem, *chosen.thetas)
            w = chooser.coefficients_at(results, chosen.thetas).mean(axis=0).T
        return [Tuned(*results, lam, w[:, 0] if w.shape[1] == 1 else w)]

    def _keep_points(self, points):
        if points is not None and not (self.store_cv_results or self.warm_start):
            points = replace(points, w=None)
        super()._keep_points(points)
        for name in ("l1_ratio_", "l1_ratios_"):  # those of an earlier fit
            self.__dict__.pop(name, None)
        if self.use_legacy_attributes is not None:
            is_legacy = bool(self.use_legacy_attributes)
            args = points, self.C_, self.classes_
            has_l1_ratios = not (self.l1_ratios is None or isinstance(self.l1_ratios, str))
            kind = {"is_legacy": is_legacy, "has_l1_ratios": has_l1_ratios}
            self.__dict__.update(attributes_of_scikit_learn(*args, **kind))


@with_parameters(
    own="""\
loss : {"squared_hinge", "smoothed_hinge"}, default "squared_hinge"
    "smoothed_hinge" is ``log(1 + exp(2 (1 - y z))) / 2``, the hinge with a smooth corner: above it
    by at most 0.35, at ``y z = 1``. The hinge itself (scikit-learn's "hinge") has no gradient
    there, nor a curvature anywhere, and is refused.
"""
    + CLASS_WEIGHT,
    low=LOW,
    strength="C_",
    shapes="with more than 2 classes an array, shape (n_classes,); with a last axis of the "
    "features",
    lam="``1 / C_``",
    folds="(n_folds,), with more than 2 classes (n_classes, n_folds)",
)
class LinearSVCCV(TunedClassifier, OfSupportVectorClassifier):
    """Linear support vector classifier whose strength is tuned by hypergradient on its own held-out
    loss.

    Minimises ``C Σ_i s_i max(0, 1 - y_i (x_i w + b))² + ||w||² / 2``, as scikit-learn's LinearSVC
    does (which also penalises b), and chooses C = 1/λ. With more than two classes each against the
    rest has a C of its own, and so has each label of a matrix of them, of which a row may have
    several.

    {parameters}
        With more than 2 classes a list of them, and ``n_iter_`` the largest.
    classes_ : array, shape (n_classes,)

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> import fasthoag
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = fasthoag.LinearSVCCV(cv=5).fit(scale(X), y)
    >>> model.score(scale(X), y) > 0.95
    True
    """

    Cs: Strengths = None
    loss: str = "squared_hinge"

    def _make_loss(self):
        return find_loss_among(
            self.loss,
            "squared_hinge",
            "smoothed_hinge",
            instead=". The hinge itself has a corner, which a search by gradient needs smooth: "
            "write loss='smoothed_hinge', which is above it by at most 0.35",
        )
