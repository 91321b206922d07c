"""The training side of a kernel model."""

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthoag.arithmetic import our_arithmetic
from fasthoag.blas import blas_threads
from fasthoag.criteria import ApproximateLOO, HeldOut, KFold
from fasthoag.criteria.folds import check_fold_classes, mask_of_folds
from fasthoag.design.gpu import find_device
from fasthoag.design.rows import HELD_OUT, TRAIN, is_on_device
from fasthoag.kernels.bound import Apart, BoundKernel, Model, OneFactor, Rows, Work, split
from fasthoag.kernels.kernel import LOSSES, find_kernel
from fasthoag.kernels.model import KernelModel
from fasthoag.kernels.pairs import FEW_ROWS, Samples, like, samples_of
from fasthoag.kinds import numbers_of
from fasthoag.losses import find_loss
from fasthoag.memory import memory_of_process
from fasthoag.options import check_flag, is_number
from fasthoag.threads import n_threads_of
from fasthoag.types import Array, ArrayLike, Matrix
from fasthoag.vectors import check_theta, check_vector, check_weight

SOLVERS = "cholesky", "cg", "nystrom"
MANY_ROWS, N_CENTRES = 50_000, 2000
# rows up to which all folds come from one factor, whose inverse LAPACK makes
MOST_FOR_FOLDS = 12_000


@dataclass(frozen=True, eq=False)
class KernelProblem:
    """The training side of a kernel model, ``h(α, b) = Σ_i s_i ℓ(y_i, z_i) + ½ λ αᵀKα`` with ``z =
    Kα + b`` and ``K_ij = k(x_i, x_j)``, whose widths and λ are tuned: θ = (log γ, log λ).

    Parameters
    ----------
    X : array or sparse matrix, shape (n_rows, n_features)
    y : array, shape (n_rows,) or, of ``"squared"``, (n_rows, n_targets)
        -1 and +1 for ``"logistic"``.
    kernel : {"rbf", "laplacian", "poly", "linear"} or callable
        ``exp(-γ |x - y|²)``, ``exp(-γ |x - y|_1)``, ``(γ x·y + coef0)^degree``, ``x·y``; or a
        function of two arrays of rows that returns their kernel matrix, without a width.
    loss : {"squared", "logistic"}
        ``(z - y)² / 2`` or ``log(1 + exp(-y z))``.
    per_feature : bool
        One width for each feature, ``Σ_k γ_k (x_k - y_k)²`` and so on. Not for "linear",
        where that is `FeatureRidge`, nor for sparse X.
    degree, coef0 : int and float
        Of "poly".
    fit_intercept : bool
        Adds b, which is not penalised.
    sample_weight : array, shape (n_rows,), optional
    solver : {"auto", "cholesky", "cg", "nystrom"}
        ``"cholesky"``: a factor of K in double precision, 8 n² bytes. ``"cg"``: to the same
        precision by conjugate gradients, from a factor in single precision, 4 n² bytes, or one of
        low rank. ``"nystrom"``: another model, with a kernel of low rank through `n_components` of
        the rows; the message of the result says how far off it may be. "auto" takes the first up to
        6,000 rows (to the memory for folds of least squares, of which one factor serves all), the
        second up to 50,000, and the third beyond.
    n_components : int, optional
        Of "nystrom", drawn with a fixed seed; 2,000 by default.
    n_threads : int, optional
    device : {"cpu", "gpu"} or None
        Where the kernel matrix is; "gpu" needs CuPy, dense X and a kernel by name. None: where X
        is.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, and where the kernel matrix (8 n² bytes) does not fit into memory.

    References
    ----------
    Pedregosa (2016), "Hyperparameter optimization with approximate gradient", ICML, section 5.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-3, 3, size=(80, 1))
    >>> y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=80)
    >>> result = fasthoag.hoag(fasthoag.KernelProblem(X, y), fasthoag.KFold(5))
    >>> result.status, result.theta.shape
    ('converged', (2,))
    """

    X: Any
    y: Any
    kernel: Any = "rbf"
    loss: Any = "squared"
    per_feature: bool = False
    degree: float = 3
    coef0: float = 1
    fit_intercept: bool = True
    sample_weight: Any = None
    solver: str = "auto"
    n_components: int | None = None
    n_threads: int | None = None
    device: str | None = None

    if TYPE_CHECKING:
        rows: Rows = field(init=False)  # those with a positive weight
        used: Array = field(init=False)  # their numbers

        def __init__(
            self,
            X: Matrix,
            y: ArrayLike,
            kernel: Any = ...,
            loss: str = ...,
            per_feature: bool = ...,
            degree: float = ...,
            coef0: float = ...,
            fit_intercept: bool = ...,
            sample_weight: ArrayLike | None = ...,
            solver: str = ...,
            n_components: int | None = ...,
            n_threads: int | None = ...,
            device: str | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        set_field = setter_of(self)
        for name in ("per_feature", "fit_intercept"):
            set_field(name, check_flag(getattr(self, name), name))
        set_field("loss", find_loss(self.loss))
        is_smoothed = any((self.loss.parameters or {}).values())
        if self.loss.name not in LOSSES or is_smoothed:
            raise ValueError(
                f"loss of a KernelProblem must be {' or '.join(map(repr, LOSSES))}; got "
                f"{self.loss.name!r}"
            )
        set_field("kernel", find_kernel(self.kernel, degree=self.degree, coef0=self.coef0))
        device = device_of(self.device, self.X, self.kernel)
        set_field("X", samples_of(self.X, "X", trains=True))
        n, p = self.X.shape
        check_widths(self.kernel, self.X, self.per_feature)
        set_field("y", targets_of(self.y, n, "y", "X", self.loss))
        set_field("sample_weight", check_weight(self.sample_weight, n))
        n_threads = n_threads_of(self.n_threads)
        weight = self.sample_weight
        used = np.arange(n) if weight is None else np.flatnonzero(weight > 0)
        if len(used) < 2:
            raise ValueError(f"X must have 2 rows with a positive weight at least; got {len(used)}")
        check_solver(self.solver, self.n_components)
        solver = chosen_solver(self.solver, len(used), self.X)
        n_widths = self.kernel.n_widths(p, self.per_feature)
        keeps_pairs = 3 * 8 * len(used) ** 2 < memory_of_process() // 2
        samples = Samples(self.kernel, self.X, n_threads, n_widths, keeps_pairs=keeps_pairs)
        if device is not None:
            check_device(device, self.X, self.solver)
            samples, solver = replace(samples, device=device), "cholesky"
        n_centres = min(self.n_components or N_CENTRES, len(used))
        if solver != "cholesky":
            centres = np.random.default_rng(0).permutation(used)[:n_centres]
            centres = samples.take(np.sort(centres))
            samples = replace(samples, solver=solver, centres=centres)
        y = self.y if self.y.ndim == 2 else self.y[:, None]
        rows = Rows(samples, y, weight)
        set_field("rows", rows if len(used) == n else rows.take(used))
        set_field("used", used)

    @property
    def n_rows(self) -> int:
        return int(self.X.shape[0])

    @property
    def n_features(self) -> int:
        return int(self.X.shape[1])

    @property
    def n_hyper(self) -> int:
        return self.rows.samples.n_widths + 1

    @property
    def model(self) -> Model:
        return Model(self.loss, self.fit_intercept)

    def read(self, theta: ArrayLike) -> dict[str, Any]:
        """What θ means: ``"gamma"`` (n_widths,) and ``"alpha"``, which is λ.

        Examples
        --------
        >>> import numpy as np, fasthoag
        >>> fasthoag.KernelProblem(np.eye(2), [1.0, -1.0]).read(np.zeros(2))
        {'gamma': array([1.]), 'alpha': 1.0}
        """
        theta = check_theta(theta, self.n_hyper, "theta")
        gamma, alpha = split(theta)
        return {"gamma": gamma, "alpha": alpha}

    def with_threads(self, n_threads: int | None) -> "KernelProblem":
        other, n_threads = copy.copy(self), n_threads_of(n_threads)
        set_field, rows = setter_of(other), self.rows
        set_field("n_threads", n_threads)
        set_field("rows", replace(rows, samples=replace(rows.samples, n_threads=n_threads)))
        return other

    def with_centres(self, n: int) -> "KernelProblem":
        """The same with n of the centres of its kernel of low rank."""
        other, rows = copy.copy(self), self.rows
        centres = rows.samples.centres.take(slice(None, None, -(-rows.samples.centres.n // n)))
        samples = replace(rows.samples, centres=centres)
        setter_of(other)("rows", replace(rows, samples=samples))
        return other

    def judged_by(self, criterion: Any) -> BoundKernel:
        """The criterion of `hoag` for this problem."""
        work = Work(self.rows.n)
        if isinstance(criterion, HeldOut):
            return BoundKernel(self._held_out(criterion), work)
        if isinstance(criterion, KFold):
            return BoundKernel(self._k_fold(criterion), work)
        rows = self._for_one_factor()
        if isinstance(criterion, ApproximateLOO) and self.loss.is_quadratic and rows is not None:
            return BoundKernel(OneFactor(self.model, rows, None), work)
        raise ValueError(
            f"a KernelProblem with loss {self.loss.name!r} is judged by HeldOut or KFold"
            f"{' or ApproximateLOO (which is exact)' if self.loss.is_quadratic else ''}; got "
            f"{type(criterion).__name__}"
        )

    def _held_out(self, criterion):
        if criterion.offset is not None:
            raise ValueError(
                "offset of HeldOut is for a Problem; a KernelProblem has none. Of least squares "
                "pass y_val - offset, and y less its own"
            )
        X = samples_of(criterion.X_val, "X_val", self.n_features)
        loss = self._criterion_loss(criterion.loss)
        y = targets_of(criterion.y_val, X.shape[0], "y_val", "X_val", loss)
        y = y if y.ndim == 2 else y[:, None]
        if y.shape[1] != self.rows.y.shape[1]:
            raise ValueError(
                f"y_val must have the {self.rows.y.shape[1]} targets of y; got {y.shape[1]}"
            )
        weight = check_weight(criterion.sample_weight, X.shape[0], "X_val")
        own = self.rows.samples
        judge = Rows(replace(own, X=like(X, own.X)), y, weight)
        return Apart(self.model, ((self.rows, judge),), loss)

    def _k_fold(self, criterion):
        loss, n = self._criterion_loss(criterion.loss), self.n_rows
        weight = np.ones(n) if self.sample_weight is None else self.sample_weight
        mask = mask_of_folds(criterion.splits(self), weight)
        if self.loss.is_classification:
            check_fold_classes(self.y, weight, mask)
        mask = mask[self.used]
        tests = [np.flatnonzero(column) for column in (mask & HELD_OUT).T]
        is_rest = ((mask & TRAIN > 0) ^ (mask & HELD_OUT > 0)).all()
        is_rest &= self.loss.is_quadratic and loss.name == self.loss.name
        rows = self._for_one_factor() if is_rest else None
        if rows is None:
            trains = [np.flatnonzero(column) for column in (mask & TRAIN).T]
            pairs = zip(trains, tests, strict=True)
            folds = tuple((self.rows.take(a), self.rows.take(b)) for a, b in pairs)
            return Apart(self.model, folds, loss)
        is_one_each = len(tests) == len(self.used) and all(len(test) == 1 for test in tests)
        order = np.argsort([test[0] for test in tests]) if is_one_each else ()
        if is_one_each and (order == [test[0] for test in tests]).all():
            return OneFactor(self.model, rows, None)
        return OneFactor(self.model, rows, tests)

    def _for_one_factor(self):
        """The rows with a factor in double precision, or None where that does not fit or is not
        wanted."""
        n = self.rows.n
        is_wanted = self.solver == "cholesky" or (self.solver == "auto" and n <= MOST_FOR_FOLDS)
        if not is_wanted or 8.8 * n**2 > memory_of_process():
            return None
        samples = replace(self.rows.samples, solver="cholesky", centres=None)
        return replace(self.rows, samples=samples)

    def _criterion_loss(self, loss):
        loss = self.loss if loss is None else find_loss(loss)
        if loss.is_classification != self.loss.is_classification or loss.n_classes > 1:
            raise ValueError(
                f"loss of the criterion must fit the targets of loss {self.loss.name!r}; got "
                f"{loss.name!r}"
            )
        return loss

    def fit(self, theta: ArrayLike) -> tuple[KernelModel, bool]:
        """The model of all rows at θ, and whether its inner problem was solved; rows of weight 0
        have coefficients of 0, and with solver "nystrom" the centres have them.

        Examples
        --------
        >>> import numpy as np, fasthoag
        >>> problem = fasthoag.KernelProblem(
        ...     np.eye(2), [1.0, 3.0], kernel="linear", fit_intercept=False
        ... )
        >>> problem.fit(np.zeros(1))[0].dual_coef
        array([0.5, 1.5])
        """
        theta = check_theta(theta, self.n_hyper, "theta")
        samples = self.rows.samples
        with our_arithmetic(), blas_threads(samples.n, samples.n_threads):
            widths, lam = split(theta)
            rows, t = self.rows, self.rows.y.shape[1]
            start = np.zeros((rows.n + 1, t))
            pairs = rows.samples.pairs().at(widths)
            found = self.model.solve(pairs, rows, lam, start, 1e-10)
            X, alpha = self.X, np.zeros((self.n_rows, t))
            alpha[self.used] = found.alpha
            if rows.samples.solver == "nystrom":  # the model is one of the centres
                X, alpha = rows.samples.centres.X, pairs.through(found.alpha)
        size = np.linalg.norm(lam * found.alpha) + 1e-300
        # of targets that are equal, which leave nothing but it
        rounding = 64 * np.finfo(np.float64).eps * np.linalg.norm(rows.y)
        is_converged = bool(np.linalg.norm(found.residual) <= 1e-6 * size + rounding)
        is_vector = self.y.ndim == 1
        dual_coef, intercept = (alpha[:, 0], found.b[0]) if is_vector else (alpha, found.b)
        return KernelModel(self.kernel, widths, X, dual_coef, intercept), is_converged


def setter_of(record):
    """Sets fields of a frozen record."""
    return lambda name, value: object.__setattr__(record, name, value)


def targets_of(y, n_rows, name, X_name, loss):
    """Targets as (n,) or (n, t)."""
    y = np.array(numbers_of(y, name), np.float64)
    if y.ndim == 2 and y.shape[1] > 1 and loss.is_quadratic:
        columns = [check_vector(column, n_rows, name, X_name) for column in y.T]
        return np.stack(columns, axis=1)
    y = check_vector(y, n_rows, name, X_name)
    loss.check_y(y, name)
    return y


def check_widths(kernel, X, per_feature):
    """Raises ValueError where there are no widths to tune one by one."""
    if not per_feature:
        return
    if not kernel.has_width:
        raise ValueError(
            f"per_feature=True needs a kernel with widths; kernel {kernel.name!r} has none. (Of a "
            "linear kernel that is fasthoag.FeatureRidge)"
        )
    if not isinstance(X, np.ndarray):
        raise ValueError("per_feature=True needs dense X; pass X.toarray()")


def device_of(device, X, kernel):
    """The device that was asked for, or where X is; None is here."""
    if not (device is None or (isinstance(device, str) and device in ("cpu", "gpu"))):
        raise ValueError(f"device must be 'cpu', 'gpu' or None for where X is; got {device!r}")
    is_there = is_on_device(X)
    if is_there and device == "cpu":
        raise ValueError("X is on the GPU, and device='cpu'. Pass X.get(), or leave device out")
    if not is_there and device != "gpu":
        return None
    if kernel.function is not None:
        raise ValueError("device='gpu' needs a kernel by name; kernel is a function")
    return find_device()


def check_device(device, X, solver):
    """Raises ValueError for what the GPU cannot do."""
    if not isinstance(X, np.ndarray):
        raise ValueError("device='gpu' needs dense X for a KernelProblem; pass X.toarray()")
    if solver not in ("auto", "cholesky"):
        raise ValueError(f"device='gpu' has solver 'cholesky' only; got {solver!r}")
    free, needed = device.free_bytes(), 2.5 * 8 * len(X) ** 2
    if free is not None and needed > free:
        fits = int((free / 20) ** 0.5)
        raise ValueError(
            f"X has {len(X)} rows, whose kernel matrix and its factor take {needed / 1e9:.0f} GB, "
            f"and the GPU has {free / 1e9:.0f} free. About {fits} rows fit; or use device='cpu'"
        )


def check_solver(solver, n_components):
    """Raises ValueError for what is no solver, or no number of centres for it."""
    if not (isinstance(solver, str) and solver in ("auto", *SOLVERS)):
        names = ", ".join(map(repr, ("auto", *SOLVERS)))
        raise ValueError(f"solver must be one of {names}; got {solver!r}")
    if n_components is None:
        return
    if not (is_number(n_components, 0) and float(n_components).is_integer()):
        raise ValueError(f"n_components must be a positive integer; got {n_components!r}")
    if solver not in ("auto", "nystrom"):
        raise ValueError(f"n_components is for solver='nystrom'; solver is {solver!r}")


def chosen_solver(solver, n, X):
    """What "auto" stands for; raises ValueError where a matrix does not fit into memory."""
    room, is_dense = memory_of_process(), isinstance(X, np.ndarray)
    bytes_of = {"cholesky": 8.8 if is_dense else 17.6, "cg": 4.4 if is_dense else 13.0}
    if solver == "auto":
        if n > MANY_ROWS or bytes_of["cg"] * n**2 > room:
            return "nystrom"
        is_cheap = n <= FEW_ROWS or not is_dense
        return "cholesky" if is_cheap and bytes_of["cholesky"] * n**2 <= room else "cg"
    needed = bytes_of.get(solver, 0) * n**2
    needs_pairs = solver == "cholesky" or (solver == "cg" and not is_dense)
    if needs_pairs and needed > room:
        fits = int((room / bytes_of[solver]) ** 0.5)
        raise ValueError(
            f"X has {n} rows, whose kernel matrix takes {needed / 1e9:.0f} GB with solver="
            f"{solver!r}, and this process may use {room / 1e9:.0f}. About {fits} rows fit; or use "
            "solver='cg' or 'nystrom'"
        )
    return solver
