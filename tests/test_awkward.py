"""Ordinary data in awkward units: offsets, rare classes, skew, rates and exposures. The right
values are known from the same data in usual units, from closed forms or from another library."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import QuantileRegressor
from sklearn.preprocessing import scale

import fasthoag
from fasthoag import ConvergenceWarning, HeldOut, KFold, Problem, find_loss, hoag
from fasthoag.design.offsets import offset_map
from fasthoag.design.rows import TRAIN
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
    before, after = (Estimator().fit(X, y + c) for c in (0.0, 1e6))
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


@pytest.mark.parametrize("where", ["host", "device"])
@in_every_format
def test_offsets_on_a_gpu_change_nothing_but_the_intercept(form, where, monkeypatch):
    from host_device import DeviceArray, HostDevice

    from fasthoag.design import gpu

    monkeypatch.setattr(gpu, "find_device", HostDevice)
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
