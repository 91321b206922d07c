"""Columns that are multiples of each other are held as one, empty ones not at all: nothing that a
user sees changes."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from support.designs import EPS
from support.problems import sparse_matrix, targets
from support.tunings import splits_of

import fasthoag
from fasthoag import (
    ApproximateLOO,
    CustomCriterion,
    Evidence,
    FeatureRidge,
    GroupRidge,
    HeldOut,
    KFold,
    Problem,
    Ridge,
    StructuredRidge,
    check_hypergrad,
    curve,
    hoag,
)
from fasthoag.criteria import GCV
from fasthoag.design import merging
from fasthoag.design.cpu import CpuDesign
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES
from fasthoag.penalties import Fixed, PerClass
from fasthoag.penalties.alike import ALONE, alike, over
from fasthoag.problem import refit

pytestmark = pytest.mark.no_map("columns are merged where a design has no map of its own")

EXACT = Accuracy(1e-12, 1e-12)
N_ROWS, N_DISTINCT, N_EMPTY = 90, 12, 7
N_VAL = 30
# 0: the first of them, else a multiple of it; binary multiples are exact in float32 too
MULTIPLES = (1.0, 2.0, -0.5, 1.0, 8.0)


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """However few columns there are, and whatever a copy of them costs."""
    monkeypatch.setattr(merging, "FEWEST", 0)
    monkeypatch.setattr(merging, "LEAST_SHARE", 0.0)
    monkeypatch.setattr(merging, "MOST_STORED", np.inf)


def distinct(seed=0, n_rows=N_ROWS + N_VAL):
    """An array of columns full and sparse, one a constant; none is empty or another's multiple."""
    rng = np.random.default_rng(seed)
    X = sparse_matrix(rng, n_rows, 4 * N_DISTINCT).toarray()
    X = X[:, (X[:N_ROWS] != 0).sum(axis=0) > 3][:, :N_DISTINCT]
    assert X.shape[1] == N_DISTINCT
    X[:, 3] = 0.25
    return X


def widened(X, seed=1):
    """(columns of X, factors): every column some times, in a random order, and empty ones."""
    rng = np.random.default_rng(seed)
    source = np.r_[np.repeat(np.arange(N_DISTINCT), 3), np.zeros(N_EMPTY, int)]
    factor = np.r_[rng.choice(MULTIPLES, 3 * N_DISTINCT), np.zeros(N_EMPTY)]
    factor[: 3 * N_DISTINCT : 3] = 1.0
    order = rng.permutation(len(source))
    return source[order], factor[order]


def data(loss="logistic", seed=0, dtype="float64"):
    """(X, y, X_val, y_val): training rows with columns of which `N_DISTINCT` remain."""
    Z = distinct(seed)
    source, factor = widened(Z)
    X = sp.csr_matrix((Z[:, source] * factor).astype(dtype))
    X.eliminate_zeros()
    rng = np.random.default_rng(seed + 2)
    y = targets(loss, 0.3 + Z @ rng.normal(size=N_DISTINCT), rng)
    return X[:N_ROWS], y[:N_ROWS], X[N_ROWS:], y[N_ROWS:]


def apart(X):
    """The same rows with columns that are no multiples of each other, and none empty."""
    rng = np.random.default_rng(5)
    other = X.toarray() * rng.uniform(0.5, 2, X.shape) + (rng.random(X.shape) < 0.1)
    return sp.csr_matrix(other.astype(X.dtype))


def unmerged(problem):
    """The same problem with every column."""
    options = {"fit_intercept": problem.fit_intercept, "n_threads": 1}
    return replace(problem, X=CpuDesign(problem.X, **options))


def both(loss, criterion, fit_intercept, penalty=None, dtype="float64"):
    """The problem and the same with every column, with the criterion of this name."""
    X, y, X_val, y_val = data(loss, dtype=dtype)
    penalty = Ridge() if penalty is None else penalty
    problem = Problem(X, y, loss, penalty=penalty, fit_intercept=fit_intercept)
    return problem, unmerged(problem), CRITERIA[criterion](X, X_val, y_val)


def scaled_sum(z):
    """A smooth function of predictions and its gradient."""
    return float(np.log(np.cosh(z - 0.5)).sum()), np.tanh(z - 0.5)


CRITERIA = {
    "held_out": lambda X, X_val, y_val: HeldOut(X_val, y_val),
    "held_out apart": lambda X, X_val, y_val: HeldOut(apart(X_val), y_val),
    "k_fold": lambda X, X_val, y_val: KFold(splits_of(X.shape[0], 4)),
    "loo": lambda X, X_val, y_val: ApproximateLOO(),
    "gcv": lambda X, X_val, y_val: GCV(),
    "evidence": lambda X, X_val, y_val: Evidence(),
    "custom": lambda X, X_val, y_val: CustomCriterion(apart(X_val), scaled_sum),
}
OF_EVERY_LOSS = ("held_out apart", "k_fold", "loo")


def pairs():
    for loss in LOSSES:
        for name in CRITERIA:
            is_possible = (name not in ("gcv", "evidence") or loss in ("squared", "logistic")) and (
                name != "gcv" or loss == "squared"
            )
            is_possible = is_possible and (name != "loo" or not LOSSES[loss].has_kinks)
            if is_possible and (name in OF_EVERY_LOSS or loss in ("squared", "logistic")):
                yield loss, name


def zeros(bound):
    return bound.inner.design.zeros(bound.inner.units.n_columns)


def at(problem, criterion, theta):
    bound = criterion.bind(problem)
    found = bound.evaluate(np.atleast_1d(theta), zeros(bound), EXACT)
    return found, problem.design.decode(found.W)


# ---- which columns are one --------------------------------------------------------------------


def test_columns_that_are_multiples_are_held_as_one_and_empty_ones_not_at_all(fit_intercept):
    X, y, *_ = data()
    problem = Problem(X, y, fit_intercept=fit_intercept)
    assert problem.n_features == problem.design.shape[1] == 3 * N_DISTINCT + N_EMPTY
    assert problem.design.n_coef == N_DISTINCT + fit_intercept
    assert problem.inner().n_features == N_DISTINCT
    kept = problem.design.compression.kept
    assert problem.design.n_stored == X[:, kept].nnz
    np.testing.assert_array_equal(problem.design.counts, np.diff(X.tocsc().indptr))


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_threads_and_blocks_find_the_same_columns(n_threads, n_blocks):
    X, *_ = data()
    ends = np.linspace(0, N_ROWS, n_blocks + 1).astype(int)
    blocks = [X[a:b] for a, b in itertools.pairwise(ends)]
    expected = merging.merging_of([X], all_alike, 1)
    found = merging.merging_of(blocks, all_alike, n_threads)
    for name in ("members", "group", "ratio", "kept"):
        np.testing.assert_array_equal(vars(found)[name], vars(expected)[name])


def all_alike(n_features):
    return np.zeros(n_features, np.int64)


@pytest.mark.parametrize("row", [0, 40, N_ROWS - 1])
def test_a_column_that_is_nearly_a_multiple_is_another(row):
    X = sp.csc_matrix(np.random.default_rng(0).normal(size=(N_ROWS, 3))).tolil()
    X[:, 1], X[:, 2] = 3 * X[:, 0], -X[:, 0]
    X = X.tocsr()
    assert len(merging.merging_of([X], all_alike, 1).kept) == 1
    X[row, 1] *= 1 + 1e-12
    found = merging.merging_of([X], all_alike, 1)
    assert (found.group == found.group[1]).sum() == 1
    X[row, 1] = 0
    X.eliminate_zeros()
    assert len(merging.merging_of([X], all_alike, 1).kept) == 2


def test_rounding_of_a_few_operations_keeps_no_columns_apart():
    rng = np.random.default_rng(0)
    x, length = rng.normal(size=N_ROWS), rng.uniform(1, 2, N_ROWS)
    X = np.column_stack([x * 0.1 / length, x / length * 0.7, x * 3.3 / length])
    assert np.linalg.matrix_rank(X, tol=0) == 3  # no column is one of the others to the bit
    assert len(merging.merging_of([sp.csr_matrix(X)], all_alike, 1).kept) == 1


def test_stored_zeros_are_no_values():
    X = sp.csr_matrix(np.array([[1.0, 2.0, 0.0], [3.0, 6.0, 0.0], [4.0, 8.0, 0.0]]))
    X = sp.csr_matrix((np.r_[X.data, 0.0], np.r_[X.indices, 2], [0, 2, 4, 7]), shape=(3, 3))
    found = merging.merging_of([X], all_alike, 1)
    np.testing.assert_array_equal(found.members, [0, 1])
    np.testing.assert_array_equal(found.kept, [1])  # the largest


def test_values_of_float32_stay_as_they_are():
    X, y, *_ = data(dtype="float32")
    problem = Problem(X, y, fit_intercept=False)
    kept = problem.design.compression.kept
    assert problem.design.dtype == np.float32
    assert len(kept) == N_DISTINCT
    unit = np.zeros((X.shape[1], N_DISTINCT))
    unit[kept, np.arange(N_DISTINCT)] = 1
    columns = np.asarray(problem.design.matvec(problem.design.encode(unit)))
    np.testing.assert_array_equal(columns, X[:, kept].toarray())


def test_nothing_is_copied_where_too_few_columns_vanish(monkeypatch):
    X, y, *_ = data()
    monkeypatch.setattr(merging, "LEAST_SHARE", 0.9)
    assert Problem(X, y).design.compression is None
    monkeypatch.setattr(merging, "LEAST_SHARE", 0.0)
    monkeypatch.setattr(merging, "MOST_STORED", 1)
    assert Problem(X, y).design.compression is None
    monkeypatch.setattr(merging, "MOST_STORED", np.inf)
    assert Problem(X, y, low_memory=True).design.compression is None
    assert Problem(X.toarray(), y).design.compression is None


def test_few_of_many_hashed_columns_are_held():
    rng = np.random.default_rng(0)
    n, p, n_used = 300, 1 << 20, 500
    used = rng.choice(p, n_used, replace=False)
    columns = used[rng.integers(0, n_used, (n, 60))]
    X = sp.csr_matrix((np.ones(60 * n), columns.ravel(), np.arange(0, 60 * n + 1, 60)), (n, p))
    X.sum_duplicates()
    problem = Problem(X, np.sign(rng.normal(size=n)))
    assert problem.design.n_coef == n_used + 1
    _, copies = problem.design.n_bytes()
    assert copies < 1 << 20
    assert problem.inner().penalty.strengths(np.zeros(1), n_used).shape == (n_used,)


# ---- the same answers --------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "criterion"), list(pairs()))
@pytest.mark.parametrize("theta", [-2.0, 1.0])
def test_value_and_derivatives_are_those_of_all_columns(loss, criterion, theta, fit_intercept):
    problem, whole, rule = both(loss, criterion, fit_intercept)
    assert problem.design.n_coef < whole.design.n_coef
    (found, w), (expected, w_whole) = (at(one, rule, theta) for one in (problem, whole))
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    np.testing.assert_allclose(found.grad, expected.grad, rtol=1e-6, atol=1e-8 * abs(found.value))
    np.testing.assert_allclose(w, w_whole, rtol=0, atol=1e-7 * np.abs(w_whole).max())


@pytest.mark.parametrize(("loss", "criterion"), list(pairs()))
def test_hypergradient_matches_finite_differences(loss, criterion, fit_intercept):
    problem, _, rule = both(loss, criterion, fit_intercept)
    for theta in (-2.0, 1.0):
        assert check_hypergrad(problem, rule, [theta]) < 1e-5


def test_classes_share_merged_columns(fit_intercept):
    X, score, X_val, _ = data("squared")
    y = np.digitize(score, np.quantile(score, [0.3, 0.6]))
    y_val = np.arange(N_VAL) % 3
    for penalty in (Ridge(), PerClass(Ridge(), 3)):
        problem = Problem(X, y, "multinomial", penalty=penalty, fit_intercept=fit_intercept)
        assert problem.design.n_coef == N_DISTINCT + fit_intercept
        theta = np.linspace(-1, 1, problem.n_hyper)
        rule = HeldOut(apart(X_val), y_val)
        bounds = [rule.bind(one) for one in (problem, unmerged(problem))]
        found, expected = (
            one.evaluate(theta, zeros(one), EXACT, has_tangents=False) for one in bounds
        )
        assert found.value == pytest.approx(expected.value, rel=1e-9)
        np.testing.assert_allclose(found.grad, expected.grad, rtol=1e-6, atol=1e-9)
        assert check_hypergrad(problem, rule, theta) < 1e-5


@pytest.mark.parametrize("criterion", ["held_out apart", "k_fold", "loo"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_search_ends_where_it_ends_with_all_columns(criterion, dtype):
    problem, whole, rule = both("logistic", criterion, True, dtype=dtype)
    found, expected = (hoag(one, rule, tol=1e-6) for one in (problem, whole))
    assert found.status == expected.status == "converged"
    assert found.value == pytest.approx(expected.value, rel=1e-6)
    assert found.theta == pytest.approx(expected.theta, abs=0.02)
    assert found.w.shape == expected.w.shape
    assert found.w_all.shape == expected.w_all.shape
    np.testing.assert_allclose(found.w, expected.w, atol=0.05 * np.abs(expected.w).max())
    is_empty = np.diff(problem.X.tocsc().indptr) == 0
    assert (found.w[:-1][is_empty] == 0).all()


def test_a_search_starts_from_coefficients_of_the_user():
    problem, _, rule = both("logistic", "k_fold", True)
    first = hoag(problem, rule, tol=1e-5)
    again = hoag(problem, rule, tol=1e-5, theta0=first.theta, w0=first.w)
    assert again.n_passes < 0.5 * first.n_passes
    assert again.value == pytest.approx(first.value, rel=1e-6)


def test_coefficients_of_the_user_become_those_with_the_same_predictions(fit_intercept):
    X, y, *_ = data()
    problem = Problem(X, y, fit_intercept=fit_intercept)
    w = np.random.default_rng(0).normal(size=(X.shape[1] + fit_intercept, 3))
    Z = np.asarray(problem.design.matvec(problem.design.encode(w)))
    expected = X @ w[: X.shape[1]] + (w[-1] if fit_intercept else 0)
    np.testing.assert_allclose(Z, expected, rtol=0, atol=1e3 * EPS * np.abs(expected).max())
    again = problem.design.encode(problem.design.decode(problem.design.encode(w)))
    np.testing.assert_allclose(again, problem.design.encode(w), rtol=1e-13)


def test_the_final_model_is_that_of_all_columns(fit_intercept):
    problem, whole, _ = both("logistic", "k_fold", fit_intercept)
    (w, *_), (expected, *_) = (refit(one, [0.5], tol=1e-10) for one in (problem, whole))
    np.testing.assert_allclose(w, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_curves_and_scales_are_those_of_all_columns():
    problem, whole, rule = both("logistic", "k_fold", True)
    found, expected = (curve(one, rule, tol=1e-8) for one in (problem, whole))
    np.testing.assert_allclose(found.thetas, expected.thetas, atol=1e-9)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    scales = [np.sort(one.inner().scales) for one in (problem, whole)]
    np.testing.assert_allclose(*scales, rtol=1e-12)


def test_weights_of_rows_that_make_a_column_empty_change_nothing():
    X, y, X_val, y_val = data()
    weight = np.random.default_rng(0).integers(0, 3, N_ROWS).astype(float)
    problem = Problem(X, y, sample_weight=weight)
    rule = HeldOut(apart(X_val), y_val)
    (found, w), (expected, w_whole) = (at(one, rule, 0.5) for one in (problem, unmerged(problem)))
    assert found.value == pytest.approx(expected.value, rel=1e-10)
    np.testing.assert_allclose(w, w_whole, rtol=0, atol=1e-8 * np.abs(w_whole).max())


def test_columns_far_from_0_are_named_by_the_user_s_numbers():
    X, y, *_ = data()
    far = (1e9 + 1e-7 * np.arange(N_ROWS))[:, None]
    X = sp.hstack([X, far, 2 * far, np.ones((N_ROWS, 1))]).tocsr()
    with pytest.warns(UserWarning, match=f"column {X.shape[1] - 2} of X"):
        problem = Problem(X, y)
    assert problem.design.compression is not None


def test_estimators_give_the_coefficients_of_all_columns(monkeypatch):
    X, y, X_val, _ = data()
    found = fasthoag.LogisticRegressionCV(cv=4, tol=1e-6).fit(X, y)
    monkeypatch.setattr(merging, "FEWEST", np.inf)
    expected = fasthoag.LogisticRegressionCV(cv=4, tol=1e-6).fit(X, y)
    assert found.coef_.shape == expected.coef_.shape
    np.testing.assert_allclose(
        found.coef_, expected.coef_, atol=1e-2 * np.abs(expected.coef_).max()
    )
    np.testing.assert_array_equal(found.predict(apart(X_val)), expected.predict(apart(X_val)))


# ---- penalties ---------------------------------------------------------------------------------


def test_columns_of_different_groups_stay_apart_and_groups_without_columns_keep_their_theta():
    X, y, X_val, y_val = data()
    p = X.shape[1]
    is_empty = np.diff(X.tocsc().indptr) == 0
    group = np.random.default_rng(0).integers(0, 2, p)
    group[np.flatnonzero(is_empty)[:2]] = 2  # a group with nothing in it
    penalty = GroupRidge(group)
    problem = Problem(X, y, penalty=penalty)
    compression = problem.design.compression
    assert (group[compression.members] == group[compression.kept[compression.group]]).all()
    assert N_DISTINCT < len(compression.kept) < p - N_EMPTY
    assert problem.n_hyper == problem.inner().n_hyper == 3
    rule, theta = HeldOut(apart(X_val), y_val), np.array([0.5, -0.5, 1.0])
    (found, w), (expected, w_whole) = (at(one, rule, theta) for one in (problem, unmerged(problem)))
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    np.testing.assert_allclose(found.grad, expected.grad, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(w, w_whole, rtol=0, atol=1e-7 * np.abs(w_whole).max())
    assert check_hypergrad(problem, rule, theta) < 1e-5


@pytest.mark.parametrize(
    "make",
    [
        lambda f: Ridge(f),
        lambda f: Ridge(f) + Ridge(),
        lambda f: GroupRidge(np.arange(len(f)) % 2, f) + Ridge(),
        lambda f: Fixed(Ridge(f), [0.5]),
    ],
    ids=["factors", "sum", "sum of groups", "fixed"],
)
def test_columns_of_different_factors_stay_apart(make):
    X, y, *_ = data()
    factor = np.random.default_rng(0).choice([0.5, 2.0], X.shape[1])
    penalty = make(factor)
    problem = Problem(X, y, penalty=penalty)
    compression = problem.design.compression
    assert (factor[compression.members] == factor[compression.kept[compression.group]]).all()
    assert len(compression.kept) < X.shape[1] - N_EMPTY
    inner, whole = (one.inner() for one in (problem, unmerged(problem)))
    theta = np.linspace(-0.5, 0.5, problem.n_hyper)
    W, W_whole = (
        one.design.decode(
            one.solve(
                one.strengths(theta),
                one.null.W,
                tol=1e-11,
                precond=one.first_precond(one.strengths(theta)),
            ).W
        )
        for one in (inner, whole)
    )
    np.testing.assert_allclose(W, W_whole, rtol=0, atol=1e-8 * np.abs(W_whole).max())


def test_features_without_a_penalty_stay_alone():
    X, y, *_ = data("squared")
    p = X.shape[1]
    empty = int(np.flatnonzero(np.diff(X.tocsc().indptr) == 0)[0])
    factor = np.ones(p)
    factor[[0, empty]] = 0
    problem = Problem(X, y, "squared", penalty=Ridge(factor))
    compression = problem.design.compression
    assert np.isin([0, empty], compression.kept).all()
    assert (compression.ratio[compression.members == 0] == 1).all()
    (found, w), (expected, w_whole) = (
        at(one, KFold(splits_of(N_ROWS, 4)), 0.3) for one in (problem, unmerged(problem))
    )
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    np.testing.assert_allclose(w, w_whole, rtol=0, atol=1e-7 * np.abs(w_whole).max())


def test_errors_name_features_by_the_user_s_numbers():
    X, y, *_ = data()
    X = sp.hstack([X, (y > 0)[:, None].astype(float)]).tocsr()
    factor = np.r_[np.ones(X.shape[1] - 1), 0]
    problem = Problem(X, y, penalty=Ridge(factor))
    assert problem.design.compression is not None
    with pytest.raises(ValueError, match=f"0\\), {X.shape[1] - 1}, that separate"):
        KFold(splits_of(N_ROWS, 4)).bind(problem)


class Mine(Ridge):
    """Not the strengths of a `Ridge`."""

    def strengths(self, theta, n_features):
        return np.exp(theta[0]) * (1.0 + np.arange(n_features))


@pytest.mark.parametrize(
    "penalty",
    [
        FeatureRidge(),
        StructuredRidge(np.ones((3 * N_DISTINCT + N_EMPTY, 1))),
        Ridge() + FeatureRidge(),
        Mine(),
    ],
    ids=lambda penalty: type(penalty).__name__,
)
def test_penalties_whose_strengths_may_differ_merge_nothing(penalty):
    X, y, *_ = data()
    assert Problem(X, y, penalty=penalty).design.compression is None


def test_a_design_is_made_anew_for_strengths_that_columns_of_it_have_not_in_common():
    X, y, *_ = data()
    problem = Problem(X, y)
    design = problem.design
    assert replace(problem, X=design).design is design
    assert replace(problem, X=design, penalty=Fixed(Ridge(), [0.0])).design is design
    for_each = replace(problem, X=design, penalty=FeatureRidge())
    assert for_each.design.n_coef == X.shape[1] + 1
    factor = np.where(np.arange(X.shape[1]) % 2, 1.0, 2.0)
    of_two = replace(problem, X=design, penalty=Ridge(factor))
    assert N_DISTINCT + 1 < of_two.design.n_coef < X.shape[1] + 1
    free = np.ones(X.shape[1])
    free[int(np.flatnonzero(np.diff(X.tocsc().indptr) == 0)[0])] = 0
    assert replace(problem, X=design, penalty=Ridge(free)).design is not design


def test_labels_tell_strengths_apart():
    factor = np.array([1.0, 2.0, 1.0, 0.0])
    np.testing.assert_array_equal(alike(Ridge(), 4), [0, 0, 0, 0])
    both_parts = alike(GroupRidge([0, 0, 1, 1]) + Ridge(factor), 4)
    assert len(np.unique(both_parts)) == 4
    assert (both_parts >= 0).all()
    assert alike(GroupRidge([0, 0, 1, 1], factor), 4)[3] == ALONE
    assert alike(Ridge(factor), 5) is None  # an error of the penalty's own check


def test_a_penalty_over_some_features_is_that_of_all_there():
    rng = np.random.default_rng(0)
    factor, features = rng.uniform(1, 2, 9), np.array([1, 4, 8])
    share = rng.uniform(0.1, 1, 3)
    group = GroupRidge(np.arange(9) % 3, factor)
    for penalty in (Ridge(), Ridge(factor), group, group + Ridge(), PerClass(group, 2)):
        theta = rng.normal(size=penalty.n_hyper(9))
        some = over(penalty, features, share)
        assert some.n_hyper(3) == penalty.n_hyper(9)
        whole = penalty.strengths(theta, 9)[features]
        expected = (whole.T * share).T
        np.testing.assert_allclose(some.strengths(theta, 3), expected, rtol=1e-14)


def test_no_features_left_is_no_error():
    y = np.tile([-1.0, 1.0], 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = hoag(Problem(sp.csr_matrix((20, 400)), y), KFold(4))
    assert result.w.shape == (401, 4)
    assert (result.w[:-1] == 0).all()
