"""Regressors of targets that are not negative: predictions are ``exp(x w + b)``."""

from dataclasses import field

import numpy as np
from sklearn.metrics import d2_tweedie_score
from sklearn.utils.validation import column_or_1d

from fasthoag.estimators.each import columns_like
from fasthoag.estimators.parameters import Strengths, with_parameters
from fasthoag.estimators.regression import TunedRegressor, level_for
from fasthoag.estimators.scikit_learn import OfGeneralizedLinearRegression
from fasthoag.losses import find_loss
from fasthoag.options import is_number

OF_POWER = {0: "squared", 1: "poisson", 2: "gamma"}  # losses that are not called tweedie


@with_parameters()
class LogLinkRegressor(TunedRegressor, OfGeneralizedLinearRegression):
    """What they share: the score is the share of the deviance that is explained, that of the
    Tweedie distribution with variance ``mean^_power``."""

    alphas: Strengths = field(default=None, kw_only=False)

    def _level(self, X, y, weight, others):
        return 0.0  # Targets are ratios, which nothing may be taken from.

    def _score(self, y, predicted, sample_weight):
        kind = {"sample_weight": sample_weight, "power": self._power}
        if np.ndim(predicted) == 1:
            return d2_tweedie_score(y, predicted, **kind)
        pairs = zip(columns_like(y, predicted).T, predicted.T, strict=True)
        of_each = [d2_tweedie_score(*pair, **kind) for pair in pairs]
        return float(np.mean(of_each))  # as R² of several targets

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        # Several targets are there, but scikit-learn's check of this tag has negative ones.
        tags.target_tags.multi_output = False
        return tags

    def _training(self, X, y):
        X, y = super()._training(X, y)
        # What has not the tag has to warn of a column.
        return X, y if y.shape[1:] != (1,) else column_or_1d(y, warn=True)


@with_parameters()
class PoissonRegressorCV(LogLinkRegressor):
    """Poisson regression whose ℓ2 strength is tuned by hypergradient on the held-out deviance.

    Minimises ``Σ_i s_i (exp(z_i) - y_i z_i) + alpha/2 ||w||²`` with ``z_i = x_i w + b`` (up to a
    constant half the deviance), for ``y >= 0``, and chooses alpha. (scikit-learn's objective is
    this over the sum of the weights: its alpha is this one over that sum.) Predictions are ``exp(x
    w + b)``.

    {parameters}

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> model = fasthoag.PoissonRegressorCV().fit(X, rng.poisson(np.exp(X[:, 0])))
    >>> abs(float(model.coef_[0]) - 1) < 0.1
    True
    """

    _loss_name, _power = "poisson", 1


@with_parameters()
class GammaRegressorCV(LogLinkRegressor):
    """Gamma regression whose ℓ2 strength is tuned by hypergradient on the held-out deviance.

    Minimises ``Σ_i s_i (z_i + y_i exp(-z_i)) + alpha/2 ||w||²`` with ``z_i = x_i w + b`` (up to a
    constant half the deviance), for ``y > 0``, and chooses alpha. (scikit-learn's objective is this
    over the sum of the weights: its alpha is this one over that sum.) Predictions are ``exp(x w +
    b)``.

    {parameters}

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> model = fasthoag.GammaRegressorCV().fit(X, np.exp(X[:, 0]) * rng.gamma(5, 0.2, size=200))
    >>> abs(float(model.coef_[0]) - 1) < 0.1
    True
    """

    _loss_name, _power = "gamma", 2


@with_parameters(
    own="""\
power : 0 or float from 1 to 2, default 1.5
    Of the variance, ``mean^power``: 0 normal, 1 Poisson (counts), between 1 and 2 a mass at 0 and a
    tail, such as claims, 2 gamma. (scikit-learn's default is 0. Its powers beyond 2, 3 is inverse
    Gaussian, are not there.)
link : {"auto", "log", "identity"}, default "auto"
    How the mean follows from ``x w + b``: "auto" is the identity for power 0 and else log. The
    other two pairs are refused: their losses are not convex.
"""
)
class TweedieRegressorCV(LogLinkRegressor):
    """Tweedie regression whose ℓ2 strength is tuned by hypergradient on the held-out deviance.

    Minimises ``Σ_i s_i (exp((2 - p) z_i) / (2 - p) - y_i exp((1 - p) z_i) / (1 - p)) + alpha/2
    ||w||²`` with ``z_i = x_i w + b`` and p = power (up to a constant half the deviance), for ``y >=
    0``, and chooses alpha. (scikit-learn's objective is this over the sum of the weights: its alpha
    is this one over that sum.) Predictions are ``exp(x w + b)``. At power 1 and 2 it is
    PoissonRegressorCV and GammaRegressorCV, at power 0 least squares, ``Σ_i s_i (y_i - z_i)² / 2``,
    for any y, with predictions ``x w + b``.

    {parameters}

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 3))
    >>> y = np.exp(X[:, 0]) * rng.poisson(2, size=400) * rng.gamma(5, 0.1, size=400)
    >>> model = fasthoag.TweedieRegressorCV().fit(X, y)
    >>> abs(float(model.coef_[0]) - 1) < 0.2
    True
    """

    power: float = 1.5
    link: str = "auto"

    @property
    def _power(self):
        return self.power

    @property
    def _loss_name(self):
        return OF_POWER.get(self.power if is_number(self.power) else None, "tweedie")

    @property
    def _is_normal(self):
        return self._loss_name == "squared"

    def _check_parameters(self):
        super()._check_parameters()
        if not (is_number(self.power) and (self.power == 0 or 1 <= self.power <= 2)):
            raise ValueError(
                f"power must be 0 or a number from 1 to 2; got {self.power!r}. Others, 3 (inverse "
                "Gaussian) among them, are not there; write power=2, the nearest"
            )
        check_link(self.link, self.power)

    def _level(self, X, y, weight, others):
        return level_for(self, y, weight) if self._is_normal else 0.0

    def _make_loss(self, y, weight):
        is_between = self._loss_name == "tweedie"
        return (
            find_loss("tweedie", power=self.power) if is_between else super()._make_loss(y, weight)
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = not self._is_normal
        return tags


def check_link(link, power):
    """Raises ValueError for what is no link, and for a link whose loss is not convex."""
    if not (isinstance(link, str) and link in ("auto", "log", "identity")):
        raise ValueError(f"link must be 'auto', 'log' or 'identity'; got {link!r}")
    if link == "log" and power == 0:
        raise ValueError(
            "link='log' with power=0 has a loss that is not convex; write power=1, which fits the "
            "same means by other weights, or RidgeCV on log(y)"
        )
    if link == "identity" and power != 0:
        raise ValueError(
            f"link='identity' with power={power!r} has means that may be negative; write "
            "link='log', or power=0"
        )
