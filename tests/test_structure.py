"""What comes in as a sparse matrix is one, at every entrance: its arrays are looked at before
anything that trusts them reads a number. And X that its owner changes later is found out."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

import fasthoag
from fasthoag import _core
from fasthoag.design.structure import check_structure, sound_csr
from fasthoag.io import Model

N, P = 30, 8
FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]


def sound(kind="csr", as_array=False, dtype=np.float64, index=np.int32):
    X = sp.random(N, P, density=0.4, random_state=3, format="csr", dtype=dtype)
    X = sp.csr_array(X) if as_array else X
    X = X.asformat(kind)
    for name in ("indptr", "indices", "row", "col", "offsets"):
        if name in vars(X):
            setattr(X, name, getattr(X, name).astype(index))
    return X


def labels():
    return np.where(np.arange(N) % 3 == 0, 1.0, -1.0)


def put(name, at, value):
    def spoil(X):
        array = getattr(X, name).copy()
        if np.issubdtype(array.dtype, np.integer):
            array = array.astype(np.int64) if abs(value) > 2**31 - 1 else array
        array[at] = value
        setattr(X, name, array)

    return spoil


def cut(name, n):
    return lambda X: setattr(X, name, getattr(X, name)[:n])


def longer(name, extra):
    return lambda X: setattr(X, name, np.append(getattr(X, name), extra).astype(np.int64))


def claim(*shape):
    return lambda X: setattr(X, "_shape", shape)


POINTERS = {
    "a pointer far beyond the values": put("indptr", 3, 10**9),
    "a pointer beyond them that comes back": put("indptr", slice(1, 2), 10**9),
    "a last pointer beyond them": put("indptr", -1, 10**6),
    "a last pointer of -1": put("indptr", -1, -1),
    "a negative pointer": put("indptr", 3, -5),
    "a pointer whose difference overflows": put("indptr", 3, -(2**63)),
    "a pointer at the other end of its range": put("indptr", 3, 2**63 - 1),
    "a first pointer that is not 0": put("indptr", 0, 2),
    "a pointer too few": cut("indptr", -1),
    "pointers too few": cut("indptr", 2),
    "no pointers": cut("indptr", 0),
    "a pointer too many": longer("indptr", 5),
    "values that end early": cut("data", 5),
    "numbers that end early": cut("indices", 5),
    "no numbers": cut("indices", 0),
    "a number that is negative": put("indices", 4, -1),
    "a number beyond the columns": put("indices", 4, 10**6),
    "a number far beyond": put("indices", 4, 2**40),
    "a number that wraps": put("indices", 4, -(2**40)),
    "numbers of floats": lambda X: setattr(X, "indices", X.indices.astype(float)),
    "pointers in two dimensions": lambda X: setattr(X, "indptr", X.indptr[:, None]),
    "pointers in a list": lambda X: setattr(X, "indptr", X.indptr.tolist()),
    "numbers in a list": lambda X: setattr(X, "indices", X.indices.tolist()),
    "values in a list": lambda X: setattr(X, "data", X.data.tolist()),
    "values that are not there": lambda X: setattr(X, "data", None),
    "values in no dimension": lambda X: setattr(X, "data", np.float64(1.0)),
}
BROKEN = {
    **{(kind, what): spoil for kind in ("csr", "csc", "bsr") for what, spoil in POINTERS.items()},
    ("coo", "a row beyond"): lambda X: X.coords[0].__setitem__(2, N),
    ("coo", "a row far beyond"): lambda X: X.coords[0].__setitem__(2, 2**31 - 1),
    ("coo", "a negative row"): lambda X: X.coords[0].__setitem__(2, -1),
    ("coo", "a column beyond"): lambda X: X.coords[1].__setitem__(2, P),
    ("coo", "a negative column"): lambda X: X.coords[1].__setitem__(2, -(2**31)),
    ("coo", "rows that end early"): lambda X: setattr(X, "coords", (X.coords[0][:5], X.coords[1])),
    ("coo", "values that end early"): cut("data", 5),
    ("coo", "a claim of rows"): claim(2**40, P),
    ("coo", "a claim of columns"): claim(N, 2**62),
    ("csc", "a claim of rows"): claim(2**40, P),
    ("csr", "a claim of columns"): claim(N, 2**40),
    ("csr", "a claim of rows"): claim(N + 1, P),
    ("dok", "a claim of rows"): claim(2**40, P),
    ("dok", "a row beyond"): lambda X: X._dict.__setitem__((N + 5, 1), 1.0),
    ("dok", "a negative column"): lambda X: X._dict.__setitem__((1, -3), 1.0),
    ("dok", "a row that no integer holds"): lambda X: X._dict.__setitem__((2**70, 1), 1.0),
    ("dok", "a key of one number"): lambda X: X._dict.__setitem__((1,), 1.0),
    ("dok", "a key of text"): lambda X: X._dict.__setitem__(("a", 1), 1.0),
    ("dia", "an offset beyond"): put("offsets", 0, 10**6),
    ("dia", "an offset twice"): lambda X: put("offsets", 0, int(X.offsets[1]))(X),
    ("dia", "offsets that end early"): cut("offsets", 1),
    ("dia", "values in one dimension"): lambda X: setattr(X, "data", X.data[0]),
    ("lil", "a column beyond"): lambda X: X.rows[1].__setitem__(0, P),
    ("lil", "a negative column"): lambda X: X.rows[1].__setitem__(0, -1),
    ("lil", "values that end early"): lambda X: X.data[1].pop(),
    ("lil", "a row that is no list"): lambda X: X.rows.__setitem__(1, None),
    ("lil", "rows that end early"): cut("rows", 5),
    ("lil", "rows that are not there"): lambda X: setattr(X, "rows", None),
    ("bsr", "blocks that do not fill"): lambda X: setattr(X, "data", np.ones((len(X.data), 7, 1))),
    ("bsr", "blocks of nothing"): lambda X: setattr(X, "data", np.ones((len(X.data), 0, 1))),
}
SPOILT = [pytest.param(kind, spoil, id=f"{kind}, {what}") for (kind, what), spoil in BROKEN.items()]


def fitted():
    return fasthoag.LogisticRegressionCV(cv=3, n_threads=1).fit(sound(), labels())


def predicting(X):
    model = fitted()
    return lambda: model.predict(X)


def scoring(X):
    model = fitted()
    return lambda: model.score(X, labels())


def held_out(X):
    problem = fasthoag.Problem(sound(), labels())
    return lambda: fasthoag.hoag(problem, fasthoag.HeldOut(X, labels()))


def unseen(X):
    problem, rows = fasthoag.Problem(sound(), labels()), fasthoag.HeldOut(X, labels())
    return lambda: fasthoag.hoag(problem, fasthoag.KFold(3), unseen=rows)


def by_model(X):
    model = Model("logistic", np.ones((1, P)), [0.0])
    return lambda: model.predict(X)


def by_kernel_model(X):
    model, _ = fasthoag.KernelProblem(sound(), labels()).fit([0.0, 0.0])
    return lambda: model.predict(X)


ENTRANCES = {
    "Problem": lambda X: lambda: fasthoag.Problem(X, labels()),
    "Problem, low_memory": lambda X: lambda: fasthoag.Problem(X, labels(), low_memory=True),
    "a block": lambda X: lambda: fasthoag.Problem([X, sound(X.format)], [labels(), labels()]),
    "ShardedDesign": lambda X: lambda: fasthoag.ShardedDesign([sound(X.format), X]),
    "HeldOut": held_out,
    "unseen": unseen,
    "fit": lambda X: lambda: fasthoag.LogisticRegressionCV(cv=3).fit(X, labels()),
    "fit, validation": lambda X: (
        lambda: fasthoag.RidgeCV(cv=3).fit(sound(), labels(), validation=(X, labels()))
    ),
    "predict": predicting,
    "score": scoring,
    "Model": by_model,
    "KernelProblem": lambda X: lambda: fasthoag.KernelProblem(X, labels()),
    "KernelProblem, HeldOut": lambda X: (
        lambda: fasthoag.hoag(
            fasthoag.KernelProblem(sound(), labels()), fasthoag.HeldOut(X, labels())
        )
    ),
    "KernelModel": by_kernel_model,
}


@pytest.mark.parametrize(("kind", "spoil"), SPOILT)
def test_arrays_that_are_not_those_of_a_matrix_are_one_sentence(kind, spoil):
    X = sound(kind)
    spoil(X)
    with pytest.raises(ValueError, match=r"\bX\b"):
        sound_csr(X)


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr"])
def test_every_entrance_looks_first(entrance, kind):
    for (of, what), spoil in BROKEN.items():
        if of != kind:
            continue
        X = sound(kind)
        call = ENTRANCES[entrance](X)
        spoil(X)
        with pytest.raises(ValueError, match=r"\b(X|X_val|blocks)\b") as error:
            call()
        assert "\n" not in str(error.value), what


@pytest.mark.parametrize("index", [np.int32, np.int64, np.uint32, ">i4", ">i8"])
@pytest.mark.parametrize("as_array", [False, True], ids=["matrix", "array"])
@pytest.mark.parametrize("kind", FORMATS)
def test_sound_matrices_of_every_format_are_the_same_rows(kind, as_array, index):
    if kind == "dia" and index == np.uint32:
        pytest.skip("its offsets are negative")
    expected, X = sound().toarray(), sound(kind, as_array, index=index)
    found = sound_csr(X)
    assert found.format == "csr"
    design = fasthoag.Problem(X, labels(), fit_intercept=False).design
    np.testing.assert_allclose(design.matvec(design.encode(np.eye(P))), expected, atol=1e-14)
    model = fasthoag.RidgeCV(cv=3).fit(X, labels())
    np.testing.assert_allclose(model.predict(X), model.predict(expected), atol=1e-12)
    loaded = Model("squared", model.coef_[None], [model.intercept_])
    np.testing.assert_allclose(loaded.predict(X), model.predict(expected), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.int8, bool, ">f8", np.longdouble])
@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
def test_values_of_every_real_type_are_the_same_rows(kind, dtype):
    X = sound(kind)
    given = np.round(4 * X.data).astype(dtype)
    X.data = given.astype(np.float64)
    expected, X.data = X.toarray(), given  # SciPy itself refuses some of these types
    design = fasthoag.Problem(X, labels(), fit_intercept=False).design
    np.testing.assert_array_equal(design.matvec(design.encode(np.eye(P))), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_look_agrees_with_a_slow_one(dtype, n_threads):
    """Random arrays, sound or not, and which fault comes first."""
    rng = np.random.default_rng(0)
    for _ in range(3000):
        n, p = rng.integers(0, 6, 2)
        lengths = rng.integers(0, 4, n)
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        indices = rng.integers(0, max(p, 1), indptr[-1])
        if rng.random() < 0.4:
            indptr[rng.integers(n + 1)] += rng.integers(-3, 4)
        if len(indices) and rng.random() < 0.3:
            indices[rng.integers(len(indices))] += rng.integers(-2, 3)
        n_stored = max(0, len(indices) - int(rng.random() < 0.1))
        arrays = indptr.astype(dtype), indices.astype(dtype)
        assert _core.look_at(*arrays, n_stored, p, n_threads) == slow_look(
            indptr, indices, n_stored, p
        )


def slow_look(indptr, indices, n_stored, p):
    if indptr[0] != 0:
        return "start", -1, True
    for i in range(len(indptr) - 1):
        if indptr[i + 1] < indptr[i]:
            return "decrease", i, True
    if indptr[-1] > n_stored:
        return "end", -1, True
    for k, j in enumerate(indices[: indptr[-1]]):
        if not 0 <= j < p:
            return "index", k, True
    rows = (indices[a:b] for a, b in pairwise(indptr))
    return "none", -1, all((np.diff(row) > 0).all() for row in rows)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_the_look_finds_one_fault_among_many_rows(n_threads):
    """More entries than one block and one chunk."""
    X = sp.random(5000, 300, density=0.2, random_state=0, format="csr")
    arrays = X.indptr, X.indices, X.nnz, 300, n_threads
    assert _core.look_at(*arrays) == ("none", -1, True)
    rng = np.random.default_rng(1)
    for at in [0, X.nnz - 1, *rng.integers(0, X.nnz, 30)]:
        old, X.indices[at] = X.indices[at], 300
        assert _core.look_at(*arrays) == ("index", at, True)
        X.indices[at] = old
    for row in [0, 4999, *rng.integers(0, 5000, 30)]:
        a, b = X.indptr[row], X.indptr[row + 1]
        if b - a > 1:
            X.indices[a:b] = X.indices[a:b][::-1].copy()
            assert _core.look_at(*arrays) == ("none", -1, False)
            X.indices[a:b] = X.indices[a:b][::-1].copy()
    for row in [1, 4999, *rng.integers(1, 5000, 30)]:
        old, X.indptr[row] = X.indptr[row], X.indptr[row + 1] + 1
        assert _core.look_at(*arrays)[:2] == ("decrease", row)
        X.indptr[row] = old


def test_notes_of_scipy_that_are_wrong_are_not_believed():
    X = sp.csr_matrix((np.ones(4), [1, 0, 2, 2], [0, 2, 4]), shape=(2, 3))
    X.has_canonical_format = True
    expected = [[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]
    np.testing.assert_array_equal(sound_csr(X).toarray(), expected)
    problem = fasthoag.Problem(X, [1.0, -1.0], fit_intercept=False)
    found = problem.design.matvec(problem.design.encode(np.eye(3)))
    np.testing.assert_array_equal(found, expected)
    assert not X.has_canonical_format


def test_values_beyond_the_last_pointer_are_no_entries():
    X = sound()
    more = sp.csr_matrix(X)
    more.indices = np.append(X.indices, [10**9, -5]).astype(np.int32)
    more.data = np.append(X.data, [np.nan, 1e300])
    check_structure(more)
    X_design, design = (fasthoag.Problem(one, labels()).design for one in (X, more))
    V = np.random.default_rng(0).normal(size=(design.n_coef, 2))
    np.testing.assert_array_equal(design.matvec(V), X_design.matvec(V))


# ---- X that changes ----

CHANGES = {
    "values": lambda X: X.data.__setitem__(7, X.data[7] + 1e-9),
    "all signs": lambda X: X.data.__imul__(-1),
    "two values change places": lambda X: X.data.__setitem__([3, 99], X.data[[99, 3]]),
    "zeros leave": lambda X: (X.data.__setitem__(5, 0.0), X.eliminate_zeros()),
}


@pytest.mark.parametrize("options", [{}, {"low_memory": True}, {"deterministic": True}])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_matrix_is_told_and_never_mixed(change, dtype, options):
    X = sp.random(60, 10, density=0.5, random_state=0, format="csr", dtype=dtype)
    problem = fasthoag.Problem(X, np.where(np.arange(60) % 2, 1.0, -1.0), **options)
    criterion = fasthoag.KFold(3)
    before = fasthoag.hoag(problem, criterion)
    again = fasthoag.hoag(problem, criterion)
    np.testing.assert_array_equal(before.w, again.w)
    kept = X.data.copy()
    CHANGES[change](X)
    if len(X.data) == len(kept) and (X.data == kept).all():
        pytest.skip("float32 does not hold this change")
    with pytest.raises(ValueError, match="X was changed after the problem was made"):
        fasthoag.hoag(problem, criterion)


@pytest.mark.parametrize("where", ["a dense array", "a list of blocks", "shards"])
def test_changes_are_told_wherever_rows_are(where):
    X = np.random.default_rng(0).normal(size=(40, 5))
    y = X[:, 0] + 1.0
    given = [X[:20], X[20:]]
    given = {"a dense array": X, "a list of blocks": given}.get(
        where, fasthoag.ShardedDesign(given)
    )
    problem = fasthoag.Problem(given, y, loss="squared")
    fasthoag.hoag(problem, fasthoag.KFold(3))
    X[33, 2] *= 2
    with pytest.raises(ValueError, match="X was changed"):
        fasthoag.hoag(problem, fasthoag.KFold(3))


def test_a_change_during_a_search_is_told_at_its_end():
    X = np.random.default_rng(0).normal(size=(40, 5))
    problem = fasthoag.Problem(X, X[:, 0] + 1.0, loss="squared")

    def change(record):
        X[0, 0] += 1.0

    with pytest.raises(ValueError, match="X was changed"):
        fasthoag.hoag(problem, fasthoag.KFold(3), callback=change)


def test_targets_and_weights_that_change_are_copies():
    X = np.random.default_rng(0).normal(size=(40, 5))
    y, weight = X[:, 0] + 1.0, np.ones(40)
    problem = fasthoag.Problem(X, y, loss="squared", sample_weight=weight)
    before = fasthoag.hoag(problem, fasthoag.KFold(3))
    y[:], weight[:] = 0.0, 5.0
    after = fasthoag.hoag(problem, fasthoag.KFold(3))
    np.testing.assert_array_equal(before.w, after.w)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 2**16, 2**16 + 1, 300_001])
def test_a_fingerprint_does_not_depend_on_threads_and_sees_every_word(n):
    words = np.random.default_rng(0).integers(0, 2**32, n, dtype=np.uint32)
    seen = _core.fingerprint(words, 1)
    assert {_core.fingerprint(words, k) for k in (1, 2, 3)} == {seen}
    for at in {0, n // 2, n - 1} if n else ():
        for bit in (0, 15, 31):
            words[at] ^= np.uint32(1 << bit)
            assert _core.fingerprint(words, 2) != seen
            words[at] ^= np.uint32(1 << bit)


def test_no_warning_comes_of_looking():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in FORMATS:
            sound_csr(sound(kind))
