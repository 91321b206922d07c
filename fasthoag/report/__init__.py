"""What `hoag` found, as rows of text and JSON (`text`) and as a page of HTML (`page`), which
`save_report` writes: the one place that knows how a result is shown."""

from fasthoag.report.text import (
    TRACE_COLUMNS,
    dump,
    essential,
    few,
    frame,
    make_table,
    rows_of,
    summary,
    table,
    to_dict,
    trace_row,
    versions,
)

__all__ = [
    "TRACE_COLUMNS",
    "dump",
    "essential",
    "few",
    "frame",
    "make_table",
    "rows_of",
    "summary",
    "table",
    "to_dict",
    "trace_row",
    "versions",
]
