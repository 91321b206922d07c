"""Value, hypergradient and outer Hessian at one θ: closed form, finite differences, and honest
error estimates when solved loosely."""

import numpy as np
import pytest
from support.closed_form import exact, ridge
from support.designs import EPS, FEW_LOSSES, OF_USE, with_losses
from support.penalty_examples import EXAMPLES, P
from support.problems import sparse_matrix, targets
from support.tunings import WITH_ROWS, Plain, tuning

from fasthoag import HeldOut, KFold, Problem, check_hypergrad
from fasthoag.hypergradient import Accuracy, evaluate
from fasthoag.inner.precond import Preconditioner
from fasthoag.losses import LOSSES
from fasthoag.penalties import PENALTIES

EXACT = Accuracy(1e-12, 1e-12)
on_every_design = with_losses(OF_USE)


def zeros(bound):
    return bound.inner.design.zeros(bound.n_folds)


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize(
    ("has_tangents", "is_weighted"),
    [(True, False), (True, True), (False, True)],
    ids=["tangents", "weighted", "weighted, adjoint only"],
)
def test_value_and_hypergradient_match_the_closed_form_for_ridge(
    make_a_design, fit_intercept, criterion, is_weighted, has_tangents
):
    problem, rule, split = tuning(
        criterion, "squared", fit_intercept, make_a_design, is_weighted=is_weighted
    )
    bound = rule.bind(problem)
    for theta in (-3.0, 0.0, 4.0):
        expected = ridge(split, theta)
        result = evaluate(bound, np.array([theta]), zeros(bound), EXACT, has_tangents=has_tangents)
        assert result.is_solved
        assert result.value == pytest.approx(expected.value, rel=1e-11)
        np.testing.assert_allclose(result.fold_values, expected.fold_values, rtol=1e-10)
        assert result.grad[0] == pytest.approx(expected.grad, rel=1e-10, abs=1e-12 * expected.value)
        np.testing.assert_allclose(
            problem.design.decode(result.W),
            expected.W,
            rtol=0,
            atol=1e-10 * np.abs(expected.W).max(),
        )
        if has_tangents:
            assert result.hess[0, 0] == pytest.approx(
                expected.hess, rel=1e-10, abs=1e-12 * expected.value
            )


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("theta", [-2.0, 1.0])
def test_loose_ridge_solutions_give_second_order_accurate_answers(criterion, theta):
    """Error of value and hypergradient is of the order of the square of the accuracy: a hundredth
    of it costs a factor of 10000."""
    problem, rule, split = tuning(criterion, "squared", True, Plain(), n_rows=200, n_features=60)
    bound, expected = rule.bind(problem), ridge(split, theta)
    for accuracy in (1e-1, 1e-2, 1e-3, 1e-4):
        result = bound.evaluate(
            np.array([theta]),
            zeros(bound),
            Accuracy(accuracy, accuracy),
            precond=Preconditioner(),
        )
        assert abs(result.value - expected.value) <= 10 * accuracy**2 * expected.value
        assert abs(result.grad[0] - expected.grad) <= 10 * accuracy**2 * expected.value


@pytest.mark.parametrize("criterion", WITH_ROWS)
@on_every_design
def test_hypergradient_is_the_difference_quotient_of_the_criterion(
    make_a_design, fit_intercept, loss, criterion
):
    """To 1e-6: the quotient's own error is step² / 6 times the third derivative, about 1e-8. No row
    crosses a kink within the step here."""
    problem, criterion, _ = tuning(criterion, loss, fit_intercept, make_a_design, seed=1)
    assert check_hypergrad(problem, criterion, [0.5]) <= 1e-6


# that one has no hyperparameter
@pytest.mark.parametrize("penalty", [name for name in PENALTIES if name != "fixed"])
@pytest.mark.parametrize("criterion", WITH_ROWS)
def test_hypergradient_of_every_penalty_is_the_difference_quotient(
    make_a_design, criterion, penalty
):
    """On every design; with every loss in test_penalties.py."""
    problem, criterion, _ = tuning(
        criterion, "logistic", True, make_a_design, seed=1, penalty=EXAMPLES[penalty][0]
    )
    assert check_hypergrad(problem, criterion, np.full(problem.n_hyper, 0.5)) <= 1e-6


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", LOSSES)
def test_weighted_hypergradient_is_the_difference_quotient(loss, criterion):
    for seed, theta in enumerate((-1.5, 0.3, 2.0)):
        problem, rule, _ = tuning(criterion, loss, True, Plain(), seed=seed, is_weighted=True)
        assert check_hypergrad(problem, rule, [theta]) <= 1e-6


@pytest.mark.parametrize("criterion", WITH_ROWS)
@on_every_design
def test_outer_hessian_is_the_difference_quotient_of_hypergradients(
    make_a_design, fit_intercept, loss, criterion
):
    problem, rule, _ = tuning(
        criterion, loss, fit_intercept, make_a_design, seed=2, is_weighted=True
    )
    bound, h = rule.bind(problem), 1e-3
    at, *around = (
        evaluate(bound, np.array([0.7 + k * h]), zeros(bound), EXACT) for k in (0, 1, -1, 2, -2)
    )
    g = [e.grad[0] for e in around]
    # error h^4 / 30 of the fifth derivative
    quotient = (8 * (g[0] - g[1]) - (g[2] - g[3])) / (12 * h)
    assert at.hess[0, 0] == pytest.approx(quotient, rel=1e-7, abs=1e-9 * at.value)


@pytest.mark.parametrize("criterion", WITH_ROWS)
@on_every_design
def test_exact_evaluation_matches_dense_newton(make_a_design, loss, criterion):
    problem, rule, split = tuning(criterion, loss, True, make_a_design, seed=3)
    bound = rule.bind(problem)
    values, W = exact(split, loss, 0.5)
    result = evaluate(bound, np.array([0.5]), zeros(bound), EXACT)
    np.testing.assert_allclose(result.fold_values, values, rtol=1e-10)
    np.testing.assert_allclose(
        problem.design.decode(result.predict(np.zeros(1))), W, rtol=0, atol=1e-9 * np.abs(W).max()
    )


@pytest.mark.parametrize("criterion", WITH_ROWS)
@on_every_design
def test_exact_evaluation_knows_that_its_errors_are_small(make_a_design, loss, criterion):
    """Else the outer loop asks for ever more accuracy that it has already."""
    problem, rule, _ = tuning(criterion, loss, True, make_a_design, seed=3)
    bound = rule.bind(problem)
    for precond in (None, Preconditioner()):
        result = evaluate(bound, np.array([0.5]), zeros(bound), EXACT, precond=precond)
        assert result.value_error <= 1e-9 * result.value, (
            f"value_error {result.value_error:.1e} of {result.value:.4g}"
        )
        assert result.grad_error <= 1e-6 * result.value, (
            f"grad_error {result.grad_error:.1e} of {result.value:.4g}"
        )


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", LOSSES)
def test_prediction_of_the_next_solution_is_right_to_second_order(loss, criterion):
    problem, rule, split = tuning(criterion, loss, True, Plain(), seed=4)
    bound = rule.bind(problem)
    result = evaluate(bound, np.zeros(1), zeros(bound), EXACT)
    errors = [
        np.abs(
            problem.design.decode(result.predict(np.array([step]))) - exact(split, loss, step)[1]
        ).max()
        for step in (0.4, 0.2, 0.1)
    ]
    assert errors[0] > 2.5 * errors[1] > 2.5**2 * errors[2] > 0  # 4 where the third order is small


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", LOSSES)
def test_value_does_not_depend_on_the_start(loss, criterion):
    problem, rule, split = tuning(criterion, loss, True, Plain(), seed=5)
    bound = rule.bind(problem)
    expected = exact(split, loss, 0.0)[0].sum()
    for seed in range(3):
        W = problem.design.encode(3 * np.random.default_rng(seed).normal(size=(13, bound.n_folds)))
        result = evaluate(bound, np.zeros(1), W, Accuracy(1e-6, 1e-6))
        assert result.value == pytest.approx(expected, rel=1e-9)


def loose_cases():
    """100 random problems: all losses and both criteria, wide and tall, small and large strengths,
    with and without intercept and weights."""
    rng = np.random.default_rng(0)
    for case in range(100):
        loss = list(LOSSES)[case % len(LOSSES)]
        criterion = list(WITH_ROWS)[case // 2 % 2]
        n_rows, n_features = int(rng.integers(30, 160)), int(rng.choice([3, 8, 20, 60, 150, 200]))
        yield (
            case,
            loss,
            criterion,
            bool(rng.integers(2)),
            bool(rng.integers(2)),
            n_rows,
            n_features,
            float(rng.uniform(-4, 4)),
        )


@pytest.mark.no_map("how loose a solution is is measured in the design's units")
@pytest.mark.parametrize("accuracy", [Accuracy(0.3, 0.3), Accuracy(0.1, 0.1)], ids=["0.3", "0.1"])
@pytest.mark.parametrize("precond", [None, Preconditioner()], ids=["made", "none"])
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_loosely_solved_value_is_within_its_error_of_the_exact_one(accuracy, precond):
    misses = []
    for (
        case,
        loss,
        criterion,
        fit_intercept,
        is_weighted,
        n_rows,
        n_features,
        theta,
    ) in loose_cases():
        problem, rule, split = tuning(
            criterion, loss, fit_intercept, Plain(), case, is_weighted, n_rows, n_features
        )
        bound = rule.bind(problem)
        expected = exact_value(split, loss, theta, case)
        result = evaluate(bound, np.array([theta]), zeros(bound), accuracy, precond=precond)
        off = abs(result.value - expected)
        # rows beyond a kink are not in the expansion behind the error: it tells the size of the
        # step only
        if LOSSES[loss].has_kinks:
            assert off <= result.value_error + 0.1 * expected, (
                f"case {case}: off by {off:.2e}, said {result.value_error:.2e}, value "
                f"{expected:.4g}"
            )
        # third derivatives are larger than theirs
        elif not off <= (1 if loss in FEW_LOSSES else 2.5) * result.value_error + 1e-12 * abs(
            expected
        ):
            misses.append(
                f"case {case}: {loss} {criterion} {n_rows} x {n_features} theta={theta:.2f} "
                f"intercept={fit_intercept}: off by {abs(result.value - expected):.2e}, said "
                f"{result.value_error:.2e}, value {expected:.4g}"
            )
    assert len(misses) <= 1, "\n".join([f"{len(misses)} of 100", *misses])


_EXACT = {}


def exact_value(split, loss, theta, case):
    """The exact value, kept for the next accuracy."""
    if case not in _EXACT:
        _EXACT[case] = exact(split, loss, theta)[0].sum()
    return _EXACT[case]


# that one has no hyperparameter
@pytest.mark.parametrize("penalty", [name for name in PENALTIES if name != "fixed"])
def test_derivatives_of_strengths_are_difference_quotients(penalty):
    rule, p, rng = EXAMPLES[penalty][0], P, np.random.default_rng(0)
    k = rule.n_hyper(p)
    theta, u, h = rng.normal(size=k), rng.normal(size=p), 1e-4
    shifted = [h * (np.arange(k) == j) for j in range(k)]
    jac = np.column_stack(
        [(rule.strengths(theta + d, p) - rule.strengths(theta - d, p)) / (2 * h) for d in shifted]
    )
    assert rule.strengths(theta, p).shape == (p,)
    assert (rule.strengths(theta, p) > 0).all()
    np.testing.assert_allclose(rule.strengths_jac(theta, p), jac, rtol=1e-7)
    np.testing.assert_allclose(rule.strengths_vjp(theta, u), jac.T @ u, rtol=1e-7)
    hess = np.column_stack(
        [
            (rule.strengths_vjp(theta + d, u) - rule.strengths_vjp(theta - d, u)) / (2 * h)
            for d in shifted
        ]
    )
    np.testing.assert_allclose(rule.strengths_hess(theta, u), hess, rtol=1e-7)


@pytest.mark.parametrize("criterion", WITH_ROWS)
def test_hypergradient_vanishes_when_no_feature_says_anything(criterion):
    """All-zero X: f does not depend on θ."""
    import scipy.sparse as sp

    y = np.where(np.arange(40) % 3 > 0, 1.0, -1.0)
    X = sp.csr_matrix((40, 5))
    rule = KFold(4) if criterion == "k_fold" else HeldOut(X, y)
    bound = rule.bind(Problem(Plain()(X, True), y))
    result = evaluate(bound, np.zeros(1), zeros(bound), EXACT)
    assert np.isfinite(result.value)
    assert abs(result.grad[0]) <= 1e3 * EPS * result.value
    assert abs(result.hess[0, 0]) <= 1e3 * EPS * result.value


def test_criterion_on_the_training_rows_falls_with_the_strength():
    """Held-out rows that are the training rows: less penalty is always better, so the hypergradient
    is positive."""
    rng = np.random.default_rng(0)
    X = sparse_matrix(rng, 50, 8)
    for loss in LOSSES:
        y = targets(loss, X @ rng.normal(size=8), rng)
        bound = HeldOut(X, y).bind(Problem(Plain()(X, True), y, loss))
        assert all(
            evaluate(bound, np.array([theta]), zeros(bound), EXACT).grad[0] > 0
            for theta in (-4.0, 0.0, 4.0)
        )
