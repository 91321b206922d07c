"""Pictures of a model: its strengths, and its coefficients along the strength."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fasthoag.criteria import Criterion
from fasthoag.curve import Curve, curve
from fasthoag.design.rows import to_host
from fasthoag.kinds import numbers_of
from fasthoag.penalties import GroupRidge
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
from fasthoag.problem import Problem, refit
from fasthoag.types import Array

MOST_NAMED = 40  # strengths that have a line of their own; more are a histogram
MOST_PATHS = 500  # coefficients; more are a surface of ink


# ---- many strengths ----


def strengths(
    found: Any,
    problem: Problem | None = None,
    *,
    names: Sequence[Any] | None = None,
    ax: Any = None,
) -> Any:
    """The strengths in ascending order, one dot each with its name; of more than 40 a histogram.

    Parameters
    ----------
    found : HoagResult or fitted estimator, of a linear model
    problem : Problem, optional
        Of the result: its groups are named, and of penalties whose θ are no logarithms of strengths
        (`StructuredRidge`, sums, ``penalty_factor``), or beside other things that are tuned, the
        strengths of the features are drawn.
    names : sequence, optional
        What the strengths belong to, one each, in their order; by default names of the groups or
        columns where they are known, else numbers.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        For other than one name a strength, for kernel models, and for several models of a problem
        (without `problem` an estimator shows the strength of each).
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 4))
    >>> penalty = fasthoag.GroupRidge(["a", "b", "a", "b"])
    >>> problem = fasthoag.Problem(X, X[:, 0] + rng.normal(size=80), "squared", penalty=penalty)
    >>> result = fasthoag.hoag(problem, fasthoag.KFold(4))
    >>> ax = fasthoag.plots.strengths(result, problem)
    >>> sorted(label.get_text() for label in ax.get_yticklabels())
    ['a', 'b']
    """
    lam, known = strengths_of(found, problem)
    if names is not None and len(names) != len(lam):
        raise ValueError(f"names must have one for each of {len(lam)} strengths; got {len(names)}")
    ax = axes_of(ax)
    draw_strengths(ax, lam, known if names is None else names)
    if problem is None and not isinstance(found, WithStrengths):
        ax.set_xlabel("λ = exp(θ)")
    return ax


def draw_strengths(ax, lam, names):
    """Draws strengths (n,) that belong to these names."""
    is_shown = np.isfinite(lam) & (lam > 0)
    if not is_shown.any():
        raise ValueError("plots.strengths needs a strength that is neither 0 nor infinite")
    if len(lam) > MOST_NAMED:
        low, high = np.log(lam[is_shown].min()), np.log(lam[is_shown].max())
        pad = 0.5 if high - low < 1e-9 else 1e-6  # The ends are inside whatever exp rounds to.
        ax.hist(lam[is_shown], bins=np.exp(np.linspace(low - pad, high + pad, 31)), color=BLUE)
        ax.set_ylabel(f"strengths, of {len(lam)}")
    else:
        order = np.argsort(np.where(is_shown, lam, np.where(lam > 0, np.inf, 0)), kind="stable")
        y = np.arange(len(lam))
        ax.hlines(y, lam[is_shown].min(), np.where(is_shown, lam, np.nan)[order], color=PALE)
        ax.plot(np.where(is_shown, lam, np.nan)[order], y, "o", color=BLUE)
        ax.set_yticks(y, [str(names[j]) for j in order])
        ax.margins(y=0.6 / max(1, len(lam) - 1))  # of the picture: as much for few as for many
    if not is_shown.all():
        ax.set_title(f"{(~is_shown).sum()} more are 0 or infinite", fontsize="medium")
    log_strengths(ax)
    ax.set_xlabel("strength λ")


def strengths_of(found, problem):
    """Strengths (n,) and what they are called."""
    if problem is not None and not isinstance(problem, Problem):
        raise TypeError(f"problem must be a fasthoag.Problem; got {type(problem).__name__}")
    if problem is not None:
        result, penalty = one_result(found), problem.penalty
        if len(result.theta) != problem.n_hyper:
            raise ValueError(
                f"problem must be that of found, which has {len(result.theta)} hyperparameters; "
                f"it has {problem.n_hyper}"
            )
        if isinstance(penalty, GroupRidge):
            return exponentials(result.theta[: len(penalty.names)]), penalty.names
        lam = np.asarray(problem.read(result.theta)["strengths"], np.float64)
        return lam.ravel(), numbers(lam.shape)
    if isinstance(found, WithStrengths):
        lam = np.asarray(to_host(found.lam_), np.float64)
        columns = vars(found).get("feature_names_in_", ())
        return lam.ravel(), columns if lam.shape == np.shape(columns) else numbers(lam.shape)
    result = one_result(found)
    if result.is_of_kernel:
        raise ValueError(
            "plots.strengths is for linear models; θ of a kernel model are log widths and the log "
            "of one strength, found.theta"
        )
    return exponentials(result.theta), numbers(result.theta.shape)


def exponentials(theta):
    """Strengths, infinite of properties in tiny units."""
    with np.errstate(over="ignore"):
        return np.exp(theta)


def numbers(shape):
    """The place of every element, "3", or "0, 3" of a matrix."""
    return [", ".join(map(str, place)) for place in np.ndindex(*shape)]


# ---- coefficients along the strength ----


def coefficients(
    problem: Problem,
    along: Any,
    *,
    names: Sequence[Any] | None = None,
    column: int | None = None,
    n_named: int = 8,
    ax: Any = None,
) -> Any:
    """The coefficients of the model on all rows over λ, each fit from that of the stronger λ
    before. The largest are coloured and named, up to 500 others are grey.

    Parameters
    ----------
    problem : Problem
    along : array of λ, shape (n_points,), or Curve, or criterion
        Strengths for all features alike; or the points of a `Curve`, whose best minimum is marked;
        or the criterion for which `fasthoag.curve` is called.
    names : sequence, shape (n_features,), optional
    column : int, optional
        Which of several models of the problem: classes of the multinomial loss.
    n_named : int
        How many are named.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> problem = fasthoag.Problem(np.eye(3), [1.0, 2.0, 4.0], "squared", fit_intercept=False)
    >>> ax = fasthoag.plots.coefficients(problem, [0.1, 1.0, 10.0], names="abc", n_named=1)
    >>> ax.lines[-1].get_label(), ax.lines[-1].get_ydata()[1].round(3).item()
    ('c', 2.0)
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a fasthoag.Problem; got {type(problem).__name__}")
    p = problem.n_features
    if names is not None and len(names) != p:
        raise ValueError(f"names must have one for each of {p} features; got {len(names)}")
    if not isinstance(n_named, int) or isinstance(n_named, bool) or n_named < 0:
        raise ValueError(f"n_named must be a whole number, 0 or more; got {n_named!r}")
    check_column(problem, column)
    ax = axes_of(ax)
    thetas, x, best = points_along(problem, along)
    paths = paths_of(problem, thetas, column or 0)
    order = np.argsort(-np.nan_to_num(np.abs(paths)).max(axis=0), kind="stable")
    others = order[n_named:MOST_PATHS]
    if len(others):  # one line, broken by NaN
        broken = np.vstack([paths[:, others], np.full(len(others), np.nan)]).T.ravel()
        ax.plot(np.tile(np.append(x, np.nan), len(others)), broken, color=PALE, linewidth=0.6)
    ax.axhline(0.0, color=GREY, linewidth=0.6)
    if best is not None:
        ax.axvline(best, color=GREY, linestyle=":", label=f"optimum, {best:.3g}")
    for k, j in enumerate(order[:n_named]):
        colors, dashes = (BLUE, ORANGE, GREEN, RED, SKY, PINK), ("-", "--", ":", "-.")
        look = {"color": colors[k % 6], "linestyle": dashes[k // 6 % 4], "linewidth": 1.4}
        ax.plot(x, paths[:, j], label=str(j if names is None else names[j]), **look)
    log_strengths(ax)
    is_level = isinstance(along, (Curve, Criterion))
    ax.set_xlabel("mean strength" if is_level and problem.n_hyper > 1 else "strength λ")
    ax.set_ylabel("coefficient")
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="upper right", fontsize="small")  # where all are near 0
    return ax


def check_column(problem, column):
    n_columns = problem.inner().units.n_classes
    is_number = isinstance(column, int) and not isinstance(column, bool)
    if column is None and n_columns > 1:
        raise ValueError(
            f"column must say which of the {n_columns} classes is drawn, 0 to {n_columns - 1}"
        )
    if column is not None and not (is_number and 0 <= column < n_columns):
        raise ValueError(f"column must be 0 to {n_columns - 1}; got {column!r}")


def points_along(problem: Problem, along: Any) -> tuple[Array, Array, float | None]:
    """θ of the points, where they are drawn, and where the best is."""
    if isinstance(along, Criterion):
        along = curve(problem, along)
    if isinstance(along, Curve):
        if along.thetas.shape[1] != problem.n_hyper:
            raise ValueError(
                f"along must be a curve of the problem, which has {problem.n_hyper} "
                f"hyperparameters; it has {along.thetas.shape[1]}"
            )
        best = float(np.exp(along.minima[0].theta.mean())) if along.minima else None
        return along.thetas, np.exp(along.x), best
    lam = np.asarray(numbers_of(along, "along"), np.float64)
    is_bad = ~(np.isfinite(lam) & (lam > 0))
    if lam.ndim != 1 or len(lam) < 2 or is_bad.any():
        raise ValueError(
            "along must be two or more positive strengths λ, a Curve or a criterion; got shape "
            f"{lam.shape}, of which {is_bad.sum()} are not positive and finite"
        )
    lam, inner = np.sort(lam), problem.inner()
    return np.array([inner.start(level) for level in np.log(lam)]), lam, None


def paths_of(problem: Problem, thetas: Array, column: int) -> Array:
    """Coefficients without the intercept, (n_points, n_features); NaN where the fit failed."""
    paths, w = np.full((len(thetas), problem.n_features), np.nan), None
    for i in np.argsort(-thetas.mean(axis=1), kind="stable"):
        found, _, is_converged = refit(problem, thetas[i], w)
        if is_converged:
            w = np.asarray(to_host(found))
            paths[i] = w.reshape(len(w), -1)[: problem.n_features, column]
    return paths
