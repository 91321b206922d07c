"""Searches that take long: their progress, their limits in time, and what is left of them."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from sklearn.base import clone, is_classifier

import fasthoag
from fasthoag import FeatureRidge, KernelProblem, KFold, Problem, hoag
from fasthoag.outer import METHODS, TRIALS

EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
every = pytest.mark.parametrize("Estimator", EVERY, ids=lambda E: E.__name__)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fasthoag.__file__)))


def rows(n=200, p=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, np.where(X[:, 0] - X[:, 1] + rng.normal(size=n) > 0, 1.0, -1.0)


def small():
    return Problem(*rows())


def many():
    return Problem(*rows(p=20), penalty=FeatureRidge())


def large():
    """Looks at strengths on one fold, as it has more stored values than all are looked at for."""
    X, y = rows(p=30)
    return Problem(np.repeat(X, 200, axis=0), np.repeat(y, 200))


def kernel():
    return KernelProblem(*rows(n=60, p=2))


PROBLEMS = [small, many, large, kernel]
problems = pytest.mark.parametrize("make", PROBLEMS, ids=lambda make: make.__name__)


def data(Estimator):
    """Rows for it, with labels or with targets > 0."""
    X, y = rows(n=60, p=3)
    return X, y if is_classifier(Estimator()) else np.exp(0.3 * X[:, 0] + 0.1 * y)


class Clock:
    """Time that goes by a second whenever somebody looks."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Another clock, which starts anew wherever it is called."""

    def start():
        monkeypatch.setattr(time, "perf_counter", Clock())

    start()
    return start


def methods_of(make):
    slow = {"hoag"} if make is large else set()
    return sorted({*METHODS, *TRIALS} - {"bayes", "grid"} - slow)


CASES = [(make, method) for make in PROBLEMS for method in methods_of(make)]
cases = pytest.mark.parametrize(
    ("make", "method"), CASES, ids=lambda one: getattr(one, "__name__", one)
)


# ---- limits in time ----


@cases
@pytest.mark.parametrize("max_seconds", [1, 6])
def test_best_point_so_far_is_returned_when_the_time_is_over(make, method, max_seconds, clock):
    with pytest.warns(fasthoag.ConvergenceWarning, match="max_seconds"):
        result = hoag(make(), KFold(3), method=method, max_seconds=max_seconds)
    assert result.status == "out_of_time"
    assert np.isfinite(result.theta).all()
    assert f"the criterion is {result.value:.6g} ± " in result.message
    assert result.fold_values.shape == result.fold_weights.shape
    assert ("first fold" in result.message) == (len(result.fold_values) == 1)
    assert result.fold_values.sum() == pytest.approx(result.value)


@problems
def test_point_is_the_lowest_that_was_evaluated(make, clock):
    with pytest.warns(fasthoag.ConvergenceWarning):
        result = hoag(make(), KFold(3), method="random", max_seconds=20)
    lowest = min(one["value"] for one in result.trace if one["phase"] == "trial")
    assert result.value <= lowest + result.value_error


@problems
def test_search_that_ends_in_time_has_the_bits_of_one_without_a_limit(make):
    free, limited = (hoag(make(), KFold(3), max_seconds=limit) for limit in (None, 1e6))
    assert limited.status == free.status
    assert limited.theta.tolist() == free.theta.tolist()
    assert (limited.value, limited.n_passes) == (free.value, free.n_passes)


def test_a_limit_gives_the_same_bits_twice(clock):
    found = []
    for _ in range(2):
        clock()
        with pytest.warns(fasthoag.ConvergenceWarning):
            found.append(hoag(small(), KFold(3), max_seconds=9))
    first, second = found
    assert (first.theta, first.value) == (second.theta, second.value)


@every
def test_estimators_take_the_best_point_in_time(Estimator, clock):
    model = Estimator(cv=3, max_seconds=1)
    with pytest.warns(fasthoag.ConvergenceWarning, match="max_seconds"):
        model.fit(*data(Estimator))
    assert model.hoag_result_.status == "out_of_time"
    assert np.isfinite(model.predict(data(Estimator)[0]) == 0).all()


def test_models_of_several_classes_share_the_time(clock):
    X, _ = rows(n=90)
    model = fasthoag.LinearSVCCV(cv=3, max_seconds=30)
    with pytest.warns(fasthoag.ConvergenceWarning):
        model.fit(X, np.arange(90) % 3)
    lengths = [len(one.trace) for one in model.hoag_result_]
    assert min(lengths) > 1
    assert sum(one.seconds for one in model.hoag_result_) <= 30 + 3 * 5


BAD = [("max_seconds", value) for value in (0, -1, np.nan, np.inf, "1", True, [1.0])] + [
    ("verbose", value) for value in (-1, "1", None, 0.5, [1])
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_limits_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*; got "):
        hoag(small(), KFold(3), **{name: value})
    with pytest.raises(ValueError, match=f"^{name} must be .*; got "):
        fasthoag.RidgeCV(**{name: value}).fit(*rows())


# ---- progress ----


@problems
@pytest.mark.parametrize("verbose", [True, 1, np.int64(2)])
def test_every_evaluation_is_a_line_on_stderr(make, verbose, capsys):
    result = hoag(make(), KFold(3), verbose=verbose)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == len(result.trace)
    for number, (line, record) in enumerate(zip(lines, result.trace, strict=True), 1):
        assert line.startswith(f"fasthoag: evaluation {number} ({record['phase']}): theta ")
        assert f"criterion {record['value']:.7g} ± " in line
        assert f"{record['n_passes']:.0f} passes" in line
    if result.method == "newton":
        assert "x its tolerance" in lines[-1]


@every
@pytest.mark.parametrize("verbose", [0, 1])
def test_estimators_are_silent_unless_asked(Estimator, verbose, capsys):
    Estimator(cv=3, verbose=verbose).fit(*data(Estimator))
    out, err = capsys.readouterr()
    assert (out, bool(err)) == ("", bool(verbose))


def test_logger_of_the_package_gets_the_lines(caplog):
    with caplog.at_level(logging.INFO, logger="fasthoag"):
        result = hoag(small(), KFold(3))
    lines = [one for one in caplog.records if one.name == "fasthoag"]
    assert len(lines) == len(result.trace)
    assert {one.levelname for one in lines} == {"INFO"}


def test_nothing_stays_attached_to_the_logger(capsys):
    before = list(logging.getLogger("fasthoag").handlers)
    hoag(small(), KFold(3), verbose=1)
    logger = logging.getLogger("fasthoag")
    assert logger.handlers == before
    assert [type(one) for one in before] == [logging.NullHandler]
    assert logger.level == logging.NOTSET


def test_progress_changes_no_bit(capsys):
    silent, shown = (hoag(small(), KFold(3), verbose=verbose) for verbose in (0, 1))
    assert (silent.theta, silent.n_passes) == (shown.theta, shown.n_passes)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_table_on_a_terminal_where_rich_is_there(monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys, "stderr", Terminal())
    hoag(small(), KFold(3), verbose=1)
    shown = sys.stderr.getvalue()
    assert "criterion" in shown
    assert "evaluation 1 " not in shown


def test_lines_on_a_terminal_without_rich(monkeypatch):
    from fasthoag import progress

    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    hoag(small(), KFold(3), verbose=1)
    assert sys.stderr.getvalue().startswith("fasthoag: evaluation 1 ")


@pytest.mark.parametrize("stream", [None, io.TextIOWrapper(io.BytesIO(), write_through=True)])
def test_search_goes_on_where_stderr_cannot_be_written_to(stream, monkeypatch):
    if stream is not None:
        monkeypatch.setattr(stream, "write", lambda text: (_ for _ in ()).throw(OSError), False)
    monkeypatch.setattr(sys, "stderr", stream)
    assert hoag(small(), KFold(3), verbose=1).status == "converged"


def test_package_is_imported_without_rich_and_logging_is_set_up_by_a_search():
    script = "import sys, fasthoag; fasthoag.hoag; print('rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT},
        check=True,
    )
    assert done.stdout == "False\n"


# ---- Ctrl-C in Python ----


def interrupting(at):
    """A callback during whose n-th call the user presses Ctrl-C."""
    n_calls = 0

    def callback(record):
        nonlocal n_calls
        n_calls += 1
        if n_calls == at:
            signal.raise_signal(signal.SIGINT)

    return callback


@cases
@pytest.mark.parametrize("at", [1, 4])
def test_exception_of_an_interrupt_has_the_best_point_so_far(make, method, at):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(fasthoag.Interrupted) as caught:
            hoag(make(), KFold(3), method=method, callback=interrupting(at))
    result = caught.value.result
    assert isinstance(caught.value, KeyboardInterrupt)
    assert type(caught.value.__cause__) is KeyboardInterrupt
    if make is kernel and "random" not in method:  # It has looked at some of the rows only.
        assert result is None
        assert "nothing" in str(caught.value)
        return
    assert result.status == "interrupted"
    assert "attribute result" in str(caught.value)
    assert f"{result.value:.6g} ± " in result.message
    seen = [one["value"] for one in result.trace]
    assert min(abs(value - result.value) for value in seen) == 0


def test_interrupt_before_any_evaluation_has_no_result(monkeypatch):
    from fasthoag.outer import start

    def measured(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "measured", measured)
    with pytest.raises(KeyboardInterrupt) as caught:
        hoag(small(), KFold(3))
    assert caught.value.result is None


@every
def test_interrupted_fit_has_the_result_and_leaves_the_estimator(Estimator):
    model = Estimator(cv=3).fit(*data(Estimator))
    before = dict(vars(model))
    n_calls = len(first(model.hoag_result_).trace)
    model.set_params(callback=interrupting(n_calls))
    with pytest.raises(fasthoag.Interrupted) as caught:
        model.fit(*data(Estimator))
    assert caught.value.result.status == "interrupted"
    now = dict(vars(model))
    assert now.pop("callback") is not before.pop("callback")
    assert now.keys() == before.keys()
    assert all(now[name] is before[name] for name in now)
    assert not hasattr(clone(model), "hoag_result_")


def first(results):
    return results[0] if isinstance(results, list) else results


# ---- the command ----


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    from sklearn.datasets import dump_svmlight_file

    path = tmp_path_factory.mktemp("long") / "rows.txt"
    X, y = rows(n=80)
    dump_svmlight_file(X, y, str(path))
    return path


def run(*args):
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    from typer.testing import CliRunner

    from fasthoag import cli

    return CliRunner().invoke(cli.app, [str(arg) for arg in args], prog_name="fasthoag")


def test_command_ends_in_time_with_its_best_model(train, tmp_path, clock):
    result = run("tune", train, "--max-seconds", 5, "--out", tmp_path / "model", "--json")
    assert result.exit_code == 3
    assert "out_of_time: max_seconds= were not enough" in result.stderr
    found = json.loads(result.stdout)
    assert (found["status"], found["settings"]["max_seconds"]) == ("out_of_time", 5)
    assert fasthoag.load_model(tmp_path / "model").status == "out_of_time"


def test_command_writes_a_line_in_some_seconds_where_stderr_is_no_terminal(train, clock):
    lines = run("tune", train).stderr.splitlines()
    assert all(line.startswith("fasthoag: evaluation ") for line in lines)
    assert 1 <= len(lines) <= 5


CHILD = """
import os, signal, sys
from fasthoag import __main__
from fasthoag.cli import search

number, phase = int(sys.argv.pop(1)), sys.argv.pop(1)

class Shown:
    def __enter__(self):
        return self.seen
    def __exit__(self, *error):
        pass
    def seen(self, record):
        if record["phase"] == phase:
            os.kill(os.getpid(), number)

search.on_stderr = lambda **options: Shown()
__main__.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a child are a POSIX matter")
@pytest.mark.parametrize("options", [(), ("--per", "feature"), ("--kernel", "rbf")])
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted."), (signal.SIGTERM, 143, "terminated.")],
)
def test_ended_command_leaves_its_best_model(number, code, word, options, train, tmp_path):
    script = [sys.executable, "-c", CHILD, str(int(number)), "all", "tune", str(train)]
    done = subprocess.run(
        [*script, *options, "--out", str(tmp_path / "model")],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": ROOT},
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    before, after, last = done.stderr.splitlines()
    assert "gets the best model so far" in before
    assert f"{tmp_path / 'model'}: the best model so far. The search was ended" in after
    assert last == f"fasthoag: {word}"
    assert fasthoag.load_model(tmp_path / "model").status == "interrupted"
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a child are a POSIX matter")
def test_ended_command_without_a_file_says_one_line(train):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(int(signal.SIGINT)), "look", "tune", str(train)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": ROOT},
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "fasthoag: interrupted.\n")
