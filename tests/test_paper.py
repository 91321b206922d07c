"""The comparison of the paper and its figures, on made-up data."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

import fasthoag

pytest.importorskip("matplotlib")
pytest.importorskip("liblinear")
pytest.importorskip("optuna")

pytestmark = pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")

BENCH = Path(__file__).resolve().parents[1] / "bench"
MODULES = "cases", "comparisons", "courses", "figures", "original", "paper", "problems", "run"
OPTIONS = SimpleNamespace(quick=True, seconds=None, repeats=None)
LOGISTIC, KERNEL, MANY = "logistic", "kernel", "many"

# Stands for the code of 2016: three steps, of which it shows θ before it solves there.
STAND_IN = """
import numpy as np

class LogisticRegressionCV:
    def __init__(self, alpha0, tolerance_decrease, max_iter):
        self.theta = np.array([alpha0])

    def fit(self, Xt, yt, Xh, yh, callback):
        print("it talks")
        for step in (0.0, 1.0, -0.5):
            self.theta += step  # in place, as that code does
            callback(np.zeros(Xt.shape[1]), self.theta)
"""

ENDLESS = STAND_IN.replace("self.theta += step", "import time; time.sleep(60)")


@pytest.fixture(scope="module")
def bench():
    """The modules of bench/, which are scripts beside each other."""
    sys.path.insert(0, str(BENCH))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(BENCH))
        for name in MODULES:
            del sys.modules[name]


def logistic_problem(X, y):
    return fasthoag.Problem(X, y, fit_intercept=False)


def many_problem(X, y):
    return fasthoag.Problem(X, y, penalty=fasthoag.FeatureRidge(), fit_intercept=False)


def kernel_problem(X, y):
    return fasthoag.KernelProblem(X, y, fit_intercept=False)


def made_up(bench, kind):
    """A comparison of 150 rows in thirds."""
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(150, 6)), rng.normal(size=6)
    z = X @ w + 2 * rng.normal(size=150)
    y = z if kind == KERNEL else np.sign(z)
    X = sp.csr_matrix(X) if kind == LOGISTIC else X
    pairs = [(X[k : k + 50], y[k : k + 50]) for k in (0, 50, 100)]
    common = {"name": "news", "seconds": 20.0, "original": "LogisticRegressionCV"}
    n_trials = {"grid": 4, "random": 3, "bayes": 3}
    own = {
        LOGISTIC: (logistic_problem, np.zeros(1), bench.comparisons.logistic_at),
        KERNEL: (kernel_problem, np.zeros(2), bench.comparisons.kernel_ridge_at),
        MANY: (many_problem, np.zeros(6), bench.comparisons.multinomial_at),
    }
    problem_of, theta0, measure_at = own[kind]
    found = bench.comparisons.Comparison(
        **common,
        train=pairs[0],
        judge=pairs[1],
        unseen=pairs[2],
        problem_of=problem_of,
        theta0=theta0,
        n_trials=n_trials,
        measure_at=measure_at,
        is_kernel=kind == KERNEL,
        folder_of_original=None,
    )
    many = {"left_out": ("Newton",), "shared_of": logistic_problem, "reuses": True}
    return replace(found, bounds=(-6.0, 6.0), **many) if kind == MANY else found


@pytest.fixture(scope="module", params=[LOGISTIC, KERNEL, MANY])
def compared(bench, request):
    comparison = made_up(bench, request.param)
    shared = dict.fromkeys(bench.run.FIELDS) | {"date": "today"}
    found = [shared | record for record in bench.paper.compare(comparison, OPTIONS)]
    return comparison, [bench.run.plain(record) for record in found]


def test_every_method_leaves_a_course_of_falling_time(bench, compared):
    comparison, records = compared
    names = [name for name in bench.paper.METHODS if name not in comparison.left_out]
    shown = [record["contender"].split(",")[0] for record in records]
    assert shown == names
    for record in records:
        seconds, above, unseen = np.array(record["extra"]["trace"]).T
        assert (np.diff(seconds) >= 0).all()
        assert seconds[-1] <= record["seconds"][0] + 1e-8  # as it is rounded
        assert (above >= 0).all()
        assert (unseen > 0).all()


def test_the_methods_that_follow_the_slope_end_at_the_best_known(compared):
    _, records = compared
    ends = {record["contender"]: record["extra"]["above"] for record in records}
    assert ends["L-BFGS"] < 1e-3
    assert ends["exact"] < 1e-2
    assert ends["L-BFGS"] < min(ends["random"], ends["Bayesian"])


def test_times_to_a_level_are_the_first_at_which_it_is_reached(compared):
    for record in compared[1]:
        for level, seconds in record["extra"]["seconds_to"].items():
            at = [row[0] for row in record["extra"]["trace"] if row[1] <= float(level)]
            assert seconds == (at[0] if at else None)


def test_what_a_course_says_is_what_the_criterion_is(bench, compared):
    comparison, records = compared
    if comparison.is_kernel:
        return  # of half the squares
    best = records[0]["extra"]["best"]
    found = fasthoag.hoag(
        comparison.problem(),
        fasthoag.HeldOut(*comparison.judge),
        theta0=comparison.theta0,
        bounds=comparison.bounds,
        tol=1e-6,
        stop_on=None,
    )
    assert best == pytest.approx(found.value, rel=1e-4)


def test_figures_are_drawn_from_records_and_are_small(bench, compared, tmp_path):
    bench.figures.draw("news", compared[1], tmp_path)
    text = (tmp_path / "news.svg").read_text()
    assert all(label in text for label in ("HOAG, quadratic", "L-BFGS", "seconds"))
    for kind in ("svg", "png"):
        assert 5000 < (tmp_path / f"news.{kind}").stat().st_size < 200_000


def test_the_same_records_give_the_same_picture(bench, tmp_path):
    extra = {"trace": [[0.5, 0.1, 2.0], [1.0, 0.0, 1.0]]}
    records = [{"contender": name, "extra": extra} for name in ("grid", "random")]
    for name in ("a", "b"):
        bench.figures.draw("news", records, tmp_path / name)
    assert (tmp_path / "a/news.svg").read_bytes() == (tmp_path / "b/news.svg").read_bytes()


def test_the_last_run_on_each_data_set_is_drawn(bench, compared, tmp_path):
    old = [record | {"date": "yesterday"} for record in compared[1]]
    lines = [json.dumps(record) for record in [*old, *compared[1]]]
    (tmp_path / "paper.jsonl").write_text("\n".join(lines))
    assert bench.paper.last_records(tmp_path / "paper.jsonl") == {"news": compared[1]}
    assert bench.paper.summary(compared[1]).count("\n") == len(compared[1]) + 1


def test_the_curve_is_recorded_and_drawn(bench, monkeypatch, tmp_path):
    comparison = made_up(bench, LOGISTIC)
    halves = (*comparison.train, *comparison.judge)
    monkeypatch.setattr(bench.paper, "newsgroups", lambda is_quick: halves)
    [record] = (bench.run.plain(one) for one in bench.paper.curve(OPTIONS))
    assert len(record["extra"]["trace"]) == 40
    bench.figures.draw("curve", [record], tmp_path)
    assert (tmp_path / "curve.png").stat().st_size < 200_000


@pytest.mark.parametrize("seed", range(20))
def test_labels_stand_apart_in_the_order_of_their_lines_and_inside(bench, seed):
    rng = np.random.default_rng(seed)
    places = np.sort(np.round(rng.uniform(size=10), 1))
    found = bench.figures.apart(places)
    assert (np.diff(found) >= bench.figures.ROOM - 1e-12).all()
    assert found.min() >= -1e-12
    assert found.max() <= 1 + 1e-12


def test_the_code_of_2016_has_its_theta_when_it_has_solved_there(bench, tmp_path):
    (tmp_path / "hoag.py").write_text(STAND_IN)
    comparison = replace(made_up(bench, LOGISTIC), folder_of_original=tmp_path)
    course = bench.courses.course_of_original(comparison, 10.0)
    assert [theta.tolist() for theta in course.thetas] == [[0.0], [1.0]]
    assert len(course.seconds) == 2
    assert 0 < course.seconds[0] <= course.seconds[1] == course.end


def test_the_code_of_2016_is_left_out_where_no_step_of_it_ends(bench, tmp_path):
    (tmp_path / "hoag.py").write_text(ENDLESS)
    comparison = replace(made_up(bench, LOGISTIC), folder_of_original=tmp_path)
    course = bench.courses.course_of_original(comparison, 0.2)
    assert course.seconds == []
    assert course.end == 0.2


def test_data_that_are_not_there_are_asked_for(bench, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench.problems, "DATA", tmp_path)
    bench.run.run("paper", bench.paper.case_of("parkinson"), OPTIONS, {}, tmp_path)
    assert "set FASTHOAG_DATA" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
