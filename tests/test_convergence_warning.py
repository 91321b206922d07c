"""The warning of estimators that did not reach what was asked for."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn import exceptions
from sklearn.base import is_classifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fasthoag

EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
every = pytest.mark.parametrize("Estimator", EVERY, ids=lambda E: E.__name__)
CLASSES = pytest.mark.parametrize(
    "category",
    [fasthoag.ConvergenceWarning, exceptions.ConvergenceWarning],
    ids=["ours", "scikit-learn's"],
)


def rows(Estimator):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = np.exp(0.5 * X[:, 0]) * rng.gamma(4, 0.25, size=60)
    return X, (y > 1) if is_classifier(Estimator()) else y


@every
@CLASSES
def test_both_filters_know_the_warning_of_an_estimator(Estimator, category):
    X, y = rows(Estimator)
    model = Estimator(bounds=(-3, -2))
    with pytest.warns(category, match=r"Widen bounds=|raise max_iter="):
        model.fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", category)
        model.fit(X, y)


@every
def test_the_warning_points_at_the_line_of_the_user(Estimator):
    X, y = rows(Estimator)
    for model in (
        Estimator(bounds=(-3, -2)),
        make_pipeline(StandardScaler(), Estimator(max_iter=1, bounds=(-3, -2))),
    ):
        with pytest.warns(fasthoag.ConvergenceWarning) as caught:
            model.fit(X, y)
        assert {one.filename for one in caught} == {__file__}


def test_the_warning_can_be_pickled():
    X, y = rows(fasthoag.RidgeCV)
    with pytest.warns(fasthoag.ConvergenceWarning) as caught:
        fasthoag.RidgeCV(bounds=(-3, -2)).fit(X, y)
    message = caught[0].message
    assert type(message).__name__ == "ConvergenceWarning"
    again = pickle.loads(pickle.dumps(message))
    assert isinstance(again, fasthoag.ConvergenceWarning)
    assert again.args == message.args


def test_a_search_without_scikit_learn_does_not_load_it_to_warn():
    code = """
import sys, warnings, numpy as np, fasthoag
problem = fasthoag.Problem(np.eye(4), [1.0, -1.0, 1.0, -1.0])
with warnings.catch_warnings(record=True) as caught:
    fasthoag.hoag(problem, fasthoag.HeldOut(np.eye(4), -problem.y), bounds=(-3, 3))
(one,) = caught
sys.exit("sklearn" in sys.modules or one.category is not fasthoag.ConvergenceWarning)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
