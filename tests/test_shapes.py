"""A penalty is strengths times a shape: a lasso of a test's own, with a solver of its own, goes
through the whole search, for every kind of strengths."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from sklearn.linear_model import Lasso, LogisticRegression

import fasthoag
from fasthoag import (
    FeatureRidge,
    GroupRidge,
    HeldOut,
    KFold,
    PerClass,
    Problem,
    Ridge,
    StructuredRidge,
    SumPenalty,
    hoag,
)
from fasthoag.hoag import check_hypergrad
from fasthoag.hypergradient import Accuracy
from fasthoag.inner.newton import InnerResult
from fasthoag.penalties import Penalty, Shaped
from fasthoag.problem import refit

N, P = 90, 24


@dataclass(frozen=True)
class Absolute:
    """``ψ(w) = |w|``."""

    name = "l1"
    is_smooth = False

    def values(self, W):
        return abs(W)

    def gradient(self, W):
        return np.sign(W)

    def product(self, W, V):
        return 0 * V

    def diagonal(self, W):
        return 0.0

    def prox(self, lam, W):
        return np.sign(W) * np.maximum(abs(W) - lam, 0.0)

    def support(self, lam, W):
        return (W != 0) | (lam == 0)

    def scales(self, inner):
        """The strength that keeps a feature at 0 beside the null model."""
        whole = inner.all_rows()
        slopes = whole.rows.loss_grad(whole.loss, whole.null.W).grad
        return np.abs(inner.design.coefficients.pull(slopes))[: inner.n_features, 0]


class ProximalGradient:
    """Nesterov's accelerated method with restarts (Beck & Teboulle 2009; O'Donoghue & Candès
    2015)."""

    name = "proximal gradient"

    def accepts(self, loss, penalty):
        return "it needs a loss without kinks" if loss.has_kinks else None

    def solve(self, inner, lam, W, *, tol, lam_of=None, precond, max_iter=20000, max_cg=None):
        lam_of = np.arange(W.shape[1]) % lam.shape[1] if lam_of is None else lam_of
        lam, shape, at, n_iter = lam[:, lam_of], inner.penalty.shape, inner.rows.loss_grad, 0
        # squares of singular values times the curvature's bound
        weight = 1.0 if inner.rows.weight is None else inner.rows.weight.max()
        size = np.linalg.norm(inner.design.dense(), 2)
        step = 1 / (size**2 * weight * BOUNDS[inner.loss.name])
        V, t = W, 1.0
        while True:
            found = at(inner.loss, W)
            pull = found.grad + lam * shape.gradient(W)
            at_zero = np.maximum(abs(found.grad) - lam, 0.0) * np.sign(found.grad)
            grad = np.where((W == 0) & (lam > 0), at_zero, pull)
            norm = precond.norms(inner.units, grad)
            if (norm <= tol).all() or n_iter == max(max_iter, 20000):
                break
            new = shape.prox(step * lam, V - step * at(inner.loss, V).grad)
            is_back = ((V - new) * (new - W)).sum() > 0
            t_new = 1.0 if is_back else 0.5 + np.sqrt(0.25 + t * t)
            V = new + (0.0 if is_back else (t - 1) / t_new) * (new - W)
            W, t, n_iter = new, t_new, n_iter + 1
        count = np.full(W.shape[1], n_iter)
        status = np.where(norm <= tol, 0, 1)
        values = found.value, found.other, norm, count, 0 * count, status
        return InnerResult(W, grad, found.Z, *values)


BOUNDS = {"squared": 1.0, "logistic": 0.25}
STRENGTHS = {
    "one": Ridge(),
    "weighted": Ridge(penalty_factor=np.linspace(0.5, 2.0, P)),
    "groups": GroupRidge(np.arange(P) % 3),
    "structured": StructuredRidge(np.column_stack([np.ones(P), np.linspace(-1, 1, P)])),
    "sum": Ridge() + GroupRidge(np.arange(P) % 2),
    "features": FeatureRidge(),
}


def data(loss, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, P))
    w = np.where(np.arange(P) < 5, 2.0, 0.0)
    z = X @ w + 1.0
    y = z + 2 * rng.normal(size=N) if loss == "squared" else np.sign(z + 3 * rng.logistic(size=N))
    return X, y


def lasso(loss, strengths="one"):
    penalty = Shaped(STRENGTHS[strengths], Absolute())
    return Problem(*data(loss), loss=loss, penalty=penalty, solver=ProximalGradient())


@pytest.mark.parametrize("loss", BOUNDS)
@pytest.mark.parametrize("strengths", STRENGTHS)
def test_the_hypergradient_of_a_lasso_is_that_of_differences(loss, strengths):
    problem = lasso(loss, strengths)
    theta = problem.penalty.start(1.0, P)
    assert check_hypergrad(problem, KFold(4), theta, step=1e-5) < 1e-6


@pytest.mark.parametrize("loss", BOUNDS)
def test_a_lasso_is_tuned(loss):
    """Where a grid of another library finds the optimum, over folds."""
    X, y = data(loss)
    problem = lasso(loss)
    splits = KFold(4).splits(problem)
    result = hoag(problem, KFold(splits))
    assert result.status == "converged"

    def f(theta):
        total = 0.0
        for train, test in splits:
            lam = np.exp(theta)
            if loss == "squared":
                model = Lasso(alpha=lam / len(train), tol=1e-12, max_iter=100000)
                model.fit(X[train], y[train])
                total += 0.5 * ((y[test] - model.predict(X[test])) ** 2).sum()
            else:
                options = {"solver": "saga", "tol": 1e-8, "max_iter": 100000}
                model = LogisticRegression(l1_ratio=1, C=1 / lam, random_state=0, **options)
                model.fit(X[train], y[train])
                total += np.logaddexp(0, -y[test] * model.decision_function(X[test])).sum()
        return total

    assert result.value == pytest.approx(f(result.theta[0]), rel=1e-5)
    around = [f(result.theta[0] + d) for d in (-0.5, -0.1, 0.1, 0.5)]
    assert min(around) > result.value * (1 - 1e-4)
    w, _, is_converged = refit(problem, result.theta, result.w_all, tol=1e-8)
    assert is_converged
    assert 0 < np.count_nonzero(w[:-1]) < P


def test_groups_have_lasso_strengths_of_their_own():
    """Three groups, of which the tuned strengths are no worse than one for all."""
    one, three = (hoag(lasso("squared", name), KFold(4)) for name in ("one", "groups"))
    assert three.status in ("converged", "at_bound")
    assert three.value <= one.value * (1 + 1e-4)


def test_other_rows_judge_a_lasso():
    X, y = data("squared", seed=1)
    result = hoag(lasso("squared"), HeldOut(X, y))
    assert result.status == "converged"


def test_a_shape_without_a_solver_is_refused():
    with pytest.raises(
        ValueError,
        match="no solver for loss 'squared' with a penalty of shape 'l1'. newton_cg: it needs a "
        "quadratic penalty",
    ):
        replace(lasso("squared"), solver=None)
    with pytest.raises(
        ValueError,
        match="loss 'squared_hinge' .* shape 'l1'. proximal gradient: it needs a loss without",
    ):
        replace(lasso("logistic"), loss="squared_hinge")
    with pytest.raises(ValueError, match="Evidence needs a quadratic penalty; got 'l1'"):
        hoag(lasso("squared"), fasthoag.Evidence())


def test_parts_of_a_sum_have_one_shape():
    lasso = Shaped(Ridge(), Absolute())
    with pytest.raises(ValueError, match="one shape; got 'quadratic' and 'l1'"):
        SumPenalty((Ridge(), lasso))
    assert SumPenalty((lasso, Shaped(FeatureRidge(), Absolute()))).shape == Absolute()


def test_strengths_of_classes_are_of_the_whole():
    of_classes = PerClass(Ridge(), 3)
    with pytest.raises(ValueError, match="PerClass of a sum has strengths for classes"):
        Ridge() + of_classes
    with pytest.raises(ValueError, match="has strengths for classes already"):
        PerClass(of_classes, 3)


def test_methods_of_a_protocol_are_none():
    class Half(Penalty):
        def check(self, n_features):
            pass

    with pytest.raises(TypeError, match="lacks n_hyper, start, box, strengths, strengths_vjp"):
        Problem(np.eye(2), [1, -1], penalty=Half())


def test_what_is_no_solver_is_refused():
    with pytest.raises(TypeError, match="'newton_cg' lacks name, accepts, solve"):
        Problem(np.eye(2), [1, -1], solver="newton_cg")


@pytest.mark.parametrize("unit", [0.1, 10.0])  # beyond, this plain solver takes for ever
def test_a_lasso_has_no_unit(unit):
    """λ |w| is the same with X in another unit and λ in its inverse."""
    one = hoag(lasso("squared"), KFold(4))
    other = hoag(replace(lasso("squared"), X=unit * lasso("squared").X), KFold(4))
    assert other.status == "converged"
    assert other.value == pytest.approx(one.value, rel=1e-6)
    assert other.theta[0] - np.log(unit) == pytest.approx(one.theta[0], abs=1e-2)


def test_a_lasso_takes_weights_and_blocks():
    """Whole weights are repeated rows, and rows in blocks are those in one piece."""
    X, y = data("squared")
    weight = np.arange(N) % 3
    judge, at = HeldOut(*data("squared", seed=1)), [1.5]
    weighted = replace(lasso("squared"), sample_weight=weight.astype(float))
    repeated = replace(lasso("squared"), X=np.repeat(X, weight, axis=0), y=np.repeat(y, weight))
    blocks = replace(repeated, X=[repeated.X[:30], repeated.X[30:]])
    elsewhere = replace(repeated, X=fasthoag.ShardedDesign(blocks.X))
    first, *others = (
        one.evaluate(np.array(at), one.inner.null.W, Accuracy(1e-10, 1e-10))
        for one in map(judge.bind, (weighted, repeated, blocks, elsewhere))
    )
    for other in others:
        assert other.value == pytest.approx(first.value, rel=1e-9)
        assert other.grad == pytest.approx(first.grad, rel=1e-6)
