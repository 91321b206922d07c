"""From a problem to a model: folds, the search, the last fit, and what the model is worth."""

from dataclasses import replace

import numpy as np

import fasthoag
from fasthoag.cli.terminal import live_trace
from fasthoag.io import Model
from fasthoag.losses import derivative, find_loss, without_smoothing
from fasthoag.problem import refit


def make_folds(n_folds, loss, seed):
    """Shuffled folds, stratified by class: the rows of files are often in the order of their
    classes."""
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = StratifiedKFold if find_loss(loss).is_classification else KFold
    return fasthoag.KFold(splitter(n_folds, shuffle=True, random_state=seed))


def fit(problem, criterion, *, keeps_trace=True, **settings):
    """`hoag`, then coefficients for all training rows: the result, w (n_features +
    fit_intercept,)."""
    with live_trace(keeps_trace) as callback:
        result = fasthoag.hoag(problem, criterion, callback=callback, **settings)
    if isinstance(criterion, fasthoag.HeldOut):
        return result, result.w[:, 0]  # The search trained on just these rows.
    threads = settings.get("n_threads")
    w, _, is_converged = refit(
        problem.with_threads(threads) if threads else problem, result.theta, result.w_all
    )
    if not is_converged and result.status in ("converged", "searched"):
        message = "The last fit, on all rows, did not converge; scale the features."
        result = replace(result, status="inner_failed", message=message)
    return result, np.asarray(w)


def make_model(problem, result, w, classes, zero_based="auto"):
    p = problem.n_features
    intercept = w[p] if problem.fit_intercept else np.zeros(w.shape[1:])
    return Model(
        problem.loss.name,
        coef=w[:p].T,
        intercept=intercept,
        classes=classes,
        theta=result.theta,
        lam=result.lam,
        value=result.value,
        value_error=result.value_error,
        status=result.status,
        message=result.message,
        zero_based=zero_based,
    )


def judge(loss, z, y):
    """What predictions z are worth beside targets y: the mean loss, without label smoothing, and
    the accuracy of a classifier."""
    losses = derivative(without_smoothing(loss), 0, y, z)
    found = {"n_rows": len(y), "mean_loss": float(losses.mean())}
    if not loss.is_classification:
        return found
    is_right = z.argmax(axis=1) == y if loss.n_classes > 1 else (z > 0) == (y > 0)
    return found | {"accuracy": float(is_right.mean())}
