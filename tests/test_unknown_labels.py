"""Rows whose labels are unknown: they can be predicted, and nothing else."""

import numpy as np
import pytest
import scipy.sparse

from fasthoag.io import Model, load_data, save_model
from fasthoag.io.data_set import read_together

UNKNOWN = ["nan", "NaN", "-nan", "+inf", "-Infinity", "?"]


@pytest.mark.parametrize("label", UNKNOWN)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_text_may_have_unknown_labels_where_none_are_needed(tmp_path, label, n_threads):
    path = tmp_path / "rows.txt"
    path.write_text(f"1 1:1\n{label} 2:3\n{label}\n{label}# c\n{label}\tqid:3 1:2\n-1 3:1\n" * 3000)
    (rows,), _ = read_together([(path, None)], needs_labels=False, n_threads=n_threads)
    X, y = rows.X, rows.y
    assert X.shape == (18_000, 3)
    assert set(y[~np.isnan(y)]) == {-1.0, 1.0}
    assert np.isnan(y).sum() == 12_000
    assert np.isnan(y[1:5]).all()
    with pytest.raises(ValueError, match=r"rows.txt: line 2: label '.*' is not"):
        load_data(path)


@pytest.mark.parametrize("label", ["none", "nano", "infinit", "??", "+", "1e999", "2:1", "na"])
def test_what_is_no_label_is_refused_all_the_same(tmp_path, label):
    (tmp_path / "rows.txt").write_text(f"1 1:1\n{label} 2:3")
    with pytest.raises(ValueError, match="rows.txt: line 2: "):
        read_together([(tmp_path / "rows.txt", None)], needs_labels=False)


def test_labels_beside_a_matrix_may_be_unknown_where_none_are_needed(tmp_path):
    scipy.sparse.save_npz(tmp_path / "rows.npz", scipy.sparse.eye(3, format="csr"))
    np.save(tmp_path / "rows.npy", [1.0, np.nan, np.inf])
    (rows,), _ = read_together([(tmp_path / "rows.npz", None)], needs_labels=False)
    np.testing.assert_array_equal(rows.y, [1, np.nan, np.inf])
    with pytest.raises(ValueError, match="rows.npy: label 1 .counting from 0. is not finite"):
        load_data(tmp_path / "rows.npz")


# ---- the command predict ----


@pytest.fixture
def predict(tmp_path):
    """What the command says of rows of two features, by a model with these parts."""
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    from typer.testing import CliRunner

    from fasthoag import cli

    def run(text, *extra, **parts):
        parts = {"loss": "logistic", "coef": [[9.0, -9.0]], "intercept": [0.0]} | parts
        save_model(tmp_path / "model", Model(**parts, zero_based=False), overwrite=True)
        arguments = ["predict", tmp_path / "model", tmp_path / "rows.txt", *extra]
        (tmp_path / "rows.txt").write_text(text)
        result = CliRunner().invoke(cli.app, list(map(str, arguments)), prog_name="fasthoag")
        assert result.exit_code == 0, result.stderr
        return result.stdout.splitlines(), result.stderr

    return run


def test_rows_without_a_known_label_are_predicted_and_not_judged(predict):
    for label in UNKNOWN:
        lines, said = predict(f"{label} 1:1\n{label} 2:1\n", classes=[3, 7])
        assert lines == ["7", "3"]
        assert said.startswith("fasthoag: no accuracy: no label of ")
        assert said.count("\n") == 1
    _, said = predict("nan 1:1\n? 2:1\n", loss="squared")
    assert "no mean squared error: no label of" in said


def test_rows_with_a_known_label_are_judged_beside_others(predict):
    lines, said = predict("nan 1:1\n3 2:1\n3 1:1\n", classes=[3, 7])
    assert lines == ["7", "3", "7"]
    assert said.splitlines() == [
        "fasthoag: 1 of 3 rows have no known label and are not judged.",
        "accuracy 0.5 (1 of 2 rows)",
    ]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ([3.0, 7.0], ["7", "3"]),
        ([0.1, 1e22], ["1e+22", "0.1"]),
        ([-0.1, 1 / 3], ["0.3333333333333333", "-0.1"]),
        (np.array([0.1, 0.2], np.float32), ["0.20000000298023224", "0.10000000149011612"]),
        ([2**53, 2**53 + 1], ["9007199254740993", "9007199254740992"]),
        ([False, True], ["True", "False"]),
        (["ham", "größer"], ["größer", "ham"]),
        (np.array(["2020-01-01", "2020-01-02"], "M8[D]"), ["2020-01-02", "2020-01-01"]),
        (
            np.array(["2020-01-01", "2020-01-02T03:04:05.000000006"], "M8[ns]"),
            ["2020-01-02T03:04:05.000000006", "2020-01-01T00:00:00.000000000"],
        ),
    ],
    ids=str,
)
def test_labels_are_the_shortest_that_read_back(predict, classes, expected):
    lines, _ = predict("nan 1:1\nnan 2:1\n", classes=classes)
    assert lines == expected
    dtype = np.asarray(classes).dtype
    if dtype.kind != "b":
        assert np.array(lines).astype(dtype).tolist() == np.asarray(classes)[::-1].tolist()


@pytest.mark.parametrize("label", ["two\nlines", "line\r", ""])
def test_label_that_is_no_line_is_refused(predict, label):
    with pytest.raises(AssertionError, match=r"has the label '.*', which is no line of text"):
        predict("nan 1:1\nnan 2:1\n", classes=["ham", label])


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        ([2**53, 2**53 + 1], "are whole numbers beyond 2**53"),
        (np.array(["2020-01-01", "2020-01-02"], "M8[D]"), "are names"),
    ],
)
def test_labels_that_text_cannot_hold_are_predicted_and_not_judged(predict, classes, why):
    lines, said = predict("9007199254740992 1:1\n1 2:1\n", classes=classes)
    assert len(lines) == 2
    assert "no accuracy: the labels of" in said
    assert why in said


def test_probabilities_are_a_column_for_every_label_of_the_multinomial_loss(predict):
    coef = np.array([[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]])
    parts = {"loss": "multinomial", "coef": coef, "intercept": [0.0, 0.1, 0.2]}
    model = Model(**parts, classes=[0, 1, 5])
    lines, said = predict("5 1:1\n1 2:1\n", "--proba", **parts, classes=[0, 1, 5])
    found = np.array([line.split(" ") for line in lines], float)
    np.testing.assert_array_equal(found, model.predict_proba(np.eye(2)))  # every digit
    assert said.startswith("accuracy")
    lines, _ = predict("7 1:1\n3 2:1\n", "--proba", classes=[3, 7])
    expected = Model("logistic", [[9.0, -9.0]], [0.0]).predict_proba(np.eye(2))[:, 1]
    np.testing.assert_array_equal(np.array(lines, float), expected)
