"""What estimators of linear models share: the call of `hoag`, the choice of the strength and the
final fit on all rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fasthoag.arithmetic import our_arithmetic
from fasthoag.criteria import ApproximateLOO, KFold
from fasthoag.criteria.folds import pairs_of_classes
from fasthoag.design import to_host
from fasthoag.estimators.blocks import joined_of, rows_times
from fasthoag.estimators.choice import Task, chooser_for
from fasthoag.estimators.each import OF_EACH, coefficients_of, gathered, in_column, of_target
from fasthoag.estimators.estimator import Estimator
from fasthoag.estimators.final_fit import final_fit
from fasthoag.estimators.given import MOST_COMPARED, default_points, strengths_given
from fasthoag.estimators.other_rows import Rows, check_other_offset, coded
from fasthoag.estimators.parameters import with_parameters
from fasthoag.estimators.placement import beside
from fasthoag.estimators.strengths import penalty_for
from fasthoag.hoag import hoag
from fasthoag.kinds import named
from fasthoag.losses import MULTINOMIAL
from fasthoag.options import is_number
from fasthoag.outer.result import HoagResult
from fasthoag.outer.search import is_many
from fasthoag.outer.start import default_box
from fasthoag.outer.trials import TRIALS
from fasthoag.outer.trust_region import FEW
from fasthoag.path import hoag_among, result_at
from fasthoag.problem import Problem, on_its_design
from fasthoag.scoring import chooses, find_scorers
from fasthoag.types import ArrayLike, Matrix, Scoring
from fasthoag.vectors import offset_to_predict

GIVEN_BY = {"C_": "Cs", "alpha_": "alphas"}  # the parameter of strengths by their attribute
ONLY_KEPT = "coefs_paths_"  # the coefficients of folds at strengths that are reported


class Tuned(NamedTuple):
    """A search, the strengths that it chose and the model w on all rows."""

    result: HoagResult
    lam: Any
    w: Any


@with_parameters()
class TunedEstimator(Estimator):
    """What linear models share. A class adds its loss (`_make_loss`), its score (`_score`) and
    the name of the attribute that holds its strength, `_strength`: α = λ or C = 1/λ."""

    penalty_per: str | ArrayLike | Mapping[Any, ArrayLike] | Sequence[ArrayLike] = "all"
    penalty_factor: ArrayLike | None = None
    one_se: bool = False
    low_memory: bool = False
    deterministic: bool = False
    store_folds: bool = False
    store_cv_results: bool = False
    warm_start: bool = False
    scoring: Scoring | None = None
    device: str | None = None
    refit_tol: float | None = None
    flags = (
        *Estimator.flags,
        "one_se",
        "low_memory",
        "deterministic",
        "store_folds",
        "store_cv_results",
        "warm_start",
    )
    _last = None  # (θ, coefficients of the folds) of every model, for ``warm_start``
    _has_columns = _takes_parts = True
    _of_each: ClassVar[tuple[str, ...]] = OF_EACH  # attributes that each of several targets has

    def fit(
        self,
        X: Matrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: Rows | None = None,
        stop_on: Rows | None = None,
        groups: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Tune and fit.

        Whatever ends a fit before its time, an error or Ctrl-C, leaves the estimator as it was,
        with the model of an earlier fit.

        Parameters
        ----------
        X : array, sparse matrix, list of these or Design, shape (n_rows, n_features)
            A list is of blocks of rows, which no copy joins; a `fasthoag.ShardedDesign` or
            `fasthoag.DaskDesign` holds them elsewhere. `y`, `sample_weight`, `groups` and `offset`
            may be lists then too, with an array for each block.
        y : array, shape (n_rows,) or (n_rows, n_targets)
            Targets in columns are fitted one after the other, each as on its own with a strength of
            its own; X is prepared once. Of a classifier a matrix of labels, of two values such as 0
            and 1, of which a row may have several.
        sample_weight : array, shape (n_rows,), optional
        validation : (X, y), (X, y, sample_weight) or HeldOut, optional
            Tune on these rows instead of by cross-validation. A `fasthoag.HeldOut` may hold, beside
            `offset`, offsets of its rows.
        stop_on : (X, y), (X, y, sample_weight) or HeldOut, optional
            Rows that neither train nor tune: the search ends when their loss falls no more. For
            many strengths; see `fasthoag.hoag`.
        groups : array, shape (n_rows,), optional
            Rows of a group stay together where folds are cut: by ``GroupKFold`` (of classes
            ``StratifiedGroupKFold``) where ``cv`` is a number, else by the splitter.
        offset : array, shape (n_rows,), optional
            A known part of every prediction, ``z = x w + b + offset``, such as the logarithm of an
            exposure where predictions are ``exp(z)``. Those of other rows need one then too. All
            of several targets have the same; more than two classes a column for each, (n_rows,
            n_classes).
        """
        others = sample_weight, validation, stop_on
        return self._fit_whole(X, y, *others, groups=groups, offset=offset)

    def score(
        self,
        X: Matrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
    ) -> float:
        """How good `predict` is for these rows: the accuracy of a classifier, R² of a regressor, D²
        where targets are not negative; a float."""
        return self._score_of(X, y, sample_weight, offset=offset)

    def _check_parameters(self):
        super()._check_parameters()
        if not (self.refit_tol is None or is_number(self.refit_tol, 0, 1)):
            raise ValueError(
                f"refit_tol must be a number between 0 and 1 or None; got {self.refit_tol!r}"
            )
        if self.scoring is not None:
            find_scorers(self.scoring)
        given, name = self._given, GIVEN_BY[self._strength]
        if given is not None and self.bounds is not None:
            raise ValueError(
                f"{name} and bounds= both say where strengths are searched for; pass one of them, "
                f"bounds= in log lambda or {name} from the smallest to the largest"
            )
        if given is not None and given.is_fixed and self.one_se:
            raise ValueError(
                f"one_se=True chooses among strengths and {name}={getattr(self, name)!r} is one; "
                "pass more of them or one_se=False"
            )

    # ---- the search ----

    @property
    def _has_one_strength(self):
        return isinstance(self.penalty_per, str) and self.penalty_per == "all"

    def _penalty(self, n_classes, n_features):
        if self.one_se and not self._has_one_strength:
            raise ValueError('one_se=True needs a single strength, penalty_per="all"')
        with named("penalty_per or penalty_factor"):
            penalty = penalty_for(self.penalty_per, self.penalty_factor, n_classes)
            penalty.check(n_features)
        return penalty

    def _tune(self, X, y, loss, weight, others, codings, judged_weight, offset=None):
        """Coefficients (n_features, n_models) and intercepts (n_models,), a model for every coding
        of the targets; of the multinomial loss, whose coding is one, (n_features, n_classes).

        `others` are the rows of ``validation`` and of ``stop_on``, each of them None or a
        `HeldOut`. Scorers weigh the rows that judge by `judged_weight`."""
        for rows, name in zip(others, ("validation", "stop_on"), strict=True):
            check_other_offset(rows, name, offset)
            if rows is not None and not loss.is_classification:
                loss.check_y(rows.y_val, f"y of {name}")
        validation, stop_on = others
        penalty = self._penalty(loss.n_classes, X.shape[1])
        folds = self._folds() if validation is None and self._has_folds else None
        if loss.is_classification and folds is not None:  # All codings have the same folds.
            n, p = X.shape
            n = n if weight is None else int((weight > 0).sum())
            asked = {"n_hyper": penalty.n_hyper(p), "n_used": n, "n_features": p, "loss": loss}
            steps = stop_on is None and self.method not in TRIALS
            is_held_back = steps and is_many(SimpleNamespace(penalty=penalty, **asked))
            of_y = y, codings, weight, self.classes_
            pairs = pairs_of_classes(folds, *of_y, is_held_back=is_held_back)
            folds = KFold(pairs, self._groups)
        first, *_ = codings
        course = self._course
        made, X_or_design = {"device": self.device}, course.design
        if course.design is None:
            made |= {"low_memory": self.low_memory, "deterministic": self.deterministic}
            X_or_design = X
        problem = Problem(
            X_or_design,
            first(y),
            loss=loss,
            penalty=penalty,
            fit_intercept=self.fit_intercept,
            sample_weight=weight,
            offset=offset,
            **made,
        )
        problem = problem if self._threads is None else problem.with_threads(self._threads)
        course.design = problem.design  # for other targets, and other losses
        names = "validation", "stop_on"
        others = [course.placed(*one, problem) for one in zip(others, names, strict=True)]
        tasks, bounds = [], None
        for coding in codings:
            if tasks:
                problem = on_its_design(problem, y=coding(y))
            validation, stop_on = (coded(rows, coding) for rows in others)
            criterion, bounds = self._criterion(folds, validation), self._bounds(problem)
            tasks.append(Task(problem, criterion, stop_on, bounds))
        chooser = self._chooser(tasks, judged_weight)
        starts = self._starts(chooser)
        scoring = self._scoring if len(tasks) == 1 or not chooses(self.scoring) else None
        results = [
            self._search_one(task, start, scoring, n_left=len(tasks) - k)
            for k, (task, start) in enumerate(zip(tasks, starts, strict=True))
        ]
        chosen = chooser.chosen(results)
        found = self._models(chooser, chosen, results)
        self._keep(found, chosen)
        w, n = np.column_stack([to_host(one.w) for one in found]), X.shape[1]
        return w[:n], w[n] if self.fit_intercept else np.zeros(w.shape[1])

    def _search_one(self, task, start, scoring, n_left):
        problem, criterion, stop_on, bounds = task
        given = self._given
        if isinstance(criterion, ApproximateLOO):
            scoring = None  # It reports what is on rows of folds.
        options = {"tol": self.tol, "scoring": scoring, **self._watch(n_left)}
        if given is not None and given.is_fixed:
            theta = problem.inner().start(self._level_of_scores(problem, given))
            return result_at(problem, criterion, theta, **options)
        options |= {
            "method": self.method,
            "max_iter": self.max_iter,
            "n_trials": self.n_trials,
            "random_state": self._seed(),
            "stop_on": "auto" if stop_on is None else stop_on,
        }
        if given is not None and not given.is_range:
            return hoag_among(problem, criterion, given.lam, bounds=bounds, **options, **start)
        return hoag(problem, criterion, bounds=bounds, **options, **start)

    def _models(self, chooser, chosen, results):
        """The `Tuned` of every model, fitted on all rows."""
        problems, thetas = [task.problem for task in chooser.tasks], chosen.thetas
        if self._given is not None and self._given.lam.min() == 0:
            # The lower bound of a search is as good as none.
            has_more = self._given.lam.any()
            lows = [np.max(one.bounds[0]) if has_more else np.inf for one in chooser.tasks]
            thetas = [
                np.full_like(theta, -np.inf) if (theta <= low).all() else theta
                for theta, low in zip(thetas, lows, strict=True)
            ]
        asked = self.refit_tol
        return [
            Tuned(result, self._lam(problem, theta), final_fit(problem, theta, result.w_all, asked))
            for problem, theta, result in zip(problems, thetas, results, strict=True)
        ]

    def _lam(self, problem, theta):
        """The strengths λ at θ, one number where there is one."""
        if not self._has_one_strength:
            return problem.penalty.strengths(theta, problem.n_features).T
        return float(np.exp(theta[0]))

    # ---- several targets ----

    def _fit_each(self, Y, others, fit, coef_out=None):
        """Coefficients (n_targets, n_features) and intercepts (n_targets,) of independent fits, one
        for each column of Y, with the attributes that tell of the searches. ``fit(one, y, others)``
        fits a copy of this estimator to one target."""
        n_targets, last, kept = Y.shape[1], self._last, []
        last = last if last and len(last) == n_targets else [None] * n_targets  # of a fit alike
        coef, intercept = coef_out, np.empty(n_targets)
        for j, one in enumerate(self._copies(n_targets)):
            one._last = last[j] and [last[j]]
            with in_column(j):
                fit(one, Y[:, j], [of_target(rows, j) for rows in others])
            row, intercept[j] = coefficients_of(one)
            coef = np.empty((n_targets, len(row))) if coef is None else coef
            coef[j] = row
            kept.append(one)
        self.__dict__.update(gathered(kept, (self._strength, *self._of_each)))
        if self.warm_start:
            self._last = [last for one in kept for last in one._last]
        return coef, intercept

    # ---- which strengths ----

    @property
    def _given(self):
        """The `Given` strengths of ``Cs`` or ``alphas``, or None."""
        name = GIVEN_BY[self._strength]
        return strengths_given(getattr(self, name), name)

    @property
    def _scoring(self):
        """The scorers, which see targets as `fit` got them."""
        return self.scoring

    @property
    def _points(self):
        """Strengths whose folds are compared or reported, or None."""
        given = self._given
        if self.store_cv_results:
            return default_points(GIVEN_BY[self._strength]) if given is None else given
        is_compared = given is not None and len(given.lam) <= MOST_COMPARED
        return given if is_compared and chooses(self.scoring) else None

    def _chooser(self, tasks, weight):
        scoring = self._scoring if chooses(self.scoring) else None
        has_w = self.store_cv_results or self.warm_start
        options = {"one_se": self.one_se, "is_warm": self.warm_start, "has_w": has_w}
        return chooser_for(tasks, scoring, weight, self._points, **options)

    def _starts(self, chooser):
        """Where the searches begin: with ``warm_start`` where those of the last fit ended, as far
        as its models have the same shape."""
        cold = [{} for _ in chooser.tasks]
        is_searched = self._given is None or not self._given.is_fixed
        if not (self.warm_start and self._last and is_searched and self.method not in TRIALS):
            return cold
        fits = len(self._last) == len(cold) and all(
            walk.fits(*last) for walk, last in zip(chooser.walks, self._last, strict=True)
        )
        return [{"theta0": theta, "w0": w} for theta, w in self._last] if fits else cold

    def _criterion(self, folds, validation):
        """What is minimised over the strength: the loss on `validation`, else on these folds, else
        leaving one out."""
        if validation is not None:
            return validation
        if folds is not None:
            return folds
        for name, is_asked in (
            ("one_se", self.one_se),
            ("scoring", self.scoring is not None and not chooses(self.scoring)),
            ("method", self.method == "newton"),
        ):
            if is_asked:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} needs rows that are held out, and cv=None is "
                    "leave-one-out; pass cv=5 or validation="
                )
        return self._leave_one_out()

    def _bounds(self, problem):
        if self._given is not None:
            low, high = self._given.ends
            if self._given.has_none:
                low = min(self._level_of_scores(problem, self._given), high)
            return low, high
        return self.bounds if self.bounds is not None else self._default_bounds(problem)

    def _default_bounds(self, problem):
        """Of log λ, where they are not those of `hoag`, which None stands for."""
        return None

    def _level_of_scores(self, problem, given):
        """The log λ at which folds are judged: that of the least given strength; where that is 0
        the lowest of a search, which is as good."""
        if given.lam.min() > 0:
            return given.ends[0]
        low, _ = self._default_bounds(problem) or default_box(problem.inner())
        return float(np.max(low))

    def _keep(self, found, chosen):
        """Sets the attributes that tell of the search; of several models lists, or arrays with a
        row for each."""
        results, lam, _ = zip(*found, strict=True)
        is_one = len(found) == 1
        kept = list(results) if self.store_folds else [_without_folds(one) for one in results]
        self.hoag_result_ = kept[0] if is_one else kept
        self._keep_scores(results)
        self.lam_ = lam[0] if is_one else np.array(lam)
        is_alpha, given = self._strength == "alpha_", self._given
        strength = self.lam_ if is_alpha else inverse(self.lam_)
        if given is not None and self._has_one_strength:
            strength = given.as_given(strength)
            self.lam_ = strength if is_alpha else self.lam_
        setattr(self, self._strength, strength)
        if self.warm_start:
            self._last = [(one.theta, one.w) for one in results]
        self._keep_scorer(results, chosen)
        self._keep_points(chosen.points)

    def _keep_points(self, points):
        """Sets the attributes that tell of given strengths."""
        given = self._given if points is None else points.given
        for name in (f"{GIVEN_BY[self._strength]}_", ONLY_KEPT):  # those of an earlier fit
            self.__dict__.pop(name, None)
        if given is not None:
            setattr(self, f"{GIVEN_BY[self._strength]}_", given.shown)
        if points is not None and points.w is not None:
            # (n_folds, n_l1_ratios, n_points, n_models, n_dof) as in scikit-learn.
            self.coefs_paths_ = np.swapaxes(points.w, 0, 1)[:, None]

    def _keep_scorer(self, results, chosen):
        """Sets the attributes that tell of what a scorer chose."""
        self.best_score_ = float(np.mean(self.score_mean_))
        self.__dict__.pop("lam_by_loss_", None)
        if chosen.scores is None:
            return
        by_loss = [one.lam if len(one.theta) > 1 else float(one.lam[0]) for one in results]
        self.lam_by_loss_ = by_loss[0] if len(by_loss) == 1 else np.array(by_loss)
        self.scores_, known = chosen.scores, chosen.scores[np.isfinite(chosen.scores)]
        self.score_mean_ = self.best_score_ = float(known.mean())
        n = len(known)
        self.score_se_ = float(known.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan

    @property
    def _keeps_coefficients(self):
        return ONLY_KEPT in self.__dict__

    def __getattr__(self, name):
        if name == ONLY_KEPT and "coef_" in self.__dict__:
            raise AttributeError(
                f"{ONLY_KEPT} are large and not kept; pass store_cv_results=True (with "
                "warm_start=True those of compared strengths are kept too)"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # ---- predictions ----

    def _linear(self, X, offset=None):
        """X w + b + offset, beside X."""
        check_is_fitted(self)
        (offset,) = joined_of(X, offset=offset)
        X, wants = self._matrix(X), vars(self).get("has_offset_", False)
        outputs = np.size(self.intercept_), self.loss_name == MULTINOMIAL.name
        given = offset, X.shape[0], wants, f"this {type(self).__name__}"
        offset = offset_to_predict(*given, *outputs)
        with our_arithmetic():
            z = rows_times(X, beside(X, self.coef_)) + beside(X, self.intercept_)
            return z if offset is None else (z.T + beside(X, offset.T)).T


def inverse(lam):
    """1 / λ, infinite for no penalty; a float of a float."""
    with np.errstate(divide="ignore"):
        found = np.divide(1.0, lam)
    return float(found) if np.ndim(lam) == 0 else found


def judged_by_scorers(weight, others):
    """The weights of the rows that a scorer judges: those of ``validation`` where that is given,
    else `weight`, those of all; None where they have none."""
    validation, _ = others
    return weight if validation is None else validation.sample_weight


def _without_folds(result):
    """A `HoagResult` without what is as long as the coefficients of every fold; of many
    hyperparameters also without what is as long as those of the model once more."""
    if len(result.theta) <= FEW:
        return replace(result, w=None, w_all=None)
    trace = [record | {"theta": None} for record in result.trace]
    return replace(result, w=None, w_all=None, lam=None, grad=None, trace=trace)
