"""Two runs of one case on one machine: `python bench/compare.py CASE@COMMIT CASE@COMMIT`. Prints
the ratio of medians, second over first, and both gaps.

A commit's last run counts. Peers are in the table too: where their ratio is not near 1, the machine
changed and not the code."""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

from run import HERE, short


def find_run(name, folder):
    """The records of the last run of CASE@COMMIT, by what was timed."""
    case, _, commit = name.partition("@")
    path = folder / f"{case}.jsonl"
    if not path.exists():
        sys.exit(
            f"{name}: give CASE@COMMIT; cases with records: "
            f"{', '.join(sorted(p.stem for p in folder.glob('*.jsonl'))) or 'none'}"
        )
    records = [json.loads(text) for text in path.read_text().splitlines()]
    dates = [record["date"] for record in records if record["commit"] == commit]
    if not dates:
        sys.exit(
            f"{name}: no such run; commits: "
            f"{', '.join(dict.fromkeys(record['commit'] for record in records))}"
        )
    return {
        (
            record["contender"],
            record["n_threads"],
            record["dtype"],
            short(record["settings"]),
        ): record
        for record in records
        if record["commit"] == commit and record["date"] == dates[-1]
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs=2, metavar="CASE@COMMIT")
    parser.add_argument("--records", type=Path, default=HERE / "records", metavar="FOLDER")
    arguments = parser.parse_args()
    first, second = (find_run(name, arguments.records) for name in arguments.names)
    a, b = next(iter(first.values())), next(iter(second.values()))
    for name in ("case", "cpu", "gpu", "n_cores"):
        if a[name] != b[name]:
            sys.exit(
                f"not comparable: {name} is {a[name]!r} in {arguments.names[0]} and {b[name]!r} in "
                f"{arguments.names[1]}"
            )
    if a["libraries"] != b["libraries"]:
        print(f"note: other libraries: {short(a['libraries'])} and {short(b['libraries'])}")
    print(
        f"{'contender':34} {'threads':7} {'dtype':7} {'first':>9} {'second':>9} {'ratio':>6} "
        f"{'gap':>8} {'gap':>8} settings"
    )
    for key in [key for key in first if key in second]:
        a, b = first[key], second[key]
        times = median(a["seconds"]), median(b["seconds"])
        print(
            f"{key[0]:34} {key[1]:<7} {key[2]:7} {times[0]:9.4g} {times[1]:9.4g} "
            f"{times[1] / times[0]:6.3f} {short(a['gap'], '.1e'):>8} {short(b['gap'], '.1e'):>8} "
            f"{key[3]}"
        )


if __name__ == "__main__":
    main()
