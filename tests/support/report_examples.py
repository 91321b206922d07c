"""Pages of reports of every kind, for the tests that read them and those that look at them."""

from dataclasses import replace
from functools import cache

import numpy as np

import fasthoag
from fasthoag.report.naming import named_by_estimator, named_by_problem
from fasthoag.report.page import page

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 8))
TARGETS = X @ [1.0, -1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0] + 2 * RNG.normal(size=150)
LABELS = np.array(["cat", "dog", "hen"])[np.argmax(X[:, :3] + RNG.normal(size=(150, 3)), axis=1)]
# Names are texts of anybody: none of these is markup or a formula.
HOSTILE = ["<script>alert(1)</script>", "$\\frac$ & \"co\" 'x'", "</svg>--><b>", "x" * 60]
GROUPS = [*HOSTILE, *HOSTILE]
PROBLEM, RULE = fasthoag.Problem(X, TARGETS, "squared"), fasthoag.KFold(5)
RESULT = fasthoag.hoag(PROBLEM, RULE)
OF_GROUPS = fasthoag.Problem(X, TARGETS, "squared", penalty=fasthoag.GroupRidge(GROUPS))


@cache
def of_one_strength():
    names = [f"gene {j}" for j in range(8)]
    named = named_by_problem(RESULT, PROBLEM, RESULT.w_all, names, None)
    settings = {"loss": "squared", "file": "/a/long/path/" * 20 + "rows.txt", "seed": None}
    return page(RESULT, 150, settings, named=named)


@cache
def of_groups():
    result = fasthoag.hoag(OF_GROUPS, RULE)
    return page(result, named=named_by_problem(result, OF_GROUPS, result.w_all, None, None))


@cache
def of_several_models():
    model = fasthoag.LinearSVCCV(cv=3).fit(X, LABELS)
    models = list(zip(model.classes_, model.hoag_result_, strict=True))
    return page(models, named=named_by_estimator(model))


@cache
def of_failure():
    failed = replace(RESULT, status="inner_failed", value=np.nan, message="Not solved. Scale.")
    return page(failed, warnings=["a column has no digits left"], is_command=True)


PAGES = {
    "one strength": of_one_strength,
    "groups": of_groups,
    "several models": of_several_models,
    "failure": of_failure,
}
