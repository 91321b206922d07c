"""The comparison of the paper, run again and redrawn: how far the criterion is above its best, and
the loss on rows that nothing saw, against time, on the paper's data that are to be had; and the
criterion along the strength. `python bench/paper.py --only news --seconds 5`; docs/paper.md says
what was seen.

Each run appends a JSON line with its course to records/paper.jsonl, from which the figures are
drawn; `--redraw` draws those of the last ones again. figures.py draws, original.py is the process
of the paper's own code, comparisons.py says what is compared."""

import argparse
import json
import tempfile
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from cases import ALL, outcome
from comparisons import COMPARISONS, newsgroups
from courses import SCHEDULE, course_of, course_of_original
from problems import REPOSITORY
from run import HERE, machine, run, short

import fasthoag

METHODS = {  # by the names of the figures
    "Newton": {"method": "newton"},
    "L-BFGS": {"method": "lbfgs"},
    "quadratic": {"method": "hoag", "schedule": "quadratic"},
    "cubic": {"method": "hoag", "schedule": "cubic"},
    "exponential": {"method": "hoag", "schedule": "exponential"},
    "exact": {"method": "hoag", "schedule": "exact"},
    "grid": {"method": "grid"},
    "random": {"method": "random"},
    "Bayesian": {"method": "bayes"},
}
LEVELS = 1e-1, 1e-2, 1e-3, 1e-4  # of suboptimality that times are given for
BRIEF = 5.0  # seconds of a run that is repeated
REPEATS = 3


def calls_of(comparison, seconds):
    """The runs by name: their settings, and a function that returns a Course."""
    calls = {}
    for name, method in METHODS.items():
        settings = comparison.settings(method)
        is_shared = name == "grid" and comparison.shared_of is not None
        if name not in comparison.left_out:
            calls["grid, one strength" if is_shared else name] = (
                settings,
                lambda s=settings, one=is_shared: course_of(comparison, s, seconds, one),
            )
    if comparison.folder_of_original is not None:
        settings = {"schedule": SCHEDULE}
        calls["2016 code"] = (settings, lambda: course_of_original(comparison, seconds))
    return calls


def in_turn(calls, repeats):
    """Courses of every run, several of those that are brief. In turn, so that a disturbance of the
    machine meets all."""
    courses = {name: [] for name in calls}
    for repeat in range(repeats):
        for name, (_, call) in calls.items():
            if repeat == 0 or courses[name][0].end < BRIEF:
                courses[name].append(call())
    return courses


def middle(courses):
    """The course whose time is the median of these."""
    return sorted(courses, key=lambda course: course.end)[(len(courses) - 1) // 2]


def compare(comparison, options):
    """The records of all runs on one data set."""
    seconds = options.seconds or comparison.seconds
    comparison.warm_up()
    calls = calls_of(comparison, seconds)
    if "2016 code" not in calls:
        print("without the 2016 code, which is not in build/hoag-2016 (see `make paper`)")
    courses = in_turn(calls, 1 if options.quick else options.repeats or REPEATS)
    chosen = {name: middle(some) for name, some in courses.items() if some[0].seconds}
    if len(chosen) < len(courses):
        print(f"no step within {seconds:g} s: {', '.join(set(courses) - set(chosen))}")
    measured = comparison.measure([*chosen.values(), comparison.reference(seconds)])
    best = min(min(values) for values, _ in measured)
    for (name, course), (values, unseen) in zip(chosen.items(), measured, strict=False):
        yield {
            "contender": name,
            "n_threads": comparison.n_threads,
            "dtype": "float64",
            "settings": settings_of(comparison, calls[name][0]) | {"seconds_at_most": seconds},
            "seconds": [one.end for one in courses[name]],
            "criterion": values[-1],
            "gap": values[-1] - best,
            **progress(course, values, unseen, best),
        }


def settings_of(comparison, settings):
    """Those that a record shows: no start of many."""
    shown = {name: value for name, value in settings.items() if np.size(value) <= 2}
    return {"data": comparison.name} | shown


def progress(course, values, unseen, best):
    """The fields of a record that say how a run went."""
    above = np.maximum(np.array(values) - best, 0.0) / abs(best)
    trace = [
        [round(float(number), 9) for number in row]
        for row in zip(course.seconds, above, unseen, strict=True)
    ]
    reached = {
        f"{level:g}": next((row[0] for row in trace if row[1] <= level), None) for level in LEVELS
    }
    found = {} if course.result is None else outcome(course.result)
    extra = {
        "best": best,
        "seconds_to": reached,
        "above": trace[-1][1],
        "unseen": trace[-1][2],
        "trace": trace,
    }
    return found | {"extra": extra}


def curve(options):
    """f(α) at 40 strengths of 20 newsgroups, official halves."""
    X, y, X_judge, y_judge = newsgroups(options.quick)
    problem = fasthoag.Problem(X, y, fit_intercept=False)
    began = perf_counter()
    found = fasthoag.curve(problem, fasthoag.HeldOut(X_judge, y_judge))
    elapsed = perf_counter() - began
    points = np.column_stack([found.thetas[:, 0], found.values, found.value_errors])
    minima = [[float(one.theta[0]), one.value] for one in found.minima]
    yield {
        "contender": "curve",
        "n_threads": ALL,
        "dtype": "float64",
        "settings": {"data": "news", "n_points": len(points)},
        "seconds": [elapsed],
        "n_passes": found.n_passes,
        "criterion": float(np.nanmin(found.values)),
        "extra": {"minima": minima, "trace": points.tolist()},
    }


def case_of(name):
    """The case of this name, for `run`."""
    if name == "curve":
        return curve

    def case(options):
        yield from compare(COMPARISONS[name](options.quick), options)

    case.__doc__ = COMPARISONS[name].__doc__
    return case


def last_records(path):
    """The records of the last run on each data set, by "news", ... and "curve"."""
    found = {}
    for text in path.read_text().splitlines():
        record = json.loads(text)
        data = record["settings"]["data"]
        key = "curve" if record["contender"] == "curve" else data
        same = [one for one in found.get(key, []) if one["date"] == record["date"]]
        found[key] = [*same, record]
    return found


def summary(records):
    """The table of docs/paper.md, of the records of one data set."""
    head = ["method", "end, s", *(f"to {level:g}, s" for level in LEVELS), "end", "unseen"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for record in records:
        extra = record["extra"]
        cells = [record["contender"], short(median(record["seconds"]), ".3g")]
        cells += [short(extra["seconds_to"][f"{level:g}"], ".3g") for level in LEVELS]
        cells += [short(extra["above"], ".1e"), short(extra["unseen"], ".4f")]
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def arguments():
    names = [*COMPARISONS, "curve"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="DATA")
    parser.add_argument("--quick", action="store_true", help="few rows, to see that it runs")
    parser.add_argument("--seconds", type=float, help="of a run at most; 20 by default")
    parser.add_argument("--repeats", type=int, help="of brief runs; 3 by default")
    parser.add_argument("--redraw", action="store_true", help="draw the last records again")
    parser.add_argument(
        "--figures", type=Path, help="folder; docs/figures by default, build/figures if quick"
    )
    return parser.parse_args()


def main():
    options = arguments()
    warnings.simplefilter("ignore")  # a record has the status
    folder = options.figures or REPOSITORY / ("build" if options.quick else "docs") / "figures"
    with tempfile.TemporaryDirectory() as temporary:
        records = Path(temporary) if options.quick else HERE / "records"
        if not options.redraw:
            shared = machine()
            for name in options.only:
                run("paper", case_of(name), options, shared, records)
        path = records / "paper.jsonl"
        found = last_records(path) if path.exists() else {}
    from figures import draw

    for name in options.only:
        if name in found:
            draw(name, found[name], folder)
            print(f"\n{name}: {folder / name}.svg and .png")
            print("" if name == "curve" else summary(found[name]))


if __name__ == "__main__":
    main()
