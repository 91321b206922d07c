"""Grid, random and Bayesian search in the call of `hoag`: values are those of exactly solved
problems, seeds decide every bit, and a search along the slope ends no worse."""

import sys
import warnings

import numpy as np
import pytest
from support.closed_form import exact, ridge
from support.designs import OF_USE, with_losses
from support.penalty_examples import EXAMPLES, P
from support.tunings import WITH_ROWS, Plain, tuning

import fasthoag
from fasthoag import ConvergenceWarning, HeldOut, KFold, Problem, hoag
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES
from fasthoag.outer import TRIALS
from fasthoag.outer.rules import Box
from fasthoag.outer.trials import grid, per_axis

TIGHT = Accuracy(1e-9, 1e-9)
BOUNDS = (-4.0, 5.0)
SMOOTH = [name for name, loss in LOSSES.items() if not loss.has_kinks]
on_every_design = with_losses(OF_USE)


def plain(criterion="k_fold", loss="squared", **options):
    return tuning(criterion, loss, True, Plain(), **options)


def trials_of(result):
    return [one for one in result.trace if one["phase"] == "trial"]


@pytest.mark.parametrize("method", TRIALS)
@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", SMOOTH)
def test_a_trial_is_within_its_error_of_the_exactly_solved_one(criterion, loss, method):
    problem, rule, split = plain(criterion, loss)
    result = hoag(problem, rule, method=method, n_trials=9, bounds=BOUNDS)
    assert result.status in ("searched", "at_bound")
    for one in result.trace:
        values, _ = exact(split, loss, one["theta"][0])
        rounding = 1e-12 * values.sum()
        assert abs(one["value"] - values.sum()) <= one["value_error"] + rounding
    values, _ = exact(split, loss, result.theta[0])
    assert result.fold_values == pytest.approx(values, abs=max(result.value_error, 1e-12))
    assert result.value_error <= 3e-4 * result.value


@on_every_design
@pytest.mark.parametrize("criterion", WITH_ROWS)
def test_trials_are_the_same_on_every_design(make_a_design, loss, criterion):
    problem, rule, split = tuning(criterion, loss, True, make_a_design)
    result = hoag(problem, rule, method="grid", n_trials=9, bounds=(-2.0, 5.0))
    for one in trials_of(result):
        values, _ = exact(split, loss, one["theta"][0])
        allowed = 2 * one["value_error"] + 1e-5 * values.sum()  # of values in float32
        assert abs(one["value"] - values.sum()) <= allowed


@pytest.mark.parametrize("method", TRIALS)
def test_trials_side_by_side_and_one_by_one_agree(method, monkeypatch):
    problem, rule, _ = plain("held_out", "logistic")
    together = hoag(problem, rule, method=method, n_trials=12, bounds=BOUNDS)
    monkeypatch.setattr(fasthoag.criteria.BoundCriterion, "can_stack", False)
    apart = hoag(problem, rule, method=method, n_trials=12, bounds=BOUNDS)
    for one, other in zip(together.trace, apart.trace, strict=True):
        if method != "bayes":
            assert one["theta"] == other["theta"]
            error = one["value_error"] + other["value_error"]
            assert abs(one["value"] - other["value"]) <= error
    assert together.n_passes < apart.n_passes


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("criterion", WITH_ROWS)
def test_every_penalty_takes_trials(name, criterion):
    for penalty in EXAMPLES[name]:
        problem, rule, _ = plain(criterion, "logistic", penalty=penalty, n_features=P)
        result = hoag(problem, rule, method="random", n_trials=5)
        bound = rule.bind(problem)
        for one in trials_of(result):
            at = np.array(one["theta"])
            solved = bound.evaluate(at, bound.inner.null.W, TIGHT, has_tangents=False)
            assert abs(one["value"] - solved.value) <= one["value_error"] + solved.value_error


def test_strengths_of_classes_take_trials():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 4)), np.arange(90) % 3
    penalty = fasthoag.PerClass(fasthoag.Ridge(), 3)
    problem, rule = Problem(X, y, "multinomial", penalty=penalty), HeldOut(X + 0.1, y)
    result = hoag(problem, rule, method="random", n_trials=4, bounds=(-2, 3))
    bound = rule.bind(problem)
    for one in trials_of(result):
        at = np.array(one["theta"])
        solved = bound.evaluate(at, bound.inner.null.W, TIGHT, has_tangents=False)
        assert abs(one["value"] - solved.value) <= one["value_error"] + solved.value_error


@pytest.mark.parametrize("method", TRIALS)
@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("seed", range(3))
def test_newton_ends_no_worse_than_the_best_trial(criterion, method, seed):
    problem, rule, _ = plain(criterion, "logistic", seed=seed)
    options = {"random_state": seed} if method != "grid" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        newton = hoag(problem, rule)
        searched = hoag(problem, rule, method=method, n_trials=12, **options)
    best = min(one["value"] + one["value_error"] for one in searched.trace)
    assert newton.value <= best + newton.value_error + 3e-4 * newton.value


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_seed_decides_every_bit(method):
    problem, rule, _ = plain()
    runs = [hoag(problem, rule, method=method, n_trials=14, random_state=s) for s in (3, 3, 4)]
    kept = [[(one["theta"], one["value"]) for one in run.trace] for run in runs]
    assert kept[0] == kept[1] != kept[2]
    assert np.array_equal(runs[0].w, runs[1].w)
    unseeded = [hoag(problem, rule, method=method, n_trials=3).theta for _ in range(2)]
    assert np.array_equal(*unseeded)


def test_the_best_trial_of_a_grid_is_that_of_the_closed_form():
    problem, rule, split = plain("held_out")
    result = hoag(problem, rule, method="grid", n_trials=15, bounds=BOUNDS)
    levels = np.linspace(*BOUNDS, 15)
    values = [ridge(split, level).value for level in levels]
    assert result.theta[0] == pytest.approx(levels[np.argmin(values)])
    tried = sorted(one["theta"][0] for one in trials_of(result))
    assert tried == pytest.approx(levels, abs=1e-12)
    assert (tried[0], tried[-1]) == BOUNDS  # to the bit
    assert result.value == pytest.approx(min(values), abs=result.value_error)
    assert result.grad[0] == pytest.approx(ridge(split, result.theta[0]).grad, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize(
    ("n_trials", "n_hyper", "n_each"), [(20, 1, 20), (20, 2, 4), (27, 3, 3), (26, 3, 2), (3, 2, 1)]
)
def test_a_product_grid_has_no_more_points_than_trials(n_trials, n_hyper, n_each):
    assert per_axis(n_trials, n_hyper) == n_each
    box = Box(np.zeros(n_hyper), np.ones(n_hyper))
    points = grid(box, n_trials, 0)
    assert points.shape == (n_each**n_hyper, n_hyper)
    assert len(np.unique(points, axis=0)) == len(points)


def test_the_status_is_searched_without_a_warning_and_says_what_it_is_worth():
    problem, rule, _ = plain()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = hoag(problem, rule, method="random", n_trials=5)
    assert (result.status, result.n_iter, result.method) == ("searched", 5, "random")
    assert "best of 5 trials" in result.message
    assert "no optimum" in result.message


def test_a_grid_that_is_best_at_its_edge_says_so():
    problem, rule, _ = plain()
    best = hoag(problem, rule).theta[0]
    with pytest.warns(ConvergenceWarning, match="at the bound"):
        result = hoag(problem, rule, method="grid", n_trials=4, bounds=(best + 2, best + 5))
    assert result.status == "at_bound"
    assert result.theta[0] == best + 2  # to the bit


@pytest.mark.parametrize("method", TRIALS)
def test_a_callback_stops_trials(method):
    problem, rule, _ = plain()
    result = hoag(
        problem, rule, method=method, n_trials=12, callback=lambda one: one["phase"] == "trial"
    )
    assert (result.status, len(trials_of(result))) == ("stopped", 1)
    assert np.isfinite(result.value)


@pytest.mark.parametrize("unit", [1e-3, 1e4])
@pytest.mark.parametrize("method", TRIALS)
def test_default_bounds_follow_the_units_of_the_data(method, unit):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 5))
    y = X[:, 0] + 3 * rng.normal(size=80)
    one, other = (
        hoag(Problem(c * X, y, "squared"), KFold(4), method=method, n_trials=8) for c in (1, unit)
    )
    assert other.theta == pytest.approx(one.theta + 2 * np.log(unit), abs=1e-6)
    assert other.value == pytest.approx(one.value, abs=one.value_error)


def test_default_bounds_hold_the_optimum_and_both_ends():
    problem, rule, _ = plain()
    result = hoag(problem, rule, method="grid", n_trials=30)
    values = [one["value"] for one in trials_of(result)]  # from the strongest
    null = rule.bind(problem).null_value
    assert values[0] == pytest.approx(null, rel=0.1)
    assert abs(values[-1] - values[-2]) < 1e-3 * null
    assert hoag(problem, rule).value <= result.value <= 1.05 * hoag(problem, rule).value


@pytest.mark.parametrize("method", TRIALS)
@pytest.mark.parametrize(
    "criterion", [fasthoag.ApproximateLOO(), fasthoag.GCV(), fasthoag.Evidence()]
)
def test_criteria_without_rows_of_their_own_take_trials(criterion, method):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    problem = Problem(X, X[:, 0] + rng.normal(size=60), "squared")
    result = hoag(problem, criterion, method=method, n_trials=6)
    assert hoag(problem, criterion).value <= result.value + result.value_error


def test_hyperparameters_beside_the_penalty_take_trials():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    delta = fasthoag.LossParameter("delta", low=0.5, high=4.0)
    problem = Problem(X, X[:, 0] + rng.standard_t(2, size=60), "huber", tuned=delta)
    result = hoag(problem, KFold(3), method="grid", n_trials=9)
    assert len(trials_of(result)) == 9
    assert 0.5 <= problem.read(result.theta)["delta"] <= 4.0


def test_losses_on_unseen_rows_and_scores_are_in_the_trace_of_the_best_so_far():
    problem, rule, _ = plain("held_out", "logistic")
    unseen = HeldOut(rule.X_val, rule.y_val)
    result = hoag(problem, rule, method="grid", n_trials=9, unseen=unseen, scoring="accuracy")
    for one in result.trace:
        assert ("unseen_value" in one) == one["is_accepted"] == ("scores" in one)
    values = [one["value"] for one in trials_of(result) if one["is_accepted"]]
    assert values == sorted(values, reverse=True)
    assert result.unseen_value == pytest.approx(result.value, rel=1e-3)


def test_equal_targets_need_no_trials():
    result = hoag(Problem(np.eye(6), np.ones(6), "squared"), KFold(3), method="grid")
    assert result.status == "converged"
    assert not result.trace


REFUSED = {
    "n_trials of newton": ({"method": "newton", "n_trials": 5}, "n_trials=5 is for method 'grid'"),
    "n_trials of auto": ({"n_trials": 5}, "n_trials=5 is for"),
    "random_state of newton": ({"random_state": 0}, "random_state=0 is for method"),
    "random_state of a grid": ({"method": "grid", "random_state": 0}, "does not"),
    "schedule": ({"method": "grid", "schedule": "cubic"}, "schedule='cubic' is for methods that"),
    "max_iter": ({"method": "bayes", "max_iter": 5}, "max_iter=5 is for methods that follow"),
    "theta0": ({"method": "random", "theta0": [0.0]}, "theta0=.* is for methods that follow"),
    "stop_on": ({"method": "grid", "stop_on": HeldOut(np.eye(3), np.ones(3))}, "stop_on="),
    "no trial": ({"method": "grid", "n_trials": 0}, "n_trials must be an integer from 1"),
    "half a trial": ({"method": "random", "n_trials": 2.5}, "n_trials must be"),
    "True trials": ({"method": "bayes", "n_trials": True}, "n_trials must be"),
    "too many trials": ({"method": "random", "n_trials": 10**12}, "n_trials must be"),
    "a seed below 0": ({"method": "random", "random_state": -1}, "random_state must be"),
    "a seed of text": ({"method": "bayes", "random_state": "x"}, "random_state must be"),
    "a grid of one": ({"method": "grid", "n_trials": 1}, "n_trials >= 2\\*\\*1; got n_trials=1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_are_not_used_are_refused_before_any_work(case):
    problem, rule, _ = plain()
    before = problem.design.n_passes
    options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        hoag(problem, rule, **options)
    assert problem.design.n_passes == before


def test_a_grid_of_many_hyperparameters_is_refused():
    problem = Problem(np.eye(30), np.arange(30.0), "squared", penalty=fasthoag.FeatureRidge())
    with pytest.raises(ValueError, match=r"n_trials >= 2\*\*30; got n_trials=20. Use method='rand"):
        hoag(problem, KFold(3), method="grid")


def test_without_optuna_a_sentence_says_what_to_install(monkeypatch):
    problem, rule, _ = plain()
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'fasthoag\[bayes\]', or take method='rand"):
        hoag(problem, rule, method="bayes")


def test_optuna_is_left_as_it_was(capfd):
    import optuna

    before = optuna.logging.get_verbosity()
    problem, rule, _ = plain()
    hoag(problem, rule, method="bayes", n_trials=3)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", TRIALS)
@pytest.mark.parametrize("name", ["RidgeCV", "LogisticRegressionCV"])
def test_estimators_take_trials(name, method):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 5))
    y = X[:, 0] + rng.normal(size=90)
    y = y if name == "RidgeCV" else np.digitize(y, [-0.5, 0.5])
    model = getattr(fasthoag, name)(cv=3, method=method, n_trials=6, random_state=1).fit(X, y)
    every = model.hoag_result_
    for one in every if isinstance(every, list) else [every]:
        assert one.method == method
        assert one.n_iter == 6


def test_a_seed_that_an_estimator_does_not_draw_with_is_no_error():
    X = np.random.default_rng(0).normal(size=(30, 3))
    for method in ("auto", "grid"):  # scikit-learn's tools set it everywhere
        fasthoag.RidgeCV(cv=3, method=method, random_state=0).fit(X, X[:, 0] + X[:, 1] ** 2)
    with pytest.raises(ValueError, match="random_state must be"):
        fasthoag.RidgeCV(cv=3, random_state="x").fit(X, X[:, 0])
    with pytest.raises(ValueError, match="n_trials=5 is for"):
        fasthoag.RidgeCV(cv=3, n_trials=5).fit(X, X[:, 0])
