"""Step rules have the same verbs, and what one knows can be carried to another."""

import pickle

import numpy as np
import pytest

from fasthoag import HeldOut, Problem
from fasthoag.hypergradient import Accuracy
from fasthoag.outer import METHODS
from fasthoag.outer.loop import From, Until, minimise
from fasthoag.outer.rules import Box
from fasthoag.outer.tolerance import Tolerance

ATTRIBUTES = ("wants", "max_iter", "accuracy")
VERBS = ("propose", "accept", "reject", "state", "restore")


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
