"""Few rows of many features are held in their own space: nothing that a user sees changes."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from support.designs import EPS
from support.problems import targets
from support.tunings import splits_of

from fasthoag import (
    ApproximateLOO,
    Evidence,
    FeatureRidge,
    GroupRidge,
    HeldOut,
    KFold,
    Problem,
    Ridge,
    check_hypergrad,
    curve,
    hoag,
)
from fasthoag.criteria import GCV
from fasthoag.design import row_space
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.row_space import RowSpace
from fasthoag.hypergradient import Accuracy
from fasthoag.problem import refit

pytestmark = pytest.mark.no_map("rows are turned where a design has no map of its own")

EXACT = Accuracy(1e-12, 1e-12)
N_ROWS, N_VAL, P = 40, 15, 400
FORMATS = ("dense", "float32", "csr", "blocks")
CRITERIA = {
    "held_out": lambda X_val, y_val: HeldOut(X_val, y_val),
    "k_fold": lambda X_val, y_val: KFold(splits_of(N_ROWS, 4)),
    "loo": lambda X_val, y_val: ApproximateLOO(),
    "evidence": lambda X_val, y_val: Evidence(),
}


def data(loss="logistic", form="dense", seed=0):
    """(X, y, X_val, y_val): more features than rows; two rows alike, an empty column, constants."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(N_ROWS + N_VAL, 5))
    X = factors @ rng.normal(size=(5, P)) + rng.normal(size=(N_ROWS + N_VAL, P))
    if form == "csr":
        X *= rng.random(X.shape) < 0.5
    X[:, 3], X[:N_ROWS, 7], X[1] = 0.5, 0.0, X[0]
    X = np.round(64 * X) / 64  # float32 holds it
    y = targets(loss, factors[:, 0], rng)
    train, val = X[:N_ROWS], X[N_ROWS:]
    if form == "float32":
        train, val = train.astype(np.float32), val.astype(np.float32)
    if form == "csr":
        train, val = sp.csr_matrix(train), sp.csr_matrix(val)
    if form == "blocks":
        train, val = [train[:9], train[9:10], train[10:]], [val[:2], val[2:]]
    return train, y[:N_ROWS], val, y[N_ROWS:]


def unturned(problem):
    """The same problem with every feature."""
    return replace(problem, X=CpuDesign(problem.X, fit_intercept=problem.fit_intercept))


def at(problem, criterion, theta):
    bound = criterion.bind(problem)
    start = problem.design.zeros(bound.inner.units.n_columns)
    found = bound.evaluate(np.atleast_1d(theta), start, EXACT)
    return found, problem.design.decode(found.W)


@pytest.mark.parametrize("form", FORMATS)
def test_few_rows_have_as_few_coefficients(form, fit_intercept):
    X, y, *_ = data(form=form)
    problem = Problem(X, y, fit_intercept=fit_intercept)
    assert isinstance(problem.design.compression, RowSpace)
    assert problem.design.n_coef == N_ROWS - 1 + fit_intercept  # two rows are alike
    assert problem.n_features == problem.design.shape[1] == P
    whole = unturned(problem).design
    np.testing.assert_array_equal(problem.design.counts, whole.counts)
    w = np.random.default_rng(0).normal(size=(P + fit_intercept, 3))
    Z, expected = (np.asarray(one.matvec(one.encode(w))) for one in (problem.design, whole))
    np.testing.assert_allclose(Z, expected, rtol=0, atol=1e5 * EPS * np.abs(expected).max())
    u = problem.design.encode(w)
    np.testing.assert_allclose(problem.design.encode(problem.design.decode(u)), u, atol=1e-10)


@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson"])
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("form", FORMATS)
def test_value_and_derivatives_are_those_of_all_features(loss, criterion, form, fit_intercept):
    if criterion == "evidence" and loss == "poisson":
        pytest.skip("no likelihood that it takes")
    X, y, X_val, y_val = data(loss, form)
    problem = Problem(X, y, loss, fit_intercept=fit_intercept)
    rule = CRITERIA[criterion](X_val, y_val)
    for theta in (3.0, 6.0):
        (found, w), (expected, w_whole) = (
            at(one, rule, theta) for one in (problem, unturned(problem))
        )
        assert found.value == pytest.approx(expected.value, rel=1e-7)
        np.testing.assert_allclose(found.grad, expected.grad, rtol=1e-5, atol=1e-7 * found.value)
        np.testing.assert_allclose(w, w_whole, rtol=0, atol=1e-6 * np.abs(w_whole).max())
        assert check_hypergrad(problem, rule, [theta]) < 1e-5


def test_generalised_cross_validation_is_that_of_all_features():
    X, y, *_ = data("squared")
    problem = Problem(X, y, "squared")
    found, expected = (at(one, GCV(), 4.0)[0] for one in (problem, unturned(problem)))
    assert found.value == pytest.approx(expected.value, rel=1e-9)


def test_singular_values_whose_squares_are_lost_are_found_otherwise():
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(n, 12)))[0] for n in (12, P))
    X = U * 10.0 ** -np.arange(12) @ V.T
    space = row_space.row_space([X], has_intercept=False)
    np.testing.assert_allclose(space.Z @ space.rows[0], X, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        np.linalg.svd(space.Z, compute_uv=False), 10.0 ** -np.arange(12), rtol=1e-3
    )


def test_a_search_and_its_final_model_are_those_of_all_features():
    X, y, *_ = data("squared")
    rule = KFold(splits_of(N_ROWS, 4))
    problem = Problem(X, y, "squared")
    found, expected = (hoag(one, rule, tol=1e-6) for one in (problem, unturned(problem)))
    assert found.status == expected.status == "converged"
    n = problem.design.compression.A.shape[1]
    assert f"combinations of rows: {n} coefficients for {P}." in found.message
    assert "combinations of rows" not in expected.message
    assert found.value == pytest.approx(expected.value, rel=1e-6)
    assert found.w.shape == expected.w.shape
    again = hoag(problem, rule, theta0=found.theta, w0=found.w, tol=1e-6)
    assert again.n_passes < found.n_passes
    (w, *_), (w_whole, *_) = (refit(one, [4.0], tol=1e-9) for one in (problem, unturned(problem)))
    np.testing.assert_allclose(w, w_whole, rtol=0, atol=1e-7 * np.abs(w_whole).max())


def test_curves_and_scales_are_those_of_all_features():
    X, y, *_ = data("squared")
    problem = Problem(X, y, "squared")
    whole = unturned(problem)
    scales = [np.sort(one.inner().scales) for one in (problem, whole)]
    np.testing.assert_allclose(*scales, rtol=1e-9)
    rule = KFold(splits_of(N_ROWS, 4))
    found, expected = (curve(one, rule, tol=1e-8) for one in (problem, whole))
    np.testing.assert_allclose(found.thetas, expected.thetas, atol=1e-6)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)


def test_rows_stay_as_they_are_where_strengths_or_numbers_do_not_allow_it(monkeypatch):
    X, y, *_ = data()
    two = Ridge(np.where(np.arange(P) % 2, 1.0, 2.0))
    for penalty in (FeatureRidge(), GroupRidge(np.arange(P) % 2), two):
        assert Problem(X, y, penalty=penalty).design.compression is None
    assert Problem(X, y, deterministic=True).design.compression is None
    assert Problem(X[:, :200], y).design.compression is None
    far = X.copy()
    far[:, 5] += 1e6  # shifted
    assert Problem(far, y).design.compression is None
    monkeypatch.setattr(row_space, "MOST_ROWS", N_ROWS - 1)
    assert Problem(X, y).design.compression is None


def test_a_design_is_made_anew_for_other_strengths():
    X, y, *_ = data()
    problem = Problem(X, y)
    assert replace(problem, X=problem.design).design is problem.design
    for_each = replace(problem, X=problem.design, penalty=FeatureRidge())
    assert for_each.design.n_coef == P + 1


def test_an_x_that_was_changed_is_noticed():
    X, y, *_ = data()
    problem = Problem(X, y)
    X[2, 2] += 1
    with pytest.raises(ValueError, match="X was changed"):
        problem.inner()


def test_bytes_are_those_of_x_and_of_as_many_columns_as_rows():
    X, y, *_ = data()
    of_x, copies = Problem(X, y).design.n_bytes()
    assert of_x == X.nbytes
    assert copies <= 2 * 8 * N_ROWS**2
