"""`numpy.seterr` and warnings that are errors change nothing: overflow and underflow are meant.
Functions of the user keep his settings."""

import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import is_classifier
from support.problems import targets

import fasthoag
from fasthoag import ConvergenceWarning, KFold, Problem, hoag
from fasthoag.criteria import CRITERIA, BoundCriterion
from fasthoag.estimators.classes import LogLossClassifier
from fasthoag.estimators.tuned import TunedEstimator
from fasthoag.io import Model
from fasthoag.losses import LOSSES
from fasthoag.outer.result import MESSAGES
from fasthoag.outer.trust_region import solve_trust_region

N, P = 60, 6
PENALTIES = {
    "ridge": fasthoag.Ridge,
    "feature_ridge": fasthoag.FeatureRidge,
    "group_ridge": lambda: fasthoag.GroupRidge([0, 0, 0, 1, 1, 1]),
    "structured_ridge": lambda: fasthoag.StructuredRidge(np.c_[np.ones(P), np.arange(P)]),
    "sum": lambda: fasthoag.Ridge() + fasthoag.GroupRidge([0, 0, 0, 1, 1, 1]),
}


@contextmanager
def strict():
    """The settings of somebody who wants to hear of everything."""
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@contextmanager
def lax():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def both(work):
    """The results of work under either of the settings."""
    with lax():
        one = work()
    with strict():
        return one, work()


def rows(loss, units=1.0):
    """Rows in units far from 1, and targets without noise: what over- and underflows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, P))
    score = 3 * X[:, 0] - X[:, 1]
    if loss == "multinomial":
        y = np.digitize(score, np.quantile(score, [0.3, 0.6]))
    else:
        y = targets(loss, score, rng)
    return X * units, y


def criterion_of(name, X, y):
    """A criterion by name, on these rows."""
    if name == "held_out":
        return fasthoag.HeldOut(2.0 * X[:20], y[:20])
    if name == "custom":
        return fasthoag.CustomCriterion(X[:20], lambda z: ((z**2).sum(), 2 * z))
    return CRITERIA[name]()


SOME = [(name, "ridge", "k_fold") for name in (*LOSSES, "multinomial")]
SOME += [("logistic", name, "k_fold") for name in PENALTIES]
SOME += [("squared", "ridge", name) for name in CRITERIA]
SOME += [("squared", name, criterion) for name in PENALTIES for criterion in ("loo", "evidence")]
SOME += [("poisson", "ridge", name) for name in CRITERIA if name not in ("gcv", "custom")]


@pytest.mark.parametrize(("loss", "penalty", "criterion"), SOME)
def test_settings_of_the_user_change_no_bit_of_a_search(loss, penalty, criterion):
    X, y = rows(loss, 10.0 ** np.linspace(-20, 20, P))

    def search():
        problem = Problem(X, y, loss=loss, penalty=PENALTIES[penalty]())
        return hoag(problem, criterion_of(criterion, X, y), n_threads=1)

    one, other = both(search)
    np.testing.assert_array_equal(one.theta, other.theta)
    np.testing.assert_array_equal(one.w, other.w)
    assert one.message == other.message


@pytest.mark.parametrize("method", ["newton", "lbfgs", "hoag"])
def test_searches_far_out_are_silent(method):
    X, _ = rows("logistic", 10.0 ** np.linspace(-20, 20, P))

    def search():
        problem = Problem(X, np.sign(X[:, 0]), penalty=fasthoag.FeatureRidge())
        return hoag(problem, KFold(3), np.full(P, 60.0), bounds=(-600, 600), method=method)

    one, other = both(search)
    np.testing.assert_array_equal(one.theta, other.theta)


@pytest.mark.parametrize("name", fasthoag.estimators.ESTIMATORS)
def test_settings_of_the_user_change_no_bit_of_an_estimator(name):
    Estimator = getattr(fasthoag, name)
    X, z = rows("squared", 10.0 ** np.linspace(-20, 20, P))
    y = np.sign(X[:, 0]) if is_classifier(Estimator()) else np.exp(z)
    far = np.vstack([X, 1e30 * X, 1e-300 * X])  # where exp(z) is infinite or 0

    def work():
        model = Estimator(cv=3, n_threads=1).fit(X, y, np.linspace(1e-40, 1, N))
        is_linear = isinstance(model, TunedEstimator)
        found = [model.coef_ if is_linear else model.dual_coef_]
        found += [model.predict(far), model.score(X, y)]
        if isinstance(model, LogLossClassifier):
            found += [model.predict_proba(far), model.predict_log_proba(far)]
        return found

    for one, other in zip(*both(work), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson"])
def test_settings_of_the_user_change_nothing_that_a_model_predicts(loss):
    model, z = Model(loss, coef=[[1.0]], intercept=[0.0]), np.linspace(-1e4, 1e4, 11)[:, None]
    functions = [model.predict, *([model.predict_proba] if loss == "logistic" else [])]
    for one, other in zip(*both(lambda: [f(z) for f in functions]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_check_of_hypergradients_and_what_theta_means_are_silent():
    X, y = rows("logistic")
    problem = Problem(X, y, penalty=fasthoag.FeatureRidge(1e-200 * np.ones(P)))
    one, other = both(lambda: problem.read(np.full(P, -400.0))["strengths"])
    np.testing.assert_array_equal(one, other)
    one, other = both(lambda: fasthoag.check_hypergrad(Problem(X, y), KFold(3), [-30.0]))
    assert one == other


HESSIANS = {
    "convex": np.array([[2.0, 0.5], [0.5, 1.0]]),
    "saddle": np.array([[1.0, 2.0], [2.0, -1.0]]),
    "flat": np.zeros((2, 2)),
    "concave": -np.eye(2),
}


@pytest.mark.parametrize("radius", [1e-12, 0.1, 3.0, 50.0])
@pytest.mark.parametrize("name", HESSIANS)
def test_a_step_of_newton_has_no_unit_of_the_criterion(name, radius):
    grad, hess, box = np.array([1.0, -2.0]), HESSIANS[name], (np.full(2, -5.0), np.full(2, 4.0))
    with strict():
        step = solve_trust_region(grad, hess, radius, *box)
        assert np.linalg.norm(step) <= radius * (1 + 1e-9)
        assert (step >= box[0]).all()
        assert (step <= box[1]).all()
        assert grad @ step < 0
        for power in (-900, 900):
            scaled = (np.ldexp(one, power) for one in (grad, hess))
            np.testing.assert_array_equal(solve_trust_region(*scaled, radius, *box), step)
        assert not solve_trust_region(0 * grad, 0 * hess, radius, *box).any()


@pytest.mark.parametrize("method", ["newton", "lbfgs", "hoag"])
@pytest.mark.parametrize("part", ["value", "grad", "hess"])
@pytest.mark.parametrize("n_good", [0, 2, 4])
def test_numbers_that_are_none_end_a_search_without_an_error(method, part, n_good, monkeypatch):
    """From some evaluation on, as if something had overflowed there."""
    X, y = rows("logistic")
    usual, n_calls = BoundCriterion.evaluate, [0]

    def evaluate(self, *args, **options):
        found, n_calls[0] = usual(self, *args, **options), n_calls[0] + 1
        value = getattr(found, part)
        is_good = n_calls[0] <= n_good or value is None
        return found if is_good else replace(found, **{part: value * np.nan})

    monkeypatch.setattr(BoundCriterion, "evaluate", evaluate)
    with lax():
        result = hoag(Problem(X, y), KFold(3), [1.0], bounds=(-6, 6), method=method)
    assert result.status in MESSAGES
    assert np.isfinite(result.theta).all()


SCRIPT = """
import warnings
import numpy as np, fasthoag
np.seterr(all="raise")
X = np.random.default_rng(0).normal(size=(60, 3))
for name in fasthoag.estimators.ESTIMATORS:
    Estimator = getattr(fasthoag, name)
    y = np.sign(X[:, 0] + 0.5 * X[:, 1] ** 2) if hasattr(Estimator, "class_weight") else (
        np.exp(0.5 * X[:, 0] + 0.1 * X[:, 1])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        Estimator(cv=3).fit(X, y).predict(X)
print("done")
"""


def test_python_whose_warnings_are_errors_fits_every_estimator():
    paths = [os.getcwd(), os.environ.get("PYTHONPATH")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    run = [sys.executable, "-W", "error", "-c", SCRIPT]
    found = subprocess.run(run, capture_output=True, text=True, env=environment)
    assert found.stdout == "done\n", found.stderr


# ---- functions of the user


def sees_settings(seen):
    """A function that notes how it is told of overflow."""

    def function(*args, **options):
        seen.append(np.geterr()["over"])

    return function


def test_functions_of_the_user_keep_his_settings():
    X, y = rows("squared")
    seen = {name: [] for name in ("callback", "scorer", "criterion")}
    note = {name: sees_settings(one) for name, one in seen.items()}

    def scorer(estimator, X, y):
        note["scorer"]()
        return 0.0

    def smooth(z):
        note["criterion"]()
        return float((z**2).sum()), 2 * z

    problem = Problem(X, y, loss="squared")
    with np.errstate(over="raise"):
        hoag(problem, KFold(3), callback=note["callback"], scoring=scorer)
        hoag(problem, fasthoag.CustomCriterion(X, smooth))
        fasthoag.RidgeCV(cv=3, callback=note["callback"], scoring=scorer).fit(X, y)
        assert np.geterr()["over"] == "raise"
    assert {name: set(one) for name, one in seen.items()} == {name: {"raise"} for name in seen}


def test_a_callback_that_raises_leaves_the_settings_of_the_user():
    X, y = rows("squared")
    before = np.geterr()
    with pytest.raises(FloatingPointError), np.errstate(over="raise"):
        hoag(
            Problem(X, y, loss="squared"),
            KFold(3),
            callback=lambda record: np.exp(np.full(1, 1e4)),
        )
    assert np.geterr() == before
    seen = []
    hoag(Problem(X, y, loss="squared"), KFold(3), callback=sees_settings(seen))
    assert set(seen) == {before["over"]}
