"""Blocks on the workers of a Dask cluster give the bits that they give in this process, and a lost
worker is an error at once."""

import gc
import os
import signal
import threading
import time

import numpy as np
import pytest
from support.designs import cut_rows
from support.problems import sparse_problem

from fasthoag import (
    DaskDesign,
    HeldOut,
    KFold,
    LogisticRegressionCV,
    Problem,
    ShardedDesign,
    custom_loss,
    hoag,
)
from fasthoag.design.dask import WorkerLostError
from fasthoag.design.rows import to_host
from fasthoag.hypergradient import Accuracy

distributed = pytest.importorskip("distributed", reason="distributed is not installed")

X, Y = sparse_problem("logistic", 3, 60, 8)
BLOCKS = cut_rows(X, 5)


def start():
    """A client of a cluster of two processes with one thread each."""
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    )
    return distributed.Client(cluster)


def stop(client):
    client.cluster.close()
    client.close()


@pytest.fixture(scope="module")
def client():
    client = start()
    yield client
    stop(client)


def both(client, blocks=BLOCKS, **options):
    """The same blocks on the workers and here."""
    here = [block() if callable(block) else block for block in blocks]
    return (
        DaskDesign(client, blocks, **options),
        ShardedDesign(here, **({"n_threads": 1} | options)),
    )


CRITERIA = {
    "k_fold": KFold(3),
    "held_out": HeldOut(X[::2], Y[::2]),
    "held_out in blocks": HeldOut(cut_rows(X, 3), Y),
}


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
def test_value_hypergradient_and_coefficients_are_the_same_bits(client, criterion):
    found = []
    for design in both(client):
        problem = Problem(design, Y)
        bound = criterion.bind(problem)
        W = design.zeros(bound.inner.units.n_columns)
        found.append(bound.evaluate(np.array([0.5]), W, Accuracy(1e-12, 1e-12)))
    there, here = found
    assert there.value == here.value
    np.testing.assert_array_equal(there.grad, here.grad)
    np.testing.assert_array_equal(there.W, here.W)


def test_an_estimator_of_several_targets_gives_the_same_bits(client):
    labels = np.column_stack([Y > 0, np.arange(len(Y)) % 3 > 0]).astype(int)
    there, here = (LogisticRegressionCV(cv=4).fit(one, labels) for one in both(client))
    np.testing.assert_array_equal(there.C_, here.C_)
    np.testing.assert_array_equal(there.coef_, here.coef_)
    np.testing.assert_array_equal(there.predict_proba(X), here.predict_proba(X))


def test_the_whole_search_gives_the_same_bits(client):
    there, here = (hoag(Problem(design, Y), KFold(4), n_threads=2) for design in both(client))
    assert there.status == here.status == "converged"
    assert there.n_passes == here.n_passes
    np.testing.assert_array_equal(there.theta, here.theta)
    np.testing.assert_array_equal(there.w, here.w)


def test_loaders_run_on_the_workers(client):
    def load(part):
        assert distributed.get_worker()
        return part

    loaders = [lambda part=part: load(part) for part in BLOCKS]
    there, here = DaskDesign(client, loaders), ShardedDesign(BLOCKS)
    assert there.shape == here.shape
    np.testing.assert_array_equal(there.counts, here.counts)
    other = there.like([lambda: X[:10], lambda: X[10:12]])
    assert other.lengths == (10, 2)


def test_losses_of_the_users_own_are_compiled_on_the_workers(client):
    loss = custom_loss(
        lambda y, z: 0.5 * (z - y) ** 2, lambda y, z: z - y, lambda y, z: 1.0, lambda y, z: 0.0
    )
    results = [
        hoag(Problem(design, Y, loss=one), KFold(3), [0.0], max_iter=2, tol=1.0)
        for design, one in zip(both(client), (loss, "squared"), strict=True)
    ]
    assert results[0].value == pytest.approx(results[1].value, rel=1e-8)


def test_faults_of_a_block_are_told_here(client):
    def load():
        raise FileNotFoundError("no such block")

    with pytest.raises(FileNotFoundError, match="no such block"):
        DaskDesign(client, [BLOCKS[0], load])
    with pytest.raises(ValueError, match=r"X\[1\] has 7 columns, X\[0\] has 8"):
        DaskDesign(client, [BLOCKS[0], BLOCKS[1][:, :7]])


def test_what_cannot_be_sent_is_told_here(client):
    """And not waited for."""
    design, lock = DaskDesign(client, BLOCKS), threading.Lock()
    handle, rows = design.matvec(design.zeros(1)), design.place(Y)
    assert not rows.reduce(lambda block, z: z.sum(axis=0), handle)  # both are there
    for other in (lock, handle):
        with pytest.raises(TypeError, match="serialize"):
            rows.reduce(lambda block, z, other=other: z.sum() + bool(other), handle)
    assert float(rows.reduce(lambda block, z: z.sum(axis=0), handle)[0]) == 0


def test_other_threads_of_a_design_outlive_a_fault(client):
    design = DaskDesign(client, BLOCKS)
    other = design.with_threads(1)
    with pytest.raises(ValueError, match="one row a coefficient"):
        np.asarray(design.matvec(np.ones((1, 1))))
    assert np.asarray(other.matvec(other.zeros(1))).shape == (60, 1)


def test_what_nobody_has_a_handle_of_is_let_go(client):
    design = DaskDesign(client, BLOCKS)
    hoag(Problem(design, Y), KFold(3))
    gc.collect()
    to_host(design.matvec(design.zeros(1)))
    counts = [actor.n_kept().result() for actor in design.store.place.actors]
    assert max(map(max, counts)) <= 2  # the block's design and these predictions


def test_a_client_and_blocks_are_asked_for(client):
    with pytest.raises(TypeError, match=r"client must be a distributed\.Client"):
        DaskDesign("127.0.0.1", BLOCKS)
    with pytest.raises(ValueError, match="blocks must be a list"):
        DaskDesign(client, X)


def test_a_killed_worker_is_an_error_at_once():
    client = start()
    try:
        designs = [DaskDesign(client, BLOCKS) for _ in range(2)]
        rows = [design.place(Y) for design in designs]
        W = designs[0].zeros(1)
        for one in rows:
            one.loss_grad("logistic", W)
        address, pid = next(iter(client.run(os.getpid).items()))
        killer = threading.Timer(0.5, os.kill, [pid, signal.SIGKILL])
        killer.start()
        began = time.monotonic()
        for one in (rows[0], rows[0], rows[1]):  # while it is asked, and from then on
            with pytest.raises(WorkerLostError, match=f"{address} is lost, and with it block"):
                one.reduce(lambda block: time.sleep(1))
        assert time.monotonic() - began < 15
        again = DaskDesign(client, BLOCKS)
        np.testing.assert_array_equal(again.counts, designs[0].counts)
    finally:
        stop(client)
    with pytest.raises(WorkerLostError, match="the client is closed"):
        to_host(again.matvec(W))
