"""The page of ``--report``: what the command line knows of the names of a model."""

import numpy as np

import fasthoag
from fasthoag.report.naming import Named, named_by_problem, numbered
from fasthoag.report.page import page


def page_of(parts, found, warned):
    """The page of a search: `parts` are those of a model, `found` what is shown of it, `warned` the
    texts of warnings."""
    return page(*found, named=named_of(*parts), warnings=warned, is_command=True)


def named_of(problem, result, fitted, classes, zero_based) -> Named:
    """What strengths, features and classes are called: features as the file counts them, classes by
    their labels."""
    if isinstance(problem, fasthoag.KernelProblem):
        return named_by_problem(result, problem, None, None, None)
    first = 1 if zero_based is False else 0
    features = numbered("feature", problem.n_features, first)
    is_many = problem.loss.n_classes > 1
    labels = [f"class {label:g}" for label in np.asarray(classes)] if is_many else None
    return named_by_problem(result, problem, fitted, features, labels)
