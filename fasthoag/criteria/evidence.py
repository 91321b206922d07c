"""The evidence of a model, also called its marginal likelihood."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthoag.criteria import inverses
from fasthoag.criteria.bound import BoundCriterion
from fasthoag.criteria.criterion import ONE_OUTPUT
from fasthoag.criteria.leverages import (
    FEW,
    Terms,
    bound_of_leverages,
    checked_counts,
    of_likelihood,
)
from fasthoag.design.rows import to_host
from fasthoag.types import Block

if TYPE_CHECKING:
    from fasthoag.problem import Problem


@dataclass(frozen=True, eq=False)
class Evidence:
    """Minus the logarithm of the marginal likelihood by Laplace's approximation, up to a constant:
    ``f = h(w*) - ½ Σ_j log λ_j + ½ log det H`` over the penalised coefficients; for least squares,
    whose noise is not known, ``(n - k)/2 log(2 h(w*)/(n - k))`` in place of ``h(w*)``, n being the
    sum of the weights and k the number of coefficients without a penalty: these are integrated out
    like the others, as in restricted maximum likelihood (REML). With `FeatureRidge` it
    is automatic relevance determination: irrelevant features are taken out by themselves, without
    other rows. For losses that are likelihoods: squared (where it is exact), logistic, Poisson; up
    to 2,000 coefficients or 1,000 rows.

    References
    ----------
    MacKay (1992), "Bayesian interpolation", Neural Computation 4; Tipping (2001), "Sparse Bayesian
    learning", JMLR 1; Harville (1974), "Bayesian inference for variance components using only error
    contrasts", Biometrika 61, for n - k.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 5))
    >>> y = X[:, 0] + rng.normal(size=60)                           # the other features are noise
    >>> problem = fasthoag.Problem(X, y, loss="squared", penalty=fasthoag.FeatureRidge())
    >>> lam = fasthoag.hoag(problem, fasthoag.Evidence()).lam
    >>> bool(lam[0] < 0.1 * lam[1:].min())
    True
    """

    n_probes = None
    gives = ("gradient",)
    needs = (*ONE_OUTPUT, "likelihood", "unsmoothed", "noise")
    is_likelihood = integrates_free = True
    has_probe_bias = False

    def bind(self, problem: "Problem") -> BoundCriterion:
        bound, n, p = bound_of_leverages(problem, self), problem.n_rows, problem.design.n_coef
        if not inverses.are_few(n, p):
            raise ValueError(
                f"Evidence takes up to {FEW}; there are {p} and {n}. Use ApproximateLOO or KFold"
            )
        return checked_counts(bound)

    def hold_back(self, problem: "Problem") -> None:
        return None

    def terms(self, fit: Any, hat: Any, lam: Block, W: Block) -> Terms:
        lam, w = to_host(lam), to_host(W)
        is_penalised = lam > 0
        h = fit.sum_of_losses + 0.5 * float((lam * w**2).sum())
        value, factor = of_likelihood(fit, h, fit.n_free)
        value += 0.5 * (hat.log_det - float(np.log(lam[is_penalised]).sum()))
        # h stands still at w*; log det H depends on the leverages alone: d log det H = Σ h_i dc_i +
        # Σ (H⁻¹)_jj dλ_j
        over_lam = np.where(is_penalised, 1 / np.where(is_penalised, lam, 1.0), 0.0)
        in_lam = 0.5 * (factor * w**2 + hat.inverse_diagonal[:, None] - over_lam)
        return Terms(value, None, None, None, in_lam)
