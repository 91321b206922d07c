"""Ordinary data in awkward units: offsets, rare classes, skew, rates and exposures. The right
values are known from the same data in usual units, from closed forms or from another library."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import is_classifier
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import QuantileRegressor
from sklearn.preprocessing import scale

import fasthoag
from fasthoag import ConvergenceWarning, HeldOut, KFold, Problem, find_loss, hoag
from fasthoag.design.offsets import offset_map
from fasthoag.design.rows import TRAIN
from fasthoag.estimators.tuned import TunedEstimator
from fasthoag.losses import LOSSES, POSITIVE
from fasthoag.null import null_model, weighted_quantile
from fasthoag.problem import refit

FORMATS = {"dense": np.asarray, "csr": sp.csr_matrix}
in_every_format = pytest.mark.parametrize("form", FORMATS)
REGRESSORS = [fasthoag.RidgeCV, fasthoag.LinearSVRCV, fasthoag.HuberRegressorCV]


def normal_rows(n_rows=200, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    return X, X[:, 0] + 0.5 * X[:, 1] + 0.7 * rng.normal(size=n_rows), rng


# ---- columns far from 0 ------------------------------------------------------------------------


@in_every_format
@pytest.mark.parametrize("Estimator", REGRESSORS)
@pytest.mark.parametrize("cv", [None, 5])
def test_a_timestamp_is_a_feature_like_others(Estimator, form, cv):
    rng = np.random.default_rng(0)
    seconds = rng.uniform(0, 3600, size=500)
    y = 0.25 * seconds + 20 * rng.normal(size=500)
    model = Estimator(cv=cv or (None if Estimator is fasthoag.RidgeCV else 4))
    X = FORMATS[form](1.75e9 + seconds[:, None])
    model.fit(X, y)
    slope = np.polyfit(seconds, y, 1)[0]
    assert model.hoag_result_.status == "converged"
    assert model.coef_[0] == pytest.approx(slope, rel=0.01)
    assert model.score(X, y) > 0.99


@in_every_format
@pytest.mark.parametrize("offset", [1e3, 1e6, 1e10])
@pytest.mark.parametrize("where", [[0, 3], [0, 1, 2, 3, 4]], ids=["some", "all"])
@pytest.mark.parametrize("name", ["k_fold", "loo", "held_out", "gcv", "evidence", "aic"])
def test_offsets_of_columns_change_nothing_but_the_intercept(name, where, offset, form):
    X, y, _ = normal_rows()
    far = X.copy()
    far[:, where] += offset * np.array([1.0, -1.0, 2.0, -1.0, 1.0])[where]
    results = []
    for A in (X, far):
        if name == "held_out":
            rule = HeldOut(FORMATS[form](A[100:]), y[100:])
            problem = Problem(FORMATS[form](A[:100]), y[:100], loss="squared")
        else:
            rule = {"k_fold": KFold(3)}.get(name) or fasthoag.criteria.CRITERIA[name]()
            problem = Problem(FORMATS[form](A), y, loss="squared")
        results.append(hoag(problem, rule))
    before, after = results
    # what is left of a digit of a column beside its offset
    close = max(1e-6, 1e3 * offset * np.finfo(float).eps)
    assert after.status == before.status == "converged"
    assert after.value == pytest.approx(before.value, rel=close)
    np.testing.assert_allclose(after.w[:5], before.w[:5], rtol=0, atol=close)


@in_every_format
def test_offsets_in_float32_are_taken_where_digits_are_left(form):
    X, y, _ = normal_rows()
    near = FORMATS[form]((X + 4096).astype(np.float32))
    model, other = (fasthoag.RidgeCV().fit(A, y) for A in (near, X))
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=0, atol=2e-3)
    X[:, 2] = 1e8 + 10 * X[:, 2]
    far = FORMATS[form](X.astype(np.float32))
    with pytest.warns(UserWarning, match="column 2 of X has values about 1e"):
        fasthoag.RidgeCV().fit(far, y)


def test_only_columns_that_every_row_stores_and_that_are_far_are_shifted():
    rng = np.random.default_rng(0)
    X = sp.random(300, 40, 0.2, format="lil", random_state=0)
    X[:, 7] = 1e5 + rng.normal(size=(300, 1))
    X[:, 8] = 50 + rng.normal(size=(300, 1))
    X[:, 9] = 3.0
    X[:299, 10] = 1e5
    found = offset_map(X.tocsr())
    assert np.flatnonzero(found.shift).tolist() == [7]
    assert found.shift[7] == pytest.approx(1e5, rel=1e-4)
    assert offset_map(sp.random(300, 40, 0.2, format="csr", random_state=0)) is None
    design = fasthoag.Problem(X.tocsr(), rng.normal(size=300), loss="squared").design
    w = rng.normal(size=(41, 2))
    expected = X.tocsr() @ w[:40] + w[40]
    np.testing.assert_allclose(design.matvec(design.encode(w)), expected, atol=1e-9)
    np.testing.assert_allclose(design.decode(design.encode(w)), w, atol=1e-9)
    other = design.like(sp.random(20, 40, 0.2, format="csr", random_state=1))
    assert other.is_sparse


# ---- constants -----------------------------------------------------------------------------------


EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
EVERY = [E for E in EVERY if issubclass(E, TunedEstimator)]  # of linear models
every = pytest.mark.parametrize("Estimator", EVERY, ids=lambda E: E.__name__)
CLASSIFIERS = [E for E in EVERY if is_classifier(E())]
REGRESSIONS = [E for E in EVERY if not is_classifier(E())]
WITH_ZEROS = [fasthoag.PoissonRegressorCV, fasthoag.TweedieRegressorCV]


def targets_for(Estimator, n_rows, rng, n_classes=2):
    if Estimator in CLASSIFIERS:
        return np.arange(n_rows) % n_classes
    return rng.gamma(4, 0.25, size=n_rows)


@in_every_format
@pytest.mark.parametrize("cv", [None, 5])
@pytest.mark.parametrize("values", [[1.0, -2.0, 3.0], [1e6, -2.0, 3e8], [5.0]], ids=str)
@every
def test_of_constant_columns_the_intercept_is_the_model(Estimator, values, cv, form):
    rng = np.random.default_rng(0)
    for n_classes in (2, 3):
        y = targets_for(Estimator, 60, rng, n_classes)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model, none = (
                Estimator(cv=cv).fit(FORMATS[form](np.tile(row, (60, 1))), y)
                for row in (values, np.zeros(len(values)))
            )
        result = model.hoag_result_
        result = result[0] if isinstance(result, list) else result
        assert result.status == "converged"
        assert "No feature tells rows apart" in result.message
        np.testing.assert_array_equal(model.coef_, 0)
        np.testing.assert_allclose(model.intercept_, none.intercept_, rtol=1e-6, atol=1e-9)


@in_every_format
@pytest.mark.parametrize("value", [1.0, 1e6, 1e12, 1e30])
@every
def test_a_constant_column_among_others_changes_nothing(Estimator, value, form):
    X, score, _ = normal_rows(120, 4)
    y = (score > 0).astype(int) if Estimator in CLASSIFIERS else np.exp(0.3 * score)
    before = Estimator().fit(FORMATS[form](X), y)
    after = Estimator().fit(FORMATS[form](np.c_[X, np.full(120, value)]), y)
    assert after.hoag_result_.status == "converged"
    assert np.abs(value * np.ravel(after.coef_)[4]) < 1e-3
    np.testing.assert_allclose(np.ravel(after.coef_)[:4], np.ravel(before.coef_), rtol=0, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1e-9, 1.0, 37.0, 1e9])
@pytest.mark.parametrize("one_se", [False, True])
@pytest.mark.parametrize("Estimator", REGRESSIONS, ids=lambda E: E.__name__)
def test_equal_targets_are_the_prediction(Estimator, one_se, value):
    if value == 0 and Estimator is fasthoag.GammaRegressorCV:
        pytest.skip("targets are positive")
    X, _, _ = normal_rows(60, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Estimator(cv=5, one_se=one_se).fit(X, np.full(60, value))
    assert model.hoag_result_.status == "converged"
    np.testing.assert_array_equal(model.coef_, 0)
    np.testing.assert_allclose(model.predict(X), value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", [name for name in LOSSES if not LOSSES[name].is_classification])
@pytest.mark.parametrize("is_held_out", [False, True])
def test_equal_targets_of_a_problem_end_at_the_null_model(loss, is_held_out):
    X, _, _ = normal_rows(60, 4)
    y = np.full(60, 1e9)
    rule = HeldOut(X, y) if is_held_out else KFold(3)
    result = hoag(Problem(X, y, loss=loss), rule)
    assert result.status == "converged"
    assert "All targets are equal" in result.message
    np.testing.assert_array_equal(result.w[:4], 0)
    assert result.w.shape == (5, 1 if is_held_out else 3)


# ---- sizes that double precision cannot square -------------------------------------------------


def with_column(value):
    """Ordinary columns but for one."""
    X, score, _ = normal_rows(60, 4)
    X[:, 2] *= value
    return X, score


@in_every_format
@pytest.mark.parametrize("value", [1e60, 1e155, -1e200, 1e300, 1e-60, 1e-155, -1e-200, 1e-310])
@every
def test_columns_that_cannot_be_squared_are_refused_by_number(Estimator, value, form):
    X, score = with_column(value)
    y = (score > 0).astype(int) if Estimator in CLASSIFIERS else np.exp(score)
    message = r"X has (values beyond|no value above) 1e[+-]50 in column 2 .*Scale such columns"
    with pytest.raises(ValueError, match=message):
        Estimator(callback=lambda _: pytest.fail("work was done")).fit(FORMATS[form](X), y)


@in_every_format
@pytest.mark.parametrize("size", [1e155, 1e-155])
def test_x_that_cannot_be_squared_is_refused(size, form):
    X, score, _ = normal_rows(60, 4)
    X = FORMATS[form](size * X)
    with pytest.raises(ValueError, match="in column 0 .*as have 3 other columns"):
        Problem(X, np.sign(score))
    if size > 1:
        with pytest.raises(ValueError, match="X_val has values beyond"):
            hoag(Problem(FORMATS[form](X / size), np.sign(score)), HeldOut(X, np.sign(score)))


@in_every_format
@pytest.mark.parametrize("n_features", [4, 2500])
@pytest.mark.parametrize("size", [1e-47, 1e-30, 1e-20, 1e20, 1e49])
def test_sizes_that_are_taken_give_the_same_as_usual_ones(size, n_features, form):
    rng = np.random.default_rng(0)
    X = sp.random(200, n_features, min(1.0, 50 / n_features), random_state=0).toarray()
    score = X[:, :5].sum(axis=1)
    y = np.sign(score / score.std() - 1 + rng.normal(size=200))
    before, after = (hoag(Problem(FORMATS[form](c * X), y), KFold(12)) for c in (1.0, size))
    assert after.status == before.status
    assert after.value == pytest.approx(before.value, rel=1e-3)


@in_every_format
def test_every_size_of_float32_and_small_values_among_others_are_taken(form):
    X, score, _ = normal_rows(60, 4)
    X[:, 0] *= 1e37
    X[:, 1] *= 1e-37
    Problem(FORMATS[form](X.astype(np.float32)), np.sign(score))
    X, score, _ = normal_rows(60, 4)
    expected = hoag(Problem(FORMATS[form](X), np.sign(score)), KFold(3)).value
    X[3, :] = 1e-300
    tiny = hoag(Problem(FORMATS[form](X), np.sign(score)), KFold(3))
    assert tiny.value == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("value", [1e155, 1e300, 1e-60, 1e-200])
def test_targets_and_weights_that_cannot_be_squared_are_refused(value):
    X, score, _ = normal_rows(60, 4)
    with pytest.raises(ValueError, match=r"y has .* Multiply y by a constant"):
        Problem(X, value * score, loss="squared")
    with pytest.raises(ValueError, match="sample_weight has"):
        Problem(X, score, loss="squared", sample_weight=np.full(60, value))
    for Estimator in REGRESSORS:
        with pytest.raises(ValueError, match="y has"):
            Estimator().fit(X, value * score)
        with pytest.raises(ValueError, match="sample_weight has"):
            Estimator().fit(X, score, sample_weight=np.full(60, value))
    # among others that are usual
    Problem(X, np.r_[value if value < 1 else 1.0, score[1:]], loss="squared")


# ---- targets and weights -----------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 3e5, 1e9])
@pytest.mark.parametrize("Estimator", [fasthoag.GammaRegressorCV, fasthoag.TweedieRegressorCV])
def test_positive_targets_in_any_unit_give_the_same_coefficients(Estimator, unit):
    X, _, rng = normal_rows(400, 3)
    y = np.exp(X @ [0.5, 0.3, 0.0]) * rng.gamma(5, 0.2, size=400)
    model, other = (Estimator().fit(X, c * y) for c in (1.0, unit))
    assert other.hoag_result_.status == "converged"
    np.testing.assert_allclose(other.coef_, model.coef_, rtol=0, atol=1e-6)
    assert other.intercept_ == pytest.approx(model.intercept_ + np.log(unit), abs=1e-6)


@pytest.mark.parametrize("rate", [1e-5, 1e-7, 1e-9])
def test_rates_with_exposures_are_found(rate):
    X, _, rng = normal_rows(400, 2)
    exposure = rng.uniform(10, 100, size=400) / rate
    counts = rng.poisson(exposure * rate * np.exp(X @ [0.6, -0.8]))
    model = fasthoag.PoissonRegressorCV().fit(X, counts / exposure, sample_weight=exposure)
    np.testing.assert_allclose(model.coef_, [0.6, -0.8], atol=0.03)
    assert model.intercept_ == pytest.approx(np.log(rate), abs=0.05)


@pytest.mark.parametrize("ratio", [1e3, 1e6, 1e9])
def test_weights_of_classes_move_the_intercept_only(ratio):
    X, _, rng = normal_rows(500, 3)
    y = np.sign(X[:, 0] + rng.normal(size=500))
    weight = np.where(y > 0, ratio, 1.0)
    problem, plain = Problem(X, y, sample_weight=weight), Problem(X, y)
    lam = np.log([1.0])
    w, _, is_converged = refit(problem, lam)
    assert is_converged
    assert w[3] - refit(plain, lam)[0][3] == pytest.approx(np.log(ratio), rel=0.2)
    result = hoag(problem, KFold(4))
    assert result.status == "converged"
    assert result.w_all[0] > 0.5


def test_a_class_of_five_among_a_hundred_thousand_is_found():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100_000, 3))
    y = np.full(len(X), -1.0)
    y[:5], X[:5, 0] = 1.0, X[:5, 0] + 3
    model = fasthoag.LogisticRegressionCV().fit(X, y)
    assert model.coef_[0, 0] > 1
    assert model.intercept_[0] < -9


@pytest.mark.parametrize("Estimator", REGRESSORS)
def test_offset_targets_give_the_same_strength_and_score(Estimator):
    X, y, _ = normal_rows()
    before, after = (Estimator(store_folds=True).fit(X, y + c) for c in (0.0, 1e6))
    assert after.lam_ == pytest.approx(before.lam_, rel=1e-3)
    assert after.score(X, y + 1e6) == pytest.approx(before.score(X, y), abs=1e-6)
    assert after.hoag_result_.w[-1].mean() == pytest.approx(1e6, rel=1e-4)


@pytest.mark.parametrize("level", [8 * 0.7, 37.0, 1e4, 1e6 * 0.7])
def test_quantiles_of_targets_far_from_0(level):
    """Body temperatures, 37 and a half."""
    X, _, rng = normal_rows(300, 3)
    y = 0.5 * (X @ [0.6, 0.2, 0.0] + rng.normal(size=300))
    before, after = (fasthoag.QuantileRegressorCV(quantile=0.7).fit(X, y + c) for c in (0.0, level))
    np.testing.assert_allclose(after.coef_, before.coef_, rtol=0, atol=1e-6)
    assert after.intercept_ == pytest.approx(before.intercept_ + level, abs=1e-6 * max(1, level))


def test_without_smoothing_and_penalty_quantiles_are_those_of_the_linear_program():
    X, y, _ = normal_rows(200, 3)
    exact = QuantileRegressor(quantile=0.7, alpha=0.0, solver="highs").fit(X, y + 37)

    def pinball(w):
        r = y + 37 - X @ w[:3] - w[3]
        return np.maximum(0.7 * r, -0.3 * r).sum()

    loss = find_loss("quantile", quantile=0.7, smoothing=1e-4)
    w, _, _ = refit(Problem(X, y + 37, loss=loss), np.log([1e-6]))
    best = pinball(np.r_[exact.coef_, exact.intercept_])
    # the corner costs h log 2 a row at most
    assert pinball(w) <= best + 200 * 1e-4 * np.log(2)


ROWS = 2000
TARGETS = {
    "normal": lambda rng, z: z + rng.normal(size=ROWS),
    "skewed": lambda rng, z: np.exp(z + rng.normal(size=ROWS)),
    "heavy": lambda rng, z: z + rng.standard_t(3, size=ROWS),
    "mostly 0": lambda rng, z: np.where(rng.random(ROWS) < 0.6, 0, np.exp(rng.normal(size=ROWS))),
    "counts": lambda rng, z: rng.poisson(2, size=ROWS).astype(float),
    "well predicted": lambda rng, z: 100 * z + rng.normal(size=ROWS),
}


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("quantile", [0.01, 0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("kind", TARGETS)
def test_the_share_below_a_quantile_is_right(kind, quantile, unit):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, 5))
    y = TARGETS[kind](rng, 0.1 * X[:, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fasthoag.QuantileRegressorCV(quantile=quantile).fit(X, unit * y)
    z = model.predict(X) / unit

    def pinball(z):
        return np.maximum(quantile * (y - z), (quantile - 1) * (y - z)).mean()

    error = np.sqrt(quantile * (1 - quantile) / ROWS) + 6 / ROWS
    beside = 5 * model.smoothing_ / unit * (len(np.unique(y)) < ROWS / 2)  # of values in common
    assert (y < z - beside).mean() <= quantile + error
    assert (y <= z + beside).mean() >= quantile - error
    # a constant is its own best by a row or two
    assert pinball(z) <= 1.005 * pinball(np.quantile(y, quantile))


def test_weights_count_in_the_share_below():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(ROWS, 2)), np.exp(rng.normal(size=ROWS))
    weight = rng.integers(0, 4, ROWS).astype(float)
    model = fasthoag.QuantileRegressorCV(quantile=0.02).fit(X, y, sample_weight=weight)
    below = weight[y < model.predict(X)].sum() / weight.sum()
    assert abs(below - 0.02) <= np.sqrt(0.02 * 0.98 / ROWS * 1.5) + 3 / ROWS


def test_a_quantile_that_cannot_be_met_is_said():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 1)), rng.normal(size=400)  # which no line through 0 reaches
    with pytest.warns(UserWarning, match="of the rows lie below the fitted quantile 0.9"):
        fasthoag.QuantileRegressorCV(quantile=0.9, fit_intercept=False).fit(X, y)


# ---- losses that are flat or straight for most rows --------------------------------------------


def test_separable_classes_end_at_the_minimum_and_not_on_the_plateau():
    X, y = load_iris(return_X_y=True)
    problem = Problem(scale(X), np.where(y == 0, 1.0, -1.0), loss="squared_hinge")
    result = hoag(problem, KFold(5))
    others = [
        hoag(problem, KFold(5), np.array([t]), bounds=(t - 1e-6, t + 1e-6)).value
        for t in np.arange(-8.0, 2.0, 0.5)
    ]
    assert result.status == "converged"
    assert result.value <= 1.0005 * min(others)


@pytest.mark.parametrize("unit", [1e-3, 0.02, 50.0, 1e4])
@pytest.mark.parametrize("of", ["features", "targets"])
def test_huber_regression_has_no_unit(of, unit):
    X, y = load_diabetes(return_X_y=True)
    score = fasthoag.HuberRegressorCV().fit(X, y).score(X, y)
    X, y = (unit * X, y) if of == "features" else (X, unit * y)
    assert fasthoag.HuberRegressorCV().fit(X, y).score(X, y) == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("epsilon", [0.5, 100.0, 400.0])
def test_wide_tubes_end_and_the_unit_of_features_does_not_count(epsilon):
    X, y = load_diabetes(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [fasthoag.LinearSVRCV(epsilon=epsilon).fit(c * X, y) for c in (1.0, 1e-4)]
    values = [model.hoag_result_.value for model in models]
    assert values[1] == pytest.approx(values[0], rel=1e-6, abs=1e-9)
    assert all(model.hoag_result_.status in ("converged", "at_bound") for model in models)


def test_a_gamma_regression_does_not_stay_on_the_plateau_where_it_starts():
    X, y = load_diabetes(return_X_y=True)
    for unit in (1.0, 10.0):
        assert fasthoag.GammaRegressorCV().fit(X, unit * y).score(X, unit * y) > 0.47


# ---- units of everything -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["newton", "lbfgs", "hoag"])
def test_every_method_finds_the_same_in_other_units(method):
    X, score, rng = normal_rows(150, 12)
    y = np.sign(score + 2 * rng.normal(size=150))
    results = [hoag(Problem(c * X, y), KFold(5), method=method) for c in (1.0, 1e3, 1e-3)]
    for result in results[1:]:
        assert result.value == pytest.approx(results[0].value, rel=1e-9)


@pytest.mark.parametrize("Criterion", [fasthoag.AIC, fasthoag.BIC, fasthoag.Evidence])
@pytest.mark.parametrize("unit", [1e3, 1e9, 1e-9])
def test_the_constant_of_a_likelihood_does_not_count(Criterion, unit):
    X, y, _ = normal_rows(150, 12)
    thetas = [hoag(Problem(X, c * y, loss="squared"), Criterion()).theta[0] for c in (1.0, unit)]
    assert thetas[1] == pytest.approx(thetas[0], abs=1e-6)


@pytest.mark.parametrize("loss", ["logistic", "squared", "poisson"])
def test_factors_that_undo_the_units_of_columns_give_the_same_strength(loss):
    X, score, rng = normal_rows(150, 12)
    y = {"logistic": np.sign(score), "squared": score}.get(loss, rng.poisson(np.exp(0.5 * score)))
    units = 10.0 ** rng.uniform(-4, 4, size=12)
    before = hoag(Problem(X, y, loss=loss), KFold(5))
    penalty = fasthoag.Ridge(units**2)
    after = hoag(Problem(X * units, y, loss=loss, penalty=penalty), KFold(5))
    assert after.lam[0] == pytest.approx(before.lam[0], rel=1e-5)
    assert after.n_passes <= 1.2 * before.n_passes


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_approximate_leave_one_out_has_no_unit_of_targets(loss, unit):
    X, _, rng = normal_rows(150, 6)
    mean = np.exp(0.5 * X[:, 0])
    y = rng.poisson(mean) if loss == "poisson" else mean * rng.gamma(3, 1 / 3, size=150)
    before, after = (
        hoag(Problem(X, c * y, loss=loss), fasthoag.ApproximateLOO()) for c in (1.0, unit)
    )
    factor = unit if loss == "poisson" else 1.0
    assert after.value / factor == pytest.approx(before.value, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_exact_leave_one_out_of_columns_in_any_units_ends_and_is_right(seed):
    X, score, rng = normal_rows(91, 68, seed)
    X = X * 10.0 ** rng.uniform(-4, 4, size=68)
    result = hoag(Problem(X, score, loss="squared"), fasthoag.ApproximateLOO())
    assert result.status == "converged"
    A, lam = np.c_[X, np.ones(91)], np.diag(np.r_[np.full(68, result.lam[0]), 0.0])
    H = A.T @ A + lam
    D = 1 / np.sqrt(np.diag(H))
    hat = np.einsum("ij,jk,ik->i", A * D, np.linalg.inv(D[:, None] * H * D), A * D)
    r = score - A @ (D * np.linalg.solve(D[:, None] * H * D, D * (A.T @ score)))
    assert result.value == pytest.approx(0.5 * ((r / (1 - hat)) ** 2).sum(), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_columns_in_any_units_take_few_passes(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(120, 60))
    y = np.sign(X[:, :10].sum(axis=1) + 2 * rng.normal(size=120))
    problem = Problem(X * 10.0 ** rng.uniform(-4, 4, size=60), y)
    result = hoag(problem, KFold(3))
    assert result.status == "converged"
    assert result.n_passes <= 700


# ---- never worse than no features --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("loss", ["poisson", "gamma", "squared", "logistic"])
def test_skewed_features_end_no_worse_than_none(loss, seed):
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(40, 120)), int(rng.integers(2, 30))
    X = np.exp(rng.uniform(0.5, 2.5) * rng.normal(size=(n, p)))
    z = scale(X @ (rng.normal(size=p) / X.std(axis=0)))
    y = {
        "poisson": lambda: rng.poisson(np.exp(0.7 * z)).astype(float),
        "gamma": lambda: np.exp(0.7 * z) * rng.gamma(2, 0.5, size=n),
        "squared": lambda: z + rng.normal(size=n),
        "logistic": lambda: np.sign(z + rng.normal(size=n)),
    }[loss]()
    problem = Problem(X, y, loss=loss)
    result = hoag(problem, KFold(3))
    null = KFold(3).bind(problem).null_value
    assert result.value <= null * (1 + 1e-3)


def test_features_that_tell_nothing_end_near_the_null_model():
    X, _, rng = normal_rows(60, 20)
    y = rng.normal(size=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = hoag(Problem(X, y, loss="squared"), KFold(3))
    null = KFold(3).bind(Problem(X, y, loss="squared")).null_value
    assert result.value <= null * (1 + 1e-3)


def test_a_flat_criterion_says_so():
    X, _, rng = normal_rows(300, 2)
    result = hoag(Problem(X, X[:, 0] + 1e-3 * rng.normal(size=300), loss="squared"), KFold(3))
    flat = hoag(Problem(X, X[:, 0] + rng.normal(size=300), loss="squared"), KFold(3), tol=0.1)
    assert "flat" not in result.message
    assert "The criterion is flat: theta from about" in flat.message


# ---- the null model ----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_the_slopes_of_the_null_model_add_up_to_0(loss):
    X, score, rng = normal_rows(90, 4)
    if LOSSES[loss].is_classification:
        y = np.sign(score)
    elif LOSSES[loss].has_log_link:
        y = rng.gamma(1.0, 1e5, size=90) if LOSSES[loss].domain is POSITIVE else rng.poisson(3, 90)
    else:
        y = 1e3 + score
    weight = rng.integers(1, 4, size=90).astype(float)
    inner = KFold(3).bind(Problem(X, y, loss=loss, sample_weight=weight)).inner
    null = null_model(inner)
    slopes = inner.rows.terms(inner.loss, 1, TRAIN, inner.rows.at_constant(null.b))
    np.testing.assert_allclose(slopes.sum(axis=0), 0, atol=1e-8 * np.abs(slopes).sum())


def test_null_models_of_known_form():
    y = np.array([1.0, -1.0, 1.0, 1.0])
    X = np.zeros((4, 1))
    assert Problem(X, y).inner().null.b[0] == pytest.approx(np.log(3))
    counts = np.array([0.0, 2.0, 4.0, 2.0])
    assert Problem(X, counts, loss="poisson").inner().null.b[0] == pytest.approx(np.log(2))
    classes = np.array([0.0, 1.0, 1.0, 2.0])
    b = Problem(X, classes, loss="multinomial").inner().null.b
    np.testing.assert_allclose(b - b[0], np.log([1, 2, 1]), atol=1e-12)
    none = Problem(X, np.zeros(4), loss="poisson").inner().null.b[0]
    assert np.isfinite(none)
    assert none < -10
    assert Problem(X, y, fit_intercept=False).inner().null.b[0] == 0


def test_quantiles_of_weights_are_those_of_copies():
    y, weight = np.array([3.0, 1.0, 2.0, 10.0]), np.array([1.0, 2.0, 0.0, 1.0])
    copies = np.repeat(y, weight.astype(int))
    for share in (0.1, 0.3, 0.6, 0.9):
        expected = np.quantile(copies, share, method="averaged_inverted_cdf")
        assert weighted_quantile(y, weight, share) == expected
        assert weighted_quantile(-y, weight, 1 - share) == -expected


def test_a_corner_that_no_row_is_in_is_named():
    X, y = load_diabetes(return_X_y=True)
    problem = Problem(X, 1e6 * y, loss=find_loss("huber", delta=1.0))
    with pytest.warns(ConvergenceWarning, match="curved over delta=1 only"):
        result = hoag(problem, KFold(3))
    assert result.status == "inner_failed"
    assert np.isnan(result.value)


@pytest.mark.parametrize("size", [1e155, 1e-155])
def test_columns_on_a_gpu_that_cannot_be_squared_are_refused_by_number(size, on_host):
    from support.host_device import DeviceArray

    X, score, _ = normal_rows(60, 4)
    X[:, 2] *= size
    for there in (X, DeviceArray(X)):
        with pytest.raises(ValueError, match="1e[+-]50 in column 2 "):
            Problem(there, score, loss="squared", device="gpu")


@pytest.mark.parametrize("where", ["host", "device"])
@in_every_format
def test_offsets_on_a_gpu_change_nothing_but_the_intercept(form, where, on_host):
    from support.host_device import DeviceArray

    if where == "device" and form == "csr":
        pytest.skip("a sparse matrix on the device is taken as it is")
    X, y, _ = normal_rows(60)
    far = X + 1e8 * np.array([1.0, 0.0, -1.0, 0.0, 2.0])
    far = FORMATS[form](far)
    far = DeviceArray(far) if where == "device" else far
    after = hoag(Problem(far, y, loss="squared", device="gpu"), KFold(3))
    before = hoag(Problem(X, y, loss="squared"), KFold(3))
    assert after.value == pytest.approx(before.value, rel=1e-6)
    w = after.w.get() if hasattr(after.w, "get") else after.w
    np.testing.assert_allclose(w[:5], before.w[:5], rtol=0, atol=1e-5)
