"""What a run returns: the result, its statuses as sentences that say what to do, and what they add
where that is known."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from fasthoag.inner.solve import CORNERS
from fasthoag.null import weighted_quantile
from fasthoag.outer.loop import projected
from fasthoag.outer.minima import Minimum
from fasthoag.outer.search import FLAT, RARE
from fasthoag.outer.tolerance import NOISE, VALUE, to_gain
from fasthoag.outer.trust_region import FEW
from fasthoag.problem import for_user
from fasthoag.threads import stacklevel_of_user
from fasthoag.types import Array, Record


class ConvergenceWarning(UserWarning):
    """The result is not what was asked for; its ``status`` and ``message`` say why and what to
    do. Estimators warn by a subclass that is one of ``sklearn.exceptions.ConvergenceWarning``
    too."""


@dataclass(frozen=True, eq=False, repr=False)
class HoagResult:
    """What `hoag` found.

    Of a `KernelProblem` `theta` is (log γ, log λ), `w` and `w_all` are dual coefficients with the
    intercept last, and `n_passes` counts factorisations of the kernel matrix of all rows.

    Attributes
    ----------
    theta : array, shape (n_hyper,)
        Hyperparameters, log scale.
    lam : array, shape (n_hyper,)
        ``exp(theta)``: the strengths for `Ridge`.
    value, value_error : float
        The criterion at the exact inner solutions is ``value ± value_error``, an estimate of which
        99 of 100 shall hold; `value` is corrected to second order, not what `w` itself gives. NaN
        where the inner problem was not solved.
    grad, grad_error : array, shape (n_hyper,), and float
        Hypergradient and an estimate of the 2-norm of its error. After a last step that was so
        small that it was taken on the quadratic model, `grad` is what the model leaves (about 0)
        and `grad_error` bounds the true one.
    fold_values, fold_weights : array, shape (n_folds,)
        Criterion of every fold, and the sum of the weights of its rows.
    w : array, shape (n_features + fit_intercept, n_folds)
        Inner solutions in the order of the features, the intercept last; one column a fold.
        (n_features + fit_intercept, n_folds, n_classes) with the multinomial loss.
    w_all : array, shape (n_features + fit_intercept,) or with a column a class
        Near the solution on all rows: where a refit starts.
    inner_error : float
        ``|∇h| / |λ w|`` at the inner solutions in the norm of `inner.precond`, largest over
        folds: about the error of θ that it stands for.
    status : str
        ``"converged"``, ``"at_bound"``, ``"max_iter"``, ``"stopped"`` (by the callback),
        ``"out_of_time"`` (`max_seconds`), ``"interrupted"`` (of the exception `Interrupted`),
        ``"stopped_early"`` (by `stop_on`), ``"searched"`` (the best of all trials, which prove no
        optimum), ``"given"`` (an estimator was given one strength), ``"stalled"`` or
        ``"inner_failed"``.
    message : str
        The same as a sentence that says what to do, and which θ are as good where many are.
    standard_error : float
        Of `value`: how far it would be from rows to other rows (`KFold` from 5 folds on: folds);
        NaN of criteria that are no sum over rows.
    n_iter, n_passes : int, float
        Accepted outer steps, or trials; passes over the training rows (other rows in proportion).
    trace : list of dict
        One record an outer evaluation: phase ("look" at strengths, "sample" of the rows, "one
        fold", "all" folds, "all rows" with those that were held back, "trial"; of kernel models
        also a larger "part" of the rows, and "one width" for all features), theta, value,
        value_error, grad_norm, grad_error (NaN of trials that are solved side by side), grad_tol
        (what the two have to come down to), inner_tol, linear_tol, n_inner,
        n_cg, n_passes, seconds, is_accepted (of a trial: the best so far); with `stop_on`, `unseen`
        and `scoring` also stop_value, unseen_value and scores of the accepted ones on all folds.
    unseen_value : float
        Loss on the rows of `unseen`; NaN without.
    scores : dict
        Scores of every fold, (n_folds,), by the names of `scoring`.
    minima : sequence of Minimum
        Every local minimum that the looks at strengths and the searches of this call saw, pairs of
        ``theta`` and ``value``, the best first: more than one where f has several valleys. Those
        between two looks, or of trials, are places within about their distance. One at a bound
        counts. Nothing was evaluated for them; `fasthoag.curve` looks everywhere.
    curvature : float
        Second derivative of the criterion in θ of one hyperparameter, as roughly as the steps of
        the search needed it; NaN of several, and of methods that do not compute it.
    at_lower, at_upper : sequence of int
        Which hyperparameters are at their lower and upper bounds; empty where estimators search
        by a decomposition of X.
    loss, fit_intercept, has_offset : str, bool or None, and bool
        The loss of the model, whether the last of its coefficients is an intercept (None of a
        `KernelProblem`), and whether it was fitted beside an offset. `fasthoag.save_model` takes
        them from here.
    """

    theta: Array
    lam: Array
    value: float
    value_error: float
    grad: Array
    grad_error: float
    fold_values: Array
    fold_weights: Array
    w: Any  # NumPy's, or CuPy's where X is
    w_all: Any
    inner_error: float
    status: str
    message: str
    n_iter: int
    n_passes: float
    seconds: float
    method: str
    trace: list[Record]
    unseen_value: float = np.nan
    scores: dict[str, Any] = field(default_factory=dict)
    minima: Sequence[Minimum] = ()
    standard_error: float = np.nan
    loss: str = ""
    fit_intercept: bool | None = None
    has_offset: bool = False
    curvature: float = np.nan
    at_lower: Sequence[int] = ()
    at_upper: Sequence[int] = ()

    @property
    def is_of_kernel(self) -> bool:
        """Whether θ has widths of a kernel beside the strength."""
        return self.fit_intercept is None and len(self.theta) > 1

    def to_frame(self) -> Any:
        """The trace as a table of pandas, a row each evaluation; θ of one hyperparameter is a
        number, of several an array.

        Raises
        ------
        ImportError
            Without pandas (``pip install pandas``).

        Examples
        --------
        >>> import numpy as np, fasthoag
        >>> problem = fasthoag.Problem(np.eye(4), [1, -1, 1, -1])
        >>> result = fasthoag.hoag(problem, fasthoag.KFold(2), bounds=(-3, 3))
        >>> table = result.to_frame()
        >>> len(table) == len(result.trace), "n_passes" in table.columns
        (True, True)
        """
        from fasthoag.report import frame

        return frame(self.trace)

    def __repr__(self) -> str:
        from fasthoag.report import essential

        return "\n  ".join(f"{name}: {text}" for name, text in essential(self))

    def _repr_html_(self) -> str:
        from fasthoag.report import essential, table

        return table(essential(self))


SAFETY = 2.0  # of the reported error of f: an estimate, of which 99 of 100 shall hold


def error_of(best):
    """What a result says of the error of f: that of its solves, and of random probes where there
    are some."""
    return SAFETY * best.value_error + best.value_probe_error


class Outcome(NamedTuple):
    """How a run ended."""

    status: str
    message: str
    n_iter: int
    method: str
    minima: Sequence[Minimum] = ()
    at_lower: Sequence[int] = ()
    at_upper: Sequence[int] = ()


def result_of(run, best, W_all, outcome):
    """The `HoagResult` of an evaluation at the user's θ, and of a solution on all rows."""
    inner, W = run.bound.inner, best.predict(0 * best.theta)
    design, units = inner.design, inner.units
    # stopped before all folds were looked at: nothing to say
    last = run.look(W) if W.shape[1] == units.n_columns else {}
    w, w_all = (for_user(design, design.decode(block)) for block in (W, W_all))
    found = with_coefficients(run, best, units.apart(w), units.squeeze(w_all), last, outcome)
    kind = {"fit_intercept": design.has_intercept, "has_offset": inner.rows.offset is not None}
    return replace(found, loss=inner.loss.name, **kind)


def coefficients_at(inner, found):
    """Coefficients of an evaluation as the user has them, (n_features + fit_intercept, n_folds) and
    perhaps n_classes; of a sample, or of one fold, those that were found there."""
    design = inner.design
    w = for_user(design, design.decode(found.predict(0 * found.theta)))
    return inner.units.apart(w)


def with_coefficients(run, best, w, w_all, last, outcome):
    """The `HoagResult` with these coefficients, and what was watched at the end."""
    return HoagResult(
        theta=best.theta,
        lam=np.exp(best.theta),  # infinite for properties in tiny units
        value=best.value,
        value_error=error_of(best),
        grad=best.grad,
        grad_error=best.grad_error,
        fold_values=best.fold_values,
        # stopped before all folds were looked at, there is the first
        fold_weights=run.judged.fold_weights[: len(best.fold_values)],
        w=w,
        w_all=w_all,
        standard_error=best.standard_error,
        inner_error=best.accuracy.inner,
        **outcome._asdict(),
        n_passes=run.n_passes(),
        seconds=run.seconds(),
        trace=run.trace,
        unseen_value=last.get("unseen_value", np.nan),
        scores=last.get("scores", {}),
        curvature=np.nan if best.hess is None or best.hess.size != 1 else float(best.hess[0, 0]),
    )


MESSAGES = {
    "converged": "The hypergradient is below its tolerance{left}.",
    "at_bound": "The optimum is at the bound of theta ({where}); the criterion still falls beyond "
    "it. Widen bounds= (Cs=, alphas=), or doubt the data: at the upper bound the features do not "
    "help, at the lower one no penalty is needed.",
    "at_kink": "The criterion has a kink here, where a row enters or leaves the curved part of the "
    "loss, and falls on neither side.",
    "featureless": "No feature tells rows apart, all are constants or 0: the intercept is the "
    "model, whatever the strength.",
    "equal_targets": "All targets are equal: the intercept is the model, whatever the strength.",
    "max_iter": "max_iter outer steps were not enough; raise max_iter= or loosen tol=.",
    "stopped": "The callback stopped the loop.",
    "out_of_time": "max_seconds= were not enough{how_far}. Give more, or go on from its theta with "
    "theta0= of a method that follows the slope.",
    "interrupted": "The search was ended before its time{how_far}.",
    "stopped_early": "The loss on the rows of stop_on fell no more; this is the step where it was "
    "least.",
    "no_better": "The best step for the rows of stop_on is no better on all rows than the best "
    "single strength, which is returned.",
    "searched": "The best of {n_iter} trials within the bounds of theta, which prove no optimum: "
    "method='newton' or 'lbfgs' goes on to it.",
    "given": "The strength was given; nothing was searched for.",
    "stalled": "No step decreases the criterion by more than its own error; tol= asks for more "
    "than rounding allows.",
    "inner_failed": "An inner problem was not solved (non-finite values, or no progress); scale "
    "the features or raise the lower bound of theta.",
}


def concluded(best, status, theta, search):
    """The evaluation, the status and its sentence as a run returns them; `theta` is the user's."""
    at_bound = sorted({*chain(*at_ends(best.theta, search.box, ~search.is_common))})
    n_hyper, inner = len(theta), search.bound.inner
    # that some of many are taken out, or let go, is what they are for
    if status == "at_bound" and n_hyper > FEW:
        status, message = (
            "converged",
            (
                f"The hypergradient is below its tolerance; {len(at_bound)} of {n_hyper} "
                "hyperparameters are at their bounds."
            ),
        )
    else:
        where = ", ".join(f"theta[{j}] = {theta[j]:g}" for j in at_bound[:5])
        where += f" and {len(at_bound) - 5} more" if len(at_bound) > 5 else ""
        known = {"where": where, "n_iter": search.n_iter, "left": left_to_gain(best, search)}
        known["how_far"] = how_far(best, status, search, best is search.run.on_some)
        message = MESSAGES[status].format(**known)
    status = {"at_kink": "converged", "no_better": "stopped_early"}.get(status, status)
    if status == "inner_failed":  # no number of it is one
        message = narrow_corner(inner) or message
        nothing = np.full_like(best.fold_values, np.nan)
        best = replace(best, value=np.nan, value_inner_error=np.nan, fold_values=nothing)
    elif search.bound.inner.is_featureless and status in ("converged", "at_bound"):
        status, message = "converged", MESSAGES["featureless"]
    elif n_hyper == 1 and status == "converged":
        message += flat_range(best, theta, search)
    elif search.is_common.any():
        message += common_classes(inner, search.is_common)
    return best, status, message


def at_ends(theta, box, is_free=True):
    """Numbers of the hyperparameters that may move and are at their lower, or upper, bounds."""
    ends = (theta <= box.lower) & is_free, (theta >= box.upper) & is_free
    return [np.flatnonzero(is_there).tolist() for is_there in ends]


def left_to_gain(best, search):
    """How far f is from its minimum, in the unit of what ended the search: its noise, or its size
    where so many rows tell, or folds so alike, that its noise is less than anybody asks for."""
    if best.hess is None or not search.settings.tolerance.is_of_noise(best):
        return ""
    grad, error, _ = projected(best, search.box)
    gain, noise = to_gain(grad, error, best.hess), best.standard_error
    size = search.bound.size(best.value)
    if NOISE * noise >= VALUE * size:
        share = f"{100 * gain / max(noise, 1e-300):.2g} % of one standard error ({noise:.3g})"
        return f": the criterion is within {share} of its minimum"
    return (
        f": the criterion is within {gain:.2g} of its minimum, {100 * gain / size:.2g} % of its "
        f"size (one standard error is only {noise:.2g})"
    )


def in_time(run, best, status):
    """The best so far where there was no time for more."""
    if run.is_out_of_time and status in ("stopped", "stopped_early"):
        return run.best_so_far(best), "out_of_time"
    return best, status


def how_far(best, status, search, is_of_sample=False):
    """What is known of a point at which a search was ended before its time, else nothing."""
    if status not in ("out_of_time", "interrupted"):
        return ""
    value = f"the criterion is {best.value:.6g} ± {error_of(best):.1g}"
    if len(best.fold_values) < len(search.bound.fold_weights):
        value += " on the first fold, the only one that was looked at"
    elif is_of_sample:
        value += " by a sample of the rows, the only ones that were looked at"
    grad, error, _ = projected(best, search.box)
    size = np.linalg.norm(grad)
    if not np.isfinite(size + error):  # nobody asked for the slope
        return f": at the best point so far {value}"
    ratio = (size + error) / max(search.settings.slope(search.bound, best), 1e-300)
    return (
        f": at the best point so far the hypergradient is {ratio:.2g} x its tolerance, and {value}"
    )


def warn_unless_converged(status, message):
    if status not in ("converged", "stopped", "interrupted", "stopped_early", "searched"):
        warn_of_convergence(message)


def warn_of_convergence(message):
    """A `ConvergenceWarning` at the user's line.

    Where scikit-learn is loaded it is one of scikit-learn's too, which its users filter by. Else
    nobody has such a filter, and loading it for that would take a second."""
    theirs = sys.modules.get("sklearn.exceptions")
    category = ConvergenceWarning if theirs is None else of_both(theirs.ConvergenceWarning)
    warnings.warn(message, category, stacklevel=stacklevel_of_user())


@cache
def of_both(theirs):
    """The warning that filters for ours and filters for theirs both know. A copy by pickle is
    ours."""
    members = {
        "__module__": __name__,
        "__doc__": ConvergenceWarning.__doc__,
        "__reduce__": lambda self: (ConvergenceWarning, self.args),
    }
    return type("ConvergenceWarning", (ConvergenceWarning, theirs), members)


def common_classes(inner, is_common):
    """The sentence about classes that keep the best single strength."""
    k, K = inner.penalty.n_hyper(inner.n_features), inner.loss.n_classes
    classes = np.flatnonzero(is_common[:k].reshape(K, -1).any(axis=1))
    shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
    return (
        f" Classes with fewer than {RARE} rows ({len(classes)} of {K}: {shown}) keep the best "
        "single strength."
    )


def narrow_corner(inner):
    """What is wrong with a loss whose curved part hardly a row can be in, or nothing."""
    loss, y = inner.loss, inner.unexplained
    name = CORNERS.get(loss.name)
    if name is None or loss.is_classification:
        return ""
    low, high = (weighted_quantile(y, np.ones(len(y)), share) for share in (0.25, 0.75))
    width = loss.parameters[name]
    if not width < 1e-3 * (high - low):
        return ""
    return (
        f"An inner problem was not solved: loss '{loss.name}' is curved over {name}={width:g} "
        f"only, and half of the targets are {high - low:g} apart: hardly a row has a curvature. "
        f"Widen {name}, such as to a tenth of that."
    )


def flat_range(best, theta, search):
    """A sentence about the θ that are as good, where these are many: by the levels that were looked
    at around, else by the parabola of f."""
    allowed = search.tol * search.bound.size(best.value)
    here, shift = float(best.theta[0]), float(theta[0] - best.theta[0])
    reach = 0.0
    if best.hess is not None and best.hess[0, 0] > 0 and not search.looks:
        reach = float(np.sqrt(2 * allowed / best.hess[0, 0]))
    as_good = [here - reach, here + reach]
    for side in (-1, 1):  # outwards, as far as the criterion stays
        looks = [one for one in search.looks if (one.found.theta[0] - here) * side > 0]
        for one in sorted(looks, key=lambda one: side * one.found.theta[0]):
            if not one.value <= best.value + allowed:
                break
            as_good.append(float(one.found.theta[0]))
    low, high = (
        np.clip([min(as_good), max(as_good)], search.box.lower[0], search.box.upper[0]) + shift
    )
    if high - low < 2 * FLAT:
        return ""
    return (
        f" The criterion is flat: theta from about {low:.3g} to {high:.3g} changes it by less than "
        "its tolerance."
    )
