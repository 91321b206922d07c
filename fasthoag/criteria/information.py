"""Information criteria: the likelihood, and a price for every degree of freedom."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.criterion import ONE_OUTPUT
from fasthoag.criteria.leverages import (
    Terms,
    bound_of_leverages,
    checked_counts,
    constant,
    of_likelihood,
    scaled,
    total,
)
from fasthoag.types import Block

if TYPE_CHECKING:
    from fasthoag.problem import Problem


@dataclass(frozen=True, eq=False)
class AIC:
    """Half of Akaike's criterion with the trace of the hat matrix as degrees of freedom: ``f = Σ_i
    s_i ℓ_i + tr``; for least squares, whose noise is not known, ``f = n/2 log(Σ_i s_i r_i² / n) +
    tr``. For losses that are likelihoods: squared, logistic, Poisson.

    Parameters
    ----------
    n_probes : int
        For the trace beyond 2,000 coefficients and 1,000 rows; at least 2.

    References
    ----------
    Akaike (1974), "A new look at the statistical model identification", IEEE Transactions on
    Automatic Control 19.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), fasthoag.AIC()).status
    'converged'
    """

    n_probes: int = 16
    gives = ("gradient",)
    needs = (*ONE_OUTPUT, "likelihood", "unsmoothed", "rows", "noise")
    is_likelihood, integrates_free = True, False
    has_probe_bias = False

    def bind(self, problem: "Problem") -> BoundCriterion:
        return checked_counts(bound_of_leverages(problem, self))

    def hold_back(self, problem: "Problem") -> None:
        return None

    def terms(self, fit: Any, hat: Any, lam: Block, W: Block) -> Terms:
        return with_price(fit, hat, 1.0)


@dataclass(frozen=True, eq=False)
class BIC:
    """Half of Schwarz' criterion: as `AIC` with ``log(n)/2 tr`` instead of ``tr``, n the sum of the
    sample weights.

    Parameters
    ----------
    n_probes : int
        For the trace beyond 2,000 coefficients and 1,000 rows; at least 2.

    References
    ----------
    Schwarz (1978), "Estimating the dimension of a model", Annals of Statistics 6.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), fasthoag.BIC()).status
    'converged'
    """

    n_probes: int = 16
    gives = ("gradient",)
    needs = (*ONE_OUTPUT, "likelihood", "unsmoothed", "rows", "noise")
    is_likelihood, integrates_free = True, False
    has_probe_bias = False

    def bind(self, problem: "Problem") -> BoundCriterion:
        return checked_counts(bound_of_leverages(problem, self))

    def hold_back(self, problem: "Problem") -> None:
        return None

    def terms(self, fit: Any, hat: Any, lam: Block, W: Block) -> Terms:
        return with_price(fit, hat, 0.5 * np.log(fit.n))


def with_price(fit, hat, price):
    """The terms of a likelihood and `price` for every degree of freedom."""
    value, factor = of_likelihood(fit, fit.sum_of_losses)
    value += price * total(fit.rows, hat.a)
    in_u = scaled(fit.rows, factor, fit.terms(1))
    return Terms(value, in_u, constant(fit.rows, price, hat.a))
