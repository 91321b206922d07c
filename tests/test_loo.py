"""Approximate leave-one-out: exact for least squares, near refits for others, hypergradients against differences."""
import numpy as np
import pytest
from designs import sparse_problem

from fasthoag import ApproximateLOO, FeatureRidge, KFold, Problem, Ridge, hoag
from fasthoag.hypergradient import Accuracy, evaluate
from fasthoag.losses import LOSSES, derivative
from fasthoag.problem import refit

N, P = 50, 6
SMOOTH = [name for name, loss in LOSSES.items() if not loss.has_kinks]
EXACT = Accuracy(1e-11, 1e-11)


def value_at(problem, rule, theta):
    bound = rule.bind(problem)
    return evaluate(bound, np.atleast_1d(np.asarray(theta, float)), bound.inner.design.encode(np.zeros((problem.design.n_coef, 1))), EXACT, has_tangents=False)


def refitted(problem, theta):
    """The sum of losses of every row predicted by the model without it."""
    total = 0.0
    X = problem.X.tocsr()
    for i in range(N):
        keep = np.arange(N) != i
        w = refit(Problem(X[keep], problem.y[keep], loss=problem.loss), [theta], tol=1e-10)[0]
        total += derivative(problem.loss, 0, problem.y[i:i + 1], np.array([(X[i] @ w[:-1])[0] + w[-1]]))[0]
    return total


@pytest.mark.parametrize("loss, tol", [("squared", 1e-8), ("logistic", 1e-2), ("poisson", 2e-2)])
def test_value_is_that_of_refits(loss, tol):
    X, y = sparse_problem(loss, 0, N, P)
    problem = Problem(X, y, loss=loss)
    assert value_at(problem, ApproximateLOO(), 1.0).value == pytest.approx(refitted(problem, 1.0), rel=tol)


@pytest.mark.parametrize("penalty", [Ridge(), FeatureRidge()], ids=["one", "each"])
@pytest.mark.parametrize("loss", SMOOTH)
def test_hypergradient_is_the_difference_quotient(loss, penalty):
    X, y = sparse_problem(loss, 1, N, P)
    problem, rule = Problem(X, y, loss=loss, penalty=penalty), ApproximateLOO()
    theta = problem.inner().start(1.0)
    at, h = value_at(problem, rule, theta), 1e-4
    for j in range(len(theta)):
        shift = h * (np.arange(len(theta)) == j)
        quotient = (value_at(problem, rule, theta + shift).value - value_at(problem, rule, theta - shift).value) / (2 * h)
        assert at.grad[j] == pytest.approx(quotient, rel=1e-5, abs=1e-6 * abs(at.value))


def test_tuning_ends_where_leave_one_out_is_least():
    X, y = sparse_problem("squared", 0, N, P)
    problem = Problem(X, y + 1 * np.random.default_rng(1).normal(size=N), loss="squared")  # so much noise that some penalty helps
    result = hoag(problem, ApproximateLOO(), tol=1e-6)
    assert -2 < result.theta[0] < 8
    assert result.status == "converged"
    around = [value_at(problem, ApproximateLOO(), result.theta + d).value for d in (0, 0.1, -0.1)]
    assert around[0] <= min(around[1:]) and result.value == pytest.approx(around[0], rel=1e-5)
    assert result.theta[0] == pytest.approx(hoag(problem, KFold(N), tol=1e-6).theta[0], abs=0.01)


def test_what_makes_no_sense_is_refused():
    X, y = sparse_problem("squared_hinge", 0, N, P)
    with pytest.raises(ValueError, match="needs a smooth loss"):
        hoag(Problem(X, y, loss="squared_hinge"), ApproximateLOO())
    with pytest.raises(ValueError, match="does not take sample weights"):
        hoag(Problem(X, y, sample_weight=np.full(N, 2.0)), ApproximateLOO())
    X, y = sparse_problem("logistic", 0, N, P)
    with pytest.raises(ValueError, match="method 'newton' needs the outer Hessian, which ApproximateLOO does not have"):
        hoag(Problem(X, y), ApproximateLOO(), method="newton")
    X, y = sparse_problem("logistic", 0, 40, 2100)
    with pytest.raises(ValueError, match="takes up to 2000 coefficients; there are 2101"):
        hoag(Problem(X, y), ApproximateLOO())
