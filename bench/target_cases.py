"""Ridge regression of many targets at once."""

import numpy as np
import problems
from problems import Missing
from scipy.linalg import cho_factor, cho_solve
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from timing import ALL, Contender, add_ratios, alternate

import fasthoag

GRID = np.logspace(0, 6, 15)


def responses(n, p, n_targets):
    """Normal features and targets of 50 of them each, from little to much noise, float32."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p), dtype=np.float32)
    W = np.zeros((p, n_targets), np.float32)
    W[rng.integers(p, size=(50, n_targets)), np.arange(n_targets)] = rng.standard_normal(
        (50, n_targets)
    )
    noise = np.geomspace(0.5, 50, n_targets).astype(np.float32)
    return X, X @ W + noise * rng.standard_normal((n, n_targets), dtype=np.float32)


def held_out_errors(X, Y, cv, of_targets):
    """A function of strengths (n_targets,) that gives the mean held-out squared error over some
    targets, each relative to its variance, by Cholesky factors of products of rows in double
    precision."""
    X = X.astype(np.float64)
    K, Y = X @ X.T, Y[:, of_targets].astype(np.float64)

    def error(alphas):
        found = np.zeros(Y.shape[1])
        for train, test in cv.split(X):
            inner = K[np.ix_(train, train)]
            level = inner.mean(axis=0)
            centred = inner - level - level[:, None] + level.mean()
            across = K[np.ix_(test, train)]
            across = across - across.mean(axis=1)[:, None] - level + level.mean()
            means = Y[train].mean(axis=0)
            for j, alpha in enumerate(alphas[of_targets]):
                factor = cho_factor(centred + alpha * np.eye(len(train)), check_finite=False)
                z = across @ cho_solve(factor, Y[train, j] - means[j]) + means[j]
                found[j] += ((Y[test, j] - z) ** 2).sum()
        return float(np.mean(found / (len(Y) * Y.var(axis=0))))

    return error


def targets(options):
    """2,000 rows x 20,000 dense features x 1,000 targets, a strength for each by 5 folds: fasthoag
    against himalaya's kernel ridge regression, and scikit-learn's on one of the targets. Criterion:
    held-out squared error over the variance, a mean over 40 targets; gap: to the lowest."""
    try:
        from himalaya.kernel_ridge import KernelRidgeCV
    except ImportError:
        raise Missing("himalaya is not installed") from None
    n, p, n_targets = (200, 1000, 50) if options.quick else (2000, 20000, 1000)
    X, Y = responses(n, p, n_targets)
    cv = KFold(5)
    himalaya = KernelRidgeCV(kernel="linear", alphas=GRID, cv=cv)
    contenders = [
        Contender(
            "fasthoag",
            lambda: fasthoag.RidgeCV(alpha_per_target=True, cv=cv).fit(X, Y).alpha_,
            ALL,
            "float32",
        ),
        Contender(
            "himalaya KernelRidgeCV",
            lambda: np.asarray(himalaya.fit(X, Y).best_alphas_, np.float64),
            ALL,
            "float32",
            {"alphas": 15},
            at_most=2,
        ),
        Contender(
            "scikit-learn RidgeCV, one target",
            lambda: np.full(n_targets, RidgeCV(GRID).fit(X, Y[:, 0]).alpha_),
            ALL,
            "float32",
            {"alphas": 15, "targets": 1, "cv": "leave-one-out"},
            at_most=1,
        ),
    ]
    records, results = alternate(contenders, options.repeats or 2)
    some = np.unique(np.linspace(0, n_targets - 1, 40).astype(int))
    error = held_out_errors(X, Y, cv, some)
    for record, alphas in zip(records[:2], results, strict=False):
        record["criterion"] = error(alphas)
    first = held_out_errors(X, Y, cv, some[:1])
    records[2]["criterion"] = first(results[2])
    records[2]["gap"] = records[2]["criterion"] - first(results[0])
    best = min(record["criterion"] for record in records[:2])
    for record in records[:2]:
        record["gap"] = record["criterion"] - best
    yield from add_ratios(records, 0, has_gap=False)


def labels(options):
    """Ridge regression on the 20 classes of 20 newsgroups, each against the rest with a strength of
    its own by 5 folds: all side by side, one after the other, and one alone. Criterion: held-out
    squared error a row, a mean over classes; gap: to the lower of both."""
    X, Y = problems.news_classes(options.quick)
    cv = KFold(5, shuffle=True, random_state=0)

    def error(*columns):
        fits = [fasthoag.RidgeClassifierCV(cv=cv).fit(X, Y[:, j]) for j in columns]
        return -np.mean([one.best_score_ for one in fits])

    contenders = [
        Contender(
            "side by side",
            lambda: -np.mean(fasthoag.RidgeClassifierCV(cv=cv).fit(X, Y).best_score_),
            ALL,
        ),
        Contender("one after the other", lambda: error(*range(Y.shape[1])), ALL),
        Contender("one class", lambda: error(0), ALL, settings={"targets": 1}),
    ]
    records, results = alternate(contenders, options.repeats or 3)
    for record, result in zip(records, results, strict=True):
        record["criterion"] = result
    best = min(results[:2])
    for record in records[:2]:
        record["gap"] = record["criterion"] - best
    records[2]["gap"] = None
    yield from add_ratios(records, 0, has_gap=False)
