"""Run named cases, append a JSON line a contender to records/CASE.jsonl and print the table.
`python bench/run.py --list` names them."""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import warnings
from importlib import metadata
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
FIELDS = (
    "commit",
    "date",
    "cpu",
    "gpu",
    "n_cores",
    "n_threads",
    "libraries",
    "blas",
    "load",
    "case",
    "contender",
    "dtype",
    "settings",
    "seconds",
    "n_passes",
    "criterion",
    "gap",
    "hypergradient_norm",
    "status",
    "ratio",
    "ratio_to",
    "extra",
)


def commit():
    """Short hash, with "+dirty" when anything but the records differs from it."""
    if shutil.which("git") is None:
        return "unknown"

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", HERE.parent, *arguments], capture_output=True, text=True
        ).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + "+dirty" * bool(
        git("status", "--porcelain", "--", ".", ":!bench/records")
    )


def cpu():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )


def machine():
    """The fields that all records of this run share. No case uses a GPU yet; one that does sets
    `gpu`."""
    from threadpoolctl import threadpool_info

    import fasthoag
    from fasthoag.threads import n_threads_of

    libraries = {"python": platform.python_version(), "fasthoag": fasthoag.__version__}
    installed = {package.name.lower(): package.version for package in metadata.distributions()}
    libraries |= {
        name: installed.get(name)
        for name in ("numpy", "scipy", "scikit-learn", "liblinear-official", "optuna")
    }
    pools = [
        f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"
        for pool in threadpool_info()
    ]
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "gpu": None,
        "n_cores": n_threads_of(None),
        "libraries": libraries,
        "blas": pools,
    }


def plain(value):
    """`value` for JSON: NumPy's numbers and arrays as Python's, what is not finite as null."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and value - value != 0 else value


def short(value, form=".4g"):
    if isinstance(value, dict):
        return " ".join(f"{key}={short(v)}" for key, v in value.items())
    if isinstance(value, list):
        return "x".join(short(v) for v in value)
    return "-" if value is None else format(value, form) if isinstance(value, float) else str(value)


COLUMNS = {
    "contender": 34,
    "threads": 7,
    "dtype": 7,
    "seconds": 9,
    "repeats": 7,
    "gap": 9,
    "criterion": 10,
    "|slope|": 7,
    "passes": 6,
    "status": 9,
    "ratio": 6,
    "to": 32,
    "settings": 0,
    "extra": 0,
}


def line(cells):
    return " ".join(
        cell.ljust(width) for cell, width in zip(cells, COLUMNS.values(), strict=False)
    ).rstrip()


def row(r):
    return line(
        (
            r["contender"],
            str(r["n_threads"]),
            r["dtype"],
            short(median(r["seconds"])),
            str(len(r["seconds"])),
            short(r["gap"], ".1e"),
            short(r["criterion"], ".8g"),
            short(r["hypergradient_norm"], ".1e"),
            short(r["n_passes"], ".0f"),
            short(r["status"]),
            short(r["ratio"], ".3g"),
            short(r["ratio_to"]),
            short(r["settings"]),
            short({name: value for name, value in r["extra"].items() if name != "trace"}),
        )
    )


def run(name, case, options, shared, folder):
    """Print and append the records of a case as they come."""
    from problems import Missing

    print(f"\n{name}: {' '.join(case.__doc__.split())}\n{line(COLUMNS)}", flush=True)
    shared = shared | {"case": name, "load": round(os.getloadavg()[0], 2)}
    try:
        for found in case(options):
            record = plain(dict.fromkeys(FIELDS) | shared | found)
            print(row(record), flush=True)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                with open(folder / f"{name}.jsonl", "a") as file:
                    file.write(json.dumps(record, allow_nan=False) + "\n")
    except (Missing, ImportError) as reason:
        print(f"skipped: {reason}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument(
        "--all", action="store_true", help="every case, within ten minutes on two cores"
    )
    parser.add_argument("--list", action="store_true", help="names of the cases and what they time")
    parser.add_argument(
        "--repeats", type=int, help="of every time; 1 to 30 by default, as suits the case"
    )
    parser.add_argument(
        "--large", action="store_true", help="also the sizes of memory and linear that take longer"
    )
    parser.add_argument(
        "--nnz",
        type=lambda text: int(float(text)),
        help="size of memory and largest of linear, such as 3e8",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smallest sizes, to see that it runs; recorded only with --records",
    )
    parser.add_argument(
        "--records",
        type=Path,
        metavar="FOLDER",
        help="where records are appended; bench/records by default",
    )
    options = parser.parse_args()
    # a record has the status; warnings of the peers would drown the table
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # in their processes too
    from cases import CASES

    if options.list:
        print(
            "\n".join(f"{name:16}{' '.join(case.__doc__.split())}" for name, case in CASES.items())
        )
        return
    names = list(CASES) if options.all else options.cases
    if not names or not set(names) <= set(CASES):
        parser.error(
            f"give names out of {', '.join(CASES)}, or --all; got {' '.join(names) or 'none'}"
        )
    if options.repeats is not None and options.repeats < 1:
        parser.error("--repeats must be at least 1")
    folder, shared = options.records or (None if options.quick else HERE / "records"), machine()
    print(
        f"{shared['cpu']}, {shared['n_cores']} cores, commit {shared['commit']}, "
        f"{short(shared['libraries'])}"
    )
    for name in names:
        run(name, CASES[name], options, shared, folder)


if __name__ == "__main__":
    main()
