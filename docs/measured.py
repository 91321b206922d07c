"""The page of the last run of every case, from the records of bench/. ``page()`` is its text."""

import re
import sys
from pathlib import Path
from statistics import median

BENCH = Path(__file__).resolve().parents[1] / "bench"
sys.path.insert(0, str(BENCH))

from cases import CASES
from plot import last_run
from run import short

# Cases that are programs of their own, which say so in their first sentence.
APART = {"gpu": "``bench/gpu.py``", "paper": "``bench/paper.py``, see :doc:`paper`"}
INTRODUCTION = """\
From ``bench/records``, which has all runs. A time counts beside its gap: how far the criterion at
the strength that was found is above the best one known. Seconds are medians; ratios are to the
contender whose ratio is 1. Compare within one table.
"""


def escaped(text: str) -> str:
    return re.sub(r"([*|_\\])", r"\\\1", text)


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def cells(record: dict) -> dict[str, str]:
    return {
        "contender": escaped(record["contender"]),
        "settings": escaped(short(record["settings"] or {})),
        "seconds": number(median(record["seconds"]), ".3g"),
        "passes": number(record["n_passes"], ".0f"),
        "criterion": number(record["criterion"], ".6g"),
        "gap": number(record["gap"], ".1e"),
        "ratio": number(record["ratio"], ".3g"),
        "threads": str(record["n_threads"]),
    }


def table(records: list[dict]) -> str:
    """A row for each contender, without columns that say nothing."""
    rows = [cells(record) for record in records]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    lines = [names, *([row[name] for name in names] for row in rows)]
    text = "".join("   * - " + "\n     - ".join(line) + "\n" for line in lines)
    return f".. list-table::\n   :header-rows: 1\n\n{text}\n"


def section(case: str, records: list[dict]) -> str:
    one = records[0]
    machine = ", ".join(filter(None, (one["cpu"], one["gpu"])))
    where = f"{one['date'][:10]}, commit {one['commit']}, {machine}."
    about = " ".join(CASES[case].__doc__.split()) if case in CASES else APART[case]
    about = escaped(about) if case in CASES else about
    return f"{case}\n{'-' * len(case)}\n\n{about}\n\n{where}\n\n{table(records)}"


def page() -> str:
    cases = sorted(path.stem for path in (BENCH / "records").glob("*.jsonl"))
    title = "The last runs"
    parts = [title, "=" * len(title), "", INTRODUCTION, *(section(c, last_run(c)) for c in cases)]
    return "\n".join(parts)
