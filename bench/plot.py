"""Pictures of docs/benchmarks.md, drawn from the last runs of the records: `python bench/plot.py`.

peers: how far above the best criterion known every contender ends, against its seconds. growth:
passes, and nanoseconds a non-zero and pass, against the size of the data, of the last run on each
size. resources: how passes grow faster with threads, and peak memory."""

import json
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
from figures import SETTINGS
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parent / "docs" / "figures"
OURS, THEIRS = "#0072B2", "#777777"
COLORS = {1.0: "#0072B2", 1.3: "#D55E00"}  # by the exponent of Zipf's law
TITLES = {"kfold-20news": "20 newsgroups", "kfold-text": "generated text, 2.8 million non-zeros"}
FLOOR = 1e-6  # of the gap: nothing to a user, and the error of what is drawn


def records_of(case):
    path = HERE / "records" / f"{case}.jsonl"
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def last_run(case):
    """The records of the last run of a case; none where it has none."""
    records = records_of(case)
    return [one for one in records if one["date"] == records[-1]["date"]]


def draw_peers(ax, records):
    """A point a contender, its name beside it."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    for record in records:
        is_ours = record["contender"].startswith("fasthoag")
        x, y = median(record["seconds"]), max(record["gap"] / record["criterion"], FLOOR)
        color = OURS if is_ours else THEIRS
        ax.plot(x, y, "o" if is_ours else "s", color=color, markersize=7)
        text = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        ax.annotate(record["contender"], (x, y), color=color, **text)
    seconds = [median(record["seconds"]) for record in records]
    ax.set_xlim(0.4 * min(seconds), 3 * max(seconds))
    ax.set_ylim(0.5 * FLOOR, 1.0)
    ax.set_xlabel("seconds")
    ax.grid(alpha=0.25, linewidth=0.5)


def peers():
    runs = {case: found for case in TITLES if (found := last_run(case))}
    figure = Figure(figsize=(5.5 * len(runs), 4.0), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(runs), sharey=True))
    for ax, (case, records) in zip(axes, runs.items(), strict=True):
        draw_peers(ax, records)
        ax.set_title(f"{TITLES[case]}: 5-fold tuning")
    axes[0].set_ylabel("criterion above the best known, relative")
    return figure


def growth():
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    records = {
        (one["settings"]["exponent"], one["settings"]["nnz"]): one for one in records_of("growth")
    }
    for exponent, color in COLORS.items():
        x = sorted(nnz for of, nnz in records if of == exponent)
        some = [records[exponent, nnz] for nnz in x]
        label = {"label": f"Zipf exponent {exponent:g}", "color": color}
        left.plot(x, [one["n_passes"] for one in some], "o-", **label)
        right.plot(x, [one["extra"]["per_pass"] for one in some], "o-", **label)
    for ax, title in ((left, "passes of a 5-fold tuning"), (right, "ns a non-zero and pass")):
        ax.set_xscale("log")
        ax.set_ylim(bottom=0)
        ax.set_xlabel("non-zeros")
        ax.set_title(title)
        ax.grid(alpha=0.25, linewidth=0.5)
    left.legend(frameon=False)
    return figure


def draw_threads(ax, records):
    """How many times as fast a pass is as on one thread."""
    seconds = {}
    for record in records:
        times = seconds.setdefault(record["settings"]["kernel"], {})
        times[record["n_threads"]] = median(record["seconds"])
    for (kernel, times), color in zip(seconds.items(), (OURS, "#D55E00", "#009E73"), strict=True):
        n = sorted(times)
        label = kernel.replace("hvp", "Hessian product").replace("1 columns", "1 column")
        ax.plot(n, [times[1] / times[k] for k in n], "o-", color=color, label=label)
    ax.plot(n, n, "--", color=THEIRS, linewidth=1, label="as many times as threads")
    ax.set_xticks(n)
    ax.set_xlabel("threads")
    ax.set_title("a pass over 1e8 non-zeros: times as fast")
    ax.legend(frameon=False)


def draw_memory(ax, cases):
    """Peak memory beyond X, a bar a contender."""
    bars = [
        (f"{record['contender'].removeprefix('scikit-learn ')}, {what}", record["extra"])
        for what, records in cases.items()
        for record in records
    ]
    peaks = [next(v for k, v in extra.items() if k.startswith("peak_over")) for _, extra in bars]
    colors = [OURS if name.startswith("fasthoag") else THEIRS for name, _ in bars]
    drawn = ax.barh([name for name, _ in bars], peaks, color=colors)
    ax.bar_label(drawn, fmt="%.2g", padding=3)
    ax.invert_yaxis()
    ax.set_xlim(right=1.15 * max(peaks))
    ax.set_xlabel("bytes of X")
    ax.set_title("peak memory of a 5-fold tuning, beyond X")


def resources():
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_threads(left, last_run("cores"))
    draw_memory(right, {"sparse": last_run("memory"), "dense": last_run("tall")})
    for ax in (left, right):
        ax.grid(alpha=0.25, linewidth=0.5)
        ax.set_axisbelow(True)
    return figure


def main():
    with matplotlib.rc_context(SETTINGS):
        for draw in (peers, growth, resources):
            name, drawn = draw.__name__, draw()
            drawn.savefig(FIGURES / f"{name}.svg", metadata={"Date": None})
            drawn.savefig(FIGURES / f"{name}.png", dpi=120)
            print(FIGURES / f"{name}.svg")


if __name__ == "__main__":
    main()
