"""What a result says of itself: five lines, its trace as a table, and the curvature at its end."""

import sys
from dataclasses import replace
from operator import methodcaller

import numpy as np
import pytest
from support.closed_form import minimum, ridge
from support.tunings import Plain, tuning

import fasthoag
from fasthoag import GroupRidge, KFold, Problem, hoag

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6))
TARGETS = X @ [1.0, -1.0, 0.5, 0.0, 0.0, 0.0] + 2 * RNG.normal(size=120)
PROBLEM, RULE = Problem(X, TARGETS, "squared"), KFold(4)
RESULT = hoag(PROBLEM, RULE)
PENALTY = GroupRidge(["a", "b", "c", "a", "b", "c"])
OF_GROUPS = hoag(Problem(X, TARGETS, "squared", penalty=PENALTY), RULE)


def test_the_table_is_the_trace():
    pytest.importorskip("pandas", reason="tables need pandas")
    table = RESULT.to_frame()
    assert list(table.columns) == list(RESULT.trace[0])
    assert table["theta"].tolist() == [one["theta"][0] for one in RESULT.trace]
    assert table["value"].tolist() == [one["value"] for one in RESULT.trace]
    assert len(OF_GROUPS.to_frame()["theta"].iloc[0]) == 3


def test_without_pandas_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        RESULT.to_frame()


def test_five_lines_say_what_was_found():
    lines = repr(RESULT).splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("HoagResult: converged. The hypergradient is below its tolerance")
    assert f"{RESULT.lam[0]:.6g} (θ = {RESULT.theta[0]:.6g})" in lines[1]
    assert f"{RESULT.value:.8g} ±" in lines[2]
    assert f"standard error {RESULT.standard_error:.3g}" in lines[2]
    assert f"{RESULT.n_passes:.0f} passes" in lines[3]
    assert "newton" in lines[4]
    assert "Widen" not in repr(replace(RESULT, message="At the bound. Widen it."))


shown_by_notebooks = methodcaller("_repr_html_")  # which ask for it by this name


def test_the_lines_as_html_hold_no_markup_of_a_message():
    page = shown_by_notebooks(replace(RESULT, message="a < b & c"))
    assert "a &lt; b &amp; c" in page
    assert page.count("<tr>") == 5


def test_of_what_estimators_keep_of_many_strengths_there_are_five_lines_too():
    many = replace(RESULT, theta=np.zeros(200), lam=None, grad=None, w=None)
    assert "(200 values)" in repr(many).splitlines()[1]


def test_curvature_is_that_of_the_closed_form():
    problem, rule, split = tuning("k_fold", "squared", True, Plain())
    found = hoag(problem, rule, tol=1e-9)
    assert found.theta[0] == pytest.approx(minimum(split, "squared", -6, 8)[0], abs=1e-3)
    assert found.curvature == pytest.approx(ridge(split, found.theta[0]).hess, rel=3e-2)
    assert np.isnan(OF_GROUPS.curvature)


def test_curvature_is_in_the_theta_of_the_user():
    """λ = exp(2 θ): half the θ of `Ridge`, 2² times its curvature."""
    twice = fasthoag.StructuredRidge(np.full((6, 1), 2.0))
    found = hoag(Problem(X, TARGETS, "squared", penalty=twice), RULE, tol=1e-9)
    usual = hoag(PROBLEM, RULE, tol=1e-9)
    assert 2 * found.theta == pytest.approx(usual.theta, abs=1e-3)
    assert found.curvature == pytest.approx(4 * usual.curvature, rel=3e-2)
