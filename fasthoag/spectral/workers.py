"""Threads that take pieces of the work on factors side by side, each with a BLAS of one thread."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from fasthoag.spectral.factors import slices


class Workers:
    """So many threads. Those of BLAS meet after every small product: LAPACK's ``sytrd`` of 1,600
    rows took 5 s on two of them where other processes ran beside, and 0.1 s on one.

    Examples
    --------
    >>> Workers(2).map(abs, [-1, 2, -3])
    [1, 2, 3]
    """

    def __init__(self, n_threads: int = 1) -> None:
        self.n_threads = n_threads

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """What `work` makes of every item, in their order."""
        items = list(items)
        n = min(self.n_threads, len(items))
        if n < 2:
            return [work(one) for one in items]
        pool, is_awaited = ThreadPoolExecutor(n), True
        try:  # NumPy's handling of errors is that of a context
            waiting = [pool.submit(copy_context().run, work, one) for one in items]
            return [one.result() for one in waiting]
        except KeyboardInterrupt:  # LAPACK does not stop: what runs ends later, for nobody
            is_awaited = False
            raise
        finally:
            pool.shutdown(is_awaited, cancel_futures=True)

    def pieces(self, n: int) -> list[slice]:
        """Equal pieces of n things, one for each thread."""
        return slices(n, -(-n // min(self.n_threads, max(n, 1))) or 1)

    def turns(self, items: list[Any], most: int) -> list[list[Any]]:
        """The items that each of at most `most` threads takes in turn."""
        n = max(1, min(self.n_threads, len(items), most))
        return [items[k::n] for k in range(n)]
