"""``fasthoag demo``: real data and text, beside scikit-learn's grids."""

import io
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fasthoag
from fasthoag import report
from fasthoag.cli.application import command, exit_code
from fasthoag.cli.options import Debug, Json, choice, option
from fasthoag.cli.outputs import check_target
from fasthoag.cli.search import fit, judge, make_folds, make_model
from fasthoag.cli.terminal import print_table, say, show
from fasthoag.curve import new_axes
from fasthoag.datasets import make_text
from fasthoag.io.replacement import replace_file

N_FOLDS, SEED = 5, 0
DemoData = choice("DemoData", ["digits", "breast_cancer", "text", "20newsgroups"])
BY_DEFAULT = ("digits", "text")
PICTURE = Path("fasthoag-demo.svg")
ENDINGS = ".svg", ".png", ".pdf"
# What is compared: its name in JSON, and in the table.
COMPARED = {
    "C": "C = 1/λ",
    "held_out_loss": "criterion: loss per held-out row",
    "gap": "above the least of these",
    "mean_loss": "loss per unseen row",
    "accuracy": "accuracy on unseen rows",
    "seconds": "seconds",
}
CONTENDERS = {
    "unseen": "fasthoag",
    "grid": "10 points, scikit-learn",
    "near_grid": "10 points near it, tol=1e-6",
}


@dataclass(frozen=True)
class DemoOptions:
    data: option(
        DemoData | None,
        "--data",
        help="By default digits, then text. 20newsgroups is fetched by scikit-learn from the "
        "network, once.",
    ) = None
    picture: option(
        Path | None,
        "--picture",
        help=f"Where the picture of the last search goes (.svg, .png or .pdf), also in the place "
        f"of a file; {PICTURE} by default, none with --json.",
    ) = None
    is_json: Json = False
    threads: option(
        int, "--threads", min=1, help="Of the search, and of the grids: one by default."
    ) = 1
    debug: Debug = False


@dataclass(frozen=True)
class Tuned:
    """A search, and what it and the grids found by name in JSON."""

    data: str
    problem: Any
    criterion: Any
    result: Any
    contenders: dict


@command
def demo(asked: DemoOptions):
    """Tune on real data and on sparse text, and compare with scikit-learn's grids of 10 strengths:
    the criterion on the same folds, and rows that nobody has seen."""
    picture = asked.picture or (None if asked.is_json else PICTURE)
    if picture is not None and picture.suffix.lower() not in ENDINGS:
        raise ValueError(f"--picture must end with {', '.join(ENDINGS)}; got {picture}")
    check_target(picture, force=True)
    names = BY_DEFAULT if asked.data is None else (asked.data,)
    tuned = [tune_on(name, asked) for name in names]
    if asked.is_json:
        found = {one.data: as_json(one, asked.threads) for one in tuned}
        show(report.dump(found if asked.data is None else found[asked.data]))
    if picture is not None:
        draw(tuned[-1], picture, asked)
    return max(exit_code(one.result) for one in tuned)


def tune_on(name, asked):
    """The search on these data and the grids beside it, shown as they come."""
    title, (X, y), unseen = load_demo(name)
    criterion = make_folds(N_FOLDS, "logistic", SEED)
    if not asked.is_json:
        show(
            f"{title}: {len(y):,} rows of {X.shape[1]:,} features to tune on ({N_FOLDS} folds), "
            f"{len(unseen[1]):,} rows that nobody sees\n"
        )
    began = time.perf_counter()
    problem = fasthoag.Problem(X, y)
    result, w = fit(problem, criterion, keeps_trace=False, n_threads=asked.threads)
    seconds = time.perf_counter() - began
    z = make_model(problem, result, w, np.array([-1.0, 1.0])).decision_function(unseen[0])
    ours = {"C": float(1 / result.lam[0]), "seconds": seconds} | judge(problem.loss, z, unseen[1])
    if not asked.is_json:
        print_table(map(report.trace_row, result.trace), report.TRACE_COLUMNS)
        show("")
        print_table(report.summary(result, len(y)))
        show("\nThe same rows and folds with grids, of which the second is told where to look:")
    same = X, y, criterion.cv, problem.loss, unseen, asked.threads
    near = {"Cs": ours["C"] * np.logspace(-0.5, 0.5, 10), "tol": 1e-6}
    contenders = {
        "unseen": ours,
        "grid": search_grid(*same),
        "near_grid": search_grid(*same, **near),
    }
    add_criterion(contenders, problem, criterion, asked.threads)
    if not asked.is_json:
        rows = [
            (text, *(f"{one[name]:.5g}" for one in contenders.values()))
            for name, text in COMPARED.items()
        ]
        print_table(rows, ("", *CONTENDERS.values()))
        show("")
    return Tuned(name, problem, criterion, result, contenders)


def add_criterion(contenders, problem, criterion, n_threads):
    """What the folds say of each strength that was found, by fits far tighter than any of the
    searches made."""
    thetas = {name: -np.log(one["C"]) for name, one in contenders.items()}
    curve = fasthoag.curve(
        problem, criterion, np.unique(list(thetas.values())), tol=1e-6, n_threads=n_threads
    )
    values = dict(zip(curve.thetas[:, 0], curve.values / problem.n_rows, strict=True))
    for name, one in contenders.items():
        one["held_out_loss"] = float(values[thetas[name]])
        one["gap"] = float(values[thetas[name]] - min(values.values()))


def as_json(tuned, n_threads):
    settings = {
        "data": tuned.data,
        "cv": N_FOLDS,
        "seed": SEED,
        "threads": n_threads,
        "n_rows": tuned.problem.n_rows,
        "n_features": tuned.problem.n_features,
    }
    return report.to_dict(tuned.result, tuned.problem.n_rows, settings) | tuned.contenders


def draw(tuned, path, asked):
    """The picture: the criterion with what the grid tried, and the way of the search."""
    try:
        left, right = new_axes(2)
    except ImportError as error:
        return say(f"no picture: {error}")
    from fasthoag import plots

    theta = float(tuned.result.theta[0])
    curve = fasthoag.curve(
        tuned.problem, tuned.criterion, theta + np.linspace(-4, 4, 33), n_threads=asked.threads
    )
    plots.criterion(tuned.result, curve, ax=left)
    for name, mark in (("grid", "ks"), ("near_grid", "kD")):
        one = tuned.contenders[name]
        point = 1 / one["C"], tuned.problem.n_rows * one["held_out_loss"]
        left.plot(*point, mark, fillstyle="none", markersize=9, label=CONTENDERS[name])
    left.legend()
    plots.convergence(tuned.result, ax=right)
    content = io.BytesIO()
    left.figure.savefig(content, format=path.suffix[1:].lower())
    replace_file(path, content.getvalue(), overwrite=True)
    if not asked.is_json:
        show(f"picture: {path}")


def load_demo(name):
    """A title that says what is asked of the data, (X, y) to tune on, and (X, y) to judge by at the
    end."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    if name == "text":
        X, y = make_text(10_000, 20_000, random_state=SEED)
        y = np.where(y > 0, 1.0, -1.0)
        return "Made-up texts of two classes", (X[:6000], y[:6000]), (X[6000:], y[6000:])
    if name == "20newsgroups":
        title = "20 newsgroups, topic among the last ten"
        return title, load_newsgroups("train"), load_newsgroups("test")
    if name == "digits":
        title, (X, target) = "Handwritten digits, 5 or more", datasets.load_digits(return_X_y=True)
        X, y = X / 16, np.where(target >= 5, 1.0, -1.0)
    else:
        title, (X, target) = "Breast cancer, benign", datasets.load_breast_cancer(return_X_y=True)
        y = 2.0 * target - 1
    X, X_unseen, y, y_unseen = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=0)
    if name == "breast_cancer":  # Its features are from 1e-3 to 1e3.
        center, scale = X.mean(axis=0), X.std(axis=0)
        X, X_unseen = (X - center) / scale, (X_unseen - center) / scale
    return title, (X, y), (X_unseen, y_unseen)


def load_newsgroups(subset):
    from sklearn import datasets

    try:
        with warnings.catch_warnings():
            # It warns of its second try, which the sentence below says better.
            warnings.simplefilter("ignore")
            X, target = datasets.fetch_20newsgroups_vectorized(
                subset=subset, return_X_y=True, n_retries=1
            )
    except OSError as error:  # URLError, timeouts and refused connections are all of this kind.
        raise OSError(
            "20newsgroups must be fetched once from the network (14 MB), and that failed "
            f"({error}). Run this where there is a network, or copy the folder "
            f"{datasets.get_data_home()} from a machine that has it; --data digits needs neither."
        ) from None
    return X, np.where(target >= 10, 1.0, -1.0)


def search_grid(X, y, folds, loss, unseen, n_threads, **settings):
    """scikit-learn's grid of 10 strengths over the same folds, judged on the same rows.

    Its solver has products of vectors only, which idle threads of BLAS slow down a hundred times
    where they share their cores with others."""
    from sklearn.linear_model import LogisticRegressionCV
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(n_threads, "blas"):
        # Defaults change between versions of scikit-learn, and none of them matters here.
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        settings = {"Cs": 10, "max_iter": 1000} | settings
        grid = LogisticRegressionCV(cv=folds, scoring="neg_log_loss", **settings).fit(X, y)
        seconds = time.perf_counter() - began
    X_unseen, y_unseen = unseen
    found = {"C": float(np.ravel(grid.C_)[0]), "seconds": seconds}
    return found | judge(loss, grid.decision_function(X_unseen), y_unseen)
