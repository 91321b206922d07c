"""The ways to leverages, each forced by the sizes from which it is taken."""

from fasthoag import ApproximateLOO, Evidence
from fasthoag.criteria import inverses
from fasthoag.criteria.leave_one_out import FLAT

WAYS = {
    "inverse": (2000, 0, 0),
    "gram": (0, 1000, 0),
    "probes": (0, 0, 0),
    "spectrum": (2000, 1000, 1 << 23),
}


def set_way(monkeypatch, way):
    monkeypatch.setattr(inverses, "FEW_COEFFICIENTS", WAYS[way][0])
    monkeypatch.setattr(inverses, "FEW_ROWS", WAYS[way][1])
    monkeypatch.setattr(inverses, "MOST_DENSE", WAYS[way][2])


def has_probes(rule, loss):
    return rule is not Evidence and (rule is not ApproximateLOO or loss not in FLAT)
