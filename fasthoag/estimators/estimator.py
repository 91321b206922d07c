"""What all estimators share: how their arguments are read, their score, and what is kept of a
search."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, is_regressor
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import _check_sample_weight, _check_y, validate_data

from fasthoag.arguments import check_options, check_watch
from fasthoag.arithmetic import our_arithmetic
from fasthoag.criteria import HeldOut, KFold
from fasthoag.criteria.folds import check_is_cv, checked_groups
from fasthoag.criteria.held_out import design_of
from fasthoag.design import is_on_device, to_host
from fasthoag.design.blocks import is_in_blocks, joined, shape_of
from fasthoag.design.rows import is_design
from fasthoag.estimators.blocks import RowBlocks, check_intercept, is_in_parts, joined_of
from fasthoag.estimators.each import check_targets
from fasthoag.estimators.kinds import of_numbers
from fasthoag.estimators.parameters import with_parameters
from fasthoag.estimators.passive import check_passive
from fasthoag.estimators.placement import check_there
from fasthoag.kinds import labels_of, named, numbers_of
from fasthoag.options import check_flag
from fasthoag.outer.record import SOON
from fasthoag.outer.trials import DRAWING, check_seed, check_trials
from fasthoag.problem import Problem
from fasthoag.threads import check_n_threads
from fasthoag.types import ArrayLike, Callback, Matrix

MATRIX = {"accept_sparse": "csr", "accept_large_sparse": True, "dtype": [np.float64, np.float32]}


@dataclass
class Course:
    """A fit that is under way, of one target after another where there are several.

    Attributes
    ----------
    began : float
        When, in seconds.
    n_after : int
        Targets whose searches come after that of this one.
    design : Design or None
        X as the problems hold it, once there is one.
    others : dict
        The designs of rows that do not train, by name.
    """

    began: float
    n_after: int = 0
    design: Any = None
    others: dict[str, Any] = field(default_factory=dict)

    def placed(self, rows: HeldOut | None, name: str, problem: Problem) -> HeldOut | None:
        """These rows as the criteria of all problems hold them."""
        if rows is None:
            return None
        if name not in self.others:
            self.others[name] = design_of(rows.X_val, problem)
        return replace(rows, X_val=self.others[name])


@with_parameters()
class Estimator(BaseEstimator):
    """What all estimators share. A class adds its fit (`_fit`) and its score (`_score`)."""

    cv: Any = 5  # of scikit-learn's kinds
    fit_intercept: bool = True
    method: str = "auto"
    bounds: tuple[ArrayLike, ArrayLike] | None = None
    tol: float | None = None
    max_iter: int | None = None
    n_trials: int | None = None
    random_state: int | np.random.RandomState | None = None
    n_threads: int | None = None
    n_jobs: int | None = None
    callback: Callback | None = None
    max_seconds: float | None = None
    verbose: bool | int = 0
    flags: ClassVar[tuple[str, ...]] = ("fit_intercept",)
    _has_columns = False  # whether y may be a column for each target
    _takes_parts = False  # whether X may be a list of blocks, or a design
    _course: ClassVar[Any] = None  # of a copy, during its fit

    def _fit_whole(self, X, y, weight, validation, *others, groups=None, **known):
        """``_fit(X, y, weight, validation, *others, **known)`` on folds that are cut between
        `groups`. Whatever ends it before its time leaves this estimator as it was."""
        self._check_parameters()
        self._check_has_folds(groups, validation)
        fitted = self._copy()
        if isinstance(self.cv, Iterator):
            fitted.cv = list(self.cv)  # to be used more than once
        y, weight, groups = joined_of(X, y=y, sample_weight=weight, groups=groups)
        if "offset" in known:
            (known["offset"],) = joined_of(X, offset=known["offset"])
        with our_arithmetic():
            vars(fitted)["_course"] = Course(time.perf_counter())
            X, y = fitted._training(X, y)
            fitted._groups = checked_groups(groups, X.shape[0])
            fitted._fit(X, y, weight, validation, *others, **known)
            del fitted._course, fitted._groups
        fitted.cv = self.cv
        self.__dict__ = fitted.__dict__  # All attributes at once: none of two fits side by side.
        return self

    def _copy(self) -> Self:
        """This estimator with all its attributes."""
        other = object.__new__(type(self))
        other.__dict__ = dict(self.__dict__)
        return other

    def _copies(self, n_targets: int) -> Iterator[Self]:
        """A copy to fit each of several targets, one after the other, on one design and in the time
        of one fit."""
        for k in range(n_targets):
            self._course.n_after = n_targets - 1 - k
            yield self._copy()

    def _fit(self, X, y, *others, **known):
        """Sets the attributes of the fitted model: regressors and classifiers read their targets in
        their own way."""
        raise NotImplementedError

    def score(self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """How good `predict` is for these rows: the accuracy of a classifier, R² of a regressor, D²
        where targets are not negative; a float."""
        return self._score_of(X, y, sample_weight)

    def _score_of(self, X, y, sample_weight, **known):
        """The score of what `predict` says of these rows; `known` goes to it."""
        y, sample_weight = joined_of(X, y=y, sample_weight=sample_weight)
        y, predicted = self._targets(y, "y"), to_host(self.predict(X, **known))
        with named("y or sample_weight"), our_arithmetic():
            weight = self._weight(sample_weight, predicted)
            return self._score(y, predicted, sample_weight=weight)

    def get_metadata_routing(self) -> Any:
        """What scikit-learn's metadata routing hands on to `fit` and `score`: what
        ``set_fit_request`` and ``set_score_request`` ask for, and groups where the splitter in
        ``cv`` asks for them. A `sklearn.utils.metadata_routing.MetadataRequest`."""
        requests = super().get_metadata_routing()
        of_splitter = get_routing_for_object(self.cv).split.requests
        if requests.fit.requests.get("groups") is None and of_splitter.get("groups") is True:
            requests.fit.add_request(param="groups", alias=True)
        return requests

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # ---- arguments ----

    def _check_parameters(self):
        """Raises for parameters that no data can suit."""
        for name in self.flags:
            check_flag(getattr(self, name), name)
        for name in ("n_threads", "n_jobs"):
            check_n_threads(getattr(self, name), name)
        check_passive(self)
        check_options(self.method, self.tol, self.max_iter, self.callback)
        check_watch(self.max_seconds, self.verbose)
        if not isinstance(self.random_state, np.random.RandomState):
            check_seed(self.random_state)
        check_trials(self.method, self.n_trials, self._seed(), {"max_iter": self.max_iter})
        check_is_cv(self.cv)

    def _check_has_folds(self, groups, validation):
        """Raises ValueError for groups that no folds are cut between."""
        if groups is not None and validation is not None:
            raise ValueError("groups= is for cutting folds, which validation= replaces; drop one")
        if groups is not None and not self._has_folds:
            raise ValueError("groups= needs folds, and cv=None leaves out single rows; pass cv=5")

    @property
    def _has_folds(self):
        return self.cv is not None or isinstance(self._leave_one_out(), KFold)

    def _leave_one_out(self):
        """What cv=None means."""
        return KFold(5)

    def _folds(self):
        """The `KFold` that ``cv`` and the groups of this fit ask for."""
        return KFold(5 if self.cv is None else self.cv, self._groups)

    def _training(self, X, y):
        """X as it is read and y as NumPy."""
        if y is not None:
            y = self._targets(y, "y")
            check_targets(y)
        kind = {"y_numeric": is_regressor(self), "multi_output": self._has_columns}
        if self._takes_parts:
            check_intercept(X, self.fit_intercept, type(self).__name__)
        is_here = not (is_on_device(X) or (self._takes_parts and is_in_parts(X)))
        if is_here:
            options = {"ensure_min_samples": 2, **kind, **MATRIX}
            with named("X or y"):
                return validate_data(self, of_numbers(X, "X"), y, **options)
        X, y = self._matrix(X, "X", reset=True), _check_y(y, **kind, estimator=self)
        if len(y) != X.shape[0] or len(y) < 2:
            raise ValueError(
                f"y has {len(y)} values and X has {X.shape[0]} rows; they must be equal, and 2 at "
                "least"
            )
        return X, y

    def _rows(self, pair, name):
        """Rows that do not train, (X, y) or (X, y, weight), or None."""
        if pair is None:
            return None
        try:
            X, y, *weight = pair
        except (TypeError, ValueError):
            X, y, weight = None, None, [None, None]
        if len(weight) > 1:
            raise ValueError(
                f"{name} must be a pair (X, y) of rows and their targets, or (X, y, sample_weight)"
            )
        y, *weight = (joined(one, X, f"y or sample_weight of {name}") for one in (y, *weight))
        X, y = self._matrix(X, f"X of {name}"), self._targets(y, f"y of {name}")
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        check_targets(y, f"y of {name}")
        is_flat = y.ndim <= 2 if self._has_columns else y.ndim == 1
        if not is_flat or y.shape[:1] != X.shape[:1]:
            raise ValueError(f"y of {name} has shape {y.shape}, and its X has {X.shape[0]} rows")
        given = [self._weight(one, y, f"sample_weight of {name}") for one in weight]
        return X, y, *(one for one in given if one is not None)

    def _held_out(self, given, name):
        """Rows that do not train, a pair (X, y) or a `HeldOut`, as a `HeldOut`, or None."""
        if not isinstance(given, HeldOut):
            rows = self._rows(given, name)
            return None if rows is None else HeldOut(*rows)
        if given.loss is not None:
            raise ValueError(
                f"{name} is a HeldOut with a loss of its own, and {type(self).__name__} judges by "
                "its own loss; leave loss= out"
            )
        X, y = self._rows((given.X_val, given.y_val), name)
        return replace(given, X_val=X, y_val=y)

    def _targets(self, y, name):
        """Targets as an array in this memory: numbers of a regressor, labels of a classifier."""
        return (numbers_of if is_regressor(self) else labels_of)(y, name)

    def _matrix(self, X, name="X", reset=False):
        """X as it is read. On a GPU it stays there, and the design checks its values; so it is of
        a list of blocks, each of which is read, and of what is a design already."""
        if self._takes_parts and is_in_blocks(X):
            shape_of(X, name)  # Blocks have the same columns.
            is_first = (reset and i == 0 for i in range(len(X)))
            parts = zip(X, is_first, strict=True)
            return RowBlocks(
                self._matrix(one, f"{name}[{i}]", first) for i, (one, first) in enumerate(parts)
            )
        is_placed = self._takes_parts and is_design(X)
        if not (is_on_device(X) or is_placed):
            with named(name):
                return validate_data(self, of_numbers(X, name), reset=reset, **MATRIX)
        if not is_placed:
            check_there(X, name)
        if len(X.shape) != 2:
            raise ValueError(f"{name} must have 2 dimensions; got shape {X.shape}")
        if reset:
            self.n_features_in_ = X.shape[1]
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        # CuPy's product would sum duplicates in the caller's matrix.
        return X if getattr(X, "has_canonical_format", True) else X.copy()

    def _weight(self, sample_weight, y, name="sample_weight"):
        if sample_weight is None:
            return None
        weight = numbers_of(sample_weight, name)
        weight = weight[:, 0] if weight.ndim == 2 and weight.shape[1] == 1 else weight
        with named(name):
            return _check_sample_weight(weight, y, dtype=np.float64, ensure_non_negative=True)

    def _seed(self):
        """The seed of a method that draws. Whoever sets it of all his estimators, as scikit-learn's
        tools do, means those that use it."""
        state = self.random_state
        if not (isinstance(self.method, str) and self.method in DRAWING):
            return None
        is_seed = not isinstance(state, np.random.RandomState)
        return state if is_seed else int(state.randint(2**31))

    # ---- the search ----

    @property
    def _threads(self):
        return self.n_threads if self.n_threads is not None else self.n_jobs

    def _watch(self, n_left=1):
        """Settings of `hoag` for who watches the next of `n_left` searches, which gets its share of
        the seconds that are left."""
        seconds = self.max_seconds
        if seconds is not None:
            left = seconds - (time.perf_counter() - self._course.began)
            seconds = max(left / (n_left + self._course.n_after), SOON)
        return {"callback": self.callback, "max_seconds": seconds, "verbose": self.verbose}

    def _keep_scores(self, results):
        """Sets the attributes that tell how good the best strengths of these searches are; of
        several arrays with a row for each."""
        is_one = len(results) == 1
        scores = np.array([-result.fold_values / result.fold_weights for result in results])
        means = np.array(
            [-result.fold_values.sum() / result.fold_weights.sum() for result in results]
        )
        n_folds = scores.shape[1]
        errors = np.full(len(scores), np.nan)
        if n_folds > 1:
            errors = scores.std(axis=1, ddof=1) / np.sqrt(n_folds)
        self.n_iter_ = max(result.n_iter for result in results)
        self.scores_ = scores[0] if is_one else scores
        self.score_mean_ = float(means[0]) if is_one else means
        self.score_se_ = float(errors[0]) if is_one else errors
