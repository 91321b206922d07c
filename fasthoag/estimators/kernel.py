"""Estimators of kernel models."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from fasthoag.arithmetic import our_arithmetic
from fasthoag.criteria import ApproximateLOO, KFold
from fasthoag.criteria.folds import pairs_of_classes
from fasthoag.design import is_on_device
from fasthoag.design.matrix import check_numbers
from fasthoag.estimators.classes import CLASS_WEIGHT, LogLossClassifier
from fasthoag.estimators.estimator import Estimator
from fasthoag.estimators.other_rows import Rows
from fasthoag.estimators.parameters import KERNEL, with_parameters
from fasthoag.estimators.placement import beside, rows_here
from fasthoag.estimators.regression import level_of
from fasthoag.hoag import hoag
from fasthoag.kernels.kernel import find_kernel
from fasthoag.kernels.model import KernelModel
from fasthoag.kernels.problem import KernelProblem, check_solver
from fasthoag.kernels.search import Scale
from fasthoag.outer.result import warn_of_convergence
from fasthoag.types import ArrayLike, Matrix


@with_parameters(KERNEL)
class KernelEstimator(Estimator):
    """What kernel models share. A class adds its loss, `_loss_name`."""

    kernel: str | Callable[[Any, Any], Any] = "rbf"
    per_feature: bool = False
    degree: int = 3
    coef0: float = 1.0
    solver: str = "auto"
    n_components: int | None = None
    device: str | None = None
    flags = (*Estimator.flags, "per_feature")

    @property
    def loss_name(self) -> str:
        """The loss, whose inverse link makes predictions."""
        return self._loss_name

    def fit(
        self,
        X: Matrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: Rows | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Tune and fit.

        Whatever ends a fit before its time, an error or Ctrl-C, leaves the estimator as it was,
        with the model of an earlier fit.

        Parameters
        ----------
        X : array or sparse matrix, shape (n_rows, n_features)
        y : array, shape (n_rows,) or, for ridge regression, (n_rows, n_targets)
        sample_weight : array, shape (n_rows,), optional
        validation : (X, y), (X, y, sample_weight) or HeldOut, optional
            Tune on these rows instead of by cross-validation.
        groups : array, shape (n_rows,), optional
            Rows of a group stay together where folds are cut: by ``GroupKFold`` (of classes
            ``StratifiedGroupKFold``) where ``cv`` is a number, else by the splitter.
        """
        return self._fit_whole(X, y, sample_weight, validation, groups=groups)

    def _check_parameters(self):
        super()._check_parameters()
        find_kernel(self.kernel, degree=self.degree, coef0=self.coef0)
        check_solver(self.solver, self.n_components)

    def _training(self, X, y):
        is_there = self.device is None and is_on_device(X)
        self._device = "gpu" if is_there else self.device
        return super()._training(rows_here(X, "X"), y)

    def _matrix(self, X, name="X", reset=False):
        """Rows in this memory; K, which is larger, is made where ``device`` says."""
        return super()._matrix(rows_here(X, name), name, reset)

    def _search(self, X, y, weight, criterion):
        """Sets the attributes of the model that is best by the criterion."""
        problem = KernelProblem(
            X.copy(),  # It is kept, and would change with the caller's.
            y,
            kernel=self.kernel,
            loss=self._loss_name,
            per_feature=self.per_feature,
            degree=self.degree,
            coef0=self.coef0,
            fit_intercept=self.fit_intercept,
            sample_weight=weight,
            solver=self.solver,
            n_components=self.n_components,
            n_threads=self._threads,
            device=self._device,
        )
        result = hoag(
            problem,
            criterion,
            method=self.method,
            bounds=self._bounds(problem),
            tol=self.tol,
            max_iter=self.max_iter,
            n_trials=self.n_trials,
            random_state=self._seed(),
            **self._watch(),
        )
        model, is_converged = problem.fit(result.theta)
        if not is_converged:
            warn_of_convergence(
                "the final model is not solved at the chosen strength; raise the lower bound of "
                "log lambda (bounds=)"
            )
        self._keep_scores([result])
        self.hoag_result_ = replace(result, w=None, w_all=None)
        self.alpha_ = float(np.exp(result.theta[-1]))
        self.kernel_, self.gamma_ = model.kernel, self._gamma(model)
        self.X_fit_, self.dual_coef_ = model.X, model.dual_coef.reshape(-1, *y.shape[1:])
        self.intercept_ = float(model.intercept) if y.ndim == 1 else np.atleast_1d(model.intercept)

    def _bounds(self, problem):
        return self.bounds

    def _gamma(self, model):
        if not model.kernel.has_width:
            return None
        return model.gamma if self.per_feature else float(model.gamma[0])

    def linear_predictor(self, X: Matrix) -> Any:
        """``z = Σ_i k(x, x_i) α_i + b`` of these rows, (n_rows,) or (n_rows, n_targets)."""
        check_is_fitted(self)
        rows = self._matrix(X)
        gamma = np.empty(0) if self.gamma_ is None else np.atleast_1d(self.gamma_)
        parts = self.kernel_, gamma, self.X_fit_, self.dual_coef_, self.intercept_
        with our_arithmetic():
            return beside(X, KernelModel(*parts).predict(rows, self._threads))


@with_parameters(
    KERNEL,
    cv="""int, splitter, iterable of (train, test) pairs or None, default 5
    None is leave-one-out, exactly.""",
    best="widths and strength",
    dual="(n_rows,) or (n_rows, n_targets)",
    intercept="float or array, shape (n_targets,)",
)
class KernelRidgeCV(RegressorMixin, KernelEstimator):
    """Kernel ridge regression whose widths and strength are tuned by hypergradient on the held-out
    squared error.

    Minimises ``Σ_i s_i (y_i - z_i)² + alpha aᵀ K a`` with ``z = K a + b`` and chooses alpha, as
    scikit-learn's KernelRidge has it (which has no b), and the widths gamma of the kernel. Targets
    may be several columns, which share both.

    {parameters}

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-3, 3, size=(100, 1))
    >>> y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=100)
    >>> model = fasthoag.KernelRidgeCV().fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    score, _score = Estimator.score, staticmethod(r2_score)
    _loss_name, _has_columns = "squared", True

    def _fit(self, X, y, sample_weight, validation):
        y, weight = y.astype(np.float64), self._weight(sample_weight, y)
        check_numbers(y, "y")  # Its scale is taken next.
        level = self._level(y, weight)
        if validation is not None:
            criterion = self._held_out(validation, "validation")
            y_val = like_targets(criterion.y_val, y) - level
            criterion = replace(criterion, y_val=y_val)
        elif self.cv is None:
            criterion = self._leave_one_out()
        else:
            criterion = self._folds()
        self._search(X, y - level, weight, criterion)
        self.intercept_ = self.intercept_ + level

    def _level(self, y, weight):
        """What is taken from the targets while the model is sought."""
        if not self.fit_intercept:
            return 0.0
        if y.ndim == 1:
            return level_of(y, weight)
        return np.array([level_of(column, weight) for column in y.T])

    def _leave_one_out(self):
        return ApproximateLOO()

    def predict(self, X: Matrix) -> Any:
        """Predictions, (n_rows,) or (n_rows, n_targets)."""
        return self.linear_predictor(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def like_targets(y_val, y):
    """Targets of other rows in the columns of y, as they have to be."""
    y_val = y_val[:, None] if y_val.ndim < y.ndim else y_val
    if y_val.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"y of validation must have the targets of y, {y.shape[1:] or 'one'}; got shape "
            f"{y_val.shape}"
        )
    return y_val


@with_parameters(KERNEL, own=CLASS_WEIGHT, best="widths and strength")
class KernelLogisticRegressionCV(LogLossClassifier, KernelEstimator):
    """Kernel logistic regression for two classes, whose widths and strength are tuned by
    hypergradient on the held-out log-loss.

    Minimises ``Σ_i s_i log(1 + exp(-y_i z_i)) + alpha/2 aᵀ K a`` with ``z = K a + b`` and chooses
    alpha and the widths gamma of the kernel.

    {parameters}
    C_ : float
        ``1 / alpha_``.
    classes_ : array, shape (2,)

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> import fasthoag
    >>> X, y = make_moons(100, noise=0.2, random_state=0)
    >>> model = fasthoag.KernelLogisticRegressionCV().fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    _loss_name = "logistic"

    def _fit(self, X, y, sample_weight, validation):
        index = self._set_classes(y)
        if len(self.classes_) > 2:
            raise ValueError(
                f"Only binary classification is supported. y has {len(self.classes_)} classes; "
                "scikit-learn's OneVsRestClassifier makes a model for each of them"
            )

        def coded(index):
            return np.where(index == 1, 1.0, -1.0)

        validation = self._held_out(validation, "validation")
        weight, (validation,) = self._weigh(index, sample_weight, [validation])
        if validation is not None:
            criterion = replace(validation, y_val=coded(validation.y_val))
        else:
            pairs = pairs_of_classes(self._folds(), index, [coded], weight, self.classes_)
            criterion = KFold(pairs, self._groups)
        self._search(X, coded(index), weight, criterion)
        self.C_ = 1 / self.alpha_

    def _bounds(self, problem):
        """As for linear models: classes that can be separated drive λ down to where double
        precision no longer tells models apart."""
        if self.bounds is not None:
            return self.bounds
        low, high = Scale(problem.rows).box()
        low[-1] += np.log(1e3)
        return low, high

    def decision_function(self, X: Matrix) -> Any:
        """Log-odds of the second class, (n_rows,)."""
        return self.linear_predictor(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags
