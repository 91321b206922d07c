"""The page of a report needs nothing else, names what has a name, and says what to do next."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file
from support.commands import run
from support.penalty_examples import EXAMPLES, P
from support.report_examples import (
    GROUPS,
    HOSTILE,
    LABELS,
    OF_GROUPS,
    PAGES,
    PROBLEM,
    RESULT,
    RNG,
    RULE,
    TARGETS,
    X,
)

import fasthoag
from fasthoag import Problem, hoag
from fasthoag.outer.minima import Minimum
from fasthoag.outer.result import MESSAGES
from fasthoag.report.advice import Seen, next_steps
from fasthoag.report.naming import named_by_estimator, named_by_problem
from fasthoag.report.page import page
from fasthoag.report.style import STYLE

try:
    import matplotlib
except ImportError:
    matplotlib = None
needs_pictures = pytest.mark.skipif(matplotlib is None, reason="pictures need matplotlib")


class Page(HTMLParser):
    """What a page holds: its elements, the texts of each kind, and the rows of its tables."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.rows, self._open = [], {}, [], []
        self.feed(text)
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "!doctype"):
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        kind = self._open[-1] if self._open else ""
        self.texts.setdefault(kind, []).append(data)
        if kind in ("td", "th"):
            self.rows[-1][-1] += data

    def steps(self):
        return self.texts["li"]

    def values(self, name):
        """The numbers of the rows of tables that begin with a name."""
        return [row[1] for row in self.rows if len(row) == 2 and row[0] == name]


@pytest.fixture(scope="module", params=PAGES)
def text(request):
    return PAGES[request.param]()


def test_a_page_asks_for_nothing_and_runs_nothing(text):
    found = Page(text)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "base", "form"}
    for tag, attributes in found.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        assert all(attributes.get(name, "#")[:1] == "#" for name in ("href", "src")), tag
    assert not re.search(r"url\((?!#)|@import|https?:", text)
    [policy] = [one["content"] for tag, one in found.elements if "http-equiv" in one]
    assert policy.startswith("default-src 'none'")


def test_identities_are_unique_and_what_is_referred_to_is_there(text):
    found = [attributes for _, attributes in Page(text).elements]
    ids = [one["id"] for one in found if "id" in one]
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href="|url\()#([^")]+)', text)
    assert set(used) == set(ids)


def test_what_to_do_comes_before_numbers_and_pictures(text):
    titles = Page(text).texts["h2"]
    assert titles[:2] == ["What to do next", "In numbers"]
    assert titles[-1] == "Versions"
    assert len(Page(text).steps()) > 0


@needs_pictures
def test_pictures_are_of_what_there_is():
    shown = {name: Page(make()).elements for name, make in PAGES.items()}
    counts = {name: sum(tag == "svg" for tag, _ in shown[name]) for name in shown}
    # criterion, convergence and coefficients; convergence, strengths and coefficients; three
    # criteria and their strengths
    assert counts == {"one strength": 3, "groups": 3, "several models": 4, "failure": 0}


@needs_pictures
def test_the_same_result_gives_the_same_bytes_whatever_the_settings_of_matplotlib():
    make = PAGES["one strength"]
    first = make()
    with matplotlib.rc_context(
        {"font.size": 30.0, "axes.facecolor": "red", "svg.fonttype": "path"}
    ):
        assert make.__wrapped__() == first
        assert matplotlib.rcParams["font.size"] == 30.0


@needs_pictures
def test_colours_of_pictures_are_those_of_the_page():
    for name in set(PAGES) - {"failure"}:
        make = PAGES[name]
        styles = " ".join(one["style"] for _, one in Page(make()).elements if "style" in one)
        names = set(re.findall(r"var\(--([a-z]+)\)", styles))
        assert "currentColor" in styles
        assert names <= set(re.findall(r"--([a-z]+):", STYLE))
        assert not re.search(r"#[0-9a-f]{3,6}|rgb|white|black", styles)


def test_without_matplotlib_a_line_says_so_and_the_tables_are_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = Page(PAGES["groups"].__wrapped__())
    assert not any(tag == "svg" for tag, _ in found.elements)
    assert any("pip install 'fasthoag[plot]'" in text for text in found.texts["p"])
    assert set(HOSTILE) <= {row[0] for row in found.rows}


# ---- contrast, of which the browser test sees what is shown ----


def luminance(color):
    color = color if len(color) == 7 else "#" + "".join(2 * one for one in color[1:])
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    parts = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], parts))


def contrast(first, second):
    """That of WCAG 2.2, 1.4.3."""
    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out(scheme):
    light, dark = (
        dict(re.findall(r"--([a-z]+):(#[0-9a-f]+)", part)) for part in STYLE.split("@media", 1)
    )
    colors = light if scheme == "light" else dark
    assert colors.keys() == light.keys()
    for name in ("ink", "soft", "good", "fair", "bad"):
        assert contrast(colors[name], colors["paper"]) >= 4.5, name
    assert contrast(colors["ink"], colors["card"]) >= 4.5
    for name in ("blue", "sky", "orange", "red", "green", "pink", "grey"):
        least = 3.0 if name != "sky" else 2.0  # bands, and dashes with marks
        assert contrast(colors[name], colors["paper"]) >= least, name


# ---- names ----


def named_strengths(named):
    return dict(zip(named.of_strengths, named.strengths, strict=True))


def test_groups_are_named_beside_their_strengths():
    result = hoag(OF_GROUPS, RULE)
    found = Page(PAGES["groups"]())
    names = OF_GROUPS.penalty.names
    assert sorted(names) == sorted(HOSTILE)
    for name, lam in zip(names, np.exp(result.theta), strict=True):
        assert found.values(name) == [f"{lam:.5g}"]


def test_coefficients_are_named_by_features():
    found = Page(PAGES["one strength"]())
    for j, w in enumerate(RESULT.w_all[:8]):
        assert found.values(f"gene {j}") == [f"{w:.5g}"]


def test_features_and_classes_of_estimators_have_their_names():
    pandas = pytest.importorskip("pandas", reason="columns have names in pandas")
    table = pandas.DataFrame(X, columns=list("pqrstuvw"))
    model = fasthoag.LogisticRegressionCV(cv=3, penalty_per="class").fit(table, LABELS)
    named = named_by_estimator(model)
    assert named_strengths(named) == pytest.approx(
        dict(zip(model.classes_, model.lam_[:, 0], strict=True))
    )
    found = Page(page(model.hoag_result_, named=named))
    [row] = [row for row in found.rows if row[0] == "dog" and row[1].startswith("q ")]
    assert row[1].startswith(f"q {model.coef_[1, 1]:.3g}, ")


PENALTIES = [(kind, k) for kind, some in EXAMPLES.items() for k in range(len(some))]


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize(("kind", "k"), PENALTIES)
def test_every_penalty_has_names_for_what_is_tuned(kind, k, n_classes):
    rows, penalty = RNG.normal(size=(30, P)), EXAMPLES[kind][k]
    if n_classes == 1:
        problem = Problem(rows, rows[:, 0], "squared", penalty=penalty)
    else:
        penalty = fasthoag.PerClass(penalty, n_classes)
        problem = Problem(rows, np.arange(30) % n_classes, "multinomial", penalty=penalty)
    theta = RNG.normal(size=problem.n_hyper)
    named = named_by_problem(replace(RESULT, theta=theta), problem, None, None, None)
    assert len(named.thetas) == problem.n_hyper
    assert len(named.strengths) == len(named.of_strengths)
    lam = problem.read(theta)["strengths"]
    if penalty is EXAMPLES[kind][k] and kind in ("structured_ridge", "sum"):
        assert named_strengths(named) == {f"feature {j}": lam[j] for j in range(P)}
    elif kind in ("structured_ridge", "sum"):
        assert named_strengths(named)["class 2: feature 1"] == lam[1, 2]
    elif problem.n_hyper > 1:
        assert np.array_equal(named.strengths, np.exp(theta))


def test_what_is_tuned_beside_the_penalty_has_a_name():
    tuned = [fasthoag.LossParameter("delta"), fasthoag.SampleWeights(groups=[0, 1] * 75)]
    problem = Problem(X, TARGETS, "huber", tuned=tuned)
    named = named_by_problem(
        replace(RESULT, theta=np.zeros(problem.n_hyper)), problem, None, None, None
    )
    assert list(named.thetas) == [
        "the strength",
        tuned[0].name,
        "sample_weights 0",
        "sample_weights 1",
    ]
    assert len(named.strengths) == 0


Y2 = np.column_stack([TARGETS, -TARGETS])
ESTIMATORS = {
    "groups": (lambda: fasthoag.RidgeCV(cv=4, penalty_per=GROUPS).fit(X, TARGETS), HOSTILE),
    "features": (
        lambda: fasthoag.RidgeCV(cv=4, penalty_per="feature").fit(X, TARGETS),
        [f"feature {j}" for j in range(8)],
    ),
    "features and classes": (
        lambda: fasthoag.LogisticRegressionCV(cv=3, penalty_per="feature_class").fit(X, LABELS),
        [f"{label}: feature {j}" for label in ("cat", "dog", "hen") for j in range(8)],
    ),
    "models": (lambda: fasthoag.LinearSVCCV(cv=3).fit(X, LABELS), ["cat", "dog", "hen"]),
    "groups of models": (
        lambda: fasthoag.LinearSVCCV(cv=3, penalty_per=["a", "b"] * 4).fit(X, LABELS),
        [f"{label}: {group}" for label in ("cat", "dog", "hen") for group in "ab"],
    ),
    "targets": (
        lambda: fasthoag.RidgeCV(alpha_per_target=True).fit(X, Y2),
        ["target 0", "target 1"],
    ),
    "one": (lambda: fasthoag.RidgeCV(cv=4, one_se=True).fit(X, TARGETS), []),
    "kernel": (lambda: fasthoag.KernelRidgeCV(cv=3).fit(X[:, :2], np.sin(X[:, 0])), []),
}


@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
@pytest.mark.parametrize("case", ESTIMATORS)
def test_every_kind_of_estimator_has_its_page(case, tmp_path):
    fit, names = ESTIMATORS[case]
    model = fit()
    named = named_by_estimator(model)
    assert sorted(named.of_strengths) == sorted(names)
    lam = np.unique(np.round(named.strengths, 9))
    if names:
        assert lam == pytest.approx(np.unique(np.round(np.ravel(model.lam_), 9)), rel=1e-6)
    fasthoag.save_report(tmp_path / "page.html", model)
    found = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert ["estimator", type(model).__name__] in found.rows
    assert any("factorisations" in row[-1] for row in found.rows) == (case == "kernel")


def test_the_model_of_a_wrapped_estimator_has_its_page(tmp_path):
    from sklearn.linear_model import Ridge

    fasthoag.save_report(tmp_path / "page.html", fasthoag.TunedCV(Ridge()).fit(X, TARGETS))
    assert Page((tmp_path / "page.html").read_text(encoding="utf-8")).steps()


# ---- what to do next ----


def said(result, **seen):
    return " ".join(next_steps(result, Seen(**seen)))


@pytest.mark.parametrize("caller", [{}, {"is_command": True}, {"is_estimator": True}])
@pytest.mark.parametrize(
    "status", sorted(set(MESSAGES) - {"at_kink", "featureless", "equal_targets", "no_better"})
)
def test_every_status_says_what_to_do(status, caller):
    text = next_steps(replace(RESULT, status=status, message=MESSAGES[status]), Seen(**caller))[0]
    assert text[0].isupper()
    assert text.endswith((".", "]."))
    assert ("--" in text) <= ("is_command" in caller)
    assert ("theta0" in text) <= ("is_estimator" not in caller)


@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
@pytest.mark.parametrize(("bounds", "end"), [((-9.0, -8.0), "largest"), ((8.0, 9.0), "smallest")])
def test_at_a_bound_it_says_which(bounds, end):
    at_bound = hoag(PROBLEM, RULE, bounds=bounds)
    assert at_bound.status == "at_bound"
    assert (at_bound.at_lower, at_bound.at_upper) == (([], [0]) if end == "largest" else ([0], []))
    assert f"is the {end} that was allowed. Widen bounds= " in said(at_bound)
    model = fasthoag.RidgeCV(bounds=bounds).fit(X, TARGETS)  # by a decomposition of X
    assert f"is the {end} that was allowed" in said(model.hoag_result_)


@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
def test_groups_at_a_bound_are_named():
    groups = ["signal"] * 3 + ["noise"] * 5
    problem = Problem(X, TARGETS, "squared", penalty=fasthoag.GroupRidge(groups))
    result = hoag(problem, RULE, bounds=(-5.0, 4.0))
    assert (result.theta[0], problem.penalty.names[0]) == (4.0, "noise")
    named = named_by_problem(result, problem, None, None, None)
    assert "At the upper bound: noise." in said(result, thetas=named.thetas)


def test_many_strengths_at_their_bounds_are_counted():
    result = replace(RESULT, theta=np.zeros(40), at_upper=list(range(7)))
    text = said(result, thetas=[f"f{j}" for j in range(40)])
    assert "At the upper bound: f0, f1, f2, f3, f4 and 2 more." in text


def test_a_value_that_is_not_known_well_asks_for_a_smaller_tol():
    loose = replace(RESULT, value_error=0.5 * RESULT.standard_error)
    assert "50% of its standard error" in said(loose)
    assert "a smaller tol= says more" in said(loose)
    assert "a smaller --tol says more" in said(loose, is_command=True)
    assert "says more" not in said(RESULT)


def test_the_range_of_one_standard_error_is_that_of_the_picture():
    from fasthoag.plots.search import evaluated, line_through, one_se_range

    low, high = np.exp(one_se_range(RESULT, line_through(RESULT, evaluated(RESULT))))
    assert f"Every λ from {low:.3g} to {high:.3g} is within" in said(RESULT)


def test_features_that_do_not_help_are_said_to():
    noise = hoag(Problem(X, RNG.normal(size=150), "squared"), RULE)
    assert "they hardly help" in said(noise)
    assert "they hardly help" not in said(RESULT)


def test_other_valleys_are_shown():
    here = Minimum(RESULT.theta, RESULT.value)
    there = Minimum(RESULT.theta + 3, RESULT.value + RESULT.standard_error)
    text = said(replace(RESULT, minima=[here, there]))
    assert f"2 valleys, the others at λ = {np.exp(there.theta[0]):.3g}," in text
    assert "(1 standard errors)" in text


def test_a_fold_far_above_the_others_is_named():
    y = TARGETS.copy()
    y[60:90] += 12 * RNG.normal(size=30)  # fold 2
    odd = hoag(Problem(X, y, "squared"), RULE)
    assert re.search(r"Far above the other folds \(.* per row\): fold 2 \(", said(odd))
    assert "Far above" not in said(RESULT)


@pytest.mark.parametrize(("more", "is_said"), [(0.0, False), (4.0, True)])
def test_unseen_rows_that_are_worse_than_chance_explains(more, is_said):
    off = RESULT.standard_error / 150 * np.sqrt(1 + 150 / 50)
    unseen = {"n_rows": 50, "mean_loss": RESULT.value / 150 + more * off}
    assert ("4.0 standard errors" in said(RESULT, n_judging=150, unseen=unseen)) == is_said


@pytest.mark.filterwarnings("ignore::fasthoag.SharedRowsWarning")
def test_shared_rows_are_warned_of(tmp_path):
    held_out = fasthoag.HeldOut(X[:50], TARGETS[:50])
    result = hoag(PROBLEM, held_out)
    fasthoag.save_report(tmp_path / "page.html", result, PROBLEM, held_out)
    steps = Page((tmp_path / "page.html").read_text(encoding="utf-8")).steps()
    assert any(step.startswith("Warned: 50 of the 50 rows") for step in steps)


# ---- the command line ----


def tuned(folder, *options, labels=None):
    """The `Page` of rows in a file whose features count from 1, and its model."""
    y = (TARGETS > 0) * 1 if labels is None else labels
    dump_svmlight_file(X, y, str(folder / "rows.txt"), zero_based=False)
    out = ("--report", folder / "page.html", "--out", folder / "model")
    result = run("tune", folder / "rows.txt", *options, *out)
    assert result.exit_code in (0, 3), result.stderr
    text = (folder / "page.html").read_text(encoding="utf-8")
    return Page(text), fasthoag.load_model(folder / "model")


def test_the_command_line_names_features_as_the_file_counts_them(tmp_path):
    found, model = tuned(tmp_path)
    assert found.values("feature 1") == [f"{model.coef[0, 0]:.5g}"]
    assert found.values("feature 8") == [f"{model.coef[0, 7]:.5g}"]
    assert not any("No model was kept" in step for step in found.steps())
    assert ["train", str(tmp_path / "rows.txt")] in found.rows


def test_the_command_line_names_groups_and_classes(tmp_path):
    (tmp_path / "groups").write_text("\n".join(GROUPS), encoding="utf-8")
    found, model = tuned(tmp_path, "--groups", tmp_path / "groups")
    shown = [found.values(name)[0] for name in sorted(HOSTILE)]
    assert shown == [f"{lam:.5g}" for lam in model.lam]
    (tmp_path / "page.html").unlink()
    (tmp_path / "model").unlink()
    classes = np.unique(LABELS, return_inverse=True)[1] + 7
    options = ("--loss", "multinomial", "--per", "class")
    found, model = tuned(tmp_path, *options, labels=classes)
    shown = [found.values(f"class {label:g}")[0] for label in (7, 8, 9)]
    assert shown == [f"{lam:.5g}" for lam in model.lam]


def test_the_command_line_repeats_what_it_warned_of(tmp_path):
    dump_svmlight_file(X[:40], (TARGETS[:40] > 0) * 1, str(tmp_path / "v"), zero_based=False)
    found, _ = tuned(tmp_path, "--valid", tmp_path / "v")
    [step] = [step for step in found.steps() if step.startswith("Warned")]
    assert "40 of the 40 rows of HeldOut are training rows too" in step
    assert any("--test FILE" in step for step in found.steps())


# ---- save_report ----


def test_a_report_is_not_replaced_unless_asked(tmp_path):
    path = tmp_path / "page.html"
    fasthoag.save_report(path, RESULT)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        fasthoag.save_report(path, RESULT)
    fasthoag.save_report(path, RESULT, PROBLEM, overwrite=True)
    assert "Coefficients" in Page(path.read_text(encoding="utf-8")).texts["h2"]


CURVE = fasthoag.curve(PROBLEM, RULE, [-2.0, 0.0, 2.0, 4.0])
REFUSED = {
    "found": ((3,), {}, "HoagResult, or an estimator of fasthoag after its fit; got int"),
    "not fitted": ((fasthoag.RidgeCV(),), {}, "after its fit; got RidgeCV"),
    "criterion": ((RESULT,), {"criterion": RULE}, "criterion needs the problem"),
    "classes alone": ((RESULT,), {"classes": "ab"}, "classes needs the problem"),
    "estimator": ((fasthoag.RidgeCV(), PROBLEM), {}, "where problem is given; got RidgeCV"),
    "problem": ((RESULT, OF_GROUPS), {}, "has 1 hyperparameters; it has 4"),
    "names": ((RESULT, PROBLEM), {"names": "ab"}, "each of 8 features; got 2"),
    "classes": ((RESULT, PROBLEM), {"classes": "ab"}, "each of 1; got 2"),
    "curve": ((RESULT,), {"curve": RESULT}, "what fasthoag.curve returns; got HoagResult"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_is_written(case, tmp_path):
    args, named, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        fasthoag.save_report(tmp_path / "page.html", *args, **named)
    assert list(tmp_path.iterdir()) == []


@needs_pictures
def test_a_curve_makes_the_line_finer(tmp_path):
    fasthoag.save_report(tmp_path / "a", RESULT)
    fasthoag.save_report(tmp_path / "b", RESULT, curve=CURVE)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()
