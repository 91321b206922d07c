"""The folds of a wrapped estimator as problems of ours: what the steps before its model make of the
rows, and the weights that make our objective that of scikit-learn."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_sample_weight, check_array

from fasthoag.arithmetic import arithmetic_of_user
from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.folds import check_fold_classes, check_pairs, mask_of_folds
from fasthoag.design.rows import HELD_OUT
from fasthoag.estimators.estimator import MATRIX
from fasthoag.estimators.together import Part, Together
from fasthoag.estimators.wrapped import TWICE
from fasthoag.kinds import named
from fasthoag.losses import find_loss
from fasthoag.penalties import Ridge
from fasthoag.problem import Problem

ALIKE = 1e-3  # of folds, relative: what that does to the optimum is below the search's tolerance


class Fold(NamedTuple):
    """The rows of a fold as its model gets them, X, which of all rows they are, and which of X
    train and are held out; the fitted steps before the model, or None."""

    X: Any
    rows: np.ndarray
    train: np.ndarray
    test: np.ndarray
    steps: Any


def checked_weight(sample_weight, targets):
    """The weights of the rows, or None; raises ValueError where there are no rows, or weights leave
    a class without them."""
    if not len(targets.columns):
        raise ValueError("Found 0 rows in X; TunedCV needs some in every fold")
    if sample_weight is None:
        return None
    with named("sample_weight"):
        sample_weight = _check_sample_weight(
            sample_weight, targets.columns, dtype=np.float64, ensure_non_negative=True
        )
    if targets.classes is None:
        return sample_weight
    count = np.bincount(targets.index, weights=sample_weight > 0, minlength=len(targets.classes))
    if not count.all():
        absent = targets.classes[count == 0][:5].tolist()
        raise ValueError(
            f"sample_weight leaves no row of class {' and '.join(map(repr, absent))} with a "
            "positive weight; leave the rows of the class out, or give it weight"
        )
    return sample_weight


def checked_splits(splits, targets, sample_weight):
    """Pairs of numbers of rows, none of them negative; raises ValueError for what are none, and for
    folds that lack rows or a class."""
    splits, n_rows = list(splits), len(targets.columns)
    check_pairs(splits)
    weight = np.ones(n_rows) if sample_weight is None else sample_weight
    mask = mask_of_folds(splits, weight)
    if targets.classes is not None:
        check_fold_classes(targets.index, weight, mask, targets.classes)
    every = np.arange(n_rows)
    return [tuple(every[np.asarray(part)] for part in split) for split in splits]


def folds_of(wrapped, X, y, splits, step_params):
    """The `Fold` of every split. Without steps all have one X; with steps these are fitted on the
    training rows of each, as scikit-learn does it."""
    if not wrapped.steps:
        X = matrix(wrapped, X)
        every = np.arange(X.shape[0])
        return [Fold(X, every, train, test, None) for train, test in splits]
    return [with_steps(wrapped, X, y, *split, step_params) for split in splits]


def with_steps(wrapped, X, y, train, test, step_params):
    params = {name: _safe_indexing(value, train) for name, value in step_params.items()}
    steps = clone(wrapped.estimator[:-1])
    X_train = steps.fit_transform(_safe_indexing(X, train), _safe_indexing(y, train), **params)
    X_train, X_test = (
        matrix(wrapped, part) for part in (X_train, steps.transform(_safe_indexing(X, test)))
    )
    both = sp.vstack if sp.issparse(X_train) else np.concatenate
    every = np.arange(len(train) + len(test))
    parts = np.split(every, [len(train)])
    return Fold(both([X_train, X_test]), np.concatenate([train, test]), *parts, steps)


def matrix(wrapped, X):
    """X as our design takes it, with the feature whose coefficient is the intercept where that is
    penalised."""
    with named("X"):
        X = check_array(X, **MATRIX)
    if wrapped.intercept_column is None:
        return X
    column = np.full((X.shape[0], 1), wrapped.intercept_column, X.dtype)
    return sp.hstack([X, column], format="csr") if sp.issparse(X) else np.hstack([X, column])


def together_of(wrapped, folds, targets, sample_weight, n_threads, scales=None):
    """The `Together` of all folds and all models; `scales` are those of the errors, (n_folds,), of
    a model that estimates them."""
    n_models = targets.columns.shape[1]
    # scikit-learn averages over the targets of a regression; classes against the rest are a sum
    share = (n_models if targets.classes is None else 1) / (2 if targets.loss.name in TWICE else 1)
    units = [wrapped.unit(sample_weight, fold.rows[fold.train]) for fold in folds]
    judged = [total(sample_weight, fold.rows[fold.test]) * share for fold in folds]
    losses, judge = [targets.loss] * len(folds), targets.loss
    if scales is not None:
        delta = targets.loss.parameters["delta"]
        losses = [find_loss(targets.loss, delta=delta * scale) for scale in scales]
        units, judge = units * scales, find_loss(targets.loss, delta=delta * scales.mean())
    is_common = scales is None and are_alike(wrapped, folds, units, judged)
    numbers = np.arange(len(folds))
    groups = [numbers] if is_common else np.split(numbers, len(folds))
    designs, parts = {}, []
    for group in groups:
        first, loss = folds[group[0]], losses[group[0]]
        of_fold = fold_weights(wrapped, targets, sample_weight, first)
        mask = mask_of([folds[k] for k in group])
        shift = float(np.log(np.mean([units[k] for k in group])))
        for j in range(n_models):
            problem = Problem(
                designs.get(id(first.X), first.X),
                targets.columns[first.rows, j],
                loss=loss,
                penalty=Ridge(),
                fit_intercept=wrapped.has_free_intercept,
                sample_weight=of_fold[:, j],
            )
            problem = problem if n_threads is None else problem.with_threads(n_threads)
            designs[id(first.X)] = problem.design  # made once
            bound = bound_of(problem, mask, sample_weight, first, judge)
            parts.append(Part(bound, shift, group, np.array([judged[k] for k in group])))
    return Together(tuple(parts), len(folds))


def scales_of(wrapped, folds, targets, sample_weight, strength):
    """The scales of the errors that scikit-learn's own fits of the model at a strength estimate,
    (n_folds,)."""
    model = clone(wrapped.model).set_params(**{wrapped.kind.strength: strength})
    scales = np.empty(len(folds))
    for k, fold in enumerate(folds):
        rows = fold.rows[fold.train]
        weight = {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
        with arithmetic_of_user():
            model.fit(fold.X[fold.train], targets.columns[rows, 0], **weight)
        scales[k] = model.scale_
    return scales


def total(sample_weight, rows):
    return float(len(rows) if sample_weight is None else sample_weight[rows].sum())


def are_alike(wrapped, folds, units, judged):
    """Whether all folds can be columns of one problem: they share X, the weights of the rows and,
    nearly, the numbers of rows."""
    is_balanced = wrapped.model.get_params(deep=False).get("class_weight") == "balanced"
    has_copies = any(len(np.unique(rows)) < len(rows) for fold in folds for rows in fold[2:4])
    if wrapped.steps or is_balanced or has_copies:
        return False
    return all(np.ptp(each) <= ALIKE * np.mean(each) for each in (units, judged))


def fold_weights(wrapped, targets, sample_weight, fold):
    """Weights of the rows of a fold in the fits of every model; a row that trains twice counts
    twice."""
    every = wrapped.weights(targets, sample_weight, fold.rows[fold.train])[fold.rows]
    return every * copies(fold.train, len(fold.rows))[:, None]


def copies(rows, n):
    return np.maximum(np.bincount(rows, minlength=n), 1)


def mask_of(folds):
    """Which rows train and which are held out in folds of one X, (n_rows, n_folds) bits."""
    first, *_ = folds
    splits = [(fold.train, fold.test) for fold in folds]
    return mask_of_folds(splits, np.ones(len(first.rows)))


def bound_of(problem, mask, sample_weight, fold, loss):
    """The held-out loss `loss` of these folds, in which rows count by the user's weights alone."""
    judge = None if sample_weight is None else sample_weight[fold.rows]
    copied = copies(fold.test, len(fold.rows))
    if (copied > 1).any():
        judge = copied if judge is None else judge * copied
    rows = problem.design.place(problem.y, judge, mask)
    return BoundCriterion(problem.inner(mask), rows, HELD_OUT, loss)
