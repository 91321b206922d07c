"""The named cases: generators of records, which say what was timed, how long every repeat took and
how good the answer is."""

import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import problems
import scipy.sparse
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp
from sklearn.datasets import load_svmlight_file
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

import fasthoag
from fasthoag.design import Curvature
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.structure import check_structure
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES
from fasthoag.outer.start import measured
from fasthoag.threads import n_threads_of

ALL = n_threads_of(None)
BEST_NEWS = 1610.0832  # hold-out criterion of 20 newsgroups at its optimum, theta = -4.564


@dataclass(frozen=True)
class Contender:
    name: str
    call: Callable[[], Any]
    n_threads: int = 1
    dtype: str = "float64"
    settings: dict = field(default_factory=dict)
    at_most: int = 10**9  # repeats: slow peers run once


def alternate(contenders, repeats, has_own_clock=False):
    """Time the contenders in turn, `repeats` times over, so that a disturbance of the machine meets
    all. Returns their records and last results.

    Calls with a clock of their own return (seconds, result)."""
    seconds, results = [[] for _ in contenders], [None] * len(contenders)
    for repeat in range(repeats):
        for k, contender in enumerate(contenders):
            if repeat < contender.at_most:
                began = perf_counter()
                result = contender.call()
                elapsed, results[k] = result if has_own_clock else (perf_counter() - began, result)
                seconds[k].append(elapsed)
    return [
        {
            "contender": c.name,
            "n_threads": c.n_threads,
            "dtype": c.dtype,
            "settings": c.settings,
            "seconds": s,
            "extra": {},
        }
        for c, s in zip(contenders, seconds, strict=False)
    ], results


def add_ratios(records, reference, has_gap=True):
    """``ratio``: median seconds over those of record number `reference`, which may be a peer.
    ``gap``: criterion over the lowest, if not set."""
    unit, best = (
        records[reference],
        min(record["criterion"] for record in records) if has_gap else None,
    )
    for record in records:
        record |= {
            "ratio": median(record["seconds"]) / median(unit["seconds"]),
            "ratio_to": unit["contender"],
        }
        if has_gap:
            record.setdefault("gap", record["criterion"] - best)
    return records


def outcome(result):
    """The fields of a record that a HoagResult has."""
    return {
        "n_passes": result.n_passes,
        "hypergradient_norm": float(np.linalg.norm(result.grad)),
        "status": result.status,
        "extra": {
            "theta": result.theta,
            "n_iter": result.n_iter,
            "value_error": result.value_error,
            "grad_error": result.grad_error,
        },
    }


def liblinear_fit(problem, C, eps):
    """Coefficients of LIBLINEAR's logistic regression (trust-region Newton, no intercept) for the
    label +1."""
    from liblinear.liblinearutil import parameter, train

    model = train(problem, parameter(f"-s 0 -c {float(C)!r} -e {eps} -q"))
    return np.array(model.get_decfun()[0]) * (1 if model.label[0] == 1 else -1)


def log_loss(X, y, w):
    return float(np.logaddexp(0, -y * (X @ w)).sum())


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


def tune_by_folds(X, y, repeats, slow_peers=()):
    """fasthoag's LogisticRegressionCV beside scikit-learn's, and the slow peers once; criterion and
    gap at the C of each by fits of LIBLINEAR to 1e-7. The best known criterion is the lowest on a
    fine grid around fasthoag's C, or a contender's."""
    from liblinear.liblinear import problem

    cv = StratifiedKFold(5, shuffle=True, random_state=0)

    def grid():
        return LogisticRegressionCV(
            Cs=10,
            cv=cv,
            tol=1e-4,
            max_iter=1000,
            n_jobs=ALL,
            fit_intercept=False,
            scoring="neg_log_loss",
            use_legacy_attributes=False,
            l1_ratios=(0.0,),
        ).fit(X, y)

    contenders = [
        Contender(
            "fasthoag",
            lambda: fasthoag.LogisticRegressionCV(cv=cv, fit_intercept=False).fit(X, y),
            ALL,
        ),
        Contender(
            "scikit-learn LogisticRegressionCV", grid, ALL, settings={"Cs": 10, "solver": "lbfgs"}
        ),
    ]
    records, results = alternate([*contenders, *slow_peers], repeats)
    folds = [(problem(y[train], X[train]), X[test], y[test]) for train, test in cv.split(X, y)]

    def exact(C):
        with ThreadPoolExecutor(ALL) as pool:
            return sum(
                pool.map(
                    lambda fold: log_loss(fold[1], fold[2], liblinear_fit(fold[0], C, 1e-7)), folds
                )
            ) / len(y)

    records[0] |= outcome(results[0].hoag_result_)
    for record, result in zip(records, results, strict=False):
        C = float(np.ravel(getattr(result, "C_", result))[0])
        record["criterion"], record["extra"]["C"] = exact(C), C
    near = [
        exact(records[0]["extra"]["C"] * factor) for factor in (0.8, 0.9, 0.95, 1.05, 1.1, 1.25)
    ]
    best = min(near + [record["criterion"] for record in records])
    return [record | {"gap": record["criterion"] - best} for record in add_ratios(records, 0)]


def kfold(options):
    """5-fold tuning of logistic regression against a grid of 10, Optuna over LIBLINEAR, and
    LIBLINEAR's own search (by accuracy, folds of its own). Criterion: held-out log-loss per row of
    inner problems solved to 1e-7 at each C; gap: to the best of all these and a fine grid around
    ours."""
    import optuna
    from liblinear.liblinearutil import parameter, problem, train

    X, y, _, _ = problems.news(options.quick)
    cv, n_trials = StratifiedKFold(5, shuffle=True, random_state=0), 3 if options.quick else 20

    def score(trial):
        model = LogisticRegression(
            C=trial.suggest_float("C", 1e-4, 1e4, log=True),
            solver="liblinear",
            fit_intercept=False,
            tol=1e-3,
            max_iter=1000,
        )
        return cross_val_score(model, X, y, cv=cv, scoring="neg_log_loss", n_jobs=ALL).mean()

    def search():
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=0)
        )
        study.optimize(score, n_trials=n_trials)
        return study.best_params["C"]

    def liblinear_search():
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it also returns
            return train(problem(y, X), parameter("-s 0 -C -v 5 -q"))[0]

    def trials():
        return fasthoag.LogisticRegressionCV(
            cv=cv,
            fit_intercept=False,
            method="bayes",
            n_trials=n_trials,
            bounds=(-np.log(1e4), np.log(1e4)),
        ).fit(X, y)

    slow_peers = [
        Contender("fasthoag, trials of Optuna", trials, ALL, settings={"n_trials": n_trials}),
        Contender(
            "Optuna over LIBLINEAR",
            search,
            ALL,
            settings={"n_trials": n_trials, "sampler": "TPE"},
            at_most=1,
        ),
        Contender("LIBLINEAR -C -v 5", liblinear_search, settings={"s": 0}, at_most=1),
    ]
    yield from tune_by_folds(X, y, options.repeats or 3, slow_peers)


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


def microarray(options):
    """5-fold logistic regression on leukemia (38 x 7,129, standardised). Criterion and gap as in
    kfold-20news."""
    yield from tune_by_folds(*problems.leukemia(), options.repeats or 5)


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


def passes(options):
    """One Hessian product, and one loss and gradient of logistic regression, against the two
    products of SciPy and NumPy. Gap: the largest error of the result relative to its largest entry,
    against SciPy in float64."""
    random, zipf = (
        ((2000, 1000, 50), (3000, 10_000, 50))
        if options.quick
        else ((70_000, 20_000, 50), (300_000, 1_000_000, 50))
    )
    X, y = problems.uniform(*random)
    for dtype in ("float64", "float32"):
        yield from time_passes("random", X.astype(dtype), y, options.repeats or 30)
    yield from time_passes("zipf", *problems.zipf(*zipf), options.repeats or 10)


def structure(options):
    """What is looked at of a sparse matrix before it is trusted, and the fingerprint of its values,
    beside a pass over it (the reference) and SciPy's own look at the order of its numbers."""
    sizes = (3000, 10_000, 50) if options.quick else (300_000, 1_000_000, 50)
    X, y = problems.zipf(*sizes)
    X.sum_duplicates()
    design = CpuDesign(X, n_threads=ALL)
    rows, start = design.place(y), design.zeros(1)

    def scipy_look():
        arrays = X.data, X.indices, X.indptr
        return scipy.sparse.csr_matrix(arrays, shape=X.shape, copy=False).has_canonical_format

    calls = {
        "one pass": lambda: rows.loss_grad("logistic", start).grad,
        "look at the structure": lambda: check_structure(X),
        "fingerprint of the values": design.check_unchanged,
        "SciPy: has_canonical_format": scipy_look,
    }
    contenders = [Contender(name, call, ALL) for name, call in calls.items()]
    alternate(contenders, 1)
    records, _ = alternate(contenders, options.repeats or 15)
    for record in add_ratios(records, 0, has_gap=False):
        yield record | {"gap": 0.0, "extra": {"nnz": X.nnz}}


def time_passes(data, X, y, repeats):
    rng, (n, p) = np.random.default_rng(1), X.shape
    V, C, w = rng.normal(size=(p, 5)), rng.random((n, 5)), 0.1 * rng.normal(size=p)
    design = CpuDesign(X, n_threads=1)
    designs = [design] + [design.with_threads(2)] * (ALL > 1)
    start, columns, curvatures = (
        design.encode(w[:, None]),
        {m: design.encode(V[:, :m]) for m in (1, 5)},
        {m: Curvature(C[:, :m].copy()) for m in (1, 5)},
    )
    rows = {d.n_threads: d.place(y) for d in designs}

    def scipy_hvp(X, c, v):
        return X.T @ (c * (X @ v))

    def scipy_grad(X, y, w):
        margin = y * (X @ w)
        return (np.logaddexp(0, -margin).sum(), X.T @ (-y * expit(-margin)))[1]

    def hvp(design, m):
        return design.hvp(curvatures[m], columns[m])

    def grad(design, m):
        return rows[design.n_threads].loss_grad("logistic", start).grad

    for kernel, ours, two_products, inputs, widths in [
        ("hvp", hvp, scipy_hvp, (C[:, 0], V[:, 0]), (1, 5)),
        ("loss and gradient", grad, scipy_grad, (y, w), (1,)),
    ]:
        settings = {"data": data, "kernel": kernel, "columns": 1}
        # SciPy would convert X at every product with another type
        cast = [a.astype(X.dtype) for a in inputs]
        contenders = [
            Contender(
                "SciPy, two products", lambda: two_products(X, *cast), 1, X.dtype.name, settings
            )
        ]
        contenders += [
            Contender(
                "fasthoag",
                lambda d=d, m=m: ours(d, m),
                d.n_threads,
                X.dtype.name,
                settings | {"columns": m},
            )
            for m in widths
            for d in designs
        ]
        alternate(contenders, 1)  # pages, threads
        records, results = alternate(contenders, repeats)
        exact = two_products(X.astype(np.float64), *inputs)
        for record, result in zip(add_ratios(records, 0, has_gap=False), results, strict=False):
            found = result if record is records[0] else design.decode(result)[:, 0]
            record |= {
                "n_passes": 2 if record is records[0] else 1,
                "gap": np.abs(found - exact).max() / np.abs(exact).max(),
                "extra": {"nnz": X.nnz},
            }
            # as many records after that of one column as there are numbers of threads
            if record["settings"]["columns"] == 5:
                narrow = records[records.index(record) - len(designs)]
                record["extra"]["times_one_column"] = median(record["seconds"]) / median(
                    narrow["seconds"]
                )
            yield record


def linear(options):
    """Hold-out tuning on generated text with 100 non-zeros a row, as many features as rows and a
    quarter as many rows held out. Criterion: as corrected by hoag(), per row; gap: to that of
    tol=1e-6 at the same size. The last record has the least-squares slope of log time over log
    nnz."""
    top, floor, sizes = (
        options.nnz or (10**8 if options.large else 10**5 if options.quick else 10**7),
        10**4 if options.quick else 10**5,
        {},
    )
    # two sizes a decade
    for nnz in np.geomspace(floor, top, 1 + round(2 * np.log10(top / floor))).astype(int):
        n = nnz // 100
        p = max(n, 1000)
        (X, y), held = problems.zipf(n, p), fasthoag.HeldOut(*problems.zipf(n // 4, p, part=1))

        def tune(**tol):
            return fasthoag.hoag(fasthoag.Problem(X, y, fit_intercept=False), held, **tol)

        (record,), (result,) = alternate(
            [Contender("fasthoag", tune, ALL, settings={"nnz": nnz})], options.repeats or 3
        )
        sizes[X.nnz] = median(record["seconds"])
        slope = (
            {"slope": np.polyfit(*np.log([*zip(*sizes.items(), strict=False)]), 1)[0]}
            if nnz == top and len(sizes) > 1
            else {}
        )
        record |= outcome(result) | {
            "criterion": result.value * 4 / n,
            "gap": (result.value - tune(tol=1e-6).value) * 4 / n,
        }
        record["extra"] |= {"nnz": X.nnz, "shape": X.shape} | slope
        yield record


def memory(options):
    """Peak resident memory of 5-fold tuning beyond the user's matrix, as a multiple of the bytes of
    that CSR matrix (`peak_over_csr`), each contender in a process of its own. Generated text,
    100,000 features. Criterion: held-out log-loss per row as each reports it (scikit-learn: of
    loose fits that stop after 20 iterations, which leaves its peak as it is); gap: to the
    lowest."""
    nnz = options.nnz or (4 * 10**7 if options.large else 2 * 10**5 if options.quick else 4 * 10**6)
    X, y = problems.zipf(nnz // 100, 10_000 if options.quick else 100_000)
    arrays = {"data": X.data, "indices": X.indices, "indptr": X.indptr, "shape": X.shape, "y": y}
    n_bytes = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    with tempfile.TemporaryDirectory() as folder:
        for name, array in arrays.items():
            np.save(Path(folder, name + ".npy"), array)
        del X, y, arrays  # the children bring their own

        def child(name):
            done = subprocess.run(
                [sys.executable, Path(__file__).with_name("peak.py"), folder, name],
                stdout=subprocess.PIPE,
                check=True,
            )
            found = json.loads(done.stdout)
            return found.pop("seconds"), found

        names = {
            "fasthoag": ALL,
            "fasthoag, low_memory": ALL,
            "scikit-learn LogisticRegressionCV": 1,
        }
        records, results = alternate(
            [
                Contender(name, lambda name=name: child(name), n, settings={"rows": nnz // 100})
                for name, n in names.items()
            ],
            options.repeats or 1,
            has_own_clock=True,
        )
    for record, found in zip(records, results, strict=False):
        record |= found | {
            "extra": {"csr_bytes": n_bytes, "peak_over_csr": found["extra"]["peak_bytes"] / n_bytes}
            | found["extra"]
        }
    yield from add_ratios(records, 0)


def reader(options):
    """LIBSVM text of 20 newsgroups to CSR on one thread. Gap: largest difference between the two
    matrices and labels."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "train.txt"))
        megabytes = problems.write_text(path, options.quick) / 1e6
        contenders = [
            Contender("fasthoag", lambda: fasthoag.load_svmlight(path, n_threads=1)),
            Contender("scikit-learn load_svmlight_file", lambda: load_svmlight_file(path)),
        ]
        records, ((X, y), (X_peer, y_peer)) = alternate(contenders, options.repeats or 5)
    for record in add_ratios(records, 1, has_gap=False):
        gap = max(abs(X - X_peer).max(), np.abs(y - y_peer).max())
        yield record | {
            "gap": gap,
            "extra": {"MB": megabytes, "MB_per_second": megabytes / median(record["seconds"])},
        }


def start_up(options):
    """Import time beyond NumPy and scipy.sparse, and `fasthoag --help` as a whole process. No gap:
    there is no result."""

    def process(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], stdout=subprocess.PIPE, check=True
        ).stdout

    def importing(module):
        return float(
            process(
                "-c",
                f"import numpy, scipy.sparse, time; t = time.perf_counter(); import {module}; "
                "print(time.perf_counter() - t)",
            )
        ), None

    imports = [
        Contender(name, lambda name=name: importing(name), settings={"what": "import"})
        for name in ("fasthoag", "sklearn.linear_model")
    ]
    processes = [
        Contender(
            "fasthoag --help",
            lambda: process("-m", "fasthoag", "--help"),
            settings={"what": "process"},
        ),
        Contender(
            "numpy, scipy.sparse",
            lambda: process("-c", "import numpy, scipy.sparse"),
            settings={"what": "process"},
        ),
    ]
    for contenders, has_own_clock in ((imports, True), (processes, False)):
        alternate(contenders, 1, has_own_clock)  # files into the cache, and byte code
        yield from add_ratios(
            alternate(contenders, options.repeats or 7, has_own_clock)[0], 1, has_gap=False
        )


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
    """22 strengths, one for every feature of ijcnn1, tuned on its test rows from 5 random starts
    until the hypergradient is below 1e-8 of the number of rows, by Newton's method, and by gradient
    steps (L-BFGS) from the first. Criterion: held-out loss; gap: to the lowest end."""
    X, y = problems.read("ijcnn1/ijcnn1.bz2")
    X_val, y_val = problems.read("ijcnn1/ijcnn1.t.bz2", X.shape[1])
    problem, criterion = (
        fasthoag.Problem(X, y, penalty=fasthoag.FeatureRidge()),
        fasthoag.HeldOut(X_val, y_val),
    )
    starts = [2 * np.random.default_rng(seed).normal(size=X.shape[1]) for seed in range(5)]

    def tune(start, method="newton"):
        return fasthoag.hoag(
            problem,
            criterion,
            start,
            method=method,
            tol=1e-12,
            max_iter=150 if method == "newton" else 1000,
        )

    contenders = [
        Contender(f"Newton, start {k}", lambda start=start: tune(start), ALL)
        for k, start in enumerate(starts)
    ]
    contenders.append(Contender("gradients, start 0", lambda: tune(starts[0], "lbfgs"), ALL))
    records, results = alternate(contenders, 1)
    for record, result in zip(records, results, strict=False):
        record |= outcome(result) | {
            "criterion": result.value,
            "extra": {"n_iter": result.n_iter, "grad_error": result.grad_error},
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


def solved(bound, theta, W, tol):
    """The criterion at θ with inner problems and linear systems solved to `tol`, from `W`, and
    their solutions; NaN where that does not give it to 1e-4."""
    found = bound.evaluate(theta, W, Accuracy(tol, tol), has_tangents=False)
    is_known = found.is_solved and found.value_error <= 1e-4 * found.value
    return found.value if is_known else np.nan, found.W


def best_of_grid(bound, levels_between):
    """The least criterion of the null model and of the strengths ``levels_between(top, bottom)``,
    logs relative to the data: at the top the penalty is everything, at the bottom nothing. Each is
    solved to 1e-4 from the one before."""
    seen = measured(bound)
    top, bottom = np.log(seen.scales.sum()) + 2, np.log(seen.scales.min()) - 9
    W, best = seen.inner.null.W, bound.null_value
    for level in levels_between(top, bottom):
        value, found = solved(seen.bound, seen.rays[0].level(level), W, 1e-4)
        if np.isfinite(value):
            W, best = found, min(best, value)
    return best


def search_all(tunings, settings, repeats, levels_between):
    """The record of one search after another, with how far the criteria where they ended, solved to
    1e-11, are above the best of a grid; these criteria and the results."""

    def search():
        return [fasthoag.hoag(*tuning, n_threads=1) for tuning in tunings]

    contender = Contender("fasthoag", search, settings={"problems": len(tunings)} | settings)
    (record,), (results,) = alternate([contender], repeats)
    values, best = np.zeros((2, len(tunings)))
    for k, ((problem, rule), result) in enumerate(zip(tunings, results, strict=True)):
        bound = rule.bind(problem.with_threads(1))
        w = bound.inner.design.encode(result.w)
        values[k], _ = solved(bound, result.theta, w, 1e-11)
        best[k] = best_of_grid(bound, levels_between)
    n_passes, gaps = [result.n_passes for result in results], values / best - 1
    counts = Counter(result.status for result in results).most_common()
    record |= {
        "n_passes": median(n_passes),
        "gap": gaps.max(),
        "status": ", ".join(f"{count} {status}" for status, count in counts),
    }
    for gap in (0.001, 0.01, 0.1):  # what is not a number counts
        record["extra"][f"above_{100 * gap:g}%"] = int((~(gaps <= gap)).sum())
    record["extra"] |= {"worst": int(gaps.argmax()), "largest_passes": max(n_passes)}
    return record, values, results


def kernels(options):
    """Kernel ridge on parkinsons (motor UPDRS, thirds of 1,958 rows, RandomState(0)): whole tunings
    beside one fit and prediction of scikit-learn's KernelRidge and its grid of 10 x 10; all rows by
    5 folds; a width for every feature; 20,000 made-up rows. Criterion: mean squared error on the
    rows that judge, gap to the best known."""
    train, judge, _ = problems.parkinsons(0)
    held_out, best = fasthoag.HeldOut(*judge), 23.885878266
    problem = fasthoag.KernelProblem(*train, fit_intercept=False)

    def one_fit(gamma=0.2372, alpha=0.0899):
        model = KernelRidge(kernel="rbf", gamma=gamma, alpha=alpha).fit(*train)
        return float(np.mean((model.predict(judge[0]) - judge[1]) ** 2))

    def grid():
        axes = np.logspace(-3, 2, 10), np.logspace(-4, 2, 10)
        return min(one_fit(gamma, alpha) for gamma in axes[0] for alpha in axes[1])

    def tuned(problem, criterion):
        return Contender("", lambda: fasthoag.hoag(problem, criterion), ALL)

    repeats = options.repeats or 5
    contenders = [
        replace(tuned(problem, held_out), name="fasthoag"),
        Contender("scikit-learn KernelRidge, one fit at the optimum", one_fit, ALL),
        Contender("scikit-learn KernelRidge, 10 x 10", grid, ALL, at_most=1),
    ]
    records, results = alternate(contenders[: 2 if options.quick else 3], repeats)
    for record, result in zip(records, results, strict=True):
        is_ours = not isinstance(result, float)
        record |= outcome(result) if is_ours else {}
        record["criterion"] = mean_error(result) if is_ours else result
        record["gap"] = record["criterion"] - best
    yield from add_ratios(records, 1, has_gap=False)
    if options.quick:
        return
    X, y = problems.parkinsons_whole()
    folds = fasthoag.KFold(KFold(5, shuffle=True, random_state=0))
    widths = fasthoag.KernelProblem(*train, fit_intercept=False, per_feature=True)
    made_up, others = problems.friedman(20_000), problems.friedman(5_000, seed=1)
    for name, one, best in (
        ("5 folds of 5,875 rows", tuned(fasthoag.KernelProblem(X, y), folds), 18.041554536),
        ("19 widths", tuned(widths, held_out), 0.9555),
        (
            "20,000 made-up rows",
            tuned(fasthoag.KernelProblem(*made_up), fasthoag.HeldOut(*others)),
            None,
        ),
    ):
        [record], [result] = alternate([replace(one, name=f"fasthoag, {name}")], 1)
        record |= outcome(result) | {"criterion": mean_error(result)}
        record["gap"] = None if best is None else record["criterion"] - best
        record["extra"]["peak_rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        yield record


def mean_error(result):
    """The mean squared error of least squares, whose loss is half the square."""
    return float(2 * result.fold_values.sum() / result.fold_weights.sum())


def valleys(options):
    """3-fold tuning of random designs whose criterion may have several valleys: features exp(σ N(0,
    1)), and features in units between 1e-4 and 1e4. Passes: the median. Gap: of the criterion where
    a search ended, solved to 1e-11, to the best of 30 strengths and the null model, relative, the
    largest; `above_1%`: how many gaps are more than that; `worst`: the seed of the largest."""
    kinds = {
        problems.lognormal: ("poisson", "gamma", "squared"),
        problems.in_units: ("logistic", "squared", "poisson"),
    }
    for make, losses in kinds.items():
        for loss in losses:
            data = [make(loss, seed) for seed in range(4 if options.quick else 120)]
            yield search_all(
                [(fasthoag.Problem(X, y, loss=loss), fasthoag.KFold(3)) for X, y in data],
                {"X": make.__name__, "loss": loss},
                options.repeats or 1,
                lambda top, bottom: np.linspace(top, bottom, 30),
            )[0]


def random_tuning(number):
    """A problem and its criterion: the losses in turn, each with held-out rows and with 3 folds in
    turn; size, intercept and weights at random."""
    rng, losses = np.random.default_rng(number), list(LOSSES)
    loss, is_k_fold = losses[number % len(losses)], number // len(losses) % 2 == 1
    n, p = int(rng.integers(30, 160)), int(rng.choice([2, 5, 10, 30, 60, 140]))
    fit_intercept, is_weighted = bool(rng.integers(2)), bool(rng.integers(2))
    X, y = problems.uneven(loss, n, p, rng)
    weight = rng.integers(0, 3, n) + rng.random(n) if is_weighted else None

    def part(rows):
        return X[rows], y[rows], weight[rows] if is_weighted else None

    rule = fasthoag.KFold(3) if is_k_fold else fasthoag.HeldOut(*part(slice(n // 2, None)))
    X, y, weight = part(slice(n if is_k_fold else n // 2))
    options = {"fit_intercept": fit_intercept, "sample_weight": weight}
    return fasthoag.Problem(X, y, loss, **options), rule


def errors(options):
    """Whether `value_error` tells how far `value` is from the criterion solved to 1e-11 at the
    strength found: random problems of every loss, held-out and 3-fold, up to 160 x 140. `inside`:
    how many are not farther; `beyond_3`: more than 3 times as far; `farthest`: the number of that
    problem; `value_error`: the median, relative. The others as in valleys, but for a grid of
    strengths a factor of exp(1/4) apart."""
    record, values, results = search_all(
        [random_tuning(number) for number in range(2 * len(LOSSES) if options.quick else 400)],
        {},
        options.repeats or 1,
        lambda top, bottom: np.arange(top, bottom, -0.25),
    )
    said = np.array([result.value_error for result in results])
    off = abs(np.array([result.value for result in results]) - values) / said
    record["extra"] |= {
        "inside": int((off <= 1).sum()),
        "beyond_3": int((~(off <= 3)).sum()),
        "farthest": int(off.argmax()),
        "value_error": float(np.median(said / values)),
    }
    yield record


CASES = {
    "strengths": strengths,
    "mnist": mnist,
    "ijcnn1": ijcnn1,
    "leave-one-out": leave_one_out,
    "cleaning": cleaning,
    "holdout-20news": holdout,
    "kfold-20news": kfold,
    "shards": shards,
    "passes": passes,
    "structure": structure,
    "memory": memory,
    "linear": linear,
    "reader": reader,
    "start-up": start_up,
    "small-ridge": small_ridge,
    "kernels": kernels,
    "microarray": microarray,
    "valleys": valleys,
    "errors": errors,
}
