"""Inner solvers: the list of them, which one solves a problem, and what it needs."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from fasthoag.inner.cg import CONVERGED, MAX_ITER, STALLED, Strengths, columns_of_lam
from fasthoag.inner.newton import InnerResult, find_newton
from fasthoag.inner.precond import NO_PRECONDITIONER, make_precond
from fasthoag.losses import Loss, find_loss
from fasthoag.penalties import Penalty

# the parameter that is the width of a loss's corner: few rows lie in a narrow one, and a step of
# Newton's method leaves it
CORNERS = {"quantile": "smoothing", "smoothed_hinge": "width", "huber": "delta"}
STEPS_WIDER, LONG = 12, 100


def newton_cg(
    inner, lam, W, *, tol, lam_of=None, precond=NO_PRECONDITIONER, max_iter=100, max_cg=1000
):
    """Minimise the inner problem in every column by trust-region Newton-CG from `W`.

    Stops a column when the norm of ∇h, ``√(∇hᵀP⁻¹∇h)`` with the preconditioner P (see
    `fasthoag.inner.precond`), is at most `tol` (absolute), tested before the first step, so a
    solution as start costs one pass.

    Parameters
    ----------
    inner : InnerProblem
    lam : array, shape (n_coef, n_lam)
        Strengths, in the design's units.
    W : array, shape (n_coef, m)
        Its columns are those of the folds in turn; several strengths of one fold stand side by
        side.
    tol : float or array, shape (m,)
    lam_of : int array, shape (m,)
        Strength of every column of `W`; by default its number modulo n_lam.

    Returns
    -------
    InnerResult
        ``status`` per column is CONVERGED, MAX_ITER, STALLED (rounding allows no further decrease)
        or NONFINITE; never raises for these.

    References
    ----------
    Lin, Weng, Keerthi (2008), "Trust region Newton method for large-scale logistic regression";
    Nocedal & Yuan (1998).
    """
    strengths = Strengths(lam, columns_of_lam(lam, lam_of, W.shape[1]))
    tol = np.ascontiguousarray(np.broadcast_to(np.asarray(tol, np.float64), (W.shape[1],)))
    rows = inner.rows
    solve = partial(find_newton(inner.design), max_cg=max_cg)
    found = solve(rows, inner.loss, strengths, W, tol, precond, max_iter=max_iter)
    name = CORNERS.get(inner.loss.name)
    if max_iter >= LONG and name and np.isin(found.status, (MAX_ITER, STALLED)).any():
        # a corner narrower than the gaps between rows: through wider ones
        start = through_wider_corners(solve, inner, strengths, found.W, 0 * tol)
        again = solve(rows, inner.loss, strengths, start, tol, precond, max_iter=max_iter)
        is_better = again.grad_norm <= np.where(found.status == CONVERGED, 0.0, found.grad_norm)
        found = again if is_better.all() else found
    return InnerResult(*(getattr(found, field.name) for field in fields(InnerResult)))


def through_wider_corners(solve, inner, strengths, start, tol):
    """Coefficients near the solution from those of losses with wider and wider corners."""
    rows, parameters, name = inner.rows, inner.loss.parameters, CORNERS[inner.loss.name]
    widest = np.ptp(inner.unexplained) / parameters[name]  # where no row is straight any more
    for k in range(int(np.ceil(np.log(max(widest, 4.0)) / np.log(4.0))), 0, -1):
        factor = 4.0**k
        wide = find_loss(inner.loss, **{**parameters, name: factor * parameters[name]})
        c = rows.curvature(wide, rows.loss_grad(wide, start, has_grad=False).Z)
        near = make_precond(rows, c, strengths.lam[:, :1], is_quick=True)
        start = solve(rows, wide, strengths, start, tol, near, max_iter=STEPS_WIDER).W
    return start


@dataclass(frozen=True)
class InnerSolver:
    """A way to minimise inner problems; one of your own needs the same three.

    ``accepts(loss, penalty)`` is None, or the sentence what is missing; ``solve(inner, lam, W, *,
    tol, lam_of, precond, max_iter, max_cg)`` gives an `InnerResult`, as `newton_cg` does."""

    name: str
    accepts: Callable[[Loss, Penalty], str | None]
    solve: Callable[..., InnerResult]


def accepts_quadratic(loss: Loss, penalty: Penalty) -> str | None:
    """What keeps Newton's method from solving with them, or None. Every loss has a second
    derivative, where it has kinks one from a side."""
    if penalty.shape.name == "quadratic":
        return None
    return "it needs a quadratic penalty, such as fasthoag.Ridge()"


NEWTON = InnerSolver("newton_cg", accepts_quadratic, newton_cg)
SOLVERS = [NEWTON]  # the first one that accepts loss and penalty solves the problem


def solver_for(loss: Loss, penalty: Penalty, solver: InnerSolver | None = None) -> InnerSolver:
    """`solver` if it accepts loss and penalty, or the first of `SOLVERS` that does.

    Raises
    ------
    ValueError
        Where none does, naming loss and penalty, and what each solver is missing.
    """
    lacks = [one.name for one in fields(InnerSolver) if one.name not in dir(solver)]
    if solver is not None and lacks:
        raise TypeError(
            f"solver must be a fasthoag.inner.solve.InnerSolver; {solver!r} lacks "
            f"{', '.join(lacks)}"
        )
    missing = []
    for one in SOLVERS if solver is None else [solver]:
        reason = one.accepts(loss, penalty)
        if reason is None:
            return one
        missing.append(f"{one.name}: {reason}")
    raise ValueError(
        f"no solver for loss '{loss.name}' with a penalty of shape '{penalty.shape.name}'. "
        + "; ".join(missing)
    )
