"""Generalised cross-validation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.criterion import ONE_OUTPUT
from fasthoag.criteria.leverages import Terms, bound_of_leverages, constant, scaled, total
from fasthoag.types import Block

if TYPE_CHECKING:
    from fasthoag.problem import Problem


@dataclass(frozen=True, eq=False)
class GCV:
    """Generalised cross-validation of least squares: ``f = Σ_i s_i r_i²/2 / (1 - tr/n)²`` with r
    the residuals, tr the trace of the hat matrix and n the number of rows with a positive weight.
    Leave-one-out with the same leverage for all rows; a row is left out with all its weight.

    Parameters
    ----------
    n_probes : int
        For the trace beyond 2,000 coefficients and 1,000 rows; at least 2.

    References
    ----------
    Golub, Heath & Wahba (1979), "Generalized cross-validation as a method for choosing a good ridge
    parameter", Technometrics 21.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), fasthoag.GCV()).status
    'converged'
    """

    n_probes: int = 16
    gives = ("gradient",)
    needs = (*ONE_OUTPUT, "squared")
    is_likelihood = integrates_free = False
    has_probe_bias = False

    def bind(self, problem: "Problem") -> BoundCriterion:
        return bound_of_leverages(problem, self)

    def hold_back(self, problem: "Problem") -> None:
        return None

    def terms(self, fit: Any, hat: Any, lam: Block, W: Block) -> Terms:
        left = max(1.0 - total(fit.rows, hat.a) / fit.n_rows, 1e-6)
        value = fit.sum_of_losses / left**2
        in_u = scaled(fit.rows, 1 / left**2, fit.terms(1))
        return Terms(value, in_u, constant(fit.rows, 2 * value / (left * fit.n_rows), hat.a))
