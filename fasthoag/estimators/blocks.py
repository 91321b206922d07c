"""Rows that are no single matrix: a list of blocks, or a design that holds them elsewhere."""

from typing import Any

import numpy as np

from fasthoag.design import to_host
from fasthoag.design.blocks import is_in_blocks, joined, shape_of
from fasthoag.design.rows import is_design
from fasthoag.thin import product


class RowBlocks(list[Any]):
    """A list of matrices with the shape of all of them together."""

    @property
    def shape(self) -> tuple[int, int]:
        n_rows, n_features = shape_of(self)
        return n_rows, n_features


def is_in_parts(X: Any) -> bool:
    """Whether X is a list of blocks or a design."""
    return is_in_blocks(X) or is_design(X)


def joined_of(X: Any, **given: Any) -> tuple[Any, ...]:
    """What is given for all rows of X, where lists may have an array for each block."""
    if not is_in_parts(X):
        return tuple(given.values())
    return tuple(joined(values, X, name) for name, values in given.items())


def check_intercept(X: Any, fit_intercept: bool, estimator: str) -> None:
    """Raises ValueError for a design that has an intercept where the estimator has none, or the
    other way round."""
    if is_design(X) and X.has_intercept != fit_intercept:
        raise ValueError(
            f"X is a design made with fit_intercept={X.has_intercept}, and {estimator} has "
            f"fit_intercept={fit_intercept}; they must be equal"
        )


def rows_times(X: Any, coef: Any) -> Any:
    """``X coef'`` for coefficients (n_outputs, n_features), (n_rows, n_outputs); of one output
    (n_features,) and (n_rows,)."""
    if isinstance(X, RowBlocks):
        return np.concatenate([product(block, coef) for block in X])
    if not is_design(X):
        return product(X, coef)
    w = np.atleast_2d(to_host(coef)).T
    w = np.vstack([w, np.zeros((1, w.shape[1]))]) if X.has_intercept else w
    z = np.asarray(to_host(X.matvec(X.encode(w))))
    return z[:, 0] if coef.ndim == 1 else z
