"""A criterion of the user's own: equal to the built-in where both can say the same, and wrong ones
are refused."""

import numpy as np
import pytest
from support.problems import sparse_problem

from fasthoag import CustomCriterion, FeatureRidge, HeldOut, Problem, Ridge, check_hypergrad, hoag
from fasthoag.losses import derivative

N, P = 60, 6


def halves(loss="logistic", penalty=None):
    X, y = sparse_problem(loss, 4, 2 * N, P)
    return Problem(X[:N], y[:N], loss=loss, penalty=penalty or Ridge()), X[N:], y[N:]


def loss_of(name, y):
    return lambda z: (derivative(name, 0, y, z).sum(), derivative(name, 1, y, z))


@pytest.mark.parametrize("penalty", [Ridge(), FeatureRidge()], ids=["one", "each"])
@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson"])
def test_a_sum_of_losses_is_hold_out(loss, penalty):
    problem, X, y = halves(loss, penalty)
    own, built_in = (
        hoag(problem, rule, bounds=(-6, 6), tol=1e-6, stop_on=None)
        for rule in (CustomCriterion(X, loss_of(loss, y)), HeldOut(X, y))
    )
    assert own.method == built_in.method
    assert own.value == pytest.approx(built_in.value, rel=1e-6)
    is_full = problem.X.getnnz(axis=0) > 0  # strengths of empty columns change nothing
    mine, theirs = (np.broadcast_to(result.theta, P)[is_full] for result in (own, built_in))
    np.testing.assert_allclose(mine, theirs, atol=5e-3)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_hypergradient_of_a_function_that_is_no_sum(loss):
    problem, X, y = halves(loss, FeatureRidge())

    def smooth_maximum(z):
        v, g = derivative(loss, 0, y, z), derivative(loss, 1, y, z)
        e = np.exp(v - v.max())
        return v.max() + np.log(e.sum()), e / e.sum() * g

    assert (
        check_hypergrad(problem, CustomCriterion(X, smooth_maximum), np.linspace(-1, 1, P)) < 1e-6
    )


def test_multinomial_predictions_have_a_column_a_class():
    X, y = sparse_problem("squared", 4, 2 * N, P)
    y = np.digitize(y, np.quantile(y, [0.3, 0.6])).astype(float)
    problem = Problem(X[:N], y[:N], loss="multinomial")

    def log_loss(z):
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return -np.log(p[np.arange(N), y[N:].astype(int)]).sum(), p - np.eye(3)[y[N:].astype(int)]

    own, built_in = (
        hoag(problem, rule, bounds=(-6, 6), tol=1e-6, stop_on=None)
        for rule in (CustomCriterion(X[N:], log_loss), HeldOut(X[N:], y[N:]))
    )
    assert own.theta == pytest.approx(built_in.theta, abs=5e-3)
    assert own.value == pytest.approx(built_in.value, rel=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (5, "value_and_grad must be callable; got 5"),
        (
            lambda z: (z @ z, z),
            "the slope in a random direction is .* by the gradient and .* by differences",
        ),
        (lambda z: (z @ z, z[:5]), "must return a number and an array of the shape of z"),
        (
            lambda z: (np.nan, z),
            "value_and_grad returned nan with 0 non-finite derivatives, at z between",
        ),
    ],
)
def test_a_wrong_function_is_refused(function, message):
    problem, X, _ = halves()
    with pytest.raises((TypeError, ValueError), match=message):
        hoag(problem, CustomCriterion(X, function))


def test_rows_of_another_width_are_refused():
    problem, X, y = halves()
    with pytest.raises(ValueError, match="X_val must have the 6 features of X"):
        hoag(problem, CustomCriterion(X[:, :5], loss_of("logistic", y)))
