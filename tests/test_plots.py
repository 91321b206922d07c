"""Pictures show what results hold: lines are the trace, marks are where numbers say, and what a
result does not have is refused by a sentence."""

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.closed_form import ridge
from support.tunings import Plain, tuning

import fasthoag
from fasthoag import GroupRidge, HeldOut, KernelProblem, KFold, Problem, curve, hoag, plots
from fasthoag.problem import refit

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib")
matplotlib.use("Agg")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6))
TARGETS = X @ [1.0, -1.0, 0.5, 0.0, 0.0, 0.0] + 2 * RNG.normal(size=120)
PROBLEM, RULE = Problem(X, TARGETS, "squared"), KFold(4)
RESULT = hoag(PROBLEM, RULE)
CURVE = curve(PROBLEM, RULE)
PENALTY = GroupRidge(["a", "b", "c", "a", "b", "c"])
GROUPS = Problem(X, TARGETS, "squared", penalty=PENALTY)
OF_GROUPS = hoag(GROUPS, RULE)


def labelled(ax, start):
    """The one line whose label begins so."""
    [line] = [one for one in ax.lines if one.get_label().startswith(start)]
    return line


def test_the_criterion_is_drawn_at_what_the_search_evaluated():
    ax = plots.criterion(RESULT)
    dots = labelled(ax, "evaluated")
    last = {one["theta"][0]: one["value"] for one in RESULT.trace}
    assert dots.get_xdata().tolist() == np.exp(sorted(last)).tolist()
    assert dots.get_ydata().tolist() == [last[theta] for theta in sorted(last)]
    line = labelled(ax, "criterion")
    through = np.interp(dots.get_xdata(), line.get_xdata(), line.get_ydata())
    is_other = dots.get_xdata() != RESULT.lam  # where the value is known better at the end
    assert through[is_other] == pytest.approx(dots.get_ydata()[is_other], rel=1e-12)
    assert np.nanmin(line.get_ydata()) == pytest.approx(RESULT.value, abs=RESULT.value_error)
    assert (ax.get_xlabel(), ax.get_xscale()) == ("strength λ = exp(θ)", "log")
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"optimum, λ = {RESULT.lam[0]:.3g}" in texts


def test_the_optimum_and_its_error_are_where_the_result_says():
    [bar] = plots.criterion(RESULT).containers
    dot, _, (stem,) = bar.lines
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (np.exp(RESULT.theta[0]), RESULT.value)
    ends = stem.get_segments()[0][:, 1]
    assert np.diff(ends)[0] == pytest.approx(2 * RESULT.value_error, rel=1e-6)


def test_with_a_curve_the_line_and_the_band_are_its():
    ax = plots.criterion(RESULT, CURVE)
    line = labelled(ax, "criterion")
    assert np.array_equal(line.get_ydata(), CURVE.values)
    assert np.array_equal(line.get_xdata(), np.exp(CURVE.thetas[:, 0]))
    [band] = ax.collections[:1]
    edges = band.get_paths()[0].vertices[:, 1]
    assert np.isin(CURVE.values + CURVE.value_errors, edges).all()
    assert np.isin(CURVE.values - CURVE.value_errors, edges).all()


def test_folds_have_the_criterion_as_their_weighted_mean():
    for source, ax in (
        (RESULT, plots.criterion(RESULT)),
        (CURVE, plots.criterion(RESULT, CURVE)),
    ):
        lines = [one for one in ax.lines if one.get_color() in ("#777777", "#BBBBBB")]
        drawn = np.array([one.get_ydata() for one in lines])
        drawn = drawn[0] if source is RESULT else drawn.T
        assert drawn.shape[-1] == 4
        mean = drawn @ source.fold_weights / source.fold_weights.sum()
        assert mean == pytest.approx(source.fold_values.sum(axis=-1), rel=1e-6)


def span_of(ax):
    [span] = [one for one in ax.patches if one.get_label() == "within one standard error"]
    low, high = span.get_extents().transformed(ax.transData.inverted()).intervalx
    return np.log(low), np.log(high)


def test_the_range_ends_where_the_criterion_is_one_standard_error_more():
    problem, rule, split = tuning("k_fold", "squared", True, Plain())
    found = hoag(problem, rule)
    line = curve(problem, rule, np.linspace(-4.0, 8.0, 121))
    _, high = span_of(plots.criterion(found, line))
    limit = found.value + found.standard_error
    assert ridge(split, high).value == pytest.approx(limit, rel=1e-3)


def test_without_a_crossing_the_range_is_that_of_the_parabola():
    only = [one for one in RESULT.trace if one["phase"] == "all"][-1:]
    found = replace(RESULT, trace=only, standard_error=0.02 * RESULT.curvature)
    low, high = span_of(plots.criterion(found))
    assert (low, high) == pytest.approx((RESULT.theta[0] - 0.2, RESULT.theta[0] + 0.2), abs=1e-6)
    wide = replace(found, standard_error=1e9)
    assert span_of(plots.criterion(wide)) == pytest.approx(
        (RESULT.theta[0] - 2, RESULT.theta[0] + 2), abs=1e-6
    )


def test_a_criterion_without_a_standard_error_has_no_range():
    ax = plots.criterion(hoag(PROBLEM, fasthoag.GCV()))
    assert len(ax.patches) == 0


def test_a_given_strength_is_no_optimum_and_has_no_range():
    ax = plots.criterion(fasthoag.LogisticRegressionCV(Cs=[0.5]).fit(X, TARGETS > 0))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "given, λ = 2" in texts
    assert len(ax.patches) == 0


@pytest.mark.parametrize(
    ("lam", "labels"),
    [
        ([3.0, 10.0, 60.0], ["5", "10", "20", "50"]),
        ([1e-3, 1.0, 1e4], ["10^{-2}", "10^{0}", "10^{2}", "10^{4}"]),
        ([1.1, 1.2, 1.4], ["1.1", "1.2", "1.3", "1.4"]),
    ],
)
def test_labels_of_strengths_are_few_enough_to_be_read(lam, labels):
    ax = plots.strengths(replace(OF_GROUPS, theta=np.log(lam), lam=np.array(lam)))
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    ticks = [*ax.xaxis.get_major_ticks(), *ax.xaxis.get_minor_ticks()]
    inside = [one for one in ticks if low <= one.get_loc() <= high and one.label1.get_text()]
    inside = sorted(inside, key=lambda one: one.get_loc())
    shown = [one.label1.get_text() for one in inside]
    assert len(shown) < 10
    assert [one for one in labels if any(one in text for text in shown)] == labels
    boxes = [one.label1.get_window_extent() for one in inside]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_an_estimator_shows_what_it_chose_beside_the_optimum():
    model = fasthoag.RidgeCV(cv=4, one_se=True).fit(X, TARGETS)
    line = labelled(plots.criterion(model), "chosen")
    assert line.get_xdata()[0] == model.lam_ > model.hoag_result_.lam[0]
    ax = plots.criterion(fasthoag.RidgeCV(cv=4).fit(X, TARGETS))
    assert not any(one.get_label().startswith("chosen") for one in ax.lines)


# ---- convergence ----


@pytest.mark.parametrize("against", ["passes", "seconds"])
def test_gaps_are_those_of_the_trace(against):
    ax = plots.convergence(RESULT, against=against)
    line = labelled(ax, "all rows that judge")
    key = "n_passes" if against == "passes" else "seconds"
    assert line.get_xdata().tolist() == [one[key] for one in RESULT.trace]
    gaps = np.array([one["value"] for one in RESULT.trace]) - RESULT.value
    assert np.array_equal(line.get_ydata(), np.maximum(gaps, RESULT.value_error))
    [hollow] = [one for one in ax.lines if one.get_markerfacecolor() == "white"]
    kept = [one["is_accepted"] or one["value"] == RESULT.value for one in RESULT.trace]
    assert len(hollow.get_xdata()) == len(kept) - sum(kept)
    assert labelled(ax, "one standard error").get_ydata()[0] == RESULT.standard_error
    assert ax.get_yscale() == "log"


def records(*phases):
    return [
        dict(RESULT.trace[0], phase=phase, value=RESULT.value + 7.0 - k, n_passes=float(k))
        for k, phase in enumerate(phases)
    ]


@pytest.mark.parametrize(
    ("phase", "label"),
    [("sample", "a sample of the rows"), ("one fold", "the first fold")],
)
def test_values_on_some_rows_are_above_their_own_least(phase, label):
    found = replace(RESULT, trace=[*records(phase, phase), *records("all")])
    ax = plots.convergence(found)
    part = labelled(ax, label)
    assert part.get_ydata() == pytest.approx([1.0, RESULT.value_error])
    assert part.get_linestyle() == "--"
    assert labelled(ax, "all rows").get_ydata() == pytest.approx([7.0])


@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
def test_looks_of_a_kernel_model_at_some_rows_are_marked_apart():
    x = RNG.normal(size=(700, 1))
    y = np.sin(x[:, 0]) + 0.3 * RNG.normal(size=700)
    found = hoag(KernelProblem(x[100:], y[100:]), HeldOut(x[:100], y[:100]), max_iter=2)
    some = [one["n_passes"] for one in found.trace if one["phase"] == "sample"]
    ax = plots.convergence(found)
    assert labelled(ax, "a sample").get_xdata().tolist() == some != []
    assert ax.get_xlabel() == "factorisations"


def test_rows_that_were_held_back_end_the_comparison():
    ax = plots.convergence(replace(RESULT, trace=records("all", "all", "all rows")))
    least = max(RESULT.value_error, 0.0)
    assert labelled(ax, "without the rows").get_ydata() == pytest.approx([1.0, least])
    assert labelled(ax, "all rows").get_ydata() == pytest.approx([5.0])


# ---- models ----


def test_strengths_of_groups_ascend_beside_their_names():
    ax = plots.strengths(OF_GROUPS, GROUPS)
    order = np.argsort(OF_GROUPS.lam)
    [dots] = ax.lines
    assert dots.get_xdata() == pytest.approx(OF_GROUPS.lam[order])
    texts = [text.get_text() for text in ax.get_yticklabels()]
    assert texts == [PENALTY.names[j] for j in order]
    assert ax.get_xlabel() == "strength λ"
    names = ["x", "y", "z"]
    ax = plots.strengths(OF_GROUPS, names=names)
    assert [text.get_text() for text in ax.get_yticklabels()] == [names[j] for j in order]
    assert ax.get_xlabel() == "λ = exp(θ)"


def test_strengths_of_features_are_those_of_the_penalty():
    found = fasthoag.StructuredRidge(np.column_stack([np.ones(6), np.arange(6.0)]))
    problem = Problem(X, TARGETS, "squared", penalty=found)
    result = replace(RESULT, theta=np.array([0.5, -1.0]))
    [dots] = plots.strengths(result, problem).lines
    assert dots.get_xdata() == pytest.approx(np.exp(0.5 - np.arange(6.0))[::-1])


def test_many_strengths_are_a_histogram_that_counts_each_once():
    lam = np.exp(np.linspace(-3, 3, 200))
    lam[:2] = 0.0, np.inf
    with np.errstate(divide="ignore"):
        ax = plots.strengths(replace(RESULT, theta=np.log(lam), lam=lam))
    assert sum(bar.get_height() for bar in ax.patches) == 198
    assert ax.get_title() == "2 more are 0 or infinite"


def test_strengths_of_an_estimator_are_named_by_its_columns():
    pandas = pytest.importorskip("pandas", reason="columns have names in pandas")
    table = pandas.DataFrame(X, columns=list("uvwxyz"))
    model = fasthoag.RidgeCV(cv=4, penalty_per="feature").fit(table, TARGETS)
    ax = plots.strengths(model)
    order = np.argsort(model.lam_, kind="stable")
    texts = [text.get_text() for text in ax.get_yticklabels()]
    assert texts == ["uvwxyz"[j] for j in order]


def test_paths_are_the_refits_and_the_largest_are_named():
    lam = [100.0, 1.0, 10.0]
    ax = plots.coefficients(PROBLEM, lam, names="uvwxyz", n_named=2)
    at = np.array([refit(PROBLEM, np.log([one]), tol=1e-8)[0][:6] for one in sorted(lam)])
    largest = np.argsort(-np.abs(at).max(axis=0))
    for j in largest[:2]:
        line = labelled(ax, "uvwxyz"[j])
        assert line.get_xdata().tolist() == sorted(lam)
        assert line.get_ydata() == pytest.approx(at[:, j], abs=1e-3)
    others = ax.lines[0].get_ydata().reshape(4, 4)
    assert np.isnan(others[:, 3]).all()
    assert others[:, :3] == pytest.approx(at[:, largest[2:]].T, abs=1e-3)


def test_paths_along_a_curve_mark_its_minimum():
    ax = plots.coefficients(PROBLEM, CURVE)
    best = np.exp(CURVE.minima[0].theta[0])
    assert labelled(ax, "optimum").get_xdata()[0] == pytest.approx(best)
    again = plots.coefficients(PROBLEM, RULE)
    assert np.array_equal(ax.lines[-1].get_ydata(), again.lines[-1].get_ydata())


def test_paths_of_a_class_are_its_column():
    labels = RNG.integers(0, 3, 120)
    problem = Problem(X, labels, "multinomial")
    line = plots.coefficients(problem, [1.0, 10.0], column=2, n_named=6).lines[-1]
    w = np.asarray(refit(problem, [0.0], tol=1e-8)[0])
    assert line.get_ydata()[0] == pytest.approx(w[int(line.get_label()), 2], abs=1e-3)


# ---- figures, and what is refused ----


def test_pictures_go_where_they_are_asked_to_and_pyplot_knows_of_none(tmp_path):
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    before, own = pyplot.get_fignums(), Figure().add_subplot()
    draw = [
        lambda **given: plots.criterion(RESULT, **given),
        lambda **given: plots.convergence(RESULT, **given),
        lambda **given: plots.strengths(OF_GROUPS, **given),
        lambda **given: plots.coefficients(PROBLEM, [1.0, 2.0], **given),
    ]
    for picture in draw:
        assert picture(ax=own) is own
        picture().figure.savefig(tmp_path / "picture.svg")
        assert (tmp_path / "picture.svg").stat().st_size > 1000
        (tmp_path / "picture.svg").unlink()
    assert pyplot.get_fignums() == before


def of_three():
    return fasthoag.LinearSVCCV(cv=3).fit(X, np.arange(120) % 3)


REFUSED = {
    "not fitted": (lambda: plots.criterion(fasthoag.RidgeCV()), "after its fit; got RidgeCV"),
    "no result": (lambda: plots.convergence(3), "found must be a HoagResult, .* got int"),
    "several": (lambda: plots.criterion(OF_GROUPS), "one hyperparameter, and found has 3"),
    "models": (lambda: plots.criterion(of_three()), r"3 models, .* give found.hoag_result_\[k\]"),
    "NaN": (lambda: plots.criterion(replace(RESULT, value=np.nan)), "criterion nan"),
    "curve": (lambda: plots.criterion(RESULT, RESULT), "fasthoag.curve returns; got HoagResult"),
    "axes": (lambda: plots.convergence(RESULT, ax=3), "ax must be axes of matplotlib; got int"),
    "against": (lambda: plots.convergence(RESULT, against="time"), "against must be 'passes'"),
    "no trace": (lambda: plots.convergence(replace(RESULT, trace=[])), "needs evaluations"),
    "names": (lambda: plots.strengths(OF_GROUPS, names="ab"), "names must have one .* 3 .* got 2"),
    "another problem": (lambda: plots.strengths(RESULT, GROUPS), "1 hyperparameters; it has 3"),
    "kernel": (
        lambda: plots.strengths(hoag(KernelProblem(X, TARGETS), RULE, max_iter=1)),
        "for linear models",
    ),
    "no strength": (lambda: plots.coefficients(PROBLEM, [1.0]), "two or more positive strengths"),
    "negative": (lambda: plots.coefficients(PROBLEM, [1.0, -1.0]), "of which 1 are not positive"),
    "no problem": (lambda: plots.coefficients(X, [1.0, 2.0]), "problem must be .* got ndarray"),
    "features": (lambda: plots.coefficients(PROBLEM, [1, 2], names="a"), "each of 6 features"),
    "n_named": (lambda: plots.coefficients(PROBLEM, [1, 2], n_named=-1), "n_named must be"),
    "column": (lambda: plots.coefficients(PROBLEM, [1, 2], column=1), "column must be 0 to 0"),
    "dimensions": (lambda: plots.coefficients(GROUPS, CURVE), "3 hyperparameters; it has 1"),
}


@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_is_refused_by_a_sentence(case):
    call, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_without_matplotlib_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'fasthoag\[plot\]'"):
        plots.convergence(RESULT)
