"""Conformance of the linear solves, native and over the Design protocol: the designs decide which
of the two runs."""

from functools import partial

import numpy as np
import pytest
from support.designs import DEVICE, EPS, assert_near
from support.problems import sparse_matrix

from fasthoag.design.cpu import CpuDesign
from fasthoag.design.gpu import GpuDesign
from fasthoag.design.reference import ReferenceDesign
from fasthoag.design.rows import Curvature, to_host
from fasthoag.inner.cg import CONVERGED, INDEFINITE, MAX_ITER, NONFINITE, Hessian, cg, cg_columns
from fasthoag.inner.precond import SMALL, Preconditioner, make_precond, nystrom
from fasthoag.units import Units

N_ROWS, N_FEATURES, N_FOLDS = 60, 14, 3
TWINS = {"native": CpuDesign, "python": ReferenceDesign, "gpu": partial(GpuDesign, device=DEVICE)}


class System:
    """Columns of H_j x_j = b_j with H_j = Xᵀ diag(c) X + diag(λ), as the package takes it and as
    dense matrices, all in the design's coefficients."""

    def __init__(self, design, A, rng, m, curvature=None, lam=None):
        self.design, self.xp, self.m = design, design.xp, m
        A = A @ design.coefficients.apply(np.eye(design.n_coef))
        curvature = rng.random((A.shape[0], N_FOLDS)) + 0.1 if curvature is None else curvature
        if lam is None:
            lam = np.exp(rng.normal(size=(design.n_coef, 2)))
        fold = self.fold = np.arange(m) % curvature.shape[1]
        lam_of = rng.integers(0, lam.shape[1], m).astype(np.int32)
        self.rows = design.place(np.zeros(A.shape[0]))
        c = Curvature(self.xp.asarray(curvature))
        self.hess = Hessian(design, c, self.xp.asarray(lam), lam_of)
        self.dense = [
            A.T @ (curvature[:, f : f + 1] * A) + np.diag(lam[:, j])
            for f, j in zip(fold, lam_of, strict=False)
        ]
        self.b = rng.normal(size=(A.shape[1], m))

    @property
    def scale(self):
        return max(np.linalg.norm(H, 2) for H in self.dense)

    def solve(self, tol, x0=None, **options):
        x0 = None if x0 is None else self.xp.asarray(x0)
        return cg(self.hess, self.xp.asarray(self.b), x0, tol=tol, **options)

    @property
    def solution(self):
        return np.column_stack(
            [np.linalg.solve(H, b) for H, b in zip(self.dense, self.b.T, strict=False)]
        )

    def residual(self, x):
        """b - H x."""
        x = to_host(x)
        return self.b - np.column_stack([H @ v for H, v in zip(self.dense, x.T, strict=False)])


@pytest.fixture
def system(make_a_design, fit_intercept):
    def system(m=5, seed=0, **parts):
        rng = np.random.default_rng(seed)
        X = sparse_matrix(rng, N_ROWS, N_FEATURES)
        A = np.hstack([X.toarray(), np.ones((N_ROWS, 1))]) if fit_intercept else X.toarray()
        return System(make_a_design(X, fit_intercept), A, rng, m, **parts)

    return system


def ill_conditioned(twin, m=2, n_features=80, condition=1e5, seed=0):
    """Dense X whose products are exact and whose Hessian XᵀX has this condition number: CG needs
    hundreds of steps."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.normal(size=(n_features + 20, n_features)))[0]
    V = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
    X = U * np.sqrt(np.geomspace(1 / condition, 1, n_features)) @ V
    return System(TWINS[twin](X), X, rng, m, np.ones((len(X), 1)), np.zeros((n_features, 1)))


def condition(system):
    return max(np.linalg.cond(H) for H in system.dense)


def test_block_solve_matches_dense_solves(system):
    for m in (1, 2, 8, 9, 17):
        one = system(m)
        result = one.solve(1e-11 * np.linalg.norm(one.b, axis=0))
        assert (result.status == CONVERGED).all()
        np.testing.assert_allclose(
            to_host(result.x),
            one.solution,
            rtol=0,
            atol=1e-10 * condition(one) * np.abs(one.solution).max(),
        )


def test_every_column_stops_at_its_own_tolerance(system):
    one = system(7)
    tol = 10.0 ** -np.arange(7) * np.linalg.norm(one.b, axis=0)[0] * 0.5
    tol[3] = 1e3  # met before the first step
    result = one.solve(tol)
    assert (result.status == CONVERGED).all()
    norm = np.linalg.norm(one.residual(result.x), axis=0)
    assert (norm <= tol + 1e3 * EPS * one.scale * np.abs(one.solution).max()).all()
    np.testing.assert_allclose(result.residual_norm, norm, rtol=1e-6, atol=1e3 * EPS * one.scale)
    assert result.n_iter[3] == 0
    assert result.n_iter[0] < result.n_iter[6]
    assert (result.n_iter <= N_FEATURES + 5).all()
    np.testing.assert_array_equal(to_host(result.x)[:, 3], 0)


def test_neighbours_of_a_column_change_no_more_than_rounding(system):
    one = system(6)
    tol = 10.0 ** -np.arange(1, 7.0)
    together = one.solve(tol)
    for j in range(6):
        f, lam_of = one.fold[j], one.hess.lam_of[j : j + 1]
        c = Curvature(one.hess.curvature.values[:, f : f + 1])
        hess = Hessian(one.design, c, one.hess.lam, lam_of)
        alone = cg(hess, one.xp.asarray(one.b[:, j : j + 1]), tol=tol[j])
        assert abs(int(alone.n_iter[0]) - int(together.n_iter[j])) <= 1
        smallest = np.linalg.eigvalsh(one.dense[j])[0]
        np.testing.assert_allclose(
            to_host(alone.x)[:, 0],
            to_host(together.x)[:, j],
            rtol=0,
            atol=2 * tol[j] / smallest,
        )


def test_exact_start_takes_no_iteration_and_one_product(system):
    one = system(4)
    before = one.design.n_passes
    result = one.solve(1e3 * EPS * one.scale * np.abs(one.solution).max(), one.solution)
    assert one.design.n_passes == before + 1
    assert (result.n_iter == 0).all()
    assert (result.status == CONVERGED).all()
    np.testing.assert_array_equal(to_host(result.x), one.solution)
    assert (to_host(result.energy) == -1).all()  # "no step was needed"


def test_without_start_a_solve_takes_one_product_an_iteration(system):
    one = system(5)
    before = one.design.n_passes
    result = one.solve(1e-6)
    assert one.design.n_passes == before + result.n_iter.max()


def test_start_and_right_hand_side_are_left_alone(system):
    one = system(3)
    b, start = one.xp.asarray(one.b), one.xp.asarray(0.5 * one.solution)
    cg(one.hess, b, start, tol=1e-9)
    np.testing.assert_array_equal(to_host(b), one.b)
    np.testing.assert_array_equal(to_host(start), 0.5 * one.solution)


def test_near_start_saves_iterations_and_gives_the_same_answer(system):
    one = system(4)
    cold, warm = one.solve(1e-8), one.solve(1e-8, one.solution * (1 + 1e-7))
    assert (warm.n_iter < cold.n_iter).all()
    np.testing.assert_allclose(to_host(warm.x), to_host(cold.x), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("tol", "max_iter"), [(1e-1, 1000), (1e-9, 1000), (1e-9, 3)])
def test_returned_residuals_are_those_of_the_returned_solution(system, tol, max_iter):
    one = system(5)
    for x0 in (None, 0.3 * one.b):
        result = one.solve(tol, x0, max_iter=max_iter)
        assert_near(
            to_host(result.residual),
            one.residual(result.x),
            scale=one.scale * np.abs(one.b).max(),
        )
        np.testing.assert_allclose(
            result.residual_norm,
            np.linalg.norm(to_host(result.residual), axis=0),
            rtol=1e-12,
        )


def test_iterations_end_at_max_iter_and_say_so(system):
    one = system(3)
    for max_iter in (0, 1, 2):
        result = one.solve(np.array([1e-12, 1e12, 1e-12]), max_iter=max_iter)
        np.testing.assert_array_equal(result.status, [MAX_ITER, CONVERGED, MAX_ITER])
        np.testing.assert_array_equal(result.n_iter, [max_iter, 0, max_iter])


def test_number_of_iterations_is_counted_from_the_first_step(system):
    """H = 4 I: one step solves it."""
    lam = np.full((system().b.shape[0], 1), 4.0)
    one = system(2, curvature=np.zeros((N_ROWS, 1)), lam=lam)
    result = one.solve(1e-12)
    np.testing.assert_array_equal(result.n_iter, [1, 1])
    assert_near(to_host(result.x), one.b / 4)
    # of the error that is left: rounding
    assert (result.energy >= 0).all()
    assert (result.energy <= 1e-20 * (one.b**2).sum(0)).all()


def test_negative_curvature_ends_as_indefinite_in_its_column_only(system):
    curvature = np.ones((N_ROWS, 2))
    curvature[:, 1] = -1
    one = system(6, curvature=curvature, lam=np.full((system().b.shape[0], 1), 0.1))
    assert {0, 1} == set(one.fold)
    result = one.solve(1e-9)
    np.testing.assert_array_equal(result.status, np.where(one.fold == 1, INDEFINITE, CONVERGED))
    good = one.fold == 0
    np.testing.assert_allclose(to_host(result.x)[:, good], one.solution[:, good], rtol=0, atol=1e-7)
    assert np.isfinite(to_host(result.x)).all()
    assert_near(
        to_host(result.residual),
        one.residual(result.x),
        scale=one.scale * np.abs(one.b).max(),
    )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["right-hand side", "start", "curvature"])
def test_nonfinite_numbers_end_as_nonfinite_in_their_column_only(system, bad, where):
    curvature = np.ones((N_ROWS, 2))
    if where == "curvature":
        curvature[:, 1] = bad
    one = system(5, curvature=curvature, seed=1)
    is_bad = one.fold == 1 if where == "curvature" else np.arange(5) == 2
    assert is_bad.any()
    assert not is_bad.all()
    expected = np.column_stack(
        [
            np.full(len(b), np.nan) if skip else np.linalg.solve(H, b)
            for H, b, skip in zip(one.dense, one.b.T, is_bad, strict=False)
        ]
    )
    x0 = np.zeros_like(one.b)
    if where == "right-hand side":
        one.b[3, is_bad] = bad
    if where == "start":
        x0[3, is_bad] = bad
    result = one.solve(1e-9, x0 if where == "start" else None)
    np.testing.assert_array_equal(result.status, np.where(is_bad, NONFINITE, CONVERGED))
    np.testing.assert_allclose(
        to_host(result.x)[:, ~is_bad], expected[:, ~is_bad], rtol=0, atol=1e-7
    )


def preconditioners(one):
    """Nothing, the inverse diagonal, that less a low rank, a symmetric positive definite matrix,
    and what the package makes."""
    H = one.dense[0]
    inverse = np.linalg.inv(H)
    diagonal = one.xp.asarray(1 / np.diag(H)[:, None])
    c = Curvature(one.hess.curvature.values[:, :1])
    low_rank = (
        nystrom(one.design, c, diagonal, one.design.n_coef - one.design.has_intercept)
        if one.design.n_coef > 2
        else None
    )
    return {
        "none": Preconditioner(),
        "diagonal": Preconditioner(diagonal=diagonal),
        "low rank": Preconditioner(diagonal, low_rank),
        "inverse": Preconditioner(inverse=one.xp.asarray(inverse)),
        "made": make_precond(one.rows, one.hess.curvature, one.hess.lam[:, :1]),
    }


def test_preconditioners_change_the_work_and_not_the_answer(system):
    one = system(5)
    for name, precond in preconditioners(one).items():

        def norms(r, precond=precond):
            return precond.norms(Units(), one.xp.asarray(np.ascontiguousarray(r)))

        tol = 1e-10 * norms(one.b)
        result = one.solve(tol, precond=precond)
        assert (result.status == CONVERGED).all(), name
        assert (norms(one.residual(result.x)) <= 1.01 * tol).all(), name
        np.testing.assert_allclose(result.residual_norm, norms(to_host(result.residual)), rtol=1e-6)
        np.testing.assert_allclose(
            to_host(result.x),
            one.solution,
            rtol=0,
            atol=1e-9 * condition(one) * np.abs(one.solution).max(),
            err_msg=name,
        )


def test_inverse_of_the_hessian_solves_in_one_or_two_steps(system):
    one = system(
        3,
        curvature=np.random.default_rng(0).random((N_ROWS, 1)),
        lam=np.random.default_rng(1).random((system().b.shape[0], 1)) + 0.1,
    )
    for name in ("inverse", "made"):
        result = one.solve(1e-9, precond=preconditioners(one)[name])
        assert (result.n_iter <= 2).all(), name


@pytest.mark.parametrize("n_features", [100, 300])
@pytest.mark.parametrize("curvature", [1.0, 1e-308, 0.0], ids=["usual", "saturated", "zero"])
def test_made_preconditioner_is_positive_definite_for_empty_columns_and_saturated_rows(
    make_a_design, n_features, curvature
):
    """Below 128 coefficients it is an inverse, above a diagonal."""
    rng = np.random.default_rng(0)
    design = make_a_design(sparse_matrix(rng, 40, n_features, 0.1), True)
    # as Ridge has them: the intercept alone is free
    lam = np.r_[np.full(n_features, 1e-8), 0][:, None]
    c = Curvature(design.xp.asarray(curvature * rng.random((40, 2))))
    lam = design.xp.asarray(design.coefficients.spread(lam))
    precond = make_precond(design.place(np.zeros(40)), c, lam)
    assert (precond.inverse is not None) == (design.n_coef <= SMALL)
    if precond.inverse is not None:
        P = to_host(precond.inverse)
        assert np.isfinite(P).all()
        unit = np.sqrt(np.diag(P))
        assert np.linalg.eigvalsh(0.5 * (P + P.T) / unit / unit[:, None]).min() > -1e-6
    else:
        assert (to_host(precond.diagonal) > 0).all()
        assert np.isfinite(to_host(precond.diagonal)).all()


@pytest.mark.no_map("an estimate that holds for these systems, not for all")
@pytest.mark.parametrize("precond", ["none", "diagonal", "made"])
def test_energy_estimate_is_no_less_than_a_tenth_of_the_true_energy(system, precond):
    """It may be larger than the truth, but must not promise too much."""
    estimates, truth = [], []
    for seed in range(4):
        one = system(6, seed=seed)
        for tol in (1e-1, 1e-3, 1e-6):
            result = one.solve(
                tol * np.linalg.norm(one.b, axis=0), precond=preconditioners(one)[precond]
            )
            error = one.solution - to_host(result.x)
            energy = np.array([e @ H @ e for e, H in zip(error.T, one.dense, strict=False)])
            # of the true energy's rounding
            floor = (
                1e4
                * EPS**2
                * np.array(
                    [
                        np.linalg.cond(H) * x @ H @ x
                        for x, H in zip(one.solution.T, one.dense, strict=False)
                    ]
                )
            )
            stepped = (result.n_iter > 0) & (energy > floor)
            estimates.append(result.energy[stepped])
            truth.append(energy[stepped])
    estimates, truth = np.concatenate(estimates), np.concatenate(truth)
    assert len(truth) > 50
    assert (estimates >= 0.1 * truth).all(), (
        f"smallest estimate is {(estimates / truth).min():.1e} of the truth"
    )


@pytest.mark.parametrize("twin", TWINS)
def test_residual_stays_true_after_hundreds_of_steps(twin):
    one = ill_conditioned(twin)
    result = one.solve(1e-8 * np.linalg.norm(one.b, axis=0), max_iter=5000)
    assert (result.status == CONVERGED).all()
    assert result.n_iter.min() > 150
    norm = np.linalg.norm(one.residual(result.x), axis=0)
    assert (
        norm
        <= 1e-8 * np.linalg.norm(one.b, axis=0)
        + 100 * EPS * np.abs(to_host(result.x)).max() * one.scale
    ).all()


def test_twins_agree_step_by_step(system):
    """The same iterates from both: solutions, counts, statuses and energies after every number of
    steps."""
    one = system(4)
    args = (one.hess, one.xp.asarray(one.b), None, np.full(4, 1e-9))
    for max_iter in (1, 2, 5, 1000):
        mine = one.solve(1e-9, max_iter=max_iter)
        twin = cg_columns(*args, Preconditioner(), max_iter)
        np.testing.assert_allclose(
            to_host(mine.x),
            to_host(twin.x),
            rtol=0,
            atol=1e-9 * condition(one) * np.abs(one.solution).max(),
        )
        assert (np.abs(mine.n_iter - twin.n_iter) <= (max_iter >= 10)).all()
        np.testing.assert_array_equal(mine.status, twin.status)
        if max_iter < 10:  # later steps carry the rounding of all before them
            np.testing.assert_allclose(mine.energy, twin.energy, rtol=1e-6)


def test_sketch_finds_the_largest_eigenvalues(make_a_design):
    """A Hessian with 5 large eigenvalues: the low rank takes them away, so that CG needs a fraction
    of the steps, and P⁻¹ stays positive."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 200)) * 10 + rng.normal(size=(300, 200))
    design = make_a_design(X, True)
    lam = np.r_[np.full(200, 0.1), 0.0][:, None]
    lam = design.xp.asarray(design.coefficients.spread(lam))
    c = Curvature(design.xp.ones((300, 1)))
    made = make_precond(design.place(np.zeros(300)), c, lam)
    if design.n_hot == 0:
        assert made.low_rank is None
        return
    P = np.diag(to_host(made.diagonal)[:, 0])
    hot = np.append(np.arange(design.n_hot - 1), 200)  # the intercept is among them
    P[np.ix_(hot, hot)] -= to_host(made.low_rank) @ to_host(made.low_rank).T
    assert np.linalg.eigvalsh(P).min() > 0
    hess, b = Hessian(design, c, lam), design.encode(rng.normal(size=(201, 1)))
    with_it, without = (
        cg(hess, b, tol=1e-6, precond=precond).n_iter[0]
        for precond in (made, Preconditioner(made.diagonal))
    )
    assert with_it <= 0.8 * without
