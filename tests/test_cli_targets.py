"""Several targets on the command line, and sets of labels in text: each as one target by itself."""

import json
import signal

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("typer")
pytest.importorskip("rich")

from sklearn.datasets import dump_svmlight_file, load_svmlight_file
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import MultiLabelBinarizer
from support.commands import assert_fails, forbid_work, run, run_json

import fasthoag
from fasthoag.cli import search
from fasthoag.io import load_data, load_model, load_svmlight

N, P, T = {"train": 160, "valid": 70, "test": 50}, 10, 3
LOSSES = ["squared", "huber", "poisson", "logistic"]


def rows(role):
    """Sparse rows, and predictions with noise."""
    rng = np.random.default_rng(list(N).index(role))
    X = sp.random(N[role], P, density=0.5, format="csr", rng=rng)
    W = np.random.default_rng(7).normal(size=(P, T))
    return X, X @ W + 0.3 * rng.normal(size=(N[role], T))


def targets(role, loss="squared"):
    _, Z = rows(role)
    if loss == "logistic":
        return (Z > 0.2) * 1.0
    return np.floor(np.exp(Z)) if loss == "poisson" else Z


def write_sets(path, X, sets):
    """LIBSVM text whose rows have several labels."""
    lines = []
    for i, labels in enumerate(sets):
        row = X[[i]].tocsr()
        row.sort_indices()
        entries = zip(row.indices.tolist(), row.data.tolist(), strict=True)
        words = [",".join(map(str, labels)), *(f"{j + 1}:{v!r}" for j, v in entries)]
        lines.append(" ".join(word for word in words if word))
    path.write_text("\n".join(lines))


def sets_of(role):
    """Labels 2, 5 and 9 of the rows, of some none."""
    names = np.array([2, 5, 9])
    return [names[one == 1].tolist() for one in targets(role, "logistic")]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Rows of every role as text without labels (0), with sets of labels, and as .npz."""
    monkeypatch.chdir(tmp_path)
    for role in N:
        X, _ = rows(role)
        dump_svmlight_file(X, np.zeros(N[role]), f"{role}.txt", zero_based=False)
        write_sets(tmp_path / f"{role}.sets", X, sets_of(role))
        sp.save_npz(f"{role}.npz", X)
    return tmp_path


def write_targets(name, Y, how):
    if how == "npy":
        np.save(f"{name}.npy", Y)
        return f"{name}.npy"
    np.savetxt(f"{name}.txt", Y, fmt="%.17g", delimiter={"csv": ", ", "text": " "}[how])
    return f"{name}.txt"


# ---- tuning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["text", "csv", "npy", "npz"])
@pytest.mark.parametrize("loss", LOSSES)
def test_each_target_is_tuned_as_by_itself(files, loss, how):
    given, singles = [], []
    for role in N:
        Y, option = targets(role, loss), "targets" if role == "train" else f"{role}-targets"
        if how == "npz":
            np.save(f"{role}.npy", Y)
        else:
            given += [f"--{option}", write_targets(f"Y_{role}", Y, how)]
    suffix = "npz" if how == "npz" else "txt"
    options = ["--valid", f"valid.{suffix}"] if how == "csv" else []
    options += ["--test", f"test.{suffix}", "--loss", loss, "--threads", "1"]
    if how != "csv":
        given = [one for k, one in enumerate(given) if "valid" not in given[k - k % 2]]
    found = run_json("tune", f"train.{suffix}", *options, *given, "--out", "model")
    model = load_model("model")
    assert (model.n_outputs, model.has_labels) == (T, loss == "logistic")
    for j in range(T):
        for role in N:
            dump_svmlight_file(
                rows(role)[0], targets(role, loss)[:, j], f"{role}.one", zero_based=False
            )
        own = ["--valid", "valid.one"] if how == "csv" else []
        own += ["--test", "test.one", "--loss", loss, "--threads", "1"]
        singles.append(run_json("tune", "train.one", *own, "--out", f"model{j}"))
        single = load_model(f"model{j}")
        assert_allclose(model.coef[j], single.coef[0], rtol=1e-8, atol=1e-12)
        assert_allclose(model.intercept[j], single.intercept[0], rtol=1e-8, atol=1e-12)
    for name in ("theta", "value", "fold_values", "mean_loss", "n_held_out"):
        for one, single in zip(found["targets"], singles, strict=True):
            assert_allclose(one[name], single[name], rtol=1e-8)
    for one, single in zip(found["targets"], singles, strict=True):
        assert one["unseen"] == pytest.approx(single["unseen"], rel=1e-8)
    assert [one["name"] for one in found["targets"]] == [0, 1, 2]
    assert_allclose(model.theta, np.ravel([one["theta"] for one in found["targets"]]))
    assert found["settings"]["n_targets"] == T


def test_one_column_of_targets_is_one_target(files):
    Y = targets("train")
    np.save("y.npy", Y[:, :1])
    found = run_json("tune", "train.txt", "--targets", "y.npy", "--loss", "squared")
    dump_svmlight_file(rows("train")[0], Y[:, 0], "one.txt", zero_based=False)
    one = run_json("tune", "one.txt", "--loss", "squared")
    assert found["theta"] == pytest.approx(one["theta"], rel=1e-8)


def test_what_rows_carry_counts_for_every_target(files):
    Y, rng = targets("train"), np.random.default_rng(0)
    weight, offset, groups = rng.uniform(1, 2, 160), rng.normal(size=160), np.arange(160) % 20
    for name, values in {"Y": Y, "w": weight, "o": offset}.items():
        np.save(f"{name}.npy", values)
    np.savetxt("g.txt", groups, fmt="g%d")
    options = ["--sample-weight", "w.npy", "--offset", "o.npy", "--fold-groups", "g.txt"]
    options += ["--loss", "squared"]
    found = run_json("tune", "train.txt", "--targets", "Y.npy", *options, "--out", "model")
    dump_svmlight_file(rows("train")[0], Y[:, 2], "one.txt", zero_based=False)
    one = run_json("tune", "one.txt", *options)
    assert_allclose(found["targets"][2]["theta"], one["theta"], rtol=1e-8)
    assert_allclose(found["targets"][2]["value"], one["value"], rtol=1e-8)
    assert load_model("model").has_offset


def test_a_constant_target_is_its_mean(files):
    Y = targets("train")
    Y[:, 1] = 3
    np.save("Y.npy", Y)
    run_json("tune", "train.txt", "--targets", "Y.npy", "--loss", "squared", "--out", "model")
    model = load_model("model")
    assert_array_equal(model.coef[1], 0)
    assert model.intercept[1] == 3


def test_targets_share_the_seconds(files):
    np.save("Y.npy", targets("train"))
    options = ["--loss", "squared", "--max-seconds", "1e-6", "--json"]
    result = run("tune", "train.txt", "--targets", "Y.npy", *options)
    assert result.exit_code == 3
    statuses = [one["status"] for one in json.loads(result.stdout)["targets"]]
    assert statuses == ["out_of_time"] * T


def test_how_many_targets_are_tuned_is_said_now_and_then(files, monkeypatch):
    np.save("Y.npy", targets("train"))
    monkeypatch.setattr("fasthoag.cli.tune_each.EVERY", 0.0)
    result = run("tune", "train.txt", "--targets", "Y.npy", "--loss", "squared")
    said = [line for line in result.stderr.splitlines() if "targets are tuned" in line]
    assert said == [f"fasthoag: {k} of 3 targets are tuned." for k in range(3)]


def test_tables_have_a_line_for_each_target(files):
    np.save("Y.npy", targets("train"))
    np.save("V.npy", targets("test"))
    options = ["--targets", "Y.npy", "--loss", "squared"]
    result = run("tune", "train.txt", *options, "--test", "test.txt", "--test-targets", "V.npy")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["target 0", "target 1", "target 2"]
    assert "50 rows, mean of the targets" in lines[4]
    cost = run("tune", "train.txt", *options, "--dry-run")
    assert "3, one after the other" in cost.stdout
    assert run_json("tune", "train.txt", *options, "--dry-run")["n_targets"] == T


def test_the_report_names_targets_and_features(files):
    given = ("--targets", "Y.npy", "--loss", "squared", "--report", "page.html", "--out", "model")
    np.save("Y.npy", targets("train"))
    result = run("tune", "train.txt", *given)
    assert result.exit_code == 0, result.stderr
    model, page = load_model("model"), (files / "page.html").read_text(encoding="utf-8")
    for j, lam in enumerate(model.lam):
        assert f"<td>target {j}</td><td>converged</td><td>{lam:.6g}</td>" in page
    k = int(model.coef[1].argmax())
    assert f"<td>target 1</td><td>feature {k + 1} {model.coef[1, k]:.3g}" in page


def test_no_model_of_some_of_the_targets_is_written(files, monkeypatch):
    np.save("Y.npy", targets("train"))
    seen, fit = [], search.fasthoag.hoag

    def interrupted(*args, **options):
        seen.append(1)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        return fit(*args, **options)

    monkeypatch.setattr(fasthoag, "hoag", interrupted)
    options = ["--loss", "squared", "--out", "model"]
    result = run("tune", "train.txt", "--targets", "Y.npy", *options)
    assert result.exit_code == 130
    assert "stopped at target 2 of 3; model is not written" in result.stderr
    assert not (files / "model").exists()


# ---- sets of labels ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_text_holds_sets_of_labels(tmp_path, dtype, n_threads):
    rng = np.random.default_rng(0)
    path, n = tmp_path / "rows.txt", 30_000  # several parts of a block, and several blocks
    lines = []
    for i in range(n):
        labels = rng.integers(-3, 40, rng.integers(0, 5)) / 2
        head = ",".join(f"{label:g}" for label in labels)
        lines.append(f"{head} {i % 50 + 1}:0.5 {i % 70 + 60}:1.25".strip())
        lines += ["", "# c"] if i % 11 == 0 else []
    path.write_text("# head\n\n" + "\n".join(lines))
    X, y = load_svmlight(path, multilabel=True, dtype=dtype, n_threads=n_threads)
    expected, labels = load_svmlight_file(str(path), multilabel=True, zero_based=False)
    assert (expected != X).nnz == 0
    assert y == [tuple(sorted(set(one))) for one in labels]
    assert load_data(path, multilabel=True)[1] == y


def test_sets_of_labels_stand_before_queries(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("qid:4 1:2\n3,1 qid:5 1:2\n7 qid:5\n")
    _, y, query = load_svmlight(path, multilabel=True, query_id=True)
    assert y == [(), (1.0, 3.0), (7.0,)]
    assert_array_equal(query, [4, 5, 5])


BAD = [
    ("1,x 1:2\n", {}, "line 1: label 'x' is not a number"),
    ("1 1:2\n1,,2 1:2\n", {}, "line 2: label ',2'"),
    ("1, 1:2\n", {}, "line 1: label ''"),
    ("1,inf 1:2\n", {}, "line 1: label 'inf' is not finite"),
    ("1,2:3 1:2\n", {}, "line 1: feature index in '1,2:3' is not a whole number"),
    ("1 1:2\n", {"label_weight": True}, "multilabel=True excludes label_weight=True"),
]


@pytest.mark.parametrize(("text", "options", "says"), BAD)
def test_sets_that_are_none_are_a_sentence(tmp_path, text, options, says):
    (tmp_path / "rows.txt").write_text(text)
    with pytest.raises(ValueError, match=says):
        load_svmlight(tmp_path / "rows.txt", multilabel=True, **options)


def test_sets_count_as_memory(tmp_path):
    path, n = tmp_path / "rows.txt", 300_000
    path.write_text("1,2,3,4,5,6,7,8\n" * n + "1 1:1")
    least = 16 * (n + 1) + 8 * (8 * n + 1) + 12
    with pytest.raises(ValueError, match="memory|max_bytes"):
        load_svmlight(path, max_bytes=least - 8 * n, multilabel=True)
    load_svmlight(path, max_bytes=least, multilabel=True)


@pytest.mark.parametrize(
    "options", [(), ("--class-weight", "balanced"), ("--loss", "squared_hinge")]
)
def test_every_label_is_against_the_rest(files, options):
    arguments = ["--multilabel", "--test", "test.sets", *options]
    found = run_json("tune", "train.sets", *arguments, "--out", "model")
    model = load_model("model")
    assert_array_equal(model.targets, [2, 5, 9])
    assert model.has_labels
    assert [one["name"] for one in found["targets"]] == [2, 5, 9]
    for j in range(T):
        for role in ("train", "test"):
            y = targets(role, "logistic")[:, j]
            dump_svmlight_file(rows(role)[0], y, f"{role}.one", zero_based=False)
        one = run_json("tune", "train.one", "--test", "test.one", *options, "--out", f"model{j}")
        assert_allclose(found["targets"][j]["theta"], one["theta"], rtol=1e-8)
        assert found["targets"][j]["unseen"] == pytest.approx(one["unseen"], rel=1e-8)
        assert_allclose(model.coef[j], load_model(f"model{j}").coef[0], rtol=1e-8, atol=1e-12)


def test_predictions_have_a_column_for_each_label(files):
    run_json("tune", "train.sets", "--multilabel", "--out", "model")
    result = run("predict", "model", "test.sets")
    X, y = load_data("test.sets", multilabel=True)
    predicted = load_model("model").predict(X)
    lines = [[*map(float, line.split())] for line in result.stdout.splitlines()]
    assert_array_equal(lines, predicted)
    right = accuracy_score(MultiLabelBinarizer().fit_transform(y), predicted)
    assert f"accuracy {right:.6g} ({round(right * 50)} of 50 rows)" in result.stderr
    shares = run("predict", "model", "test.sets", "--proba").stdout.splitlines()
    found = [[*map(float, line.split())] for line in shares]
    assert_allclose(found, load_model("model").predict_proba(X))
    # Rows may say that they do not know.
    lines = (files / "test.sets").read_text().splitlines()
    lines[0] = "? " + lines[0].split(" ", 1)[-1]
    (files / "some.sets").write_text("\n".join(lines))
    assert "1 of 50 rows have no known label" in run("predict", "model", "some.sets").stderr
    (files / "none.sets").write_text("1:1\n2:1")
    assert "no row of none.sets has a label" in run("predict", "model", "none.sets").stderr
    (files / "other.sets").write_text("4 1:1")
    assert_fails(run("predict", "model", "other.sets"), "other.sets has the label 4", "2, 5, 9")


def test_one_label_that_some_rows_have_is_a_set(files):
    X, _ = rows("train")
    write_sets(files / "one.sets", X, [one[:1] if 2 in one else [] for one in sets_of("train")])
    run_json("tune", "one.sets", "--multilabel", "--out", "model")
    model = load_model("model")
    assert (model.n_outputs, model.targets.tolist()) == (1, [2.0])
    for option in ((), ("--proba",)):
        result = run("predict", "model", "one.sets", *option)
        assert result.exit_code == 0, result.stderr
        assert len(result.stdout.splitlines()) == N["train"]


@pytest.mark.parametrize("how", ["text", "npz"])
def test_predictions_of_targets_are_judged(files, how):
    np.save("Y.npy", targets("train"))
    options = ["--loss", "squared", "--out", "model"]
    run_json("tune", "train.txt", "--targets", "Y.npy", *options)
    X, Y = rows("test")[0], targets("test")
    Y[3, 1] = np.nan
    np.save("test.npy", Y)
    given = ["test.npz"] if how == "npz" else ["test.txt", "--targets", "test.npy"]
    result = run("predict", "model", *given, "--out", "p.txt")
    predicted = np.loadtxt("p.txt")
    assert_allclose(predicted, load_model("model").predict(X))
    error = np.mean(np.delete(predicted - Y, 3, axis=0) ** 2)
    assert f"mean squared error {error:.6g} on 49 rows, mean of 3 targets" in result.stderr
    assert "1 of 50 rows have no known label" in result.stderr
    np.save("test.npy", Y[:, :2])
    assert "rows of test" in run("predict", "model", *given, "--out", "p.txt", "--force").stderr


# ---- what is refused ---------------------------------------------------------------------------

USAGE = [
    (["--targets", "Y.npy", "--multilabel"], "both say what targets are"),
    (["--targets", "Y.npy", "--labels", "y.npy"], "--targets excludes --labels"),
    (["--valid-targets", "Y.npy"], "--valid-targets needs --valid"),
    (["--valid", "v.txt", "--targets", "Y.npy"], "--valid-targets is missing"),
    (["--test", "t.txt", "--test-targets", "Y.npy"], "--targets is missing"),
    (["--multilabel", "--loss", "squared"], "--loss squared has none"),
    (["--multilabel", "--weighted-labels"], "excludes --weighted-labels"),
    (["--multilabel", "--kernel", "rbf"], "exclude --kernel"),
    (["--multilabel", "--loss", "multinomial"], "exclude --loss multinomial"),
    (["--multilabel", "--format", "liblinear", "--out", "m"], "exclude --format liblinear"),
]


@pytest.mark.parametrize(("options", "says"), USAGE)
def test_options_of_one_target_are_refused_before_any_work(tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    forbid_work(monkeypatch)
    result = run("tune", "train.txt", *options)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())


def broken(what):
    Y = targets("train", "logistic" if what in ("constant", "values") else "squared")
    if what == "nan":
        Y[5, 1] = Y[7, 2] = np.nan
    if what == "rows":
        return Y[:-1]
    if what == "constant":
        Y[:, 2] = 1
    if what == "values":
        Y[3, 1] = 2
    return Y


@pytest.mark.parametrize(
    ("what", "loss", "says"),
    [
        ("nan", "squared", ["Y", "target 1 is the first that does, in row 5"]),
        ("rows", "squared", ["Y", "targets of 159 rows and train.txt has 160 rows"]),
        (
            "constant",
            "logistic",
            ["label 2 is in 160 of the 160 rows of train.txt", "needs 2 rows"],
        ),
        ("values", "logistic", ["3 distinct labels (0, 1, 2)"]),
        ("negative", "poisson", ["y", "found when target 0 was fitted"]),
    ],
)
@pytest.mark.parametrize("how", ["text", "csv", "npy"])
def test_targets_that_do_not_suit_are_a_sentence(files, monkeypatch, what, loss, says, how):
    monkeypatch.setattr(fasthoag, "hoag", lambda *_, **__: pytest.fail("work"))
    name = write_targets("Y", broken(what), how)
    assert_fails(run("tune", "train.txt", "--targets", name, "--loss", loss), *says)


def test_files_of_targets_that_are_none_are_a_sentence(files):
    command = ["tune", "train.txt", "--loss", "squared", "--targets"]
    for text, says in [("", "no data"), ("1 2\n3\n", "number of columns"), ("a b\n", "'a'")]:
        (files / "Y.txt").write_text(text)
        assert_fails(run(*command, "Y.txt"), "Y.txt must have the targets of a row", says)
    assert_fails(run(*command, "absent"), "absent: no such file")
    np.save("Y.npy", np.zeros((160, 2, 2)))
    assert_fails(run(*command, "Y.npy"), "Y.npy must hold numbers", "(160, 2, 2)")
    np.save("Y.npy", np.zeros((160, 2)))
    np.save("T.npy", np.zeros((50, 3)))
    test = ["--test", "test.txt", "--test-targets", "T.npy"]
    assert_fails(run(*command, "Y.npy", *test), "rows of test.txt have 3 targets")
    np.save("train.npy", np.where(np.arange(320).reshape(160, 2) == 9, np.nan, 1))
    assert_fails(run("tune", "train.npz"), "train.npy: label 4 of target 1")


@pytest.mark.parametrize("option", ["--targets", "--sample-weight", "--fold-groups"])
def test_files_that_end_too_early_are_named(files, option):
    command = ["tune", "train.txt", "--loss", "squared"]
    np.save("whole.npy", np.ones(160))
    whole = (files / "whole.npy").read_bytes()
    for content in (whole[:6], whole[:300]):
        (files / "side.npy").write_bytes(content)
        assert_fails(run(*command, option, "side.npy"), "side.npy is not a sound .npy file")
    np.save("side.npy", np.array([{}] * 160, object), allow_pickle=True)
    assert_fails(run(*command, option, "side.npy"), "side.npy is not a sound .npy file", "objects")


def test_text_of_targets_may_begin_with_a_mark_of_its_bytes(files):
    name = write_targets("Y", targets("train"), "csv")
    text = (files / name).read_bytes()
    command = "tune", "train.txt", "--loss", "squared", "--targets"
    plain = run_json(*command, name)
    (files / name).write_bytes(b"\xef\xbb\xbf" + text)
    marked = run_json(*command, name)
    for one, other in zip(marked["targets"], plain["targets"], strict=True):
        assert one["lam"] == other["lam"]


def test_sets_of_labels_that_do_not_suit_are_a_sentence(files):
    X, _ = rows("train")
    write_sets(files / "all.sets", X, [[1, *one] for one in sets_of("train")])
    refused = run("tune", "all.sets", "--multilabel")
    assert_fails(refused, "label 1 is in 160 of the 160 rows of all.sets", "needs 2 rows with it")
    one = [[7, *labels] if i == 50 else labels for i, labels in enumerate(sets_of("train"))]
    write_sets(files / "rare.sets", X, one)
    assert_fails(run("tune", "rare.sets", "--multilabel"), "label 7 is in 1 of the 160 rows")
    run_json("tune", "rare.sets", "--multilabel", "--valid", "valid.sets")
    write_sets(files / "none.sets", X, [[]] * N["train"])
    assert_fails(run("tune", "none.sets", "--multilabel"), "no row has a label")
    write_sets(files / "other.sets", rows("test")[0], [[7]] * N["test"])
    result = run("tune", "train.sets", "--multilabel", "--test", "other.sets")
    assert_fails(result, "other.sets has the label 7", "2, 5, 9")
    (files / "sets.txt").write_text("2,5 1:1\n2 1:2")
    assert_fails(run("tune", "sets.txt"), "--multilabel")
    assert_fails(run("tune", "train.npz", "--multilabel"), "multilabel: for LIBSVM text only")
    np.save("train.npy", targets("train"))
    result = run("tune", "train.npz", "--loss", "squared", "--kernel", "rbf")
    assert (result.exit_code, "exclude --kernel" in result.stderr) == (2, True)
