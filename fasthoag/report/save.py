"""`save_report`: a page of HTML of a result or of a fitted estimator."""

from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import numpy as np

from fasthoag.criteria import Criterion
from fasthoag.curve import Curve
from fasthoag.io.replacement import replace_file
from fasthoag.kernels.problem import KernelProblem
from fasthoag.outer.result import HoagResult
from fasthoag.plots.axes import Fitted
from fasthoag.plots.search import check_is_one
from fasthoag.problem import Problem
from fasthoag.report.naming import Named, named_by_estimator, named_by_problem
from fasthoag.report.page import page
from fasthoag.shared_rows import shared_rows


def save_report(
    path: str | Path,
    found: Any,
    problem: Problem | KernelProblem | None = None,
    criterion: Criterion | None = None,
    *,
    names: Sequence[Any] | None = None,
    classes: Sequence[Any] | None = None,
    curve: Curve | None = None,
    overwrite: bool = False,
) -> None:
    """Write a page of HTML, which needs no network: what to do next, numbers, pictures
    (``pip install 'fasthoag[plot]'``), strengths and coefficients by name, and the search step by
    step. `fasthoag tune --report` writes the same.

    Parameters
    ----------
    path : str or path
    found : HoagResult or fitted estimator
    problem : Problem or KernelProblem, optional
        Of a `HoagResult`: what its strengths belong to is named, and its coefficients are shown.
    criterion : HeldOut or KFold, optional
        With `problem`: its rows are compared with those that train (`shared_rows`), one pass.
    names : sequence, shape (n_features,), optional
        Of the features; by default those of the columns that the estimator saw, else numbers.
    classes : sequence, optional
        Names of the classes of a multinomial problem.
    curve : Curve, optional
        What `fasthoag.curve` found: the line of the criterion is finer.
    overwrite : bool, default False
        Whether a file of this name is replaced. It appears only when it is complete.

    Raises
    ------
    FileExistsError
        The file exists and `overwrite` is False.
    TypeError, ValueError
        For what is neither a result nor a fitted estimator, and names that do not fit.

    Examples
    --------
    >>> import numpy as np, fasthoag, pathlib, tempfile
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 5))
    >>> model = fasthoag.RidgeCV().fit(X, X @ np.ones(5) + rng.normal(size=60))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = pathlib.Path(folder, "report.html")
    ...     fasthoag.save_report(page, model)
    ...     "What to do next" in page.read_text(encoding="utf-8")
    True
    """
    if problem is None:
        for name, value in (("criterion", criterion), ("classes", classes)):
            if value is not None:
                raise ValueError(f"{name} needs the problem of the result: pass problem too")
        models, named, settings = of_found(found, names)
    else:
        models, named, settings = of_problem(found, problem, names, classes)
    n_features = None if named.coefficients is None else named.coefficients.shape[1]
    if names is not None and n_features not in (None, len(names)):
        raise ValueError(f"names must have one for each of {n_features} features; got {len(names)}")
    check_curve(curve, models)
    warned = [] if criterion is None else warned_of_shared(problem, criterion)
    n_judging = judging(models[0][1]) if len(models) == 1 else None
    text = page(models, n_judging, settings, named=named, curve=curve, warnings=warned)
    replace_file(path, text.encode(errors="backslashreplace"), overwrite)


def of_found(found, names):
    """Results with names, what is `Named` of them and settings, of a fitted estimator or of a
    result by itself."""
    if isinstance(found, HoagResult):
        return [("", found)], Named(features=names or ()), {"method": found.method}
    if not isinstance(found, Fitted):
        raise TypeError(
            "found must be a HoagResult, or an estimator of fasthoag after its fit; got "
            f"{type(found).__name__}"
        )
    results, named = found.hoag_result_, named_by_estimator(found, names)
    if not isinstance(results, list):
        results = [results]
    models = list(zip(named.outputs if len(results) > 1 else [""], results, strict=True))
    return models, named, {"estimator": type(found).__name__} | settings_of(found)


def settings_of(estimator):
    """The parameters of an estimator that say something, as texts, of long ones the beginning."""
    given = estimator.get_params(deep=False).items()
    return {
        name: shown(value)
        for name, value in given
        if value is not None and value is not False and not name.startswith("_")
    }


def of_problem(result, problem, names, classes):
    """The same of a result of a problem."""
    if not isinstance(result, HoagResult):
        raise TypeError(
            f"found must be a HoagResult where problem is given; got {type(result).__name__}"
        )
    if len(result.theta) != problem.n_hyper:
        raise ValueError(
            f"problem must be that of found, which has {len(result.theta)} hyperparameters; it has "
            f"{problem.n_hyper}"
        )
    if classes is not None and len(classes) != problem.loss.n_classes:
        raise ValueError(
            f"classes must have one for each of {problem.loss.n_classes}; got {len(classes)}"
        )
    named = named_by_problem(result, problem, result.w_all, names, classes)
    settings = {"loss": problem.loss.name, "method": result.method}
    if isinstance(problem, Problem):
        settings["penalty"] = type(problem.penalty).__name__
    settings |= {"n_rows": problem.n_rows, "n_features": problem.n_features}
    return [("", result)], named, settings


def judging(result):
    """How many rows a criterion sums over, or the sum of their weights; None where it is no sum."""
    if not np.isfinite(result.standard_error):
        return None
    n = float(np.sum(result.fold_weights))
    return int(n) if n.is_integer() else n


def check_curve(curve, models):
    """Raises for a curve that is none, or of another problem than the one result has."""
    if curve is not None:
        check_is_one(models[0][1], curve)
    if curve is not None and len(models) > 1:
        raise ValueError(f"curve is of one model, and found has {len(models)}")


def warned_of_shared(problem, criterion):
    """What is to be said of rows of the criterion that train."""
    found = shared_rows(problem, criterion)
    if not found.is_suspect:
        return []
    return [
        f"{found.n_shared} of the {found.n_rows} rows that judge are training rows too: the "
        "criterion follows their noise, and the strength is too small. fasthoag.shared_rows names "
        "them."
    ]
