"""`shared_rows`: which rows of a criterion are training rows too."""

from fasthoag.arithmetic import our_arithmetic
from fasthoag.criteria import Criterion
from fasthoag.criteria.shared import SharedRows, shared_rows_of
from fasthoag.hoag import check_what_is_tuned
from fasthoag.problem import Problem


def shared_rows(problem: Problem, criterion: Criterion) -> SharedRows:
    """Which rows of a criterion are training rows too, such as copies on both sides of a split.

    Rows are compared by products with two random vectors, one pass; equal products to 11 digits
    and an equal target are equal rows. `hoag` looks for itself at the rows of `HeldOut` and warns
    (`SharedRowsWarning`) where more than one in a hundred is shared beyond what chance explains:
    tables with few distinct rows have copies everywhere.

    Parameters
    ----------
    problem : Problem
    criterion : HeldOut or KFold

    Returns
    -------
    SharedRows

    Raises
    ------
    TypeError
        For a criterion without rows that judge.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(100, 3)), rng.normal(size=100)
    >>> X[90:], y[90:] = X[:10], y[:10]                                        # ten copies
    >>> problem = fasthoag.Problem(X, y, loss="squared")
    >>> fasthoag.shared_rows(problem, fasthoag.KFold(5)).n_shared
    20
    >>> fasthoag.shared_rows(problem, fasthoag.HeldOut(X[:50], y[:50])).n_shared
    50
    """
    check_what_is_tuned(problem, criterion)
    with our_arithmetic():
        return shared_rows_of(criterion.bind(problem))
