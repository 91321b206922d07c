"""What is said on the terminal: sentences, tables, and the steps of a search while it runs; and the
standard streams, which may be closed or full."""

import os
import sys
from contextlib import contextmanager, suppress

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

        table = make_table(head)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    rows = [list(head)] * bool(head) + rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=False)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        show("  ".join(cells).rstrip())


def make_table(head):
    from rich import box
    from rich.table import Table

    # Without edges and padding the trace fits in 80 columns.
    return Table(*head, show_header=bool(head), box=box.SIMPLE_HEAD, show_edge=False, padding=0)


@contextmanager
def live_trace(is_kept):
    """A callback for `hoag` that shows every outer step on stderr while it runs; None when stderr
    is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    table = make_table(report.TRACE_COLUMNS)
    with Live(table, console=Console(stderr=True), refresh_per_second=8, transient=not is_kept):
        yield lambda record: table.add_row(*report.trace_row(record))
