"""What a run of the paper's comparison went through: seconds and θ, of fasthoag and of the paper's
own code."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

import fasthoag

HERE = Path(__file__).resolve().parent
ORIGINAL = HERE.parent / "build" / "hoag-2016"  # where `make paper` puts it
THREADS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
SCHEDULE, N_STEPS = "exponential", 100  # of the paper's own code


@dataclass(frozen=True, eq=False)
class Course:
    """The θ that a run had after so many seconds, best so far; what it knew of the criterion and of
    the unseen rows there (NaN where it did not look); the end of the run, and its HoagResult."""

    seconds: list[float]
    thetas: list[Any]
    values: list[float]
    unseen: list[float]
    end: float
    result: Any = None


def course_of(comparison, settings, seconds, is_shared=False):
    """The course of a call of `hoag`, problem and all."""
    more = {} if comparison.is_kernel else {"unseen": fasthoag.HeldOut(*comparison.unseen)}
    with threadpool_limits(comparison.n_threads, "blas"):
        began = perf_counter()
        problem = comparison.problem(is_shared)
        before = perf_counter() - began
        result = fasthoag.hoag(
            problem,
            fasthoag.HeldOut(*comparison.judge),
            bounds=comparison.bounds,
            stop_on=None,  # the criterion itself is compared
            callback=lambda record: record["seconds"] > seconds,
            n_threads=comparison.n_threads,
            **settings,
            **more,
        )
        end = perf_counter() - began
    return course_of_trace(result, before, end)


def course_of_trace(result, before, end):
    """The course in a trace that began `before` seconds after the clock."""
    steps = [one for one in result.trace if one["is_accepted"] and one["phase"] in ("all", "trial")]
    points = [
        (before + one["seconds"], one["theta"], one["value"], one.get("unseen_value", np.nan))
        for one in steps
    ]
    if not points or not np.array_equal(points[-1][1], result.theta):
        points.append((end, result.theta, result.value, result.unseen_value))
    seconds, thetas, values, unseen = (list(column) for column in zip(*points, strict=True))
    return Course(seconds, [np.asarray(one) for one in thetas], values, unseen, end, result)


def parts_of(X, name):
    """The arrays of a matrix for a file, by name."""
    if not sp.issparse(X):
        return {f"X_{name}": X}
    parts = {"data": X.data, "indices": X.indices, "indptr": X.indptr, "shape": X.shape}
    return {f"{part}_{name}": value for part, value in parts.items()}


def course_of_original(comparison, seconds):
    """The course of the paper's own code, in a process with the libraries it wants."""
    (X, y), (X_judge, y_judge) = comparison.train, comparison.judge
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.npz")
        arrays = parts_of(X, "train") | parts_of(X_judge, "judge")
        np.savez(path, y_train=y, y_judge=y_judge, theta0=comparison.theta0, **arrays)
        asked = (str(path), comparison.original, SCHEDULE, str(seconds), str(N_STEPS))
        found = subprocess.run(
            [sys.executable, str(HERE / "original.py"), *asked],
            env=os.environ
            | {"PYTHONPATH": str(comparison.folder_of_original)}
            | dict.fromkeys(THREADS, str(comparison.n_threads)),
            capture_output=True,
            text=True,
            check=True,
        )
    points = json.loads(found.stdout)
    # it shows a θ before it solves there, which is done when it shows the next
    times, thetas = [second for second, _ in points[1:]], [np.array(one) for _, one in points[:-1]]
    nothing = [np.nan] * len(times)
    return Course(times, thetas, nothing, nothing, times[-1] if times else seconds)
