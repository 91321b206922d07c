"""Least squares at all strengths from one Krylov run."""

import numpy as np
import pytest
import scipy.sparse as sp

import fasthoag
from fasthoag.criteria import inverses, probes
from fasthoag.hypergradient import Accuracy
from fasthoag.inner.krylov import Judged, Lanczos, OfCoefficients, OfRows, curve_of
from fasthoag.outer import METHODS, krylov, start
from fasthoag.outer.rules import Box

EXACT = Accuracy(1e-11, 1e-11)
THETAS = (-3.0, 0.0, 3.0, 7.0)


def regression(n, p, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + rng.normal(size=p)
    return X, X @ rng.normal(size=p) + 3 * rng.normal(size=n) + 5, rng


def bound_of(criterion, n=60, p=15, **options):
    """A bound criterion with weights that are whole numbers and strengths that differ."""
    X, y, rng = regression(n, p)
    weight = rng.integers(0, 3, size=n).astype(float)
    penalty = fasthoag.Ridge(penalty_factor=np.exp(rng.normal(size=p)))
    options = {"loss": "squared", "sample_weight": weight, "penalty": penalty} | options
    problem = fasthoag.Problem(X, y, **options)
    if criterion == "held out":
        return fasthoag.HeldOut(*regression(20, p, seed=1)[:2]).bind(problem)
    return fasthoag.KFold(3).bind(problem)


def run_of(bound, n_steps):
    """A run of so many steps, with the rows that judge and both ways back to coefficients."""
    run, judged = Lanczos(bound.inner, n_steps), Judged(bound)
    ways = OfCoefficients(run), OfRows(run)
    while run.n_steps < n_steps and not run.is_ended:
        u, Z = run.step()
        judged.add(u, Z)
        for way in ways:
            way.add(u, Z)
        if run.n_steps % 4 == 0:
            judged.grow()
    return run, curve_of(run, judged), ways


@pytest.mark.parametrize("criterion", ["folds", "held out"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", [(60, 15), (25, 40)])
def test_curve_and_its_derivatives_are_those_of_direct_solutions(criterion, fit_intercept, shape):
    bound = bound_of(criterion, *shape, fit_intercept=fit_intercept)
    run, curve, ways = run_of(bound, 60)
    assert run.is_ended
    assert run.n_steps <= min(shape)
    for theta in THETAS:
        zero = bound.inner.design.zeros(bound.n_folds)
        found = bound.evaluate(np.array([theta]), zero, EXACT)
        values, slope, curved = curve.at(theta)
        np.testing.assert_allclose(values, found.fold_values, rtol=1e-8)
        np.testing.assert_allclose(slope, found.grad[0], rtol=1e-6, atol=1e-8 * found.value)
        np.testing.assert_allclose(curved, found.hess[0, 0], rtol=1e-6, atol=1e-8 * found.value)
        np.testing.assert_allclose(curve.values(np.array([theta])), values.sum(), rtol=1e-12)
        W = bound.inner.null.W + ways[0].combined(curve.coordinates(theta))
        assert abs(W - found.predict([0.0])).max() <= 1e-5 * abs(W).max()  # single precision


def test_derivatives_of_an_unfinished_curve_are_its_finite_differences():
    _, curve, _ = run_of(bound_of("folds", 80, 30), 9)
    step = 1e-4
    for theta in THETAS:
        _, slope, curved = curve.at(theta)
        (above, up, _), (below, down, _) = curve.at(theta + step), curve.at(theta - step)
        size = abs(curve.at(theta)[0]).sum()
        assert abs((above.sum() - below.sum()) / (2 * step) - slope) <= 1e-7 * size
        assert abs((up - down) / (2 * step) - curved) <= 1e-7 * size


def test_coefficients_come_back_from_rows_as_from_coefficients():
    bound = bound_of("folds", 30, 200)
    _, curve, (of_coefficients, of_rows) = run_of(bound, 12)
    y = curve.coordinates(1.0)
    one, other = of_coefficients.combined(y), of_rows.combined(y)
    assert abs(one - other).max() <= 1e-4 * abs(one).max()


def text(n=6000, p=20_000, seed=0):
    """Like text: Zipf frequencies, some 60 words a row, unit rows, and labels -1 and +1 that tell
    more than noise."""
    rng = np.random.default_rng(seed)
    words = np.minimum((p ** rng.random((n, 60))).astype(int), p - 1)
    X = sp.csr_array((np.ones(words.size), (np.repeat(np.arange(n), 60), words.ravel())), (n, p))
    X.sum_duplicates()
    X.data = 1 + np.log(X.data)
    X = sp.csr_array(sp.diags_array(1 / np.sqrt(X.multiply(X).sum(axis=1))) @ X)
    w = rng.normal(size=p)
    z = X @ w
    return X, np.sign(z + 0.7 * z.std() * rng.normal(size=n))


@pytest.fixture
def no_curve(monkeypatch):
    """Searches as those of other losses."""

    def switch():
        monkeypatch.setattr(krylov, "has_curve", lambda *_: False)

    return switch


@pytest.fixture
def all_sizes(monkeypatch):
    """The curve also for problems so small that every level is looked at."""
    monkeypatch.setattr(start, "is_small", lambda inner: False)


def test_one_run_finds_what_steps_find_in_fewer_passes(no_curve, all_sizes):
    X, y = text()
    problem = fasthoag.Problem(X, y, loss="squared")
    found = fasthoag.hoag(problem, fasthoag.KFold(5))
    no_curve()
    expected = fasthoag.hoag(problem, fasthoag.KFold(5), tol=1e-5)
    assert found.status == expected.status == "converged"
    assert abs(found.value - expected.value) <= found.value_error + expected.value_error
    assert abs(found.theta - expected.theta).max() <= 0.03
    assert found.n_passes <= 100


CHANGES = {
    "columns x 1024": lambda X, y, s: (X * 1024.0, y, s, 2 * np.log(1024.0)),
    "offset columns": lambda X, y, s: (X + 1e4, y, s, 0.0),
    "targets elsewhere": lambda X, y, s: (X, y + 1e3, s, 0.0),
    "constant column": lambda X, y, s: (np.c_[X, np.full(len(X), 3.0)], y, s, 0.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_units_and_offsets_change_nothing(change, all_sizes):
    X, y, rng = regression(300, 40)
    s = rng.integers(1, 4, size=300).astype(float)
    one = fasthoag.hoag(fasthoag.Problem(X, y, loss="squared", sample_weight=s), fasthoag.KFold(5))
    X, y, s, shift = CHANGES[change](X, y, s)
    other = fasthoag.hoag(
        fasthoag.Problem(X, y, loss="squared", sample_weight=s), fasthoag.KFold(5)
    )
    assert one.status == other.status == "converged"
    np.testing.assert_allclose(other.value, one.value, rtol=1e-6)
    np.testing.assert_allclose(other.theta - shift, one.theta, atol=2e-3)


def test_weights_are_repeated_rows_and_shards_change_nothing(all_sizes):
    X, y, rng = regression(200, 30)
    s = rng.integers(1, 4, size=200)
    fold = np.arange(200) % 5
    at = np.repeat(np.arange(200), s)
    cuts = [X[:70], X[70:]], [y[:70], y[70:]]

    def tuned(X, y, fold, weight=None):
        splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(5)]
        problem = fasthoag.Problem(X, y, loss="squared", sample_weight=weight)
        return fasthoag.hoag(problem, fasthoag.KFold(splits))

    one = tuned(X, y, fold, s.astype(float))
    for other in (tuned(X[at], y[at], fold[at]), tuned(*cuts, fold, s.astype(float))):
        np.testing.assert_allclose(other.value, one.value, rtol=1e-8)
        np.testing.assert_allclose(other.theta, one.theta, atol=1e-5)


def test_no_minimum_inside_is_no_start():
    """Targets without a relation to the features: the null model is best."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 60)), rng.normal(size=100)
    bound = start.measured(fasthoag.KFold(5).bind(fasthoag.Problem(X, y, loss="squared"))).bound
    box = Box(np.array([-20.0]), np.array([0.0]))  # below which f only grows
    assert krylov.minimum_of_curve(bound, box, lambda: False) is None


@pytest.mark.parametrize(
    "problem",
    [
        {"loss": "huber"},
        {"penalty": fasthoag.Ridge(penalty_factor=np.r_[0.0, np.ones(14)])},
        {"penalty": fasthoag.GroupRidge(np.arange(15) % 2)},
    ],
    ids=["loss", "free coefficient", "two strengths"],
)
def test_what_has_no_such_curve(problem):
    rule = METHODS["newton"]()
    assert krylov.has_curve(bound_of("folds"), rule)
    assert not krylov.has_curve(bound_of("folds", **problem), rule)


def test_leave_one_out_begins_where_folds_are_best(no_curve, all_sizes):
    X, y = text(2500, 6000)
    problem, rule = fasthoag.Problem(X, y, loss="squared"), fasthoag.ApproximateLOO()
    found = fasthoag.hoag(problem, rule)
    no_curve()
    expected = fasthoag.hoag(problem, rule)
    assert found.status == expected.status == "converged"
    assert abs(found.value - expected.value) <= 0.01 * found.standard_error
    assert len(found.trace) < len(expected.trace)
    assert found.n_passes < expected.n_passes


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_leave_one_out_of_probes_says_how_far_it_is_from_exact_leverages(loss, monkeypatch):
    X, y = text(1100, 3000)
    problem = fasthoag.Problem(X, y, loss=loss)
    zero = problem.design.zeros(1)
    theta, n_seeds, n_right, errors = np.zeros(1), 8, 0, []
    monkeypatch.setattr(inverses, "FEW_ROWS", len(y))
    exact = fasthoag.ApproximateLOO().bind(problem).evaluate(theta, zero, Accuracy(1e-8, 1e-8))
    assert exact.value_probe_error == 0
    monkeypatch.setattr(inverses, "FEW_ROWS", 1000)
    for seed in range(n_seeds):
        monkeypatch.setattr(probes, "STREAM", (3 + seed) << 40)
        bound = fasthoag.ApproximateLOO().bind(problem)
        found = bound.evaluate(theta, zero, Accuracy(1e-4, 1e-3))
        n_right += abs(found.value - exact.value) <= found.value_error + found.value_probe_error
        errors.append(found.value_probe_error)
    assert n_right >= n_seeds - 1
    assert np.median(errors) <= 0.1 * exact.value
