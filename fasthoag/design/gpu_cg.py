"""Conjugate gradients on a device: the kernels of csrc/cuda/cg.cu in order, and a look at them
every few iterations."""

import numpy as np

from fasthoag.design.rows import to_host
from fasthoag.inner.cg import MAX_ITER, START_TOL, SolveResult, energy_left

N_THREADS, ONE_BLOCK, MOST_BLOCKS = 256, 512, 512
# as csrc/cuda/cg.cu
RZ, ALPHA, BETA, TOL, RADIUS, XX, RING_ALPHA, RING_RZ, N_SCALARS = 0, 1, 2, 3, 4, 8, 9, 13, 17
STATUS, N_ITER, IS_ACTIVE, N_STATES = 0, 1, 2, 4
N_ACTIVE, N_PRODUCTS = 0, 1
# iterations before the host looks; those after the first look are a graph, which costs about as
# much to make as they all
FIRST_LOOK, LOOK = 4, 8
REFRESH = 500  # as csrc/cg.hpp
FRESH, STEPPED, REMEASURED = range(3)  # kinds of cg_test


def solve(hess, b, start, tol, precond, max_iter, radius=None):
    """What `inner.cg.cg` gives; `radius` (m,) makes it Steihaug's. Blocks are the device's."""
    design, K, xp, m = hess.design, hess.curvature.n_classes, hess.design.xp, b.shape[1]
    curvature, lam, lam_of = hess.curvature.values, hess.lam, hess.columns_of_lam(m)
    fold = (np.arange(m) // K % (curvature.shape[1] // K)).astype(np.int32)
    scalars, state = np.zeros((N_SCALARS, m)), np.zeros((N_STATES, m), np.int32)
    scalars[TOL], scalars[RADIUS] = tol, np.inf if radius is None else radius
    state[STATUS], state[IS_ACTIVE] = MAX_ITER, 1
    x = xp.zeros(b.shape) if start is None else xp.asarray(start, copy=True)
    r, d, columns, done = b.copy(), xp.zeros(b.shape), np.arange(m), 0
    kind, start_tol = FRESH, 1.0 if start is None else START_TOL
    # a round: iterations until a third of its columns are done and leave the block
    while len(columns):
        block = [np.ascontiguousarray(a[:, columns]) for a in (scalars, state)]
        block += [a if len(columns) == m else take(xp, a, columns) for a in (b, x, r, d)]
        part, done = _round(
            design,
            (curvature, fold[columns], lam, lam_of[columns]),
            block,
            precond.parts,
            K,
            max_iter,
            kind,
            start_tol,
            done,
        )
        scalars[:, columns], state[:, columns] = part[:2]
        if len(columns) == m:
            x, r, d = part[2:]
        else:
            for whole, some in zip((x, r, d), part[2:], strict=False):
                whole[:, xp.asarray(columns)] = some
        columns, kind, start_tol = np.flatnonzero(state[IS_ACTIVE]), REMEASURED, 1.0
    energy = energy_left(
        state[N_ITER],
        scalars[RING_ALPHA : RING_ALPHA + 4],
        scalars[RING_RZ : RING_RZ + 4],
        scalars[RZ],
    )
    n_iter, status = state[N_ITER].copy(), state[STATUS].copy()
    norm, length = np.sqrt(scalars[[RZ, XX]])
    return SolveResult(x, r, n_iter, norm, length, energy, status)


def take(xp, block, columns):
    return xp.ascontiguousarray(block[:, xp.asarray(columns)])


def _round(design, system, block, precond, K, max_iter, kind, start_tol, done):
    """Iterations on some columns until two thirds of them at most are left. Returns scalars and
    states on the host, x, r and d, and the number of all iterations so far."""
    curvature, fold, lam, lam_of = system
    scalars, state, b, x, r, d = block
    xp, m = design.xp, b.shape[1]
    s, state, counts, hd = (
        xp.asarray(scalars),
        xp.asarray(state),
        xp.asarray(np.array([m, 0], np.int32)),
        xp.empty(b.shape),
    )
    product = design.product(curvature, fold, K, d, hd, lam=lam, lam_of=lam_of, n_active=counts)
    iteration, test = _launches(
        design, product, precond, K, max_iter, x, r, d, hd, s, state, counts
    )

    def recompute():  # r = b - H x of active columns
        kept = d.copy()
        d[:] = x
        run(product)
        r[:] = xp.where(state[IS_ACTIVE] != 0, b - hd, r)
        d[:] = kept
        design.n_passes += 1

    if kind == FRESH and start_tol < 1:  # from a start
        recompute()
    test(kind, start_tol)
    # by themselves, since a kernel may be loaded at its first launch, which no graph can hold
    n_first = FIRST_LOOK if done == 0 else 1
    for _ in range(n_first):
        run(iteration)
    done += n_first
    repeat, look = None, to_host(counts)
    while 3 * look[N_ACTIVE] > 2 * m:
        repeat = repeat or design.device.repeated(iteration)
        n = min(LOOK, REFRESH - done % REFRESH)
        for _ in range(n):
            repeat()
        done, look = done + n, to_host(counts)
        if done % REFRESH == 0 and look[N_ACTIVE] > 0:  # invariant: r = b - H x up to rounding
            recompute()
            test(REMEASURED, 1.0)
    design.n_passes += int(look[N_PRODUCTS])
    return (to_host(s), to_host(state), x, r, d), done


def _launches(design, product, precond, K, max_iter, x, r, d, hd, s, state, counts):
    """The launches of one iteration, which allocate nothing, and ``test(kind, start_tol)`` that
    measures r and lets finished columns go."""
    xp, (p, m), bind = design.xp, r.shape, design.device.module("cg.cu").bind
    diagonal, low_rank, inverse = precond
    n_diag = 1 if diagonal is None else diagonal.shape[1]
    n_hot, rank = (0, 0) if low_rank is None else low_rank.shape
    grid, n_low = min(4096, -(-p * m // N_THREADS)), max(1, min(64, n_hot // 64))
    # a row of an inverse is work for more than one thread
    n_parts = max(1, min(MOST_BLOCKS, p // (64 if inverse is None else 8)))
    parts, sums = xp.empty((n_parts, m)), xp.empty(m)
    z, parts_inverse = (
        (None, None) if inverse is None else (xp.empty((p, m)), xp.empty((n_parts, m)))
    )
    Br, parts_low = (None, None) if not rank else (xp.empty((rank, m)), xp.empty((n_low, rank * m)))

    def measure(steps):
        found = [
            bind(
                "cg_update",
                n_parts,
                N_THREADS,
                p,
                m,
                d,
                hd,
                diagonal,
                n_diag,
                steps,
                x,
                r,
                parts,
                counts,
            )
        ]
        if inverse is not None:
            found.append(
                bind("cg_inverse", n_parts, N_THREADS, p, m, inverse, r, z, parts_inverse, counts)
            )
        if rank:
            found.append(
                bind(
                    "cg_low_rank",
                    n_low,
                    N_THREADS,
                    n_hot,
                    p,
                    rank,
                    m,
                    low_rank,
                    r,
                    parts_low,
                    counts,
                )
            )
        return found

    def decide(kind, start_tol):
        return bind(
            "cg_test",
            1,
            ONE_BLOCK,
            n_parts,
            m,
            K,
            kind,
            start_tol,
            max_iter,
            parts,
            parts_inverse,
            n_low,
            parts_low,
            rank,
            Br,
            sums,
            s,
            state,
            counts,
        )

    iteration = [
        bind(
            "cg_direction",
            grid,
            N_THREADS,
            p,
            m,
            r,
            z,
            diagonal,
            n_diag,
            low_rank,
            n_hot,
            rank,
            Br,
            s,
            state,
            d,
            counts,
        ),
        *product,
        bind("cg_dots", n_parts, N_THREADS, p, m, d, hd, parts, counts),
        bind("cg_step", 1, ONE_BLOCK, n_parts, m, K, parts, s, state, counts),
        *measure(s),
        decide(STEPPED, 1.0),
    ]
    return iteration, lambda kind, start_tol: run([*measure(None), decide(kind, start_tol)])


def run(steps):
    for step in steps:
        step()
