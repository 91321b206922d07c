"""The parameters of an estimator: how a class declares them, and how its docstring describes
them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import cleandoc
from typing import TypeAlias, TypeVar, dataclass_transform

from fasthoag.estimators.passive import described, passive
from fasthoag.losses import Loss, find_loss
from fasthoag.types import ArrayLike

T = TypeVar("T")
Strengths: TypeAlias = int | float | ArrayLike | None  # of ``Cs`` and ``alphas``

CV = """\
Parameters
----------
{own}cv : {cv}
    What scikit-learn calls cv. Not used when `fit` gets ``validation``.
"""
SEARCH = """\
tol : float or None
    Relative size of the hypergradient at which the search stops. None: it stops where a hundredth
    of the criterion's standard error is left to gain, see `fasthoag.hoag`. (scikit-learn's is of
    the solver at one strength, which adapts its own here.)
max_iter : int or None
    Outer steps at most; None: the method's own limit. (scikit-learn's are steps of the solver.)
n_trials : int or None
    Of methods "grid", "random" and "bayes"; None: 20.
random_state : int, RandomState or None
    Seed of methods "random" and "bayes", None: 0; nothing else is drawn.
n_threads, n_jobs : int or None
    Threads of the kernels (`n_jobs` is scikit-learn's name for the same; None: all cores).
"""
CALLBACK = """\
callback : callable or None
    Called with the record of every evaluation; returning True stops the search.
max_seconds : float or None
    For the searches of a fit together; the final fit comes after. When they are over the best point
    so far is taken, with a ConvergenceWarning, and compared with no others; see `fasthoag.hoag`.
verbose : bool or int, default 0
    1 shows every evaluation on stderr; Python's logger "fasthoag" has them in any case.
{passive}
Attributes
----------
"""
SCORES = """\
scores_ : array, shape {folds}
    Minus the mean held-out loss of every fold at the best {best}; ``score_mean_`` and
    ``score_se_`` its mean and standard error.{scored}
n_iter_ : int
    Outer steps.
hoag_result_ : HoagResult
"""

GIVEN = {
    "alpha_": """\
alphas : number or array, default None
    None: the search chooses. Up to 20 strengths: it chooses between the smallest and the largest,
    and none of them is better by more than its tolerance (`tol`). One: that one, nothing is
    searched for. More: their range. Not beside ``bounds``.
""",
    "C_": """\
Cs : int or array, default None
    None: the search chooses. Up to 20 strengths: it chooses between the smallest and the largest,
    and none of them is better by more than its tolerance (`tol`). One: that one, nothing is
    searched for. More: their range. A whole number: scikit-learn's range, 1e-4 to 1e4, with so many
    points. Not beside ``bounds``.
""",
}
POINTS = {"alpha_": "``alphas``, by default 0.1, 1 and 10", "C_": "``Cs``, by default ten"}

LINEAR = (
    CV
    + """\
{given}\
fit_intercept : bool, default True
    The intercept is not penalised; sparse data stay sparse.
penalty_per : {per}, default "all"
    What has a strength of its own. Groups are one label a feature, or the features of every group
    (a dict or list of arrays); see `fasthoag.GroupRidge`. Many strengths can overfit the folds: see
    ``stop_on`` of `fit`.
penalty_factor : array, shape (n_features,), optional
    Fixed relative strengths; 0 for a feature that is not penalised.
one_se : bool, default False
    Choose the strongest penalty whose criterion, or mean score where ``scoring`` chooses, is within
    one standard error (over folds) of the best. For ``penalty_per="all"``.
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
store_cv_results : bool, default False
    Keep ``coefs_paths_``, the coefficients of every fold at {points}.
warm_start : bool, default False
    The next fit starts from where the search of this one ended, if features, folds and classes are
    as many; the coefficients of every fold are kept for it.
scoring : str, callable, list or dict, optional
    scikit-learn's scorers on the held-out rows of every fold. One, a name or a callable, chooses:
    after the search by the loss strengths around its optimum, and those that were given, are
    compared by the mean score of the folds; of equal scores that of less loss is taken. (Strengths
    of their own move by a common factor, models against the rest are judged together.) What the
    loss chose is ``lam_by_loss_``, and ``hoag_result_`` is of that. A list or dict is reported
    only: ``hoag_result_.scores``, and along its trace. A callable sees the labels as `fit` got
    them, a name -1 and +1 or class numbers. NaN, with a warning, for a fold that a scorer cannot
    judge.
refit_tol : float or None
    Of the final fit: its gradient relative to the penalty's, about the relative error of its
    coefficients, down to about 1e-10. None: 1e-4, or 1e-6 up to 128 coefficients. Where it is not
    reached, which is a matter of rounding, a warning says what is.
device : {{None, "cpu", "gpu"}}
    Where the work is done. None: where X is. "gpu" copies X there once. Coefficients, predictions
    and probabilities are CuPy's where X is CuPy's (labels that are no numbers are NumPy's); a
    fitted model takes rows from either side.
"""
    + CALLBACK
    + """\
has_offset_ : bool, whether it was fitted beside an offset
coef_, intercept_ : arrays
    The final model, fitted on all rows (with ``validation``: on the training rows) at the chosen
    strength.
{strength} : the chosen strength, a float; {shapes} unless ``penalty_per="all"``
lam_ : λ, {lam}
lam_by_loss_ : λ that the loss chose, where ``scoring`` chooses
{attribute} : array, shape (n_points,), the strengths that were given
coefs_paths_ : array, shape (n_folds, 1, n_points, n_models, n_features + fit_intercept)
    With ``store_cv_results``.
best_score_ : float, as ``score_mean_``{best_score}
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
    + SCORES.replace("{scored}", "")
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
    "scored": " Where ``scoring`` chooses they\n    are those of its scores, (n_folds,), there.",
    "best_score": "",
    "dual": "(n_rows,)",
    "intercept": "float",
}


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field, passive))
def with_parameters(text: str = LINEAR, **words: str) -> Callable[[type[T]], type[T]]:
    """A decorator: fields of the class become the explicit ``__init__`` that scikit-learn reads,
    and ``{parameters}`` in its docstring becomes this text with these words for some of `WORDS`.

    They are passed by name, but for those that are declared as ``field(default=...,
    kw_only=False)``; `passive` declares those that choose no model.

    `own` describes the parameters that no other estimator has."""

    def declare(cls: type[T]) -> type[T]:
        cls = dataclass(kw_only=True, eq=False, repr=False)(cls)
        if cls.__doc__:
            strength = words.get("strength", WORDS["strength"])
            attribute = "Cs_" if strength == "C_" else "alphas_"
            given = {"given": GIVEN[strength], "points": POINTS[strength], "attribute": attribute}
            filled = text.format(**WORDS | given | words, passive=described(cls))
            cls.__doc__ = cleandoc(cls.__doc__).replace("{parameters}", filled)
        return cls

    return declare


def find_loss_among(loss: str, *known: str, instead: str = "") -> Loss:
    """The `Loss` of the parameter `loss`, which has to be one of these names. `instead` is what to
    write in the place of those that scikit-learn has beside them."""
    if not (isinstance(loss, str) and loss in known):
        raise ValueError(f"loss must be {' or '.join(map(repr, known))}; got {loss!r}{instead}")
    return find_loss(loss)
