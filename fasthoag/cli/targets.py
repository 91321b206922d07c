"""Several targets of rows, or sets of labels: where they come from, and one of them at a time."""

import warnings

import numpy as np
import scipy.sparse

from fasthoag.cli.rows import find_classes, shown, to_targets
from fasthoag.cli.side_files import array_in, is_npy
from fasthoag.estimators.each import check_targets
from fasthoag.io.inputs import existing_file
from fasthoag.io.label_sets import LabelSets
from fasthoag.losses import find_loss

LABELS = np.array([0.0, 1.0])  # what a model says of a label in a set: without it, with it


def read_targets(path, rows, n_rows, are_needed=True):
    """The targets (n_rows, n_targets) of the rows of a file: of text, a line for every row with
    numbers between blanks or commas, or of .npy, (n_rows,) or (n_rows, n_targets). They are finite
    where they `are_needed`."""
    existing_file(path, "the targets of every row, one a line")
    values = matrix_in(path) if is_npy(path) else matrix_of_text(path)
    if len(values) != n_rows:
        raise ValueError(
            f"{path} has targets of {len(values)} rows and {rows} has {n_rows} rows; they must be "
            "equal."
        )
    if are_needed:
        check_targets(values, str(path))
    return values


def matrix_in(path):
    values = array_in(path)
    if values.ndim not in (1, 2) or 0 in values.shape or values.dtype.kind not in "fiub":
        raise ValueError(
            f"{path} must hold numbers of shape (n_rows,) or (n_rows, n_targets); found "
            f"{values.dtype}, shape {values.shape}."
        )
    return np.array(values.reshape(len(values), -1), np.float64)


def matrix_of_text(path):
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        delimiter = "," if "," in next((line for line in file if line.strip()), "") else None
    try:
        with warnings.catch_warnings(), open(path, encoding="utf-8-sig", errors="replace") as file:
            warnings.simplefilter("error")  # of an empty file
            return np.loadtxt(file, delimiter=delimiter, ndmin=2, comments=None)
    except (ValueError, UserWarning) as error:
        raise ValueError(
            f"{path} must have the targets of a row in every line, as many in each ({error})."
        ) from None


# ---- what they are of a loss --------------------------------------------------------------------


def coded(ys, paths, loss):
    """The targets of rows of every file as the loss takes them, those of the first being trained
    on; their classes, none of a regression; and the names of several targets, else None.

    `ys` are arrays (n_rows,) or (n_rows, n_targets), or `LabelSets`."""
    if isinstance(ys[0], LabelSets):
        names = ys[0].classes()
        return [indicator_of(*one, names) for one in zip(ys, paths, strict=True)], LABELS, names
    check_columns(ys, paths)
    is_one = ys[0].ndim == 1 or ys[0].shape[1] == 1
    ys = [y.ravel() if is_one else y for y in ys]
    classes, names = np.empty(0), None if is_one else np.arange(ys[0].shape[1])
    if find_loss(loss).is_classification:
        is_multinomial = loss == "multinomial"
        classes = find_classes(ys[0], paths[0], is_multinomial)
        pairs = zip(ys, paths, strict=True)
        ys = [to_targets(y, classes, path, is_multinomial) for y, path in pairs]
    return ys, classes, names


def check_columns(ys, paths):
    """Raises ValueError unless all files have as many targets."""
    counts = [1 if y.ndim == 1 else y.shape[1] for y in ys]
    for n, path in zip(counts, paths, strict=True):
        if n != counts[0]:
            raise ValueError(
                f"the rows of {path} have {n} targets, and those of {paths[0]} have {counts[0]}; "
                "they must be the same."
            )


def indicator_of(sets, path, names):
    """Whether rows have each of the labels of the training rows, which have to be all labels."""
    if len(names) == 0:
        raise ValueError(f"{path}: no row has a label.")
    other = sets.first_other(names)
    if other is not None:
        raise ValueError(
            f"{path} has the label {shown(np.array([other]))}, which no training row has: theirs "
            f"are {shown(names)}. Leave it out."
        )
    return sets.indicator(names)


def check_in_some(y, names, path, n_folds):
    """Raises ValueError for the first label that too few training rows have, or have not: with
    folds each of them needs some of both."""
    n_rows, least = y.shape[0], 1 if n_folds is None else 2
    n_with = y.sum(axis=0) if scipy.sparse.issparse(y) else (y > 0).sum(axis=0)
    is_bad = np.minimum(n_with, n_rows - n_with) < least
    if is_bad.any():
        j = int(is_bad.argmax())
        rows = "row" if least == 1 else "rows"
        raise ValueError(
            f"label {shown(names[[j]])} is in {n_with[j]} of the {n_rows} rows of {path}; its "
            f"model needs {least} {rows} with it and {least} without it. Leave the label out."
        )


def column_of(y, j):
    """One of several targets, (n_rows,)."""
    if scipy.sparse.issparse(y):
        return np.where(y[:, [j]].toarray()[:, 0], 1.0, -1.0)
    return np.ascontiguousarray(y[:, j])
