"""``fasthoag predict``: what a model says of rows."""

from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shorten

import numpy as np
import typer

import fasthoag
from fasthoag.cli.application import command
from fasthoag.cli.exposures import Beside, offset_for
from fasthoag.cli.options import (
    COUNTED_FROM,
    Debug,
    Exposure,
    Force,
    Labels,
    Memory,
    Offset,
    Targets,
    Threads,
    WeightedLabels,
    argument,
    option,
)
from fasthoag.cli.outputs import STDOUT, check_target, write
from fasthoag.cli.rows import read, shown
from fasthoag.cli.targets import read_targets
from fasthoag.cli.terminal import say, tell
from fasthoag.io import Model
from fasthoag.io.label_sets import LabelSets
from fasthoag.io.source import is_archive
from fasthoag.report import rows_of


@dataclass(frozen=True)
class PredictOptions:
    model: argument(Path, "What tune --out wrote.")
    data: argument(
        Path, "Rows, in the formats that tune reads, or - for stdin; a .npz needs no labels here."
    )
    out: option(Path | None, "--out", help="Write here instead of stdout (-).") = None
    proba: option(
        bool,
        "--proba",
        help="Probability of the second (larger) label instead of labels; with loss multinomial a "
        "column for every label, in ascending order.",
    ) = False
    labels: Labels = None
    targets: Targets = None
    weighted_labels: WeightedLabels = False
    offset: Offset = None
    exposure: Exposure = None
    zero_based: option(
        bool | None,
        COUNTED_FROM,
        help="From where text counts features; by default as in training.",
    ) = None
    force: Force = False
    threads: Threads = None
    max_memory: Memory = None
    debug: Debug = False


@command
def predict(asked: PredictOptions):
    """Write a label, a probability or a prediction for every row; say how good they are when labels
    are known."""
    given = Beside("", asked.offset, asked.exposure)
    if None not in (given.offset, given.exposure):
        raise typer.BadParameter("--offset excludes --exposure, whose logarithm is the offset.")
    if None not in (asked.labels, asked.targets):
        raise typer.BadParameter("--targets excludes --labels.")
    side_files = (given.path, None), (asked.targets, None)
    inputs = (asked.model, None), (asked.data, asked.labels), *side_files
    check_target(asked.out, asked.force, inputs)
    fitted = fasthoag.load_model(asked.model)
    check_lines(fitted, asked)
    X, y, weight = read_rows(fitted, asked)
    is_known = known_rows(y)
    is_judged = y is not None and check_labels(fitted, asked, y[is_known])
    known = offset_for(fitted, given, asked.model, asked.data, X.shape[0])
    predicted = fitted.predict(X, **known)
    probabilities = fitted.predict_proba(X, **known) if asked.proba else None
    write(asked.out or STDOUT, as_text(fitted, predicted, probabilities), asked.force)
    if is_judged:
        if not is_known.all():
            say(f"{np.sum(~is_known)} of {len(y)} rows have no known label and are not judged.")
        weight = None if weight is None else weight[is_known]
        judge(fitted, predicted[is_known], y[is_known], weight)


def check_lines(fitted, asked):
    """Raises ValueError where labels are no lines."""
    if fitted.classes.dtype.kind == "U":
        for label in fitted.classes.tolist():
            if label.splitlines() != [label]:
                raise ValueError(
                    f"{asked.model} has the label {shorten(label)}, which is no line of text; "
                    "rename it, or predict with fasthoag.load_model."
                )


def as_text(fitted, predicted, probabilities):
    """A line for every row. Numbers are the shortest that read back as the same."""
    if probabilities is None and predicted.ndim == 2:
        return "".join(" ".join(map(number, row)) + "\n" for row in predicted.tolist())
    if probabilities is None:
        is_date = predicted.dtype.kind == "M"  # a list of dates may be one of plain numbers
        labels = predicted.astype(str) if is_date else predicted
        return "".join(f"{number(label)}\n" for label in labels.tolist())
    if fitted.n_outputs == 1:
        is_label = probabilities.ndim == 1  # one of a set
        probabilities = probabilities[:, None] if is_label else probabilities[:, 1:]
    return "".join(" ".join(map(number, row)) + "\n" for row in probabilities.tolist())


def number(value):
    """The shortest text that reads back as this number; other labels as they are."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def judge(fitted, predicted, y, weight):
    """Says how good predictions of these rows are."""
    if weight is not None and not weight.any():
        say("no row with a known label has a positive weight, so that none is judged.")
        return
    n = rows_of(len(y) if weight is None else float(weight.sum()))
    if fitted.classes.size == 0:
        squares = (predicted - y) ** 2
        of_all = f", mean of {squares.shape[1]} targets" if squares.ndim == 2 else ""
        squares = squares.mean(axis=1) if squares.ndim == 2 else squares
        tell(f"mean squared error {np.average(squares, weights=weight):.6g} on {n}{of_all}")
        return
    is_right = predicted == y
    is_right = is_right.all(axis=1) if is_right.ndim == 2 else is_right  # in all labels
    right = f"{is_right.sum()} of {n}" if weight is None else n
    tell(f"accuracy {np.average(is_right, weights=weight):.6g} ({right})")


def read_rows(fitted, asked):
    """X with the model's number of features, and y and weights or None."""
    path, zero_based = asked.data, asked.zero_based
    n_features = fitted.n_features
    if zero_based is None and fitted.zero_based is True and not is_archive(path):
        zero_based = True
    ((X, y, has_feature_0, weight, _),), _ = read(
        [(path, asked.labels)],
        asked.threads,
        zero_based,
        asked.max_memory,
        n_features=n_features,
        needs_labels=False,
        has_weights=asked.weighted_labels,
        has_several=has_sets(fitted),
    )
    if asked.targets is not None:
        y = read_targets(asked.targets, path, X.shape[0], are_needed=False)
    if isinstance(y, LabelSets):
        y = labels_in_sets(fitted, asked, y)
    elif y is not None and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if zero_based is None and has_feature_0 and fitted.zero_based is False:
        raise ValueError(
            f"{path} has a feature 0, but {asked.model} was trained on text whose features count "
            "from 1: say --zero-based if only this file counts from 0; if the training rows do "
            "too, tune again with --zero-based."
        )
    if zero_based is None and has_feature_0 is False and fitted.zero_based == "auto":
        say(
            f"warning: {path} has no feature 0, and {asked.model} does not hold whether its text "
            "had: features are taken to count from 1; --one-based or --zero-based says it."
        )
    if X.shape[1] > n_features:
        raise ValueError(
            f"{path} has features beyond the {n_features} that the model was trained on; drop them."
        )
    if X.shape[1] < n_features:
        say(
            f"{path} has only the first {X.shape[1]} of the {n_features} features of the model; "
            "the others are taken as 0."
        )
    X.resize(X.shape[0], n_features)
    return X, y, weight


def has_sets(fitted):
    """Whether the text that a model was trained on had sets of labels."""
    return isinstance(fitted, Model) and fitted.has_labels and fitted.targets.size > 0


def labels_in_sets(fitted, asked, sets):
    """The labels of sets as predictions have them, NaN in rows whose labels are not known; None
    where there are none."""
    other = sets.first_other(np.sort(fitted.targets))
    if other is not None:
        raise ValueError(
            f"{asked.data} has the label {shown(np.array([other]))}, which {asked.model} was not "
            f"trained on: its labels are {shown(fitted.targets)}. Leave it out."
        )
    if not np.isfinite(sets.values).any():
        say(f"no accuracy: no row of {asked.data} has a label.")
        return None
    y = fitted.classes[sets.indicator(fitted.targets).toarray() * 1]
    y[~sets.is_known()] = np.nan
    return y[:, 0] if fitted.n_outputs == 1 else y


def known_rows(y):
    """Whether the labels of a row are known, (n_rows,)."""
    if y is None:
        return np.ones(0, bool)
    is_known = np.isfinite(y)
    return is_known.all(axis=1) if y.ndim == 2 else is_known


def check_labels(fitted, asked, y):
    """Whether these labels, which are finite, can judge predictions; raises for labels that the
    model does not know."""
    found, classes = np.unique(y), fitted.classes
    score = "accuracy" if classes.size else "mean squared error"
    is_of_columns = not classes.size or (isinstance(fitted, Model) and fitted.has_labels)
    n_outputs, n_targets = fitted.n_outputs if is_of_columns else 1, (*y.shape, 1)[1]
    if n_outputs != n_targets:
        say(
            f"no {score}: {asked.model} has {n_outputs} targets, and rows of {asked.data} have "
            + ("one label." if n_targets == 1 else f"{n_targets}.")
        )
        return False
    if len(found) == 0:
        say(f"no {score}: no label of {asked.data} is a number.")
        return False
    is_number = classes.dtype.kind in "fiu"
    if not is_number or classes.astype(float).tolist() != classes.tolist():
        what = "whole numbers beyond 2**53" if is_number else "names"
        say(
            f"no accuracy: the labels of {asked.model} are {what}, and those of {asked.data} are "
            "numbers of double precision."
        )
        return False
    unknown = found[~np.isin(found, classes)] if classes.size else found[found == 0]
    # It is LIBSVM's custom that rows without labels have one all the same.
    if len(found) == len(unknown) == 1:
        say(
            f"no {score}: all labels of {asked.data} are {shown(found)}, taken to stand for "
            "unknown ones."
        )
        return False
    if classes.size and len(unknown):
        raise ValueError(
            f"{asked.data} has labels that {asked.model} was not trained on: {shown(unknown)}. "
            f"Those of the file are {shown(found)}, of the model {shown(classes)}. Relabel the "
            "rows, or give all of them one label such as 0 if they are unknown."
        )
    return True
