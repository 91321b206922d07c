"""Offsets on the command line: files with a number for every row."""

import json

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("typer")
pytest.importorskip("rich")

from sklearn.datasets import dump_svmlight_file
from typer.testing import CliRunner

import fasthoag
from fasthoag import cli
from fasthoag.cli.search import make_folds
from fasthoag.problem import refit


def run(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], prog_name="fasthoag")


def rates(n, seed):
    """Rows, counts and exposures."""
    rng = np.random.default_rng(seed)
    X = scipy.sparse.random(n, 6, density=0.6, format="csr", rng=rng)
    exposure = np.exp(rng.normal(size=n))
    return X, rng.poisson(exposure * np.exp(X @ np.linspace(-1, 1, 6))).astype(float), exposure


@pytest.fixture
def files(tmp_path):
    """The paths of rows, exposures and offsets of training, judging and other rows."""
    for seed, name in enumerate(("train", "valid", "test")):
        X, y, exposure = rates(120 if name == "train" else 60, seed)
        dump_svmlight_file(X, y, str(tmp_path / name), zero_based=False)
        for kind, values in (("exposure", exposure), ("offset", np.log(exposure))):
            lines = "".join(f"{value!r}\n" for value in values.tolist())
            (tmp_path / f"{name}.{kind}").write_text(lines)
        np.save(tmp_path / f"{name}.npy", np.log(exposure))
    return tmp_path


POISSON = "--loss", "poisson", "--json"


def test_offsets_and_exposures_of_any_file_give_the_model_of_hoag(files):
    X, y, exposure = rates(120, 0)
    problem = fasthoag.Problem(X, y, loss="poisson", offset=np.log(exposure))
    result = fasthoag.hoag(problem, make_folds(5, "poisson", 0))
    w = refit(problem, result.theta, result.w_all)[0]
    found = []
    for option, name in (("--offset", "offset"), ("--exposure", "exposure"), ("--offset", "npy")):
        out = files / f"model {name}"
        answer = run(
            "tune", files / "train", *POISSON, option, files / f"train.{name}", "--out", out
        )
        assert answer.exit_code == 0, answer.output
        found.append(json.loads(answer.stdout))
        model = fasthoag.load_model(out)
        assert model.has_offset
        np.testing.assert_allclose([*model.coef[0], *model.intercept], w, rtol=1e-6, atol=1e-8)
    assert found[0]["value"] == pytest.approx(result.value, rel=1e-9)
    assert found[0]["settings"]["offset"] == str(files / "train.offset")


def test_rows_that_judge_and_others_have_their_own(files):
    arguments = "tune", files / "train", "--valid", files / "valid", "--test", files / "test"
    beside = []
    for role in ("", "valid-", "test-"):
        beside += [f"--{role}exposure", files / f"{role.rstrip('-') or 'train'}.exposure"]
    answer = run(*arguments, *POISSON, *beside)
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    (X, y, e), (X_val, y_val, e_val), (X_test, y_test, e_test) = (
        rates(n, seed) for seed, n in enumerate((120, 60, 60))
    )
    problem = fasthoag.Problem(X, y, loss="poisson", offset=np.log(e))
    judge, unseen = (
        fasthoag.HeldOut(rows, targets, offset=np.log(exposure))
        for rows, targets, exposure in ((X_val, y_val, e_val), (X_test, y_test, e_test))
    )
    result = fasthoag.hoag(problem, judge, unseen=unseen)
    assert found["value"] == pytest.approx(result.value, rel=1e-9)
    assert found["unseen"]["mean_loss"] == pytest.approx(result.unseen_value / 60, rel=1e-9)


def test_predict_takes_them_and_says_what_is_missing(files):
    exposure, out = files / "train.exposure", files / "model"
    tuned = run("tune", files / "train", *POISSON, "--exposure", exposure, "--out", out)
    assert tuned.exit_code == 0, tuned.output
    model, (X, _, e) = fasthoag.load_model(out), rates(60, 2)
    expected = model.predict(X, offset=np.log(e))
    for option in ("offset", "exposure"):
        answer = run("predict", out, files / "test", f"--{option}", files / f"test.{option}")
        assert answer.exit_code == 0, answer.output
        np.testing.assert_allclose([float(x) for x in answer.stdout.split()], expected, rtol=1e-12)
    answer = run("predict", out, files / "test")
    assert answer.exit_code == 1
    assert "pass --offset or --exposure with a number for every row of" in answer.stderr
    answer = run("predict", out, files / "test", "--exposure", exposure)
    assert "train.exposure has 120 numbers and" in answer.stderr
    plain = files / "plain"
    assert run("tune", files / "train", *POISSON, "--out", plain).exit_code == 0
    answer = run("predict", plain, files / "test", "--offset", files / "test.offset")
    assert answer.exit_code == 1
    assert "was fitted without an offset; leave --offset or --exposure out" in answer.stderr


def test_probabilities_are_beside_the_offset(files):
    X, y, e = rates(120, 0)
    dump_svmlight_file(X, np.where(y > 1, 1, -1), str(files / "labels"), zero_based=False)
    out, offset = files / "model", ("--offset", files / "train.offset")
    assert run("tune", files / "labels", "--json", *offset, "--out", out).exit_code == 0
    answer = run("predict", out, files / "labels", "--proba", *offset)
    expected = fasthoag.load_model(out).predict_proba(X, offset=np.log(e))[:, 1]
    np.testing.assert_allclose([float(x) for x in answer.stdout.split()], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n2\n", "has 2 numbers and"),
        ("1\n" * 119 + "two\n", "line 120 must be a number; found 'two'"),
        ("1\n\n" + "1\n" * 118, "line 2 must be a number; found ''"),
        ("1\n" * 119 + "nan\n", "has nan in line 120; numbers are finite"),
        ("1\n" * 119 + "0\n", "has the exposure 0 in line 120; exposures must be positive"),
    ],
)
def test_numbers_that_cannot_be_exposures_are_refused_by_line(files, content, message):
    (files / "bad").write_text(content)
    answer = run("tune", files / "train", *POISSON, "--exposure", files / "bad")
    assert answer.exit_code == 1
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_arrays_that_are_no_numbers_of_rows_are_refused(files):
    np.save(files / "bad.npy", np.ones((120, 2)))
    answer = run("tune", files / "train", *POISSON, "--offset", files / "bad.npy")
    assert "bad.npy must hold a vector of numbers; found float64, shape (120, 2)" in answer.stderr
    (files / "bad.npy").write_bytes(b"no array")
    assert run("tune", files / "train", *POISSON, "--offset", files / "bad.npy").exit_code == 1
    answer = run("tune", files / "train", *POISSON, "--offset", files / "nowhere")
    assert "nowhere: no such file" in answer.stderr


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--offset", "o", "--exposure", "o"], "--offset excludes --exposure"),
        (["--valid-offset", "o"], "--valid-offset and --valid-exposure need --valid"),
        (["--offset", "o", "--valid", "v"], "--valid-offset or --valid-exposure is missing beside"),
        (["--test", "v", "--test-exposure", "o"], "--offset or --exposure is missing beside"),
        (["--offset", "o", "--kernel", "rbf", "--loss", "squared"], "--kernel excludes --offset"),
        (["--offset", "o", "--loss", "multinomial"], "--loss multinomial excludes --offset"),
        (["--offset", "o", "--format", "liblinear", "--out", "m"], "--format liblinear excludes"),
    ],
)
def test_options_that_cannot_be_together_are_refused_before_work(files, extra, message):
    answer = run("tune", files / "train", *extra)
    assert answer.exit_code == 2
    assert message in " ".join(answer.stderr.replace("│", " ").split())


def test_a_file_of_offsets_is_replaced_by_no_output(files):
    offset = files / "train.offset"
    for arguments in (
        ("tune", files / "train", *POISSON, "--offset", offset, "--out", offset, "--force"),
        ("tune", files / "train", "--loss", "poisson", "--offset", offset, "--report", offset),
    ):
        answer = run(*arguments)
        assert answer.exit_code == 1
        assert "is one of the inputs" in answer.stderr
