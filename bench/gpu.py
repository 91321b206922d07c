"""The six numbers of the GPU path, in one command of at most 8 minutes: `python3 bench/gpu.py`.

It builds the package in the checkout when it has to, and appends its records to records/gpu.jsonl.
It needs CuPy, NumPy, SciPy, pybind11, setuptools, threadpoolctl and g++, but
no network.

`--nnz 1e8` takes a smaller large problem, `--skip-cpu` leaves out the slow comparison on it.
`--emulate` runs everything at tiny sizes with the kernels on the CPU, which shows that it works.
Its times mean nothing and are not recorded.
"""

import argparse
import datetime
import gc
import importlib.util
import json
import os
import platform
import subprocess
import sys
import sysconfig
import traceback
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE.parent / "tests")]

import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402
from lookalikes import a9a_like, friedman, read_news, text_like  # noqa: E402
from parity import folds, parity  # noqa: E402
from run import FIELDS, commit, cpu, plain  # noqa: E402

BEGAN = perf_counter()
# seconds of the whole run, the build included, after which the slow comparison is stopped: it asks
# once an evaluation
LIMIT = 420


def is_built():
    return (HERE.parent / "fasthoag" / ("_core" + sysconfig.get_config_var("EXT_SUFFIX"))).exists()


def build():
    """The extension module in the checkout, unless it is there."""
    if not is_built():
        print("building fasthoag._core ...", flush=True)
        subprocess.run(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
            cwd=HERE.parent,
            check=True,
        )


class Bench:
    """What all numbers share: the device, the clock, the records."""

    def __init__(self, options):
        import fasthoag
        from fasthoag.design.gpu import find_device

        self.options, self.rows, self.n_failed = options, [], 0
        folder = options.records or (None if options.emulate else HERE / "records")
        self.path = folder and folder / "gpu.jsonl"
        if options.emulate:
            from support.host_device import HostDevice

            self.device, self.name = HostDevice(), "emulated on the CPU"
        else:
            self.device = find_device()
            self.name = str(self.device)
        installed = {
            name: getattr(__import__(name), "__version__", None) for name in ("numpy", "scipy")
        }
        self.n_cores = len(os.sched_getaffinity(0))
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.shared = {
            "commit": commit(),
            "date": now,
            "cpu": cpu(),
            "gpu": self.name,
            "n_cores": self.n_cores,
            "libraries": {
                "python": platform.python_version(),
                "fasthoag": fasthoag.__version__,
                **installed,
                "cupy": None if options.emulate else self.device.xp.__version__,
            },
        }

    def left(self):
        return LIMIT - (perf_counter() - BEGAN)

    def wait(self):
        if not self.options.emulate:
            self.device.xp.cuda.runtime.deviceSynchronize()

    def times(self, call, repeats=5, warm=1):
        """Seconds of every repeat; the device is idle before and after each."""
        for _ in range(warm):
            call()
        seconds = []
        for _ in range(repeats):
            self.wait()
            began = perf_counter()
            call()
            self.wait()
            seconds.append(perf_counter() - began)
        return seconds

    def say(self, number, what, measured, target, is_met):
        """A line of the table; `is_met` None: no target, or not measured."""
        self.rows.append(
            (number, what, measured, target, {True: "met", False: "MISSED", None: "-"}[is_met])
        )
        print(
            "  ".join(
                cell.ljust(width)
                for cell, width in zip(self.rows[-1], (3, 66, 48, 34, 6), strict=False)
            ).rstrip(),
            flush=True,
        )

    def record(self, case, contender, seconds, **fields):
        """Appended at once: what comes later may fail."""
        record = plain(
            dict.fromkeys(FIELDS)
            | self.shared
            | {"case": case, "contender": contender, "seconds": seconds}
            | fields
        )
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")

    def attempt(self, part, *args):
        """What `part` returns; a failure is said, and the other parts go on."""
        try:
            return part(self, *args)
        except Exception:
            self.n_failed += 1
            traceback.print_exc()
            print(f"FAILED: {part.__name__}", flush=True)

    def design(self, X, **options):
        from fasthoag.design.gpu import GpuDesign

        return GpuDesign(X, device=self.device, **options)


# ---- 2: one Hessian product ----


def zipf_on_device(xp, n_rows, n_features, per_row, dtype, seed=0):
    """Row pointers, indices and values on the device: feature j of a hidden order has frequency ~
    1/j. A row may have a feature in two entries."""
    rng = np.random.default_rng(seed)
    name_of_rank, nnz = xp.asarray(rng.permutation(n_features).astype(np.int32)), n_rows * per_row
    indices, data = xp.empty(nnz, dtype=np.int32), xp.empty(nnz, dtype=dtype)
    random = xp.random.default_rng(seed) if hasattr(xp, "cuda") else np.random.default_rng(seed)
    for a in range(0, nnz, 1 << 26):
        b = min(nnz, a + (1 << 26))
        uniform, normal = (
            xp.asarray(draw(b - a)) for draw in (random.random, random.standard_normal)
        )
        indices[a:b] = name_of_rank[
            (xp.exp(float(np.log(n_features + 1)) * uniform) - 1).astype(np.int64) % n_features
        ]
        data[a:b] = normal.astype(dtype) / per_row**0.5
    return xp.arange(n_rows + 1) * per_row, indices, data


class Csr:
    """CSR on the device, as little of it as `GpuDesign` asks for."""

    has_canonical_format = True

    def __init__(self, indptr, indices, data, shape):
        self.indptr, self.indices, self.data, self.shape, self.nnz, self.dtype = (
            indptr,
            indices,
            data,
            shape,
            len(data),
            data.dtype,
        )


def copy_bandwidth(bench, n_bytes):
    """Bytes a second of a copy within the device, reads and writes counted."""
    a = bench.device.xp.zeros(n_bytes // 8)
    b = a.copy()
    seconds = bench.times(lambda: b.__setitem__(slice(None), a), 5)
    return 2 * n_bytes / min(seconds)


def spmv(bench, design):
    """Two functions, cuSPARSE's products with X and with its stored transpose, and where their
    results are."""
    try:
        import cupyx.cusparse
        import cupyx.scipy.sparse as csp
    except ImportError as error:
        print(f"cuSPARSE is left out: {error}", flush=True)
        return [], []
    xp, (n, p) = design.xp, design.shape
    calls, results = [], []
    for rows, shape in ((design.stored.rows, (n, p)), (design.stored.columns, (p, n))):
        matrix = csp.csr_matrix(
            (rows.data, rows.indices, rows.indptr.astype(np.int32)), shape=shape
        )
        matrix.has_canonical_format = True
        v, out = xp.ones(shape[1], dtype=rows.data.dtype), xp.zeros(shape[0], dtype=rows.data.dtype)
        calls.append(lambda matrix=matrix, v=v, out=out: cupyx.cusparse.spmv(matrix, v, out))
        results.append(out)
    return calls, results


def product(bench, n_rows, n_features, per_row, dtype, name, bandwidth):
    """Times of one Hessian product, of its two halves and of cuSPARSE's; says number 2 for one
    matrix."""
    from fasthoag.design import Curvature
    from fasthoag.design.gpu import passes
    from fasthoag.design.gpu.launches import run

    xp = bench.device.xp
    matrix = Csr(*zipf_on_device(xp, n_rows, n_features, per_row, dtype), (n_rows, n_features))
    began = perf_counter()
    design = bench.design(matrix)
    bench.wait()
    set_up = perf_counter() - began
    c = Curvature(xp.asarray(np.ones((n_rows, 1))))
    V, R = xp.asarray(np.ones((n_features, 1))), xp.asarray(np.ones((n_rows, 1)))
    seconds = bench.times(lambda: design.hvp(c, V), 9, 2)
    n_bytes = 2 * matrix.nnz * (np.dtype(dtype).itemsize + 4)
    share = n_bytes / median(seconds) / bandwidth
    Z, G = xp.zeros((n_rows, 1)), xp.zeros((n_features, 1))
    # as the solvers launch them
    halves_of_ours = passes.to_rows(design.stored, V, Z), passes.to_columns(design.stored, R, G)
    ours = [partial(run, steps) for steps in halves_of_ours]
    theirs, expected = ([], []) if bench.options.emulate else spmv(bench, design)
    n_queued = 3 if matrix.nnz > 1e8 else 30

    def each(call):
        return median(bench.times(lambda: [call() for _ in range(n_queued)], 5)) / n_queued

    halves, theirs = (list(map(each, calls)) for calls in (ours, theirs))
    gap = max(
        (
            float(abs(out[:, 0] - value).max() / abs(value).max())
            for out, value in zip((Z, G), expected, strict=False)
        ),
        default=None,
    )
    tolerance = 1e-10 if np.dtype(dtype) == np.float64 else 1e-4
    c5 = Curvature(xp.asarray(np.ones((n_rows, 5))))
    V5 = xp.asarray(np.ones((n_features, 5)))
    five = bench.times(lambda: design.hvp(c5, V5), 3)
    bench.record(
        "gpu-product",
        name,
        seconds,
        dtype=np.dtype(dtype).name,
        n_passes=1,
        gap=gap,
        extra={
            "nnz": matrix.nnz,
            "n_features": n_features,
            "share_of_copy": share,
            "copy_bytes_per_second": bandwidth,
            "halves": halves,
            "cusparse": theirs,
            "set_up": set_up,
            "peak_bytes": None
            if bench.options.emulate
            else xp.get_default_memory_pool().total_bytes(),
            "five_columns": five,
        },
    )
    shown = f"{median(seconds) * 1e3:.3g} ms, {share:.0%} of the copy's {bandwidth / 1e9:.0f} GB/s"
    is_large = matrix.nnz >= 5e8
    bench.say(
        "2",
        f"Hessian product, {name}, {np.dtype(dtype).name}",
        shown,
        ">= 50 %" if is_large else "",
        share >= 0.5 if is_large else None,
    )
    if theirs:
        ratios = [our / their for our, their in zip(halves, theirs, strict=False)]
        shown = f"{ratios[0]:.2f} and {ratios[1]:.2f} of its time, gap {gap:.0e}"
        bench.say(
            "2",
            f"  X v and X' r against cuSPARSE SpMV, {name}",
            shown,
            f"<= 2, {tolerance:.0e}",
            max(ratios) <= 2 and gap <= tolerance,
        )
    return design, matrix


# ---- 3 and 4: whole tunings ----


def tune(bench, X, y, criterion, device, repeats):
    """Seconds of whole tunings with X where it is worked on, warm, and the result; rows of a
    criterion are set up in every run."""
    import fasthoag
    from fasthoag.design.cpu import CpuDesign

    design, results = bench.design(X) if device == "gpu" else CpuDesign(X), []

    def once():
        results.append(fasthoag.hoag(fasthoag.Problem(design, y, fit_intercept=False), criterion))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bench.times(once, repeats), results[-1]


def compare(bench, case, X, y, criterion, name, repeats):
    """Both devices on one problem: seconds, and how far apart the criteria are."""
    seconds, results = zip(
        *(tune(bench, X, y, criterion, device, repeats) for device in ("gpu", "cpu")), strict=False
    )
    gap = abs(results[0].value - results[1].value) / abs(results[1].value)
    ratio = median(seconds[1]) / median(seconds[0])
    for device, spent, result in zip(("gpu", "cpu"), seconds, results, strict=False):
        bench.record(
            case,
            f"{name}, {device}",
            spent,
            dtype="float64",
            n_threads=None if device == "gpu" else bench.n_cores,
            n_passes=result.n_passes,
            criterion=result.value,
            gap=gap,
            status=result.status,
            ratio=median(spent) / median(seconds[1]),
            ratio_to=f"{name}, cpu",
            extra={"theta": result.theta},
        )
    shown = (
        f"{median(seconds[0]):.3g} s against {median(seconds[1]):.3g} s, "
        f"{results[0].n_passes:.0f} and {results[1].n_passes:.0f} passes"
    )
    is_right = gap <= 1e-3 and all(result.status == "converged" for result in results)
    return median(seconds[0]), ratio, is_right, f"{shown}, gap {gap:.0e}"


def tunings(bench):
    import fasthoag

    tiny = bench.options.emulate
    X, y, X_val, y_val, name = (
        (*(a for i in (0, 1) for a in text_like(300, 200, 20, i)), "tiny text")
        if tiny
        else read_news()
    )
    spent, ratio, is_right, shown = compare(
        bench, "gpu-holdout", X, y, fasthoag.HeldOut(X_val, y_val), name, 1 if tiny else 5
    )
    is_met = None if tiny else is_right and spent <= 0.3 and ratio >= 3
    bench.say(
        "3",
        f"{name}, hold-out, whole tuning against {bench.n_cores} cores",
        shown,
        "<= 0.3 s, >= 3 x faster",
        is_met,
    )
    X, y = a9a_like(400 if tiny else 32561)
    spent, ratio, is_right, shown = compare(
        bench, "gpu-small", X, y, folds(len(y), 5), "like a9a", 1 if tiny else 5
    )
    bench.say(
        "4",
        f"like a9a, 5-fold, whole tuning against {bench.n_cores} cores",
        shown,
        "<= 2 x the CPU's time",
        None if tiny else is_right and ratio >= 0.5,
    )


def large_folds(bench, design, matrix):
    """5-fold tuning of the matrix of number 2 on the device, then on the CPU, where it is copied
    first."""
    import fasthoag

    n, p = matrix.shape
    rng = np.random.default_rng(5)
    z = design.matvec(design.encode(rng.normal(size=(p, 1)) / np.sqrt(np.log(p)))).get().ravel()
    y = np.where(rng.random(n) < 1 / (1 + np.exp(-2 * z / z.std())), 1.0, -1.0)

    def run(X):
        return fasthoag.hoag(fasthoag.Problem(X, y, fit_intercept=False), folds(n, 5), tol=1e-2)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warm = perf_counter()
        result = run(design)
        bench.wait()
        here = perf_counter() - warm
        bench.record(
            "gpu-kfold-large",
            "gpu",
            [here],
            n_passes=result.n_passes,
            criterion=result.value,
            status=result.status,
            extra={"theta": result.theta},
        )
        what = f"{matrix.nnz:.0e} non-zeros, 5-fold tuning against {bench.n_cores} cores"
        # seconds at 100 GB/s, and the copy
        guess = result.n_passes * matrix.nnz * 24 / 100e9 + matrix.nnz * 60e-9
        if bench.options.skip_cpu or guess > bench.left() - 60:
            return bench.say(
                "3",
                what,
                f"{here:.3g} s, {result.n_passes:.0f} passes; the CPU left out",
                ">= 15 x faster",
                None,
            )
        X = sp.csr_matrix(
            (matrix.data.get(), matrix.indices.get(), matrix.indptr.get()), shape=matrix.shape
        )
        X.has_canonical_format = True
        problem = fasthoag.Problem(X, y, fit_intercept=False)
        began = perf_counter()
        seen = []
        theirs = fasthoag.hoag(
            problem,
            folds(n, 5),
            tol=1e-2,
            callback=lambda record: seen.append(record) or bench.left() < 45,
        )
        there = perf_counter() - began
    is_whole = theirs.status != "stopped"
    bench.record(
        "gpu-kfold-large",
        "cpu",
        [there],
        n_threads=bench.n_cores,
        n_passes=theirs.n_passes,
        criterion=theirs.value,
        status=theirs.status,
        ratio=there / here,
        ratio_to="gpu",
        extra={"theta": theirs.theta},
    )
    if bench.options.emulate:
        return bench.say("3", what, f"{here:.3g} s against {there:.3g} s", ">= 15 x faster", None)
    shown = (
        f"{here:.3g} s against {'' if is_whole else 'more than '}{there:.3g} s, "
        f"{result.n_passes:.0f} and {theirs.n_passes:.0f} passes"
    )
    is_met = there >= 15 * here if is_whole or there >= 15 * here else None
    is_right = result.status == "converged" and (
        not is_whole or abs(result.value - theirs.value) <= 1e-2 * abs(theirs.value)
    )
    bench.say("3", what, f"{shown}, {result.status}", ">= 15 x faster", is_met and is_right)


# ---- 5: memory ----


def memory(bench):
    """Peak device memory of set-up and 5-fold tuning of a matrix from the host, in bytes of X, with
    a transpose and without."""
    import fasthoag

    tiny = bench.options.emulate
    n, p, k = (300, 200, 20) if tiny else (100_000, 100_000, 1000)
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(
        (rng.normal(size=n * k), rng.integers(0, p, n * k, np.int32), np.arange(0, n * k + 1, k)),
        shape=(n, p),
    )
    X.has_canonical_format = True  # as good as
    y = np.where(
        rng.random(n) < 1 / (1 + np.exp(-2 * (X @ rng.normal(size=p)) / k**0.5)), 1.0, -1.0
    )
    n_bytes = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    values = []
    for has_transpose, most in ((True, 2.3), (False, 1.3)):
        gc.collect()
        pool = None if tiny else bench.device.xp.get_default_memory_pool()
        if pool:
            pool.free_all_blocks()
        before = pool.total_bytes() if pool else 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            began = perf_counter()
            design = bench.design(X, transpose=has_transpose)
            result = fasthoag.hoag(
                fasthoag.Problem(design, y, fit_intercept=False), folds(len(y), 5), tol=1e-2
            )
            seconds = perf_counter() - began
        form = "X and X'" if has_transpose else "one copy"
        # the pool gives nothing back: its size is the peak
        ratio = (pool.total_bytes() - before) / n_bytes if pool else float("nan")
        bench.record(
            "gpu-memory",
            form,
            [seconds],
            n_passes=result.n_passes,
            criterion=result.value,
            status=result.status,
            extra={"bytes_of_X": n_bytes, "peak_over_X": ratio, "nnz": X.nnz},
        )
        values.append(result.value)
        is_right = result.status == "converged" and abs(values[-1] - values[0]) <= 1e-2 * abs(
            values[0]
        )
        shown = f"{ratio:.2f} x the bytes of X, {seconds:.3g} s, {result.status}"
        bench.say(
            "5",
            f"peak device memory, {form}, {X.nnz:.0e} non-zeros, 5-fold tuning",
            shown,
            f"<= {most}",
            None if tiny else is_right and ratio <= most,
        )
        del design


# ---- 6: kernel models ----


def kernels(bench):
    """Whole tunings of kernel ridge, one width and the strength, on the device and on the CPU."""
    import fasthoag

    tiny = bench.options.emulate
    sizes = [("hold-out", 60)] if tiny else [("hold-out", 2000), ("5-fold", 5000)]
    for kind, n in sizes:
        X, y = friedman(n)
        criterion = folds(n, 5) if kind == "5-fold" else fasthoag.HeldOut(*friedman(n, 1))
        tuned = {}
        for device in ("gpu", "cpu"):
            seconds, result = tune_kernel(bench, (X, y), criterion, device, 1 if tiny else 3)
            tuned[device] = median(seconds), result
            bench.record(
                "gpu-kernel",
                f"{kind} of {n} rows, {device}",
                seconds,
                n_passes=result.n_passes,
                criterion=result.value,
                gap=abs(result.value / tuned["gpu"][1].value - 1),
                status=result.status,
                extra={"theta": result.theta},
            )
        (here, first), (there, second) = tuned["gpu"], tuned["cpu"]
        gap = abs(first.value / second.value - 1)
        shown = f"{here:.3g} s against {there:.3g} s, gap {gap:.0e}"
        bench.say("6", f"kernel ridge, {kind} of {n} rows", shown, "gap <= 1e-6", gap <= 1e-6)
    if not tiny:
        n = 20_000
        held_out = fasthoag.HeldOut(*friedman(5000, 1))
        seconds, result = tune_kernel(bench, friedman(n), held_out, "gpu", 2)
        bench.record(
            "gpu-kernel",
            f"hold-out of {n} rows, gpu",
            seconds,
            n_passes=result.n_passes,
            criterion=result.value,
            status=result.status,
            extra={"theta": result.theta},
        )
        shown = f"{median(seconds):.3g} s, {result.status}"
        bench.say("6", f"kernel ridge, hold-out of {n} rows", shown, "", None)


def tune_kernel(bench, rows, criterion, device, repeats):
    """Seconds of whole tunings, warm, and the result."""
    import fasthoag
    from fasthoag.kernels import problem

    results = []
    find = problem.find_device
    problem.find_device = lambda: bench.device  # the emulated one too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds = bench.times(
                lambda: results.append(
                    fasthoag.hoag(fasthoag.KernelProblem(*rows, device=device), criterion)
                ),
                repeats,
            )
    finally:
        problem.find_device = find
    return seconds, results[-1]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--nnz", type=lambda text: int(float(text)), default=10**9, help="of the large problem"
    )
    parser.add_argument(
        "--skip-cpu", action="store_true", help="no tuning of the large problem on the CPU"
    )
    parser.add_argument("--emulate", action="store_true", help="tiny sizes, kernels on the CPU")
    parser.add_argument(
        "--records", type=Path, help="folder of the records; bench/records by default"
    )
    options = parser.parse_args()
    build()
    bench = Bench(options)
    print(
        f"{bench.name}; {bench.shared['cpu']}, {bench.n_cores} cores; commit "
        f"{bench.shared['commit']}; {bench.shared['libraries']}\n"
    )
    bench.attempt(parity)
    if options.emulate:
        bandwidth, sizes = copy_bandwidth(bench, 1 << 20), [(200, 100, 20, np.float64, "2e2 x 1e2")]
    else:
        bandwidth = copy_bandwidth(bench, 1 << 32)
        sizes = [
            (32561, 123, 14, np.float64, "as small as a9a"),
            (11314, 130107, 155, np.float64, "20 newsgroups' size"),
            (10**6, 10**6, 100, np.float32, "1e8, Zipf"),
            (
                options.nnz // 1000,
                10**6,
                1000,
                np.float64,
                f"{options.nnz:.0e}, Zipf, 1e6 features",
            ),
        ]
    bench.attempt(tunings)
    bench.attempt(memory)
    bench.attempt(kernels)
    found = None
    for size in sizes:
        del found
        gc.collect()
        found = bench.attempt(product, *size, bandwidth)
    if found is not None:
        bench.attempt(large_folds, *found)
    print(f"\n{perf_counter() - BEGAN:.0f} seconds on {bench.name}")
    return int(bench.n_failed > 0)


if __name__ == "__main__":
    if importlib.util.find_spec("pybind11") is None and not is_built():
        raise SystemExit(
            "bench/gpu.py builds fasthoag first and needs pybind11 for that: pip install pybind11"
        )
    sys.exit(main())
