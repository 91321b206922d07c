"""What to do next: sentences from the status of a search, its numbers, and what was warned of."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fasthoag.outer.result import MESSAGES, HoagResult
from fasthoag.plots.search import evaluated, line_through, one_se_range

FEW_NAMED = 5  # of many
WIDE = float(np.log(100))  # a range of θ within which the strength matters little
LOOSE = 0.3  # of a standard error: what a value may be off
FAR = 5.0  # standard deviations between a fold and the others, as their median says
MUCH = 0.3  # of the loss of the other folds: less is nothing to look for
SURELY = 3.0  # standard deviations between unseen and held-out rows
OVER = ("converged", "searched", "given", "at_bound")  # whose result is what was asked for


class Seen(NamedTuple):
    """What is known beside a result.

    Attributes
    ----------
    thetas : sequence of str
        Names of the hyperparameters; empty where they have none.
    n_judging : int, float or None
        Rows that the criterion sums over, or the sum of their weights.
    unseen : dict or None
        As `fasthoag.report.summary` has it.
    warnings : sequence of str
    is_command, is_estimator : bool
        Whether the reader has options of the command line in place of arguments, or those of an
        estimator, which has no ``theta0=``.
    has_model : bool or None
        Whether the model was kept; None where nobody asks.
    is_one : bool
        Whether no other results are beside.
    """

    thetas: Sequence[str] = ()
    n_judging: Any = None
    unseen: Any = None
    warnings: Sequence[str] = ()
    is_command: bool = False
    is_estimator: bool = False
    has_model: bool | None = None
    is_one: bool = True

    def option(self, name: str, value: str = "") -> str:
        """An argument, or the option of the command line of this name."""
        if not self.is_command:
            return f"{name}={value}"
        return f"--{name.replace('_', '-')} {value}".rstrip()


def next_steps(result: HoagResult, seen: Seen) -> list[str]:
    """Sentences, the most urgent first."""
    steps = [*by_status(result, seen), *(f"Warned: {text}" for text in seen.warnings)]
    if result.status != "inner_failed":
        steps += [*held_features(result, seen), *noise(result, seen), *valleys(result, seen)]
        steps += [*odd_folds(result), *beyond(result, seen)]
    if result.status in OVER and seen.unseen is None:
        steps.append(
            "Judge the model on rows that nothing was fitted or tuned on"
            + (" (--test FILE)" if seen.is_command else "")
            + ": the criterion at its own optimum is a little too good, with many strengths more."
        )
    if seen.has_model is False:
        steps.append("No model was kept: --out FILE writes it.")
    return steps


# ---- by status ----


def by_status(result, seen):
    """What the end of the search asks for."""
    option = seen.option
    here = start_at(result, seen)
    if result.message.startswith((MESSAGES["featureless"], MESSAGES["equal_targets"])):
        return [
            "Look at the data: " + result.message[0].lower() + result.message[1:] + " Rows or "
            "columns may have been lost on the way here."
        ]
    sentences = {
        "converged": "The search is done: this is the optimum, as far as these rows tell.",
        "max_iter": f"Give more steps, {option('max_iter')}{here}.",
        "out_of_time": f"Give more time, {option('max_seconds')}{here}.",
        "stopped": f"The search was stopped before its end: start again{here}.",
        "interrupted": f"The search was stopped before its end: start again{here}.",
        "stopped_early": "More steps fit the noise of the rows that judge. Fewer strengths (groups "
        "of features in place of features) or more rows allow a longer search; as it is the model "
        "is the best for rows it has not seen.",
        "searched": "Trials come close to an optimum and prove none. "
        f"Search by {option('method', 'newton')}{here}.",
        "given": "The strength was given. Leave it out to have one chosen.",
        "stalled": "Rounding hides what is left to gain, which is little: the model can be used. "
        "For more digits scale the features alike, and use float64.",
        "inner_failed": "Use no number of this page. Scale the features, look for huge or constant "
        f"ones, or raise the lower end of {option('bounds')}.",
    }
    if result.status != "at_bound":
        return [sentences[result.status]]
    return at_the_bound(result, seen)


def start_at(result, seen):
    """How a search goes on from the end of this one, where a line can say it."""
    if seen.is_estimator:
        return ""
    if not seen.is_command:
        few = len(result.theta) <= 4
        values = ", ".join(f"{value:.6g}" for value in result.theta)
        return f", or from here on, theta0={f'[{values}]' if few else 'result.theta'}"
    is_one = len(result.theta) == 1
    return f", or from here on, --theta0 {result.theta[0]:.6g}" if is_one else ""


def at_the_bound(result, seen):
    """What it means that the criterion still falls beyond the bounds."""
    bounds, found = seen.option("bounds"), []
    if len(result.theta) > 1 and not result.is_of_kernel:
        has_names = len(seen.thetas) == len(result.theta) and (result.at_lower or result.at_upper)
        return [] if has_names else [f"Widen {bounds}, or doubt the data."]
    is_low, is_high = ends_of_strength(result)
    if is_high:
        found.append(
            f"The best strength is the largest that was allowed. Widen {bounds} if you set it; by "
            "default it is so wide that the features are of no help to these rows: see whether "
            "features and targets have the same order of rows, and whether the scales of the "
            "features are alike. If all is well, the intercept alone is the model."
        )
    if is_low:
        found.append(
            f"The best strength is the smallest that was allowed. Widen {bounds} if you set it; by "
            "default it is so wide that these rows ask for no penalty: see whether rows that judge "
            "are also among those that train (fasthoag.shared_rows). If none are, a fit without a "
            "penalty is the model."
        )
    return found or [f"Widen {bounds}, or doubt the data."]


def ends_of_strength(result):
    """Whether the strength, which comes after the widths of a kernel, is at its lower and at its
    upper bound."""
    last = len(result.theta) - 1
    if last == 0 and not (result.at_lower or result.at_upper):  # The search did not say.
        return result.grad[0] > 0, result.grad[0] < 0
    return last in result.at_lower, last in result.at_upper


# ---- by numbers ----


def listed(names, n):
    """The first of n names in words."""
    shown = ", ".join(map(str, names[:FEW_NAMED]))
    return shown if n <= FEW_NAMED else f"{shown} and {n - FEW_NAMED} more"


def held_features(result, seen):
    """What it says of strengths with names that they are at their bounds."""
    if len(result.theta) < 2 or len(seen.thetas) != len(result.theta) or result.is_of_kernel:
        return
    low, high = (
        listed([seen.thetas[j] for j in side[:FEW_NAMED]], len(side))
        for side in (result.at_lower, result.at_upper)
    )
    if high:
        yield (
            f"At the upper bound: {high}. The model does without these: leave them out, and it is "
            "smaller."
        )
    if low:
        yield (
            f"At the lower bound: {low}. These ask for no penalty: few coefficients that many rows "
            "know well, or features that hold the target."
        )


def noise(result, seen):
    """How the strength and the error of the criterion are beside its standard error."""
    error, se = result.value_error, result.standard_error
    if not (np.isfinite(se) and se > 0):
        return
    if error > LOOSE * se:
        yield (
            f"The criterion is known to ± {error:.1g} only, {error / se:.0%} of its standard error "
            f"({se:.3g}): a smaller {seen.option('tol')} says more."
        )
    if not seen.is_one or result.status == "given" or not is_along_one(result):
        return
    line = line_through(result, evaluated(result))
    low, high = one_se_range(result, line)
    if line.values[-1] <= result.value + se and result.status != "at_bound":
        yield (
            "The strongest penalty that was looked at, which leaves next to nothing of the "
            "features, is within one standard error of the best: they hardly help. Look for "
            "others, or for an error in these."
        )
    elif low < result.theta[0] < high:
        end = (
            "The strength matters little here; other features would matter more."
            if high - low > WIDE
            else "Near the upper end coefficients are smaller and the model is steadier."
        )
        yield (
            f"Every λ from {np.exp(low):.3g} to {np.exp(high):.3g} is within one standard error of "
            f"the best: do not search finer. {end}"
        )


def is_along_one(result):
    """Whether there is one strength, at a point with a value."""
    return len(result.theta) == 1 and bool(np.isfinite([result.theta[0], result.value]).all())


def valleys(result, seen):
    """Where else the criterion has a minimum."""
    if len(result.theta) != 1 or len(result.minima) < 2:
        return
    others = [f"{np.exp(one.theta[0]):.3g}" for one in result.minima[1:]]
    gap = min(one.value for one in result.minima[1:]) - result.value
    beside = f", {gap:.3g} above the best"
    if np.isfinite(result.standard_error) and result.standard_error > 0:
        beside += f" ({gap / result.standard_error:.2g} standard errors)"
    places = listed(others, len(others))
    yield (
        f"The criterion has {len(result.minima)} valleys, the others at λ = {places}{beside}. "
        "fasthoag.curve(problem, criterion) looks at all strengths."
    )


def odd_folds(result):
    """Folds whose loss is far above that of the others."""
    values, weights = np.asarray(result.fold_values), np.asarray(result.fold_weights)
    if not 5 <= len(values) <= 50 or not (weights > 0).all() or not np.isfinite(values).all():
        return
    means = values / weights
    off = means - np.median(means)
    spread = 1.4826 * float(np.median(np.abs(off)))  # a standard deviation, of normal numbers
    far = np.flatnonzero(off > max(FAR * spread, MUCH * float(np.abs(np.median(means)))))
    if len(far):
        shown = ", ".join(f"{k} ({means[k]:.3g} per row)" for k in far)
        yield (
            f"Far above the other folds ({np.median(means):.3g} per row): fold {shown}. Look at "
            "its rows: another source, another time, or rows that belong together."
        )


def beyond(result, seen):
    """Whether unseen rows are worse than the criterion says, by more than chance."""
    n, unseen, se = seen.n_judging, seen.unseen, result.standard_error
    if unseen is None or not n or not np.isfinite(se):
        return
    gap = unseen["mean_loss"] - result.value / n
    off = se / n * np.sqrt(1 + n / unseen["n_rows"])  # of both means, rows of one kind
    if off > 0 and gap > SURELY * off:
        yield (
            f"Unseen rows lose {gap:.3g} more each than held-out rows, {gap / off:.1f} standard "
            "errors: they are of another kind, or rows that belong together were cut apart by the "
            "folds, or many strengths have followed the noise of the folds."
        )
