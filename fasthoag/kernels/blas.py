"""The threads of LAPACK and BLAS, which kernel models share with our own kernels: as many as asked
for, and one where rows are few. Their idle threads spin, so that on a busy machine a factor of 256
rows took 100 times as long with two threads as with one."""

from functools import cache
from typing import Any

FEW_ROWS = 768  # a factor of so many takes 5 ms on one thread


@cache
def controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def blas_threads(n_rows: int, n_threads: int) -> Any:
    """A context in which BLAS uses so many threads for systems of these rows."""
    limit = 1 if n_rows <= FEW_ROWS else n_threads
    return controller().limit(limits=limit, user_api="blas")
