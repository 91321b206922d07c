"""What is said on the terminal: sentences, tables, and the steps of a search while it runs."""

import sys
from contextlib import contextmanager

import typer

from fasthoag import report


def say(sentence):
    typer.echo(f"fasthoag: {sentence}", err=True)


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
        typer.echo("  ".join(cells).rstrip())


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
