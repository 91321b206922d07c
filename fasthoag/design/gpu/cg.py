"""Conjugate gradients on the device: the kernels of csrc/cuda/cg.cu in order, and a look at them
every few iterations.

All columns of a block are solved side by side, and every scalar stays on the device. Iterations run
in rounds: a round ends when a third of its columns are done, and the next one goes on with the
others in a smaller block.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fasthoag.design.gpu.launches import N_THREADS, run
from fasthoag.design.rows import Curvature, to_host
from fasthoag.inner.cg import MAX_ITER, REFRESH, START_TOL, SolveResult, energy_left
from fasthoag.inner.precond import Preconditioner

ONE_BLOCK, MOST_BLOCKS = 512, 512  # threads of a kernel of one block, blocks of a kernel that sums
# as csrc/cuda/cg.cu
RZ, ALPHA, BETA, TOL, RADIUS, XX, RING_ALPHA, RING_RZ, N_SCALARS = 0, 1, 2, 3, 4, 8, 9, 13, 17
STATUS, N_ITER, IS_ACTIVE, N_STATES = 0, 1, 2, 4
N_ACTIVE, N_PRODUCTS = 0, 1
# iterations before the host looks; those after the first look are a graph, which costs about as
# much to make as they all
FIRST_LOOK, LOOK = 4, 8
FRESH, STEPPED, REMEASURED = range(3)  # kinds of cg_test


@dataclass(frozen=True, eq=False)
class System:
    """What is solved, and what stays as it is from the first iteration to the last."""

    design: Any
    curvature: Curvature
    fold: np.ndarray  # of every column
    lam: Any
    lam_of: np.ndarray  # the strengths of every column
    precond: Preconditioner
    max_iter: int

    def of(self, columns):
        return replace(self, fold=self.fold[columns], lam_of=self.lam_of[columns])


@dataclass(frozen=True, eq=False)
class Block:
    """Columns that are solved side by side. Kernels change everything but b in place."""

    scalars: Any  # (N_SCALARS, m)
    state: Any  # (N_STATES, m)
    b: Any  # (n_coef, m), as x, r = b - H x and the direction d
    x: Any
    r: Any
    d: Any

    @property
    def n_columns(self):
        return self.b.shape[1]

    def take(self, xp, columns):
        """A block of these columns; arrays of the device that stay whole are the same, no copy."""
        host = (np.ascontiguousarray(a[:, columns]) for a in (self.scalars, self.state))
        there = self.b, self.x, self.r, self.d
        if len(columns) < self.n_columns:
            there = (xp.ascontiguousarray(a[:, xp.asarray(columns)]) for a in there)
        return Block(*host, *there)

    def put(self, xp, columns, part):
        """What `take` gave, back in its place."""
        self.scalars[:, columns], self.state[:, columns] = part.scalars, part.state
        if len(columns) < self.n_columns:
            for whole, some in ((self.x, part.x), (self.r, part.r), (self.d, part.d)):
                whole[:, xp.asarray(columns)] = some


def solve(hess, b, start, tol, precond, max_iter, radius=None):
    """What `inner.cg.cg` gives; a `radius` (m,) makes it Steihaug's. Blocks are the device's."""
    xp, m, c = hess.design.xp, b.shape[1], hess.curvature
    fold = (np.arange(m) // c.n_classes % (c.values.shape[1] // c.n_classes)).astype(np.int32)
    lam_of = hess.columns_of_lam(m)
    system = System(hess.design, c, fold, hess.lam, lam_of, precond, max_iter)
    scalars, state = np.zeros((N_SCALARS, m)), np.zeros((N_STATES, m), np.int32)
    scalars[TOL], scalars[RADIUS] = tol, np.inf if radius is None else radius
    state[STATUS], state[IS_ACTIVE] = MAX_ITER, 1
    x = xp.zeros(b.shape) if start is None else xp.asarray(start, copy=True)
    block = Block(scalars, state, b, x, b.copy(), xp.zeros(b.shape))
    columns, n_done = np.arange(m), 0
    kind, start_tol = FRESH, 1.0 if start is None else START_TOL
    while len(columns):
        part, n_done = iterate(system.of(columns), block.take(xp, columns), kind, start_tol, n_done)
        block.put(xp, columns, part)
        columns, kind, start_tol = np.flatnonzero(state[IS_ACTIVE]), REMEASURED, 1.0
    energy = energy_left(
        state[N_ITER],
        scalars[RING_ALPHA : RING_ALPHA + 4],
        scalars[RING_RZ : RING_RZ + 4],
        scalars[RZ],
    )
    n_iter, status = state[N_ITER].copy(), state[STATUS].copy()
    norm, length = np.sqrt(scalars[[RZ, XX]])
    return SolveResult(block.x, block.r, n_iter, norm, length, energy, status)


def iterate(system, block, kind, start_tol, n_done):
    """A round of iterations, until two thirds of these columns at most are left. Returns the block
    and the number of all iterations so far; `n_done` were before."""
    design, xp, m = system.design, system.design.xp, block.n_columns
    there = replace(block, scalars=xp.asarray(block.scalars), state=xp.asarray(block.state))
    counts, hd = xp.asarray(np.array([m, 0], np.int32)), xp.empty(block.b.shape)
    strengths = {"lam": system.lam, "lam_of": system.lam_of}
    product = design.product(
        system.curvature, system.fold, block.d, hd, **strengths, n_active=counts
    )
    kernels = Kernels(system, there, hd, counts)
    iteration = kernels.iteration(product)

    def recompute():
        """r = b - H x of active columns, by a product with x in the place of d."""
        kept = block.d.copy()
        block.d[:] = block.x
        run(product)
        block.r[:] = xp.where(there.state[IS_ACTIVE] != 0, block.b - hd, block.r)
        block.d[:] = kept
        design.n_passes += 1

    if kind == FRESH and start_tol < 1:  # from a start
        recompute()
    kernels.test(kind, start_tol)
    # by themselves, since a kernel may be loaded at its first launch, which no graph can hold
    n_first = FIRST_LOOK if n_done == 0 else 1
    for _ in range(n_first):
        run(iteration)
    n_done += n_first
    repeat, look = None, to_host(counts)
    while 3 * look[N_ACTIVE] > 2 * m:
        repeat = repeat or design.device.repeated(iteration)
        n = min(LOOK, REFRESH - n_done % REFRESH)
        for _ in range(n):
            repeat()
        n_done, look = n_done + n, to_host(counts)
        if n_done % REFRESH == 0 and look[N_ACTIVE] > 0:  # invariant: r = b - H x up to rounding
            recompute()
            kernels.test(REMEASURED, 1.0)
    design.n_passes += int(look[N_PRODUCTS])
    return replace(block, scalars=to_host(there.scalars), state=to_host(there.state)), n_done


class Kernels:
    """The kernels of cg.cu, bound to a block on the device and to scratch of its size. `hd` is H d,
    which a product computes; `counts` says how many columns are active."""

    def __init__(self, system, block, hd, counts):
        self.system, self.block, self.hd, self.counts = system, block, hd, counts
        xp, (p, m), precond = system.design.xp, block.b.shape, system.precond
        self.bind, self.shape = system.design.device.module("cg.cu").bind, (p, m)
        diagonal, low_rank, inverse = precond.parts
        self.diagonal = diagonal, 1 if diagonal is None else diagonal.shape[1]
        self.n_hot, self.rank = (0, 0) if low_rank is None else low_rank.shape
        # a row of an inverse is work for more than one thread
        self.n_parts = max(1, min(MOST_BLOCKS, p // (64 if inverse is None else 8)))
        self.parts, self.sums = xp.empty((self.n_parts, m)), xp.empty(m)
        self.z = self.parts_inverse = self.Br = self.parts_low = None
        self.n_low = max(1, min(64, self.n_hot // 64))
        if inverse is not None:
            self.z, self.parts_inverse = xp.empty((p, m)), xp.empty((self.n_parts, m))
        if self.rank:
            self.Br = xp.empty((self.rank, m))
            self.parts_low = xp.empty((self.n_low, self.rank * m))

    def iteration(self, product):
        """The launches of one iteration, which allocate nothing."""
        block, K, (p, m) = self.block, self.system.curvature.n_classes, self.shape
        dots = p, m, block.d, self.hd, self.parts, self.counts
        step = self.n_parts, m, K, self.parts, block.scalars, block.state, self.counts
        return [
            self._direction(),
            *product,
            self.bind("cg_dots", self.n_parts, N_THREADS, *dots),
            self.bind("cg_step", 1, ONE_BLOCK, *step),
            *self._measure(block.scalars),
            self._decide(STEPPED, 1.0),
        ]

    def test(self, kind, start_tol):
        """Measures r as it is and lets finished columns go."""
        run([*self._measure(None), self._decide(kind, start_tol)])

    def _direction(self):
        (p, m), block, low_rank = self.shape, self.block, self.system.precond.low_rank
        residual = block.r, self.z, *self.diagonal, low_rank, self.n_hot, self.rank, self.Br
        values = p, m, *residual, block.scalars, block.state, block.d, self.counts
        return self.bind("cg_direction", min(4096, -(-p * m // N_THREADS)), N_THREADS, *values)

    def _measure(self, scalars):
        """The step, if there are `scalars` that tell its length, and the parts of r'P⁻¹r."""
        (p, m), block, precond = self.shape, self.block, self.system.precond
        update = block.d, self.hd, *self.diagonal, scalars, block.x, block.r, self.parts
        steps = [self.bind("cg_update", self.n_parts, N_THREADS, p, m, *update, self.counts)]
        if precond.inverse is not None:
            inverse = precond.inverse, block.r, self.z, self.parts_inverse
            steps.append(
                self.bind("cg_inverse", self.n_parts, N_THREADS, p, m, *inverse, self.counts)
            )
        if self.rank:
            low = self.n_hot, p, self.rank, m, precond.low_rank, block.r, self.parts_low
            steps.append(self.bind("cg_low_rank", self.n_low, N_THREADS, *low, self.counts))
        return steps

    def _decide(self, kind, start_tol):
        """Which columns are done, from these parts."""
        m, K = self.block.n_columns, self.system.curvature.n_classes
        setting = self.n_parts, m, K, kind, start_tol, self.system.max_iter
        measured = self.parts, self.parts_inverse, self.n_low, self.parts_low, self.rank, self.Br
        state = self.sums, self.block.scalars, self.block.state, self.counts
        return self.bind("cg_test", 1, ONE_BLOCK, *setting, *measured, *state)
