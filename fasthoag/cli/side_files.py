"""Files beside those of rows, with something for every row: one a line of text, or an array in
.npy."""

from pathlib import Path

import numpy as np

from fasthoag.io.inputs import existing_file


def numbers_in(path):
    """The finite numbers of a text file, one a line, or of an array of one dimension in .npy."""
    existing_file(path, "a number for every row, one a line")
    if is_npy(path):
        values = array_in(path)
        if values.ndim != 1 or values.dtype.kind not in "fiu":
            raise ValueError(
                f"{path} must hold a vector of numbers; found {values.dtype}, shape {values.shape}."
            )
        values = np.array(values, np.float64)
    else:
        lines = lines_of(path)
        values = np.empty(len(lines))
        for i, line in enumerate(lines):
            try:
                values[i] = float(line)
            except ValueError:
                raise ValueError(
                    f"{path}: line {i + 1} must be a number; found {line[:40]!r}."
                ) from None
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(f"{path} has {values[bad[0]]:g} in line {bad[0] + 1}; numbers are finite.")
    return values


def lines_of(path):
    return path.read_text(encoding="utf-8-sig", errors="replace").splitlines()


def array_in(path):
    """The array of a file of .npy, where it lies."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is not a sound .npy file of numbers or texts ({error})."
        ) from None


def is_npy(path):
    with Path(path).open("rb") as file:
        return file.read(6) == b"\x93NUMPY"
