"""Label smoothing: fits equal those on copies of the rows with the other labels, passes of every
design agree, criteria judge without it."""

import numpy as np
import pytest
import scipy.sparse as sp
from support.designs import DESIGNS, assert_near
from support.problems import sparse_problem

from fasthoag import ApproximateLOO, HeldOut, KFold, Problem, find_loss, hoag, mix_losses
from fasthoag.design import HELD_OUT, TRAIN, to_host
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import derivative
from fasthoag.problem import refit

N, P, K, S = 60, 6, 4, 0.3
LOSSES = {
    "logistic": find_loss("logistic", smoothing=S),
    "multinomial": find_loss("multinomial", n_classes=K, smoothing=S),
}


def data(loss, seed=0):
    X, y = sparse_problem("logistic" if loss == "logistic" else "squared", seed, N, P)
    return X, y if loss == "logistic" else np.digitize(
        y, np.quantile(y, np.arange(1, K) / K)
    ).astype(float)


def copies(loss, X, y):
    """Every row once with each label, and the targets as weights."""
    if loss == "logistic":
        return sp.vstack([X, X]).tocsr(), np.r_[y, -y], np.repeat([1 - S / 2, S / 2], N)
    return (
        sp.vstack([X] * K).tocsr(),
        np.repeat(np.arange(K), N).astype(float),
        np.concatenate([S / K + (1 - S) * (y == c) for c in range(K)]),
    )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("design", ["cpu sparse", "cpu dense", "reference sparse"])
def test_a_fit_is_that_of_rows_with_both_labels(loss, design):
    X, y = data(loss)
    mine = refit(Problem(DESIGNS[design](X, True), y, loss=LOSSES[loss]), [0.3], tol=1e-10)[0]
    X, y, weight = copies(loss, X, y)
    theirs = refit(Problem(X, y, loss=find_loss(loss), sample_weight=weight), [0.3], tol=1e-10)[0]
    if loss == "multinomial":  # the intercepts of all classes may move together
        mine[P], theirs[P] = mine[P] - mine[P].mean(), theirs[P] - theirs[P].mean()
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", DESIGNS)
def test_passes_are_those_of_rows_with_both_labels(loss, name):
    X, y = data(loss)
    k, rng = LOSSES[loss].n_classes, np.random.default_rng(1)
    weight, mask = rng.random(N), rng.integers(0, 4, (N, 2)).astype(np.uint8)
    design = DESIGNS[name](X)
    W = rng.normal(size=(design.n_coef, 2 * k))
    rows = design.place(y, weight, mask)
    found = rows.loss_grad(LOSSES[loss], design.xp.asarray(W))
    X_all, y_all, share = copies(loss, X, y)
    n_copies = len(y_all) // N
    other = DESIGNS["cpu sparse"](X_all)
    plain = find_loss(loss, **({} if k == 1 else {"n_classes": k}))
    theirs = other.place(y_all, share * np.tile(weight, n_copies), np.tile(mask, (n_copies, 1)))
    expected = theirs.loss_grad(plain, other.encode(design.decode(W)))
    gradient = X_all.T @ theirs.terms(plain, 1, TRAIN, expected.Z)
    assert_near(found.value, expected.value)
    assert_near(found.other, expected.other)
    assert_near(found.grad, design.coefficients.pull(gradient))
    for part, sums in ((TRAIN, found.value), (HELD_OUT, found.other)):
        assert_near(rows.sums(LOSSES[loss], part, found.Z), sums)
        assert_near(to_host(rows.terms(LOSSES[loss], 0, part, found.Z)).sum(axis=0), sums)
    slopes = rows.terms(LOSSES[loss], 1, TRAIN, found.Z)
    assert_near(design.rmatvec(slopes), found.grad)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("order", range(4))
def test_no_smoothing_changes_no_bit(loss, order):
    X, y = data(loss)
    Z = np.random.default_rng(0).normal(size=(N, LOSSES[loss].n_classes)) * 10
    rows = DESIGNS["cpu sparse"](X).place(y)
    plain, zero = (
        find_loss(LOSSES[loss], smoothing=0),
        find_loss(loss) if loss == "logistic" else find_loss(loss, n_classes=K),
    )
    np.testing.assert_array_equal(*(rows.terms(one, order, TRAIN, Z) for one in (plain, zero)))


@pytest.mark.parametrize("loss", LOSSES)
def test_criteria_judge_without_it_unless_given_a_loss(loss):
    (X, y), (X_val, y_val) = data(loss), data(loss, 1)
    problem = Problem(X, y, loss=LOSSES[loss])
    for make in (lambda own: KFold(3, loss=own), lambda own: HeldOut(X_val, y_val, loss=own)):
        assert make(None).bind(problem).loss.parameters["smoothing"] == 0
        assert (
            make(find_loss(loss, smoothing=0.2)).bind(problem).loss.parameters["smoothing"] == 0.2
        )
        assert hoag(problem, make(None)).value == hoag(problem, make(loss)).value
    W = refit(problem, [0.3], tol=1e-10)[0]
    Z = X_val @ W[:P] + W[P]
    bound = HeldOut(X_val, y_val).bind(problem)
    value = bound.evaluate(
        np.array([0.3]),
        problem.design.zeros(bound.inner.units.n_columns),
        Accuracy(1e-10, 1e-10),
    ).value
    plain = (
        derivative("logistic", 0, y_val, Z).sum()
        if loss == "logistic"
        else np.sum(np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(N), y_val.astype(int)])
    )
    assert value == pytest.approx(plain, rel=1e-8)


def test_a_mix_is_judged_without_the_smoothing_of_its_parts():
    X, y = data("logistic")
    problem = Problem(X, y, loss=mix_losses(LOSSES["logistic"], "squared_hinge", 0.2))
    loss = KFold(3).bind(problem).loss
    assert loss.mixed[0].parameters == {"smoothing": 0}
    assert loss.parameters == {"weight": 0.2}


def test_leave_one_out_judges_without_it():
    X, y = data("logistic")
    problem, total = Problem(X, y, loss=LOSSES["logistic"]), 0.0
    for i in range(N):
        keep = np.arange(N) != i
        w = refit(Problem(X[keep], y[keep], loss=LOSSES["logistic"]), [1.0], tol=1e-10)[0]
        total += derivative("logistic", 0, y[i : i + 1], np.array([(X[i] @ w[:-1])[0] + w[-1]]))[0]

    def at(theta):
        bound = ApproximateLOO().bind(problem)
        return bound.evaluate(
            np.array([theta]),
            bound.inner.design.zeros(1),
            Accuracy(1e-12, 1e-12),
            has_tangents=False,
        )

    here, h = at(1.0), 1e-4
    assert here.value == pytest.approx(total, rel=1e-2)
    assert here.grad[0] == pytest.approx((at(1 + h).value - at(1 - h).value) / (2 * h), rel=1e-6)
