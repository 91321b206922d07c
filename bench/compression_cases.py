"""Tuning whose design holds fewer coefficients than X has columns, beside the same with all."""

import numpy as np
import problems
import scipy.sparse as sp
from lookalikes import text_like
from sklearn.model_selection import StratifiedKFold
from timing import ALL, Contender, add_ratios, alternate, outcome

import fasthoag
from fasthoag.design.cpu import CpuDesign


def hashed(n_rows=300, n_columns=1 << 20, n_used=500, n_words=60):
    """Rows of words whose numbers are hashed: few columns have any."""
    rng = np.random.default_rng(0)
    used = rng.choice(n_columns, n_used, replace=False)
    words = used[np.minimum((5 * rng.pareto(1.0, (n_rows, n_words))).astype(int), n_used - 1)]
    pointers = np.arange(0, n_rows * n_words + 1, n_words)
    X = sp.csr_matrix((np.ones(words.size), words.ravel(), pointers), (n_rows, n_columns))
    X.sum_duplicates()
    return X, labels(X, rng)


def labels(X, rng):
    z = X @ rng.normal(size=X.shape[1])
    return np.where(z / z.std() + 0.5 * rng.normal(size=len(z)) > 0, 1.0, -1.0)


def few_rows(n_rows, n_columns):
    """Dense rows that a factor of labels shows in."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(n_rows, 10))
    X = factors @ rng.normal(size=(10, n_columns)) + rng.normal(size=(n_rows, n_columns))
    return X, np.sign(factors[:, 0] + 0.7 * rng.normal(size=n_rows))


def few_sparse_rows(n_rows, n_columns):
    X = sp.random(n_rows, n_columns, 0.01, "csr", random_state=0)
    return X, labels(X, np.random.default_rng(0))


def data(is_quick):
    """name: (X, y, what a hold-out criterion gets or None)"""
    if not is_quick:
        yield "text", *text_like(1000, 100_000, 100), None
        yield "few sparse rows", *few_sparse_rows(30, 500_000), None
        yield "microarray-like", *few_rows(72, 7129), None
        yield "few rows", *few_rows(200, 20_000), None
    X, y, X_val, y_val = problems.news(is_quick)
    yield "20 newsgroups", X, y, None
    yield "20 newsgroups, hold-out", X, y, (X_val, y_val)
    yield "hashed", *hashed(), None


def compression(options):
    """Whole tuning of one strength, logistic loss, 5 folds or hold-out: as it is, and of a design
    with every column of X. `n_coef` and `n_stored`: what a pass has. Gap: of the criterion in
    `value`, to the lower of the two."""
    for name, X, y, held_out in data(options.quick):
        folds = StratifiedKFold(5, shuffle=True, random_state=0).split(np.zeros(len(y)), y)
        rule = fasthoag.KFold(list(folds)) if held_out is None else fasthoag.HeldOut(*held_out)

        def tune(make, X=X, y=y, rule=rule):
            problem = fasthoag.Problem(make(X), y, fit_intercept=False)
            return problem, fasthoag.hoag(problem, rule)

        settings = {"X": name, "shape": list(X.shape)}
        contenders = [
            Contender("fewer coefficients", lambda: tune(lambda X: X), ALL, settings=settings),
            Contender("every column", lambda: tune(CpuDesign), ALL, settings=settings, at_most=1),
        ]
        records, results = alternate(contenders, options.repeats or 5)
        for record, (problem, result) in zip(records, results, strict=True):
            record |= outcome(result) | {"criterion": result.value}
            record["extra"] |= {
                "n_coef": problem.design.n_coef,
                "n_stored": problem.design.n_stored,
            }
        yield from add_ratios(records, 0)
