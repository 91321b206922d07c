"""scikit-learn estimators: parameters in, `hoag` called, attributes out. No mathematics.

An estimator is its parameters (fields of a dataclass: they become the explicit ``__init__`` that
scikit-learn reads), its loss and its link; the fit of classifiers and of regressors is written once
each."""

import warnings
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, d2_tweedie_score, r2_score
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, _check_y, check_is_fitted, validate_data

from fasthoag.criteria import ApproximateLOO, HeldOut, KFold
from fasthoag.criteria.folds import (
    check_fold_classes,
    check_is_cv,
    mask_of_folds,
    split_weight,
)
from fasthoag.design import is_on_device, to_host
from fasthoag.design.cpu import check_n_threads, check_numbers
from fasthoag.design.offsets import FAR
from fasthoag.hoag import check_options, hoag, one_standard_error
from fasthoag.inner.precond import SMALL
from fasthoag.losses import find_loss
from fasthoag.null import weighted_quantile
from fasthoag.outer.result import ConvergenceWarning
from fasthoag.outer.search import is_many
from fasthoag.outer.start import default_box
from fasthoag.outer.trust_region import FEW
from fasthoag.penalties import FeatureRidge, GroupRidge, PerClass, Ridge
from fasthoag.problem import Problem, check_flag, refit
from fasthoag.scoring import find_scorers

_parameters = dataclass(kw_only=True, eq=False, repr=False)
# about the relative error of the coefficients; of few ones digits cost next to nothing
REFIT_TOL, REFIT_TOL_FEW = 1e-4, 1e-6
REFIT_WARNING = 1e-2
_MATRIX = {"accept_sparse": "csr", "accept_large_sparse": True, "dtype": [np.float64, np.float32]}

_PARAMETERS = """
    Parameters
    ----------
    {own}cv : {cv}
        What scikit-learn calls cv. Not used when `fit` gets ``validation``.
    fit_intercept : bool, default True
        The intercept is not penalised; sparse data stay sparse.
    penalty_per : {per}, default "all"
        What has a strength of its own. Groups are one label a feature, or the features of every
        group (a dict or list of arrays); see `fasthoag.GroupRidge`. Many strengths can overfit the
        folds: see ``stop_on`` of `fit`.
    penalty_factor : array, shape (n_features,), optional
        Fixed relative strengths; 0 for a feature that is not penalised.
    one_se : bool, default False
        Choose the strongest penalty whose criterion is within one standard error (over folds) of
        the best. For ``penalty_per="all"``.
    method : {{"auto", "newton", "lbfgs", "hoag"}}, default "auto"
    bounds : (low, high) or None
        Of ``log λ``. None: {low} times the smallest to 1e6 times the largest scale of a feature.
    tol : float, default 3e-4
        Relative size of the hypergradient at which the search stops; see `fasthoag.hoag`.
    max_iter : int or None
        Outer steps at most; None: the method's own limit.
    n_threads, n_jobs : int or None
        Threads of the kernels (`n_jobs` is scikit-learn's name for the same; None: all cores).
    low_memory, deterministic : bool, default False
        See `fasthoag.Problem`.
    store_folds : bool, default False
        Keep the coefficients of every fold in ``hoag_result_``: they are several times those of the
        model, in memory and in a pickle.
    scoring : str, callable, list or dict, optional
        scikit-learn's scorers, to be reported on the held-out rows of every fold:
        ``hoag_result_.scores``, and along its trace. They choose nothing. Labels are -1 and +1
        there, or class numbers. NaN, with a warning, for a fold that a scorer cannot judge.
    device : {{None, "cpu", "gpu"}}
        Where the work is done. None: where X is. "gpu" copies X there once. Coefficients,
        predictions and probabilities are CuPy's where X is CuPy's (labels that are no numbers are
        NumPy's); a fitted model takes rows from either side.
    callback : callable or None
        Called with the record of every evaluation; returning True stops the search.

    Attributes
    ----------
    coef_, intercept_ : the final model, fitted on all rows (with ``validation``: on the training
    rows) at the chosen strength
    {strength} : the chosen strength, a float; {shapes} unless ``penalty_per="all"``
    lam_ : λ, {lam}
    scores_ : array, shape {folds}
        Minus the mean held-out loss of every fold at the best strength; ``score_mean_`` and
        ``score_se_`` its mean and standard error.
    n_iter_ : int
        Outer steps.
    hoag_result_ : HoagResult
        With ``store_folds=False`` its ``w`` and ``w_all`` are None, and beside more than 16
        strengths ``lam``, ``grad`` and the ``theta`` of the trace too.
"""

_CLASS_WEIGHT = """class_weight : dict, "balanced" or None
        Multiplies the sample weights, in the fits and in the criterion.
    """


def _doc(
    own="",
    per='"all", "feature" or groups',
    strength="alpha_",
    shapes="an array, shape (n_features,),",
    lam="the same as ``alpha_``",
    folds="(n_folds,)",
    cv="int, splitter or iterable of (train, test) pairs, default 5",
):
    # of classifiers; see _TunedClassifier._bounds
    low = "1e-7" if "class_weight" in own else "1e-12"
    return _PARAMETERS.format(
        low=low, cv=cv, own=own, per=per, strength=strength, shapes=shapes, lam=lam, folds=folds
    )


def _host(array):
    """`array` as NumPy if it is CuPy's; anything else as it is."""
    return to_host(array) if is_on_device(array) else array


def _beside(X, array):
    """`array` in the memory that X is in."""
    if not is_on_device(X):
        return _host(array)
    if is_on_device(array):
        return array
    from fasthoag.design.gpu import find_device

    return find_device().xp.asarray(array)


@_parameters
class _TunedEstimator(BaseEstimator):
    """What the estimators share: parameters, the penalty, the call of `hoag`, the choice of the
    strength, the refit."""

    cv: Any = 5
    fit_intercept: Any = True
    penalty_per: Any = "all"
    penalty_factor: Any = None
    one_se: Any = False
    method: Any = "auto"
    bounds: Any = None
    tol: Any = 3e-4
    max_iter: Any = None
    n_threads: Any = None
    n_jobs: Any = None
    low_memory: Any = False
    deterministic: Any = False
    store_folds: Any = False
    scoring: Any = None
    device: Any = None
    callback: Any = None

    def _check_parameters(self):
        """Raises for parameters that are none, whatever the data."""
        for name in ("fit_intercept", "one_se", "low_memory", "deterministic", "store_folds"):
            check_flag(getattr(self, name), name)
        for name in ("n_threads", "n_jobs"):
            check_n_threads(getattr(self, name), name)
        check_options(self.method, self.tol, self.max_iter, self.callback)
        check_is_cv(self.cv)
        if self.scoring is not None:
            find_scorers(self.scoring)

    def _penalty(self, n_classes=1):
        """The penalty that the parameters ask for; more than one class: of the multinomial loss."""
        per, factor = self.penalty_per, self.penalty_factor
        try:
            factor = None if factor is None else np.asarray(factor, np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"penalty_factor must be numbers, one a feature; got {factor!r}"
            ) from None
        is_all = isinstance(per, str) and per == "all"
        if self.one_se and not is_all:
            raise ValueError('one_se=True needs a single strength, penalty_per="all"')
        if not isinstance(per, str):
            if per is None or np.isscalar(per):
                raise ValueError(
                    'penalty_per must be "all", "feature", "class", "feature_class" or groups of '
                    f"features; got {per!r}"
                )
            return GroupRidge(per, factor)
        if per not in ("all", "feature", "class", "feature_class"):
            raise ValueError(
                'penalty_per must be "all", "feature", "class", "feature_class" or groups of '
                f"features; got {per!r}"
            )
        if "class" not in per:
            return Ridge(factor) if is_all else FeatureRidge(factor)
        if n_classes < 2:
            raise ValueError(
                f'penalty_per="{per}" is for the multinomial loss: LogisticRegressionCV with more '
                "than 2 classes"
            )
        return PerClass(Ridge(factor) if per == "class" else FeatureRidge(factor), n_classes)

    def _rows(self, pair, name):
        """Rows that do not train, (X, y), or None."""
        if pair is None:
            return None
        try:
            X, y = pair
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be a pair (X, y) of rows and their targets") from None
        return self._matrix(X), to_host(y)

    def _matrix(self, X, reset=False):
        """X as it is read; on a GPU it stays there, and its values are checked by the design."""
        if not is_on_device(X):
            return validate_data(self, X, reset=reset, **_MATRIX)
        if len(X.shape) != 2:
            raise ValueError(f"X must have 2 dimensions; got shape {X.shape}")
        if reset:
            self.n_features_in_ = X.shape[1]
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        # CuPy's product would sum duplicates in the caller's matrix
        return X if getattr(X, "has_canonical_format", True) else X.copy()

    def _training(self, X, y, y_numeric=False):
        """X as it is read and y as NumPy."""
        y = _host(y)
        if not is_on_device(X):
            return validate_data(self, X, y, y_numeric=y_numeric, ensure_min_samples=2, **_MATRIX)
        X, y = self._matrix(X, reset=True), _check_y(y, y_numeric=y_numeric, estimator=self)
        if len(y) != X.shape[0] or len(y) < 2:
            raise ValueError(
                f"y has {len(y)} values and X has {X.shape[0]} rows; they must be equal, and 2 at "
                "least"
            )
        return X, y

    def _weight(self, sample_weight, y):
        if sample_weight is None:
            return None
        return _check_sample_weight(
            _host(sample_weight), y, dtype=np.float64, ensure_non_negative=True
        )

    def _linear(self, X):
        """X w + b, beside X."""
        check_is_fitted(self)
        X = self._matrix(X)
        return X @ _beside(X, self.coef_).T + _beside(X, self.intercept_)

    def score(self, X, y, sample_weight=None):
        """How good `predict` is for these rows: the accuracy of a classifier, R² of a regressor, D²
        where targets are not negative; a float."""
        return self._score(_host(y), to_host(self.predict(X)), sample_weight=_host(sample_weight))

    def _tune(self, X, y, loss, weight, validation, stop_on, codings):
        """A model for every coding of the targets: w (n_coef, n_models), or (n_coef, n_classes) of
        the multinomial loss."""
        penalty, cv = self._penalty(loss.n_classes), self.cv
        if loss.is_classification and validation is None:  # the same folds for every class
            n, p = X.shape
            n = n if weight is None else int((weight > 0).sum())
            asked = {"n_hyper": penalty.n_hyper(p), "n_used": n, "n_features": p, "loss": loss}
            is_held_back = stop_on is None and is_many(SimpleNamespace(penalty=penalty, **asked))
            cv = self._checked_splits(y, codings, weight, is_held_back)
        problem = Problem(
            X,
            codings[0](y),
            loss=loss,
            penalty=penalty,
            fit_intercept=self.fit_intercept,
            sample_weight=weight,
            low_memory=self.low_memory,
            deterministic=self.deterministic,
            device=self.device,
        )
        n_threads = self.n_threads if self.n_threads is not None else self.n_jobs
        problem = problem if n_threads is None else problem.with_threads(n_threads)
        found = []
        for coding in codings:
            if found:
                problem = replace(problem, X=problem.design, y=coding(y))
            found.append(
                self._tune_one(
                    problem,
                    cv,
                    *(
                        rows and (rows[0], coding(rows[1]), *rows[2:])
                        for rows in (validation, stop_on)
                    ),
                )
            )
        results, lam, w = zip(*found, strict=False)
        is_one = len(codings) == 1
        kept = list(results) if self.store_folds else [without_folds(one) for one in results]
        self.hoag_result_ = kept[0] if is_one else kept
        self.n_iter_ = max(result.n_iter for result in results)
        scores = np.array([-result.fold_values / result.fold_weights for result in results])
        means = np.array(
            [-result.fold_values.sum() / result.fold_weights.sum() for result in results]
        )
        n_folds = scores.shape[1]
        errors = (
            scores.std(axis=1, ddof=1) / np.sqrt(n_folds)
            if n_folds > 1
            else np.full(len(scores), np.nan)
        )
        self.scores_, self.score_mean_, self.score_se_ = (
            (scores[0], float(means[0]), float(errors[0])) if is_one else (scores, means, errors)
        )
        self.lam_ = lam[0] if is_one else np.array(lam)
        with np.errstate(divide="ignore"):
            setattr(
                self, self._strength, self.lam_ if self._strength == "alpha_" else 1.0 / self.lam_
            )
        w = np.column_stack([to_host(one) for one in w])
        n = X.shape[1]
        return w[:n], w[n] if self.fit_intercept else np.zeros(w.shape[1])

    def _tune_one(self, problem, cv, validation, stop_on):
        """Result, strengths and the model on all rows."""
        criterion = (
            HeldOut(*validation)
            if validation is not None
            else self._leave_one_out()
            if cv is None
            else KFold(cv)
        )
        if isinstance(criterion, ApproximateLOO):
            for name, is_asked in (
                ("one_se", self.one_se),
                ("scoring", self.scoring is not None),
                ("method", self.method == "newton"),
            ):
                if is_asked:
                    raise ValueError(
                        f"{name}={getattr(self, name)!r} needs rows that are held out, and cv=None "
                        "is leave-one-out; pass cv=5 or validation="
                    )
        bounds = self._bounds(problem)
        result = hoag(
            problem,
            criterion,
            method=self.method,
            bounds=bounds,
            tol=self.tol,
            max_iter=self.max_iter,
            callback=self.callback,
            scoring=self.scoring,
            stop_on="auto" if stop_on is None else HeldOut(*stop_on),
        )
        theta = result.theta
        if self.one_se:
            if len(result.fold_values) < 2:
                raise ValueError(
                    "one_se=True needs cross-validation: there is one criterion value only with "
                    "validation= or leave-one-out"
                )
            theta = one_standard_error(problem, criterion, result, bounds=bounds)
        tol = REFIT_TOL_FEW if problem.design.n_coef <= SMALL else REFIT_TOL
        w, error, is_converged = refit(problem, theta, result.w_all, tol=tol)
        if not is_converged:  # nearly no penalty: there the null model is the better start
            again = refit(problem, theta, tol=tol)
            if again[2] or not again[1] >= error:
                w, error, is_converged = again
        if not (is_converged or error <= REFIT_WARNING):
            warnings.warn(
                "the final model is not solved at the chosen strength: its gradient is "
                f"{error:.1e} of the penalty's. Raise the lower bound of log lambda (bounds=)",
                ConvergenceWarning,
                stacklevel=4,
            )
        is_all = isinstance(self.penalty_per, str) and self.penalty_per == "all"
        return (
            result,
            float(np.exp(theta[0]))
            if is_all
            else problem.penalty.strengths(theta, problem.n_features).T,
            w,
        )

    def _bounds(self, problem):
        return self.bounds

    def _leave_one_out(self):
        """What cv=None means."""
        return KFold(5)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@_parameters
class _TunedClassifier(ClassifierMixin, _TunedEstimator):
    class_weight: Any = None
    score, _score = _TunedEstimator.score, staticmethod(accuracy_score)
    _strength = "C_"
    # more than 2 classes: one multinomial model, or a model for each class against the rest
    _is_joint = False

    def fit(self, X, y, sample_weight=None, validation=None, stop_on=None):
        """Tune and fit.

        Parameters
        ----------
        X : array or sparse matrix, shape (n_rows, n_features)
        y : array, shape (n_rows,)
        sample_weight : array, shape (n_rows,), optional
        validation : (X, y), optional
            Tune on these rows instead of by cross-validation.
        stop_on : (X, y), optional
            Rows that neither train nor tune: the search ends when their loss falls no more. For
            many strengths; see `fasthoag.hoag`.
        """
        self._check_parameters()
        X, y = self._training(X, y)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        K = len(self.classes_)
        if K < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes in y; got 1 class, "
                f"{self.classes_[0]!r}"
            )
        is_joint = self._is_joint and K > 2
        loss = find_loss("multinomial", n_classes=K) if is_joint else self._make_loss()
        validation, stop_on = self._rows(validation, "validation"), self._rows(stop_on, "stop_on")
        weight = self._weight(sample_weight, y)
        if self.class_weight is not None:
            by_class = compute_class_weight(
                self.class_weight,
                classes=self.classes_,
                y=y,
                **(
                    {}
                    if weight is None or self.class_weight != "balanced"
                    else {"sample_weight": weight}
                ),
            )
            if not (np.isfinite(by_class) & (by_class >= 0)).all():
                raise ValueError(
                    f"class_weight must have finite numbers >= 0; got {self.class_weight!r}"
                )
            weight = (1.0 if weight is None else weight) * by_class[index]
            validation, stop_on = (
                rows and (*rows, by_class[rows[1]]) for rows in (validation, stop_on)
            )

        if weight is not None:
            self._check_weight_of_classes(index, weight)

        def against_rest(c):
            return lambda index: np.where(index == c, 1.0, -1.0)

        codings = (
            [lambda index: index.astype(np.float64)]
            if is_joint
            else [against_rest(1)]
            if K == 2
            else [against_rest(c) for c in range(K)]
        )
        coef, intercept = self._tune(X, index, loss, weight, validation, stop_on, codings)
        if is_joint:
            intercept = intercept - intercept.mean()  # only differences between classes count
        self.coef_, self.intercept_ = (
            _beside(X, np.ascontiguousarray(coef.T)),
            _beside(X, intercept),
        )
        return self

    def _check_weight_of_classes(self, index, weight):
        """Raises ValueError where weights leave a class without rows."""
        total = np.bincount(index, weights=weight > 0, minlength=len(self.classes_))
        if total.any() and not total.all():
            absent = self.classes_[total == 0][:5].tolist()
            raise ValueError(
                f"y has no row of class {' and '.join(map(repr, absent))} with a positive weight; "
                "leave the rows of the class out, or give it weight (sample_weight, class_weight)"
            )

    def _checked_splits(self, y, codings, weight, is_held_back):
        """The splits of the rows, y the numbers of their classes; raises ValueError where a class
        is absent from a training part, for any class before the first is tuned."""
        coded, loss = (codings[0](y), "logistic") if len(self.classes_) == 2 else (y, "multinomial")
        rows = SimpleNamespace(n_rows=len(y), y=coded, loss=find_loss(loss))
        splits = KFold(self.cv).splits(rows)
        weight = np.ones(len(y)) if weight is None else weight
        if not (weight > 0).any():
            return splits  # refused later, by name
        mask = mask_of_folds(splits, weight)
        check_fold_classes(y, weight, mask, self.classes_)
        for coding in codings if is_held_back else ():
            is_left = split_weight(weight, coding(y), find_loss(loss))[0] > 0
            when = ", a fifth of the rows held back (stop_on= takes rows of your own instead)"
            check_fold_classes(y, weight, mask * is_left[:, None], self.classes_, when=when)
        return splits

    def decision_function(self, X):
        """``X w + b``: (n_rows,) for two classes, positive for the second, else (n_rows,
        n_classes)."""
        z = self._linear(X)
        return z[:, 0] if z.shape[1] == 1 else z

    def predict(self, X):
        """Labels, (n_rows,)."""
        z = to_host(self.decision_function(X))
        labels = self.classes_[(z > 0).astype(int) if z.ndim == 1 else z.argmax(axis=1)]
        return _beside(X, labels) if labels.dtype.kind in "biuf" else labels

    def _bounds(self, problem):
        """Classes that can be separated drive λ down to where double precision no longer tells
        models apart: 1e-7 is as good as 0."""
        if self.bounds is not None:
            return self.bounds
        low, high = default_box(problem.inner())
        return low + np.log(1e5), high

    def _rows(self, pair, name):
        rows = super()._rows(pair, name)
        if rows is None:
            return None
        unknown = np.setdiff1d(rows[1], self.classes_)
        if len(unknown):
            raise ValueError(f"{name} has labels that y does not have: {unknown[:5]}")
        return rows[0], np.searchsorted(self.classes_, rows[1])


@_parameters
class _TunedRegressor(RegressorMixin, _TunedEstimator):
    score, _score = _TunedEstimator.score, staticmethod(r2_score)
    _strength = "alpha_"
    _inverse_link = staticmethod(lambda z: z)

    def fit(self, X, y, sample_weight=None, validation=None, stop_on=None):
        """Tune and fit.

        Parameters
        ----------
        X : array or sparse matrix, shape (n_rows, n_features)
        y : array, shape (n_rows,)
        sample_weight : array, shape (n_rows,), optional
        validation : (X, y), optional
            Tune on these rows instead of by cross-validation.
        stop_on : (X, y), optional
            Rows that neither train nor tune: the search ends when their loss falls no more. For
            many strengths; see `fasthoag.hoag`.
        """
        self._check_parameters()
        X, y = self._training(X, y, y_numeric=True)
        y, weight = np.asarray(y, np.float64), self._weight(sample_weight, y)
        check_numbers(y, "y")  # before its scale is taken
        level = self._level(y, weight)
        others = self._rows(validation, "validation"), self._rows(stop_on, "stop_on")
        loss = self._make_loss(y, weight)
        best = None  # (loss that counts, coefficients, attributes)
        while loss is not None:
            coef, intercept = self._tune(X, y, loss, weight, *others, [lambda y: y - level])

            def predicted(coef=coef, intercept=intercept):
                return to_host(X @ _beside(X, coef[:, 0])) + float(intercept[0])

            now = coef, intercept, dict(self.__dict__)
            value, loss = self._better_loss(loss, y - level, predicted, weight)
            if best is None or value <= best[0]:
                best = value, *now
        _, coef, intercept, attributes = best
        self.__dict__.update(attributes)
        if level and self.store_folds:
            w, w_all = self.hoag_result_.w.copy(), self.hoag_result_.w_all.copy()
            w[-1], w_all[-1] = w[-1] + level, w_all[-1] + level
            self.hoag_result_ = replace(self.hoag_result_, w=w, w_all=w_all)
        self.coef_, self.intercept_ = _beside(X, coef[:, 0]), float(intercept[0]) + level
        return self

    def _better_loss(self, loss, y, predicted, weight):
        """What the best of several models is least in, and the loss to tune once more with, or
        None; ``predicted()`` reads X."""
        return 0.0, None

    def _level(self, y, weight):
        """What is taken from the targets while the model is sought and given to the intercept
        after: the middle of targets that are far from 0 for their spread, whose rounding would
        count."""
        if not self.fit_intercept or self.scoring is not None or not np.isfinite(y).all():
            return 0.0
        middle = weighted_quantile(y, np.ones(len(y)) if weight is None else weight, 0.5)
        return middle if abs(middle) > FAR * _robust_scale(y, weight) else 0.0

    def predict(self, X):
        """Predictions, (n_rows,)."""
        return _beside(X, self._inverse_link(to_host(self._linear(X))))


@_parameters
class _LogLinkRegressor(_TunedRegressor):
    """Targets that are not negative, predictions ``exp(X w + b)``, scores in the deviance."""

    _inverse_link = staticmethod(np.exp)

    def _level(self, y, weight):
        return 0.0  # targets are ratios

    def _score(self, y, predicted, sample_weight):
        return d2_tweedie_score(y, predicted, sample_weight=sample_weight, power=self._power())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


@_parameters
class LogisticRegressionCV(_TunedClassifier):
    __doc__ = (
        """Logistic regression whose ℓ2 strength is tuned by hypergradient on the held-out log-loss.

    Two classes: minimises ``Σ_i s_i log(1 + exp(-y_i (x_i w + b))) + ||w||² / (2 C)`` and chooses C
    = 1/λ, a continuous value, not one of a grid. More: the multinomial loss ``Σ_i s_i (log(Σ_c
    exp(x_i w_c + b_c)) - x_i w_{y_i} - b_{y_i}) + Σ_c ||w_c||² / (2 C)``. """
        + _doc(
            _CLASS_WEIGHT,
            '"all", "feature", "class", "feature_class" or groups',
            "C_",
            "an array, shape (n_features,) or (n_classes, n_features),",
            "1 / C_",
        )
        + """    classes_ : array, shape (n_classes,)

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> import fasthoag
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = fasthoag.LogisticRegressionCV(cv=5).fit(scale(X), y)
    >>> bool(0.1 < model.C_ < 10)
    True
    """
    )
    _is_joint = True

    def _make_loss(self):
        return find_loss("logistic")

    def predict_log_proba(self, X):
        """Logarithms of `predict_proba`, without cancellation."""
        z = to_host(self.decision_function(X))
        return _beside(
            X,
            np.column_stack([-np.logaddexp(0, z), -np.logaddexp(0, -z)])
            if z.ndim == 1
            else log_softmax(z, axis=1),
        )

    def predict_proba(self, X):
        """Probabilities of ``classes_``, (n_rows, n_classes)."""
        z = to_host(self.decision_function(X))
        return _beside(X, softmax(np.column_stack([0 * z, z]) if z.ndim == 1 else z, axis=1))


@_parameters
class LinearSVCCV(_TunedClassifier):
    __doc__ = (
        """Linear support vector classifier whose strength is tuned by hypergradient on its own
        held-out loss.

    Minimises ``C Σ_i s_i max(0, 1 - y_i (x_i w + b))² + ||w||² / 2``, as scikit-learn's LinearSVC
    does (which also penalises b), and chooses C = 1/λ. With more than two classes each against the
    rest has a C of its own. """
        + _doc(
            """loss : {"squared_hinge", "smoothed_hinge"}, default "squared_hinge"
        "smoothed_hinge" is ``log(1 + exp(2 (1 - y z))) / 2``, the hinge with a smooth corner.
    """
            + _CLASS_WEIGHT,
            strength="C_",
            shapes="with more than 2 classes an array, shape (n_classes,); with a last axis of the "
            "features",
            lam="1 / C_",
            folds="(n_folds,), with more than 2 classes (n_classes, n_folds)",
        )
        + """\
        With more than 2 classes a list of them, and n_iter_ the largest.
    classes_ : array, shape (n_classes,)

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> import fasthoag
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = fasthoag.LinearSVCCV(cv=5).fit(scale(X), y)
    >>> model.score(scale(X), y) > 0.95
    True
    """
    )
    loss: Any = "squared_hinge"

    def _make_loss(self):
        return _one_of(self.loss, "squared_hinge", "smoothed_hinge")


@_parameters
class RidgeCV(_TunedRegressor):
    __doc__ = (
        """Least squares whose ℓ2 strength is tuned by hypergradient on the held-out squared error.

    Minimises ``Σ_i s_i (y_i - x_i w - b)² + alpha ||w||²``, as scikit-learn's Ridge does, and
    chooses alpha, a continuous value. """
        + _doc(
            cv="""int, splitter, iterable of (train, test) pairs or None, default None
        None is leave-one-out as in scikit-learn: exact up to 2,000 features or 1,000 rows, beyond
        by probes, without a matrix of either size squared; see `fasthoag.ApproximateLOO`. It has no
        folds for ``one_se`` and ``scoring``. With more strengths than one, which overfit it, None
        is 5 folds."""
        )
        + """
    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> import fasthoag
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = fasthoag.RidgeCV().fit(X, y)
    >>> bool(0 < model.alpha_ < 0.1)
    True
    """
    )
    cv: Any = None

    def _leave_one_out(self):
        is_all = isinstance(self.penalty_per, str) and self.penalty_per == "all"
        return ApproximateLOO() if is_all else super()._leave_one_out()

    def _make_loss(self, y, weight):
        return find_loss("squared")


@_parameters
class LinearSVRCV(_TunedRegressor):
    __doc__ = (
        """Linear support vector regression whose strength is tuned by hypergradient on its own
        held-out loss.

    Minimises ``C Σ_i s_i max(0, |y_i - x_i w - b| - epsilon)² + ||w||² / 2``, as scikit-learn's
    LinearSVR does (which also penalises b), and chooses C = 1/λ. """
        + _doc(
            """epsilon : float, default 0
        Errors up to it cost nothing; in units of y.
    loss : {"squared_epsilon_insensitive"}
    """,
            strength="C_",
            lam="1 / C_",
        )
        + """
    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> import fasthoag
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = fasthoag.LinearSVRCV(epsilon=20.0).fit(X, y)
    >>> model.score(X, y) > 0.5
    True
    """
    )
    epsilon: Any = 0.0
    loss: Any = "squared_epsilon_insensitive"
    _strength = "C_"

    def _make_loss(self, y, weight):
        return find_loss(_one_of(self.loss, "squared_epsilon_insensitive"), epsilon=self.epsilon)


@_parameters
class HuberRegressorCV(_TunedRegressor):
    __doc__ = (
        """Regression with the Huber loss whose ℓ2 strength is tuned by hypergradient on the
        held-out Huber loss.

    Minimises ``Σ_i s_i H(y_i - x_i w - b) + alpha/2 ||w||²`` with ``H(r) = r² / 2`` up to ``|r| =
    epsilon`` and ``epsilon |r| - epsilon² / 2`` beyond, and chooses alpha. This is the plain Huber
    loss: epsilon is fixed and in units of y. scikit-learn's HuberRegressor estimates a scale of the
    errors too, and its epsilon is in units of that. """
        + _doc("""epsilon : "auto" or float, default "auto"
        Where the loss turns from a square into a line; in units of y. "auto" is the distance
        between the quartiles of y, 1.35 standard deviations of normal targets (if that is 0 their
        standard deviation, if that is too 1): the same model in every unit of y.
    """)
        + """
    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> import fasthoag
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = fasthoag.HuberRegressorCV(epsilon=50.0).fit(X, y)
    >>> model.score(X, y) > 0.5
    True
    """
    )
    epsilon: Any = "auto"

    def _make_loss(self, y, weight):
        epsilon = self.epsilon
        if isinstance(epsilon, str) and epsilon == "auto":
            return find_loss("huber", delta=_robust_scale(y, weight))
        is_number = isinstance(epsilon, (int, float, np.number)) and not isinstance(epsilon, bool)
        if not (is_number and 0 < epsilon < np.inf):
            raise ValueError(f'epsilon must be a positive number or "auto"; got {epsilon!r}')
        return find_loss("huber", delta=epsilon)


@_parameters
class QuantileRegressorCV(_TunedRegressor):
    __doc__ = (
        """Quantile regression whose ℓ2 strength is tuned by hypergradient on the held-out smoothed
        pinball loss.

    Minimises ``Σ_i s_i P(y_i - x_i w - b) + alpha/2 ||w||²`` with ``P(r) = quantile r + h log(1 +
    exp(-r / h))``, the pinball loss with a corner of width h, and chooses alpha. scikit-learn's
    QuantileRegressor has no smooth corner and penalises ``alpha ||w||_1``. """
        + _doc("""quantile : float between 0 and 1, default 0.5
    smoothing : float, default 0.1
        h as a multiple of how far values of y are apart at the quantile: the distance between the
        quantiles half-way to the nearer end, of the median that between the quartiles (at least a
        hundredth of this; if it is 0 the standard deviation, if that is too 1). Where the share of
        rows below the final model is off by more than its standard error, the same of the residuals
        and at most a quarter of h is tried, up to three times.
    """)
        + """    smoothing_ : float
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
    )
    quantile: Any = 0.5
    smoothing: Any = 0.1

    def _make_loss(self, y, weight):
        if not (
            isinstance(self.smoothing, (int, float, np.number)) and 0 < self.smoothing < np.inf
        ):
            raise ValueError(f"smoothing must be a positive number; got {self.smoothing!r}")
        find_loss("quantile", quantile=self.quantile)  # refuses a bad one
        self.smoothing_, self._n_narrowed = self.smoothing * self._spacing(y, weight), 0
        return find_loss("quantile", quantile=self.quantile, smoothing=self.smoothing_)

    def _spacing(self, y, weight):
        """How far values are apart at the quantile."""
        weight = np.ones(len(y)) if weight is None else weight
        reach = 0.5 * min(self.quantile, 1 - self.quantile)
        low, high = (weighted_quantile(y, weight, self.quantile + t) for t in (-reach, reach))
        return max(float(high - low), 0.01 * _robust_scale(y, weight))

    def _better_loss(self, loss, y, predicted, weight):
        z = predicted()
        return self._judged(y, z, weight), self._narrower(loss, y, z, weight)

    def _narrower(self, loss, y, z, weight):
        weight = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()
        below, ties, error = self._shares(y, z, weight)
        constant = np.full(len(y), weighted_quantile(y, weight, self.quantile))
        is_worse = self._judged(y, z, weight) > 1.005 * self._judged(y, constant, weight)
        if abs(below - self.quantile) <= error and not is_worse:
            return None
        # the model lies beside values that many rows have: as close as may be, once
        is_tied = below - error <= self.quantile <= below + ties + error
        if self._n_narrowed < 3:
            self._n_narrowed += 3 if is_tied else 1
            spacing = 0.0 if is_tied else self.smoothing * self._spacing(y - z, weight)
            narrower = (0.25**3 if is_tied else 0.25) * self.smoothing_
            self.smoothing_ = min(spacing, narrower) if spacing else narrower
            return replace(loss, parameters={**loss.parameters, "smoothing": self.smoothing_})
        if not is_tied and abs(below - self.quantile) > error:
            warnings.warn(
                f"{below:.3g} of the rows lie below the fitted quantile {self.quantile:g}, more "
                "than a standard error away: too few rows are there, or the penalty holds the "
                "model back. Use a smaller smoothing or another quantile",
                UserWarning,
                stacklevel=5,
            )
        return None

    def _judged(self, y, z, weight):
        """The mean pinball loss, without a smooth corner."""
        weight = np.ones(len(y)) if weight is None else weight
        q, r = self.quantile, y - z
        return float(np.average(np.maximum(q * r, (q - 1) * r), weights=weight))

    def _shares(self, y, z, weight):
        """The shares of rows below the model and of rows beside it (within a few h) whose target
        many have in common, and the standard error of the first; as many rows as there are
        coefficients, which the model may go through, count as error too. Copies of a row are
        one."""
        q, is_there = self.quantile, weight > 0
        n = len(np.unique(z[is_there] + 1j * y[is_there]))
        error = np.sqrt(q * (1 - q) / n) + (self.n_features_in_ + 1) / n
        _, value = np.unique(y, return_inverse=True)
        is_common = np.bincount(value, weights=weight)[value] > error
        is_beside = (np.abs(y - z) <= 5 * self.smoothing_) & is_common
        return float(weight[(y < z) & ~is_beside].sum()), float(weight[is_beside].sum()), error


_GLM = """and chooses alpha. (scikit-learn's objective is this over the sum of the weights: its
alpha is this one over that sum.) Predictions are
    ``exp(x w + b)``.
    """


@_parameters
class PoissonRegressorCV(_LogLinkRegressor):
    __doc__ = (
        """Poisson regression whose ℓ2 strength is tuned by hypergradient on the held-out deviance.

    Minimises ``Σ_i s_i (exp(z_i) - y_i z_i) + alpha/2 ||w||²`` with ``z_i = x_i w + b`` (up to a
    constant half the deviance), for ``y >= 0``, """
        + _GLM
        + _doc()
        + """
    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> model = fasthoag.PoissonRegressorCV().fit(X, rng.poisson(np.exp(X[:, 0])))
    >>> abs(float(model.coef_[0]) - 1) < 0.1
    True
    """
    )

    def _make_loss(self, y, weight):
        return find_loss("poisson")

    def _power(self):
        return 1


@_parameters
class GammaRegressorCV(_LogLinkRegressor):
    __doc__ = (
        """Gamma regression whose ℓ2 strength is tuned by hypergradient on the held-out deviance.

    Minimises ``Σ_i s_i (z_i + y_i exp(-z_i)) + alpha/2 ||w||²`` with ``z_i = x_i w + b`` (up to a
    constant half the deviance), for ``y > 0``, """
        + _GLM
        + _doc()
        + """
    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> model = fasthoag.GammaRegressorCV().fit(X, np.exp(X[:, 0]) * rng.gamma(5, 0.2, size=200))
    >>> abs(float(model.coef_[0]) - 1) < 0.1
    True
    """
    )

    def _make_loss(self, y, weight):
        return find_loss("gamma")

    def _power(self):
        return 2


@_parameters
class TweedieRegressorCV(_LogLinkRegressor):
    __doc__ = (
        """Tweedie regression whose ℓ2 strength is tuned by hypergradient on the held-out deviance.

    Minimises ``Σ_i s_i (exp((2 - p) z_i) / (2 - p) - y_i exp((1 - p) z_i) / (1 - p)) + alpha/2
    ||w||²`` with ``z_i = x_i w + b`` and p = power (up to a constant half the deviance), for ``y >=
    0``, """
        + _GLM
        + _doc("""power : float between 1 and 2, default 1.5 Of the variance, ``mean^power``: a mass
        at 0 and a tail, such as claims. 1 is PoissonRegressorCV, 2 GammaRegressorCV.
    """)
        + """
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
    )
    power: Any = 1.5

    def _make_loss(self, y, weight):
        return find_loss("tweedie", power=self.power)

    def _power(self):
        return self.power


def without_folds(result):
    """A `HoagResult` without what is as long as the coefficients of every fold, or (of many
    hyperparameters) as those of the model once more."""
    if len(result.theta) <= FEW:
        return replace(result, w=None, w_all=None)
    trace = [record | {"theta": None} for record in result.trace]
    return replace(result, w=None, w_all=None, lam=None, grad=None, trace=trace)


def _one_of(loss, *known):
    """The `Loss` of one of these names."""
    if not (isinstance(loss, str) and loss in known):
        raise ValueError(f"loss must be {' or '.join(map(repr, known))}; got {loss!r}")
    return find_loss(loss)


def _robust_scale(y, weight):
    """Distance between the quartiles of y, else its standard deviation, else 1; a weight counts as
    copies of its row."""
    weight = np.ones(len(y)) if weight is None else weight
    if not weight.sum() > 0:
        return 1.0  # refused later
    low, high = (weighted_quantile(y, weight, share) for share in (0.25, 0.75))
    mean = np.average(y, weights=weight)
    return float(high - low) or float(np.sqrt(np.average((y - mean) ** 2, weights=weight))) or 1.0
