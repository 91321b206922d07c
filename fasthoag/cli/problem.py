"""What ``fasthoag tune`` reads, and the problem and the criterion that it makes of it."""

from typing import Any, NamedTuple

import numpy as np
import typer

import fasthoag
from fasthoag.cli.carried import Carried, carried, with_class_weights
from fasthoag.cli.exposures import Beside, read_beside
from fasthoag.cli.kernel import make_kernel_problem
from fasthoag.cli.options import parse_parameters
from fasthoag.cli.outputs import check_space
from fasthoag.cli.rows import load_rows
from fasthoag.cli.search import make_folds
from fasthoag.cli.targets import check_in_some, coded, column_of, read_targets
from fasthoag.cli.tune_options import IN_SAMPLE
from fasthoag.estimators.strengths import penalty_for
from fasthoag.io import liblinear
from fasthoag.losses import find_loss
from fasthoag.outer.trials import DRAWING


class Data(NamedTuple):
    """The rows of every file as a pair (X, y), or None where the file is not given; their offsets,
    by the role of the file; the labels of a classifier; whether text counts features from 0, "auto"
    without text; and the names of several targets, which y then has in its columns, else None."""

    train: Any
    valid: Any
    test: Any
    offsets: dict
    classes: np.ndarray
    zero_based: Any
    carried: Carried
    names: Any = None

    @property
    def rows(self):
        """(X, y) by the role of the file."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def files_of(asked):
    """(path, labels) of the rows by their role; a path is None where a file is not given."""
    return {
        "train": (asked.train, asked.labels),
        "valid": (asked.valid, asked.valid_labels),
        "test": (asked.test, asked.test_labels),
    }


def targets_of(asked):
    """The files of targets by the role of their rows; None where rows have them."""
    return {
        "train": asked.targets,
        "valid": asked.valid_targets,
        "test": asked.test_targets,
    }


def beside(asked):
    """Where the offsets of the rows come from, by the role of their file."""
    return {
        "train": Beside("", asked.offset, asked.exposure),
        "valid": Beside("valid-", asked.valid_offset, asked.valid_exposure),
        "test": Beside("test-", asked.test_offset, asked.test_exposure),
    }


def dtype_of(asked):
    return np.dtype(np.float32 if asked.float32 else np.float64)


def read_data(asked):
    files = {role: pair for role, pair in files_of(asked).items() if pair[0] is not None}
    found, is_zero_based = load_rows(
        list(files.values()),
        asked.threads,
        asked.zero_based,
        asked.max_memory,
        dtype_of(asked),
        needs_labels=asked.targets is None,
        has_weights=asked.weighted_labels,
        has_several=asked.multilabel,
        reads_queries=True,
    )
    paths, found = [path for path, _ in files.values()], dict(zip(files, found, strict=True))
    given = targets_of(asked)
    ys = [
        one.y if given[role] is None else read_targets(given[role], files[role][0], one.X.shape[0])
        for role, one in found.items()
    ]
    ys, classes, names = coded(ys, paths, asked.loss)
    if names is not None:
        check_several(asked)
        if classes.size:
            check_in_some(ys[0], names, asked.train, asked.cv)
    if asked.file_format == "liblinear" and classes.size:
        liblinear.whole_labels(classes)
    if asked.out is not None:
        n_outputs = 1 if names is None else len(names)
        check_space(asked.out, n_outputs * bytes_of_model(asked, found["train"].X, classes))
    of_role = dict.fromkeys(("train", "valid", "test"))
    of_role |= {role: (found[role].X, y) for role, y in zip(files, ys, strict=True)}
    offsets = dict.fromkeys(of_role)
    for role, one in found.items():
        offsets[role] = read_beside(beside(asked)[role], files[role][0], one.X.shape[0])
    more = {"offsets": offsets, "carried": carried(asked, found), "names": names}
    data = Data(**of_role, **more, classes=classes, zero_based=is_zero_based)
    return weighted(asked, data) if names is None else data


def weighted(asked, data):
    """Rows of one target with the weights of their classes."""
    weights = with_class_weights(asked, data.carried.weights, data.rows, data.classes)
    return data._replace(carried=data.carried._replace(weights=weights))


def of_target(asked, data, j):
    """The `Data` of one of several targets."""
    rows = {
        role: None if pair is None else (pair[0], column_of(pair[1], j))
        for role, pair in data.rows.items()
    }
    return weighted(asked, data._replace(**rows, names=None))


def check_targets_given(asked):
    """Raises for files of targets that would not be used or are missing, and for sets of labels
    beside what is of one label."""
    given, files = targets_of(asked), files_of(asked)
    if asked.targets is not None and asked.multilabel:
        raise typer.BadParameter("--targets excludes --multilabel: both say what targets are.")
    for role, path in given.items():
        (rows, labels), option = files[role], "--" + f"{role}-targets".removeprefix("train-")
        if path is not None and rows is None:
            raise typer.BadParameter(f"{option} needs --{role}.")
        if path is not None and labels is not None:
            raise typer.BadParameter(f"{option} excludes {option.replace('targets', 'labels')}.")
        if rows is not None and (path is None) != (asked.targets is None):
            lacks = option if path is None else "--targets"
            raise typer.BadParameter(
                f"{lacks} is missing: all rows have targets of files, or none."
            )
    if not asked.multilabel:
        return
    if asked.weighted_labels:
        raise typer.BadParameter("--multilabel excludes --weighted-labels.")
    if not find_loss(asked.loss).is_classification:
        raise typer.BadParameter(f"--multilabel is for labels; --loss {asked.loss} has none.")
    check_several(asked)


def check_several(asked):
    """Raises for options that are of one target."""
    for name, is_asked in (
        ("--kernel", asked.kernel is not None),
        ("--loss multinomial", asked.loss == "multinomial"),
        ("--format liblinear", asked.file_format == "liblinear"),
        ("--report (--json has all targets)", asked.html is not None),
    ):
        if is_asked:
            raise typer.BadParameter(f"several targets exclude {name}.")


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


def make_problem(asked, data, has_design=False):
    """The problem; with `has_design` X is that of another problem."""
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
        **({} if has_design else storage_settings(asked)),
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


def seed_of_trials(asked):
    """The seed of a method that draws, else None."""
    return (asked.seed or 0) if asked.method in DRAWING else None


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
