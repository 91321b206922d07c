"""Every public penalty: strengths and their derivatives, hypergradients in both modes, what is
refused."""

import numpy as np
import pytest
import scipy.sparse as sp
from designs import sparse_problem, targets
from scipy.optimize import check_grad

import fasthoag
from fasthoag import (
    FeatureRidge,
    Fixed,
    GroupRidge,
    HeldOut,
    KFold,
    Problem,
    Ridge,
    StructuredRidge,
    check_hypergrad,
    hoag,
)
from fasthoag.design.make import make_design
from fasthoag.hypergradient import Accuracy, evaluate
from fasthoag.losses import LOSSES
from fasthoag.penalties import PENALTIES

P = 12
RNG = np.random.default_rng(5)
FACTOR = np.r_[RNG.uniform(0.5, 2, P - 1), 0.0]
EXAMPLES = {
    "ridge": [Ridge(), Ridge(FACTOR)],
    "feature_ridge": [FeatureRidge(), FeatureRidge(FACTOR)],
    "group_ridge": [
        GroupRidge(np.arange(P) % 3),
        GroupRidge({"a": [0, 2, 4], "b": [1, 3, *range(5, P)]}, FACTOR),
        GroupRidge([[0, 1], list(range(2, P))]),
    ],
    "structured_ridge": [
        StructuredRidge(np.column_stack([np.ones(P), np.linspace(-1, 1, P)])),
        StructuredRidge(sp.csr_matrix(RNG.normal(size=(P, 3))), FACTOR),
    ],
    "sum": [Ridge() + FeatureRidge(), GroupRidge(np.arange(P) % 2) + Ridge(FACTOR) + Ridge()],
}
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
    one, other = (evaluate(bound, theta, zero, exact, has_tangents=has) for has in (True, False))
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
        assert result.fold_weights.sum() == 0.8 * weight.sum()
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
        assert (back.sample_weight > 0).sum() == 36
    assert all(
        "stop_value" not in record for record in hoag(problem, rule, max_iter=1, stop_on=None).trace
    )
