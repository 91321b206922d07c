"""scikit-learn's scorers on predictions of the criterion's rows: reported and compared, never
differentiated."""

import warnings
from dataclasses import dataclass
from inspect import signature
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer
from sklearn.utils.metadata_routing import get_routing_for_object

from fasthoag.arithmetic import arithmetic_of_user
from fasthoag.losses import likeliest


class _Predicted(BaseEstimator):
    """What a scorer takes for a fitted model. It reads no X, since it has the predictions already:
    z (n,), or (n, n_classes) of the multinomial loss. Labels are -1 and +1, or class numbers,
    unless they are given."""

    def __init__(self, z, loss, labels=None):
        self.z, self.loss, self.labels = z if loss.n_classes > 1 else z[:, 0], loss, labels

    def __sklearn_is_fitted__(self):
        return True


class _PredictedNumbers(RegressorMixin, _Predicted):
    def predict(self, X):
        return self.loss.inverse_link(self.z)


class _PredictedLabels(ClassifierMixin, _Predicted):
    @property
    def classes_(self):
        return numbers_of_classes(self.loss) if self.labels is None else self.labels

    def decision_function(self, X):
        return self.z

    def predict(self, X):
        return self.classes_[likeliest(self.z)]


class _PredictedProbabilities(_PredictedLabels):
    def predict_proba(self, X):
        return self.loss.inverse_link(self.z)


def numbers_of_classes(loss):
    """What the targets of a loss for classes are: -1 and +1, or class numbers."""
    K = loss.n_classes
    return np.arange(float(K)) if K > 1 else np.array([-1.0, 1.0])


def _kind(loss):
    """Which of these classes a model of this loss looks like."""
    if not loss.is_classification:
        return _PredictedNumbers
    return _PredictedProbabilities if loss.link == "logit" else _PredictedLabels


def predicted(z, loss, labels):
    """What a scorer takes for a model with these labels that predicts z, (n,) or (n, n_classes)."""
    return _kind(loss)(z[:, None] if z.ndim == 1 else z, loss, labels)


def find_scorers(scoring):
    """The scorers by name. `scoring` is a name, a callable ``scorer(estimator, X, y)``, a list of
    names or a dict."""
    if isinstance(scoring, str):
        scoring = {scoring: scoring}
    elif callable(scoring):
        scoring = {getattr(scoring, "__name__", "score"): scoring}  # Scorer objects have no name.
    elif isinstance(scoring, (list, tuple)) and all(isinstance(name, str) for name in scoring):
        scoring = {name: name for name in scoring}
    if not isinstance(scoring, dict) or not all(
        isinstance(s, str) or callable(s) for s in scoring.values()
    ):
        raise TypeError(
            "scoring must be the name of a scikit-learn scorer, a callable, a list of names or a "
            f"dict of them; got {scoring!r}"
        )
    if not scoring:
        raise ValueError("scoring has no scorer; name one at least, or pass None")
    try:
        return {name: get_scorer(s) if isinstance(s, str) else s for name, s in scoring.items()}
    except (ValueError, KeyError) as error:
        raise ValueError(f"scoring: {error}") from None


@dataclass(frozen=True)
class Labelled:
    """A scorer that is shown the labels of the user where targets are -1 and +1, or class
    numbers."""

    scorer: Any
    labels: Any  # sorted, (n_classes,)

    def __call__(self, model, X, y, **options):
        shown = type(model)(np.reshape(model.z, (len(y), -1)), model.loss, self.labels)
        y = self.labels[np.searchsorted(numbers_of_classes(model.loss), y)]
        return self.scorer(shown, X, y, **options)


def chooses(scoring):
    """Whether `scoring` is one scorer, which chooses; several are reported."""
    return isinstance(scoring, str) or callable(scoring)


def for_labels(scoring, labels):
    """`scoring` by name, whose callables are shown these labels; a name of scikit-learn's means the
    same whatever classes are called."""
    return {
        name: Labelled(scorer, labels) if is_own(scoring, name) else scorer
        for name, scorer in find_scorers(scoring).items()
    }


def is_own(scoring, name):
    """Whether the scorer of this name was given as a callable."""
    return callable(scoring) or (isinstance(scoring, dict) and callable(scoring[name]))


def asked_of(scorer):
    """The scorer as the user gave it."""
    return scorer.scorer if isinstance(scorer, Labelled) else scorer


def metric_of(scorer):
    """The function that scikit-learn made the scorer of; None for a function of the user's own."""
    return getattr(asked_of(scorer), "_score_func", None)


def takes_weights(scorer):
    """Whether the scorer, or the metric that it was made of, has the argument sample_weight, which
    ``set_score_request(sample_weight=False)`` of scikit-learn's metadata routing refuses."""
    if "sample_weight" not in signature(metric_of(scorer) or asked_of(scorer)).parameters:
        return False
    asked = get_routing_for_object(asked_of(scorer)).score.requests
    return asked.get("sample_weight") is not False


def ask(scorer, model, y, weight):
    """``(score, reason)``. Where these rows cannot be scored the score is NaN, and the reason says
    why; else the reason is None, and warnings of the scorer are passed on."""
    options = {} if weight is None or not takes_weights(scorer) else {"sample_weight": weight}
    score, reason = np.empty(1), None
    with warnings.catch_warnings(record=True) as heard, arithmetic_of_user():
        warnings.simplefilter("always")
        try:
            score[0] = scorer(model, np.empty((len(model.z), 0)), y, **options)
        except Exception as error:  # A scorer is the user's and may raise anything.
            return np.nan, f"{error}" or type(error).__name__
    if np.isnan(score[0]):
        reason = str(heard[-1].message) if heard else "the scorer gave NaN"
    else:
        for one in heard:
            warnings.warn(one.message, stacklevel=2)
    return float(score[0]), reason


def check_scorer(name, scorer, loss, folds):
    """Raises ValueError for a scorer that can judge no prediction of this loss.

    It is asked about predictions that are made up, on targets that are made up too; no X is read. A
    function of the user's own, which may know his rows, may also judge those of some fold."""

    def fails(y, weight=None):
        z = np.linspace(0.3, 1.4, len(y))[:, None] * np.ones(max(1, loss.n_classes))
        z = z + 0.1 * np.arange(z.shape[1])
        score, reason = ask(scorer, _kind(loss)(z, loss), y, weight)
        return reason if np.isnan(score) else None

    if loss.n_classes > 1:
        y = np.repeat(np.arange(float(loss.n_classes)), 2)
    elif loss.is_classification:
        y = np.array([-1.0, -1.0, 1.0, 1.0])
    else:
        y = np.array([0.5, 1.5, 2.25, 3.75])
    of_any = fails(y)
    if of_any is None:
        return
    reasons = [fails(*rows) for rows in folds]
    if metric_of(scorer) is None and None in reasons:
        return
    of_first, *_ = reasons
    where = f" on fold 0: {of_first}" if of_first is not None else f": {of_any}"
    raise ValueError(f"scoring {name!r} cannot judge loss '{loss.name}'{where}")


def score_function(bound, problem, scoring):
    """A function of W (n_coef, n_folds * n_classes) that returns ``{name: scores of the folds}``,
    on the rows that the criterion judges, with their weights where the scorer takes weights.

    A fold that a scorer cannot judge (it may have one class only, or one row) has NaN, with a
    warning. A scorer that can judge no fold of this loss is refused here, before any work."""
    if not bound.has_targets:
        raise ValueError(
            "scoring needs a criterion with rows and targets of its own, HeldOut or KFold"
        )
    scores = scores_of_models([bound], problem.loss, scoring, bound.rows.weight)
    return lambda W: scores([bound.predictions(W)])


def scores_of_models(bounds, loss, scoring, weight):
    """The same as a function of the predictions of several models, one for each class against the
    rest, that are judged together; `bounds` are their criteria, `weight` that of the rows or
    None."""
    first, *_ = bounds
    scorers, judged = find_scorers(scoring), first.rows
    y, mask = judged.y, judged.mask
    if len(bounds) > 1:  # to a scorer they look like one model with a column for each class
        y = np.argmax([bound.rows.y for bound in bounds], axis=0).astype(np.float64)
        loss = SimpleNamespace(
            name=loss.name, n_classes=len(bounds), link=loss.link, is_classification=True
        )
    is_judged = np.ones((len(y), 1), bool) if mask is None else mask & first.part > 0
    if weight is not None:
        is_judged = is_judged & (weight > 0)[:, None]

    folds = [(y[rows], None if weight is None else weight[rows]) for rows in is_judged.T]
    for name, scorer in scorers.items():
        check_scorer(name, scorer, loss, folds)
    warned = set()

    def scores(Z):
        found = {name: np.empty(first.n_folds) for name in scorers}
        for name, scorer in scorers.items():
            failed = {}
            for fold, (y_fold, weight_fold) in enumerate(folds):
                z = np.concatenate([of_model[fold] for of_model in Z], axis=1)
                model = _kind(loss)(z[is_judged[:, fold]], loss)
                found[name][fold], reason = ask(scorer, model, y_fold, weight_fold)
                if reason is not None and (name, fold) not in warned:
                    warned.add((name, fold))
                    failed.setdefault(reason, []).append(str(fold))
            for reason, numbers in failed.items():
                shown = ", ".join(numbers[:10]) + (", ..." if len(numbers) > 10 else "")
                warnings.warn(
                    f"scoring {name!r} gives NaN on fold {shown}: {reason}",
                    UserWarning,
                    stacklevel=2,
                )
        return found

    return scores
