"""What is minimised over θ: the loss on rows that did not train. `HeldOut` takes other rows,
`KFold` the held-out rows of every fold."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fasthoag.design.cpu import MOST, check_matrix, check_numbers
from fasthoag.design.rows import HELD_OUT, TRAIN, is_on_device
from fasthoag.free import settled
from fasthoag.losses import find_loss, without_smoothing
from fasthoag.problem import InnerProblem, check_vector, check_weight


@dataclass(frozen=True, eq=False)
class BoundCriterion:
    """A criterion together with the inner problem of a `Problem`: g of every fold, its gradient and
    its curvature."""

    inner: InnerProblem
    rows: Any  # of g; those of the inner problem itself when both are parts of one X
    part: int  # TRAIN: rows of its own; HELD_OUT: the held-out rows of the inner problem's X
    loss: Any  # of g; that of the inner problem may be another
    has_targets = True

    @property
    def is_shared(self):
        return self.part == HELD_OUT

    @property
    def n_folds(self):
        return self.inner.n_folds

    @property
    def n_passes(self):
        """Passes over the training rows; other rows count by their stored entries."""
        return float(self.inner.design.n_passes) + self.other_passes

    @property
    def other_passes(self):
        """Passes over rows of its own, by their stored entries."""
        own, inner = self.rows.design, self.inner.design
        return 0.0 if own is inner else own.n_passes * own.n_stored / max(1, inner.n_stored)

    @property
    def fold_weights(self):
        """Sum of the row weights of every fold's criterion, (n_folds,)."""
        part = self.part
        return self.rows.reduce(lambda block: block.xp.sum(block.weights(part), axis=0))

    @cached_property
    def null_value(self):
        """f of the null model."""
        return float(self.rows.sums(self.loss, self.part, self.rows.at_constant(self.null_b)).sum())

    @property
    def null_b(self):
        return self.inner.null.b

    def size(self, value):
        """What tolerances of f are relative to: f itself, which is 0 for a perfect fit; below a
        part of its value at the null model it is rounding."""
        return max(abs(value), 1e-8 * abs(self.null_value))

    def value_and_grad(self, W, Z):
        """Values (n_folds,), gradients (n_coef, n_folds) and predictions on the rows of g; `Z` are
        the inner problem's predictions."""
        rows, sums = self.rows, self.inner.units.sums
        if self.is_shared:
            values = sums(rows.sums(self.loss, self.part, Z))
            return values, rows.design.rmatvec(rows.terms(self.loss, 1, self.part, Z)), Z
        found = rows.loss_grad(self.loss, W)
        return sums(found.value), found.grad, found.Z

    def values(self, W, Z):
        """Values alone of any units; `Z` are the inner problem's predictions."""
        if self.is_shared:
            values = self.rows.sums(self.loss, self.part, Z)
        else:
            values = self.rows.loss_grad(self.loss, W, has_grad=False).value
        return self.inner.units.sums(values)

    def with_errors(self, W, n_errors=3):
        """The same with a loss that judges at least so many rows of classes as wrong, whatever
        `W` makes of them: some that are all on the right side would ask for predictions without
        limit, but of n without an error the next are wrong with a probability of up to 3/n ("rule
        of three", at 95 %). By label smoothing."""
        loss, rows, K = self.loss, self.rows, max(2, self.loss.n_classes)
        if loss.name not in ("logistic", "multinomial"):
            return self
        Z = rows.to_host(rows.loss_grad(loss, W, has_grad=False).Z)
        Z = Z.reshape(len(Z), -1, loss.n_classes)
        label = Z.argmax(axis=2) if loss.n_classes > 1 else np.where(Z[:, :, 0] > 0, 1.0, -1.0)
        is_there = np.ones(len(Z), bool) if rows.weight is None else rows.weight > 0
        wrong = float((label != rows.y[:, None])[is_there].mean(axis=1).sum())
        share = max(0.0, n_errors - wrong) / (is_there.sum() + n_errors)
        return replace(self, loss=find_loss(loss, smoothing=min(0.5, share * K / (K - 1))))

    def lagrangian_hessian(self, Q, U, Z, Z_criterion):
        """Uᵀ (∇²g - Xᵀ diag(ℓ''' ∘ Xq) X) U for every fold, (n_folds, k, k); column a * n_folds + f
        of U is fold f's."""
        second = self.rows.curvature(self.loss, Z_criterion, self.part)
        if self.is_shared:
            third = self.inner.rows.curvature(self.inner.loss, Z, order=3)
            return self.rows.design.contract(second, third, -Q, U)
        return self.rows.design.contract(second, None, None, U) + self.third_order(Q, U, Z)

    def third_order(self, Q, U, Z):
        """The part of the inner problem, -Uᵀ Xᵀ diag(ℓ''' ∘ Xq) X U."""
        inner = self.inner
        if not inner.loss.has_third:
            return 0.0
        third = inner.rows.curvature(inner.loss, Z, order=3)
        return inner.design.contract(None, third, -Q, U)

    def at(self, theta):
        """The criterion with its inner problem at these hyperparameters."""
        return replace(self, inner=self.inner.at(theta)) if self.inner.tuned else self

    def one_fold(self, index):
        inner = self.inner.one_fold(index)
        return replace(self, inner=inner, rows=inner.rows if self.is_shared else self.rows)


def split_weight(weight, y, loss):
    """Row weights of four fifths of the rows, and of the fifth that is held back, drawn with a
    fixed seed among those with a positive weight, of every class alike."""
    weight = np.ones(len(y)) if weight is None else weight
    rows = np.flatnonzero(weight > 0)
    if len(rows) < 5:
        raise ValueError(
            f"the criterion has {len(rows)} rows with a positive weight, too few to hold some "
            "back; use stop_on=None"
        )
    rank, is_back = np.random.default_rng(0).permutation(len(rows)), np.zeros(len(y), bool)
    rows = rows[np.argsort(rank)]
    for value in np.unique(y[rows]) if loss.is_classification else [None]:
        some = rows if value is None else rows[y[rows] == value]
        is_back[some[: len(some) // 5]] = True
    if not is_back.any():  # of classes that have hardly a row each
        is_back[rows[: len(rows) // 5]] = True
    return weight * ~is_back, weight * is_back


def design_of(X_val, problem):
    """The design of the rows of a criterion, where and as that of the problem."""
    if hasattr(X_val, "place"):
        return X_val
    is_there = is_on_device(X_val) and hasattr(problem.design, "is_given_on_device")
    return problem.design.like(X_val if is_there else check_matrix(X_val, "X_val", most=MOST))


def criterion_loss(loss, problem):
    """The loss of a criterion; unless it is given, that of the problem without label smoothing,
    which is about training."""
    loss = without_smoothing(problem.loss) if loss is None else find_loss(loss)
    if loss.name == "multinomial" and problem.loss.name == "multinomial":
        loss = replace(loss, n_classes=problem.loss.n_classes)
    if loss.n_classes != problem.loss.n_classes:
        raise ValueError(
            f"loss of the criterion must predict as many columns as loss '{problem.loss.name}'; "
            f"'{loss.name}' does not"
        )
    if loss.is_classification and not problem.loss.is_classification:
        raise ValueError(
            f"loss of the criterion must fit the targets of loss '{problem.loss.name}'; "
            f"'{loss.name}' is for labels -1 and +1"
        )
    return loss


def check_is_cv(cv):
    """Raises ValueError for what can never be what scikit-learn calls cv."""
    is_cv = cv is None or isinstance(cv, (int, np.integer))
    is_cv = is_cv or hasattr(cv, "split") or hasattr(cv, "__iter__")
    if not is_cv or isinstance(cv, (bool, np.bool_, str, bytes, type)):
        raise ValueError(
            "cv must be a whole number >= 2, a splitter of scikit-learn or an iterable of (train, "
            f"test) pairs; got {cv!r}"
        )


def check_pairs(splits):
    """Raises ValueError for what are no pairs of rows."""
    for fold, split in enumerate(splits):
        if isinstance(split, str) or not hasattr(split, "__len__") or len(split) != 2:
            raise ValueError(
                f"cv must give (train, test) pairs of row numbers; fold {fold} is {split!r}"
            )


def mask_of_folds(splits, weight):
    """Which rows train and which are held out, (n_rows, n_folds) bits; raises ValueError for splits
    that are none of these rows."""
    n = len(weight)
    if not splits:
        raise ValueError("cv gives no split of the rows; give at least one (train, test) pair")
    mask = np.zeros((n, len(splits)), np.uint8)
    for fold, (train, test) in enumerate(splits):
        for name, index, bit in (("training", train, TRAIN), ("test", test, HELD_OUT)):
            index = np.asarray(index)
            if index.ndim != 1 or index.dtype.kind not in "iub":
                if index.size:
                    raise ValueError(
                        f"cv must give {name} rows as integers or a boolean mask; fold {fold} "
                        f"has dtype {index.dtype}, shape {index.shape}"
                    )
                index = index.astype(int).ravel()
            if index.dtype.kind == "b" and len(index) != n:
                raise ValueError(
                    f"cv gives fold {fold} a {name} mask of {len(index)} rows; X has {n}"
                )
            if index.dtype.kind != "b" and len(index) and (index.min() < -n or index.max() >= n):
                raise ValueError(f"cv gives fold {fold} {name} rows outside 0..{n - 1}")
            mask[index, fold] |= bit
            if not (weight[index] > 0).any():
                raise ValueError(
                    f"fold {fold} of cv has no {name} row with a positive weight; use fewer "
                    "folds or other splits"
                )
    return mask


def check_fold_classes(y, weight, mask, names=None, *, when=""):
    """Raises ValueError where a class of y has no row with a positive weight in the training part
    of a fold; `names` are what the user calls the sorted values of y."""
    values, y = np.unique(y, return_inverse=True)
    total = np.bincount(y[weight > 0], minlength=len(values))
    for fold in range(mask.shape[1]):
        is_training = (weight > 0) & (mask[:, fold] & TRAIN > 0)
        count = np.bincount(y[is_training], minlength=len(values))
        absent = np.flatnonzero((count == 0) & (total > 0))
        if len(absent) == 0:
            continue
        shown = " and ".join(
            f"{name:g}" if isinstance(name, float) else repr(name)
            for name in (values if names is None else np.asarray(names))[absent[:5]].tolist()
        )
        is_alone = np.count_nonzero(count) == 1
        what = "one class only" if is_alone else f"no row of class {shown}"
        more = f" (no row of class {shown})" if is_alone else ""
        if total[absent].min() == 1:
            more += ", or leave out a class that has one row"
        raise ValueError(
            f"the training part of fold {fold} has {what}{when}; use stratified or shuffled folds, "
            f"or fewer of them{more}"
        )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The loss on other rows: ``g(w) = Σ_i s_i ℓ(y_i, x_i w + b)`` over ``(X_val, y_val)``, a sum.

    Parameters
    ----------
    X_val : array or sparse matrix, shape (n_val, n_features)
    y_val : array, shape (n_val,)
    sample_weight : array, shape (n_val,), optional
    loss : str or Loss, optional
        Of the criterion; by default that of the problem as it came, without label smoothing.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> problem = fasthoag.Problem(X[:30], y[:30], loss="squared")
    >>> result = fasthoag.hoag(problem, fasthoag.HeldOut(X[30:], y[30:]))
    >>> result.status
    'converged'
    """

    X_val: Any
    y_val: Any
    sample_weight: Any = None
    loss: Any = None

    def hold_back(self, problem):
        """This criterion without a fifth of its rows, and one on these."""
        bound = self.bind(problem)  # one design for both
        design, y = bound.rows.design, bound.rows.y
        judge, back = split_weight(bound.rows.weight, y, problem.loss)
        return (HeldOut(design, y, weight, self.loss) for weight in (judge, back))

    def bind(self, problem):
        shape = getattr(self.X_val, "shape", None) or np.shape(self.X_val)
        if len(shape) != 2 or shape[1] != problem.n_features:
            raise ValueError(
                f"X_val must have the {problem.n_features} features of X; got shape {tuple(shape)}"
            )
        y = check_vector(self.y_val, shape[0], "y_val")
        loss = criterion_loss(self.loss, problem)
        loss.check_y(y, "y_val")
        check_numbers(y, "y_val", trains=False)
        weight = check_weight(self.sample_weight, shape[0])
        if weight is not None:
            check_numbers(weight, "sample_weight", trains=False)
        design = design_of(self.X_val, problem)
        inner = settled(problem.inner(), design)
        return BoundCriterion(inner, design.place(y, weight), TRAIN, loss)


@dataclass(frozen=True, eq=False)
class KFold:
    """The held-out loss of every fold, summed over folds: one X, each fold a column whose held-out
    rows have weight 0.

    Parameters
    ----------
    cv : int, scikit-learn splitter or iterable of (train, test) index pairs
        What scikit-learn calls cv; an int means stratified folds for classes and plain ones
        for numbers, without shuffling. Not every row has to be in a test part, and one may be in
        several. Every class has to have a row with a positive weight in every training part.
    groups : array, shape (n_rows,), optional
        Passed to the splitter.
    loss : str or Loss, optional
        Of the criterion; by default that of the problem as it came, without label smoothing.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.normal(size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss="squared"), fasthoag.KFold(3)).lam.shape
    (1,)
    """

    cv: Any = 5
    groups: Any = None
    loss: Any = None

    def __post_init__(self):
        if hasattr(self.cv, "__next__"):  # a generator: kept, so that it can be used more than once
            object.__setattr__(self, "cv", list(self.cv))

    def splits(self, problem):
        from sklearn.model_selection import check_cv

        n = problem.n_rows
        check_is_cv(self.cv)
        if isinstance(self.cv, (int, np.integer)):
            if self.cv < 2:
                raise ValueError(f"cv must be at least 2; got {self.cv}")
            if self.cv > n:
                raise ValueError(
                    f"cv={self.cv} folds need at least as many rows; X has {n}. Use cv <= {n}"
                )
        is_classification = problem.loss.is_classification
        y = problem.y.astype(int) if is_classification else problem.y
        if hasattr(self.cv, "__iter__") and not hasattr(self.cv, "split"):
            check_pairs(self.cv)
        splitter = check_cv(self.cv, y, classifier=is_classification)
        return list(splitter.split(np.zeros((n, 1)), y, self.groups))

    def hold_back(self, problem):
        """This criterion without a fifth of the rows, in training and test parts alike, and one on
        these; both on the one X."""
        self.bind(problem)  # the checks
        judge, back = split_weight(problem.sample_weight, problem.y, problem.loss)
        every, keeps = np.arange(problem.n_rows), judge > 0
        splits = [
            tuple(every[part][keeps[every[part]]] for part in split)
            for split in self.splits(problem)
        ]
        return replace(self, cv=splits), HeldOut(problem.design, problem.y, back, self.loss)

    def bind(self, problem):
        loss = criterion_loss(self.loss, problem)
        loss.check_y(problem.y, "y")
        weight = problem.sample_weight
        weight = np.ones(problem.n_rows) if weight is None else weight
        mask = mask_of_folds(self.splits(problem), weight)
        if problem.loss.is_classification:
            check_fold_classes(problem.y, weight, mask)
        inner = settled(problem.inner(mask))
        return BoundCriterion(inner, inner.rows, HELD_OUT, loss)
