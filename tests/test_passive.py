"""Parameters of scikit-learn's estimators that choose no model here."""

import inspect
import pickle
from dataclasses import field

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.svm
from sklearn.base import clone, is_classifier

import fasthoag
from fasthoag.estimators.parameters import with_parameters
from fasthoag.estimators.passive import passive_of

EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
PASSIVE = [(E, name) for E in EVERY for name in passive_of(E)]
of_each = pytest.mark.parametrize(
    ("Estimator", "name"), PASSIVE, ids=[f"{E.__name__}-{name}" for E, name in PASSIVE]
)
ZEROS = (None, "warn", (0,), [0.0, 0.0], np.zeros(1))  # of l1_ratios


def rows(Estimator):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = np.exp(0.5 * X[:, 0]) * rng.gamma(4, 0.25, size=60)
    return X, (y > 1) if is_classifier(Estimator()) else y


@of_each
def test_what_is_taken_chooses_nothing(Estimator, name):
    X, y = rows(Estimator)
    rule = passive_of(Estimator)[name]
    usual = Estimator(cv=3, tol=0.1).fit(X, y)
    for value in ZEROS if callable(rule.values) else rule.values:
        model = Estimator(cv=3, tol=0.1, **{name: value})
        clone(model)
        np.testing.assert_array_equal(model.fit(X, y).coef_, usual.coef_)


@of_each
@pytest.mark.parametrize("value", ["x", 0.5, [0.5], np.array([0.0, 1.0])], ids=str)
def test_what_cannot_be_honoured_is_refused_before_any_work(Estimator, name, value):
    X, y = rows(Estimator)
    model = Estimator(callback=lambda record: pytest.fail("work was done"), **{name: value})
    with pytest.raises(ValueError, match=rf"^{name}=") as refusal:
        model.fit(X, y)
    assert passive_of(Estimator)[name].instead in str(refusal.value)


@of_each
def test_the_docstring_says_what_is_taken_and_what_it_means(Estimator, name):
    rule = passive_of(Estimator)[name]
    assert f"\n{name} : {rule.kind}, default " in Estimator.__doc__
    assert f"\n    {rule.means}\n" in Estimator.__doc__


@of_each
def test_the_default_is_taken(Estimator, name):
    rule = passive_of(Estimator)[name]
    assert rule.takes(rule.default)
    assert Estimator().get_params()[name] == rule.default


def test_parameters_may_be_declared_as_positional():
    @with_parameters()
    class Positional(fasthoag.RidgeCV):
        alphas: tuple = field(default=(1.0,), kw_only=False)

    assert Positional([0.1], cv=3).get_params()["alphas"] == [0.1]
    assert Positional().get_params() == fasthoag.RidgeCV().get_params() | {"alphas": (1.0,)}
    with pytest.raises(TypeError, match="positional"):
        Positional([0.1], 3)


def test_a_random_state_of_numpy_is_a_seed():
    X, y = rows(fasthoag.RidgeCV)
    model = fasthoag.RidgeCV(cv=3, method="random", n_trials=5)
    first, again, other = (
        clone(model).set_params(random_state=np.random.RandomState(seed)).fit(X, y).alpha_
        for seed in (0, 0, 1)
    )
    assert first == again != other
    usual = fasthoag.RidgeCV(cv=3).fit(X, y)
    seeded = fasthoag.RidgeCV(cv=3, random_state=np.random.RandomState(0)).fit(X, y)
    assert seeded.alpha_ == usual.alpha_
    pickle.dumps(seeded)


# What chooses strengths, or is about more than a model, is not passive.
OF_CHOICES = {
    "LogisticRegressionCV": {"Cs", "refit", "use_legacy_attributes", "verbose"},
    "RidgeCV": {"alphas", "store_cv_results"},
    "RidgeClassifierCV": {"alphas", "store_cv_results"},
}


@pytest.mark.parametrize("name", OF_CHOICES)
def test_every_parameter_of_scikit_learn_is_there(name):
    if name not in fasthoag.estimators.ESTIMATORS:
        pytest.skip("no such estimator")
    theirs = inspect.signature(getattr(sklearn.linear_model, name)).parameters
    ours = getattr(fasthoag, name)().get_params()
    assert set(theirs) - set(ours) <= OF_CHOICES[name]
