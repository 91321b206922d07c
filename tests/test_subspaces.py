"""Many targets where nothing is factorised: block Krylov runs against factors and other fits."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

import fasthoag
from fasthoag import RidgeClassifierCV, RidgeCV
from fasthoag.criteria.folds import mask_of_folds
from fasthoag.estimators import factored
from fasthoag.spectral import subspaces
from fasthoag.spectral.block_krylov import BlockRun, basis_of
from fasthoag.spectral.tuning import Plan, decompose
from fasthoag.spectral.workers import Workers

CV = KFold(4, shuffle=True, random_state=0)
AGREED = 1e-3  # about a hundredth of a standard error of these criteria
forms = pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "CSR"])


def rows(n=240, p=300, t=5, seed=0):
    """Sparse rows and targets that share some of what they depend on, from little to much noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * (rng.uniform(size=(n, p)) < np.geomspace(0.5, 0.02, p))
    W = rng.normal(size=(p, t)) + rng.normal(size=(p, 1))
    Z = X @ W
    return X, Z + Z.std() * rng.normal(size=(n, t)) * np.geomspace(0.3, 3, t) + 10


@pytest.fixture
def by_runs(monkeypatch):
    """Nothing is factorised."""
    monkeypatch.setattr(factored, "plan_of", lambda *args: None)


def model_of(X, Y, **options):
    return RidgeCV(alpha_per_target=True, cv=CV, **options).fit(X, Y)


def errors(X, Y, alphas, weight=None, fit_intercept=True):
    """Half the held-out squared errors of every target by scikit-learn's Ridge."""
    weight, total = np.ones(len(X)) if weight is None else weight, 0.0
    for train, test in CV.split(X):
        peer = Ridge(alphas, solver="cholesky", fit_intercept=fit_intercept)
        peer.fit(X[train], Y[train], weight[train])
        total = total + 0.5 * weight[test] @ (Y[test] - peer.predict(X[test])) ** 2
    return total


@pytest.mark.parametrize("has_intercept", [True, False])
@pytest.mark.parametrize("has_weight", [True, False])
def test_a_run_to_its_end_says_what_factors_say(has_intercept, has_weight):
    X, Y = rows(80, 30, 4)
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 4, len(X)).astype(float) if has_weight else np.ones(len(X))
    mask = mask_of_folds(list(CV.split(X)), weight)
    args = {"loss": "squared", "fit_intercept": has_intercept, "sample_weight": weight}
    run = BlockRun(fasthoag.Problem(X, Y[:, 0], **args).inner(mask), Y, Workers(2))
    for _ in range(12):  # of 4 targets: more than 30 features
        run.step()
    exact = decompose(X, weight, mask, has_intercept, None, Plan("moments", 0), Workers())
    theta, every = np.array([-2.0, 0.0, 2.0, 5.0]), np.arange(4)
    centred, _ = exact.centred_targets(Y)
    for ours, theirs in zip(run.criteria(), exact.criteria(centred), strict=True):
        for one, other in zip(ours.values(theta, every), theirs.values(theta, every), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9 * abs(other).max())


def test_a_run_goes_on_where_features_have_means_and_all_is_known():
    rng = np.random.default_rng(0)
    X = rng.poisson(np.geomspace(30, 0.1, 100), size=(300, 100)).astype(float)
    Y = X @ rng.normal(size=(100, 2)) + 10 * rng.normal(size=(300, 2))
    mask = mask_of_folds(list(CV.split(X)), np.ones(300))
    run = BlockRun(fasthoag.Problem(X, Y[:, 0], loss="squared").inner(mask), Y, Workers())
    theta, every, found = np.array([3.0, 5.0]), np.arange(2), []
    for k in range(1, 121):
        run.step()
        if k in (60, 120):
            found.append([part.values(theta, every, 0).value for part in run.criteria()])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    total = errors(X, Y, np.exp(theta))
    np.testing.assert_allclose(np.sum(found[1], axis=0), total, rtol=1e-6)


def test_dependent_directions_are_columns_of_zeros():
    rng = np.random.default_rng(0)
    v, over = rng.normal(size=(50, 4)), rng.uniform(0.5, 2, (50, 1))
    v = np.column_stack([v, v.sum(axis=1), 1e9 * v[:, 0], np.zeros(50)])
    M, R = basis_of(v.T @ (over * v))
    s = v @ M
    np.testing.assert_allclose(s @ R, v, rtol=1e-7, atol=1e-7)
    is_there = s.any(axis=0)
    assert is_there.sum() == 4
    np.testing.assert_allclose(s.T @ (over * s), np.diag(is_there.astype(float)), atol=1e-8)


@forms
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_targets_have_what_factors_find(by_runs, monkeypatch, form, fit_intercept):
    X, Y = rows()
    ours = model_of(form(X), Y, fit_intercept=fit_intercept)
    assert "block Krylov" in ours.hoag_result_.message
    monkeypatch.undo()
    exact = model_of(form(X), Y, fit_intercept=fit_intercept)
    assert "block Krylov" not in exact.hoag_result_.message
    least = errors(X, Y, exact.alpha_, fit_intercept=fit_intercept)
    found = errors(X, Y, ours.alpha_, fit_intercept=fit_intercept)
    np.testing.assert_allclose(found, least, rtol=AGREED)
    assert abs(ours.hoag_result_.value - found.sum()) <= 3 * ours.hoag_result_.value_error
    assert 0 < ours.hoag_result_.value_error <= 3 * AGREED * found.sum()
    peer = Ridge(ours.alpha_, solver="cholesky", fit_intercept=fit_intercept).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, peer.coef_, atol=1e-3 * abs(peer.coef_).max())
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, rtol=1e-3, atol=1e-9)


def test_units_weights_and_copies_of_rows_change_nothing(by_runs):
    X, Y = rows()
    plain = model_of(X, Y)
    units = np.array([1e-6, 1.0, 1e6, 3.0, 1e3])
    other = model_of(X, Y * units + 1e3)
    np.testing.assert_allclose(other.alpha_, plain.alpha_, rtol=0.02)
    np.testing.assert_allclose(other.coef_ / units[:, None], plain.coef_, rtol=0.05, atol=2e-3)
    scaled = model_of(8 * X, Y)
    np.testing.assert_allclose(scaled.alpha_, 64 * plain.alpha_, rtol=1e-6)
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    weighted = RidgeCV(alpha_per_target=True, cv=CV).fit(X, Y, weight.astype(float))
    least = errors(X, Y, weighted.alpha_, weight.astype(float))
    for factor in (0.8, 1.25):
        there = errors(X, Y, factor * weighted.alpha_, weight.astype(float))
        assert (least <= there * (1 + 2 * AGREED)).all()


def test_an_offset_is_taken_off_and_an_empty_or_constant_column_is_nothing(by_runs):
    X, Y = rows()
    offset = 5 * np.random.default_rng(0).normal(size=Y.shape)
    plain = model_of(X, Y)
    beside = RidgeCV(alpha_per_target=True, cv=CV).fit(X, Y + offset, offset=offset)
    assert "block Krylov" in beside.hoag_result_.message
    np.testing.assert_allclose(beside.alpha_, plain.alpha_, rtol=1e-4)
    np.testing.assert_allclose(beside.coef_, plain.coef_, rtol=1e-3, atol=1e-5)
    more = model_of(np.column_stack([X, np.zeros(len(X)), np.full(len(X), 7.0)]), Y)
    np.testing.assert_allclose(more.best_score_, plain.best_score_, rtol=AGREED)
    assert abs(more.coef_[:, -2:]).max() <= 1e-4 * abs(more.coef_).max()  # as models are solved


def test_labels_that_sum_to_one_and_a_constant(by_runs):
    X, Y = rows(t=4)
    labels = np.eye(4, dtype=int)[Y.argmax(axis=1)]
    model = RidgeClassifierCV(cv=CV).fit(sp.csr_array(X), labels)
    assert "block Krylov" in model.hoag_result_.message
    y = 2.0 * labels - 1
    least = errors(X, y, model.alpha_)
    for factor in (0.8, 1.25):
        assert (least <= errors(X, y, factor * model.alpha_) * (1 + 2 * AGREED)).all()
    targets = np.column_stack([Y, np.full(len(Y), 7.0), Y[:, 0]])
    model = model_of(X, targets)
    assert not model.coef_[4].any()
    assert model.intercept_[4] == pytest.approx(7)
    np.testing.assert_allclose(model.coef_[5], model.coef_[0], rtol=1e-6, atol=1e-9)


@pytest.mark.filterwarnings("error:The optimum is at the bound")
def test_targets_of_noise_alone_are_their_means(by_runs, monkeypatch):
    X, Y = rows(600, 80, t=2)
    Y = np.column_stack([Y, np.random.default_rng(1).normal(size=(600, 8)) + 5])
    ours = model_of(X, Y)
    assert ours.hoag_result_.status == "converged"
    monkeypatch.undo()
    exact = model_of(X, Y)
    is_noise = exact.alpha_ > 1e6 * len(X)
    assert 2 < is_noise.sum() < 9
    np.testing.assert_array_equal(ours.alpha_ > 1e6 * len(X), is_noise)
    np.testing.assert_allclose(ours.coef_[is_noise], 0, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_[is_noise], Y[:, is_noise].mean(axis=0), rtol=1e-6)


def test_many_targets_are_taken_in_blocks(by_runs, monkeypatch):
    X, Y = rows(t=7)
    together = model_of(X, Y)
    monkeypatch.setattr(subspaces, "SIDE_BY_SIDE", 3)
    apart = model_of(X, Y)
    np.testing.assert_allclose(apart.best_score_, together.best_score_, rtol=3 * AGREED)
    assert apart.hoag_result_.n_passes > together.hoag_result_.n_passes


@pytest.mark.parametrize("side_by_side", [24, 3])
def test_targets_share_a_strength(by_runs, monkeypatch, side_by_side):
    X, Y = rows(t=7)
    monkeypatch.setattr(subspaces, "SIDE_BY_SIDE", side_by_side)
    labels = np.array([0, 0, 1, 1, 0, 1, 1])
    one, two = RidgeCV(cv=CV).fit(X, Y), RidgeCV(cv=CV, alpha_per_target=labels).fit(X, Y)
    assert isinstance(one.alpha_, float)
    assert len(np.unique(two.alpha_)) == 2
    for model, groups in ((one, 0 * labels), (two, labels)):
        assert "block Krylov" in model.hoag_result_.message
        alphas = np.broadcast_to(model.alpha_, 7)
        least = np.bincount(groups, errors(X, Y, alphas))
        for factor in (0.7, 1.4):
            there = np.bincount(groups, errors(X, Y, factor * alphas))
            assert (least <= there * (1 + AGREED)).all()


def test_penalty_factor_given_strengths_and_bounds(by_runs):
    X, Y = rows()
    factor = np.geomspace(0.5, 2, X.shape[1])
    model = model_of(X, Y, penalty_factor=factor, alphas=40.0)
    assert model.hoag_result_.status == "given"
    peer = Ridge(40.0, solver="cholesky").fit(X / np.sqrt(factor), Y)
    scaled = peer.coef_ / np.sqrt(factor)
    np.testing.assert_allclose(model.coef_, scaled, atol=1e-3 * abs(scaled).max())
    values = errors(X / np.sqrt(factor), Y, 40.0)
    np.testing.assert_allclose(-0.5 * model.best_score_ * len(X), values, rtol=2e-4)
    with pytest.warns(fasthoag.ConvergenceWarning, match="bound"):
        model = model_of(X, Y, bounds=(-3.0, -2.0))
    np.testing.assert_allclose(np.log(model.alpha_), -2, rtol=1e-12)


def test_more_digits_and_targets_without_noise_are_searched_for_one_by_one(by_runs):
    X, Y = rows(t=2)
    model = model_of(X, Y, tol=1e-6)
    assert isinstance(model.hoag_result_, list)
    W = np.random.default_rng(0).normal(size=(40, 2))
    exact = X[:, :40] @ W
    model = model_of(X[:, :40], exact)
    assert isinstance(model.hoag_result_, list)
    np.testing.assert_allclose(model.coef_, W.T, atol=1e-3)
    with pytest.raises(ValueError, match="no common strength .* alpha_per_target=True"):
        RidgeCV(cv=CV).fit(X[:, :40], exact)


def test_runs_that_memory_does_not_hold_are_not_begun(by_runs, monkeypatch):
    X, Y = rows()
    few = subspaces.bytes_of_runs((10**5, 10**6), 5, 1000, is_shared=False)
    assert few < 4e9 < 1e11 < subspaces.bytes_of_runs((10**5, 10**6), 5, 1000, is_shared=True)
    monkeypatch.setattr(factored, "bytes_of_runs", lambda *args: 10**15)
    assert isinstance(model_of(X, Y[:, :2]).hoag_result_, list)
    with pytest.raises(ValueError, match="pass alpha_per_target=True"):
        RidgeCV(cv=CV).fit(X, Y)


def test_what_takes_less_time():
    X = sp.random_array((9_000, 40_000), density=1e-3, format="csr", rng=0)
    assert subspaces.is_cheaper(X, 20, 5)
    assert not subspaces.is_cheaper(X[:500], 20, 5)
    assert not subspaces.is_cheaper(X, 10_000, 5)


def test_classes_against_the_rest_go_side_by_side(by_runs, monkeypatch):
    X, Y = rows(t=4)
    classes = np.array(["a", "b", "c", "d"])[Y.argmax(axis=1)]
    ours = RidgeClassifierCV(cv=4).fit(sp.csr_array(X), classes)
    assert "block Krylov" in ours.hoag_result_.message
    monkeypatch.undo()
    theirs = RidgeClassifierCV(cv=4).fit(sp.csr_array(X), classes)
    assert vars(ours).keys() == vars(theirs).keys()
    for name in ("coef_", "intercept_", "alpha_", "scores_", "score_mean_", "best_score_"):
        assert np.shape(getattr(ours, name)) == np.shape(getattr(theirs, name)), name
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=2 * AGREED)
    np.testing.assert_allclose(ours.alpha_[:3], theirs.alpha_[:3], rtol=0.05)  # flat for the last
    np.testing.assert_allclose(ours.coef_[:3], theirs.coef_[:3], rtol=0.05, atol=1e-3)
    assert np.mean(ours.predict(X) == theirs.predict(X)) > 0.98
