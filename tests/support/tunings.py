"""Small problems with a criterion, for tests of what is built on both."""

import numpy as np

from fasthoag import HeldOut, KFold, Problem
from fasthoag.criteria import CRITERIA
from fasthoag.design.cpu import CpuDesign
from support.closed_form import held_out_split, k_fold_split
from support.problems import sparse_problem

# for the others see test_leverage.py, test_custom_criterion.py
# (these judge rows by a loss)
WITH_ROWS = [name for name, rule in CRITERIA.items() if rule in (HeldOut, KFold)]


def splits_of(n_rows, n_folds, seed=0):
    """Shuffled folds; the first row is in no test part and the second in two."""
    order = np.random.default_rng(seed).permutation(np.arange(1, n_rows))
    parts = np.array_split(order, n_folds)
    parts[0] = np.union1d(parts[0], parts[1][:1])
    return [(np.setdiff1d(np.arange(n_rows), part), part) for part in parts]


def tuning(
    criterion,
    loss,
    fit_intercept,
    make,
    seed=0,
    is_weighted=False,
    n_rows=90,
    n_features=12,
    penalty=None,
):
    """A Problem with its criterion of this name, and the same as dense arrays."""
    X, y = sparse_problem(loss, seed, n_rows, n_features)
    rng = np.random.default_rng(seed + 1)
    weight = rng.integers(0, 3, n_rows) + rng.random(n_rows) if is_weighted else None
    options = {} if penalty is None else {"penalty": penalty}
    if criterion == "k_fold":
        splits = splits_of(n_rows, 4, seed)
        problem = Problem(make(X, fit_intercept), y, loss, sample_weight=weight, **options)
        return problem, KFold(splits), k_fold_split(X, y, splits, fit_intercept, weight)
    n, rest = n_rows // 2, slice(n_rows // 2, None)
    train, val = (None, None) if weight is None else (weight[:n], weight[rest])
    problem = Problem(make(X[:n], fit_intercept), y[:n], loss, sample_weight=train, **options)
    return (
        problem,
        HeldOut(make.rows(X[rest]), y[rest], val),
        held_out_split(X[:n], y[:n], X[rest], y[rest], fit_intercept, train, val),
    )


class Plain:
    """What the fixtures give, for tests that need one design only."""

    def __init__(self, **options):
        self.options = options

    def __call__(self, X, fit_intercept=False):
        return CpuDesign(X, fit_intercept=fit_intercept, n_threads=1, **self.options)

    def rows(self, X):
        return X


def threaded_problem(**options):
    """Large enough that the kernels do use their threads."""
    X, y = sparse_problem("logistic", 3, 3000, 80, 0.4)
    return Problem(X, y, **options), KFold(
        [
            (np.arange(3000)[np.arange(3000) % 4 != f], np.arange(3000)[np.arange(3000) % 4 == f])
            for f in range(4)
        ]
    )
