"""What rows carry beside features and labels: weights, weights of classes, and the groups between
which folds are cut, from files with a line for every row and from the rows' own text."""

from typing import Any, NamedTuple

import numpy as np
import typer

from fasthoag.cli.rows import shown
from fasthoag.cli.side_files import array_in, is_npy, lines_of, numbers_in
from fasthoag.io.svmlight import check_queries
from fasthoag.losses import find_loss
from fasthoag.vectors import check_weight


class Carried(NamedTuple):
    """The weights of the rows of every role, by its name, None where they have none, and the groups
    of the training rows or None."""

    weights: dict[str, Any]
    groups: Any


def carried(asked, found):
    """What the rows of every role carry: `found` are they as they were read, by their role."""
    weights = {
        role: weight_of(path, role, found.get(role))
        for role, path in weight_files_of(asked).items()
    }
    return Carried(weights, groups_of(asked, found["train"]))


def with_class_weights(asked, weights, rows, classes):
    """The weights of the rows of every role times those of their classes; `rows` are their (X, y)
    of one target by role, None where a file is not given."""
    if not asked.class_weight:
        return weights
    judged = dict(weights)
    by_class = weights_of_classes(asked.class_weight, rows["train"], weights["train"], classes)
    for role in ("train", "valid"):  # What is unseen is judged as it is.
        if rows[role] is not None:
            own = 1.0 if weights[role] is None else weights[role]
            judged[role] = own * by_class[numbers_of_classes(rows[role], classes)]
    return judged


def weight_files_of(asked):
    return {
        "train": asked.sample_weight,
        "valid": asked.valid_sample_weight,
        "test": asked.test_sample_weight,
    }


def weight_of(path, role, found):
    """The weights of rows as they were read, from a file or behind their labels."""
    if found is None:
        return None
    if path is None:
        return found.weight
    if found.weight is not None:
        raise ValueError(f"{path}: the {role} rows have weights behind their labels already.")
    values = numbers_in(path)
    try:
        return check_weight(values, found.X.shape[0])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def groups_of(asked, found):
    """The labels of groups of the training rows: of a file, or the numbers of queries, which cut
    folds where there are any."""
    path = asked.fold_groups
    if path is None:
        if found.query is None or asked.ignore_qid or not is_cut(asked):
            return None
        check_queries(asked.train, found.query)
        return found.query
    labels = array_in(path) if is_npy(path) else np.array(lines_of(path))
    n = found.X.shape[0]
    if labels.shape != (n,):
        raise ValueError(
            f"{path} has labels of shape {labels.shape}, and the rows are {n}; give one a line for "
            "every row."
        )
    if labels.dtype.kind == "U" and (np.char.strip(labels) == "").any():
        line = int(np.argmax(np.char.strip(labels) == "")) + 1
        raise ValueError(f"{path}: line {line} is empty; every row needs the label of its group.")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{path} has labels that are no numbers; give every row one.")
    return labels


def is_cut(asked):
    """Whether training rows are cut into folds."""
    return asked.valid is None and asked.criterion == "cv"


def check_carried(asked):
    """Raises for options of weights and groups that would not be used."""
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


# ---- classes ----


def weights_of_classes(texts, rows, weight, classes):
    """The weight of every class: ``balanced``, over the training rows and their weights, or LABEL:
    WEIGHT, by commas or again and again; 1 where it is not named."""
    if texts == ["balanced"]:
        from sklearn.utils.class_weight import compute_class_weight

        numbers = numbers_of_classes(rows, classes)
        own = {} if weight is None else {"sample_weight": weight}
        return compute_class_weight("balanced", classes=np.arange(len(classes)), y=numbers, **own)
    by_class = np.ones(len(classes))
    for text in ",".join(texts).split(","):
        label, value = parsed(text)
        where = np.flatnonzero(classes == label)
        if len(where) == 0:
            raise ValueError(
                f"--class-weight {text}: the training rows have no label {shown([label])}; theirs "
                f"are {shown(classes)}."
            )
        by_class[where] = value
    return by_class


def parsed(text):
    """(label, weight) of LABEL:WEIGHT."""
    label, _, value = text.partition(":")
    try:
        label, value = float(label), float(value)
    except ValueError:
        value = np.nan
    if not 0 <= value < np.inf:
        raise typer.BadParameter(
            f"need balanced, or LABEL:WEIGHT with a weight >= 0; got {text!r}",
            param_hint="--class-weight",
        )
    return label, value


def numbers_of_classes(rows, classes):
    """The numbers of the classes of rows (X, y), whose targets are -1 and +1 or these numbers."""
    _, y = rows
    return (y > 0).astype(int) if len(classes) == 2 and y.min() < 0 else y.astype(int)
