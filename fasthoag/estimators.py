"""scikit-learn estimators: parameters in, `hoag` called, attributes out. No mathematics."""
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fasthoag.criteria import HeldOut, KFold
from fasthoag.hoag import hoag, one_standard_error
from fasthoag.penalties import Ridge
from fasthoag.problem import Problem, refit

_PARAMETERS = """
    Parameters
    ----------
    cv : int, splitter or iterable of (train, test) pairs, default 5
        What scikit-learn calls cv. Not used when `fit` gets ``validation``.
    fit_intercept : bool, default True
        The intercept is not penalised; sparse data stay sparse.
    {extra}one_se : bool, default False
        Choose the strongest penalty whose criterion is within one standard error (over folds) of the best.
    method : {{"auto", "newton", "hoag"}}, default "auto"
    bounds : (low, high) or None
        Of ``log λ``.
    tol : float, default 3e-4
        Relative size of the hypergradient at which the search stops; see `fasthoag.hoag`.
    max_iter : int, default 50
        Outer steps at most.
    n_threads, n_jobs : int or None
        Threads of the kernels (`n_jobs` is scikit-learn's name for the same; None: all cores).
    low_memory, deterministic : bool, default False
        See `fasthoag.Problem`.
    callback : callable or None
        Called with the record of every evaluation; returning True stops the search.

    Attributes
    ----------
    coef_, intercept_ : the final model, fitted on all rows (with ``validation``: on the training rows) at the chosen strength
    {strength} : the chosen strength
    scores_ : array, shape (n_folds,)
        Minus the mean held-out loss of every fold at the best strength; ``score_mean_`` and ``score_se_`` its mean and standard error.
    n_iter_ : int
        Outer steps.
    hoag_result_ : HoagResult
"""


class _HoagEstimatorMixin:
    """What the estimators share: the call of `hoag`, the choice of the strength, the refit."""

    def _tune(self, X, y, sample_weight, validation, is_validated):
        n_threads = self.n_threads if self.n_threads is not None else self.n_jobs
        problem = Problem(X, y, loss=self._loss, penalty=Ridge(), fit_intercept=self.fit_intercept, sample_weight=sample_weight,
                          low_memory=self.low_memory, deterministic=self.deterministic)
        criterion = HeldOut(*validation) if is_validated else KFold(self.cv)
        if n_threads is not None:
            problem = problem.with_threads(n_threads)
        result = hoag(problem, criterion, method=self.method, bounds=self.bounds, tol=self.tol, max_iter=self.max_iter, callback=self.callback)
        theta, weights = result.theta, result.fold_weights
        if self.one_se:
            if result.w.shape[1] < 2:
                raise ValueError("one_se=True needs cross-validation: there is one criterion value only with validation=")
            theta = one_standard_error(problem, criterion, result, bounds=self.bounds)
        w, _, _ = refit(problem, theta, result.w_all)
        self.hoag_result_, self.n_iter_ = result, result.n_iter
        self.scores_ = -result.fold_values / weights
        self.score_mean_ = -float(result.fold_values.sum() / weights.sum())
        self.score_se_ = float(self.scores_.std(ddof=1) / np.sqrt(len(self.scores_))) if len(self.scores_) > 1 else float("nan")
        n = X.shape[1]
        return theta, w[:n], float(w[n]) if self.fit_intercept else 0.0

    def _validation(self, validation):
        if validation is None:
            return None
        try:
            X_val, y_val = validation
        except (TypeError, ValueError):
            raise ValueError("validation must be a pair (X_val, y_val)") from None
        return validate_data(self, X_val, accept_sparse="csr", accept_large_sparse=True, dtype=[np.float64, np.float32], reset=False), np.asarray(y_val)

    def _weight(self, sample_weight, X):
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class LogisticRegressionCV(_HoagEstimatorMixin, LinearClassifierMixin, BaseEstimator):
    __doc__ = """Binary logistic regression whose ℓ2 strength is tuned by hypergradient on the held-out log-loss.

    Minimises ``Σ_i s_i log(1 + exp(-y_i (x_i w + b))) + ||w||² / (2 C)`` and chooses C = 1/λ, a continuous value, not one of a grid.
    """ + _PARAMETERS.format(extra='''class_weight : dict, "balanced" or None
        Multiplies the sample weights, in the fits and in the criterion.
    ''', strength="C_ : float, 1/λ, and ``lam_``") + """    classes_ : array, shape (2,)

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
    _loss = "logistic"

    def __init__(self, *, cv=5, fit_intercept=True, class_weight=None, one_se=False, method="auto", bounds=None, tol=3e-4, max_iter=50,
                 n_threads=None, n_jobs=None, low_memory=False, deterministic=False, callback=None):
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.one_se = one_se
        self.method = method
        self.bounds = bounds
        self.tol = tol
        self.max_iter = max_iter
        self.n_threads = n_threads
        self.n_jobs = n_jobs
        self.low_memory = low_memory
        self.deterministic = deterministic
        self.callback = callback

    def fit(self, X, y, sample_weight=None, validation=None):
        """Tune and fit. ``validation=(X_val, y_val)`` tunes on those rows instead of by cross-validation."""
        X, y = validate_data(self, X, y, accept_sparse="csr", accept_large_sparse=True, dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(f"Only binary classification is supported. LogisticRegressionCV needs exactly 2 classes in y; got {len(self.classes_)} class"
                             f"{'' if len(self.classes_) == 1 else 'es'}")
        held = self._validation(validation)
        if held is not None:
            unknown = np.setdiff1d(held[1], self.classes_)
            if len(unknown):
                raise ValueError(f"validation has labels that y does not have: {unknown[:5]}")
            held = (held[0], np.where(held[1] == self.classes_[1], 1.0, -1.0))
        weight = self._weight(sample_weight, X)
        if self.class_weight is not None:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y, **(
                {} if weight is None or self.class_weight != "balanced" else {"sample_weight": weight}))
            weight = (1.0 if weight is None else weight) * by_class[index]
            if held is not None:
                held = (*held, by_class[(held[1] > 0).astype(int)])
        theta, coef, intercept = self._tune(X, 2.0 * index - 1.0, weight, held, held is not None)
        self.lam_ = float(np.exp(theta[0]))
        self.C_ = 1.0 / self.lam_
        self.coef_, self.intercept_ = coef[None, :], np.array([intercept])
        return self

    def predict_proba(self, X):
        """Probabilities of ``classes_``, (n_rows, 2)."""
        check_is_fitted(self)
        z = self.decision_function(X)
        p = np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))
        return np.column_stack([1 - p, p])

    def predict_log_proba(self, X):
        """Their logarithms, without cancellation."""
        z = self.decision_function(X)
        return np.column_stack([-np.logaddexp(0, z), -np.logaddexp(0, -z)])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class RidgeCV(_HoagEstimatorMixin, RegressorMixin, BaseEstimator):
    __doc__ = """Least squares whose ℓ2 strength is tuned by hypergradient on the held-out squared error.

    Minimises ``Σ_i s_i (y_i - x_i w - b)² + alpha ||w||²``, as scikit-learn's Ridge does, and chooses alpha, a continuous value.
    """ + _PARAMETERS.format(extra="", strength="alpha_ : float") + """
    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> import fasthoag
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = fasthoag.RidgeCV(cv=5).fit(X, y)
    >>> bool(0 < model.alpha_ < 0.1)
    True
    """
    _loss = "squared"

    def __init__(self, *, cv=5, fit_intercept=True, one_se=False, method="auto", bounds=None, tol=3e-4, max_iter=50,
                 n_threads=None, n_jobs=None, low_memory=False, deterministic=False, callback=None):
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.one_se = one_se
        self.method = method
        self.bounds = bounds
        self.tol = tol
        self.max_iter = max_iter
        self.n_threads = n_threads
        self.n_jobs = n_jobs
        self.low_memory = low_memory
        self.deterministic = deterministic
        self.callback = callback

    def fit(self, X, y, sample_weight=None, validation=None):
        """Tune and fit. ``validation=(X_val, y_val)`` tunes on those rows instead of by cross-validation."""
        X, y = validate_data(self, X, y, accept_sparse="csr", accept_large_sparse=True, dtype=[np.float64, np.float32], y_numeric=True,
                             ensure_min_samples=2)
        held = self._validation(validation)
        theta, self.coef_, self.intercept_ = self._tune(X, np.asarray(y, np.float64), self._weight(sample_weight, X), held, held is not None)
        self.alpha_ = float(np.exp(theta[0]))
        return self

    def predict(self, X):
        """Predictions, (n_rows,)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", accept_large_sparse=True, dtype=[np.float64, np.float32], reset=False)
        return X @ self.coef_ + self.intercept_
