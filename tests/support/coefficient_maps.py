"""Random coefficient maps for any X, and how to switch them on for every design that is made.

Maps of float32 values are those that float32 holds: X E would be another problem else.
"""

from functools import wraps

import numpy as np
import pytest
import scipy.sparse as sp

from fasthoag.design.coefficients import Merge, Permute, RowSpace, Scale, Shift, row_space
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.matrix import check_blocks
from fasthoag.design.places import Place
from fasthoag.design.reference import ReferenceDesign
from fasthoag.design.sharded import ShardedDesign

MOST = 1 << 20  # numbers of X up to which maps that make it dense are tried


def permute(rng, X, has_intercept):
    order = rng.permutation(X.shape[1])
    return Permute(order, np.argsort(order), has_intercept)


def scale(rng, X, has_intercept):
    return Scale(2.0 ** rng.integers(-1, 2, X.shape[1] + has_intercept))


def shift(rng, X, has_intercept):
    is_possible = has_intercept and X.shape[0] * X.shape[1] <= MOST and X.dtype == np.float64
    return Shift(rng.normal(size=X.shape[1])) if is_possible else None


def merge(rng, X, has_intercept):
    """Empty columns become one, the others change their signs at random."""
    is_empty = np.asarray(abs(X).sum(axis=0)).ravel() == 0
    n_full = int((~is_empty).sum())
    index = np.where(is_empty, n_full, np.cumsum(~is_empty) - 1)
    weight = rng.choice([-1.0, 1.0], size=X.shape[1])
    if X.dtype == np.float64:  # else 1 / sqrt(n) is another number
        weight[is_empty] /= np.sqrt(max(is_empty.sum(), 1))
    else:
        index = np.arange(X.shape[1])
    return Merge(index, weight, has_intercept)


def turn(rng, X, has_intercept):
    """Wide matrices in a basis of their rows, others in any orthogonal basis."""
    n, p = X.shape
    if n * p > MOST or p > 512 < n or X.dtype != np.float64:
        return None
    if n < p:
        return row_space(X.toarray() if sp.issparse(X) else X, has_intercept)
    return RowSpace(np.linalg.qr(rng.normal(size=(p, p)))[0], has_intercept)


MAPS = {"permute": permute, "scale": scale, "shift": shift, "merge": merge, "row space": turn}


def switch_on(kind, monkeypatch):
    """Every design on the CPU that gets no map gets a random one of this kind.

    Strengths that a map refuses skip the test: their refusal is tested beside the maps.
    """

    def with_map(init):
        @wraps(init)
        def made(self, X, *, fit_intercept=False, coefficients=None, **options):
            is_first = options.get("layout") is None and options.get("xp", np) is np
            if is_first and coefficients is None and not isinstance(X, Place):
                blocks = check_blocks(X)
                stacked = (sp.vstack if sp.issparse(blocks[0]) else np.vstack)(blocks)
                rng = np.random.default_rng(stacked.shape[1])
                coefficients = MAPS[kind](rng, stacked, bool(fit_intercept))
            init(self, X, fit_intercept=fit_intercept, coefficients=coefficients, **options)

        return made

    def skipping(spread):
        def skips(self, lam):
            try:
                return spread(self, lam)
            except ValueError as error:
                pytest.skip(str(error))

        return skips

    for design in (CpuDesign, ReferenceDesign, ShardedDesign):
        monkeypatch.setattr(design, "__init__", with_map(design.__init__))
    for one in (Merge, RowSpace, Shift):
        monkeypatch.setattr(one, "spread", skipping(one.spread))
