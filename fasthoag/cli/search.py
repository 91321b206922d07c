"""From a problem to a model: folds, the search, the last fit, and what the model is worth."""

from dataclasses import replace

import numpy as np

import fasthoag
from fasthoag.io import DualModel, Model
from fasthoag.losses import derivative, find_loss, without_smoothing
from fasthoag.problem import refit
from fasthoag.progress import on_stderr

EVERY = 5.0  # seconds between two lines of progress where stderr is no terminal


def make_folds(n_folds, loss, seed, groups=None):
    """Shuffled folds, stratified by class: the rows of files are often in the order of their
    classes. Rows of a group stay together."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    is_stratified = find_loss(loss).is_classification
    if groups is None:
        splitter = StratifiedKFold if is_stratified else KFold
    else:
        splitter = StratifiedGroupKFold if is_stratified else GroupKFold
        n_groups = len(np.unique(groups))
        if n_groups < n_folds:
            raise ValueError(
                f"--cv {n_folds} needs at least as many groups of rows; the training rows have "
                f"{n_groups}."
            )
    return fasthoag.KFold(splitter(n_folds, shuffle=True, random_state=seed), groups)


def fit(problem, criterion, *, keeps_trace=True, **settings):
    """`hoag`, then the model of all training rows: the result, and coefficients (n_features +
    fit_intercept,), or a `KernelModel`."""
    with on_stderr(every=EVERY, is_kept=keeps_trace) as callback:
        result = fasthoag.hoag(problem, criterion, callback=callback, **settings)
    try:
        return last_fit(problem, criterion, result, settings.get("n_threads"))
    except KeyboardInterrupt as interrupt:
        raise fasthoag.Interrupted(result) from interrupt


def last_fit(problem, criterion, result, n_threads=None):
    """The result and the model of all training rows, as `fit` returns them."""
    is_kernel = isinstance(problem, fasthoag.KernelProblem)
    if isinstance(criterion, fasthoag.HeldOut) and not is_kernel:
        return result, result.w[:, 0]  # The search trained on just these rows.
    problem = problem.with_threads(n_threads) if n_threads else problem
    if is_kernel:
        fitted, is_converged = problem.fit(result.theta)
    else:
        w, _, is_converged = refit(problem, result.theta, result.w_all)
        fitted = np.asarray(w)
    if not is_converged and result.status in ("converged", "searched"):
        message = "The last fit, on all rows, did not converge; scale the features."
        result = replace(result, status="inner_failed", message=message)
    return result, fitted


def make_model(problem, result, fitted, classes, zero_based="auto"):
    """The model that is written, of what `fit` found."""
    names = "theta", "value", "value_error", "status", "message"
    search = {name: getattr(result, name) for name in names}
    search |= {"classes": classes, "zero_based": zero_based}
    if isinstance(problem, fasthoag.KernelProblem):
        return DualModel(
            problem.loss.name,
            kernel=fitted.kernel.name,
            gamma=fitted.gamma,
            X=fitted.X,
            dual_coef=fitted.dual_coef,
            intercept=fitted.intercept,
            degree=problem.degree,
            coef0=problem.coef0,
            alpha=problem.read(result.theta)["alpha"],
            **search,
        )
    p, w = problem.n_features, fitted
    intercept = w[p] if problem.fit_intercept else np.zeros(w.shape[1:])
    search |= {"lam": result.lam, "has_offset": problem.offset is not None}
    return Model(problem.loss.name, coef=w[:p].T, intercept=intercept, **search)


def judge_rows(problem, fitted, X, y, weight=None, offset=None):
    """What the model is worth on rows that nothing was fitted or tuned on."""
    if isinstance(problem, fasthoag.KernelProblem):
        return judge(problem.loss, fitted.predict(X), y, weight)
    p, w = problem.n_features, fitted
    z = X @ w[:p] + (w[p] if problem.fit_intercept else 0.0)
    return judge(problem.loss, z if offset is None else z + offset, y, weight)


def judge(loss, z, y, weight=None):
    """What predictions z are worth beside targets y: the mean loss, without label smoothing, and
    the accuracy of a classifier, both weighted."""
    losses = derivative(without_smoothing(loss), 0, y, z)
    found = {"n_rows": len(y), "mean_loss": float(np.average(losses, weights=weight))}
    if not loss.is_classification:
        return found
    is_right = z.argmax(axis=1) == y if loss.n_classes > 1 else (z > 0) == (y > 0)
    return found | {"accuracy": float(np.average(is_right, weights=weight))}
