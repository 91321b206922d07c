"""Progress of a search: a line an evaluation for Python's logging, logger "fasthoag", and for who
watches it a table that grows on a terminal (by rich), or the same lines on stderr."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from typing import Any, TextIO

import numpy as np

from fasthoag.types import Record

LOGGER = logging.getLogger("fasthoag")
LOGGER.addHandler(logging.NullHandler())  # Who wants the lines adds a handler of his own.

Show = Callable[[Record], Any]


@contextmanager
def progress(verbose: bool | int = 0) -> Iterator[Show]:
    """Who is told of evaluations: the logger in any case, and with `verbose` who watches stderr."""
    with on_stderr() if verbose else nullcontext() as show:
        log = log_lines()

        def tell(record: Record) -> None:
            log(record)
            if show is not None:
                show(record)

        yield tell


@contextmanager
def on_stderr(*, every: float = 0.0, is_kept: bool = True) -> Iterator[Show]:
    """A table on stderr, which stays there if `is_kept`; where stderr is no terminal, or rich is
    not installed, lines, one in `every` seconds at most."""
    if sys.stderr is None or not (sys.stderr.isatty() and find_spec("rich")):
        yield write_lines(sys.stderr, every)
        return
    from rich.console import Console
    from rich.live import Live

    from fasthoag import report

    table = report.make_table(report.TRACE_COLUMNS)
    with Live(table, console=Console(stderr=True), refresh_per_second=8, transient=not is_kept):
        yield lambda record: table.add_row(*report.trace_row(record))


def log_lines() -> Show:
    n_seen = 0

    def log(record):
        nonlocal n_seen
        n_seen += 1
        if LOGGER.isEnabledFor(logging.INFO):
            LOGGER.info(line_of(n_seen, record))

    return log


def write_lines(stream: TextIO | None, every: float) -> Show:
    n_seen, last = 0, time.perf_counter() if every else -np.inf

    def write(record):
        nonlocal n_seen, last
        n_seen += 1
        now = time.perf_counter()
        if now - last < every or stream is None:
            return
        last = now
        with suppress(OSError):  # The work does not depend on who reads of it.
            print(f"fasthoag: {line_of(n_seen, record)}", file=stream, flush=True)

    return write


def line_of(number: int, record: Record) -> str:
    """One record of a trace as a line."""
    from fasthoag.report import few

    slope = (record["grad_norm"] + record["grad_error"]) / max(record["grad_tol"], 1e-300)
    parts = [
        f"evaluation {number} ({record['phase']}): theta {few(record['theta'], '.4f')}",
        f"criterion {record['value']:.7g} ± {record['value_error']:.0e}",
        f"hypergradient {slope:.2g} x its tolerance" if np.isfinite(slope) else "",
        f"{record['n_passes']:.0f} passes",
        f"{record['seconds']:.1f} s",
    ]
    return ", ".join(filter(None, parts))
