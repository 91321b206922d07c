"""The race of benchopt's benchmark_bilevel, run from a copy of its repository beside local data."""

import importlib.util
import os
import pickle
import sys
import tempfile
import types
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
import problems
from scipy.special import expit
from timing import ALL

OURS = Path(__file__).resolve().parent / "bilevel" / "fasthoag_solver.py"
BATCHES = {"batch_size": 64, "random_state": 1}
# what its own search over step sizes found best, from its files config/*_best_params.yml; looked at
# more often than there
SOLVERS = {
    "ijcnn1": {
        "srba": {"step_size": 0.25, "outer_ratio": 1.0, "period_frac": 0.5},
        "saba": {"step_size": 0.125, "outer_ratio": 1.0},
        "amigo": {"step_size": 0.125, "outer_ratio": 0.1**0.5, "n_inner_steps": 10},
        "soba": {"step_size": 0.03125, "outer_ratio": 0.01},
        "optuna": {},
    },
    "mnist": {
        "srba": {"step_size": 0.001, "outer_ratio": 1e-5, "period_frac": 512.0},
        "saba": {"step_size": 0.1, "outer_ratio": 0.001},
        "amigo": {"step_size": 0.001, "outer_ratio": 1e-5, "n_inner_steps": 10},
        "soba": {"step_size": 1.0, "outer_ratio": 1e-4},
    },
}
STEPS = {"ijcnn1": 8192, "mnist": 512}  # between two looks
MEASURES = {"ijcnn1": "value_func", "mnist": "test_accuracy"}  # the latter is the share of errors
MARKS = {"ijcnn1": (0.25, 0.22, 0.21, 0.206, 0.2045, 0.204), "mnist": (0.15, 0.14, 0.135, 0.13)}
MOST_LOOKS = 12  # at a course, evenly, besides the last


def module_of(path):
    """A file of the benchmark, or ours, as a module."""
    spec = importlib.util.spec_from_file_location(f"bilevel_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def local_libsvm():
    """A module in the place of libsvmdata, which reads local files in place of a server's."""
    module = types.ModuleType("libsvmdata")

    def fetch_libsvm(name):
        file = name.replace("_test", ".t")
        X, y = problems.read(f"ijcnn1/{file}.bz2", 22)
        return X.toarray(), y

    module.fetch_libsvm = fetch_libsvm
    return module


def write_mnist():
    """The file that the benchmark looks for before it asks a server."""
    names = {"training": "train", "test": "t10k"}
    mnist = {}
    for theirs, ours in names.items():
        images = problems.idx(f"mnist/{ours}-images-idx3-ubyte.gz", 16)
        mnist[f"{theirs}_images"] = images.reshape(-1, 784)
        mnist[f"{theirs}_labels"] = problems.idx(f"mnist/{ours}-labels-idx1-ubyte.gz", 8).copy()
    Path("mnist.pkl").write_bytes(pickle.dumps(mnist))


def objective_of(folder, name, options):
    """The benchmark's objective with its data."""
    data = module_of(folder / "datasets" / f"{name}.py").Dataset.get_instance(**options)
    objective = module_of(folder / "objective.py").Objective.get_instance()
    objective.set_data(**data.get_data())
    return objective


def course_of(solver, objective, seconds):
    """[(seconds, result)] of a solver, whose clock stands while it is looked at, and starts again
    only when what it has begun is done: JAX returns before."""
    import jax

    solver.set_objective(**objective.get_objective())  # compiles, outside the clock, for all
    course, spent, began = [], 0.0, None

    def callback():
        nonlocal spent, began
        if began is not None:
            result = jax.block_until_ready(solver.get_result())
            spent += perf_counter() - began
            course.append((spent, {key: np.array(value) for key, value in result.items()}))
        began = perf_counter()
        return spent < seconds

    solver.run(callback)
    return course


@cache
def ijcnn1():
    (X, y), (X_val, y_val) = (problems.read(f"ijcnn1/ijcnn1{end}.bz2", 22) for end in ("", ".t"))
    return X.toarray(), y, X_val, y_val


def value_of_strengths(outer_var):
    """The ijcnn1 value in double precision, by Newton's method on 22 coefficients: that of the
    benchmark is in single precision and does not converge where strengths differ by much."""
    X, y, X_val, y_val = ijcnn1()
    lam, w = np.exp(np.asarray(outer_var, np.float64)), np.zeros(22)

    def objective(w):
        return np.logaddexp(0, -y * (X @ w)).mean() + 0.5 * lam @ (w * w)

    for _ in range(50):
        p = expit(-y * (X @ w))
        grad = -X.T @ (y * p) / len(y) + lam * w
        hess = X.T @ (X * (p * (1 - p) / len(y))[:, None]) + np.diag(lam)
        step, now = np.linalg.solve(hess, grad), objective(w)
        t = next((t for t in 0.5 ** np.arange(30) if objective(w - t * step) <= now), 0.0)
        w = w - t * step
        if grad @ step < 1e-14:
            break
    return float(np.logaddexp(0, -y_val * (X_val @ w)).mean())


def looked_at(course, objective, measure):
    """[(seconds, measure)] of some points of a course and the last: our value of strengths, the
    benchmark's errors."""
    some = course[:: max(1, len(course) // MOST_LOOKS)]
    some += [course[-1]] if some[-1] is not course[-1] else []
    if measure == "value_func":
        return [(second, value_of_strengths(result["outer_var"])) for second, result in some]
    return [(second, objective.evaluate_result(**result)[measure]) for second, result in some]


def record_of(name, contender, settings, seen):
    """The fields of a record; `seconds` are those to its best."""
    best = min(value for _, value in seen)
    to = {
        str(mark): min((second for second, value in seen if value <= mark), default=None)
        for mark in MARKS[name]
    }
    return {
        "contender": contender,
        "n_threads": ALL,
        "dtype": "float64" if contender.startswith("fasthoag") else "float32",
        "settings": {"data": name} | settings,
        "seconds": [min(second for second, value in seen if value == best)],
        "criterion": best,
        "extra": {"seconds_to": to, "trace": seen},
    }


def race(folder, name, seconds):
    """Records of all contenders on one problem."""
    settings = {"ratio": 0.5} if name == "mnist" else {}
    objective = objective_of(folder, name, settings)
    entries = [("fasthoag", OURS, {"strength": "given"})]
    if name == "mnist":
        entries.append(("fasthoag, strength found", OURS, {"strength": "found"}))
    for solver, own in SOLVERS[name].items():
        shared = {"random_state": 1} if solver == "optuna" else BATCHES
        own = own if solver == "optuna" else own | {"eval_freq": STEPS[name]}
        entries.append((solver, folder / "solvers" / f"{solver}.py", shared | own))
    records = []
    for contender, path, options in entries:
        course = course_of(module_of(path).Solver.get_instance(**options), objective, seconds)
        seen = looked_at(course, objective, MEASURES[name])
        settings |= {"limit": seconds}
        records.append(record_of(name, contender, settings | options, seen))
    best = min(record["criterion"] for record in records)
    return [record | {"gap": record["criterion"] - best} for record in records]


def bilevel(options):
    """The ijcnn1 and mnist problems of benchopt's benchmark_bilevel (folder BENCHMARK_BILEVEL, a
    clone) with its own solvers, whose clock waits for JAX. Criterion: the value of ijcnn1, the
    share of test errors of mnist, at the best point; seconds until there."""
    folder = os.environ.get("BENCHMARK_BILEVEL")
    if not folder:
        raise problems.Missing("set BENCHMARK_BILEVEL to a clone of benchopt/benchmark_bilevel")
    folder, here = Path(folder).resolve(), Path.cwd()
    sys.path.insert(0, str(folder))
    sys.modules.setdefault("libsvmdata", local_libsvm())
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            write_mnist()
            for name in SOLVERS:
                seconds = 3.0 if options.quick else 120.0 if options.large else 20.0
                yield from race(folder, name, seconds)
        finally:
            os.chdir(here)
            sys.path.remove(str(folder))
