"""``fasthoag tune``: the strength of the penalty, and the model for it."""

import os
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import typer

import fasthoag
from fasthoag import report
from fasthoag.cli.application import command, exit_code, noted
from fasthoag.cli.carried import Carried, carried, check_carried, weight_files_of
from fasthoag.cli.exposures import Beside, check_beside, read_beside
from fasthoag.cli.interruption import leaving
from fasthoag.cli.kernel import check_kernel, make_kernel_problem
from fasthoag.cli.options import parse_bounds, parse_parameters
from fasthoag.cli.outputs import STDOUT, check_space, check_target, write
from fasthoag.cli.report_page import page_of
from fasthoag.cli.rows import load_rows
from fasthoag.cli.search import fit, judge_rows, last_fit, make_folds, make_model
from fasthoag.cli.terminal import print_table, say, show
from fasthoag.cli.tune_options import IN_SAMPLE, TuneOptions
from fasthoag.estimators.strengths import penalty_for
from fasthoag.io import liblinear
from fasthoag.outer.trials import DRAWING, check_trials

SUMS_OF_LOSSES = "cv", "loo", "gcv"  # These criteria have a loss per row.


class Data(NamedTuple):
    """The rows of every file as a pair (X, y), or None where the file is not given; their offsets,
    by the role of the file; the labels of a classifier; and whether text counts features from 0,
    "auto" without text."""

    train: Any
    valid: Any
    test: Any
    offsets: dict
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
    asked, warned = checked(asked), noted()
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
        judged(problem, fitted, data),
        None if asked.kernel is None else problem.read(result.theta),
    )
    deliver(asked, (problem, result, fitted, data.classes, data.zero_based), found, warned)
    return exit_code(result)


# ---- before the work ----


def checked(asked):
    """The options with their defaults, of which some depend on others. What is wrong with them is
    said here, before any work."""
    bounds = None if asked.bounds is None else parse_bounds(asked.bounds)
    check_together(asked)
    given = {"theta0": asked.theta0, "schedule": asked.schedule, "max_iter": asked.max_iter}
    check_trials(asked.method, asked.n_trials, seed_of_trials(asked), given)
    inputs = [asked.groups, asked.fold_groups, *weight_files_of(asked).values()]
    inputs += [one.path for one in beside(asked).values()]
    for path in (asked.out, asked.html):
        pairs = [(one, None) for one in inputs]
        check_target(path, asked.force, [*files_of(asked).values(), *pairs])
    if asked.file_format == "liblinear":
        liblinear.solver_of(asked.loss)
    if asked.kernel is not None:
        degree = 3 if asked.degree is None else asked.degree
        asked = replace(asked, degree=degree, coef0=1.0 if asked.coef0 is None else asked.coef0)
    cv, seed = asked.cv or 5, asked.seed or 0
    if asked.valid is not None or asked.criterion != "cv":
        cv, seed = None, seed_of_trials(asked)
    return replace(asked, bounds=bounds, cv=cv, seed=seed)


def seed_of_trials(asked):
    """The seed of a method that draws, else None."""
    return (asked.seed or 0) if asked.method in DRAWING else None


def check_together(asked):
    """Options that would not be used are an error."""
    is_seed_of_folds = asked.seed is not None and asked.method not in DRAWING
    has_valid, cuts_folds = asked.valid is not None, asked.cv is not None or is_seed_of_folds
    if asked.criterion != "cv" and (has_valid or cuts_folds):
        raise typer.BadParameter(
            f"--criterion {asked.criterion} holds no rows out; it excludes --valid, --cv and "
            "--seed."
        )
    check_kernel(asked)
    roles, files = beside(asked), files_of(asked)
    check_beside(asked, [(files[role][0], one) for role, one in roles.items()])
    if asked.dry_run and asked.device == "gpu":
        raise typer.BadParameter("--dry-run counts the memory of this machine; it excludes gpu.")
    if asked.test is None and asked.test_labels is not None:
        raise typer.BadParameter("--test-labels needs --test.")
    if has_valid and cuts_folds:
        raise typer.BadParameter("--valid excludes --cv and --seed, which cut TRAIN into folds.")
    if not has_valid and asked.valid_labels is not None:
        raise typer.BadParameter("--valid-labels needs --valid.")
    check_carried(asked)
    if asked.out is None and asked.file_format != "fasthoag":
        raise typer.BadParameter("--format needs --out.")
    if asked.out == STDOUT:
        raise typer.BadParameter("--out needs the name of a file: the result goes to stdout.")
    if asked.html == STDOUT and asked.is_json:
        raise typer.BadParameter("--report - excludes --json, which goes to stdout too.")
    outputs = asked.out, asked.html
    if None not in outputs and len({os.path.realpath(path) for path in outputs}) == 1:
        raise typer.BadParameter("--out and --report are the same file.")


def files_of(asked):
    """(path, labels) of the rows by their role; a path is None where a file is not given."""
    return {
        "train": (asked.train, asked.labels),
        "valid": (asked.valid, asked.valid_labels),
        "test": (asked.test, asked.test_labels),
    }


def beside(asked):
    """Where the offsets of the rows come from, by the role of their file."""
    return {
        "train": Beside("", asked.offset, asked.exposure),
        "valid": Beside("valid-", asked.valid_offset, asked.valid_exposure),
        "test": Beside("test-", asked.test_offset, asked.test_exposure),
    }


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
    offsets = dict.fromkeys(of_role)
    for role, (X, _) in zip(files, rows, strict=True):
        offsets[role] = read_beside(beside(asked)[role], files[role][0], X.shape[0])
    found = dict(zip(files, found, strict=True))
    more = {"offsets": offsets, "carried": carried(asked, found, of_role, classes)}
    return Data(**of_role, **more, classes=classes, zero_based=is_zero_based)


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
        sample_weight=data.carried.weights["train"],
        offset=data.offsets["train"],
        fit_intercept=not asked.no_intercept,
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
        return fasthoag.HeldOut(
            *data.valid, data.carried.weights["valid"], offset=data.offsets["valid"]
        )
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


def judged(problem, fitted, data):
    """What the model is worth on the rows of ``--test``, or None."""
    if data.test is None:
        return None
    X, y = data.test
    of_rows = data.carried.weights["test"], data.offsets["test"]
    return judge_rows(problem, fitted, X, y, *of_rows)


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
            "offset": asked.offset and str(asked.offset),
            "exposure": asked.exposure and str(asked.exposure),
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


def deliver(asked, parts, found, warned):
    """Writes the model of these parts and the report, with what was warned of, and prints the
    result, also after a failure to write, as the search may have taken hours. Only what is written
    is said to be."""
    written = []
    try:
        if asked.out is not None:
            save_model(asked, parts)
            written.append(("model", asked.out))
        if asked.html is not None:
            write(asked.html, page_of(parts, found, warned), asked.force)
            written.append(("report", asked.html))
    finally:
        if asked.out is not None and not written:
            no_model = found.settings | {"out": None, "format": None}
            found = found._replace(settings=no_model)
        if asked.is_json:
            show(report.dump(report.to_dict(*found)))
        elif ("report", STDOUT) not in written:
            print_table(report.summary(*found.shown()) + written)
