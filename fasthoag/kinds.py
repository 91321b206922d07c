"""What is taken for numbers and what for labels: every array of the user passes here, so that no
kind of array is read as something else than it says."""

import re
from contextlib import contextmanager
from typing import Any

import numpy as np

from fasthoag.design.rows import is_on_device

REAL_KINDS = "fiub"  # of NumPy's types: floats, integers and bools


@contextmanager
def named(argument):
    """Errors of checks inside, with the name of the argument where they have none."""
    try:
        yield
    except (TypeError, ValueError, ArithmeticError) as error:
        if any(re.search(rf"\b{word}\b", str(error)) for word in argument.split(" or ")):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{argument}: {error}") from error


def array_of(values: Any, name: str) -> Any:
    """`values` as an array in this memory, whatever they are of; raises ValueError where lists are
    of different lengths or entries are masked, TypeError for what is no array."""
    if is_on_device(values):
        values = values.get()
    n_masked = np.ma.count_masked(values) if isinstance(values, np.ma.MaskedArray) else 0
    if isinstance(values, (list, tuple)):  # NumPy would join their values without the masks.
        n_masked = sum(np.ma.count_masked(v) for v in values if isinstance(v, np.ma.MaskedArray))
    if n_masked:
        raise ValueError(
            f"{name} has masked entries ({n_masked} of them), which stand for no number. Fill them "
            f"in, such as by {name}.filled(0), or leave their rows out"
        )
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array ({error})") from None
    if array.dtype.kind == "O" and array.ndim == 0:
        raise TypeError(f"{name} must be an array; got {type(values).__name__}")
    return array


def numbers_of(values: Any, name: str) -> Any:
    """`values` as an array of real numbers: float64, float32 and integers as they are, objects that
    are numbers as float64.

    Raises
    ------
    ValueError, TypeError
        For complex numbers, text (also text of digits), dates, records, masked entries and objects
        that are no numbers, with the name of the argument.

    Examples
    --------
    >>> numbers_of([True, 2, 3.5], "y")
    array([1. , 2. , 3.5])
    >>> numbers_of(["1.5"], "y")
    Traceback (most recent call last):
    ValueError: y must be numeric; got text (dtype <U3). Convert it first, such as by float()
    """
    array = array_of(values, name)
    if array.dtype.kind == "O":
        array = numbers_of_objects(array, name)
    kind = array.dtype.kind
    if kind == "c":
        raise ValueError(
            f"{name} must be numeric, of real numbers. Complex data not supported: {name} has "
            f"dtype {array.dtype}"
        )
    if kind not in REAL_KINDS:
        what = {"M": "dates", "m": "durations", "V": "records"}.get(kind, "text")
        raise ValueError(
            f"{name} must be numeric; got {what} (dtype {array.dtype}). Convert "
            f"{'it' if what == 'text' else 'them'} first, such as by float()"
        )
    if array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # Infinities are refused later, by name.
            array = array.astype(np.float64)
    return array.view(np.ndarray)


def numbers_of_objects(array, name):
    """An array of objects as float64."""
    text = next((value for value in array.flat if isinstance(value, (str, bytes))), None)
    if text is not None:
        raise ValueError(f"{name} must be numeric; got the text {text!r:.60}")
    try:
        return array.astype(np.float64)
    except TypeError as error:
        raise TypeError(f"{name} must be numeric ({error})") from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be numeric ({error})") from None


def labels_of(values: Any, name: str) -> Any:
    """`values` as an array of labels, which are numbers, text, dates or objects of one kind that
    can be sorted.

    Raises
    ------
    ValueError, TypeError
        For complex numbers, records, masked or missing entries and objects that cannot be sorted,
        with the name of the argument.

    Examples
    --------
    >>> labels_of(["spam", "ham"], "y")
    array(['spam', 'ham'], dtype='<U4')
    >>> labels_of([1, None], "y")
    Traceback (most recent call last):
    ValueError: y has missing labels (1 of them, such as None). Leave their rows out
    """
    array = array_of(values, name)
    kind = array.dtype.kind
    if kind in "cV":
        raise ValueError(
            f"{name} must have labels that are numbers, text or dates. "
            f"{'Complex data' if kind == 'c' else 'Records are'} not supported: {name} has dtype "
            f"{array.dtype}"
        )
    if kind == "T":  # NumPy's text of any length, which scikit-learn does not know.
        array, kind = array.astype(object), "O"
    if kind in "fMmO":
        is_missing = (
            np.array([not is_label(value) for value in array.flat], bool)
            if kind == "O"
            else ~np.isfinite(array).ravel()
        )
        if is_missing.any():
            one = array.flat[int(is_missing.argmax())]
            raise ValueError(
                f"{name} has missing labels ({is_missing.sum()} of them, such as {one}). Leave "
                "their rows out"
            )
    return sorted_objects(array, name) if kind == "O" else array.view(np.ndarray)


def sorted_objects(array, name):
    """Objects that are labels, as numbers where they are numbers."""
    try:
        n_labels = len(np.unique(array))
    except TypeError:
        kinds = sorted({type(value).__name__ for value in array.flat})
        raise TypeError(
            f"{name} has labels of kinds that cannot be sorted, {', '.join(kinds)}. Make them all "
            "text, or all numbers"
        ) from None
    numbers = np.array(array.tolist())
    # Two large integers may be one float: such labels stay apart, as objects.
    is_same = numbers.dtype.kind in REAL_KINDS and len(np.unique(numbers)) == n_labels
    return numbers if is_same else array


def is_label(value):
    """Whether an object is no None, no NaN and none of pandas' missing values, which are not equal
    to themselves."""
    is_same = value == value
    return value is not None and isinstance(is_same, (bool, np.bool_)) and bool(is_same)
