"""Kernel models by the command line: tuned, reported, written, read and judged."""

import json

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from sklearn.datasets import dump_svmlight_file
from sklearn.model_selection import KFold, StratifiedKFold
from support.commands import run, run_json

import fasthoag
from fasthoag.io import load_model


def data(loss, part, n=80, density=1.0):
    rng = np.random.default_rng(["train", "valid", "test"].index(part))
    X = np.round(rng.normal(size=(n, 3)), 3) * (rng.random((n, 3)) <= density)
    z = np.sin(2 * X[:, 0]) + 0.3 * X[:, 1] + 0.3 * rng.normal(size=n)
    return X, np.round(z, 3) if loss == "squared" else np.where(z > 0, 7.0, 3.0)


@pytest.fixture
def rows(tmp_path):
    """The file of a part of the rows of a loss."""

    def write(loss, part, **options):
        path = tmp_path / f"{loss} {part}.txt"
        dump_svmlight_file(*data(loss, part, **options), str(path), zero_based=False)
        return path

    return write


@pytest.mark.parametrize("density", [1.0, 0.2])
@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "linear"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_tune_finds_what_hoag_finds(rows, loss, kernel, density):
    path = rows(loss, "train", density=density)
    found = run_json("tune", path, "--kernel", kernel, "--loss", loss, "--cv", 3, "--seed", 1)
    X, y = data(loss, "train", density=density)
    y = y if loss == "squared" else np.where(y == 7, 1.0, -1.0)
    splitter = KFold if loss == "squared" else StratifiedKFold
    criterion = fasthoag.KFold(splitter(3, shuffle=True, random_state=1))
    result = fasthoag.hoag(fasthoag.KernelProblem(X, y, kernel=kernel, loss=loss), criterion)
    np.testing.assert_allclose(found["theta"], result.theta, atol=1e-3)
    assert found["lam"] == [np.exp(found["theta"][-1])]
    np.testing.assert_allclose(found["gamma"], np.exp(found["theta"][:-1]))
    assert found["mean_loss"] == pytest.approx(result.value / 80, rel=1e-5)
    assert found["settings"]["kernel"] == kernel


@pytest.mark.parametrize("per", ["all", "feature"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_written_model_is_judged_and_predicts(rows, tmp_path, loss, per):
    files = {part: rows(loss, part) for part in ("train", "valid", "test")}
    model = tmp_path / "a.model"
    arguments = ("--kernel", "rbf", "--per", per, "--loss", loss, "--bounds=-4,4", "--force")
    arguments += ("--valid", files["valid"], "--test", files["test"], "--out", model)
    result = run("tune", files["train"], *arguments, "--json")
    assert result.exit_code in (0, 3), result.stderr
    found, fitted = json.loads(result.stdout), load_model(model)
    assert fitted.gamma.shape == ((3,) if per == "feature" else (1,))
    np.testing.assert_allclose(fitted.theta, found["theta"])
    assert fitted.alpha == pytest.approx(found["lam"][0])
    X, y = data(loss, "test")
    predicted = run("predict", model, files["test"])
    assert predicted.exit_code == 0, predicted.stderr
    values = np.array(predicted.stdout.split(), float)
    np.testing.assert_allclose(values, fitted.predict(X), atol=1e-9)
    if loss == "squared":
        assert np.mean((values - y) ** 2) / 2 == pytest.approx(found["unseen"]["mean_loss"])
        assert "mean squared error" in predicted.stderr
        return
    assert np.mean(values == y) == pytest.approx(found["unseen"]["accuracy"])
    assert f"accuracy {np.mean(values == y):.6g}" in predicted.stderr
    shares = run("predict", model, files["test"], "--proba").stdout.split()
    np.testing.assert_allclose(np.array(shares, float), fitted.predict_proba(X)[:, 1], atol=1e-9)


def test_leave_one_out_and_the_report_are_of_the_kernel_model(rows, tmp_path):
    page = tmp_path / "page.html"
    arguments = ("--kernel", "rbf", "--loss", "squared", "--criterion", "loo", "--report", page)
    result = run("tune", rows("squared", "train"), *arguments)
    assert result.exit_code == 0, result.stderr
    X, y = data("squared", "train")
    model = fasthoag.KernelRidgeCV(cv=None).fit(X, y)
    assert f"width γ       {model.gamma_:.6g} (ln γ = {np.log(model.gamma_):.6g})" in result.stdout
    assert "factorisations" in result.stdout
    assert "\nfolds" not in result.stdout  # a fold a row
    assert "width γ" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("degree", [1, 2])
def test_the_degree_of_a_polynomial_is_taken(rows, degree):
    arguments = ("--kernel", "poly", "--degree", degree, "--coef0", 0.5, "--loss", "squared")
    found = run_json("tune", rows("squared", "train"), *arguments, "--seed", 0)
    X, y = data("squared", "train")
    folds = KFold(5, shuffle=True, random_state=0)
    model = fasthoag.KernelRidgeCV(kernel="poly", degree=degree, coef0=0.5, cv=folds).fit(X, y)
    assert found["mean_loss"] == pytest.approx(-model.score_mean_, rel=1e-4)
    assert (found["settings"]["degree"], found["settings"]["coef0"]) == (degree, 0.5)


@pytest.mark.parametrize(
    "extra",
    [
        ("--kernel", "sigmoid"),
        ("--kernel", "rbf", "--param", "smoothing=0.1"),
        ("--kernel", "rbf", "--groups", "names.txt"),
        ("--kernel", "rbf", "--per", "class"),
        ("--kernel", "linear", "--per", "feature"),
        ("--kernel", "rbf", "--loss", "huber"),
        ("--kernel", "rbf", "--loss", "multinomial"),
        ("--kernel", "rbf", "--criterion", "gcv"),
        ("--kernel", "rbf", "--criterion", "loo"),  # loss logistic
        ("--kernel", "rbf", "--theta0", "0"),
        ("--kernel", "rbf", "--out", "a", "--format", "liblinear"),
        ("--kernel", "rbf", "--float32"),
        ("--kernel", "rbf", "--low-memory"),
        ("--kernel", "rbf", "--deterministic"),
        ("--kernel", "rbf", "--degree", "2"),
        ("--kernel", "poly", "--degree", "0"),
        ("--kernel", "poly", "--coef0", "-1"),
        ("--degree", "2"),
        ("--coef0", "2"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_refused_before_work(rows, monkeypatch, extra):
    monkeypatch.setattr(fasthoag, "hoag", lambda *args, **options: pytest.fail("work was done"))
    result = run("tune", rows("logistic", "train"), *extra)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert extra[0] in result.stderr or extra[2] in result.stderr
