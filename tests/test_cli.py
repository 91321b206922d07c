import bz2
import gzip
import html.parser
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
from sklearn.model_selection import StratifiedKFold
from typer.testing import CliRunner

import fasthoag
from fasthoag import cli
from fasthoag.problem import refit

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fasthoag.__file__)))
COMPRESS = {".bz2": bz2.compress, ".gz": gzip.compress, ".xz": lzma.compress}


def run(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], prog_name="fasthoag")


def run_json(*args):
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


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


def assert_fails(result, *words):
    """One sentence on stderr, nothing on stdout, exit code 1."""
    assert result.exit_code == 1, result.output
    assert result.stdout == "", result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("fasthoag: ")
    assert "internal error" not in result.stderr
    for word in words:
        assert word in result.stderr


def make_rows(n_rows, seed, loss="logistic", labels=(-1, 1), n_features=12):
    """Sparse rows in class order, and the labels of a model with noise."""
    rng = np.random.default_rng(seed)
    X = scipy.sparse.random(n_rows, n_features, density=0.5, format="csr", rng=rng)
    z = X @ np.linspace(-4, 4, n_features) + 0.5
    if loss == "squared":
        return X, z + rng.normal(size=n_rows)
    y = np.where(rng.random(n_rows) < 1 / (1 + np.exp(-z)), labels[1], labels[0])
    order = np.argsort(y)
    return X[order], y[order]


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
        "n_threads": 1,
        "dtype": np.float32,
        "low_memory": True,
        "has_intercept": False,
        "callback": None,
    }
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


def test_infinite_and_missing_numbers_are_null_in_json():
    text = cli.report.dump(
        {"a": np.array([1.0, np.nan]), "b": (np.inf, np.int64(2), np.bool_(True)), "c": None}
    )
    assert json.loads(text) == {"a": [1.0, None], "b": [None, 2, True], "c": None}


def test_report_is_one_page_without_outside_parts(rows, tmp_path):
    assert run("tune", rows(), "--report", tmp_path / "page.html").exit_code == 0
    text = (tmp_path / "page.html").read_text()
    tags = []
    parser = html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.feed(text)
    assert {"svg", "polyline", "circle", "table"} <= set(tags)
    assert "http" not in text
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
    monkeypatch.setattr(
        fasthoag, "load_data", lambda *args, **options: pytest.fail("work was done")
    )
    assert_fails(run("tune", train, option, tmp_path / "old"), "old exists", "--force")
    assert_fails(run("tune", train, option, tmp_path / "none" / "model"), "no folder")
    assert_fails(run("tune", train, option, train, "--force"), "one of the inputs")
    assert_fails(run("tune", train, option, tmp_path, "--force"), "not an ordinary file")
    assert_fails(run("tune", train, option, os.devnull, "--force"), "not an ordinary file")
    assert (tmp_path / "old").read_text() == "precious"


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
    (tmp_path / "few.txt").write_text("1 1:2\n-1\n")
    assert run("predict", tmp_path / "model", tmp_path / "few.txt").stdout.count("\n") == 2
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


def test_zero_based_aligns_files_without_a_feature_0(rows, tmp_path):
    X, y = make_rows(160, 0)
    dump_svmlight_file(X, y, str(tmp_path / "zero.txt"), zero_based=True)
    run_json("tune", tmp_path / "zero.txt", "--out", tmp_path / "model")
    (tmp_path / "one.txt").write_text("1 11:1\n")
    model = fasthoag.load_model(tmp_path / "model")
    shown = run(
        "predict", tmp_path / "model", tmp_path / "one.txt", "--proba", "--zero-based"
    ).stdout
    np.testing.assert_allclose(
        float(shown), 1 / (1 + np.exp(-model.coef[0, 11] - model.intercept[0]))
    )


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


def test_labels_that_liblinear_cannot_hold_are_refused_before_work(rows, tmp_path, monkeypatch):
    train = rows(labels=(0.5, 1.5))
    monkeypatch.setattr(fasthoag, "hoag", lambda *args, **options: pytest.fail("work was done"))
    assert_fails(
        run("tune", train, "--out", tmp_path / "model", "--format", "liblinear"), "whole numbers"
    )


# ---- info and demo ----


def test_device_gpu_works_or_says_what_is_missing(rows):
    from fasthoag.design.gpu import find_device

    result = run("tune", rows(), "--device", "gpu", "--json")
    try:
        find_device()
    except ValueError:
        return assert_fails(result, "device='gpu' needs", "or use device='cpu'")
    assert json.loads(result.stdout)["settings"]["device"] == "gpu"


def test_info_names_what_was_built():
    facts = json.loads(run("info", "--json").stdout)
    assert facts["fasthoag"] == fasthoag.__version__
    assert facts["threads"] >= 1
    assert isinstance(facts["openmp"], bool)
    assert {"compiler", "clones", "numpy", "scipy", "scikit-learn", "cupy", "gpu"} <= set(facts)
    assert "compiler" in run("info").stdout


@pytest.mark.parametrize("data", ["digits", "breast_cancer"])
def test_demo_shows_the_loss_on_rows_that_nobody_saw(data):
    found = run_json("demo", "--data", data)
    assert found["unseen"]["n_rows"] > 100
    assert found["unseen"]["accuracy"] > 0.8
    assert found["grid"]["accuracy"] > 0.8
    assert found["unseen"]["mean_loss"] < 1.1 * found["grid"]["mean_loss"]


def test_demo_prints_trace_strength_and_grid():
    result = run("demo")
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
