"""What the guides say is so: their blocks run, in order and in one namespace, and a comment beside
an expression shows its value."""

import ast
import re
import tokenize
import warnings
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDES = [
    *sorted(ROOT.glob("docs/guides/*.md")),
    *sorted(ROOT.glob("docs/migration/*.md")),
    ROOT / "docs/guarantees.md",
]
DIGITS = 0.02  # of a number that a comment shows: other machines have other last digits


def comments_of(block):
    """Comments by the number of their line, without ``#``."""
    tokens = tokenize.generate_tokens(StringIO(block).readline)
    found = [token for token in tokens if token.type == tokenize.COMMENT]
    return {token.start[0]: token.string.lstrip("# ") for token in found}


def shown_by(comment):
    """The value that a comment shows, or None where it is words."""
    try:
        return ast.literal_eval(comment)
    except (SyntaxError, ValueError):
        return None


def run(block, namespace):
    """Runs a block; the number of values that were compared."""
    comments, n_compared = comments_of(block), 0
    for statement in ast.parse(block).body:
        code = ast.unparse(statement)
        if not isinstance(statement, ast.Expr):
            exec(code, namespace)
            continue
        found, shown = eval(code, namespace), shown_by(comments.get(statement.end_lineno, ""))
        if shown is not None:
            assert_is(found, shown, code)
            n_compared += 1
    return n_compared


def assert_is(found, shown, code):
    if isinstance(shown, (tuple, list)):
        assert len(found) == len(shown), code
        for one, other in zip(found, shown, strict=True):
            assert_is(one, other, code)
    elif isinstance(shown, dict):
        assert found.keys() == shown.keys(), code
        for name, value in shown.items():
            assert_is(found[name], value, code)
    elif isinstance(shown, float):
        assert np.asarray(found).shape == (), code
        assert found == pytest.approx(shown, rel=DIGITS), code
    else:
        assert found == shown, (code, found)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_blocks_of_a_guide_run_and_give_what_they_show(path):
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    namespace, n_compared = {}, 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a page that means one catches it
        for block in blocks:
            n_compared += run(block, namespace)
    assert n_compared > 0 or not blocks


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_links_and_files_of_a_guide_are_there(path):
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (path.parent / link).is_file()] == []
    files = re.findall(r"`((?:fasthoag|csrc|tests|bench|docs)/[\w/]*\w\.\w+)`", text)
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_rows_of_a_table_have_as_many_cells(path):
    """A bar ends a cell, within code too."""
    tables = re.findall(r"(?:^\|.*\n)+", path.read_text(encoding="utf-8"), re.MULTILINE)
    for table in tables:
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_a_guide_is_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 100] == []
    assert len(lines) <= 130


def test_a_wrong_value_in_a_comment_is_found():
    with pytest.raises(AssertionError):
        run("1 + 1  # 3", {})
    assert run("import math\n(math.pi, 'a')  # (3.14, 'a')\nmath.pi  # in words", {}) == 1
