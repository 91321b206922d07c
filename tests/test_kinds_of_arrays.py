"""Whatever kind of array comes in, at whatever entrance: it is read for what it says, or refused by
one sentence with the name of the argument."""

import datetime
import decimal
import fractions
import re
import warnings
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge

import fasthoag
from fasthoag import GroupRidge, HeldOut, Problem
from fasthoag.io import Model

xp = pytest.importorskip("array_api_strict")
pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings("ignore")

N, P = 24, 3
RNG = np.random.default_rng(0)
A = (RNG.random((N, P)) < 0.5).astype(float)  # 0 and 1, which every type of numbers holds
V = (A[:, 0] + A[:, 1] + RNG.random(N) > 1.2).astype(float)
LABELS = 2 * V - 1
W = 1 + (np.arange(N) % 3 > 0)


class Mine(np.ndarray):
    """A subclass of NumPy's arrays."""


def strided(a):
    room = np.full([2 * n for n in a.shape], np.nan)
    view = room[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.setflags(write=False)
    return a


def one_masked(a):
    return np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) == 2)


def with_entry(a, value):
    """Objects, one of them another."""
    a = a.astype(object)
    a.flat[2] = value
    return a


def typed(dtype):
    return lambda a: a.astype(dtype)


def pandas_of(a, dtype=None):
    return (pd.Series if a.ndim == 1 else pd.DataFrame)(a).astype(dtype)


def extension(dtype, has_missing=False):
    def make(a):
        found = pandas_of(a, dtype)
        return found.mask(np.arange(a.size).reshape(a.shape) == 2) if has_missing else found

    return make


class Copies:
    """An array of somebody else, which NumPy can copy."""

    def __init__(self, a):
        self._a, self.shape, self.ndim = a, a.shape, a.ndim

    def __array__(self, dtype=None, copy=None):
        return np.array(self._a, dtype)


SAME = {
    "masked array with nothing masked": lambda a: np.ma.masked_array(a, np.zeros(a.shape, bool)),
    "masked array without a mask": np.ma.masked_array,
    **{name: typed(name) for name in ("float16", "float32", "longdouble", "bool", "int8")},
    **{name: typed(name) for name in ("uint64", ">f8", ">f4", ">i4", "<u2", "object")},
    "objects of integers": lambda a: a.astype(int).astype(object),
    "decimals": lambda a: np.vectorize(decimal.Decimal, otypes=[object])(a),
    "fractions": lambda a: np.vectorize(fractions.Fraction, otypes=[object])(a),
    "strided": strided,
    "reversed twice": lambda a: a[::-1].copy()[::-1],
    "Fortran order": np.asfortranarray,
    "read-only": read_only,
    "of another class": lambda a: a.view(Mine),
    "list": np.ndarray.tolist,
    "tuples": lambda a: tuple(tuple(row) if a.ndim == 2 else row for row in a.tolist()),
    "list of arrays": lambda a: [np.asarray(row) for row in a],
    "array API": xp.asarray,
    "with __array__": Copies,
    "pandas": pandas_of,
    "pandas with a turned index": lambda a: pandas_of(a).set_axis(np.arange(len(a))[::-1]),
    **{f"pandas {name}": extension(name) for name in ("Int64", "Float64", "boolean", "category")},
    "pandas sparse": extension(pd.SparseDtype(float, 0.0)),
}
REFUSED = {
    "masked array": one_masked,
    "list of masked arrays": lambda a: list(one_masked(a)) if a.ndim == 2 else one_masked(a),
    "complex": typed(complex),
    "complex and imaginary": lambda a: a + 1j,
    "None": lambda a: None,
    "None among objects": lambda a: with_entry(a, None),
    "NaN among objects": lambda a: with_entry(a, np.nan),
    "NA among objects": lambda a: with_entry(a, pd.NA),
    "NaN": lambda a: with_entry(a, np.nan).astype(float),
    "infinity": lambda a: with_entry(a, np.inf).astype(float),
    "infinity of longdouble": lambda a: with_entry(a, "1e4000").astype(np.longdouble),
    "a dict among objects": lambda a: with_entry(a, {}),
    "a list among objects": lambda a: with_entry(a, [1.0]),
    "an array among objects": lambda a: with_entry(a, np.ones(2)),
    "an integer of 400 digits": lambda a: with_entry(a, 10**400),
    "a generator": lambda a: (row for row in a.tolist()),
    "a dict": lambda a: {},
    "a set": lambda a: {0.0, 1.0},
    "a number": lambda a: 3.0,
    "no dimension": lambda a: np.array(3.0),
    "three dimensions": lambda a: a.reshape(*a.shape, *[1] * (3 - a.ndim)),
    "nothing": lambda a: a[:0],
    "an object": lambda a: object(),
    "a class": lambda a: np.ndarray,
    "records": lambda a: np.zeros(a.shape, [("a", float)]),
    "void": lambda a: np.zeros(a.shape, "V8"),
    "lists of different lengths": lambda a: [[1.0, 2.0], [1.0], *a.tolist()[2:]],
    **{
        f"pandas {name} with NA": extension(name, has_missing=True)
        for name in ("Int64", "Float64", "boolean")
    },
}
NO_NUMBERS = {  # which labels may be
    "text": typed(str),
    "bytes": typed("S"),
    "text of any length": typed(np.dtypes.StringDType()),
    "text among objects": lambda a: with_entry(a, "x"),
    "text of digits among objects": lambda a: with_entry(a, "1.5"),
    "objects of text": lambda a: a.astype(str).astype(object),
    "dates": lambda a: a.astype(int).astype("M8[D]"),
    "durations": lambda a: a.astype(int).astype("m8[s]"),
    "dates of Python": lambda a: with_entry(a, datetime.date(2020, 1, 1)),
    "pandas text": extension("string"),
    "pandas categories of text": lambda a: pandas_of(a, str).astype("category"),
    "pandas dates": lambda a: pandas_of(a.astype(int)).apply(pd.to_datetime),
}


def sparse_with(change):
    """A CSR array whose parts something is done to."""

    def make(a):
        X = sp.csr_array(a)
        change(X)
        return X

    return make


def long_numbers(X):
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)


FORMATS = ("csr", "csc", "coo", "lil", "dok", "dia", "bsr")
SPARSE_SAME = {
    **{
        f"{form}_{kind}": getattr(sp, f"{form}_{kind}")
        for form in FORMATS
        for kind in ("matrix", "array")
    },
    **{
        f"CSR of {dtype}": lambda a, dtype=dtype: sp.csr_array(a.astype(dtype))
        for dtype in ("bool", "int8", "uint64", "float32", "longdouble")
    },
    "CSR with numbers of 64 bits": sparse_with(long_numbers),
    "CSR that cannot be written": sparse_with(
        lambda X: [part.setflags(write=False) for part in (X.data, X.indices, X.indptr)]
    ),
    "CSR with strided values": sparse_with(lambda X: setattr(X, "data", strided(X.data))),
}
SPARSE_REFUSED = {
    "sparse vector": lambda a: sp.coo_array(a[:, 0]),
    "CSR of complex numbers": lambda a: sp.csr_array(a.astype(complex)),
    "CSR with a NaN": sparse_with(lambda X: X.data.__setitem__(1, np.nan)),
    "CSR with an infinity": sparse_with(lambda X: X.data.__setitem__(1, np.inf)),
}


def ridge(**options):
    return fasthoag.RidgeCV(cv=2, bounds=(-1, 3), **options)


def logistic(**options):
    return fasthoag.LogisticRegressionCV(cv=2, bounds=(-1, 3), **options)


PROBLEM = Problem(A, LABELS, fit_intercept=False)
NUMBERS = Problem(A, V, loss="squared", fit_intercept=False)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Some end at their bounds.
    REGRESSOR, CLASSIFIER = ridge().fit(A, V), logistic().fit(A, V)
MODEL = Model("squared", coef=[[1.0, 2.0, 4.0]], intercept=[0.5])
EACH = np.array([[1.0], [2.0], [4.0]])


def product(design):
    return design.matvec(EACH)


def tuned(problem, *args, **options):
    return fasthoag.hoag(problem, HeldOut(A, V), *args, max_iter=2, **options).theta


OF_ROWS = {  # entrances of matrices: what a message names, and what becomes of the matrix
    "Problem": ("X", lambda X: product(Problem(X, LABELS, fit_intercept=False).design)),
    "HeldOut": ("X_val", lambda X: product(HeldOut(X, LABELS).bind(PROBLEM).rows.design)),
    "RidgeCV.fit": ("X", lambda X: ridge().fit(X, V).coef_),
    "LogisticRegressionCV.fit": ("X", lambda X: logistic().fit(X, V).coef_),
    "validation": (
        "X of validation",
        lambda X: ridge().fit(A, V, validation=(X, V)).coef_,
    ),
    "stop_on": ("X of stop_on", lambda X: logistic().fit(A, V, stop_on=(X, V)).coef_),
    "predict": ("X", REGRESSOR.predict),
    "predict_proba": ("X", CLASSIFIER.predict_proba),
    "score": ("X", lambda X: CLASSIFIER.score(X, V)),
    "Model.predict": ("X", MODEL.predict),
}
OF_NUMBERS = {  # of vectors of N numbers
    "Problem": ("y", lambda y: Problem(A, y, loss="squared").y),
    "weights of Problem": (
        "sample_weight",
        lambda s: Problem(A, V, loss="squared", sample_weight=s).sample_weight,
    ),
    "HeldOut": ("y_val", lambda y: HeldOut(A, y).bind(NUMBERS).rows.y),
    "weights of HeldOut": ("sample_weight", lambda s: HeldOut(A, V, s).bind(NUMBERS).rows.weight),
    "RidgeCV": ("y", lambda y: ridge().fit(A, y).coef_),
    "weights of RidgeCV": ("sample_weight", lambda s: ridge().fit(A, W, s).coef_),
    "weights of LogisticRegressionCV": ("sample_weight", lambda s: logistic().fit(A, W, s).coef_),
    "validation": ("y of validation", lambda y: ridge().fit(A, V, validation=(A, y)).coef_),
    "stop_on": ("y of stop_on", lambda y: ridge().fit(A, V, stop_on=(A, y)).coef_),
    "score": ("y", lambda y: REGRESSOR.score(A, y)),
    "weights of score": ("sample_weight", lambda s: REGRESSOR.score(A, W, s)),
}
OF_FEATURES = {  # of vectors of P numbers
    "penalty_factor": ("penalty_factor", lambda f: strengths(fasthoag.Ridge(f))),
    "penalty_factor of groups": ("penalty_factor", lambda f: strengths(GroupRidge([0, 1, 1], f))),
    "penalty_factor of RidgeCV": (
        "penalty_factor",
        lambda f: ridge(penalty_factor=f).fit(A, V).coef_,
    ),
    "Fixed": ("theta", lambda t: strengths(fasthoag.Fixed(fasthoag.FeatureRidge(), t))),
    "read": ("theta", lambda t: feature_problem().read(t)["strengths"]),
    "theta0": ("theta0", lambda t: tuned(feature_problem(), t, bounds=(-1, 2))),
    "low": ("bounds", lambda t: tuned(feature_problem(), bounds=(t, 2))),
    "coefficients of Model": ("coef", lambda w: Model("squared", w, [0.5]).predict(A)),
}
OF_LABELS = {
    "LogisticRegressionCV": ("y", lambda y: logistic().fit(A, y).coef_),
    "groups of rows": ("groups", lambda g: fasthoag.SampleWeights(groups=g).index),
    # where labels have to be those of before
    "validation": (
        "(y of )?validation",
        lambda y: logistic().fit(A, V, validation=(A, y)).coef_,
    ),
    "score": ("y", lambda y: CLASSIFIER.score(A, y)),
}


def strengths(penalty):
    penalty.check(P)
    return penalty.strengths(np.zeros(penalty.n_hyper(P)), P)


def feature_problem():
    return Problem(A, V, loss="squared", penalty=fasthoag.FeatureRidge())


@cache
def of_plain(read, values):
    return read(np.array(values))


def fault_of_same(entrance, make, plain):
    """What is wrong at an entrance with a kind of array that stands for the plain one, or None."""
    _, read = entrance
    try:
        found = np.asarray(read(make(plain)), float)
    except Exception as error:  # Whatever it is, it is the fault.
        return f"{type(error).__name__}: {error}"
    expected = of_plain(read, tuple(map(tuple, plain)) if plain.ndim == 2 else tuple(plain))
    if found.shape != np.shape(expected) or not np.allclose(found, expected, rtol=0, atol=1e-12):
        return "another result"
    return None


def fault_of_refused(entrance, make, plain):
    """What is wrong with how an entrance refuses a kind of array, or None."""
    name, read = entrance
    try:
        read(make(plain))
    except (ValueError, TypeError) as error:
        message = str(error)
        is_named = re.search(rf"(?<!\w){name}(?!\w)", message) and len(message) < 1000
        return None if is_named else message
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


def faults(fault_of, entrance, kinds, plain, *, but=()):
    """The faults of an entrance with these kinds, by kind."""
    kinds = {kind: make for kind, make in kinds.items() if kind not in but}
    found = {kind: fault_of(entrance, make, plain) for kind, make in kinds.items()}
    return {kind: fault for kind, fault in found.items() if fault is not None}


FEW = np.array([1.0, 0.0, 1.0])


@pytest.mark.parametrize("entrance", OF_ROWS)
def test_rows_of_every_kind_are_those_of_the_plain_array(entrance):
    assert faults(fault_of_same, OF_ROWS[entrance], SAME | SPARSE_SAME, A) == {}


@pytest.mark.parametrize("entrance", OF_ROWS)
def test_rows_that_are_no_numbers_are_refused_by_name(entrance):
    kinds = REFUSED | NO_NUMBERS | SPARSE_REFUSED
    but = ["nothing"] if entrance == "Model.predict" else []  # of which it predicts nothing
    assert faults(fault_of_refused, OF_ROWS[entrance], kinds, A, but=but) == {}


@pytest.mark.parametrize("entrance", ["Problem", "HeldOut", "Model.predict"])
def test_a_matrix_of_numpy_is_taken(entrance):
    """scikit-learn refuses it."""
    assert faults(fault_of_same, OF_ROWS[entrance], {"np.matrix": np.matrix}, A) == {}


def test_a_memory_map_is_taken_at_every_entrance(tmp_path):
    def mapped(a):
        there = np.memmap(tmp_path / "a", float, "w+", shape=a.shape)
        there[...] = a
        return there

    for entrances, plain in ((OF_ROWS, A), (OF_NUMBERS, V), (OF_FEATURES, FEW)):
        for entrance in entrances.values():
            assert faults(fault_of_same, entrance, {"memory map": mapped}, plain) == {}


@pytest.mark.parametrize("blocks", [[A[:12], A[12:]], [sp.csr_array(A[:12]), sp.csr_array(A[12:])]])
def test_rows_in_blocks_are_refused_with_what_takes_them(blocks):
    instead = ". Linear models with a ridge, and fasthoag.Problem"
    with pytest.raises(TypeError, match=f"X must be one array .* a list of 2 blocks{instead}"):
        fasthoag.KernelRidgeCV().fit(blocks, V)
    with pytest.raises(TypeError, match=f"X must be one array .* a ShardedDesign{instead}"):
        fasthoag.KernelRidgeCV().fit(fasthoag.ShardedDesign(blocks), V)
    with pytest.raises(TypeError, match=f"X must be one array .* a list of 2 blocks{instead}"):
        fasthoag.TunedCV(Ridge()).fit(blocks, V)
    model = fasthoag.KernelRidgeCV().fit(A, V)
    with pytest.raises(TypeError, match="X must be one array .* a list of 2 blocks"):
        model.predict(blocks)


def test_a_table_with_a_column_that_is_called_as_a_method_of_designs_is_a_table():
    table = pd.DataFrame({"place": A[:, 0], "b": A[:, 1]})
    for X in (table, table.to_numpy()):
        problem = Problem(X, LABELS)
        assert problem.judged_by(HeldOut(X, LABELS)).rows.design.shape == (N, 2)
        assert fasthoag.RidgeCV().fit(X, V).coef_.shape == (2,)


def test_properties_of_every_kind_are_taken_or_refused_by_name():
    entrance = "Z", lambda Z: fasthoag.StructuredRidge(Z).strengths(FEW, N)
    assert faults(fault_of_same, entrance, SAME, A) == {}
    assert faults(fault_of_refused, entrance, REFUSED | NO_NUMBERS, A) == {}


COLUMNS = {
    "column": lambda a: a[:, None],
    "column of numpy's matrix": lambda a: np.matrix(a).T,
    "pandas column": lambda a: pd.DataFrame(a),
}
NO_VECTORS = {
    "sparse column": lambda a: sp.csr_matrix(a[:, None]),
    "sparse vector": sp.coo_array,
    "row": lambda a: a[None],
}


@pytest.mark.parametrize("entrance", OF_NUMBERS)
def test_numbers_of_every_kind_are_those_of_the_plain_array(entrance):
    assert faults(fault_of_same, OF_NUMBERS[entrance], SAME | COLUMNS, V) == {}


@pytest.mark.parametrize("entrance", OF_NUMBERS)
def test_what_is_no_numbers_is_refused_by_name(entrance):
    is_weight = entrance.startswith("weights")
    but = ["None", "a number", "no dimension"] if is_weight else []  # which are weights
    kinds = REFUSED | NO_NUMBERS | NO_VECTORS
    assert faults(fault_of_refused, OF_NUMBERS[entrance], kinds, V, but=but) == {}


MEANT = {  # kinds that mean something else there
    "theta0": ["None"],
    "low": ["a number", "no dimension"],
    "coefficients of Model": ["a number", "no dimension", "nothing"],
    **{name: ["None"] for name in OF_FEATURES if name.startswith("penalty_factor")},
}


@pytest.mark.parametrize("entrance", OF_FEATURES)
def test_numbers_of_features_of_every_kind_are_taken_or_refused_by_name(entrance):
    of, but = OF_FEATURES[entrance], MEANT.get(entrance, ())
    assert faults(fault_of_same, of, SAME, FEW) == {}
    assert faults(fault_of_refused, of, REFUSED | NO_NUMBERS, FEW, but=but) == {}


@pytest.mark.parametrize("entrance", OF_LABELS)
def test_labels_of_every_kind_are_taken_or_refused_by_name(entrance):
    of = OF_LABELS[entrance]
    is_for_groups = entrance == "groups of rows"
    # scikit-learn knows none of these as labels.
    but = [] if is_for_groups else ["decimals", "fractions"]
    assert faults(fault_of_same, of, SAME, V, but=but) == {}
    # The length of groups is checked with the problem, and any number is a label.
    but = ["None", "a number", "no dimension", "nothing", "three dimensions"]
    but += ["an integer of 400 digits", "infinity of longdouble"]
    assert faults(fault_of_refused, of, REFUSED, V, but=but if is_for_groups else []) == {}


WORDS = {
    "text": np.array(["no", "perhaps", "yes"]),
    "objects of text": np.array(["no", "perhaps", "yes"], object),
    "text of any length": np.array(["no", "perhaps", "yes"], np.dtypes.StringDType()),
    "days": np.array(["2020-01-01", "2021-01-01", "2022-01-01"], "M8[D]"),
    "instants": np.array(["2020-01-01", "2021-01-01", "2022-01-01"], "M8[ns]"),
    "durations": np.array([1, 2, 3], "m8[s]"),
    "large integers": np.array([2**60, 2**60 + 1, 2**60 + 2]),
    "large integers without a sign": np.array([2**63, 2**63 + 1, 2**64 - 1], np.uint64),
    "objects of large integers": np.array([2**53, 2**53 + 1, 2**53 + 2], object),
    "negative integers": np.array([-5, -3, -1]),
    "pandas text": pd.Series(["no", "perhaps", "yes"], dtype="string"),
    "pandas categories": pd.Series(["no", "perhaps", "yes"]).astype("category"),
    "pandas dates": pd.Series(pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"])),
}
X3 = np.random.default_rng(1).normal(size=(60, 3))
NUMBER = np.digitize(X3[:, 0] + 0.3 * np.random.default_rng(2).normal(size=60), [-0.4, 0.4])


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("name", ["LogisticRegressionCV", "LinearSVCCV"])
def test_labels_are_names_and_nothing_else(name, kind):
    Estimator, words = getattr(fasthoag, name), WORDS[kind]
    y = np.asarray(words)[NUMBER] if isinstance(words, np.ndarray) else words.iloc[NUMBER]
    plain = Estimator(cv=3, class_weight={0: 2.0, 1: 0.5}).fit(X3, NUMBER)
    weights = {np.asarray(words)[0]: 2.0, np.asarray(words).tolist()[1]: 0.5}
    model = Estimator(cv=3, class_weight=weights).fit(X3, y)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    np.testing.assert_array_equal(model.predict(X3), np.asarray(words)[plain.predict(X3)])
    again = Estimator(cv=3).fit(X3, y, validation=(X3, y), stop_on=(X3, y))
    assert again.classes_.tolist() == np.asarray(words).tolist()
    assert model.score(X3, y) == plain.score(X3, NUMBER)


BAD_LABELS = {
    "mixed": (np.array([1, "a", 2.0], object), "y has labels of kinds that cannot be sorted"),
    "fractions": (np.array([0.1, 0.2, 0.3]), "y: Unknown label type"),
    "neighbours": (np.array([1, np.nextafter(1, 2), 2]), "y: Unknown label type"),
    "one float for two integers": (np.array([2**53, 2**53 + 1, 0.0], object), "y: Unknown label"),
    "not a time": (np.array(["2020-01-01", "NaT", "2022-01-01"], "M8[D]"), "y has missing labels"),
    "bytes": (np.array([b"a", b"b", b"c"]), "y: Support for labels represented as bytes"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
@pytest.mark.parametrize("name", ["LogisticRegressionCV", "LinearSVCCV"])
def test_labels_that_are_none_are_refused_by_name(name, kind):
    words, message = BAD_LABELS[kind]
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(fasthoag, name)().fit(X3, words[NUMBER])


OF_THE_USER = {
    "class_weight of another class": (
        {"class_weight": {"maybe": 2.0}},
        {},
        r"class_weight has no weight for the classes \['no', 'perhaps', 'yes'\]",
    ),
    "class_weight that is no number": (
        {"class_weight": {"no": "heavy"}},
        {},
        "class_weight must be numeric",
    ),
    "class_weight that is no dict": ({"class_weight": 3.0}, {}, "class_weight must be a dict"),
    "class_weight of another name": ({"class_weight": "equal"}, {}, "class_weight must be a dict"),
    "negative class_weight": ({"class_weight": {"no": -1.0}}, {}, "class_weight must have finite"),
    "class_weight of 0": (
        {"class_weight": {"no": 0.0}},
        {},
        "no row of class 'no' with a positive",
    ),
    "sample_weight of 0": (
        {},
        {"sample_weight": (NUMBER != 1).astype(float)},
        "no row of class 'perhaps' with a positive",
    ),
    "fold without a class": (
        {"cv": [(np.flatnonzero(NUMBER != 2), np.flatnonzero(NUMBER == 2))]},
        {},
        "training part of fold 0 has no row of class 'yes'",
    ),
    "another label of validation": (
        {},
        {"validation": (X3, np.full(60, "maybe"))},
        r"validation has labels that y does not have: \['maybe'\]",
    ),
}


@pytest.mark.parametrize("case", OF_THE_USER)
@pytest.mark.parametrize("name", ["LogisticRegressionCV", "LinearSVCCV"])
def test_messages_speak_of_the_labels_of_the_user(name, case):
    parameters, rows, message = OF_THE_USER[case]
    y = np.array(["no", "perhaps", "yes"])[NUMBER]
    with pytest.raises(ValueError, match=message):
        getattr(fasthoag, name)(**parameters).fit(X3, y, **rows)


# ---- numbers of classes, features and folds that nothing may be as long as


@pytest.mark.parametrize(
    "label", [1e9, 2.0**62, 1e300, -1.0, 0.5, np.nan, np.inf], ids=lambda label: f"{label:g}"
)
@pytest.mark.parametrize("declared", [None, 3, 10**9, 2**62])
def test_a_label_of_any_size_is_refused_before_anything_is_as_long(label, declared):
    y = np.array([0.0, 1.0, 2.0, label] * 6)
    loss = fasthoag.find_loss("multinomial", n_classes=declared)
    with pytest.raises(ValueError, match="^y (must contain|has no row of class|contains NaN)"):
        Problem(A, y, loss=loss)


@pytest.mark.parametrize("n_classes", [4, 10**9, 2**62, 10**30])
def test_more_classes_than_labels_are_refused_before_anything_is_as_long(n_classes):
    loss = fasthoag.find_loss("multinomial", n_classes=n_classes)
    with pytest.raises(ValueError, match="y has no row of class 3"):
        Problem(A, np.arange(N) % 3, loss=loss)
    penalty = fasthoag.PerClass(fasthoag.FeatureRidge(), n_classes)
    with pytest.raises(ValueError, match=f"penalty is for {n_classes} classes"):
        Problem(A, np.arange(N) % 3, loss="multinomial", penalty=penalty)


def test_features_of_any_number_are_refused_before_anything_is_as_long():
    with pytest.raises(ValueError, match="groups must cover all features; feature 2 is in none"):
        GroupRidge([[0, 1], [10**15]])


def test_masks_are_seen_in_large_arrays_that_are_mostly_zeros():
    X = np.ma.masked_array(np.zeros((1000, 1001)), np.zeros((1000, 1001), bool))
    X[np.arange(1000), np.arange(1000)] = 1.0
    y = np.arange(1000) % 2 * 2 - 1
    assert Problem(X, y).n_rows == 1000
    X[3, 3] = np.ma.masked
    with pytest.raises(ValueError, match="X has masked entries"):
        Problem(X, y)


def test_a_table_with_sparse_columns_is_not_made_dense():
    X = sp.random(2000, 300, 0.01, random_state=0, format="csc")
    table = pd.DataFrame.sparse.from_spmatrix(X)
    y = np.asarray(X.sum(axis=1)).ravel()
    model, plain = (fasthoag.RidgeCV(cv=2, bounds=(-3, 3)).fit(one, y) for one in (table, X))
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-12)
