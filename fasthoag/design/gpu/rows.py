"""What is done with predictions on the device, without X: losses, their derivatives and sums, the
contraction of the outer Hessian (csrc/cuda/rows.cu). `design` is the `GpuDesign` that the rows are
of."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fasthoag.custom_loss import ROLES
from fasthoag.design.gpu.launches import N_THREADS, n_blocks
from fasthoag.design.gpu.passes import plain_rows
from fasthoag.design.rows import HELD_OUT, TRAIN, UNWEIGHTED, to_host
from fasthoag.losses import derivative

# of expressions that are compared with functions: a third derivative may be a difference quotient
TOLERANCE, TOLERANCE_D3 = 1e-9, 1e-3


@dataclass(frozen=True, eq=False)
class LossKernels:
    """The kernels with the formulas of a loss, its two parameters and its number of classes."""

    module: Any
    parameters: tuple
    n_classes: int


class Losses(NamedTuple):
    """Sums of s ℓ over training and over held-out rows (2, m) as NumPy, and s ℓ' of the training
    rows (n_rows, m) or None."""

    values: np.ndarray
    terms: Any


def kernels_of(device, loss):
    """`LossKernels` of a loss; ValueError for one of the user that has no CUDA expressions."""
    if loss.n_classes > 1:
        return LossKernels(plain_rows(device), (loss.parameters["smoothing"], 0.0), loss.n_classes)
    if loss.compiled is None:
        # every kernel takes two parameters, whatever the loss has
        values = dict(enumerate((loss.parameters or {}).values()))
        first, second = values.get(0, 0.0), values.get(1, 0.0)
        return LossKernels(device.module("rows.cu", (("FH_LOSS", loss.name),)), (first, second), 1)
    if loss.cuda is None:
        raise ValueError(
            f"loss '{loss.name}' is compiled by Numba for the CPU. On the GPU it needs its "
            "formulas as CUDA expressions of y and z: custom_loss(..., cuda=(value, d1, d2, "
            "d3)); or use device='cpu'"
        )
    return LossKernels(device.module("rows.cu", (("FH_LOSS", "custom"),), loss.cuda), (0.0, 0.0), 1)


def arguments(design, rows, m, K):
    """FH_ROWS of the kernels, for m columns: unit u is of fold u modulo n_folds."""
    n_folds = 1 if rows.mask is None else rows.mask.shape[1]
    fold = design.short((np.arange(m) // K % n_folds).astype(np.int32))
    return rows.y, rows.weight, rows.mask, n_folds, fold


def losses(design, rows, loss, Z, wants_terms):
    """`Losses` at the predictions Z."""
    if loss.mixed is not None:
        first, second = (losses(design, rows, one, Z, wants_terms) for one in loss.mixed)
        terms = mixed(loss, first.terms, second.terms) if wants_terms else None
        return Losses(mixed(loss, first.values, second.values), terms)
    kernels, (n, m), xp = kernels_of(design.device, loss), Z.shape, design.xp
    launch, K = kernels.module.launch, kernels.n_classes
    R = xp.empty((n, m)) if wants_terms or K > 1 else None
    n_parts, n_units = n_blocks(n), m // K
    parts, sums = xp.empty((n_parts, 2, n_units)), xp.empty((2, n_units))
    placed = arguments(design, rows, m, K)
    values = n, m, K, *placed, *kernels.parameters, Z, R, wants_terms, parts
    launch("losses", n_parts, N_THREADS, *values)
    launch("add_up", 1, N_THREADS, n_parts, 2, n_units, parts, sums)
    values = np.zeros((2, m))
    values[:, ::K] = to_host(sums)
    return Losses(values, R)


def terms(design, rows, loss, order, part, Z):
    """s times the derivative of this order in the rows of a part."""
    if part == UNWEIGHTED:
        rows, part = bare(rows), TRAIN
    if loss.mixed is not None:
        return mixed(loss, *(terms(design, rows, one, order, part, Z) for one in loss.mixed))
    kernels, Z = kernels_of(design.device, loss), design.block(Z)
    (n, m), K, out = Z.shape, kernels.n_classes, design.xp.empty(Z.shape)
    placed = arguments(design, rows, m, K)
    values = n, m, K, *placed, *kernels.parameters, order, part, Z, out
    kernels.module.launch("row_terms", n_blocks(Z.size // K), N_THREADS, *values)
    return out


def sums(design, rows, loss, part, Z):
    """Sums of s ℓ over the rows of a part, (m,)."""
    found = losses(design, bare(rows) if part == UNWEIGHTED else rows, loss, Z, False)
    train, held_out = found.values
    return held_out if part == HELD_OUT else train


def contract(design, A, B, Z, k, K):
    """sum_i (a_if + b_if z_iq) z_ia z_ib, (n_folds, k, k) as NumPy, from the predictions Z of k
    columns of every fold and, with B, of one more, q."""
    xp, n = design.xp, design.shape[0]
    F, n_parts = A.shape[1] // K, n_blocks(n)
    parts, M = xp.empty((n_parts, F * k * k)), xp.empty((F, k, k))
    launch = plain_rows(design.device).launch
    launch("contract", n_parts, N_THREADS, n, F, k, K, A, B, Z, Z.shape[1], parts)
    launch("add_up", 1, N_THREADS, n_parts, 1, F * k * k, parts, M)
    return to_host(M)


def bare(rows):
    """These rows without weights and folds: every one trains with weight 1."""
    return rows._replace(weight=None, mask=None)


def mixed(loss, first, second):
    """The mean of two losses. One with weight 0 is left out: 0 times an overflow would be NaN."""
    weight = loss.parameters["weight"]
    if weight == 1:
        return first
    if weight == 0:
        return second
    return weight * first + (1.0 - weight) * second


def check_expressions(design, loss, y):
    """Raises ValueError unless the CUDA expressions of a custom loss give what its Python functions
    give, at some targets and predictions."""
    z, targets = np.linspace(-5, 5, 21), np.unique(to_host(y))
    targets = targets[:: max(1, len(targets) // 10)]
    yy, zz = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(targets, z))
    kernels, asarray = kernels_of(design.device, loss), design.xp.asarray
    Z, fold = asarray(zz[:, None]), asarray(np.zeros(1, np.int32))
    for order, role in enumerate(ROLES):
        out = design.xp.empty((len(zz), 1))
        placed = asarray(yy), None, None, 1, fold
        values = len(zz), 1, 1, *placed, *kernels.parameters, order, TRAIN, Z, out
        kernels.module.launch("row_terms", 1, N_THREADS, *values)
        found, expected = to_host(out)[:, 0], derivative(loss, order, yy, zz)
        allowed = (TOLERANCE_D3 if order == 3 else TOLERANCE) * (
            np.abs(expected) + np.abs(expected).max()
        )
        bad = np.flatnonzero(~(np.abs(found - expected) <= allowed))
        if len(bad):
            i = bad[0]
            raise ValueError(
                f"the CUDA expression of {role} of loss '{loss.name}' is not its Python "
                f"function: at y = {yy[i]:g}, z = {zz[i]:g} it gives {found[i]:.10g} for "
                f"{expected[i]:.10g}"
            )
