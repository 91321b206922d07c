"""scikit-learn's scorers on predictions of the criterion's rows: reported, never differentiated."""

from inspect import signature

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer


class _Predicted(BaseEstimator):
    """Looks like a fitted model to a scorer; X is not read, since the predictions are here
    already."""

    def __init__(self, z, loss):
        self.z, self.loss = z, loss

    def __sklearn_is_fitted__(self):
        return True


class _PredictedNumbers(RegressorMixin, _Predicted):
    def predict(self, X):
        return np.exp(self.z[:, 0]) if self.loss.has_log_link else self.z[:, 0]


class _PredictedLabels(ClassifierMixin, _Predicted):
    @property
    def classes_(self):
        return (
            np.arange(float(self.loss.n_classes))
            if self.loss.n_classes > 1
            else np.array([-1.0, 1.0])
        )

    def decision_function(self, X):
        return self.z if self.loss.n_classes > 1 else self.z[:, 0]

    def predict(self, X):
        return self.classes_[
            self.z.argmax(axis=1) if self.loss.n_classes > 1 else (self.z[:, 0] > 0).astype(int)
        ]


class _PredictedProbabilities(_PredictedLabels):
    def predict_proba(self, X):
        if self.loss.n_classes > 1:
            return softmax(self.z, axis=1)
        return np.column_stack([expit(-self.z[:, 0]), expit(self.z[:, 0])])


def find_scorers(scoring):
    """The scorers by name, of a name, a callable ``scorer(estimator, X, y)``, a list of names or a
    dict."""
    if isinstance(scoring, str) or callable(scoring):
        scoring = {
            scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score"): scoring
        }
    elif isinstance(scoring, (list, tuple)) and all(isinstance(name, str) for name in scoring):
        scoring = {name: name for name in scoring}
    if not isinstance(scoring, dict) or not all(
        isinstance(s, str) or callable(s) for s in scoring.values()
    ):
        raise TypeError(
            "scoring must be the name of a scikit-learn scorer, a callable, a list of names or a "
            f"dict of them; got {scoring!r}"
        )
    try:
        return {name: get_scorer(s) if isinstance(s, str) else s for name, s in scoring.items()}
    except (ValueError, KeyError) as error:
        raise ValueError(f"scoring: {error}") from None


def takes_weights(scorer):
    """Whether the scorer, or the metric that scikit-learn made it of, has the argument
    sample_weight."""
    return "sample_weight" in signature(getattr(scorer, "_score_func", scorer)).parameters


def score_function(bound, problem, scoring):
    """W (n_coef, n_folds * n_classes) -> {name: scores of the folds (n_folds,)}, on the rows that
    the criterion judges, with their weights where the scorer takes weights."""
    if hasattr(bound, "evaluate") or not bound.has_targets:
        raise ValueError(
            "scoring needs a criterion with rows and targets of its own, HeldOut or KFold"
        )
    scorers, loss, units, judged = (
        find_scorers(scoring),
        problem.loss,
        bound.inner.units,
        bound.rows,
    )
    kind = (
        _PredictedNumbers
        if not loss.is_classification
        else _PredictedProbabilities
        if loss.name in ("logistic", "multinomial")
        else _PredictedLabels
    )
    y, weight, mask = judged.y, judged.weight, judged.mask
    is_judged = np.ones((len(y), 1), bool) if mask is None else mask & bound.part > 0
    if weight is not None:
        is_judged = is_judged & (weight > 0)[:, None]

    def scores(W):
        Z = units.split(judged.to_host(judged.design.matvec(W)))
        found = {name: np.empty(bound.n_folds) for name in scorers}
        for fold in range(bound.n_folds):
            rows = is_judged[:, fold]
            model = kind(Z[fold][rows], loss)
            for name, scorer in scorers.items():
                options = (
                    {}
                    if weight is None or not takes_weights(scorer)
                    else {"sample_weight": weight[rows]}
                )
                try:
                    found[name][fold] = scorer(
                        model, np.empty((len(model.z), 0)), y[rows], **options
                    )
                except (AttributeError, TypeError, ValueError) as error:
                    raise ValueError(
                        f"scoring {name!r} cannot judge loss '{loss.name}' on fold {fold}: {error}"
                    ) from None
        return found

    # what does not fit is said before any work
    scores(problem.design.zeros(units.n_columns))
    return scores
