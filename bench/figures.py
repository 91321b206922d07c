"""The figures of the paper's comparison, drawn from its records."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# Colours of Okabe and Ito, which colour-blind people tell apart; dashes tell them apart in print.
STYLES = {
    "Newton": ("#0072B2", "-", 2.6),
    "L-BFGS": ("#56B4E9", "-", 2.6),
    "quadratic": ("#E69F00", "--", 1.6),
    "cubic": ("#E69F00", "-", 1.6),
    "exponential": ("#D55E00", "-", 1.6),
    "exact": ("#D55E00", ":", 2.0),
    "grid": ("#777777", "--", 1.4),
    "random": ("#CC79A7", "-.", 1.6),
    "Bayesian": ("#009E73", "-", 1.4),
    "2016 code": ("#000000", "-", 1.2),
}
LABELS = {name: f"HOAG, {name}" for name in ("quadratic", "cubic", "exponential", "exact")}
TITLES = {
    "news": "20 newsgroups, one strength",
    "parkinson": "Parkinson, width of the kernel and ridge",
    "mnist": "MNIST, 7,840 strengths",
}
LOSSES = {"news": "log-loss a row", "parkinson": "mean square", "mnist": "log-loss a row"}
FLOOR = 1e-7  # of suboptimality: nothing to a user, and the error of what is drawn
ROOM = 0.052  # of the height, for a label
MOST = 1.6  # times the lowest loss, to which the right panel goes
SETTINGS = {
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "paper",  # the same records, the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(name, records, folder):
    """Writes NAME.svg and NAME.png."""
    with matplotlib.rc_context(SETTINGS):
        if name == "curve":
            figure = Figure(figsize=(6.0, 3.8), layout="constrained")
            draw_curve(figure.add_subplot(), records[0])
        else:
            figure = Figure(figsize=(11.0, 4.2), layout="constrained")
            draw_data(figure, name, records)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=120)


def draw_data(figure, name, records):
    """Suboptimality on the left, the loss on unseen rows on the right."""
    left, right = figure.subplots(1, 2)
    figure.suptitle(TITLES[name])
    traces = {record["contender"]: np.array(record["extra"]["trace"]) for record in records}
    above = {key: (trace[:, 0], np.maximum(trace[:, 1], FLOOR)) for key, trace in traces.items()}
    losses = {key: (trace[:, 0], trace[:, 2]) for key, trace in traces.items()}
    draw_panel(left, above)
    left.set_ylabel("criterion above the best known, relative")
    label_ends(left, {key: y[-1] for key, (_, y) in above.items()})
    draw_panel(right, losses)
    right.set_ylabel(f"loss on unseen rows, {LOSSES[name]}")
    lowest, highest = (f(np.concatenate([y for _, y in losses.values()])) for f in (min, max))
    right.set_ylim(0.98 * lowest, min(1.05 * highest, MOST * lowest))  # beyond, nobody stays
    for axis in (right.yaxis.set_major_formatter, right.yaxis.set_minor_formatter):
        axis("{x:.3g}")


def draw_panel(ax, lines):
    """Lines over time. What a method has at its end it keeps, as a thin line to the right."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    ends = [x[[0, -1]] for x, _ in lines.values()]
    begin, end = 0.8 * min(x[0] for x in ends), 1.1 * max(x[1] for x in ends)
    for name, (x, y) in lines.items():
        color, dashes, width = STYLES[name.split(",")[0]]
        look = {"color": color, "drawstyle": "steps-post"}
        ax.plot(x, y, dashes, linewidth=width, marker=".", markersize=5, **look)
        ax.plot([x[-1], end], [y[-1], y[-1]], linewidth=0.7, alpha=0.5, **look)
    ax.set_xlim(begin, end)
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("seconds")
    ax.grid(alpha=0.25, linewidth=0.5)


def label_ends(ax, ends):
    """Names at the right, moved apart where lines end together, with a thin line to each."""
    low, high = np.log(ax.get_ylim())
    names = sorted(ends, key=ends.get)
    at = np.array([(np.log(ends[name]) - low) / (high - low) for name in names])
    for name, own, place in zip(names, at, apart(at), strict=True):
        ax.annotate(
            LABELS.get(name, name),
            xy=(1.0, own),
            xytext=(1.05, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color="#333333" if name == "2016 code" else STYLES[name.split(",")[0]][0],
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "#999999", "shrinkA": 0},
        )


def apart(places):
    """Ascending places between 0 and 1, at least `ROOM` apart and nearest to these in the sense of
    least squares, by pooling those that collide."""
    pools = []  # of shifted places: [sum, count]
    for i, place in enumerate(places):
        pools.append([place - ROOM * i, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, n = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += n
    shifted = np.concatenate([np.full(n, total / n) for total, n in pools])
    room = ROOM * np.arange(len(places))
    return np.clip(shifted, 0.0, 1.0 - room[-1]) + room


def draw_curve(ax, record):
    """The criterion along the strength, with its error, and the minima."""
    x, y, error = np.array(record["extra"]["trace"]).T
    ax.fill_between(x, y - error, y + error, color="#56B4E9", alpha=0.4, linewidth=0)
    ax.plot(x, y, ".-", color="#0072B2", linewidth=1.4)
    for theta, value in record["extra"]["minima"]:
        ax.plot(theta, value, "o", color="#D55E00")
        ax.annotate(
            f"α = {theta:.2f}, f = {value:.0f}",
            xy=(theta, value),
            xytext=(0, -14),
            textcoords="offset points",
            ha="center",
            color="#D55E00",
        )
    ax.margins(y=0.15)
    ax.set_title("20 newsgroups: the criterion along the strength, 40 points")
    ax.set_xlabel("α = log λ")
    ax.set_ylabel("criterion f(α), held-out log-loss")
