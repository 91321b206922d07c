"""What `hoag` found as a page of HTML that needs nothing else: what to do next, numbers, pictures,
names, the search step by step."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from fasthoag.curve import Curve
from fasthoag.outer.result import HoagResult
from fasthoag.report.advice import Seen, next_steps
from fasthoag.report.naming import Named
from fasthoag.report.pictures import (
    WITHOUT,
    Picture,
    largest,
    of_coefficients,
    of_searches,
    of_strengths,
)
from fasthoag.report.style import STYLE
from fasthoag.report.text import TRACE_COLUMNS, summary, table, trace_row, versions

# Nothing is loaded and no script runs, whatever names of groups and files hold.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
GOOD = ("converged", "searched", "given")
BAD = ("inner_failed",)
MOST_ROWS = 20  # of a table of names
OF_CLASS = 6  # features that a class is told by


def page(
    found: HoagResult | Sequence[tuple[str, HoagResult]],
    n_judging: Any = None,
    settings: Mapping[str, Any] | None = None,
    unseen: Any = None,
    tuned: Any = None,
    *,
    named: Named | None = None,
    curve: Curve | None = None,
    warnings: Sequence[str] = (),
    is_command: bool = False,
) -> str:
    """The page of a result, or of several of which each has a name.

    `n_judging`, `unseen` and `tuned` are those of `summary`, of one result; `settings` are shown as
    they are. `warnings` are texts, and `is_command` says whether the reader is at the command
    line."""
    models = [("", found)] if isinstance(found, HoagResult) else list(found)
    named, settings = named or Named(), settings or {}
    seen = Seen(
        named.thetas,
        n_judging,
        unseen,
        warnings,
        is_command=is_command,
        is_estimator=named.found is not None,
        has_model=has_model(settings),
        is_one=len(models) == 1,
    )
    first = worst_of(models)
    parts = [
        heading(first, models),
        section("What to do next", steps_of(models, seen)),
        section("In numbers", numbers(models, named, n_judging, unseen, tuned)),
        section("The search", beside(partial(of_searches, models, named, curve))),
        section("Strengths", beside(partial(of_strengths, named), strengths(named))),
        section("Coefficients", beside(partial(of_coefficients, named), coefficients(named))),
        section("Outer steps", "".join(steps(name, result) for name, result in models)),
        section("Settings", table(plain(settings))),
        section("Versions", table(versions().items())),
    ]
    title = html.escape(f"fasthoag: {first.status}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{title}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def has_model(settings):
    """Whether the settings say that a model was written; None where they do not say."""
    return settings["out"] is not None if "out" in settings else None


def section(title: str, content: str) -> str:
    """A part of the page with its title, nothing without content."""
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


# ---- what comes first ----


def worst_of(models):
    """The result whose end asks for most."""

    def rank(result):
        return 0 if result.status in BAD else 2 if result.status in GOOD else 1

    return min((result for _, result in models), key=rank)


def heading(result, models):
    kind = "good" if result.status in GOOD else "bad" if result.status in BAD else "fair"
    many = f"{len(models)} models; of the one to look at first: " if len(models) > 1 else ""
    title = html.escape(result.status.replace("_", " "))
    return (
        f'<header><small>fasthoag</small><h1 class="{kind}">{title}</h1>'
        f"<p>{many}{html.escape(result.message)}</p></header>"
    )


def steps_of(models, seen):
    """The sentences of all models, each once, with the names of those for which they are."""
    whose = {}
    for name, result in models:
        for text in next_steps(result, seen):
            whose.setdefault(text, []).append(name)
    items = []
    for text, names in whose.items():
        start = "" if len(names) == len(models) else f"{some(names)}: "
        items.append(f"<li>{html.escape(start + text)}</li>")
    return f'<ul class="next">{"".join(items)}</ul>'


def some(names):
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


# ---- tables ----


def plain(settings):
    """Settings that say something, first those that were given."""
    return [(name, value) for name, value in settings.items() if value is not None]


def numbers(models, named, n_judging, unseen, tuned):
    """The summary of a result, or a line each of several."""
    if len(models) == 1:
        result = models[0][1]
        if result.is_of_kernel and tuned is None:
            gamma, alpha = np.split(np.exp(result.theta), [-1])
            tuned = {"gamma": gamma, "alpha": float(alpha[0])}
        rows = summary(result, n_judging, unseen, tuned)
        is_listed = len(named.strengths) > 0
        return table([one for one in rows if one[0] != "strength λ" or not is_listed], (), "fields")
    rows = [
        (
            name,
            result.status,
            f"{np.exp(result.theta[0]):.6g}" if len(result.theta) == 1 else "below",
            f"{result.value:.6g} ± {result.value_error:.0e}",
            f"{result.n_passes:.0f}",
        )
        for name, result in models
    ]
    return table(rows, ("model", "status", "λ", "criterion", "passes"), "wide")


def beside(draw: Callable[[], Iterable[Picture]], content: str = "") -> str:
    """Pictures, or what they need, beside other content."""
    try:
        parts = [figure(*one) for one in draw()]
    except ImportError:
        parts = [f'<p class="soft">{html.escape(WITHOUT)}</p>']
    parts += [content] if content else []
    return f'<div class="beside">{"".join(parts)}</div>' if parts else ""


def figure(svg, caption, name):
    title = f"<b>{html.escape(name)}</b>" if name else ""
    caption = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{title}{svg}{caption}</figure>"


def strengths(named):
    """The table of strengths in ascending order, of many the ends."""
    names, lam = named.of_strengths, np.asarray(named.strengths)
    order, n = np.argsort(lam, kind="stable"), len(lam)
    if n <= 2 * MOST_ROWS:
        rows = [(names[j], f"{lam[j]:.5g}") for j in order]
    else:
        ends = [
            [(names[j], f"{lam[j]:.5g}") for j in some]
            for some in (order[:MOST_ROWS], order[-MOST_ROWS:])
        ]
        rows = [*ends[0], (f"{n - 2 * MOST_ROWS} between", "…"), *ends[1]]
    return table(rows, ("strength of", "λ"))


def coefficients(named):
    """The largest coefficients by name, or of several outputs those that speak for each."""
    W, features = named.coefficients, named.features
    if W is None:
        return ""
    if len(W) == 1:
        rows = [(features[j], f"{W[0, j]:.5g}") for j in largest(W[0], MOST_ROWS)]
        rest = np.count_nonzero(W) - len(rows)
        rows += [(f"{rest} more", "…")] if rest else []
        return table(rows, ("feature", "coefficient"))
    rows = []
    for k, name in enumerate(named.outputs[: 2 * MOST_ROWS]):
        top = largest(np.maximum(W[k], 0), OF_CLASS)
        rows.append((name, ", ".join(f"{features[j]} {W[k, j]:.3g}" for j in top)))
    return table(rows, ("output", "largest coefficients"))


def steps(name, result):
    """The trace of a search, folded up where there are several."""
    found = table(map(trace_row, result.trace), TRACE_COLUMNS, "wide")
    if not name or not found:
        return found
    return f"<details><summary>{html.escape(name)}</summary>{found}</details>"
