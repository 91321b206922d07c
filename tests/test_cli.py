import bz2
import errno
import gzip
import json
import lzma
import os
import subprocess
import sys
import time
import urllib.error

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("typer")
pytest.importorskip("rich")

from sklearn import datasets
from sklearn.datasets import dump_svmlight_file
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from support.commands import assert_fails, forbid_work, make_rows, run, run_json

import fasthoag
from fasthoag import report
from fasthoag.cli import demo
from fasthoag.io import replacement, svmlight
from fasthoag.losses import LOSSES
from fasthoag.problem import refit

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fasthoag.__file__)))
COMPRESS = {".bz2": bz2.compress, ".gz": gzip.compress, ".xz": lzma.compress}


def python(*args, **options):
    environment = os.environ | {"PYTHONPATH": ROOT}
    return subprocess.run(
        [sys.executable, *args],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.fixture
def rows(tmp_path):
    """A file of rows under this name."""

    def write(name="train.txt", n_rows=160, seed=0, **options):
        X, y = make_rows(n_rows, seed, **options)
        dump_svmlight_file(X, y, str(tmp_path / name), zero_based=False)
        return tmp_path / name

    return write


# ---- start ----


def test_help_is_quick():
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        result = python("-m", "fasthoag", "--help")
        seconds.append(time.perf_counter() - began)
        assert result.returncode == 0
        assert "predict" in result.stdout
    assert min(seconds) < 1.5  # 0.6 s is promised; a busy machine doubles it


def test_import_brings_neither_sklearn_nor_typer_nor_rich():
    code = (
        "import sys, fasthoag; print([name for name in ('sklearn', 'typer', 'rich') if name in "
        "sys.modules])"
    )
    assert python("-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_typer_or_rich_a_sentence_says_what_to_install(missing):
    result = python(
        "-c", f"import sys; sys.modules[{missing!r}] = None; from fasthoag.cli import main"
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert 'pip install "fasthoag[cli]"' in result.stderr


# ---- tune ----


def test_tune_prints_plain_text_when_stdout_is_no_terminal(rows):
    result = run("tune", rows())
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith("status")
    assert "converged" in result.stdout
    assert "strength λ" in result.stdout
    assert not set("\x1b─│━┃") & set(result.stdout)


def test_tune_finds_what_hoag_finds_on_shuffled_stratified_folds(rows):
    found = run_json("tune", rows(), "--seed", 3, "--cv", 4, "--tol", 1e-6)
    X, y = make_rows(160, 0)
    folds = StratifiedKFold(4, shuffle=True, random_state=3)
    expected = fasthoag.hoag(fasthoag.Problem(X, y), fasthoag.KFold(folds), tol=1e-6)
    np.testing.assert_allclose(found["theta"], expected.theta, atol=1e-3)
    np.testing.assert_allclose(found["fold_values"], expected.fold_values, rtol=1e-6)
    np.testing.assert_allclose(found["C"], 1 / np.array(found["lam"]))
    np.testing.assert_allclose(found["mean_loss"], found["value"] / 160)
    assert found["status"] == "converged"
    assert found["trace"][-1]["phase"] == "all"
    assert found["n_passes"] > 0
    assert found["seconds"] > 0
    assert (
        found["settings"] | {"seed": 3, "cv": 4, "n_rows": 160, "n_features": 12}
        == found["settings"]
    )
    assert found["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_text_and_npz_are_the_same_data(rows, tmp_path, suffix):
    plain = rows()
    packed = tmp_path / ("packed" + suffix)
    packed.write_bytes(COMPRESS[suffix](plain.read_bytes()))
    X, y = make_rows(160, 0)
    scipy.sparse.save_npz(tmp_path / "train.npz", X)
    np.save(tmp_path / "train.npy", y)
    np.save(tmp_path / "other.npy", y)
    expected = run_json("tune", plain, "--threads", 1)["theta"]
    np.testing.assert_allclose(
        run_json("tune", packed, "--threads", 1)["theta"], expected, atol=1e-6
    )
    np.testing.assert_allclose(
        run_json("tune", tmp_path / "train.npz", "--threads", 1)["theta"], expected, atol=1e-6
    )
    (tmp_path / "train.npy").unlink()
    found = run_json(
        "tune", tmp_path / "train.npz", "--labels", tmp_path / "other.npy", "--threads", 1
    )
    np.testing.assert_allclose(found["theta"], expected, atol=1e-6)


def test_file_judged_by_another_gives_the_model_of_the_training_rows(rows, tmp_path):
    train, valid = rows(), rows("valid.txt", seed=1, n_features=14)  # with two features more
    found = run_json("tune", train, "--valid", valid, "--out", tmp_path / "model", "--tol", 1e-6)
    assert found["settings"]["cv"] is None
    assert found["settings"]["n_features"] == 14
    assert len(found["fold_values"]) == 1
    model = fasthoag.load_model(tmp_path / "model")
    X, y = make_rows(160, 0)
    X.resize(160, 14)
    exact = LogisticRegression(C=found["C"][0], tol=1e-10, max_iter=10000).fit(X.toarray(), y)
    np.testing.assert_allclose(model.coef, exact.coef_, atol=1e-3)
    np.testing.assert_allclose(model.intercept, exact.intercept_, atol=1e-3)


def test_k_fold_model_is_fitted_on_all_rows(rows, tmp_path):
    found = run_json("tune", rows(), "--no-intercept", "--out", tmp_path / "model")
    model = fasthoag.load_model(tmp_path / "model")
    X, y = make_rows(160, 0)
    exact = LogisticRegression(C=found["C"][0], tol=1e-10, max_iter=10000, fit_intercept=False).fit(
        X.toarray(), y
    )
    np.testing.assert_allclose(model.coef, exact.coef_, atol=1e-3)
    assert model.intercept == 0
    assert model.status == "converged"
    np.testing.assert_array_equal(model.lam, found["lam"])


def test_options_reach_hoag(rows, monkeypatch):
    seen = {}

    def hoag(problem, criterion, **settings):
        seen.update(
            settings,
            dtype=problem.design.dtype,
            low_memory=problem.low_memory,
            has_intercept=problem.fit_intercept,
        )
        raise ValueError("enough")

    monkeypatch.setattr(fasthoag, "hoag", hoag)
    assert_fails(
        run(
            "tune",
            rows(),
            "--method",
            "hoag",
            "--schedule",
            "cubic",
            "--tol",
            0.01,
            "--max-iter",
            7,
            "--theta0",
            -1.5,
            "--bounds",
            "-3,4",
            "--threads",
            1,
            "--float32",
            "--low-memory",
            "--no-intercept",
            "--max-seconds",
            60,
        ),
        "enough",
    )
    expected = {
        "method": "hoag",
        "schedule": "cubic",
        "tol": 0.01,
        "max_iter": 7,
        "theta0": -1.5,
        "bounds": (-3.0, 4.0),
        "n_trials": None,
        "random_state": None,
        "n_threads": 1,
        "dtype": np.float32,
        "low_memory": True,
        "has_intercept": False,
        "max_seconds": 60.0,
    }
    assert callable(seen.pop("callback"))  # lines of progress
    assert seen == expected


def test_deterministic_gives_the_same_bits_for_every_number_of_threads(rows):
    one, two = (run_json("tune", rows(), "--deterministic", "--threads", n) for n in (1, 2))
    assert one["theta"] == two["theta"]
    assert one["value"] == two["value"]


@pytest.mark.parametrize(
    ("extra", "status"),
    [(("--bounds", "5,9"), "at_bound"), (("--max-iter", "1", "--tol", "1e-9"), "max_iter")],
)
def test_result_that_did_not_converge_is_shown_and_written_with_exit_code_3(
    rows, tmp_path, extra, status
):
    result = run("tune", rows(), *extra, "--out", tmp_path / "model", "--json")
    assert result.exit_code == 3
    assert (
        json.loads(result.stdout)["status"]
        == status
        == fasthoag.load_model(tmp_path / "model").status
    )
    assert result.stderr.startswith(f"fasthoag: {status}: ")
    assert result.stderr.count("\n") == 1


def test_rows_that_are_held_back_end_a_search_of_many_strengths_as_asked(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 200))
    path = tmp_path / "rows.svm"
    dump_svmlight_file(X, np.where(X[:, 0] + rng.normal(size=300) > 0, 1, -1), str(path))
    result = run("tune", path, "--per", "feature", "--json")
    assert json.loads(result.stdout)["status"] == "stopped_early"
    assert result.exit_code == 0
    assert "stop_on" in result.stderr


def test_infinite_and_missing_numbers_are_null_in_json():
    text = report.dump(
        {"a": np.array([1.0, np.nan]), "b": (np.inf, np.int64(2), np.bool_(True)), "c": None}
    )
    assert json.loads(text) == {"a": [1.0, None], "b": [None, 2, True], "c": None}


def test_report_is_one_page_without_outside_parts(rows, tmp_path):
    assert run("tune", rows(), "--report", tmp_path / "page.html").exit_code == 0
    text = (tmp_path / "page.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "converged" in text


def test_live_trace_is_shown_on_a_terminal_only(rows):
    if not hasattr(os, "openpty"):
        pytest.skip("needs pseudo-terminals")
    terminal, end = os.openpty()
    command = [sys.executable, "-m", "fasthoag", "tune", str(rows()), "--json", "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": ROOT, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, env=environment)
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 4096):  # all along: a full terminal blocks who writes to it
            shown += part
    except OSError:  # Linux says so at the end
        pass
    printed, shown = process.communicate()[0].decode(), shown.decode()
    os.close(terminal)
    assert process.returncode == 0
    assert json.loads(printed)["status"] == "converged"
    assert "criterion" in shown
    assert "look" in shown
    assert "…" not in shown


def test_interrupt_leaves_nothing_behind(rows, tmp_path, monkeypatch):
    def hoag(*args, **settings):
        raise KeyboardInterrupt

    train = rows()
    monkeypatch.setattr(fasthoag, "hoag", hoag)
    result = run("tune", train, "--out", tmp_path / "model")
    assert result.exit_code == 130
    assert result.stdout == ""
    assert os.listdir(tmp_path) == ["train.txt"]


# ---- what is refused ----


def test_three_labels_are_refused_for_logistic_loss(tmp_path):
    (tmp_path / "three.txt").write_text("1 1:1\n2 1:2\n3 1:3\n")
    assert_fails(run("tune", tmp_path / "three.txt"), "3 distinct labels", "--loss squared")


def test_labels_that_training_rows_lack_are_refused(rows):
    train, valid = rows(labels=(0, 1)), rows("valid.txt", labels=(1, 2))
    assert_fails(run("tune", train, "--valid", valid), "valid.txt has the label 2")


@pytest.mark.parametrize("content", [None, "1 2:x\n", "1 1:1\n-1 1:2\n"])
def test_bad_input_is_a_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "bad.txt").write_text(content)
    assert_fails(run("tune", tmp_path / "bad.txt"))


def test_debug_shows_the_exception(tmp_path):
    assert isinstance(run("tune", tmp_path / "none.txt", "--debug").exception, FileNotFoundError)


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_outputs_are_checked_before_work(rows, tmp_path, monkeypatch, option):
    train = rows()
    (tmp_path / "old").write_text("precious")
    forbid_work(monkeypatch)
    assert_fails(run("tune", train, option, tmp_path / "old"), "old exists", "--force")
    assert_fails(run("tune", train, option, tmp_path / "none" / "model"), "no folder")
    assert_fails(run("tune", train, option, train, "--force"), "one of the inputs")
    assert_fails(run("tune", train, option, tmp_path, "--force"), "not an ordinary file")
    assert_fails(run("tune", train, option, os.devnull, "--force"), "not an ordinary file")
    assert (tmp_path / "old").read_text() == "precious"


@pytest.mark.parametrize("other", ["x", "./x", "folder/../x", "link", "link_of_folder/x"])
def test_out_and_report_must_differ_however_they_are_spelled(rows, tmp_path, monkeypatch, other):
    train = rows()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "x")
    (tmp_path / "link_of_folder").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    forbid_work(monkeypatch)
    result = run("tune", train, "--out", tmp_path / "x", "--report", other, "--force")
    assert result.exit_code == 2
    assert "are the same file" in result.stderr


@pytest.mark.parametrize("how", ["itself", "hard link", "symbolic link"])
@pytest.mark.parametrize("option", ["--out", "--report"])
@pytest.mark.parametrize(
    ("inputs", "victim"),
    [
        (["train.txt"], "train.txt"),
        (["train.txt", "--valid", "other.txt"], "other.txt"),
        (["train.txt", "--test", "other.txt"], "other.txt"),
        (["train.txt", "--groups", "groups"], "groups"),
        (["train.npz"], "train.npy"),
        (["train.npz", "--labels", "labels.npy"], "labels.npy"),
        (["train.txt", "--valid", "train.npz"], "train.npy"),
        (["train.txt", "--test", "train.npz", "--test-labels", "labels.npy"], "labels.npy"),
    ],
)
def test_no_output_replaces_an_input(tmp_path, monkeypatch, how, option, inputs, victim):
    for name in ("train.txt", "other.txt", "groups", "train.npz", "train.npy", "labels.npy"):
        (tmp_path / name).write_text(name)
    out = {"itself": victim}.get(how, "output")
    if how == "hard link":
        os.link(tmp_path / victim, tmp_path / "output")
    elif how == "symbolic link":
        (tmp_path / "output").symlink_to(tmp_path / victim)
    monkeypatch.chdir(tmp_path)
    forbid_work(monkeypatch)
    for force in ((), ("--force",)):
        assert_fails(run("tune", *inputs, option, out, *force), f"{out} is one of the inputs")
    assert (tmp_path / victim).read_text() == victim


@pytest.mark.parametrize("victim", ["model", "rows.npz", "rows.npy"])
def test_predictions_replace_no_input(tmp_path, monkeypatch, victim):
    for name in ("model", "rows.npz", "rows.npy"):
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    forbid_work(monkeypatch)
    result = run("predict", "model", "rows.npz", "--out", victim, "--force")
    assert_fails(result, f"{victim} is one of the inputs")


COMMANDS = [("tune", "--out"), ("tune", "--report"), ("predict", "--out")]


@pytest.mark.parametrize(("command", "option"), COMMANDS)
def test_place_that_cannot_be_written_to_is_refused_before_work(
    rows, tmp_path, monkeypatch, command, option
):
    train = rows()
    forbid_work(monkeypatch)
    arguments = [train] if command == "tune" else [train, train]
    (tmp_path / "link").symlink_to(tmp_path / "none" / "model")
    result = run(command, *arguments, option, tmp_path / "link", "--force")
    assert_fails(result, "there is no folder", "none")
    # in a shared folder only its owner replaces a file
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "shared" / "old").write_text("precious")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 12345)
    result = run(command, *arguments, option, tmp_path / "shared" / "old", "--force")
    assert_fails(result, "old: ", "cannot be written to", "another user's")

    def refuse(path, mode="r", **options):  # a folder of another machine, or read-only
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(replacement, "open", refuse, raising=False)
    result = run(command, *arguments, option, tmp_path / "model")
    assert_fails(result, "model: the folder", "cannot be written to (Permission denied)")
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["link", "shared", "train.txt"]


@pytest.mark.parametrize("file_format", ["fasthoag", "liblinear"])
def test_name_of_the_greatest_length_is_written(rows, tmp_path, file_format):
    out = tmp_path / ("a" * 255)
    assert run("tune", rows(), "--out", out, "--format", file_format).exit_code == 0
    assert out.exists()
    assert_fails(run("tune", rows(), "--out", tmp_path / ("a" * 256)), "File name too long")


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize("victim", ["model", "page"])
@pytest.mark.parametrize(
    ("error", "exit_code", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted."),
    ],
    ids=["full", "interrupted"],
)
def test_what_is_not_written_is_not_said_to_be_but_the_result_is_shown(
    rows, tmp_path, monkeypatch, form, victim, error, exit_code, sentence
):
    train, replace = rows(), os.replace
    outputs = {"model": tmp_path / "model", "page": tmp_path / "page"}

    def fail(source, target):
        if target == os.fspath(outputs[victim]):
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    result = run("tune", train, "--out", outputs["model"], "--report", outputs["page"], *form)
    assert result.exit_code == exit_code
    assert result.stderr.count("\n") == 1
    assert sentence in result.stderr
    is_model_written = victim == "page"
    assert sorted(os.listdir(tmp_path)) == ["model"] * is_model_written + ["train.txt"]
    if form:
        shown = json.loads(result.stdout)
        assert len(shown["theta"]) == 1
        assert shown["settings"]["out"] == (str(outputs["model"]) if is_model_written else None)
        assert shown["settings"]["format"] == ("fasthoag" if is_model_written else None)
    else:
        assert "strength λ" in result.stdout
        assert (str(outputs["model"]) in result.stdout) == is_model_written
    assert str(outputs["page"]) not in result.stdout


def test_what_is_written_is_said_to_be(rows, tmp_path):
    outputs = ("--out", tmp_path / "model", "--report", tmp_path / "page")
    shown = run("tune", rows(), *outputs).stdout
    assert shown.splitlines()[-2:] == [
        f"model         {tmp_path / 'model'}",
        f"report        {tmp_path / 'page'}",
    ]
    settings = run_json("tune", rows(), *outputs, "--force")["settings"]
    assert settings["out"] == str(tmp_path / "model")
    assert settings["format"] == "fasthoag"


def test_predictions_that_are_not_written_are_not_judged(rows, tmp_path, monkeypatch):
    train = rows()
    run_json("tune", train, "--out", tmp_path / "model")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    result = run("predict", tmp_path / "model", train, "--out", tmp_path / "labels")
    assert_fails(result, "No space left on device", "labels")


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are text")
def test_report_about_a_file_whose_name_is_no_utf8_is_written(rows, tmp_path):
    train = rows()
    odd = os.fsencode(tmp_path) + b"/\xff.txt"
    try:
        os.link(train, odd)
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    result = run("tune", os.fsdecode(odd), "--report", tmp_path / "page.html")
    assert result.exit_code == 0, result.stderr
    assert "converged" in (tmp_path / "page.html").read_text()


def test_targets_of_test_rows_are_checked_before_work(tmp_path, monkeypatch):
    (tmp_path / "train.txt").write_text("1 1:1\n2 1:2\n3 1:3\n" * 5)
    (tmp_path / "test.txt").write_text("1 1:1\n-2 1:2\n")
    monkeypatch.setattr(fasthoag, "hoag", lambda *args, **options: pytest.fail("work was done"))
    assert_fails(
        run("tune", tmp_path / "train.txt", "--loss", "gamma", "--test", tmp_path / "test.txt"),
        "test.txt must contain numbers > 0 for loss 'gamma'; found -2",
    )


@pytest.fixture
def zero_rows(tmp_path):
    """A file whose features count from 0; without the feature 0 on demand."""

    def write(name, seed, has_feature_0):
        X, y = make_rows(160, seed)
        if not has_feature_0:
            X = X[:, 1:]
            X = scipy.sparse.hstack([np.zeros((160, 1)), X], format="csr")
        dump_svmlight_file(X, y, str(tmp_path / name), zero_based=True)
        return tmp_path / name

    return write


@pytest.mark.parametrize("role", ["--valid", "--test"])
@pytest.mark.parametrize("lacks", ["train", "other"])
def test_files_of_one_call_count_features_alike(zero_rows, tmp_path, role, lacks):
    train = zero_rows("train.txt", 0, lacks != "train")
    other = zero_rows("other.txt", 1, lacks != "other")
    arguments = ("tune", train, role, other, "--out", tmp_path / "model", "--force")
    found, said = run_json(*arguments), run(*arguments).stderr
    assert fasthoag.load_model(tmp_path / "model").zero_based is True
    expected = run_json(*arguments, "--zero-based")
    for name in ("theta", "value", "unseen"):
        assert found[name] == expected[name]
    assert found["settings"]["n_features"] == 12
    assert found["settings"]["zero_based"] is True
    # training rows without the first feature are rare: the files may not fit together
    if lacks == "train":
        assert said.startswith("fasthoag: warning: ")
        assert said.count("\n") == 1
        assert "train.txt has no feature 0, but" in said
        assert "other.txt has" in said
    else:
        assert said == ""
    assert run(*arguments, "--zero-based").stderr == ""
    assert_fails(run(*arguments, "--one-based"), "feature index 0, but", "counts features from 1")


def test_text_beside_npz_is_decided_by_the_text_alone(zero_rows, tmp_path):
    X, y = make_rows(160, 0)
    scipy.sparse.save_npz(tmp_path / "train.npz", X)
    np.save(tmp_path / "train.npy", y)
    arguments = ("tune", tmp_path / "train.npz", "--out", tmp_path / "model", "--force")
    for has_feature_0 in (True, False):
        valid = zero_rows("valid.txt", 1, has_feature_0)
        said = run(*arguments, "--valid", valid).stderr
        assert fasthoag.load_model(tmp_path / "model").zero_based is has_feature_0
        if has_feature_0:
            assert said == ""
        else:
            assert said.startswith("fasthoag: warning: ")
            assert "valid.txt has no feature 0, and columns of" in said
            assert said.count("\n") == 1
            assert run(*arguments, "--valid", valid, "--one-based").stderr == ""
    assert run_json(*arguments)["settings"]["zero_based"] is None
    assert fasthoag.load_model(tmp_path / "model").zero_based == "auto"
    assert_fails(run(*arguments, "--zero-based"), "zero_based: for LIBSVM text only")


def test_one_file_without_a_0_counts_features_from_1(rows, tmp_path):
    result = run("tune", rows(), "--out", tmp_path / "model")
    assert result.stderr == ""
    assert fasthoag.load_model(tmp_path / "model").zero_based is False


@pytest.mark.parametrize("index", [4_000_000_000, 3_000_000_000, 10**17, 10**30])
@pytest.mark.parametrize("role", ["TRAIN", "--valid", "--test"])
def test_feature_numbers_beyond_any_model_are_named_with_file_and_line(
    rows, tmp_path, monkeypatch, role, index
):
    bad = tmp_path / "bad.txt"
    bad.write_text(f"1 1:1\n\n# comment\n-1 2:1 {index}:1\n")
    monkeypatch.setattr(
        svmlight, "max_features_in_memory", lambda n_vectors: 2**40
    )  # a large machine
    arguments = [bad] if role == "TRAIN" else [rows(), role, bad]
    assert_fails(
        run("tune", *arguments),
        f"bad.txt: line 4: feature index in '{index}:1' is too large",
        "renumber the features",
    )


def test_features_are_as_many_as_memory_allows(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(svmlight, "max_features_in_memory", lambda n_vectors: 12)
    X, y = make_rows(160, 0)
    scipy.sparse.save_npz(tmp_path / "wide.npz", scipy.sparse.hstack([X, X]))
    np.save(tmp_path / "wide.npy", y)
    run_json("tune", rows())
    more = run("tune", rows("more.txt", n_features=13))
    assert_fails(more, "more.txt: line ", "at most 12 features is possible here")
    assert_fails(run("tune", tmp_path / "wide.npz"), "wide.npz has 24 features", "at most 12")


def test_force_replaces_outputs(rows, tmp_path):
    (tmp_path / "old").write_text("precious")
    assert run("tune", rows(), "--out", tmp_path / "old", "--force").exit_code == 0
    assert fasthoag.load_model(tmp_path / "old").loss == "logistic"


@pytest.mark.parametrize(
    "extra",
    [
        ("--cv", "1"),
        ("--loss", "hinge"),
        ("--bounds", "3"),
        ("--bounds", "a,b"),
        ("--threads", "0"),
        ("--format", "liblinear"),
        ("--valid", "x", "--cv", "3"),
        ("--valid", "x", "--seed", "3"),
        ("--valid-labels", "x"),
        ("--out", "x", "--report", "x"),
    ],
)
def test_wrong_usage_has_exit_code_2(rows, extra):
    result = run("tune", rows(), *extra)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


def test_schedule_without_its_method_is_refused(rows):
    assert_fails(run("tune", rows(), "--schedule", "cubic"), "schedule")


# ---- predict ----


def test_predict_gives_back_the_labels_of_the_file(rows, tmp_path):
    train, test = rows(labels=(3, 7)), rows("test.txt", seed=1, labels=(3, 7))
    run_json("tune", train, "--out", tmp_path / "model")
    result = run("predict", tmp_path / "model", test)
    predicted = [int(line) for line in result.stdout.splitlines()]
    _, y = make_rows(160, 1, labels=(3, 7))
    n_right = int((np.array(predicted) == y).sum())
    assert result.exit_code == 0
    assert set(predicted) == {3, 7}
    assert n_right > 100
    assert result.stderr == f"accuracy {n_right / 160:.6g} ({n_right} of 160 rows)\n"
    probabilities = [
        float(line)
        for line in run("predict", tmp_path / "model", test, "--proba").stdout.splitlines()
    ]
    np.testing.assert_array_equal(np.where(np.array(probabilities) > 0.5, 7, 3), predicted)
    assert run("predict", tmp_path / "model", test, "--out", tmp_path / "labels").stdout == ""
    assert (tmp_path / "labels").read_text() == result.stdout
    assert_fails(run("predict", tmp_path / "model", test, "--out", tmp_path / "labels"), "exists")


def test_predict_for_regression(rows, tmp_path):
    train = rows(loss="squared")
    found = run_json("tune", train, "--loss", "squared", "--out", tmp_path / "model")
    result = run("predict", tmp_path / "model", train)
    X, y = make_rows(160, 0, loss="squared")
    expected = (
        Ridge(alpha=found["lam"][0], solver="cholesky").fit(X.toarray(), y).predict(X.toarray())
    )
    np.testing.assert_allclose(
        [float(line) for line in result.stdout.splitlines()], expected, atol=1e-3
    )
    assert result.stderr.startswith("mean squared error ")
    assert_fails(run("predict", tmp_path / "model", train, "--proba"), "probabilities")


def test_predict_pads_missing_features_and_refuses_more(rows, tmp_path):
    run_json("tune", rows(), "--out", tmp_path / "model")
    (tmp_path / "few.txt").write_text("1 1:2\n-1 3:1\n")
    result = run("predict", tmp_path / "model", tmp_path / "few.txt")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 2
    said, score = result.stderr.splitlines()
    assert "few.txt has only the first 3 of the 12 features of the model; the others" in said
    assert score.startswith("accuracy ")
    (tmp_path / "none.txt").write_text("1\n-1\n")
    assert "first 0 of the 12" in run("predict", tmp_path / "model", tmp_path / "none.txt").stderr
    X, _ = make_rows(160, 0)
    scipy.sparse.save_npz(tmp_path / "few.npz", X[:, :10])
    said = run("predict", tmp_path / "model", tmp_path / "few.npz").stderr
    assert "few.npz has only the first 10 of the 12 features of the model" in said
    assert_fails(
        run("predict", tmp_path / "model", rows("more.txt", n_features=13)), "beyond the 12"
    )


def test_predict_needs_no_labels_for_npz(rows, tmp_path):
    run_json("tune", rows(), "--out", tmp_path / "model")
    X, y = make_rows(160, 0)
    scipy.sparse.save_npz(tmp_path / "new.npz", X)
    result = run("predict", tmp_path / "model", tmp_path / "new.npz")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.count("\n") == 160
    np.save(tmp_path / "new.npy", y)
    assert run("predict", tmp_path / "model", tmp_path / "new.npz").stderr.startswith("accuracy")


def probability_of(model, feature, value=1.0):
    return 1 / (1 + np.exp(-value * model.coef[0, feature] - model.intercept[0]))


def rewrite(path, **changes):
    """The model file with other fields; a field that becomes None is left out."""
    with np.load(path) as archive:
        content = dict(archive) | changes
    with open(path, "wb") as file:
        np.savez(file, **{name: value for name, value in content.items() if value is not None})


def test_predict_counts_features_as_training_did_unless_told(zero_rows, tmp_path):
    run_json("tune", zero_rows("zero.txt", 0, True), "--out", tmp_path / "model")
    (tmp_path / "one.txt").write_text("1 11:1\n")
    model = fasthoag.load_model(tmp_path / "model")
    arguments = ("predict", tmp_path / "model", tmp_path / "one.txt", "--proba")
    for extra, feature in (((), 11), (("--zero-based",), 11), (("--one-based",), 10)):
        result = run(*arguments, *extra)
        np.testing.assert_allclose(float(result.stdout), probability_of(model, feature))
        assert "warning" not in result.stderr


def test_predict_refuses_a_feature_0_where_training_counted_from_1(rows, zero_rows, tmp_path):
    run_json("tune", rows("one.txt"), "--out", tmp_path / "model")
    zero = zero_rows("zero.txt", 1, True)
    arguments = ("predict", tmp_path / "model", zero)
    assert_fails(run(*arguments), "zero.txt has a feature 0", "model was trained", "--zero-based")
    assert run(*arguments, "--zero-based").exit_code == 0
    assert_fails(run(*arguments, "--one-based"), "zero.txt: line ", "feature index 0, but")


@pytest.mark.parametrize("origin", ["version 1", "npz"])
def test_predict_warns_where_neither_model_nor_text_says_from_where_features_count(
    rows, zero_rows, tmp_path, origin
):
    train = rows("one.txt")
    if origin == "npz":
        X, y = make_rows(160, 0)
        scipy.sparse.save_npz(tmp_path / "train.npz", X)
        np.save(tmp_path / "train.npy", y)
        run_json("tune", tmp_path / "train.npz", "--out", tmp_path / "model")
    else:
        run_json("tune", train, "--out", tmp_path / "model")
        rewrite(tmp_path / "model", zero_based=None, version=1)
    (tmp_path / "two.txt").write_text("1 11:1\n-1 2:1\n")
    model = fasthoag.load_model(tmp_path / "model")
    arguments = ("predict", tmp_path / "model", tmp_path / "two.txt", "--proba")
    result = run(*arguments)
    assert "warning: " in result.stderr
    assert "two.txt has no feature 0" in result.stderr
    assert "--one-based or --zero-based" in result.stderr
    for extra, shift in (((), 1), (("--one-based",), 1), (("--zero-based",), 0)):
        result = run(*arguments, *extra)
        expected = [probability_of(model, 11 - shift), probability_of(model, 2 - shift)]
        np.testing.assert_allclose(np.array(result.stdout.split(), float), expected)
        assert ("warning" in result.stderr) == (not extra)
    zero = zero_rows("zero.txt", 1, True)  # says it itself
    assert "warning" not in run("predict", tmp_path / "model", zero).stderr


@pytest.mark.parametrize("proba", [(), ("--proba",)])
@pytest.mark.parametrize(
    ("known", "found", "unknown"),
    [
        ((-1, 1), (0, 1), "0"),
        ((0, 1), (-1, 1), "-1"),
        ((1, 2), (0, 1), "0"),
        ((-1, 1), (3, 4), "3, 4"),
        ((0, 1), (0, 1000001), "1000001"),
        ((0.25, 1), (0.5, 1), "0.5"),
    ],
)
def test_predict_refuses_labels_that_the_model_does_not_know(
    rows, tmp_path, proba, known, found, unknown
):
    run_json("tune", rows(labels=known), "--out", tmp_path / "model")
    test = rows("test.txt", labels=found)
    out = tmp_path / "out"
    for extra in ((), ("--out", out)):
        assert_fails(
            run("predict", tmp_path / "model", test, *proba, *extra),
            f"test.txt has labels that {tmp_path / 'model'} was not trained on: {unknown}. ",
            f"of the file are {found[0]}, {found[1]}, of the model {known[0]}, {known[1]}.",
            "Relabel the rows",
        )
        assert not out.exists()


def test_predict_refuses_labels_that_are_known_in_part(rows, tmp_path):
    run_json("tune", rows(), "--out", tmp_path / "model")
    (tmp_path / "part.txt").write_text("1 12:1\n-1 1:1\n0 3:1\n")
    assert_fails(
        run("predict", tmp_path / "model", tmp_path / "part.txt"), "not trained on: 0.", "-1, 0, 1"
    )


@pytest.mark.parametrize(("labels", "placeholder"), [((-1, 1), 0), ((0, 1), -1), ((3, 7), 99.5)])
@pytest.mark.parametrize("n_rows", [1, 2])
def test_rows_that_all_have_one_unknown_label_are_predicted_and_not_judged(
    rows, tmp_path, labels, placeholder, n_rows
):
    run_json("tune", rows(labels=labels), "--out", tmp_path / "model")
    (tmp_path / "new.txt").write_text(f"{placeholder} 1:1 12:3\n" * n_rows)
    result = run("predict", tmp_path / "model", tmp_path / "new.txt")
    assert result.exit_code == 0
    assert {float(line) for line in result.stdout.splitlines()} <= set(labels)
    assert result.stdout.count("\n") == n_rows
    assert f"no accuracy: all labels of {tmp_path / 'new.txt'} are {placeholder}," in result.stderr
    assert result.stderr.count("\n") == 1


def test_rows_of_one_known_label_are_judged(rows, tmp_path):
    run_json("tune", rows(labels=(0, 1)), "--out", tmp_path / "model")
    (tmp_path / "new.txt").write_text("0 1:1 12:3\n" * 2)
    assert run("predict", tmp_path / "model", tmp_path / "new.txt").stderr.startswith("accuracy ")


def test_regression_is_not_judged_by_rows_whose_labels_are_all_0(rows, tmp_path):
    run_json("tune", rows(loss="squared"), "--loss", "squared", "--out", tmp_path / "model")
    (tmp_path / "new.txt").write_text("0 1:1 12:3\n" * 2)
    result = run("predict", tmp_path / "model", tmp_path / "new.txt")
    assert result.stdout.count("\n") == 2
    assert "no mean squared error: all labels of" in result.stderr
    assert result.stderr.count("\n") == 1
    (tmp_path / "new.txt").write_text("0 1:1 12:3\n2 1:1\n")
    judged = run("predict", tmp_path / "model", tmp_path / "new.txt").stderr
    assert judged.startswith("mean squared error ")


def test_multinomial_labels_are_checked_too(tmp_path):
    X, y = datasets.load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)

    def write(name, labels):
        dump_svmlight_file(X, labels, str(tmp_path / name), zero_based=False)
        return tmp_path / name

    model = tmp_path / "model"
    run("tune", write("iris.txt", y + 1), "--loss", "multinomial", "--out", model)
    assert run("predict", model, tmp_path / "iris.txt").stderr.startswith("accuracy 0.9")
    assert_fails(run("predict", model, write("a.txt", y)), "on: 0.", "are 0, 1, 2", "1, 2, 3.")
    placeholder = run("predict", model, write("b.txt", 0 * y))
    assert placeholder.stdout.count("\n") == 150
    assert "no accuracy" in placeholder.stderr


@pytest.mark.parametrize("text", ["1 1:1 12:1\n-1 2:1\n", "0 12:1\n"])
def test_model_of_names_predicts_names_and_says_why_it_is_not_judged(rows, tmp_path, text):
    run_json("tune", rows(), "--out", tmp_path / "model")
    rewrite(tmp_path / "model", classes=np.array(["ham", "spam"]))
    (tmp_path / "new.txt").write_text(text)
    result = run("predict", tmp_path / "model", tmp_path / "new.txt")
    assert set(result.stdout.split()) <= {"ham", "spam"}
    assert "no accuracy: the labels of" in result.stderr
    assert "are names" in result.stderr


@pytest.mark.parametrize(
    ("part", "value"), [("coef", np.nan), ("coef", np.inf), ("intercept", np.nan)]
)
def test_predict_refuses_a_model_that_is_not_finite(rows, tmp_path, part, value):
    run_json("tune", rows(), "--out", tmp_path / "model")
    shape = (1, 12) if part == "coef" else (1,)
    rewrite(tmp_path / "model", **{part: np.full(shape, value)})
    assert_fails(run("predict", tmp_path / "model", rows()), "not finite", "tune again")


def test_predict_refuses_what_is_no_model(rows):
    assert_fails(run("predict", rows(), rows()), "not a model file")


def test_liblinear_reads_the_model(rows, tmp_path):
    liblinearutil = pytest.importorskip("liblinear.liblinearutil")
    train = rows(labels=(0, 1))
    run_json("tune", train, "--out", tmp_path / "ours")
    run_json("tune", train, "--out", tmp_path / "theirs", "--format", "liblinear")
    X, y = make_rows(160, 0, labels=(0, 1))
    labels, _, probabilities = liblinearutil.predict(
        y, X, liblinearutil.load_model(str(tmp_path / "theirs")), "-b 1 -q"
    )
    model = fasthoag.load_model(tmp_path / "ours")
    np.testing.assert_array_equal(labels, model.predict(X))
    first = np.array(probabilities)[:, 0]  # of its first label, our second
    np.testing.assert_allclose(first, model.predict_proba(X)[:, 1], rtol=1e-9)


@pytest.mark.parametrize(
    ("loss", "solver", "extra"),
    [
        ("logistic", 0, ()),
        ("squared_hinge", 2, ()),
        ("squared_epsilon_insensitive", 11, ("--param", "epsilon=0.2")),
    ],
)
def test_liblinear_trains_the_model_that_is_written_in_its_format(
    rows, tmp_path, loss, solver, extra
):
    liblinearutil = pytest.importorskip("liblinear.liblinearutil")
    train, path = rows(), tmp_path / "theirs"
    arguments = (*extra, "--out", path, "--format", "liblinear", "--tol", 1e-6)
    C = run_json("tune", train, "--loss", loss, *arguments)["C"][0]
    X, y = make_rows(160, 0)
    # -R: no penalty on the intercept
    options = f"-s {solver} -c {C} -p 0.2 -e 1e-9 -B 1 -R -q"
    trained = liblinearutil.train(y, X, options)
    expected, found = (
        np.array(liblinearutil.predict(y, X, model, "-q")[2])
        for model in (trained, liblinearutil.load_model(str(path)))
    )
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("labels", [(0.5, 1.5), (0, 3_000_000_000), (-3_000_000_000, 1)])
@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
def test_labels_that_liblinear_cannot_hold_are_refused_before_work(
    rows, tmp_path, monkeypatch, labels, loss
):
    train = rows(labels=labels)
    monkeypatch.setattr(fasthoag, "hoag", lambda *args, **options: pytest.fail("work was done"))
    arguments = ("--loss", loss, "--out", tmp_path / "model", "--format", "liblinear")
    assert_fails(run("tune", train, *arguments), "whole numbers")


LIBLINEAR = ("logistic", "squared", "squared_hinge", "squared_epsilon_insensitive")


@pytest.mark.parametrize("loss", [*LOSSES, "multinomial"])
def test_loss_that_liblinear_lacks_is_refused_before_work(rows, tmp_path, monkeypatch, loss):
    train = rows()
    arguments = ("tune", train, "--loss", loss, "--out", tmp_path / "model")
    if loss in LIBLINEAR:
        result = run(*arguments, "--format", "liblinear")
        assert result.exit_code in (0, 3), result.stderr
        assert (tmp_path / "model").read_text().startswith("solver_type L2R_L")
        return
    forbid_work(monkeypatch)
    assert_fails(run(*arguments, "--format", "liblinear"), f"LIBLINEAR has no loss '{loss}'")


# ---- info and demo ----


def test_device_gpu_works_or_says_what_is_missing(rows):
    from fasthoag.design.gpu import find_device

    result = run("tune", rows(), "--device", "gpu", "--json")
    try:
        find_device()
    except ValueError:
        return assert_fails(result, "device='gpu' needs", "or use device='cpu'")
    assert json.loads(result.stdout)["settings"]["device"] == "gpu"


def test_version_is_that_of_the_package():
    assert run("--version").stdout == f"fasthoag {fasthoag.__version__}\n"


def test_info_names_what_was_built():
    facts = json.loads(run("info", "--json").stdout)
    assert facts["fasthoag"] == fasthoag.__version__
    assert facts["threads"] >= 1
    assert isinstance(facts["openmp"], bool)
    assert {"compiler", "clones", "numpy", "scipy", "scikit-learn", "cupy", "gpu"} <= set(facts)
    assert "compiler" in run("info").stdout


@pytest.mark.parametrize("data", ["digits", "breast_cancer", "text"])
def test_demo_shows_the_loss_on_rows_that_nobody_saw(data):
    found = run_json("demo", "--data", data)
    assert found["unseen"]["n_rows"] > 100
    assert found["unseen"]["accuracy"] > 0.75
    assert found["grid"]["accuracy"] > 0.75
    assert found["unseen"]["mean_loss"] < 1.1 * found["grid"]["mean_loss"]


def test_demo_compares_the_criterion_at_what_each_found_by_exact_fits():
    found = run_json("demo", "--data", "digits")
    _, (X, y), _ = demo.load_demo("digits")
    folds = demo.make_folds(demo.N_FOLDS, "logistic", demo.SEED).cv
    contenders = [found[name] for name in demo.CONTENDERS]
    for one in contenders:
        exact = LogisticRegression(C=one["C"], tol=1e-9, max_iter=10_000)
        theirs = cross_val_predict(exact, X, y, cv=folds, method="predict_proba")
        assert one["held_out_loss"] == pytest.approx(log_loss(y, theirs), rel=1e-5)
    least = min(one["held_out_loss"] for one in contenders)
    assert all(one["gap"] == one["held_out_loss"] - least for one in contenders)
    assert found["unseen"]["gap"] < 2e-4  # a hundredth of the standard error, about 0.02


@pytest.mark.slow
def test_demo_takes_real_data_then_text_and_draws_what_it_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("demo")
    assert result.exit_code == 0
    assert result.stderr == ""
    heads = [line for line in result.stdout.splitlines() if "rows that nobody sees" in line]
    assert [line.split(",")[0] for line in heads] == [
        "Handwritten digits",
        "Made-up texts of two classes: 6",
    ]
    assert result.stdout.endswith("\npicture: fasthoag-demo.svg\n")
    [drawn] = tmp_path.iterdir()
    assert drawn.read_text(encoding="utf-8").count('<g id="axes_') == 2


def test_demo_draws_where_it_is_asked_to_with_json_too(tmp_path):
    (tmp_path / "demo.PNG").write_bytes(b"the picture of the last time")
    found = run_json("demo", "--data", "digits", "--picture", tmp_path / "demo.PNG")
    assert found["settings"]["data"] == "digits"
    assert (tmp_path / "demo.PNG").read_bytes().startswith(b"\x89PNG")


def test_demo_refuses_before_the_work_what_is_no_name_of_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "load_demo", None)
    assert_fails(run("demo", "--picture", tmp_path / "demo.txt"), "--picture must end with .svg")
    assert_fails(run("demo", "--picture", tmp_path / "no" / "demo.svg"), "no folder")


def test_demo_without_matplotlib_says_so_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("demo", "--data", "digits", "--picture", tmp_path / "demo.svg")
    assert result.exit_code == 0
    assert result.stderr.startswith("fasthoag: no picture: ")
    assert "pip install 'fasthoag[plot]'" in result.stderr
    assert "picture" not in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_demo_prints_trace_strength_and_grid(tmp_path):
    result = run("demo", "--data", "digits", "--picture", tmp_path / "demo.svg")
    assert result.exit_code == 0
    assert result.stderr == ""
    for words in (
        "rows that nobody sees",
        "phase",
        "strength λ",
        "±",
        "loss per unseen row",
        "10 points, scikit-learn",
    ):
        assert words in result.stdout


def test_demo_on_text_without_a_network_says_so(monkeypatch):
    def fetch(**options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(datasets, "fetch_20newsgroups_vectorized", fetch)
    assert_fails(
        run("demo", "--data", "20newsgroups"), "network", "once", "Name or service not known"
    )


def test_demo_on_text_asks_for_the_last_ten_groups(monkeypatch):
    def fetch(subset, return_X_y, n_retries):
        X, y = make_rows(200, len(subset), labels=(9, 10))
        return X, y

    monkeypatch.setattr(datasets, "fetch_20newsgroups_vectorized", fetch)
    found = run_json("demo", "--data", "20newsgroups")
    assert found["unseen"]["n_rows"] == 200
    assert found["unseen"]["accuracy"] > 0.6


@pytest.mark.no_map("nearly separable: passes run out in other units")
# ---- losses and penalties ----


def test_multinomial_by_command_line_predicts_labels(tmp_path):
    X, y = datasets.load_iris(return_X_y=True)
    dump_svmlight_file(
        (X - X.mean(axis=0)) / X.std(axis=0), y + 1, str(tmp_path / "iris.txt"), zero_based=False
    )
    assert (
        run(
            "tune", tmp_path / "iris.txt", "--loss", "multinomial", "--out", tmp_path / "model.npz"
        ).exit_code
        == 0
    )
    result = run("predict", tmp_path / "model.npz", tmp_path / "iris.txt")
    assert result.exit_code == 0
    assert np.mean(np.array(result.stdout.split(), float) == y + 1) > 0.95
    assert_fails(run("tune", tmp_path / "iris.txt"), "3 distinct labels", "--loss multinomial")


def test_groups_parameters_and_log_link_by_command_line(tmp_path):
    X, y = datasets.load_diabetes(return_X_y=True)
    dump_svmlight_file(X * 20, np.round(y / 20), str(tmp_path / "count.txt"), zero_based=False)
    (tmp_path / "groups.txt").write_text("a\nb\n" * 4 + "a\nb")
    found = run_json(
        "tune",
        tmp_path / "count.txt",
        "--loss",
        "poisson",
        "--groups",
        tmp_path / "groups.txt",
        "--out",
        tmp_path / "model.npz",
    )
    assert len(found["theta"]) == 2
    assert found["status"] == "converged"
    predicted = np.array(
        run("predict", tmp_path / "model.npz", tmp_path / "count.txt").stdout.split(), float
    )
    assert predicted.min() > 0
    assert abs(predicted.mean() - np.round(y / 20).mean()) < 0.1
    assert (
        len(
            run_json(
                "tune",
                tmp_path / "count.txt",
                "--loss",
                "huber",
                "--param",
                "delta=2",
                "--per",
                "feature",
            )["theta"]
        )
        == 10
    )
    assert_fails(
        run("tune", tmp_path / "count.txt", "--loss", "huber", "--param", "width=2"),
        "has no parameter 'width'",
    )
    assert run("tune", tmp_path / "count.txt", "--loss", "huber", "--per", "class").exit_code == 2


@pytest.mark.parametrize("criterion", ["loo", "gcv", "aic", "bic", "evidence"])
def test_criteria_without_held_out_rows_by_command_line(criterion, tmp_path):
    X, y = datasets.load_diabetes(return_X_y=True)
    dump_svmlight_file(X * 20, (y - y.mean()) / 80, str(tmp_path / "a.txt"), zero_based=False)
    found = run_json(
        "tune",
        tmp_path / "a.txt",
        "--loss",
        "squared",
        "--criterion",
        criterion,
        "--test",
        tmp_path / "a.txt",
    )
    assert found["status"] == "converged"
    assert found["settings"]["criterion"] == criterion
    assert (found["mean_loss"] is None) == (criterion not in ("loo", "gcv"))
    assert found["unseen"]["n_rows"] == 442
    assert 0.2 < found["unseen"]["mean_loss"] < 0.3
    shown = run(
        "tune",
        tmp_path / "a.txt",
        "--loss",
        "squared",
        "--criterion",
        criterion,
        "--test",
        tmp_path / "a.txt",
    )
    assert "unseen rows" in shown.stdout
    assert shown.exit_code == 0
    refused = run("tune", tmp_path / "a.txt", "--criterion", criterion, "--cv", 3)
    assert refused.exit_code == 2
    assert "holds no rows out" in refused.stderr


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_rows_of_test_are_judged_by_the_written_model(loss, tmp_path):
    X, y = datasets.load_digits(return_X_y=True)
    y = y % 3 if loss == "multinomial" else y % 2
    for name, rows in (("train", slice(0, 800)), ("test", slice(800, 1000))):
        dump_svmlight_file(X[rows] / 16, y[rows], str(tmp_path / f"{name}.txt"), zero_based=False)
    found = run_json(
        "tune",
        tmp_path / "train.txt",
        "--loss",
        loss,
        "--test",
        tmp_path / "test.txt",
        "--out",
        tmp_path / "model.npz",
    )
    said = run("predict", tmp_path / "model.npz", tmp_path / "test.txt")
    assert np.mean(np.array(said.stdout.split(), float) == y[800:1000]) == pytest.approx(
        found["unseen"]["accuracy"]
    )
    assert 0 < found["unseen"]["mean_loss"] < 1
    assert run("tune", tmp_path / "train.txt", "--test-labels", tmp_path / "x.npy").exit_code == 2


def test_label_smoothing_by_command_line_trains_with_it_and_judges_without(tmp_path):
    X, y = datasets.load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    dump_svmlight_file(X, y, str(tmp_path / "two.txt"), zero_based=False)
    assert run(
        "tune",
        tmp_path / "two.txt",
        "--param",
        "smoothing=0.3",
        "--cv",
        "3",
        "--out",
        tmp_path / "model.npz",
    ).exit_code in (0, 3)
    model, y = fasthoag.load_model(tmp_path / "model.npz"), np.where(y > 0, 1.0, -1.0)
    problem = fasthoag.Problem(X, y, loss=fasthoag.find_loss("logistic", smoothing=0.3))
    folds = fasthoag.KFold(StratifiedKFold(3, shuffle=True, random_state=0))
    assert model.value == pytest.approx(fasthoag.hoag(problem, folds).value, rel=1e-3)
    np.testing.assert_allclose(
        model.coef[0],
        refit(problem, model.theta, tol=1e-8)[0][:-1],
        rtol=0,
        atol=0.02 * np.abs(model.coef).max(),
    )
    assert model.loss == "logistic"
    assert np.mean((model.predict(X) > 0) == (y > 0)) > 0.95
    assert_fails(
        run("tune", tmp_path / "two.txt", "--param", "smoothing=1"),
        "smoothing of loss 'logistic' must be a number between 0 and 1",
    )


# ---- trials, and rows that judge and train ----


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_tune_tries_points_and_its_exit_code_is_0(rows, method):
    found = run_json("tune", rows(), "--method", method, "--n-trials", 6)
    assert (found["status"], found["method"], found["n_iter"]) == ("searched", method, 6)
    assert found["settings"]["n_trials"] == 6
    result = run("tune", rows(), "--method", method, "--n-trials", 6)
    assert "6 trials" in result.stdout
    assert "best of 6 trials" in result.stderr
    best = run_json("tune", rows())
    assert best["value"] <= found["value"] + found["value_error"] + 3e-4 * best["value"]


def test_the_seed_is_that_of_the_trials_too(rows):
    arguments = ["tune", rows(), "--valid", rows("valid.txt", seed=1), "--n-trials", 4]
    a, b, c, d = (
        run_json(*arguments, "--method", "random", *more)["theta"]
        for more in (["--seed", 3], ["--seed", 3], ["--seed", 4], [])
    )
    assert a == b != c
    assert d not in (a, c)
    result = run(*arguments[:-2], "--method", "grid", "--seed", 3)
    assert result.exit_code == 2
    assert "--seed" in result.stderr


def test_trials_that_no_method_makes_are_a_sentence(rows):
    assert_fails(run("tune", rows(), "--n-trials", 5), "n_trials=5", "'grid'")
    assert_fails(run("tune", rows(), "--method", "grid", "--max-iter", 5), "max_iter=5")


def test_without_optuna_tune_says_what_to_install(rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert_fails(run("tune", rows(), "--method", "bayes"), "fasthoag[bayes]")


def test_tune_warns_of_validation_rows_that_train(rows):
    path = rows()
    result = run("tune", path, "--valid", path, "--bounds", "-3,3")
    assert "warning: 160 of the 160 rows of HeldOut are training rows too" in result.stderr
    assert "are training rows" not in run("tune", path, "--valid", rows("v.txt", seed=1)).stderr
