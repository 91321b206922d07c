"""Kernel models: every kernel, loss, criterion and way to solve against closed forms, differences
and scikit-learn."""

import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import KFold, LeaveOneOut

import fasthoag
from fasthoag import _core
from fasthoag.criteria.shared import SharedRowsWarning
from fasthoag.hypergradient import Accuracy
from fasthoag.kernels import KERNELS
from fasthoag.kernels.bound import Apart, BoundKernel, OneFactor, Work
from fasthoag.kernels.kernel import LOSSES
from fasthoag.kernels.problem import SOLVERS

EXACT = Accuracy(1e-13, 1e-13)
DATA = Path(__file__).parents[2] / "shared" / "data" / "parkinsons"


def made_up(n=60, p=3, n_targets=1, loss="squared", seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    y = np.sin(2 * X[:, :1]) + 0.5 * X[:, 1:2] + 0.3 * rng.normal(size=(n, n_targets)) + 2
    y = np.sign(y - 2) if loss == "logistic" else y
    return X, (y[:, 0] if n_targets == 1 else y)


def theta_of(problem):
    return np.append(np.linspace(-1.3, -0.7, problem.n_hyper - 1), -1.0)


def at(bound, theta, has_tangents=True):
    return bound.evaluate(theta, bound.start(), EXACT, has_tangents=has_tangents)


def check_derivatives(bound, theta):
    """Gradient and Hessian against central differences of value and gradient."""
    found, k, h = at(bound, theta), len(theta), 1e-5
    sides = [[at(bound, theta + s * h * np.eye(k)[j]) for s in (1, -1)] for j in range(k)]
    scale = max(1.0, abs(found.value))
    grad = [(a.value - b.value) / (2 * h) for a, b in sides]
    np.testing.assert_allclose(found.grad, grad, rtol=0, atol=1e-7 * scale)
    np.testing.assert_allclose(at(bound, theta, False).grad, grad, rtol=0, atol=1e-7 * scale)
    if found.hess is not None:
        hess = np.array([(a.grad - b.grad) / (2 * h) for a, b in sides]).T
        np.testing.assert_allclose(found.hess, hess, rtol=0, atol=1e-6 * scale)
    assert found.value_error < 1e-8 * scale
    assert found.grad_error < 1e-6 * scale
    return found


# ---- native pairs ----

PAIRS = [("squares", "exponential"), ("distances", "exponential"), ("products", "power")]


def dense(pair, shape, X, Y, is_shared):
    """K, its first derivatives (n, m, D) and the weight of its second ones, by NumPy."""
    d = X[:, None] - Y[None]
    v = {"squares": d * d, "distances": abs(d), "products": X[:, None] * Y[None]}[pair]
    s = v.sum(2)
    if shape == "exponential":
        K, first, second = np.exp(-s), -np.exp(-s), np.exp(-s)
    else:
        K, first, second = (s + 1) ** 3, 3 * (s + 1) ** 2, 6 * (s + 1)
    v = s[:, :, None] if is_shared else v
    return K, first[:, :, None] * v, first, second, v


@pytest.mark.parametrize("is_symmetric", [False, True])
@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize(("pair", "shape"), PAIRS)
@pytest.mark.parametrize(("n", "m", "p"), [(37, 53, 4), (130, 70, 19), (300, 1, 3)])
def test_products_and_sums_are_those_of_the_matrix(pair, shape, is_shared, is_symmetric, n, m, p):
    rng = np.random.default_rng(0)
    X = 0.3 * rng.normal(size=(n, p))
    Y = X if is_symmetric else 0.3 * rng.normal(size=(m, p))
    K, dK, first, second, v = dense(pair, shape, X, Y, is_shared)
    native = _core.Pairs(
        (pair, shape, 1.0, 3.0), X, None if is_symmetric else Y, is_symmetric, is_shared
    )
    out = np.zeros(K.shape)
    native.matrix(0, out, 2)
    np.testing.assert_allclose(
        np.tril(out) if is_symmetric else out, np.tril(K) if is_symmetric else K
    )
    A, B = rng.normal(size=(len(Y), 3)), rng.normal(size=(n, 2))
    tight = {"rtol": 1e-10, "atol": 1e-10}
    forth, back = native.products(False, A, None if is_symmetric else B, 2)
    np.testing.assert_allclose(forth[0], K @ A, **tight)
    dforth, dback = native.products(True, A, None if is_symmetric else B, 2)
    np.testing.assert_allclose(dforth, np.einsum("ijk,jc->kic", dK, A), **tight)
    if not is_symmetric:
        np.testing.assert_allclose(back[0], K.T @ B, **tight)
        np.testing.assert_allclose(dback, np.einsum("ijk,ic->kjc", dK, B), **tight)
    P, Z = rng.normal(size=(n, 2)), rng.normal(size=(len(Y), 2))
    grad, hess = native.sums(P, Z, None, True, 2)
    M = P @ Z.T
    np.testing.assert_allclose(grad, np.einsum("ij,ijk->k", M, dK), rtol=1e-9, atol=1e-9)
    expected = np.einsum("ij,ijk,ijl->kl", M * second, v, v)
    expected += np.diag(np.einsum("ij,ijk->k", M * first, v))
    np.testing.assert_allclose(hess, expected, rtol=1e-9, atol=1e-9)


def test_bits_do_not_depend_on_the_threads():
    X = np.random.default_rng(0).normal(size=(700, 5))
    native = _core.Pairs(("squares", "exponential", 0.0, 1.0), X, None, True, False)
    A = np.random.default_rng(1).normal(size=(700, 2))
    one, four = (native.products(True, A, None, n)[0] for n in (1, 4))
    np.testing.assert_array_equal(one, four)
    np.testing.assert_array_equal(*(native.sums(A, A, None, True, n)[1] for n in (1, 4)))


# ---- criteria ----


WIDTHS = [(name, is_each) for name in KERNELS for is_each in (False, KERNELS[name].has_width)]
WIDTHS = list(dict.fromkeys(WIDTHS))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("name", "is_each"), WIDTHS)
def test_derivatives_of_a_held_out_loss(name, loss, is_each, solver):
    X, y = made_up(n=120, loss=loss)
    X_val, y_val = made_up(n=40, loss=loss, seed=1)
    weight = np.random.default_rng(2).uniform(0.5, 2, 120)
    options = {"n_components": 40} if solver == "nystrom" else {}
    problem = fasthoag.KernelProblem(
        X, y, name, loss, is_each, sample_weight=weight, solver=solver, **options
    )
    bound = problem.judged_by(fasthoag.HeldOut(X_val, y_val))
    check_derivatives(bound, theta_of(problem))


@pytest.mark.parametrize("has_intercept", [True, False])
@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize(("name", "is_each"), WIDTHS)
def test_folds_from_one_factor_are_folds_that_are_fitted(
    name, is_each, weighs, n_targets, has_intercept
):
    X, y = made_up(n_targets=n_targets)
    weight = np.random.default_rng(2).uniform(0.5, 2, 60) if weighs else None
    problem = fasthoag.KernelProblem(
        X, y, name, per_feature=is_each, sample_weight=weight, fit_intercept=has_intercept
    )
    splitter = KFold(4, shuffle=True, random_state=0)
    bound = problem.judged_by(fasthoag.KFold(splitter))
    assert isinstance(bound.folds, OneFactor)
    rows = problem.rows
    folds = tuple((rows.take(a), rows.take(b)) for a, b in splitter.split(X))
    apart = BoundKernel(Apart(problem.model, folds, problem.loss), Work(60))
    theta = theta_of(problem)
    one, other = check_derivatives(bound, theta), at(apart, theta)
    np.testing.assert_allclose(one.value, other.value, rtol=1e-10)
    np.testing.assert_allclose(one.fold_values, other.fold_values, rtol=1e-9)
    np.testing.assert_allclose(one.grad, other.grad, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(one.hess, other.hess, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(bound.null_value, apart.null_value, rtol=1e-12)


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize(("name", "is_each"), WIDTHS)
def test_leave_one_out_is_folds_of_one_row(name, is_each, weighs):
    X, y = made_up(n=40, n_targets=2)
    weight = np.random.default_rng(2).uniform(0.5, 2, 40) if weighs else None
    problem = fasthoag.KernelProblem(X, y, name, per_feature=is_each, sample_weight=weight)
    bound = problem.judged_by(fasthoag.ApproximateLOO())
    theta = theta_of(problem)
    one = check_derivatives(bound, theta)
    tests = [np.array([i]) for i in range(40)]
    other = at(BoundKernel(OneFactor(problem.model, problem.rows, tests), Work(40)), theta)
    np.testing.assert_allclose(one.value, other.value, rtol=1e-10)
    np.testing.assert_allclose(one.grad, other.grad, rtol=1e-7, atol=1e-9)
    again = problem.judged_by(fasthoag.KFold(LeaveOneOut()))
    assert again.folds.tests is None


def test_logistic_folds_have_derivatives():
    X, y = made_up(loss="logistic")
    problem = fasthoag.KernelProblem(X, y, loss="logistic")
    check_derivatives(problem.judged_by(fasthoag.KFold(3)), np.array([-0.4, -1.0]))


def test_folds_that_are_no_partition_are_fitted_one_by_one():
    X, y = made_up()
    splits = [(np.arange(20), np.arange(20, 40)), (np.arange(40), np.arange(40, 60))]
    bound = fasthoag.KernelProblem(X, y).judged_by(fasthoag.KFold(splits))
    assert isinstance(bound.folds, Apart)
    check_derivatives(bound, np.array([-0.4, -1.0]))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_whole_weight_is_so_many_rows_and_one_of_0_none(loss):
    X, y = made_up(loss=loss)
    weight = np.random.default_rng(2).integers(0, 3, 60)
    theta = np.array([-0.4, -1.0])
    X_val, y_val = made_up(n=30, loss=loss, seed=1)
    values = []
    for rows, s in ((np.arange(60), weight), (np.repeat(np.arange(60), weight), None)):
        problem = fasthoag.KernelProblem(X[rows], y[rows], loss=loss, sample_weight=s)
        found = at(problem.judged_by(fasthoag.HeldOut(X_val, y_val)), theta)
        values.append([found.value, *found.grad, *found.hess.ravel()])
    np.testing.assert_allclose(*values, rtol=1e-7, atol=1e-9)


# ---- models ----


@pytest.mark.parametrize("name", KERNELS)
def test_a_model_is_that_of_scikit_learn(name):
    X, y = made_up(n_targets=2)
    problem = fasthoag.KernelProblem(X, y, name, fit_intercept=False)
    theta = theta_of(problem)
    model, is_converged = problem.fit(theta)
    assert is_converged
    gamma = {"gamma": np.exp(theta[0])} if KERNELS[name].has_width else {}
    theirs = KernelRidge(alpha=np.exp(theta[-1]), kernel=name, degree=3, coef0=1, **gamma)
    X_new, _ = made_up(seed=3)
    expected = theirs.fit(X, y).predict(X_new)
    np.testing.assert_allclose(model.predict(X_new), expected, rtol=1e-8, atol=1e-8)


def test_an_intercept_is_not_penalised():
    X, y = made_up()
    problem = fasthoag.KernelProblem(X, y, "linear")
    model, _ = problem.fit([0.0])
    from sklearn.linear_model import Ridge

    theirs = Ridge(alpha=1.0).fit(X, y)
    np.testing.assert_allclose(model.intercept, theirs.intercept_)
    np.testing.assert_allclose(model.predict(X), theirs.predict(X))


@pytest.mark.parametrize("name", ["rbf", "laplacian", "poly", "linear"])
def test_sparse_rows_are_dense_ones(name):
    X, y = made_up()
    X[np.abs(X) < 0.5] = 0.0
    theta = np.full(2 if KERNELS[name].has_width else 1, -1.0)
    values = [
        at(fasthoag.KernelProblem(rows, y, name).judged_by(fasthoag.KFold(4)), theta).value
        for rows in (X, sp.csr_matrix(X), sp.csc_array(X))
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-10)


def test_a_kernel_of_the_user_is_a_kernel_by_name():
    X, y = made_up()

    def own(A, B):
        return np.exp(-0.3 * ((A[:, None] - B[None]) ** 2).sum(2))

    value = at(fasthoag.KernelProblem(X, y, own).judged_by(fasthoag.KFold(4)), np.array([-1.0]))
    named = fasthoag.KernelProblem(X, y).judged_by(fasthoag.KFold(4))
    expected = at(named, np.array([np.log(0.3), -1.0]))
    np.testing.assert_allclose(value.value, expected.value, rtol=1e-10)


# ---- searches ----


def wave(n=80, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-3, 3, size=(n, 1))
    return X, np.sin(X[:, 0]) + 0.1 * rng.normal(size=n)


@pytest.mark.parametrize("method", ["newton", "lbfgs"])
@pytest.mark.parametrize(
    ("loss", "criterion"),
    [
        ("squared", fasthoag.KFold(5)),
        ("squared", fasthoag.ApproximateLOO()),
        ("logistic", fasthoag.KFold(3)),
    ],
)
def test_no_point_of_a_fine_grid_is_better(loss, criterion, method):
    X, y = wave()
    y = np.sign(y + 0.5 * np.random.default_rng(1).normal(size=80)) if loss == "logistic" else y
    problem = fasthoag.KernelProblem(X, y, loss=loss)
    result = fasthoag.hoag(problem, criterion, method=method)
    assert result.status == "converged"
    assert result.theta.shape == (2,)
    bound = problem.judged_by(criterion)
    grid = product(np.linspace(-6, 2, 9), np.linspace(-10, 3, 9))
    lowest = min(at(bound, np.array(theta), False).value for theta in grid)
    assert result.value - result.value_error <= lowest
    assert result.minima[0].value == result.value


def test_units_and_offsets_change_nothing():
    X, y = wave()
    results = [
        fasthoag.hoag(fasthoag.KernelProblem(u * X + 7 * u, u * y + 1e4 * u), fasthoag.KFold(5))
        for u in (1.0, 1e-3, 1e3)
    ]
    for u, one in zip((1.0, 1e-3, 1e3), results, strict=True):
        np.testing.assert_allclose(one.theta[0] + 2 * np.log(u), results[0].theta[0], atol=1e-3)
        np.testing.assert_allclose(one.value / u**2, results[0].value, rtol=1e-5)


@pytest.mark.parametrize("start", [14.0, -14.0])
def test_a_plateau_is_no_optimum(start):
    X, y = wave()
    problem = fasthoag.KernelProblem(X, y)
    expected = fasthoag.hoag(problem, fasthoag.KFold(5))
    found = fasthoag.hoag(problem, fasthoag.KFold(5), [start, -2.0])
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-4)


def test_noise_ends_at_the_intercept_and_says_so():
    X, _ = wave()
    y = np.random.default_rng(4).normal(size=80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fasthoag.hoag(fasthoag.KernelProblem(X, y), fasthoag.KFold(5))
    assert "than none" in result.message
    bound = fasthoag.KernelProblem(X, y).judged_by(fasthoag.KFold(5))
    np.testing.assert_allclose(result.value, bound.null_value, rtol=1e-3)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.ones((30, 2)), np.arange(30.0)),
        (np.random.default_rng(0).normal(size=(30, 2)), np.ones(30)),
    ],
)
def test_constants_are_the_intercept(X, y):
    result = fasthoag.hoag(fasthoag.KernelProblem(X, y), fasthoag.KFold(5))
    assert result.status == "converged"
    assert "intercept" in result.message


def test_rows_that_are_there_twice_are_no_failure():
    X, _ = wave()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = fasthoag.KernelProblem(np.repeat(X, 2, 0), np.sin(np.repeat(X[:, 0], 2)))
        result = fasthoag.hoag(problem, fasthoag.KFold(5))
    assert result.status in ("converged", "at_bound")
    assert np.isfinite(result.value)
    if result.status == "at_bound":
        assert "rounding" in result.message


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_trials_are_no_better_than_newton(method):
    if method == "bayes":
        pytest.importorskip("optuna")
    X, y = wave()
    problem = fasthoag.KernelProblem(X, y)
    first, again = (
        fasthoag.hoag(problem, fasthoag.KFold(5), method=method, n_trials=16) for _ in range(2)
    )
    assert first.status == "searched"
    assert first.n_iter == 16
    np.testing.assert_array_equal(first.theta, again.theta)
    best = fasthoag.hoag(problem, fasthoag.KFold(5))
    assert best.value <= first.value + best.value_error


def test_widths_of_features_do_not_depend_on_their_units():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(100, 3))
    y = np.sin(2 * X[:, 0]) + 0.3 * X[:, 1] + 0.1 * rng.normal(size=100)
    units = np.array([1.0, 1e3, 1e-2])
    one, other = (
        fasthoag.hoag(fasthoag.KernelProblem(X * u, y, per_feature=True), fasthoag.KFold(5))
        for u in (np.ones(3), units)
    )
    np.testing.assert_allclose(one.value, other.value, rtol=1e-4)
    shared = fasthoag.hoag(fasthoag.KernelProblem(X, y), fasthoag.KFold(5))
    assert one.value < 0.5 * shared.value


@pytest.mark.parametrize(("solver", "word"), [("cg", "residual"), ("nystrom", "half as many")])
def test_a_result_says_how_it_was_solved(solver, word):
    X, y = wave(200)
    problem = fasthoag.KernelProblem(X, y, solver=solver)
    result = fasthoag.hoag(problem, fasthoag.HeldOut(*wave(100, 1)))
    assert word in result.message
    exact = fasthoag.hoag(fasthoag.KernelProblem(X, y), fasthoag.HeldOut(*wave(100, 1)))
    np.testing.assert_allclose(result.value, exact.value, rtol=1e-4)


def test_little_is_said_to_be_little():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 1))
    y = 0.08 * X[:, 0] + rng.normal(size=300)
    result = fasthoag.hoag(fasthoag.KernelProblem(X, y), fasthoag.KFold(5))
    assert "below the criterion of the intercept alone" in result.message


def test_rows_that_judge_and_train_are_warned_of():
    X, y = wave()
    with pytest.warns(SharedRowsWarning, match="80 of the 80 rows"):
        fasthoag.hoag(fasthoag.KernelProblem(X, y), fasthoag.HeldOut(X, y), max_iter=1)


# ---- what cannot be ----

X, Y = made_up()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "sigmoid"}, "kernel must be 'rbf'"),
        ({"kernel": "poly", "degree": 2.5}, "degree must be a whole number"),
        ({"kernel": "poly", "coef0": -1}, "coef0 must be a number >= 0"),
        ({"kernel": "linear", "per_feature": True}, "FeatureRidge"),
        ({"X": sp.csr_matrix(X), "per_feature": True}, "dense X"),
        ({"loss": "huber"}, "loss of a KernelProblem"),
        ({"loss": "logistic"}, "y must"),
        ({"y": Y[:-1]}, "59 values but X has 60 rows"),
        ({"X": np.where(X > 1, np.nan, X)}, "NaN"),
        ({"sample_weight": np.zeros(60)}, "positive"),
        ({"solver": "qr"}, "solver must be one of"),
        ({"n_components": 0}, "n_components must be a positive integer"),
        ({"n_components": 5, "solver": "cg"}, "n_components is for solver='nystrom'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fasthoag.KernelProblem(**({"X": X, "y": Y} | options))


def test_more_rows_than_memory_are_refused_before_any_work(monkeypatch):
    from fasthoag.kernels import problem

    monkeypatch.setattr(problem, "memory_of_process", lambda: 8 * 40**2)
    with pytest.raises(ValueError, match="About 38 rows fit"):
        fasthoag.KernelProblem(X, Y, solver="cholesky")
    assert fasthoag.KernelProblem(X, Y).rows.samples.solver == "nystrom"


def test_other_features_are_refused():
    problem = fasthoag.KernelProblem(X, Y)
    with pytest.raises(ValueError, match="X_val must have 3 features"):
        fasthoag.hoag(problem, fasthoag.HeldOut(X[:, :2], Y))
    with pytest.raises(ValueError, match="X must have 3 features"):
        problem.fit([0.0, 0.0])[0].predict(X[:, :2])


@pytest.mark.parametrize("criterion", [fasthoag.GCV(), fasthoag.Evidence()])
def test_criteria_that_kernels_lack_are_refused(criterion):
    with pytest.raises(ValueError, match="HeldOut or KFold"):
        fasthoag.hoag(fasthoag.KernelProblem(X, Y), criterion)


# ---- right answers ----


def parkinsons(seed):
    """Thirds of the rows, z-scored by the first: [(X, y), ...]."""
    from sklearn.datasets import load_svmlight_file

    if not DATA.exists():
        pytest.skip("needs the data set parkinsons")
    X, y = load_svmlight_file(str(DATA / "parkinsons.motor_UPDRS.bz2"))
    X = X.toarray()
    order = np.random.RandomState(seed).permutation(5875)
    thirds = [order[k * 1958 : (k + 1) * 1958] for k in range(3)]
    mean, std, level = X[thirds[0]].mean(0), X[thirds[0]].std(0), y[thirds[0]].mean()
    return [((X[rows] - mean) / std, y[rows] - level) for rows in thirds]


@pytest.mark.parametrize(
    ("seed", "theta", "total"),
    [
        (0, (-1.43902071, -2.40907355), 46768.54964437),
        (1, (-1.078857, -2.028543), 43458.15586),
    ],
)
def test_parkinsons_has_its_optimum(seed, theta, total):
    train, judge, _ = parkinsons(seed)
    problem = fasthoag.KernelProblem(*train, fit_intercept=False)
    result = fasthoag.hoag(problem, fasthoag.HeldOut(*judge), tol=1e-7)
    np.testing.assert_allclose(result.theta, theta, atol=1e-5)
    np.testing.assert_allclose(2 * result.value, total, rtol=1e-9)


# ---- on a device ----


@pytest.mark.parametrize("criterion", ["held out", "folds", "one out"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("name", "is_each"), WIDTHS)
def test_a_device_finds_the_same(on_host, name, is_each, loss, criterion):
    X, y = made_up(n=50, loss=loss)
    judged = {
        "held out": fasthoag.HeldOut(*made_up(n=20, loss=loss, seed=1)),
        "folds": fasthoag.KFold(3),
        "one out": fasthoag.ApproximateLOO(),
    }[criterion]
    if criterion == "one out" and loss == "logistic":
        return
    weight = np.random.default_rng(2).uniform(0.5, 2, 50)
    here, there = (
        at(problem.judged_by(judged), theta_of(problem))
        for problem in (
            fasthoag.KernelProblem(X, y, name, loss, is_each, sample_weight=weight, device=device)
            for device in ("cpu", "gpu")
        )
    )
    np.testing.assert_allclose(there.value, here.value, rtol=1e-9)
    np.testing.assert_allclose(there.grad, here.grad, rtol=1e-6, atol=1e-8)
    if here.hess is not None:
        np.testing.assert_allclose(there.hess, here.hess, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": sp.csr_matrix(X)}, "dense X"),
        ({"kernel": lambda A, B: A @ B.T}, "a kernel by name"),
        ({"solver": "cg"}, "solver 'cholesky' only"),
        ({"device": "tpu"}, "device must be 'cpu'"),
    ],
)
def test_what_a_device_cannot_do_is_refused(on_host, options, message):
    with pytest.raises(ValueError, match=message):
        fasthoag.KernelProblem(**({"X": X, "y": Y, "device": "gpu"} | options))


def test_a_search_on_a_device_ends_where_one_here_does(on_host):
    X, y = wave()
    here, there = (
        fasthoag.hoag(fasthoag.KernelProblem(X, y, device=device), fasthoag.KFold(5))
        for device in ("cpu", "gpu")
    )
    np.testing.assert_allclose(there.theta, here.theta, atol=1e-4)


def test_parkinsons_has_widths_of_its_features():
    train, judge, test = parkinsons(0)
    problem = fasthoag.KernelProblem(*train, per_feature=True, fit_intercept=False)
    result = fasthoag.hoag(problem, fasthoag.HeldOut(*judge))
    assert result.status == "converged"
    assert 2 * result.value / 1958 <= 0.98  # one width for all has 23.886
    model, _ = problem.fit(result.theta)
    assert np.mean((model.predict(test[0]) - test[1]) ** 2) < 1.2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_factor_by_blocks_is_that_of_lapack(monkeypatch, dtype):
    from fasthoag.kernels import cholesky

    X = np.random.default_rng(0).normal(size=(130, 40))
    K = (X @ X.T + 10 * np.eye(130)).astype(dtype)
    expected = np.linalg.cholesky(K)
    monkeypatch.setattr(cholesky, "LARGEST", 16)
    monkeypatch.setattr(cholesky, "BLOCK", 16)
    found = K.copy()
    assert cholesky.factorise(found)
    np.testing.assert_allclose(np.tril(found), expected, rtol=0, atol=1e3 * np.finfo(dtype).eps)
    assert not cholesky.factorise(K - 30 * np.eye(130, dtype=dtype))


def test_cg_does_not_go_on_against_rounding():
    from fasthoag.kernels.iterative import MAX_STEPS, conjugate_gradients

    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    A = (Q * np.logspace(8, 0, 60)) @ Q.T
    b = rng.normal(size=(60, 2))
    rough = np.linalg.inv((Q * (np.logspace(8, 0, 60) * rng.uniform(1, 30, 60))) @ Q.T)
    x, n_steps = conjugate_gradients(lambda p: A @ p, b, lambda r: rough @ r, 1e-11)
    assert 10 < n_steps < MAX_STEPS
    assert np.linalg.norm(b - A @ x) <= 1e-7 * np.linalg.norm(b)


def test_where_low_rank_is_singular_another_factor_is_taken(monkeypatch):
    from fasthoag.kernels import nystrom

    monkeypatch.setattr(nystrom, "JITTER", -1.0)
    X, y = made_up()
    held_out = fasthoag.HeldOut(*made_up(n=30, seed=1))
    theta = np.array([-0.4, -1.0])
    one, other = (
        at(fasthoag.KernelProblem(X, y, solver=solver).judged_by(held_out), theta)
        for solver in ("cg", "cholesky")
    )
    np.testing.assert_allclose(one.value, other.value, rtol=1e-8)
