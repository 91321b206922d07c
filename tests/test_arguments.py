"""Every argument of every public function with values that it is not for: a result, or a ValueError
or TypeError with the name of the argument, soon and before any work."""

import re
import time
from dataclasses import replace
from inspect import signature

import numpy as np
import pytest
from sklearn import linear_model

import fasthoag
from fasthoag import HeldOut, KFold, Problem, hoag

pytestmark = pytest.mark.filterwarnings("ignore")
SOON = 5.0  # seconds, of which nearly all are for a busy machine

N, P = 30, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, P))
REAL = X[:, 0] + RNG.normal(size=N)
LABELS, POSITIVE = np.sign(REAL), np.exp(0.5 * REAL)


class Thing:
    """Nothing that any argument is for."""


VALUES = {
    "None": None,
    "True": True,
    "False": False,
    "text": "x",
    "no text": "",
    "bytes": b"x",
    "NaN": float("nan"),
    "infinity": 1e400,
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "a NaN of NumPy": np.float32("nan"),
    "400 digits": 10**400,
    "30 digits": 10**30,
    "64 bits": 2**63,
    "complex": 1j,
    "no list": [],
    "no dict": {},
    "no tuple": (),
    "list of None": [None],
    "list of text": ["x"],
    "lists of different lengths": [[1], [1, 2]],
    "lists with a large number": [[0, 1], [10**15]],
    "dict": {"a": 1},
    "dict of numbers": {1: 2},
    "an object": Thing(),
    "a class": Thing,
    "array of text": np.array("x"),
    "array of nothing": np.array([]),
    "array of one": np.array([[1.0]]),
    "a generator": (i for i in range(3)),
}


def real(**arguments):
    return Problem(**{"X": X, "y": REAL, "loss": "squared"} | arguments)


def labelled(**arguments):
    return Problem(**{"X": X, "y": LABELS} | arguments)


def searched(problem, criterion=None):
    return hoag(problem, KFold(3) if criterion is None else criterion, max_iter=2)


def penalised(penalty):
    return searched(real(penalty=penalty))


def judged(criterion):
    return searched(real(), criterion)


def tuned(one, problem=labelled, **options):
    return searched(problem(tuned=one, **options), HeldOut(X, LABELS))


def per_class(**arguments):
    penalty = fasthoag.PerClass(**{"penalty": fasthoag.Ridge(), "n_classes": 3} | arguments)
    return searched(Problem(X, np.arange(N) % 3, loss="multinomial", penalty=penalty))


def fixed(**arguments):
    penalty = fasthoag.Fixed(**{"penalty": fasthoag.Ridge(), "theta": [0.0]} | arguments)
    return tuned(fasthoag.SampleWeights(), penalty=penalty)


def squares(z):
    return float((z**2).sum()), 2 * z


def square(y, z):
    return 0.5 * (z - y) ** 2


def line(y, z):
    return z - y


def constant(y, z):
    return 1.0


def estimator(name):
    """What fits an estimator that gets these parameters."""
    is_classifier = "class_weight" in signature(getattr(fasthoag, name)).parameters

    def fit(**parameters):
        model = getattr(fasthoag, name)(**{"cv": 3, "max_iter": 2} | parameters)
        return model.fit(X, LABELS if is_classifier else POSITIVE)

    return fit


FUNCTIONS = {
    "Problem": real,
    "KernelProblem": lambda **a: searched(fasthoag.KernelProblem(**{"X": X, "y": REAL} | a)),
    "hoag": lambda **a: hoag(**{"problem": labelled(), "criterion": KFold(3), "max_iter": 2} | a),
    "check_hypergrad": lambda **a: fasthoag.check_hypergrad(
        **{"problem": labelled(), "criterion": KFold(3), "theta": [0.0]} | a
    ),
    "curve": lambda **a: fasthoag.curve(
        **{"problem": labelled(), "criterion": KFold(3), "thetas": [0.0, 1.0]} | a
    ),
    "shared_rows": lambda **a: fasthoag.shared_rows(
        **{"problem": labelled(), "criterion": KFold(3)} | a
    ),
    "HeldOut": lambda **a: judged(HeldOut(**{"X_val": X, "y_val": REAL} | a)),
    "KFold": lambda **a: judged(KFold(**{"cv": 3} | a)),
    "ApproximateLOO": lambda **a: judged(fasthoag.ApproximateLOO(**a)),
    "GCV": lambda **a: judged(fasthoag.GCV(**a)),
    "AIC": lambda **a: judged(fasthoag.AIC(**a)),
    "BIC": lambda **a: judged(fasthoag.BIC(**a)),
    "Evidence": lambda **a: judged(fasthoag.Evidence(**a)),
    "CustomCriterion": lambda **a: judged(
        fasthoag.CustomCriterion(**{"X_val": X, "value_and_grad": squares} | a)
    ),
    "Ridge": lambda **a: penalised(fasthoag.Ridge(**a)),
    "FeatureRidge": lambda **a: penalised(fasthoag.FeatureRidge(**a)),
    "GroupRidge": lambda **a: penalised(fasthoag.GroupRidge(**{"groups": [0, 0, 1, 1]} | a)),
    "StructuredRidge": lambda **a: penalised(
        fasthoag.StructuredRidge(**{"Z": np.ones((P, 1))} | a)
    ),
    "SumPenalty": lambda **a: penalised(fasthoag.SumPenalty(**a)),
    "PerClass": per_class,
    "Fixed": fixed,
    "SampleWeights": lambda **a: tuned(fasthoag.SampleWeights(**a)),
    "Mixture": lambda **a: tuned(fasthoag.Mixture(**{"is_second": np.arange(N) < 9} | a)),
    "ClassWeights": lambda **a: tuned(fasthoag.ClassWeights(**a)),
    "MixingWeight": lambda **a: tuned(
        fasthoag.MixingWeight(**a), loss=fasthoag.mix_losses("logistic", "squared_hinge")
    ),
    "LossParameter": lambda **a: tuned(
        fasthoag.LossParameter(**{"parameter": "delta"} | a), real, loss="huber"
    ),
    "find_loss": lambda **a: fasthoag.find_loss(**{"loss": "huber"} | a),
    "mix_losses": lambda **a: fasthoag.mix_losses(**{"a": "logistic", "b": "squared_hinge"} | a),
    "custom_loss": lambda **a: fasthoag.custom_loss(
        **{"value": square, "d1": line, "d2": constant, "cuda": 3} | a
    ),
    "ShardedDesign": lambda **a: fasthoag.ShardedDesign(**{"blocks": [X[:15], X[15:]]} | a),
    **{name: estimator(name) for name in fasthoag.estimators.ESTIMATORS},
    "TunedCV": lambda **a: fasthoag.TunedCV(**{"estimator": linear_model.Ridge(), "cv": 3} | a).fit(
        X, REAL
    ),
}
ELSEWHERE = {  # which have tests of their own, or no arguments of a user
    *("load_data", "load_model", "load_svmlight", "save_liblinear", "save_model", "save_report"),
    *("ConvergenceWarning", "DaskDesign", "HoagResult", "Interrupted"),
    *("Curve", "Minimum", "SharedRows", "SharedRowsWarning"),
}
COMMON = set(signature(fasthoag.RidgeCV).parameters)
# What a message may call an argument by another name.
ALSO = {
    ("SumPenalty", "parts"): "penalty",
    ("PerClass", "n_classes"): "penalty",
    ("ShardedDesign", "blocks"): "X",
    # The last that is checked, and wrong there: nothing is compiled.
    **{("custom_loss", name): "cuda" for name in signature(fasthoag.custom_loss).parameters},
}
# Functions of the user may raise what they like; records of the package are not for users to make.
NOT_ASKED = {
    *(("a class", name) for name in ("callback", "value_and_grad", "scoring")),
    ("None", "cuda"),  # which would be compiled
}
OF_THE_PACKAGE = {("ShardedDesign", "coefficients"), ("ShardedDesign", "layout")}


def arguments_of(name):
    found = set(signature(getattr(fasthoag, name)).parameters) - {"parameters", "options"}
    is_other = name in fasthoag.estimators.ESTIMATORS and name != "RidgeCV"
    found -= COMMON if is_other else set()
    return sorted(one for one in found if (name, one) not in OF_THE_PACKAGE)


def fault_of(name, argument, call):
    """What is wrong with how a call takes a value, or None."""
    began, allowed = time.perf_counter(), "|".join({argument, ALSO.get((name, argument), argument)})
    try:
        call()
    except (ValueError, TypeError) as error:
        if not re.search(rf"(?<!\w)({allowed})(?!\w)", str(error)):
            return f"does not name it: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - began
    return f"takes {seconds:.1f} seconds" if seconds > SOON else None


def test_every_public_function_is_here():
    assert set(fasthoag.__all__) == {*FUNCTIONS, *ELSEWHERE}


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, argument) for name in FUNCTIONS for argument in arguments_of(name)],
)
def test_no_value_of_an_argument_is_more_than_refused_by_name(name, argument):
    faults = {
        kind: fault_of(name, argument, lambda: FUNCTIONS[name](**{argument: value}))
        for kind, value in VALUES.items()
        if (kind, argument) not in NOT_ASKED
    }
    assert {kind: fault for kind, fault in faults.items() if fault is not None} == {}


@pytest.mark.parametrize("name", ["RidgeCV", "LogisticRegressionCV"])
@pytest.mark.parametrize("argument", ["X", "y", "sample_weight", "validation", "stop_on"])
def test_no_rows_are_more_than_refused_by_name(name, argument):
    model, y = getattr(fasthoag, name)(cv=3, max_iter=2), LABELS
    rows = {"X": X, "y": y}
    faults = {
        kind: fault_of(name, argument, lambda: model.fit(**rows | {argument: value}))
        for kind, value in VALUES.items()
    }
    assert {kind: fault for kind, fault in faults.items() if fault is not None} == {}


FLAGS_FOR_NUMBERS = {
    "smoothing of QuantileRegressorCV": lambda: fasthoag.QuantileRegressorCV(smoothing=True).fit(
        X, REAL
    ),
    "quantile of QuantileRegressorCV": lambda: fasthoag.QuantileRegressorCV(quantile=True).fit(
        X, REAL
    ),
    "epsilon of HuberRegressorCV": lambda: fasthoag.HuberRegressorCV(epsilon=True).fit(X, REAL),
    "epsilon of LinearSVRCV": lambda: fasthoag.LinearSVRCV(epsilon=False).fit(X, REAL),
    "power of TweedieRegressorCV": lambda: fasthoag.TweedieRegressorCV(power=True).fit(X, POSITIVE),
    "n_jobs of RidgeCV": lambda: fasthoag.RidgeCV(n_jobs=True).fit(X, REAL),
    "smoothing of logistic": lambda: fasthoag.find_loss("logistic", smoothing=False),
    "n_classes of multinomial": lambda: fasthoag.find_loss("multinomial", n_classes=True),
    "delta of huber": lambda: fasthoag.find_loss("huber", delta=True),
    "weight of mix_losses": lambda: fasthoag.mix_losses("logistic", "squared_hinge", True),
    "n_classes of PerClass": lambda: fasthoag.PerClass(fasthoag.Ridge(), True),
    "n_probes of GCV": lambda: judged(fasthoag.GCV(n_probes=True)),
    "max_iter of hoag": lambda: hoag(real(), KFold(3), max_iter=True),
    "step of check_hypergrad": lambda: fasthoag.check_hypergrad(real(), KFold(3), [0.0], step=True),
    "fit_intercept of ShardedDesign": lambda: fasthoag.ShardedDesign([X], fit_intercept=1),
    "layout of ShardedDesign": lambda: fasthoag.ShardedDesign([X], layout=3),
    "theta0 of hoag": lambda: hoag(real(), KFold(3), True),
    "theta of check_hypergrad": lambda: fasthoag.check_hypergrad(real(), KFold(3), True),
    "bounds of hoag": lambda: hoag(real(), KFold(3), bounds=(False, 5.0)),
    "low_memory of ShardedDesign": lambda: fasthoag.ShardedDesign([X], low_memory="no"),
}


@pytest.mark.parametrize("case", FLAGS_FOR_NUMBERS)
def test_flags_are_no_numbers_and_numbers_are_no_flags(case):
    argument, *_ = case.split()
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b"):
        FLAGS_FOR_NUMBERS[case]()


NOTHING = {
    "scoring": lambda: hoag(real(), KFold(3), scoring=[]),
    "scoring of an estimator": lambda: fasthoag.RidgeCV(cv=3, scoring={}).fit(X, REAL),
    "groups": lambda: fasthoag.GroupRidge({}),
    "parts": lambda: fasthoag.SumPenalty(()),
    "schedule": lambda: hoag(real(), KFold(3), method="hoag", schedule=""),
}


@pytest.mark.parametrize("argument", ["stop_on", "unseen"])
def test_rows_that_are_watched_are_refused_by_the_name_of_their_argument(argument):
    with pytest.raises(ValueError, match=f"{argument}: X_val must have"):
        hoag(real(), KFold(3), **{argument: fasthoag.HeldOut(X[:, :-1], REAL)})


@pytest.mark.parametrize("case", NOTHING)
def test_nothing_at_all_is_refused_by_name(case):
    argument, *_ = case.split()
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b"):
        NOTHING[case]()


@pytest.mark.parametrize("value", [None, "x", True, np.nan, -1.0, [1.0], 10**400])
def test_a_schedule_that_gives_no_tolerance_is_refused(value):
    with pytest.raises(ValueError, match="schedule must give positive tolerances"):
        hoag(real(), KFold(3), method="hoag", schedule=lambda k: value)


def test_numbers_of_python_and_of_numpy_are_the_same_numbers():
    for value in (2, np.int64(2), np.float32(2.0), np.float64(2.0)):
        assert fasthoag.find_loss("huber", delta=value).parameters == {"delta": 2.0}
        one = fasthoag.LossParameter("delta", low=value, high=4 * value)
        assert real(loss="huber", tuned=one).read([0.0, 0.0])["delta"] == 1.0
    assert fasthoag.check_hypergrad(real(), KFold(3), [0.0], step=np.float32(1e-4)) < 1e-5
    assert replace(KFold(3), cv=np.int8(3)).cv == 3
