"""What the documents beside the code say of it is so."""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.optimize import check_grad

import fasthoag

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/how_it_works.md",
    "docs/offsets.md",
    "docs/paper.md",
    "docs/targets.md",
    "docs/weights_and_groups.md",
)
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_version_stands_in_one_place_and_the_documents_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    version = project["tool"]["setuptools"]["dynamic"]["version"]
    assert version == {"attr": "fasthoag.__version__"}
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {fasthoag.__version__}" in cited
    assert f"\n## [{fasthoag.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# ---- CONTRIBUTING.md ----


def patched(path):
    """A file of the project as the diffs of CONTRIBUTING.md leave it."""
    text, is_there = (ROOT / path).read_text(encoding="utf-8"), False
    for block in re.findall(r"```diff\n(.*?)```", CONTRIBUTING, re.DOTALL):
        head, *hunks = re.split(r"^@@\n", block, flags=re.MULTILINE)
        if head != f"--- a/{path}\n+++ b/{path}\n":
            continue
        is_there = True
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] != "+")
            after = "".join(line[1:] for line in lines if line[0] != "-")
            assert text.count(before) == 1, f"{path} has no such place:\n{before}"
            text = text.replace(before, after)
    assert is_there
    return text


def names_of(path):
    """What the module would define."""
    module = ModuleType("patched")
    exec(compile(patched(path), path, "exec"), vars(module))
    return module


def problem_with(**settings):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = X @ np.ones(5) + rng.normal(size=60)
    return fasthoag.Problem(X, y, loss="squared", **settings)


def test_every_diff_of_the_contributing_page_fits():
    paths = re.findall(r"^\+\+\+ b/(.*)$", CONTRIBUTING, re.MULTILINE)
    assert len(paths) > 8
    assert all(patched(path) for path in paths)


def test_the_penalty_of_the_contributing_page_has_its_derivatives():
    penalty = names_of("fasthoag/penalties/strengths.py").LagRidge()
    theta, u = np.array([0.3, -0.5]), np.arange(1.0, 6.0)
    slope = penalty.strengths_vjp(theta, u)
    assert check_grad(lambda t: u @ penalty.strengths(t, 5), lambda t: slope, theta) < 1e-5
    error = fasthoag.check_hypergrad(problem_with(penalty=penalty), fasthoag.KFold(3), theta)
    assert error < 1e-6


def test_the_criterion_of_the_contributing_page_has_its_hypergradient():
    rule = names_of("fasthoag/criteria/information.py").HannanQuinn()
    assert fasthoag.check_hypergrad(problem_with(), rule, [0.3]) < 1e-6


def test_the_solver_of_the_contributing_page_solves():
    solver = names_of("fasthoag/inner/solve.py").NORMAL_EQUATIONS
    usual, other = (
        fasthoag.hoag(problem_with(solver=one), fasthoag.KFold(4)) for one in (None, solver)
    )
    assert other.status == "converged"
    assert abs(other.theta - usual.theta) < 1e-3


def test_the_loss_of_the_contributing_page_has_the_values_that_it_says(tmp_path):
    """By the compiler that the kernels are built with."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("no C++ compiler")
    known = ast.literal_eval(re.search(r'"pseudo_huber": (\[\(.*\]),', CONTRIBUTING)[1])
    rows = "".join(f"show({y}, {z});" for y, z, *_ in known)
    (tmp_path / "losses.hpp").write_text(patched("csrc/losses.hpp"))
    (tmp_path / "main.cpp").write_text(
        f"""#include <cstdio>
        #include "losses.hpp"
        using L = fh::PseudoHuber;
        const double a[2] = {{2.0, 0.0}};
        void show(double y, double z) {{
            double v, g;
            L::value_d1(y, z, a, v, g);
            std::printf("%.17g %.17g %.17g %.17g\\n", v, g, L::d2(y, z, a), L::d3(y, z, a));
        }}
        int main() {{ {rows} }}"""
    )
    command = [compiler, "-std=c++17", "-o", tmp_path / "main", tmp_path / "main.cpp"]
    subprocess.run(command, check=True)
    printed = subprocess.run([tmp_path / "main"], check=True, capture_output=True, text=True).stdout
    found = [[float(value) for value in line.split()] for line in printed.splitlines()]
    np.testing.assert_allclose(found, [values for _, _, *values in known], rtol=1e-15, atol=1e-15)


# ---- names of files and functions ----


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:fasthoag|csrc|tests|bench|docs)/[\w/]*\w\.\w+)`", text)
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_functions_that_the_tour_names_are_in_the_files_that_it_names():
    tour = (ROOT / "docs/how_it_works.md").read_text(encoding="utf-8")
    words = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", tour, flags=re.DOTALL))
    paths = [word for word in words if "/" in word]
    assert len(paths) > 20
    code = "\n".join(
        (ROOT / path).read_text(encoding="utf-8") for path in paths if (ROOT / path).is_file()
    )
    names = {re.split(r"\W", word)[0 if "=" in word else -1] for word in words if "/" not in word}
    missing = [name for name in names if not re.search(rf"\b{re.escape(name)}\b", code)]
    assert missing == []


def test_lines_of_the_pages_are_short():
    """All but tables, which cannot be broken."""
    for page in (*PAGES, "CHANGELOG.md"):
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        long = [line for line in lines if len(line) > 100 and not line.startswith("|")]
        assert long == [], page
