"""The parameters of an estimator: how a class declares them, and how its docstring describes
them."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import TypeVar, dataclass_transform

from fasthoag.losses import Loss, find_loss

T = TypeVar("T")

CV = """\
Parameters
----------
{own}cv : {cv}
    What scikit-learn calls cv. Not used when `fit` gets ``validation``.
"""
SEARCH = """\
tol : float, default 3e-4
    Relative size of the hypergradient at which the search stops; see `fasthoag.hoag`.
max_iter : int or None
    Outer steps at most; None: the method's own limit.
n_trials : int or None
    Of methods "grid", "random" and "bayes"; None: 20.
random_state : int or None
    Seed of methods "random" and "bayes", None: 0; nothing else is drawn.
n_threads, n_jobs : int or None
    Threads of the kernels (`n_jobs` is scikit-learn's name for the same; None: all cores).
"""
CALLBACK = """\
callback : callable or None
    Called with the record of every evaluation; returning True stops the search.

Attributes
----------
"""
SCORES = """\
scores_ : array, shape {folds}
    Minus the mean held-out loss of every fold at the best {best}; ``score_mean_`` and
    ``score_se_`` its mean and standard error.
n_iter_ : int
    Outer steps.
hoag_result_ : HoagResult
"""

LINEAR = (
    CV
    + """\
fit_intercept : bool, default True
    The intercept is not penalised; sparse data stay sparse.
penalty_per : {per}, default "all"
    What has a strength of its own. Groups are one label a feature, or the features of every group
    (a dict or list of arrays); see `fasthoag.GroupRidge`. Many strengths can overfit the folds: see
    ``stop_on`` of `fit`.
penalty_factor : array, shape (n_features,), optional
    Fixed relative strengths; 0 for a feature that is not penalised.
one_se : bool, default False
    Choose the strongest penalty whose criterion is within one standard error (over folds) of the
    best. For ``penalty_per="all"``.
method : {{"auto", "newton", "lbfgs", "hoag", "grid", "random", "bayes"}}, default "auto"
    The last three try points, to compare with; see `fasthoag.hoag`.
bounds : (low, high) or None
    Of ``log λ``. None: {low} times the smallest to 1e6 times the largest scale of a feature, or
    those of `fasthoag.hoag` for trials.
"""
    + SEARCH
    + """\
low_memory, deterministic : bool, default False
    See `fasthoag.Problem`.
store_folds : bool, default False
    Keep the coefficients of every fold in ``hoag_result_``: they are several times those of the
    model, in memory and in a pickle.
scoring : str, callable, list or dict, optional
    scikit-learn's scorers, to be reported on the held-out rows of every fold:
    ``hoag_result_.scores``, and along its trace. They choose nothing. Labels are -1 and +1 there,
    or class numbers. NaN, with a warning, for a fold that a scorer cannot judge.
device : {{None, "cpu", "gpu"}}
    Where the work is done. None: where X is. "gpu" copies X there once. Coefficients, predictions
    and probabilities are CuPy's where X is CuPy's (labels that are no numbers are NumPy's); a
    fitted model takes rows from either side.
"""
    + CALLBACK
    + """\
coef_, intercept_ : the final model, fitted on all rows (with ``validation``: on the training
rows) at the chosen strength
{strength} : the chosen strength, a float; {shapes} unless ``penalty_per="all"``
lam_ : λ, {lam}
"""
    + SCORES
    + """\
    With ``store_folds=False`` its ``w`` and ``w_all`` are None, and beside more than 16 strengths
    ``lam``, ``grad`` and the ``theta`` of the trace too."""
)

KERNEL = (
    CV
    + """\
kernel : {{"rbf", "laplacian", "poly", "linear"}} or callable, default "rbf"
    ``exp(-gamma |x - y|²)``, ``exp(-gamma |x - y|_1)``, ``(gamma x·y + coef0)^degree``, ``x·y``; or
    a function of two arrays of rows that returns their kernel matrix, whose strength is tuned.
per_feature : bool, default False
    Tune a width for every feature, ``Σ_k gamma_k (x_k - y_k)²`` and so on, of dense X. Many widths
    can overfit the folds.
degree, coef0 : int and float, default 3 and 1
    Of "poly".
solver, n_components : {{"auto", "cholesky", "cg", "nystrom"}} and int or None
    See `fasthoag.KernelProblem`.
device : {{None, "cpu", "gpu"}}
    Where the kernel matrix is. None: where X is. Predictions are CuPy's where their rows are.
fit_intercept : bool, default True
    The intercept is not penalised.
method : {{"auto", "newton", "lbfgs", "hoag", "grid", "random", "bayes"}}, default "auto"
    The last three try points, to compare with; see `fasthoag.hoag`.
bounds : (low, high) or None
    Of θ = (log gamma, log λ): numbers, or arrays with one for each. None: from widths at which no
    two rows are alike to those at which all are, and from the λ that is lost in the rounding of the
    kernel matrix.
"""
    + SEARCH
    + CALLBACK
    + """\
alpha_ : float
    The chosen λ.
gamma_ : float, array of shape (n_features,) with ``per_feature``, or None
    The chosen widths; None of kernels that have none.
X_fit_ : array or sparse matrix, shape (n_rows, n_features)
    The rows of the final model: those of `fit`.
dual_coef_ : array, shape {dual}
    Their coefficients, 0 for rows of weight 0: predictions are ``Σ_i k(x, x_i) dual_coef_i +
    intercept_``.
intercept_ : {intercept}
"""
    + SCORES
    + """\
    Its ``w`` and ``w_all`` are None."""
)

WORDS = {
    "own": "",
    "cv": "int, splitter or iterable of (train, test) pairs, default 5",
    "per": '"all", "feature" or groups',
    "low": "1e-12",
    "strength": "alpha_",
    "shapes": "an array, shape (n_features,),",
    "lam": "the same as ``alpha_``",
    "folds": "(n_folds,)",
    "best": "strength",
    "dual": "(n_rows,)",
    "intercept": "float",
}


@dataclass_transform(kw_only_default=True, eq_default=False)
def with_parameters(text: str = LINEAR, **words: str) -> Callable[[type[T]], type[T]]:
    """A decorator: fields of the class become the explicit ``__init__`` that scikit-learn reads,
    and ``{parameters}`` in its docstring becomes this text with these words for some of `WORDS`.

    `own` describes the parameters that no other estimator has."""

    def declare(cls: type[T]) -> type[T]:
        cls = dataclass(kw_only=True, eq=False, repr=False)(cls)
        if cls.__doc__:
            described = text.format(**WORDS | words)
            cls.__doc__ = cleandoc(cls.__doc__).replace("{parameters}", described)
        return cls

    return declare


def find_loss_among(loss: str, *known: str) -> Loss:
    """The `Loss` of the parameter `loss`, which has to be one of these names."""
    if not (isinstance(loss, str) and loss in known):
        raise ValueError(f"loss must be {' or '.join(map(repr, known))}; got {loss!r}")
    return find_loss(loss)
