"""Rows from files: the same features in all of them, and labels as targets."""

import sys

import numpy as np

from fasthoag.cli.terminal import say
from fasthoag.io import data_set, svmlight
from fasthoag.io.source import is_archive

# LIBSVM's own programs count features in 32 bits. A search holds more than 16 arrays as long as the
# coefficients: 28 at least, as measured with --criterion gcv --low-memory.
MOST_FEATURES, N_VECTORS = 2**31 - 1, 16


def read(files, threads, zero_based, gigabytes, **options):
    """What `fasthoag.io.data_set.read_together` returns; the path "-" is standard input. It is told
    of threads only where a format has a use for them."""
    if sum(str(path) == "-" for path, _ in files) > 1:
        raise ValueError("- is standard input, which is one file; give the others by their names.")
    files = [(sys.stdin.buffer if str(path) == "-" else path, labels) for path, labels in files]
    if not all(is_archive(path) for path, _ in files):
        options["n_threads"] = threads
    if zero_based is not None:
        options["zero_based"] = zero_based
    if gigabytes is not None:
        options["max_bytes"] = max(1, round(min(gigabytes, 1e9) * 1e9))
    return data_set.read_together(files, **options)


def load_rows(files, threads, zero_based, gigabytes, dtype, **of_text):
    """A list of `fasthoag.io.svmlight.Rows` for pairs (path, labels), all with the same features,
    and whether text counts features from 0, "auto" without text. `of_text` are settings of
    `fasthoag.io.svmlight.read_text`."""
    max_features = min(MOST_FEATURES, svmlight.max_features_in_memory(N_VECTORS))
    how = {"dtype": dtype, "max_features": max_features, **of_text}
    found, is_zero_based = read(files, threads, zero_based, gigabytes, **how)
    paths = [path for path, _ in files]
    Xs, have_feature_0 = ([rows[k] for rows in found] for k in (0, 2))
    if zero_based is None:
        warn_of_base(paths, have_feature_0)
    # A text file ends at the last feature that occurs in it.
    n_features = max(X.shape[1] for X in Xs)
    if n_features == 0:
        raise ValueError(f"{paths[0]}: no row has any feature.")
    for X in Xs:
        X.resize(X.shape[0], n_features)
    return found, is_zero_based


def warn_of_base(paths, have_feature_0):
    """Warns where the files leave open whether their text counts features alike."""
    says_it = "--zero-based or --one-based says it."
    if have_feature_0[0] is False and True in have_feature_0:
        say(
            f"warning: {paths[0]} has no feature 0, but {paths[have_feature_0.index(True)]} has, "
            f"so all are taken to count features from 0; {says_it}"
        )
    elif None in have_feature_0 and False in have_feature_0 and True not in have_feature_0:
        say(
            f"warning: {paths[have_feature_0.index(False)]} has no feature 0, and columns of "
            f"{paths[have_feature_0.index(None)]} have no numbers: features in text are taken to "
            f"count from 1; {says_it}"
        )


def find_classes(y, path, is_multinomial):
    """The labels of a classifier: two, or with the multinomial loss two or more."""
    classes = np.unique(y)
    if is_multinomial and len(classes) > 1:
        return classes
    if len(classes) != 2:
        raise ValueError(
            f"{path} has {len(classes)} distinct labels ({shown(classes)}), but this loss needs "
            "exactly two; --loss multinomial is for more, --loss squared for regression."
        )
    return classes


def to_targets(y, classes, path, is_multinomial):
    """The two labels as -1 and +1 in the order of `classes`, or the numbers of the classes."""
    is_unknown = ~np.isin(y, classes)
    if is_unknown.any():
        raise ValueError(
            f"{path} has the label {shown(y[is_unknown][:1])}, which the training rows do not "
            f"have: theirs are {shown(classes)}. Relabel the rows, or leave them out."
        )
    if is_multinomial:
        return np.searchsorted(classes, y).astype(float)
    return np.where(y == classes[1], 1.0, -1.0)


def shown(labels):
    """The first labels as text, with all their digits."""
    texts = [np.format_float_positional(label, trim="-") for label in labels[:5]]
    return ", ".join(texts) + (", ..." if len(labels) > 5 else "")
