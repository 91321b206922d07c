"""Models in LIBLINEAR's text format."""

from io import BytesIO
from typing import Any

import numpy as np

from fasthoag.io.model import Model
from fasthoag.io.replacement import replace_file
from fasthoag.types import Path

# The losses that LIBLINEAR has, with its name for them and whether they are regressions.
SOLVERS = {
    "logistic": ("L2R_LR", False),
    "squared_hinge": ("L2R_L2LOSS_SVC", False),
    "squared_epsilon_insensitive": ("L2R_L2LOSS_SVR", True),
    "squared": ("L2R_L2LOSS_SVR", True),
}

ROWS = 2**16  # whose text is made at once


def save_liblinear(path: Path, model: Any, *, overwrite: bool = False) -> None:
    """Write a model as LIBLINEAR's text format, which its ``predict`` reads: a fitted estimator, a
    HoagResult or a `Model`, as `save_model` takes them.

    Loss "logistic" becomes L2R_LR and "squared_hinge" L2R_L2LOSS_SVC (several outputs: one against
    the rest), "squared_epsilon_insensitive" and "squared" become L2R_L2LOSS_SVR. The intercept is
    the weight of a last feature of value ``bias 1``. With two classes the positive one comes first,
    as LIBLINEAR's weights are those of its first label.

    Raises
    ------
    FileExistsError, OSError, TypeError
        As `save_model`.
    ValueError
        LIBLINEAR has no such model: another loss, an offset, labels that are not whole numbers of
        32 bits, a regression with many outputs, two outputs for two classes.

    Examples
    --------
    >>> import os, tempfile
    >>> from fasthoag.io import Model, save_liblinear
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "liblinear.model")
    ...     model = Model("logistic", coef=[[1.0, -2.0]], intercept=[0.5], classes=[-1, 1])
    ...     save_liblinear(path, model)
    ...     print(open(path).read().split("w\\n")[0].splitlines())
    ['solver_type L2R_LR', 'nr_class 2', 'label 1 -1', 'nr_feature 2', 'bias 1']
    """
    from fasthoag.io.model_of import model_of  # The outer loop takes a while to import.

    model = model_of(model)
    if not isinstance(model, Model):
        raise ValueError(
            f"LIBLINEAR has linear models only, and this is a {type(model).__name__}. Write the "
            "format of fasthoag instead."
        )
    if model.has_offset:
        raise ValueError(
            "LIBLINEAR's models have no offset, and this one was fitted beside one. Write the "
            "format of fasthoag instead."
        )
    if model.has_labels:
        raise ValueError(
            "LIBLINEAR's models have one label a row, and this one is of several. Write the format "
            "of fasthoag instead."
        )
    solver, is_regression = solver_of(model.loss)
    n_outputs, n_features = model.coef.shape
    head = [f"solver_type {solver}"]
    if is_regression:
        if n_outputs > 1 or model.classes.size:
            raise ValueError(
                "LIBLINEAR's regression has one output and no classes; this model is another kind."
            )
        head += ["nr_class 2"]
    else:
        if n_outputs == 2:
            raise ValueError(
                "LIBLINEAR's models of two classes have one output; this model has two."
            )
        labels = whole_labels(model.classes)[:: -1 if n_outputs == 1 else 1]
        head += [f"nr_class {len(labels)}", f"label {' '.join(map(str, labels))}"]
    head += [f"nr_feature {n_features}", "bias 1", "w", ""]
    content = BytesIO()
    content.write("\n".join(head).encode("ascii"))
    for start in range(0, n_features, ROWS):
        write_weights(content, model.coef[:, start : start + ROWS].T)
    write_weights(content, model.intercept[None])
    replace_file(path, content.getbuffer(), overwrite)


def write_weights(content, weights):
    """A line for every row, with the shortest numbers that read back as the same."""
    lines = (" ".join(map(repr, row)) + "\n" for row in weights.tolist())
    content.write("".join(lines).encode("ascii"))


def solver_of(loss):
    """LIBLINEAR's name of a loss, and whether it is a regression."""
    if loss not in SOLVERS:
        raise ValueError(
            f"LIBLINEAR has no loss {loss!r}; only {', '.join(map(repr, SOLVERS))} can be "
            "written in its format. Write the format of fasthoag instead."
        )
    return SOLVERS[loss]


def whole_labels(classes):
    """The labels as integers, or a ValueError where LIBLINEAR cannot hold them."""
    if classes.size == 0:
        raise ValueError("LIBLINEAR's classifiers have labels; give the model its classes.")
    limits = np.iinfo(np.int32)
    if (
        classes.dtype.kind not in "fiu"
        or not (
            (classes == np.rint(classes)) & (classes >= limits.min) & (classes <= limits.max)
        ).all()
    ):
        raise ValueError(
            f"LIBLINEAR's labels are whole numbers of 32 bits; found {classes.tolist()}. Renumber "
            "them, or write the format of fasthoag instead."
        )
    return classes.astype(np.int32)
