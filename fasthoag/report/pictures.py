"""Pictures of `fasthoag.plots` as SVG inside a page: their colours are those of the page, light or
dark, and the same result gives the same bytes."""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from fasthoag import plots
from fasthoag.curve import Curve
from fasthoag.outer.result import HoagResult
from fasthoag.plots.axes import BLUE, GREEN, GREY, ORANGE, PALE, PINK, RED, SKY
from fasthoag.plots.model import MOST_NAMED, draw_strengths
from fasthoag.report.naming import Named

INK, RULE = "#010203", "#040506"  # stand for the colour of text and of fine lines
VARIABLES = {
    INK: "currentColor",
    RULE: "var(--rule)",
    "#ffffff": "var(--paper)",
    BLUE: "var(--blue)",
    SKY: "var(--sky)",
    ORANGE: "var(--orange)",
    RED: "var(--red)",
    GREEN: "var(--green)",
    PINK: "var(--pink)",
    GREY: "var(--grey)",
    PALE: "var(--pale)",
}
COLORS = {color.lower(): variable for color, variable in VARIABLES.items()}
LOOK = {
    "svg.fonttype": "none",  # Text stays text: in the fonts of the reader, to search and to copy.
    "svg.hashsalt": "fasthoag",
    "font.size": 10.5,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
WIDTH, HEIGHT = 4.2, 2.9  # inches of 72 units; a unit is about a pixel on a phone
LINE = 0.2  # inches of a line of the legend
LONG_NAME = 24  # letters of a name, of which more leave no room for the picture
LONG_LABEL = 20  # of a legend in two columns
MOST_MODELS = 6  # that have pictures of their own
MOST_BARS = 20
OF_CRITERION = (
    "The criterion along the strength: to the left little penalty, and the noise of the rows is "
    "learned; to the right much of it, and nothing is."
)
OF_CONVERGENCE = (
    "How the search came down: what was left above its end, over the work. Hollow dots are looks, "
    "and steps that were not kept."
)
WITHOUT = "Pictures need matplotlib, which is not installed: pip install 'fasthoag[plot]'"


class Picture(NamedTuple):
    """An SVG element, what is to be seen in it, and the name of the model, one of several."""

    svg: str
    caption: str
    name: str = ""


def of_searches(
    models: Sequence[tuple[str, HoagResult]], named: Named, curve: Curve | None = None
) -> Iterator[Picture]:
    """The criterion of results, each with a name, and of one how it came down."""
    is_one = len(models) == 1
    for k, (name, result) in enumerate(models[:MOST_MODELS]):
        if not np.isfinite(result.value):
            continue
        if len(result.theta) == 1 and np.isfinite(result.theta[0]):
            found = named.found if is_one and named.found is not None else result
            svg = drawn(partial(plots.criterion, found, curve), f"criterion-{k}")
            yield Picture(svg, "" if k else OF_CRITERION, name)
        if is_one and result.trace:
            svg = drawn(partial(plots.convergence, result), f"convergence-{k}")
            yield Picture(svg, OF_CONVERGENCE)


def of_strengths(named: Named) -> Iterator[Picture]:
    """The strengths that have names."""
    lam = np.asarray(named.strengths, np.float64)
    if not (np.isfinite(lam) & (lam > 0)).any():
        return
    is_many = len(lam) > MOST_NAMED
    shown = [short(name) for name in named.of_strengths[:MOST_NAMED]]
    height = HEIGHT if is_many else 0.6 + 0.24 * len(lam)
    svg = drawn(lambda ax: draw_strengths(ax, lam, shown), "strengths", height)
    what = "How many strengths there are of every size" if is_many else "The strengths"
    yield Picture(svg, f"{what}: what is far right is of little use to the model.")


def of_coefficients(named: Named) -> Iterator[Picture]:
    """The largest coefficients of a model with one output."""
    if named.coefficients is None or len(named.coefficients) != 1:
        return
    w = np.ravel(named.coefficients)
    order = largest(w, MOST_BARS)
    names = [short(named.features[j]) for j in order]
    if names:
        height = 0.6 + 0.24 * len(order)
        svg = drawn(lambda ax: draw_bars(ax, w[order], names), "coefficients", height)
        yield Picture(svg, "The largest coefficients, each in the unit of its feature.")


def largest(w: Any, n: int) -> Any:
    """Numbers of the largest coefficients other than 0, the largest first."""
    order = np.argsort(-np.abs(w), kind="stable")[:n]
    return order[w[order] != 0]


def draw_bars(ax, w, names):
    """Coefficients as bars, the first above."""
    y = np.arange(len(w))[::-1]
    ax.barh(y, w, height=0.6, color=np.where(w > 0, BLUE, RED))
    ax.axvline(0.0, color=GREY, linewidth=0.8)
    ax.set_yticks(y, names)
    ax.set_ylim(-0.6, len(w) - 0.4)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("coefficient")


def short(name: Any) -> str:
    """A name as a label that has room, and that is no formula whatever it holds."""
    text = str(name)
    text = text if len(text) <= LONG_NAME else text[: LONG_NAME - 1] + "…"
    return text.replace("$", r"\$")


# ---- SVG ----


def drawn(draw: Callable[..., Any], identity: str, height: float = HEIGHT) -> str:
    """An SVG element of what `draw` does to axes; nothing else in the page may have the same
    `identity`."""
    import matplotlib
    from matplotlib.figure import Figure

    # Settings of the user are not those of the page; they come back at the end.
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A letter that the font of the measures lacks is in one of the reader's.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        ax = figure.add_subplot()
        draw(ax=ax)
        legend_below(figure, ax)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    return inline(ElementTree.fromstring(text.getvalue()), identity)


def legend_below(figure, ax):
    """Puts the legend under the axes: it would lie on the lines of a small picture."""
    if ax.get_legend() is None:
        return
    ax.get_legend().remove()
    handles, labels = ax.get_legend_handles_labels()
    n_columns = 1 if max(map(len, labels)) > LONG_LABEL else 2
    n_lines = -(-len(labels) // n_columns)
    figure.set_size_inches(WIDTH, figure.get_size_inches()[1] + LINE * n_lines)
    figure.legend(handles, labels, loc="outside lower left", ncols=n_columns)


def inline(svg: Any, identity: str) -> str:
    """The text of an SVG of matplotlib for a page: without what would be of the whole page, its
    colours by name, its identities with `identity` before them."""
    for parent in list(svg.iter()):
        for child in list(parent):
            if child.tag.endswith(("metadata", "style")):
                parent.remove(child)
    used = set(re.findall(r"#([\w-]+)", " ".join(links_of(svg))))
    box = svg.get("viewBox")
    for element in svg.iter():
        element.tag = element.tag.rpartition("}")[2]
        own = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        if own.get("id") not in used:
            own.pop("id", None)
        if "style" in own:
            own["style"] = styled(own["style"])
        for name in ("id", "href", "clip-path"):
            if name in own:
                own[name] = re.sub(r"^(url\()?(#?)", rf"\g<1>\g<2>{identity}-", own[name])
        for name in ("d", "x", "y", "transform"):
            if name in own:  # A hundredth of a pixel is not seen.
                own[name] = re.sub(r"(\.\d\d)\d+", r"\1", own[name].strip())
        element.attrib.clear()
        element.attrib.update(own)
        for part in ("text", "tail"):  # Space between parts of a text would be shown.
            if not (getattr(element, part) or "").strip():
                setattr(element, part, None)
    svg.attrib.clear()
    svg.attrib.update({"viewBox": box, "role": "img"})
    return ElementTree.tostring(svg, encoding="unicode")


def links_of(svg):
    """What points to another element."""
    for element in svg.iter():
        for name, value in element.attrib.items():
            if name.endswith(("href", "clip-path")):
                yield value


def styled(style: str) -> str:
    """The style of an element in the colours and the font of the page."""
    style = re.sub(r"#[0-9a-f]{6}", lambda found: COLORS.get(found[0], found[0]), style)
    style = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", style)  # before matplotlib 3.10
    return re.sub(r"font-family: [^;]*(; )?", "", style)
