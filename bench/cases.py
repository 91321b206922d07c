"""The named cases: generators of records, which say what was timed, how long every repeat took and
how good the answer is."""

import numpy as np
import problems
import scipy.sparse
from bilevel_cases import bilevel
from compression_cases import compression
from fold_cases import kfold, kfold_text, liblinear_fit, log_loss, microarray
from growth_cases import growth
from kernel_cases import kernels
from pass_cases import cores, linear, memory, passes, reader, start_up, structure, tall
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from search_cases import coverage, errors, valleys
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from target_cases import targets
from timing import ALL, Contender, add_ratios, alternate, outcome

import fasthoag
from fasthoag.design.cpu import CpuDesign
from fasthoag.threads import n_threads_of

BEST_NEWS = 1610.0832  # hold-out criterion of 20 newsgroups at its optimum, theta = -4.564


def holdout(options):
    """Hold-out tuning of one strength from theta = 0 against ONE cold LIBLINEAR fit at the optimum,
    its data converted before. Criterion: held-out log-loss of an inner problem solved to 1e-8 at
    the strength found; gap: to the best known one."""
    from liblinear.liblinear import problem

    X, y, X_val, y_val = problems.news(options.quick)
    converted = problem(y, X)

    def tune(n_threads):
        inner = fasthoag.Problem(X, y, loss="logistic", fit_intercept=False)
        return fasthoag.hoag(
            inner, fasthoag.HeldOut(X_val, y_val), theta0=np.zeros(1), n_threads=n_threads
        )

    contenders = [
        Contender("fasthoag", lambda n=n: tune(n), n, settings={"theta0": 0})
        for n in sorted({1, ALL}, reverse=True)
    ]
    one_fit = Contender(
        "LIBLINEAR, one fit",
        lambda: liblinear_fit(converted, np.exp(4.564), 1e-4),
        settings={"C": "exp(4.564)", "s": 0, "e": 1e-4},
    )
    records, results = alternate([*contenders, one_fit], options.repeats or 5)
    for record, result in zip(records[:-1], results, strict=False):
        record |= outcome(result) | {
            "criterion": log_loss(X_val, y_val, liblinear_fit(converted, 1 / result.lam[0], 1e-8))
        }
    records[-1]["criterion"] = log_loss(X_val, y_val, results[-1])
    for record in records:
        record["gap"] = record["criterion"] - (
            records[0]["criterion"] if options.quick else BEST_NEWS
        )
    yield from add_ratios(records, -1)


def shards(options):
    """5-fold logistic regression on 20 newsgroups, problem and all, on rows in one piece, in two
    blocks in this memory, and in two blocks behind handles in this process, as they would be
    elsewhere. Criterion: f; gap: its difference from that of one piece."""
    X, y, *_ = problems.news(options.quick)
    n = X.shape[0] // 3
    blocks, threads = [X[:n], X[n:]], n_threads_of(None)
    ways = {
        "one piece": lambda: CpuDesign(X, fit_intercept=True),
        "two blocks": lambda: CpuDesign(blocks, fit_intercept=True),
        "two blocks elsewhere": lambda: fasthoag.ShardedDesign(blocks, fit_intercept=True),
    }

    def tune(make):
        return fasthoag.hoag(fasthoag.Problem(make(), y), fasthoag.KFold(5))

    contenders = [Contender(name, lambda w=way: tune(w), threads) for name, way in ways.items()]
    records, results = alternate(contenders, options.repeats or 5)
    for record, result in zip(records, results, strict=True):
        record |= outcome(result) | {"criterion": result.value}
        record["gap"] = abs(result.value - results[0].value)
    yield from add_ratios(records, 0, has_gap=False)


def ridge_text(options):
    """Least squares on the labels of 20 newsgroups, rows shuffled, with intercept: 5 folds and
    leave-one-out by 16 probes. Criterion: as corrected by hoag(), per row; gap: to that of 5 folds
    with tol=1e-6 (leave-one-out has none: its probes' error is in extra)."""
    X, y, *_ = problems.news(options.quick)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order], y[order]
    rules = {"5 folds": fasthoag.KFold(5), "leave-one-out": fasthoag.ApproximateLOO()}

    def tune(rule, **tol):
        return fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), rule, **tol)

    contenders = [
        Contender("fasthoag", lambda rule=rule: tune(rule), ALL, settings={"criterion": name})
        for name, rule in rules.items()
    ]
    records, results = alternate(contenders, options.repeats or 3)
    best = tune(rules["5 folds"], tol=1e-6).value / len(y)
    for record, result in zip(records, results, strict=True):
        record |= outcome(result) | {"criterion": result.value / len(y)}
        record["gap"] = record["criterion"] - best if record is records[0] else None
        record["extra"]["value_error"] = result.value_error / len(y)
    yield from add_ratios(records, 0, has_gap=False)


def ridge_error(X, y, splits):
    """The held-out mean squared error of ridge regression with intercept as a function of alpha, in
    closed form."""
    parts = []
    for train, test in splits:
        center, mean = X[train].mean(axis=0), y[train].mean()
        U, s, Vt = np.linalg.svd(X[train] - center, full_matrices=False)
        parts.append((s, U.T @ (y[train] - mean), (X[test] - center) @ Vt.T, y[test] - mean))
    return lambda alpha: (
        sum(((A @ (s / (s**2 + alpha) * b) - r) ** 2).sum() for s, b, A, r in parts) / len(y)
    )


def small_ridge(options):
    """RidgeCV on small dense unscaled data, against scikit-learn's with a grid of 10: same folds,
    and its default of leave-one-out. Criterion: 5-fold mean squared error at each alpha in closed
    form; gap: to its minimum."""
    # sparho stays out here and in microarray: its penalties L1, WeightedL1 and ElasticNet (rho > 0)
    # all have an l1 part
    cv, alphas = KFold(5, shuffle=True, random_state=0), np.logspace(-4, 4, 10)
    for name in ["housing"] if options.quick else ["housing", "abalone", "cadata", "cpusmall"]:
        X, y = problems.regression(name)
        models = {
            "scikit-learn RidgeCV": RidgeCV(alphas, cv=cv, scoring="neg_mean_squared_error"),
            "scikit-learn RidgeCV, LOO": RidgeCV(alphas),
            "fasthoag": fasthoag.RidgeCV(cv=cv),
            "fasthoag, LOO": fasthoag.RidgeCV(),
        }
        records, results = alternate(
            [
                Contender(peer, lambda model=model: model.fit(X, y), ALL, settings={"data": name})
                for peer, model in models.items()
            ],
            options.repeats or 5,
        )
        error = ridge_error(X, y, list(cv.split(X)))
        for record, model in zip(records, results, strict=False):
            record |= outcome(model.hoag_result_) if hasattr(model, "hoag_result_") else {}
            record["criterion"], record["extra"]["alpha"] = error(model.alpha_), float(model.alpha_)
        near = min(np.arange(-40, 40, 0.5), key=lambda step: error(np.exp(step)))
        best = minimize_scalar(
            lambda step: error(np.exp(step)),
            bounds=(near - 1, near + 1),
            method="bounded",
            options={"xatol": 1e-8},
        ).fun
        for record in add_ratios(records, 0):
            yield record | {"gap": record["criterion"] - best}


def strengths(options):
    """One strength, one for each of two properties of a feature (1 and the log of its count of
    rows), and one for every feature, each tuned on a third of the rows of 20 newsgroups for a model
    of another third. Criterion: log-loss a row on the last third, which none has seen; gap: to the
    lowest."""
    X, y, X_more, y_more = problems.news(options.quick)
    X, y = scipy.sparse.vstack([X, X_more]).tocsr(), np.r_[y, y_more]
    order = np.random.default_rng(options.repeats or 0).permutation(len(y))
    train, judge, unseen = np.array_split(order, 3)
    counts = np.bincount(X[train].indices, minlength=X.shape[1])
    kinds = {
        "one strength": fasthoag.Ridge(),
        "exp(Z g), Z = 1 and log count": fasthoag.StructuredRidge(
            np.column_stack([np.ones(len(counts)), np.log1p(counts)])
        ),
        "a strength for every feature": fasthoag.FeatureRidge(),
    }

    def tune(penalty):
        return fasthoag.hoag(
            fasthoag.Problem(X[train], y[train], penalty=penalty),
            fasthoag.HeldOut(X[judge], y[judge]),
        )

    records, results = alternate(
        [
            Contender(name, lambda penalty=penalty: tune(penalty), ALL)
            for name, penalty in kinds.items()
        ],
        1,
    )
    for record, result in zip(records, results, strict=False):
        theta = result.theta if len(result.theta) < 10 else len(result.theta)
        z = X[unseen] @ result.w[:-1, 0] + result.w[-1, 0]
        record |= outcome(result) | {
            "criterion": float(np.logaddexp(0, -y[unseen] * z).mean()),
            "extra": {"theta": theta, "n_iter": result.n_iter},
        }
    yield from add_ratios(records, 0)


def mnist(options):
    """The third experiment of the paper: multinomial regression on 20,000 digits with one penalty,
    or one for every feature and class (7,840), tuned on 20,000 others. Criterion: log-loss a row on
    the last 20,000, which neither has seen; gap: to the lower."""
    X, y = problems.digits()
    train, judge, unseen = np.array_split(np.random.default_rng(11).permutation(len(y)), 3)
    each = fasthoag.PerClass(fasthoag.FeatureRidge(), 10)
    kinds = {
        "one strength": (fasthoag.Ridge(), {}),
        "a strength for every feature and class": (each, {}),
        "the same, 20 steps, no rows held back": (
            each,
            {"stop_on": None, "max_iter": 20, "bounds": (-5, 9)},
        ),
    }

    def tune(penalty, options):
        return fasthoag.hoag(
            fasthoag.Problem(X[train], y[train], loss="multinomial", penalty=penalty),
            fasthoag.HeldOut(X[judge], y[judge]),
            **options,
        )

    records, results = alternate(
        [Contender(name, lambda kind=kind: tune(*kind), ALL) for name, kind in kinds.items()], 1
    )
    for record, result in zip(records, results, strict=False):
        z = X[unseen] @ result.w[:-1, 0] + result.w[-1, 0]
        record |= outcome(result) | {
            "criterion": float(
                np.mean(logsumexp(z, axis=1) - z[np.arange(len(z)), y[unseen].astype(int)])
            )
        }
        record["extra"] = {
            "n_hyper": len(result.theta),
            "n_iter": result.n_iter,
            "n_evaluations": len(result.trace),
        }
    yield from add_ratios(records, 0)


def ijcnn1(options):
    """22 strengths, one for every feature of ijcnn1, tuned on its test rows from 5 random starts by
    Newton's method: with its defaults, and until the hypergradient is below 1e-12 of the criterion;
    by gradient steps (L-BFGS) from the first. Criterion: held-out loss; gap: to the lowest end."""
    X, y = problems.read("ijcnn1/ijcnn1.bz2")
    X_val, y_val = problems.read("ijcnn1/ijcnn1.t.bz2", X.shape[1])
    problem, criterion = (
        fasthoag.Problem(X, y, penalty=fasthoag.FeatureRidge()),
        fasthoag.HeldOut(X_val, y_val),
    )
    starts = [2 * np.random.default_rng(seed).normal(size=X.shape[1]) for seed in range(5)]
    strict = {"tol": 1e-12, "max_iter": 150}
    kinds = {f"Newton, start {k}": (starts[k], {}) for k in range(5)}
    kinds |= {f"Newton to 1e-12, start {k}": (starts[k], strict) for k in range(5)}
    kinds["gradients to 1e-12, start 0"] = (
        starts[0],
        {"tol": 1e-12, "max_iter": 1000, "method": "lbfgs"},
    )

    def tune(start, settings):
        return fasthoag.hoag(problem, criterion, start, **settings)

    contenders = [
        Contender(name, lambda kind=kind: tune(*kind), ALL, settings=kind[1])
        for name, kind in kinds.items()
    ]
    records, results = alternate(contenders, 1)
    for record, result in zip(records, results, strict=False):
        record |= outcome(result) | {
            "criterion": result.value,
            "extra": {
                "n_iter": result.n_iter,
                "n_evaluations": len(result.trace),
                "grad_error": result.grad_error,
            },
        }
    yield from add_ratios(records, 0)


def leave_one_out(options):
    """20 newsgroups, one strength: by hold-out from theta = 0, and by criteria that hold no rows
    out. Criterion: log-loss a row on the test rows, which only hold-out has seen; gap: to the
    lowest."""
    X, y, X_val, y_val = problems.news(options.quick)
    problem = fasthoag.Problem(X, y)
    kinds = {
        "hold-out": (fasthoag.HeldOut(X_val, y_val), [0.0]),
        "approximate leave-one-out": (fasthoag.ApproximateLOO(), None),
        "AIC": (fasthoag.AIC(), None),
    }
    records, results = alternate(
        [
            Contender(name, lambda kind=kind: fasthoag.hoag(problem, *kind), ALL)
            for name, kind in kinds.items()
        ],
        options.repeats or 3,
    )
    for record, result in zip(records, results, strict=False):
        w = result.w[:, 0]
        record |= outcome(result) | {
            "criterion": float(np.logaddexp(0, -y_val * (X_val @ w[:-1] + w[-1])).mean())
        }
    yield from add_ratios(records, 0)


def cleaning(options):
    """Data cleaning: half of the labels of 20,000 digits are made wrong; one weight for every row
    is tuned on 5,000 clean rows at the strength found before. Criterion: error rate on 20,000 rows
    that neither has seen; `auc`: how well the weights tell wrong labels from right ones."""
    from sklearn.metrics import roc_auc_score

    X, y = problems.digits()
    train, judge, unseen = np.array_split(np.random.default_rng(11).permutation(len(y)), 3)
    rng = np.random.default_rng(0)
    labels, is_wrong = y[train].copy(), rng.random(len(train)) < 0.5
    labels[is_wrong] = (labels[is_wrong] + rng.integers(1, 10, is_wrong.sum())) % 10
    criterion = fasthoag.HeldOut(X[judge[:5000]], y[judge[:5000]])
    found = {}

    def unweighted():
        found["one"] = fasthoag.hoag(
            fasthoag.Problem(X[train], labels, loss="multinomial"), criterion
        )
        return found["one"]

    def weighted():
        found["problem"] = fasthoag.Problem(
            X[train],
            labels,
            loss="multinomial",
            penalty=fasthoag.Fixed(fasthoag.Ridge(), found["one"].theta),
            tuned=fasthoag.SampleWeights(),
        )
        return fasthoag.hoag(found["problem"], criterion, stop_on=None, tol=1e-3, max_iter=25)

    records, results = alternate(
        [
            Contender("all rows alike", unweighted, ALL),
            Contender("a weight for every row", weighted, ALL),
        ],
        1,
    )
    for record, result in zip(records, results, strict=False):
        z = X[unseen] @ result.w[:-1, 0] + result.w[-1, 0]
        record |= outcome(result) | {
            "criterion": float(np.mean(z.argmax(axis=1) != y[unseen])),
            "extra": {"n_evaluations": len(result.trace)},
        }
    weights = found["problem"].read(results[1].theta)["sample_weights"]
    records[1]["extra"]["auc"] = float(roc_auc_score(~is_wrong, weights))
    yield from add_ratios(records, 0)


CASES = {
    "bilevel": bilevel,
    "strengths": strengths,
    "mnist": mnist,
    "ijcnn1": ijcnn1,
    "leave-one-out": leave_one_out,
    "cleaning": cleaning,
    "holdout-20news": holdout,
    "kfold-20news": kfold,
    "kfold-text": kfold_text,
    "shards": shards,
    "passes": passes,
    "cores": cores,
    "structure": structure,
    "memory": memory,
    "tall": tall,
    "linear": linear,
    "growth": growth,
    "reader": reader,
    "start-up": start_up,
    "ridge-text": ridge_text,
    "small-ridge": small_ridge,
    "targets": targets,
    "kernels": kernels,
    "microarray": microarray,
    "valleys": valleys,
    "errors": errors,
    "coverage": coverage,
    "compression": compression,
}
