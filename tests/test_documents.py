"""What the documents beside the code say of it is so."""

import ast
import contextlib
import importlib
import inspect
import os
import re
import shutil
import subprocess
import tokenize
import tomllib
import warnings
from io import StringIO
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
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
)
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
# A fenced block of Python, whether a comment before it says why it is not run, and a block of text
# that comes right after it.
BLOCK = re.compile(
    r"^(<!-- not run: [^\n]+ -->\n)?```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
CONTRIBUTING = TEXTS["CONTRIBUTING.md"]


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


# ---- the code of the pages ----


def blocks_of(page):
    """(code, the line it begins at, a block of text right after it or None) of the Python blocks
    that are to run."""
    text = TEXTS[page]
    return [
        (block[2], text.count("\n", 0, block.start(2)), block[3])
        for block in BLOCK.finditer(text)
        if block[1] is None
    ]


def shown_by(code):
    """The values that comments show, by the number of their line; comments in words show none."""
    values = {}
    for token in tokenize.generate_tokens(StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            with contextlib.suppress(SyntaxError, ValueError):
                values[token.start[0]] = ast.literal_eval(token.string.lstrip("# "))
    return values


def run(code, names, page="page", line=0):
    """Runs code that begins after this line of a page; how many of its values were compared."""
    code = "\n" * line + code  # so that errors name the line
    shown, n_compared = shown_by(code), 0
    for statement in ast.parse(code).body:
        if not (isinstance(statement, ast.Expr) and statement.end_lineno in shown):
            exec(compile(ast.Module([statement], []), page, "exec"), names)
            continue
        found = eval(compile(ast.Expression(statement.value), page, "eval"), names)
        assert_is(found, shown[statement.end_lineno], f"{page}:{statement.end_lineno}")
        n_compared += 1
    return n_compared


def assert_is(found, shown, where):
    """Numbers to two digits: other machines have other last ones. ``...`` leaves a value open."""
    if shown is ...:
        return
    if isinstance(shown, (tuple, list)):
        assert len(found) == len(shown), where
        for one, other in zip(found, shown, strict=True):
            assert_is(one, other, where)
    elif isinstance(shown, dict):
        assert found.keys() == shown.keys(), where
        for name, value in shown.items():
            assert_is(found[name], value, where)
    elif isinstance(shown, float):
        assert np.ndim(found) == 0, where
        assert found == pytest.approx(shown, rel=0.02), where
    else:
        assert found == shown, (where, found)


def assert_prints(printed, shown, page):
    """Words as they are, and numbers to a percent; but a share of an error, which is rounding."""
    number = re.compile(r"\(?(\d+\.\d+(?:e-\d+)?)\)?,?")
    shown, printed = shown.split(), printed.split()
    assert len(shown) == len(printed), page
    for one, other in zip(shown, printed, strict=True):
        if not (number.fullmatch(one) and number.fullmatch(other)):
            assert one == other, page
        elif "e-" not in one:
            a, b = (float(number.fullmatch(text)[1]) for text in (one, other))
            assert b == pytest.approx(a, rel=0.01), page


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_the_code_of_a_page_gives_what_the_page_shows(page, tmp_path, monkeypatch, capsys):
    """From top to bottom, in one namespace and an empty folder, without a warning: values in
    comments, what is printed where a block of text comes next, and pictures."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names, n_compared = {"__name__": page}, 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a page that means one catches it
        for code, line, text in blocks_of(page):
            n_compared += run(code, names, page, line)
            printed = capsys.readouterr().out
            if text is not None:
                assert_prints(printed, text, page)
                n_compared += 1
    assert n_compared > 0
    compare = pytest.importorskip("matplotlib.testing.compare")
    shown = re.findall(r"!\[[^]]*\]\([^)]*?([\w-]+\.png)\)", TEXTS[page])
    for name in (name for name in shown if (tmp_path / name).exists()):
        # 255 is black for white; other versions of matplotlib and FreeType draw letters otherwise.
        differs = compare.compare_images(ROOT / "docs/figures" / name, tmp_path / name, tol=8)
        assert differs is None, differs


def test_the_first_page_shows_what_it_prints_and_draws():
    """The test of its code has something to compare."""
    assert sum(text is not None for *_, text in blocks_of("docs/first.md")) == 3
    assert 'savefig("first.png"' in TEXTS["docs/first.md"]
    assert "](figures/first.png)" in TEXTS["docs/first.md"]


def test_wrong_values_and_texts_are_found():
    names = {"found": {"a": (1, np.float64(2.0)), "b": "c"}}
    assert run("found  # {'a': (1, 2.01), 'b': ...}\nfound  # in words", names) == 1
    for wrong in ("{'a': (1, 2.1), 'b': 'c'}", "{'a': (1, 2.0)}", "{'a': (1,), 'b': 'c'}"):
        with pytest.raises(AssertionError, match="page:8"):
            run(f"found  # {wrong}", names, line=7)
    assert_prints("C = 1.5, within 2.5e-5 %", "C = 1.49, within 7.1e-6 %", "page")
    with pytest.raises(AssertionError):
        assert_prints("C = 1.5", "C = 1.6", "page")


def test_every_block_of_python_is_one_that_the_tests_find():
    """None is indented or has words after its language, which would keep it from being run."""
    for page, text in TEXTS.items():
        said = re.findall(r"^\s*(?:```+|~~~+) *\{?\w*python.*$", text, re.MULTILINE)
        assert len(said) == len(BLOCK.findall(text)), page


# ---- the site ----


@pytest.fixture
def docs_module(monkeypatch):
    """Imports a module beside the pages, which makes some of them."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module


def test_every_public_name_is_on_a_page_of_the_reference(docs_module):
    pages = docs_module("reference").pages()
    listed = set(re.findall(r"^   ~(\S+)$", "\n".join(pages.values()), re.MULTILINE))
    for part in ("", "plots", "penalties", "criteria", "estimators", "io", "kernels", "design"):
        module = importlib.import_module(f"fasthoag.{part}".rstrip("."))
        assert module.__all__
        for name in module.__all__:
            full = {f"fasthoag.{name}", f"{module.__name__}.{name}"} & listed
            assert len(full) == 1, f"{module.__name__}.{name}"
            (name,) = full
            assert re.search(rf"^.. auto\w+:: {name}$", pages[f"{name}.rst"], re.MULTILINE)


def test_every_name_of_the_package_is_among_what_there_is():
    page = TEXTS["docs/features.md"]
    assert [name for name in fasthoag.__all__ if not re.search(rf"\b{name}\b", page)] == []


def test_sections_of_docstrings_list_names():
    """A sentence after the last name would be taken for the next one."""
    heads = re.compile(r"^(Parameters|Attributes)\n-+\n((?:.+\n?|\n(?!\S+\n-))*)", re.MULTILINE)
    for name in fasthoag.__all__:
        one = getattr(fasthoag, name)
        bases = one.__mro__ if isinstance(one, type) else ()
        ours = [base for base in bases if base.__module__.startswith("fasthoag")]
        for member in (one, *(member for base in ours for member in vars(base).values())):
            for _, text in heads.findall(inspect.getdoc(member) or ""):
                lines = [line for line in text.splitlines() if line and not line.startswith(" ")]
                odd = [line for line in lines if not re.match(r"\*{0,2}\w+(, \w+)*( :|$)", line)]
                assert odd == [], name


def test_the_readme_is_one_page():
    assert len(TEXTS["README.md"].splitlines()) <= 110


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files_and_headings(page):
    """By paths from the page, as GitHub and the site both read them."""
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL))
    folder = (ROOT / page).parent
    for path, _, heading in (link.partition("#") for link in links if "://" not in link):
        there = folder / path if path else ROOT / page
        assert there.exists(), path
        if heading:
            heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}


@pytest.mark.parametrize("page", PAGES)
def test_rows_of_a_table_have_as_many_cells(page):
    """A bar ends a cell, within code too."""
    for table in re.findall(r"(?:^\|.*\n)+", TEXTS[page], re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


def test_the_list_of_files_names_every_file_and_no_other():
    page = TEXTS["docs/how_it_is_built.md"]
    listed = re.findall(r"^((?:csrc|fasthoag)/\S*)", page, re.MULTILINE)
    assert len(listed) > 40
    assert [path for path in listed if not (ROOT / path).exists()] == []
    files = {*(ROOT / "fasthoag").rglob("*.py"), *(ROOT / "csrc").rglob("*.[chp]*")}
    names = {path.name for path in files} - {"__init__.py"}
    assert sorted(name for name in names if not re.search(rf"\b{re.escape(name)}\b", page)) == []


def test_options_that_pages_name_are_those_of_the_command(docs_module):
    """In commands, and alone between back quotes; those of other programs are in their lines."""
    pytest.importorskip("typer")
    known = set(re.findall(r"--[a-z][\w-]*", docs_module("commands").page()))
    assert len(known) > 50
    command = re.compile(r"^fasthoag (?:.*\\\n)*.*$|`(?:fasthoag |--)[^`]*`", re.MULTILINE)
    for page in (page for page in PAGES if page != "CONTRIBUTING.md"):
        said = "\n".join(command.findall(TEXTS[page]))
        assert set(re.findall(r"--[a-z][\w-]*", said)) <= known, page


# ---- names of files and functions ----


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page):
    paths = re.findall(r"`((?:fasthoag|csrc|tests|bench|docs)/[\w/]*\w\.\w+)`", TEXTS[page])
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_functions_that_the_tour_names_are_in_the_files_that_it_names():
    tour = TEXTS["docs/how_it_works.md"]
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
