"""Conformance of the inner solver, native and over the Design protocol: the designs decide which of
the two runs."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import brentq
from support.closed_form import exact, held_out_split, k_fold_split, ridge
from support.designs import EPS, OF_USE, assert_near, with_losses
from support.problems import has_log_link, sparse_problem

from fasthoag import Problem
from fasthoag.design.rows import TRAIN, to_host
from fasthoag.inner.cg import CONVERGED, MAX_ITER, NONFINITE, STALLED, Strengths
from fasthoag.inner.newton import newton_columns
from fasthoag.inner.precond import Preconditioner, make_precond
from fasthoag.inner.problem import InnerProblem
from fasthoag.inner.solve import newton_cg
from fasthoag.losses import LOSSES, derivative, find_loss
from fasthoag.penalties import Ridge

on_every_design = with_losses(OF_USE)


def inner_problem(design, y, loss, weight=None, mask=None):
    rows = design.place(np.ascontiguousarray(y, float), weight, mask)
    return InnerProblem(rows, find_loss(loss), Ridge())


def strengths(inner, *thetas):
    return inner.design.xp.concat([inner.strengths(np.array([theta])) for theta in thetas], axis=1)


def zeros(inner, m=1):
    return inner.design.zeros(m)


def solve(inner, theta, tol=1e-10, W=None, **options):
    return newton_cg(
        inner,
        strengths(inner, theta),
        zeros(inner, inner.n_folds) if W is None else inner.design.encode(W),
        tol=tol,
        **options,
    )


def solution(split, loss, theta):
    return exact(split, loss, theta)[1]


def train_split(X, y, fit_intercept, weight=None):
    return held_out_split(X, y, X, y, fit_intercept, weight)


def gradient(split, design, u, loss, theta):
    """∇h of every column in dense NumPy, in the design's coefficients."""
    penalty = np.exp(theta) * split.is_penalised
    gradients = [
        split.X.T @ (s * derivative(loss, 1, split.y, split.X @ w)) + penalty * w
        for w, s in zip(design.decode(u).T, split.train.T, strict=False)
    ]
    return design.coefficients.pull(np.column_stack(gradients))


@pytest.mark.parametrize("theta", [-3.0, 0.0, 4.0])
def test_squared_loss_matches_the_closed_form(make_a_design, fit_intercept, theta):
    X, y = sparse_problem("squared", 0)
    inner = inner_problem(make_a_design(X, fit_intercept), y, "squared")
    result = solve(inner, theta, 1e-11)
    expected = ridge(train_split(X, y, fit_intercept), theta)
    assert (result.status == CONVERGED).all()
    np.testing.assert_allclose(
        inner.design.decode(result.W),
        expected.W,
        rtol=0,
        atol=1e-11 * np.linalg.norm(np.linalg.inv(expected.inner_hess[0]), 2) + 1e-13,
    )


@on_every_design
def test_solution_has_the_gradient_predictions_and_losses_it_reports(
    make_a_design, fit_intercept, loss
):
    X, y = sparse_problem(loss, 1)
    rng = np.random.default_rng(1)
    mask, weight = rng.integers(0, 4, (80, 3)).astype(np.uint8), rng.random(80)
    inner = inner_problem(make_a_design(X, fit_intercept), y, loss, weight, mask)
    result = solve(inner, 0.5, np.array([1e-2, 1e-5, 1e-9]))
    W = inner.design.decode(result.W)
    split = k_fold_split(
        X,
        y,
        [(np.flatnonzero(mask[:, f] & 1), np.flatnonzero(mask[:, f] & 2)) for f in range(3)],
        fit_intercept,
        weight,
    )
    assert_near(result.Z, split.X @ W)
    grad = to_host(result.grad)
    assert_near(grad, gradient(split, inner.design, result.W, loss, 0.5), scale=100)
    np.testing.assert_allclose(result.grad_norm, np.linalg.norm(grad, axis=0), rtol=1e-10)
    values = np.column_stack([derivative(loss, 0, y, split.X @ w) for w in W.T])
    np.testing.assert_allclose(result.train, (split.train * values).sum(0), rtol=1e-12)
    np.testing.assert_allclose(result.held_out, (split.test * values).sum(0), rtol=1e-12)


@on_every_design
def test_every_column_stops_at_its_own_tolerance(make_a_design, fit_intercept, loss):
    X, y = sparse_problem(loss, 2)
    inner = inner_problem(make_a_design(X, fit_intercept), y, loss)
    tol = np.array([1e3, 1e0, 1e-3, 1e-6, 1e-9])
    result = newton_cg(
        inner,
        strengths(inner, 0.0),
        zeros(inner, 5),
        tol=tol,
    )
    assert (result.status == CONVERGED).all()
    assert (result.grad_norm <= tol).all()
    split = k_fold_split(X, y, [(np.arange(80), [])] * 5, fit_intercept)
    norms = np.linalg.norm(gradient(split, inner.design, result.W, loss, 0.0), axis=0)
    assert (norms <= tol * (1 + 1e-6) + 1e-12).all()
    assert result.n_iter[0] == 0
    assert result.n_iter[1] <= result.n_iter[4]
    assert (result.n_iter <= 15).all()
    assert (result.n_cg[1:] >= result.n_iter[1:]).all()


@pytest.mark.parametrize(("weighted", "theta"), [(False, -2.0), (True, 1.0)])
def test_logistic_matches_scikit_learn(make_a_design, fit_intercept, theta, weighted):
    from sklearn.linear_model import LogisticRegression

    X, y = sparse_problem("logistic", 3)
    weight = np.random.default_rng(0).random(80) + 0.1 if weighted else None
    theirs = LogisticRegression(
        C=np.exp(-theta),
        solver="newton-cholesky",
        tol=1e-12,
        fit_intercept=fit_intercept,
        max_iter=200,
    ).fit(X.toarray(), y, weight)
    expected = np.r_[theirs.coef_[0], theirs.intercept_][: 15 + fit_intercept]
    inner = inner_problem(make_a_design(X, fit_intercept), y, "logistic", weight)
    result = solve(inner, theta, 1e-11)
    assert (result.status == CONVERGED).all()
    np.testing.assert_allclose(
        inner.design.decode(result.W)[:, 0], expected, rtol=0, atol=1e-8 * np.abs(expected).max()
    )


@pytest.mark.parametrize(("weighted", "theta"), [(False, -2.0), (True, 1.0)])
def test_squared_matches_scikit_learn(make_a_design, fit_intercept, theta, weighted):
    from sklearn.linear_model import Ridge as SklearnRidge

    X, y = sparse_problem("squared", 3)
    weight = np.random.default_rng(0).random(80) + 0.1 if weighted else None
    theirs = SklearnRidge(np.exp(theta), solver="cholesky", fit_intercept=fit_intercept).fit(
        X.toarray(), y, weight
    )
    expected = np.r_[theirs.coef_, theirs.intercept_][: 15 + fit_intercept]
    inner = inner_problem(make_a_design(X, fit_intercept), y, "squared", weight)
    np.testing.assert_allclose(
        inner.design.decode(solve(inner, theta, 1e-11).W)[:, 0],
        expected,
        rtol=0,
        atol=1e-8 * np.abs(expected).max(),
    )


@on_every_design
def test_solution_as_start_takes_no_iteration_and_one_pass(make_a_design, loss):
    X, y = sparse_problem(loss, 4)
    inner = inner_problem(make_a_design(X, True), y, loss)
    first = solve(inner, 0.0, 1e-7)
    before = inner.design.n_passes
    again = newton_cg(inner, strengths(inner, 0.0), first.W, tol=1e-7 * (1 + 1e-6))
    assert (again.n_iter == 0).all()
    assert (again.n_cg == 0).all()
    assert (again.status == CONVERGED).all()
    assert inner.design.n_passes == before + 1
    np.testing.assert_array_equal(inner.design.decode(again.W), inner.design.decode(first.W))


@on_every_design
def test_start_is_left_alone(make_a_design, loss):
    X, y = sparse_problem(loss, 4)
    inner = inner_problem(make_a_design(X, True), y, loss)
    start = np.random.default_rng(0).normal(size=(16, 1))
    encoded = inner.design.encode(start)
    kept = to_host(encoded).copy()
    newton_cg(inner, strengths(inner, 0.0), encoded, tol=1e-6)
    np.testing.assert_array_equal(to_host(encoded), kept)


@on_every_design
def test_whole_weights_equal_repeated_rows(make_a_design, loss):
    X, y = sparse_problem(loss, 5)
    weight = np.random.default_rng(0).integers(0, 4, 80)
    rows = np.repeat(np.arange(80), weight)
    weighted = inner_problem(make_a_design(X, True), y, loss, weight.astype(float))
    repeated = inner_problem(make_a_design(X[rows], True), y[rows], loss)
    one, other = solve(weighted, 0.0, 1e-11), solve(repeated, 0.0, 1e-11)
    # two residuals of 1e-11 and H >= 1
    assert_near(weighted.design.decode(one.W), repeated.design.decode(other.W), scale=1, factor=1e5)
    np.testing.assert_allclose(one.train, other.train, rtol=1e-10)


@on_every_design
def test_order_of_rows_and_columns_changes_no_more_than_rounding(make_a_design, loss):
    X, y = sparse_problem(loss, 6)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(80), rng.permutation(15)
    plain, other = (
        inner_problem(make_a_design(X, True), y, loss),
        inner_problem(make_a_design(X[rows][:, columns], True), y[rows], loss),
    )
    W, permuted = (inner.design.decode(solve(inner, 0.0, 1e-11).W) for inner in (plain, other))
    assert_near(permuted, W[np.r_[columns, 15]], scale=1, factor=1e5)


@on_every_design
def test_folds_as_columns_equal_separate_fits(make_a_design, fit_intercept, loss):
    X, y = sparse_problem(loss, 7)
    fold_of = np.arange(80) % 4
    mask = np.where(fold_of[:, None] == np.arange(4), 2, 1).astype(np.uint8)
    inner = inner_problem(make_a_design(X, fit_intercept), y, loss, mask=mask)
    together = solve(inner, 0.0, 1e-11)
    for f in range(4):
        alone = inner_problem(make_a_design(X[fold_of != f], fit_intercept), y[fold_of != f], loss)
        result = solve(alone, 0.0, 1e-11)
        assert_near(
            inner.design.decode(together.W)[:, f : f + 1],
            alone.design.decode(result.W),
            scale=1,
            factor=1e5,
        )
        np.testing.assert_allclose(together.train[f], result.train[0], rtol=1e-10)


@on_every_design
def test_strengths_as_columns_equal_separate_fits(make_a_design, loss):
    X, y = sparse_problem(loss, 8)
    inner, thetas = inner_problem(make_a_design(X, True), y, loss), np.array([-2.0, 0.0, 3.0])
    order = np.array([2, 0, 1, 1], np.int32)
    together = newton_cg(
        inner,
        strengths(inner, *thetas),
        zeros(inner, 4),
        tol=1e-11,
        lam_of=order,
    )
    for j, theta in enumerate(thetas[order]):
        alone = inner.design.decode(solve(inner, theta, 1e-11).W)[:, 0]
        assert_near(
            inner.design.decode(together.W)[:, j], alone, scale=max(1, np.exp(-theta)), factor=1e5
        )


@on_every_design
@pytest.mark.parametrize("theta", [-25.0, -12.0, 30.0])
def test_tiny_and_huge_strengths_reach_the_exact_solution(
    make_a_design, fit_intercept, loss, theta
):
    X, y = sparse_problem(loss, 9)
    inner = inner_problem(make_a_design(X, fit_intercept), y, loss)
    result = solve(inner, theta, 1e-9)
    split = train_split(X, y, fit_intercept)
    assert (result.status == CONVERGED).all()
    W = inner.design.decode(result.W)
    expected = solution(split, loss, theta)
    penalty = np.exp(theta) * split.is_penalised
    value = [
        s @ derivative(loss, 0, split.y, split.X @ w) + 0.5 * penalty @ w**2
        for w in (W[:, 0], expected[:, 0])
        for s in split.train.T
    ]
    assert value[0] <= value[1] * (1 + 1e-10) + 1e-12
    assert_near(split.X @ W, split.X @ expected, scale=1, factor=1e-6 / EPS)


@on_every_design
def test_all_zero_matrix_gives_zero_coefficients_and_the_best_constant(
    make_a_design, fit_intercept, loss
):
    y = np.where(np.arange(10) < 7, 1.0, 2.5 if has_log_link(loss) else -1.0)
    best = brentq(lambda b: derivative(loss, 1, y, np.full(10, b)).sum(), -5, 5, xtol=1e-14)
    inner = inner_problem(make_a_design(sp.csr_matrix((10, 4)), fit_intercept), y, loss)
    for precond in (
        Preconditioner(),
        make_precond(
            inner.rows, inner.curvature(inner.rows.at_constant(inner.null.b)), strengths(inner, 0.0)
        ),
    ):
        result = solve(inner, 0.0, 1e-11, precond=precond)
        W = inner.design.decode(result.W)[:, 0]
        assert (result.status == CONVERGED).all()
        np.testing.assert_allclose(W[:4], 0, rtol=0, atol=1e-11)
        if fit_intercept:
            np.testing.assert_allclose(W[4], best, rtol=1e-10)
    known = {"squared": y.mean(), "logistic": np.log(7 / 3), "squared_hinge": 0.4}
    known |= {name: np.log(y.mean()) for name in LOSSES if has_log_link(name)}
    assert loss not in known or best == pytest.approx(known[loss], rel=1e-12)


def test_constant_y_gives_the_constant_as_intercept_and_nothing_else(make_a_design):
    X, _ = sparse_problem("squared", 0)
    inner = inner_problem(make_a_design(X, True), np.full(80, 3.5), "squared")
    result = solve(inner, 0.0, 1e-10)
    assert (result.status == CONVERGED).all()
    np.testing.assert_allclose(
        inner.design.decode(result.W)[:, 0], np.r_[np.zeros(15), 3.5], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("theta", [-10.0, -20.0, -60.0])
def test_separable_classes_with_tiny_strength_converge_or_say_so(
    make_a_design, fit_intercept, theta
):
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(rng.normal(size=(40, 6)).astype(np.float32).astype(float))
    y = np.sign(X @ rng.normal(size=6))
    inner = inner_problem(make_a_design(X, fit_intercept), y, "logistic")
    result = solve(inner, theta, 1e-12)
    W = inner.design.decode(result.W)
    split = train_split(X, y, fit_intercept)
    norm = np.linalg.norm(gradient(split, inner.design, result.W, "logistic", theta))
    assert np.isfinite(W).all()
    np.testing.assert_allclose(result.grad_norm[0], norm, rtol=1e-3, atol=1e-14)
    assert (result.status[0] == CONVERGED) == (result.grad_norm[0] <= 1e-12)
    assert result.status[0] in (CONVERGED, MAX_ITER, STALLED)
    # separated in any case
    assert ((X @ W[:6] + (W[6:] if fit_intercept else 0))[:, 0] * y > 0).all()


@pytest.mark.no_map("how far a step may go is measured in the design's units")
@on_every_design
@pytest.mark.parametrize("scale", [1e1, 1e3])
def test_start_far_away_converges(make_a_design, fit_intercept, loss, scale):
    X, y = sparse_problem(loss, 10)
    inner = inner_problem(make_a_design(X, fit_intercept), y, loss)
    split = train_split(X, y, fit_intercept)
    expected = solution(split, loss, 0.0)
    for seed in range(3):
        W = scale * np.random.default_rng(seed).normal(size=(inner.design.n_coef, 1))
        if has_log_link(loss):  # exp(1000) is infinite: as far away as predictions of 30
            W *= min(1.0, 30 / np.abs(split.X @ W).max())
        result = solve(inner, 0.0, 1e-7, W)
        assert (result.status == CONVERGED).all(), (
            f"status {result.status}, gradient {result.grad_norm} after {result.n_iter} steps"
        )
        np.testing.assert_allclose(inner.design.decode(result.W), expected, rtol=0, atol=1e-6)


@on_every_design
def test_impossible_tolerance_ends_at_the_rounding_floor_and_says_so(make_a_design, loss):
    X, y = sparse_problem(loss, 11)
    inner = inner_problem(make_a_design(X, True), y, loss)
    result = solve(inner, 0.0, 1e-300)
    assert result.status[0] in (STALLED, CONVERGED)
    assert result.n_iter[0] <= 30
    assert_near(
        inner.design.decode(result.W),
        solution(train_split(X, y, True), loss, 0.0),
        scale=1,
        factor=1e6,
    )


@on_every_design
def test_max_iter_is_respected_and_the_best_point_so_far_returned(make_a_design, loss):
    X, y = sparse_problem(loss, 12)
    inner = inner_problem(make_a_design(X, True), y, loss)
    value = np.inf
    for max_iter in (0, 1, 2, 3):
        result = solve(inner, -3.0, 1e-14, max_iter=max_iter, max_cg=3)
        assert (result.n_iter <= max_iter).all()
        assert (result.status == MAX_ITER).all()
        W = inner.design.decode(result.W)
        now = result.train[0] + 0.5 * np.exp(-3.0) * (W[:15] ** 2).sum()
        assert now <= value
        value = now


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@on_every_design
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_start_ends_as_nonfinite_in_its_column_only(make_a_design, loss, bad):
    X, y = sparse_problem(loss, 13)
    inner = inner_problem(make_a_design(X, True), y, loss)
    W = np.zeros((16, 3))
    W[3:5, 1] = bad
    result = newton_cg(
        inner,
        strengths(inner, 0.0),
        inner.design.encode(W),
        tol=1e-8,
    )
    np.testing.assert_array_equal(result.status, [CONVERGED, NONFINITE, CONVERGED])
    expected = solution(train_split(X, y, True), loss, 0.0)
    np.testing.assert_allclose(
        inner.design.decode(result.W)[:, [0, 2]], np.hstack([expected] * 2), rtol=0, atol=1e-7
    )


@on_every_design
def test_preconditioners_change_the_work_and_not_the_answer(make_a_design, loss):
    X, y = sparse_problem(loss, 14)
    inner = inner_problem(make_a_design(X, True), y, loss)
    lam, design = strengths(inner, -1.0), inner.design
    curvature = inner.curvature(inner.rows.at_constant(inner.null.b))
    made = make_precond(inner.rows, curvature, lam)
    diagonal = Preconditioner(diagonal=1 / (design.hess_diag(curvature) + lam))
    plain = design.decode(solve(inner, -1.0, 1e-10).W)
    for precond in (made, diagonal):
        result = solve(inner, -1.0, 1e-10, precond=precond)
        assert (result.status == CONVERGED).all()
        assert_near(design.decode(result.W), plain, scale=1, factor=1e7)


def test_problem_of_the_public_interface_is_the_same_inner_problem(make_a_design):
    X, y = sparse_problem("logistic", 15)
    problem = Problem(make_a_design(X, True), y)
    inner = problem.inner()
    lam = inner.design.coefficients.unspread(to_host(inner.strengths(np.array([2.0]))))
    np.testing.assert_allclose(lam, np.r_[np.full(15, np.exp(2)), 0][:, None], rtol=1e-12)
    assert inner.n_folds == 1
    assert TRAIN == 1


@pytest.mark.no_map("from far away rounding decides which steps are shortened")
@pytest.mark.parametrize("loss", LOSSES)
def test_twins_take_the_same_steps(loss):
    """The native solver and the one over the protocol, on the same design."""
    from fasthoag.design.cpu import CpuDesign

    X, y = sparse_problem(loss, 16)
    inner = inner_problem(CpuDesign(X, fit_intercept=True, n_threads=1), y, loss)
    lam, none = strengths(inner, -1.0), np.zeros(1, np.int32)
    far = 30 * np.random.default_rng(0).normal(size=(16, 1))
    if has_log_link(loss):  # predictions of 30: beyond them exp overflows
        far *= min(1.0, 30 / np.abs(inner.design.matvec(far)).max())
    for start in (np.zeros((16, 1)), far):
        for max_iter in (1, 2, 3, 100):
            native = newton_cg(inner, lam, start, tol=1e-9, max_iter=max_iter)
            twin = newton_columns(
                inner.rows,
                inner.loss,
                Strengths(lam, none),
                start,
                np.array([1e-9]),
                Preconditioner(),
                max_iter=max_iter,
                max_cg=1000,
            )
            assert abs(int(native.n_iter[0]) - int(twin.n_iter[0])) <= (max_iter == 100)
            np.testing.assert_array_equal(native.status, twin.status)
            np.testing.assert_allclose(native.W, twin.W, rtol=0, atol=1e-6 * np.abs(native.W).max())
