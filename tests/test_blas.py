"""The threads of BLAS: what calls ask for holds while they run, and nothing of it stays."""

import multiprocessing
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

import fasthoag
from fasthoag.blas import (
    FEW_PRODUCTS,
    FEW_ROWS,
    LIMITS,
    MOST_FACTORISED,
    blas_threads,
    blas_threads_for,
)


def n_blas():
    return max(one["num_threads"] for one in ThreadpoolController().select(user_api="blas").info())


@pytest.fixture(autouse=True)
def three_threads():
    with threadpool_limits(3, user_api="blas"):
        if n_blas() < 3:
            pytest.skip("BLAS has no threads here")
        yield
        assert n_blas() == 3


@pytest.mark.parametrize("first_to_end", [0, 1])
def test_limits_of_overlapping_calls_end_with_the_last(first_to_end):
    limits = [1, 2]
    for limit in limits:
        LIMITS.add(limit)
    assert n_blas() == 1
    LIMITS.remove(limits.pop(first_to_end))
    assert n_blas() == limits[0]
    LIMITS.remove(limits[0])


def test_small_systems_have_one_thread_and_large_ones_what_was_asked_for():
    with blas_threads(FEW_ROWS, 2):
        assert n_blas() == 1
    with blas_threads(FEW_ROWS + 1, 2):
        assert n_blas() == 2
    n, side = FEW_PRODUCTS // 100, MOST_FACTORISED
    for shape, is_sparse, n_threads in [
        ((n, 10), False, 1),
        ((n + 1, 10), False, 3),
        ((n + 1, 10), True, 3),
        ((10 * side, side), True, 3),
        ((10 * side, side + 1), True, 1),
        ((10 * side, side + 1), False, 3),
    ]:
        with blas_threads_for(SimpleNamespace(shape=shape, is_sparse=is_sparse)):
            assert n_blas() == n_threads


def test_search_on_small_data_runs_on_one_thread_of_blas_and_ends_with_as_many_as_before():
    rng, seen = np.random.default_rng(0), []
    problem = fasthoag.Problem(rng.normal(size=(40, 3)), rng.normal(size=40), loss="squared")
    fasthoag.hoag(problem, fasthoag.KFold(4), callback=lambda record: seen.append(n_blas()))
    assert set(seen) == {1}
    with pytest.raises(ZeroDivisionError):
        fasthoag.hoag(problem, fasthoag.KFold(4), callback=lambda record: 1 / 0)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked here")
def test_forked_process_keeps_no_limit_of_its_parent():
    with blas_threads(1, 1), multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(n_blas) == 3


FIRST_SEARCH = """
import numpy as np, fasthoag
from threadpoolctl import ThreadpoolController, threadpool_limits

def look(record):
    import scipy.linalg
    blas = ThreadpoolController().select(user_api="blas").info()
    assert {one["num_threads"] for one in blas} == {1}, blas

problem = fasthoag.Problem(np.eye(6), [1.0, 2, 3, 4, 5, 7], loss="squared")
fasthoag.hoag(problem, fasthoag.HeldOut(np.eye(6), np.ones(6)), callback=look)
"""


def test_limit_holds_for_libraries_that_a_search_is_the_first_to_load():
    env = os.environ | {"OPENBLAS_NUM_THREADS": "3"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", FIRST_SEARCH], env=env, check=True)
