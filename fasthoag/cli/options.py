"""How options are declared, and those that several commands have."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

import fasthoag


def choice(name, values):
    return Enum(name, {value: value for value in values}, type=str)


def option(kind, *names, help, **settings):
    return Annotated[kind, typer.Option(*names, help=help, **settings)]


def argument(kind, help):
    return Annotated[kind, typer.Argument(help=help)]


Json = option(bool, "--json", help="Print one JSON object instead of tables.")
Debug = option(bool, "--debug", help="Show the traceback of an error.")
Force = option(bool, "--force", help="Replace output files that exist.")
Threads = option(
    int | None, "--threads", min=1, help="All cores that this process may use by default."
)
Memory = option(
    float | None,
    "--max-memory",
    min=1e-6,
    metavar="GB",
    help="What the rows may take in memory; by default half of what this process may use.",
)
Labels = option(
    Path | None,
    "--labels",
    help="Labels (.npy) of a .npz file; by default the same name with .npy.",
)
Targets = option(
    Path | None,
    "--targets",
    help="In the place of the labels of the rows: a line of numbers for every row, between blanks "
    "or commas, or .npy; each column is a target with a model of its own.",
)
WeightedLabels = option(
    bool,
    "--weighted-labels",
    help="Labels in text may be label:weight, as XGBoost writes them; a row without has weight 1.",
)
Offset = option(
    Path | None,
    "--offset",
    help="A known part of every prediction z: a number for every row, one a line (or .npy).",
)
Exposure = option(
    Path | None, "--exposure", help="The same by its exponential: the offset is its logarithm."
)
COUNTED_FROM = "--zero-based/--one-based"


def parse_bounds(text):
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"need two numbers LOW,HIGH; got {text!r}", param_hint="--bounds"
        ) from None
    return low, high


def parse_parameters(loss, texts):
    """The loss with the parameters of ``--param NAME=VALUE``."""
    parameters = {}
    for text in texts or []:
        name, _, value = text.partition("=")
        try:
            parameters[name] = float(value)
        except ValueError:
            raise typer.BadParameter(
                f"need NAME=NUMBER; got {text!r}", param_hint="--param"
            ) from None
    return fasthoag.find_loss(loss, **parameters)
