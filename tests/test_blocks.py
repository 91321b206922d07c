"""Rows in blocks give what rows in one piece give: in one memory to the bit, and elsewhere, behind
handles that nobody can do arithmetic on, to rounding."""

import gc
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from support.designs import FEW_LOSSES, cut_rows, dense
from support.problems import sparse_problem

from fasthoag import (
    CustomCriterion,
    HeldOut,
    KFold,
    Problem,
    ShardedDesign,
    find_loss,
    hoag,
    mix_losses,
)
from fasthoag.criteria import CRITERIA, inverses
from fasthoag.design.blocks import is_in_blocks
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.rows import to_host
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES, MULTINOMIAL
from fasthoag.tuned import TUNED

EXACT = Accuracy(1e-12, 1e-12)
N_ROWS, N_FEATURES = 60, 8
WAYS = {"local": CpuDesign, "sharded": ShardedDesign}

in_both_ways = pytest.mark.parametrize("way", WAYS)


def criteria(name, X, y):
    """The criterion of this name on these data."""
    if name == "held_out":
        return HeldOut(X[::2], y[::2])
    if name == "k_fold":
        return KFold([(np.arange(N_ROWS) % 3 != f, np.arange(N_ROWS) % 3 == f) for f in range(3)])
    if name == "custom":
        return CRITERIA[name](X[::2], lambda z: (0.5 * float(z @ z), z))
    return CRITERIA[name]()


def evaluations(way, loss, name, data=None, n_blocks=2, form=sp.csr_matrix, **settings):
    """What the whole says and what the blocks say, at the same θ; `data` is the loss that they are
    for."""
    data = data or ("squared" if loss == MULTINOMIAL.name else loss)
    X, y = sparse_problem(data, 3, N_ROWS, N_FEATURES)
    X = form(X)
    if loss == MULTINOMIAL.name:
        y, loss = np.digitize(y, np.quantile(y, [0.3, 0.7])).astype(float), find_loss(loss)
    found = []
    for make, rows in ((CpuDesign, X), (WAYS[way], cut_rows(X, n_blocks))):
        design = make(rows, fit_intercept=True, n_threads=1)
        problem = Problem(design, y, loss=loss, **settings)
        bound = criteria(name, X, y).bind(problem)
        theta, W = 0.1 + bound.inner.start(0.5), design.zeros(bound.inner.units.n_columns)
        found.append(bound.evaluate(theta, W, EXACT, has_tangents=not problem.tuned))
    return way, *found


def assert_equal(way, one, other):
    if way == "local":
        assert other.value == one.value
        np.testing.assert_array_equal(other.grad, one.grad)
        np.testing.assert_array_equal(other.W, one.W)
        return
    assert other.value == pytest.approx(one.value, rel=1e-10)
    np.testing.assert_allclose(other.grad, one.grad, atol=1e-10 * max(1, np.abs(one.grad).max()))
    np.testing.assert_allclose(other.W, one.W, atol=1e-8 * np.abs(one.W).max())


@pytest.mark.parametrize("loss", [*LOSSES, MULTINOMIAL.name])
@pytest.mark.parametrize("name", ["held_out", "k_fold"])
@in_both_ways
def test_every_loss(way, loss, name):
    assert_equal(*evaluations(way, loss, name))


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 5])
@pytest.mark.parametrize("form", [sp.csr_matrix, dense])
@in_both_ways
def test_every_cut(way, form, n_blocks):
    assert_equal(*evaluations(way, "logistic", "k_fold", n_blocks=n_blocks, form=form))


@pytest.mark.parametrize("loss", FEW_LOSSES)
@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("leverages", ["usual", "gram", "probes"])
@in_both_ways
def test_every_criterion(way, loss, name, leverages, monkeypatch):
    """Signs of probes belong to rows by their number, so that the same ones are in every cut."""
    if name == "gcv" and loss != "squared":
        pytest.skip("generalised cross-validation is for least squares")
    if leverages == "probes" and name == "evidence":
        pytest.skip("the evidence has no probes")
    if leverages != "usual":
        monkeypatch.setattr(inverses, "FEW_COEFFICIENTS", 0)
        monkeypatch.setattr(inverses, "FEW_ROWS", 1000 if leverages == "gram" else 0)
        monkeypatch.setattr(inverses, "MOST_DENSE", 0)
    assert_equal(*evaluations(way, loss, name, n_blocks=3))


@pytest.mark.parametrize("kind", TUNED)
@in_both_ways
def test_every_kind_of_tuned_hyperparameter(way, kind):
    args = {"mixture": [np.arange(N_ROWS) % 4 == 0], "loss_parameter": ["delta"]}
    mix = mix_losses("logistic", "squared_hinge")
    loss = {"loss_parameter": "huber", "mixing_weight": mix}.get(kind, "logistic")
    data = "huber" if loss == "huber" else "logistic"
    tuned = TUNED[kind](*args.get(kind, ()))
    assert_equal(*evaluations(way, loss, "k_fold", data, tuned=tuned))


def parts_of(y, n_blocks=3):
    return [part[:, 0] for part in cut_rows(y[:, None], n_blocks)]


@pytest.mark.parametrize("form", [sp.csr_matrix, dense])
@in_both_ways
def test_the_whole_search_takes_the_same_path(way, form):
    X, y = sparse_problem("logistic", 3, N_ROWS, N_FEATURES)
    X, weight = form(X), np.linspace(0.5, 1.5, N_ROWS)
    one = hoag(Problem(X, y, sample_weight=weight), KFold(4), unseen=HeldOut(X, y))
    blocks = cut_rows(X)
    other = hoag(
        Problem(
            blocks if way == "local" else ShardedDesign(blocks, fit_intercept=True),
            parts_of(y),
            sample_weight=parts_of(weight),
        ),
        KFold(4),
        unseen=HeldOut(blocks, parts_of(y)),
    )
    assert one.status == other.status == "converged"
    assert one.n_passes == pytest.approx(other.n_passes, abs=2)
    np.testing.assert_allclose(other.theta, one.theta, atol=1e-6)
    np.testing.assert_allclose(other.w, one.w, atol=1e-6 * np.abs(one.w).max())


@pytest.mark.no_map("it has one that shifts them")
@in_both_ways
def test_columns_far_from_0_are_those_of_all_blocks(way):
    X = sparse_problem("squared", 3, N_ROWS, N_FEATURES)[0]
    X = np.hstack([X.toarray(), 1e6 + np.random.default_rng(0).normal(size=(N_ROWS, 1))])
    X[0, 0] = 1e5  # far in one row only
    one, other = CpuDesign(X, fit_intercept=True), WAYS[way](cut_rows(X, 5), fit_intercept=True)
    shift, expected = (design.layout.first.shift for design in (other, one))
    assert np.flatnonzero(shift).tolist() == [N_FEATURES]
    np.testing.assert_allclose(shift, expected, rtol=1e-15)
    w = np.random.default_rng(0).normal(size=(N_FEATURES + 2, 2))
    found, expected = (to_host(design.matvec(design.encode(w))) for design in (other, one))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(other.counts, one.counts)


@pytest.mark.filterwarnings("ignore:max_iter outer steps", "ignore:The optimum is at the bound")
def test_criteria_take_blocks_of_other_rows():
    X, y = sparse_problem("logistic", 3, N_ROWS, N_FEATURES)

    def squares(z):
        return 0.5 * float(z @ z), z

    for make in (Problem, lambda X, y: Problem(ShardedDesign(cut_rows(X)), y)):
        for whole, blocks in (
            (HeldOut(X, y), HeldOut(cut_rows(X, 5), parts_of(y, 5))),
            (HeldOut(dense(X), y), HeldOut([dense(one) for one in cut_rows(X)], y)),
            (CustomCriterion(X, squares), CustomCriterion(cut_rows(X), squares)),
        ):
            found, expected = (
                hoag(make(X, y), criterion, [0.0], max_iter=1) for criterion in (blocks, whole)
            )
            assert found.value == pytest.approx(expected.value, rel=1e-10)


@pytest.mark.no_map("it has the same for all")
@pytest.mark.parametrize("criterion", [HeldOut, CustomCriterion])
@in_both_ways
def test_a_design_of_other_columns_is_no_criterion(way, criterion):
    """Its columns are in an order of its own."""
    X, y = sparse_problem("logistic", 3, N_ROWS, N_FEATURES)
    other = sp.csr_matrix(X.toarray() * (np.arange(N_FEATURES) > np.arange(N_ROWS)[:, None] % 8))
    second = y if criterion is HeldOut else lambda z: (0.5 * float(z @ z), z)
    design = WAYS[way](cut_rows(X), fit_intercept=True)
    problem = Problem(design, y)
    found = [
        criterion(rows, second).bind(problem).null_value for rows in (other, design.like(other))
    ]
    assert found[0] == found[1]
    for fit_intercept in (True, False):
        with pytest.raises(ValueError, match="coefficients are not those of the problem's design"):
            criterion(ShardedDesign([other], fit_intercept=fit_intercept), second).bind(problem)


def test_large_blocks_that_are_mostly_zeros_become_sparse():
    X = np.zeros((1100, 1000))
    X[:, ::7] = 1.0 + np.arange(1100)[:, None] % 3
    X[700:, 1::7] = 1.0  # more than a fifth of this block
    blocks, y = [X[:700], X[700:]], np.arange(1100) % 5
    assert Problem(blocks, y, loss="squared").design.is_sparse
    assert not Problem(blocks, y, loss="squared", low_memory=True).design.is_sparse
    assert not Problem([X[:700], X[700:] + 1], y, loss="squared").design.is_sparse


# ---- what is refused -----------------------------------------------------------------------------

A, B = np.eye(3), np.ones((2, 3))


@pytest.mark.parametrize("make", [partial(Problem, y=np.ones(5)), ShardedDesign])
@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([A, np.ones((2, 4))], r"X\[1\] has 4 columns, X\[0\] has 3"),
        ([A, np.ones((0, 3))], r"X\[1\] (has no rows|must have at least one row)"),
        ([A, sp.csr_matrix(B)], r"X\[1\] is sparse, float64, X\[0\] is dense, float64"),
        ([A, B.astype(np.float32)], r"X\[1\] is dense, float32, X\[0\] is dense, float64"),
        ([A, np.full((2, 3), np.nan)], r"X\[1\] contains NaN"),
        ([A, np.full((2, 3), 1e60)], r"values beyond 1e\+50 in column 0"),
        ([1e-60 * A, 1e-60 * B], r"no value above 1e-50 in column 0"),
    ],
)
def test_blocks_that_do_not_fit_are_refused_by_number(make, blocks, message):
    with pytest.raises(ValueError, match=message):
        make(blocks, loss="squared") if make is not ShardedDesign else make(blocks)


def test_columns_that_are_small_in_one_block_only_are_taken():
    Problem([A, 1e-60 * B], np.arange(5.0), loss="squared")
    ShardedDesign([A, 1e-60 * B])


@pytest.mark.parametrize("make", [lambda blocks: blocks, ShardedDesign])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[1, -1, 1]], "y has 1 parts but X has 2 blocks"),
        ([[1, -1], [1, -1, 1]], r"y\[0\] has 2 values but X\[0\] has 3 rows"),
        ([1, -1, 1], "y has 3 values but X has 5 rows"),
    ],
)
def test_targets_of_other_blocks_are_refused(make, y, message):
    with pytest.raises(ValueError, match=message):
        Problem(make([A, B]), y)


def test_blocks_on_a_gpu_are_refused():
    with pytest.raises(ValueError, match="X is a list of blocks, which the GPU does not take"):
        Problem([A, B], np.ones(5), device="gpu", loss="squared")


def test_a_list_of_lists_is_one_matrix():
    assert not is_in_blocks([[1.0, 2.0], [3.0, 4.0]])
    assert Problem([[1.0, 2.0], [3.0, 4.0]], [1, -1]).design.shape == (2, 2)
    assert Problem([A[:1], B[:1]], [[1], [-1]]).n_rows == 2


# ---- handles -------------------------------------------------------------------------------------


def handle_of(design, m=1):
    return design.matvec(design.encode(np.ones((design.coefficients.n_user, m))))


def test_handles_allow_no_arithmetic():
    handle, ones = handle_of(ShardedDesign([A, B], fit_intercept=True)), np.ones((5, 1))
    for operation in (
        lambda h: h + 1,
        lambda h: 2.0 * h,
        lambda h: ones * h,
        abs,
        len,
        lambda h: h[0],
        lambda h: h @ ones.T,
        np.sum,
        np.isfinite,
        lambda h: np.einsum("ij->j", h),
        lambda h: np.concatenate([h, h]),
        lambda h: np.where(ones > 0, h, h),
    ):
        with pytest.raises(TypeError):
            operation(handle)
    np.testing.assert_allclose(to_host(handle).ravel(), [2, 2, 2, 4, 4], rtol=1e-12)


def test_arrays_of_handles_are_let_go():
    design = ShardedDesign(cut_rows(sparse_problem("logistic", 3, N_ROWS, N_FEATURES)[0]))
    handles = [handle_of(design) for _ in range(10)]
    shard = design.store.place.shards[0]
    n_kept = len(shard.kept)
    del handles
    gc.collect()
    handle_of(design)
    assert len(shard.kept) <= n_kept - 9
