"""What ``make tsan`` runs under ThreadSanitizer, which ends it where two threads touch the same
numbers, one of them to write, and nothing orders them: kernels on several threads, called by
several Python threads for the same Problem. First races that are there on purpose have to be found;
with the name of one of these as argument it alone is run."""

import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from fasthoag import ConvergenceWarning, KFold, Problem, _core, hoag, threads
from fasthoag.design.cpu import CpuDesign
from fasthoag.io import load_svmlight

FOUND = 66  # ThreadSanitizer's exit code
N_THREADS = 3


def at_once(work):
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(work) for _ in range(2)]:
            one.result()


# ---- races on purpose ----


def two_chunks():
    """A chunk of one call reads what another one writes."""
    block = np.zeros(300_000)
    for _ in range(20):
        _core.add_to(block[:200_000], block[100_000:], N_THREADS)


def two_calls():
    """Two calls, each on one thread, add to the same block."""
    total, part = np.zeros(200_000), np.ones(200_000)
    at_once(lambda: [_core.add_to(total, part, 1) for _ in range(20)])


RACES = {race.__name__: race for race in (two_chunks, two_calls)}


def check_that_it_is_found(race):
    command = [sys.executable, "-P", __file__, race]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if made.returncode != FOUND or "data race" not in made.stderr:
        raise SystemExit(f"the race on purpose {race} was not found: {made.stderr}")


# ---- work without races ----


def random_rows(n_rows, n_features, per_row, dtype=np.float64):
    """Rows of the same length, some columns in many of them, and labels."""
    rng = np.random.default_rng(0)
    columns = (n_features * rng.random((n_rows, per_row)) ** 2).astype(np.int32)
    start = np.arange(n_rows + 1, dtype=np.int32) * per_row
    values = rng.normal(size=columns.size).astype(dtype)
    X = sp.csr_matrix((values, columns.ravel(), start), (n_rows, n_features))
    X.sum_duplicates()
    y = np.where(X @ rng.normal(size=n_features) + rng.normal(size=n_rows) > 0, 1.0, -1.0)
    return X, y


# So many rows or features, and entries, that every loop is cut into chunks, for one column too.
SHAPES = {"tall": (17_000, 40, 8), "wide": (700, 8200, 170)}
FORMS = {
    "fused": {},
    "two passes": {"deterministic": True},
    "low memory": {"low_memory": True},
}


def searches():
    """Newton's steps and the paper's: Newton-CG, CG for one and for many right-hand sides."""
    for shape in SHAPES.values():
        X, y = random_rows(*shape)
        for form in FORMS.values():
            search_at_once(CpuDesign(X, fit_intercept=True, n_threads=N_THREADS, **form), y)
    X, y = random_rows(*SHAPES["tall"], np.float32)
    search_at_once(CpuDesign(X, n_threads=N_THREADS), np.maximum(y, 0), "multinomial")


def search_at_once(design, y, loss="logistic"):
    problem = Problem(design, y, loss)
    for method in "newton", "hoag":
        at_once(lambda method=method: hoag(problem, KFold(2), [0.0], method=method, max_iter=1))


def reading():
    text = "".join(
        f"{(-1) ** i} {1 + i % 7}:{i} {9 + i % 5}:4.5 # no more\n" for i in range(20_000)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.txt")
        path.write_text(text)
        at_once(lambda: load_svmlight(path, n_threads=N_THREADS))


def matrices():
    """Designs of the same matrix, of as many entries as loops over entries need to be cut."""
    X, _ = random_rows(70_000, 300, 16)
    X.has_canonical_format = False
    arrays = X.indptr, X.indices, X.nnz, X.shape[1]
    at_once(lambda: _core.look_at(*arrays, N_THREADS))
    at_once(lambda: _core.fingerprint(X.data, N_THREADS))
    for form in FORMS.values():
        at_once(lambda form=form: CpuDesign(X, n_threads=N_THREADS, **form))


def main():
    threads.n_cores = lambda: 2 * N_THREADS  # so that both callers get threads, on any machine
    _core.share_cores(2 * N_THREADS)
    if sys.argv[1:]:
        return RACES[sys.argv[1]]()
    for race in RACES:
        check_that_it_is_found(race)
    warnings.simplefilter("ignore", ConvergenceWarning)  # a step or two are enough here
    for work in reading, matrices, searches:
        work()
    print("no race but those on purpose")


if __name__ == "__main__":
    main()
