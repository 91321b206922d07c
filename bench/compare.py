"""Two runs of one case on one machine: `python bench/compare.py CASE@COMMIT CASE@COMMIT`. Prints the ratio of medians, second over first, and both gaps.

A commit's last run counts. The peers are in the table too: where their ratio is not near 1, the machine changed and not the code.
"""
import argparse
import json
import sys
from pathlib import Path
from statistics import median

from run import short

RECORDS = Path(__file__).resolve().parent / "records"
SAME = ("case", "cpu", "gpu", "n_cores")


def find_run(name, folder):
    """The records of the last run of CASE@COMMIT."""
    case, _, commit = name.partition("@")
    path = folder / f"{case}.jsonl"
    if not commit or not path.exists():
        sys.exit(f"{name}: give CASE@COMMIT; cases with records: {', '.join(sorted(p.stem for p in folder.glob('*.jsonl'))) or 'none'}")
    records = [json.loads(text) for text in path.read_text().splitlines()]
    found = [record for record in records if record["commit"] == commit]
    if not found:
        sys.exit(f"{name}: no such record; commits: {', '.join(dict.fromkeys(record['commit'] for record in records))}")
    return [record for record in found if record["date"] == found[-1]["date"]]


def key(record):
    return record["contender"], record["n_threads"], record["dtype"], json.dumps(record["settings"], sort_keys=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", metavar="RECORD_A")
    parser.add_argument("second", metavar="RECORD_B")
    parser.add_argument("--records", type=Path, default=RECORDS, metavar="FOLDER")
    arguments = parser.parse_args()
    first, second = (find_run(name, arguments.records) for name in (arguments.first, arguments.second))
    for name in SAME:
        if first[0][name] != second[0][name]:
            sys.exit(f"not comparable: {name} is {first[0][name]!r} in {arguments.first} and {second[0][name]!r} in {arguments.second}")
    for name in first[0]["libraries"]:
        if first[0]["libraries"][name] != second[0]["libraries"].get(name):
            print(f"note: {name} {first[0]['libraries'][name]} and {second[0]['libraries'].get(name)}")
    others = {key(record): record for record in second}
    print(f"{'contender':34} {'threads':7} {'dtype':7} {'first':>9} {'second':>9} {'ratio':>7} {'gap':>9} {'gap':>9}  settings")
    for a in first:
        b = others.get(key(a))
        if b is not None:
            times = median(a["seconds"]), median(b["seconds"])
            print(f"{a['contender']:34} {a['n_threads']:<7} {a['dtype']:7} {times[0]:9.4g} {times[1]:9.4g} {times[1] / times[0]:7.3f} "
                  f"{short(a['gap'], '.1e'):>9} {short(b['gap'], '.1e'):>9}  {short(a['settings'])}")


if __name__ == "__main__":
    main()
