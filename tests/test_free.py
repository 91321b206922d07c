"""Coefficients without a penalty: folds whose rows do not determine them, and data that ask for
infinite ones."""

import numpy as np
import pytest
import scipy.sparse as sp
from support.closed_form import with_ones

import fasthoag
from fasthoag import (
    ApproximateLOO,
    CustomCriterion,
    FeatureRidge,
    HeldOut,
    KFold,
    PerClass,
    Problem,
    Ridge,
    find_loss,
    hoag,
)
from fasthoag.free import aliased
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES

N, P = 60, 6
RARE = P  # the number of the feature without a penalty
UNITS = (1e-6, 1.0, 1e6)
TAILED = ("logistic", "smoothed_hinge", "multinomial")  # whose loss falls for ever


def with_rare_level(kind, unit=1.0, seed=0):
    """X with a last column, without a penalty, that the rows of the first fold alone know."""
    rng = np.random.default_rng(seed)
    X, first = rng.normal(size=(N, P)), np.arange(N) < N // 3
    if kind == "empty":
        column = np.where(np.arange(N) < 4, 1.0, 0.0)
    else:  # "constant": beside an intercept it tells nothing where it is all ones
        column = np.where(first, rng.normal(size=N), 1.0)
    folds = [(np.flatnonzero(~(part)), np.flatnonzero(part)) for part in thirds()]
    y = X @ rng.normal(size=P) + 2 * column + rng.normal(size=N)
    return np.column_stack([X, unit * column]), y, folds


def thirds():
    part = np.repeat([0, 1, 2], N // 3)
    return [part == k for k in range(3)]


def factor():
    return np.append(np.ones(P), 0.0)


def exact_criterion(X, y, folds, theta):
    """Least squares by normal equations, a column that tells nothing left out of its fold."""
    total = 0.0
    for train, test in folds:
        A, lam = with_ones(X, True), np.append(np.exp(theta) * factor(), 0.0)
        tells = np.linalg.matrix_rank(A[train][:, [RARE, -1]] / np.abs(A[:, [RARE, -1]]).max(0)) > 1
        keep = np.arange(P + 2) != RARE if not tells else np.ones(P + 2, bool)
        B, lam = A[:, keep], lam[keep]
        w = np.linalg.solve(B[train].T @ B[train] + np.diag(lam), B[train].T @ y[train])
        total += 0.5 * ((B[test] @ w - y[test]) ** 2).sum()
    return total


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("kind", ["empty", "constant"])
def test_a_column_that_tells_a_fold_nothing_has_coefficient_0_there(kind, form, unit):
    X, y, folds = with_rare_level(kind, unit)
    problem = Problem(form(X), y, loss="squared", penalty=Ridge(factor()))
    result = hoag(problem, KFold(folds))
    assert result.status == "converged"
    # as accurate as the inner solutions
    assert abs(result.w[RARE, 0]) < 1e-4 * abs(result.w[RARE, 1])
    exact = exact_criterion(X / np.append(np.ones(P), unit), y, folds, result.theta[0])
    assert result.value == pytest.approx(exact, abs=result.value_error + 1e-9 * exact)


@pytest.mark.parametrize("kind", ["empty", "constant"])
def test_its_hypergradient_is_that_of_finite_differences(kind):
    X, y, folds = with_rare_level(kind)
    problem = Problem(X, y, loss="squared", penalty=Ridge(factor()))
    assert fasthoag.check_hypergrad(problem, KFold(folds), [1.0]) < 1e-6
    per = Problem(X, y, loss="squared", penalty=FeatureRidge(factor()))
    assert fasthoag.check_hypergrad(per, KFold(folds), np.linspace(0, 1, P + 1)) < 1e-6


def targets_for(loss, y):
    if loss == "multinomial":
        return np.digitize(y, np.quantile(y, [0.33, 0.66])).astype(float)
    loss = LOSSES[loss]
    if loss.is_classification:
        return np.where(y > np.median(y), 1.0, -1.0)
    return np.exp(y / 4) if loss.has_log_link else y


@pytest.mark.parametrize("loss", [*LOSSES, "multinomial"])
def test_every_loss_goes_through_a_fold_without_the_level(loss):
    X, y, folds = with_rare_level("empty")
    y = targets_for(loss, y)
    X[:20, RARE] = np.arange(20) % 2  # of the first fold; of both sides
    problem = Problem(X, y, loss=loss, penalty=Ridge(factor()))
    if loss == "multinomial":
        assert set(y[:20][X[:20, RARE] > 0]) == {0, 1, 2}
    result = hoag(problem, KFold(folds))
    assert result.status == "converged", result.message
    assert np.abs(result.w[RARE, 0]).max() < 1e-3 * np.abs(result.w[RARE, 1]).max()
    assert fasthoag.check_hypergrad(problem, KFold(folds), result.theta + 1) < (
        1e-3 if find_loss(loss).has_kinks else 1e-5
    )


def test_strengths_by_class_beside_it():
    X, y, folds = with_rare_level("empty")
    y = targets_for("multinomial", y)
    X[:20, RARE] = np.arange(20) % 2
    penalty = PerClass(Ridge(factor()), 3)
    problem = Problem(X, y, loss="multinomial", penalty=penalty)
    assert fasthoag.check_hypergrad(problem, KFold(folds), [0.0, 0.5, 1.0]) < 1e-5


@pytest.mark.parametrize("unit", UNITS)
def test_a_column_that_only_the_rows_that_judge_have(unit):
    X, y, _ = with_rare_level("empty", unit)
    known = np.delete(X, RARE, axis=1)
    train, test = slice(20, None), slice(0, 20)
    problem = Problem(X[train], y[train], loss="squared", penalty=Ridge(factor()))
    without = Problem(known[train], y[train], loss="squared")
    found = hoag(problem, HeldOut(X[test], y[test]))
    expected = hoag(without, HeldOut(known[test], y[test]))
    assert found.status == "converged"
    assert found.theta[0] == pytest.approx(expected.theta[0], abs=1e-3)
    assert found.w[RARE, 0] == 0

    def value_and_grad(z):
        return 0.5 * ((z - y[test]) ** 2).sum(), z - y[test]

    custom = hoag(problem, CustomCriterion(X[test], value_and_grad))
    assert custom.theta[0] == pytest.approx(expected.theta[0], abs=0.05)


def test_columns_that_are_sums_of_others_are_found():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(20, 3))
    columns = np.column_stack([A, A @ [1.0, 2.0, 3.0], np.zeros(20), 1e9 * A[:, 0] + 1.0])
    assert aliased(columns, True).tolist() == [False, False, False, True, True, True]
    assert aliased(columns, False).tolist() == [False, False, False, True, True, False]


# ---- no finite coefficients --------------------------------------------------------------------


def separated(loss, seed=0):
    """Rows whose last column is 1 for rows of one class only."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, P + 1))
    y = targets_for(loss, X[:, 0] + rng.normal(size=N))
    X[:, RARE] = (y == y.max()) & (rng.random(N) < 0.5)
    return X, y


@pytest.mark.parametrize("unit", [-1e6, 1e-6, 1.0])
@pytest.mark.parametrize(
    ("loss", "criterion"),
    [
        (loss, criterion)
        for loss in TAILED
        for criterion in (KFold(3), ApproximateLOO(), None)
        if loss != "multinomial" or not isinstance(criterion, ApproximateLOO)
    ],
)
def test_a_level_of_one_class_without_a_penalty_is_refused(loss, criterion, unit):
    X, y = separated(loss)
    X[:, RARE] *= unit
    problem = Problem(X, y, loss=loss, penalty=Ridge(factor()))
    with pytest.raises(ValueError, match=r"\(penalty_factor 0\), 6, that separate"):
        hoag(problem, HeldOut(X, y) if criterion is None else criterion)


@pytest.mark.parametrize(
    "loss", ["squared_hinge", *(n for n, one in LOSSES.items() if n not in TAILED)]
)
def test_other_losses_have_finite_coefficients_there(loss):
    X, y = separated(loss)
    result = hoag(Problem(X, y, loss=loss, penalty=Ridge(factor())), KFold(3))
    assert result.status in ("converged", "at_bound")
    assert np.isfinite(result.w).all()


def test_with_label_smoothing_they_are_finite():
    X, y = separated("logistic")
    loss = find_loss("logistic", smoothing=0.1)
    assert hoag(Problem(X, y, loss=loss, penalty=Ridge(factor())), KFold(3)).status == "converged"


def test_a_level_may_be_of_one_class_in_a_training_part_only():
    X, y = separated("logistic")
    X[0, RARE], y[0] = 1.0, y.min()  # the one row of the other class
    fold = [(np.arange(20, N), np.arange(20)), (np.arange(40), np.arange(40, N))]
    with pytest.raises(ValueError, match="in the training part of fold 0"):
        hoag(Problem(X, y, penalty=Ridge(factor())), KFold(fold))


@pytest.mark.parametrize("loss", ["poisson", "tweedie"])
def test_a_level_without_a_count_is_refused(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, P + 1)), rng.poisson(2, size=N).astype(float)
    X[:, RARE] = (y == 0) & (rng.random(N) < 0.8)
    assert X[:, RARE].any()
    with pytest.raises(ValueError, match="separate targets of 0"):
        hoag(Problem(X, y, loss=loss, penalty=Ridge(factor())), KFold(3))
    X[np.flatnonzero(y > 0)[0], RARE] = 1.0
    assert hoag(Problem(X, y, loss=loss, penalty=Ridge(factor())), HeldOut(X, y)).status != (
        "inner_failed"
    )


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_several_columns_that_separate_together_are_refused(fit_intercept):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, P + 2))
    free = np.append(np.ones(P), [0.0, 0.0])
    y = np.where(X[:, P] - X[:, P + 1] > 0, 1.0, -1.0)
    for j in (P, P + 1):  # neither does alone
        assert max(X[y < 0, j]) > min(X[y > 0, j])
        assert min(X[y < 0, j]) < max(X[y > 0, j])
    problem = Problem(X, y, penalty=Ridge(free), fit_intercept=fit_intercept)
    with pytest.raises(ValueError, match="6, 7, that separate the classes"):
        hoag(problem, KFold(3))
    y[:2] *= -1
    problem = Problem(X, y, penalty=Ridge(free), fit_intercept=fit_intercept)
    assert hoag(problem, HeldOut(X, y)).status in ("converged", "at_bound")


def test_weights_of_0_take_rows_out_of_the_test():
    X, y = separated("logistic")
    X[0, RARE], y[0] = 1.0, y.min()
    weight = np.ones(N)
    problem = Problem(X, y, penalty=Ridge(factor()), sample_weight=weight)
    hoag(problem, HeldOut(X, y), np.zeros(1), max_iter=1)
    weight[0] = 0.0
    with pytest.raises(ValueError, match="that separate the classes"):
        hoag(Problem(X, y, penalty=Ridge(factor()), sample_weight=weight), HeldOut(X, y))


def test_two_classes_against_two_others_are_refused():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 3)), rng.integers(0, 4, size=400).astype(float)
    X[:, 2] = np.where(y < 2, 1, -1) * rng.uniform(0.1, 2, size=400)
    problem = Problem(X, y, loss="multinomial", penalty=Ridge([1.0, 1.0, 0.0]))
    with pytest.raises(ValueError, match=r"\(penalty_factor 0\), 2, that separate classes"):
        hoag(problem, KFold(3))


def test_an_outlier_is_no_separation_and_no_row_of_an_expansion():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = np.where(X[:, 0] + rng.logistic(size=300) > 0, 1.0, -1.0)
    for column, size in ((3, 1e6), (4, 1e7)):
        Z = X.copy()
        Z[7, column] = size
        penalty = Ridge(np.where(np.arange(5) == column, 0.0, 1.0))
        result = hoag(Problem(Z, y, penalty=penalty), KFold(5))
        bound = KFold(5).bind(Problem(Z, y, penalty=penalty))
        exact = Accuracy(1e-10, 1e-10)
        zero = bound.inner.design.zeros(5)
        value = bound.evaluate(result.theta, zero, exact).value
        assert value > 0  # a sum of losses; one that was extrapolated came as -994,769
        assert result.value == pytest.approx(value, rel=2e-3)
