"""Conformance of the inner algorithms over the list of ways that they run: in C++ on passes of its
own, in C++ on operations that are called back, in Python as the reference, on a device."""

import signal
from dataclasses import replace

import numpy as np
import pytest
from support.closed_form import k_fold_split, ridge
from support.designs import DEVICE, EPS, cut_rows
from support.problems import sparse_matrix, sparse_problem

from fasthoag.design.cpu import CpuDesign
from fasthoag.design.gpu import GpuDesign
from fasthoag.design.reference import ReferenceDesign
from fasthoag.design.rows import Curvature, to_host
from fasthoag.design.sharded import ShardedDesign
from fasthoag.inner import newton
from fasthoag.inner.cg import (
    AT_RADIUS,
    CONVERGED,
    INDEFINITE,
    MAX_ITER,
    NONFINITE,
    STALLED,
    Hessian,
    cg,
    cg_by_calls,
    cg_in_ball,
    find_cg,
)
from fasthoag.inner.newton import RowOperations, find_newton, newton_by_calls
from fasthoag.inner.precond import Preconditioner, make_precond
from fasthoag.inner.problem import InnerProblem
from fasthoag.inner.solve import SOLVERS, InnerSolver, newton_cg, solver_for
from fasthoag.losses import find_loss
from fasthoag.penalties import Quadratic, Ridge, Shaped
from fasthoag.units import Units

N_ROWS, N_FEATURES, N_FOLDS = 60, 9, 3


class CalledDesign(CpuDesign):
    """The passes of the CPU, called back."""

    native_solvers = ()


WAYS = {
    "native": lambda X: CpuDesign(X, n_threads=1),
    "called": lambda X: CalledDesign(X, n_threads=1),
    "called in blocks": lambda X: ShardedDesign(cut_rows(X), fit_intercept=False, n_threads=1),
    "reference": ReferenceDesign,
    "device": lambda X: GpuDesign(X, device=DEVICE),
}
on_every_way = pytest.mark.parametrize("way", WAYS)
when_called = pytest.mark.parametrize("way", ["called", "called in blocks"])


def test_ways_are_declared():
    X = np.eye(3)
    assert find_cg(WAYS["called in blocks"](X)) is cg_by_calls
    assert find_newton(WAYS["called in blocks"](X)) is newton_by_calls
    for way in ("native", "reference", "device"):
        design = WAYS[way](X)
        assert find_cg(design) == design.cg
    assert find_newton(WAYS["device"](X)) is newton.newton_columns


# ---- conjugate gradients ----


class Systems:
    """H_j x_j = b_j of m columns with folds in turn and 2 strengths, and what they are densely."""

    def __init__(self, way, m=7, X=None, curvature=None, lam=None, seed=0):
        rng = np.random.default_rng(seed)
        X = sparse_matrix(rng, N_ROWS, N_FEATURES) if X is None else X
        design = self.design = WAYS[way](X)
        X = X.toarray() if hasattr(X, "toarray") else X
        A = X @ design.coefficients.apply(np.eye(design.n_coef))
        drawn = rng.random((len(X), N_FOLDS)) + 0.1
        curvature = drawn if curvature is None else curvature
        n_coef = design.n_coef
        lam = np.exp(rng.normal(size=(n_coef, 2))) if lam is None else np.full((n_coef, 1), lam)
        lam_of = rng.integers(0, lam.shape[1], m).astype(np.int32)
        n_folds = curvature.shape[1]
        rows, asarray = design.place(np.zeros(len(X))), design.xp.asarray
        c = Curvature(rows.from_host(curvature))
        self.hess = Hessian(design, c, asarray(lam), lam_of, n_folds)
        self.precond = make_precond(rows, c, asarray(lam[:, :1]))
        self.dense = [
            A.T @ (curvature[:, j % n_folds, None] * A) + np.diag(lam[:, lam_of[j]])
            for j in range(m)
        ]
        self.b, self.b_design = None, None
        self.put(rng.normal(size=(n_coef, m)))

    def put(self, b):
        self.b, self.b_design = b, self.design.xp.asarray(b)

    @property
    def solution(self):
        pairs = zip(self.dense, self.b.T, strict=True)
        return np.column_stack([np.linalg.solve(H, b) for H, b in pairs])

    def residual(self, x):
        pairs = zip(self.dense, to_host(x).T, strict=True)
        return self.b - np.column_stack([H @ v for H, v in pairs])

    def solve(self, tol, x0=None, **options):
        x0 = None if x0 is None else self.design.xp.asarray(x0)
        return cg(self.hess, self.b_design, x0, tol=tol, **options)

    def norms(self, r, precond):
        return precond.norms(Units(), self.design.xp.asarray(r))


@on_every_way
@pytest.mark.parametrize("tol", [1e-1, 1e-9])
@pytest.mark.parametrize("m", [1, 7, 18])
def test_residuals_are_within_the_tolerance_in_the_norm_of_the_preconditioner(way, m, tol):
    """18 columns at a loose tolerance run in float32 where that is there."""
    one = Systems(way, m)
    for precond in (Preconditioner(), one.precond):
        tols = tol * one.norms(one.b, precond) * np.where(np.arange(m) % 2, 1.0, 0.3)
        found = one.solve(tols, precond=precond)
        assert (found.status == CONVERGED).all()
        norms = one.norms(one.residual(found.x), precond)
        assert (norms <= tols * (1 + 1e-4)).all()
        np.testing.assert_array_less(np.abs(found.residual_norm - norms), 1e-2 * tols)
        if tol < 1e-6:
            np.testing.assert_allclose(to_host(found.x), one.solution, atol=1e-6)


@on_every_way
def test_a_solution_as_start_takes_one_product(way):
    one = Systems(way)
    before = one.design.n_passes
    found = one.solve(1e-9, one.solution)
    assert one.design.n_passes == before + 1
    assert (found.status == CONVERGED).all()
    assert (found.n_iter == 0).all()
    np.testing.assert_array_equal(to_host(found.x), one.solution)


@on_every_way
def test_every_column_says_how_it_ended(way):
    curvature = np.ones((N_ROWS, N_FOLDS))
    curvature[:, 1] = -1
    one = Systems(way, 6, curvature=curvature, lam=0.1)
    found = one.solve(1e-9)
    is_bad = np.arange(6) % N_FOLDS == 1
    np.testing.assert_array_equal(found.status, np.where(is_bad, INDEFINITE, CONVERGED))
    b = one.b.copy()
    b[0, 2] = np.nan
    one = Systems(way, 6)
    one.put(b)
    with np.errstate(invalid="ignore"):
        found = one.solve(1e-9)
    np.testing.assert_array_equal(found.status == NONFINITE, np.arange(6) == 2)
    found = Systems(way).solve(1e-9, max_iter=2)
    assert (found.status == MAX_ITER).all()
    assert (found.n_iter == 2).all()


@on_every_way
def test_a_radius_is_kept_in_the_norm_of_the_preconditioner(way):
    one = Systems(way)
    for precond in (Preconditioner(), one.precond):
        tol = 1e-9 * np.ones(7)
        free = cg_in_ball(one.hess, one.b_design, tol, precond, 100, np.full(7, np.inf))
        assert (free.status == CONVERGED).all()
        radius = free.length * np.array([0.1, 0.5, 0.9, 1.1, 2.0, 0.3, np.inf])
        found = cg_in_ball(one.hess, one.b_design, tol, precond, 100, radius)
        is_at = radius < free.length
        np.testing.assert_array_equal(found.status, np.where(is_at, AT_RADIUS, CONVERGED))
        np.testing.assert_allclose(found.length, np.minimum(radius, free.length), rtol=1e-6)
        x = to_host(found.x)
        P = np.linalg.inv(to_host(precond.apply(one.design.xp.asarray(np.eye(len(x))))))
        lengths = np.sqrt(np.einsum("ij,ik,kj->j", x, P, x))
        np.testing.assert_allclose(lengths, found.length, rtol=1e-6)


@on_every_way
def test_classes_of_a_fold_are_one_vector(way):
    K, rng = 3, np.random.default_rng(2)
    X = sparse_matrix(rng, N_ROWS, N_FEATURES)
    design = WAYS[way](X)
    n_coef = design.n_coef
    A = X.toarray() @ design.coefficients.apply(np.eye(n_coef))
    p = rng.random((N_ROWS, 2 * K)) * 0.2
    rows = design.place(np.zeros(N_ROWS))
    lam = design.xp.asarray(np.full((n_coef, 1), 0.5))
    hess = Hessian(design, Curvature(rows.from_host(p), K), lam, n_folds=2)
    b = rng.normal(size=(n_coef, 4 * K))
    tol = np.repeat([1e-9, 1e-2, 1e-4, 1e-9], K)
    found = cg(hess, design.xp.asarray(b), tol=tol)
    assert (found.status == CONVERGED).all()
    x = to_host(found.x)
    for u in range(4):
        w = p[:, (u % 2) * K : (u % 2 + 1) * K]
        C = (
            np.einsum("ic,cd->icd", w, np.eye(K))
            - np.einsum("ic,id->icd", w, w) / w.sum(1, keepdims=True)[:, :, None]
        )
        H = np.einsum("ij,icd,ik->jckd", A, C, A).reshape(n_coef * K, -1)
        unit = slice(u * K, (u + 1) * K)
        left = b[:, unit].ravel() - (H + 0.5 * np.eye(len(H))) @ x[:, unit].ravel()
        assert np.linalg.norm(left) <= tol[u * K] * (1 + 1e-6)
        assert len(set(found.n_iter[unit])) == 1


@on_every_way
@pytest.mark.parametrize("tol", [1e-2, 1e-9])
def test_two_solves_give_the_same_bits(way, tol):
    one, other = (Systems(way, 18).solve(tol) for _ in range(2))
    np.testing.assert_array_equal(to_host(one.x), to_host(other.x))
    np.testing.assert_array_equal(one.energy, other.energy)


def test_called_passes_give_the_bits_of_native_ones():
    one, other = (Systems(way).solve(1e-9) for way in ("native", "called"))
    np.testing.assert_array_equal(one.x, other.x)
    np.testing.assert_array_equal(one.n_iter, other.n_iter)


@on_every_way
def test_residuals_stay_true_over_hundreds_of_steps(way):
    """From a start that is far away they carry its rounding, until they are computed anew."""
    rng, n = np.random.default_rng(0), 120
    U, V = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
    X = U * np.sqrt(np.geomspace(1e-6, 1, n)) @ V
    one = Systems(way, 2, X, np.ones((n, 1)), 0.0)
    expected = rng.normal(size=(n, 2))
    one.put(np.column_stack([H @ x for H, x in zip(one.dense, expected.T, strict=True)]))
    found = one.solve(1e-7, 1e6 * rng.normal(size=(n, 2)), max_iter=5000)
    assert (found.status == CONVERGED).all()
    assert (found.n_iter > 500).all()
    # of the start it would be 1e-10
    off = np.abs(to_host(found.residual) - one.residual(found.x)).max()
    assert off <= 1e3 * EPS * np.abs(expected).max()


# ---- Newton's method ----


def inner_problem(way, loss="logistic", n_folds=N_FOLDS, seed=1):
    X, y = sparse_problem("squared" if loss == "multinomial" else loss, seed, N_ROWS, N_FEATURES)
    if loss == "multinomial":
        y = np.digitize(y, np.quantile(y, [0.3, 0.7])).astype(float)
        loss = replace(find_loss(loss), n_classes=3)
    of_fold = np.arange(N_ROWS) % max(n_folds, 2)
    mask = np.where(of_fold[:, None] == np.arange(n_folds), 2, 1).astype(np.uint8)
    rows = WAYS[way](X).place(y, np.linspace(0.5, 1.5, N_ROWS), mask)
    return InnerProblem(rows, find_loss(loss), Ridge())


THETAS = (0.0, -2.0)


def solve(inner, W=None, start=None, **settings):
    """All folds at both strengths, from coefficients `W` of the features or `start`, the
    design's."""
    design, n = inner.design, inner.units.n_columns
    lam = design.xp.concat([inner.strengths(np.array([theta])) for theta in THETAS], axis=1)
    lam_of = np.repeat(np.arange(2, dtype=np.int32), n)
    W = np.zeros((N_FEATURES, 2 * n)) if W is None else W
    start = design.encode(W) if start is None else start
    return newton_cg(inner, lam, start, lam_of=lam_of, **settings)


def far(inner, size, seed=0):
    shape = (N_FEATURES, 2 * inner.units.n_columns)
    return size * np.random.default_rng(seed).normal(size=shape)


@on_every_way
def test_squared_loss_has_the_closed_form(way):
    inner = inner_problem(way, "squared")
    found = solve(inner, tol=1e-10)
    assert (found.status == CONVERGED).all()
    X, y = sparse_problem("squared", 1, N_ROWS, N_FEATURES)
    of_fold = np.arange(N_ROWS) % N_FOLDS
    splits = [(np.flatnonzero(of_fold != f), np.flatnonzero(of_fold == f)) for f in range(N_FOLDS)]
    split = k_fold_split(X, y, splits, False, np.linspace(0.5, 1.5, N_ROWS))
    expected = np.hstack([ridge(split, theta).W for theta in THETAS])
    np.testing.assert_allclose(inner.design.decode(found.W), expected, atol=1e-8)


@on_every_way
@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_gradients_are_within_the_tolerance_in_the_norm_of_the_preconditioner(way, loss):
    inner = inner_problem(way, loss)
    lam = inner.strengths(np.zeros(1))
    K, units = inner.loss.n_classes, inner.units
    tol = np.repeat(10.0 ** -np.arange(1, 7), K)
    for precond in (Preconditioner(), inner.first_precond(lam)):
        found = solve(inner, tol=tol, precond=precond)
        assert (found.status == CONVERGED).all()
        at = inner.rows.loss_grad(inner.loss, found.W)
        lams = [to_host(inner.strengths(np.array([theta]))) for theta in THETAS]
        of_column = np.repeat(np.hstack(lams), units.n_columns, axis=1)
        grad = to_host(at.grad) + of_column * to_host(found.W)
        norms = units.repeat(precond.norms(units, inner.design.xp.asarray(grad)))
        assert (norms <= tol * (1 + 1e-6)).all()
        np.testing.assert_allclose(found.grad_norm, norms, rtol=1e-6)
        np.testing.assert_allclose(to_host(found.grad), grad, atol=1e-12)
        np.testing.assert_allclose(to_host(found.Z), to_host(at.Z), atol=1e-12)
        np.testing.assert_allclose(found.train, units.united(at.value), rtol=1e-10)
        np.testing.assert_allclose(found.held_out, units.united(at.other), rtol=1e-10)


@on_every_way
@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_a_solution_as_start_takes_one_pass(way, loss):
    inner = inner_problem(way, loss)
    first = solve(inner, tol=1e-8)
    before = inner.design.n_passes
    again = solve(inner, start=first.W, tol=1e-8 * (1 + 1e-6))
    assert inner.design.n_passes == before + 1
    assert (again.n_iter == 0).all()
    assert (again.status == CONVERGED).all()
    np.testing.assert_array_equal(to_host(again.W), to_host(first.W))


@on_every_way
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_every_unit_says_how_it_ended(way):
    inner = inner_problem(way)
    found = solve(inner, tol=1e-12, max_iter=2)
    assert (found.status == MAX_ITER).all()
    assert (found.n_iter == 2).all()
    found = solve(inner, tol=1e-300)
    assert np.isin(found.status, (STALLED, CONVERGED)).all()
    W = np.zeros((N_FEATURES, 6))
    W[1, 4] = np.nan
    found = solve(inner, W=W, tol=1e-8)
    np.testing.assert_array_equal(found.status, np.where(np.arange(6) == 4, NONFINITE, CONVERGED))


@pytest.mark.no_map("how far a step may go is measured in the design's units")
@on_every_way
@pytest.mark.parametrize("loss", ["logistic", "squared_hinge", "poisson", "multinomial"])
@pytest.mark.parametrize("n_folds", [1, 3])
def test_every_way_takes_the_steps_of_the_reference(way, loss, n_folds):
    """From far away, where steps are shortened, with no curvature at some starts."""
    for size in (0.1, 3.0 if loss == "poisson" else 30.0):
        for max_iter in (1, 2, 3, 100):
            inner, other = (inner_problem(one, loss, n_folds) for one in (way, "reference"))
            found, expected = (
                solve(one, W=far(one, size), tol=1e-7, max_iter=max_iter) for one in (inner, other)
            )
            np.testing.assert_array_equal(found.status, expected.status)
            assert (np.abs(found.n_iter - expected.n_iter) <= (max_iter == 100)).all()
            W, most = inner.design.decode(found.W), np.abs(expected.W).max()
            np.testing.assert_allclose(W, expected.W, rtol=0, atol=1e-5 * most)


@on_every_way
def test_two_solutions_have_the_same_bits(way):
    one, other = (
        solve(inner, W=far(inner, 30.0), tol=1e-7)
        for inner in (inner_problem(way, "multinomial") for _ in range(2))
    )
    np.testing.assert_array_equal(to_host(one.W), to_host(other.W))
    np.testing.assert_array_equal(to_host(one.Z), to_host(other.Z))


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_called_rows_give_the_bits_of_native_ones(loss):
    one, other = (
        solve(inner, W=far(inner, 30.0), tol=1e-7)
        for inner in (inner_problem(way, loss, n_folds=1) for way in ("native", "called"))
    )
    for name in ("W", "grad", "Z", "train", "held_out", "n_iter", "n_cg", "status"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


# ---- operations that are called back ----

OPERATIONS = ("start", "evaluate", "keep", "curve", "product", "sum_along")


class Fault(Exception):
    """None that the package raises."""


@when_called
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("error", [Fault, KeyboardInterrupt])
def test_what_an_operation_raises_comes_through(way, name, error, monkeypatch):
    inner, fault, calls = inner_problem(way, "multinomial"), error("here"), []

    def fails(*_):
        calls.append(name)
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(RowOperations, name, fails)
        with pytest.raises(error) as raised:
            solve(inner, W=far(inner, 30.0), tol=1e-7)
    assert raised.value is fault
    assert calls == [name]
    assert (solve(inner, tol=1e-7).status == CONVERGED).all()


@when_called
def test_what_a_product_raises_comes_through(way, monkeypatch):
    one = Systems(way)
    fault = Fault("here")

    def fails(*_):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(one.design, "hvp", fails, raising=False)
        with pytest.raises(Fault) as raised:
            one.solve(1e-9)
    assert raised.value is fault
    assert (one.solve(1e-9).status == CONVERGED).all()


@when_called
def test_an_interrupt_in_an_operation_ends_the_solve(way, monkeypatch):
    one = Systems(way)

    def interrupted(c, V):
        signal.raise_signal(signal.SIGINT)
        return V

    monkeypatch.setattr(one.design, "hvp", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        one.solve(1e-9, max_iter=10**6)


@when_called
def test_a_block_of_another_shape_is_refused(way, monkeypatch):
    one = Systems(way)
    monkeypatch.setattr(one.design, "hvp", lambda c, V: V[:-1], raising=False)
    with pytest.raises(ValueError, match="the shape of its block"):
        one.solve(1e-9)


@when_called
def test_finished_columns_leave_products(way, monkeypatch):
    one, widths = Systems(way, 12), []
    hvp = one.design.hvp

    def counted(c, V):
        widths.append(V.shape[1])
        return hvp(c, V)

    monkeypatch.setattr(one.design, "hvp", counted, raising=False)
    one.solve(np.where(np.arange(12) < 9, 10.0, 1e-9))
    assert widths[-1] == N_FOLDS


def test_columns_in_turn_have_the_folds_that_they_had():
    units, block = Units(n_folds=3, n_classes=2), np.arange(6.0)[None, :]
    place, longer = units.in_turn([2, 3, 8, 9, 10, 11], block)  # of folds 1, 1 and 2
    np.testing.assert_array_equal(place, [2, 3, 8, 9, 4, 5])
    np.testing.assert_array_equal(longer, [[0, 0, 0, 1, 4, 5, 0, 0, 2, 3, 0, 0]])
    place, same = units.in_turn(np.arange(6), block)
    np.testing.assert_array_equal(place, np.arange(6))
    assert same is block


# ---- the list of solvers ----


class Kinked(Quadratic):
    name, is_smooth = "kinked", False


def test_a_problem_that_no_solver_accepts_is_refused_with_what_is_missing(monkeypatch):
    loss, kinked = find_loss("logistic"), Shaped(Ridge(), Kinked())
    assert solver_for(loss, Ridge()) is SOLVERS[0]
    with pytest.raises(ValueError, match=r"'logistic' with a penalty of shape 'kinked'. newton_cg"):
        solver_for(loss, kinked)
    never = InnerSolver("other", lambda loss, penalty: "it is not ready", newton_cg)
    monkeypatch.setattr("fasthoag.inner.solve.SOLVERS", [never, SOLVERS[0]])
    assert solver_for(loss, Ridge()).name == "newton_cg"
    with pytest.raises(ValueError, match="other: it is not ready; newton_cg: it needs"):
        solver_for(loss, kinked)
    with pytest.raises(ValueError, match="other: it is not ready"):
        solver_for(loss, Ridge(), never)
