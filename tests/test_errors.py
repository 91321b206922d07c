"""Bad input is refused before any work, with the name of the argument; odd but valid input is
taken."""

import warnings
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from support.problems import sparse_problem, targets

from fasthoag import (
    ConvergenceWarning,
    HeldOut,
    KFold,
    Problem,
    Ridge,
    check_hypergrad,
    find_loss,
    hoag,
)
from fasthoag.design.cpu import CpuDesign
from fasthoag.losses import LOSSES
from fasthoag.problem import refit

N, P = 40, 6
X, Y = sparse_problem("logistic", 0, N, P)
REAL = sparse_problem("squared", 0, N, P)[1]
D = X.toarray()
NAN, INF = float("nan"), float("inf")


def at(values, index, value, dtype=float):
    """A copy with one entry replaced."""
    values = values.copy() if sp.issparse(values) else np.array(values, dtype)
    (values.data if sp.issparse(values) else values.reshape(-1))[index] = value
    return values


def huge(dtype):
    """Finite values whose sum overflows are no error."""
    return np.full((N, P), np.finfo(dtype).max / 2, dtype)


BAD_PROBLEMS = {
    "NaN in sparse X": ({"X": at(X, 5, NAN)}, "X contains NaN"),
    "infinity in sparse X": ({"X": at(X, 5, INF)}, "X contains .*infinity"),
    "NaN in dense X": ({"X": at(D, 5, NAN)}, "X contains NaN"),
    "NaN in float32 X": ({"X": at(D, 5, NAN, np.float32)}, "X contains NaN"),
    "both infinities in X": ({"X": at(at(D, 5, INF), 6, -INF)}, "X contains .*infinity"),
    "complex X": ({"X": D + 1j}, "Complex data not supported: X"),
    "complex sparse X": ({"X": X.astype(complex)}, "Complex data not supported: X"),
    "1-d X": ({"X": D[:, 0]}, "X must have 2 dimensions"),
    "1-d list": ({"X": [1.0] * N}, "X must have 2 dimensions"),
    "3-d X": ({"X": D[:, :, None]}, "X must have 2 dimensions"),
    "text in X": ({"X": np.full((N, P), "a")}, "X must be numeric"),
    "objects in X": ({"X": np.full((N, P), None)}, "X .*(numeric|NaN)"),
    "no rows": ({"X": sp.csr_matrix((0, P)), "y": np.empty(0)}, "X must have at least one row"),
    "no rows, dense": ({"X": np.empty((0, P)), "y": np.empty(0)}, "X must have at least one row"),
    "no features": ({"X": np.empty((N, 0))}, "X must have at least one row and one feature"),
    "short y": ({"y": Y[:-1]}, f"y has {N - 1} values but X has {N} rows"),
    "long y": ({"y": np.r_[Y, 1]}, f"y has {N + 1} values"),
    "2-d y": ({"y": np.column_stack([Y, Y])}, "y must have 1 dimension"),
    "NaN in y": ({"y": at(REAL, 3, NAN), "loss": "squared"}, "y contains NaN"),
    "infinity in y": ({"y": at(REAL, 3, INF), "loss": "squared"}, "y contains .*infinity"),
    "NaN in labels": ({"y": at(Y, 3, NAN)}, "y contains NaN"),
    "complex y": ({"y": REAL + 1j, "loss": "squared"}, "(?i)y .*complex|complex.* y"),
    "text in y": ({"y": np.full(N, "spam")}, "y must be numeric"),
    "labels 0 and 1": ({"y": (Y + 1) / 2}, r"y must contain only -1 and \+1 .*found 0"),
    "labels 1 and 2": ({"y": (Y + 3) / 2}, r"y must contain only -1 and \+1 .*found 2"),
    "three classes": ({"y": np.arange(N) % 3 - 1.0}, "y must contain only"),
    "negative weight": (
        {"sample_weight": at(np.ones(N), 3, -1)},
        "sample_weight must not be negative; found -1",
    ),
    "NaN in weight": ({"sample_weight": at(np.ones(N), 3, NAN)}, "sample_weight contains NaN"),
    "infinite weight": (
        {"sample_weight": at(np.ones(N), 3, INF)},
        "sample_weight contains .*infinity",
    ),
    "short weight": ({"sample_weight": np.ones(N - 1)}, f"sample_weight has {N - 1} values"),
    "no positive weight": (
        {"sample_weight": np.zeros(N)},
        "sample_weight must have a positive value",
    ),
    **{
        f"{name} that is {value!r}": ({name: value}, f"{name} must be True or False; got")
        for name in ("fit_intercept", "low_memory", "deterministic")
        for value in ("no", 1, None, 0.0)
    },
    "class of a penalty": ({"penalty": Ridge}, "penalty must be a penalty"),
    "class without rows": (
        {"y": np.arange(N) % 2 * 2, "loss": "multinomial"},
        "y has no row of class 1 with a positive weight",
    ),
    "class that is declared without rows": (
        {"y": np.arange(N) % 3, "loss": find_loss("multinomial", n_classes=5)},
        "y has no row of class 3, 4 with a positive weight",
    ),
    "class without weight": (
        {"y": np.arange(N) % 3, "loss": "multinomial", "sample_weight": (np.arange(N) % 3) < 2},
        "y has no row of class 2 with a positive weight",
    ),
    "unknown loss": ({"loss": "logistik"}, "loss must be one of .*'logistic'.*; got 'logistik'"),
    "loss that is no text": ({"loss": 3}, "loss must be one of"),
    "penalty that is none": ({"penalty": "ridge"}, "penalty must be a penalty"),
    "low memory and deterministic": (
        {"low_memory": True, "deterministic": True},
        "deterministic=True needs .* low_memory=True",
    ),
}


@pytest.mark.parametrize("name", BAD_PROBLEMS)
def test_bad_problem_is_refused_by_name(name):
    arguments, message = BAD_PROBLEMS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning instead of an error is not enough
        with pytest.raises((ValueError, TypeError), match=message):
            Problem(**{"X": X, "y": Y, **arguments})


FOLDS = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
BAD_CRITERIA = {
    "other features": (
        lambda: HeldOut(X[:, :3], Y),
        f"X_val must have the {P} features of X; got shape",
    ),
    "1-d X_val": (lambda: HeldOut(D[:, 0], Y), "X_val"),
    "NaN in X_val": (lambda: HeldOut(at(X, 5, NAN), Y), "X_val contains NaN"),
    "infinity in dense X_val": (lambda: HeldOut(at(D, 5, INF), Y), "X_val contains .*infinity"),
    "complex X_val": (lambda: HeldOut(D + 1j, Y), "X_val"),
    "no rows in X_val": (
        lambda: HeldOut(np.empty((0, P)), np.empty(0)),
        "X_val must have at least one row",
    ),
    "short y_val": (lambda: HeldOut(X, Y[:-1]), f"y_val has {N - 1} values"),
    "NaN in y_val": (lambda: HeldOut(X, at(Y, 3, NAN)), "y_val contains NaN"),
    "labels 0 and 1 in y_val": (
        lambda: HeldOut(X, (Y + 1) / 2),
        r"y_val must contain only -1 and \+1",
    ),
    "negative weight": (lambda: HeldOut(X, Y, -np.ones(N)), "sample_weight must not be negative"),
    "NaN in weight": (lambda: HeldOut(X, Y, at(np.ones(N), 3, NAN)), "sample_weight contains NaN"),
    "short weight": (lambda: HeldOut(X, Y, np.ones(3)), "sample_weight has 3 values"),
    "one fold": (lambda: KFold(1), "cv must be at least 2; got 1"),
    "no fold": (lambda: KFold(0), "cv must be at least 2"),
    "fewer rows than folds": (
        lambda: KFold(N + 1),
        f"cv={N + 1} folds need at least as many rows; X has {N}",
    ),
    **{
        f"cv that is {cv!r}": (lambda cv=cv: KFold(cv), "cv must be a whole number >= 2, .*; got")
        for cv in ("five", "5", True, 2.5, object)
    },
    "cv of numbers": (lambda: KFold([1, 2, 3]), r"cv must give \(train, test\) pairs"),
    "cv that is None": (lambda: KFold([]), "cv gives no split"),
    "fold without one class": (
        lambda: KFold([(np.flatnonzero(Y > 0), np.flatnonzero(Y < 0)), FOLDS[0]]),
        "training part of fold 0 has one class only",
    ),
    "fold without training rows": (
        lambda: KFold([FOLDS[0], (np.array([], int), np.arange(20))]),
        "fold 1 of cv has no training row",
    ),
    "fold without test rows": (
        lambda: KFold([(np.arange(20), np.array([], int))]),
        "fold 0 of cv has no test row",
    ),
    "row outside": (
        lambda: KFold([(np.arange(20), np.array([3, N]))]),
        f"cv gives fold 0 test rows outside 0..{N - 1}",
    ),
    "row below": (
        lambda: KFold([(np.array([-N - 1, 3]), np.array([3]))]),
        "cv gives fold 0 training rows outside",
    ),
    "rows as fractions": (lambda: KFold([(np.arange(20) + 0.5, np.arange(20, 40))]), "cv"),
    "row mask of another length": (
        lambda: KFold([(np.ones(N - 1, bool), np.arange(20, 40))]),
        "cv",
    ),
    "no criterion": (lambda: 5, "criterion must be"),
    "a class instead of a criterion": (lambda: KFold, "criterion must be"),
}


@pytest.mark.parametrize("method", ["newton", "hoag"])
@pytest.mark.parametrize("name", BAD_CRITERIA)
def test_bad_criterion_is_refused_by_name_before_any_pass(name, method):
    make, message = BAD_CRITERIA[name]
    problem = Problem(X, Y)
    with pytest.raises((ValueError, TypeError), match=message):
        hoag(problem, make(), method=method, callback=lambda record: pytest.fail("work was done"))
    assert problem.design.n_passes == 0


BAD_OPTIONS = {
    "method": ({"method": "newtom"}, "method must be 'auto', .*; got 'newtom'"),
    "schedule": (
        {"method": "hoag", "schedule": "linear"},
        "schedule must be one of .*'exponential'",
    ),
    "schedule of another method": (
        {"method": "newton", "schedule": "cubic"},
        "schedule belongs to method='hoag'",
    ),
    "schedule of auto": ({"schedule": "cubic"}, "schedule belongs to method='hoag'"),
    "schedule below zero": (
        {"method": "hoag", "schedule": lambda k: -1.0},
        "schedule must give positive tolerances",
    ),
    "schedule of NaN": (
        {"method": "hoag", "schedule": lambda k: NAN},
        "schedule must give positive tolerances",
    ),
    "bounds in the wrong order": ({"bounds": (1, -1)}, "bounds must have low < high"),
    "equal bounds": ({"bounds": (1, 1)}, "bounds must have low < high"),
    "NaN in bounds": ({"bounds": (NAN, 1)}, "bounds"),
    "one bound": ({"bounds": 3}, "bounds must be a pair"),
    "three bounds": ({"bounds": (1, 2, 3)}, "bounds must be a pair"),
    "bounds of another shape": ({"bounds": ([0, 0], [1, 1])}, "bounds must be a pair"),
    "bounds of text": ({"bounds": ("low", "high")}, "bounds must be a pair"),
    "tol of zero": ({"tol": 0}, "tol must be a positive number; got 0"),
    "negative tol": ({"tol": -1e-3}, "tol must be"),
    "NaN as tol": ({"tol": NAN}, "tol must be"),
    "tol of text": ({"tol": "small"}, "tol must be a positive number"),
    "array as tol": ({"tol": np.ones(2)}, "tol must be"),
    "max_iter of zero": ({"max_iter": 0}, "max_iter must be an integer >= 1; got 0"),
    "half max_iter": ({"max_iter": 2.5}, "max_iter must be"),
    "max_iter of True": ({"max_iter": True}, "max_iter must be"),
    "tol of True": ({"tol": True}, "tol must be"),
    "max_iter of text": ({"max_iter": "5"}, "max_iter must be"),
    "theta0 of two": ({"theta0": [0.0, 1.0]}, r"theta0 must have shape \(1,\)"),
    "NaN as theta0": ({"theta0": [NAN]}, "theta0 must have .* finite"),
    "infinite theta0": ({"theta0": INF}, "theta0 must have .* finite"),
    "theta0 of text": ({"theta0": "zero"}, "theta0"),
    "n_threads of zero": ({"n_threads": 0}, "n_threads must be a positive integer"),
    "half n_threads": ({"n_threads": 1.5}, "n_threads must be"),
    "n_threads of text": ({"n_threads": "two"}, "n_threads must be"),
    "n_threads of True": ({"n_threads": True}, "n_threads must be"),
    "callback that is none": ({"callback": 3}, "callback"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_option_is_refused_by_name_before_any_pass(name):
    options, message = BAD_OPTIONS[name]
    problem = Problem(X, Y)
    with pytest.raises((ValueError, TypeError), match=message):
        hoag(
            problem,
            KFold(3),
            **{"callback": lambda record: pytest.fail("work was done"), **options},
        )
    assert problem.design.n_passes == 0


@pytest.mark.parametrize("label", [-1.0, 1.0])
@pytest.mark.parametrize(
    "criterion", [lambda: KFold(3), lambda: HeldOut(X, Y)], ids=["k_fold", "held_out"]
)
def test_one_class_is_refused(label, criterion):
    problem = None
    with pytest.raises(ValueError, match="(?i)one class"):
        problem = Problem(X, np.full(N, label))
        hoag(problem, criterion())
    assert problem is None or problem.design.n_passes == 0


@pytest.mark.parametrize(
    "criterion", [lambda: KFold(3), lambda: HeldOut(X, Y)], ids=["k_fold", "held_out"]
)
def test_one_class_among_the_rows_with_weight_is_refused(criterion):
    with pytest.raises(ValueError, match="(?i)one class"):
        hoag(Problem(X, Y, sample_weight=(Y > 0).astype(float)), criterion())


@pytest.mark.parametrize("absent", [0, 1, 2])
@pytest.mark.parametrize("by_weight", [False, True])
def test_a_class_absent_from_a_training_part_is_refused_by_number(absent, by_weight):
    y = np.arange(N) % 3
    rows = np.arange(N)
    weight = np.where((y == absent) & (rows > 2), 0.0, 1.0) if by_weight else np.ones(N)
    train = rows[3:] if by_weight else rows[y != absent]
    problem = Problem(X, y, loss="multinomial", sample_weight=weight)
    criterion = KFold([(rows[:20], rows[20:]), (train, rows[:3])])
    message = f"training part of fold 1 has no row of class {absent}; use stratified"
    with pytest.raises(ValueError, match=message):
        hoag(problem, criterion, callback=lambda record: pytest.fail("work was done"))
    assert problem.design.n_passes == 0


@pytest.mark.parametrize("flag", [np.True_, np.False_])
def test_flags_of_numpy_are_taken(flag):
    assert Problem(X, Y, fit_intercept=flag, low_memory=flag).design.has_intercept == flag


def test_problem_of_another_type_is_refused():
    with pytest.raises(
        TypeError, match="problem must be a fasthoag.Problem or KernelProblem; got tuple"
    ):
        hoag((X, Y), KFold(3))


@pytest.mark.parametrize(
    ("theta", "message"),
    [([0.0, 0.0], "theta must have shape"), ([NAN], "theta must have"), ("a", "theta")],
)
def test_check_hypergrad_refuses_a_bad_theta(theta, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check_hypergrad(Problem(X, Y), KFold(3), theta)


@pytest.mark.parametrize("n_threads", [0, 1.5, "two", True, False])
def test_design_refuses_a_bad_number_of_threads(n_threads):
    with pytest.raises(
        ValueError, match="n_threads must be a positive integer, -1 for all cores, or None"
    ):
        CpuDesign(X, n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [None, 1, 2, -1, -100, np.int64(2)])
def test_design_takes_every_good_number_of_threads(n_threads):
    assert CpuDesign(X, n_threads=n_threads).n_threads >= 1


def test_message_says_how_many_values_are_bad():
    with pytest.raises(
        ValueError, match=r"X contains NaN or infinity \(3 values, NaN among them\)"
    ):
        Problem(at(at(D, slice(0, 2), INF), 9, NAN), Y)


# ---- valid, however odd


def fit(problem, criterion, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return hoag(problem, criterion, n_threads=1, **options)


def both_criteria(M, y):
    rows = np.arange(len(y))
    return [
        (M, y, KFold([(rows[rows % 3 != f], rows[rows % 3 == f]) for f in range(3)])),
        (M[: N // 2], y[: N // 2], HeldOut(M[N // 2 :], y[N // 2 :])),
    ]


@cache
def fits_to_empty(empty, loss, method):
    """Problems with empty rows or columns, the numbers of features without a value, and results."""
    keep_rows = (np.arange(N) % 4 > 0) if empty in ("rows", "both") else np.ones(N)
    keep_columns = (np.arange(P) % 2 > 0) if empty in ("columns", "both") else np.ones(P)
    M = sp.csr_matrix(D * keep_rows[:, None] * keep_columns * (empty != "all"))
    fits = []
    for A, y, criterion in both_criteria(M, targets(loss, D.sum(1), np.random.default_rng(0))):
        problem, silent = Problem(A, y, loss), np.flatnonzero(A.getnnz(axis=0) == 0)
        fits.append((problem, silent, fit(problem, criterion, method=method)))
    return fits


def on_empty(test):
    kinds = {
        "method": ["newton", "hoag"],
        "loss": LOSSES,
        "empty": ["rows", "columns", "both", "all"],
    }
    for name, values in kinds.items():
        test = pytest.mark.parametrize(name, values)(test)
    return test


@on_empty
def test_empty_rows_and_columns_are_taken(empty, loss, method):
    for problem, silent, result in fits_to_empty(empty, loss, method):
        assert result.status in ("converged", "at_bound"), result.message
        assert np.isfinite(result.w).all()
        assert np.isfinite([result.value, result.value_error, *result.grad]).all()
        w, error, _ = refit(problem, result.theta, tol=1e-9)
        # the gradient by w_j is λ w_j, and some times that of the design at most
        bound = 10 * error * np.linalg.norm(w[:-1]) + 1e-12
        np.testing.assert_allclose(w[silent], 0, atol=bound)


@pytest.mark.no_map("features mixed: up to the tolerance of the solver", "shift", "row space")
@on_empty
def test_features_without_a_value_stay_at_zero(empty, loss, method):
    for _, silent, result in fits_to_empty(empty, loss, method):
        np.testing.assert_allclose(result.w[silent], 0, atol=1e-12)


@pytest.mark.parametrize("method", ["newton", "hoag"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("value", [0.0, 3.5, 1e6])
def test_constant_y_is_taken(value, fit_intercept, method):
    for A, y, criterion in both_criteria(X, np.full(N, value)):
        result = fit(
            Problem(A, y, "squared", fit_intercept=fit_intercept), criterion, method=method
        )
        assert result.status in ("converged", "at_bound", "stalled"), result.message
        assert np.isfinite(result.w).all()
        assert np.isfinite(result.value)
        if fit_intercept:
            np.testing.assert_allclose(result.w[-1], value, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_values_whose_sum_overflows_are_no_nan(dtype):
    if dtype is np.float32:
        Problem(huge(dtype), Y)
        return
    with pytest.raises(ValueError, match="X has values beyond"):
        Problem(huge(dtype), Y)


@pytest.mark.parametrize(
    "y",
    [
        Y.astype(int),
        Y.astype(np.int8),
        Y.tolist(),
        Y[:, None],
        Y.astype(np.float32),
        Y.astype(object),
    ],
    ids=str,
)
def test_labels_of_every_numeric_type_are_taken(y):
    np.testing.assert_array_equal(Problem(X, y).y, Y)


def test_weights_of_whole_numbers_and_zeros_are_taken():
    weight = np.arange(N) % 3
    problem = Problem(X, Y, sample_weight=weight)
    np.testing.assert_array_equal(problem.sample_weight, weight)
    assert fit(problem, KFold(3)).status in ("converged", "at_bound")


def test_scikit_learn_splitters_and_generators_are_taken():
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    groups = np.arange(N) // 4
    for criterion in (
        KFold(StratifiedKFold(3, shuffle=True, random_state=0)),
        KFold(GroupKFold(4), groups=groups),
        KFold(iter(FOLDS)),
        KFold([(np.arange(N) < 20, np.arange(N) >= 20)]),
        KFold(np.int64(3)),
    ):
        result = fit(Problem(X, Y), criterion)
        assert result.status in ("converged", "at_bound")


def test_generator_of_splits_can_be_used_twice():
    criterion = KFold(iter(FOLDS))
    assert fit(Problem(X, Y), criterion).theta == fit(Problem(X, Y), criterion).theta


def test_rows_of_negative_number_count_from_the_end():
    one = fit(Problem(X, Y), KFold([(np.arange(20), np.arange(20, 40))]))
    other = fit(Problem(X, Y), KFold([(np.arange(20) - N, np.arange(20, 40) - N)]))
    np.testing.assert_array_equal(one.theta, other.theta)
