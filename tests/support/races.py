"""What ``make tsan`` runs under ThreadSanitizer, which ends it with an exit code where two threads
write without a lock: kernels on several threads, called by several threads for the same Problem.
First a race that is there on purpose has to be found."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse as sp

from fasthoag import KFold, Problem, _core, hoag, threads
from fasthoag.design.cpu import CpuDesign

FOUND = 66  # ThreadSanitizer's exit code


def at_once(work):
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(work) for _ in range(2)]:
            one.result()


def race():
    total, part = np.zeros((200_000, 4)), np.ones((200_000, 4))
    at_once(lambda: [_core.add_to(total, part, 2) for _ in range(20)])


def kernels():
    threads.n_cores = lambda: 4
    rng = np.random.default_rng(0)
    X = sp.random(3000, 300, 0.1, "csr", random_state=0)
    y = np.where(X @ rng.normal(size=300) > 0, 1.0, -1.0)
    text = b"1 1:2 3:4\n-1 2:1 # no more\n" * 20_000
    for form in ({}, {"deterministic": True}, {"low_memory": True}):
        problem = Problem(CpuDesign(X, fit_intercept=True, n_threads=4, **form), y)
        at_once(lambda: hoag(problem, KFold(3), method="hoag", max_iter=2))
        at_once(lambda: hoag(problem, KFold(3), max_iter=2))
        at_once(lambda: CpuDesign(X, n_threads=4, **form))
    at_once(lambda: _core.parse_svmlight(text, n_threads=4))


def main():
    if sys.argv[1:]:
        return race()
    made = subprocess.run(
        [sys.executable, "-P", __file__, "race"], capture_output=True, check=False
    )
    if made.returncode != FOUND or b"data race" not in made.stderr:
        raise SystemExit(f"the race on purpose was not found: {made.stderr.decode()}")
    kernels()
    print("no race but the one on purpose")


if __name__ == "__main__":
    main()
