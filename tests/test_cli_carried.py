"""Weights and groups of rows in text and on the command line: the model of `hoag` with the same."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("typer")
pytest.importorskip("rich")

from sklearn.datasets import dump_svmlight_file
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.class_weight import compute_class_weight
from support.commands import assert_fails, forbid_work, make_rows, run, run_json

import fasthoag
from fasthoag.io import load_data, load_svmlight

N = 160


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with rows of two labels, -1 and 3, in train.txt, valid.txt and test.txt, weights of
    every row in w.txt, and labels of groups in groups.txt."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("train", "valid", "test")):
        X, y = make_rows(N, seed, labels=(-1, 3))
        dump_svmlight_file(X, y, f"{name}.txt", zero_based=False)
    (tmp_path / "w.txt").write_text("".join(f"{s!r}\n" for s in WEIGHT.tolist()))
    (tmp_path / "groups.txt").write_text("".join(f"g{g:02}\n" for g in GROUPS))
    return tmp_path


WEIGHT = np.random.default_rng(0).integers(0, 3, N) + 0.25
GROUPS = np.random.default_rng(1).permutation(np.repeat(np.arange(20), N // 20))


def problem(name="train.txt", weight=None):
    X, y = load_data(name)
    return fasthoag.Problem(X, np.where(y == 3, 1.0, -1.0), sample_weight=weight)


def folds(groups=None):
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    return fasthoag.KFold(splitter(5, shuffle=True, random_state=0), groups)


def same(found, result):
    assert found["value"] == pytest.approx(result.value, rel=1e-6)
    np.testing.assert_allclose(found["theta"], result.theta, atol=1e-4)


# ---- text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_text_holds_queries_and_weights(tmp_path, dtype, n_threads):
    rng = np.random.default_rng(0)
    n = 30_000  # several parts of a block, and several blocks
    weight, query = rng.integers(0, 9, n) / 4, rng.integers(0, 10**12, n)
    lines = [
        f"{i % 3}{'' if w == 1 else f':{w}'} qid:{q} {i % 50 + 1}:0.5 {i % 70 + 60}:1.25"
        + ("\n\n# c" if i % 11 == 0 else "")
        for i, (w, q) in enumerate(zip(weight.tolist(), query.tolist(), strict=True))
    ]
    path = tmp_path / "rows.txt"
    path.write_text("# head\n\n" + "\n".join(lines))
    how = {"dtype": dtype, "n_threads": n_threads}
    X, y, found_weight, found_query = load_svmlight(path, label_weight=True, query_id=True, **how)
    assert_array_equal(y, np.arange(n) % 3)
    assert_array_equal(found_weight, weight)
    assert_array_equal(found_query, query)
    plain = tmp_path / "plain.txt"
    plain.write_text("\n".join(f"{i % 3} {i % 50 + 1}:0.5 {i % 70 + 60}:1.25" for i in range(n)))
    assert (load_svmlight(plain, **how)[0] != X).nnz == 0


BAD = [
    ("1:-1 1:2\n", {"label_weight": True}, "line 1: the weight in '1:-1' is not a number >= 0"),
    ("1:x 1:2\n", {"label_weight": True}, "line 1: the weight in '1:x' is not a number >= 0"),
    ("1:inf 1:2\n", {"label_weight": True}, "line 1: the weight in '1:inf'"),
    ("1 1:2\nx:1 1:2\n", {"label_weight": True}, "line 2: .*'x:1'"),
    ("1:1 1:2\n", {}, "the row begins with '1:1' where its label should be"),
    ("1 1:2\n", {"query_id": True}, "the first row has no qid:n; use query_id=False"),
    ("1 qid:4 1:2\n1 1:2\n", {"query_id": True}, "qid:n, and 1 of 2 rows have none"),
    ("1 qid:x 1:2\n", {"query_id": True}, "'qid:x' is not qid: and a whole number"),
]


@pytest.mark.parametrize(("text", "options", "says"), BAD)
def test_text_that_holds_none_is_a_sentence(tmp_path, text, options, says):
    (tmp_path / "rows.txt").write_text(text)
    with pytest.raises(ValueError, match=says):
        load_svmlight(tmp_path / "rows.txt", **options)


def test_weights_and_queries_count_as_memory(tmp_path):
    path, n = tmp_path / "rows.txt", 4_000_000 // 8
    path.write_text("1:2 qid:1\n" * n + "1 qid:2 1:1")
    least = 16 * (n + 1) + 12
    with pytest.raises(ValueError, match="memory|max_bytes"):
        load_svmlight(path, max_bytes=least, label_weight=True, query_id=True)
    load_svmlight(path, max_bytes=least + 16 * (n + 1), label_weight=True, query_id=True)


# ---- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["text", "npy", "labels"])
def test_weights_of_rows_by_command_line(files, how):
    given = ("--sample-weight", "w.txt")
    if how == "npy":
        np.save("w.npy", WEIGHT)
        given = ("--sample-weight", "w.npy")
    elif how == "labels":
        lines = (files / "train.txt").read_text().splitlines()
        words = [line.split(" ", 1) for line in lines]
        both = zip(words, WEIGHT.tolist(), strict=True)
        (files / "train.txt").write_text("\n".join(f"{w[0]}:{s} {w[1]}" for w, s in both))
        given = ("--weighted-labels",)
    found = run_json("tune", "train.txt", *given, "--test", "test.txt")
    X, y, *_ = load_svmlight("train.txt", label_weight=True)
    own = fasthoag.Problem(X, np.where(y == 3, 1.0, -1.0), sample_weight=WEIGHT)
    same(found, fasthoag.hoag(own, folds()))
    assert found["mean_loss"] == pytest.approx(found["value"] / WEIGHT.sum(), rel=1e-12)


def test_weights_of_rows_that_judge(files):
    paths = ("train.txt", "--valid", "valid.txt", "--test", "test.txt")
    more = ("--valid-sample-weight", "w.txt", "--test-sample-weight", "w.txt")
    found = run_json("tune", *paths, *more)
    other = problem("valid.txt")
    result = fasthoag.hoag(problem(), fasthoag.HeldOut(other.X, other.y, WEIGHT))
    same(found, result)
    X, y = load_data("test.txt")
    z = X @ result.w[:-1, 0] + result.w[-1, 0]
    losses = np.log1p(np.exp(-np.where(y == 3, 1, -1) * z))
    mean = np.average(losses, weights=WEIGHT)
    assert found["unseen"]["mean_loss"] == pytest.approx(mean, rel=1e-3)
    accuracy = np.average((z > 0) == (y == 3), weights=WEIGHT)
    assert found["unseen"]["accuracy"] == pytest.approx(accuracy, abs=0.02)
    table = run("tune", *paths, *more).stdout
    assert f"rows of weight {WEIGHT.sum():.6g}" in table


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
@pytest.mark.parametrize(
    "given",
    [("-1:0.5,3:2",), ("3:2", "-1:0.5"), ("3.0:4",), ("balanced",)],
    ids=["commas", "twice", "one", "balanced"],
)
def test_weights_of_classes_by_command_line(files, given, loss):
    options = [part for one in given for part in ("--class-weight", one)]
    paths = ("train.txt", "--valid", "valid.txt", "--sample-weight", "w.txt")
    found = run_json("tune", *paths, *options, "--loss", loss)
    X, y = load_data("train.txt")
    X_val, y_val = load_data("valid.txt")
    balance = {"classes": np.array([-1.0, 3.0]), "y": y, "sample_weight": WEIGHT}
    by_class = {
        "balanced": compute_class_weight("balanced", **balance),
        "3.0:4": [1.0, 4.0],
    }.get(given[0], [0.5, 2.0])
    s, s_val = (np.where(one == 3, by_class[1], by_class[0]) for one in (y, y_val))
    coded = [(one == 3).astype(float) for one in (y, y_val)]
    coded = coded if loss == "multinomial" else [2 * one - 1 for one in coded]
    own = fasthoag.Problem(X, coded[0], loss=loss, sample_weight=s * WEIGHT)
    same(found, fasthoag.hoag(own, fasthoag.HeldOut(X_val, coded[1], s_val)))


def test_kernel_models_are_weighted_too(files):
    paths = ("train.txt", "--valid", "valid.txt", "--kernel", "rbf", "--sample-weight", "w.txt")
    found = run_json("tune", *paths)
    X, y = load_data("train.txt")
    X_val, y_val = load_data("valid.txt")
    y, y_val = (np.where(one == 3, 1.0, -1.0) for one in (y, y_val))
    own = fasthoag.KernelProblem(X.toarray(), y, loss="logistic", sample_weight=WEIGHT)
    same(found, fasthoag.hoag(own, fasthoag.HeldOut(X_val.toarray(), y_val)))


# ---- groups -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["text", "npy", "qid"])
def test_groups_stay_together_by_command_line(files, how):
    given = ("--fold-groups", "groups.txt")
    if how == "npy":
        np.save("groups.npy", GROUPS)
        given = ("--fold-groups", "groups.npy")
    elif how == "qid":
        X, y = load_data("train.txt")
        dump_svmlight_file(X, y, "train.txt", zero_based=False, query_id=GROUPS)
        given = ()
    found = run_json("tune", "train.txt", *given)
    same(found, fasthoag.hoag(problem(), folds(GROUPS)))
    assert found["settings"]["fold_groups"] == (given[1] if given else "qid")
    if how == "qid":
        apart = run_json("tune", "train.txt", "--ignore-qid")
        same(apart, fasthoag.hoag(problem(), folds()))
        assert apart["settings"]["fold_groups"] is None


def test_groups_of_regressions_by_command_line(files):
    X, y = make_rows(N, 0, loss="squared")
    dump_svmlight_file(X, y, "real.txt", zero_based=False)
    found = run_json("tune", "real.txt", "--loss", "squared", "--fold-groups", "groups.txt")
    rule = fasthoag.KFold(GroupKFold(5, shuffle=True, random_state=0), GROUPS)
    X, y = load_data("real.txt")
    same(found, fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), rule))


def test_queries_of_other_rows_do_not_matter(files):
    X, y = load_data("train.txt")
    dump_svmlight_file(X, y, "train.txt", zero_based=False, query_id=GROUPS)
    text = (files / "train.txt").read_text().replace("qid:3 ", "")
    (files / "part.txt").write_text("1 qid:1 1:1\n" + text)
    assert_fails(run("tune", "part.txt", "--loss", "squared"), "rows have none")
    assert run("tune", "part.txt", "--loss", "squared", "--ignore-qid").exit_code in (0, 3)
    assert run("tune", "train.txt", "--valid", "valid.txt").exit_code in (0, 3)


# ---- what is refused ----------------------------------------------------------------------------

SENTENCES = [
    (("--sample-weight", "short.txt"), ("short.txt", "2 values", "160 rows")),
    (("--sample-weight", "words.txt"), ("words.txt: line 2 must be a number; found 'x'",)),
    (("--sample-weight", "negative.txt"), ("must not be negative; found -1",)),
    (("--sample-weight", "zeros.txt"), ("must have a positive value",)),
    (("--sample-weight", "none.txt"), ("none.txt",)),
    (("--class-weight", "7:2"), ("no label 7; theirs are -1, 3",)),
    (("--class-weight", "3:0"), ("one class only",)),
    (("--fold-groups", "short.txt"), ("short.txt", "(2,)", "the rows are 160")),
    (("--fold-groups", "blank.txt"), ("blank.txt: line 2 is empty",)),
    (("--fold-groups", "few.txt"), ("--cv 5 needs at least as many groups of rows", "have 3")),
]


@pytest.mark.parametrize(("given", "words"), SENTENCES)
def test_what_is_none_of_these_rows_is_a_sentence(files, monkeypatch, given, words):
    for name, lines in {
        "short": "1\n1",
        "words": "1\nx\n" + "1\n" * 158,
        "negative": "1\n-1\n" + "1\n" * 158,
        "zeros": "0\n" * 160,
        "blank": "a\n\n" + "b\n" * 158,
        "few": "a\nb\n" + "c\n" * 158,
    }.items():
        (files / f"{name}.txt").write_text(lines)
    forbid_search(monkeypatch)
    assert_fails(run("tune", "train.txt", *given), *words)


def forbid_search(monkeypatch):
    monkeypatch.setattr(fasthoag, "hoag", lambda *_, **__: pytest.fail("work was done"))


WRONG_USE = [
    (("--valid-sample-weight", "w.txt"), "needs --valid"),
    (("--test-sample-weight", "w.txt"), "needs --test"),
    (("--class-weight", "balanced", "--loss", "squared"), "is for classes"),
    (("--class-weight", "balanced", "--class-weight", "3:2"), "excludes weights of single"),
    (("--class-weight", "3"), "need balanced, or LABEL:WEIGHT"),
    (("--class-weight", "3:-1"), "need balanced, or LABEL:WEIGHT"),
    (("--fold-groups", "groups.txt", "--valid", "valid.txt"), "is for cutting folds"),
    (("--fold-groups", "groups.txt", "--criterion", "loo"), "is for cutting folds"),
    (("--ignore-qid", "--criterion", "loo"), "is for folds"),
]


@pytest.mark.parametrize(("given", "says"), WRONG_USE)
def test_options_that_would_not_be_used_are_refused(files, monkeypatch, given, says):
    if "--class-weight" not in given:
        forbid_work(monkeypatch)
    result = run("tune", "train.txt", *given)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("victim", ["w.txt", "groups.txt"])
def test_no_output_replaces_weights_or_groups(files, monkeypatch, victim):
    forbid_work(monkeypatch)
    option = "--sample-weight" if victim == "w.txt" else "--fold-groups"
    result = run("tune", "train.txt", option, victim, "--out", victim, "--force")
    assert_fails(result, f"{victim} is one of the inputs")


def test_predictions_of_weighted_text(files):
    assert run("tune", "train.txt", "--out", "model", "--valid", "valid.txt").exit_code in (0, 3)
    plain = run("predict", "model", "test.txt")
    _, y = load_data("test.txt")
    is_right = np.array(plain.stdout.split(), float) == y
    assert f"accuracy {is_right.mean():.6g} ({is_right.sum()} of {N} rows)" in plain.stderr
    lines = zip((files / "test.txt").read_text().splitlines(), WEIGHT.tolist(), strict=True)
    weighted = "\n".join(line.replace(" ", f":{s} ", 1) for line, s in lines)
    (files / "weighted.txt").write_text(weighted)
    found = run("predict", "model", "weighted.txt", "--weighted-labels")
    assert found.stdout == plain.stdout
    accuracy = np.average(is_right, weights=WEIGHT)
    assert f"accuracy {accuracy:.6g} (rows of weight {WEIGHT.sum():.6g})" in found.stderr
    assert_fails(run("predict", "model", "weighted.txt"), "where its label should be")
    (files / "zero.txt").write_text("3:0 1:1\n-1:0 1:1\n")
    assert "none is judged" in run("predict", "model", "zero.txt", "--weighted-labels").stderr
