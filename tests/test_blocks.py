"""Rows in blocks, whose handles nobody can do arithmetic on, give what rows in one piece give."""

import numpy as np
import pytest
from support.blocks import BlockDesign, Handle
from support.designs import FEW_LOSSES
from support.problems import sparse_problem

from fasthoag import (
    HeldOut,
    KFold,
    Problem,
    find_loss,
    hoag,
    mix_losses,
)
from fasthoag.criteria import CRITERIA, inverses
from fasthoag.design.reference import ReferenceDesign
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES, MULTINOMIAL
from fasthoag.tuned import TUNED

EXACT = Accuracy(1e-12, 1e-12)
N_ROWS, N_FEATURES = 60, 8


def criteria(name, X, y):
    """The criterion of this name on these data."""
    if name == "held_out":
        return HeldOut(X[::2], y[::2])
    if name == "k_fold":
        return KFold([(np.arange(N_ROWS) % 3 != f, np.arange(N_ROWS) % 3 == f) for f in range(3)])
    if name == "custom":
        return CRITERIA[name](X[::2], lambda z: (0.5 * float(z @ z), z))
    return CRITERIA[name]()


def evaluations(loss, name, data=None, **settings):
    """What one design says and the other, at the same θ; `data` is the loss that they are for."""
    data = data or ("squared" if loss == MULTINOMIAL.name else loss)
    X, y = sparse_problem(data, 3, N_ROWS, N_FEATURES)
    if loss == MULTINOMIAL.name:
        y, loss = np.digitize(y, np.quantile(y, [0.3, 0.7])).astype(float), find_loss(loss)
    found = []
    for make in (ReferenceDesign, BlockDesign):
        design = make(X, fit_intercept=True)
        problem = Problem(design, y, loss=loss, **settings)
        bound = criteria(name, X, y).bind(problem)
        theta, W = 0.1 + bound.inner.start(0.5), design.zeros(bound.inner.units.n_columns)
        found.append(bound.evaluate(theta, W, EXACT, has_tangents=not problem.tuned))
    return found


def assert_equal(one, other):
    assert other.value == pytest.approx(one.value, rel=1e-10)
    np.testing.assert_allclose(other.grad, one.grad, atol=1e-8 * max(1, np.abs(one.grad).max()))
    np.testing.assert_allclose(other.W, one.W, atol=1e-8 * np.abs(one.W).max())


@pytest.mark.parametrize("loss", [*LOSSES, MULTINOMIAL.name])
@pytest.mark.parametrize("name", ["held_out", "k_fold"])
def test_every_loss(loss, name):
    assert_equal(*evaluations(loss, name))


@pytest.mark.parametrize("loss", FEW_LOSSES)
@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("way", ["usual", "gram", "probes"])
def test_every_criterion(loss, name, way, monkeypatch):
    """Signs of probes belong to rows by their number, so that the same ones are in every cut."""
    if name == "gcv" and loss != "squared":
        pytest.skip("generalised cross-validation is for least squares")
    if way == "probes" and name == "evidence":
        pytest.skip("the evidence has no probes")
    if way != "usual":
        monkeypatch.setattr(inverses, "FEW_COEFFICIENTS", 0)
        monkeypatch.setattr(inverses, "FEW_ROWS", 1000 if way == "gram" else 0)
        monkeypatch.setattr(inverses, "MOST_DENSE", 0)
    assert_equal(*evaluations(loss, name))


@pytest.mark.parametrize("kind", TUNED)
def test_every_kind_of_tuned_hyperparameter(kind):
    args = {"mixture": [np.arange(N_ROWS) % 4 == 0], "loss_parameter": ["delta"]}
    mix = mix_losses("logistic", "squared_hinge")
    loss = {"loss_parameter": "huber", "mixing_weight": mix}.get(kind, "logistic")
    data = "huber" if loss == "huber" else "logistic"
    tuned = TUNED[kind](*args.get(kind, ()))
    assert_equal(*evaluations(loss, "k_fold", data, tuned=tuned))


def test_the_whole_search_takes_the_same_path():
    X, y = sparse_problem("logistic", 3, N_ROWS, N_FEATURES)
    one, other = (
        hoag(Problem(make(X, fit_intercept=True), y), KFold(4), unseen=HeldOut(X, y))
        for make in (ReferenceDesign, BlockDesign)
    )
    assert one.status == other.status == "converged"
    assert one.n_passes == pytest.approx(other.n_passes, abs=2)
    np.testing.assert_allclose(other.theta, one.theta, atol=1e-6)
    np.testing.assert_allclose(other.w, one.w, atol=1e-6 * np.abs(one.w).max())


def test_handles_of_blocks_allow_no_arithmetic():
    handle = Handle([np.ones((2, 1))])
    for operation in (lambda h: h + 1, lambda h: 2.0 * h, lambda h: np.ones((2, 1)) * h, abs):
        with pytest.raises(TypeError):
            operation(handle)
