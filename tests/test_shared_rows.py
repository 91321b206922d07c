"""Rows that judge and train: found, counted, named, and warned of where chance does not explain
them."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from support.designs import OF_USE
from support.problems import sparse_problem
from support.tunings import Plain, tuning

import fasthoag
from fasthoag import HeldOut, KFold, Problem, SharedRowsWarning, hoag, shared_rows

every_design = pytest.mark.parametrize(
    "make_a_design", OF_USE, indirect=True, ids=[" ".join(one) for one in OF_USE]
)


def dense(n, p=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, X[:, 0] + rng.normal(size=n)


def squared(X, y, **options):
    return Problem(X, y, "squared", **options)


def warnings_of(problem, criterion):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        hoag(problem, criterion, max_iter=2)
    return [str(one.message) for one in seen if one.category is SharedRowsWarning]


@pytest.mark.parametrize("n_shared", [0, 3, 60, 100])
def test_copies_are_counted_and_named(n_shared):
    X, y = dense(200)
    X_val, y_val = dense(100, seed=1)
    rows = np.random.default_rng(2).permutation(200)[:n_shared]
    X_val[:n_shared], y_val[:n_shared] = X[rows], y[rows]
    found = shared_rows(squared(X, y), HeldOut(X_val, y_val))
    assert (found.n_rows, found.n_shared) == (100, n_shared)
    expected = np.column_stack([0 * rows, np.arange(n_shared), rows])
    assert found.pairs.tolist() == expected.tolist()
    assert found.is_suspect == (n_shared > 10)


@every_design
def test_every_design_finds_them(make_a_design):
    X, y = sparse_problem("squared", 0, 120, 12)
    rows = np.r_[0:40, 100:120]
    problem = Problem(make_a_design(X[:100], True), y[:100], "squared")
    rule = HeldOut(make_a_design.rows(X[rows]), y[rows])
    assert shared_rows(problem, rule).n_shared == 40


@pytest.mark.parametrize("kind", ["float32", "float64", "csr", "blocks", "strided"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_kind_of_matrix_finds_them(kind, fit_intercept):
    X, y = dense(90)
    X = X.astype(np.float32).astype(float) + 1e4  # beside an intercept columns are shifted
    kinds = {
        "float32": lambda A: A.astype(np.float32),
        "float64": np.array,
        "csr": sp.csr_matrix,
        "blocks": lambda A: [A[:7], A[7:]],
        "strided": lambda A: np.asfortranarray(A),
    }
    problem = squared(kinds[kind](X[:60]), y[:60], fit_intercept=fit_intercept)
    found = shared_rows(problem, HeldOut(kinds[kind](X[30:]), y[30:]))
    assert found.n_shared == 30


def test_the_same_features_with_another_target_are_another_row():
    X, y = dense(80)
    assert shared_rows(squared(X, y), HeldOut(X, y + 1)).n_shared == 0
    labels = np.sign(y)
    assert shared_rows(Problem(X, labels), HeldOut(X, -labels)).n_shared == 0


def test_rows_without_a_weight_neither_train_nor_judge():
    X, y = dense(80)
    trains = (np.arange(80) < 50).astype(float)
    problem = squared(X, y, sample_weight=trains)
    assert shared_rows(problem, HeldOut(X, y, 1 - trains)).n_shared == 0
    assert shared_rows(problem, HeldOut(X, y)).n_shared == 50
    assert warnings_of(problem, HeldOut(X, y, 1 - trains)) == []


def test_all_rows_at_both_ends_are_warned_of():
    X, y = dense(120)
    [message] = warnings_of(squared(X, y), HeldOut(X, y))
    assert message.startswith("120 of the 120 rows of HeldOut are training rows too")
    assert warnings_of(squared(X[:60], y[:60]), HeldOut(X[60:], y[60:])) == []


def test_the_warning_points_to_the_call_and_can_be_an_error():
    X, y = dense(60)
    with pytest.warns(SharedRowsWarning) as seen:
        hoag(squared(X, y), HeldOut(X, y), max_iter=2, bounds=(-3, 3))
    assert [one.filename for one in seen if one.category is SharedRowsWarning] == [__file__]


@pytest.mark.parametrize("n_levels", [2, 3])
@pytest.mark.parametrize("n_features", [1, 2, 4, 6, 8])
@pytest.mark.parametrize("n", [30, 300, 3000])
def test_tables_with_few_distinct_rows_are_no_ground_for_a_warning(n, n_features, n_levels):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.integers(0, n_levels, (2 * n, n_features)).astype(float)
        y = np.where(rng.random(2 * n) < 0.5, 1.0, -1.0)
        found = shared_rows(Problem(X[:n], y[:n]), HeldOut(X[n:], y[n:]))
        assert not found.is_suspect
        assert found.n_shared <= found.n_expected + 3 * np.sqrt(found.n_expected)


def test_one_hot_and_empty_rows_are_no_ground_for_a_warning():
    rng = np.random.default_rng(0)
    codes = rng.zipf(1.5, 2000) % 200
    X = sp.csr_matrix((np.ones(2000), (np.arange(2000), codes)), shape=(2000, 200))
    y = np.where(rng.random(2000) < 0.3, 1.0, -1.0)
    assert not shared_rows(Problem(X[:1000], y[:1000]), HeldOut(X[1000:], y[1000:])).is_suspect
    X[::2] = 0
    X.eliminate_zeros()
    assert not shared_rows(Problem(X[:1000], y[:1000]), HeldOut(X[1000:], y[1000:])).is_suspect


def test_copies_beyond_those_of_a_table_are_a_ground():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (900, 6)).astype(float)  # half of the rows have a copy by chance
    y = np.where(rng.random(900) < 0.5, 1.0, -1.0)
    problem = Problem(X[:600], y[:600])
    assert not shared_rows(problem, HeldOut(X[600:], y[600:])).is_suspect
    assert shared_rows(problem, HeldOut(X[:600], y[:600])).is_suspect


def test_copies_across_folds_are_found_on_request():
    X, y = dense(100)
    X[90:], y[90:] = X[:10], y[:10]
    problem = squared(X, y)
    found = shared_rows(problem, KFold(5))
    assert (found.n_rows, found.n_shared) == (100, 20)
    folds, judges, trains = found.pairs.T
    assert np.array_equal(X[judges], X[trains])
    assert sorted(judges) == [*range(10), *range(90, 100)]
    assert (folds == judges // 20).all()
    assert warnings_of(problem, KFold(5)) == []  # nobody asked


def test_copies_within_a_fold_are_no_fault():
    X, y = dense(100)
    X[1::2], y[1::2] = X[::2], y[::2]
    pairs = [(np.setdiff1d(np.arange(100), part), part) for part in np.split(np.arange(100), 5)]
    assert shared_rows(squared(X, y), KFold(pairs)).n_shared == 0


def test_a_row_in_both_parts_of_a_fold_is_warned_of():
    X, y = dense(60)
    every = np.arange(60)
    rule = KFold([(every, every[:20]), (every[20:], every[:20])])
    [message] = warnings_of(squared(X, y), rule)
    assert message.startswith("20 of the 60 rows are in the training part and in the test part")
    assert shared_rows(squared(X, y), rule).n_shared == 20


@pytest.mark.parametrize("criterion", [fasthoag.ApproximateLOO(), fasthoag.GCV()])
def test_criteria_without_rows_of_their_own_are_refused(criterion):
    with pytest.raises(TypeError, match="criterion must have rows that judge"):
        shared_rows(squared(*dense(30)), criterion)


def test_estimators_warn_of_validation_rows_that_train():
    X, y = dense(60)
    with pytest.warns(SharedRowsWarning, match="60 of the 60 rows"):
        fasthoag.RidgeCV(bounds=(-3, 3)).fit(X, y, validation=(X, y))


def test_the_look_takes_a_pass_and_is_not_counted():
    problem, rule, _ = tuning("held_out", "squared", True, Plain())
    before = problem.design.n_passes
    shared_rows(problem, rule)
    assert problem.design.n_passes <= before + 5  # the null model's among them
