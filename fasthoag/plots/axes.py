"""What all pictures need: a result, axes and colours."""

from typing import Any, Protocol, runtime_checkable

from fasthoag.curve import new_axes
from fasthoag.outer.result import HoagResult

# Colours of Okabe and Ito, which colour-blind people tell apart.
BLUE, SKY, ORANGE, RED, GREEN, PINK = (
    *("#0072B2", "#56B4E9", "#E69F00"),
    *("#D55E00", "#009E73", "#CC79A7"),
)
GREY, PALE = "#777777", "#BBBBBB"


@runtime_checkable
class Fitted(Protocol):
    """An estimator after `fit`."""

    hoag_result_: Any


@runtime_checkable
class WithStrengths(Protocol):
    """One of a linear model."""

    lam_: Any
    coef_: Any


@runtime_checkable
class Axes(Protocol):
    """What is drawn into."""

    def fill_between(self, x: Any, y1: Any, y2: Any) -> Any: ...


def one_result(found: Any) -> HoagResult:
    """The `HoagResult` itself, or that of a fitted estimator with one model."""
    result = found.hoag_result_ if isinstance(found, Fitted) else found
    if isinstance(result, list):
        raise ValueError(
            f"found has {len(result)} models, and a picture shows one: give found.hoag_result_[k]"
        )
    if not isinstance(result, HoagResult):
        raise TypeError(
            "found must be a HoagResult, or an estimator of fasthoag after its fit; got "
            f"{type(found).__name__}"
        )
    return result


def axes_of(ax: Any) -> Any:
    """The axes that were given, or new ones."""
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax must be axes of matplotlib; got {type(ax).__name__}")
    return new_axes() if ax is None else ax


def log_strengths(ax: Any) -> None:
    """Makes the strength of axes whose lines are drawn logarithmic, with labels that do not meet,
    as matplotlib's own of less than two powers of ten do."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    if high < 500 * low:
        is_short = high < 5 * low
        ax.xaxis.set_major_locator(MaxNLocator(4) if is_short else LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
