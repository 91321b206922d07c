"""The inner problem: how loss, penalty and data make h(w, θ), its Hessian and its
cross-derivative."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthoag.arithmetic import our_arithmetic
from fasthoag.blas import blas_threads_for
from fasthoag.cost import Cost, cost_of
from fasthoag.design.blocks import joined, n_rows_of
from fasthoag.design.make import make_design
from fasthoag.design.matrix import check_numbers
from fasthoag.design.rows import Design, to_host
from fasthoag.inner.cg import CONVERGED
from fasthoag.inner.problem import InnerProblem, n_hyper_of, split_theta
from fasthoag.inner.solve import InnerSolver, solver_for
from fasthoag.losses import MULTINOMIAL, Loss, find_loss
from fasthoag.options import check_flag
from fasthoag.penalties import OwnPenalty, Ridge, adopted
from fasthoag.penalties.alike import alike, over
from fasthoag.threads import check_n_threads
from fasthoag.tuned import Tuned
from fasthoag.types import ArrayLike, Matrix
from fasthoag.vectors import (
    check_classes,
    check_offset,
    check_theta,
    check_vector,
    check_weight,
)

if TYPE_CHECKING:
    from fasthoag.cost import Cost


@dataclass(frozen=True, eq=False)
class Problem:
    """The training side of a tuning run: ``h(w, θ) = Σ_i s_i ℓ(y_i, x_i w + b + offset_i) + ½ Σ_j
    λ_j(θ) w_j²``, a sum as in scikit-learn's ``C = 1/λ``.

    Parameters
    ----------
    X : array, sparse matrix, list of these or Design, shape (n_rows, n_features)
        float32 or float64 values are read in place, and must not change: a computation on values
        that did is a ValueError. (Targets and weights are copied.) CSR is fastest; other formats
        are converted once, and so are large arrays that are mostly zeros. No column beyond 1e50 in
        size, or all below 1e-50, whose squares double precision does not hold; nor targets and
        weights. A list of arrays or of sparse matrices, all of one kind, is the rows in blocks: no
        copy joins them.
    y : array, shape (n_rows,), or list of arrays
        Real numbers for ``"squared"``; -1 and +1 for ``"logistic"``; class numbers 0, 1, ... for
        ``"multinomial"``, each of them in a row with a positive weight. A list has one array for
        each block of X; so may that of `sample_weight` and `offset`.
    loss : str or Loss
        One of ``fasthoag.losses.LOSSES``, with parameters from ``fasthoag.find_loss``, a mix of two
        from ``fasthoag.mix_losses``, or one of your own from ``fasthoag.custom_loss``.
    penalty : Penalty
    fit_intercept : bool
        Adds the coefficient b, which is not penalised; sparse data stay sparse. A Design brings its
        own setting.
    sample_weight : array, shape (n_rows,), optional
        Non-negative; a whole number means that many copies of the row, and 0 that there is no row.
        (Criteria that count rows differ, see ``docs/guarantees.md``.)
    tuned : sequence
        Hyperparameters outside the penalty: `SampleWeights`, `ClassWeights`, `Mixture`,
        `LossParameter`, `MixingWeight`. Their θ follow those of the penalty.
    low_memory : bool
        Make neither a renumbered nor a transposed copy, at some cost in speed. (Beside an intercept
        columns that are more than 100 spreads from 0, and constants more than 10,000 times as large
        as the other columns, are shifted in a copy all the same.)
    deterministic : bool
        The same bits for every number of threads, at some cost in speed. (For one number of threads
        bits never change between runs.)
    device : {None, "cpu", "gpu"}
        Where the work is done. None: where X is, the GPU for arrays and CSR matrices of CuPy;
        coefficients are CuPy's then too. "gpu" copies X there once.
    solver : Solver, optional
        Of the inner problem; by default the first of ``fasthoag.inner.solve.SOLVERS`` that accepts
        loss and penalty.
    offset : array, shape (n_rows,), optional
        Known part of every prediction, such as the logarithm of an exposure for ``"poisson"``. Rows
        that judge have their own (``HeldOut(..., offset=)``). Of ``"multinomial"`` a column for
        each class, (n_rows, n_classes).

    Raises
    ------
    ValueError
        Naming the argument, what came and what to do.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> problem = fasthoag.Problem(np.eye(3), [1, -1, 1], loss="logistic")
    >>> problem.n_rows
    3
    >>> fasthoag.Problem([np.eye(3), np.ones((2, 3))], [[1, -1, 1], [-1, 1]]).n_rows
    5
    >>> hours = np.array([10.0, 50.0, 20.0])  # in which 3, 9 and 0 events were seen
    >>> rates = fasthoag.Problem(np.eye(3), [3, 9, 0], loss="poisson", offset=np.log(hours))
    >>> np.round(rates.offset, 2)
    array([2.3 , 3.91, 3.  ])
    """

    X: Matrix
    y: Any
    loss: Any = "logistic"
    penalty: Any = field(default_factory=Ridge)
    fit_intercept: bool = True
    sample_weight: Any = None
    tuned: Any = ()
    low_memory: bool = False
    deterministic: bool = False
    device: str | None = None
    solver: Any = None
    offset: Any = None

    if TYPE_CHECKING:
        design: Design = field(init=False)

        # Fields hold what became of the arguments: targets on the host, a `Loss` and so on.
        def __init__(
            self,
            X: Matrix,
            y: ArrayLike,
            loss: str | Loss = ...,
            penalty: OwnPenalty = ...,
            fit_intercept: bool = ...,
            sample_weight: ArrayLike | None = ...,
            tuned: Tuned | Sequence[Tuned] = ...,
            low_memory: bool = ...,
            deterministic: bool = ...,
            device: str | None = ...,
            solver: InnerSolver | None = ...,
            offset: ArrayLike | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        loss = find_loss(self.loss)
        for name in ("fit_intercept", "low_memory", "deterministic"):
            object.__setattr__(self, name, check_flag(getattr(self, name), name))
        for name in ("y", "sample_weight", "offset"):
            object.__setattr__(self, name, joined(getattr(self, name), self.X, name))
        n_rows = n_rows_of(self.X)
        object.__setattr__(self, "y", check_vector(self.y, n_rows, "y"))
        object.__setattr__(self, "sample_weight", check_weight(self.sample_weight, n_rows))
        loss.check_y(self.y)
        if loss.is_classification and n_rows > 0:
            loss = self._with_classes(loss)
        object.__setattr__(self, "offset", check_offset(self.offset, n_rows, loss))
        object.__setattr__(self, "loss", loss)
        object.__setattr__(self, "penalty", adopted(self.penalty))
        check_numbers(self.y, "y")
        if self.sample_weight is not None:
            check_numbers(self.sample_weight, "sample_weight")
        with our_arithmetic():
            design = make_design(
                self.X,
                fit_intercept=self.fit_intercept,
                low_memory=self.low_memory,
                deterministic=self.deterministic,
                device=self.device,
                alike=partial(alike, self.penalty),
            )
        object.__setattr__(self, "design", design)
        object.__setattr__(self, "fit_intercept", self.design.has_intercept)
        self.penalty.check(self.n_features)
        object.__setattr__(self, "solver", solver_for(loss, self.penalty, self.solver))
        if self.penalty.is_per_class and self.penalty.n_classes != loss.n_classes:
            raise ValueError(
                f"penalty is for {self.penalty.n_classes} classes; loss '{loss.name}' has "
                f"{loss.n_classes}"
            )
        tuned = self.tuned if isinstance(self.tuned, (list, tuple)) else (self.tuned,)
        tuned = tuple(tuned)
        object.__setattr__(self, "tuned", tuned)
        for one in tuned:
            if not isinstance(one, Tuned) or isinstance(one, type):
                raise TypeError(
                    "tuned must contain hyperparameters such as fasthoag.SampleWeights(); got "
                    f"{one!r}"
                )
            one.check(self)

    def _with_classes(self, loss: Loss) -> Loss:
        """The loss with the number of classes that y has, each of which has rows that train."""
        trains = self.y if self.sample_weight is None else self.y[self.sample_weight > 0]
        found = np.unique(trains)
        if len(found) < 2:
            raise ValueError(
                f"y has one class only, {trains[0]:g}, among the rows with a positive weight; "
                f"loss '{loss.name}' needs more"
            )
        if loss.name != MULTINOMIAL.name:
            return loss
        n_classes = loss.n_classes or int(self.y.max()) + 1
        check_classes(found, n_classes)
        return replace(loss, n_classes=n_classes)

    @property
    def n_rows(self) -> int:
        return self.design.shape[0]

    @property
    def n_features(self) -> int:
        return self.design.shape[1]

    @property
    def n_used(self) -> int:
        """Rows with a positive weight."""
        weight = self.sample_weight
        return self.n_rows if weight is None else int((weight > 0).sum())

    @property
    def n_hyper(self) -> int:
        return sum(n_hyper_of(self))

    def read(self, theta: ArrayLike) -> dict[str, Any]:
        """What θ means: ``"strengths"`` (n_features,) and one entry for each of `tuned`.

        Examples
        --------
        >>> import numpy as np, fasthoag
        >>> fasthoag.Problem(np.eye(2), [1, -1]).read(np.zeros(1))
        {'strengths': array([1., 1.])}
        """
        theta, *others = split_theta(self, check_theta(theta, self.n_hyper, "theta"))
        with our_arithmetic():
            return {"strengths": self.penalty.strengths(theta, self.n_features)} | {
                one.name: one.read(t, self) for one, t in zip(self.tuned, others, strict=False)
            }

    def inner(self, mask: Any = None) -> InnerProblem:
        """The inner problem of the folds of this mask, by default of one fold with all rows."""
        rows = self.design.place(self.y, self.sample_weight, mask, self.offset)
        penalty, compression = self.penalty, self.design.compression
        if compression is not None:
            penalty = over(penalty, compression.kept, compression.factor)
        return InnerProblem(rows, self.loss, penalty, self.tuned, solver=self.solver)

    def judged_by(self, criterion: Any) -> Any:
        """The criterion bound to this problem: what the outer loop minimises."""
        return criterion.bind(self)

    def cost(self, criterion: Any) -> Cost:
        """What `hoag` will take for this criterion, about: memory, seconds of a pass (one is
        made), passes as other searches took them.

        Warns
        -----
        UserWarning
            When this process may not use so much memory.

        Examples
        --------
        >>> import numpy as np, fasthoag
        >>> rng = np.random.default_rng(0)
        >>> problem = fasthoag.Problem(rng.normal(size=(200, 5)), np.sign(rng.normal(size=200)))
        >>> cost = problem.cost(fasthoag.KFold(5))
        >>> cost.n_columns, cost.fits, cost.passes.low
        (5, True, 80)
        """
        return cost_of(self, criterion)

    def with_threads(self, n_threads: int | None) -> "Problem":
        """The same problem on the same data whose kernels use this many threads."""
        check_n_threads(n_threads)
        other = copy.copy(self)
        object.__setattr__(other, "design", self.design.with_threads(n_threads))
        return other


def on_its_design(problem: Problem, **changes: Any) -> Problem:
    """The same problem with other targets, or another penalty, on the design that it has, which is
    stored as it was asked for."""
    changes |= {"X": problem.design, "low_memory": False, "deterministic": False}
    return replace(problem, **changes)


def for_user(design: Any, w: Any) -> Any:
    """Coefficients for the user: CuPy's where X was CuPy's."""
    return design.xp.asarray(w) if design.is_given_on_device else w


def refit(
    problem: Problem, theta: ArrayLike, w0: ArrayLike | None = None, *, tol: float = 1e-3
) -> tuple[Any, float, bool]:
    """The model on all rows at `theta`: ``(w, error, is_converged)`` with w (n_features +
    fit_intercept,) in the order of the features, one column a class with the multinomial loss.

    Parameters
    ----------
    problem : Problem
    theta : array, shape (n_hyper,)
    w0 : array, shape (n_features + fit_intercept,), optional
        Start, such as the mean of the fold solutions.
    tol : float
        Relative to the penalty's gradient: ``error = |∇h| / |λ w| <= tol`` in the norm of
        `fasthoag.inner.precond`, an error in units of θ.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> from fasthoag.problem import refit
    >>> problem = fasthoag.Problem(np.eye(2), [1.0, 3.0], loss="squared", fit_intercept=False)
    >>> refit(problem, np.zeros(1))[0]
    array([0.5, 1.5])
    """
    design, inner = problem.design, problem.inner()
    theta = check_theta(theta, problem.n_hyper, "theta")
    with our_arithmetic(), blas_threads_for(design):
        inner = inner.at(theta)
        lam, units, K = inner.strengths(theta), inner.units, inner.loss.n_classes
        if inner.has_equal_targets:
            return units.squeeze(for_user(design, design.decode(inner.null.W))), 0.0, True
        W = inner.null.W if w0 is None else design.encode(np.reshape(to_host(w0), (-1, K)))
        first = inner.rows.loss_grad(inner.loss, W)
        precond = inner.precond(inner.curvature(first.Z), lam)
        unit = inner.cross_norms(lam, W, precond) or precond.norms(units, first.grad)
        for _ in range(20):  # the unit settles with w
            result = inner.solve(lam, W, tol=np.maximum(tol * unit, 1e-300), precond=precond)
            W, unit = result.W, inner.cross_norms(lam, result.W, precond)
            error = float(result.grad_norm[0] / np.maximum(unit, 1e-300)[0])
            if error <= 1.5 * tol or result.status[0] != CONVERGED or unit == 0:
                break
        is_converged = result.status[0] == CONVERGED
        # (|∇h|² is about twice what h could still fall by: where that is rounding nothing is left)
        is_converged |= float(result.grad_norm[0]) ** 2 <= 1e-15 * float(abs(first.value).sum())
        w = for_user(design, design.decode(W))
        return units.squeeze(w), 0.0 if unit == 0 else error, bool(is_converged)
