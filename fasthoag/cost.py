"""What a search will take before it is begun: memory, counted from what the design and the solvers
allocate, and time, from one pass that is measured and the passes that searches took before."""

import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasthoag.arithmetic import our_arithmetic
from fasthoag.criteria.criterion import check_criterion
from fasthoag.design.blocks import is_in_blocks
from fasthoag.design.cpu import CpuDesign
from fasthoag.inner.cg import Hessian
from fasthoag.memory import memory_of_process
from fasthoag.outer.start import MOST_LEVELS, is_small
from fasthoag.outer.trust_region import FEW
from fasthoag.threads import stacklevel_of_user

if TYPE_CHECKING:
    from fasthoag.problem import Problem

NUMBER = 8  # bytes
# Blocks (n_coef, columns) that are alive in a block solve, counted where they are made: the present
# and the lowest evaluation, each with w, v, q and k tangents; of each right-hand side (v, q,
# tangents) itself, its start, the solution, the residual, and CG's own four, which are in single
# precision mostly; gradients and the start.
PER_EVALUATION, PER_SIDE, OTHERS = 3, 6, 4
ROW_BLOCKS = 4  # blocks (n_rows, columns): predictions, curvatures, those of a step
VECTORS = 40  # (n_coef,): strengths, scales, orders of columns, preconditioners
ARRAYS_OF_THETA = 100  # (n_hyper,): the pairs of quasi-Newton steps, the trace
MOST_FOR_INVERSE = 2000  # coefficients up to which leverages come from an inverse


class Passes(NamedTuple):
    """From how many to how many passes searches took, and which."""

    low: int
    high: int
    source: str


RECORDS = "recorded benchmarks (20 newsgroups, microarrays, LIBSVM's data) with "
ONE = Passes(80, 280, RECORDS + "one strength")
SOME = Passes(200, 900, RECORDS + "up to 16 strengths")
MANY = Passes(500, 2500, RECORDS + "many strengths")


@dataclass(frozen=True)
class Cost:
    """What `hoag` with method "auto" will take, about, beside Python and its libraries.

    Attributes
    ----------
    n_bytes : dict
        Bytes by what they are for: X itself, copies of it, blocks of rows and of coefficients.
    memory : int
        What this process may use, in bytes.
    n_columns : int
        Columns that a pass works on at once: folds times classes.
    seconds_per_pass : float
        Of one pass that was measured, on so many columns.
    passes : Passes
        From ``low`` to ``high``, and the ``source`` of these numbers. Data whose features differ
        much in scale, or nearly without noise, can take several times as many.
    """

    n_bytes: dict[str, int]
    memory: int
    n_columns: int
    seconds_per_pass: float
    passes: Passes

    @property
    def peak_bytes(self) -> int:
        """The sum of `n_bytes`."""
        return sum(self.n_bytes.values())

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.memory

    @property
    def seconds(self) -> tuple[float, float]:
        """Of the search, from and to."""
        return self.passes.low * self.seconds_per_pass, self.passes.high * self.seconds_per_pass

    def rows(self) -> list[tuple[str, str]]:
        """The same as (name, text) pairs."""
        parts = ", ".join(f"{name} {in_words(size)}" for name, size in self.n_bytes.items())
        low, high = self.seconds
        return [
            ("memory", f"{in_words(self.peak_bytes)} of {in_words(self.memory)} ({parts})"),
            ("pass", f"{self.seconds_per_pass:.3g} s, measured on one of {self.n_columns} columns"),
            ("passes", f"{self.passes.low} to {self.passes.high}, as in {self.passes.source}"),
            ("time", f"{low:.2g} to {high:.2g} s"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        names = "peak_bytes", "n_bytes", "memory", "fits", "n_columns", "seconds_per_pass"
        low, high, source = self.passes
        found = {name: getattr(self, name) for name in names}
        return found | {"passes": [low, high], "source": source, "seconds": [*self.seconds]}

    def __str__(self) -> str:
        return "\n".join(f"{name:8}{text}" for name, text in self.rows())


def in_words(n_bytes: float) -> str:
    """A number of bytes in a unit that suits it."""
    unit = max(unit for unit in range(4) if unit == 0 or n_bytes >= 1000**unit)
    return f"{n_bytes / 1000**unit:.3g} {('bytes', 'kB', 'MB', 'GB')[unit]}"


def cost_of(problem: "Problem", criterion: Any) -> Cost:
    """The `Cost` of a search; warns where memory will not do."""
    check_criterion(criterion)
    if not isinstance(problem.design, CpuDesign):
        raise TypeError(
            "cost counts what X takes in the memory of this process; X is a "
            f"{type(problem.design).__name__}, which is elsewhere"
        )
    with our_arithmetic():
        bound = problem.judged_by(criterion)
        found = Cost(
            n_bytes=bytes_of(problem, bound),
            memory=memory_of_process(),
            n_columns=bound.inner.units.n_columns,
            seconds_per_pass=measured_pass(bound.inner),
            passes=likely_passes(problem.n_hyper),
        )
    if not found.fits:
        warnings.warn(
            f"the search takes about {in_words(found.peak_bytes)} of memory, and this process may "
            f"use {in_words(found.memory)}. Use fewer folds, rows to judge by in place of folds "
            "(HeldOut), low_memory=True, or float32 values",
            stacklevel=stacklevel_of_user(),
        )
    return found


def likely_passes(n_hyper: int) -> Passes:
    """How many passes searches with so many hyperparameters took."""
    return ONE if n_hyper == 1 else SOME if n_hyper <= FEW else MANY


def bytes_of(problem, bound):
    """Bytes by what they are for."""
    designs = {id(one): one for one in (problem.design, bound.rows.design)}.values()
    held = [one.n_bytes() for one in designs]
    n_rows = sum(one.shape[0] for one in designs)
    m, p = bound.inner.units.n_columns, problem.design.n_coef
    arrays = problem.X if is_in_blocks(problem.X) else [problem.X]
    given = [one.nbytes for one in arrays if isinstance(one, np.ndarray)]
    of_X, copies = (sum(side) for side in zip(*held, strict=True))
    if problem.design.is_sparse and given:  # an array that is mostly zeros, held as a matrix
        of_X, copies = sum(given), of_X + copies
    return {
        "X": of_X,
        "copies of it": copies,
        "blocks of rows": NUMBER * ROW_BLOCKS * n_rows * m,
        "blocks of coefficients": NUMBER * p * blocks_of_coefficients(problem, bound),
        "hyperparameters": NUMBER * ARRAYS_OF_THETA * problem.n_hyper,
    }


def blocks_of_coefficients(problem, bound):
    """Columns of coefficients that are alive at once."""
    m, k = bound.inner.units.n_columns, problem.n_hyper
    is_newton = k <= FEW and not problem.tuned and problem.penalty.has_hessian
    k = k if is_newton else 0
    of_a_column = 2 * (PER_EVALUATION + k) + PER_SIDE * (2 + k) + OTHERS
    n = VECTORS + of_a_column * m
    if is_small(bound.inner):  # looks at strengths, each with w and v
        n += 2 * MOST_LEVELS * m
    if problem.design.low_memory:  # products with X' are summed over threads
        n += problem.design.n_threads * (2 + k) * m
    if not bound.is_of_w:  # leverages: by an inverse, or by probes as columns
        side = min(problem.design.n_coef, problem.n_rows)
        n += 3 * side if side <= MOST_FOR_INVERSE else 16 * PER_SIDE
    return n


def measured_pass(inner):
    """Seconds of one pass, the second product with the Hessian at the null model: the first one
    makes threads and pages."""
    design, null = inner.design, inner.null
    c = inner.curvature(inner.rows.at_constant(null.b))
    hess = Hessian(design, c, inner.strengths(inner.start(0.0)), n_folds=inner.n_folds)
    V, took = np.ones_like(null.W), 0.0
    for _ in range(2):
        before, began = design.n_passes, time.perf_counter()
        hess.matvec(V)
        took = (time.perf_counter() - began) / max(1, design.n_passes - before)
    return took
