"""Standard streams that are closed or full, and names of files that are no text."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("typer")
pytest.importorskip("rich")

from sklearn.datasets import dump_svmlight_file
from support.commands import run

import fasthoag
from fasthoag import report
from fasthoag.cli import tune as tune_command

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fasthoag.__file__)))
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other devices")
NO_SPACE = "fasthoag: stdout: cannot write the result: No space left on device\n"
CLOSED = "fasthoag: stdout: cannot write the result: Bad file descriptor\n"


@pytest.fixture
def train(tmp_path):
    rng = np.random.default_rng(0)
    X = scipy.sparse.random(60, 5, density=0.6, format="csr", rng=rng)
    y = np.where(X @ np.linspace(-4, 4, 5) + rng.normal(size=60) > 0, 1, -1)
    dump_svmlight_file(X, y, str(tmp_path / "train.txt"), zero_based=False)
    return tmp_path / "train.txt"


def shell(folder, command, **environment):
    """The command of a shell in this folder, which writes ``fasthoag`` for ours."""
    start = f'fasthoag() {{ "{sys.executable}" -m fasthoag "$@"; }}\n'
    return subprocess.run(
        ["sh", "-c", start + command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": ROOT} | environment,
        capture_output=True,
        timeout=120,
        check=False,
    )


@on_linux
@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
        ("2>/dev/full", 0, ""),
        (">&-", 1, CLOSED),
        (">/dev/full", 1, NO_SPACE),
        ("<&- >&- 2>&-", 1, ""),
        (">/dev/full 2>/dev/full", 1, ""),
    ],
)
def test_model_is_written_whatever_became_of_the_streams(train, streams, code, said):
    result = shell(train.parent, f"fasthoag tune train.txt --out model {streams}")
    assert (result.returncode, result.stderr.decode()) == (code, said)
    assert (b"converged" in result.stdout) == (code == 0)
    assert fasthoag.load_model(train.parent / "model").status == "converged"
    assert sorted(os.listdir(train.parent)) == ["model", "train.txt"]


@on_linux
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("--help", "No space left on device"),
        ("--version", NO_SPACE),
        ("info", NO_SPACE),
        ("tune train.txt --json", NO_SPACE),
        ("tune train.txt --report -", NO_SPACE),
    ],
)
def test_result_that_cannot_be_written_is_one_sentence(train, command, said):
    result = shell(train.parent, f"fasthoag {command} >/dev/full")
    assert result.returncode == 1
    assert said in result.stderr.decode()
    assert result.stderr.count(b"\n") == 1


@on_linux
def test_predictions_in_a_file_need_no_stdout(train):
    run("tune", train, "--out", train.parent / "model")
    closed = shell(train.parent, "fasthoag predict model train.txt --out labels >&-")
    assert (closed.returncode, closed.stderr[:9]) == (0, b"accuracy ")
    assert (train.parent / "labels").read_text().count("\n") == 60
    full = shell(train.parent, "fasthoag predict model train.txt >/dev/full")
    assert (full.returncode, full.stderr.decode()) == (1, NO_SPACE)


def test_a_dash_is_stdout_where_text_is_written(train, tmp_path):
    run("tune", train, "--out", tmp_path / "model")
    labels = run("predict", tmp_path / "model", train)
    dash = run("predict", tmp_path / "model", train, "--out", "-")
    assert (dash.exit_code, dash.stdout) == (0, labels.stdout)
    page = run("tune", train, "--report", "-")
    assert page.exit_code == 0
    assert page.stdout.startswith("<!doctype html>")
    assert page.stdout.endswith("</html>\n")
    for wrong in (("--out", "-"), ("--report", "-", "--json")):
        result = run("tune", train, *wrong)
        assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_model_that_is_not_finite_is_not_written_but_the_result_is_shown(
    train, tmp_path, monkeypatch, form
):
    fit = tune_command.fit

    def diverge(*args, **settings):
        result, w = fit(*args, **settings)
        return result, w * np.nan

    monkeypatch.setattr(tune_command, "fit", diverge)
    result = run("tune", train, "--out", tmp_path / "model", *form)
    assert result.exit_code == 1
    assert "coef has numbers that are not finite" in result.stderr
    assert "lam" in result.stdout or "strength λ" in result.stdout
    assert not (tmp_path / "model").exists()


# ---- names that are no text ----

LOCALES = {
    "UTF-8": {},
    "C": {"LC_ALL": "C"},
    "ASCII": {"PYTHONIOENCODING": "ascii"},
    "C without UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@on_linux
@pytest.mark.parametrize("locale", LOCALES.values(), ids=LOCALES.keys())
@pytest.mark.parametrize("form", ["", "--json"])
def test_names_that_are_no_text_go_through_everything(train, locale, form):
    folder = os.fsencode(train.parent) + b"/"
    try:
        os.rename(train, folder + b"caf\xe9.txt")
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    command = 'odd=$(printf "\\351"); fasthoag tune caf$odd.txt --out m$odd --report p$odd ' + form
    result = shell(train.parent, command, **locale)
    assert (result.returncode, result.stderr) == (0, b"")
    assert sorted(os.listdir(folder)) == [b"caf\xe9.txt", b"m\xe9", b"p\xe9"]
    with open(folder + b"p\xe9", encoding="utf-8") as page:
        assert "converged" in page.read()
    if form:
        name = json.loads(result.stdout.decode())["settings"]["train"]
        assert name.encode() == b"caf\\udce9.txt"  # text, with the byte as an escape
    again = shell(train.parent, command, **locale)
    assert again.returncode == 1
    assert again.stderr.count(b"\n") == 1
    assert b"exists; --force replaces it" in again.stderr
    odd = shell(train.parent, 'odd=$(printf "\\351"); fasthoag predict m$odd caf$odd.txt', **locale)
    assert odd.returncode == 0
    assert odd.stdout.count(b"\n") == 60


def test_json_is_text_whatever_it_holds():
    text = report.dump({"a": "\udce9", "b": ["\ud83d", "猫 λ"]})
    assert json.loads(text) == {"a": "\\udce9", "b": ["\\ud83d", "猫 λ"]}


# ---- disks ----


@pytest.mark.parametrize(
    ("labels", "loss", "n_bytes"), [("1 -1", "logistic", 48), ("1 2 3", "multinomial", 144)]
)
def test_model_that_does_not_fit_on_its_disk_is_refused_before_work(
    tmp_path, monkeypatch, labels, loss, n_bytes
):
    train = tmp_path / "rows.txt"
    train.write_text(
        "".join(f"{label} 1:{i} 5:1\n" for i in range(1, 9) for label in labels.split())
    )
    left = n_bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=left))
    arguments = ("tune", train, "--loss", loss, "--out", tmp_path / "model")
    assert run(*arguments).exit_code in (0, 3)
    left = n_bytes - 1
    monkeypatch.setattr(fasthoag, "hoag", lambda *args, **options: pytest.fail("work was done"))
    result = run(*arguments, "--force")
    assert result.exit_code == 1
    assert f"model: the model takes {n_bytes} bytes, and its disk has {left} left" in result.stderr
