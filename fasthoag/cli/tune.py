"""``fasthoag tune``: the strength of the penalty, and the model for it."""

import os
from contextlib import nullcontext
from dataclasses import replace

import typer

import fasthoag
from fasthoag import report
from fasthoag.cli.application import command, exit_code, noted
from fasthoag.cli.carried import check_carried, weight_files_of
from fasthoag.cli.exposures import check_beside
from fasthoag.cli.found import found_of
from fasthoag.cli.interruption import leaving
from fasthoag.cli.kernel import check_kernel
from fasthoag.cli.options import parse_bounds
from fasthoag.cli.outputs import STDOUT, check_target, write
from fasthoag.cli.problem import (
    beside,
    check_targets_given,
    dtype_of,
    files_of,
    make_criterion,
    make_problem,
    read_data,
    search_settings,
    seed_of_trials,
    storage_settings,
    targets_of,
)
from fasthoag.cli.report_page import page_of
from fasthoag.cli.search import fit, last_fit, make_model
from fasthoag.cli.terminal import print_table, say, show
from fasthoag.cli.tune_each import problems_of, tune_each
from fasthoag.cli.tune_options import TuneOptions
from fasthoag.io import liblinear
from fasthoag.outer.trials import DRAWING, check_trials


@command
def tune(asked: TuneOptions):
    """Find the strength of the penalty that gives the least loss on held-out rows, and the model
    for it."""
    asked, warned = checked(asked), noted()
    data = read_data(asked)
    if data.names is not None:
        if asked.dry_run:
            _, problem, criterion = next(problems_of(asked, data))
            return show_cost(asked, problem, criterion, n_targets=len(data.names))
        return tune_each(asked, data, all_settings(asked, data))
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
    found = found_of(asked, data, problem, result, fitted, all_settings(asked, data))
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
    inputs += [*targets_of(asked).values(), *(one.path for one in beside(asked).values())]
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
    check_targets_given(asked)
    if asked.out is None and asked.file_format != "fasthoag":
        raise typer.BadParameter("--format needs --out.")
    if asked.out == STDOUT:
        raise typer.BadParameter("--out needs the name of a file: the result goes to stdout.")
    if asked.html == STDOUT and asked.is_json:
        raise typer.BadParameter("--report - excludes --json, which goes to stdout too.")
    outputs = asked.out, asked.html
    if None not in outputs and len({os.path.realpath(path) for path in outputs}) == 1:
        raise typer.BadParameter("--out and --report are the same file.")


# ---- what comes of it ----


def show_cost(asked, problem, criterion, n_targets=1):
    """Prints what the search of one target will take; a warning where memory will not do is said
    by itself."""
    if asked.threads:
        problem = problem.with_threads(asked.threads)
    cost = problem.cost(criterion)
    if asked.is_json:
        show(report.dump(cost.to_dict() | ({} if n_targets == 1 else {"n_targets": n_targets})))
        return
    rows = [("targets", f"{n_targets}, one after the other: so many times the passes and time")]
    print_table(cost.rows() + rows * (n_targets > 1))


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
            "targets": asked.targets and str(asked.targets),
            "multilabel": asked.multilabel,
            "n_targets": 1 if data.names is None else len(data.names),
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
