"""A fit that fails, or that is interrupted, leaves an estimator as it was: the model of an earlier
fit whole and of use, and one that was never fitted without an attribute of a model."""

import copy
import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError

import fasthoag
from fasthoag.estimators import kernel, tuned

pytestmark = pytest.mark.filterwarnings("ignore")
EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
every = pytest.mark.parametrize("Estimator", EVERY, ids=lambda E: E.__name__)


def data(Estimator, n=60, p=4, seed=0, labels=("no", "perhaps", "yes")):
    """Rows of an estimator: three classes, two where it takes no more, or targets > 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    z = X[:, 0] - 0.5 * X[:, 1] + 0.3 * rng.normal(size=n)
    if is_classifier(Estimator()):
        cuts = [1 / 3, 2 / 3] if Estimator().__sklearn_tags__().classifier_tags.multi_class else 0.5
        return X, np.array(labels)[np.digitize(z, np.atleast_1d(np.quantile(z, cuts)))]
    return X, np.exp(0.5 * z)


def other_data(Estimator):
    """Rows with other features, other labels and other scales, of which a mix with the first would
    be wrong."""
    X, y = data(Estimator, n=50, p=5, seed=1, labels=("a", "b", "c"))
    return X, y if is_classifier(Estimator()) else 100.0 * y


@cache
def first_fit(Estimator):
    X, y = data(Estimator)
    return Estimator(cv=3).fit(X, y), X


def fitted(Estimator):
    """An estimator with a model, and rows for it."""
    model, X = first_fit(Estimator)
    return copy.copy(model), X


def assert_unchanged(model, before, predicted, X):
    """That a model has the attributes `before`, the very same objects, and predicts as before."""
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(model.predict(X), predicted)


class Interrupting:
    """A callback that is interrupted at its n-th call; `n_calls` is how many there were."""

    def __init__(self, at=None, error=KeyboardInterrupt):
        self.at, self.error, self.n_calls = at, error, 0

    def __call__(self, record):
        self.n_calls += 1
        if self.n_calls == self.at:
            raise self.error


@every
def test_a_fit_interrupted_at_any_step_leaves_the_old_model(Estimator):
    model, X = fitted(Estimator)
    callback = Interrupting()
    clone(model).set_params(callback=callback).fit(*other_data(Estimator))
    assert callback.n_calls > 2
    steps = np.unique(np.linspace(1, callback.n_calls, 6).astype(int))
    for at in steps:
        model.set_params(callback=Interrupting(at))
        before, predicted = dict(vars(model)), model.predict(X)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*other_data(Estimator))
        assert_unchanged(model, before, predicted, X)


def after(n):
    """A replacement of a function that works n times and then has no memory."""

    def replaced(function):
        left = [n]

        def called(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise MemoryError
            return function(*args, **options)

        return called

    return replaced


# The functions of their module that the last steps of a fit call.
LAST_STEPS = {
    tuned: ["Problem", "hoag", "final_fit", "replace", "_without_folds", "to_host"],
    kernel: ["KernelProblem", "hoag", "replace", "find_kernel", "check_solver"],
}


def module_of(Estimator):
    return kernel if issubclass(Estimator, kernel.KernelEstimator) else tuned


@pytest.mark.parametrize(
    ("Estimator", "step"), [(E, step) for E in EVERY for step in LAST_STEPS[module_of(E)]]
)
def test_no_memory_at_any_stage_leaves_the_old_model(Estimator, step, monkeypatch):
    module = module_of(Estimator)
    model, X = fitted(Estimator)
    before, predicted = dict(vars(model)), model.predict(X)
    for n in (0, 1, 2):
        with monkeypatch.context() as patched:
            patched.setattr(module, step, after(n)(getattr(module, step)))
            try:
                clone(model).fit(*other_data(Estimator))
            except MemoryError:
                pass
            else:
                continue  # It is called so many times and no more.
            patched.setattr(module, step, after(n)(getattr(module, step)))
            with pytest.raises(MemoryError):
                model.fit(*other_data(Estimator))
        assert_unchanged(model, before, predicted, X)


def with_nan(values):
    values = np.array(values, float)
    values[3] = np.nan
    return values


BAD_ROWS = {
    "NaN in X": lambda X, y: {"X": with_nan(X)},
    "a short y": lambda X, y: {"y": y[:-1]},
    "one value in y": lambda X, y: {"y": np.full(len(y), y[0])},
    "y of complex numbers": lambda X, y: {"y": np.arange(len(y)) + 1j},
    "a negative weight": lambda X, y: {"sample_weight": -np.ones(len(y))},
    "weights without a positive one": lambda X, y: {"sample_weight": np.zeros(len(y))},
    "a short weight": lambda X, y: {"sample_weight": np.ones(3)},
    "validation of other features": lambda X, y: {"validation": (X[:, :2], y)},
    "validation that is no pair": lambda X, y: {"validation": 3},
    "NaN in stop_on": lambda X, y: {"stop_on": (with_nan(X), y)},
    "a short y of stop_on": lambda X, y: {"stop_on": (X, y[:-1])},
}
BAD_PARAMETERS = [
    {"cv": 1},
    {"cv": 10**6},
    {"bounds": (1, -1)},
    {"penalty_per": "row"},
    {"penalty_factor": [1.0]},
    {"penalty_per": [0, 1]},
    {"scoring": "no such scorer"},
    {"scoring": lambda estimator, X, y: 1 / 0},
    {"kernel": "sigmoid"},
    {"kernel": lambda X, Y: np.full((len(X), 1), np.nan)},
    {"per_feature": 2},
    {"solver": "of its own"},
]


@pytest.mark.parametrize(
    ("Estimator", "name"),
    [
        (E, name)
        for E in EVERY
        for name in BAD_ROWS
        if "stop_on" not in name or module_of(E) is tuned
    ],
)
def test_refused_rows_leave_the_old_model(Estimator, name):
    model, X = fitted(Estimator)
    before, predicted = dict(vars(model)), model.predict(X)
    rows = dict(zip(("X", "y"), other_data(Estimator), strict=True))
    rows |= BAD_ROWS[name](**rows)
    is_fine = name == "one value in y" and not is_classifier(model)
    if is_fine:
        rows["X"] = with_nan(rows["X"])
    with pytest.raises((ValueError, TypeError)):
        model.fit(**rows)
    assert_unchanged(model, before, predicted, X)
    never = clone(model)
    with pytest.raises((ValueError, TypeError)):
        never.fit(**rows)
    assert vars(never) == never.get_params()
    with pytest.raises(NotFittedError):
        never.predict(X)


@pytest.mark.parametrize(
    ("Estimator", "parameters"),
    [(E, bad) for E in EVERY for bad in BAD_PARAMETERS if {*bad} <= E().get_params().keys()],
    ids=lambda value: value.__name__ if isinstance(value, type) else "+".join(value),
)
def test_refused_parameters_leave_the_old_model(Estimator, parameters):
    model, X = fitted(Estimator)
    model.set_params(**parameters)
    before, predicted = dict(vars(model)), model.predict(X)
    with pytest.raises((ValueError, TypeError)):
        model.fit(*other_data(Estimator))
    assert_unchanged(model, before, predicted, X)


@every
def test_warnings_that_are_errors_leave_the_old_model(Estimator):
    model, X = fitted(Estimator)
    model.set_params(max_iter=1, tol=1e-12)
    before, predicted = dict(vars(model)), model.predict(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            model.fit(*other_data(Estimator))
    assert_unchanged(model, before, predicted, X)


def test_names_of_features_stay_with_their_model_too():
    pandas = pytest.importorskip("pandas")
    X, y = data(fasthoag.RidgeCV)
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = fasthoag.RidgeCV().fit(frame, y)
    for rows in (X, frame.rename(columns={"a": "z"}), frame[["a", "b"]]):
        with pytest.raises(ValueError, match="sample_weight"):
            model.fit(rows, y, sample_weight=-np.ones(len(y)))
        assert list(model.feature_names_in_) == list("abcd")
        assert model.n_features_in_ == 4
        model.predict(frame)
    model.fit(X, y)
    assert "feature_names_in_" not in vars(model)


@every
def test_the_old_model_predicts_while_the_new_one_is_sought(Estimator):
    model, X = fitted(Estimator)
    predicted = model.predict(X)

    def callback(record):
        np.testing.assert_array_equal(model.predict(X), predicted)

    model.set_params(callback=callback).fit(*other_data(Estimator))
    assert model.n_features_in_ == 5
