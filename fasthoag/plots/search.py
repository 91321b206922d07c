"""Pictures of a search: the criterion along the strength, and how fast it came down."""

from typing import Any, NamedTuple

import numpy as np

from fasthoag.curve import Curve
from fasthoag.outer.record import OF_CRITERION
from fasthoag.plots.axes import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PINK,
    RED,
    SKY,
    WithStrengths,
    axes_of,
    log_strengths,
    one_result,
)
from fasthoag.types import Array

MOST_FOLDS = 20  # whose values are drawn one by one
OF_VALUE = (*OF_CRITERION, "look")  # phases whose values are the criterion
WORDS = {
    "converged": "optimum",
    "at_bound": "at the bound",
    "searched": "best trial",
    "given": "given",
}
TRUSTED = 2.0  # log units from the optimum within which the parabola there is believed
N_DRAWN = 200  # points of the line through the evaluations of a search


class Line(NamedTuple):
    """The criterion at ascending θ, each (n_points,)."""

    theta: Array
    values: Array
    errors: Array


# ---- the criterion along one strength ----


def criterion(found: Any, curve: Curve | None = None, *, ax: Any = None) -> Any:
    """The criterion over λ: a line with a band of ± its error through what was evaluated, the
    optimum, and the λ within one standard error of it.

    The line is a monotone cubic of θ, which has no minima of its own. The range ends where it
    crosses ``value + standard_error``; where it does not, at its end, or further out that of the
    parabola of `HoagResult.curvature`, at most 2 log units away. Folds are drawn as if
    each had all rows, in proportion to the weight of its own; of up to 20 folds.

    Parameters
    ----------
    found : HoagResult or fitted estimator, with one hyperparameter
    curve : Curve, optional
        What `fasthoag.curve` found for the same problem and criterion: the line is its, finer than
        that through the points of the search, and folds are lines.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        For several hyperparameters or several models.
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 5))
    >>> model = fasthoag.RidgeCV().fit(X, X @ np.ones(5) + rng.normal(size=60))
    >>> fasthoag.plots.criterion(model).get_ylabel()
    'criterion'
    """
    result = one_result(found)
    check_is_one(result, curve)
    seen = evaluated(result)
    if curve is None:
        line = line_through(result, seen)
    else:
        line = Line(curve.thetas[:, 0], curve.values, curve.value_errors)
    ax = axes_of(ax)
    draw_folds(ax, result, curve)
    low, high = line.values - line.errors, line.values + line.errors
    ax.fill_between(np.exp(line.theta), low, high, color=SKY, alpha=0.4, linewidth=0)
    ax.plot(np.exp(line.theta), line.values, color=BLUE, linewidth=1.4, label="criterion ± error")
    look = {"color": BLUE, "markersize": 4, "label": "evaluated by the search"}
    ax.plot(np.exp(seen.theta), seen.values, "o", **look)
    draw_range(ax, result, line)
    what = WORDS.get(result.status, "best point so far")
    optimum = f"{what}, λ = {np.exp(result.theta[0]):.3g}"
    look = {"fmt": "o", "color": RED, "capsize": 3, "zorder": 3, "label": optimum}
    ax.errorbar(np.exp(result.theta), [result.value], yerr=[result.value_error], **look)
    chosen = float(np.squeeze(found.lam_)) if isinstance(found, WithStrengths) else 0.0
    if chosen > 0 and not np.isclose(np.log(chosen), result.theta[0]):
        ax.axvline(chosen, color=GREEN, linestyle="--", label=f"chosen, λ = {chosen:.3g}")
    log_strengths(ax)
    ax.set_xlabel("strength λ = exp(θ)")
    ax.set_ylabel("criterion")
    ax.legend()
    return ax


def check_is_one(result, curve):
    """Raises for what has no picture along one strength."""
    if len(result.theta) != 1:
        raise ValueError(
            f"plots.criterion is for one hyperparameter, and found has {len(result.theta)}; use "
            "plots.strengths or plots.convergence, or fasthoag.curve(problem, criterion).plot()"
        )
    if not np.isfinite(result.value) or not np.isfinite(result.theta[0]):
        raise ValueError(
            f"plots.criterion needs an optimum; found has θ = {result.theta[0]:g} and criterion "
            f"{result.value:g} (status {result.status!r})"
        )
    if curve is not None and not isinstance(curve, Curve):
        raise TypeError(f"curve must be what fasthoag.curve returns; got {type(curve).__name__}")
    if curve is not None and curve.thetas.shape[1] != 1:
        raise ValueError(
            f"curve must have one hyperparameter, as found has; it has {curve.thetas.shape[1]}"
        )


def evaluated(result):
    """θ, criterion and error of what the search evaluated with all rows that judge; of equal θ the
    last, which is the most accurate."""
    last = {}
    for record in result.trace:
        is_known = np.isfinite([record["value"], record["theta"][0]]).all()
        if record["phase"] in OF_VALUE and is_known:
            last[float(record["theta"][0])] = (record["value"], record["value_error"])
    theta = np.array(sorted(last))
    values, errors = np.array([last[one] for one in theta]).reshape(-1, 2).T
    return Line(theta, values, errors)


def line_through(result, seen):
    """θ, criterion and error of a fine line through the evaluations and the optimum."""
    at = dict(zip(seen.theta.tolist(), zip(seen.values, seen.errors, strict=True), strict=True))
    at[float(result.theta[0])] = (result.value, result.value_error)
    x = np.array(sorted(at))
    y, error = np.array([at[one] for one in x]).T
    if len(x) < 2:
        return Line(x, y, error)
    from scipy.interpolate import PchipInterpolator  # which takes 0.2 s to import

    fine = np.union1d(x, np.linspace(x[0], x[-1], N_DRAWN))
    return Line(fine, PchipInterpolator(x, y)(fine), np.interp(fine, x, error))


def draw_folds(ax, result, curve):
    source = result if curve is None else curve
    weights = source.fold_weights
    if not 1 < len(weights) <= MOST_FOLDS:
        return
    # (The criterion of TunedCV is a mean over folds, all others are sums.)
    total = result.fold_values.sum()
    with np.errstate(divide="ignore", invalid="ignore"):  # A fold may have no weight.
        values = source.fold_values * (weights.sum() / weights)
    values = values * (result.value / total if total else 1.0)
    if curve is None:
        x = np.full(len(weights), np.exp(result.theta[0]))
        ax.plot(x, values, "_", color=GREY, markersize=9, label="its folds, as if of all rows")
    else:
        lines = ax.plot(np.exp(curve.thetas[:, 0]), values, color=PALE, linewidth=0.8)
        lines[0].set_label("folds, as if of all rows")


def draw_range(ax, result, line):
    """The λ within one standard error, where the criterion has one and both ends are known."""
    if not np.isfinite(result.standard_error):
        return
    low, high = one_se_range(result, line)
    if not low < result.theta[0] < high:
        return
    look = {"color": ORANGE, "alpha": 0.15, "linewidth": 0, "zorder": 0}
    ax.axvspan(np.exp(low), np.exp(high), label="within one standard error", **look)
    ax.axhline(result.value + result.standard_error, color=ORANGE, linestyle=":", linewidth=1)


def one_se_range(result, line):
    """The ends of the θ around the optimum whose criterion is at most one standard error more."""
    here, limit = float(result.theta[0]), result.value + result.standard_error
    reach = 0.0
    if result.curvature > 0:
        reach = min(float(np.sqrt(2 * result.standard_error / result.curvature)), TRUSTED)
    ends = []
    for side in (-1, 1):
        is_beyond = np.isfinite(line.values) & ((line.theta - here) * side > 0)
        x, y = line.theta[is_beyond][::side], line.values[is_beyond][::side]
        x, y = np.append(here, x), np.append(result.value, y)
        above = np.flatnonzero(y > limit)
        if len(above):
            k = above[0]
            ends.append(float(np.interp(limit, y[[k - 1, k]], x[[k - 1, k]])))
        else:
            ends.append(side * max(side * x[-1], side * here + reach))
    return ends


# ---- how the search went ----


def convergence(found: Any, *, against: str = "passes", ax: Any = None) -> Any:
    """How far the criterion was above its final value, over the work: one dot an evaluation, hollow
    where the step was not kept.

    Evaluations on some of the rows ("sample", "one fold", and those before rows that were held back
    join, "all rows") are another sum: they are a line of their own, above the least of them. What
    is within the error of the final value is drawn at that error, as no more is known.

    Parameters
    ----------
    found : HoagResult or fitted estimator
    against : {"passes", "seconds"}
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        For a result without a trace, or one whose value is NaN, and for several models.
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> problem = fasthoag.Problem(np.eye(6), [1.0, -1, 1, -1, 1, 1])
    >>> result = fasthoag.hoag(problem, fasthoag.KFold(2), bounds=(-3, 3))
    >>> fasthoag.plots.convergence(result, against="seconds").get_xlabel()
    'seconds'
    """
    result = one_result(found)
    if against not in ("passes", "seconds"):
        raise ValueError(f"against must be 'passes' or 'seconds'; got {against!r}")
    if not result.trace or not np.isfinite(result.value):
        raise ValueError(
            f"plots.convergence needs evaluations and a final value; found has "
            f"{len(result.trace)} and {result.value:g} (status {result.status!r})"
        )
    ax, floor = axes_of(ax), max(result.value_error, 1e-15 * abs(result.value), 1e-300)
    key = "n_passes" if against == "passes" else "seconds"
    for name, records, color in parts_of(result.trace):
        values = np.array([one["value"] for one in records])
        is_part, dashes = color != BLUE, "-" if color == BLUE else "--"
        gaps = np.maximum(values - (np.nanmin(values) if is_part else result.value), floor)
        x = np.array([one[key] for one in records])
        is_kept = np.array([one["is_accepted"] for one in records]) | (values == result.value)
        look = {"color": color, "linestyle": dashes, "linewidth": 1.2, "markersize": 5}
        ax.plot(x, gaps, marker="o", label=name, **look)
        hollow = {"markerfacecolor": "white", "color": color, "markersize": 5}
        ax.plot(x[~is_kept], gaps[~is_kept], "o", **hollow)
    ax.axhline(floor, color=GREY, linewidth=0.8, linestyle=":", label="error of the final value")
    if np.isfinite(result.standard_error):
        look = {"color": ORANGE, "linewidth": 1.0, "linestyle": "--"}
        ax.axhline(result.standard_error, label="one standard error", **look)
    ax.set_yscale("log")
    work = "factorisations" if result.is_of_kernel else "passes over the rows"
    ax.set_xlabel(work if against == "passes" else "seconds")
    ax.set_ylabel("criterion above its final value")
    ax.legend()
    return ax


def parts_of(trace):
    """The records that are values of one sum, (label, records, colour); the blue ones are of that
    which is the result's."""
    above = ", above the least of them"
    parts = {
        "sample": ("a sample of the rows" + above, PINK),
        "part": ("a larger sample" + above, SKY),
        "one fold": ("the first fold" + above, GREEN),
    }
    whole = ("all rows that judge", BLUE)
    if any(one["phase"] == "all rows" for one in trace):  # that the search had no part in
        parts |= dict.fromkeys(OF_VALUE, ("without the rows held back" + above, RED))
    found = {}
    for one in trace:
        found.setdefault(parts.get(one["phase"], whole), []).append(one)
    is_known = {key: any(np.isfinite(one["value"]) for one in found[key]) for key in found}
    return [(name, found[name, color], color) for name, color in found if is_known[name, color]]
