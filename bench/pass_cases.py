"""Cases of single passes, and of what grows with the number of stored values: time, memory."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import problems
import scipy.sparse
from scipy.special import expit
from sklearn.datasets import load_svmlight_file
from timing import ALL, Contender, add_ratios, alternate, outcome

import fasthoag
from fasthoag.design import Curvature
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.structure import check_structure


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


def cores(options):
    """One Hessian product with one and with five columns, and one loss and gradient of logistic
    regression, on 1, 2, 4, ... threads up to all cores; generated text. Ratio: to one thread. Gap:
    the largest difference from the result of one thread, relative to its largest entry."""
    X, y = problems.zipf(*((3000, 10_000, 50) if options.quick else (1_000_000, 1_000_000, 100)))
    rng, (n, p) = np.random.default_rng(1), X.shape
    V, C, design = rng.normal(size=(p, 5)), rng.random((n, 5)), CpuDesign(X)
    V = design.encode(V)
    counts = [k for k in (1, 2, 4, 8, 16, 32, 64) if k < ALL] + [ALL]

    def calls(design):
        rows, start = design.place(y), design.zeros(1)
        yield "loss and gradient", lambda: rows.loss_grad("logistic", start).grad
        for m in (1, 5):
            c, v = Curvature(C[:, :m].copy()), np.ascontiguousarray(V[:, :m])
            yield f"hvp, {m} columns", lambda c=c, v=v: design.hvp(c, v)

    by_count = [dict(calls(design.with_threads(k))) for k in counts]
    for kernel in by_count[0]:
        contenders = [
            Contender(f"{kernel}, {k} threads", each[kernel], k, settings={"kernel": kernel})
            for k, each in zip(counts, by_count, strict=True)
        ]
        alternate(contenders, 1)
        records, results = alternate(contenders, options.repeats or 7)
        for record, result in zip(add_ratios(records, 0, has_gap=False), results, strict=True):
            gap = abs(result - results[0]).max() / abs(results[0]).max()
            yield record | {"n_passes": 1, "gap": gap, "extra": {"nnz": X.nnz}}


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
    del X, y
    yield from time_peaks(arrays, n_bytes, "peak_over_csr", {"rows": nnz // 100}, options)


def tall(options):
    """Peak resident memory of 5-fold tuning beyond a dense matrix of many rows and 4 columns, as a
    multiple of its bytes (`peak_over_X`), each contender in a process of its own. Criterion and gap
    as of `memory`."""
    n, rng = (20_000 if options.quick else 10**6), np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    y = np.where(X @ [1, -1, 0.5, 0] + 2 * rng.normal(size=n) > 0, 1.0, -1.0)
    arrays = {"X": X, "y": y}
    yield from time_peaks(arrays, X.nbytes, "peak_over_X", {"rows": n}, options)


def time_peaks(arrays, n_bytes, name_of_ratio, settings, options):
    """The records of what every contender needs of memory beyond a matrix of so many bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for name in list(arrays):
            np.save(Path(folder, name + ".npy"), arrays.pop(name))  # the children bring their own

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
        contenders = [
            Contender(name, lambda name=name: child(name), n, settings=settings)
            for name, n in names.items()
        ]
        records, results = alternate(contenders, options.repeats or 1, has_own_clock=True)
    for record, found in zip(records, results, strict=False):
        ratio = {name_of_ratio: found["extra"]["peak_bytes"] / n_bytes, "bytes": n_bytes}
        record |= found | {"extra": ratio | found["extra"]}
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
