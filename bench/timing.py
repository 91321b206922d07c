"""How contenders are timed, and the records of that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from fasthoag.threads import n_threads_of

ALL = n_threads_of(None)


@dataclass(frozen=True)
class Contender:
    name: str
    call: Callable[[], Any]
    n_threads: int = 1
    dtype: str = "float64"
    settings: dict = field(default_factory=dict)
    at_most: int = 10**9  # repeats: slow peers run once


def alternate(contenders, repeats, has_own_clock=False):
    """Time the contenders in turn, `repeats` times over, so that a disturbance of the machine meets
    all. Returns their records and last results.

    Calls with a clock of their own return (seconds, result)."""
    seconds, results = [[] for _ in contenders], [None] * len(contenders)
    for repeat in range(repeats):
        for k, contender in enumerate(contenders):
            if repeat < contender.at_most:
                began = perf_counter()
                result = contender.call()
                elapsed, results[k] = result if has_own_clock else (perf_counter() - began, result)
                seconds[k].append(elapsed)
    return [
        {
            "contender": c.name,
            "n_threads": c.n_threads,
            "dtype": c.dtype,
            "settings": c.settings,
            "seconds": s,
            "extra": {},
        }
        for c, s in zip(contenders, seconds, strict=False)
    ], results


def add_ratios(records, reference, has_gap=True):
    """``ratio``: median seconds over those of record number `reference`, which may be a peer.
    ``gap``: criterion over the lowest, if not set."""
    unit, best = (
        records[reference],
        min(record["criterion"] for record in records) if has_gap else None,
    )
    for record in records:
        record |= {
            "ratio": median(record["seconds"]) / median(unit["seconds"]),
            "ratio_to": unit["contender"],
        }
        if has_gap:
            record.setdefault("gap", record["criterion"] - best)
    return records


def outcome(result):
    """The fields of a record that a HoagResult has."""
    return {
        "n_passes": result.n_passes,
        "hypergradient_norm": float(np.linalg.norm(result.grad)),
        "status": result.status,
        "extra": {
            "theta": result.theta,
            "n_iter": result.n_iter,
            "value_error": result.value_error,
            "grad_error": result.grad_error,
        },
    }
