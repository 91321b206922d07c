"""What is said on the terminal: sentences and tables; and the standard streams, which may be closed
or full."""

import os
import sys
from contextlib import suppress

import typer

from fasthoag import report


def open_closed_streams():
    """In place of streams that the shell has closed, which are None: nothing can be read, what is
    said is lost, and what is shown cannot be written, which is an error as soon as there is any.

    They take the numbers of the closed ones, so that no output file is taken for a stream."""
    for name, mode, flags in (
        ("stdin", "r", os.O_RDONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode))  # noqa: SIM115


def show(text, ends_line=True):
    """Writes a result, text or bytes, to stdout."""
    try:
        typer.echo(text, nl=ends_line)
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is still in its buffer would fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, f"cannot write the result: {error.strerror}", "stdout") from None


def tell(text):
    """Writes to stderr, if it can be written to: the work does not depend on it."""
    with suppress(OSError):
        typer.echo(text, err=True)


def say(sentence):
    tell(f"fasthoag: {sentence}")


def print_table(rows, head=()):
    """Rows of texts on stdout: a drawn table on a terminal, else columns of plain text that other
    programs can read."""
    rows = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console

        table = report.make_table(head)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    rows = [list(head)] * bool(head) + rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=False)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        show("  ".join(cells).rstrip())
