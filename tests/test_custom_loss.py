"""Losses that users write: the same as built-in ones of the same formula, checked when made, and
safe to keep, copy and send to other processes."""

import copy
import gc
import math
import pickle
import re
import subprocess
import sys
import threading
from dataclasses import replace
from functools import cache

import numba
import numpy as np
import pytest
from support.custom_losses import LOG_COSH
from support.problems import sparse_problem

from fasthoag import HeldOut, KFold, Problem, check_hypergrad, hoag
from fasthoag.custom_loss import custom_loss
from fasthoag.design.cpu import CpuDesign
from fasthoag.losses import COUNTS, LABELS, REAL, Loss, derivative


def logistic(y, z):
    t = y * z
    return math.log1p(math.exp(-abs(t))) + (-t if t < 0 else 0.0)


def logistic_d1(y, z):
    t = y * z
    e = math.exp(-abs(t))
    return -y * (1.0 / (1.0 + e) if t < 0 else e / (1.0 + e))


def logistic_d2(y, z):
    e = math.exp(-abs(z))
    return e / ((1.0 + e) * (1.0 + e))


@numba.njit
def half_tanh(z):
    return math.tanh(0.5 * z)


def logistic_d3(y, z):
    return -half_tanh(z) * math.exp(-abs(z)) / (1.0 + math.exp(-abs(z))) ** 2


def squared(y, z):
    return 0.5 * (z - y) ** 2


def squared_d1(y, z):
    return z - y


def squared_d2(y, z):
    return 1  # an integer is a number too


def squared_d3(y, z):
    return 0.0


def poisson(y, z):
    return np.exp(z) - y * z + (y * np.log(y) - y if y > 0 else 0.0)


def poisson_d1(y, z):
    return np.exp(z) - y


def exponential(y, z):
    return np.exp(z)


def squared_hinge(y, z):
    return max(0.0, 1 - y * z) ** 2


def squared_hinge_d1(y, z):
    return -2 * y * max(0.0, 1 - y * z)


def squared_hinge_d2(y, z):
    return 2.0 if y * z < 1 else 0.0


SQUARED = squared, squared_d1, squared_d2, squared_d3


@cache
def twin(name):
    """The loss of this name as a user would write it; with " numeric" without its third
    derivative."""
    make = {
        "squared": lambda: custom_loss(*map(numba.njit, SQUARED)),
        "logistic": lambda: custom_loss(
            logistic,
            logistic_d1,
            logistic_d2,
            logistic_d3,
            name="my_logistic",
            is_classification=True,
        ),
        "logistic numeric": lambda: custom_loss(
            logistic, logistic_d1, logistic_d2, is_classification=True
        ),
        "poisson": lambda: custom_loss(
            poisson, poisson_d1, exponential, exponential, domain=COUNTS
        ),
        "poisson numeric": lambda: custom_loss(poisson, poisson_d1, exponential, domain=COUNTS),
        "squared_hinge numeric": lambda: custom_loss(
            squared_hinge,
            squared_hinge_d1,
            squared_hinge_d2,
            is_classification=True,
            has_kinks=True,
        ),
        "log_cosh": lambda: custom_loss(*LOG_COSH, name="log_cosh"),
    }
    return make[name]()


TWINS = "squared", "logistic", "poisson"
DOMAINS = {"squared": REAL, "logistic": LABELS, "poisson": COUNTS}


def points(name, seed=0, n=500):
    rng = np.random.default_rng(seed)
    y = {
        "squared": rng.normal(size=n),
        "logistic": rng.choice([-1.0, 1.0], n),
        "poisson": rng.integers(0, 4, n).astype(float),
    }[name]
    return y, rng.normal(size=n) * rng.choice([0.1, 1, 10], n)


def small(loss, seed=0):
    X, y = sparse_problem(loss, seed, 90, 8)
    return X.multiply(0.5).tocsr() if loss == "poisson" else X, y


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("order", range(4))
def test_values_and_derivatives_are_those_of_the_built_in_loss(name, order):
    y, z = points(name)
    np.testing.assert_allclose(
        derivative(twin(name), order, y, z), derivative(name, order, y, z), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", TWINS)
def test_a_pass_is_that_of_the_built_in_loss(name):
    X, y = small(name)
    design = CpuDesign(X, n_threads=1)
    rows, W = design.place(y), np.random.default_rng(1).normal(size=(design.n_coef, 3))
    custom, built_in = (rows.loss_grad(loss, W) for loss in (twin(name), name))
    for field in ("value", "other", "grad", "Z"):
        mine, theirs = getattr(custom, field), getattr(built_in, field)
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TWINS)
def test_what_it_is(name):
    loss = twin(name)
    assert isinstance(loss, Loss)
    assert loss.domain == DOMAINS[name]
    assert loss.is_classification == (name == "logistic")
    assert not loss.has_kinks
    assert not loss.is_quadratic
    assert loss.native is loss.compiled.native
    assert loss.name == ("my_logistic" if name == "logistic" else "custom")


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("rule", ["held out", "k-fold"])
def test_tuning_gives_the_result_of_the_built_in_loss(name, rule):
    X, y = small(name)
    results = []
    for loss in (name, twin(name)):
        problem = Problem(
            X if rule == "k-fold" else X[:60], y if rule == "k-fold" else y[:60], loss=loss
        )
        results.append(
            hoag(problem, KFold(3) if rule == "k-fold" else HeldOut(X[60:], y[60:]), n_threads=1)
        )
    assert results[0].status == results[1].status == "converged"
    np.testing.assert_allclose(results[1].theta, results[0].theta, rtol=0, atol=1e-6)
    assert results[1].value == pytest.approx(results[0].value, rel=1e-9)


def test_a_criterion_may_have_a_custom_loss_of_its_own():
    X, y = small("squared")
    for rule in (lambda loss: KFold(3, loss=loss), lambda loss: HeldOut(X, y, loss=loss)):
        built_in, custom = (
            hoag(Problem(X, y, loss="huber"), rule(loss), [0.0], bounds=(-3, 4))
            for loss in ("squared", twin("squared"))
        )
        np.testing.assert_allclose(custom.theta, built_in.theta, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [*TWINS, "logistic numeric", "poisson numeric", "log_cosh"])
def test_hypergradient_is_the_finite_difference(name):
    X, y = small("squared" if name == "log_cosh" else name.split()[0])
    problem = Problem(X, y, loss=twin(name))
    assert check_hypergrad(problem, KFold(3), [0.5]) < 1e-6
    assert check_hypergrad(problem, HeldOut(X[:40], y[:40]), [0.5]) < 1e-6


@pytest.mark.parametrize("name", ["logistic", "poisson"])
def test_third_derivative_left_out(name):
    y, z = points(name)
    built_in = derivative(name, 3, y, z)
    np.testing.assert_allclose(
        derivative(twin(name + " numeric"), 3, y, z), built_in, rtol=1e-8, atol=1e-9
    )
    X, y = small(name)
    built_in, numeric = (
        hoag(Problem(X, y, loss=loss), KFold(3)) for loss in (name, twin(name + " numeric"))
    )
    np.testing.assert_allclose(numeric.theta, built_in.theta, rtol=0, atol=1e-5)


def test_third_derivative_left_out_does_not_reach_over_a_jump():
    loss = twin("squared_hinge numeric")
    z = 1 + np.r_[0, np.array([1e-12, 1e-9, 1e-6, 1e-3]), -np.array([1e-12, 1e-9, 1e-6, 1e-3])]
    assert loss.has_kinks
    assert (derivative(loss, 3, np.ones(len(z)), z) == 0).all()


def test_log_cosh():
    y, z = points("squared")
    r = z - y
    loss = twin("log_cosh")
    exact = [
        np.logaddexp(r, -r) - np.log(2),
        np.tanh(r),
        1 / np.cosh(r) ** 2,
        -2 * np.tanh(r) / np.cosh(r) ** 2,
    ]
    for order in range(4):
        np.testing.assert_allclose(
            derivative(loss, order, y, z), exact[order], rtol=1e-9, atol=1e-9
        )
    X, y = small("squared")
    assert hoag(Problem(X, y, loss=loss), KFold(5)).status == "converged"


def nan_beyond_two(y, z):
    return math.sqrt(2.0 - z) if z > 2 else 0.5 * (z - y) ** 2


def wrong_by_a_thousandth(y, z):
    return 1.001 * (z - y)


def wrong_from_three(y, z):
    return 1.0 if z < 3 else 1.5


def wrong_third(y, z):
    return 1e-4


def concave(y, z):
    return math.cos(z)


def concave_d1(y, z):
    return -math.sin(z)


def concave_d2(y, z):
    return -math.cos(z)


def overflowing(y, z):
    return math.log(1 + math.exp(-10 * y * z))


def hinge(y, z):
    return max(0.0, 1 - y * z)


def hinge_d1(y, z):
    return -y if y * z < 1 else 0.0


def zero(y, z):
    return 0.0


FAULTS = {
    "wrong d1": (
        (squared, wrong_by_a_thousandth, squared_d2),
        {},
        "d1 ('wrong_by_a_thousandth') of loss 'mine' at y = -2.5, z = 0: gave 2.5025, but "
        "the difference quotient of value ('squared') is 2.5",
    ),
    "wrong d2": (
        (squared, squared_d1, wrong_from_three),
        {},
        "d2 ('wrong_from_three') of loss 'mine' at y = -2.5, z = 3: gave 1.5, but the "
        "difference quotient of d1 ('squared_d1') is 1",
    ),
    "wrong d3": (
        (squared, squared_d1, squared_d2, wrong_third),
        {},
        "d3 ('wrong_third') of loss 'mine' at y = -2.5, z = 0: gave 0.0001, but the "
        "difference quotient of d2 ('squared_d2') is 0",
    ),
    "not convex": (
        (concave, concave_d1, concave_d2),
        {},
        "d2 ('concave_d2') of loss 'mine' at y = -2.5, z = 0: gave -1; the loss must be convex",
    ),
    "NaN": (
        (nan_beyond_two, squared_d1, squared_d2),
        {},
        "value ('nan_beyond_two') of loss 'mine' at y = -2.5, z = 2.25: gave nan; it must be",
    ),
    "overflow": (
        (overflowing, logistic_d1, logistic_d2),
        {"targets": [-1.0]},
        "value ('overflowing') of loss 'mine' at y = -1, z = 100: gave inf;",
    ),
    "corner in the value": (
        (hinge, hinge_d1, zero),
        {"is_classification": True, "has_kinks": True},
        "d1 ('hinge_d1') of loss 'mine' at y = -1, "
        "z = -1: gave 0, but the difference quotient of value ('hinge') is 0.5",
    ),
    "jump that is not declared": (
        (squared_hinge, squared_hinge_d1, squared_hinge_d2),
        {"is_classification": True},
        "pass has_kinks=True",
    ),
    "targets of the user": (
        (squared, wrong_by_a_thousandth, squared_d2),
        {"targets": [70.0]},
        "at y = 70, z = 0: gave -70.07, ",
    ),
}


@pytest.mark.parametrize(("functions", "options", "message"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_function_is_refused_with_the_point(functions, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        custom_loss(*functions, name="mine", **options)


def test_large_counts_are_no_reason_to_look_where_a_log_link_overflows():
    assert (
        custom_loss(poisson, poisson_d1, exponential, domain=COUNTS, targets=[0.0, 5000.0]).domain
        is COUNTS
    )


def opens_a_file(y, z):
    return len(open("x").read())


def raises(y, z):
    if z > 1e9:
        raise ValueError("too large")
    return 0.5 * (z - y) ** 2


def makes_a_list(y, z):
    return sum([y, z])


def returns_nothing_below_zero(y, z):
    if z > 0:
        return z


BAD_ARGUMENTS = {
    "not compilable": (
        (opens_a_file, squared_d1, squared_d2),
        {},
        TypeError,
        r"Numba cannot compile value \('opens_a_file'\): Untyped global "
        r"name 'open'.* Use float arithmetic",
    ),
    "calls plain Python": (
        (lambda y, z: squared(y, z), squared_d1, squared_d2),
        {},
        TypeError,
        "compile value .*squared.* with numba.njit",
    ),
    "can raise": (
        (raises, squared_d1, squared_d2),
        {},
        ValueError,
        r"value \('raises'\) can raise an exception",
    ),
    "makes a list": (
        (squared, makes_a_list, squared_d2),
        {},
        ValueError,
        r"d1 \('makes_a_list'\) can raise an exception or needs memory",
    ),
    "complex": (
        (squared, squared_d1, lambda y, z: 1j * z),
        {},
        TypeError,
        "d2 .* must return a real number on every path; it returns complex128",
    ),
    "nothing": (
        (squared, squared_d1, returns_nothing_below_zero),
        {},
        TypeError,
        "d2 .* a real number on every path; it returns Optional",
    ),
    "one argument": (
        (lambda z: z, squared_d1, squared_d2),
        {},
        TypeError,
        r"value must be a function of two numbers, \(y, z\)",
    ),
    "three arguments": (
        (squared, lambda y, z, a: z, squared_d2),
        {},
        TypeError,
        r"d1 must be a function of two numbers, \(y, z\)",
    ),
    "no function": (
        (squared, squared_d1, 1.0),
        {},
        TypeError,
        r"d2 must be a Python function of \(y, z\); got 1.0",
    ),
    "a name": (
        ("squared", squared_d1, squared_d2),
        {},
        TypeError,
        "value must be a Python function",
    ),
    "no d2": (
        (squared, squared_d1, None),
        {},
        TypeError,
        "d2 must be a Python function .*got None",
    ),
    "a ufunc": (
        (np.exp, squared_d1, squared_d2),
        {},
        TypeError,
        "value must be a Python function .*wrap it: def value",
    ),
    "built-in name": (
        SQUARED,
        {"name": "squared"},
        ValueError,
        "name must not be that of a built-in loss",
    ),
    "no name": (SQUARED, {"name": None}, TypeError, "name must be a string"),
    "bad domain": (SQUARED, {"domain": "positive"}, TypeError, "domain must be"),
    "domain that tests nothing": (
        SQUARED,
        {"domain": ("numbers", lambda y: True)},
        TypeError,
        "domain must test an array",
    ),
    "domain and classes": (
        SQUARED,
        {"domain": REAL, "is_classification": True},
        ValueError,
        "domain must be left out",
    ),
    "domain without a usual target": (
        SQUARED,
        {"domain": ("numbers > 20", lambda y: y > 20)},
        ValueError,
        "targets must be given",
    ),
    "targets outside the domain": (
        SQUARED,
        {"domain": COUNTS, "targets": [1, -3]},
        ValueError,
        "targets must contain numbers >= 0 .*found -3",
    ),
    "text in targets": (SQUARED, {"targets": "spam"}, ValueError, "targets must be numeric"),
    "no targets": (SQUARED, {"targets": []}, ValueError, "targets must"),
    "NaN in targets": (
        SQUARED,
        {"targets": [1, np.nan]},
        ValueError,
        "targets must contain real numbers .*found nan",
    ),
}


@pytest.mark.parametrize(
    ("functions", "options", "kind", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS
)
def test_bad_arguments_are_refused(functions, options, kind, message):
    with pytest.raises(kind, match=message):
        custom_loss(*functions, **options)


def test_targets_outside_the_domain_are_refused_by_a_problem():
    with pytest.raises(ValueError, match="y must contain numbers >= 0 for loss 'custom'; found -1"):
        Problem(np.eye(2), [1.0, -1.0], loss=twin("poisson"))
    with pytest.raises(
        ValueError, match=r"y must contain only -1 and \+1 for loss 'my_logistic'; found 0"
    ):
        Problem(np.eye(2), [1.0, 0.0], loss=twin("logistic"))


def round_trip(loss):
    return pickle.loads(pickle.dumps(loss))


def test_pickle_round_trip():
    loss, (y, z) = twin("logistic"), points("logistic")
    loaded = round_trip(loss)
    assert type(loaded) is type(loss)
    assert loaded.name == loss.name
    assert loaded.has_kinks == loss.has_kinks
    assert loaded.is_classification
    loaded.check_y(y)
    for order in range(4):
        np.testing.assert_array_equal(
            derivative(loaded, order, y, z), derivative(loss, order, y, z)
        )
    assert round_trip(loss) is loaded  # compiled once


def test_another_process_loads_even_closures():
    width = 3.0
    loss = custom_loss(
        lambda y, z: 0.5 * width * (z - y) ** 2,
        lambda y, z: width * (z - y),
        lambda y, z: width,
        name="sent",
        domain=("numbers < 9", lambda y: y < 9),
    )
    code = (
        "import pickle, sys, numpy as np; from fasthoag.losses import derivative\nloss = "
        "pickle.load(sys.stdin.buffer); print(loss.name, derivative(loss, 1, np.array([1.0]), "
        "np.array([3.0])), loss.domain[1](9))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(loss), capture_output=True, check=True
    )
    assert run.stdout.decode().split() == ["sent", "[6.]", "False"]


def test_a_domain_that_cannot_be_pickled_is_named():
    lock = threading.Lock()
    loss = replace(
        twin("squared"), name="mine", domain=("all", lambda y: (lock is None) | np.isfinite(y))
    )
    with pytest.raises(
        pickle.PicklingError,
        match="loss 'mine' cannot be pickled, .*lock.*; define them at the top level",
    ):
        pickle.dumps(loss)


def test_copies_are_the_loss_itself():
    loss = twin("squared")
    assert copy.copy(loss) is loss
    assert copy.deepcopy([loss])[0] is loss


def test_threads_change_no_bits_between_runs():
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(6000, 40)), rng.normal(size=(40, 3))
    y = rng.choice([-1.0, 1.0], 6000)
    rows = CpuDesign(X, n_threads=2).place(y)
    first, second = (rows.loss_grad(twin("logistic"), W) for _ in range(2))
    for field in ("value", "other", "grad", "Z"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    X, y = small("logistic")
    first, second = (
        hoag(Problem(X, y, loss=twin("logistic")), KFold(3), n_threads=2) for _ in range(2)
    )
    np.testing.assert_array_equal(first.theta, second.theta)
    np.testing.assert_array_equal(first.w, second.w)


def test_a_problem_keeps_the_compiled_code():
    X, y = small("squared")
    loss = custom_loss(*SQUARED)
    problem, rule = Problem(X, y, loss=loss), KFold(3, loss=loss)
    del loss
    gc.collect()
    # its code could lie where the old one was
    other = custom_loss(*LOG_COSH)
    gc.collect()
    np.testing.assert_allclose(
        hoag(problem, rule).theta,
        hoag(Problem(X, y, loss="squared"), KFold(3)).theta,
        rtol=0,
        atol=1e-6,
    )
    assert other


def test_numba_is_imported_only_when_a_loss_is_made():
    code = """
import sys
sys.modules["numba"] = None
import numpy as np, fasthoag, fasthoag.custom_loss
fasthoag.LogisticRegressionCV(cv=3).fit(np.arange(40.0).reshape(20, 2) % 7, [0, 1] * 10)
sys.modules.pop("numba")
fasthoag.custom_loss(lambda y, z: (z - y) ** 2 / 2, lambda y, z: z - y, lambda y, z: 1.0)
sys.exit("numba" not in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_lack_of_numba_is_said_where_a_loss_is_made_or_loaded(monkeypatch):
    pickled = pickle.dumps(custom_loss(*SQUARED, name="sent without Numba"))
    monkeypatch.setitem(sys.modules, "numba", None)
    words = (
        r"a custom loss is compiled by Numba, which cannot be imported \(.*\): pip install numba"
    )
    with pytest.raises(ImportError, match=words):
        custom_loss(*SQUARED)
    with pytest.raises(ImportError, match=words):
        pickle.loads(pickled)
