"""Blocks of rows on the workers of a Dask cluster: the only importer of `distributed`.

Every worker has one actor, which holds its blocks. A pass is one call of each actor, all at once;
loops stay in this process. No task graph is made, and no block is tied to a worker for ever.
"""

import itertools
import time
from typing import Any

from fasthoag.design.blocks import Each
from fasthoag.design.places import Shard, run_all
from fasthoag.design.sharded import ShardedDesign

LOOK = 1.0  # seconds between two looks at whether the workers that are waited for still live
GRACE = 1.0  # seconds in which the scheduler knows that one does not


class WorkerLostError(ConnectionError):
    """A worker with blocks of rows is gone, and the blocks with it."""


class BlockHolder:
    """The actor: blocks of one worker by number."""

    def __init__(self, sources):
        self.shards = [Shard(i, source) for i, source in sources.items()]

    def run(self, tasks, released):
        return run_all(self.shards, tasks, released)

    def n_kept(self):
        """How many things are kept of each block."""
        return [len(shard.kept) for shard in self.shards]


class DaskPlace:
    """Blocks on the workers of `client`, as many on each as on the others, neighbours together."""

    is_here = False

    def __init__(self, client, blocks):
        self.client, self.n_blocks, self.lost = client, len(blocks), None
        addresses = sorted(workers_of(client))
        if not addresses:
            raise ValueError("the client has no workers; start some, or client.wait_for_workers(1)")
        n = min(len(addresses), len(blocks))
        bounds = [len(blocks) * k // n for k in range(n + 1)]
        self.of_workers = [
            (address, range(*ends))
            for address, ends in zip(addresses, itertools.pairwise(bounds), strict=False)
        ]
        futures = [self._start(address, numbers, blocks) for address, numbers in self.of_workers]
        with client.as_current():
            self.actors = [
                self._wait(future, *of) for future, of in zip(futures, self.of_workers, strict=True)
            ]

    def _start(self, address, numbers, blocks):
        """The actor to be of a worker. Matrices go there as data, loaders as they are."""
        sources = {}
        for i in numbers:
            block = blocks[i]
            if not callable(block):
                block = self.client.scatter(block, workers=[address], hash=False)
            sources[i] = block
        where = {"workers": [address], "allow_other_workers": True}
        return self.client.submit(BlockHolder, sources, actor=True, pure=False, **where)

    def run(self, tasks, released):
        if self.client.status != "running":
            self.lost = self.lost or f"the client is {self.client.status}, and the blocks are lost"
        if self.lost is not None:
            raise WorkerLostError(self.lost)
        with self.client.as_current():
            calls = []
            for actor, (address, numbers) in zip(self.actors, self.of_workers, strict=True):
                own = [for_blocks(one, numbers) for one in tasks]
                try:
                    calls.append((actor.run(own, released), own))
                except RuntimeError as error:  # what an actor says that is known to be lost
                    self._check_alive(address, numbers, error)
                    raise
            found = []
            for (call, own), of in zip(calls, self.of_workers, strict=True):
                found += self._wait(call, *of, own)
        return found

    def _wait(self, future, address, numbers, sent=None):
        """The result of a call of one worker, looking now and then whether it lives, and once
        whether what was to be sent could be: an actor says nothing of what could not."""
        while True:
            try:
                return future.result(timeout=LOOK)
            except TimeoutError as error:
                if future.done():
                    raise
                self._check_alive(address, numbers, error, grace=0.0)
                check_can_be_sent(sent)
                sent = None
            except (OSError, RuntimeError) as error:
                self._check_alive(address, numbers, error)
                raise

    def _check_alive(self, address, numbers, error, grace=GRACE):
        """Raises WorkerLostError when the worker is gone."""
        end = time.monotonic() + grace
        while address in workers_of(self.client):
            if time.monotonic() >= end:
                return
            time.sleep(0.05)
        blocks = ", ".join(map(str, numbers))
        self.lost = (
            f"worker {address} is lost, and with it block {blocks} of the rows. Make the design "
            "again, with the workers that there are, and start from the last theta"
        )
        raise WorkerLostError(self.lost) from error

    def beside(self, blocks):
        return DaskPlace(self.client, blocks)


def workers_of(client):
    """Addresses of the workers that live, with their numbers of threads; none where the scheduler
    does not answer."""
    try:
        return client.nthreads() if client.status == "running" else {}
    except OSError:
        return {}


def check_can_be_sent(tasks):
    """Raises TypeError for a function or an argument that cannot go to another process."""
    from distributed.protocol import serialize

    serialize(tasks, on_error="raise")


def for_blocks(task, numbers):
    """A task with what concerns these blocks only."""

    def part(arg):
        return Each({i: arg.values[i] for i in numbers}) if isinstance(arg, Each) else arg

    return task._replace(args=tuple(map(part, task.args)))


def DaskDesign(
    client: Any,
    blocks: Any,
    *,
    fit_intercept: bool = True,
    n_threads: int | None = None,
    **options: Any,
) -> ShardedDesign:
    """A `fasthoag.ShardedDesign` whose blocks live on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Of any cluster whose workers can import fasthoag. With ``direct_to_workers=True`` calls do
        not go through the scheduler.
    blocks : list
        Arrays or sparse matrices, all of one kind, which are sent to the workers; or functions
        without arguments that return one, which are called there. Each worker gets as many.
    fit_intercept : bool
    n_threads : int, optional
        Of the kernels on every worker. By default as many as the smallest worker has; the bits
        depend on it and on the blocks, and not on where they live.
    **options
        As of `fasthoag.ShardedDesign`.

    Raises
    ------
    ImportError
        Without `distributed`: ``pip install "fasthoag[dask]"``.
    WorkerLostError
        From here and from whatever uses the design, when a worker with blocks is gone. It is a
        ConnectionError.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> def load():  # runs on the worker
    ...     return np.ones((2, 2))
    >>> def tune(client):
    ...     design = fasthoag.DaskDesign(client, [load, np.eye(2)])
    ...     problem = fasthoag.Problem(design, [[1, -1], [1, -1]])
    ...     return fasthoag.hoag(problem, fasthoag.KFold(2))
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            f"DaskDesign needs distributed ({error}): pip install 'fasthoag[dask]'"
        ) from error

    if not isinstance(client, Client) or client.asynchronous:
        raise TypeError(
            f"client must be a distributed.Client that is not asynchronous; got {client!r}"
        )
    if not isinstance(blocks, (list, tuple)) or len(blocks) == 0:
        raise ValueError(
            f"blocks must be a list with a matrix or a loader for each; got {type(blocks).__name__}"
        )
    if n_threads is None:
        n_threads = min(workers_of(client).values(), default=1)
    where = DaskPlace(client, blocks)
    return ShardedDesign(where, fit_intercept=fit_intercept, n_threads=n_threads, **options)
