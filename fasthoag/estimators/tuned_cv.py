"""`TunedCV`: a linear model of scikit-learn with a smooth loss, its strength tuned by gradient."""

import copy
import time
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.stats import rankdata
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import _check_feature_names

from fasthoag.arguments import check_options
from fasthoag.arithmetic import our_arithmetic
from fasthoag.criteria import HeldOut, KFold
from fasthoag.criteria.folds import check_is_cv
from fasthoag.estimators.fold_problems import (
    checked_splits,
    checked_weight,
    folds_of,
    scales_of,
    together_of,
)
from fasthoag.estimators.kinds import check_in_one_piece
from fasthoag.estimators.together import Points, Seen
from fasthoag.estimators.wrapped import wrapped
from fasthoag.kinds import named
from fasthoag.options import check_flag, is_number
from fasthoag.outer.result import MESSAGES, SAFETY, HoagResult, warn_unless_converged
from fasthoag.outer.rules import Box
from fasthoag.outer.trust_region import TrustRegion
from fasthoag.progress import progress
from fasthoag.scoring import takes_weights
from fasthoag.threads import check_n_threads
from fasthoag.types import ArrayLike

# Log units to both sides of the least loss within which a scorer chooses, and how many of them.
AROUND, N_AROUND = 2 * np.log(10), 13

# How often a strength may move with the scales of the errors, and the log units within which they
# are those of the strength: the score is off by a twentieth of that.
MOST_SCALES, STILL = 10, 1e-3


class Given(NamedTuple):
    """Metadata of a fit: the weights of the rows, and what the splitter, the steps before the
    model, the whole estimator and the scorer get."""

    sample_weight: Any
    split: dict[str, Any]
    steps: dict[str, Any]
    fit: dict[str, Any]
    score: dict[str, Any]


class TunedCV(BaseSearchCV):
    """GridSearchCV for the strength of a linear model, without a grid: the held-out loss of the
    folds is minimised by hypergradient, and scikit-learn fits the model there.

    Parameters
    ----------
    estimator : estimator of scikit-learn
        Ridge, LogisticRegression, LinearSVC (squared hinge), LinearSVR (squared epsilon-insensitive
        loss), RidgeClassifier, PoissonRegressor, GammaRegressor, TweedieRegressor, HuberRegressor,
        SGDClassifier or SGDRegressor with a smooth loss, all with an ℓ2 penalty; or a Pipeline that
        ends with one. Its strength, C or alpha, is tuned, and all its other parameters mean what
        they say. Steps before the model are fitted on the training rows of every fold, as
        GridSearchCV does it but once for all strengths, and all rows as they leave the steps are in
        memory for every fold.
    scoring : str, callable or None
        What chooses. None: the loss of the model itself. A scorer of scikit-learn judges the held
        out rows at 13 strengths within two decades of that with the least loss, and its best is
        taken. Its models are those of the search, no fits of scikit-learn. `score` uses the scorer,
        or without one that of the estimator, as GridSearchCV does.
    n_jobs : int or None
        Threads; None: all cores.
    refit : bool, default True
        Fit the estimator on all rows at the strength that was found.
    cv : int, splitter, iterable of (train, test) pairs or None
        What scikit-learn calls cv; None: 5 folds.
    verbose : int, default 0
        1 shows every evaluation on stderr; the logger "fasthoag" has them in any case.
    bounds : (low, high) or None
        Of C or alpha. None: from where the penalty is nothing to where it is everything.
    tol : float, default 1e-4
        Relative size of the hypergradient at which the search stops; see `fasthoag.hoag`.
    max_iter : int or None
        Steps of a search at most; None: 50.

    Attributes
    ----------
    best_estimator_ : the estimator, fitted by scikit-learn on all rows
    best_params_ : dict
        ``{"C": ...}`` or ``{"alpha": ...}``, in a Pipeline with the name of its step.
    best_score_ : float
        The mean over folds of the scores; without `scoring` of minus the mean loss of the held-out
        rows as scikit-learn's metrics have it: the log-loss, the squared error (of RidgeClassifier
        that of targets -1 and +1), the deviance; of hinges, tubes and Huber's the loss itself. Of
        one model for each class against the rest it is the sum over classes.
    cv_results_ : dict
        The columns of GridSearchCV for the strengths that were looked at: ``params``, ``param_C``,
        ``split0_test_score``, ..., ``mean_test_score``, ``std_test_score``, ``rank_test_score``;
        with `scoring` also ``mean_test_loss``. Without it scores far below the best are rough:
        ``value_error`` in ``hoag_result_.trace`` says by how much.
    best_index_, scorer_, n_splits_, refit_time_, classes_, n_features_in_, feature_names_in_ :
        as GridSearchCV has them
    n_iter_ : int
        Steps of the search.
    hoag_result_ : HoagResult
        Of the search by the loss. θ is ``log(alpha)`` or ``-log(C)``.

    Notes
    -----
    The strength means in every fold what it means on all rows: alpha of PoissonRegressor and its
    like, and of SGD, is compared with the mean loss of the rows that train, C and alpha of the
    others with the sum. The mean over folds counts folds alike, and the rows of a fold by
    ``sample_weight``; class weights are for the fits alone, "balanced" by those of each fold. Folds
    whose numbers of rows differ by less than a thousandth count as equal.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import fasthoag
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression())
    >>> search = fasthoag.TunedCV(model).fit(X, y)
    >>> list(search.best_params_), bool(search.best_score_ > -0.08)
    (['logisticregression__C'], True)
    """

    def __init__(
        self,
        estimator: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool = True,
        cv: Any = None,
        verbose: int = 0,
        bounds: tuple[float, float] | None = None,
        tol: float = 1e-4,
        max_iter: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.refit = refit
        self.cv = cv
        self.verbose = verbose
        self.bounds = bounds
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: ArrayLike | None = None, **params: Any) -> Self:
        """Tune and fit.

        Parameters
        ----------
        X : array, sparse matrix, table or what the first step of a Pipeline takes
        y : array, shape (n_rows,), of Ridge also (n_rows, n_targets)
        **params
            ``sample_weight`` (in a Pipeline ``step__sample_weight``) for the fits and the held-out
            rows, ``groups`` for the splitter and ``step__name`` for other steps; with metadata
            routing what was requested.
        """
        one = wrapped(self.estimator)
        if not one.steps:  # what is before the model may take anything
            check_in_one_piece(X, "X")
        self._check_parameters()
        if y is None:
            raise ValueError("TunedCV requires y to be passed, but the target y is None")
        X, y = indexable(X, y)
        scorer = check_scoring(self.estimator, self.scoring)
        given = self._given(one, params, scorer)
        targets = one.targets(y)
        sample_weight = checked_weight(given.sample_weight, targets)
        with named("cv"):
            splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
            splits = checked_splits(splitter.split(X, y, **given.split), targets, sample_weight)
        folds = folds_of(one, X, y, splits, given.steps)
        with our_arithmetic():
            together, box, found = self._tuned(one, folds, targets, sample_weight)
        result, points, end = found

        def fitted(theta):
            began = time.perf_counter()
            whole = clone(self.estimator).set_params(**{one.parameter: one.strength(theta)})
            return whole.fit(X, y, **given.fit), time.perf_counter() - began

        best: Any = None
        if self.scoring is not None:
            best = model, _ = fitted(end.theta)
            judge = Judge(one, scorer, model, folds, X, y, given.score)
            points = points_around(together, end, judge, box)
        index = best_of(points, end.theta)
        theta = points.thetas[index]
        if self.refit and (best is None or theta != end.theta):
            best = fitted(theta)
        self._keep(one, points, index, result)
        self.scorer_, self.n_splits_, self.multimetric_ = scorer, len(folds), False
        if self.refit:
            self.best_estimator_, self.refit_time_ = best
            _check_feature_names(self, X, reset=True)
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags = copy.deepcopy(get_tags(self.estimator).target_tags)
        return tags

    # ---- arguments ----

    def _check_parameters(self):
        """Raises for parameters that no data can suit."""
        check_flag(self.refit, "refit")
        check_n_threads(self.n_jobs, "n_jobs")
        check_options("auto", self.tol, self.max_iter, None)
        if self.tol is None:
            raise ValueError("tol must be a positive number; got None")
        if not (self.scoring is None or isinstance(self.scoring, str) or callable(self.scoring)):
            raise ValueError(
                "scoring must be the name of a scikit-learn scorer, a callable or None: one scorer "
                f"chooses; got {self.scoring!r}"
            )
        if isinstance(self.cv, (KFold, HeldOut)):
            raise TypeError(
                f"cv must be what scikit-learn calls cv; fasthoag.{type(self.cv).__name__} is a "
                "criterion, for fasthoag.hoag. Pass cv=5 or sklearn.model_selection.KFold(5)"
            )
        check_is_cv(self.cv)
        if not isinstance(self.verbose, (int, np.integer)):
            raise ValueError(f"verbose must be a whole number; got {self.verbose!r}")
        if self.bounds is not None:
            check_bounds(self.bounds)

    def _given(self, one, params, scorer):
        """The `Given` of these parameters of fit."""
        params = {name: value for name, value in params.items() if value is not None}
        if get_config()["enable_metadata_routing"]:
            split, fit, score = routed(self, params)
            steps = routed_steps(one, fit)
            weight = routed_weight(one, fit)
        else:
            fit, split = dict(params), {"groups": params.get("groups")}
            fit.pop("groups", None)
            weight, steps = named_weight(one, fit)
            has_weights = weight is not None and takes_weights(scorer)
            score = {"sample_weight": weight} if self.scoring is not None and has_weights else {}
        return Given(weight, split, steps, fit, score)

    def _box(self, one, together):
        if self.bounds is None:
            return together.box()
        ends = sorted(one.theta(bound) for bound in self.bounds)
        return Box(*(np.array([end]) for end in ends))

    # ---- the search ----

    def _tuned(self, one, folds, targets, sample_weight):
        """(Together, Box, what `_search` found). Scales that the model estimates are those at the
        strength of the search before, which is repeated until that moves no more."""
        args = one, folds, targets, sample_weight
        if not one.kind.has_scale:
            together = together_of(*args, self.n_jobs)
            box = self._box(one, together)
            return together, box, self._search(one, together, box)
        theta = one.theta(one.model.get_params()[one.kind.strength] or 1.0)
        for _ in range(MOST_SCALES):
            scales = scales_of(*args, one.strength(theta))
            together = together_of(*args, self.n_jobs, scales)
            box = self._box(one, together)
            found, before = self._search(one, together, box), theta
            theta = found[-1].theta
            if abs(theta - before) <= STILL:
                break
        return together, box, found

    def _search(self, one, together, box):
        """(HoagResult, Points, Losses at the end) of the search by the loss."""
        max_iter = self.max_iter or TrustRegion.max_iter
        with progress(self.verbose > 0) as show:
            seen = Seen(together, self.tol, show)
            best, status, n_iter = together.minimum(box, self.tol, max_iter, seen.record)
        theta = float(best.theta[0])
        where = f"theta[0] = {theta:g}, {one.parameter} = {one.strength(theta):g}"
        message = MESSAGES[status].format(where=where, n_iter=n_iter, left="")
        status = "converged" if status == "at_kink" else status
        warn_unless_converged(status, message)
        end = together.losses(theta, best.predict(np.zeros(1)))
        points = seen.points(theta, end)
        result = HoagResult(
            theta=best.theta,
            lam=np.exp(best.theta),
            value=best.value,
            value_error=SAFETY * best.value_error,
            grad=best.grad,
            grad_error=best.grad_error,
            fold_values=end.folds,
            fold_weights=np.ones(together.n_folds),
            w=None,
            w_all=None,
            inner_error=best.accuracy.inner,
            status=status,
            message=message,
            n_iter=n_iter,
            n_passes=together.n_passes,
            seconds=seen.seconds(),
            method="newton",
            trace=seen.trace,
        )
        return result, points, end

    def _keep(self, one, points, index, result):
        """Sets the attributes that tell of the search."""
        means = points.scores.mean(axis=1)
        params = [{one.parameter: one.strength(theta)} for theta in points.thetas]
        values = np.ma.MaskedArray([next(iter(each.values())) for each in params], mask=False)
        splits = {f"split{k}_test_score": column for k, column in enumerate(points.scores.T)}
        self.hoag_result_, self.n_iter_, self.best_index_ = result, max(1, result.n_iter), index
        self.best_params_, self.best_score_ = params[index], float(means[index])
        self.cv_results_ = {
            f"param_{one.parameter}": values,
            "params": params,
            **splits,
            "mean_test_score": means,
            "std_test_score": points.scores.std(axis=1),
            "rank_test_score": rankdata(-means, method="min").astype(np.int32),
        }
        if self.scoring is not None:
            self.cv_results_["mean_test_loss"] = points.losses.mean(axis=1)


def check_bounds(bounds):
    """Raises ValueError for what is no interval of positive numbers."""
    is_pair = isinstance(bounds, (tuple, list)) and len(bounds) == 2
    if not (is_pair and all(is_number(one, 0) for one in bounds) and bounds[0] < bounds[1]):
        raise ValueError(
            "bounds must be (low, high) of C or alpha, positive numbers with low < high; got "
            f"{bounds!r}"
        )


# ---- metadata ----


def routed(search, params):
    """What metadata routing gives the splitter, the estimator and the scorer."""
    found = process_routing(search, "fit", **params)
    return found.splitter.split, found.estimator.fit, found.scorer.score


def routed_weight(one, fit):
    """The weights of the rows that the model gets in the end."""
    if not isinstance(one.estimator, Pipeline):
        return fit.get("sample_weight")
    last = one.estimator.steps[-1][0]
    return process_routing(one.estimator, "fit", **fit)[last].fit.get("sample_weight")


def routed_steps(one, fit):
    """What the steps before the model have requested."""
    if not one.steps:
        return {}
    router = one.estimator[:-1].get_metadata_routing()
    names = router.consumes("fit", fit) | router.consumes("fit_transform", fit)
    return {name: fit[name] for name in names}


def named_weight(one, fit):
    """The weights of the rows and what the steps before the model get, by the names of the steps;
    raises ValueError for what the search cannot use."""
    own = one.prefix + "sample_weight"
    names = tuple(f"{name}__" for name, _ in one.steps)
    steps = {name: value for name, value in fit.items() if name.startswith(names)} if names else {}
    unknown = sorted(set(fit) - set(steps) - {own})
    if unknown:
        raise ValueError(
            f"fit takes {own}, groups and parameters of the steps before the model; got "
            f"{', '.join(unknown)}"
        )
    return fit.get(own), steps


# ---- a scorer chooses ----


class Judge(NamedTuple):
    """A scorer and what its models are made of: a fitted estimator whose coefficients give way to
    those of a fold."""

    wrapped: Any
    scorer: Any
    reference: Any
    folds: list[Any]
    X: Any
    y: Any
    params: dict[str, Any]

    def scores(self, coefficients):
        """The score of every fold from its coefficients (n_coef, n_models), (n_folds,)."""
        each = zip(self.folds, coefficients, strict=True)
        return [self._score(fold, w) for fold, w in each]

    def _score(self, fold, w):
        rows, weight = fold.rows[fold.test], self.params.get("sample_weight")
        if weight is not None:  # Rows without weight are no rows, whatever is predicted for them.
            rows = rows[np.asarray(weight)[rows] > 0]
        params = {name: _safe_indexing(value, rows) for name, value in self.params.items()}
        X, y = _safe_indexing(self.X, rows), _safe_indexing(self.y, rows)
        return float(self.scorer(self._model(fold, w), X, y, **params))

    def _model(self, fold, w):
        one, column = self.wrapped, self.wrapped.intercept_column
        if one.has_free_intercept:
            w, b = w[:-1], w[-1]
        elif column is not None:
            w, b = w[:-1], column * w[-1]
        else:
            b = np.zeros(w.shape[1])
        is_pipeline = isinstance(one.estimator, Pipeline)
        model = copy.copy(self.reference.steps[-1][1] if is_pipeline else self.reference)
        model.coef_ = w.T.reshape(*model.coef_.shape[:-1], len(w))
        model.intercept_ = b.reshape(np.shape(model.intercept_)) if b.any() else model.intercept_
        model.n_features_in_ = len(w)
        if not is_pipeline:
            return model
        steps = [] if fold.steps is None else fold.steps.steps
        return Pipeline([*steps, (one.estimator.steps[-1][0], model)])


def points_around(together, end, judge, box):
    """The `Points` at strengths around the end of a search, as a scorer judges them."""
    away = np.linspace(-AROUND, AROUND, N_AROUND)
    away[N_AROUND // 2] = 0.0
    thetas = np.unique(np.clip(end.theta + away, box.lower[0], box.upper[0]))
    found = {end.theta: end}
    for side in (thetas[thetas > end.theta], thetas[thetas < end.theta][::-1]):
        last = end
        for theta in side:
            with our_arithmetic():
                last = found[theta] = together.losses(theta, last.W)
    thetas = np.array(sorted(found))
    scores = [judge.scores(together.coefficients(found[theta].W)) for theta in thetas]
    return Points(thetas, np.array(scores), np.array([found[theta].folds for theta in thetas]))


def best_of(points, theta):
    """The number of the point with the highest mean score, of several the one nearest to θ."""
    means = points.scores.mean(axis=1)
    means = np.where(np.isnan(means), -np.inf, means)
    return int(np.lexsort([np.abs(points.thetas - theta), -means])[0])
