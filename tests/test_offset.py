"""An offset: a known part of every prediction, z = x w + b + offset. Right answers are the same
model in other words: other targets, other coefficients, other weights."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
from support.designs import DEVICE, cut_rows, dense
from support.problems import sparse_problem

import fasthoag
from fasthoag import HeldOut, KFold, Problem, hoag
from fasthoag.criteria import CRITERIA
from fasthoag.criteria.criterion import check_needs
from fasthoag.design import to_host
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.gpu import GpuDesign
from fasthoag.design.reference import ReferenceDesign
from fasthoag.design.sharded import ShardedDesign
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES
from fasthoag.problem import refit

EXACT = Accuracy(1e-12, 1e-12)
N_ROWS, N_FEATURES = 60, 8
FORMS = {"dense": dense, "csr": sp.csr_matrix}
DESIGNS = {
    "csr": CpuDesign,
    "dense": lambda X, **kind: CpuDesign(dense(X), **kind),
    "low_memory": lambda X, **kind: CpuDesign(X, low_memory=True, **kind),
    "blocks": lambda X, **kind: CpuDesign(cut_rows(X), **kind),
    "sharded": lambda X, **kind: ShardedDesign(cut_rows(X), **kind),
    "gpu": lambda X, **kind: GpuDesign(X, device=DEVICE, **kind),
    "reference": ReferenceDesign,
}
WITHOUT_ROWS = ("loo", "gcv", "aic", "bic", "evidence")

on_both_forms = pytest.mark.parametrize("form", FORMS)
with_every_loss = pytest.mark.parametrize("loss", LOSSES)


def data_of(loss, form="csr", seed=3):
    """X, y and an offset about as large as predictions."""
    X, y = sparse_problem(loss, seed, N_ROWS, N_FEATURES)
    return FORMS[form](X), y, np.random.default_rng(seed).normal(size=N_ROWS)


def criterion_of(name, X, y, offset, problem=None):
    """The criterion of this name, or None where it does not suit the loss of a problem."""
    if name == "held_out":
        return HeldOut(X[:20], y[:20], offset=None if offset is None else offset[:20])
    if name == "k_fold":
        fold = np.arange(N_ROWS) % 3
        return KFold([(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(3)])
    criterion = CRITERIA[name]()
    try:
        check_needs(criterion, problem)
    except ValueError:
        return None
    return criterion


def judge_rows(design, X):
    """The first rows as a design of this name has them."""
    return [X[:9], X[9:20]] if design in ("blocks", "sharded") else X[:20]


def evaluated(problem, criterion, has_tangents=True):
    """f, ∇f and the coefficients of the folds as the user has them."""
    bound = criterion.bind(problem)
    zero = problem.design.zeros(bound.inner.units.n_columns)
    options = {"has_tangents": has_tangents and "hessian" in criterion.gives}
    at = bound.evaluate(np.full(problem.n_hyper, 0.5), zero, EXACT, **options)
    return at.value, at.grad, problem.design.decode(at.W - at.V)


# ---- the same model in other words ----


@on_both_forms
@with_every_loss
def test_offset_along_a_feature_without_penalty_moves_its_coefficient(loss, form):
    """And an offset that is constant moves the intercept: nothing else changes."""
    X, y, offset = data_of(loss, form)
    j = int(np.argmax((dense(X) != 0).sum(axis=0)))
    column = dense(X)[:, j]
    factor = np.where(np.arange(N_FEATURES) == j, 0.0, 1.0)
    known = {"loss": loss, "penalty": fasthoag.Ridge(penalty_factor=factor)}
    both = offset + 0.5 * column - 1.25
    w, moved = (
        refit(Problem(X, y, offset=one, **known), np.zeros(1), tol=1e-12)[0]
        for one in (offset, both)
    )
    shift = np.zeros(N_FEATURES + 1)
    shift[j], shift[-1] = -0.5, 1.25
    np.testing.assert_allclose(moved, w + shift, rtol=0, atol=1e-7)


@on_both_forms
@pytest.mark.parametrize("criterion", ["held_out", "k_fold", *WITHOUT_ROWS])
def test_of_least_squares_an_offset_is_taken_from_the_targets(criterion, form):
    X, y, offset = data_of("squared", form)
    found = []
    for target, known in ((y, offset), (y - offset, None)):
        problem = Problem(X, target, loss="squared", offset=known)
        found.append(evaluated(problem, criterion_of(criterion, X, target, known, problem)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_features", [8, 700])
@pytest.mark.parametrize("criterion", [KFold(4), fasthoag.ApproximateLOO()])
def test_searches_of_least_squares_are_those_of_the_targets_less_the_offset(criterion, n_features):
    """The Krylov run that finds the whole curve, and few rows of many features."""
    rng = np.random.default_rng(0)
    X, offset = rng.normal(size=(N_ROWS, n_features)), 3 * rng.normal(size=N_ROWS)
    y = X[:, :5].sum(axis=1) + offset + rng.normal(size=N_ROWS)
    with_offset = hoag(Problem(X, y, loss="squared", offset=offset), criterion)
    without = hoag(Problem(X, y - offset, loss="squared"), criterion)
    assert with_offset.n_passes == pytest.approx(without.n_passes, rel=0.1)  # by rounding
    # searches end where their tolerance says, by other roundings elsewhere within it
    np.testing.assert_allclose(with_offset.theta, without.theta, rtol=0, atol=1e-2)
    error = 1e-9 * without.value + with_offset.value_error + without.value_error
    assert abs(with_offset.value - without.value) <= error


@on_both_forms
@with_every_loss
def test_an_offset_of_zeros_is_none_to_the_bit(loss, form):
    X, y, _ = data_of(loss, form)
    found = [
        hoag(Problem(X, y, loss=loss, offset=offset), KFold(3))
        for offset in (None, np.zeros(N_ROWS))
    ]
    without, zeros = found
    for name in ("theta", "value", "fold_values", "w", "w_all", "n_passes", "status"):
        np.testing.assert_array_equal(getattr(zeros, name), getattr(without, name), name)


@with_every_loss
@pytest.mark.parametrize("criterion", ["k_fold", "loo"])
def test_whole_weights_are_copies_of_rows_with_their_offsets(loss, criterion):
    X, y, offset = data_of(loss)
    weight = 1.0 + np.arange(N_ROWS) % 3
    rows = np.repeat(np.arange(N_ROWS), weight.astype(int))
    known, copies = {"loss": loss}, Problem(X[rows], y[rows], loss=loss, offset=offset[rows])
    weighted = Problem(X, y, sample_weight=weight, offset=offset, **known)
    theta = np.zeros(1)
    w, of_copies = (refit(one, theta, tol=1e-12)[0] for one in (weighted, copies))
    np.testing.assert_allclose(of_copies, w, rtol=0, atol=1e-8)
    if criterion == "k_fold":
        fold = np.arange(N_ROWS) % 3
        splits = [(fold != f, fold == f) for f in range(3)]
        apart = [(train[rows], test[rows]) for train, test in splits]
        values = [evaluated(*one)[0] for one in ((weighted, KFold(splits)), (copies, KFold(apart)))]
        assert values[1] == pytest.approx(values[0], rel=1e-10)


# ---- several classes, each with an offset of its own ----


def data_of_classes(K=3):
    """X, class numbers and an offset for every class."""
    X, y, _ = data_of("squared")
    y = np.digitize(y, np.quantile(y, np.arange(1, K) / K)).astype(float)
    return X, y, np.random.default_rng(K).normal(size=(N_ROWS, K))


def test_two_classes_are_those_of_the_logistic_loss():
    """Whose offset is the difference, at half the strength: w is shared by both classes."""
    X, y, offset = data_of_classes(2)
    known = {"loss": "multinomial", "offset": offset}
    W = refit(Problem(X, y, **known), np.zeros(1), tol=1e-12)[0]
    apart = Problem(X, 2 * y - 1, loss="logistic", offset=offset[:, 1] - offset[:, 0])
    w = refit(apart, np.log([0.5]), tol=1e-12)[0]
    np.testing.assert_allclose(W[:, 1] - W[:, 0], w, rtol=0, atol=1e-8)


def test_of_classes_too_zeros_are_none_and_what_all_share_changes_nothing():
    X, y, offset = data_of_classes()
    common = np.repeat(np.random.default_rng(0).normal(size=(N_ROWS, 1)), 3, axis=1)
    none, zeros, one, other = (
        hoag(Problem(X, y, loss="multinomial", offset=known), KFold(3))
        for known in (None, 0 * offset, offset, offset + common)
    )
    for name in ("theta", "value", "w", "w_all", "n_passes"):
        np.testing.assert_array_equal(getattr(zeros, name), getattr(none, name), name)
    assert other.value == pytest.approx(one.value, rel=1e-6)
    np.testing.assert_allclose(other.w, one.w, rtol=0, atol=1e-3)
    assert abs(one.value - none.value) > 1


@pytest.mark.parametrize("far", [0.0, 50.0])
def test_the_null_model_of_classes_is_the_best_constant_of_each(far):
    X, y, offset = data_of_classes(4)
    problem = Problem(X, y, loss="multinomial", offset=offset + far * np.arange(4))
    for inner in (problem.inner(), KFold(3).bind(problem).inner):
        at_null = inner.rows.at_constant(inner.null.b)
        terms = to_host(inner.rows.terms(inner.loss, 1, 1, at_null))
        np.testing.assert_allclose(terms.sum(axis=0), 0, rtol=0, atol=1e-10)
        assert inner.null.b.reshape(-1, 4).mean(axis=1) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("criterion", ["held_out", "k_fold"])
@pytest.mark.parametrize("design", DESIGNS)
def test_classes_have_the_hypergradient_on_every_design(design, criterion):
    X, y, offset = data_of_classes()
    found = []
    for name in ("reference", design):
        known = {"loss": "multinomial", "offset": offset}
        problem = Problem(DESIGNS[name](X, fit_intercept=True), y, **known)
        judge = criterion_of(criterion, X, y, offset)
        if criterion == "held_out":
            rows = problem.design.like(judge_rows(name, X))
            judge = HeldOut(rows, y[:20], offset=offset[:20])
        found.append(evaluated(problem, judge, has_tangents=False))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)
    if design == "csr":
        assert fasthoag.check_hypergrad(problem, judge, [0.5]) < 1e-6


# ---- what depends on it ----


@pytest.mark.parametrize("criterion", ["held_out", "k_fold", *WITHOUT_ROWS])
@with_every_loss
def test_hypergradient_is_that_of_finite_differences(loss, criterion):
    X, y, offset = data_of(loss)
    problem = Problem(X, y, loss=loss, offset=offset)
    criterion = criterion_of(criterion, X, y, offset, problem)
    if criterion is not None:
        assert fasthoag.check_hypergrad(problem, criterion, [0.5]) < 1e-6


@pytest.mark.parametrize("criterion", ["held_out", "k_fold", "loo"])
@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson"])
@pytest.mark.parametrize("design", DESIGNS)
def test_every_design_finds_the_same(design, loss, criterion):
    X, y, offset = data_of(loss)
    found = []
    for name in ("reference", design):
        problem = Problem(DESIGNS[name](X, fit_intercept=True), y, loss=loss, offset=offset)
        judge = criterion_of(criterion, X, y, offset, problem)
        if criterion == "held_out":
            rows = problem.design.like(judge_rows(name, X))
            judge = HeldOut(rows, y[:20], offset=offset[:20])
        found.append(evaluated(problem, judge))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)


@with_every_loss
def test_the_null_model_is_the_best_constant_beside_the_offset(loss):
    """Also where the offset is far from 0, so that the best intercept is."""
    X, y, offset = data_of(loss)
    for far in (0.0, 300.0, -300.0):
        inner = Problem(X, y, loss=loss, offset=offset + far).inner()
        (b,) = inner.null.b
        values = [
            inner.rows.sums(loss, 1, inner.rows.at_constant([b + step]))[0]
            for step in (0.0, 1e-3, -1e-3)
        ]
        assert values[0] <= min(values[1:])
        assert abs(b + far) < 10


def test_rows_in_parts_have_their_offsets():
    """A fold, a sample and other weights of the same rows."""
    X, y, offset = data_of("poisson")
    inner = Problem(X, y, loss="poisson", offset=offset).inner(np.ones((N_ROWS, 2), np.uint8))
    W = inner.design.zeros(1) + 0.1
    expected = to_host(inner.rows.loss_grad("poisson", W).Z)
    np.testing.assert_array_equal(to_host(inner.rows.predictions(W)), expected)
    np.testing.assert_allclose(
        expected[:, 0] - offset, to_host(inner.design.matvec(W))[:, 0], rtol=0, atol=1e-14
    )
    index = np.arange(0, N_ROWS, 7)
    for some, rows in (
        (inner.rows.fold(1), slice(None)),
        (inner.rows.with_weight(np.ones(N_ROWS)), slice(None)),
        (inner.rows.all_training(), slice(None)),
        (inner.rows.sample(index), index),
    ):
        np.testing.assert_array_equal(some.offset, offset[rows])
        np.testing.assert_array_equal(to_host(some.predictions(W)), expected[rows])


def test_offsets_of_blocks_are_those_of_all_rows():
    X, y, offset = data_of("poisson")
    parts = [slice(0, 20), slice(20, 21), slice(21, None)]
    blocks = [X[part] for part in parts]
    whole = Problem(X, y, loss="poisson", offset=offset)
    cut = Problem(
        blocks, [y[p] for p in parts], loss="poisson", offset=[offset[part] for part in parts]
    )
    judge = HeldOut(X, y, offset=offset)
    of_blocks = HeldOut(blocks, [y[p] for p in parts], offset=[offset[part] for part in parts])
    for one, other in zip(evaluated(whole, judge), evaluated(cut, of_blocks), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_criterion_of_ones_own_sees_predictions_with_the_offset():
    X, y, offset = data_of("squared")
    problem = Problem(X, y, loss="squared", offset=offset)
    y_val, off_val = y[:20], offset[:20]

    def phi(z):
        return 0.5 * float((z - y_val) @ (z - y_val)), z - y_val

    own = fasthoag.CustomCriterion(X[:20], phi, offset=off_val)
    known = HeldOut(X[:20], y_val, offset=off_val)
    for one, other in zip(evaluated(problem, own), evaluated(problem, known), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-8)
    assert own.bind(problem).null_value == pytest.approx(known.bind(problem).null_value)


def test_rows_that_are_watched_are_judged_with_their_offsets():
    X, y, offset = data_of("poisson")
    rows = slice(40, None)
    problem = Problem(X[:40], y[:40], loss="poisson", offset=offset[:40])
    judge, unseen = KFold(4), HeldOut(X[rows], y[rows], offset=offset[rows])
    result = hoag(
        problem, judge, unseen=unseen, stop_on=unseen, scoring="neg_mean_poisson_deviance"
    )
    z = dense(X[rows]) @ result.w[:-1] + result.w[-1] + offset[rows, None]
    mu, t = np.exp(z), y[rows, None]
    deviance = mu - t + np.where(t > 0, t * np.log(np.where(t > 0, t, 1) / mu), 0)
    assert result.unseen_value == pytest.approx(deviance.sum(axis=0).mean(), rel=1e-10)
    assert result.trace[-1]["stop_value"] == result.trace[-1]["unseen_value"]
    # half the deviance is the loss
    (scores,) = result.scores.values()
    np.testing.assert_allclose(scores, -2 * result.fold_values / 10, rtol=1e-2)
    assert result.has_offset


def test_rows_that_differ_in_their_offset_are_not_the_same_row():
    X, y, offset = data_of("squared")
    problem = Problem(X, y, loss="squared", offset=offset)
    same, other = (HeldOut(X[:20], y[:20], offset=offset[:20] + step) for step in (0.0, 1.0))
    assert fasthoag.shared_rows(problem, same).n_shared == 20
    assert fasthoag.shared_rows(problem, other).n_shared == 0


def test_targets_that_only_their_offset_tells_apart_are_solved_by_the_intercept():
    X, _, offset = data_of("squared")
    result = hoag(Problem(X, 2.0 + offset, loss="squared", offset=offset), KFold(3))
    assert result.value == pytest.approx(0.0, abs=1e-20)
    np.testing.assert_allclose(result.w_all, [*np.zeros(N_FEATURES), 2.0], rtol=0, atol=1e-12)
    counts = Problem(X, np.full(N_ROWS, 3.0), loss="poisson", offset=offset)
    assert not counts.inner().has_equal_targets


TUNED = {
    "huber": [fasthoag.LossParameter("delta")],
    "quantile": [fasthoag.LossParameter("smoothing")],
    "squared_epsilon_insensitive": [fasthoag.LossParameter("epsilon")],
    "logistic": [fasthoag.ClassWeights(), fasthoag.LossParameter("smoothing")],
    "poisson": [fasthoag.SampleWeights()],
}


@pytest.mark.parametrize("loss", TUNED)
def test_what_is_tuned_beside_the_penalty_has_its_hypergradient(loss):
    X, y, offset = data_of(loss)
    parameters = {"quantile": {"smoothing": 0.5}, "squared_epsilon_insensitive": {"epsilon": 0.3}}
    known = fasthoag.find_loss(loss, **parameters.get(loss, {}))
    problem = Problem(X, y, loss=known, offset=offset, tuned=TUNED[loss])
    theta = problem.inner().start(0.5)
    judge = HeldOut(X[::2], y[::2], offset=offset[::2] + 0.1, loss=loss)
    assert fasthoag.check_hypergrad(problem, judge, theta) < 1e-5


def test_a_mix_of_losses_has_one_offset():
    X, y, offset = data_of("logistic")
    mixed = fasthoag.mix_losses("logistic", "squared_hinge", weight=0.3)
    problem = Problem(X, y, loss=mixed, offset=offset)
    inner = problem.inner()
    W = inner.design.zeros(1) + 0.1
    found = inner.rows.loss_grad(mixed, W)
    parts = [inner.rows.loss_grad(loss, W) for loss in ("logistic", "squared_hinge")]
    expected = 0.3 * parts[0].value + 0.7 * parts[1].value
    np.testing.assert_allclose(found.value, expected, rtol=1e-13)
    assert fasthoag.check_hypergrad(problem, KFold(3), [0.5]) < 1e-6


# ---- what is refused ----

POISSON = data_of("poisson")
WRONG = {
    "length": ({"offset": np.ones(7)}, "offset has 7 values but X has 60 rows"),
    "NaN": ({"offset": np.full(N_ROWS, np.nan)}, "offset contains NaN or infinity"),
    "infinite": ({"offset": np.full(N_ROWS, -np.inf)}, "offset contains NaN or infinity"),
    "2 columns": ({"offset": np.ones((N_ROWS, 2))}, "offset must have 1 dimension"),
    "text": ({"offset": ["a"] * N_ROWS}, "offset"),
    "too large": ({"offset": np.full(N_ROWS, 1e60)}, "offset has values beyond"),
    "of classes": (
        {"offset": np.ones(N_ROWS), "loss": "multinomial", "y": np.arange(N_ROWS) % 3},
        "offset of 3 classes must have a column for each, (60, 3)",
    ),
    "NaN of classes": (
        {"offset": np.full((N_ROWS, 3), np.nan), "loss": "multinomial", "y": np.arange(N_ROWS) % 3},
        "offset contains NaN or infinity",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_offset_is_refused(name):
    X, y, _ = POISSON
    arguments, message = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        Problem(**({"X": X, "y": y, "loss": "poisson"} | arguments))


@pytest.mark.parametrize("use", [lambda p, c: hoag(p, c), lambda p, c: hoag(p, KFold(3), unseen=c)])
def test_rows_that_judge_need_an_offset_where_the_problem_has_one(use):
    X, y, offset = POISSON
    wants, plain = (Problem(X, y, loss="poisson", offset=one) for one in (offset, None))
    with pytest.raises(ValueError, match=r"pass HeldOut\(\.\.\., offset=\) with a number for each"):
        use(wants, HeldOut(X[:5], y[:5]))
    with pytest.raises(ValueError, match=r"pass Problem\(\.\.\., offset=\) too"):
        use(plain, HeldOut(X[:5], y[:5], offset=offset[:5]))
    with pytest.raises(ValueError, match="offset has 4 values but X_val has 5 rows"):
        use(wants, HeldOut(X[:5], y[:5], offset=offset[:4]))


def test_kernels_of_rows_have_no_offset():
    X, y, offset = data_of("squared", "dense")
    problem = fasthoag.KernelProblem(X, y)
    with pytest.raises(ValueError, match="KernelProblem has none"):
        hoag(problem, HeldOut(X[:9], y[:9], offset=offset[:9]))
