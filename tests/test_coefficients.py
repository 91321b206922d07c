"""Coefficient maps w = E u: against the dense E, and the models that they must not change."""

import numpy as np
import pytest
import scipy.sparse as sp

from fasthoag.design.coefficients import (
    Compose,
    Identity,
    Merge,
    Permute,
    RowSpace,
    Scale,
    Shift,
    row_space,
)

N_FEATURES, N_ROWS = 7, 9
DTYPES = [np.float32, np.float64]


def identity(rng, p, has_intercept):
    return Identity(p + has_intercept)


def permute(rng, p, has_intercept):
    order = rng.permutation(p)
    return Permute(order, np.argsort(order), has_intercept)


def scale(rng, p, has_intercept):
    return Scale(rng.uniform(0.5, 2, p + has_intercept))


def shift(rng, p, has_intercept):
    return Shift(rng.normal(size=p))


def merge(rng, p, has_intercept):
    """Groups of three, two and one features, whose members are not neighbours."""
    index = np.r_[2, 0, 1, 0, 1, 0, np.arange(3, p - 3)][:p]
    factor = rng.normal(size=p)
    norm = np.sqrt(np.bincount(index, factor**2))
    return Merge(index, factor / norm[index], has_intercept)


def turn(rng, p, has_intercept):
    return RowSpace(np.linalg.qr(rng.normal(size=(p, 3)))[0], has_intercept)


def chain(*makers):
    """Maps from the user to the design, each of the size that the one before it leaves."""

    def make(rng, p, has_intercept):
        maps = []
        for maker in makers:
            maps.append(maker(rng, p, has_intercept))
            p = maps[-1].n_design - has_intercept
        return Compose(maps)

    return make


MAPS = {
    "identity": identity,
    "permute": permute,
    "scale": scale,
    "shift": shift,
    "merge": merge,
    "row space": turn,
    "scale permute": chain(scale, permute),
    "permute merge": chain(permute, merge),
    "scale merge scale": chain(scale, merge, scale),
    "row space scale": chain(turn, scale),
    "scale row space": chain(scale, turn),
    "shift scale": chain(shift, scale),
    "scale shift": chain(scale, shift),
    "scale shift merge permute": chain(scale, shift, merge, permute),
}
CASES = [
    pytest.param(make, has_intercept, id=f"{name}{' intercept' * has_intercept}")
    for name, make in MAPS.items()
    for has_intercept in (False, True)
    if has_intercept or "shift" not in name
]
each_map = pytest.mark.parametrize(("make", "has_intercept"), CASES)


def parts(E):
    return E.maps if isinstance(E, Compose) else [E]


def strengths(E, rng, has_intercept):
    """User strengths that E takes: those that weigh what it asks of its last part that asks."""
    lam = rng.uniform(0.5, 2, E.n_design)
    for part in reversed(parts(E)):
        if isinstance(part, RowSpace):
            lam[:] = lam[0]
        if has_intercept:
            lam[-1] = 0 if any(isinstance(part, Shift) for part in parts(E)) else 0.3
        lam = part.unspread(lam)
    return lam


def made(make, has_intercept, seed=0):
    rng = np.random.default_rng(seed)
    return make(rng, N_FEATURES, has_intercept), rng


def dense(E):
    return E.apply(np.eye(E.n_design))


def with_intercept(X, has_intercept, constant=1.0):
    return np.hstack([X, np.full((len(X), 1), constant)]) if has_intercept else X


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-13)


@each_map
@pytest.mark.parametrize("shape", [(), (3,)], ids=["one", "block"])
def test_predictions_are_those_of_the_user(make, has_intercept, shape):
    E, rng = made(make, has_intercept)
    X = rng.normal(size=(N_ROWS, N_FEATURES))
    u = rng.normal(size=(E.n_design, *shape))
    w = E.apply(u)
    assert w.shape == (E.n_user, *shape)
    assert E.n_user == N_FEATURES + has_intercept
    X_u = with_intercept(E.of_rows(X), has_intercept, E.intercept)
    close(X_u @ u, with_intercept(X, has_intercept) @ w)


@each_map
def test_blocks_are_maps_of_their_columns(make, has_intercept):
    E, rng = made(make, has_intercept)
    u, w = rng.normal(size=(E.n_design, 3)), rng.normal(size=(E.n_user, 3))
    for verb, block in [(E.apply, u), (E.collect, u), (E.unspread, u), (E.pull, w), (E.solve, w)]:
        close(verb(block), np.column_stack([verb(column) for column in block.T]))
    lam = np.column_stack([strengths(E, rng, has_intercept) for _ in range(2)])
    close(E.spread(lam), np.column_stack([E.spread(column) for column in lam.T]))


@each_map
def test_pull_is_the_adjoint_of_apply(make, has_intercept):
    E, rng = made(make, has_intercept)
    close(E.pull(np.eye(E.n_user)), dense(E).T)
    u, g = rng.normal(size=E.n_design), rng.normal(size=E.n_user)
    close(E.apply(u) @ g, u @ E.pull(g))


@each_map
def test_solve_finds_the_coefficients_again(make, has_intercept):
    E, rng = made(make, has_intercept)
    u = rng.normal(size=(E.n_design, 2))
    close(E.solve(E.apply(u)), u)


@pytest.mark.parametrize("make", [merge, turn], ids=["merge", "row space"])
def test_solve_is_least_squares_where_no_coefficients_fit(make):
    E, rng = made(make, True)
    w = rng.normal(size=E.n_user)
    close(E.solve(w), np.linalg.lstsq(dense(E), w)[0])


@each_map
def test_spread_is_the_diagonal_penalty_of_the_design(make, has_intercept):
    E, rng = made(make, has_intercept)
    lam = strengths(E, rng, has_intercept)
    close(np.diag(E.spread(lam)), dense(E).T @ np.diag(lam) @ dense(E))


@each_map
def test_minimiser_of_the_design_is_that_of_the_user(make, has_intercept):
    """Of ridge regression, on rows of the kind that the map is for: those of A Eᵀ diag(λ)."""
    E, rng = made(make, has_intercept)
    lam = strengths(E, rng, has_intercept)
    columns = lam[:, None] * E.apply(rng.normal(size=(E.n_design, N_ROWS)))
    X, y = columns[:N_FEATURES].T, rng.normal(size=N_ROWS)

    def ridge(X, lam):
        return np.linalg.solve(X.T @ X + np.diag(lam), X.T @ y)

    w = ridge(with_intercept(X, has_intercept), lam)
    u = ridge(with_intercept(E.of_rows(X), has_intercept, E.intercept), E.spread(lam))
    np.testing.assert_allclose(E.apply(u), w, rtol=1e-9, atol=1e-9)


@each_map
def test_collect_is_the_adjoint_of_spread(make, has_intercept):
    E, rng = made(make, has_intercept)
    lam, d = strengths(E, rng, has_intercept), rng.normal(size=(E.n_design, 2))
    close(E.spread(lam) @ d, lam @ E.collect(d))
    if not isinstance(E, Compose):
        close(E.collect(d), dense(E) ** 2 @ d)


@each_map
def test_unspread_is_undone_by_spread(make, has_intercept):
    E, rng = made(make, has_intercept)
    d = E.spread(strengths(E, rng, has_intercept))
    close(E.spread(E.unspread(d)), d)


def test_compose_is_the_product():
    rng = np.random.default_rng(0)
    maps = [scale(rng, 7, True), shift(rng, 7, True), merge(rng, 7, True)]
    E = Compose(maps)
    close(dense(E), dense(maps[0]) @ dense(maps[1]) @ dense(maps[2]))
    assert (E.n_user, E.n_design) == (8, maps[2].n_design)
    assert E.intercept == maps[0].intercept != 1


@each_map
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_keep_their_dtype_and_sparse_rows_give_what_dense_ones_give(
    make, has_intercept, dtype
):
    E, rng = made(make, has_intercept)
    X = np.where(rng.random((N_ROWS, N_FEATURES)) < 0.4, rng.normal(size=(N_ROWS, N_FEATURES)), 0)
    X = X.astype(dtype)
    from_dense, from_sparse = E.of_rows(X), E.of_rows(sp.csr_matrix(X))
    is_sparse = not any(isinstance(part, Shift | RowSpace) for part in parts(E))
    assert sp.issparse(from_sparse) == is_sparse
    assert from_dense.dtype == from_sparse.dtype == dtype
    assert from_dense.shape == from_sparse.shape == (N_ROWS, E.n_design - has_intercept)
    expected = with_intercept(X.astype(float), has_intercept) @ dense(E)
    expected = expected[:, : expected.shape[1] - has_intercept]
    tol = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(from_dense, expected, rtol=tol, atol=tol)
    if is_sparse:
        assert isinstance(from_sparse, sp.csr_matrix)
        assert from_sparse.has_canonical_format
        from_sparse = from_sparse.toarray()
    np.testing.assert_allclose(from_sparse, expected, rtol=tol, atol=tol)


def test_shift_of_float32_rows_is_rounded_once():
    X = np.array([[16777215.0], [16777216.0]], np.float32)  # 2^24: not a bit left for a half
    np.testing.assert_array_equal(Shift(np.array([16777215.5])).of_rows(X), [[-0.5], [0.5]])


@each_map
def test_no_argument_is_changed(make, has_intercept):
    E, rng = made(make, has_intercept)
    X = rng.normal(size=(N_ROWS, N_FEATURES))
    sparse, u, w = sp.csr_matrix(X), rng.normal(size=E.n_design), rng.normal(size=E.n_user)
    lam = strengths(E, rng, has_intercept)
    fields = [field for part in parts(E) for field in vars(part).values()]
    for array in (X, sparse.data, sparse.indices, sparse.indptr, u, w, lam, *fields):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False  # a write raises
    for verb in (E.apply, E.collect, E.unspread):
        verb(u)
    for verb in (E.pull, E.solve):
        verb(w)
    E.spread(lam)
    E.of_rows(X)
    E.of_rows(sparse)


def test_infinite_and_zero_strengths_pass_where_they_are_equal():
    E = Merge(np.array([0, 0, 1]), np.array([0.6, 0.8, 1.0]), True)
    lam = np.array([np.inf, np.inf, 0.0, 0.0])
    np.testing.assert_array_equal(E.spread(lam), [np.inf, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"features 0 and 1 have inf and 1\.0"):
        E.spread(np.array([np.inf, 1.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match=r"features 0 and 1 have 1\.0 and inf"):
        E.spread(np.array([1.0, np.inf, 0.0, 0.0]))
    np.testing.assert_array_equal(Scale(np.ones(2)).spread(np.array([np.inf, 0.0])), [np.inf, 0.0])


def test_equal_strengths_may_differ_by_rounding_and_no_more():
    E = Merge(np.array([0, 0]), np.array([0.6, 0.8]), False)
    assert E.spread(np.array([1e-30, 1e-30 * (1 + 1e-14)])).shape == (1,)
    for small in (1e-30, 0.0):
        with pytest.raises(ValueError, match="Merge needs one strength for a group"):
            E.spread(np.array([small, 1e-30 * (1 + 1e-9)]))


def test_features_without_a_coefficient_have_any_strength():
    merged = Merge(np.array([0, 0, 0]), np.array([0.0, 0.6, 0.8]), False)
    np.testing.assert_array_equal(merged.spread(np.array([7.0, 2.0, 2.0])), [2.0])
    turned = RowSpace(np.array([[0.0], [0.6], [0.8]]), True)
    np.testing.assert_array_equal(turned.spread(np.array([7.0, 2.0, 2.0, 1.0])), [2.0, 1.0])
    close(turned.unspread(np.array([2.0, 1.0])), [0.0, 2.0, 2.0, 1.0])


def test_strengths_that_would_change_the_model_are_refused():
    one_each = np.diag([1.0, 2.0, 3.0])  # derivatives of one strength for each feature
    merged = Merge(np.array([0, 1, 0]), np.array([0.6, 1.0, 0.8]), False)
    with pytest.raises(ValueError, match=r"features 0 and 2 have 1\.0 and 0\.0.*no Merge"):
        merged.spread(one_each)
    turned = RowSpace(np.linalg.qr(one_each + 1)[0][:, :2], False)
    with pytest.raises(ValueError, match=r"RowSpace needs one strength for all features.*no RowS"):
        turned.spread(one_each)
    shifted = Shift(np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"Shift needs strength 0 for the intercept.*Leave the"):
        shifted.spread(one_each)
    np.testing.assert_array_equal(shifted.spread(one_each[:, :2]), one_each[:, :2])


def test_maps_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"Scale needs positive factors; found 0\.0"):
        Scale(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="Scale needs positive factors; found nan"):
        Scale(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match=r"group 1 has norm 2\.0"):
        Merge(np.array([0, 1]), np.array([1.0, 2.0]), False)
    with pytest.raises(ValueError, match=r"group 1 has norm 0\.0"):
        Merge(np.array([0, 2]), np.array([1.0, 1.0]), False)
    with pytest.raises(ValueError, match="Identity leaves 2 coefficients and Shift takes 3"):
        Compose([Identity(2), Shift(np.zeros(2))])
    with pytest.raises(ValueError, match="at least one map"):
        Compose([])


@pytest.mark.parametrize("make", [scale, shift, merge, turn])
def test_rows_of_integers_raise_rather_than_round(make):
    E, _ = made(make, True)
    X = np.ones((N_ROWS, N_FEATURES), int)
    for rows in (X, sp.csr_matrix(X)):
        with pytest.raises(TypeError):
            E.of_rows(rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_row_space_has_the_rank_and_the_rows_of_the_matrix(dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(-5, 6, size=(4, 20)).astype(dtype)
    X = np.vstack([X, X[0] - X[1]])
    E = row_space(X, True)
    assert (E.n_user, E.n_design) == (21, 5)
    close(E.basis.T @ E.basis, np.eye(4))
    np.testing.assert_allclose(E.apply(E.solve(np.r_[X[2], 7.0])), np.r_[X[2], 7.0], atol=1e-12)
    assert row_space(np.zeros((2, 3)), True).n_design == 1
