"""Linear solves with the inner Hessian by conjugate gradients. A design brings the solve itself, or
the algorithm in C++ calls its products back where coefficients are NumPy's, or the same algorithm
runs over its array namespace. For the norms see `precond`."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fasthoag import _core
from fasthoag.design.rows import Curvature
from fasthoag.inner.precond import NO_PRECONDITIONER
from fasthoag.units import Units, column_dots

# as csrc/cg.hpp
CONVERGED, MAX_ITER, INDEFINITE, NONFINITE, AT_RADIUS, STALLED, INTERRUPTED = range(7)
START_TOL, REFRESH = 0.01, 500


@dataclass(frozen=True)
class SolveResult:
    """``x`` (n_coef, m) with the residual vectors b - H x, and per column: iterations, norm of the
    residual, length of a solution from 0, an estimate of the squared energy norm eᵀHe of the error
    (-1 when no step was needed), status."""

    x: Any
    residual: Any
    n_iter: np.ndarray
    residual_norm: np.ndarray
    length: np.ndarray
    energy: np.ndarray
    status: np.ndarray


@dataclass(frozen=True)
class Strengths:
    """λ (n_coef, n_lam), and which of its columns each column of a block has, (m,)."""

    lam: Any
    lam_of: Any

    def of_columns(self, xp):
        """The strengths of every column, (n_coef, m)."""
        return xp.take(self.lam, xp.asarray(self.lam_of), axis=1)

    @property
    def native(self):
        """What the solvers in C++ take; of NumPy's arrays."""
        lam = np.ascontiguousarray(self.lam, np.float64)
        return _core.Strengths(lam, np.ascontiguousarray(self.lam_of, np.int32))


@dataclass(frozen=True)
class Hessian:
    """Xᵀ diag(c) X + diag(λ) for columns in units of the curvature's classes, each one vector; unit
    u has the curvature of fold u modulo n_folds, column j the strengths ``lam[:, lam_of[j]]``, by
    default those of j modulo their number. Where `n_folds`, of the curvature, is known, finished
    columns can leave the block of a solve by `cg_by_calls`."""

    design: Any
    curvature: Curvature
    lam: Any
    lam_of: Any = None
    n_folds: Any = None

    def columns_of_lam(self, m):
        return columns_of_lam(self.lam, self.lam_of, m)

    def strengths(self, m):
        return Strengths(self.lam, self.columns_of_lam(m))

    def matvec(self, V):
        lam = self.strengths(V.shape[1]).of_columns(self.design.xp)
        return self.design.hvp(self.curvature, V) + lam * V


@dataclass(frozen=True, eq=False)
class Restricted:
    """A Hessian of the coefficients that move only, (n_coef, k) of bool for the first k columns,
    for others the same again: systems for them, with solutions that are 0 for all others. The
    preconditioner must be a diagonal."""

    hess: Hessian
    moves: Any
    design = property(lambda self: self.hess.design)
    curvature = property(lambda self: self.hess.curvature)

    def only(self, V):
        """V with 0 for the coefficients that do not move."""
        xp = self.design.xp
        moves = xp.concat([self.moves] * (V.shape[1] // self.moves.shape[1]), axis=1)
        return xp.where(moves, V, xp.zeros_like(V))

    def matvec(self, V):
        return self.only(self.hess.matvec(self.only(V)))

    def cg(self, b, start, *, tol, precond, max_iter=1000):
        start = None if start is None else self.only(start)
        return cg_columns(self, self.only(b), start, tol, precond, max_iter)


def columns_of_lam(lam, lam_of, m):
    """Which strengths (n_coef, n_lam) every column of a block has, (m,)."""
    return np.arange(m, dtype=np.int32) % lam.shape[1] if lam_of is None else lam_of


def cg(hess, b, x0=None, *, tol, precond=NO_PRECONDITIONER, max_iter=1000):
    """Solve ``H q = b`` by preconditioned conjugate gradients, every column on its own.

    Stops when the norm of ``b - H q``, ``√(rᵀP⁻¹r)`` with the preconditioner P, is at most `tol`
    (absolute), tested before the first step, so an exact `x0` costs one product. (An `x0` that
    meets `tol` by less than a factor of 100 takes one step all the same: its length tells the
    energy of the error.)

    Parameters
    ----------
    hess : Hessian, shape (n_coef, n_coef)
        Symmetric positive definite for every column.
    b, x0 : array, shape (n_coef, m)
    tol : float or array, shape (m,)
        Absolute bound on the norm of each column's residual.
    precond : Preconditioner
        Without one the norm is the 2-norm.
    max_iter : int

    Returns
    -------
    SolveResult
        ``status`` is CONVERGED, MAX_ITER, INDEFINITE or NONFINITE for every column; never raises
        for these.

    References
    ----------
    Saad, *Iterative Methods for Sparse Linear Systems*, 2nd ed., Alg. 9.1.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.design.cpu import CpuDesign
    >>> from fasthoag.design.rows import Curvature
    >>> from fasthoag.inner.cg import Hessian, cg
    >>> H = Hessian(CpuDesign(np.eye(2)), Curvature(np.ones((2, 1))), np.ones((2, 1)))  # 2 I
    >>> cg(H, np.array([[2.0], [4.0]]), tol=1e-12).x.ravel()
    array([1., 2.])
    """
    tol = np.ascontiguousarray(np.broadcast_to(np.asarray(tol, np.float64), (b.shape[1],)))
    return find_cg(hess.design)(hess, b, x0, tol, precond, max_iter)


def cg_in_ball(hess, b, tol, precond, max_iter, radius):
    """`cg` from 0 that stops a column where it would leave the ball ``√(xᵀPx)`` of this radius
    (m,): Steihaug's."""
    return find_cg(hess.design)(hess, b, None, tol, precond, max_iter, radius)


def find_cg(design):
    """The solve for the Hessians of a design, ``solve(hess, b, x0, tol, precond, max_iter,
    radius=None)``: its own, the one in C++ over its products, or the one over its namespace."""
    if "cg" in design.native_solvers:
        return design.cg
    return cg_by_calls if design.xp is np else cg_columns


def cg_by_calls(hess, b, x0, tol, precond, max_iter, radius=None):
    """The algorithm of csrc/cg.hpp, which calls the products of the design."""
    design, m = hess.design, b.shape[1]
    K = hess.curvature.n_classes
    units = Units(m // K if hess.n_folds is None else hess.n_folds, K)

    def product(columns, d):
        """Xᵀ diag(c) X d for columns of these numbers."""
        place, block = units.in_turn(columns, d)
        found = design.hvp(hess.curvature, block)
        return found if block is d else found[:, place]

    has_floats = design.has_float_products
    native = _core.Hessian(product, K, hess.strengths(m).native, has_floats)
    blocks = (None if a is None else np.ascontiguousarray(a, np.float64) for a in (b, x0))
    found = native.solve(*blocks, tol, precond.native, max_iter, radius, n_threads=design.n_threads)
    return SolveResult(*(getattr(found, field.name) for field in fields(SolveResult)))


def cg_columns(hess, b, x0, tol, precond, max_iter, radius=None):
    """The algorithm of csrc/cg.hpp over an array namespace: the reference. Finished columns are
    kept in the block with a zero step."""
    xp, m = hess.design.xp, b.shape[1]
    units = Units(n_classes=hess.curvature.n_classes)

    def measure(r):
        """P⁻¹r and rᵀP⁻¹r."""
        z = precond.apply(r)
        found = units.united(column_dots(r, z))
        return z, np.where(found < 0, 0.0, found)  # NaN stays

    x = xp.zeros_like(b) if x0 is None else xp.asarray(x0, copy=True)
    r = xp.asarray(b, copy=True) if x0 is None else b - hess.matvec(x)
    n_iter, status = np.zeros(m, np.int32), np.full(m, MAX_ITER, np.int32)
    z, rz = measure(r)
    d = z
    is_active = np.ones(m, bool)
    # xᵀPx, xᵀPd and dᵀPd from a start at 0
    xx, xd, dd, radii = np.zeros(m), np.zeros(m), rz, np.inf if radius is None else radius
    alphas, rzs = np.zeros((4, m)), np.zeros((4, m))  # of the last 4 steps

    def leave(which, code):
        status[which & is_active] = code
        is_active[which] = False

    for iteration in range(max_iter + 1):
        n_iter[is_active] = iteration
        leave(~np.isfinite(rz), NONFINITE)
        at_most = tol * (START_TOL if x0 is not None and iteration == 0 else 1.0)
        leave(np.sqrt(rz) <= at_most, CONVERGED)
        if not is_active.any() or iteration == max_iter:
            break
        hd = hess.matvec(d)
        dhd = units.united(column_dots(d, hd))
        leave(~np.isfinite(dhd), NONFINITE)
        leave(dhd <= 0, INDEFINITE)
        alpha = np.where(is_active, rz / np.where(dhd > 0, dhd, 1), 0.0)
        for ring, now in ((alphas, alpha), (rzs, rz)):
            ring[iteration % 4, is_active] = now[is_active]
        length, squared, is_outside = length_in_ball(alpha, xx, xd, dd, radii)
        alpha, xx = np.where(is_active, length, 0.0), np.where(is_active, squared, xx)
        x = x + xp.asarray(alpha) * d
        r = r - xp.asarray(alpha) * hd
        leave(is_active & is_outside, AT_RADIUS)
        z, new = measure(r)
        beta = np.where(is_active, new / np.where(rz == 0, 1, rz), 0.0)
        if (iteration + 1) % REFRESH == 0 and is_active.any():
            # invariant: r = b - H x up to rounding
            r = xp.where(xp.asarray(is_active), b - hess.matvec(x), r)
            z, again = measure(r)
            beta, new = beta * again / np.where(new == 0, 1, new), again
        rz = new
        xd, dd = beta * (xd + alpha * dd), rz + beta**2 * dd
        d = xp.asarray(np.where(is_active, 1.0, 0.0)) * z + xp.asarray(beta) * d
    energy = energy_left(n_iter, alphas, rzs, rz)
    return SolveResult(x, r, n_iter, np.sqrt(rz), np.sqrt(xx), energy, status)


def length_in_ball(alpha, xx, xd, dd, radii):
    """The steps α, shorter where ``√((x + αd)ᵀP(x + αd))`` would not be below the radius, the
    squares of that, and where that is."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        squared = xx + 2 * alpha * xd + alpha**2 * dd
        is_inside = squared < radii**2
        room = np.maximum(radii**2 - xx, 0)
        at_border = room / (xd + np.sqrt(xd**2 + dd * room))
    length, squared = np.where(is_inside, alpha, at_border), np.where(is_inside, squared, radii**2)
    return length, squared, ~is_inside


def energy_left(n_iter, alphas, rzs, rz):
    """eᵀHe as the sum of α rᵀz over the steps to come (Hestenes & Stiefel 1952): a geometric series
    at the rate of the last 4 steps."""
    n = np.minimum(n_iter, 4)
    before, now = rzs[(n_iter - n) % 4, np.arange(len(rz))], np.maximum(rz, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(before > 0, (now / before) ** (1 / np.maximum(n, 1)), 0.0)
    # the first steps fall faster than those to come
    rate = np.maximum(rate, np.where(n < 3, 0.6, 0.0))
    return np.where(n_iter > 0, alphas.max(axis=0) * now / (1 - np.minimum(rate, 0.95)), -1.0)
