"""Losses that users write: plain Python functions of one target and one prediction, compiled to the
two C functions that the kernels call."""

import inspect
import pickle
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from fasthoag import _core
from fasthoag.kinds import numbers_of
from fasthoag.losses import LABELS, LOSSES, MULTINOMIAL, REAL, Loss, derivative
from fasthoag.options import check_flag
from fasthoag.types import ArrayLike, Domain, Function

EPS = np.finfo(float).eps
ROLES = "value", "d1", "d2", "d3"  # of the functions of a loss, in this order

# Where derivatives are checked. Losses of margins have their corners at z = -1 and 1, those of
# residuals at z - y near 0, and rounding shows far out.
TARGETS = -2.5, -1.0, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.5, 10.0
PREDICTIONS = np.r_[np.linspace(-6, 6, 49), -100, -30, -15, 15, 30, 100]
RESIDUALS = np.array([-1, -0.1, 0, 0.1, 1])
STEPS = 0.5 ** np.arange(3, 37)  # of difference quotients, relative to max(1, |z|)


class Compiled:
    """The two C functions of a loss, which live as long as this object."""

    def __init__(self, functions, has_kinks):
        self.functions, self.has_kinks = functions, has_kinks
        self.value_d1, self.derivative = _compile(functions, has_kinks)
        self.native = _core.Loss(self.value_d1.address, self.derivative.address)


class CustomLoss(Loss):
    """What `custom_loss` returns: a `Loss` that is pickled as its Python functions and compiled
    again where it is loaded."""

    def __reduce__(self):
        # ships functions by value where they cannot be imported: lambdas, closures, notebooks
        cloudpickle = import_numba().cloudpickle
        arguments = (
            self.compiled.functions,
            self.name,
            self.domain,
            self.is_classification,
            self.has_kinks,
            self.cuda,
        )
        try:
            return _load, (cloudpickle.dumps(arguments),)
        except Exception as error:
            raise pickle.PicklingError(
                f"loss '{self.name}' cannot be pickled, because a function of it or its domain "
                f"cannot ({error}); define them at the top level of a module that can be imported"
            ) from error

    def __copy__(self):
        return self  # it cannot change, and a copy would be compiled again

    def __deepcopy__(self, memo):
        return self


def custom_loss(
    value: Function,
    d1: Function,
    d2: Function,
    d3: Function | None = None,
    *,
    name: str = "custom",
    domain: Domain | None = None,
    is_classification: bool = False,
    has_kinks: bool = False,
    targets: ArrayLike | None = None,
    cuda: tuple[str, str, str, str] | None = None,
) -> Loss:
    """A loss of your own from plain Python functions ``f(y, z) -> float`` of one target and one
    prediction, compiled with Numba.

    The result goes wherever the name of a loss goes: ``Problem(X, y, loss=...)``, ``HeldOut(...,
    loss=...)``, ``KFold(5, loss=...)``. The functions are compiled as they are now: what they read
    from outside is a constant from here on. Write them so that nothing overflows while the result
    is small (``log1p(exp(-abs(t))) + max(0, -t)``, not ``log(1 + exp(-t))``); they run for every
    row in every pass. Passes and their threads call the machine code, never Python.

    Parameters
    ----------
    value, d1, d2 : function
        The loss of target y and prediction z = x w + b, and its first and second derivative in z;
        d2 >= 0 everywhere, and nothing infinite. Float arithmetic, ``math``, NumPy's functions of
        numbers and functions with ``numba.njit`` are allowed; no ``raise``, no arrays or lists.
    d3 : function, optional
        The third derivative. Without it central differences of d2 with the step ``eps**(1/3) *
        max(1, |z|)`` stand for it, 8 to 10 digits of it; with `has_kinks` the flatter of the two
        one-sided differences, which never reaches over a jump, 4 to 5 digits.
    name : str
        Stands in messages; not the name of a built-in loss.
    domain : (str, callable), optional
        Which targets the loss accepts, in words and as a test of an array: ``("numbers > 0", lambda
        y: y > 0)``. Default: all finite numbers.
    is_classification : bool
        Targets are -1 and +1.
    has_kinks : bool
        The second derivative jumps, as that of a squared hinge: derivatives are not checked at the
        jumps.
    targets : array, optional
        Typical targets, to check the derivatives with. Default: those of -2.5, -1, 0, 0.25, 0.5, 1,
        2, 3, 4.5 and 10 that are in the domain.
    cuda : tuple of four str, optional
        value, d1, d2 and d3 as CUDA expressions of the doubles y and z, for the GPU, where Numba's
        functions cannot go: ``("0.5 * (z - y) * (z - y)", "z - y", "1.0", "0.0")``. They are
        compared with the functions when they are first used there.

    Returns
    -------
    fasthoag.losses.Loss

    Raises
    ------
    ImportError
        Without Numba.
    TypeError
        For an argument that is no function of (y, z), one that returns no real number, and one that
        Numba cannot compile.
    ValueError
        When a derivative is not that of the function before it, d2 is negative or a result is not
        finite at one of the points looked at: z from -6 to 6, up to ±100 and around y, for every
        one of `targets`. The message names the function, y, z, what came and the difference
        quotient.

    Examples
    --------
    The logarithm of the hyperbolic cosine, about ``|z - y|`` with a round corner:

    >>> import math, numpy as np, fasthoag
    >>> from fasthoag.custom_loss import custom_loss
    >>> def value(y, z):
    ...     r = abs(z - y)
    ...     return r + math.log1p(math.exp(-2 * r)) - math.log(2)
    >>> def d1(y, z):
    ...     return math.tanh(z - y)
    >>> def d2(y, z):
    ...     return 1 - math.tanh(z - y) ** 2
    >>> log_cosh = custom_loss(value, d1, d2, name="log_cosh")
    >>> rng = np.random.default_rng(0)
    >>> X, w = rng.normal(size=(60, 5)), np.ones(5)
    >>> y = X @ w + rng.standard_t(2, size=60)
    >>> fasthoag.hoag(fasthoag.Problem(X, y, loss=log_cosh), fasthoag.KFold(5)).status
    'converged'
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be a string; got {name!r}")
    if name in LOSSES or name == MULTINOMIAL.name:
        raise ValueError(f"name must not be that of a built-in loss; got {name!r}")
    check_flag(is_classification, "is_classification")
    check_flag(has_kinks, "has_kinks")
    functions = tuple(
        _check_function(f, role) for f, role in zip((value, d1, d2, d3), ROLES, strict=False)
    )
    domain = _check_domain(domain, is_classification)
    targets = _check_targets(targets, domain, name)
    if cuda is not None and not (
        isinstance(cuda, (tuple, list))
        and len(cuda) == 4
        and all(isinstance(text, str) and text.strip() for text in cuda)
    ):
        raise TypeError(
            f"cuda must be four CUDA expressions of y and z: value, d1, d2 and d3; got {cuda!r}"
        )
    loss = _make(
        functions, name, domain, bool(is_classification), bool(has_kinks), cuda and tuple(cuda)
    )
    _check_derivatives(loss, targets)
    return loss


def _make(functions, name, domain, is_classification, has_kinks, cuda):
    return CustomLoss(
        name,
        f"{functions[0].__name__}(y, z)",
        domain,
        is_classification=is_classification,
        has_kinks=has_kinks,
        compiled=Compiled(functions, has_kinks),
        cuda=cuda,
    )


@lru_cache(maxsize=32)  # a process that loads the same loss with every task compiles it once
def _load(pickled):
    return _make(*import_numba().cloudpickle.loads(pickled))


def import_numba() -> Any:
    """Numba, or an ImportError that says how to get it. No dependency on Macs with Intel, for which
    0.62 is the last with wheels."""
    try:
        import numba
    except ImportError as error:  # it refuses a NumPy that is newer than it knows, too
        raise ImportError(
            f"a custom loss is compiled by Numba, which cannot be imported ({error}): pip install "
            "numba, on a Mac with Intel pip install 'numba<0.63'; built-in losses need none"
        ) from error
    return numba


def _check_function(f, role):
    """The plain Python function to compile, or None for the d3 that was left out."""
    if f is None and role == "d3":
        return None
    if isinstance(f, import_numba().core.dispatcher.Dispatcher):  # of numba.njit
        f = f.py_func
    if not isinstance(f, FunctionType):
        wrapped = f"; wrap it: def {role}(y, z): return ..." if callable(f) else ""
        raise TypeError(f"{role} must be a Python function of (y, z); got {f!r}{wrapped}")
    try:
        inspect.signature(f).bind(0.0, 0.0)
    except TypeError as error:
        raise TypeError(
            f"{role} must be a function of two numbers, (y, z); '{f.__name__}' is not: {error}"
        ) from None
    return f


def _check_domain(domain, is_classification):
    if is_classification:
        if domain is not None and domain is not LABELS:
            raise ValueError(
                "domain must be left out with is_classification=True, which means targets -1 and +1"
            )
        return LABELS
    if domain is None:
        return REAL
    if not (
        isinstance(domain, (tuple, list))
        and len(domain) == 2
        and isinstance(domain[0], str)
        and callable(domain[1])
    ):
        raise TypeError(
            "domain must be (words, test of an array), such as ('numbers > 0', lambda y: y > 0); "
            f"got {domain!r}"
        )
    return tuple(domain)


def _check_targets(targets, domain, name):
    """The targets to check with, distinct; at most 100 of them."""
    words, test = domain
    given = targets is not None
    numbers = numbers_of(targets if given else TARGETS, "targets")
    targets = np.unique(numbers.astype(np.float64))
    is_good = np.asarray(test(targets))
    if is_good.shape != targets.shape or is_good.dtype != bool:
        raise TypeError(
            "domain must test an array and give an array of bool of the same shape; got "
            f"{is_good!r}"
        )
    if given and not (is_good & np.isfinite(targets)).all():
        raise ValueError(
            f"targets must contain {words} for loss '{name}'; found "
            f"{targets[~(is_good & np.isfinite(targets))][0]:g}"
        )
    targets = targets[is_good]
    if not len(targets):
        raise ValueError(
            f"targets must be given: none of the usual ones is in the domain ({words}), so that "
            "nothing can be checked"
        )
    return targets[np.unique(np.linspace(0, len(targets) - 1, 100).astype(int))]


def _compile(functions, has_kinks):
    """The two C functions, as Numba's objects."""
    numba = import_numba()
    float64, int32, int64, types = numba.float64, numba.int32, numba.int64, numba.types
    if numba.config.DISABLE_JIT:
        raise ValueError(
            "Numba is switched off by NUMBA_DISABLE_JIT; unset it to use a custom loss"
        )
    options = {"error_model": "numpy", "fastmath": False, "boundscheck": False}
    value, d1, d2, d3 = (
        f and _compile_one(f, role, options) for f, role in zip(functions, ROLES, strict=False)
    )
    if d3 is None:
        d3 = numba.njit(**options)(_difference(d2, has_kinks))
    doubles = types.CPointer(float64)

    @numba.cfunc(numba.void(int64, doubles, doubles, doubles, doubles, doubles), **options)
    def c_value_d1(n, y, z, a, out_value, out_d1):
        for i in range(n):
            # read once, so that what both functions compute (an exponential) is computed once
            y_i, z_i = y[i], z[i]
            v, g = value(y_i, z_i), d1(y_i, z_i)
            out_value[i] = v
            out_d1[i] = g

    @numba.cfunc(numba.void(int32, int64, doubles, doubles, doubles, doubles), **options)
    def c_derivative(order, n, y, z, a, out):
        if order == 0:
            for i in range(n):
                out[i] = value(y[i], z[i])
        elif order == 1:
            for i in range(n):
                out[i] = d1(y[i], z[i])
        elif order == 2:
            for i in range(n):
                out[i] = d2(y[i], z[i])
        else:
            for i in range(n):
                out[i] = d3(y[i], z[i])

    return c_value_d1, c_derivative


def _compile_one(f, role, options):
    numba = import_numba()
    types = numba.types
    compiled = numba.njit(**options)(f)
    try:
        compiled.compile((numba.float64, numba.float64))
    except Exception as error:  # Numba has many, not all of them its own
        lines = [
            line.strip()
            for line in str(error).splitlines()
            if line.strip() and not line.startswith("Failed in nopython mode pipeline")
        ]
        reason = (
            " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1]) or type(error).__name__
        )
        raise TypeError(
            f"Numba cannot compile {role} ('{f.__name__}'): {reason.rstrip('.')}. Use float "
            "arithmetic, math.* and NumPy functions of numbers, constants, and functions with "
            "numba.njit; no objects, strings, plain functions"
        ) from error
    returned = compiled.nopython_signatures[0].return_type
    if not isinstance(returned, (types.Float, types.Integer, types.Boolean)):
        raise TypeError(
            f"{role} ('{f.__name__}') must return a real number on every path; it returns "
            f"{returned}"
        )
    # a packed exception; to report it takes the GIL, which threads may never get
    if "picklebuf" in compiled.inspect_llvm(compiled.signatures[0]):
        raise ValueError(
            f"{role} ('{f.__name__}') can raise an exception or needs memory; return float('nan') "
            "instead of raising, and use numbers only, no arrays or lists"
        )
    return compiled


def _difference(d2, has_kinks):
    """d3 from differences of d2."""
    step = EPS ** (1 / 3)

    def central(y, z):
        h = step * max(1.0, abs(z))
        low, high = z - h, z + h
        return (d2(y, high) - d2(y, low)) / (high - low)

    def one_sided(y, z):
        h = step * max(1.0, abs(z))
        low, high, here = z - h, z + h, d2(y, z)
        left, right = (here - d2(y, low)) / (z - low), (d2(y, high) - here) / (high - z)
        return left if abs(left) < abs(right) else right

    return one_sided if has_kinks else central


@dataclass(frozen=True, eq=False)
class _Checked:
    """A loss at one target y and the predictions z where it is checked."""

    loss: Loss
    y: float
    z: np.ndarray
    results: list  # value, d1, d2 and d3 at z
    scales: list  # of their errors, see `_scale`

    def at(self, order, z):
        return _at(self.loss, order, self.y, z)

    def refuse(self, order, is_bad, what):
        """Raises ValueError if a point is bad, for the one nearest to 0, which is the easiest to
        look at; ``what(i)`` says what is wrong with point i."""
        if not is_bad.any():
            return
        i = np.flatnonzero(is_bad)[np.argmin(np.abs(self.z[is_bad]))]
        functions = self.loss.compiled.functions
        f = functions[order] or functions[2]
        raise ValueError(
            f"{ROLES[order]} ('{f.__name__}') of loss '{self.loss.name}' at y = {self.y:g}, z = "
            f"{self.z[i]:g}: {what(i)}"
        )


def _at(loss, order, y, z):
    """The derivative of this order at one target and predictions of any shape."""
    return derivative(loss, order, np.full(z.size, y), z.ravel()).reshape(z.shape)


def _check_derivatives(loss, targets):
    """Raises ValueError at the first point where a derivative is not that of the function before
    it, or where d2 is negative."""
    for y in targets:
        checked = _results(loss, y)
        _, _, d2, _ = checked.results
        is_jump = _jumps(checked)
        for order in (1, 2, 3):
            if loss.compiled.functions[order] is not None:
                _check_quotient(checked, order, is_jump)
        checked.refuse(
            2,
            d2 < -64 * EPS * checked.scales[2],
            lambda i, d2=d2: (
                f"gave {d2[i]:.10g}; the loss must be convex in z, so d2 must not be negative"
            ),
        )


def _results(loss, y):
    """The loss at y and the predictions where it is checked; ValueError where a result is not
    finite."""
    near = y + RESIDUALS
    if abs(y) > PREDICTIONS.max():  # with a log link z is never near such a y
        near = near[np.isfinite([_at(loss, order, y, near) for order in range(4)]).all(axis=0)]
    z = np.unique(np.r_[PREDICTIONS, near])
    results = [_at(loss, order, y, z) for order in range(4)]
    checked = _Checked(loss, y, z, results, [_scale(y, z, result) for result in results])
    for order, result in enumerate(results):
        checked.refuse(
            order,
            ~np.isfinite(result),
            lambda i, result=result: f"gave {result[i]:g}; it must be finite",
        )
    return checked


def _jumps(checked):
    """Where d2 jumps, of a loss that has kinks."""
    z, d2 = checked.z, checked.results[2]
    if not checked.loss.has_kinks:
        return np.zeros(z.shape, bool)
    h = STEPS[-1] * np.maximum(1, np.abs(z))
    around = [checked.at(2, z - h), d2, checked.at(2, z + h)]
    return np.ptp(around, axis=0) > 1e-4 * checked.scales[2]


def _check_quotient(checked, order, is_jump):
    """Raises ValueError where the derivative of this order is not the difference quotient of the
    function before it, but for jumps of d2."""
    result, scale, functions = (
        checked.results[order],
        checked.scales[order],
        checked.loss.compiled.functions,
    )
    quotient, error, rounding = _quotients(
        lambda z: checked.at(order - 1, z), checked.z, checked.scales[order - 1]
    )
    size = np.maximum(np.abs(result), np.abs(quotient))
    # quotients that do not settle, as at a corner of the function before, explain a thousandth at
    # most
    unsettled = np.minimum(8 * error, 1e-3 * np.maximum(scale, size))
    allowed = unsettled + 8 * rounding + 1e-6 * size + 1e-9 * scale
    is_bad = ~(np.abs(result - quotient) <= allowed) & ~(is_jump & (order > 1))
    may_jump = order > 1 and not checked.loss.has_kinks and is_bad.sum() <= 3
    hint = ". If d2 jumps there, pass has_kinks=True" if may_jump else ""
    checked.refuse(
        order,
        is_bad,
        lambda i: (
            f"gave {result[i]:.10g}, but the difference quotient of {ROLES[order - 1]} "
            f"('{functions[order - 1].__name__}') is {quotient[i]:.10g}{hint}"
        ),
    )


def _scale(y, z, result):
    """The largest of |result| at any point no farther from 0 than z, y or 1: what may have
    cancelled there."""
    size = np.abs(result)
    return np.array([size[np.abs(z) <= far].max() for far in np.maximum(max(1, abs(y)), np.abs(z))])


def _quotients(f, z, scale):
    """The derivative of f at z (n,) from extrapolated central differences, each at the step where
    it is surest; about its error, and that of rounding when f has errors of a few eps * scale."""
    with np.errstate(all="ignore"):
        h = STEPS[:, None] * np.maximum(1, np.abs(z))
        low, high = z - h, z + h
        central = (f(high) - f(low)) / (high - low)
        better = central[1:] + (central[1:] - central[:-1]) / 3
        error, rounding = np.abs(better[1:] - better[:-1]), 8 * EPS * scale / h[2:]
        total = error + rounding
    best = np.argmin(np.where(np.isfinite(total), total, np.inf), axis=0), np.arange(len(z))
    return better[1:][best], error[best], rounding[best]
