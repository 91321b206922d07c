"""Every script of examples/ runs, draws its picture, and shows what its docstring says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

image = pytest.importorskip("matplotlib.image", reason="examples draw pictures")

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
PAGE = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
EACH = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def run(script, *arguments):
    environment = {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, script, *arguments],
        env=os.environ | environment | {"PYTHONIOENCODING": "utf-8"},
        cwd=ROOT.anchor,  # It does not matter where a script is called.
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def committed(script):
    return ROOT / "examples" / "figures" / f"{script.stem}.png"


# ---- what a script prints, {what: numbers}, and what its docstring says of that ----


def printed(text):
    """The numbers after the last colon of each line, by what is before it."""
    lines = [line.replace("R²", "").rsplit(": ", 1) for line in text.splitlines()]
    return {what: [float(x) for x in re.findall(r"-?\d+\.?\d*", rest)] for what, rest in lines}


def claims_of_genes(found):
    one, each = found["one strength, the best of 50 by leave-one-out"], found["result"]
    assert each[0] > one[0] + 0.05
    assert f"{100 * each[0]:.0f} % of the variance\ninstead of {100 * one[0]:.0f} %" in PAGE


def claims_of_insurance_counts(found):
    names = ("and a strength for each variable", "with exposure", "one rate for all")
    deviances = [found[name][0] for name in (*names, "model without exposure")]
    assert deviances == sorted(set(deviances))


def claims_of_label_noise(found):
    names = ("a weight for every row", "clean rows only", "all rows alike")
    errors = [found[name][0] for name in names]
    assert errors == sorted(set(errors))
    assert f"from {errors[2]} % of all rows alike to {errors[0]} %" in PAGE
    n_wrong, n_rows = found["wrong labels"]
    assert 0.35 < n_wrong / n_rows < 0.4  # "almost four in ten"
    assert found["wrong labels by their weights"][0] > 0.9


def claims_of_many_targets(found):
    one, each = found["one strength for all"], found["a strength for each target"]
    assert each[0] > 1.2 * one[0]


def claims_of_penalties_by_frequency(found):
    losses = [found[name][0] for name in ("learned", "tf-idf, one strength", "one strength")]
    assert losses == sorted(set(losses))


def claims_of_text_classification(found):
    ours, default = found["fasthoag"], found["the default, C = 1"]
    assert 1.1 < default[0] / ours[0] < 1.2  # "almost a fifth higher"
    assert abs(default[1] - ours[1]) < 0.02  # "accuracy hardly depends on C"


# Which of the numbers in "result: fasthoag NUMBER against NUMBER" is better, and the rest.
CLAIMS = {
    "genes": (max, claims_of_genes),
    "insurance_counts": (min, claims_of_insurance_counts),
    "label_noise": (min, claims_of_label_noise),
    "many_targets": (max, claims_of_many_targets),
    "penalties_by_frequency": (min, claims_of_penalties_by_frequency),
    "text_classification": (min, claims_of_text_classification),
}


@pytest.mark.slow
@EACH
def test_an_example_draws_and_shows_what_it_says(script, tmp_path):
    done = run(script, tmp_path / "picture.png")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"result: fasthoag \d\.\d+ against \d\.\d+", last)
    found, (better, check) = printed(done.stdout), CLAIMS[script.stem]
    ours, theirs = found["result"]
    assert ours != theirs
    assert ours == better(ours, theirs)
    check(found)
    drawn, known = image.imread(tmp_path / "picture.png"), image.imread(committed(script))
    assert drawn.shape == known.shape
    assert np.mean((drawn[:, :, :3] < 0.9).any(axis=2)) > 0.01  # neither white nor nearly so
    # Other versions of matplotlib and of fonts draw other edges.
    assert np.abs(drawn - known).mean() < 0.03


@pytest.mark.slow
def test_an_example_gives_the_same_picture_to_the_byte(tmp_path):
    for name in ("first.png", "again.png"):
        run(ROOT / "examples" / "many_targets.py", tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "again.png").read_bytes()


@EACH
def test_an_example_is_short_and_the_page_of_examples_shows_its_picture(script):
    text = script.read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert text.count("\n") < 80
    assert committed(script).stat().st_size < 60_000
    assert f"](../examples/{script.name})" in PAGE
    assert f"](../examples/figures/{script.stem}.png)" in PAGE


def test_there_is_no_picture_without_an_example():
    pictures = (ROOT / "examples" / "figures").iterdir()
    assert {one.name for one in pictures} == {f"{one.stem}.png" for one in SCRIPTS}
