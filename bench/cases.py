"""The named cases. Each is a generator of records: what was timed, how long every repeat took and how good the answer is."""
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Callable

import numpy as np

import fasthoag
import problems
from fasthoag.design import RowWeights
from fasthoag.design.cpu import CpuDesign, check_n_threads
from problems import Missing

ALL = check_n_threads(None)
BEST_NEWS = 1610.0832  # hold-out criterion of 20 newsgroups at its optimum, theta = -4.564, by inner problems solved to 1e-9


@dataclass(frozen=True)
class Options:
    repeats: int | None = None    # None: what suits the case
    is_quick: bool = False        # smallest sizes: does it run at all
    is_large: bool = False        # sizes that take more than the ten minutes of --all
    nnz: int | None = None        # size of the generated cases that have one


@dataclass(frozen=True)
class Contender:
    name: str
    call: Callable[[], Any]
    n_threads: int = 1
    dtype: str = "float64"
    settings: dict = field(default_factory=dict)
    at_most: int = 10**9          # repeats: slow peers run once


@dataclass(frozen=True)
class Timed:
    """What a call returns that has its own clock, such as a process that times its work without its start."""

    seconds: float
    result: Any


def alternate(contenders, repeats):
    """Time the contenders in turn, `repeats` times over, so that a disturbance of the machine meets all. Returns pairs (record, last result)."""
    seconds, results = [[] for _ in contenders], [None] * len(contenders)
    for repeat in range(repeats):
        for k, contender in enumerate(contenders):
            if repeat < contender.at_most:
                began = perf_counter()
                result = contender.call()
                elapsed = perf_counter() - began
                results[k] = result.result if isinstance(result, Timed) else result
                seconds[k].append(result.seconds if isinstance(result, Timed) else elapsed)
    records = [{"contender": c.name, "n_threads": c.n_threads, "dtype": c.dtype, "settings": c.settings, "seconds": s, "extra": {}}
               for c, s in zip(contenders, seconds)]
    return list(zip(records, results))


def add_ratios(records, reference):
    """``ratio``: median seconds over that of the contender number `reference`, which may be a peer."""
    unit = records[reference]
    for record in records:
        record |= {"ratio": median(record["seconds"]) / median(unit["seconds"]),
                   "ratio_to": f"{unit['contender']}, {unit['n_threads']} threads" if unit["n_threads"] > 1 else unit["contender"]}
    return records


def outcome(result):
    """The fields of a record that a HoagResult has."""
    return {"n_passes": result.n_passes, "hypergradient_norm": float(np.linalg.norm(result.grad)), "status": result.status,
            "extra": {"theta": result.theta.tolist(), "n_iter": result.n_iter, "value_error": result.value_error}}


def peer(module):
    """An optional peer, or the reason to skip the case."""
    try:
        return __import__(module, fromlist=["_"])
    except ImportError as error:
        raise Missing(f"{error}; pip install '.[bench]'") from None


def liblinear_fit(problem, C, eps):
    """Coefficients of LIBLINEAR's logistic regression (trust-region Newton, no intercept) for the label +1."""
    ll = peer("liblinear.liblinearutil")
    model = ll.train(problem, ll.parameter(f"-s 0 -c {float(C)!r} -e {eps} -q"))
    return np.array(model.get_decfun()[0]) * (1 if model.label[0] == 1 else -1)


def log_loss(X, y, w):
    return float(np.logaddexp(0, -y * (X @ w)).sum())


# ---- whole tuning ----

def holdout(options):
    """Hold-out tuning of one strength from theta = 0 against ONE cold LIBLINEAR fit at the optimum, its data converted before. Criterion: held-out
    log-loss of an inner problem solved to 1e-8 at the strength found; gap: to the best known one."""
    X, y, X_val, y_val = problems.news(options.is_quick)
    problem = peer("liblinear.liblinear").problem(y, X)

    def tune(n_threads):
        inner = fasthoag.Problem(X, y, loss="logistic", fit_intercept=False)
        return fasthoag.hoag(inner, fasthoag.HeldOut(X_val, y_val), theta0=np.zeros(1), n_threads=n_threads)

    settings = {"C": "exp(4.564)", "s": 0, "e": 1e-4}
    contenders = [Contender("fasthoag", lambda: tune(None), ALL, settings={"theta0": 0}),
                  Contender("fasthoag", lambda: tune(1), 1, settings={"theta0": 0}),
                  Contender("LIBLINEAR, one fit", lambda: liblinear_fit(problem, np.exp(4.564), 1e-4), settings=settings)]
    runs = alternate(contenders, options.repeats or 5)
    for record, result in runs[:2]:
        record |= outcome(result) | {"criterion": log_loss(X_val, y_val, liblinear_fit(problem, 1 / result.lam[0], 1e-8))}
    runs[2][0]["criterion"] = log_loss(X_val, y_val, runs[2][1])
    best = runs[0][0]["criterion"] if options.is_quick else BEST_NEWS
    for record in add_ratios([record for record, _ in runs], 2):
        yield record | {"gap": record["criterion"] - best}


def exact_log_loss(X, y, splits):
    """The held-out log-loss per row as a function of C, by fits of LIBLINEAR to 1e-7 that don't depend on any contender. The folds run on all cores."""
    convert = peer("liblinear.liblinear").problem
    parts = [(convert(y[train], X[train]), X[test], y[test]) for train, test in splits]
    known = {}

    def value(C):
        if C not in known:
            with ThreadPoolExecutor(ALL) as pool:
                known[C] = sum(pool.map(lambda part: log_loss(part[1], part[2], liblinear_fit(part[0], C, 1e-7)), parts)) / len(y)
        return known[C]

    return value


def tune_by_folds(X, y, cv, repeats, slow_peers=()):
    """fasthoag's LogisticRegressionCV beside scikit-learn's, and the slow peers once; criterion and gap at the C of each by exact fits. The best
    known criterion is the lowest on a fine grid around fasthoag's C, or a contender's."""
    from sklearn.linear_model import LogisticRegressionCV

    def grid():
        return LogisticRegressionCV(Cs=10, cv=cv, tol=1e-4, max_iter=1000, n_jobs=ALL, fit_intercept=False, scoring="neg_log_loss",
                                    use_legacy_attributes=False, l1_ratios=(0.0,)).fit(X, y)

    contenders = [Contender("fasthoag", lambda: fasthoag.LogisticRegressionCV(cv=cv, fit_intercept=False).fit(X, y), ALL),
                  Contender("scikit-learn LogisticRegressionCV", grid, ALL, settings={"Cs": 10, "solver": "lbfgs"}), *slow_peers]
    runs = alternate(contenders, repeats)
    exact = exact_log_loss(X, y, list(cv.split(X, y)))
    runs[0][0].update(outcome(runs[0][1].hoag_result_))
    for record, result in runs:
        C = float(np.ravel(getattr(result, "C_", result))[0])
        record["criterion"], record["extra"]["C"] = exact(C), C
    best = min([exact(runs[0][0]["extra"]["C"] * factor) for factor in (0.8, 0.9, 0.95, 1.05, 1.1, 1.25)] + [r["criterion"] for r, _ in runs])
    return [record | {"gap": record["criterion"] - best} for record in add_ratios([record for record, _ in runs], 0)]


def kfold(options):
    """5-fold tuning of logistic regression against a grid of 10, Optuna over LIBLINEAR, and LIBLINEAR's own search (by accuracy, folds of its own).
    Criterion: held-out log-loss per row of inner problems solved to 1e-7 at each C; gap: to the best of all these and a fine grid around ours."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    X, y, _, _ = problems.news(options.is_quick)
    cv, optuna, ll = StratifiedKFold(5, shuffle=True, random_state=0), peer("optuna"), peer("liblinear.liblinearutil")
    n_trials = 3 if options.is_quick else 20

    def score(trial):
        model = LogisticRegression(C=trial.suggest_float("C", 1e-4, 1e4, log=True), solver="liblinear", fit_intercept=False, tol=1e-3, max_iter=1000)
        return cross_val_score(model, X, y, cv=cv, scoring="neg_log_loss", n_jobs=ALL).mean()

    def search():
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        study.optimize(score, n_trials=n_trials)
        return study.best_params["C"]

    def liblinear_search():
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it also returns
            return ll.train(ll.problem(y, X), ll.parameter("-s 0 -C -v 5 -q"))[0]

    slow_peers = [Contender("Optuna over LIBLINEAR", search, ALL, settings={"n_trials": n_trials, "sampler": "TPE"}, at_most=1),
                  Contender("LIBLINEAR -C -v 5", liblinear_search, settings={"s": 0}, at_most=1)]
    yield from tune_by_folds(X, y, cv, options.repeats or 3, slow_peers)


def microarray(options):
    """5-fold logistic regression on leukemia (38 x 7,129, standardised). Criterion and gap as in kfold-20news."""
    from sklearn.model_selection import StratifiedKFold

    # sparho and celer stay out here and in small-ridge: their penalties all have an l1 part
    yield from tune_by_folds(*problems.leukemia(), StratifiedKFold(5, shuffle=True, random_state=0), options.repeats or 5)


def ridge_error(X, y, splits):
    """The held-out mean squared error of ridge regression with intercept as a function of alpha, in closed form."""
    parts = []
    for train, test in splits:
        center, mean = X[train].mean(axis=0), y[train].mean()
        U, s, Vt = np.linalg.svd(X[train] - center, full_matrices=False)
        parts.append((s, U.T @ (y[train] - mean), (X[test] - center) @ Vt.T, y[test] - mean))
    return lambda alpha: sum(((A @ (s / (s**2 + alpha) * b) - r) ** 2).sum() for s, b, A, r in parts) / len(y)


def small_ridge(options):
    """RidgeCV on small dense unscaled data, against scikit-learn's with a grid of 10: same folds, and its default of leave-one-out. Criterion: 5-fold
    mean squared error at each alpha in closed form; gap: to its minimum."""
    from scipy.optimize import minimize_scalar
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold

    cv, grid = KFold(5, shuffle=True, random_state=0), np.logspace(-4, 4, 10)
    for name in ["housing"] if options.is_quick else ["housing", "abalone", "cadata", "cpusmall"]:
        X, y = problems.regression(name)
        contenders = [Contender("fasthoag", lambda: fasthoag.RidgeCV(cv=cv).fit(X, y), ALL, settings={"data": name}),
                      Contender("scikit-learn RidgeCV", lambda: RidgeCV(grid, cv=cv, scoring="neg_mean_squared_error").fit(X, y), ALL,
                                settings={"data": name, "alphas": 10}),
                      Contender("scikit-learn RidgeCV, LOO", lambda: RidgeCV(grid).fit(X, y), ALL, settings={"data": name, "alphas": 10})]
        runs = alternate(contenders, options.repeats or 5)
        error = ridge_error(X, y, list(cv.split(X)))
        runs[0][0].update(outcome(runs[0][1].hoag_result_))
        for record, model in runs:
            record["criterion"], record["extra"]["alpha"] = error(model.alpha_), float(model.alpha_)
        steps = np.arange(-40, 40, 0.5)
        near = steps[np.argmin([error(np.exp(step)) for step in steps])]
        best = min(minimize_scalar(lambda step: error(np.exp(step)), bounds=(near - 1, near + 1), method="bounded", options={"xatol": 1e-8}).fun,
                   *(record["criterion"] for record, _ in runs))
        for record in add_ratios([record for record, _ in runs], 1):
            yield record | {"gap": record["criterion"] - best}


# ---- kernels ----

def passes(options):
    """One Hessian product, and one loss and gradient of logistic regression, against the two products of SciPy and NumPy. Gap: the largest error of
    the result relative to its largest entry, against SciPy in float64."""
    shapes = {"random": (2000, 1000, 50), "zipf": (3000, 10_000, 50)} if options.is_quick else {
        "random": (70_000, 20_000, 50), "zipf": (300_000, 1_000_000, 50)}
    yield from time_passes("random", *problems.uniform(*shapes["random"]), ("float64", "float32"), options.repeats or 30)
    yield from time_passes("zipf", *problems.zipf(*shapes["zipf"]), ("float64",), options.repeats or 10)


def time_passes(data, X, y, dtypes, repeats):
    from scipy.special import expit

    rng, (n, p), one = np.random.default_rng(1), X.shape, np.zeros(1, np.int32)
    V, C, w = rng.normal(size=(p, 5)), rng.random((n, 5)), 0.1 * rng.normal(size=p)

    def scipy_hvp(X, c, v):
        return X.T @ (c * (X @ v))

    def scipy_grad(X, y, w):
        margin = y * (X @ w)
        return np.logaddexp(0, -margin).sum(), X.T @ (-y * expit(-margin))

    for dtype in dtypes:
        X_dtype = X.astype(dtype)
        designs = [CpuDesign(X_dtype, n_threads=n_threads) for n_threads in sorted({1, min(2, ALL)})]
        columns = [designs[0].encode(V[:, :m]) for m in (1, 5)]
        curvatures, start = [np.ascontiguousarray(C[:, :m]) for m in (1, 5)], designs[0].encode(w[:, None])
        c, v, labels, coef = (a.astype(dtype) for a in (C[:, 0], V[:, 0], y, w))  # SciPy would convert X at every product with another type

        def contender(design, kernel, m, call):
            return Contender("fasthoag", lambda: (design, call()), design.n_threads, dtype, {"data": data, "kernel": kernel, "columns": m})

        def hvp(design, k, m):
            return contender(design, "hvp", m, lambda: design.hvp(curvatures[k], np.arange(m, dtype=np.int32), columns[k]))

        def grad(design):
            return contender(design, "loss and gradient", 1, lambda: design.loss_grad("logistic", y, RowWeights(), one, start)[2])

        X64 = X_dtype.astype(np.float64)
        peers = [("hvp", lambda: scipy_hvp(X_dtype, c, v), scipy_hvp(X64, C[:, 0], V[:, 0])),
                 ("loss and gradient", lambda: scipy_grad(X_dtype, labels, coef)[1], scipy_grad(X64, y, w)[1])]
        for (kernel, call, exact), ours in zip(peers, [[hvp(d, 0, 1) for d in designs] + [hvp(d, 1, 5) for d in designs], [grad(d) for d in designs]]):
            scipy = Contender("SciPy, two products", lambda: (None, call()), 1, dtype, {"data": data, "kernel": kernel, "columns": 1})
            for warm in [scipy, *ours]:
                warm.call()
            runs = alternate([scipy, *ours], repeats)
            for record, (design, result) in runs:
                found = result if design is None else design.decode(result)[:, 0]
                record |= {"n_passes": 2 if design is None else 1, "gap": float(np.abs(found - exact).max() / np.abs(exact).max()),
                           "extra": {"nnz": X.nnz, "shape": X.shape}}
            records = add_ratios([record for record, _ in runs], 0)
            for record in records:
                if record["settings"]["columns"] == 5:
                    one_column = records[1 + [d.n_threads for d in designs].index(record["n_threads"])]
                    record["extra"] |= {"times_one_column": median(record["seconds"]) / median(one_column["seconds"])}
            yield from records


def linear(options):
    """Hold-out tuning on generated text with 100 non-zeros a row, as many features as rows and a quarter as many rows held out. Criterion: as
    corrected by hoag(), per row; gap: to that of tol=1e-6 at the same size. The last record has the least-squares slope of log time over log nnz."""
    top = options.nnz or (10**8 if options.is_large else 30_000 if options.is_quick else 10**7)
    seconds, sizes = [], []
    for nnz in sorted(n for n in {10**4, 10**5, 3 * 10**5, 10**6, 3 * 10**6, 10**7, 3 * 10**7, 10**8, top} if (n > 10**4 or options.is_quick) and n <= top):
        n = nnz // 100
        X, y = problems.zipf(n, n)
        held = fasthoag.HeldOut(*problems.zipf(n // 4, n, part=1))
        per_row = 1 / len(held.y_val)

        def tune(**tol):
            return fasthoag.hoag(fasthoag.Problem(X, y, fit_intercept=False), held, **tol)

        (record, result), = alternate([Contender("fasthoag", tune, ALL, settings={"nnz": nnz})], options.repeats or 3)
        seconds.append(median(record["seconds"]))
        sizes.append(X.nnz)
        record |= outcome(result) | {"criterion": result.value * per_row, "gap": (result.value - tune(tol=1e-6).value) * per_row}
        record["extra"] |= {"nnz": X.nnz, "shape": X.shape}
        if nnz == top and len(sizes) > 1:
            record["extra"]["slope"] = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        yield record


def memory(options):
    """Peak resident memory of 5-fold tuning beyond the user's matrix, as a multiple of the bytes of that CSR matrix (`peak_over_csr`), each contender in a
    process of its own. Generated text, 100,000 features. Criterion: held-out log-loss per row as each reports it (scikit-learn: of loose fits that
    stop after 20 iterations, which leaves its peak as it is); gap: to the lowest."""
    nnz = options.nnz or (4 * 10**7 if options.is_large else 2 * 10**5 if options.is_quick else 4 * 10**6)
    X, y = problems.zipf(nnz // 100, 10_000 if options.is_quick else 100_000)
    shape, sizes = X.shape, {"nnz": X.nnz, "csr_bytes": X.data.nbytes + X.indices.nbytes + X.indptr.nbytes}
    with tempfile.TemporaryDirectory() as folder:
        for name, array in {"data": X.data, "indices": X.indices, "indptr": X.indptr, "shape": shape, "y": y}.items():
            np.save(Path(folder, name + ".npy"), array)
        del X  # the children bring their own

        def child(name):
            done = subprocess.run([sys.executable, Path(__file__).with_name("peak.py"), folder, name], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"peak.py {name}: {done.stderr}")
            found = json.loads(done.stdout)
            return Timed(found.pop("seconds"), found)

        names = {"fasthoag": ALL, "fasthoag, low_memory": ALL, "scikit-learn LogisticRegressionCV": 1}
        runs = alternate([Contender(name, lambda name=name: child(name), n, settings={"rows": shape[0]}) for name, n in names.items()],
                         options.repeats or 1)
    for record, found in runs:
        record |= {name: found.pop(name) for name in ("criterion", "status", "n_passes", "hypergradient_norm")}
        record["extra"] = sizes | {"peak_over_csr": found["peak_bytes"] / sizes["csr_bytes"], "shape": shape} | found
    best = min(record["criterion"] for record, _ in runs)
    for record in add_ratios([record for record, _ in runs], 0):
        yield record | {"gap": record["criterion"] - best}


# ---- around them ----

def reader(options):
    """LIBSVM text of 20 newsgroups to CSR on one thread. Gap: largest difference between the two matrices and labels."""
    from sklearn.datasets import load_svmlight_file

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "train.txt"))
        n_bytes = problems.write_text(path, options.is_quick)
        runs = alternate([Contender("fasthoag", lambda: fasthoag.load_svmlight(path, n_threads=1)),
                          Contender("scikit-learn load_svmlight_file", lambda: load_svmlight_file(path))], options.repeats or 5)
    X, y = runs[1][1]
    for record, (X_other, y_other) in runs:
        record["gap"] = max(float(abs(X - X_other).max()), float(np.abs(y - y_other).max()))
        record["extra"] = {"MB": n_bytes / 1e6, "MB_per_second": n_bytes / 1e6 / median(record["seconds"])}
    yield from add_ratios([record for record, _ in runs], 1)


def start_up(options):
    """Import time beyond NumPy and scipy.sparse, and `fasthoag --help` as a whole process. No gap: there is no result."""
    def importing(module):
        text = f"import numpy, scipy.sparse, time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        return Timed(float(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout), None)

    def process(*arguments):
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    repeats = options.repeats or (2 if options.is_quick else 7)
    for contenders in [[Contender("fasthoag", lambda: importing("fasthoag"), settings={"what": "import"}),
                        Contender("sklearn.linear_model", lambda: importing("sklearn.linear_model"), settings={"what": "import"})],
                       [Contender("fasthoag --help", lambda: process("-m", "fasthoag", "--help"), settings={"what": "process"}),
                        Contender("numpy and scipy.sparse", lambda: process("-c", "import numpy, scipy.sparse"), settings={"what": "process"})]]:
        contenders[0].call(), contenders[1].call()  # files into the cache, and byte code
        yield from add_ratios([record for record, _ in alternate(contenders, repeats)], 1)


CASES = {"holdout-20news": holdout, "kfold-20news": kfold, "passes": passes, "memory": memory, "linear": linear, "reader": reader,
         "start-up": start_up, "small-ridge": small_ridge, "microarray": microarray}
