"""Classifiers."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from fasthoag.criteria.folds import check_fold_classes, mask_of_folds, split_weight
from fasthoag.design import HELD_OUT, TRAIN, is_on_device, to_host
from fasthoag.estimators.estimator import Estimator
from fasthoag.estimators.given import default_points
from fasthoag.estimators.legacy import attributes_of_scikit_learn, mean_of_best
from fasthoag.estimators.parameters import Strengths, find_loss_among, with_parameters
from fasthoag.estimators.placement import beside
from fasthoag.estimators.scikit_learn import OfLogisticRegression, OfSupportVectorClassifier
from fasthoag.estimators.tuned import Tuned, TunedEstimator
from fasthoag.kinds import named, numbers_of
from fasthoag.losses import MULTINOMIAL, find_loss, likeliest, log_probabilities
from fasthoag.options import check_flag
from fasthoag.outer.start import default_box
from fasthoag.scoring import chooses, find_scorers, for_labels, predicted, takes_weights
from fasthoag.types import ArrayLike, Matrix
from fasthoag.vectors import check_offset

CLASS_WEIGHT = """\
class_weight : dict, "balanced" or None
    Multiplies the sample weights, in the fits and in the criterion.
"""
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
class Classifier(ClassifierMixin, Estimator):
    """What classifiers share: labels become the numbers of their classes, and these labels."""

    class_weight: dict[Any, float] | str | None = None
    score, _score = Estimator.score, staticmethod(accuracy_score)

    def _set_classes(self, y):
        """Sets ``classes_``; the numbers of the classes of y."""
        with named("y"):
            check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes in y; got 1 class, "
                f"{self.classes_[0]!r}"
            )
        return index

    def _weigh(self, index, sample_weight, others):
        """The weights of the rows, or None, and other rows with theirs."""
        weight = self._weight(sample_weight, index)
        if self.class_weight is not None:
            by_class = self._weight_of_classes(index, weight)
            weight = (1.0 if weight is None else weight) * by_class[index]
            others = [_weighted(rows, by_class) for rows in others]
        if weight is not None:
            self._check_weight_of_classes(index, weight)
        return weight, others

    def _rows(self, pair, name):
        """Rows that do not train, (X, numbers of their classes), or None."""
        rows = super()._rows(pair, name)
        if rows is None:
            return None
        X, y = rows
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"{name} has labels that y does not have: {unknown[:5]}")
        return X, np.searchsorted(self.classes_, y)

    def _weight_of_classes(self, index, weight):
        """The weight of every class that ``class_weight`` asks for."""
        asked, numbers = self.class_weight, np.arange(len(self.classes_))
        if isinstance(asked, str) and asked == "balanced":
            weights = {} if weight is None else {"sample_weight": weight}
            return compute_class_weight(asked, classes=numbers, y=index, **weights)
        if not isinstance(asked, Mapping):
            raise ValueError(
                'class_weight must be a dict of weights by class, "balanced" or None; got '
                f"{asked!r}"
            )
        # Dates are found as NumPy's and as Python's.
        pairs = zip(self.classes_, self.classes_.tolist(), strict=True)
        found = [asked.get(label, asked.get(plain)) for label, plain in pairs]
        absent = [weight is None for weight in found]
        if any(absent) and len(asked) > len(found) - sum(absent):
            raise ValueError(
                f"class_weight has no weight for the classes {self.classes_[absent][:5].tolist()}, "
                "but for some that y does not have"
            )
        found = [1.0 if weight is None else weight for weight in found]
        by_class = numbers_of(found, "class_weight").astype(np.float64)
        if not (np.isfinite(by_class) & (by_class >= 0)).all():
            raise ValueError(
                f"class_weight must have finite numbers >= 0; got {self.class_weight!r}"
            )
        return by_class

    def _check_weight_of_classes(self, index, weight):
        """Raises ValueError where weights leave a class without rows."""
        total = np.bincount(index, weights=weight > 0, minlength=len(self.classes_))
        if total.any() and not total.all():
            absent = self.classes_[total == 0][:5].tolist()
            raise ValueError(
                f"y has no row of class {' and '.join(map(repr, absent))} with a positive weight; "
                "leave the rows of the class out, or give it weight (sample_weight, class_weight)"
            )

    def _checked_splits(self, folds, y, codings, weight, is_held_back=False):
        """The splits of the rows by a `KFold`; y are the numbers of their classes. A class that is
        absent from a training part raises ValueError here, before the first model is tuned."""
        first, *_ = codings
        is_binary = len(self.classes_) == 2
        coded, loss = (first(y), "logistic") if is_binary else (y, "multinomial")
        rows = SimpleNamespace(n_rows=len(y), y=coded, loss=find_loss(loss))
        splits = folds.splits(rows)
        weight = np.ones(len(y)) if weight is None else weight
        if not (weight > 0).any():
            return splits  # Weights without a positive one are refused later, by name.
        mask = mask_of_folds(splits, weight)
        check_fold_classes(y, weight, mask, self.classes_)
        for coding in codings if is_held_back else ():
            left, _ = split_weight(weight, coding(y), find_loss(loss))
            when = ", a fifth of the rows held back (stop_on= takes rows of your own instead)"
            check_fold_classes(y, weight, mask * (left > 0)[:, None], self.classes_, when=when)
        # As masks: ten bytes a row for five folds, where the numbers of the rows would be 40.
        return [tuple(fold & bit > 0 for bit in (TRAIN, HELD_OUT)) for fold in mask.T]

    def decision_function(self, X: Matrix) -> Any:
        raise NotImplementedError

    def predict(self, X: Matrix) -> Any:
        """Labels, (n_rows,)."""
        return self._labels(X, self.decision_function(X))

    def _labels(self, X, z):
        """The labels that predictions z stand for, beside X."""
        numbers = likeliest(to_host(z))
        labels = self.classes_[numbers]
        return beside(X, labels) if labels.dtype.kind in "biuf" else labels


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
        is_joint = self._is_joint and len(self.classes_) > 2
        return MULTINOMIAL.name if is_joint else self._make_loss().name

    def _fit(self, X, y, sample_weight, validation, stop_on, offset=None):
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
        weight, others = self._weigh(index, sample_weight, others)
        judged_weight = self._weight(sample_weight, index)  # Scorers know no weights of classes.

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
        n_classes); beside the `offset` of these rows where `fit` had one."""
        z = self._linear(X, offset)
        return z[:, 0] if z.shape[1:] == (1,) else z

    def predict(self, X: Matrix, *, offset: ArrayLike | None = None) -> Any:
        """Labels, (n_rows,); beside the `offset` of these rows where `fit` had one."""
        return self._labels(X, self.decision_function(X, offset=offset))


def _weighted(rows, by_class):
    """These rows, a `HeldOut` of numbers of classes or None, with the weights of their classes."""
    if rows is None:
        return None
    own, of_classes = rows.sample_weight, by_class[rows.y_val]
    return replace(rows, sample_weight=of_classes if own is None else own * of_classes)


@with_parameters()
class LogLossClassifier(Classifier):
    """What classifiers of log-losses have beside labels: probabilities."""

    def predict_log_proba(self, X: Matrix) -> Any:
        """Logarithms of `predict_proba`, without cancellation."""
        return beside(X, log_probabilities(to_host(self.decision_function(X))))

    def predict_proba(self, X: Matrix) -> Any:
        """Probabilities of ``classes_``, (n_rows, n_classes)."""
        return beside(X, probabilities(to_host(self.decision_function(X))))


def probabilities(z):
    """Those of all classes, of two from one column."""
    return find_loss("logistic").inverse_link(z)  # The multinomial loss has the same.


@with_parameters(
    own=CLASS_WEIGHT + LIKE_SCIKIT_LEARN,
    low=LOW,
    per='"all", "feature", "class", "feature_class" or groups',
    strength="C_",
    shapes="an array, shape (n_features,) or (n_classes, n_features),",
    lam="1 / C_",
)
class LogisticRegressionCV(LogLossClassifier, TunedClassifier, OfLogisticRegression):
    """Logistic regression whose ℓ2 strength is tuned by hypergradient on the held-out log-loss.

    Two classes: minimises ``Σ_i s_i log(1 + exp(-y_i (x_i w + b))) + ||w||² / (2 C)`` and chooses C
    = 1/λ, a continuous value, not one of a grid. More: the multinomial loss ``Σ_i s_i (log(Σ_c
    exp(x_i w_c + b_c)) - x_i w_{y_i} - b_{y_i}) + Σ_c ||w_c||² / (2 C)``.

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
        """The accuracy of `predict` for these rows; where ``scoring`` is one scorer, its score."""
        if not chooses(self.scoring):
            return super().score(X, y, sample_weight, offset=offset)
        (scorer,) = find_scorers(self.scoring).values()
        rows: Any = X  # Scorers know no arrays of a device.
        rows, labels = rows.get() if is_on_device(rows) else rows, to_host(y)
        model: Any = self
        if offset is not None:  # Scorers ask for predictions of rows alone.
            z = to_host(self.decision_function(X, offset=offset))
            K = len(self.classes_)
            loss = find_loss("multinomial", n_classes=K) if K > 2 else self._make_loss()
            model = predicted(z, loss, self.classes_)
        if sample_weight is None:
            return float(scorer(model, rows, labels))
        if not takes_weights(scorer):
            raise ValueError(f"scoring={self.scoring!r} takes no sample_weight; leave it out")
        return float(scorer(model, rows, labels, sample_weight=to_host(sample_weight)))

    def predict_log_proba(self, X: Matrix, *, offset: ArrayLike | None = None) -> Any:
        """Logarithms of `predict_proba`, without cancellation."""
        return beside(X, log_probabilities(to_host(self.decision_function(X, offset=offset))))

    def predict_proba(self, X: Matrix, *, offset: ArrayLike | None = None) -> Any:
        """Probabilities of ``classes_``, (n_rows, n_classes); beside the `offset` of these rows
        where `fit` had one."""
        return beside(X, probabilities(to_host(self.decision_function(X, offset=offset))))

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
    lam="1 / C_",
    folds="(n_folds,), with more than 2 classes (n_classes, n_folds)",
)
class LinearSVCCV(TunedClassifier, OfSupportVectorClassifier):
    """Linear support vector classifier whose strength is tuned by hypergradient on its own held-out
    loss.

    Minimises ``C Σ_i s_i max(0, 1 - y_i (x_i w + b))² + ||w||² / 2``, as scikit-learn's LinearSVC
    does (which also penalises b), and chooses C = 1/λ. With more than two classes each against the
    rest has a C of its own.

    {parameters}
        With more than 2 classes a list of them, and n_iter_ the largest.
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
