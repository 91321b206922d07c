"""How many threads there are, what threads that call at the same time do to each other, and what
each of them counts."""

import json
import os
import pickle
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file
from support.problems import sparse_problem
from support.tunings import threaded_problem

import fasthoag
from fasthoag import HeldOut, KFold, Problem, ShardedDesign, _core, hoag, threads
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.reference import ReferenceDesign

N, LIMIT = 40, 120.0  # rows; seconds, of which the work takes a few
X, Y = np.random.default_rng(0).normal(size=(N, 3)), np.where(np.arange(N) % 3 == 0, 1.0, -1.0)


def python(script, *args, **environment):
    """What a process of its own prints, as JSON."""
    paths = [os.getcwd(), os.path.join(os.getcwd(), "tests"), os.environ.get("PYTHONPATH")]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---- numbers of threads ----


def svmlight_file(folder):
    dump_svmlight_file(X, Y, str(folder / "rows.txt"))
    return folder / "rows.txt"


ENTRANCES = {
    "Problem.with_threads": lambda n, _: Problem(X, Y).with_threads(n),
    "Problem.with_threads of a GPU's kind": lambda n, _: Problem(
        ReferenceDesign(X), Y
    ).with_threads(n),
    "hoag": lambda n, _: hoag(Problem(X, Y), HeldOut(X, Y), n_threads=n),
    "check_hypergrad": lambda n, _: fasthoag.check_hypergrad(
        Problem(X, Y), HeldOut(X, Y), [0.0], n_threads=n
    ),
    "CpuDesign": lambda n, _: CpuDesign(X, n_threads=n),
    "CpuDesign.with_threads": lambda n, _: CpuDesign(X).with_threads(n),
    "ShardedDesign": lambda n, _: ShardedDesign([X], n_threads=n),
    "an estimator": lambda n, _: fasthoag.RidgeCV(cv=3, n_threads=n).fit(X, Y),
    "n_jobs": lambda n, _: fasthoag.LogisticRegressionCV(cv=3, n_jobs=n).fit(X, Y),
    "load_svmlight": lambda n, folder: fasthoag.load_svmlight(svmlight_file(folder), n_threads=n),
    "load_data": lambda n, folder: fasthoag.load_data(svmlight_file(folder), n_threads=n),
}
# It has no kernels on the CPU, and nothing to warn of.
WITH_KERNELS = [name for name in ENTRANCES if "GPU" not in name]


@pytest.mark.parametrize("n", [0, 1.5, True, "2", np.float64(2)], ids=repr)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_what_is_no_number_of_threads_is_refused(entrance, n, tmp_path):
    name = "n_jobs" if entrance == "n_jobs" else "n_threads"
    with pytest.raises(ValueError, match=f"^{name} must be a positive integer, -1 for all cores"):
        ENTRANCES[entrance](n, tmp_path)


@pytest.mark.parametrize("n", [10**6, 2**31 - 1, 2**70])
@pytest.mark.parametrize("entrance", WITH_KERNELS)
def test_more_threads_than_cores_are_cut_with_one_warning_on_the_line_of_the_call(
    entrance, n, tmp_path
):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ENTRANCES[entrance](n, tmp_path)
    (warning,) = (one for one in found if "threads=" in str(one.message))
    assert f"n_threads={n} is more than the number of cores" in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.parametrize("n", [-1, 1, np.int64(2), None])
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_numbers_of_threads_are_taken_without_a_word(entrance, n, tmp_path):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ENTRANCES[entrance](n, tmp_path)
    assert not [one for one in found if "threads" in str(one.message)]


@pytest.mark.parametrize(
    ("asked", "n"),
    [(-1, 6), (-2, 5), (-6, 1), (-7, 1), (-(10**9), 1), (1, 1), (6, 6), (np.int32(3), 3)],
)
def test_negative_numbers_leave_cores_free(asked, n, monkeypatch):
    monkeypatch.setattr(threads, "n_cores", lambda: 6)
    assert threads.n_threads_of(asked) == n
    assert type(threads.n_threads_of(asked)) is int


def test_default_is_what_the_environment_says_within_the_cores(monkeypatch):
    script = """
import json
from fasthoag import threads
threads.n_cores = lambda: 4
print(json.dumps([threads.n_threads_of(None), threads.n_threads_of(-1)]))
"""
    assert python(script, OMP_NUM_THREADS="1") == [1, 4]
    assert python(script, OMP_NUM_THREADS="3") == [3, 4]
    assert python(script, OMP_NUM_THREADS="1000000") == [4, 4]


@pytest.mark.parametrize("n", [10**6, 2**31 - 1, -(2**31), 0])
def test_no_number_of_threads_ends_the_process_from_within_the_kernels(n):
    """Whoever calls them past all checks."""
    script = """
import json, sys
import numpy as np, scipy.sparse as sp
from fasthoag import _core
from fasthoag.design.cpu import CpuDesign
from fasthoag.losses import find_loss

n = int(sys.argv[1])
X = sp.random(20000, 30, 0.4, "csr", random_state=0)
found = []
for flags in ({}, {"deterministic": True}):
    design = CpuDesign(X, fit_intercept=True, n_threads=1, **flags)
    V, y = np.ones((design.n_coef, 3)), np.ones(20000)
    one = [design.matvec(V), design.place(y).loss_grad("logistic", V).grad]
    design.n_threads = n
    Z = design.matvec(V)
    other = [Z, design.place(y).loss_grad("logistic", V).grad]
    design.place(y).terms(find_loss("logistic"), 2, 1, Z)
    design.rmatvec(Z)
    found += [bool(np.allclose(a, b)) for a, b in zip(one, other)]
_core.sizes(X.data, n)
_core.count_columns(X.indices, 30, n)
_core.transpose([(X.indptr.astype(np.int64), X.indices, X.data)], 30, n)
_core.relabel(X.indices, None, True, n)
_core.add_to(np.zeros((100000, 2)), np.ones((100000, 2)), n)
text = b"1 1:2 3:4\\n" * 200000
padded = text + bytes(_core.SVMLIGHT_PADDING)
_core.SvmlightParser(-1, False, 2**40, 2**40).read(padded, len(text), n)
_core.look_at(X.indptr, X.indices, X.nnz, 30, n)
_core.fingerprint(X.data, n)
print(json.dumps(found))
"""
    assert python(script, n) == [True] * 4


# ---- the cores of a process ----

MOUNTS_2 = "30 23 0:26 / {root}/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNTS_1 = (
    "32 31 0:29 {of} {root}/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / {root}/memory rw,relatime - cgroup cgroup rw,memory\n"
)
OTHER = "25 1 8:1 / /home rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "quota"),
    [
        ("0::/\n", MOUNTS_2, {}, np.inf),
        ("0::/\n", MOUNTS_2, {"cgroup/cpu.max": "max 100000\n"}, np.inf),
        ("0::/\n", MOUNTS_2, {"cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (
            "0::/a.slice/b c.scope\n",
            MOUNTS_2,
            {
                "cgroup/a.slice/b c.scope/cpu.max": "800000 100000\n",
                "cgroup/a.slice/cpu.max": "300000 100000\n",
                "cgroup/cpu.max": "max 100000\n",
            },
            3.0,
        ),
        ("0::/../../elsewhere\n", MOUNTS_2, {"cgroup/cpu.max": "200000 100000\n"}, 2.0),
        (
            "5:memory:/x\n4:cpu,cpuacct:/docker/abc/job\n0::/\n",
            MOUNTS_1.replace("{of}", "/docker/abc"),
            {"cpu/job/cpu.cfs_quota_us": "50000\n", "cpu/job/cpu.cfs_period_us": "200000\n"},
            0.25,
        ),
        (
            "4:cpu,cpuacct:/docker/abc\n",
            MOUNTS_1.replace("{of}", "/docker/abc"),
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            np.inf,
        ),
        (
            "4:cpu:/user\n0::/\n",
            MOUNTS_1.replace("{of}", "/") + MOUNTS_2,
            {"cpu/cpu.cfs_quota_us": "700000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            7.0,
        ),
        (None, None, {}, np.inf),
    ],
    ids=["no file", "no limit", "own", "parent", "outside", "v1", "v1 no limit", "hybrid", "none"],
)
def test_quotas_of_control_groups_are_found(groups, mounts, files, quota, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    proc = tmp_path / "proc"
    proc.mkdir()
    if groups is not None:
        (proc / "cgroup").write_text(groups)
        (proc / "mountinfo").write_text(OTHER + mounts.format(root=tmp_path))
    assert threads.cpu_quota(proc) == quota


@pytest.mark.parametrize(
    ("affinity", "quota", "n"),
    [(8, np.inf, 8), (8, 1.5, 2), (8, 2.0, 2), (8, 0.1, 1), (2, 7.0, 2)],
)
def test_cores_are_those_of_the_affinity_within_the_quota(affinity, quota, n, monkeypatch):
    monkeypatch.undo()  # the number of cores of all tests
    monkeypatch.setattr(threads, "n_of_affinity", lambda: affinity)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert threads.n_cores() == n


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is set as on Linux")
def test_default_and_limit_follow_the_affinity():
    script = """
import json, os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import fasthoag
from fasthoag.threads import n_threads_of
print(json.dumps([n_threads_of(None), n_threads_of(-1), n_threads_of(5, warns=False)]))
"""
    assert python(script) == [1, 1, 1]


# ---- several threads at once ----


def at_once(n, work):
    """What `work(i)` returns in n threads that begin together."""
    gate = threading.Barrier(n)

    def one(i):
        gate.wait()
        return work(i)

    with ThreadPoolExecutor(n) as pool:
        return [one.result(timeout=LIMIT) for one in [pool.submit(one, i) for i in range(n)]]


def designs_of(X):
    return {
        "cpu": CpuDesign(X, fit_intercept=True, n_threads=2),
        "two passes": CpuDesign(X, fit_intercept=True, n_threads=2, deterministic=True),
        "sharded": ShardedDesign([X[:1000], X[1000:]], n_threads=2),
        "reference": ReferenceDesign(X, fit_intercept=True),
    }


@pytest.mark.parametrize("kind", designs_of(sp.eye(1001, 2, format="csr")))
def test_searches_at_once_have_the_bits_and_the_passes_of_one_alone(kind):
    X, y = sparse_problem("logistic", 3, 1500, 40, 0.4)
    problem = Problem(designs_of(X)[kind], y)

    def search(i):
        result = hoag(problem, KFold(3), [3.0], method="hoag", max_iter=2 + i % 2 * 5)
        return result.theta.tobytes(), result.w.tobytes(), result.n_passes

    alone = [search(0), search(1)]
    assert alone[0][2] < alone[1][2]
    assert at_once(4, search) == 2 * alone


def test_passes_of_a_callback_are_not_those_of_its_search():
    problem, criterion = threaded_problem()
    alone = hoag(problem, criterion).n_passes
    inner = []

    def callback(_):
        inner.append(hoag(problem, criterion, max_iter=1).n_passes)

    assert hoag(problem, criterion, callback=callback).n_passes == alone
    assert min(inner) > 0


def test_passes_of_a_thread_that_ended_are_not_lost_to_others():
    design = CpuDesign(np.eye(3))
    design.matvec(np.ones((3, 1)))
    (there,) = at_once(1, lambda _: design.matvec(np.ones((3, 1))) is None or design.n_passes)
    assert (there, design.n_passes) == (1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted as on Linux")
@pytest.mark.skipif(not _core.has_openmp, reason="there is one thread")
def test_calls_share_the_cores_and_keep_their_bits():
    """Where there is one core, a call of two threads starts no other; where there are two it
    does."""
    script = """
import json, os
import numpy as np
from fasthoag import _core, threads
from fasthoag.design.cpu import CpuDesign
threads.n_cores = lambda: 2
design = CpuDesign(np.random.default_rng(0).normal(size=(20000, 30)), n_threads=1).with_threads(2)
V, found = np.ones((30, 4)), []
for n in (1, 2):
    _core.share_cores(n)
    before = len(os.listdir("/proc/self/task"))
    bits = design.rmatvec(design.matvec(V)).tobytes().hex()
    found.append((len(os.listdir("/proc/self/task")) - before, bits))
print(json.dumps(found))
"""
    (one, bits), (two, same) = python(script, OMP_NUM_THREADS="1")
    assert (one, two) == (0, 1)
    assert bits == same


# ---- workers of joblib ----

JOBLIB = """
import json, sys
from joblib import Parallel, delayed
import support.joblib_work as work
alone = work.search(2)
with Parallel(n_jobs=2, backend=sys.argv[1]) as workers:
    found = workers(delayed(work.search)(2) for _ in range(2))
    defaults = workers(delayed(work.default_threads)() for _ in range(2))
    nested = workers(delayed(work.nested)() for _ in range(1))
print(json.dumps([[one == alone for one in found], defaults, nested]))
"""


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_workers_of_joblib_search_like_one_alone(backend):
    same, defaults, nested = python(JOBLIB, backend)
    cores = threads_of_this_machine()
    if backend != "multiprocessing":  # forked, so on one thread: other bits
        assert all(same)
    share = {"loky": max(1, cores // 2), "threading": cores, "multiprocessing": 1}[backend]
    assert set(defaults) == {share}
    assert all(nested)


def test_functions_that_name_the_package_go_to_workers():
    assert pickle.loads(pickle.dumps(fasthoag)) is fasthoag


def threads_of_this_machine():
    return python("import json; from fasthoag import threads; print(threads.n_threads_of(None))")
