"""Ctrl-C during a long fit: KeyboardInterrupt soon, and the same Problem works afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp

import fasthoag
from fasthoag.__main__ import Stopped
from fasthoag.cli import application

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="SIGINT to a child is a POSIX matter"
)
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
}
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
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, what, str(n_threads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | {"PYTHONWARNINGS": "ignore"},
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
    assert (
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            env=ENVIRONMENT,
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
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=ENVIRONMENT
    )
    assert done.stdout == "late\n0\n", done.stderr


# ---- the command ----

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc who listens to signals")
END = {signal.SIGINT: "fasthoag: interrupted.\n", signal.SIGTERM: "fasthoag: terminated.\n"}
N_DELAYS = 8


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of rows on which a search takes some seconds."""
    from sklearn.datasets import dump_svmlight_file

    rng, n, p = np.random.default_rng(0), 6000, 5000
    X = sp.random(n, p, 0.01, "csr", random_state=0)
    path = tmp_path_factory.mktemp("interrupt") / "rows.txt"
    dump_svmlight_file(X, np.sign(X @ rng.normal(size=p) + rng.normal(size=n)), str(path))
    return path


def command(*args, through="module", **options):
    """The command in a process of its own, as ``python -m fasthoag`` or by the console script."""
    script = "import sys; from fasthoag.__main__ import main; sys.exit(main())"
    start = {"module": ["-m", "fasthoag"], "script": ["-c", script]}[through]
    return subprocess.Popen(
        [sys.executable, *start, *map(str, args)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_until_it_listens(child):
    """Until then the interpreter starts, which is not ours. Python itself leaves SIGTERM alone."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with open(f"/proc/{child.pid}/status") as file:
            caught = next(line for line in file if line.startswith("SigCgt")).split()[1]
        if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)
    pytest.fail("the command never listened to signals")


def ended_by(child, number, delay):
    """Exit code and stderr of a command that is sent a signal after a while."""
    try:
        wait_until_it_listens(child)
        time.sleep(delay)
        child.send_signal(number)
        _, err = child.communicate(timeout=30)
    finally:
        child.kill()
    return child.returncode, err


@dataclass
class NoOptions:
    debug: bool = False


def test_a_signal_that_a_library_makes_an_error_of_ends_the_command_all_the_same():
    def load(asked: NoOptions):
        try:
            raise Stopped(143)
        except Stopped as stopped:
            raise ImportError("initialization failed") from stopped

    with pytest.raises(Stopped):
        application.command(load)()


@ON_LINUX
@pytest.mark.slow
@pytest.mark.parametrize("through", ["module", "script"])
@pytest.mark.parametrize("number", END)
def test_signals_end_the_command_with_one_line_whatever_it_does(number, through, rows):
    """While it imports, reads and fits."""
    for delay in np.random.default_rng(number).uniform(0, 1.5, N_DELAYS):
        args = "--per", "feature", "--max-iter", 300
        child = command("tune", rows, *args, through=through)
        assert ended_by(child, number, delay) == (128 + number, END[number]), delay


@ON_LINUX
@pytest.mark.slow
@pytest.mark.parametrize("number", END)
def test_signals_leave_a_whole_model_or_none(number, rows, tmp_path):
    """While it imports, reads, fits and writes."""
    for delay in np.random.default_rng(number).uniform(0, 3, N_DELAYS // 2):
        out = tmp_path / f"{delay}.npz"
        child = command("tune", rows, "--per", "feature", "--cv", 20, "--out", out)
        code, err = ended_by(child, number, delay)
        assert (code, err.endswith(END[number])) == (128 + number, True), delay
        assert out.exists() == ("the best model so far. " in err)
        if out.exists():
            assert fasthoag.load_model(out).status in ("interrupted", "stopped_early")
    assert {path.suffix for path in tmp_path.iterdir()} <= {".npz"}


@ON_LINUX
@pytest.mark.slow
def test_signals_at_the_end_of_the_command_print_no_traceback():
    """It has taken no signal any more, or ends by it."""
    began = time.monotonic()
    assert command("info").wait() == 0
    takes = time.monotonic() - began
    for delay in np.random.default_rng(0).uniform(0.5 * takes, 1.1 * takes, N_DELAYS):
        found = ended_by(command("info"), signal.SIGINT, delay)
        assert found in [(0, ""), (130, END[signal.SIGINT])], delay


@ON_LINUX
def test_command_that_was_started_to_ignore_interrupts_ignores_them():
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    assert ended_by(command("info", **ignoring), signal.SIGINT, 0) == (0, "")


INTERRUPTED_IN = """
import os, signal, sys, time
from fasthoag import __main__, cli

class Slow:
    def __del__(self):  # Python prints what it raises and goes on
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1e-3)

def in_a_finaliser():
    try:
        Slow()
        time.sleep(20)
    finally:
        print("cleaned up", flush=True)

def in_a_kernel():
    import numpy as np, scipy.sparse as sp
    from fasthoag.design import Curvature
    from fasthoag.design.cpu import CpuDesign
    from fasthoag.inner.cg import Hessian, cg

    design = CpuDesign(sp.random(3000, 2000, 0.01, "csr", random_state=0))
    hess = Hessian(design, Curvature(np.ones((3000, 1))), np.full((2000, 1), 1e-12))
    os.system(f"(sleep 0.5; kill -INT {os.getpid()}) &")
    try:
        cg(hess, np.ones((2000, 1)), tol=1e-300, max_iter=10**8)
    finally:
        print("cleaned up", flush=True)

def in_numba():
    import fasthoag

    os.system(f"(sleep 0.2; kill -INT {os.getpid()}) &")
    try:
        for _ in range(100):
            fasthoag.custom_loss(
                lambda y, z: (y - z) ** 2, lambda y, z: 2 * (z - y), lambda y, z: 2.0 + 0 * (y + z)
            )
    finally:
        print("cleaned up", flush=True)

cli.main = globals()[sys.argv[1]]
__main__.main()
"""


@pytest.mark.parametrize("where", ["in_a_finaliser", "in_a_kernel", "in_numba"])
def test_interrupt_is_not_lost_where_python_or_c_runs_our_code(where):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IN, where],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "cleaned up\n"), done.stderr
    assert done.stderr == END[signal.SIGINT]


@pytest.mark.parametrize("args", [["--help"], ["info"], ["tune"], ["info", "--json"]])
def test_reader_that_goes_away_ends_the_command_in_silence(args):
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fasthoag", *args],
            env=ENVIRONMENT,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    is_wrong_use = args == ["tune"]  # which is said on stderr
    assert done.returncode == (2 if is_wrong_use else 141)
    assert bool(done.stderr) == is_wrong_use
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_output_that_cannot_be_written_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fasthoag", "info"],
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "fasthoag: stdout: cannot write the result: No space left on device\n"
