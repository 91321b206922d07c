"""Offsets of the rows of files, from files with a number for every row."""

from typing import NamedTuple

import numpy as np
import typer

from fasthoag.cli.side_files import numbers_in
from fasthoag.io.model import Model


class Beside(NamedTuple):
    """Where the offset of the rows of a file comes from: an offset, or exposures, of which it is
    the logarithm; paths or None. `prefix` is what their options begin with."""

    prefix: str
    offset: object
    exposure: object

    @property
    def path(self):
        return self.exposure if self.offset is None else self.offset

    @property
    def names(self):
        return f"--{self.prefix}offset", f"--{self.prefix}exposure"


def check_beside(asked, rows):
    """Raises for offsets that would not be used, that lack their rows, or that are missing; `rows`
    are pairs of the path of rows and its `Beside`, those that train first."""
    for path, one in rows:
        offset, exposure = one.names
        if None not in (one.offset, one.exposure):
            raise typer.BadParameter(
                f"{offset} excludes {exposure}, whose logarithm is the offset."
            )
        if path is None and one.path is not None:
            raise typer.BadParameter(f"{offset} and {exposure} need --{one.prefix.rstrip('-')}.")
    (_, first), *others = rows
    offset, exposure = first.names
    for path, one in others:
        if path is not None and (one.path is None) != (first.path is None):
            lacks, has = (one, first) if one.path is None else (first, one)
            raise typer.BadParameter(
                f"{' or '.join(lacks.names)} is missing beside "
                f"{has.names[has.offset is None]}: all rows have an offset, or none."
            )
    for name, is_asked in (
        ("--kernel", asked.kernel is not None),
        ("--loss multinomial", asked.loss == "multinomial"),
        ("--format liblinear", asked.file_format == "liblinear"),
    ):
        if is_asked and first.path is not None:
            raise typer.BadParameter(f"{name} excludes {offset} and {exposure}.")


def read_beside(one, rows, n_rows):
    """The offset (n_rows,) of the rows of a file, or None."""
    if one.path is None:
        return None
    path, values = one.path, numbers_in(one.path)
    if len(values) != n_rows:
        raise ValueError(
            f"{path} has {len(values)} numbers and {rows} has {n_rows} rows; they must be equal."
        )
    if one.offset is not None:
        return values
    bad = np.flatnonzero(values <= 0)
    if len(bad):
        raise ValueError(
            f"{path} has the exposure {values[bad[0]]:g} in line {bad[0] + 1}; exposures must be "
            "positive. Leave rows without any out."
        )
    return np.log(values)


def offset_for(fitted, one, model, rows, n_rows):
    """The offset of rows that a model predicts, as an argument of its methods; raises where the
    model wants one and there is none, or the other way round."""
    wants, names = isinstance(fitted, Model) and fitted.has_offset, " or ".join(one.names)
    if wants and one.path is None:
        raise ValueError(
            f"{model} was fitted beside an offset, and its predictions need one: pass {names} with "
            f"a number for every row of {rows}."
        )
    if one.path is not None and not wants:
        raise ValueError(f"{model} was fitted without an offset; leave {names} out.")
    return {"offset": read_beside(one, rows, n_rows)} if wants else {}
