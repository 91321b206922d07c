"""Pictures of what a search found, as axes of matplotlib (``pip install 'fasthoag[plot]'``).

Each function takes the `HoagResult` or the fitted estimator, and draws into ``ax``, by default into
those of a new figure: ``plots.criterion(result).figure.savefig("criterion.svg")``."""

from fasthoag.plots.model import coefficients, strengths
from fasthoag.plots.search import convergence, criterion

__all__ = ["coefficients", "convergence", "criterion", "strengths"]
