"""The page of ``--report``: what the command line knows of the names of a model."""

import numpy as np

import fasthoag
from fasthoag.cli.rows import shown
from fasthoag.report.naming import Named, named_by_problem, names_of_thetas, numbered, pairs
from fasthoag.report.page import page


def page_of(parts, found, warned):
    """The page of a search: `parts` are those of a model, `found` what is shown of it, `warned` the
    texts of warnings."""
    return page(*found, named=named_of(*parts), warnings=warned, is_command=True)


def page_of_each(each, settings, warned):
    """The page of several targets."""
    names = [f"target {shown([name])}" for name in each.names]
    results = [one.result for one in each.found]
    first = 1 if each.model.zero_based is False else 0
    named = named_by_targets(results, each.problem, each.model.coef, names, first)
    return page(
        list(zip(names, results, strict=True)),
        each.found[0].n_held_out,
        settings,
        [one.unseen for one in each.found],
        named=named,
        warnings=warned,
        is_command=True,
    )


def named_by_targets(results, problem, coef, names, first):
    features = numbered("feature", problem.n_features, first)
    thetas = names_of_thetas(problem.penalty, features, []) or []
    strengths = np.concatenate([np.exp(one.theta) for one in results]) if len(thetas) else []
    return Named(thetas, pairs(names, thetas), strengths, coef, features, names)


def named_of(problem, result, fitted, classes, zero_based) -> Named:
    """What strengths, features and classes are called: features as the file counts them, classes by
    their labels."""
    if isinstance(problem, fasthoag.KernelProblem):
        return named_by_problem(result, problem, None, None, None)
    first = 1 if zero_based is False else 0
    features = numbered("feature", problem.n_features, first)
    is_many = problem.loss.n_classes > 1
    labels = [f"class {shown([one])}" for one in classes] if is_many else None
    return named_by_problem(result, problem, fitted, features, labels)
