"""Coordinates in which the Newton method takes the criterion for a parabola."""

import numpy as np
import pytest

import fasthoag
from fasthoag.hypergradient import Accuracy
from fasthoag.outer.coordinates import Shares, in_logs
from fasthoag.outer.rules import Box
from fasthoag.outer.start import measured

EXACT = Accuracy(1e-11, 1e-11, tangents=1e-11)


def orthogonal():
    """Least squares without intercept and with X'X diagonal: w of a feature depends on its own
    strength alone, and is linear in its share."""
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.normal(size=(60, 6)))[0] * np.geomspace(1, 30, 6)
    y, X_val = X @ np.linspace(-1, 1, 6) + rng.normal(size=60), 10 * rng.normal(size=(40, 6))
    y_val = X_val @ np.linspace(-1, 1, 6) + rng.normal(size=40)
    penalty = fasthoag.FeatureRidge()
    problem = fasthoag.Problem(X, y, loss="squared", penalty=penalty, fit_intercept=False)
    return measured(fasthoag.HeldOut(X_val, y_val).bind(problem)).bound


def evaluated(bound, theta):
    return bound.evaluate(theta, bound.inner.null.W, EXACT)


@pytest.mark.no_map("coefficients of features one by one")
@pytest.mark.parametrize("seed", range(4))
def test_in_shares_of_unrelated_features_the_criterion_is_a_parabola(seed):
    rng, bound = np.random.default_rng(seed), orthogonal()
    found, box = evaluated(bound, 3 * rng.normal(size=6)), Box(np.full(6, -25.0), np.full(6, 25.0))
    model = Shares(bound.inner)(found, found.hess, 0.0, box, 0.0)
    d = rng.uniform(model.lower, model.upper)
    there = evaluated(bound, found.theta + model.step(d))
    scale = abs(found.value) + abs(there.value)
    assert found.value - model.fall(d) == pytest.approx(there.value, abs=1e-8 * scale)
    np.testing.assert_allclose(model.grad_after(d), there.grad, atol=1e-7 * scale)


@pytest.mark.no_map("coefficients of features one by one")
def test_a_step_in_shares_ends_at_its_bounds():
    bound = orthogonal()
    found = evaluated(bound, np.array([-30.0, -5, 0, 1, 6, 30]))
    box = Box(np.full(6, -32.0), np.full(6, 33.0))
    model = Shares(bound.inner)(found, found.hess, 0.0, box, 0.0)
    for d, nearest in ((model.lower, box.lower), (model.upper, box.upper)):
        there = found.theta + model.step(d)
        assert ((there >= box.lower) & (there <= box.upper)).all()
        assert (np.abs(there - nearest) <= np.abs(found.theta - nearest)).all()
    assert not model.step(np.zeros(6)).any()
    assert in_logs(found, found.hess, 0.0, box, 0.0).step(model.lower) is model.lower


def test_strengths_come_back_from_the_wrong_end():
    """Twenty-four features, half of them noise. From where strengths are nothing, everything, or
    either at the wrong features, the same criterion is found."""
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(2000, 24)), np.r_[rng.normal(size=12), np.zeros(12)]
    y = np.sign(X @ w + 2 * rng.normal(size=2000))
    problem = fasthoag.Problem(X[:1000], y[:1000], penalty=fasthoag.FeatureRidge())
    judge, far = fasthoag.HeldOut(X[1000:], y[1000:]), np.repeat([8.0, -8.0], 12)
    ends = [
        fasthoag.hoag(problem, judge, 5.0 + start, w0=np.zeros((25, 1)))
        for start in (0 * far, far, -far, far - 8, far + 8)
    ]
    assert {end.status for end in ends} == {"converged"}
    w = ends[0].w[:, 0]
    losses = np.logaddexp(0, -y[1000:] * (X[1000:] @ w[:-1] + w[-1]))
    # each is within a hundredth of a standard error of a minimum, and they may be several
    assert np.ptp([end.value for end in ends]) < 0.02 * np.sqrt(1000) * losses.std()
    assert max(len(end.trace) for end in ends) <= 25
