"""Labels of classes, their weights and probabilities: what all classifiers share."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from fasthoag.design import to_host
from fasthoag.estimators.estimator import Estimator
from fasthoag.estimators.parameters import with_parameters
from fasthoag.estimators.placement import beside
from fasthoag.kinds import named, numbers_of
from fasthoag.losses import find_loss, likeliest, log_probabilities
from fasthoag.types import Matrix

CLASS_WEIGHT = """\
class_weight : dict, "balanced" or None
    Multiplies the sample weights, in the fits and in the criterion.
"""


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
        """Rows that do not train, (X, numbers of their classes) and perhaps weights, or None."""
        rows = super()._rows(pair, name)
        if rows is None:
            return None
        X, y, *weight = rows
        known = self.labels_ if self._has_labels else self.classes_
        unknown = np.setdiff1d(y, known)
        if len(unknown):
            raise ValueError(f"{name} has labels that y does not have: {unknown[:5]}")
        return X, y if self._has_labels else np.searchsorted(known, y), *weight

    @property
    def _has_labels(self):
        """Whether y was a matrix of labels, of which a row may have several."""
        return "labels_" in vars(self)

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

    def decision_function(self, X: Matrix) -> Any:
        raise NotImplementedError

    def predict(self, X: Matrix) -> Any:
        """Labels, (n_rows,)."""
        return self._labels(X, self.decision_function(X))

    def _labels(self, X, z):
        """The labels that predictions z stand for, beside X."""
        z = to_host(z)
        labels = self.labels_[(z > 0) * 1] if self._has_labels else self.classes_[likeliest(z)]
        return beside(X, labels) if labels.dtype.kind in "biuf" else labels


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
