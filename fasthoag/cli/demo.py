"""``fasthoag demo``: real data, beside scikit-learn's grid."""

import time
import warnings
from dataclasses import dataclass

import numpy as np

import fasthoag
from fasthoag import report
from fasthoag.cli.application import command, exit_code
from fasthoag.cli.options import Debug, Json, choice, option
from fasthoag.cli.search import fit, judge, make_folds, make_model
from fasthoag.cli.terminal import print_table, show

N_FOLDS, SEED = 5, 0
DemoData = choice("DemoData", ["digits", "breast_cancer", "20newsgroups"])
# What is compared: its name in JSON, and in the table.
COMPARED = {
    "C": "C = 1/λ",
    "mean_loss": "loss per unseen row",
    "accuracy": "accuracy on unseen rows",
    "seconds": "seconds",
}


@dataclass(frozen=True)
class DemoOptions:
    data: option(
        DemoData, "--data", help="20newsgroups is fetched by scikit-learn from the network, once."
    ) = "digits"
    is_json: Json = False
    threads: option(int, "--threads", min=1, help="One by default, as many as the grid has.") = 1
    debug: Debug = False


@command
def demo(asked: DemoOptions):
    """Tune on real data and compare with a grid of 10 strengths, on rows that neither has seen."""
    title, (X, y), unseen = load_demo(asked.data)
    X_unseen, y_unseen = unseen
    criterion = make_folds(N_FOLDS, "logistic", SEED)
    if not asked.is_json:
        show(
            f"{title}: {len(y)} rows to tune on ({N_FOLDS} folds), {len(y_unseen)} rows that "
            "nobody sees\n"
        )
    began = time.perf_counter()
    problem = fasthoag.Problem(X, y)
    result, w = fit(problem, criterion, keeps_trace=False, n_threads=asked.threads)
    seconds = time.perf_counter() - began
    z = make_model(problem, result, w, np.array([-1.0, 1.0])).decision_function(X_unseen)
    ours = {"C": float(1 / result.lam[0]), "seconds": seconds} | judge(problem.loss, z, y_unseen)
    if not asked.is_json:
        print_table(map(report.trace_row, result.trace), report.TRACE_COLUMNS)
        show("")
        print_table(report.summary(result, len(y)))
        show("\nThe same rows and folds with a grid:")
    grid = search_grid(X, y, criterion.cv, problem.loss, unseen)
    if asked.is_json:
        settings = {
            "data": asked.data,
            "cv": N_FOLDS,
            "seed": SEED,
            "threads": asked.threads,
            "n_rows": X.shape[0],
            "n_features": X.shape[1],
        }
        found = report.to_dict(result, len(y), settings)
        show(report.dump(found | {"unseen": ours, "grid": grid}))
    else:
        rows = [(text, f"{ours[name]:.5g}", f"{grid[name]:.5g}") for name, text in COMPARED.items()]
        print_table(rows, ("", "fasthoag", "10 points, scikit-learn"))
    return exit_code(result)


def load_demo(name):
    """A title that says what is asked of the data, (X, y) to tune on, and (X, y) to judge by at the
    end."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

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


def search_grid(X, y, folds, loss, unseen):
    """scikit-learn's grid of 10 strengths over the same folds, judged on the same rows."""
    from sklearn.linear_model import LogisticRegressionCV

    with warnings.catch_warnings():
        # Defaults change between versions of scikit-learn, and none of them matters here.
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        grid = LogisticRegressionCV(Cs=10, cv=folds, scoring="neg_log_loss", max_iter=1000)
        grid.fit(X, y)
        seconds = time.perf_counter() - began
    X_unseen, y_unseen = unseen
    found = {"C": float(np.ravel(grid.C_)[0]), "seconds": seconds}
    return found | judge(loss, grid.decision_function(X_unseen), y_unseen)
