"""Hyperparameters outside the penalty: hypergradients against differences, alone and together, and what is refused."""
import numpy as np
import pytest
from designs import sparse_problem

from fasthoag import ClassWeights, FeatureRidge, HeldOut, KFold, LossParameter, Mixture, Problem, SampleWeights, check_hypergrad, find_loss, hoag
from fasthoag.losses import LOSSES
from fasthoag.tuned import CROSS, TUNED

N, P = 36, 6
EXAMPLES = {
    "sample_weights": [SampleWeights(), SampleWeights("exp"), SampleWeights("exp", np.arange(N) % 4)],
    "class_weights": [ClassWeights()],
    "mixture": [Mixture(np.arange(N) % 3 == 0)],
    "loss_parameter": [LossParameter(parameter) for _, parameter in CROSS],
}


def fits(tuned, loss):
    return not (isinstance(tuned, ClassWeights) and not LOSSES[loss].is_classification) and not (
        isinstance(tuned, LossParameter) and (loss, tuned.parameter) not in CROSS)


CASES = [pytest.param(tuned, loss, id=f"{name} {k} {loss}") for name, examples in EXAMPLES.items() for k, tuned in enumerate(examples) for loss in LOSSES
         if fits(tuned, loss)]


def test_every_public_kind_has_examples():
    assert set(EXAMPLES) == set(TUNED)


@pytest.mark.parametrize("tuned, loss", CASES)
@pytest.mark.parametrize("criterion", ["held_out", "k_fold"])
def test_hypergradient_is_the_difference_quotient(tuned, loss, criterion):
    X, y = sparse_problem(loss, 2, N, P)
    X_val, y_val = sparse_problem(loss, 3, N, P)
    problem = Problem(X, y, loss=loss, penalty=FeatureRidge(), tuned=[tuned], sample_weight=np.linspace(0.5, 2, N))
    fixed = find_loss(loss)
    rule = HeldOut(X_val, y_val, loss=fixed) if criterion == "held_out" else KFold(
        [(np.flatnonzero(np.arange(N) % 3 != k), np.flatnonzero(np.arange(N) % 3 == k)) for k in range(3)], loss=fixed)
    theta = problem.inner().start(0.3)
    theta += 0.2 * np.random.default_rng(0).normal(size=len(theta))
    errors = [check_hypergrad(problem, rule, theta, step=step) for step in ((1e-4, 1e-5, 1e-6) if LOSSES[loss].has_kinks else (1e-4,))]
    assert min(errors) < (1e-5 if LOSSES[loss].has_kinks else 1e-6)


def test_several_kinds_in_one_theta():
    X, y = sparse_problem("smoothed_hinge", 2, N, P)
    X_val, y_val = sparse_problem("smoothed_hinge", 3, N, P)
    problem = Problem(X, y, loss="smoothed_hinge", tuned=[ClassWeights(), LossParameter("width")])
    assert problem.n_hyper == 1 + 2 + 1
    rule = HeldOut(X_val, y_val, loss="logistic")
    assert check_hypergrad(problem, rule, [0.2, 0.1, -0.3, -0.5]) < 1e-6
    read = problem.read([0.0, 0.0, np.log(2.0), np.log(0.25)])
    assert read["class_weights"] == {-1.0: 1.0, 1.0: 2.0} and read["width"] == pytest.approx(0.25) and (read["strengths"] == 1).all()


def test_wrong_labels_lose_their_weight():
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(600, 10)), rng.normal(size=10)
    y = np.sign(X @ w + 0.3 * rng.normal(size=600))
    wrong = np.arange(300) < 100
    y[:300][wrong] *= -1
    problem = Problem(X[:300], y[:300], tuned=SampleWeights())
    result = hoag(problem, HeldOut(X[300:], y[300:]), tol=1e-2)
    s = problem.read(result.theta)["sample_weights"]
    assert result.value < hoag(Problem(X[:300], y[:300]), HeldOut(X[300:], y[300:])).value
    assert np.mean(s[wrong][:, None] < s[~wrong][None, :]) > 0.97


@pytest.mark.parametrize("tuned, loss, message", [
    (SampleWeights(groups=[0, 1]), "logistic", "groups must have one label a row"),
    (ClassWeights(), "squared", "ClassWeights needs a loss for classes"),
    (LossParameter("delta"), "logistic", "parameter 'delta' of loss 'logistic' cannot be tuned"),
    (Mixture(np.zeros(N, bool)), "logistic", "is_second must be a boolean for each of the 36 rows"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(tuned, loss, message):
    X, y = sparse_problem(loss, 2, N, P)
    with pytest.raises(ValueError, match=message):
        Problem(X, y, loss=loss, tuned=tuned)


def test_newton_refuses_them():
    X, y = sparse_problem("logistic", 2, N, P)
    with pytest.raises(ValueError, match="method 'newton' is for up to 16 hyperparameters of the penalty"):
        hoag(Problem(X, y, tuned=ClassWeights()), KFold(3), method="newton")
