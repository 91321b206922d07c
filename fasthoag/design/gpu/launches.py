"""Launches of kernels.

A launch is a function without arguments that starts one kernel with arguments bound before. Passes
and solvers make lists of launches first, allocate whatever these need, and run them afterwards, so
that the same list can run many times or become a CUDA graph.
"""

N_THREADS = 256  # of a block
MOST_BLOCKS = 1024  # of kernels over rows or coefficients


def run(steps):
    for step in steps:
        step()


def n_blocks(n):
    """How many blocks share n rows. It depends on n only, so that the same sums are added in the
    same order on every device."""
    return int(max(1, min(MOST_BLOCKS, n // N_THREADS)))
