"""What `hoag` found, as rows of text, in tables of HTML, and as JSON."""

import html
import json
import math
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

import fasthoag

TRACE_COLUMNS = (
    "phase",
    "θ",
    "criterion",
    "±",
    "|slope|",
    "±",
    "inner",
    "CG",
    "passes",
    "seconds",
    "kept",
)


MOST_FOLDS = 20  # that are shown


def trace_row(record):
    """One record of ``HoagResult.trace`` as texts under `TRACE_COLUMNS`."""
    theta = "" if record["theta"] is None else few(record["theta"], ".4f")  # Many are not kept.
    return (
        record["phase"],
        theta,
        f"{record['value']:.7g}",
        f"{record['value_error']:.0e}",
        f"{record['grad_norm']:.1e}",
        f"{record['grad_error']:.0e}",
        str(record["n_inner"]),
        str(record["n_cg"]),
        f"{record['n_passes']:.0f}",
        f"{record['seconds']:.3f}",
        "yes" if record["is_accepted"] else "no",
    )


def make_table(head):
    """An empty table of rich, as wide as 80 columns allow for the trace."""
    from rich import box
    from rich.table import Table

    # Without edges and padding.
    return Table(*head, show_header=bool(head), box=box.SIMPLE_HEAD, show_edge=False, padding=0)


def few(values, form, n=4):
    """The first numbers as text, and how many there are."""
    shown = ", ".join(format(float(v), form) for v in values[:n])
    return shown if len(values) <= n else f"{shown}, ... ({len(values)} values)"


def rows_of(n):
    """A number of rows, or the sum of their weights, in words."""
    return f"rows of weight {n:.6g}" if isinstance(n, float) else f"{n} rows"


def essential(result):
    """What a result says in five lines, as (name, text) pairs; the first has the status."""
    first, stop, _ = result.message.partition(". ")
    theta, work = few(result.theta, ".6g"), "passes"
    if result.is_of_kernel:
        work = "factorisations"
    value = f"{result.value:.8g} ± {result.value_error:.1g}"
    if math.isfinite(result.standard_error):
        value += f", standard error {result.standard_error:.3g}"
    with np.errstate(over="ignore"):
        lam = few(np.exp(result.theta), ".6g")
    return [
        ("HoagResult", f"{result.status}. {first}{stop.strip()}"),
        ("γ and λ" if result.is_of_kernel else "λ", f"{lam} (θ = {theta})"),
        ("criterion", value),
        ("work", f"{result.n_passes:.0f} {work}, {result.seconds:.3g} s"),
        ("method", f"{result.method}, {len(result.trace)} evaluations"),
    ]


def frame(trace):
    """The trace as a DataFrame."""
    try:
        import pandas
    except ImportError:
        raise ImportError(
            "to_frame needs pandas, which is not installed: pip install pandas"
        ) from None
    return pandas.DataFrame([record | {"theta": plain_theta(record["theta"])} for record in trace])


def plain_theta(theta):
    return theta[0] if theta is not None and len(theta) == 1 else theta


def summary(result, n_held_out, unseen=None, tuned=None):
    """The result as (name, text) pairs.

    `n_held_out` is the number of rows that the criterion sums over, the sum of their weights where
    they have some, or None where it is no such sum. `unseen` is what the model is worth on other
    rows: a dict with ``n_rows``, ``mean_loss`` and, of a classifier, ``accuracy``. `tuned` are the
    widths and the strength of a kernel model, of which passes are factorisations."""
    rows = [
        ("status", result.status),
        *(hyperparameters(result) if tuned is None else of_kernel(tuned)),
        (
            "criterion",
            f"{result.value:.8g} ± {result.value_error:.0e} "
            + (f" (sum over {rows_of(n_held_out)})" if n_held_out else ""),
        ),
    ]
    if n_held_out:
        rows.append(("loss per row", f"{result.value / n_held_out:.6g}"))
    steps = "trials" if any(one["phase"] == "trial" for one in result.trace) else "outer steps"
    if 1 < len(result.fold_values) != n_held_out:  # leave-one-out has as many as rows
        rows.append(("folds", few(result.fold_values, ".6g", MOST_FOLDS)))
    if unseen is not None:
        accuracy = f", accuracy {unseen['accuracy']:.6g}" if "accuracy" in unseen else ""
        rows.append(
            (
                "unseen rows",
                f"loss per row {unseen['mean_loss']:.6g}{accuracy} ({unseen['n_rows']} rows)",
            )
        )
    return [
        *rows,
        (
            "work",
            f"{result.n_iter} {steps}, {result.n_passes:.0f} "
            f"{'passes over the rows' if tuned is None else 'factorisations'}, "
            f"{result.seconds:.3f} s",
        ),
    ]


def hyperparameters(result):
    """Those of a linear model as (name, text) pairs."""
    with np.errstate(over="ignore"):
        lam = np.exp(result.theta)
    theta, lam, C = (few(values, ".6g") for values in (result.theta, lam, 1 / lam))
    error = f"{result.inner_error:.0e}"
    return [("strength λ", f"{lam} (θ = ln λ = {theta} ± {error}, C = 1/λ = {C})")]


def of_kernel(tuned):
    """Those of a kernel model as (name, text) pairs."""
    gamma, alpha = tuned["gamma"], tuned["alpha"]
    rows = [("width γ", f"{few(gamma, '.6g')} (ln γ = {few(np.log(gamma), '.6g')})")]
    rows = rows if len(gamma) else []
    return [
        *rows,
        ("strength λ", f"{alpha:.6g} (ln λ = {np.log(alpha):.6g}, C = 1/λ = {1 / alpha:.6g})"),
    ]


def versions():
    """Versions of the packages that compute, by name, or None where one is not installed. None of
    them is imported for it."""
    found = {"python": platform.python_version(), "fasthoag": fasthoag.__version__}
    for name in ("numpy", "scipy", "scikit-learn"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def to_dict(result, n_held_out, settings, unseen=None, tuned=None):
    """The result for `dump`: the fields of `HoagResult` without coefficients, ``C``, the loss per
    held-out row as ``mean_loss``, `unseen`, settings and versions; and the widths ``gamma`` of a
    kernel model, whose ``lam`` is its strength."""
    own = {}
    if tuned is not None:
        own = {"gamma": tuned["gamma"], "lam": [tuned["alpha"]], "C": [1 / tuned["alpha"]]}
    names = (
        "theta",
        "lam",
        "value",
        "value_error",
        "grad",
        "grad_error",
        "inner_error",
        "fold_values",
        "status",
        "message",
        "method",
        "n_iter",
        "n_passes",
        "seconds",
        "trace",
    )
    return (
        {name: getattr(result, name) for name in names}
        | {
            "C": 1 / result.lam,
            "mean_loss": result.value / n_held_out if n_held_out else None,
            "n_held_out": n_held_out,
            "unseen": unseen,
            "settings": settings,
            "versions": versions(),
        }
        | own
    )


def dump(content):
    """JSON text. Numbers that JSON has no word for (NaN, infinities) become null. Of names that are
    no text, as those of files may be, the bytes that are none are shown as escapes."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(v) for name, v in value.items()}
        if isinstance(value, (list, tuple, np.ndarray)):
            return [plain(v) for v in value]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str):
            return value.encode(errors="backslashreplace").decode()
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(content), indent=2, allow_nan=False)


def table(rows: Iterable[Iterable[Any]], head: Sequence[str] = (), kind: str = "") -> str:
    """A table of HTML in a box of its own, which scrolls where it is too wide; nothing without
    rows."""
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    if not body:
        return ""
    names = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    names = f"<thead><tr>{names}</tr></thead>" if names else ""
    # The box takes the focus: it scrolls by the keyboard.
    start = f'<div class="scroll {kind}" tabindex="0">' if kind else '<div class="scroll">'
    return f"{start}<table>{names}<tbody>{body}</tbody></table></div>"
