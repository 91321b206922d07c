"""The path: values, scores and coefficients of the folds at one strength after another are those of
exactly solved problems, on every design, whatever the order."""

import numpy as np
import pytest
from support.closed_form import exact
from support.designs import OF_USE, with_losses
from support.tunings import tuning

import fasthoag
from fasthoag import KFold, Problem
from fasthoag.path import Scored, Walk, along, best_by_score, better, strongest_within
from fasthoag.scoring import score_function

on_every_design = with_losses(OF_USE)
LEVELS = np.array([1.0, -3.0, 4.0, 0.0])


@on_every_design
def test_values_are_those_of_exactly_solved_problems_in_the_order_asked_for(make_a_design, loss):
    problem, rule, split = tuning("k_fold", loss, True, make_a_design)
    walk, asked = Walk(problem, rule), []

    def note(points):
        (point,) = points
        asked.append(point.theta[0])
        return point

    points = along([walk], np.exp(LEVELS), note)
    assert asked == sorted(asked, reverse=True)
    for level, point in zip(LEVELS, points, strict=True):
        values, _ = exact(split, loss, level)
        slack = 1e-5 * values.sum()  # of values in float32
        assert abs(point.value - values.sum()) <= point.value_error + slack
        assert point.value_error <= 0.01 * values.sum() + slack
        assert np.abs(point.fold_values - values).max() <= point.value_error + slack
        assert point.n_inner >= 1


def rows(n=120, p=5):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    return X, X @ rng.normal(size=p) + rng.normal(size=n)


@pytest.mark.parametrize("w_of", ["result", "one fold", "nothing"])
def test_a_walk_begins_where_a_search_ended(w_of):
    X, y = rows()
    problem, rule = Problem(X, y, loss="squared"), KFold(3)
    result = fasthoag.hoag(problem, rule)
    walk = Walk(problem, rule)
    if w_of != "nothing":
        walk.begin(result.theta, result.w if w_of == "result" else result.w[:, :1])
    point = walk.at(result.theta)
    assert abs(point.value - result.value) <= point.value_error + result.value_error
    np.testing.assert_allclose(walk.coefficients(point.W), result.w, atol=1e-2)


def test_the_null_model_is_the_same_at_every_strength():
    X, _ = rows()
    walk = Walk(Problem(X, np.full(len(X), 3.0), loss="squared"), KFold(3))
    walk.begin(np.zeros(1), np.zeros((6, 3)))
    points = [walk.at(walk.level(level)) for level in LEVELS]
    assert {(point.value, point.value_error) for point in points} == {(0.0, 0.0)}
    np.testing.assert_allclose(walk.coefficients(points[0].W)[-1], 3.0)


class Made:
    """A walk whose criterion is a parabola, with its least value at 1."""

    direction = np.ones(1)

    def at(self, theta):
        from fasthoag.path import Point

        return Point(theta, float((theta[0] - 1) ** 2), 0.0, np.zeros(1), theta, 1)

    def predictions(self, point):
        return [point.theta]


def scored(score, low=-20.0, high=20.0):
    box = np.array([low]), np.array([high])
    return Scored([Made()], lambda Z: np.atleast_1d(score(Z[0][0][0])), [box])


@pytest.mark.parametrize(
    ("score", "expected", "slack"),
    [
        (lambda t: 0.0, 1.0, 0.0),  # all alike: that of least loss
        (lambda t: -((t - 2.6) ** 2), 2.6, 0.125),  # between two steps
        (lambda t: -((t + 5.1) ** 2), -5.1, 0.125),  # beyond the steps nearby
        (lambda t: float(t > 3.4), 4.0, 0.51),  # a step up: its end nearest to the least loss
        (lambda t: -np.abs(t - 30), 12.0, 1.0),  # so many steps at most
        (lambda t: np.nan if t > 0.9 else 1.0, 0.75, 0.26),  # numbers only
    ],
)
def test_the_best_score_is_found(score, expected, slack):
    found = best_by_score(scored(score), [np.array([1.0])])
    assert abs(found.thetas[0][0] - expected) <= slack


def test_given_candidates_are_compared_and_bounds_are_kept():
    compared = scored(lambda t: float(abs(t - 15) < 0.1), high=16.0)
    given = [compared.at([np.array([t])]) for t in (7.0, 15.0, 30.0)]
    assert given[-1].thetas[0] == 16.0
    assert best_by_score(compared, [np.array([1.0])], given).thetas[0] == 15.0
    assert best_by_score(compared, [np.array([1.0])]).thetas[0] == 1.0
    assert better(given[0], given[2]) is given[0]


@pytest.mark.parametrize("reach", [0.1, 0.6, 3.0, 11.0, 50.0])
def test_the_strongest_within_an_error_is_found(reach):
    compared = scored(lambda t: -max(t - 1.0, 0.0))
    best = compared.at([np.array([1.0])])
    found = strongest_within(compared, best, reach)
    expected = min(1.0 + reach, 20.0)
    assert expected - 0.5 <= found.thetas[0][0] <= expected


def test_scores_of_a_walk_are_those_of_its_coefficients():
    X, y = rows()
    problem, rule = Problem(X, np.sign(y)), KFold(3)
    walk = Walk(problem, rule)
    scores, W = score_function(walk.bound, problem, "accuracy"), walk.at(walk.level(1.0)).W
    w = walk.coefficients(W)
    for fold, (_, test) in enumerate(rule.splits(problem)):
        right = np.sign(X[test] @ w[:-1, fold] + w[-1, fold]) == np.sign(y[test])
        assert scores(W)["accuracy"][fold] == pytest.approx(right.mean())
