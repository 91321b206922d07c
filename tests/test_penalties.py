"""Every public penalty: strengths and their derivatives, hypergradients in both modes, what is
refused."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import check_grad, minimize
from sklearn import datasets
from support.penalty_examples import EXAMPLES, P
from support.problems import sparse_problem, targets

import fasthoag
from fasthoag import (
    FeatureRidge,
    Fixed,
    GroupRidge,
    HeldOut,
    KFold,
    PerClass,
    Problem,
    Ridge,
    StructuredRidge,
    SumPenalty,
    check_hypergrad,
    hoag,
)
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.make import make_design
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES
from fasthoag.penalties import PENALTIES, QUADRATIC, Penalty, Shaped
from fasthoag.problem import refit

FIXED = Fixed(GroupRidge(np.arange(P) % 3), [0.1, 0.2, 0.3])
ALL = [
    pytest.param(penalty, id=f"{name} {number}")
    for name, examples in EXAMPLES.items()
    for number, penalty in enumerate(examples)
]


def theta_for(penalty, seed=0):
    return penalty.start(0.3, P) + 0.3 * np.random.default_rng(seed).normal(size=penalty.n_hyper(P))


def test_every_public_penalty_has_examples():
    assert {*EXAMPLES, "fixed"} == set(PENALTIES)
    assert all(
        isinstance(penalty, PENALTIES[name])
        for name, examples in EXAMPLES.items()
        for penalty in examples
    )


@pytest.mark.parametrize("penalty", ALL)
def test_derivatives_of_strengths(penalty):
    penalty.check(P)
    theta, u = theta_for(penalty), np.random.default_rng(1).normal(size=P)
    jac = penalty.strengths_jac(theta, P)
    assert jac.shape == (P, penalty.n_hyper(P)) == (P, len(theta))
    assert (
        check_grad(
            lambda t: u @ penalty.strengths(t, P), lambda t: penalty.strengths_vjp(t, u), theta
        )
        < 1e-5
    )
    np.testing.assert_allclose(penalty.strengths_vjp(theta, u), jac.T @ u, rtol=1e-12)
    v = np.random.default_rng(2).normal(size=len(theta))
    quotient = (
        penalty.strengths_vjp(theta + 1e-6 * v, u) - penalty.strengths_vjp(theta - 1e-6 * v, u)
    ) / 2e-6
    np.testing.assert_allclose(penalty.strengths_hess(theta, u) @ v, quotient, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("penalty", ALL)
def test_start_has_the_strength_asked_for_and_lies_in_the_box(penalty):
    low, high = penalty.box(-20.0, 20.0, P)
    theta = penalty.start(1.0, P)
    assert theta.shape == low.shape == high.shape == (penalty.n_hyper(P),)
    assert (low <= theta).all()
    assert (theta <= high).all()
    if not isinstance(penalty, StructuredRidge) or penalty.penalty_factor is None:
        factor = 1.0 if getattr(penalty, "penalty_factor", None) is None else penalty.penalty_factor
        if not isinstance(penalty, fasthoag.SumPenalty):
            np.testing.assert_allclose(penalty.strengths(theta, P), factor * np.exp(1.0))


def case(loss, criterion, penalty, seed=0):
    X, y = sparse_problem(loss, seed, 60, P)
    rng = np.random.default_rng(seed + 1)
    if criterion == "k_fold":
        return Problem(X, y, loss=loss, penalty=penalty), KFold(
            [
                (np.flatnonzero(np.arange(60) % 3 != k), np.flatnonzero(np.arange(60) % 3 == k))
                for k in range(3)
            ]
        )
    X_val = sp.csr_matrix(np.round(rng.normal(size=(40, P)), 2))
    return Problem(X, y, loss=loss, penalty=penalty), HeldOut(
        X_val, targets(loss, 0.3 + X_val @ rng.normal(size=P), rng)
    )


@pytest.mark.parametrize("penalty", ALL)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("criterion", ["held_out", "k_fold"])
def test_hypergradient_is_the_difference_quotient(penalty, loss, criterion):
    problem, rule = case(loss, criterion, penalty)
    # where the second derivative jumps, a row may cross a kink within the step: then a shorter one
    error = min(
        check_hypergrad(problem, rule, theta_for(penalty), step=step)
        for step in ((1e-4, 1e-5) if LOSSES[loss].has_kinks else (1e-4,))
    )
    assert error < (1e-5 if LOSSES[loss].has_kinks else 1e-6)


@pytest.mark.parametrize("penalty", ALL)
def test_adjoint_alone_and_tangents_give_the_same_hypergradient(penalty):
    problem, rule = case("logistic", "k_fold", penalty)
    bound = rule.bind(problem)
    zero, exact, theta = (
        bound.inner.design.zeros(3),
        Accuracy(1e-11, 1e-11),
        theta_for(penalty),
    )
    one, other = (bound.evaluate(theta, zero, exact, has_tangents=has) for has in (True, False))
    np.testing.assert_allclose(one.grad, other.grad, rtol=1e-8, atol=1e-9)
    assert one.value == pytest.approx(other.value, rel=1e-10)


@pytest.mark.parametrize("loss", ["logistic", "poisson"])
@pytest.mark.parametrize("method", ["newton", "lbfgs"])
def test_many_strengths_end_below_one(loss, method):
    X, y = sparse_problem(loss, 3, 300, P)
    one = hoag(Problem(X, y, loss=loss), KFold(3), bounds=(-8, 8))
    groups = hoag(
        Problem(X, y, loss=loss, penalty=GroupRidge(np.arange(P) % 4)),
        KFold(3),
        bounds=(-8, 8),
        method=method,
    )
    assert groups.status in ("converged", "at_bound")
    assert groups.value <= one.value + one.value_error + groups.value_error


SCALES = [np.ones(3), np.array([1e-3, 1.0, 1e3]), np.array([1e6, 1e-6, 1.0])]


def bands(loss, seed, n_each=20, n_bands=3, n_rows=150):
    """Dense bands of columns of which every third is noise: X, y, the band of every column."""
    rng = np.random.default_rng(seed)
    band = np.repeat(np.arange(n_bands), n_each)
    X = rng.normal(size=(n_rows, len(band)))
    w = rng.normal(size=len(band)) * np.array([2.0, 0.5, 0.0])[band % 3] / np.sqrt(n_each)
    return X, targets(loss, X @ w, rng), band


@pytest.mark.parametrize("method", ["newton", "lbfgs"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("penalty", ["groups", "features"])
def test_units_of_bands_do_not_matter(penalty, loss, method):
    X, y, band = bands(loss, 0, n_each=20 if penalty == "groups" else 2)
    found = []
    for scales in SCALES:
        unit = scales[band]
        made = GroupRidge(band) if penalty == "groups" else FeatureRidge()
        problem = Problem(X * unit, y, loss=loss, penalty=made)
        result = hoag(problem, KFold(5), method=method, tol=1e-4)
        unit = scales if penalty == "groups" else unit
        found.append((result.value, result.theta - 2 * np.log(unit)))
        assert result.status in ("converged", "at_bound"), result.message
    for value, theta in found[1:]:
        assert value == pytest.approx(found[0][0], rel=3e-4)
        # beyond, a strength is everything or nothing
        inside = np.abs(found[0][1] - np.log(len(y))) < 3
        np.testing.assert_allclose(theta[inside], found[0][1][inside], atol=0.1)


@pytest.mark.parametrize("level", [-20.0, -8.0, 20.0])
@pytest.mark.parametrize("method", ["newton", "lbfgs"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_a_flat_start_is_no_optimum(loss, method, level):
    X, y, band = bands(loss, 0)
    problem = Problem(X, y, loss=loss, penalty=GroupRidge(band))
    best = hoag(problem, KFold(5)).value
    found = hoag(problem, KFold(5), np.full(3, level), method=method)
    assert found.status in ("converged", "at_bound")
    assert found.value <= best * 1.001 + found.value_error
    problem = Problem(X, y, loss=loss)
    best = hoag(problem, KFold(5)).value
    found = hoag(problem, KFold(5), [level], method=method)
    assert found.value <= best * 1.001 + found.value_error


@pytest.mark.parametrize("n_bands", [6, 8])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_several_bands_end_where_scipy_does(loss, n_bands):
    X, y, band = bands(loss, 1, n_each=10, n_bands=n_bands)
    problem = Problem(X, y, loss=loss, penalty=GroupRidge(band))
    result, bound = hoag(problem, KFold(5)), KFold(5).bind(problem)

    def value_and_grad(theta):
        found = bound.evaluate(theta, zero, Accuracy(1e-8, 1e-8), has_tangents=False)
        return found.value, found.grad

    zero, rng = bound.inner.design.zeros(5), np.random.default_rng(0)
    best = min(
        minimize(
            value_and_grad,
            np.full(n_bands, 2.0) if k == 0 else rng.uniform(-2, 6, n_bands),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-12, 16)] * n_bands,
        ).fun
        for k in range(4)
    )
    assert result.status in ("converged", "at_bound")
    assert result.value <= best * 1.001 + result.value_error


def counts_problem(seed):
    """Raw counts of 20 words of very different frequency: X, y, how often each word occurs."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(rng.lognormal(1, 1.5, size=20), size=(300, 20)).astype(float)
    w = rng.normal(size=20) / np.sqrt(1 + X.var(axis=0))
    y = np.where((X - X.mean(axis=0)) @ w + rng.logistic(size=300) > 0, 1.0, -1.0)
    return X, y, X.sum(axis=0)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("seed", range(4))
def test_raw_properties_of_features_are_as_good_as_standardised_ones(seed, form):
    X, y, total = counts_problem(seed)
    log, ones = np.log1p(total), np.ones(20)
    standard = (log - log.mean()) / np.abs(log - log.mean()).max()
    single = hoag(Problem(X, y), KFold(5))
    found = {}
    for name, column in {
        "standard": standard,
        "log": log,
        "far": 1000 + log,
        "raw": total,
        "large": 1e6 * total,
    }.items():
        penalty = StructuredRidge(form(np.column_stack([ones, column])))
        result = hoag(Problem(X, y, penalty=penalty), KFold(5))
        assert result.status == "converged", (name, result.message)
        assert result.value <= single.value * 1.001
        bound = KFold(5).bind(Problem(X, y, penalty=penalty))
        zero = bound.inner.design.zeros(5)
        there = bound.evaluate(result.theta, zero, Accuracy(1e-8, 1e-8))  # θ is the user's
        assert there.value == pytest.approx(result.value, abs=result.value_error)
        found[name] = result.value
    assert found["far"] == pytest.approx(found["log"], rel=1e-4)
    assert found["large"] == pytest.approx(found["raw"], rel=1e-4)
    assert found["log"] == pytest.approx(found["standard"], rel=1e-3)


def test_the_hypergradient_of_raw_properties_is_the_users():
    X, y, total = counts_problem(0)
    penalty = StructuredRidge(np.column_stack([np.ones(20), np.log1p(total)]))
    problem = Problem(X, y, penalty=penalty)
    start = np.array([0.5, 0.5])
    with pytest.warns(fasthoag.ConvergenceWarning, match="max_iter"):
        result = hoag(problem, KFold(5), start, max_iter=1, tol=1e-9, method="lbfgs")
    assert result.trace[0]["theta"] == start.tolist()
    bound = KFold(5).bind(problem)
    zero = bound.inner.design.zeros(5)
    exact = bound.evaluate(result.theta, zero, Accuracy(1e-9, 1e-9), has_tangents=False).grad
    assert np.linalg.norm(exact) > 1
    np.testing.assert_allclose(result.grad, exact, atol=2 * result.grad_error + 1e-6)


def test_strengths_of_properties_never_overflow():
    Z = np.array([[1.0, 3.0], [1.0, -3.0]])
    with np.errstate(all="raise"):
        lam = StructuredRidge(Z).strengths(np.array([500.0, 400.0]), 2)
    assert np.isfinite(lam).all()
    assert np.isfinite(lam * lam).all()


@pytest.mark.parametrize("scales", [1.0, 1e-3])
@pytest.mark.parametrize("name", ["wine", "iris", "breast_cancer"])
def test_a_strength_each_is_never_worse_than_one_for_all(name, scales):
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X, y = scales * (X - X.mean(axis=0)) / X.std(axis=0), y.astype(float)
    loss = "multinomial" if y.max() > 1 else "logistic"
    y = y if loss == "multinomial" else 2 * y - 1
    order = np.random.default_rng(0).permutation(len(y))
    train, rest = order[len(y) // 3 :], order[: len(y) // 3]
    values, unseen = [], []
    for penalty in (Ridge(), FeatureRidge()):
        problem = Problem(X[train], y[train], loss=loss, penalty=penalty)
        result = hoag(problem, KFold(5))
        w = refit(problem, result.theta, result.w_all)[0]
        judge = HeldOut(X[rest], y[rest]).bind(problem)
        w = problem.design.encode(w.reshape(len(w), -1))
        values.append(result.value)
        unseen.append(judge.values(w, None)[0])
    assert values[1] <= values[0] * (1 + 1e-6)
    # what may be chance: a row or two
    assert unseen[1] <= unseen[0] + 3 * unseen[0] / np.sqrt(len(rest)) + 1.0


def test_lbfgs_and_newton_reach_the_same_minimum():
    X, y = sparse_problem("logistic", 3, 300, P)
    penalty = StructuredRidge(np.column_stack([np.ones(P), np.linspace(-1, 1, P)]))
    newton, lbfgs = (
        hoag(Problem(X, y, penalty=penalty), KFold(3), method=method, tol=1e-6)
        for method in ("newton", "lbfgs")
    )
    assert newton.status == lbfgs.status == "converged"
    assert newton.value == pytest.approx(lbfgs.value, rel=1e-9)


def test_zero_factor_means_not_penalised():
    X, y = sparse_problem("squared", 1, 60, P)
    problem = Problem(X, y, loss="squared", penalty=Ridge(np.r_[np.ones(P - 1), 0.0]))
    w = fasthoag.problem.refit(problem, [20.0], tol=1e-10)[0]
    A = np.column_stack([X.toarray()[:, -1], np.ones(60)])
    np.testing.assert_allclose(w[-2:], np.linalg.lstsq(A, y, rcond=None)[0], atol=1e-5)
    assert np.abs(w[:-2]).max() < 1e-5


def test_stop_on_returns_the_best_step_for_rows_unseen():
    X, y = sparse_problem("logistic", 4, 240, P)
    problem, criterion = (
        Problem(X[:60], y[:60], penalty=FeatureRidge()),
        HeldOut(X[60:100], y[60:100]),
    )
    result = hoag(problem, criterion, stop_on=HeldOut(X[100:], y[100:]), method="lbfgs", tol=1e-8)
    seen = [record["stop_value"] for record in result.trace if "stop_value" in record]
    judged = (
        HeldOut(X[100:], y[100:]).bind(problem).values(problem.design.encode(result.w), None)[0]
    )
    assert result.status in ("stopped_early", "converged")
    assert judged <= min(seen) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (
            lambda: Problem(np.eye(P), np.ones(P), loss="squared", penalty=GroupRidge([0, 1])),
            "groups must cover all features; they have 2 and X has 12",
        ),
        (lambda: GroupRidge([[0, 1], [1, 2]]), "groups must not overlap; feature 1 is in 2"),
        (lambda: GroupRidge([[0], [2]]), "groups must cover all features; feature 1 is in none"),
        (
            lambda: Problem(
                np.eye(P), np.ones(P), loss="squared", penalty=StructuredRidge(np.ones((3, 1)))
            ),
            "Z must have one row a feature; it has 3",
        ),
        (lambda: StructuredRidge(np.array([[np.nan]])), "Z must be a finite matrix"),
        (lambda: StructuredRidge(np.zeros((3, 2))), "column of zeros"),
        (
            lambda: Problem(np.eye(P), np.ones(P), loss="squared", penalty=Ridge(np.ones(3))),
            r"penalty_factor must have one value a feature, shape \(12,\)",
        ),
        (
            lambda: Problem(np.eye(P), np.ones(P), loss="squared", penalty=Ridge(-np.ones(P))),
            "penalty_factor must be finite and >= 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(penalty, message):
    with pytest.raises(ValueError, match=message):
        penalty()


def test_newton_refuses_many_hyperparameters():
    X, y = sparse_problem("logistic", 3, 100, 200)
    with pytest.raises(ValueError, match="method 'newton' is for up to 16 hyperparameters"):
        hoag(Problem(X, y, penalty=FeatureRidge()), KFold(3), method="newton")


def test_fixed_penalty_has_nothing_to_tune_but_what_is_beside_it():
    X, y = sparse_problem("logistic", 3, 60, P)
    with pytest.raises(ValueError, match="no hyperparameter to tune"):
        hoag(Problem(X, y, penalty=FIXED), KFold(3))
    with pytest.raises(ValueError, match=r"theta of a fixed penalty must have shape \(1,\)"):
        Problem(X, y, penalty=Fixed(Ridge(), [0.0, 1.0]))
    problem = Problem(X, y, penalty=FIXED, tuned=fasthoag.ClassWeights())
    assert check_hypergrad(problem, KFold(3), [0.2, -0.1]) < 1e-6
    result = hoag(problem, KFold(3))
    np.testing.assert_allclose(
        problem.read(result.theta)["strengths"], np.exp([0.1, 0.2, 0.3])[np.arange(P) % 3]
    )


@pytest.mark.parametrize("criterion", ["held_out", "k_fold"])
def test_many_hyperparameters_hold_back_a_fifth_of_the_rows(criterion):
    X, y = sparse_problem("logistic", 3, 240, 200)
    weight = np.where(np.arange(240) % 4 > 0, 1.0, 0.0)
    for data in (X, make_design(X, fit_intercept=True)):  # a Design too
        problem = Problem(data, y, sample_weight=weight, penalty=FeatureRidge())
        rule = KFold(3) if criterion == "k_fold" else HeldOut(X, y, weight)
        result = hoag(problem, rule, max_iter=3)
        assert all("stop_value" in record for record in result.trace if record["phase"] == "all")
        # in the end all rows count
        assert result.trace[-1]["phase"] == "all rows"
        assert result.fold_weights.sum() == weight.sum()
        judge, back = rule.hold_back(problem)
        kept = weight if criterion == "k_fold" else judge.sample_weight
        in_judge = np.zeros(240, bool)
        for part in (
            np.concatenate([np.concatenate(split) for split in judge.cv])
            if criterion == "k_fold"
            else [kept > 0]
        ):
            in_judge[part] = True
        assert not (in_judge & (back.sample_weight > 0)).any()
        is_back = back.sample_weight > 0
        for label in (-1, 1):  # a fifth of each class
            assert is_back[y == label].sum() == (weight[y == label] > 0).sum() // 5
    assert all(
        "stop_value" not in record for record in hoag(problem, rule, max_iter=1, stop_on=None).trace
    )


class Halves:
    """A strength for even features and one for odd ones, with the methods that a penalty needs."""

    def check(self, n_features):
        pass

    def n_hyper(self, n_features):
        return 2

    def start(self, level, n_features):
        return np.full(2, float(level))

    def box(self, low, high, n_features):
        return np.full(2, float(low)), np.full(2, float(high))

    def strengths(self, theta, n_features):
        return np.exp(theta[np.arange(n_features) % 2])

    def strengths_vjp(self, theta, u):
        return np.bincount(np.arange(len(u)) % 2, self.strengths(theta, len(u)) * u, minlength=2)


class DeclaredHalves(Halves, Penalty):
    """The same, which says that it is one."""


@pytest.mark.parametrize(
    "penalty",
    [Halves(), DeclaredHalves(), Shaped(Halves(), QUADRATIC), SumPenalty((Halves(),))],
    ids=["own", "declared", "shaped", "sum"],
)
def test_a_penalty_without_a_jacobian_is_tuned_by_its_product(penalty):
    X, y = sparse_problem("logistic", 0, 80, P)
    problem, rule = Problem(X, y, penalty=penalty), KFold(4)
    with pytest.raises(ValueError, match=r"'newton' needs .* strengths_jac and strengths_hess"):
        hoag(problem, rule, method="newton")
    groups = Problem(X, y, penalty=GroupRidge(np.arange(P) % 2))
    assert hoag(problem, rule).value == pytest.approx(hoag(groups, rule).value, rel=1e-3)
    assert check_hypergrad(problem, rule, np.full(2, 0.3)) < 1e-6


def test_strengths_of_classes_have_no_newton():
    X, y = sparse_problem("squared", 0, 60, P)
    penalty, y = PerClass(Ridge(), 3), np.digitize(y, np.quantile(y, [0.3, 0.7])).astype(float)
    problem = Problem(X, y, loss="multinomial", penalty=penalty)
    with pytest.raises(ValueError, match="strengths that all classes share"):
        hoag(problem, KFold(3), method="newton")


def test_a_design_brings_its_own_settings():
    X, y = sparse_problem("logistic", 0, 40, P)
    assert not Problem(CpuDesign(X), y).fit_intercept
    with pytest.raises(ValueError, match="X is a design, .*; deterministic=True cannot change it"):
        Problem(CpuDesign(X), y, deterministic=True)
