"""Passes over X as launches: X V over the rows, X' R over the columns, and both with a curvature
between them. Nothing is computed before the launches run; they allocate nothing themselves, so that
they can be repeated."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fasthoag.design.gpu.launches import N_THREADS, n_blocks


@dataclass(frozen=True, eq=False)
class Epilogue:
    """What a pass does with a finished sum z before it writes it: ``scale (z + shift) + add U``,
    without the parts that are None (csrc/cuda/epilogue.cuh)."""

    shift: Any = None  # (m,)
    scale: Any = None  # (n_rows, n_scale): for column j its column scale_of[j]
    scale_of: Any = None
    add: Any = None  # (n_rows, n_add): for column j its column add_of[j]
    add_of: Any = None
    U: Any = None  # (n_rows, m)

    def arguments(self, out):
        """FH_EPILOGUE of the kernels."""
        n_scale, n_add = (0 if a is None else a.shape[1] for a in (self.scale, self.add))
        scale, add = (self.scale, self.scale_of, n_scale), (self.add, self.add_of, n_add)
        return self.shift, *scale, *add, self.U, out


def lanes(device, m):
    """How many columns lie side by side in a warp: a power of two."""
    return 1 << (min(m, device.warp, device.n_threads).bit_length() - 1)


def gather(stored, layout, V, out, epilogue, *, is_squared=False, n_active=None):
    """out = M V with the matrix M, or its squares, of this layout."""
    m, device = out.shape[1], stored.device
    n_lanes = lanes(device, m)
    per_lane = min(4, 1 << (-(-m // n_lanes) - 1).bit_length())
    bind = device.module("passes.cu", (*stored.types, ("FH_PER_LANE", per_lane))).bind
    parts = stored.xp.empty((layout.n_parts, m)) if layout.n_parts else None
    end = epilogue.arguments(out)
    n_shared, n_long = len(layout.blocks), len(layout.long_rows)
    grid = n_shared + len(layout.segments)
    matrix = layout.indptr, layout.indices, layout.data, layout.n_rows
    blocks = layout.blocks, n_shared, layout.segments
    steps = []
    if grid:
        setting = m, n_lanes, is_squared
        values = *matrix, *blocks, *setting, V, *end, parts, n_active
        steps.append(bind("gather", grid, N_THREADS, *values))
    if n_long:
        values = layout.long_rows, m, parts, *end, n_active
        steps.append(bind("add_segments", n_long, N_THREADS, *values))
    return steps


def to_rows(stored, V, out, *, scale=None, scale_of=None, n_active=None):
    """out = X V with the intercept, times `scale`."""
    p = stored.shape[1]
    shift = V[p:].reshape(-1) if stored.has_intercept else None
    epilogue = Epilogue(shift, scale, scale_of)
    return gather(stored, stored.rows, V, out, epilogue, n_active=n_active)


def to_columns(stored, R, out, epilogue=None, *, is_squared=False, n_active=None):
    """out = X' R, or with the squares of X, by the transpose or without one."""
    epilogue, options = epilogue or Epilogue(), {"is_squared": is_squared, "n_active": n_active}
    steps = gather(stored, stored.columns, R, out, epilogue, **options)
    if stored.has_transpose:
        return steps
    return [*scatter(stored, R, out, epilogue, **options), *steps]  # steps: the column of ones


def scatter(stored, R, out, epilogue, *, is_squared, n_active):
    """out = X' R without its intercept, in fixed point by atomics (csrc/cuda/scatter.cu)."""
    xp, (n, p), m, rows = stored.xp, stored.shape, out.shape[1], stored.rows
    bind = stored.device.module("scatter.cu", stored.types).bind
    n_parts, log2_n = n_blocks(n), int(n).bit_length()
    bound, unit, sums = xp.empty((n_parts, m)), xp.empty(m), xp.empty((p, m, 2), dtype=np.int64)
    # units that hold the largest product of every column
    of_bounds = n, m, stored.row_max, R, is_squared, bound, n_active
    of_units = n_parts, m, log2_n, bound, unit, n_active
    steps = [
        bind("row_bounds", n_parts, N_THREADS, *of_bounds),
        bind("fixed_units", 1, N_THREADS, *of_units),
        partial(sums.fill, 0),
    ]
    n_shared = len(rows.blocks)
    grid = n_shared + len(rows.segments)
    if grid:
        matrix = rows.indptr, rows.indices, rows.data, p, rows.blocks, n_shared, rows.segments
        setting = m, lanes(stored.device, m), log2_n, is_squared
        values = *matrix, *setting, R, unit, sums, n_active
        steps.append(bind("scatter", grid, N_THREADS, *values))
    of_result = p, m, log2_n, sums, unit, *epilogue.arguments(out), n_active
    steps.append(bind("from_fixed", n_blocks(p * m), N_THREADS, *of_result))
    return steps


def product(stored, c, fold, V, out, *, lam=None, lam_of=None, n_active=None):
    """out = X' (c * (X V)) + lam V with a `Curvature` c: of column j that of `fold[j]`, and the
    strengths `lam[:, lam_of[j]]`."""
    (n, m), K = (stored.shape[0], V.shape[1]), c.n_classes
    Z = stored.xp.empty((n, m))
    scale = {"scale": c.values, "scale_of": fold} if K == 1 else {}
    steps = to_rows(stored, V, Z, **scale, n_active=n_active)
    if K > 1:  # the curvature of a row is a matrix: a kernel of its own
        of_classes = n, m, K, c.values, c.values.shape[1] // K, fold, Z, n_active
        bind = plain_rows(stored.device).bind
        steps.append(bind("curve", n_blocks(n * m // K), N_THREADS, *of_classes))
    penalty = Epilogue() if lam is None else Epilogue(add=lam, add_of=lam_of, U=V)
    return steps + to_columns(stored, Z, out, penalty, n_active=n_active)


def plain_rows(device):
    """The kernels over rows that ask for no loss: any of them has these."""
    return device.module("rows.cu", (("FH_LOSS", "squared"),))
