"""Regressors of targets that are not negative: predictions are ``exp(x w + b)``."""

from sklearn.metrics import d2_tweedie_score

from fasthoag.estimators.parameters import with_parameters
from fasthoag.estimators.regression import TunedRegressor
from fasthoag.losses import find_loss


@with_parameters()
class LogLinkRegressor(TunedRegressor):
    """What they share: the score is the share of the deviance that is explained, that of the
    Tweedie distribution with variance ``mean^_power``."""

    def _level(self, y, weight):
        return 0.0  # Targets are ratios, which nothing may be taken from.

    def _score(self, y, predicted, sample_weight):
        return d2_tweedie_score(y, predicted, sample_weight=sample_weight, power=self._power)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


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
power : float between 1 and 2, default 1.5
    Of the variance, ``mean^power``: a mass at 0 and a tail, such as claims. 1 is
    PoissonRegressorCV, 2 GammaRegressorCV.
"""
)
class TweedieRegressorCV(LogLinkRegressor):
    """Tweedie regression whose ℓ2 strength is tuned by hypergradient on the held-out deviance.

    Minimises ``Σ_i s_i (exp((2 - p) z_i) / (2 - p) - y_i exp((1 - p) z_i) / (1 - p)) + alpha/2
    ||w||²`` with ``z_i = x_i w + b`` and p = power (up to a constant half the deviance), for ``y >=
    0``, and chooses alpha. (scikit-learn's objective is this over the sum of the weights: its alpha
    is this one over that sum.) Predictions are ``exp(x w + b)``.

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
    _loss_name = "tweedie"

    @property
    def _power(self):
        return self.power

    def _make_loss(self, y, weight):
        return find_loss("tweedie", power=self.power)
