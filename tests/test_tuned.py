"""Hyperparameters outside the penalty: hypergradients against differences, alone and together, and
what is refused."""

import numpy as np
import pytest
from support.problems import sparse_problem

from fasthoag import (
    AIC,
    ClassWeights,
    FeatureRidge,
    HeldOut,
    KFold,
    LossParameter,
    MixingWeight,
    Mixture,
    Problem,
    SampleWeights,
    check_hypergrad,
    find_loss,
    hoag,
    mix_losses,
)
from fasthoag.losses import LOSSES
from fasthoag.tuned import KNOWN, TUNED

N, P = 36, 6
EXAMPLES = {
    "sample_weights": [
        SampleWeights(),
        SampleWeights("exp"),
        SampleWeights("exp", np.arange(N) % 4),
    ],
    "class_weights": [ClassWeights()],
    "mixture": [Mixture(np.arange(N) % 3 == 0)],
    "loss_parameter": [
        LossParameter(parameter) for parameter in dict.fromkeys(parameter for _, parameter in KNOWN)
    ],
    "mixing_weight": [MixingWeight()],
}
ALL = {name: find_loss(name) for name in LOSSES} | {
    "multinomial": find_loss("multinomial", n_classes=3),
    "logistic smoothing": find_loss("logistic", smoothing=0.2),
    "multinomial smoothing": find_loss("multinomial", n_classes=3, smoothing=0.2),
    "logistic+squared_hinge": mix_losses("logistic", "squared_hinge", 0.3),
    "logistic+smoothed_hinge": mix_losses("logistic", "smoothed_hinge", 0.7),
    "squared+huber": mix_losses("squared", "huber", 0.6),
    "gamma+poisson": mix_losses("gamma", "poisson", 0.4),
}


def fits(tuned, loss):
    return (
        not (isinstance(tuned, ClassWeights) and not ALL[loss].is_classification)
        and not (
            isinstance(tuned, LossParameter) and (ALL[loss].name, tuned.parameter) not in KNOWN
        )
        and not (isinstance(tuned, MixingWeight) and ALL[loss].mixed is None)
    )


def data(loss, seed):
    """Rows for a loss of ALL; three classes by the terciles of a number."""
    X, y = sparse_problem(
        "squared" if "multinomial" in loss else loss.split("+")[0].split()[0], seed, N, P
    )
    return X, np.digitize(y, np.quantile(y, [1 / 3, 2 / 3])).astype(
        float
    ) if "multinomial" in loss else y


CASES = [
    pytest.param(tuned, loss, id=f"{name} {k} {loss}")
    for name, examples in EXAMPLES.items()
    for k, tuned in enumerate(examples)
    for loss in ALL
    if fits(tuned, loss)
]


def test_every_public_kind_has_examples():
    assert set(EXAMPLES) == set(TUNED)


@pytest.mark.parametrize(("tuned", "loss"), CASES)
@pytest.mark.parametrize("criterion", ["held_out", "k_fold"])
def test_hypergradient_is_the_difference_quotient(tuned, loss, criterion):
    (X, y), (X_val, y_val), fixed = data(loss, 2), data(loss, 3), ALL[loss]
    problem = Problem(
        X,
        y,
        loss=fixed,
        penalty=FeatureRidge(),
        tuned=[tuned],
        sample_weight=np.linspace(0.5, 2, N),
    )
    rule = (
        HeldOut(X_val, y_val, loss=fixed)
        if criterion == "held_out"
        else KFold(
            [
                (np.flatnonzero(np.arange(N) % 3 != k), np.flatnonzero(np.arange(N) % 3 == k))
                for k in range(3)
            ],
            loss=fixed,
        )
    )
    theta = problem.inner().start(0.3)
    theta += 0.2 * np.random.default_rng(0).normal(size=len(theta))
    errors = [
        check_hypergrad(problem, rule, theta, step=step)
        for step in ((1e-4, 1e-5, 1e-6) if fixed.has_kinks else (1e-4,))
    ]
    assert min(errors) < (1e-5 if fixed.has_kinks else 1e-6)


def test_several_kinds_in_one_theta():
    X, y = sparse_problem("smoothed_hinge", 2, N, P)
    X_val, y_val = sparse_problem("smoothed_hinge", 3, N, P)
    problem = Problem(X, y, loss="smoothed_hinge", tuned=[ClassWeights(), LossParameter("width")])
    assert problem.n_hyper == 1 + 2 + 1
    rule = HeldOut(X_val, y_val, loss="logistic")
    assert check_hypergrad(problem, rule, [0.2, 0.1, -0.3, -0.5]) < 1e-6
    read = problem.read([0.0, 0.0, np.log(2.0), np.log(0.25)])
    assert read["class_weights"] == {-1.0: 1.0, 1.0: 2.0}
    assert read["width"] == pytest.approx(0.25)
    assert (read["strengths"] == 1).all()


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


@pytest.mark.parametrize(
    ("tuned", "loss", "message"),
    [
        (SampleWeights(groups=[0, 1]), "logistic", "groups must have one label a row"),
        (ClassWeights(), "squared", "ClassWeights needs a loss for classes"),
        (
            LossParameter("delta"),
            "logistic",
            "parameter 'delta' of loss 'logistic' cannot be tuned",
        ),
        (
            Mixture(np.zeros(N, bool)),
            "logistic",
            "is_second must be a boolean for each of the 36 rows",
        ),
        (
            MixingWeight(),
            "logistic",
            "MixingWeight needs a loss made by mix_losses; got loss 'logistic'",
        ),
        (
            LossParameter("delta", low="a"),
            "huber",
            r"low of LossParameter\(.delta.\) must be a number; got .a.",
        ),
        (
            LossParameter("smoothing", low=0.0),
            "logistic",
            r"low and high of LossParameter\('smoothing'\) must satisfy 0 < low < high < 1; "
            "got 0 and 0.9",
        ),
        (LossParameter("smoothing", high=1), "logistic", "< 1; got 0.0001 and 1"),
        (
            LossParameter("width", low=2, high=1),
            "smoothed_hinge",
            "0 < low < high < inf; got 2 and 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tuned, loss, message):
    X, y = sparse_problem(loss, 2, N, P)
    with pytest.raises(ValueError, match=message):
        Problem(X, y, loss=loss, tuned=tuned)


def test_newton_refuses_them():
    X, y = sparse_problem("logistic", 2, N, P)
    with pytest.raises(
        ValueError, match="method 'newton' is for up to 16 hyperparameters of the penalty"
    ):
        hoag(Problem(X, y, tuned=ClassWeights()), KFold(3), method="newton")


def test_a_criterion_that_follows_the_training_loss_refuses_a_mixing_weight():
    X, y = sparse_problem("logistic", 2, N, P)
    with pytest.raises(ValueError, match="AIC needs .* hyperparameters of the penalty only"):
        hoag(
            Problem(X, y, loss=mix_losses("logistic", "smoothed_hinge"), tuned=MixingWeight()),
            AIC(),
        )


@pytest.mark.parametrize(("weight", "start"), [(0.0, 0.05), (0.3, 0.3), (1.0, 0.95)])
def test_mixing_weight_starts_at_that_of_the_mix_which_the_criterion_keeps(weight, start):
    X, y = data("logistic", 2)
    problem = Problem(
        X, y, loss=mix_losses("logistic", "squared_hinge", weight), tuned=MixingWeight()
    )
    theta = problem.inner().start(0.0)
    assert problem.read(theta)["mixing_weight"] == pytest.approx(start)
    bound = KFold(3).bind(problem).at(theta + 1.0)
    assert bound.loss.parameters == {"weight": weight}
    assert bound.inner.loss.parameters["weight"] == pytest.approx(
        1 / (1 + np.exp(-1.0) * (1 / start - 1))
    )


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
@pytest.mark.parametrize(("smoothing", "start"), [(0.0, 0.05), (0.2, 0.2)])
def test_smoothing_starts_at_that_of_the_loss_and_the_criterion_has_none(loss, smoothing, start):
    X, y = data(loss, 2)
    problem = Problem(
        X, y, loss=find_loss(loss, smoothing=smoothing), tuned=LossParameter("smoothing")
    )
    theta = problem.inner().start(0.0)
    bound = KFold(3).bind(problem).at(theta)
    assert (
        problem.read(theta)["smoothing"]
        == pytest.approx(start)
        == bound.inner.loss.parameters["smoothing"]
    )
    assert bound.loss.parameters["smoothing"] == 0
    assert bound.loss.n_classes == problem.loss.n_classes
    assert check_hypergrad(problem, KFold(3), theta) < 1e-6


@pytest.mark.parametrize(
    ("loss", "tuned"),
    [
        ("logistic", LossParameter("smoothing")),
        ("multinomial", LossParameter("smoothing")),
        ("logistic+smoothed_hinge", MixingWeight()),
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_tuning_of_the_loss_ends_below_its_start(loss, tuned):
    X, y = data(loss, 2)
    one = hoag(Problem(X, y, loss=ALL[loss]), KFold(3))
    problem = Problem(X, y, loss=ALL[loss], tuned=tuned)
    result = hoag(problem, KFold(3))
    assert result.status in ("converged", "at_bound")
    assert result.value <= one.value + one.value_error + result.value_error + 1e-3 * one.value
