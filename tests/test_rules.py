"""Step rules have the same verbs, and what one knows can be carried to another."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from fasthoag import HeldOut, Problem
from fasthoag.hypergradient import Accuracy
from fasthoag.outer import METHODS
from fasthoag.outer.loop import From, Until, minimise
from fasthoag.outer.rules import Box
from fasthoag.outer.tolerance import Tolerance

ATTRIBUTES = ("wants", "max_iter", "accuracy")
VERBS = ("propose", "hessian", "accept", "reject", "state", "restore")


def problem():
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(120, 8)), rng.normal(size=8)
    y = np.sign(X @ w + 2 * rng.normal(size=120))
    return Problem(X[:60], y[:60]), HeldOut(X[60:], y[60:])


class Handed:
    """A rule whose state goes through bytes to a new rule before every verb."""

    def __init__(self, rule, schedule):
        self.new = lambda: rule(schedule)
        self.rule, self.proposals = self.new(), []

    wants = property(lambda self: self.rule.wants)
    accuracy = property(lambda self: self.rule.accuracy)

    def hand_over(self):
        state = pickle.loads(pickle.dumps(self.rule.state()))
        self.rule = self.new()
        self.rule.restore(state)

    def propose(self, *args):
        self.hand_over()
        self.proposals.append(self.rule.propose(*args))
        return self.proposals[-1]

    def hessian(self, evaluation):
        self.hand_over()
        return self.rule.hessian(evaluation)

    def promise(self, *args):
        self.hand_over()
        return self.rule.promise(*args)

    def accept(self, *args):
        self.hand_over()
        return self.rule.accept(*args)

    def reject(self, *args):
        self.hand_over()
        self.rule.reject(*args)


def run(rule):
    train, judge = problem()
    bound = judge.bind(train)
    trace = []

    def record(evaluation, accuracy, is_accepted):
        trace.append((evaluation.theta.copy(), evaluation.value, accuracy, is_accepted))
        return False

    box, begin = Box(np.full(1, -20.0), np.full(1, 20.0)), From(np.full(1, 6.0), bound.inner.null.W)
    _, status, n_iter = minimise(bound, rule, begin, box, Until(Tolerance(1e-6), 60), record)
    return trace, status, n_iter


@pytest.mark.parametrize("method", METHODS)
def test_a_rule_has_the_verbs(method):
    rule = METHODS[method](None)
    assert all(callable(type(rule).__dict__[name]) for name in VERBS)
    assert rule.wants in ("gradient", "hessian")
    assert rule.max_iter >= 1
    assert isinstance(rule.accuracy, Accuracy)


@pytest.mark.no_map("bits of a path")
@pytest.mark.parametrize("method", METHODS)
def test_a_restored_rule_goes_on_with_the_same_bits(method):
    schedule = "exponential" if method == "hoag" else None
    trace, *end = run(METHODS[method](schedule))
    handed = Handed(METHODS[method], schedule)
    other, *other_end = run(handed)
    assert end == other_end
    assert len(trace) == len(other) > 5
    for one, two in zip(trace, other, strict=True):
        assert one[0].tobytes() == two[0].tobytes()
        assert one[1:] == two[1:]


def test_the_state_of_another_rule_is_refused():
    state = METHODS["newton"](None).state()
    with pytest.raises(ValueError, match="state has .*radius.*, which LBFGS does not"):
        METHODS["lbfgs"](None).restore(state)


def evaluation_at(theta, grad, error):
    """An evaluation that knows nothing but its hypergradient."""
    train, judge = problem()
    bound = judge.bind(train)
    found = bound.evaluate(theta, bound.inner.null.W, Accuracy(0.1, 0.1), has_tangents=False)
    return replace(found, theta=theta, grad=grad, inner_error=error, linear_error=0.0)


def test_of_one_hyperparameter_gradients_tell_the_curvature():
    rule, box = METHODS["lbfgs"](None), Box(np.full(1, -20.0), np.full(1, 20.0))
    first = evaluation_at(np.array([1.0]), np.array([3.0]), 0.1)
    assert rule.hessian(first) == (None, np.inf)
    assert rule.propose(first, box, 0.1, 0.1).hess is None
    second = evaluation_at(np.array([0.5]), np.array([1.0]), 0.1)
    hess, error = rule.hessian(second)
    assert hess == pytest.approx(np.array([[4.0]]))  # a slope less by 2 after half a unit
    assert error == pytest.approx(0.5 + np.hypot(0.1, 0.1) / 2)
    proposal = rule.propose(second, box, 0.1, 0.1)
    assert proposal.step == pytest.approx(-0.25)
    assert proposal.hess == hess
    near = evaluation_at(np.array([0.45]), np.array([0.9]), 5.0)  # all error: what was known stays
    assert rule.hessian(near) == (hess, pytest.approx(error + 0.05))


def test_of_several_hyperparameters_gradients_tell_none():
    rule, box = METHODS["lbfgs"](None), Box(np.full(2, -20.0), np.full(2, 20.0))
    for theta, grad in ((1.0, 3.0), (0.5, 1.0)):
        found = evaluation_at(np.full(1, theta), np.full(1, grad), 0.1)
        found = replace(found, theta=np.full(2, theta), grad=np.full(2, grad))
        assert rule.hessian(found) == (None, np.inf)
        assert rule.propose(found, box, 0.1, 0.1).hess is None
