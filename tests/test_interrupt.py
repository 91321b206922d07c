"""Ctrl-C during a long fit: KeyboardInterrupt soon, and the same Problem works afterwards."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="SIGINT to a child is a POSIX matter"
)
SOON = 1.5  # seconds from the signal to the exception

SCRIPT = """
import json, sys, time
import numpy as np, scipy.sparse as sp, fasthoag
from fasthoag.design import Curvature
from fasthoag.design.cpu import CpuDesign

n, p, per_row, what, n_threads = 50_000, 20_000, 40, sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
columns = (p * rng.random(n * per_row) ** 2).astype(np.int32)
starts = np.arange(0, n * per_row + 1, per_row)
X = sp.csr_matrix((rng.random(n * per_row), columns, starts), (n, p))
X.sum_duplicates()
y = np.where(X @ rng.normal(size=p) > 0, 1.0, -1.0)
half = n // 2
problem = fasthoag.Problem(CpuDesign(X[:half], fit_intercept=True, n_threads=n_threads), y[:half])
criterion = fasthoag.HeldOut(X[half:], y[half:])


def short():
    return fasthoag.hoag(problem, criterion, [3.0], bounds=(1, 5), tol=3e-2)


def long():
    if what == "fit":       # many kernel calls and the Python between them
        while True:
            paper = {"method": "hoag", "schedule": "exact"}
            fasthoag.hoag(problem, criterion, [-12.0], bounds=(-12, 5), max_iter=10**6, **paper)
    if what == "newton":    # the same with the other method
        while True:
            fasthoag.hoag(problem, criterion, [-12.0], bounds=(-12, 5), tol=1e-9, max_iter=10**6)
    if what == "cg":        # one call that would take minutes
        c, lam = Curvature(np.ones((half, 1))), np.full((p + 1, 1), 1e-12)
        H = fasthoag.inner.cg.Hessian(problem.design, c, lam)
        fasthoag.inner.cg.cg(H, np.ones((p + 1, 1)), tol=1e-300, max_iter=10**8)
    raise SystemExit("the long work was too short")


expected = short().theta.tolist()
print("started", flush=True)
try:
    long()
except KeyboardInterrupt:
    at = time.time()
again = short().theta.tolist()
print(json.dumps({"at": at, "same": again == expected, "status": short().status}), flush=True)
"""


@pytest.mark.parametrize(("what", "n_threads"), [("fit", 2), ("newton", 1), ("cg", 2)])
def test_interrupt_ends_a_long_fit_soon_and_the_problem_works_afterwards(what, n_threads):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")])),
        "PYTHONWARNINGS": "ignore",
    }
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, what, str(n_threads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert child.stdout.readline() == "started\n", child.stderr.read()
        time.sleep(0.4)
        sent = time.time()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 0, err
    report = json.loads(out)
    assert report["at"] - sent <= SOON, (
        f"{report['at'] - sent:.2f} s from the signal to the exception"
    )
    assert report["same"]
    assert report["status"] in ("converged", "at_bound")


def test_interrupt_outside_a_kernel_is_left_to_python():
    script = (
        "import os, signal, fasthoag\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept "
        "KeyboardInterrupt:\n    print('caught')"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")])),
    }
    assert (
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
        ).stdout
        == "caught\n"
    )


def test_exception_of_another_signal_handler_comes_through():
    """The handler's own exception, not KeyboardInterrupt."""
    script = """
import signal
import numpy as np, scipy.sparse as sp, fasthoag
from fasthoag.design import Curvature
from fasthoag.design.cpu import CpuDesign
from fasthoag.inner.cg import Hessian, cg

class Late(Exception):
    pass

def alarm(*_):
    raise Late

signal.signal(signal.SIGALRM, alarm)
design = CpuDesign(sp.random(3000, 2000, 0.01, "csr", random_state=0))
hess = Hessian(design, Curvature(np.ones((3000, 1))), np.full((2000, 1), 1e-12))
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    cg(hess, np.ones((2000, 1)), tol=1e-300, max_iter=10**8)
except Late:
    print("late")
print(int(cg(hess, np.zeros((2000, 1)), tol=1.0).status[0]))
"""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout == "late\n0\n", done.stderr
