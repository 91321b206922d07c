"""The derivatives of f(θ) = g(w*(θ)) at one θ, from approximate inner solutions.

For every fold one block solve with H = ∇²h gives the Newton correction v (H v = ∇h), the adjoint q
(H q = ∇g) and the tangents T = ∂w*/∂θ (H T = -∂²h/∂θ∂w). With L = g - qᵀ∇h and ρ the residual of a
solve, all to second order in w - w* and in ρ:
    f      = g - qᵀ∇h - ρ_qᵀ v + ½ vᵀ L_ww v
    ∇f     = -Cᵀq + Tᵀρ_q - (L_θw + Tᵀ L_ww) v
    ∇²f    = L_θθ + L_θw T + Tᵀ L_wθ + Tᵀ L_ww T
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fasthoag.inner.cg import CONVERGED, STALLED
from fasthoag.inner.precond import SMALL
from fasthoag.inner.problem import own_theta
from fasthoag.threads import computed_once
from fasthoag.types import Array, Block
from fasthoag.units import column_dots

# |ρᵀH⁻¹ρ'| as a part of the product of the two energy norms. Cauchy-Schwarz has 1; on 20 newsgroups
# at three strengths and four accuracies it was at most 0.05, since after some steps of CG the two
# errors point in unrelated directions. Without a step there is no such luck.
ALIGNMENT = 0.2
UNMOVED = 3.0  # an energy norm over the norm of a residual, where no step of CG told it
# of the bound of an energy by the strengths alone, where P is far from H: CG sees nothing of slow
# directions. With 0 an error of `bench/run.py errors` was 2e6 times too small; with 0.3 K-fold on
# 20 newsgroups takes 3 % more passes than with 0, with 1 it takes 15 % more
BOUND_SHARE = 0.3
# inner accuracy at least: expansions do not see rows beyond a kink, nor narrow corners
BESIDE_KINKS, BESIDE_CORNERS = 1e-5, 1e-2
CORNERS = ("quantile", "smoothed_hinge")
# relative residual of the Newton correction, which is the error estimate too: it is never left at 0
V_TOL = 0.2


@dataclass(frozen=True)
class Accuracy:
    """How accurately the inner problem and the linear systems are solved.

    All relative, in the norm of `inner.precond`: ``|∇h| <= inner |λ w|``, an error in units of
    θ since the cross-derivative λ w is how far one unit of θ moves ∇h; each residual of the block
    solve <= ``linear`` times its right-hand side. ``tangents`` is the same as ``linear`` for ∂w/∂θ
    alone where these may be looser: their error enters ∇f as a product with that of the adjoint,
    but ∇²f to first order. ``correction`` is that of the Newton correction."""

    inner: float
    linear: float
    tangents: float | None = None
    correction: float = V_TOL

    def inner_tol(self, unit: Array) -> Array:
        return np.maximum(self.inner * unit, 1e-300)

    def linear_tol(self, size: Array, n_folds: int) -> Array:
        """For right-hand sides of these norms, ordered as {Newton correction, adjoint, tangents} of
        all folds."""
        tol = self.linear * size
        tol[:n_folds] = self.correction * size[:n_folds]
        tol[2 * n_folds :] = (self.tangents or self.linear) * size[2 * n_folds :]
        return np.maximum(tol, 1e-300)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """f at θ with everything that the next step starts from. Blocks are (n_coef, n_folds), tangents
    one such block a hyperparameter."""

    theta: np.ndarray
    value: float  # corrected criterion
    value_inner_error: float  # of value, from w - w*
    value_linear_error: float  # of value, from the linear solves
    fold_values: np.ndarray
    grad: np.ndarray  # hypergradient (n_hyper,)
    inner_error: float  # of grad, from w - w*
    linear_error: float  # of grad, from the linear solves
    hess: Any  # (n_hyper, n_hyper) or None
    W: Block  # where the inner solver stopped
    Q: Block
    T: list[Block] | None
    V: Block  # Newton correction: W - V is closer to the solution
    accuracy: Accuracy  # as reached, relative; largest over folds and right-hand sides
    n_inner: int
    n_cg: int
    is_solved: bool
    precond: Any
    standard_error: float = np.nan  # of value, by its rows or folds; NaN where it has none
    value_probe_error: float = 0.0  # of value, from random probes: the same at every θ nearby

    @property
    def value_error(self) -> float:
        return self.value_inner_error + self.value_linear_error

    @property
    def grad_error(self) -> float:
        return self.inner_error + self.linear_error

    def predict(self, step: Array) -> Block:
        """Inner solutions at θ + step, to second order in the step and the present error."""
        W = self.W - self.V
        for j, T in enumerate(self.T or []):
            W = W + T * float(step[j])
        return W


def moved(evaluation, proposal):
    """What `evaluation` says of θ after the proposed step without looking: quadratic model, inner
    solutions to second order, errors to match."""
    step, hess = proposal.step, proposal.hess
    length = float(np.linalg.norm(step))
    change = float(evaluation.grad @ step + 0.5 * step @ hess @ step)
    cubic = float(np.linalg.norm(hess, 2) * np.linalg.norm(step) ** 3)
    W = evaluation.predict(step)
    return replace(
        evaluation,
        theta=evaluation.theta + step,
        value=evaluation.value + change,
        grad=evaluation.grad + hess @ step,
        hess=hess,
        value_inner_error=evaluation.value_error
        + 3 * proposal.hess_error * abs(change)
        + 2 * evaluation.grad_error * length
        + 3 * cubic,
        value_linear_error=0.0,
        inner_error=proposal.error_after,
        linear_error=0.0,
        W=W,
        V=0 * W,
        accuracy=replace(evaluation.accuracy, inner=evaluation.accuracy.inner**2 + length**2),
    )


def solve_inner(bound, theta, W, accuracy, precond, **limits):
    """Inner solutions of this accuracy for every fold. At w = 0, where the cross-derivative tells
    nothing, the gradient itself is the unit. `limits` are the solver's ``max_iter`` and
    ``max_cg``."""
    inner, units = bound.inner, bound.inner.units
    lam = inner.strengths(theta)
    unit = inner.cross_norms(lam, W, precond)
    if (unit == 0).any():
        start = inner.rows.loss_grad(inner.loss, W).grad
        unit = np.where(unit == 0, precond.norms(units, start), unit)
    n_iter = n_cg = 0
    for _ in range(20):  # the unit shrinks as w settles
        tol = units.repeat(accuracy.inner_tol(unit))
        result = inner.solve(lam, W, tol=tol, precond=precond, **limits)
        n_iter, n_cg = n_iter + int(result.n_iter.max()), n_cg + int(result.n_cg.max())
        W = result.W
        now = inner.cross_norms(lam, W, precond)
        is_open = units.of_units(result.grad_norm) > 1.5 * accuracy.inner_tol(now)
        is_open &= (units.of_units(result.status) == CONVERGED) & (now > 0)
        if not is_open.any():
            break
        unit = now
    return lam, result, n_iter, n_cg


def loosest(inner, is_step):
    """The loosest inner accuracy that values, slopes and their errors make sense with."""
    if inner.has_kinks:
        return BESIDE_KINKS
    has_corners = any(one.name in CORNERS for one in inner.loss.mixed or (inner.loss,))
    # with few coefficients P is nearly H, and digits cost next to nothing
    is_cheap = is_step and inner.design.n_coef <= SMALL
    return BESIDE_CORNERS if has_corners or is_cheap else np.inf


def bound_of_energy(inner, lam, precond, residual):
    """ρᵀH⁻¹ρ at most, for every unit: H is no less than the strengths; 0 where P is nearly H."""
    xp, units, m = inner.design.xp, inner.units, inner.units.n_columns
    if precond.diagonal is None:
        return 0.0
    lam, usual = (units.tile(xp, block) for block in (lam, 1 / precond.diagonal))
    most = 1 / xp.where(lam > 0, lam, usual)
    parts = [residual[:, a : a + m] for a in range(0, residual.shape[1], m)]
    return units.sums(np.concatenate([column_dots(part, part * most) for part in parts]))


def beyond_expansion(bound, W, values, correction):
    """How far the criterion at nearly the solutions `W` is from its expansion there, (n_folds,),
    where that is more than their error explains: a row that judges far outside of those that train
    is no part of any expansion. One product, so of few coefficients only."""
    inner = bound.inner
    if inner.design.n_coef > SMALL:
        return np.zeros(len(values))
    gap = np.abs(bound.values(W, inner.rows.predictions(W)) - values)
    return np.where(np.isfinite(gap) & (gap > 0.5 * np.abs(correction)), gap, 0.0)


@dataclass(frozen=True, eq=False)
class Point:
    """Inner solutions at one θ and what the linear systems there are made of."""

    bound: Any
    theta: np.ndarray
    lam: Any  # strengths, in the design's units
    solution: Any  # `InnerResult`
    precond: Any
    jac: Any  # ∂λ/∂θ (n_coef, n_hyper), or None where only the adjoint is asked for

    @property
    def inner(self):
        return self.bound.inner

    @property
    def W(self):
        return self.solution.W

    @property
    def n_tangents(self):
        return 0 if self.jac is None else self.jac.shape[1]

    @computed_once
    def unit_gradient(self):
        return self.inner.penalty.shape.gradient(self.W)

    @computed_once
    def cross(self):
        """∂²h/∂θ∂w, a block for each hyperparameter."""
        return [self.jac[:, j : j + 1] * self.unit_gradient for j in range(self.n_tangents)]

    def cross_along(self, j, V):
        """The derivative of the cross-derivative of hyperparameter j along V."""
        return self.jac[:, j : j + 1] * self.inner.penalty.shape.product(self.W, V)

    def norms(self, block):
        return self.precond.norms(self.inner.units, block)

    def by_feature(self, block):
        """Products of all folds by feature."""
        return self.inner.by_feature(block)


@dataclass(frozen=True, eq=False)
class Solves:
    """The block solve at a `Point`: Newton correction V, adjoint Q, tangents T, the residual of the
    adjoint; and for every right-hand side (2 + k) and fold: the energy norm of its error, a bound
    of its product with that of the adjoint, and per right-hand side the largest relative
    residual."""

    V: Any
    Q: Any
    T: list
    rho_q: Any
    energy: np.ndarray
    product: np.ndarray
    linear: np.ndarray
    n_cg: int
    is_solved: np.ndarray  # (n_folds,)


def block_solve(at, curvature, g_grad, accuracy, Q, T):
    """The `Solves` for {Newton correction, adjoint, tangents} of all folds as one block, started
    from the adjoint and the tangents of a θ nearby."""
    inner, units, k = at.inner, at.inner.units, at.n_tangents
    xp, F, m = inner.design.xp, units.n_folds, units.n_columns
    solved, size = solved_block(at, curvature, g_grad, accuracy, Q, T)
    # energy norms of the errors of the solves bound the products of two residuals: |ρᵀH⁻¹ρ'| <=
    # ||e||_H ||e'||_H
    left, energy = units.of_units(solved.residual_norm), units.of_units(solved.energy)
    has_moved = (energy >= 0).reshape(2 + k, F)
    energy = np.sqrt(np.where(energy < 0, (UNMOVED * left) ** 2, energy))
    strengths = at.lam * inner.penalty.shape.diagonal(at.W)
    at_most = np.sqrt(bound_of_energy(inner, strengths, at.precond, solved.residual))
    energy = np.maximum(energy, BOUND_SHARE * at_most).reshape(2 + k, F)
    product = energy * energy[1] * np.where(has_moved & has_moved[1], ALIGNMENT, 1.0)
    linear = (left / np.maximum(size, 1e-300)).reshape(2 + k, F).max(axis=1)
    is_solved = (solved.status == CONVERGED) | (solved.residual_norm <= 0.5 * units.repeat(size))
    is_solved = units.of_units(is_solved).reshape(2 + k, F).all(axis=0)
    rho_q = xp.asarray(solved.residual[:, m : 2 * m], copy=True)
    x, n_cg = solved.x, int(solved.n_iter.max())
    del solved  # residuals of all
    # copies: contiguous ones are read ten times each
    V, Q, *T = (xp.asarray(x[:, a * m : (a + 1) * m], copy=True) for a in range(2 + k))
    return Solves(V, Q, T, rho_q, energy, product, linear, n_cg, is_solved)


def solved_block(at, curvature, g_grad, accuracy, Q, T):
    """The solver's result for {Newton correction, adjoint, tangents}, and the norms of the
    right-hand sides."""
    inner, units, xp, r = at.inner, at.inner.units, at.inner.design.xp, at.solution.grad
    b = xp.concat([r, g_grad, *(-c for c in at.cross)], axis=1)
    start = None
    if Q is not None or T is not None:
        start = xp.concat(
            [xp.zeros_like(r), xp.zeros_like(r) if Q is None else Q, *(T or [])], axis=1
        )
    size = at.norms(b)
    tol = units.repeat(accuracy.linear_tol(size, units.n_folds))
    return inner.solve_linear(at, curvature, xp.asarray(b), start, tol), size


def with_tangents(at, solves, M, reached):
    """∇f and ∇²f with the errors of ∇f from w - w* and from the linear solves; M are the entries of
    the Lagrangian's Hessian between tangents and Newton correction, (n_folds, k + 1, k + 1)."""
    inner, dots, k = at.inner, at.inner.units.dots, at.n_tangents
    V, Q, T, linear = solves.V, solves.Q, solves.T, solves.linear
    along = range(k)
    grad = np.array([np.sum(-dots(at.cross[j], Q) + dots(T[j], solves.rho_q)) for j in along])
    # (k, F)
    correction = np.array([-dots(at.cross_along(j, V), Q) + M[:, j, k] for j in along])
    grad = grad - correction.sum(1)
    mixed = np.array([[np.sum(-dots(at.cross_along(i, T[j]), Q)) for j in along] for i in along])
    curved = inner.penalty.strengths_hess(at.theta, at.by_feature(at.unit_gradient * Q))
    hess = M[:, :k, :k].sum(0) + mixed + mixed.T - curved
    # unrelated between folds, so not their sum
    linear_error = float(np.linalg.norm(solves.product[2:]))
    share = min(1.0, float(linear[0]) + 3 * reached.inner + float(linear[2:].max()))
    inner_error = share * float(np.linalg.norm(np.abs(correction).sum(1)))
    return grad, hess, inner_error, linear_error


def with_adjoint(at, solves, g_grad, reached):
    """∇f from the adjoint alone, and its errors from w - w* and from the linear solves."""
    inner, units, shape = at.inner, at.inner.units, at.inner.penalty.shape
    V, Q, W, xp = solves.V, solves.Q, at.W, at.inner.design.xp

    def XQ():
        return inner.design.matvec(Q)

    def vjp(products):
        return inner.penalty.strengths_vjp(own_theta(inner, at.theta), at.by_feature(products))

    grad = inner.vjp(at.theta, at.by_feature(shape.gradient(W - V) * Q), at.solution.Z, XQ)
    # what the Newton correction took away, and more for the change of q with w; of the linear
    # solve the relative error of q in its norm
    share = solves.energy[1] / np.maximum(np.sqrt(np.maximum(units.dots(Q, g_grad), 0.0)), 1e-300)
    inner_error = 8 * float(np.linalg.norm(vjp(abs(shape.product(W, V)) * abs(Q))))
    inner_error += reached.inner * float(np.linalg.norm(grad)) if inner.tuned else 0.0
    # terms and folds cancel in the sum, their errors do not
    each = abs(Q) * xp.asarray(units.repeat(np.minimum(share, 1.0)))
    linear_error = float(
        np.linalg.norm(vjp(abs(at.unit_gradient) * each))
        + (min(share.max(), 1.0) * np.linalg.norm(grad) if inner.tuned else 0.0)
    )
    return grad, None, inner_error, linear_error


def accuracy_reached(at, solves):
    """The `Accuracy` of the solves at a point, the largest over folds and right-hand sides."""
    unit = np.maximum(at.inner.cross_norms(at.lam, at.W, at.precond), 1e-300)
    return Accuracy(
        float(np.max(at.norms(at.solution.grad) / unit)),
        float(solves.linear[1]),
        tangents=float(solves.linear[2:].max()) if at.n_tangents else None,
    )


@dataclass(frozen=True, eq=False)
class Corrected:
    """f of every fold at a `Point`, corrected to second order: values, their errors from w - w* and
    from the linear solves, and whether they are solved, (n_folds,). With what they were made of."""

    at: Point
    solves: Solves
    g_grad: Any
    M: Any  # entries of the Lagrangian's Hessian, (n_folds, k + 1, k + 1)
    reached: Accuracy
    fold_values: np.ndarray
    inner_errors: np.ndarray
    linear_errors: np.ndarray
    n_inner: int
    n_cg: int
    is_solved: np.ndarray
    Z_criterion: Any  # predictions on the rows of g

    @property
    def W(self):
        """Inner solutions, to second order."""
        return self.at.W - self.solves.V


def corrected(bound, theta, W, accuracy, *, Q=None, T=None, has_tangents=True, precond=None):
    """The `Corrected` values at `theta`; see `evaluate`."""
    bound = bound.at(theta)
    inner, dots = bound.inner, bound.inner.units.dots
    lam = inner.strengths(theta)
    precond = precond.at(lam) if precond else inner.first_precond(lam)
    accuracy = replace(accuracy, inner=min(accuracy.inner, loosest(inner, has_tangents)))
    lam, solution, n_inner, n_cg = solve_inner(bound, theta, W, accuracy, precond)
    fold_values, g_grad, Z_criterion = bound.value_and_grad(solution.W, solution.Z)
    curvature = inner.curvature(solution.Z)
    if precond.is_rough:
        precond = inner.precond(curvature, lam)
    jac = inner.strengths_jac(theta) if has_tangents else None
    at = Point(bound, theta, lam, solution, precond, jac)
    solves = block_solve(at, curvature, g_grad, accuracy, Q, T)
    del curvature  # of every row and fold, as are those to come
    V, Q, k = solves.V, solves.Q, at.n_tangents
    # (F, k+1, k+1)
    columns = inner.design.xp.concat([*solves.T, V], axis=1)
    M = bound.lagrangian_hessian(Q, columns, solution.Z, Z_criterion)
    second = 0.5 * M[:, k, k]
    reached = accuracy_reached(at, solves)
    # what was corrected to second order is off by its own next order in v and by the part of v that
    # is not there. On 20 newsgroups the errors of f and of ∇f were a twentieth to a half and 0.3 to
    # 1.2 of this
    following = 0.0 if bound.is_quadratic else 3 * reached.inner
    trust = min(1.0, 2 * float(solves.linear[0]) + following)
    trust = 1.0 if inner.has_kinks else trust  # what is beyond a kink is not in the expansion
    along = dots(Q, solution.grad)
    rounding = 1024 * np.finfo(np.float64).eps * (np.abs(fold_values) + np.abs(along))
    correction = -along - dots(solves.rho_q, V) + second
    fold_values = np.asarray(fold_values + correction)
    missed = beyond_expansion(bound, solution.W - V, fold_values, correction)
    # what rounding stops short is still a solution, with its residual in the errors
    has_solution = np.isin(inner.units.of_units(solution.status), (CONVERGED, STALLED))
    return Corrected(
        at=at,
        solves=solves,
        g_grad=g_grad,
        M=M,
        reached=reached,
        fold_values=fold_values,
        inner_errors=3 * trust * np.abs(second) + missed,
        linear_errors=3 * solves.energy[0] * solves.energy[1] + rounding,
        n_inner=n_inner,
        n_cg=n_cg + solves.n_cg,
        is_solved=has_solution & solves.is_solved,
        Z_criterion=Z_criterion,
    )


def evaluate(bound, theta, W, accuracy, *, Q=None, T=None, has_tangents=True, precond=None):
    """f, ∇f and (with tangents) ∇²f at `theta` of a criterion that is a function of w, the inner
    solve starting from `W`. (``bound.evaluate`` does it for every criterion.)

    Parameters
    ----------
    bound : BoundCriterion
    theta : array, shape (n_hyper,)
    W : array, shape (n_coef, n_folds)
    accuracy : Accuracy
    Q, T : array and list of arrays, shape (n_coef, n_folds), optional
        Adjoint and tangents of a θ nearby to start the linear solves from.

    References
    ----------
    Pedregosa (2016), "Hyperparameter optimization with approximate gradient", eq. 3; the
    second-order terms are Newton's on L.
    """
    options = {"Q": Q, "T": T, "has_tangents": has_tangents, "precond": precond}
    found = corrected(bound, theta, W, accuracy, **options)
    at, solves, reached = found.at, found.solves, found.reached
    if has_tangents:
        grad, hess, inner_error, linear_error = with_tangents(at, solves, found.M, reached)
    else:
        grad, hess, inner_error, linear_error = with_adjoint(at, solves, found.g_grad, reached)
    return Evaluation(
        theta=theta,
        value=float(found.fold_values.sum()),
        value_inner_error=float(found.inner_errors.sum()),
        value_linear_error=float(found.linear_errors.sum()),
        fold_values=found.fold_values,
        grad=grad,
        inner_error=inner_error,
        linear_error=linear_error,
        hess=hess,
        W=at.W,
        Q=solves.Q,
        T=solves.T if has_tangents else None,
        V=solves.V,
        accuracy=reached,
        n_inner=found.n_inner,
        n_cg=found.n_cg,
        is_solved=bool(found.is_solved.all()),
        precond=at.precond,
        standard_error=bound.standard_error(found.fold_values, found.Z_criterion),
    )
