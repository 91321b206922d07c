"""Several targets: columns of y that are tuned side by side, by factors of the rows."""

import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.linear_model import RidgeCV as Theirs
from sklearn.model_selection import KFold, LeaveOneOut, ShuffleSplit

from fasthoag import ConvergenceWarning, RidgeClassifierCV, RidgeCV
from fasthoag.blas import blas_threads
from fasthoag.design.rows import HELD_OUT, TRAIN
from fasthoag.estimators import factored
from fasthoag.io import Model, load_model, save_model
from fasthoag.spectral import left_out, reduction, tuning
from fasthoag.spectral.shifted import Diagonal, tridiagonal
from fasthoag.spectral.tuning import Plan, decompose
from fasthoag.spectral.workers import Workers

CVS = [None, 4, KFold(3, shuffle=True, random_state=0), ShuffleSplit(4, random_state=0)]
cvs = pytest.mark.parametrize("cv", CVS, ids=["leave-one-out", "4", "KFold", "ShuffleSplit"])
forms = pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "CSR"])
shapes = pytest.mark.parametrize("shape", [(60, 8), (30, 50)], ids=["tall", "wide"])
WAYS = [
    ("values", (40, 8)),
    ("values", (25, 60)),
    ("gram", (25, 60)),
    ("moments", (40, 8)),
]
CASES = [(*way, is_left_out) for way in WAYS for is_left_out in (True, False)]
CASES += [("tridiagonal", (25, 60), False)]


def rows(shape=(60, 8), t=3, seed=0):
    """Sparse rows far from 0, and targets of little, some and much noise."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=shape) + 2) * (rng.uniform(size=shape) < 0.7)
    W = rng.normal(size=(shape[1], t))
    return X, X @ W + rng.normal(size=(shape[0], t)) * np.geomspace(1, 30, t) + 100


def folds_of(cv, n):
    if cv is None:
        return list(LeaveOneOut().split(np.zeros((n, 1))))
    return list((KFold(cv) if isinstance(cv, int) else cv).split(np.zeros((n, 1))))


def losses(X, Y, alpha, cv, weight=None, fit_intercept=True):
    """Minus twice the score of every target by scikit-learn's Ridge."""
    weight, total, judged = np.ones(len(X)) if weight is None else weight, 0.0, 0.0
    for train, test in folds_of(cv, len(X)):
        model = Ridge(alpha, solver="svd", fit_intercept=fit_intercept)
        model.fit(X[train], Y[train], weight[train])
        errors = Y[test] - model.predict(X[test]).reshape(len(test), -1)
        total, judged = total + weight[test] @ errors**2, judged + weight[test].sum()
    return total / judged


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((60, 8), "singular values of X"),
        ((20_000, 90), "products of features"),
        ((300, 7200), "products of rows"),
    ],
)
def test_a_result_says_how_it_was_solved(shape, how):
    X, Y = rows(shape)
    assert how in RidgeCV(cv=2).fit(X, Y).hoag_result_.message


# ---- strengths and models ----------------------------------------------------------------------


@forms
def test_a_column_is_one_target_with_the_axes_of_several(form):
    X, Y = rows()
    one, plain = (RidgeCV(cv=4).fit(form(X), y) for y in (Y[:, :1], Y[:, 0]))
    assert one.coef_.shape == X.shape[1:]  # as in scikit-learn
    assert one.intercept_.shape == (1,)
    np.testing.assert_array_equal(one.coef_, plain.coef_)
    np.testing.assert_array_equal(one.predict(form(X)), plain.predict(form(X)))


@cvs
@forms
@shapes
def test_targets_of_their_own_strength_are_independent_fits(shape, form, cv):
    X, Y = rows(shape)
    model = RidgeCV(alpha_per_target=True, cv=cv, tol=1e-8).fit(form(X), Y)
    assert model.coef_.shape == Y.shape[1:] + X.shape[1:]
    assert model.alpha_.shape == model.intercept_.shape == model.best_score_.shape == (3,)
    for j, y in enumerate(Y.T):
        one = RidgeCV(alpha_per_target=True, cv=cv, tol=1e-8).fit(form(X), np.stack([y, y], 1))
        np.testing.assert_allclose(one.alpha_, model.alpha_[j], rtol=1e-8)
        np.testing.assert_allclose(model.coef_[j], one.coef_[1], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(one.intercept_, model.intercept_[j], rtol=1e-8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # refit_tol, of rounding
            plain = RidgeCV(cv=cv, tol=1e-8, refit_tol=1e-10).fit(form(X), y)
        best = losses(X, y[:, None], plain.alpha_, cv)
        assert -model.best_score_[j] <= best[0] * (1 + 1e-7)  # Both end at bounds of their own.
        np.testing.assert_allclose(
            model.coef_[j], Ridge(model.alpha_[j], solver="svd").fit(X, y).coef_, atol=1e-8
        )


@cvs
@forms
@shapes
def test_one_strength_for_all_has_the_least_sum_of_errors(shape, form, cv):
    X, Y = rows(shape)
    model = RidgeCV(cv=cv, tol=1e-6).fit(form(X), Y)
    assert isinstance(model.alpha_, float)
    assert -model.best_score_ == pytest.approx(losses(X, Y, model.alpha_, cv).mean(), rel=1e-9)
    for factor in (0.9, 1.1, 0.01, 100):
        there = losses(X, Y, factor * model.alpha_, cv).mean()
        assert -model.best_score_ <= there * (1 + 1e-12)
    peer = Ridge(model.alpha_, solver="svd").fit(X, Y)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-8)
    np.testing.assert_allclose(model.predict(form(X)), peer.predict(X), rtol=1e-8)
    assert model.score(form(X), Y) == pytest.approx(peer.score(X, Y))


@cvs
@forms
@shapes
def test_targets_with_one_label_share_a_strength(shape, form, cv):
    X, Y = rows(shape, t=5)
    labels = ["b", "a", "b", "c", "a"]
    model = RidgeCV(alpha_per_target=labels, cv=cv, tol=1e-8).fit(form(X), Y)
    for label in "abc":
        members = [k for k, one in enumerate(labels) if one == label]
        alone = RidgeCV(cv=cv, tol=1e-8).fit(form(X), Y[:, members])
        value, of_alone = model.best_score_[members].mean(), np.mean(alone.best_score_)
        assert value == pytest.approx(of_alone, rel=1e-5)
        assert np.ptp(model.alpha_[members]) == 0
        if alone.alpha_ < 1e6:  # else the criterion is flat
            np.testing.assert_allclose(model.alpha_[members], alone.alpha_, rtol=1e-6)
            coef = np.atleast_2d(alone.coef_)
            np.testing.assert_allclose(model.coef_[members], coef, rtol=1e-4, atol=1e-7)
    each = RidgeCV(alpha_per_target=range(5), cv=cv, tol=1e-8).fit(form(X), Y)
    own = RidgeCV(alpha_per_target=True, cv=cv, tol=1e-8).fit(form(X), Y)
    np.testing.assert_allclose(each.best_score_, own.best_score_, rtol=1e-9)
    assert vars(each).keys() == vars(own).keys()


def test_labels_of_targets_that_do_not_fit_are_refused():
    X, Y = rows()
    for y, n in ((Y, 3), (Y[:, 0], 1)):
        with pytest.raises(ValueError, match=rf"alpha_per_target .* targets, {n}; .* \(2,\)"):
            RidgeCV(alpha_per_target=[0, 1]).fit(X, y)
    with pytest.raises(ValueError, match="alpha_per_target with labels of targets excludes"):
        RidgeCV(alpha_per_target=[0, 1, 0], scoring="r2").fit(X, Y)
    with pytest.raises(TypeError, match="alpha_per_target"):
        RidgeCV(alpha_per_target="each").fit(X, Y)
    with pytest.raises(ValueError, match="alpha_per_target"):
        RidgeCV(alpha_per_target=[[0, 1], [2]]).fit(X, Y)


def test_targets_in_blocks_share_a_strength_too(monkeypatch):
    X, Y = rows(t=40)
    labels = np.arange(40) % 3
    whole = RidgeCV(alpha_per_target=labels, cv=3, tol=1e-8).fit(X, Y)
    monkeypatch.setattr(tuning, "TARGET_BYTES", 1)  # of 16 targets
    blocks = RidgeCV(alpha_per_target=labels, cv=3, tol=1e-8).fit(X, Y)
    np.testing.assert_allclose(blocks.alpha_, whole.alpha_, rtol=1e-7)
    assert len(np.unique(whole.alpha_)) == 3


@pytest.mark.parametrize("per_target", [True, False])
def test_it_is_at_least_as_good_as_the_grid_of_scikit_learn(per_target):
    X, Y = rows()
    alphas = np.geomspace(1e-2, 1e4, 100)
    theirs = Theirs(alphas, alpha_per_target=per_target).fit(X, Y)
    ours = RidgeCV(alphas, alpha_per_target=per_target).fit(X, Y)
    np.testing.assert_allclose(ours.alpha_, theirs.alpha_, rtol=0.1)
    assert np.all(ours.best_score_ >= theirs.best_score_ * (1 + 1e-9))


@pytest.mark.parametrize(("way", "shape", "is_left_out"), CASES)
@pytest.mark.parametrize("has_intercept", [True, False])
def test_every_factor_gives_the_criterion_and_its_derivatives(
    way, shape, has_intercept, is_left_out
):
    X, Y = rows(shape)
    rng = np.random.default_rng(1)
    weight, fold = rng.integers(1, 4, len(X)).astype(float), rng.integers(0, 4, len(X))
    mask = np.where(fold[:, None] == np.arange(4), HELD_OUT, TRAIN).astype(np.uint8)
    args = X, weight, None if is_left_out else mask, has_intercept, None
    found = decompose(*args, Plan(way, 0), Workers(2))
    centred, _ = found.centred_targets(Y)
    parts, every = found.criteria(centred), np.arange(3)

    def at(theta, k):
        return sum(part.values(theta, every)[k] for part in parts)

    theta, h = np.array([-1.0, 1.0, 3.0]), 1e-4
    splits = (
        None
        if is_left_out
        else [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(4)]
    )
    for j, alpha in enumerate(np.exp(theta)):
        cv = None if is_left_out else _Given(splits)
        mean = losses(X, Y[:, [j]], alpha, cv, weight, has_intercept)
        assert at(theta, 0)[j] == pytest.approx(0.5 * mean[0] * weight.sum(), rel=1e-9)
    for k in (0, 1):
        slope = (at(theta + h, k) - at(theta - h, k)) / (2 * h)
        np.testing.assert_allclose(
            at(theta, k + 1), slope, rtol=1e-6, atol=1e-8 * at(theta, 0).max()
        )
    values = found.fold_values(Y, theta)
    np.testing.assert_allclose(values.sum(axis=0), at(theta, 0), rtol=1e-12)
    held = [np.arange(len(X))] if is_left_out else found.held
    for value, rows_held, z in zip(values, held, found.predictions(Y, theta), strict=True):
        errors = weight[rows_held] @ (Y[rows_held] - z) ** 2
        np.testing.assert_allclose(value, 0.5 * errors, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_tridiagonal_products_say_what_eigenvectors_say(n, dtype):
    rng = np.random.default_rng(n)
    B = rng.normal(size=(n, n + 3))
    c, theta = rng.normal(size=(n, 35)).astype(dtype), rng.normal(size=35)
    A, eps = (B @ B.T).astype(dtype), np.finfo(dtype).eps
    T, Q = tridiagonal(A.copy())
    e, U = np.linalg.eigh(A)
    of_vectors = Diagonal(e[::-1])
    np.testing.assert_allclose(T.e, of_vectors.e, rtol=1e4 * eps)
    np.testing.assert_allclose(Q.T @ Q, np.eye(n), atol=100 * eps)
    for at in (theta, theta[:1], np.full(1, 80.0), np.full(1, np.log(np.finfo(dtype).max) + 9)):
        ours = T.solutions(Q.T @ c, at, 2)
        theirs = of_vectors.solutions(U[:, ::-1].T @ c, at, 2)
        for one, other in zip(ours, theirs, strict=True):
            other, tiny = U[:, ::-1] @ other, np.finfo(dtype).tiny
            np.testing.assert_allclose(Q @ one, other, atol=1e4 * eps * abs(other).max() + tiny)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 5, 300])
def test_a_reduction_has_the_bits_of_scipy_and_leaves_python_free(n, dtype, monkeypatch):
    A = np.random.default_rng(n).normal(size=(n, n + 1)).astype(dtype)
    A = np.ascontiguousarray(A @ A.T)
    assert reduction.function_of(reduction.PREFIX[A.dtype] + "sytrd") is not None
    ours = reduction.reduced(A.copy())
    monkeypatch.setattr(reduction, "function_of", lambda name: None)
    theirs = reduction.reduced(A.copy())
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(np.tril(ours[0]), np.tril(theirs[0]))


def test_python_runs_while_a_matrix_is_reduced():
    A = np.random.default_rng(0).normal(size=(1200, 1200))
    A = A @ A.T
    thread, ticks = threading.Thread(target=reduction.reduced, args=(A,)), 0
    with blas_threads(1, 1):
        thread.start()
        while thread.is_alive():
            time.sleep(1e-3)
            ticks += 1
    assert ticks > 5  # 1 or 2 where it waits for the end


def test_without_a_penalty_tridiagonal_products_keep_to_what_has_digits():
    X = np.random.default_rng(0).normal(size=(20, 60))
    X -= X.mean(axis=0)  # products of rows have an eigenvalue 0
    T, Q = tridiagonal(X @ X.T)
    c = Q.T @ (X @ np.ones(60))
    for theta in (-np.inf, -1e3, -60.0):
        (v,) = T.solutions(c[:, None], np.array([theta]), 0)
        np.testing.assert_allclose(X @ X.T @ (Q @ v[:, 0]), X @ np.ones(60), atol=1e-9)


def test_workers_keep_order_errors_and_the_handling_of_overflow():
    workers = Workers(3)
    assert workers.map(lambda k: k * k, range(20)) == [k * k for k in range(20)]
    with np.errstate(over="ignore"):
        assert set(workers.map(lambda k: np.geterr()["over"], range(5))) == {"ignore"}
    with pytest.raises(ZeroDivisionError):
        workers.map(lambda k: 1 / (k - 2), range(5))
    for n in (0, 1, 2, 7):
        taken = [k for piece in workers.pieces(n) for k in range(n)[piece]]
        assert taken == sorted(k for turn in workers.turns(list(range(n)), 2) for k in turn)
        assert taken == list(range(n))
        assert len(workers.turns(list(range(n)), 2)) <= 2


def test_an_interrupt_does_not_wait_for_what_does_not_stop():
    began, is_running, is_over = time.perf_counter(), threading.Event(), threading.Event()

    def work(k):
        if k:
            is_running.set()
            return is_over.wait(10)
        is_running.wait(10)
        raise KeyboardInterrupt  # as the main thread gets it while it waits for the first

    with pytest.raises(KeyboardInterrupt):
        Workers(2).map(work, range(2))
    assert time.perf_counter() - began < 5
    is_over.set()


@pytest.mark.parametrize("has_intercept", [True, False])
def test_rows_left_out_in_pieces_say_what_all_of_them_say(has_intercept, monkeypatch):
    X, Y = rows((60, 7))
    found = decompose(X, np.ones(60), None, has_intercept, None, Plan("values", 0), Workers())
    (part,), theta = found.criteria(found.centred_targets(Y)[0]), np.array([-1.0, 1.0, 3.0])
    whole = part.values(theta, np.arange(3))
    monkeypatch.setattr(left_out, "FEWEST_ROWS", 7)
    monkeypatch.setattr(left_out, "IN_CACHE", 21)
    in_pieces = part.values(theta, np.arange(3))
    for one, other in zip(whole, in_pieces, strict=True):
        np.testing.assert_allclose(one, other, rtol=60 * np.finfo(float).eps * 100)
    assert len(list(next(iter(part.blocks())).pieces(3))) == 9  # of 7 rows, the last of 4


class _Given:
    """Splits that are known."""

    def __init__(self, splits):
        self.splits = splits

    def split(self, X):
        return self.splits


@cvs
def test_the_unit_of_a_target_changes_nothing_but_its_unit(cv):
    X, Y = rows()
    unit = np.array([1e-6, 1.0, 1e9])
    a, b = (RidgeCV(alpha_per_target=True, cv=cv).fit(X, y) for y in (Y, Y * unit))
    np.testing.assert_allclose(a.alpha_, b.alpha_, rtol=1e-6)
    np.testing.assert_allclose(a.coef_ * unit[:, None], b.coef_, rtol=1e-6)


def test_a_whole_number_as_weight_is_as_many_rows():
    X, Y = rows()
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    index = np.repeat(np.arange(len(X)), weight)
    fold = np.arange(len(X)) % 3
    by_rows = [
        (np.flatnonzero(fold[index] != k), np.flatnonzero(fold[index] == k)) for k in range(3)
    ]
    by_weight = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
    for per_target in (True, False):
        a = RidgeCV(alpha_per_target=per_target, cv=by_weight).fit(X, Y, weight)
        b = RidgeCV(alpha_per_target=per_target, cv=by_rows).fit(X[index], Y[index])
        np.testing.assert_allclose(a.alpha_, b.alpha_, rtol=1e-6)
        np.testing.assert_allclose(a.coef_, b.coef_, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(a.best_score_, b.best_score_, rtol=1e-8)


@forms
def test_features_of_float32_stay_so_where_they_are_many(form):
    X, Y = rows((400, 2000))
    a = RidgeCV(alpha_per_target=True, cv=3).fit(form(X), Y)
    b = RidgeCV(alpha_per_target=True, cv=3).fit(form(X.astype(np.float32)), Y)
    assert b.coef_.dtype == (np.float32 if form is np.asarray else np.float64)
    np.testing.assert_allclose(a.alpha_[1:], b.alpha_[1:], rtol=1e-3)
    np.testing.assert_allclose(a.best_score_, b.best_score_, rtol=1e-4)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-3 * np.abs(a.coef_).max())


@forms
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(3200, 100), (150, 2000)], ids=["tall", "wide"])
def test_columns_far_from_0_keep_their_digits(shape, form, dtype):
    """In multiples of 1/8 float32 has all of them, and float64 those of products too."""
    rng = np.random.default_rng(0)
    X = np.round(8 * rng.normal(size=shape) * (rng.uniform(size=shape) < 0.3)) / 8
    Y = X[:, :50] @ rng.normal(size=(50, 2)) + 5 * rng.normal(size=(shape[0], 2))
    far = X + np.where(np.arange(shape[1]) % 2, 1e5, 0.0)
    exact = RidgeCV(cv=4, alpha_per_target=True).fit(X, Y)
    model = RidgeCV(cv=4, alpha_per_target=True).fit(form(far.astype(dtype)), Y)
    assert "products of" in model.hoag_result_.message
    np.testing.assert_allclose(model.alpha_, exact.alpha_, rtol=1e-4)
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-5 * abs(exact.coef_).max())
    residual = Y - far @ model.coef_.T.astype(np.float64) - model.intercept_
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=1e-7)


def test_penalty_factors_scale_the_features():
    X, Y = rows()
    factor = np.geomspace(0.1, 10, X.shape[1])
    a = RidgeCV(penalty_factor=factor, cv=3).fit(X, Y)
    b = RidgeCV(cv=3).fit(X / np.sqrt(factor), Y)
    assert a.alpha_ == pytest.approx(b.alpha_)
    np.testing.assert_allclose(a.coef_, b.coef_ / np.sqrt(factor), rtol=1e-8)


# ---- targets that are special ------------------------------------------------------------------


@cvs
@pytest.mark.parametrize("per_target", [True, False])
def test_a_constant_target_is_its_mean(per_target, cv):
    X, Y = rows()
    Y[:, 1] = 7.3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = RidgeCV(alpha_per_target=per_target, cv=cv).fit(X, Y)
    np.testing.assert_array_equal(model.coef_[1], 0.0)
    assert model.intercept_[1] == 7.3
    assert np.isfinite(model.alpha_).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "match"),
    [
        ((60, 8), np.float64, 1e-80, r"target 2 of y has no value above 1e-50 .* double precision"),
        ((60, 8), np.float32, 1e80, "y has values beyond 1e\\+50"),
        ((200, 2000), np.float32, 1e-40, "target 2 of y has no value above 1e-25 .* single"),
        ((200, 2000), np.float32, 1e40, r"target 2 of y has values beyond 1e\+25 .* single"),
    ],
)
def test_the_first_target_that_no_product_holds_is_named(shape, dtype, size, match):
    X, Y = rows(shape)
    model = RidgeCV(alpha_per_target=True, cv=3)
    with pytest.raises(ValueError, match=match):
        model.fit(X.astype(dtype), Y * [1.0, 0.0, size / 100])
    large = [1e20, 1e-20, 1e-3]
    assert model.fit(X.astype(dtype), Y * large).alpha_ == pytest.approx(
        model.fit(X.astype(dtype), Y).alpha_, rel=1e-3
    )


def test_x_of_float32_whose_squares_overflow_is_refused():
    X, Y = rows((200, 2000))
    with pytest.raises(ValueError, match="X of float32 has values beyond 1e\\+15"):
        RidgeCV(alpha_per_target=True, cv=3).fit(np.float32(1e20) * X.astype(np.float32), Y)


@pytest.mark.parametrize("n_targets", [1, 3])
def test_the_seconds_of_a_search_are_those_of_its_factors_too(monkeypatch, n_targets):
    make = factored.decompose

    def late(*args):
        time.sleep(0.05)
        return make(*args)

    monkeypatch.setattr(factored, "decompose", late)
    X, Y = rows()
    model = RidgeCV().fit(X, Y[:, :n_targets].squeeze())
    assert model.hoag_result_.seconds > 0.05


def test_the_first_target_with_nan_is_named():
    X, Y = rows()
    Y[3, 2] = Y[5, 1] = np.nan
    with pytest.raises(ValueError, match=r"y contains NaN.*target 1 is the first.*row 5 \(1 of"):
        RidgeCV().fit(X, Y)


def test_features_that_are_constants_leave_the_mean():
    _, Y = rows()
    model = RidgeCV(alpha_per_target=True).fit(np.ones((len(Y), 2)), Y)
    np.testing.assert_allclose(model.predict(np.ones((1, 2)))[0], Y.mean(axis=0))


# ---- what goes with several targets ------------------------------------------------------------


def test_coefficients_are_written_where_they_shall_be(tmp_path):
    X, Y = rows()
    out = np.memmap(tmp_path / "coef", np.float32, "w+", shape=(3, X.shape[1]))
    model = RidgeCV(cv=3).fit(X, Y, coef_out=out)
    assert model.coef_ is out
    np.testing.assert_allclose(out, RidgeCV(cv=3).fit(X, Y).coef_, rtol=1e-6)
    with pytest.raises(ValueError, match=r"coef_out must be a writable array .* \(3, 8\)"):
        RidgeCV().fit(X, Y, coef_out=np.empty((8, 3)))
    with pytest.raises(ValueError, match="coef_out= is for several targets"):
        RidgeCV().fit(X, Y[:, 0], coef_out=out)


@pytest.mark.parametrize("scoring", [None, "r2"])
def test_leave_one_out_of_given_strengths_is_kept(scoring):
    X, Y = rows()
    alphas = [0.1, 10.0]
    options = {"alphas": alphas, "store_cv_results": True, "scoring": scoring}
    ours, theirs = RidgeCV(**options).fit(X, Y), Theirs(**options).fit(X, Y)
    assert ours.cv_results_.shape == (60, 3, 2)
    np.testing.assert_allclose(ours.cv_results_, theirs.cv_results_, rtol=1e-7)


@cvs
@pytest.mark.parametrize("per_target", [True, False])
def test_a_scorer_chooses(per_target, cv):
    X, Y = rows()
    options = {"alpha_per_target": per_target, "cv": cv, "alphas": [0.1, 1.0, 10.0, 100.0]}
    by_loss = RidgeCV(**options, tol=1e-8).fit(X, Y)
    model = RidgeCV(**options, tol=1e-8, scoring="neg_mean_squared_error").fit(X, Y)
    np.testing.assert_allclose(model.alpha_, by_loss.alpha_, rtol=1.0)  # Folds are of many sizes.
    assert np.all(model.best_score_ >= by_loss.best_score_ * (1 + 1e-3))
    np.testing.assert_allclose(model.lam_by_loss_, by_loss.alpha_)


def test_strength_0_may_be_one_of_several():
    X, Y = rows()
    Y[:, 0] = X @ np.arange(8.0)
    model = RidgeCV([0.0, 1.0, 1e6], alpha_per_target=True, cv=3).fit(X, Y)
    assert model.alpha_[0] == 0.0
    assert (model.alpha_[1:] > 0).all()
    np.testing.assert_allclose(model.coef_[0], np.arange(8.0), atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [{"one_se": True}, {"penalty_per": "feature"}, {"method": "lbfgs"}, {"max_iter": 50}],
)
def test_what_needs_a_search_of_its_own_has_one_for_each_target(options):
    X, Y = rows()
    with pytest.raises(ValueError, match=r"one strength for 3 targets .* alpha_per_target=True"):
        RidgeCV(cv=3, **options).fit(X, Y)
    model = RidgeCV(cv=3, alpha_per_target=True, **options).fit(X, Y)
    for j, y in enumerate(Y.T):
        one = RidgeCV(cv=3, **options).fit(X, y)
        np.testing.assert_array_equal(model.alpha_[j], one.alpha_)
        np.testing.assert_array_equal(model.coef_[j], one.coef_)


@pytest.mark.filterwarnings("ignore:n_threads=2 is more than the number of cores")
@pytest.mark.filterwarnings("ignore:The optimum is at the bound")
def test_threads_change_no_bit_where_none_may():
    X, Y = rows((300, 2000), t=60)
    model = RidgeCV(cv=4, alpha_per_target=True, deterministic=True)
    one, two = (clone(model).set_params(n_threads=n).fit(X, Y) for n in (1, 2))
    assert "products of rows" in one.hoag_result_.message
    for name in ("alpha_", "coef_", "intercept_", "scores_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_folds_that_keep_every_row_are_refused():
    with pytest.raises(ValueError, match="store_cv_results=True keeps of several targets"):
        RidgeCV(cv=3, store_cv_results=True).fit(*rows())


# ---- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [None, 3])
@forms
def test_each_label_of_a_matrix_has_its_own_model(form, cv):
    X, Y = rows()
    labels = (X[:, :3] + np.sin(Y) > 1.5).astype(int)
    model = RidgeClassifierCV(cv=cv).fit(form(X), labels)
    assert model.alpha_.shape == (3,)
    numbers = RidgeCV(cv=cv, alpha_per_target=True).fit(form(X), 2.0 * labels - 1)
    np.testing.assert_allclose(model.alpha_, numbers.alpha_)
    np.testing.assert_allclose(model.coef_, numbers.coef_)
    np.testing.assert_array_equal(model.predict(form(X)), numbers.predict(form(X)) > 0)
    assert 0 < model.score(form(X), labels) <= 1
    by_score = RidgeClassifierCV(cv=cv, scoring="accuracy").fit(form(X), labels)
    assert 0 < by_score.best_score_ <= 1
    assert RidgeClassifierCV().fit(X, labels[:, 0]).predict(X).shape == (60,)


def test_labels_of_a_matrix_come_back_as_they_are():
    X, Y = rows()
    labels = np.where(np.median(Y, axis=0) < Y, 1, -1)
    assert set(np.unique(RidgeClassifierCV().fit(X, labels).predict(X))) == {-1, 1}


# ---- few rows and tiny strengths ---------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [1e-16, 1e-8])
@forms
def test_tiny_strengths_have_ten_digits_where_rows_are_few(form, alpha, fit_intercept):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 60)), rng.normal(size=30)
    model = RidgeCV([alpha], fit_intercept=fit_intercept, store_cv_results=True).fit(form(X), y)
    mean = X.mean(axis=0) if fit_intercept else 0.0
    expected = np.linalg.pinv(X - mean) @ (y - (y.mean() if fit_intercept else 0.0))
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-6, atol=1e-10)
    left_out = []
    for k in range(30):
        rest = np.delete(np.arange(30), k)
        m, b = (X[rest].mean(axis=0), y[rest].mean()) if fit_intercept else (0.0, 0.0)
        left_out.append(b + (X[k] - m) @ (np.linalg.pinv(X[rest] - m) @ (y[rest] - b)))
    np.testing.assert_allclose(model.cv_results_[:, 0], (y - left_out) ** 2, atol=1e-9)


# ---- coefficients of single precision ----------------------------------------------------------


def peak_of(function, *args):
    """What it returns, and the bytes that it took at most."""
    tracemalloc.start()
    found = function(*args)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found, peak


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "CSR"])
def test_a_map_of_coefficients_is_not_copied(form, dtype, tmp_path, monkeypatch):
    n_rows, n_targets, n_features, part = 30, 400, 4000, 2**18
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(n_rows, n_features)), rng.normal(size=(n_rows, n_targets))
    out = np.lib.format.open_memmap(
        tmp_path / "coef.npy", "w+", np.float32, (n_targets, n_features)
    )
    model = RidgeCV(cv=3, alphas=1.0).fit(X.astype(np.float32), Y, coef_out=out)
    monkeypatch.setattr("fasthoag.thin.LARGE", part)
    new = form(X[:20].astype(dtype))
    predicted, peak = peak_of(model.predict, new)
    # two copies of a part, as CSR makes them, the predictions and the checks of the rows
    assert peak < 3 * part + 4 * predicted.nbytes + 2**19
    expected = X[:20].astype(dtype) @ np.asarray(out, dtype).T + model.intercept_
    eps = np.finfo(np.result_type(dtype, out.dtype)).eps
    scale = np.abs(X[:20]) @ np.abs(np.asarray(out, np.float64)).T + np.abs(model.intercept_)
    assert (np.abs(predicted - expected) <= 2 * np.sqrt(n_features) * eps * scale).all()
    save_model(tmp_path / "model", model)
    read = load_model(tmp_path / "model")
    assert read.coef.dtype == np.float32
    np.testing.assert_array_equal(read.coef, out)
    np.testing.assert_array_equal(read.predict(new), predicted)


def test_a_file_is_written_without_a_copy_of_the_coefficients(tmp_path):
    coef = np.lib.format.open_memmap(tmp_path / "coef.npy", "w+", np.float32, (2000, 10_000))
    coef[:, 0] = 0.1
    model = Model("squared", coef=coef, intercept=np.zeros(2000))
    assert np.shares_memory(model.coef, coef)
    _, peak = peak_of(save_model, tmp_path / "model", model)
    assert peak < coef.nbytes / 3  # NumPy writes 16 MB at a time.
    read, peak = peak_of(load_model, tmp_path / "model")
    np.testing.assert_array_equal(read.coef, coef)
    assert peak < 1.3 * coef.nbytes
