"""``fasthoag tune``: the strength of the penalty, and the model for it."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import typer

import fasthoag
from fasthoag import report
from fasthoag.cli.application import command, exit_code
from fasthoag.cli.carried import Carried, carried
from fasthoag.cli.checks import checked, files_of, seed_of_trials
from fasthoag.cli.interruption import leaving
from fasthoag.cli.kernel import make_kernel_problem
from fasthoag.cli.options import (
    COUNTED_FROM,
    Debug,
    Force,
    Json,
    Labels,
    Memory,
    Threads,
    WeightedLabels,
    argument,
    choice,
    option,
    parse_parameters,
)
from fasthoag.cli.outputs import STDOUT, check_space, write
from fasthoag.cli.rows import load_rows
from fasthoag.cli.search import fit, judge_rows, last_fit, make_folds, make_model
from fasthoag.cli.terminal import print_table, say, show
from fasthoag.estimators.strengths import PER, penalty_for
from fasthoag.io import liblinear
from fasthoag.kernels import KERNELS
from fasthoag.losses import LOSSES
from fasthoag.outer import METHODS, TRIALS
from fasthoag.outer.classic import SCHEDULES

DEFAULTS = fasthoag.hoag.__kwdefaults__
IN_SAMPLE = {
    "loo": fasthoag.ApproximateLOO,
    "gcv": fasthoag.GCV,
    "aic": fasthoag.AIC,
    "bic": fasthoag.BIC,
    "evidence": fasthoag.Evidence,
}
SUMS_OF_LOSSES = "cv", "loo", "gcv"  # These criteria have a loss per row.

Criterion = choice("Criterion", ["cv", *IN_SAMPLE])
Loss, Per = choice("Loss", [*LOSSES, "multinomial"]), choice("Per", PER)
Method, Schedule = choice("Method", ["auto", *METHODS, *TRIALS]), choice("Schedule", SCHEDULES)
Kernel = choice("Kernel", KERNELS)
Device, Format = choice("Device", ["cpu", "gpu"]), choice("Format", ["fasthoag", "liblinear"])


@dataclass(frozen=True)
class TuneOptions:
    train: argument(
        Path,
        "LIBSVM text, plain or as bz2/gz/xz/zst, or a SciPy .npz with labels in .npy; - is stdin.",
    )
    valid: option(
        Path | None,
        "--valid",
        help="Rows to judge by; without it, K-fold cross-validation on TRAIN.",
    ) = None
    cv: option(
        int | None,
        "--cv",
        min=2,
        help="Folds, shuffled, and stratified for two classes.  [default: 5]",
    ) = None
    criterion: option(
        Criterion,
        "--criterion",
        help="Without --valid: cross-validation, or a criterion that holds no rows out.",
    ) = "cv"
    test: option(
        Path | None,
        "--test",
        help="Rows that nothing is fitted or tuned on: the model's loss on them is reported.",
    ) = None
    loss: option(Loss, "--loss", help="Of the model and the criterion.") = "logistic"
    param: option(
        list[str] | None,
        "--param",
        metavar="NAME=VALUE",
        help="Parameter of the loss, such as delta=2 of huber, or smoothing=0.1 of labels, for "
        "training only.",
    ) = None
    kernel: option(
        Kernel | None,
        "--kernel",
        help="A kernel model, whose width is tuned too, for a few thousand rows; loss squared or "
        "logistic.",
    ) = None
    degree: option(int | None, "--degree", min=1, help="Of --kernel poly.  [default: 3]") = None
    coef0: option(float | None, "--coef0", min=0, help="Of --kernel poly.  [default: 1]") = None
    per: option(
        Per,
        "--per",
        help="One strength for all coefficients, or one each; with --kernel one width for each "
        "feature.",
    ) = "all"
    groups: option(
        Path | None,
        "--groups",
        help="A strength for each group: a label for every feature, one a line.",
    ) = None
    method: option(
        Method,
        "--method",
        help="newton: exact steps; lbfgs: many strengths; hoag: the method of the 2016 paper; "
        "grid, random, bayes: the best of --n-trials points.",
    ) = DEFAULTS["method"]
    n_trials: option(
        int | None,
        "--n-trials",
        min=1,
        help="Points that grid, random and bayes try within --bounds.  [default: 20]",
    ) = DEFAULTS["n_trials"]
    schedule: option(Schedule | None, "--schedule", help="Tolerances of method hoag.") = None
    out: option(
        Path | None,
        "--out",
        help="Write the model here; after Ctrl-C or SIGTERM the best so far.",
    ) = None
    file_format: option(
        Format, "--format", help="Of --out; LIBLINEAR's own predict reads the second."
    ) = "fasthoag"
    html: option(
        Path | None,
        "--report",
        help="Write an HTML page here; - is stdout, in place of the tables.",
    ) = None
    dry_run: option(
        bool,
        "--dry-run",
        help="Read the rows, say what the search will take in memory and time, and stop.",
    ) = False
    force: Force = False
    is_json: Json = False
    threads: Threads = None
    max_memory: Memory = None
    tol: option(
        float | None,
        "--tol",
        help="On the slope of the criterion, relative to its value.  [default: a hundredth of its "
        "standard error is left to gain]",
    ) = DEFAULTS["tol"]
    max_iter: option(
        int | None,
        "--max-iter",
        min=1,
        help="Outer steps at most.  [default: 50; 500 for lbfgs]",
    ) = DEFAULTS["max_iter"]
    max_seconds: option(
        float | None,
        "--max-seconds",
        min=1e-6,
        help="For the search; then the best point so far is taken, with exit code 3.",
    ) = DEFAULTS["max_seconds"]
    theta0: option(
        float | None, "--theta0", help="Start, θ = ln λ; found by a loose sweep by default."
    ) = None
    bounds: option(
        str | None,
        "--bounds",
        metavar="LOW,HIGH",
        help="Of θ; from the scale of the data by default.",
    ) = None
    seed: option(
        int | None,
        "--seed",
        min=0,
        help="Of the shuffling before folds are cut, and of methods random and bayes.  "
        "[default: 0]",
    ) = None
    no_intercept: option(bool, "--no-intercept", help="Fit no intercept.") = False
    zero_based: option(
        bool | None,
        COUNTED_FROM,
        help="From where text counts features; by default from 0 if any of the files has a 0, else "
        "from 1.",
    ) = None
    labels: Labels = None
    valid_labels: option(Path | None, "--valid-labels", help="The same for --valid.") = None
    test_labels: option(Path | None, "--test-labels", help="The same for --test.") = None
    sample_weight: option(
        Path | None,
        "--sample-weight",
        help="A weight for every row of TRAIN, one a line or .npy, as LIBSVM's -W.",
    ) = None
    valid_sample_weight: option(
        Path | None, "--valid-sample-weight", help="The same for --valid."
    ) = None
    test_sample_weight: option(Path | None, "--test-sample-weight", help="The same for --test.") = (
        None
    )
    weighted_labels: WeightedLabels = False
    class_weight: option(
        list[str] | None,
        "--class-weight",
        metavar="LABEL:WEIGHT|balanced",
        help="Multiplies the weights of rows of a label, as LIBLINEAR's -wi; several by commas. "
        "balanced: inversely to how many rows of TRAIN have it.",
    ) = None
    fold_groups: option(
        Path | None,
        "--fold-groups",
        help="A label for every row of TRAIN, one a line or .npy: rows with the same stay together "
        "where folds are cut. By default qid: in TRAIN.",
    ) = None
    ignore_qid: option(bool, "--ignore-qid", help="Cut folds through queries (qid:).") = False
    float32: option(
        bool,
        "--float32",
        help="Store the values in half the memory; sums stay in double precision.",
    ) = False
    low_memory: option(
        bool, "--low-memory", help="Make no second copy of the data, at some cost in speed."
    ) = False
    deterministic: option(
        bool, "--deterministic", help="The same bits for every number of threads; slower."
    ) = False
    device: option(
        Device, "--device", help="gpu: one NVIDIA GPU through CuPy; see fasthoag info."
    ) = "cpu"
    debug: Debug = False


class Data(NamedTuple):
    """The rows of every file as a pair (X, y), or None where the file is not given; the labels of a
    classifier; and whether text counts features from 0, "auto" without text."""

    train: Any
    valid: Any
    test: Any
    classes: np.ndarray
    zero_based: Any
    carried: Carried


class Found(NamedTuple):
    """What is shown of a search. The functions of `fasthoag.report` say what the fields are."""

    result: Any
    n_held_out: Any
    settings: dict
    unseen: Any
    tuned: Any  # of a kernel model

    def shown(self):
        """What the summary is of."""
        return self.result, self.n_held_out, self.unseen, self.tuned


@command
def tune(asked: TuneOptions):
    """Find the strength of the penalty that gives the least loss on held-out rows, and the model
    for it."""
    asked = checked(asked)
    data = read_data(asked)
    problem = make_problem(asked, data)
    criterion = make_criterion(asked, data)
    if asked.dry_run:
        return show_cost(asked, problem, criterion)

    def save_so_far(result):
        say(f"stopping; {asked.out} gets the best model so far (a second signal ends at once).")
        parts = last_fit(problem, criterion, result, asked.threads)
        save_model(asked, (problem, *parts, data.classes, data.zero_based))
        say(f"{asked.out}: the best model so far. {result.message}")

    settings = search_settings(asked) | {"n_threads": asked.threads}
    with leaving(save_so_far) if asked.out is not None else nullcontext():
        result, fitted = fit(problem, criterion, max_seconds=asked.max_seconds, **settings)
    found = Found(
        result,
        n_judging(data) if asked.criterion in SUMS_OF_LOSSES else None,
        all_settings(asked, data),
        on_unseen(problem, fitted, data),
        None if asked.kernel is None else problem.read(result.theta),
    )
    deliver(asked, (problem, result, fitted, data.classes, data.zero_based), found)
    return exit_code(result)


# ---- the problem ----


def dtype_of(asked):
    return np.dtype(np.float32 if asked.float32 else np.float64)


def read_data(asked):
    files = {role: pair for role, pair in files_of(asked).items() if pair[0] is not None}
    rows, found, classes, is_zero_based = load_rows(
        list(files.values()),
        asked.loss,
        asked.threads,
        asked.zero_based,
        asked.max_memory,
        dtype_of(asked),
        has_weights=asked.weighted_labels,
        reads_queries=True,
    )
    if asked.file_format == "liblinear" and classes.size:
        liblinear.whole_labels(classes)
    if asked.out is not None:
        check_space(asked.out, bytes_of_model(asked, rows[0][0], classes))
    of_role = {"valid": None, "test": None} | dict(zip(files, rows, strict=True))
    found = dict(zip(files, found, strict=True))
    more = carried(asked, found, of_role, classes)
    return Data(**of_role, classes=classes, zero_based=is_zero_based, carried=more)


def n_judging(data):
    """How many rows the criterion sums over, or the sum of their weights where they have some."""
    role = "train" if data.valid is None else "valid"
    weight, (_, y) = data.carried.weights[role], data.valid or data.train
    return len(y) if weight is None else float(weight.sum())


def storage_settings(asked):
    """Settings of `Problem`: where and how the rows are kept."""
    return {
        "low_memory": asked.low_memory,
        "deterministic": asked.deterministic,
        "device": asked.device,
    }


def bytes_of_model(asked, X, classes):
    """What the model file takes at least; more as text."""
    if asked.kernel is not None:
        return 8 * (X.nnz + X.shape[0])
    n_outputs = len(classes) if asked.loss == "multinomial" else 1
    return 8 * n_outputs * (X.shape[1] + 1)


def make_problem(asked, data):
    if asked.kernel is not None:
        return make_kernel_problem(asked, data)
    penalty = make_penalty(asked, len(data.classes))
    problem = fasthoag.Problem(
        *data.train,
        loss=parse_parameters(asked.loss, asked.param),
        penalty=penalty,
        fit_intercept=not asked.no_intercept,
        sample_weight=data.carried.weights["train"],
        **storage_settings(asked),
    )
    if data.test is not None:
        _, y = data.test
        problem.loss.check_y(y, f"the labels of {asked.test}")
    return problem


def make_penalty(asked, n_classes):
    """The penalty of ``--per`` or ``--groups``, a file with a label for every feature, one a
    line."""
    if asked.groups is not None:
        if asked.per != "all":
            raise typer.BadParameter("--groups excludes --per.")
        return penalty_for(np.array(asked.groups.read_text(encoding="utf-8").splitlines()))
    if "class" in asked.per and asked.loss != "multinomial":
        raise typer.BadParameter(f"--per {asked.per} needs --loss multinomial.")
    return penalty_for(asked.per, n_classes=n_classes)


def make_criterion(asked, data):
    if data.valid is not None:
        return fasthoag.HeldOut(*data.valid, data.carried.weights["valid"])
    if asked.criterion == "cv":
        return make_folds(asked.cv, asked.loss, asked.seed, data.carried.groups)
    return IN_SAMPLE[asked.criterion]()


def search_settings(asked):
    """Settings of `hoag`."""
    return {
        "method": asked.method,
        "theta0": asked.theta0,
        "bounds": asked.bounds,
        "tol": asked.tol,
        "max_iter": asked.max_iter,
        "schedule": asked.schedule,
        "n_trials": asked.n_trials,
        "random_state": seed_of_trials(asked),
    }


# ---- what comes of it ----


def on_unseen(problem, fitted, data):
    """What the model is worth on the rows that nothing is fitted or tuned on, or None."""
    if data.test is None:
        return None
    X, y = data.test
    return judge_rows(problem, fitted, X, y, data.carried.weights["test"])


def show_cost(asked, problem, criterion):
    """Prints what the search will take; a warning where memory will not do is said by itself."""
    if asked.threads:
        problem = problem.with_threads(asked.threads)
    cost = problem.cost(criterion)
    if asked.is_json:
        show(report.dump(cost.to_dict()))
    else:
        print_table(cost.rows())


def all_settings(asked, data):
    """The options as the report shows them, and the size of the data."""
    X, _ = data.train
    n_rows, n_features = X.shape
    return (
        search_settings(asked)
        | storage_settings(asked)
        | {
            "train": str(asked.train),
            "valid": asked.valid and str(asked.valid),
            "test": asked.test and str(asked.test),
            "criterion": "valid" if data.valid is not None else asked.criterion,
            "cv": asked.cv,
            "seed": asked.seed,
            "loss": asked.loss,
            "param": asked.param,
            "kernel": asked.kernel,
            "degree": asked.degree if asked.kernel == "poly" else None,
            "coef0": asked.coef0 if asked.kernel == "poly" else None,
            "per": asked.per,
            "groups": asked.groups and str(asked.groups),
            "sample_weight": asked.sample_weight and str(asked.sample_weight),
            "class_weight": asked.class_weight,
            "fold_groups": name_of_groups(asked, data),
            "threads": asked.threads,
            "max_seconds": asked.max_seconds,
            "zero_based": None if data.zero_based == "auto" else data.zero_based,
            "fit_intercept": not asked.no_intercept,
            "dtype": dtype_of(asked).name,
            "n_rows": n_rows,
            "n_features": n_features,
            "out": asked.out and str(asked.out),
            "format": asked.out and asked.file_format,
        }
    )


def name_of_groups(asked, data):
    """What folds were cut between: a file, the queries of the rows, or nothing."""
    if asked.fold_groups is not None:
        return str(asked.fold_groups)
    return None if data.carried.groups is None else "qid"


def save_model(asked, parts):
    """Writes the model of these parts."""
    is_liblinear = asked.file_format == "liblinear"
    write_model = fasthoag.save_liblinear if is_liblinear else fasthoag.save_model
    write_model(asked.out, make_model(*parts), overwrite=asked.force)


def deliver(asked, parts, found):
    """Writes the model of these parts and the report and prints the result, also after a failure to
    write, as the search may have taken hours. Only what is written is said to be."""
    written = []
    try:
        if asked.out is not None:
            save_model(asked, parts)
            written.append(("model", asked.out))
        if asked.html is not None:
            write(asked.html, report.page(*found), asked.force)
            written.append(("report", asked.html))
    finally:
        if asked.out is not None and not written:
            no_model = found.settings | {"out": None, "format": None}
            found = found._replace(settings=no_model)
        if asked.is_json:
            show(report.dump(report.to_dict(*found)))
        elif ("report", STDOUT) not in written:
            print_table(report.summary(*found.shown()) + written)
