"""The criterion along a strength: values and slopes are those of exactly solved problems, every
valley is reported, and the picture shows them. So do the minima of a result of `hoag`."""

import sys

import numpy as np
import pytest
from support.closed_form import exact, minimum, ridge
from support.designs import OF_USE, with_losses
from support.tunings import WITH_ROWS, Plain, tuning

import fasthoag
from fasthoag import HeldOut, KFold, Problem, curve, hoag
from fasthoag.losses import LOSSES
from fasthoag.outer.minima import Minimum, distinct, local_minima

LEVELS = np.linspace(-4.0, 6.0, 21)
SMOOTH = [name for name, loss in LOSSES.items() if not loss.has_kinks]
on_every_design = with_losses(OF_USE)


def plain(criterion="k_fold", loss="squared", **options):
    return tuning(criterion, loss, True, Plain(), **options)


def two_valleys(seed=0):
    """Ridge with a valley for each of two scales of features: the weak ones matter where the strong
    ones are free, on rows that make both worth a penalty."""
    rng = np.random.default_rng(seed)
    n, p = 60, 25
    strong, weak = rng.normal(size=(2, 2 * n, p))
    X = np.hstack([1e3 * strong, 1e-3 * weak])
    w = np.hstack([1e-3 * rng.normal(size=p), 1e3 * rng.normal(size=p)])
    y = X @ w + 4 * rng.normal(size=2 * n)
    options = {"loss": "squared", "fit_intercept": False}
    return Problem(X[:n], y[:n], **options), HeldOut(X[n:], y[n:]), (X, y, n)


def values_of_two_valleys(data, thetas):
    X, y, n = data
    A, b = X[:n], y[:n]
    units = np.r_[1e3 * np.ones(25), 1e-3 * np.ones(25)]
    A, B = A / units, X[n:] / units
    found = []
    for theta in thetas:
        w = np.linalg.solve(A.T @ A + np.diag(np.exp(theta) / units**2), A.T @ b)
        found.append(0.5 * ((B @ w - y[n:]) ** 2).sum())
    return np.array(found)


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", SMOOTH)
def test_values_are_within_their_errors_of_the_exactly_solved_ones(criterion, loss):
    problem, rule, split = plain(criterion, loss)
    found = curve(problem, rule, LEVELS[::4])
    assert found.thetas[:, 0].tolist() == LEVELS[::4].tolist()
    for theta, value, error, folds in zip(
        LEVELS[::4], found.values, found.value_errors, found.fold_values, strict=True
    ):
        values, _ = exact(split, loss, theta)
        assert abs(value - values.sum()) <= error + 1e-12 * value
        assert np.abs(folds - values).max() <= error + 1e-12 * value
        assert error <= 0.02 * value + 1e-12


@on_every_design
def test_every_design_has_the_curve(make_a_design, loss):
    problem, rule, split = tuning("k_fold", loss, True, make_a_design)
    found = curve(problem, rule, [0.0, 2.0, 4.0])
    for theta, value, error in zip(found.thetas, found.values, found.value_errors, strict=True):
        values, _ = exact(split, loss, theta[0])
        assert abs(value - values.sum()) <= error + 1e-5 * values.sum()  # of values in float32


@pytest.mark.parametrize("criterion", WITH_ROWS)
def test_slopes_are_those_of_the_closed_form(criterion):
    problem, rule, split = plain(criterion)
    found = curve(problem, rule, LEVELS, tol=1e-4)
    for theta, grad, error in zip(LEVELS, found.grads[:, 0], found.grad_errors, strict=True):
        assert abs(grad - ridge(split, theta).grad) <= 2 * error + 1e-9


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson"])
def test_the_minimum_of_the_curve_is_that_of_hoag(criterion, loss):
    problem, rule, split = plain(criterion, loss)
    theta, value = minimum(split, loss, -9.0, 9.0)
    found = curve(problem, rule, np.linspace(theta - 3, theta + 3, 13), tol=1e-3)
    best = found.minima[0]
    assert best.theta == pytest.approx([theta], abs=0.1)
    assert best.value == pytest.approx(value, rel=1e-3)


def test_the_curve_reports_both_of_two_valleys():
    problem, rule, data = two_valleys()
    thetas = np.linspace(-16, 20, 73)
    values = values_of_two_valleys(data, thetas)
    lower = (values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])
    expected = thetas[1:-1][lower]
    assert len(expected) == 2  # what the test is about
    found = curve(problem, rule, thetas)
    assert found.values == pytest.approx(values, abs=found.value_errors.max())
    assert sorted(one.theta[0] for one in found.minima) == pytest.approx(expected, abs=0.5)
    assert found.minima[0].value == min(one.value for one in found.minima)


def test_a_result_reports_both_of_two_valleys_the_best_first():
    problem, rule, data = two_valleys()
    result = hoag(problem, rule)
    assert len(result.minima) == 2
    best, other = result.minima
    assert np.array_equal(best.theta, result.theta)
    assert best.value == result.value < other.value
    at = np.linspace(other.theta[0] - 2, other.theta[0] + 2, 81)
    values = values_of_two_valleys(data, at)
    assert 0 < values.argmin() < 80  # a minimum lies within the distance of two looks


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("seed", range(5))
def test_a_result_with_one_valley_has_one_minimum(criterion, seed):
    problem, rule, _ = plain(criterion, "logistic", seed=seed, n_rows=200)
    result = hoag(problem, rule)
    if result.status == "converged":
        assert [one.value for one in result.minima] == [result.value]
        assert np.array_equal(result.minima[0].theta, result.theta)


@pytest.mark.parametrize("method", ["newton", "lbfgs", "hoag", "grid", "random"])
def test_every_method_reports_its_minimum(method):
    problem, rule, _ = plain()
    result = hoag(problem, rule, method=method)
    assert result.minima[0].value == result.value


def test_minima_cost_no_passes():
    problem, rule, _ = two_valleys()
    result = hoag(problem, rule)
    assert result.trace[-1]["n_passes"] == result.n_passes


def test_several_strengths_move_together_or_along_a_path():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6))
    y = X[:, 0] + 2 * rng.normal(size=80)
    problem = Problem(X, y, "squared", penalty=fasthoag.GroupRidge([0, 0, 0, 1, 1, 1]))
    single = Problem(X, y, "squared")
    levels = np.linspace(-2, 6, 9)
    along = curve(problem, KFold(4), np.column_stack([levels, levels]))
    assert along.values == pytest.approx(curve(single, KFold(4), levels).values, rel=1e-2)
    assert curve(problem, KFold(4)).thetas.shape == (40, 2)
    assert along.x == pytest.approx(levels)


def test_default_thetas_reach_from_the_null_model_to_no_penalty():
    problem, rule, _ = plain(n_rows=200)
    found = curve(problem, rule)
    null = rule.bind(problem).null_value
    assert found.values[-1] == pytest.approx(null, rel=0.1)
    assert found.values[0] == pytest.approx(found.values[1], rel=1e-3)
    assert len(found.minima) == 1


@pytest.mark.parametrize(
    "criterion", [fasthoag.ApproximateLOO(), fasthoag.GCV(), fasthoag.AIC(), fasthoag.Evidence()]
)
def test_criteria_without_rows_have_a_curve(criterion):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    problem = Problem(X, X[:, 0] + 2 * rng.normal(size=60), "squared")
    result = hoag(problem, criterion)
    found = curve(problem, criterion, result.theta + np.linspace(-1, 1, 5))
    assert found.values[2] == pytest.approx(result.value, abs=result.value_error + 1e-9)
    assert found.values.min() == found.values[2]


def test_equal_targets_have_a_level_curve():
    found = curve(Problem(np.eye(6), np.ones(6), "squared"), KFold(3), [0.0, 1.0])
    assert found.values.tolist() == [0.0, 0.0]
    assert found.minima == []


def test_equal_thetas_are_one_place():
    problem, rule, _ = plain()
    found = curve(problem, rule, [1.0, 1.0, 1.0])
    assert found.values[0] == pytest.approx(found.values[2], abs=found.value_errors.max())
    assert found.minima == []


REFUSED = {
    "two columns": ({"thetas": [[0.0, 1.0]]}, r"thetas must have a row of 1 .* shape \(1, 2\)"),
    "nothing": ({"thetas": []}, "thetas must have"),
    "NaN": ({"thetas": [np.nan]}, "thetas must be finite"),
    "text": ({"thetas": "all"}, "thetas"),
    "no tol": ({"tol": 0}, "tol must be a positive number; got 0"),
    "threads": ({"n_threads": 0}, "n_threads must be a positive integer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused_by_name(case):
    problem, rule, _ = plain()
    options, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message):
        curve(problem, rule, **options)


def test_the_picture_shows_line_band_and_minima(tmp_path):
    from matplotlib.figure import Figure

    problem, rule, _ = plain()
    found = curve(problem, rule, LEVELS)
    axes = found.plot(color="black", label="ridge")
    line, *dots = axes.lines
    assert np.array_equal(line.get_xdata(), found.x)
    assert np.array_equal(line.get_ydata(), found.values)
    assert (line.get_color(), line.get_label()) == ("black", "ridge")
    assert [dot.get_ydata()[0] for dot in dots] == [one.value for one in found.minima]
    assert len(axes.collections) == 1  # the band
    axes.figure.savefig(tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 1000
    own = Figure().add_subplot()
    assert found.plot(own) is own


def test_without_matplotlib_a_sentence_says_what_to_install(monkeypatch):
    problem, rule, _ = plain()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'fasthoag\[plot\]'"):
        curve(problem, rule, [0.0, 1.0]).plot()


X7 = np.arange(7.0)
SHAPES = {  # values, errors, slopes and their errors (or None); places
    "a parabola": ((X7 - 3) ** 2, 0.1, 2 * (X7 - 3), 0.1, [3.0]),
    "a parabola between points": ((X7 - 2.3) ** 2, 0.1, 2 * (X7 - 2.3), 0.1, [2.3]),
    "without slopes": ((X7 - 2.3) ** 2, 0.1, None, None, [2.0]),
    "errors hide it": ((X7 - 3) ** 2, 9.0, None, None, []),
    "slopes tell all the same": ((X7 - 3) ** 2, 9.0, 2 * (X7 - 3), 0.1, [3.0]),
    "slopes are not sure": ((X7 - 3) ** 2, 9.0, 2 * (X7 - 3), 9.0, []),
    "falling": (-X7, 0.1, -1 + 0 * X7, 0.1, []),
    "rising": (X7, 0.1, 1 + 0 * X7, 0.1, []),
    "level": (0 * X7, 0.1, 0 * X7, 0.1, []),
    "a hill": (-((X7 - 3) ** 2), 0.1, -2 * (X7 - 3), 0.1, []),
    "two": (np.cos(np.pi * X7 / 2 + 0.0), 0.1, None, None, [2.0]),
    "noise": (np.array([3, 1, 1.05, 0.97, 1.04, 2, 3]), 0.1, None, None, [3.0]),
}


@pytest.mark.parametrize("case", SHAPES)
def test_minima_of_what_was_seen_are_where_it_surely_falls_and_rises(case):
    values, error, slopes, slope_error, places = SHAPES[case]
    errors = np.full(7, error)
    slope_errors = None if slopes is None else np.full(7, slope_error)
    found = local_minima(X7, values, errors, slopes, slope_errors)
    assert [place for place, _ in found] == pytest.approx(places, abs=0.01)


def test_minima_next_to_each_other_are_one():
    every = [Minimum(np.array([x]), v) for x, v in ((0.0, 2.0), (0.3, 1.0), (5.0, 3.0))]
    assert [one.value for one in distinct(every)] == [1.0, 3.0]
