"""The threads of LAPACK and BLAS: as many as asked for, and one where matrices are small. Their
idle threads spin, so that on a busy machine a factor of 256 rows took 100 times as long with two
threads as with one, and the inverse of 124 rows up to 50 ms instead of 0.2. On a quiet one they
take cores from our own: 5-fold tuning of 20 newsgroups took 1.2 s instead of 0.95."""

import importlib
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

FEW_ROWS = 768  # a factor of so many takes 5 ms on one thread
FEW_PRODUCTS = FEW_ROWS**3  # of a factor of a tall or wide matrix: 50 ms on one thread
MOST_FACTORISED = 2000  # rows, or features, whose matrix of products searches make


@cache
def controller() -> Any:
    from threadpoolctl import ThreadpoolController

    # SciPy brings a BLAS of its own, which would not be known if it came later
    importlib.import_module("scipy.linalg")
    return ThreadpoolController()


class Limits:
    """The limits that running calls ask for, of which the least holds for the process. What was
    before comes back with the end of the last, in whatever order they end."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[int] = []
        self._before: Any = None

    def add(self, limit: int) -> None:
        with self._lock:
            self._before = self._before or _limited(limit)
            self._asked.append(limit)
            _limited(min(self._asked))

    def remove(self, limit: int) -> None:
        with self._lock:
            self._asked.remove(limit)
            if self._asked:
                _limited(min(self._asked))
                return
            before, self._before = self._before, None
            before.restore_original_limits()

    def forget(self) -> None:
        """In a forked process the calls of the other do not run."""
        before = self._before
        self._begin()
        if before is not None:
            before.restore_original_limits()


def _limited(limit: int) -> Any:
    return controller().limit(limits=limit, user_api="blas")


LIMITS = Limits()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LIMITS.forget)


@contextmanager
def blas_threads(n_rows: int, n_threads: int) -> Iterator[None]:
    """A context in which BLAS uses at most so many threads, and for systems of few rows one."""
    limit = 1 if n_rows <= FEW_ROWS else n_threads
    LIMITS.add(limit)
    try:
        yield
    finally:
        LIMITS.remove(limit)


@contextmanager
def blas_threads_for(design: Any) -> Iterator[None]:
    """A context for a linear model of a design: one thread where a factor of X takes little time,
    or where X is sparse and none is made, so that BLAS has products of vectors only; else as many
    as before."""
    side, is_sparse = min(design.shape), design.is_sparse
    if math.prod(design.shape) * side > FEW_PRODUCTS and not (is_sparse and side > MOST_FACTORISED):
        yield
        return
    with blas_threads(1, 1):
        yield
