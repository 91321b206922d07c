"""When a search ends by itself: what is left to gain in units of the criterion's noise, and the
sample of rows that large searches begin with."""

import re

import numpy as np
import pytest
import scipy.sparse as sp

import fasthoag
from fasthoag import HeldOut, KFold, Problem, hoag
from fasthoag.design.cpu import CpuDesign
from fasthoag.outer.tolerance import RADIUS, fall, to_gain

CRITERIA = ("k_fold", "held_out")


def text(n=9000, p=3000, k=50, seed=0):
    """Rows of unit norm with Zipf's columns, in an order of their own, and labels."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, p + 1)
    columns = rng.choice(p, size=n * k, p=share / share.sum())
    X = sp.csr_matrix((np.ones(n * k), columns, np.arange(0, n * k + 1, k)), shape=(n, p))
    X.sum_duplicates()
    X = sp.csr_matrix(sp.diags(1 / np.sqrt(np.asarray(X.multiply(X).sum(1)).ravel())) @ X)
    z = X @ rng.normal(size=p)
    y = np.where(z + 0.5 * z.std() * rng.normal(size=n) > 0, 1.0, -1.0)
    return X[:, rng.permutation(p)].tocsr(), y


def case(kind, X, y):
    """Half of the rows and the other half as a criterion, or folds of all."""
    if kind == "k_fold":
        return Problem(X, y), KFold(5)
    half = len(y) // 2
    return Problem(X[:half], y[:half]), HeldOut(X[half:], y[half:])


def tuned(kind, X, y, **options):
    return hoag(*case(kind, X, y), **options)


def at(kind, X, y, theta):
    """The criterion at θ, to six digits."""
    return float(fasthoag.curve(*case(kind, X, y), theta, tol=1e-6).values[0])


@pytest.mark.parametrize(("slope", "curvature"), [(0.3, 2.0), (3.0, 0.1), (1.0, -0.5), (0.0, 0.0)])
def test_a_parabola_falls_as_far_as_its_lowest_place_within_the_radius(slope, curvature):
    t = np.linspace(0, RADIUS, 100_001)
    lowest = (slope * t - 0.5 * curvature * t**2).max()
    assert fall(slope, curvature) == pytest.approx(lowest, abs=1e-8)


def test_what_is_left_of_several_hyperparameters_is_the_newton_decrement():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(4, 4))
    hess, grad = A @ A.T + np.eye(4), 0.1 * rng.normal(size=4)
    assert to_gain(grad, 0.0, hess) == pytest.approx(0.5 * grad @ np.linalg.solve(hess, grad))
    assert to_gain(grad, 0.01, hess) > to_gain(grad, 0.0, hess)


@pytest.mark.parametrize("curvature", [2.0, 0.0, -0.5, -20.0])
def test_what_is_left_bounds_the_fall_of_a_slope_with_an_error(curvature):
    """A curvature below 0 counts once."""
    slope, error = 0.3, 0.1
    most, found = fall(slope + error, curvature), to_gain([slope], error, [[curvature]])
    of_root = 2 * np.sqrt(fall(slope, curvature) * error * RADIUS) if curvature <= 0 else 0.0
    assert most * (1 - 1e-12) <= found <= (most + of_root) * (1 + 1e-12)


@pytest.mark.parametrize("kind", CRITERIA)
def test_a_search_ends_within_a_hundredth_of_a_standard_error(kind):
    X, y = text()
    found, best = tuned(kind, X, y), tuned(kind, X, y, tol=1e-7)
    assert found.status == "converged"
    assert "% of one standard error" in found.message
    assert "% of one standard error" not in best.message
    value = at(kind, X, y, found.theta)
    assert value - best.value <= 0.01 * found.standard_error
    assert abs(found.value - value) <= found.value_error
    assert found.n_passes < best.n_passes


def test_a_message_is_in_units_of_the_criterion_where_its_noise_is_next_to_nothing():
    """Folds that are nearly copies of each other have no scatter to speak of."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    y = np.where(X @ rng.normal(size=20) + 10 * rng.normal(size=200) > 0, 1.0, -1.0)
    X = np.vstack([X] * 5) + 1e-6 * rng.normal(size=(1000, 20))
    found = hoag(Problem(X, np.tile(y, 5)), KFold(5))
    assert found.status == "converged"
    assert found.standard_error < 1e-4 * found.value
    pattern = (
        r"within (\S+) of its minimum, (\S+) % of its size \(one standard error is only (\S+)\)"
    )
    gain, share, noise = map(float, re.search(pattern, found.message).groups())
    assert 0 < share <= 1.01e-3
    assert gain == pytest.approx(share / 100 * found.value, rel=0.1)
    assert noise == pytest.approx(found.standard_error, rel=0.1)


@pytest.mark.parametrize("kind", CRITERIA)
def test_a_tolerance_that_is_given_is_one_of_the_slope(kind):
    found = tuned(kind, *text(), tol=1e-4)
    assert abs(found.grad[0]) + found.grad_error <= 1e-4 * found.value


def test_the_standard_error_is_that_of_folds():
    found = tuned("k_fold", *text())
    F = len(found.fold_values)
    rest = found.fold_values - found.fold_weights * found.value / found.fold_weights.sum()
    assert found.standard_error == pytest.approx(np.sqrt(F / (F - 1) * (rest @ rest)), rel=0.02)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_the_standard_error_of_held_out_rows_counts_a_weight_as_rows(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6))
    y = np.sign(X @ np.ones(6) + rng.normal(size=80))
    repeats = rng.integers(0, 4, size=40)
    problem = Problem(X[:40], y[:40], loss=loss)
    by_weight = hoag(problem, HeldOut(X[40:], y[40:], sample_weight=repeats))
    index = 40 + np.repeat(np.arange(40), repeats)
    by_rows = hoag(problem, HeldOut(X[index], y[index]))
    assert by_weight.standard_error == pytest.approx(by_rows.standard_error, rel=1e-9)
    z = X[index] @ by_rows.w[:-1, 0] + by_rows.w[-1, 0]
    losses = np.log1p(np.exp(-y[index] * z)) if loss == "logistic" else 0.5 * (z - y[index]) ** 2
    expected = losses.std() * np.sqrt(len(index))
    assert by_rows.standard_error == pytest.approx(expected, rel=0.02)


def test_the_standard_error_of_leave_one_out_is_that_of_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = X @ np.ones(4) + rng.normal(size=60)
    found = hoag(Problem(X, y, loss="squared", fit_intercept=False), fasthoag.ApproximateLOO())
    H = X @ np.linalg.solve(X.T @ X + found.lam[0] * np.eye(4), X.T)
    losses = 0.5 * ((y - H @ y) / (1 - np.diag(H))) ** 2
    assert found.value == pytest.approx(losses.sum())
    assert found.standard_error == pytest.approx(losses.std() * np.sqrt(60))


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_leave_one_out_by_probes_ends_within_a_hundredth_of_a_standard_error(loss):
    X, y = text(n=1500, p=4000)
    problem, rule = Problem(X, y, loss=loss), fasthoag.ApproximateLOO()
    found, best = hoag(problem, rule), hoag(problem, rule, tol=1e-5)
    assert found.status == best.status == "converged"
    assert "% of one standard error" in found.message
    assert "% of one standard error" not in best.message
    assert found.n_passes < best.n_passes
    bound = rule.bind(problem)
    zero = bound.inner.design.zeros(1)
    at = bound.evaluate(found.theta, zero, fasthoag.hypergradient.Accuracy(1e-6, 1e-6))
    assert at.value - best.value <= 0.01 * found.standard_error
    assert abs(found.value - at.value) <= found.value_error - at.value_probe_error


def test_criteria_that_are_no_sum_over_rows_have_no_standard_error():
    X, y = text(n=300, p=200)
    assert np.isnan(hoag(Problem(X, y), fasthoag.AIC()).standard_error)


@pytest.mark.parametrize("options", [{}, {"deterministic": True}, {"low_memory": True}])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["dense", "sparse", "dense blocks", "sparse blocks"])
def test_a_sample_of_a_design_is_the_design_of_these_rows(kind, fit_intercept, options):
    X, _ = text(n=200, p=150, k=20)
    X = X.toarray() if kind.startswith("dense") else X
    index = np.flatnonzero(np.random.default_rng(1).random(200) < 0.3)
    blocks = [X[:70], X[70:90], X[90:]] if kind.endswith("blocks") else X
    design = CpuDesign(blocks, fit_intercept=fit_intercept, **options)
    V = np.random.default_rng(2).normal(size=(150 + fit_intercept, 3))
    whole = np.asarray(design.matvec(design.encode(V)))
    some = design.sample(index)
    assert some.shape == (len(index), 150)
    np.testing.assert_array_equal(some.matvec(some.encode(V)), whole[index])
    np.testing.assert_allclose(
        some.decode(some.rmatvec(whole[index])),
        design.decode(design.like(X[index]).rmatvec(whole[index])),
        atol=1e-12,
    )


@pytest.mark.parametrize("order", ["by label", "mixed"])
def test_many_rows_begin_with_some_of_them(order):
    X, y = text()
    rows = np.argsort(y, kind="stable") if order == "by label" else np.arange(len(y))
    found = hoag(Problem(X[rows], y[rows]), KFold(5))
    assert found.trace[0]["phase"] == "sample"
    assert {record["phase"] for record in found.trace} == {"sample", "all"}
    assert found.n_passes < 200
    first, *_ = (record for record in found.trace if record["phase"] == "all")
    assert abs(first["theta"][0] - found.theta[0]) < 2.0
    some = [record["value"] for record in found.trace if record["phase"] == "sample"]
    assert min(some) == pytest.approx(found.value, rel=0.5)  # of all rows, as it tells


def test_some_of_the_rows_tell_the_same_in_other_units():
    X, y = text()
    one, other = (hoag(Problem(unit * X, y), KFold(5)) for unit in (1.0, 1024.0))
    assert other.theta[0] - one.theta[0] == pytest.approx(2 * np.log(1024.0), abs=1e-9)
    assert other.n_passes == one.n_passes


def test_a_search_that_is_stopped_on_some_of_the_rows_was_looked_at_on_all():
    X, y = text()
    found = hoag(Problem(X, y), KFold(5), callback=lambda record: True)
    assert found.status == "stopped"
    assert len(found.fold_values) == 5
    assert abs(found.value - at("k_fold", X, y, found.theta)) <= found.value_error


def one_row_each(y):
    """Splits that hold out one row each."""
    every = np.arange(len(y))
    return [(np.delete(every, k), [k]) for k in range(12)]


FREE = fasthoag.Ridge(penalty_factor=np.r_[0.0, np.ones(2999)])


@pytest.mark.parametrize(
    ("options", "cv"),
    [({"penalty": FREE}, None), ({}, one_row_each)],
    ids=["a feature without a penalty", "folds of one row"],
)
def test_some_of_the_rows_are_left_alone_where_they_cannot_stand_for_all(options, cv):
    X, y = text()
    found = hoag(Problem(X, y, **options), KFold(5 if cv is None else cv(y)))
    assert found.status == "converged"
    assert "sample" not in {record["phase"] for record in found.trace}


def test_rows_without_a_weight_are_no_rows_of_a_sample():
    X, y = text()
    weight = (np.arange(len(y)) % 3 > 0).astype(float)
    used = np.flatnonzero(weight)
    folds = [(used[used % 5 != k], used[used % 5 == k]) for k in range(5)]
    place = np.cumsum(weight).astype(int) - 1
    without = [(place[train], place[test]) for train, test in folds]
    one = hoag(Problem(X, y, sample_weight=weight), KFold(folds))
    other = hoag(Problem(X[used], y[used]), KFold(without))
    assert one.trace[0]["phase"] == other.trace[0]["phase"] == "sample"
    allowed = 0.01 * one.standard_error + one.value_error + other.value_error
    assert abs(one.value - other.value) <= allowed
