"""Run named cases, append a JSON line a contender to records/CASE.jsonl and print the table. `python bench/run.py --list` names them."""
import argparse
import datetime
import json
import os
import platform
import subprocess
import warnings
from importlib import metadata
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
LIBRARIES = ("fasthoag", "numpy", "scipy", "scikit-learn", "liblinear-official", "optuna", "typer")
FIELDS = ("commit", "date", "cpu", "gpu", "n_cores", "n_threads", "libraries", "blas", "load", "case", "contender", "dtype", "settings", "seconds",
          "n_passes", "criterion", "gap", "hypergradient_norm", "status", "ratio", "ratio_to", "extra")


def git(*arguments):
    done = subprocess.run(["git", "-C", HERE.parent, *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def commit():
    """Short hash, with "+dirty" when anything but the records differs from it."""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+dirty" if git("status", "--porcelain", "--", ".", ":!bench/records") else "")


def cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def libraries():
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    if found["fasthoag"] is None:  # run from the source tree
        import fasthoag

        found["fasthoag"] = fasthoag.__version__
    return found


def blas():
    """Thread pools of BLAS and OpenMP, at their defaults."""
    from threadpoolctl import threadpool_info

    return [{name: pool.get(name) for name in ("user_api", "internal_api", "version", "num_threads")} for pool in threadpool_info()]


def machine():
    """The fields that all records of this run share."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"commit": commit(), "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "cpu": cpu(), "gpu": None,
            "n_cores": n_cores, "libraries": libraries(), "blas": blas()}


def plain(value):
    """`value` for JSON: NumPy numbers as numbers, what is not finite as null."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value - value != 0 else value


def short(value, form=".4g"):
    if isinstance(value, dict):
        return " ".join(f"{key}={short(v)}" for key, v in value.items() if not isinstance(v, bool))
    if isinstance(value, list):
        return "x".join(short(v) for v in value)
    return "-" if value is None else format(value, form) if isinstance(value, float) else str(value)


COLUMNS = ("contender", "threads", "dtype", "seconds", "repeats", "gap", "criterion", "|slope|", "passes", "ratio", "to", "status", "settings", "extra")
WIDTHS = (34, 7, 7, 9, 7, 9, 10, 8, 6, 6, 26, 9, 0, 0)


def row(record):
    cells = (record["contender"], str(record["n_threads"]), record["dtype"], short(median(record["seconds"])), str(len(record["seconds"])),
             short(record["gap"], ".1e"), short(record["criterion"], ".8g"), short(record["hypergradient_norm"], ".1e"), short(record["n_passes"], ".0f"),
             short(record["ratio"], ".3g"), record["ratio_to"] or "-", record["status"] or "-", short(record["settings"]), short(record["extra"]))
    return line(cells)


def line(cells):
    return " ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS)).rstrip()


def run(name, case, options, shared, folder):
    """One case: prints and appends its records as they come. Returns whether it ran."""
    from problems import Missing

    print(f"\n{name}: {' '.join(case.__doc__.split())}\n{line(COLUMNS)}", flush=True)
    load = round(os.getloadavg()[0], 2)
    try:
        for found in case(options):
            record = plain({key: None for key in FIELDS} | shared | {"case": name, "load": load} | found)
            print(row(record), flush=True)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                with open(folder / f"{name}.jsonl", "a") as file:
                    file.write(json.dumps(record, allow_nan=False) + "\n")
    except Missing as reason:
        print(f"skipped: {reason}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--all", action="store_true", help="every case, in ten minutes on two cores")
    parser.add_argument("--list", action="store_true", help="names of the cases")
    parser.add_argument("--repeats", type=int, help="of every time; 1 to 30 by default, as suits the case")
    parser.add_argument("--large", action="store_true", help="also the sizes that take longer (memory, linear)")
    parser.add_argument("--nnz", type=lambda text: int(float(text)), help="size of memory, largest size of linear (for example 3e8)")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, to see that it runs; recorded only with --records")
    parser.add_argument("--records", type=Path, metavar="FOLDER", help="where records are appended, bench/records by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # a record has the status; the peers' warnings would drown the table
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # in the peers' processes too
    from cases import CASES, Options

    if arguments.list:
        print("\n".join(f"{name:16}{' '.join(case.__doc__.split())}" for name, case in CASES.items()))
        return
    names = list(CASES) if arguments.all else arguments.cases
    unknown = [name for name in names if name not in CASES]
    if unknown or not names:
        parser.error(f"give cases out of {', '.join(CASES)}, or --all" + (f"; unknown: {', '.join(unknown)}" if unknown else ""))
    if arguments.repeats is not None and arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    folder = arguments.records or (None if arguments.quick else HERE / "records")
    options, shared = Options(arguments.repeats, arguments.quick, arguments.large, arguments.nnz), machine()
    print(f"{shared['cpu']}, {shared['n_cores']} cores, commit {shared['commit']}, {short(shared['libraries'])}")
    for name in names:
        run(name, CASES[name], options, shared, folder)


if __name__ == "__main__":
    main()
