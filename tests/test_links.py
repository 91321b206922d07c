"""What predictions stand for: inverse links, declared by the losses and used by everyone."""

import pickle

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import linear_model

import fasthoag
from fasthoag import custom_loss, find_loss, mix_losses
from fasthoag.estimators.tuned import TunedEstimator
from fasthoag.io import Model
from fasthoag.losses import LOSSES, Loss, likeliest, log_probabilities

Z = np.array([-800.0, -30.0, -1.0, 0.0, 1e-9, np.log(3.0), 20.0])
Z_3 = np.column_stack([Z, 0.5 * Z[::-1], np.ones(len(Z))])
EVERY = [*LOSSES, "multinomial"]
LINEAR = [
    name
    for name in fasthoag.estimators.ESTIMATORS
    if issubclass(getattr(fasthoag, name), TunedEstimator)
]
LOG, LOGIT = {"poisson", "gamma", "tweedie"}, {"logistic", "multinomial"}


def predictions(loss):
    return Z_3 if loss == "multinomial" else Z


def expected_of(loss):
    """In closed form."""
    if loss == "multinomial":
        return softmax(Z_3, axis=1)
    if loss == "logistic":
        return np.column_stack([expit(-Z), expit(Z)])
    return np.exp(Z) if loss in LOG else Z


@pytest.mark.parametrize("loss", EVERY)
def test_inverse_link_is_the_closed_form(loss):
    found = find_loss(loss).inverse_link(predictions(loss))
    np.testing.assert_array_equal(found, expected_of(loss))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("loss", sorted(LOGIT))
def test_probabilities_sum_to_one_and_name_the_likeliest(loss):
    z = predictions(loss)
    found = find_loss(loss).inverse_link(z)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal(found.argmax(axis=1), likeliest(z))
    logs = log_probabilities(z)
    assert np.isfinite(logs).all()
    np.testing.assert_allclose(np.exp(logs), found, rtol=1e-13, atol=1e-300)


PEERS = {
    "squared": linear_model.LinearRegression(),
    "huber": linear_model.HuberRegressor(),
    "poisson": linear_model.PoissonRegressor(),
    "gamma": linear_model.GammaRegressor(),
    "tweedie": linear_model.TweedieRegressor(power=1.5),
    "logistic": linear_model.LogisticRegression(),
    "multinomial": linear_model.LogisticRegression(),
}


@pytest.mark.parametrize("loss", PEERS)
def test_inverse_link_is_that_of_scikit_learn(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = np.exp(X[:, 0]) + 0.1
    if loss in LOGIT:
        y = np.digitize(y, [1.0] if loss == "logistic" else [0.7, 1.5])
    peer = PEERS[loss].fit(X, y)
    z = X @ peer.coef_.T + peer.intercept_
    z = z[:, 0] if loss == "logistic" else z
    expected = peer.predict_proba(X) if loss in LOGIT else peer.predict(X)
    np.testing.assert_allclose(find_loss(loss).inverse_link(z), expected, rtol=1e-13)


def test_predictions_of_a_loss_of_a_user_stand_for_themselves():
    loss = custom_loss(
        lambda y, z: 0.5 * (z - y) * (z - y), lambda y, z: z - y, lambda y, z: 1.0, name="mine"
    )
    for one in (loss, mix_losses("poisson", loss)):
        assert one.link == "identity"
        np.testing.assert_array_equal(one.inverse_link(Z), Z)


@pytest.mark.parametrize(
    ("first", "second", "link"),
    [
        ("poisson", "gamma", "log"),
        ("poisson", "squared", "identity"),
        ("logistic", "squared_hinge", "identity"),
        ("logistic", find_loss("logistic", smoothing=0.5), "logit"),
        ("huber", "quantile", "identity"),
    ],
)
def test_mix_has_the_link_that_its_parts_share(first, second, link):
    mix = mix_losses(first, second)
    assert mix.link == link
    model = Model(mix.name, coef=[[1.0]], intercept=[0.0])
    expected = Z if link == "logit" else mix.inverse_link(Z)  # This model has no labels.
    np.testing.assert_array_equal(model.predict(Z[:, None]), expected)


@pytest.mark.parametrize("loss", EVERY)
def test_model_file_predicts_by_the_link_of_its_loss(loss):
    is_classification = find_loss(loss).is_classification
    z = predictions(loss)
    n_outputs = z.shape[1] if z.ndim == 2 else 1
    classes = np.arange(max(2, n_outputs)) if is_classification else ()
    model = Model(loss, coef=np.eye(n_outputs), intercept=np.zeros(n_outputs), classes=classes)
    X = z.reshape(len(z), -1)
    expected = likeliest(z) if is_classification else expected_of(loss)
    np.testing.assert_array_equal(model.predict(X), expected)
    if loss == "logistic":
        np.testing.assert_array_equal(model.predict_proba(X), expected_of(loss))


@pytest.mark.parametrize("name", LINEAR)
def test_estimator_predicts_by_the_link_of_its_loss(name):
    Estimator = getattr(fasthoag, name)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = np.exp(X[:, 0] + rng.normal(size=60))
    is_classification = hasattr(Estimator, "decision_function")
    model = Estimator(cv=3).fit(X, y > 1 if is_classification else y)
    z = (X @ model.coef_.T).reshape(-1) + model.intercept_
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(model.predict_proba(X), find_loss("logistic").inverse_link(z))
    elif not is_classification:
        loss = name.removesuffix("RegressorCV").lower()
        np.testing.assert_array_equal(model.predict(X), np.exp(z) if loss in LOG else z)


@pytest.mark.parametrize("loss", [*EVERY, "poisson+gamma"])
def test_pickle_without_a_link_has_that_of_its_name(loss):
    loss = mix_losses("poisson", "gamma") if "+" in loss else find_loss(loss)
    assert pickle.loads(pickle.dumps(loss)).link == loss.link
    state = loss.__getstate__()
    del state["link"]
    old = Loss.__new__(Loss)
    old.__setstate__(state)
    assert old == loss


@pytest.mark.parametrize(
    ("power", "other"),
    [
        (0, fasthoag.RidgeCV(cv=5)),
        (1, fasthoag.PoissonRegressorCV()),
        (2.0, fasthoag.GammaRegressorCV()),
    ],
)
def test_powers_that_have_a_name_are_the_same_to_the_bit(power, other):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 4))
    y = np.exp(X[:, 0]) + 1e9 * (power == 0)
    model = fasthoag.TweedieRegressorCV(power=power).fit(X, y)
    other.fit(X, y)
    assert model.alpha_ == other.alpha_
    np.testing.assert_array_equal(model.coef_, other.coef_)
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    assert model.score(X, y) == pytest.approx(other.score(X, y))


def test_a_normal_mean_may_be_negative():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 4))
    assert fasthoag.TweedieRegressorCV(power=0).fit(X, X[:, 0]).score(X, X[:, 0]) > 0.9
    with pytest.raises(ValueError, match="y must contain"):
        fasthoag.TweedieRegressorCV(power=1).fit(X, X[:, 0])
