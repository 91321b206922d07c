"""The same data in other units, in another order, or with copies for weights give the same model.

Every transformation below maps data to data whose best model is known from that of the data as
they were: what nobody would call another problem must not get another answer.
"""

import warnings
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.model_selection import KFold as Splits
from support.closed_form import minimiser, with_ones
from support.designs import FEW_LOSSES
from support.problems import targets

import fasthoag
from fasthoag import HeldOut, KFold, Problem, find_loss, hoag
from fasthoag.criteria import CRITERIA
from fasthoag.estimators.tuned import TunedEstimator
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES, MULTINOMIAL, POSITIVE, derivative

# Both searches end where |f'| <= TOL |f|. Where f'' >= 2 sqrt(TOL) |f|, which is tested below,
# their θ differ by at most 2 TOL |f| / f'' <= sqrt(TOL); predictions move by no more than their own
# size for a unit of θ (of least squares dz/dθ = -λ / (σ² + λ) z in every singular direction).
TOL = 1e-6
CLOSE = TOL**0.5


# ---- data --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Data:
    """A problem before it has a format: X is a float64 array, a fold is (train, test)."""

    X: np.ndarray
    y: np.ndarray
    loss: Any
    folds: tuple
    weight: Any = None
    factor: Any = None
    fit_intercept: bool = True


# Parameters that tell sides and units apart, where the defaults would not.
PARAMETERS = {"quantile": {"quantile": 0.25}, "squared_epsilon_insensitive": {"epsilon": 0.25}}
EVERY_LOSS = (*LOSSES, MULTINOMIAL.name)
# Of problems with one clear minimum; 0 for the others.
SEEDS = {
    ("squared", 150): 1,
    ("logistic", 10): 5,
    ("squared_epsilon_insensitive", 10): 1,
    ("poisson", 10): 2,
    ("quantile", 10): 9,
}


def numbers(rng, *shape):
    """Normal deviates in multiples of 2^-6: every format holds them exactly, shifted too."""
    return np.round(64 * rng.normal(size=shape)) / 64


@cache
def data_for(loss, n_rows=72, n_features=10, fit_intercept=True):
    """Half of X is zeros, and six features count."""
    rng = np.random.default_rng(SEEDS.get((loss, n_features), 0))
    X = numbers(rng, n_rows, n_features) * (rng.random((n_rows, n_features)) < 0.5)
    score = X[:, :6] @ rng.choice([-1.0, 1.0], size=6) + 0.5 * fit_intercept
    if loss == MULTINOMIAL.name:
        y = np.argmax(np.outer(score, [1.0, 0.0, -1.0]) + rng.normal(size=(n_rows, 3)), axis=1)
    else:
        y = np.round(64 * targets(loss, score, rng)) / 64
        y = np.maximum(y, 1 / 64) if LOSSES[loss].domain is POSITIVE else y
    folds = tuple(Splits(3, shuffle=True, random_state=0).split(X))
    parameters = {"n_classes": 3} if loss == MULTINOMIAL.name else PARAMETERS.get(loss, {})
    return Data(X, y.astype(float), find_loss(loss, **parameters), folds, None, None, fit_intercept)


# ---- transformations ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Image:
    """Transformed data, and how their solution follows from that of the data before.

    The sum of losses is multiplied by `loss_scale` and coefficients by `coef_scale`, so that
    λ is multiplied by ``loss_scale / coef_scale²``; predictions become ``scale z + shift``.
    """

    data: Data
    loss_scale: float = 1.0
    coef_scale: float = 1.0
    scale: float = 1.0
    shift: float = 0.0
    rows: Any = ...  # the row before of every row
    folds: Any = ...  # and the fold
    is_as_cheap: bool = False  # whether it must take as many passes, up to a factor of 2

    @property
    def log_lam(self):
        return np.log(self.loss_scale) - np.log(self.coef_scale**2)


def as_they_are(data):
    return data


@dataclass(frozen=True)
class Transformation:
    """From data to their `Image`; `before` prepares the data that it is compared with."""

    image: Any
    before: Any = as_they_are


def with_rows(data, index):
    """The data of these rows, in the same folds."""
    folds = tuple(
        tuple(np.flatnonzero(np.isin(index, part)) for part in fold) for fold in data.folds
    )
    weight = None if data.weight is None else data.weight[index]
    return replace(data, X=data.X[index], y=data.y[index], folds=folds, weight=weight)


def rows_permuted(data):
    index = np.random.default_rng(1).permutation(len(data.y))
    return Image(with_rows(data, index), rows=index)


def columns_permuted(data):
    return Image(replace(data, X=data.X[:, np.random.default_rng(1).permutation(data.X.shape[1])]))


def folds_permuted(data):
    return Image(replace(data, folds=data.folds[::-1]), folds=slice(None, None, -1))


def with_counts(largest, data):
    """The data with a whole number as the weight of every row."""
    counts = np.random.default_rng(1).integers(0, largest + 1, len(data.y))
    return replace(data, weight=counts.astype(float))


def rows_repeated(data):
    """As many copies of a row as its weight says, none of them with a weight."""
    index = np.repeat(np.arange(len(data.y)), data.weight.astype(int))
    return Image(with_rows(replace(data, weight=None), index), rows=index)


def columns_times(c, data):
    return Image(replace(data, X=c * data.X), coef_scale=1 / c)


def columns_mixed(largest, data):
    """Every column in a unit of its own, and strengths that follow."""
    exponents = np.random.default_rng(1).integers(-largest, largest + 1, data.X.shape[1])
    X = data.X * 2.0**exponents
    return Image(replace(data, X=X, factor=4.0**exponents), is_as_cheap=True)


def weights_times(c, data):
    weight = c * (np.ones(len(data.y)) if data.weight is None else data.weight)
    return Image(replace(data, weight=weight), loss_scale=c)


# How the loss of targets times c follows from that of the targets: the factor of the loss; whether
# predictions are multiplied, else shifted by log c; parameters in the unit of targets.
TARGET_UNITS = {
    "squared": (lambda loss, c: c**2, True, ()),
    "huber": (lambda loss, c: c**2, True, ("delta",)),
    "squared_epsilon_insensitive": (lambda loss, c: c**2, True, ("epsilon",)),
    "quantile": (lambda loss, c: c, True, ("smoothing",)),  # q r + h log(1 + exp(-r / h))
    "poisson": (lambda loss, c: c, False, ()),  # c exp(z) - c y z + ...
    "gamma": (lambda loss, c: 1.0, False, ()),  # a function of y exp(-z)
    "tweedie": (lambda loss, c: c ** (2 - loss.parameters["power"]), False, ()),
}


def targets_times(c, data):
    loss_scale, is_multiplied, names = TARGET_UNITS[data.loss.name]
    parameters = data.loss.parameters or {}
    scaled = {name: c * parameters[name] for name in names}
    loss = find_loss(data.loss, **{**parameters, **scaled})
    image = partial(Image, replace(data, y=c * data.y, loss=loss), loss_scale(data.loss, c))
    return image(coef_scale=c, scale=c) if is_multiplied else image(shift=np.log(c))


def targets_mirrored(data):
    """-y for y; the q-quantile becomes that of 1 - q."""
    parameters = dict(data.loss.parameters or {})
    if "quantile" in parameters:
        parameters["quantile"] = 1 - parameters["quantile"]
    loss = find_loss(data.loss, **parameters)
    return Image(replace(data, y=-data.y, loss=loss), coef_scale=-1.0, scale=-1.0)


def features_offset(c, data):
    """Every column shifted by about c, which the intercept takes."""
    offsets = c * np.random.default_rng(1).integers(1, 4, data.X.shape[1])
    return Image(replace(data, X=data.X + offsets))


def targets_offset(c, data):
    return Image(replace(data, y=data.y + c), shift=c)


def column_added(value, data):
    """A constant is the intercept once more, but penalised: its coefficient is 0."""
    return Image(replace(data, X=np.insert(data.X, 3, value, axis=1)))


def column_quartered(data):
    """Halves of a column, four times: w_1 + ... + w_4 = 2 w costs 4 (w / 2)², as much as w²."""
    half = 0.5 * data.X[:, :1]
    return Image(replace(data, X=np.hstack([half, data.X[:, 1:], half, half, half])))


def column_split(data):
    """a x and b x with factors f and g cost λ u² / (a²/f + b²/g) where u = a w + b v is shared
    best: 2 x and x with the factors 8 and 2 as much as x."""
    X = np.hstack([2 * data.X[:, :1], data.X])
    return Image(replace(data, X=X, factor=np.r_[8.0, 2.0, np.ones(X.shape[1] - 2)]))


TRANSFORMATIONS = {
    "rows permuted": Transformation(rows_permuted),
    "columns permuted": Transformation(columns_permuted),
    "folds permuted": Transformation(folds_permuted),
    "rows repeated": Transformation(rows_repeated, partial(with_counts, 3)),
    "rows without weight": Transformation(rows_repeated, partial(with_counts, 1)),
    "columns x 2^3": Transformation(partial(columns_times, 2.0**3)),
    "columns x 2^30": Transformation(partial(columns_times, 2.0**30)),
    "columns x 2^-30": Transformation(partial(columns_times, 2.0**-30)),
    "columns mixed 2^2": Transformation(partial(columns_mixed, 2)),
    "columns mixed 2^30": Transformation(partial(columns_mixed, 30)),
    "weights x 2^3": Transformation(partial(weights_times, 2.0**3)),
    "weights x 2^30": Transformation(partial(weights_times, 2.0**30)),
    "weights x 2^-30": Transformation(partial(weights_times, 2.0**-30)),
    "targets x 2^4": Transformation(partial(targets_times, 2.0**4)),
    "targets x 2^30": Transformation(partial(targets_times, 2.0**30)),
    "targets x 2^-30": Transformation(partial(targets_times, 2.0**-30)),
    "targets mirrored": Transformation(targets_mirrored),
    "features offset 2^3": Transformation(partial(features_offset, 2.0**3)),
    "features offset 2^17": Transformation(partial(features_offset, 2.0**17)),
    "targets offset 2^3": Transformation(partial(targets_offset, 2.0**3)),
    "targets offset 2^30": Transformation(partial(targets_offset, 2.0**30)),
    "constant column": Transformation(partial(column_added, 4.0)),
    "empty column": Transformation(partial(column_added, 0.0)),
    "column quartered": Transformation(column_quartered),
    "column split": Transformation(column_split),
}

OF_COUNTS = ("gcv", "aic", "bic", "evidence")  # the sum of weights is the number of rows
OF_LIKELIHOODS = ("aic", "bic", "evidence")

# Which transformations are no symmetry of which loss and criterion, and why. (A likelihood of
# counts has their unit.)
NO_SYMMETRY = (
    ("folds permuted", lambda loss, criterion: criterion != "k_fold"),  # there are no folds
    # these leave out all copies
    ("rows repeated", lambda loss, criterion: criterion in ("loo", "gcv")),
    ("weights x *", lambda loss, criterion: criterion in OF_COUNTS),  # other numbers of rows
    ("targets *", lambda loss, criterion: loss.name == MULTINOMIAL.name),  # classes are no numbers
    ("targets x *", lambda loss, criterion: loss.is_classification),  # margins have a unit
    ("targets x *", lambda loss, criterion: loss.has_log_link and criterion in OF_LIKELIHOODS),
    ("targets offset *", lambda loss, criterion: loss.is_classification),  # labels are -1 and +1
    ("targets offset *", lambda loss, criterion: loss.has_log_link),  # targets are ratios
    ("targets mirrored", lambda loss, criterion: loss.has_log_link),  # they have no sign
)


NEED_INTERCEPT = ("features offset *", "targets offset *", "constant column")  # which takes them


def is_symmetry(name, loss, criterion, fit_intercept=True):
    if not fit_intercept and any(fnmatchcase(name, pattern) for pattern in NEED_INTERCEPT):
        return False
    return not any(fnmatchcase(name, n) and holds(loss, criterion) for n, holds in NO_SYMMETRY)


# ---- formats and criteria ----------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """`matrix` of an array. Code is other code where there are more than 128 coefficients."""

    matrix: Any
    n_rows: int = 72
    n_features: int = 10
    fit_intercept: bool = True

    def data(self, loss):
        return data_for(loss, self.n_rows, self.n_features, self.fit_intercept)


def single(X):
    return sp.csr_array(X.astype(np.float32))


WIDE = {"n_rows": 120, "n_features": 150}
FORMATS = {
    "dense": Format(np.ascontiguousarray),
    "dense wide": Format(np.ascontiguousarray, **WIDE),
    "csr": Format(sp.csr_array),
    "csr wide": Format(sp.csr_array, **WIDE),
    "csr no intercept": Format(sp.csr_array, fit_intercept=False),
    "csr wide no intercept": Format(sp.csr_array, fit_intercept=False, **WIDE),
    "csc": Format(sp.csc_array),
    "csc wide": Format(sp.csc_array, **WIDE),
    "float32": Format(single),
    "float32 wide": Format(single, **WIDE),
}


def custom(X, data, rows):
    """The loss on these rows as a function of the user's."""
    y, s = data.y[rows], np.ones(len(rows)) if data.weight is None else data.weight[rows]

    def value_and_grad(z):
        return s @ derivative(data.loss, 0, y, z), s * derivative(data.loss, 1, y, z)

    return CRITERIA["custom"](X, value_and_grad)


def problem_and_criterion(data, criterion, form):
    """Of all rows, or where the criterion has rows of its own of the first fold's."""
    X, (train, test) = FORMATS[form].matrix(data.X), data.folds[0]
    penalty = fasthoag.Ridge(data.factor)
    problem = partial(Problem, loss=data.loss, penalty=penalty, fit_intercept=data.fit_intercept)
    if criterion not in ("held_out", "custom"):
        rule = KFold(list(data.folds)) if criterion == "k_fold" else CRITERIA[criterion]()
        return problem(X, data.y, sample_weight=data.weight).with_threads(1), rule
    weight, other = (None,) * 2 if data.weight is None else (data.weight[train], data.weight[test])
    is_custom = criterion == "custom"
    rule = custom(X[test], data, test) if is_custom else HeldOut(X[test], data.y[test], other)
    return problem(X[train], data.y[train], sample_weight=weight).with_threads(1), rule


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found, with predictions Z of all rows, (n_rows, n_folds, n_classes)."""

    status: str
    theta: float
    value: float
    Z: np.ndarray
    n_passes: float


def predictions(data, w):
    """Of coefficients (n_coef, n_folds, n_classes). Only differences between classes count."""
    Z = np.einsum("ij,jfk->ifk", data.X, w[: data.X.shape[1]])
    Z = Z + w[data.X.shape[1]] if data.fit_intercept else Z
    return Z - Z.mean(axis=-1, keepdims=True) if Z.shape[-1] > 1 else Z


def solve(data, criterion, form, tol=TOL):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)  # the status is compared
        result = hoag(*problem_and_criterion(data, criterion, form), tol=tol)
    Z = predictions(data, result.w if result.w.ndim == 3 else result.w[:, :, None])
    return Found(result.status, float(result.theta[0]), result.value, Z, result.n_passes)


@cache
def solved(loss, criterion, form, before=as_they_are):
    """Data, prepared by `before`, and what is found on them: once for all their images."""
    data = before(FORMATS[form].data(loss))
    return data, solve(data, criterion, form)


# ---- estimators --------------------------------------------------------------------------------

ESTIMATORS = [  # of linear models
    E
    for E in (getattr(fasthoag, name) for name in fasthoag.__all__)
    if isinstance(E, type) and issubclass(E, TunedEstimator)
]

# The loss of every estimator, and its parameters by those of the loss. (The smoothing of quantiles
# is relative to the targets already.)
LOSS_OF = {
    "GammaRegressorCV": ("gamma", {}),
    "HuberRegressorCV": ("huber", {"delta": "epsilon"}),
    "LinearSVCCV": ("squared_hinge", {}),
    "LinearSVRCV": ("squared_epsilon_insensitive", {"epsilon": "epsilon"}),
    "LogisticRegressionCV": ("logistic", {}),
    "PoissonRegressorCV": ("poisson", {}),
    "QuantileRegressorCV": ("quantile", {"quantile": "quantile"}),
    "RidgeCV": ("squared", {}),
    "RidgeClassifierCV": ("squared_hinge", {}),  # of labels too
    "TweedieRegressorCV": ("tweedie", {"power": "power"}),
}


def losses_of(Estimator):
    """The multinomial loss is that of more than two classes, where they share a model."""
    is_joint = getattr(Estimator, "_is_joint", False)
    return [LOSS_OF[Estimator.__name__][0], *([MULTINOMIAL.name] if is_joint else [])]


def fit(Estimator, data):
    names = LOSS_OF[Estimator.__name__][1]
    own = {name: data.loss.parameters[of_loss] for of_loss, name in names.items()}
    model = Estimator(cv=list(data.folds), penalty_factor=data.factor, tol=TOL, n_threads=1, **own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model.fit(sp.csr_array(data.X), data.y, sample_weight=data.weight)
    w = np.vstack([np.atleast_2d(model.coef_).T, np.atleast_2d(model.intercept_)])
    result = model.hoag_result_
    theta, Z = float(np.log(model.lam_)), predictions(data, w[:, None, :])
    return Found(result.status, theta, result.value, Z, result.n_passes)


@cache
def fitted(Estimator, loss, before):
    data = before(data_for(loss))
    return data, fit(Estimator, data)


# ---- the comparison ----------------------------------------------------------------------------


def expected_value(value, image, criterion, data):
    """Criteria are multiplied as the loss is; likelihoods of least squares take its logarithm."""
    if criterion in OF_LIKELIHOODS and data.loss.name == "squared":
        n = len(data.y) if data.weight is None else data.weight.sum()
        n = n - data.fit_intercept if criterion == "evidence" else n  # which integrates b out
        return value + 0.5 * n * np.log(image.loss_scale)
    return image.loss_scale * value


def assert_same_model(found, before, image, criterion, data, tol=TOL):
    assert (before.status, found.status) == ("converged", "converged")
    value = expected_value(before.value, image, criterion, data)
    size, close = abs(value), tol**0.5
    if criterion in OF_LIKELIHOODS:  # a shift of f changes what tol |f| is
        size = max(size, abs(before.value), 1.0)
        close *= max(1.0, abs(value) / max(abs(before.value), 1.0))
    assert abs(found.value - value) <= 4 * tol * size  # each error is about 0.3 tol |f|, or less
    assert abs(found.theta - before.theta - image.log_lam) <= close
    folds = image.folds if before.Z.shape[1] > 1 else ...
    expected = image.scale * before.Z[image.rows][:, folds] + image.shift
    spread = np.linalg.norm(expected - expected.mean(axis=0))  # without the intercept
    assert np.linalg.norm(found.Z - expected) <= close * spread
    assert not image.is_as_cheap or found.n_passes <= 2 * before.n_passes


def assert_transformed(loss, criterion, form, name):
    change = TRANSFORMATIONS[name]
    data, before = solved(loss, criterion, form, change.before)
    image = change.image(data)
    assert_same_model(solve(image.data, criterion, form), before, image, criterion, data)


# ---- tests -------------------------------------------------------------------------------------


def parametrised(names, cases, about=""):
    """The cases by their names."""

    def name(case):
        return about + " | ".join(getattr(part, "__name__", str(part)) for part in case)

    return pytest.mark.parametrize(names, [pytest.param(*case, id=name(case)) for case in cases])


@cache
def accepts(criterion, loss):
    """Whether the criterion takes the loss."""
    try:
        problem, rule = problem_and_criterion(data_for(loss), criterion, "csr")
        rule.bind(problem)
    except ValueError:
        return False
    return True


OF_LOSSES = [
    (loss, name)
    for loss in EVERY_LOSS
    for name in TRANSFORMATIONS
    if is_symmetry(name, data_for(loss).loss, "k_fold")
]
OF_CRITERIA = [
    (criterion, loss, name)
    for criterion in CRITERIA
    for loss in (*FEW_LOSSES, "poisson")
    for name in TRANSFORMATIONS
    if accepts(criterion, loss) and is_symmetry(name, LOSSES[loss], criterion)
]
OF_FORMATS = [
    (form, loss, name)
    for form in FORMATS
    for loss in FEW_LOSSES
    for name in TRANSFORMATIONS
    if is_symmetry(name, LOSSES[loss], "k_fold", FORMATS[form].fit_intercept)
    and not ("float32" in form and name == "features offset 2^17")  # takes more than 24 bits
]
OF_ESTIMATORS = [
    (E, loss, name)
    for E in ESTIMATORS
    for loss in losses_of(E)
    for name in TRANSFORMATIONS
    if is_symmetry(name, data_for(loss).loss, "k_fold")
]


@parametrised("loss, name", OF_LOSSES)
def test_transformed_data_give_the_same_model_for_every_loss(loss, name):
    assert_transformed(loss, "k_fold", "csr", name)


@parametrised("criterion, loss, name", OF_CRITERIA)
def test_transformed_data_give_the_same_model_by_every_criterion(criterion, loss, name):
    assert_transformed(loss, criterion, "dense", name)


@parametrised("form, loss, name", OF_FORMATS)
def test_transformed_data_give_the_same_model_in_every_format(form, loss, name):
    assert_transformed(loss, "k_fold", form, name)


@parametrised("Estimator, loss, name", OF_ESTIMATORS)
def test_transformed_data_give_the_same_model_by_every_estimator(Estimator, loss, name):
    change = TRANSFORMATIONS[name]
    data, before = fitted(Estimator, loss, change.before)
    image = change.image(data)
    assert_same_model(fit(Estimator, image.data), before, image, "k_fold", data)


@parametrised("form, loss", [(form, loss) for form in FORMATS for loss in FEW_LOSSES])
def test_every_format_gives_the_model_of_the_dense_array(form, loss):
    data, found = solved(loss, "k_fold", form)
    assert_same_model(found, solve(data, "k_fold", "dense"), Image(data), "k_fold", data)


@parametrised("unit, tol", list(product(("1e9", "1e-9"), (3e-4, TOL))), "logistic: ")
def test_the_unit_of_many_sparse_columns_does_not_count(unit, tol):
    data = data_for("logistic", 600, 300)
    image = columns_times(float(unit), data)
    before = solve(data, "k_fold", "csr wide", tol)
    found = solve(image.data, "k_fold", "csr wide", tol)
    assert_same_model(found, before, image, "k_fold", data, tol)


@parametrised("criterion", [(name,) for name in OF_LIKELIHOODS], "constant of f: ")
def test_the_unit_of_targets_leaves_the_accuracy_of_likelihoods(criterion):
    """It adds n log c to f, which is known up to a constant only. Before, f is 9 to 21 and f'' 1 to
    3: a slope of a hundredth of f leaves a tenth of a unit of θ or two."""
    data, before = solved("squared", criterion, "dense")
    image = targets_times(2.0**100, data)
    result = hoag(*problem_and_criterion(image.data, criterion, "dense"), tol=0.01)
    assert abs(float(result.theta[0]) - before.theta) <= 0.5


# What changes no rounding: the same once more, another sign, a weight of 1 for every row, and
# another exponent of all numbers of a column.
EXACT = {
    "once more": Image,
    "targets mirrored": targets_mirrored,
    "weights of 1": partial(weights_times, 1.0),
    "columns x 2^3": partial(columns_times, 2.0**3),
    "columns x 2^-3": partial(columns_times, 2.0**-3),
    "columns x 2^30": partial(columns_times, 2.0**30),
    "columns x 2^-30": partial(columns_times, 2.0**-30),
    "columns mixed 2^2": partial(columns_mixed, 2),
    "columns mixed 2^30": partial(columns_mixed, 30),
}
TO_THE_BIT = [(form, loss, name) for form in FORMATS for loss in FEW_LOSSES for name in EXACT]


@parametrised("form, loss, name", TO_THE_BIT, "to the bit: ")
def test_what_changes_no_rounding_changes_no_bit_and_no_pass(form, loss, name):
    data, before = solved(loss, "k_fold", form)
    image = EXACT[name](data)
    found = solve(image.data, "k_fold", form)
    assert found.n_passes == before.n_passes
    np.testing.assert_array_equal(found.Z, image.scale * before.Z)


@parametrised("loss", [(loss,) for loss in FEW_LOSSES])
def test_columns_are_the_same_as_rows_to_the_bit(loss):
    for csc, csr in (("csc", "csr"), ("csc wide", "csr wide")):
        np.testing.assert_array_equal(
            solved(loss, "k_fold", csc)[1].Z, solved(loss, "k_fold", csr)[1].Z
        )


OF_ONE_OUTPUT = [case for case in OF_LOSSES if case[0] != MULTINOMIAL.name]


@parametrised("loss, name", OF_ONE_OUTPUT, "formulas: ")
def test_the_image_of_a_solution_solves_the_image(loss, name):
    """In NumPy, at one strength: ``λ w = -Xᵀ s ℓ'``, the slopes add up to 0, and the loss on the
    other rows is multiplied. No case above fails because it expects what is not true."""
    data = TRANSFORMATIONS[name].before(data_for(loss))
    image = TRANSFORMATIONS[name].image(data)
    fold = range(3)[image.folds][0] if image.folds is not ... else 0  # that is first in the image
    new, lam = image.data, 2.0 * np.exp(image.log_lam)
    X, strengths = with_ones(data.X, True), np.r_[np.full(data.X.shape[1], 2.0), 0.0]
    Z = X @ minimiser(data.loss, X, data.y, row_weights(data, 0, fold), strengths)
    expected = image.scale * Z[image.rows] + image.shift
    slopes = row_weights(new, 0) * derivative(new.loss, 1, new.y, expected)
    factor = np.ones(new.X.shape[1]) if new.factor is None else new.factor
    intercept = expected - new.X @ (-(new.X.T @ slopes) / (lam * factor))
    assert np.ptp(intercept) <= 1e-4 * np.ptp(expected)
    assert abs(slopes.sum()) <= 1e-6 * abs(slopes).sum()
    before = row_weights(data, 1, fold) @ derivative(data.loss, 0, data.y, Z)
    after = row_weights(new, 1) @ derivative(new.loss, 0, new.y, expected)
    np.testing.assert_allclose(after, image.loss_scale * before, rtol=1e-6)


def row_weights(data, part, fold=0):
    """Weights of the rows that train in a fold, or (part 1) are held out, else 0."""
    weight = np.ones(len(data.y)) if data.weight is None else data.weight
    return np.where(np.isin(np.arange(len(data.y)), data.folds[fold][part]), weight, 0.0)


def slope(data, criterion, form, theta):
    """f' where the inner problem is solved to many digits."""
    problem, rule = problem_and_criterion(data, criterion, form)
    bound = rule.bind(problem)
    zero = problem.design.zeros(bound.inner.units.n_columns)
    exact = Accuracy(1e-8, 1e-8)
    return bound.evaluate(np.array([theta]), zero, exact, has_tangents=False).grad[0]


COMPARED = sorted(
    {(loss, "k_fold", "csr") for loss, _ in OF_LOSSES}
    | {(loss, criterion, "dense") for criterion, loss, _ in OF_CRITERIA}
    | {(loss, "k_fold", form) for form, loss, _ in OF_FORMATS}
)


@parametrised("loss, criterion, form", COMPARED)
def test_every_problem_here_has_a_clear_minimum(loss, criterion, form):
    """Else the tolerance would leave θ open, and the bounds above would say nothing."""
    for before in {change.before for change in TRANSFORMATIONS.values()}:
        data, found = solved(loss, criterion, form, before)
        left, right = (slope(data, criterion, form, found.theta + d) for d in (-0.25, 0.25))
        size = max(abs(found.value), 1.0) if criterion in OF_LIKELIHOODS else abs(found.value)
        assert left < 0 < right
        assert (right - left) / 0.5 >= 2 * CLOSE * size


def test_every_loss_criterion_and_estimator_has_cases():
    assert {loss for loss, _ in OF_LOSSES} == set(EVERY_LOSS)
    assert {criterion for criterion, _, _ in OF_CRITERIA} == set(CRITERIA)
    assert {E for E, _, _ in OF_ESTIMATORS} == set(ESTIMATORS)
    assert set(LOSS_OF) == {E.__name__ for E in ESTIMATORS}
