"""Every method of every Design and of its Rows against plain NumPy; threads, forms of a pass, index
types and memory layouts."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from support.designs import DESIGNS, DTYPES, EPS, assert_near, with_losses
from support.problems import sparse_matrix, targets

from fasthoag import _core
from fasthoag.design import HELD_OUT, TRAIN, UNWEIGHTED, Curvature, to_host
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.make import make_design as public_make_design
from fasthoag.losses import derivative, find_loss

# a group of columns is 8 wide: below, at and beyond one and two groups
COLUMNS = (1, 2, 3, 5, 7, 8, 9, 15, 17)
N_ROWS, N_FEATURES, N_FOLDS = 53, 17, 3
on_every_design = with_losses(list(itertools.product(DESIGNS, DTYPES)), "make_design")


def extended(X, constant):
    """X as a dense or sparse float64 matrix with the column of an intercept, unless that is 0."""
    X, column = X.astype(np.float64), np.full((X.shape[0], int(constant != 0)), float(constant))
    return sp.hstack([X, column], format="csr") if sp.issparse(X) else np.hstack([X, column])


def of_design(design, X):
    """Small X as the design has it, for NumPy: the user's with a column of ones, times E."""
    A = extended(X.toarray(), design.has_intercept)
    return A @ design.coefficients.apply(np.eye(design.n_coef))


def row_data(rng, n_rows, kind):
    """What `Design.place` takes beside targets, as the words in `kind` ask for."""
    return {
        "weight": rng.random(n_rows) * (rng.random(n_rows) < 0.8) if "weight" in kind else None,
        "mask": rng.integers(0, 4, (n_rows, N_FOLDS)).astype(np.uint8) if "mask" in kind else None,
        "offset": rng.normal(size=n_rows) if "offset" in kind else None,
    }


FOLD = np.arange(max(COLUMNS)) % N_FOLDS  # of the columns of a block


def weights_of(data, part, m, n_rows):
    """s of every row and column, as `Rows` promises."""
    if part == UNWEIGHTED:
        return np.ones((n_rows, m))
    weight = np.ones(n_rows) if data["weight"] is None else data["weight"]
    if data["mask"] is None:
        return np.outer(weight, np.full(m, part == TRAIN))
    return weight[:, None] * ((data["mask"][:, FOLD[:m]] & part) != 0)


def derivatives(loss, order, y, Z):
    return np.column_stack([derivative(loss, order, y, z) for z in Z.T])


@pytest.fixture
def case(make_design, fit_intercept):
    """A design, its matrix for NumPy, and a generator of random numbers."""
    rng = np.random.default_rng(1)
    X = sparse_matrix(rng, N_ROWS, N_FEATURES)
    design = make_design(X, fit_intercept)
    return design, of_design(design, X), rng


def block(design, rng, m):
    V = rng.normal(size=(design.n_coef, m))
    return V, design.xp.asarray(V)


def rows_block(design, rng, m):
    R = rng.normal(size=(design.shape[0], m))
    return R, design.xp.asarray(R)


def curvature_block(design, rng, n_folds):
    C, handle = rows_block(design, rng, n_folds)
    return C, Curvature(handle)


def test_encode_and_decode_are_inverse(case):
    design, _, rng = case
    for shape in ((design.n_coef,), (design.n_coef, 1), (design.n_coef, 17)):
        u = rng.normal(size=shape)
        w = design.decode(design.xp.asarray(u))
        assert isinstance(w, np.ndarray)
        assert_near(design.encode(w), u)


def test_encode_keeps_predictions(make_design, fit_intercept):
    rng = np.random.default_rng(1)
    X = sparse_matrix(rng, N_ROWS, N_FEATURES)
    design, w = make_design(X, fit_intercept), rng.normal(size=(N_FEATURES + fit_intercept, 3))
    assert_near(design.matvec(design.encode(w)), extended(X, fit_intercept) @ w)


def test_decode_gives_memory_of_its_own(case):
    design, _, rng = case
    u, given = block(design, rng, 2)
    design.decode(given)[:] = 0
    np.testing.assert_array_equal(to_host(given), u)


def test_design_says_what_it_holds(make_design, fit_intercept):
    X = sparse_matrix(np.random.default_rng(1), N_ROWS, N_FEATURES)
    design = make_design(X, fit_intercept)
    stored = design.coefficients.of_rows(make_design.rows(X))
    assert tuple(design.shape) == (N_ROWS, N_FEATURES)
    assert design.has_intercept == fit_intercept
    assert design.coefficients.n_user == N_FEATURES + fit_intercept
    assert design.n_coef == design.coefficients.n_design == stored.shape[1] + fit_intercept
    assert design.dtype == make_design.dtype
    assert design.is_sparse == sp.issparse(stored)
    assert design.n_stored == (stored.nnz if design.is_sparse else stored.size)
    np.testing.assert_array_equal(to_host(design.zeros(2)), np.zeros((design.n_coef, 2)))
    assert public_make_design(design) is design


def test_dense_is_the_matrix_with_its_ones_in_the_order_of_the_design(make_design, fit_intercept):
    X = sparse_matrix(np.random.default_rng(1), N_ROWS, N_FEATURES)
    for some in (X, X[:5]):
        design = make_design(some, fit_intercept)
        found = design.dense()
        assert isinstance(found, np.ndarray)
        assert_near(found, of_design(design, some))


def test_matvec_and_rmatvec_match_numpy(case):
    design, A, rng = case
    for m in COLUMNS:
        V, given = block(design, rng, m)
        assert_near(design.matvec(given), A @ V, message=f"m={m}")
        R, rows = rows_block(design, rng, m)
        assert_near(design.rmatvec(rows), A.T @ R, message=f"m={m}")


def test_hvp_matches_numpy(case):
    design, A, rng = case
    C, curvature = curvature_block(design, rng, N_FOLDS)
    for m in COLUMNS:
        V, given = block(design, rng, m)
        assert_near(
            design.hvp(curvature, given),
            A.T @ (C[:, FOLD[:m]] * (A @ V)),
            message=f"m={m}",
        )


def test_hess_diag_matches_numpy(case):
    design, A, rng = case
    for n_folds in COLUMNS:
        C, curvature = curvature_block(design, rng, n_folds)
        assert_near(design.hess_diag(curvature), (A * A).T @ C, message=f"n_folds={n_folds}")


def test_gram_matches_numpy(case):
    design, A, rng = case
    C, curvature = curvature_block(design, rng, 1)
    assert_near(design.gram(curvature), A.T @ (C * A))


@on_every_design
@pytest.mark.parametrize("kind", ["", "weight", "weight mask", "offset", "weight mask offset"])
def test_loss_grad_matches_numpy(case, loss, kind):
    """Of either part; predictions have the offset in them."""
    design, A, rng = case
    data, y = row_data(rng, N_ROWS, kind), targets(loss, rng.normal(size=N_ROWS), rng)
    rows = design.place(y, **data)
    for m in COLUMNS:
        W, given = block(design, rng, m)
        Z = A @ W + (0 if data["offset"] is None else data["offset"][:, None])
        value, slope = (derivatives(loss, order, y, Z) for order in (0, 1))
        for part, other in ((TRAIN, HELD_OUT), (HELD_OUT, TRAIN)):
            s, t = (weights_of(data, one, m, N_ROWS) for one in (part, other))
            found = rows.loss_grad(loss, given, part)
            assert_near(found.value, (s * value).sum(0), message=f"m={m}")
            assert_near(found.other, (t * value).sum(0), message=f"m={m}")
            assert_near(found.grad, A.T @ (s * slope), message=f"m={m}")
            assert_near(found.Z, Z, message=f"m={m}")
            without = rows.loss_grad(loss, given, part, has_grad=False)
            assert without.grad is None
            for name in ("value", "other", "Z"):
                assert_near(getattr(without, name), getattr(found, name), message=f"{name} m={m}")


@on_every_design
@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (TRAIN, ""),
        (TRAIN, "weight"),
        (TRAIN, "mask"),
        (HELD_OUT, "mask"),
        (HELD_OUT, "weight mask"),
        (UNWEIGHTED, "weight mask offset"),
    ],
)
def test_terms_and_sums_match_numpy_and_read_no_row(case, loss, part, kind):
    design, _, rng = case
    data, y = row_data(rng, N_ROWS, kind), targets(loss, rng.normal(size=N_ROWS), rng)
    rows = design.place(y, **data)
    for m in (1, 3, 8, 9):
        Z, predictions = rows_block(design, rng, m)
        s = weights_of(data, part, m, N_ROWS)
        for order in range(4):
            terms = s * derivatives(loss, order, y, Z)
            found = rows.terms(loss, order, part, predictions)
            assert_near(found, terms, scale=1, message=f"m={m} order={order}")
            if order == 0:
                sums = rows.sums(loss, part, predictions)
                assert_near(sums, terms.sum(0), scale=N_ROWS, message=f"m={m}")
            if order > 1:
                curvature = rows.curvature(find_loss(loss), predictions, part, order)
                np.testing.assert_array_equal(to_host(curvature.values), to_host(found))
                assert curvature.n_classes == 1
    assert design.n_passes == 0


def test_without_a_mask_no_row_is_held_out(case):
    """``place(y, weight)`` is "every row trains": what loss_grad says of the held-out part, terms
    and sums say too."""
    design, _, rng = case
    _, Z = rows_block(design, rng, 2)
    for weight in (None, np.full(N_ROWS, 2.0)):
        rows = design.place(np.ones(N_ROWS), weight)
        np.testing.assert_array_equal(rows.sums("squared", HELD_OUT, Z), [0, 0])
        np.testing.assert_array_equal(
            to_host(rows.terms("squared", 2, HELD_OUT, Z)), np.zeros((N_ROWS, 2))
        )


@pytest.mark.parametrize("which", ["second", "third", "second third"])
def test_contract_matches_numpy(case, which):
    design, A, rng = case
    for k in (1, 2, 3, 5, 8):
        C, second = curvature_block(design, rng, N_FOLDS)
        B, third = curvature_block(design, rng, N_FOLDS)
        U, given = block(design, rng, k * N_FOLDS)
        Q, adjoint = block(design, rng, N_FOLDS)
        weight = ("second" in which) * C + ("third" in which) * B * (A @ Q)
        XU = (A @ U).reshape(N_ROWS, k, N_FOLDS)
        expected = np.einsum("if,iaf,ibf->fab", weight, XU, XU)
        result = design.contract(
            second if "second" in which else None,
            third if "third" in which else None,
            adjoint if "third" in which else None,
            given,
        )
        assert_near(result, expected, message=f"k={k}")


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_contract_takes_curvatures_or_what_they_are_made_of(case, loss):
    design, _, rng = case
    loss = find_loss(loss, n_classes=2) if loss == "multinomial" else find_loss(loss)
    m = N_FOLDS * loss.n_classes
    y = rng.integers(0, 2, N_ROWS) * 1.0 if loss.n_classes > 1 else rng.choice([-1.0, 1.0], N_ROWS)
    mask = rng.integers(0, 4, (N_ROWS, N_FOLDS)).astype(np.uint8)
    rows, (_, Z) = design.place(y, mask=mask), rows_block(design, rng, m)
    (_, U), (_, Q) = block(design, rng, 2 * m), block(design, rng, m)
    second, third = (
        [find(loss, Z, part, order) for part, order in ((HELD_OUT, 2), (TRAIN, 3))]
        for find in (rows.curvature, rows.curvature_at)
    )
    for a, b, adjoint in (
        ((second[0], third[0]), (None, None), None),
        ((None, None), (second[1], third[1]), Q),
        ((second[0], third[0]), (second[1], third[1]), Q),
    ):
        found, expected = (design.contract(a[k], b[k], adjoint, U) for k in (1, 0))
        np.testing.assert_array_equal(found, expected)


def test_a_pass_is_counted_once_whatever_the_number_of_columns(case):
    design, _, rng = case
    rows, n = design.place(np.ones(N_ROWS)), 0
    for m in (1, 8, 17):
        _, V = block(design, rng, m)
        _, c = curvature_block(design, rng, m)
        one = Curvature(c.values[:, :1])
        for call in (
            lambda: design.matvec(V),
            lambda: design.rmatvec(c.values),
            lambda: design.hvp(c, V),
            lambda: design.hess_diag(c),
            lambda: design.gram(one),
            lambda: rows.loss_grad("squared", V),
            lambda: rows.loss_grad("squared", V, has_grad=False),
            lambda: design.contract(one, None, None, V),
        ):
            call()
            n += 1
            assert design.n_passes == n


def test_like_keeps_the_feature_order_and_the_intercept(case, make_design):
    design, _, rng = case
    other = sparse_matrix(np.random.default_rng(2), 11, N_FEATURES)
    like = design.like(make_design.rows(other))
    W, given = block(design, rng, 3)
    assert_near(like.matvec(given), of_design(design, other) @ W)
    assert like.has_intercept == design.has_intercept
    assert like.n_passes == 1
    assert design.n_passes == 0


def test_like_takes_the_other_format(case, make_design):
    """Sparse rows for a dense design and dense rows for a sparse one."""
    if "array_api_strict" in make_design.name:
        pytest.skip("the array API has no sparse arrays")
    design, _, rng = case
    other = sparse_matrix(np.random.default_rng(2), 11, N_FEATURES)
    like = design.like(other if "dense" in make_design.name else other.toarray())
    W, given = block(design, rng, 3)
    assert_near(like.matvec(given), of_design(design, other) @ W)


@on_every_design
def test_rows_of_weight_zero_never_enter_however_large(make_design, fit_intercept, loss):
    rng = np.random.default_rng(3)
    X, y, weight = sparse_matrix(rng, 30, 6), targets(loss, rng.normal(size=30), rng), np.ones(30)
    large = X.copy()
    for i in (1, 7, 29):
        large.data[large.indptr[i] : large.indptr[i + 1]] *= 1e30
        weight[i] = 0
    mask = np.repeat(weight[:, None], 2, axis=1).astype(np.uint8)
    results = []
    for matrix in (X, large):
        design = make_design(matrix, fit_intercept)
        _, W = block(design, np.random.default_rng(4), 2)
        for rows in (design.place(y, weight), design.place(y, None, mask)):
            found = rows.loss_grad(loss, W)
            c = rows.curvature(find_loss(loss), found.Z)
            results.append([found.value, found.other, found.grad, design.hvp(c, W)])
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            assert_near(one, other)


# ---- Rows: what works on handles, and other rows of the same X


@pytest.fixture
def place(make_a_design):
    """A function: rows of one design, what they were made of, and a generator of random numbers."""
    rng = np.random.default_rng(1)
    design = make_a_design(sparse_matrix(rng, N_ROWS, N_FEATURES), True)

    def placed(kind="weight mask offset"):
        data = {"y": rng.choice([-1.0, 1.0], N_ROWS), **row_data(rng, N_ROWS, kind)}
        return design.place(**data), data, rng

    return placed


def test_handles_come_back_as_they_went(place):
    rows, _, rng = place()
    H = rng.normal(size=(N_ROWS, 4))
    found = rows.to_host(rows.from_host(H))
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, H)


def test_blend_gives_the_blocks_themselves_at_0_and_1_and_the_mean_between(place):
    rows, _, rng = place()
    t = np.array([0, 1, 0.25, 0, 1])
    taken, other = rng.normal(size=(2, N_ROWS, 5))
    taken[:3, t % 1 == 0] = np.array([[-0.0], [np.inf], [np.nan]])
    other[3:6, t % 1 == 0] = np.array([[np.inf], [-np.inf], [np.nan]])
    Z, Z1 = np.where(t < 1, taken, other), np.where(t < 1, other, taken)
    found = rows.to_host(rows.blend(rows.from_host(Z), t, rows.from_host(Z1)))
    assert found[:, t % 1 == 0].tobytes() == taken[:, t % 1 == 0].tobytes()
    assert_near(found[:, 2], 0.75 * Z[:, 2] + 0.25 * Z1[:, 2])


@pytest.mark.parametrize("part", [TRAIN, HELD_OUT, UNWEIGHTED])
@pytest.mark.parametrize("kind", ["", "weight", "mask", "weight mask"])
def test_functions_under_map_and_reduce_see_targets_and_weights(place, kind, part):
    rows, data, rng = place(kind)
    A, B = rng.normal(size=(2, N_ROWS, N_FOLDS))
    handles = rows.from_host(A), rows.from_host(B)

    def weighted(block, a, b):
        y = to_host(block.y)[:, 0]
        np.testing.assert_array_equal(y, data["y"][block.first : block.first + len(y)])
        for name in ("weight", "mask"):
            assert (getattr(block, name) is None) == (data[name] is None)
        return block.weights(part) * (block.y * a + b)

    def total(block, a, b):
        return block.xp.sum(weighted(block, a, b), axis=0)

    expected = weights_of(data, part, N_FOLDS, N_ROWS) * (data["y"][:, None] * A + B)
    assert_near(rows.to_host(rows.map(weighted, *handles)), expected)
    found = rows.reduce(total, *handles)
    assert isinstance(found, np.ndarray)
    assert_near(found, expected.sum(axis=0))


@pytest.mark.parametrize("K", [1, 4])
def test_mean_is_the_diagonal_averaged_over_columns_or_over_folds(place, K):
    rows, data, rng = place()
    s = weights_of(data, TRAIN, N_FOLDS, N_ROWS)[:, :, None]
    p = rng.dirichlet(np.ones(K), (N_ROWS, N_FOLDS))
    diagonal = s * p * (1 - p) if K > 1 else s
    c = Curvature(rows.from_host((s * p).reshape(N_ROWS, -1)), K)
    for by_class, expected in (
        (False, diagonal.mean(axis=(1, 2))[:, None]),
        (True, diagonal.mean(axis=1)),
    ):
        found = rows.mean(c, by_class)
        assert found.n_classes == 1
        assert_near(rows.to_host(found.values), expected)


@pytest.mark.parametrize("kind", ["weight mask", "weight mask offset"])
def test_at_constant_is_what_the_intercept_alone_predicts(place, kind):
    rows, data, rng = place(kind)
    w = np.zeros((N_FEATURES + 1, 4))
    w[-1] = rng.normal(size=4)
    expected = w[-1] + (np.zeros(N_ROWS) if data["offset"] is None else data["offset"])[:, None]
    for found in (rows.at_constant(w[-1]), rows.loss_grad("squared", rows.design.encode(w)).Z):
        assert_near(rows.to_host(found), expected)


def test_other_rows_of_the_same_matrix_equal_rows_placed_anew(place):
    rows, data, rng = place()
    design, weight = rows.design, rng.random(N_ROWS)
    _, W = block(design, rng, 2 * N_FOLDS)

    def seen(rows, part):
        found = rows.loss_grad("logistic", W, part)
        weights = rows.map(lambda block: block.weights(part))
        return [to_host(a) for a in (found.value, found.other, found.grad, found.Z, weights)]

    seen(rows, TRAIN)  # whatever these keep for the next pass is not that of the others
    for found, changed in (
        (rows.fold(1), {"mask": np.ascontiguousarray(data["mask"][:, 1:2])}),
        (rows.with_weight(weight), {"weight": weight}),
        (rows.with_weight(None), {"weight": None}),
        (rows.all_training(), {"mask": None}),
    ):
        anew = design.place(**data | changed)
        assert found.design is design
        assert found.n_folds == anew.n_folds
        for name in ("y", "weight", "mask"):
            np.testing.assert_array_equal(getattr(found, name), getattr(anew, name))
        for part in (TRAIN, HELD_OUT):
            for mine, theirs in zip(seen(found, part), seen(anew, part), strict=True):
                np.testing.assert_array_equal(mine, theirs)
    alone = rows.all_training()
    assert alone.fold(0) is alone
    assert alone.all_training() is alone


# ---- the two forms of a pass, threads, determinism: matrices large enough that threads and forms
# differ

# features: too many for the fused form with any number of columns (csrc/passes.hpp,
# fused_limit_bytes)
WIDE = 140_000


def large_matrix(kind):
    rng = np.random.default_rng(5)
    if kind == "dense":
        return rng.normal(size=(3000, 60)).astype(np.float32)
    n, p, per_row = {
        "narrow": (4000, 60, 30),
        "medium": (1500, 20_000, 80),
        "wide": (500, WIDE, 240),
    }[kind]
    # the first columns far more often than the last
    columns = np.minimum(p * rng.random((n, per_row)) ** 3, p - 1).astype(np.int32)
    X = sp.csr_matrix(
        (rng.normal(size=n * per_row), columns.ravel(), np.arange(0, n * per_row + 1, per_row)),
        (n, p),
    )
    X.sum_duplicates()
    X.data[X.indptr[17] : X.indptr[18]] = 0
    return X


LARGE = ("narrow", "medium", "wide", "dense")


@pytest.fixture(scope="module")
def large():
    return {kind: large_matrix(kind) for kind in LARGE}


def drawn(n, n_coef, m):
    """Coefficients, blocks of rows, targets and what rows carry, for passes with m columns."""
    rng = np.random.default_rng(0)
    V, R, C = rng.normal(size=(n_coef, m)), rng.normal(size=(n, m)), rng.random((n, N_FOLDS))
    return V, R, C, rng.choice([-1.0, 1.0], n), row_data(rng, n, "weight mask offset")


def passes_of(design, m):
    """The results of all passes with m columns."""
    V, R, C, y, data = drawn(design.shape[0], design.n_coef, m)
    rows, both = design.place(y, **data), (Curvature(C[:, :1]), Curvature(C[:, 1:2]))
    train, held_out = (rows.loss_grad("logistic", V, part) for part in (TRAIN, HELD_OUT))
    return {
        "matvec": design.matvec(V),
        "rmatvec": design.rmatvec(R),
        "hvp": design.hvp(Curvature(C), V),
        "hess_diag": design.hess_diag(Curvature(R)),
        "train": train.value,
        "held_out": train.other,
        "gradient": train.grad,
        "gradient held out": held_out.grad,
        "predictions": train.Z,
        "contract": design.contract(*both, V[:, :1], V),
        "sums": rows.sums("logistic", HELD_OUT, train.Z),
        "terms": rows.terms("logistic", 3, TRAIN, train.Z),
    }


def plain_passes(design, X, m):
    """The same as products of NumPy or SciPy with the user's X, coefficients and gradients; and the
    scale of rounding where terms cancel."""
    A, E = extended(X, design.has_intercept), design.coefficients
    n = A.shape[0]
    V, R, C, y, data = drawn(n, design.n_coef, m)
    XV = A @ design.decode(V)
    s, t = weights_of(data, TRAIN, m, n), weights_of(data, HELD_OUT, m, n)
    Z = XV + data["offset"][:, None]
    value, slope, third = (derivatives("logistic", order, y, Z) for order in (0, 1, 3))
    stored = extended(E.of_rows(X), design.has_intercept and E.intercept)
    squares = stored.multiply(stored) if sp.issparse(stored) else stored * stored

    def contraction(XV):
        return np.einsum("i,ia,ib->ab", C[:, 0] + C[:, 1] * XV[:, 0], XV, XV)[None]

    return {
        "matvec": XV,
        "rmatvec": E.pull(A.T @ R),
        "hvp": E.pull(A.T @ (C[:, FOLD[:m]] * XV)),
        "hess_diag": squares.T @ R,
        "train": (s * value).sum(0),
        "held_out": (t * value).sum(0),
        "gradient": E.pull(A.T @ (s * slope)),
        "gradient held out": E.pull(A.T @ (t * slope)),
        "predictions": Z,
        "contract": contraction(XV),
        "scale of contract": contraction(np.abs(XV)).max(),
        "sums": (t * value).sum(0),
        "terms": s * third,
    }


def assert_passes_match(design, X, m, message=""):
    result, expected = passes_of(design, m), plain_passes(design, X, m)
    for name, found in result.items():
        scale = expected.get(f"scale of {name}")
        assert_near(found, expected[name], scale, message=f"{name} {message}")


def assert_same_bits(one, other):
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("m", [1, 8, 17])
def test_large_matrices_match_scipy_in_every_form(large, kind, m):
    X = large[kind]
    forms = (
        [{}, {"low_memory": True}, {"deterministic": True}] if kind in ("narrow", "wide") else [{}]
    )
    for form in forms:
        design = CpuDesign(X, fit_intercept=True, n_threads=2, **form)
        assert_passes_match(design, X, m, form)


@pytest.mark.no_map("empty columns are one: it is narrow", "merge")
def test_wide_matrix_takes_the_two_pass_form_and_narrow_the_fused(large):
    assert not CpuDesign(large["wide"], n_threads=1).is_narrow
    assert CpuDesign(large["narrow"], n_threads=1).is_narrow


def test_fused_and_two_pass_form_agree_on_the_same_design(large):
    X = large["medium"]
    design = CpuDesign(X, fit_intercept=True, n_threads=2)
    assert not design.is_narrow
    rng = np.random.default_rng(0)
    V, C = rng.normal(size=(design.n_coef, 8)), Curvature(rng.random((X.shape[0], 1)))
    together = design.hvp(C, V)  # 2.6 MB of coefficients: two passes
    alone = np.hstack([design.hvp(C, V[:, j : j + 1]) for j in range(8)])  # 0.3 MB: fused
    assert_near(together, alone)


@pytest.mark.parametrize("kind", LARGE)
def test_two_runs_give_the_same_bits_and_two_thread_counts_agree(large, kind):
    for m in (3, 9):
        by_threads = []
        for n_threads in (1, 2, 3):
            one, other = (
                passes_of(CpuDesign(large[kind], fit_intercept=True, n_threads=n_threads), m)
                for _ in range(2)
            )
            assert_same_bits(one, other)
            by_threads.append(one)
        for other in by_threads[1:]:
            for name, value in by_threads[0].items():
                np.testing.assert_allclose(
                    other[name], value, rtol=0, atol=1e-12 * np.abs(value).max(), err_msg=name
                )


@pytest.mark.parametrize("kind", LARGE)
def test_deterministic_gives_the_same_bits_for_every_number_of_threads(large, kind):
    design = CpuDesign(large[kind], fit_intercept=True, deterministic=True, n_threads=1)
    for m in (1, 3, 8, 9):
        first = passes_of(design, m)
        for n_threads in (2, 3):
            assert_same_bits(first, passes_of(design.with_threads(n_threads), m))


def test_with_threads_shares_the_matrix_and_its_count_of_passes(large):
    one = CpuDesign(large["narrow"], n_threads=1)
    two = one.with_threads(2)
    two.matvec(one.zeros(1))
    assert (one.n_threads, two.n_threads) == (1, 2)
    assert one.n_passes == two.n_passes == 1


# ---- index types, layouts, and what callers may hand over


def small(seed=4):
    return sparse_matrix(np.random.default_rng(seed), 47, 13, 0.5)


def shuffled(X):
    """The same matrix with the entries of every row in random order."""
    X, rng = X.copy(), np.random.default_rng(0)
    for i in range(X.shape[0]):
        part = slice(X.indptr[i], X.indptr[i + 1])
        order = rng.permutation(part.stop - part.start)
        X.indices[part], X.data[part] = X.indices[part][order], X.data[part][order]
    return sp.csr_matrix((X.data, X.indices, X.indptr), X.shape)


def with_int64(X):
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def duplicated(X):
    """Every entry stored twice at half its value (exact in floating point)."""
    return sp.csr_matrix((np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr), X.shape)


def strided(D):
    S = np.full((2 * D.shape[0], 2 * D.shape[1]), np.nan)
    S[::2, 1::2] = D
    return S[::2, 1::2]


def read_only(X):
    X = X.copy()
    for array in (X.data, X.indices, X.indptr) if sp.issparse(X) else (X,):
        array.flags.writeable = False
    return X


def mapped(array, folder, name):
    file = np.memmap(folder / name, array.dtype, "w+", shape=array.shape)
    file[:] = array
    file.flush()
    return np.memmap(folder / name, array.dtype, "r", shape=array.shape)


def mapped_csr(X, folder):
    return sp.csr_matrix(
        tuple(mapped(a, folder, f"{i}.bin") for i, a in enumerate((X.data, X.indices, X.indptr))),
        X.shape,
    )


LAYOUTS = {
    "csr_array": lambda X, _: sp.csr_array(X),
    "csc": lambda X, _: X.tocsc(),
    "coo": lambda X, _: X.tocoo(),
    "lil": lambda X, _: X.tolil(),
    "unsorted": lambda X, _: shuffled(X),
    "duplicates": lambda X, _: duplicated(X),
    "unsorted duplicates": lambda X, _: shuffled(duplicated(X)),
    "int64 indices": lambda X, _: with_int64(X),
    "int64 unsorted": lambda X, _: with_int64(shuffled(X)),
    "read-only csr": lambda X, _: read_only(X),
    "read-only unsorted": lambda X, _: read_only(shuffled(X)),
    "mapped csr": mapped_csr,
    "spare room": lambda X, _: sp.csr_matrix(
        (np.r_[X.data, 9, 9], np.r_[X.indices, 0, 0], X.indptr), X.shape
    ),
    "dense": lambda X, _: X.toarray(),
    "fortran": lambda X, _: np.asfortranarray(X.toarray()),
    "strided": lambda X, _: strided(X.toarray()),
    "reversed": lambda X, _: np.ascontiguousarray(X.toarray()[::-1, ::-1])[::-1, ::-1],
    "read-only dense": lambda X, _: read_only(X.toarray()),
    "mapped dense": lambda X, folder: mapped(X.toarray(), folder, "dense.bin"),
    "list": lambda X, _: X.toarray().tolist(),
    "big-endian dense": lambda X, _: X.toarray().astype(">f8"),
    "np.matrix": lambda X, _: X.todense(),
}


def memory_of(X):
    """Copies of the arrays behind X."""
    names = [
        name
        for name in ("data", "indices", "indptr", "row", "col", "coords")
        if sp.issparse(X) and hasattr(X, name)
    ]
    if not names:
        return [np.array(X.toarray() if sp.issparse(X) else X)]
    return [np.array(getattr(X, name), copy=True) for name in names]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["", "low_memory", "deterministic"])
def test_every_layout_gives_the_same_answer_and_stays_unchanged(layout, form, tmp_path):
    X = small()
    given = LAYOUTS[layout](X, tmp_path)
    before = memory_of(given)
    flags = {form: True} if form else {}
    assert_passes_match(CpuDesign(given, fit_intercept=True, n_threads=2, **flags), X, 3)
    after = memory_of(given)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=False):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", ["", "low_memory", "deterministic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_int64_indices_give_the_answer_of_int32(dtype, form):
    X = small().astype(dtype)
    flags = {form: True} if form else {}
    for fit_intercept in (False, True):
        narrow, wide = (
            CpuDesign(M, fit_intercept=fit_intercept, n_threads=1, **flags)
            for M in (X, with_int64(X))
        )
        for m in COLUMNS:
            expected, result = passes_of(narrow, m), passes_of(wide, m)
            for name in expected:
                assert_near(result[name], expected[name], message=f"{name} m={m}")


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "uint16", "float16", "longdouble"])
def test_other_types_of_values_are_taken_as_float64(dtype):
    X = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0]], dtype)
    for given in (X, sp.csr_matrix(X)) if dtype != "float16" else (X,):
        design = CpuDesign(given, n_threads=1)
        assert design.dtype == np.float64
        assert_near(design.matvec(design.encode(np.array([1.0, 2, 4])[:, None]))[:, 0], [5, 4, 3])


@pytest.mark.no_map("X E is a copy")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_read_in_place(dtype):
    X, D = small().astype(dtype), small().toarray().astype(dtype)
    sparse, array = CpuDesign(X, n_threads=1), CpuDesign(D, n_threads=1)
    before = sparse.matvec(np.ones((13, 1))), array.matvec(np.ones((13, 1)))
    X.data *= 2
    D *= 2
    np.testing.assert_array_equal(sparse.matvec(np.ones((13, 1))), 2 * before[0])
    np.testing.assert_array_equal(array.matvec(np.ones((13, 1))), 2 * before[1])


def test_float32_values_are_accumulated_in_float64():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 3)).astype(np.float32)
    for design in (CpuDesign(X, n_threads=1), CpuDesign(sp.csr_matrix(X), n_threads=1)):
        R = np.ones((5000, 1))
        assert_near(
            design.rmatvec(R),
            design.coefficients.pull(X.astype(np.float64).T @ R),
            scale=np.abs(X).sum(),
            factor=10,
        )


def test_strided_blocks_are_as_good_as_contiguous_ones():
    design = CpuDesign(small(), n_threads=1)
    V = np.random.default_rng(0).normal(size=(design.n_coef, 8))
    expected = design.matvec(np.ascontiguousarray(V[:, ::2]))
    np.testing.assert_array_equal(design.matvec(V[:, ::2]), expected)
    np.testing.assert_array_equal(design.matvec(np.asfortranarray(V[:, ::2])), expected)


SQUARED, SOFTMAX = find_loss("squared").native, find_loss("multinomial", n_classes=2).native
OF_47 = _core.Rows(np.ones(47), None, np.ones((47, 2), np.uint8), None)
TERMS = _core.Terms(np.ones((47, 2)))


@pytest.mark.parametrize(
    "call",
    [
        lambda X: X.matvec(np.ones((12, 1)), 1),
        lambda X: X.matvec(np.ones(13), 1),
        lambda X: X.rmatvec(np.ones((46, 1)), 1),
        lambda X: X.hvp(np.ones((46, 1)), np.ones((13, 1)), 1, 1),
        lambda X: X.hvp(np.ones((47, 1)), np.ones((12, 1)), 1, 1),
        lambda X: X.hvp(np.ones((47, 0)), np.ones((13, 1)), 1, 1),
        lambda X: X.hvp(np.ones((47, 3)), np.ones((13, 2)), 2, 1),
        lambda X: X.hvp(np.ones((47, 2)), np.ones((13, 3)), 2, 1),
        lambda X: X.hess_diag(np.ones((46, 1)), 1),
        lambda X: _core.Rows(np.ones(47), np.ones(46), None, None),
        lambda X: _core.Rows(np.ones(47), None, np.ones((46, 1), np.uint8), None),
        lambda X: _core.Rows(np.ones(47), None, np.ones((47, 0), np.uint8), None),
        lambda X: _core.Rows(np.ones(47), None, None, np.ones(46)),
        lambda X: _core.Rows(np.ones(46), None, None, None).loss_grad(
            X, SQUARED, np.ones((13, 1)), TRAIN, True, 1
        ),
        lambda X: OF_47.loss_grad(X, SQUARED, np.ones((12, 1)), TRAIN, True, 1),
        lambda X: OF_47.loss_grad(X, SOFTMAX, np.ones((13, 3)), TRAIN, True, 1),
        lambda X: OF_47.terms(SQUARED, 1, TRAIN, np.ones((46, 1)), 1),
        lambda X: OF_47.terms(SOFTMAX, 1, TRAIN, np.ones((47, 3)), 1),
        lambda X: OF_47.sums(SQUARED, TRAIN, np.ones((46, 1)), 1),
        lambda X: OF_47.sums(SOFTMAX, TRAIN, np.ones((47, 3)), 1),
        lambda X: X.contract(TERMS, None, None, np.ones((13, 3)), 1, 1),
        lambda X: X.contract(TERMS, TERMS, None, np.ones((13, 2)), 1, 1),
        lambda X: X.contract(None, None, None, np.ones((13, 1)), 1, 1),
        lambda X: X.contract(_core.Terms(np.ones((46, 2))), None, None, np.ones((13, 2)), 1, 1),
        lambda X: _core.Terms(OF_47, SQUARED, 2, TRAIN, np.ones((46, 1))),
        lambda X: _core.Terms(OF_47, SOFTMAX, 2, TRAIN, np.ones((47, 3))),
    ],
)
def test_kernels_refuse_blocks_of_another_shape(call):
    X = small()
    matrix = _core.Matrix(X.indptr.astype(np.int64), X.indices, X.data, 13, False)
    with pytest.raises(ValueError, match="must|another|outside|fit"):
        call(matrix)


@pytest.mark.parametrize(
    "array",
    [np.ones((13, 2))[:, ::2], np.asfortranarray(np.ones((13, 2))), np.ones((13, 1), int)],
)
def test_kernels_refuse_strided_blocks_and_other_types(array):
    X = small()
    with pytest.raises(TypeError):
        _core.Matrix(X.indptr.astype(np.int64), X.indices, X.data, 13, False).matvec(array, 1)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "CSR"])
@pytest.mark.parametrize("m", [1, 5, 16, 21])
def test_products_of_float32_blocks_are_those_of_float64(form, m):
    rng = np.random.default_rng(m)
    X = rng.normal(size=(300, 40)) * (rng.uniform(size=(300, 40)) < 0.5)
    design = CpuDesign(form(X), fit_intercept=True)
    for product, n in ((design.matvec, 41), (design.rmatvec, 300)):
        block = rng.normal(size=(n, m)).astype(np.float32)
        single, double = product(block), product(block.astype(np.float64))
        assert (single.dtype, double.dtype) == (np.float32, np.float64)
        np.testing.assert_allclose(single, double, atol=1e-6 * abs(double).max())


@pytest.mark.no_map("X E cannot be made of it")
def test_damaged_row_pointers_and_indices_are_refused():
    X = small()
    for indices in (
        np.where(np.arange(X.nnz) == 3, 13, X.indices),
        np.where(np.arange(X.nnz) == 3, -1, X.indices),
    ):
        bad = X.copy()
        bad.indices = indices.astype(np.int32)
        bad.has_canonical_format = True
        with pytest.raises(ValueError, match=r"column index (13|-1) outside 0\.\.12"):
            CpuDesign(bad)
    bad = X.copy()
    bad.indptr = bad.indptr.copy()
    bad.indptr[3] = bad.indptr[4] + 1
    bad.has_canonical_format = True
    with pytest.raises(ValueError, match="row pointers"):
        CpuDesign(bad)


def test_a_column_is_the_same_alone_and_in_a_block():
    design = CpuDesign(small(), n_threads=1)
    V = np.random.default_rng(0).normal(size=(design.n_coef, 17))
    np.testing.assert_allclose(
        design.matvec(V),
        np.hstack([design.matvec(V[:, j : j + 1]) for j in range(17)]),
        rtol=0,
        atol=100 * EPS,
    )
