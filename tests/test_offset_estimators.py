"""Offsets through estimators and model files: `fit`, predictions, scores and what refuses them."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.model_selection import cross_val_score
from support.designs import dense
from support.problems import sparse_problem

import fasthoag
from fasthoag import HeldOut
from fasthoag.design import to_host
from fasthoag.io import Model, load_model, save_liblinear, save_model

N_ROWS, N_FEATURES = 120, 5
LOSS_OF = {
    "GammaRegressorCV": "gamma",
    "HuberRegressorCV": "huber",
    "LinearSVCCV": "squared_hinge",
    "LinearSVRCV": "squared_epsilon_insensitive",
    "LogisticRegressionCV": "logistic",
    "PoissonRegressorCV": "poisson",
    "QuantileRegressorCV": "quantile",
    "RidgeCV": "squared",
    "RidgeClassifierCV": "logistic",
    "TweedieRegressorCV": "tweedie",
}
CLASSIFIERS = ("LinearSVCCV", "LogisticRegressionCV", "RidgeClassifierCV")
IN_UNIT = ("HuberRegressorCV", "LinearSVRCV", "QuantileRegressorCV", "RidgeCV")
with_every_estimator = pytest.mark.parametrize("name", LOSS_OF)
quiet = pytest.mark.filterwarnings("ignore:.*lie below the fitted quantile", "ignore:theta")


def data_of(name, n_features=N_FEATURES):
    X, y = sparse_problem(LOSS_OF[name], 5, N_ROWS, n_features, density=0.8)
    return dense(X), y, np.random.default_rng(1).normal(size=N_ROWS)


def made(name, **known):
    """An estimator whose model has many digits."""
    return getattr(fasthoag, name)(**{"refit_tol": 1e-9} | known)


def rates(n=200):
    """X, counts and exposures of known coefficients, 0.60 and -0.79."""
    rng = np.random.default_rng(0)
    X, exposure = rng.normal(size=(n, 2)), rng.uniform(1, 9, size=n)
    return X, rng.poisson(exposure * np.exp(X @ [0.6, -0.79])).astype(float), exposure


def test_every_linear_estimator_is_here():
    kernels = {"KernelRidgeCV", "KernelLogisticRegressionCV"}
    assert {*LOSS_OF} | kernels == {*fasthoag.estimators.ESTIMATORS}


# ---- the same model in other words ----


@quiet
@with_every_estimator
def test_a_constant_offset_is_taken_from_the_intercept(name):
    X, y, offset = data_of(name)
    one, other = (made(name).fit(X, y, offset=offset + step) for step in (0.0, 4.0))
    np.testing.assert_allclose(other.lam_, one.lam_, rtol=1e-3)
    np.testing.assert_allclose(other.coef_, one.coef_, rtol=0, atol=1e-3)
    np.testing.assert_allclose(other.intercept_, one.intercept_ - 4.0, rtol=0, atol=1e-3)


@quiet
@with_every_estimator
def test_an_offset_of_zeros_is_none_to_the_bit(name):
    X, y, _ = data_of(name)
    zeros = np.zeros(N_ROWS)
    one, other = made(name).fit(X, y), made(name).fit(X, y, offset=zeros)
    for attribute in ("coef_", "intercept_", "lam_", "scores_"):
        np.testing.assert_array_equal(getattr(other, attribute), getattr(one, attribute))
    np.testing.assert_array_equal(other.predict(X, offset=zeros), one.predict(X))


@quiet
@pytest.mark.parametrize("cv", [None, 4])
@pytest.mark.parametrize("name", IN_UNIT)
def test_where_targets_have_its_unit_the_offset_is_taken_from_them(name, cv):
    X, y, offset = data_of(name)
    one = made(name, cv=cv).fit(X, y, offset=offset)
    other = made(name, cv=cv).fit(X, y - offset)
    for attribute in ("coef_", "intercept_", "lam_", "scores_"):
        np.testing.assert_allclose(getattr(one, attribute), getattr(other, attribute), rtol=1e-4)
    np.testing.assert_allclose(
        one.predict(X, offset=offset), other.predict(X) + offset, rtol=0, atol=1e-3
    )
    assert one.has_offset_
    assert one.hoag_result_.has_offset
    assert not other.has_offset_


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("cv", [5, None])
def test_counts_beside_log_exposures_are_rates_that_exposures_weigh(cv, form):
    X, y, exposure = rates()
    X, offset = form(X), np.log(exposure)
    known = {"cv": cv or 5, "tol": 1e-9}
    counts = made("PoissonRegressorCV", **known).fit(X, y, offset=offset)
    of_rates = made("PoissonRegressorCV", **known).fit(X, y / exposure, exposure)
    np.testing.assert_allclose(counts.alpha_, of_rates.alpha_, rtol=1e-8)
    np.testing.assert_allclose(counts.coef_, of_rates.coef_, rtol=1e-8)
    np.testing.assert_allclose(counts.intercept_, of_rates.intercept_, rtol=0, atol=1e-8)
    values = [one.hoag_result_.value for one in (counts, of_rates)]
    np.testing.assert_allclose(*values, rtol=1e-8)
    np.testing.assert_allclose(
        counts.predict(X, offset=offset), exposure * of_rates.predict(X), rtol=1e-8
    )


@pytest.mark.parametrize("power", [1, 3, 5, 7, 9])
def test_without_a_penalty_rates_of_any_size_are_those_of_statsmodels(power):
    """Events in hours of exposure, at rates of 1e-1 to 1e-9 an hour."""
    models = pytest.importorskip(
        "statsmodels.api", reason="statsmodels is no dependency: pip install statsmodels"
    )
    X, y, exposure = rates()
    offset = np.log(exposure * 10.0**power)
    theirs = models.GLM(
        y, models.add_constant(X), family=models.families.Poisson(), offset=offset
    ).fit(tol=1e-12)
    ours = made("PoissonRegressorCV", alphas=0.0).fit(X, y, offset=offset)
    np.testing.assert_allclose([ours.intercept_, *ours.coef_], theirs.params, rtol=1e-6)


@pytest.mark.parametrize("power", [1, 3, 5, 7, 9])
def test_rates_of_any_size_have_one_model(power):
    """The unit of the exposure moves the intercept by its logarithm and nothing else; coefficients
    are those that counts were drawn by, to the error that so many counts leave."""
    X, y, exposure = rates(2000)
    first = made("PoissonRegressorCV").fit(X, y, offset=np.log(exposure))
    there = made("PoissonRegressorCV").fit(X, y, offset=np.log(exposure * 10.0**power))
    np.testing.assert_allclose(there.coef_, first.coef_, rtol=0, atol=1e-6)
    shift = power * np.log(10)
    assert there.intercept_ == pytest.approx(first.intercept_ - shift, abs=1e-6)
    np.testing.assert_allclose(there.coef_, [0.6, -0.79], rtol=0, atol=0.02)


# ---- predictions and scores ----


@quiet
@with_every_estimator
def test_predictions_and_scores_are_beside_the_offset(name):
    X, y, offset = data_of(name)
    model = made(name).fit(X, y, offset=offset)
    z = X @ np.ravel(model.coef_) + np.ravel(model.intercept_)[0] + offset
    if name in CLASSIFIERS:
        np.testing.assert_allclose(model.decision_function(X, offset=offset), z, rtol=1e-12)
        expected = np.where(z > 0, 1.0, -1.0)
        assert model.score(X, y, offset=offset) == np.mean(expected == y)
    else:
        expected = z if name in IN_UNIT else np.exp(z)
        weight = np.arange(N_ROWS) % 2
        some = weight > 0
        assert model.score(X, y, weight, offset=offset) == pytest.approx(
            model.score(X[some], y[some], offset=offset[some])
        )
    np.testing.assert_allclose(model.predict(X, offset=offset), expected, rtol=1e-12)
    of_sparse = model.predict(sp.csr_matrix(X), offset=list(offset))
    np.testing.assert_allclose(of_sparse, expected, rtol=1e-12)


def test_probabilities_are_beside_the_offset():
    X, y, offset = data_of("LogisticRegressionCV")
    model = made("LogisticRegressionCV", scoring="roc_auc").fit(X, y, offset=offset)
    z = model.decision_function(X, offset=offset)
    p = 1 / (1 + np.exp(-z))
    found = model.predict_proba(X, offset=offset)
    np.testing.assert_allclose(found, np.column_stack([1 - p, p]), rtol=1e-12)
    logs = model.predict_log_proba(X, offset=offset)
    np.testing.assert_allclose(logs, np.log(found), rtol=1e-9)
    above = (z[y > 0][:, None] > z[y < 0]).mean()  # what the area under the curve is
    assert model.score(X, y, offset=offset) == pytest.approx(above, rel=1e-12)


def test_each_of_several_classes_has_an_offset(tmp_path):
    X, y, _ = data_of("RidgeCV")
    labels = np.array(["a", "b", "c"])[np.digitize(y, np.quantile(y, [0.3, 0.6]))]
    offset = np.random.default_rng(0).normal(size=(N_ROWS, 3))
    model = made("LogisticRegressionCV", scoring="neg_log_loss").fit(X, labels, offset=offset)
    z = X @ model.coef_.T + model.intercept_ + offset
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X, offset=offset), p, rtol=1e-12)
    own = p[np.arange(N_ROWS), np.searchsorted(model.classes_, labels)]
    assert model.score(X, labels, offset=offset) == pytest.approx(np.log(own).mean(), rel=1e-12)
    fasthoag.save_model(tmp_path / "model", model)
    saved = fasthoag.load_model(tmp_path / "model")
    assert (saved.predict(X, offset=offset) == model.predict(X, offset=offset)).all()
    for one in (model, saved):
        with pytest.raises(ValueError, match="offset of 3 classes must have a column for each"):
            one.predict(X, offset=offset[:, 0])


def test_scorers_judge_predictions_beside_the_offset():
    """Of the folds: an offset that tells classes apart by itself has an area near 1."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N_ROWS, 2)), np.arange(N_ROWS) % 2
    offset = 20.0 * (y - 0.5)
    model = made("LogisticRegressionCV", scoring="roc_auc").fit(X, y, offset=offset)
    assert model.score_mean_ > 0.99
    ridge = made("RidgeCV", cv=4, scoring="r2").fit(X, offset + X[:, 0], offset=offset)
    assert ridge.score_mean_ > 0.999


def test_rows_of_ones_own_bring_their_offsets():
    X, y, offset = data_of("PoissonRegressorCV")
    some, rest = slice(0, 80), slice(80, None)
    judge = HeldOut(X[rest], y[rest], offset=offset[rest])
    model = made("PoissonRegressorCV").fit(
        X[some], y[some], validation=judge, stop_on=judge, offset=offset[some]
    )
    problem = fasthoag.Problem(X[some], y[some], loss="poisson", offset=offset[some])
    result = fasthoag.hoag(problem, judge)
    assert model.hoag_result_.value == pytest.approx(result.value, rel=1e-9)
    weighted = HeldOut(X[rest], y[rest], 2.0 + 0 * y[rest], offset=offset[rest])
    twice = made("PoissonRegressorCV").fit(
        X[some], y[some], validation=weighted, offset=offset[some]
    )
    assert twice.hoag_result_.value == pytest.approx(2 * result.value, rel=1e-6)


def test_scikit_learn_routes_an_offset():
    X, y, offset = data_of("PoissonRegressorCV")
    with sklearn.config_context(enable_metadata_routing=True):
        model = made("PoissonRegressorCV").set_fit_request(offset=True)
        model = model.set_score_request(offset=True)
        scores = cross_val_score(model, X, y, cv=3, params={"offset": offset})
    test = np.arange(40)
    fitted = made("PoissonRegressorCV").fit(X[40:], y[40:], offset=offset[40:])
    assert scores[0] == pytest.approx(fitted.score(X[test], y[test], offset=offset[test]))


def test_on_a_device_predictions_are_the_same(on_host):
    X, y, offset = data_of("PoissonRegressorCV")
    here, there = (
        made("PoissonRegressorCV", device=device).fit(X, y, offset=offset)
        for device in (None, "gpu")
    )
    np.testing.assert_allclose(there.coef_, here.coef_, rtol=1e-5)
    np.testing.assert_allclose(
        to_host(there.predict(X, offset=offset)), here.predict(X, offset=offset), rtol=1e-5
    )


# ---- model files ----


@quiet
@with_every_estimator
def test_a_saved_model_wants_the_offset_and_predicts_the_same_bits(name, tmp_path):
    X, y, offset = data_of(name)
    fitted = made(name).fit(X, y, offset=offset)
    fasthoag.save_model(tmp_path / "model", fitted)
    model = fasthoag.load_model(tmp_path / "model")
    assert model.has_offset
    np.testing.assert_array_equal(model.predict(X, offset=offset), fitted.predict(X, offset=offset))
    with pytest.raises(ValueError, match="needs? one too: pass offset="):
        model.predict(X)
    if name == "LogisticRegressionCV":
        known = {"offset": offset}
        found = model.predict_proba(X, **known)
        np.testing.assert_array_equal(found, fitted.predict_proba(X, **known))


def test_the_result_of_a_search_says_that_it_had_one(tmp_path):
    X, y, offset = data_of("RidgeCV")
    for known in (None, offset):
        problem = fasthoag.Problem(X, y, loss="squared", offset=known)
        result = fasthoag.hoag(problem, fasthoag.KFold(3))
        fasthoag.save_model(tmp_path / "model", result, overwrite=True)
        assert fasthoag.load_model(tmp_path / "model").has_offset == (known is not None)


def test_only_files_of_models_with_an_offset_are_of_version_3(tmp_path):
    for has_offset, version in ((False, 2), (True, 3)):
        model = Model("squared", coef=[[2.0]], intercept=[1.0], has_offset=has_offset)
        fasthoag.save_model(tmp_path / "model", model, overwrite=True)
        with np.load(tmp_path / "model") as found:
            assert found["version"] == version
            assert ("has_offset" in found) == has_offset
        assert fasthoag.load_model(tmp_path / "model").has_offset is has_offset


def test_liblinear_has_no_offset(tmp_path):
    model = Model("squared", coef=[[2.0]], intercept=[1.0], has_offset=True)
    with pytest.raises(ValueError, match="LIBLINEAR's models have no offset"):
        save_liblinear(tmp_path / "model", model)
    with pytest.raises(TypeError, match="has_offset must be"):
        Model("squared", coef=[[2.0]], intercept=[1.0], has_offset="yes")


# ---- what is refused ----


@quiet
@with_every_estimator
def test_a_missing_or_wrong_offset_is_an_error_that_says_what_to_pass(name):
    X, y, offset = data_of(name)
    model, plain = made(name).fit(X, y, offset=offset), made(name).fit(X, y)
    methods = ["predict", *(["decision_function"] if name in CLASSIFIERS else [])]
    methods += ["predict_proba", "predict_log_proba"] * (name == "LogisticRegressionCV")
    for method in methods:
        with pytest.raises(
            ValueError, match=f"pass offset= with a number for each of the {N_ROWS}"
        ):
            getattr(model, method)(X)
        with pytest.raises(ValueError, match="offset has 3 values but X has"):
            getattr(model, method)(X, offset=offset[:3])
        with pytest.raises(ValueError, match="offset contains NaN"):
            getattr(model, method)(X, offset=offset * np.nan)
        with pytest.raises(ValueError, match="leave offset out, or fit with offset="):
            getattr(plain, method)(X, offset=offset)
    with pytest.raises(ValueError, match="pass offset="):
        model.score(X, y)
    for wrong, message in (
        (offset[:3], "offset has 3 values but X has"),
        (np.full(N_ROWS, np.inf), "offset contains NaN or infinity"),
        (np.ones((N_ROWS, 2)), "offset must have 1 dimension"),
    ):
        with pytest.raises(ValueError, match=message):
            made(name).fit(X, y, offset=wrong)


@pytest.mark.parametrize("argument", ["validation", "stop_on"])
def test_other_rows_need_an_offset_where_fit_has_one(argument):
    X, y, offset = data_of("PoissonRegressorCV")
    with pytest.raises(ValueError, match=rf"pass {argument}=fasthoag.HeldOut\(X, y, offset=...\)"):
        made("PoissonRegressorCV").fit(X, y, offset=offset, **{argument: (X, y)})
    judge = HeldOut(X, y, offset=offset)
    with pytest.raises(ValueError, match=rf"{argument} has an offset and fit has none"):
        made("PoissonRegressorCV").fit(X, y, **{argument: judge})
    other = HeldOut(X, y, loss="squared")
    with pytest.raises(ValueError, match=rf"{argument} is a HeldOut with a loss of its own"):
        made("PoissonRegressorCV").fit(X, y, **{argument: other})


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "CSR"])
@pytest.mark.parametrize("has_columns", [False, True], ids=["one for all", "each its own"])
@pytest.mark.parametrize("per_target", [False, True], ids=["one strength", "each its own"])
@pytest.mark.parametrize("how", ["factors", "search", "other rows"])
def test_targets_of_least_squares_are_fitted_less_their_offset(
    form, has_columns, per_target, how, tmp_path
):
    X, y, offset = data_of("RidgeCV")
    X, Y = form(X), np.column_stack([y, -y, y**2])
    offsets = np.column_stack([offset, 2 * offset, 0 * offset]) if has_columns else offset[:, None]
    own, options, judged = {}, {"alpha_per_target": per_target, "cv": 4}, {}
    if how != "factors":
        options |= {"alpha_per_target": True, "method": "lbfgs"}
    if how == "other rows":
        given = offsets if has_columns else offsets[:, 0]
        own = {"validation": HeldOut(X[::2], Y[::2], offset=given[::2])}
        judged = {"validation": HeldOut(X[::2], (Y - offsets)[::2])}
    model = fasthoag.RidgeCV(**options).fit(X, Y, offset=offsets if has_columns else offset, **own)
    less = fasthoag.RidgeCV(**options).fit(X, Y - offsets, **judged)
    np.testing.assert_allclose(model.alpha_, less.alpha_, rtol=1e-8)
    np.testing.assert_allclose(model.coef_, less.coef_, rtol=1e-8)
    assert model.has_offset_
    results = model.hoag_result_ if isinstance(model.hoag_result_, list) else [model.hoag_result_]
    assert all(one.has_offset for one in results)
    save_model(tmp_path / "model", model)
    for one in (model, load_model(tmp_path / "model")):
        predicted = one.predict(X, offset=offsets if has_columns else offset)
        np.testing.assert_allclose(predicted, less.predict(X) + offsets, rtol=1e-8)
        with pytest.raises(ValueError, match="fitted beside an offset"):
            one.predict(X)
        with pytest.raises(ValueError, match=rf"or one for each of the targets .* \({N_ROWS}, 2\)"):
            one.predict(X, offset=np.zeros((N_ROWS, 2)))


def test_offsets_of_targets_that_do_not_fit_are_refused():
    X, y, offset = data_of("RidgeCV")
    Y = np.column_stack([y, -y, y])
    with pytest.raises(ValueError, match=r"offset must have .* got shape \(\d+, 2\)"):
        fasthoag.RidgeCV().fit(X, Y, offset=np.zeros((N_ROWS, 2)))
    bad = np.zeros(Y.shape)
    bad[4, 1] = np.nan
    with pytest.raises(ValueError, match="offset contains NaN"):
        fasthoag.RidgeCV().fit(X, Y, offset=bad)
    with pytest.raises(ValueError, match="validation has none"):
        known = {"offset": offset, "validation": (X, Y)}
        fasthoag.RidgeCV(alpha_per_target=True).fit(X, Y, **known)
    # Scorers judge targets, not what is left of them.
    with pytest.raises(ValueError, match=r"and offset= is for a search .* alpha_per_target=True"):
        made("RidgeCV", scoring="r2").fit(X, Y, offset=offset)
    with pytest.raises(ValueError, match="offset must have 1 dimension"):
        made("HuberRegressorCV").fit(X, Y, offset=np.zeros(Y.shape))


def test_one_class_against_the_rest_has_no_offset():
    X, _, offset = data_of("RidgeCV")
    for name in ("LinearSVCCV", "RidgeClassifierCV"):
        with pytest.raises(ValueError, match=f"offset= of {name} is for two classes, and y has 3"):
            made(name).fit(X, np.arange(N_ROWS) % 3, offset=offset)
    with pytest.raises(ValueError, match="offset of 3 classes must have a column for each"):
        made("LogisticRegressionCV").fit(X, np.arange(N_ROWS) % 3, offset=offset)


def test_a_second_fit_forgets_the_offset_of_the_first():
    X, y, offset = data_of("RidgeCV")
    model = made("RidgeCV", cv=3).fit(X, y, offset=offset)
    model.fit(X, np.column_stack([y, -y]))
    assert model.predict(X).shape == (N_ROWS, 2)


def test_kernel_estimators_have_no_offset():
    X, y, offset = data_of("RidgeCV")
    with pytest.raises(TypeError, match="offset"):
        fasthoag.KernelRidgeCV().fit(X, y, offset=offset)
    with pytest.raises(ValueError, match="KernelProblem has none"):
        fasthoag.KernelRidgeCV().fit(X, y, validation=HeldOut(X, y, offset=offset))
