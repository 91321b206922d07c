"""What ridge regression and ridge classification share: leave-one-out, and what scikit-learn says
of it."""

from dataclasses import field
from typing import Any

from fasthoag.criteria import ApproximateLOO, KFold
from fasthoag.estimators.parameters import Strengths, with_parameters

CV_OF_RIDGE = """int, splitter, iterable of (train, test) pairs or None, default None
    None is leave-one-out as in scikit-learn: exact up to 2,000 features or 1,000 rows, beyond by
    probes, without a matrix of either size squared; see `fasthoag.ApproximateLOO`. It has no folds
    for ``one_se``, and one scorer judges the predictions of every row by the model without it. With
    more strengths than one, which overfit it, None is 5 folds."""
BEST_SCORE = "; without ``scoring`` minus the mean squared error, twice the loss"


@with_parameters()
class LeastSquares:
    """Before the estimator among the bases of a class."""

    alphas: Strengths = field(default=None, kw_only=False)
    cv: Any = None

    def _leave_one_out(self):
        return ApproximateLOO() if self._has_one_strength else KFold(5)

    def _keep_points(self, points):
        super()._keep_points(points)
        self.__dict__.pop("cv_results_", None)
        if points is not None and points.of_rows is not None:
            self.cv_results_ = points.of_rows

    def _keep_scorer(self, results, chosen):
        super()._keep_scorer(results, chosen)
        if chosen.scores is None:
            self.best_score_ *= 2  # The loss is half the squared error.
