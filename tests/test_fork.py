"""A process forked after a parallel kernel call can run kernels itself (libgomp alone would hang
there)."""

import os
import select
import signal
import threading
import time

import numpy as np
import pytest
from support.tunings import threaded_problem

from fasthoag import KFold, Problem, hoag, load_svmlight, threads

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork()"),
    # Python 3.12 warns of what is tested here
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
LIMIT = 30.0  # seconds; the work takes well below one


def in_child(work):
    """What `work()` returns in a forked child: bytes, or a failure of the test when the child hangs
    or dies."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # nothing of pytest may run here
        try:
            os.close(read)
            with os.fdopen(write, "wb") as pipe:
                pipe.write(work())
            os._exit(0)
        except BaseException as error:
            os.write(2, f"child: {error!r}\n".encode())
            os._exit(1)
    os.close(write)
    deadline, result = time.monotonic() + LIMIT, b""
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while True:  # to the end of the file: the child closed it, or died
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                pytest.fail(f"the forked child still hung after {LIMIT:.0f} s")
            part = pipe.read(1 << 16)
            if not part:
                break
            result += part
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "the forked child died"
    return result


def test_forked_child_runs_kernels_after_a_parallel_call_of_the_parent():
    problem, _ = threaded_problem()
    design = problem.design.with_threads(2)
    V = np.random.default_rng(0).normal(size=(design.n_coef, 4))
    parallel = design.matvec(V)
    result = np.frombuffer(in_child(lambda: design.matvec(V).tobytes())).reshape(parallel.shape)
    np.testing.assert_allclose(result, parallel, rtol=0, atol=1e-12 * np.abs(parallel).max())
    np.testing.assert_array_equal(design.matvec(V), parallel)  # and the parent goes on in parallel


def test_forked_child_runs_a_whole_fit():
    problem, criterion = threaded_problem()
    here = hoag(problem, criterion, n_threads=2)
    theta = np.frombuffer(in_child(lambda: hoag(problem, criterion, n_threads=2).theta.tobytes()))
    np.testing.assert_allclose(theta, here.theta, rtol=0, atol=1e-8)


def test_forked_child_builds_a_design_of_its_own():
    from support.problems import sparse_problem

    from fasthoag.design.cpu import CpuDesign

    X, _ = sparse_problem("logistic", 0, 3000, 80, 0.4)
    expected = CpuDesign(X, n_threads=2, deterministic=True).rmatvec(np.ones((3000, 1)))
    result = in_child(
        lambda: CpuDesign(X, n_threads=2, deterministic=True).rmatvec(np.ones((3000, 1))).tobytes()
    )
    # deterministic: one thread gives the same bits
    np.testing.assert_array_equal(np.frombuffer(result)[:, None], expected)


def test_child_of_a_forked_child_works_too():
    problem, _ = threaded_problem()
    design = problem.design.with_threads(2)
    V = np.ones((design.n_coef, 2))
    expected = design.matvec(V)
    result = in_child(lambda: in_child(lambda: design.matvec(V).tobytes()))
    np.testing.assert_allclose(
        np.frombuffer(result).reshape(expected.shape),
        expected,
        rtol=0,
        atol=1e-12 * np.abs(expected).max(),
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pool_of_both_kinds_works(method):
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    total_of_a_pass()
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert pool.submit(total_of_a_pass).result(timeout=LIMIT) == pytest.approx(
            total_of_a_pass(), rel=1e-12
        )


def total_of_a_pass():
    problem, _ = threaded_problem()
    design = problem.design.with_threads(2)
    return float(design.matvec(design.encode(np.ones((81, 1)))).sum())


def test_forked_child_reads_text(tmp_path):
    """Enough of it for several threads."""
    path = tmp_path / "rows.txt"
    path.write_text("1 1:0.5 3:2\n-1 2:1\n" * 20000)
    X, y = load_svmlight(path, n_threads=2)
    total = float((y @ X).sum())
    there = in_child(lambda: np.float64((y @ load_svmlight(path, n_threads=2)[0]).sum()).tobytes())
    assert np.frombuffer(there) == total


def test_forked_child_works_on_one_thread_by_default():
    threaded_problem()
    assert in_child(lambda: str(threads.n_threads_of(None)).encode()) == b"1"


def test_child_that_is_forked_while_a_thread_is_in_a_kernel_works():
    """The lock of the matrix is held at most of the forks, by a thread that the child has not."""
    problem, _ = threaded_problem()
    design = problem.design.with_threads(1)
    V = np.ones((design.n_coef, 8))
    expected, is_over = design.matvec(V), threading.Event()

    def keep_busy():
        while not is_over.is_set():
            design.matvec(V)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(10):
            assert in_child(lambda: design.matvec(V).tobytes()) == expected.tobytes()
    finally:
        is_over.set()
        busy.join()


def test_child_that_is_forked_while_threads_search_searches_too():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 8))
    y = np.sign(X[:, 0] + rng.normal(size=300))
    is_over = threading.Event()

    def search():
        return hoag(Problem(X, y), KFold(3), n_threads=1)

    def keep_busy():
        while not is_over.is_set():
            search()

    expected, busy = search(), [threading.Thread(target=keep_busy) for _ in range(3)]
    for one in busy:
        one.start()
    try:
        for _ in range(5):
            assert in_child(lambda: search().w.tobytes()) == expected.w.tobytes()
    finally:
        is_over.set()
        for one in busy:
            one.join()
