"""The models of scikit-learn whose strength can be tuned: which loss and λ they stand for, and
what they cannot be asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn import linear_model, svm
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from fasthoag.estimators.estimator import Estimator
from fasthoag.kinds import numbers_of
from fasthoag.losses import Loss, find_loss
from fasthoag.penalties import PENALTIES, PerClass, SumPenalty

L1 = "ℓ1 penalties are not there yet"
CORNER = "a hinge has no second derivative"
# Losses that scikit-learn's metrics count twice: squares without a half, whole deviances.
TWICE = ("squared", "poisson", "gamma", "tweedie")


class Only(NamedTuple):
    """The values of a parameter that can be honoured, why not others, and what to write instead."""

    parameter: str
    allowed: tuple
    why: str
    instead: str = "Use GridSearchCV"


@dataclass(frozen=True)
class Kind:
    """How a class of scikit-learn is one of our problems.

    Attributes
    ----------
    loss : str or callable
        Its name, or the `Loss` of a model.
    strength : {"alpha", "C"}
        Its parameter.
    unit : {"one", "weights", "rows"}
        What λ is α times (or 1/C): scikit-learn's objectives are sums of losses, or means by the
        sum of the weights or by the number of the rows that train.
    joins_classes : bool
        Whether more than two classes have one multinomial model; else each is against the rest.
    weighs_rest : bool
        Whether in each against the rest the others have their own class weights, else 1.
    balances_weights : bool
        Whether class_weight="balanced" counts rows by their weights.
    has_scale : bool
        Whether its loss is in units of a scale of the errors that it estimates beside the
        coefficients: λ is α times that.
    only : tuple of Only
    penalises_intercept : callable
        Whether the intercept of a model is the coefficient of one more feature.
    """

    loss: str | Callable[[Any], Loss]
    strength: str = "alpha"
    unit: str = "one"
    joins_classes: bool = False
    weighs_rest: bool = True
    balances_weights: bool = True
    has_scale: bool = False
    only: tuple[Only, ...] = ()
    penalises_intercept: Callable[[Any], bool] = lambda model: False

    def check(self, model):
        """Raises ValueError for parameters of a model that cannot be honoured."""
        given = model.get_params(deep=False)
        for parameter, allowed, why, instead in self.only:
            if parameter in given and not any(is_same(given[parameter], one) for one in allowed):
                name = f"{type(model).__name__}({parameter}={given[parameter]!r})"
                raise ValueError(f"estimator {name} cannot be tuned: {why}. {instead}")

    def make_loss(self, model):
        return self.loss(model) if callable(self.loss) else find_loss(self.loss)


def is_same(value, other):
    return value is other or (type(value) is not bool and value == other)


def loss_of_tweedie(model):
    """The deviance of a TweedieRegressor, or a sentence."""
    power, link = model.power, model.link
    is_identity = link == "identity" or (link == "auto" and power <= 0)
    if power == 0 and is_identity:
        return find_loss("squared")
    if not is_identity and 1 <= power <= 2:
        named = {1: "poisson", 2: "gamma"}
        return find_loss(named[power]) if power in named else find_loss("tweedie", power=power)
    raise ValueError(
        f"estimator TweedieRegressor(power={power!r}, link={link!r}) cannot be tuned: there "
        "are power 0 with the identity as link and 1 <= power <= 2 with the log link. Use "
        "GridSearchCV"
    )


SGD_LOSSES = {
    "log_loss": "logistic",
    "squared_hinge": "squared_hinge",
    "squared_error": "squared",
    "squared_epsilon_insensitive": "squared_epsilon_insensitive",
    "huber": "huber",
}


def loss_of_sgd(model):
    parameter = {"huber": "delta", "squared_epsilon_insensitive": "epsilon"}.get(model.loss)
    options = {} if parameter is None else {parameter: model.epsilon}
    return find_loss(SGD_LOSSES[model.loss], **options)


POSITIVE = Only("positive", (False,), "bounds of coefficients are not there")
L2 = Only("penalty", ("l2",), L1)
OF_SGD = (
    L2,
    Only("early_stopping", (False,), "where it stops is a penalty of its own"),
)
SMOOTH = "its loss has no second derivative, or is none of fasthoag's"

KINDS = {
    linear_model.Ridge: Kind("squared", only=(POSITIVE,)),
    linear_model.LogisticRegression: Kind(
        "logistic",
        "C",
        joins_classes=True,
        only=(
            Only("penalty", ("l2", "deprecated"), L1 + ", and no penalty has no strength"),
            Only("l1_ratio", (None, 0), L1),
            Only("multi_class", ("auto", "multinomial", "deprecated"), "classes have one model"),
        ),
        penalises_intercept=lambda model: model.solver == "liblinear",
    ),
    linear_model.RidgeClassifier: Kind("squared", balances_weights=False, only=(POSITIVE,)),
    linear_model.PoissonRegressor: Kind("poisson", unit="weights"),
    linear_model.GammaRegressor: Kind("gamma", unit="weights"),
    linear_model.TweedieRegressor: Kind(loss_of_tweedie, unit="weights"),
    # Its objective at a fixed scale σ is 2/σ times that of Huber's loss with δ = ε σ and λ = α σ.
    linear_model.HuberRegressor: Kind(
        lambda model: find_loss("huber", delta=model.epsilon), has_scale=True
    ),
    linear_model.SGDClassifier: Kind(
        loss_of_sgd,
        unit="rows",
        weighs_rest=False,
        balances_weights=False,
        only=(*OF_SGD, Only("loss", ("log_loss", "squared_hinge", "squared_error"), SMOOTH)),
    ),
    linear_model.SGDRegressor: Kind(
        loss_of_sgd,
        unit="rows",
        only=(
            *OF_SGD,
            Only("loss", ("squared_error", "huber", "squared_epsilon_insensitive"), SMOOTH),
        ),
    ),
    svm.LinearSVC: Kind(
        "squared_hinge",
        "C",
        weighs_rest=False,
        only=(
            L2,
            Only(
                "loss",
                ("squared_hinge",),
                CORNER,
                "Use loss='squared_hinge', or fasthoag.LinearSVCCV(loss='smoothed_hinge')",
            ),
            Only("multi_class", ("ovr",), "each class is against the rest"),
        ),
        penalises_intercept=lambda model: True,
    ),
    svm.LinearSVR: Kind(
        lambda model: find_loss("squared_epsilon_insensitive", epsilon=model.epsilon),
        "C",
        only=(
            Only(
                "loss",
                ("squared_epsilon_insensitive",),
                "its loss has a corner",
                "Use loss='squared_epsilon_insensitive'",
            ),
        ),
        penalises_intercept=lambda model: True,
    ),
}
# Those that a sentence of their own refuses.
REFUSED = {
    linear_model.Lasso: L1,
    linear_model.ElasticNet: L1,
    linear_model.LinearRegression: "it has no strength; Ridge has",
}


OUR_PENALTIES = tuple({*PENALTIES.values(), PerClass, SumPenalty})


class Targets(NamedTuple):
    """Targets as our losses take them, a column for each model, (n_rows, n_models); the classes and
    the number of the class of every row, or None; and the loss."""

    columns: np.ndarray
    classes: Any
    index: Any
    loss: Loss


@dataclass(frozen=True)
class Wrapped:
    """The estimator of the user, the model in it and the steps before that."""

    estimator: Any
    model: Any
    steps: tuple
    prefix: str
    kind: Kind

    @property
    def parameter(self):
        """The name of the strength among the parameters of the estimator."""
        return self.prefix + self.kind.strength

    def strength(self, theta):
        """C or alpha; θ is the logarithm of 1/C or of alpha."""
        return float(np.exp(-theta if self.kind.strength == "C" else theta))

    def theta(self, strength):
        return -np.log(strength) if self.kind.strength == "C" else np.log(strength)

    @property
    def intercept_column(self):
        """The value of the feature whose coefficient is the intercept; None where the intercept has
        no penalty or is not there."""
        is_penalised = self.kind.penalises_intercept(self.model) and self.model.fit_intercept
        return float(self.model.intercept_scaling) if is_penalised else None

    @property
    def has_free_intercept(self):
        return bool(self.model.fit_intercept) and self.intercept_column is None

    def targets(self, y):
        """The `Targets` of y."""
        loss = self.kind.make_loss(self.model)
        if not is_classifier(self.model):
            y = numbers_of(y, "y").astype(np.float64)
            is_ridge = isinstance(self.model, linear_model.Ridge)
            y = y if is_ridge and y.ndim == 2 else column_or_1d(y, warn=True)
            loss.check_y(y)
            return Targets(y.reshape(len(y), -1), None, None, loss)
        check_classification_targets(y)
        classes, index = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"{type(self.model).__name__} needs at least 2 classes in y; got "
                f"{len(classes)} class: {classes.tolist()}"
            )
        if len(classes) > 2 and self.kind.joins_classes:
            if self.kind.penalises_intercept(self.model):
                raise ValueError(
                    f"solver='liblinear' is for 2 classes; y has {len(classes)}. Use another solver"
                )
            loss = find_loss("multinomial", n_classes=len(classes))
            return Targets(index[:, None].astype(np.float64), classes, index, loss)
        positive = np.array([1]) if len(classes) == 2 else np.arange(len(classes))
        signs = np.where(index[:, None] == positive, 1.0, -1.0)
        return Targets(signs, classes, index, loss)

    def weights(self, targets, sample_weight, train):
        """Weights of the rows in the fits of every model on the rows `train`, (n_rows,
        n_models)."""
        n, n_models = targets.columns.shape
        weight = np.ones(n) if sample_weight is None else sample_weight
        asked = self.model.get_params(deep=False).get("class_weight")
        if asked is None:
            return np.repeat(weight[:, None], n_models, axis=1)
        labels = targets.classes[targets.index[train]]
        counts = {"sample_weight": weight[train]} if self.kind.balances_weights else {}
        counts = counts if sample_weight is not None else {}
        by_class = compute_class_weight(asked, classes=targets.classes, y=labels, **counts)
        own = by_class[targets.index][:, None]
        if n_models > 1 and not self.kind.weighs_rest:
            own = np.where(targets.columns > 0, own, 1.0)
        return weight[:, None] * np.broadcast_to(own, (n, n_models))

    def unit(self, sample_weight, train):
        """λ over alpha, or over 1/C."""
        if self.kind.unit == "one":
            return 1.0
        is_count = self.kind.unit == "rows" or sample_weight is None
        return float(len(train) if is_count else sample_weight[train].sum())


def wrapped(estimator):
    """The `Wrapped` of an estimator; raises TypeError or ValueError for one that cannot be."""
    if isinstance(estimator, type):
        raise TypeError(f"estimator must be an instance, {estimator.__name__}(); got the class")
    if isinstance(estimator, OUR_PENALTIES):
        raise TypeError(
            f"estimator must be a model of scikit-learn; fasthoag.{type(estimator).__name__} is a "
            "penalty, for fasthoag.Problem(penalty=). Pass sklearn.linear_model.Ridge() or another"
        )
    if isinstance(estimator, Estimator):
        raise TypeError(
            f"estimator must be a model of scikit-learn; fasthoag.{type(estimator).__name__} tunes "
            "itself: fit it as it is"
        )
    if isinstance(estimator, Pipeline):
        *steps, (name, last) = estimator.steps
        inner = wrapped(last)
        if inner.steps:
            raise ValueError(
                "estimator: the last step of a Pipeline must be a model, not another Pipeline"
            )
        return Wrapped(estimator, last, tuple(steps), f"{name}__", inner.kind)
    kind = KINDS.get(type(estimator))
    if kind is None:
        known = ", ".join(sorted(cls.__name__ for cls in KINDS))
        why = next((f": {REFUSED[cls]}" for cls in REFUSED if type(estimator) is cls), "")
        raise TypeError(
            f"estimator must be one of {known}, or a Pipeline that ends with one; got "
            f"{type(estimator).__name__}{why}. Use GridSearchCV for others"
        )
    kind.check(estimator)
    return Wrapped(estimator, estimator, (), "", kind)
