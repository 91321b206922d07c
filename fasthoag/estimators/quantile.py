"""Quantile regression, which looks for the width of the corner of its loss too."""

import warnings
from dataclasses import field, replace

import numpy as np

from fasthoag.design import to_host
from fasthoag.estimators.blocks import rows_times
from fasthoag.estimators.each import OF_EACH
from fasthoag.estimators.parameters import Strengths, with_parameters
from fasthoag.estimators.placement import beside
from fasthoag.estimators.regression import TunedRegressor, robust_scale
from fasthoag.estimators.scikit_learn import OfQuantileRegression
from fasthoag.losses import find_loss
from fasthoag.null import weighted_quantile
from fasthoag.options import is_number
from fasthoag.threads import stacklevel_of_user

# The corner is narrowed up to so many times, each time to this share of its width or less.
MOST_NARROWED, NARROWER = 3, 0.25


@with_parameters(
    own="""\
quantile : float between 0 and 1, default 0.5
smoothing : float, default 0.1
    h as a multiple of how far values of y are apart at the quantile: the distance between the
    quantiles half-way to the nearer end, of the median that between the quartiles (at least a
    hundredth of this; if it is 0 the standard deviation, if that is too 1). Where the share of rows
    below the final model is off by more than its standard error, the same of the residuals and at
    most a quarter of h is tried, up to three times.
"""
)
class QuantileRegressorCV(TunedRegressor, OfQuantileRegression):
    """Quantile regression whose ℓ2 strength is tuned by hypergradient on the held-out smoothed
    pinball loss.

    Minimises ``Σ_i s_i P(y_i - x_i w - b) + alpha/2 ||w||²`` with ``P(r) = quantile r + h log(1 +
    exp(-r / h))``, the pinball loss with a corner of width h, and chooses alpha. scikit-learn's
    QuantileRegressor has no smooth corner and penalises ``alpha ||w||_1``.

    {parameters}
    smoothing_ : float
        h, in units of y.

    Warns
    -----
    UserWarning
        When the share of rows below the final model is still off.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> import fasthoag
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = fasthoag.QuantileRegressorCV(quantile=0.9).fit(X, y)
    >>> bool(0.85 < (y < model.predict(X)).mean() < 0.95)
    True
    """

    alphas: Strengths = field(default=None, kw_only=False)
    quantile: float = 0.5
    smoothing: float = 0.1
    _loss_name, _of_each = "quantile", (*OF_EACH, "smoothing_")

    def _make_loss(self, y, weight):
        if not is_number(self.smoothing, 0):
            raise ValueError(f"smoothing must be a positive number; got {self.smoothing!r}")
        find_loss("quantile", quantile=self.quantile)  # A bad quantile is refused here.
        self.smoothing_, self._n_narrowed = self.smoothing * self._spacing(y, weight), 0
        return find_loss("quantile", quantile=self.quantile, smoothing=self.smoothing_)

    def _search(self, X, y, weight, level, tune):  # y is less the offset
        """The model with the least pinball loss among those of narrower and narrower corners, with
        the attributes that tell of its search."""
        loss, least, best = self._make_loss(y, weight), np.inf, None
        while loss is not None:
            coef, intercept = tune(loss)
            attributes = dict(self.__dict__)
            z = to_host(rows_times(X, beside(X, coef[:, 0]))) + float(intercept[0])
            value = self._judged(y - level, z, weight)
            loss = self._narrower(loss, y - level, z, weight)
            if best is None or value <= least:
                least, best = value, (coef, intercept, attributes)
        coef, intercept, attributes = best
        self.__dict__.update(attributes)
        return coef, intercept

    def _spacing(self, y, weight):
        """How far values are apart at the quantile."""
        weight = np.ones(len(y)) if weight is None else weight
        reach = 0.5 * min(self.quantile, 1 - self.quantile)
        low, high = (weighted_quantile(y, weight, self.quantile + t) for t in (-reach, reach))
        return max(float(high - low), 0.01 * robust_scale(y, weight))

    def _narrower(self, loss, y, z, weight):
        """The loss with a narrower corner where the model with predictions z needs one, else
        None."""
        weight = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()
        below, ties, error = self._shares(y, z, weight)
        constant = np.full(len(y), weighted_quantile(y, weight, self.quantile))
        is_worse = self._judged(y, z, weight) > 1.005 * self._judged(y, constant, weight)
        if abs(below - self.quantile) <= error and not is_worse:
            return None
        # Where the model lies beside a value that many rows have, the corner becomes at once as
        # narrow as it may.
        is_tied = below - error <= self.quantile <= below + ties + error
        if self._n_narrowed < MOST_NARROWED:
            self._n_narrowed += MOST_NARROWED if is_tied else 1
            spacing = 0.0 if is_tied else self.smoothing * self._spacing(y - z, weight)
            narrower = (NARROWER**MOST_NARROWED if is_tied else NARROWER) * self.smoothing_
            self.smoothing_ = min(spacing, narrower) if spacing else narrower
            return replace(loss, parameters={**loss.parameters, "smoothing": self.smoothing_})
        if not is_tied and abs(below - self.quantile) > error:
            warnings.warn(
                f"{below:.3g} of the rows lie below the fitted quantile {self.quantile:g}, more "
                "than a standard error away: too few rows are there, or the penalty holds the "
                "model back. Use a smaller smoothing or another quantile",
                UserWarning,
                stacklevel=stacklevel_of_user(),
            )
        return None

    def _judged(self, y, z, weight):
        """The mean pinball loss, without a smooth corner."""
        weight = np.ones(len(y)) if weight is None else weight
        q, r = self.quantile, y - z
        return float(np.average(np.maximum(q * r, (q - 1) * r), weights=weight))

    def _shares(self, y, z, weight):
        """The share of rows below the model, the share of rows beside it, and the standard error of
        the first.

        A row is beside the model if it is within a few h of it and its target is one that many rows
        have. As many rows as there are coefficients, which the model may go through, count as error
        too. Copies of a row are one row."""
        q, is_there = self.quantile, weight > 0
        n = len(np.unique(z[is_there] + 1j * y[is_there]))
        error = np.sqrt(q * (1 - q) / n) + (self.n_features_in_ + 1) / n
        _, value = np.unique(y, return_inverse=True)
        is_common = np.bincount(value, weights=weight)[value] > error
        is_beside = (np.abs(y - z) <= 5 * self.smoothing_) & is_common
        return float(weight[(y < z) & ~is_beside].sum()), float(weight[is_beside].sum()), error
