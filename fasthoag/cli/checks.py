"""Options of ``fasthoag tune`` that depend on each other, checked before any work."""

import os
from dataclasses import replace

import typer

from fasthoag.cli.carried import is_cut
from fasthoag.cli.kernel import check_kernel
from fasthoag.cli.options import parse_bounds
from fasthoag.cli.outputs import STDOUT, check_target
from fasthoag.io import liblinear
from fasthoag.losses import find_loss
from fasthoag.outer.trials import DRAWING, check_trials


def checked(asked):
    """The options with their defaults, of which some depend on others. What is wrong with them is
    said here, before any work."""
    bounds = None if asked.bounds is None else parse_bounds(asked.bounds)
    check_together(asked)
    given = {"theta0": asked.theta0, "schedule": asked.schedule, "max_iter": asked.max_iter}
    check_trials(asked.method, asked.n_trials, seed_of_trials(asked), given)
    for path in (asked.out, asked.html):
        check_target(path, asked.force, [*files_of(asked).values(), *beside(asked)])
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


def beside(asked):
    """(path, None) of the files that are no rows."""
    weights = asked.sample_weight, asked.valid_sample_weight, asked.test_sample_weight
    return [(path, None) for path in (asked.groups, asked.fold_groups, *weights)]


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


def check_carried(asked):
    """The same of weights and groups of rows."""
    if asked.valid is None and asked.valid_sample_weight is not None:
        raise typer.BadParameter("--valid-sample-weight needs --valid.")
    if asked.test is None and asked.test_sample_weight is not None:
        raise typer.BadParameter("--test-sample-weight needs --test.")
    if asked.class_weight and not find_loss(asked.loss).is_classification:
        raise typer.BadParameter(f"--class-weight is for classes; --loss {asked.loss} has none.")
    if asked.class_weight and "balanced" in asked.class_weight and len(asked.class_weight) > 1:
        raise typer.BadParameter("--class-weight balanced excludes weights of single classes.")
    if asked.fold_groups is not None and not is_cut(asked):
        raise typer.BadParameter("--fold-groups is for cutting folds, as --criterion cv does.")
    if asked.ignore_qid and (asked.fold_groups is not None or not is_cut(asked)):
        raise typer.BadParameter("--ignore-qid is for folds that queries would cut.")


def files_of(asked):
    """(path, labels) of the rows by their role; a path is None where a file is not given."""
    return {
        "train": (asked.train, asked.labels),
        "valid": (asked.valid, asked.valid_labels),
        "test": (asked.test, asked.test_labels),
    }
