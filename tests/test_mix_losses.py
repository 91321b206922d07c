"""Mixes of two losses: values of their parts, the same in every design, flags, pickles, derivatives
of higher order, and what is refused."""

import copy
import math
import pickle

import numpy as np
import pytest
from support.designs import DESIGNS, assert_near
from support.problems import sparse_problem

from fasthoag import HeldOut, KFold, Problem, custom_loss, find_loss, hoag, mix_losses
from fasthoag.design import TRAIN, to_host
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import COUNTS, LABELS, LOSSES, POSITIVE, REAL, derivative
from fasthoag.problem import refit

N, P = 60, 6


def log_cosh(y, z):
    r = abs(z - y)
    return r + math.log1p(math.exp(-2 * r)) - math.log(2)


def log_cosh_d1(y, z):
    return math.tanh(z - y)


def log_cosh_d2(y, z):
    return 1 - math.tanh(z - y) ** 2


def custom(**options):
    cuda = (
        "fabs(z - y) + log1p(exp(-2 * fabs(z - y))) - log(2.0)",
        "tanh(z - y)",
        "1 - tanh(z - y) * tanh(z - y)",
        "-2 * tanh(z - y) * (1 - tanh(z - y) * tanh(z - y))",
    )
    return custom_loss(log_cosh, log_cosh_d1, log_cosh_d2, name="log_cosh", cuda=cuda, **options)


PAIRS = {
    "labels": ("logistic", "squared_hinge"),
    "numbers": ("squared", "huber"),
    "parameters": (
        find_loss("huber", delta=0.5),
        find_loss("quantile", quantile=0.2, smoothing=0.3),
    ),
    "log link": ("gamma", "poisson"),
    "custom": ("huber", custom()),
}


def data(pair, seed=0):
    return sparse_problem(find_loss(PAIRS[pair][0]).name, seed, N, P)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_pass_is_the_weighted_mean_of_those_of_its_parts(pair, name):
    X, y = data(pair)
    X = 0.3 * X
    rng, losses = np.random.default_rng(1), (*PAIRS[pair], mix_losses(*PAIRS[pair], 0.3))
    design = DESIGNS[name](X.tocsr())
    rows = design.place(y, rng.random(N), rng.integers(0, 4, (N, 2)).astype(np.uint8))
    W = design.encode(rng.normal(size=(P, 3)))
    found = [rows.loss_grad(loss, W) for loss in losses]
    for field in ("value", "other", "grad"):
        first, second, mine = (to_host(getattr(one, field)) for one in found)
        assert_near(mine, 0.3 * first + 0.7 * second)
    Z = found[0].Z
    np.testing.assert_array_equal(to_host(found[2].Z), to_host(Z))
    for order in range(4):
        first, second, mine = (to_host(rows.terms(loss, order, TRAIN, Z)) for loss in losses)
        assert_near(mine, 0.3 * first + 0.7 * second)


@pytest.mark.parametrize("pair", PAIRS)
def test_with_all_the_weight_it_is_one_of_its_parts_to_the_bit(pair):
    X, y = data(pair)
    design = DESIGNS["cpu sparse"](X)
    rows, W = design.place(y), np.random.default_rng(1).normal(size=(design.n_coef, 1))
    for weight, part in ((1, PAIRS[pair][0]), (0, PAIRS[pair][1])):
        whole, one = (rows.loss_grad(loss, W) for loss in (mix_losses(*PAIRS[pair], weight), part))
        for field in ("value", "other", "grad", "Z"):
            np.testing.assert_array_equal(getattr(whole, field), getattr(one, field))


def test_least_squares_beside_a_huber_loss_without_corners_is_ridge():
    X, y = data("numbers")
    loss, A = mix_losses("squared", find_loss("huber", delta=1e6), 0.4), X.toarray()
    w = refit(Problem(X, y, loss=loss, fit_intercept=False), [0.5], tol=1e-12)[0]
    np.testing.assert_allclose(
        w, np.linalg.solve(A.T @ A + np.exp(0.5) * np.eye(P), A.T @ y), rtol=1e-9, atol=1e-14
    )


def test_tuning_with_two_of_the_same_is_tuning_with_one():
    X, y = data("labels")
    one, two = (
        hoag(Problem(X, y, loss=loss), KFold(3))
        for loss in ("logistic", mix_losses("logistic", "logistic", 0.3))
    )
    np.testing.assert_allclose(two.theta, one.theta, rtol=0, atol=1e-6)
    assert two.value == pytest.approx(one.value, rel=1e-9)


def test_two_runs_give_the_same_bits_on_two_threads():
    X, y = sparse_problem("logistic", 0, 6000, 40)
    problem = Problem(X, y, loss=mix_losses("logistic", "squared_hinge"))
    first, second = (hoag(problem, KFold(3), n_threads=2) for _ in range(2))
    np.testing.assert_array_equal(first.theta, second.theta)
    np.testing.assert_array_equal(first.w, second.w)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("logistic", "squared_hinge"),
        ("logistic", "smoothed_hinge"),
        ("squared", "huber"),
        ("squared", "squared"),
    ],
)
def test_flags_follow_from_both(a, b):
    loss, parts = mix_losses(a, b), (LOSSES[a], LOSSES[b])
    assert loss.name == f"{a}+{b}"
    assert loss.parameters == {"weight": 0.5}
    assert loss.n_classes == 1
    assert loss.is_classification == parts[0].is_classification
    assert loss.has_kinks == any(part.has_kinks for part in parts)
    assert loss.is_quadratic == all(part.is_quadratic for part in parts)
    assert loss.has_third == (a == "logistic")


@pytest.mark.parametrize(
    ("a", "b", "domain"),
    [
        ("logistic", "squared_hinge", LABELS),
        ("squared", "huber", REAL),
        ("huber", "poisson", COUNTS),
        ("poisson", "gamma", POSITIVE),
        ("gamma", "squared", POSITIVE),
        ("tweedie", "poisson", COUNTS),
    ],
)
def test_targets_must_suit_both(a, b, domain):
    assert mix_losses(a, b).domain == mix_losses(b, a).domain == domain


def is_below_nine(y):
    return y < 9


def test_domains_of_custom_losses_are_joined():
    own = custom(domain=("numbers < 9", is_below_nine))
    assert mix_losses("squared", own).domain == mix_losses(own, "squared").domain == own.domain
    loss = mix_losses("poisson", own)
    for loaded in (loss, pickle.loads(pickle.dumps(loss))):
        for bad in (-1.0, 10.0):
            with pytest.raises(
                ValueError,
                match=rf"numbers >= 0 and numbers < 9 for loss 'poisson\+log_cosh'; found {bad:g}",
            ):
                loaded.check_y(np.array([1.0, bad]))


@pytest.mark.parametrize("pair", PAIRS)
def test_pickles_and_copies(pair):
    loss = mix_losses(*PAIRS[pair], 0.3)
    y, z = data(pair)[1], np.random.default_rng(0).normal(size=N)
    for other in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), copy.copy(loss)):
        assert other.name == loss.name
        assert other.parameters == loss.parameters
        other.check_y(y)
        for order in range(4):
            np.testing.assert_array_equal(
                derivative(other, order, y, z), derivative(loss, order, y, z)
            )


@pytest.mark.parametrize("criterion", ["held_out", "k_fold"])
def test_outer_hessian_has_the_third_derivative_of_the_smooth_part(criterion):
    """With kinks beside it, which the steps here do not meet."""
    X, y = data("labels")
    problem = Problem(X, y, loss=mix_losses("logistic", "squared_hinge", 0.95))
    bound, h = (
        (HeldOut(*data("labels", 1)) if criterion == "held_out" else KFold(3)).bind(problem),
        1e-5,
    )
    zero = problem.design.zeros(bound.n_folds)
    at, up, down = (
        bound.evaluate(np.array([0.4 + d]), zero, Accuracy(1e-13, 1e-13)) for d in (0, h, -h)
    )
    assert at.hess[0, 0] == pytest.approx((up.grad[0] - down.grad[0]) / (2 * h), rel=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (
            "logistic",
            "squared",
            {},
            "a and b must be losses for the same kind of targets; 'logistic' is for labels -1 and "
            ".1, 'squared' for numbers",
        ),
        ("squared", "logistic", {}, "'logistic' is for labels -1 and .1, 'squared' for numbers"),
        ("logistik", "squared", {}, "a: loss must be one of .*; got 'logistik'"),
        ("squared", None, {}, "b: loss must be one of .*; got None"),
        (
            "multinomial",
            "logistic",
            {},
            "a must be a loss of one output that is no mix itself; got 'multinomial'",
        ),
        (
            "logistic",
            mix_losses("logistic", "squared_hinge"),
            {},
            "b must be a loss of one output .* got 'logistic.squared_hinge'",
        ),
        (
            "squared",
            "huber",
            {"weight": 1.1},
            "weight of loss 'squared.huber' must be a number between 0 and 1; got 1.1",
        ),
        ("squared", "huber", {"weight": -0.1}, "weight of loss .* got -0.1"),
        ("squared", "huber", {"weight": "half"}, "weight of loss .* got 'half'"),
        ("squared", "huber", {"weight": np.nan}, "weight of loss .* got nan"),
    ],
)
def test_what_does_not_mix_is_refused(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        mix_losses(a, b, **options)


def test_targets_outside_the_common_domain_are_refused():
    with pytest.raises(
        ValueError, match=r"y must contain numbers > 0 for loss 'squared\+gamma'; found 0"
    ):
        Problem(np.eye(2), [0.0, 1.0], loss=mix_losses("squared", "gamma"))


def test_find_loss_changes_the_weight_and_nothing_else():
    loss = mix_losses(find_loss("huber", delta=3.0), "squared", 0.2)
    other = find_loss(loss, weight=0.6)
    assert other.parameters == {"weight": 0.6}
    assert other.mixed == loss.mixed
    assert loss.parameters == {"weight": 0.2}
    with pytest.raises(
        ValueError, match=r"loss 'huber\+squared' has no parameter 'delta'; it has weight"
    ):
        find_loss(loss, delta=1.0)
