"""The final fit of an estimator: the model on all rows at the strength that was chosen."""

from typing import Any

import numpy as np

from fasthoag.free import separated_at_once
from fasthoag.inner.precond import SMALL
from fasthoag.outer.result import warn_of_convergence
from fasthoag.penalties import NoPenalty
from fasthoag.problem import Problem, on_its_design, refit
from fasthoag.types import Array

# About the relative error of the coefficients. Few coefficients are solved to more digits, which
# cost next to nothing.
REFIT_TOL, REFIT_TOL_FEW = 1e-4, 1e-6
REFIT_WARNING = 1e-2


def final_fit(problem: Problem, theta: Array, w_all: Any, asked: float | None) -> Any:
    """The model on all rows, with a warning where it is not solved to `asked`, the ``refit_tol`` of
    an estimator. θ of -inf is strength 0."""
    if np.isneginf(theta).all():
        return fit_without_penalty(problem, asked)
    w, error, is_converged = refit(problem, theta, w_all, tol=refit_tol_of(problem.design, asked))
    if not is_converged:
        # There is nearly no penalty, and there the null model is the better start.
        tol = refit_tol_of(problem.design, asked)
        w_again, error_again, is_converged = refit(problem, theta, tol=tol)
        if is_converged or not error_again >= error:
            w, error = w_again, error_again
    warn_unless_solved(error, is_converged, asked)
    return w


def refit_tol_of(design: Any, asked: float | None) -> float:
    """To what the model on all rows is solved, an error relative to the penalty's gradient."""
    if asked is not None:
        return asked / 1.5  # a refit ends at 1.5 tol
    return REFIT_TOL_FEW if design.n_coef <= SMALL else REFIT_TOL


def warn_unless_solved(error: float, is_converged: bool, asked: float | None) -> None:
    if asked is None and not (is_converged or error <= REFIT_WARNING):
        warn_of_convergence(
            "the final model is not solved at the chosen strength: its gradient is "
            f"{error:.1e} of the penalty's. Raise the lower bound of log lambda (bounds=)"
        )
    if asked is not None and not error <= asked:
        warn_of_convergence(
            f"refit_tol={asked:g} is not reached: the gradient of the final model is "
            f"{error:.1e} of the penalty's, as rounding may not allow less. Loosen refit_tol=, "
            "or raise the lower bound of log lambda (bounds=)"
        )


def fit_without_penalty(problem, asked):
    """The model of strength 0 on all rows, with a warning where it is not solved, or where no
    finite coefficients are best."""
    problem = without_penalty(problem)
    tol = REFIT_TOL_FEW if asked is None else asked
    w, _, is_converged = refit(problem, np.zeros(problem.n_hyper), tol=tol)
    found = separated_at_once(problem.inner())
    if found is not None:
        features, what = found
        warn_of_convergence(
            f"strength 0: the features {features} separate {what} from other rows, so that the "
            "loss falls for ever as their coefficients grow. No finite ones are best, and "
            "these are where the fit ended; a positive strength has a best model"
        )
    elif not is_converged:
        warn_of_convergence(
            f"strength 0: the final model is not solved to {tol:g} of its first gradient; "
            "loosen refit_tol=, or use a positive strength"
        )
    return w


def without_penalty(problem):
    """The same problem at strength 0, which no logarithm has, whatever its θ: least squares, plain
    logistic regression and so on."""
    return on_its_design(problem, penalty=NoPenalty())
