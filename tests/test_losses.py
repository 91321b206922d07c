"""Every public loss: known values, derivatives against differences, extreme predictions."""

import numpy as np
import pytest
from scipy.special import expit, huber, xlogy
from support.designs import EPS, assert_near

from fasthoag import _core
from fasthoag.design import TRAIN
from fasthoag.design.cpu import CpuDesign
from fasthoag.losses import (
    COUNTS,
    LABELS,
    LOSSES,
    POSITIVE,
    REAL,
    derivative,
    find_loss,
    mix_losses,
)

# y, z, value, first, second and third derivative in z, worked out by hand. At z = log 3 the
# logistic function is 3/4.
LOG3 = np.log(3.0)
KNOWN = {
    "squared": [(1, 3, 2, 2, 1, 0), (-2, -2, 0, 0, 1, 0), (0.5, -1, 1.125, -1.5, 1, 0)],
    "logistic": [
        (1, 0, np.log(2), -1 / 2, 1 / 4, 0),
        (-1, 0, np.log(2), 1 / 2, 1 / 4, 0),
        (1, LOG3, np.log(4 / 3), -1 / 4, 3 / 16, -3 / 32),
        (-1, LOG3, np.log(4), 3 / 4, 3 / 16, -3 / 32),
        (1, -LOG3, np.log(4), -3 / 4, 3 / 16, 3 / 32),
        (-1, -LOG3, np.log(4 / 3), 1 / 4, 3 / 16, 3 / 32),
    ],
    "squared_hinge": [
        (1, 0, 1, -2, 2, 0),
        (-1, 1, 4, 4, 2, 0),
        (1, 2, 0, 0, 0, 0),
        (-1, -3, 0, 0, 0, 0),
        (1, 0.5, 0.25, -1, 2, 0),
    ],
    "smoothed_hinge": [
        (1, 1, 0.5 * np.log(2), -1 / 2, 1 / 2, 0),
        (-1, -1 - LOG3 / 2, 0.5 * np.log(4 / 3), 1 / 4, 3 / 8, 3 / 8),
    ],
    "huber": [
        (1, 2, 0.5, 1, 1, 0),
        (0, 3, 1.35 * 3 - 1.35**2 / 2, 1.35, 0, 0),
        (1, -4, 1.35 * 5 - 1.35**2 / 2, -1.35, 0, 0),
    ],
    "squared_epsilon_insensitive": [
        (1, 2.1, 1, 2, 2, 0),
        (1, -0.1, 1, -2, 2, 0),
        (1, 1.05, 0, 0, 0, 0),
    ],
    "quantile": [
        (0, 0, 0.1 * np.log(2), 0, 2.5, 0),
        (1, 1 + 0.1 * LOG3, -0.05 * LOG3 + 0.1 * np.log(4), 0.25, 30 / 16, -300 / 32),
    ],
    "poisson": [
        (2, 0, 2 * np.log(2) - 1, -1, 1, 1),
        (0, LOG3, 3, 3, 3, 3),
        (1, -LOG3, LOG3 - 2 / 3, -2 / 3, 1 / 3, 1 / 3),
    ],
    "gamma": [
        (2, 0, 1 - np.log(2), -1, 2, -2),
        (3, LOG3, 0, 0, 1, -1),
        (1, -LOG3, 2 - LOG3, -2, 3, -3),
    ],
    "tweedie": [(0, 0, 2, 1, 0.5, 0.25), (1, 0, 0, 0, 1, 0), (9, 2 * LOG3, 0, 0, 3, 0)],
}

# losses that parameters or mixing make, tested as those of the list
VARIANTS = {
    "logistic smoothing": find_loss("logistic", smoothing=0.3),
    "logistic+squared_hinge": mix_losses("logistic", "squared_hinge", 0.3),
    "huber+quantile": mix_losses("huber", "quantile", 0.6),
    "poisson+gamma": mix_losses("poisson", "gamma", 0.25),
}
ALL = {name: find_loss(name) for name in LOSSES} | VARIANTS

# the same by another library, for predictions of every size: name -> (order, y, z) -> array
REFERENCE = {
    "squared": lambda order, y, z: [0.5 * (z - y) ** 2, z - y, np.ones_like(z), np.zeros_like(z)][
        order
    ],
    "logistic": lambda order, y, z: [
        np.logaddexp(0, -y * z),
        -y * expit(-y * z),
        expit(z) * expit(-z),
        -expit(z) * expit(-z) * np.tanh(z / 2),
    ][order],
    "squared_hinge": lambda order, y, z: [
        np.maximum(1 - y * z, 0) ** 2,
        -2 * y * np.maximum(1 - y * z, 0),
        2.0 * (y * z < 1),
        0 * z,
    ][order],
    "smoothed_hinge": lambda order, y, z: [
        0.5 * np.logaddexp(0, (1 - y * z) / 0.5),
        -y * expit((1 - y * z) / 0.5),
        2 * expit((1 - y * z) / 0.5) * expit((y * z - 1) / 0.5),
        4 * y * expit((1 - y * z) / 0.5) * expit((y * z - 1) / 0.5) * np.tanh(1 - y * z),
    ][order],
    "huber": lambda order, y, z: [
        huber(1.35, z - y),
        np.clip(z - y, -1.35, 1.35),
        1.0 * (np.abs(z - y) <= 1.35),
        0 * z,
    ][order],
    "squared_epsilon_insensitive": lambda order, y, z: [
        np.maximum(np.abs(z - y) - 0.1, 0) ** 2,
        2 * np.sign(z - y) * np.maximum(np.abs(z - y) - 0.1, 0),
        2.0 * (np.abs(z - y) > 0.1),
        0 * z,
    ][order],
    "quantile": lambda order, y, z: [
        0.5 * (y - z) + 0.1 * np.logaddexp(0, (z - y) / 0.1),
        expit((z - y) / 0.1) - 0.5,
        expit((z - y) / 0.1) * expit((y - z) / 0.1) / 0.1,
        -expit((z - y) / 0.1) * expit((y - z) / 0.1) * np.tanh((z - y) / 0.2) / 0.01,
    ][order],
    "poisson": lambda order, y, z: [
        np.exp(z) - y * z + xlogy(y, y) - y,
        np.exp(z) - y,
        np.exp(z),
        np.exp(z),
    ][order],
    "gamma": lambda order, y, z: [
        z + y * np.exp(-z) - np.log(y) - 1,
        1 - y * np.exp(-z),
        y * np.exp(-z),
        -y * np.exp(-z),
    ][order],
    "tweedie": lambda order, y, z: [
        2 * np.exp(z / 2) + 2 * y * np.exp(-z / 2) - 4 * np.sqrt(y),
        np.exp(z / 2) - y * np.exp(-z / 2),
        0.5 * np.exp(z / 2) + 0.5 * y * np.exp(-z / 2),
        0.25 * np.exp(z / 2) - 0.25 * y * np.exp(-z / 2),
    ][order],
}
EXTREME = np.array(
    [
        0.0,
        -0.0,
        1e-300,
        -1e-300,
        5e-324,
        1e-16,
        -1e-16,
        1e-8,
        0.5,
        -0.5,
        30,
        -30,
        36.8,
        -36.8,
        600,
        -600,
        708,
        -708,
        745,
        -745,
        800,
        -800,
        1e10,
        -1e10,
        1e100,
        -1e100,
    ]
)


# Below the smallest normal number nothing is promised; the third derivative changes sign, where 1 -
# e has an error of eps, not of eps times itself.
ABSOLUTE = (1e-307, 1e-307, 1e-307, 2 * EPS)


def two_targets(loss):
    return {
        LABELS: (-1.0, 1.0),
        REAL: (-1.7, 0.0, 2.5),
        COUNTS: (0.0, 1.0, 3.0),
        POSITIVE: (0.5, 4.0),
    }[ALL[loss].domain]


def parts(loss):
    """The names of the losses of a mix, else its own."""
    return loss.split("+")


def reference(loss, order, y, z):
    if loss == "logistic smoothing":
        return REFERENCE["logistic"](order, y, z) + 0.15 * [y * z, y, 0 * z, 0 * z][order]
    values, weight = (
        [REFERENCE[part](order, y, z) for part in parts(loss)],
        (ALL[loss].parameters or {}).get("weight"),
    )
    return weight * values[0] + (1 - weight) * values[1] if len(values) == 2 else values[0]


def extreme(loss):
    """Predictions that only a loss with a log link cannot bear."""
    largest = (
        300
        if {"poisson", "gamma", "tweedie"} & {*parts(loss)}
        else 1e300
        if loss == "quantile"
        else 1e100
    )
    return EXTREME[np.abs(EXTREME) < largest]


def absolute(loss, order):
    """Where terms cancel, rounding is that of the terms."""
    return (
        ABSOLUTE[order]
        if loss in ("squared", "logistic")
        else 1e-13 * (100 if "quantile" in parts(loss) else 1)
    )


def is_smooth_near(loss, y, z, h):
    """No kink within 4 h; of losses with kinks the second derivative is constant between them."""
    around = [
        [derivative(part, 2, y, z + k * h / 2) for k in range(-8, 9)]
        for part in parts(loss)
        if part in LOSSES and LOSSES[part].has_kinks
    ]
    return np.all([np.ptp(values, axis=0) == 0 for values in around], axis=0) if around else z == z


def test_every_public_loss_has_known_values_and_a_reference():
    assert set(KNOWN) == set(REFERENCE) == set(LOSSES)


def test_losses_of_the_kernels_are_those_of_python():
    assert sorted(_core.loss_names()) == sorted(LOSSES)
    assert all(name == loss.name for name, loss in LOSSES.items())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("order", range(4))
def test_known_values(loss, order):
    rows = np.array(KNOWN[loss], float)
    np.testing.assert_allclose(
        derivative(loss, order, rows[:, 0], rows[:, 1]),
        rows[:, 2 + order],
        rtol=4 * EPS,
        atol=4 * EPS,
    )


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivative_is_the_difference_quotient_of_the_one_below(loss, order):
    z, h = (
        np.linspace(-9.5, 9.5, 77),
        min({"quantile": 0.003, "smoothed_hinge": 0.01}.get(part, 0.03) for part in parts(loss)),
    )
    for y in two_targets(loss):
        y, is_smooth = np.full_like(z, y), is_smooth_near(loss, np.full_like(z, y), z, h)
        found = ALL[loss]
        below = [
            derivative(found, order - 1, y, z + k * h) - derivative(found, order - 1, y, z - k * h)
            for k in (1, 2, 3, 4)
        ]
        # error h^8 f^(9) / 630 < 1e-13
        quotient = (
            4 / 5 * below[0] - 1 / 5 * below[1] + 4 / 105 * below[2] - 1 / 280 * below[3]
        ) / h
        scale = np.abs(derivative(found, order - 1, y, z)).max() / h
        assert is_smooth.sum() > 30
        np.testing.assert_allclose(
            derivative(found, order, y, z)[is_smooth],
            quotient[is_smooth],
            rtol=0,
            atol=1e-12 * (1 + scale),
        )


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("order", range(4))
def test_extreme_predictions_are_finite_and_right(loss, order):
    for y in two_targets(loss):
        z = extreme(loss)
        y = np.full_like(z, y)
        result = derivative(ALL[loss], order, y, z)
        assert np.isfinite(result).all()
        np.testing.assert_allclose(
            result, reference(loss, order, y, z), rtol=600 * EPS, atol=absolute(loss, order)
        )


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("order", range(4))
def test_random_predictions_match_the_reference_for_every_length_of_the_vector_loop(loss, order):
    rng = np.random.default_rng(order)
    for n in (1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 257, 1000):
        y, z = rng.choice(two_targets(loss), n), rng.normal(size=n) * rng.choice([0.1, 1, 30], n)
        np.testing.assert_allclose(
            derivative(ALL[loss], order, y, z),
            reference(loss, order, y, z),
            rtol=600 * EPS,
            atol=absolute(loss, order),
        )


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("order", range(4))
def test_nan_in_gives_nan_out(loss, order):
    y = two_targets(loss)[-1]
    result = derivative(ALL[loss], order, np.full(9, y), np.array([np.nan] * 8 + [0.0]))
    assert np.isnan(result[:8]).all()
    assert np.isfinite(result[8])


@pytest.mark.parametrize("loss", ALL)
def test_value_and_slope_of_a_pass_are_those_of_the_derivatives(loss):
    rng = np.random.default_rng(0)
    z = np.r_[extreme(loss)[np.abs(extreme(loss)) < 1e50], rng.normal(size=30)]
    y = rng.choice(two_targets(loss), len(z))
    design = CpuDesign(np.eye(len(z)), n_threads=1)
    for i, one in enumerate(np.eye(len(z))):
        found = design.place(y, one, offset=z).loss_grad(ALL[loss], design.zeros(1))
        value, slope = (derivative(ALL[loss], k, y[i : i + 1], z[i : i + 1]) for k in (0, 1))
        grad = design.coefficients.pull(slope * one)[:, None]
        np.testing.assert_allclose(found.value, value, rtol=16 * EPS, atol=1e-307)
        np.testing.assert_allclose(found.grad, grad, rtol=16 * EPS, atol=1e-307)


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("n_rows", [1, 255, 256, 257, 20000])
def test_terms_weigh_the_rows_of_their_part_only(loss, order, n_rows):
    rng = np.random.default_rng(n_rows)
    y, Z = rng.choice(two_targets(loss), n_rows), rng.normal(size=(n_rows, 3))
    mask, weight = rng.integers(0, 4, (n_rows, 2)).astype(np.uint8), rng.random(n_rows)
    expected = (
        np.column_stack([derivative(ALL[loss], order, y, z) for z in Z.T])
        * weight[:, None]
        * (mask[:, [0, 1, 0]] & TRAIN > 0)
    )
    rows = CpuDesign(np.ones((n_rows, 1)), n_threads=2).place(y, weight, mask)
    assert_near(rows.terms(ALL[loss], order, TRAIN, Z), expected, factor=16)
    if order == 0:
        assert_near(rows.sums(ALL[loss], TRAIN, Z), expected.sum(0))


def test_unknown_loss_is_refused_with_the_list():
    with pytest.raises(
        ValueError, match="loss must be one of 'gamma', 'huber', .*; got 'logistik'"
    ):
        find_loss("logistik")
    with pytest.raises(ValueError, match="logistik"):
        _core.Loss("logistik", 0.0, 0.0)


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if loss.is_classification])
@pytest.mark.parametrize("labels", [[0, 1], [1, 2], [-1, 0.5, 1], [3, 3]])
def test_classification_loss_refuses_other_labels_and_names_them(loss, labels):
    with pytest.raises(ValueError, match=r"labels must contain only -1 and \+1 for loss '" + loss):
        LOSSES[loss].check_y(np.array(labels, float), "labels")


@pytest.mark.parametrize(
    ("name", "parameters", "y", "z", "value"),
    [
        ("huber", {"delta": 2.0}, 0, 3, 4),
        ("smoothed_hinge", {"width": 2.0}, 1, 1, 2 * np.log(2)),
        ("quantile", {"quantile": 0.9, "smoothing": 1.0}, 0, 0, np.log(2)),
        ("tweedie", {"power": 1.2}, 0, 0, 1 / 0.8),
        ("squared_epsilon_insensitive", {"epsilon": 1.0}, 0, 3, 4),
        ("logistic", {"smoothing": 0.5}, -1, LOG3, np.log(4) - 0.25 * LOG3),
    ],
)
def test_parameters_change_the_loss(name, parameters, y, z, value):
    loss = find_loss(name, **parameters)
    assert derivative(loss, 0, np.array([y]), np.array([z])) == pytest.approx(value)
    assert find_loss(find_loss(name), **parameters).parameters == loss.parameters


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        (
            "huber",
            {"delta": -1},
            "delta of loss 'huber' must be a number between 0 and inf; got -1",
        ),
        ("logistic", {"delta": 1}, "loss 'logistic' has no parameter 'delta'"),
        ("tweedie", {"power": 3}, "power of loss 'tweedie'"),
        ("quantile", {"smoothing": 0}, "smoothing"),
        (
            "logistic",
            {"smoothing": 1},
            "smoothing of loss 'logistic' must be a number between 0 and 1; got 1",
        ),
        (
            "multinomial",
            {"smoothing": -0.1},
            "smoothing of loss 'multinomial' must be a number between 0 and 1; got -0.1",
        ),
        (
            "multinomial",
            {"n_classes": 1},
            "n_classes of loss 'multinomial' must be a whole number >= 2; got 1",
        ),
        (
            "multinomial",
            {"delta": 1},
            "loss 'multinomial' has no parameter 'delta'; it has smoothing",
        ),
    ],
)
def test_bad_parameters_are_refused(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        find_loss(name, **parameters)


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("poisson", [1.0, -2.0], "y must contain numbers >= 0 for loss 'poisson'; found -2"),
        ("gamma", [0.0, 1.0], "y must contain numbers > 0 for loss 'gamma'; found 0"),
    ],
)
def test_targets_outside_the_domain_are_refused(name, y, message):
    with pytest.raises(ValueError, match=message):
        find_loss(name).check_y(np.array(y))
