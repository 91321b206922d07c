"""scikit-learn's own tests with fasthoag's estimators in the place of theirs.

``python bench/peers/sklearn_suites.py`` runs the tests of the installed scikit-learn that use
LogisticRegressionCV, RidgeCV or RidgeClassifierCV, sorts what came of each, prints a table, and
with ``--write`` puts it into docs/scikit-learn-tests.md. None of their code is here: this file is
the plugin of pytest that puts our classes in the place of theirs before their tests are imported.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scikit-learn-tests.md"
NAMES = "LogisticRegressionCV", "RidgeCV", "RidgeClassifierCV"
SUITES = (
    "sklearn.linear_model.tests.test_logistic",
    "sklearn.linear_model.tests.test_ridge",
    "sklearn.linear_model.tests.test_common",
    "sklearn.impute.tests.test_impute",
    "sklearn.utils.tests.test_pprint",
)
KINDS = "passes", "wrong", "missing", "not meaningful"
RECORD = "FASTHOAG_SUITES_RECORD"  # the file that the plugin writes to

# What a test that does not pass is, by its name and by how it failed: the first that fits counts.
# A failure that fits none is wrong.
REASONS = [
    (
        "not meaningful",
        r"",
        r"DID NOT WARN.*FutureWarning|Regex pattern did not match.*FutureWarning",
        "asks for the warning that a name of theirs will change",
    ),
    (
        "not meaningful",
        r"",
        r"_RidgeGCV|_log_reg_scoring_path|_parameter_constraints|no attribute '_(?!fit_)\w+'",
        "tests a private function or attribute of theirs",
    ),
    ("not meaningful", r"test_pprint|repr", r"", "the printed parameters are theirs"),
    (
        "not meaningful",
        r"",
        r"InvalidParameterError|Regex pattern did not match|DID NOT RAISE",
        "asks for an error of theirs in their words, or where this package has an answer",
    ),
    (
        "not meaningful",
        r"mock_scorer",
        r"AssertionError",
        "its scorer counts its calls and looks at no model",
    ),
    (
        "not meaningful",
        r"test_ridge_gcv_vs_ridge_loo_cv|test_ridge_gcv_sample_weights",
        r"^AssertionError: assert [\d.]+ == [\d.]+ ±|^ValueError: [\d.]+ is not in list",
        "asks two searches for the same strength of a list; here it is continuous, each to its tol",
    ),
    (
        "not meaningful",
        r"test_ridgecv_sample_weight$",
        r"^AssertionError: assert [\d.]+ == ",
        "asks for the strength of a grid by R², here the squared error chooses",
    ),
    (
        "not meaningful",
        r"test_dense_sparse|test_ridge_regression_custom_scoring",
        r"^(?:AssertionError: )?assert .* == [\d.]+ ±",
        "a scorer that is a constant: theirs takes the first strength, ours that of least loss",
    ),
    (
        "not meaningful",
        r"test_ridge_cv_individual_penalties",
        r"Arrays are not equal.*Max relative difference among violations: \S+e-1[4-6]",
        "asks two fits for the same bits of a strength; here it is continuous, alike to 14 digits",
    ),
    (
        "not meaningful",
        r"alphas_validation",
        r"^ValueError: alphas must be",
        "asks for an error of theirs in their words, or where this package has an answer",
    ),
    (
        "missing",
        r"array_api",
        r"wrong namespace|array_api_strict",
        "arrays other than NumPy's and CuPy's become NumPy's; other devices are not read",
    ),
    (
        "missing",
        r"test_logistic_regression_cv_refit",
        r"Not equal to tolerance",
        "asks for more digits than the final fit has without refit_tol=",
    ),
    (
        "not meaningful",
        r"test_logistic_cv\[",
        r"not almost equal to 6 decimals",
        "compares with liblinear, which is 2e-5 from the optimum; ours is 2e-8",
    ),
    ("missing", r"", r"ℓ1 norm", "the ℓ1 norm is not there yet (refused by a sentence)"),
    (
        "not meaningful",
        r"scores_differ_when_sample_weight|metadata_routing",
        r"takes no sample_weight|unexpected keyword argument 'extra_param'",
        "asks for an error of theirs in their words, or where this package has an answer",
    ),
    ("missing", r"", r"unexpected keyword argument '(\w+)'", "no parameter {}"),
    ("missing", r"", r"has no attribute '(\w+)'", "no attribute {}"),
    ("missing", r"", r"are large and not kept", "coefs_paths_ needs store_cv_results=True"),
    ("missing", r"", r"^(?:ValueError|TypeError): (.{0,70})", "refused: {}"),
]


# ---- the plugin ----


def in_place_of_theirs():
    """Puts our classes in the place of theirs; returns the set that names those that are used."""
    import sklearn.linear_model
    from sklearn.linear_model import _logistic, _ridge

    import fasthoag

    used = set()
    for name in NAMES:
        ours = watched(getattr(fasthoag, name), used)
        for module in (sklearn.linear_model, _logistic, _ridge):
            if name in vars(module):
                setattr(module, name, ours)
    return used


def watched(ours, used):
    """The class under its own name, which adds its name to `used` whenever it is touched."""

    def new(cls, *args, **kwargs):
        used.add(ours.__name__)
        return object.__new__(cls)

    def get(self, name):
        used.add(ours.__name__)
        return ours.__getattribute__(self, name)

    return type(
        ours.__name__, (ours,), {"__new__": new, "__getattribute__": get, "__doc__": ours.__doc__}
    )


class Plugin:
    """Keeps what came of every test that used one of our classes."""

    def __init__(self, path):
        self.used, self.path = in_place_of_theirs(), path

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        self.used.clear()
        yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = (yield).get_result()
        if call.when != "call" and report.outcome == "passed":
            return
        error = call.excinfo
        said = "" if error is None else f"{error.typename}: {error.value}"
        one = {
            "test": item.nodeid.split("::", 1)[1],
            "suite": item.path.stem,
            "outcome": report.outcome,
            "used": sorted(self.used),
            "said": said[:2000],
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(one) + "\n")


def pytest_configure(config):
    config.pluginmanager.register(Plugin(os.environ[RECORD]), "fasthoag_in_place_of_theirs")


# ---- what came of the tests ----


def run(suites, chosen):
    """What came of the tests of these modules: a dict for each that used one of our classes."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.jsonl"
        record.touch()
        here = str(Path(__file__).resolve().parent)
        paths = [here, *sys.path]
        environment = os.environ | {RECORD: str(record), "PYTHONPATH": os.pathsep.join(paths)}
        environment["SCIPY_ARRAY_API"] = "1"  # Else their tests of array APIs are skipped.
        command = [sys.executable, "-m", "pytest", "-q", "-p", Path(__file__).stem, "--tb=no"]
        command += ["-p", "no:cacheprovider", "-p", "no:randomly", "-c", os.devnull]
        command += ["--rootdir", folder, "-W", "ignore", "-k", chosen, "--pyargs", *suites]
        subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
        found = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    return [one for one in found if one["used"] and one["outcome"] != "skipped"]


def sorted_out(one):
    """The kind of what came of a test, and its reason."""
    if one["outcome"] == "passed":
        return "passes", ""
    for kind, test, said, reason in REASONS:
        match = re.search(said, one["said"], re.DOTALL)
        if match and re.search(test, one["test"]):
            return kind, " ".join(reason.format(*match.groups()).split())
    return "wrong", one["said"].splitlines()[0][:100] if one["said"] else ""


def page(found):
    """The page of the documents: counts by suite and class, and the tests that do not pass by
    reason."""
    import sklearn

    came = [(one, *sorted_out(one)) for one in found]
    lines = [
        "# scikit-learn's tests of its own estimators",
        "",
        f"The tests of scikit-learn {sklearn.__version__} that use {', '.join(NAMES[:-1])} or",
        f"{NAMES[-1]}, run with the classes of this package in the place of theirs by",
        "`bench/peers/sklearn_suites.py`.",
        "",
        f"| suite | {' | '.join(KINDS)} |",
        f"|---|{'---:|' * len(KINDS)}",
    ]
    suites = sorted({one["suite"] for one in found})
    for suite in [*suites, "all"]:
        count = Counter(kind for one, kind, _ in came if suite in ("all", one["suite"]))
        lines.append(f"| {suite} | {' | '.join(str(count[kind]) for kind in KINDS)} |")
    for kind in KINDS[1:]:
        reasons = Counter((reason, name_of(one)) for one, k, reason in came if k == kind)
        lines += ["", f"## {kind.capitalize()}", "", "| tests | of | reason |", "|---:|---|---|"]
        lines += [
            f"| {number} | {test} | {reason} |"
            for (reason, test), number in sorted(reasons.items())
        ]
    return "\n".join(lines) + "\n"


def name_of(one):
    return one["test"].split("[")[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", default=SUITES, help="modules of tests")
    parser.add_argument("-k", default="", help="of these names only, as pytest has it")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--said", action="store_true", help="print how each failed")
    asked = parser.parse_args()
    found = run(asked.suites, asked.k)
    text = page(found)
    if asked.said:
        for one in found:
            kind, reason = sorted_out(one)
            if kind != "passes":
                print(f"{kind}: {one['test']}\n    {reason}\n    {one['said'][:300]!r}")
    print(text)
    if asked.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
