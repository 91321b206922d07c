"""``fasthoag tune`` of several targets: a search for each, one after the other, on one design."""

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

import fasthoag
from fasthoag import report
from fasthoag.cli.application import exit_code
from fasthoag.cli.found import Found, found_of
from fasthoag.cli.problem import make_criterion, make_problem, of_target, search_settings
from fasthoag.cli.search import EVERY, fit
from fasthoag.cli.terminal import print_table, say, show
from fasthoag.criteria.held_out import design_of
from fasthoag.io import Model
from fasthoag.outer.record import SOON

MOST_SHOWN = 20  # targets in the table


class Each(NamedTuple):
    """What was found of every target, and their models side by side."""

    names: Any
    found: list[Found]
    model: Model

    @property
    def worst(self):
        """The result of the first target that did not converge, else of the first."""
        results = [one.result for one in self.found]
        return next((one for one in results if one.status != "converged"), results[0])


def problems_of(asked, data):
    """The `Data`, problem and criterion of every target, with one design of X."""
    design, judging = None, None
    for j in range(len(data.names)):
        one = of_target(asked, data, j)
        if design is not None:
            one = one._replace(train=(design, one.train[1]))
        with of_name(data.names[j]):
            problem = make_problem(asked, one, has_design=design is not None)
            if data.valid is not None:
                judging = design_of(one.valid[0], problem) if judging is None else judging
                one = one._replace(valid=(judging, one.valid[1]))
            criterion = make_criterion(asked, one)
        design = problem.design
        yield one, problem, criterion


def tune_each(asked, data, settings):
    """Tunes and fits every target, writes the model of all of them and prints what was found; an
    exit code."""
    names, found, began = data.names, [], time.perf_counter()
    told = began
    search, intercept = search_settings(asked) | {"n_threads": asked.threads}, []
    coef = np.empty((len(names), data.train[0].shape[1]))
    for j, (one, problem, criterion) in enumerate(problems_of(asked, data)):
        if time.perf_counter() - told >= EVERY:
            told = time.perf_counter()
            say(f"{j} of {len(names)} targets are tuned.")
        seconds = asked.max_seconds
        if seconds is not None:  # a share of those that are left
            left = seconds - (time.perf_counter() - began)
            seconds = max(left / (len(names) - j), SOON)
        with of_name(names[j]), not_half_a_model(asked, names, j):
            options = {"max_seconds": seconds, "keeps_trace": False}
            result, fitted = fit(problem, criterion, **options, **search)
        p = problem.n_features
        coef[j] = fitted[:p]
        intercept.append(fitted[p] if problem.fit_intercept else 0.0)
        found.append(found_of(asked, one, problem, without_coefficients(result), fitted, settings))
    model = model_of(data, problem, found, coef, np.array(intercept))
    each = Each(names, found, model)
    deliver(asked, each, settings)
    return exit_code(each.worst)


@contextmanager
def of_name(name):
    """Errors inside say of which target they are."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error} (found when target {named(name)} was fitted)") from error


@contextmanager
def not_half_a_model(asked, names, j):
    """Says on the way out of an interrupted search that no model is written."""
    try:
        yield
    except KeyboardInterrupt:
        if asked.out is not None:
            say(
                f"stopped at target {j + 1} of {len(names)}; {asked.out} is not written, as a "
                "model has all of them."
            )
        raise


def without_coefficients(result):
    """What is shown of a search. Those of many targets together would take much memory."""
    return replace(result, w=None, w_all=None)


def model_of(data, problem, found, coef, intercept):
    """The model of all targets."""
    results = [one.result for one in found]
    first = next((one for one in results if one.status != "converged"), results[0])
    has_labels = data.classes.size > 0
    return Model(
        problem.loss.name,
        coef=coef,
        intercept=intercept,
        classes=data.classes,
        theta=np.concatenate([one.theta for one in results]),
        lam=np.concatenate([one.lam for one in results]),
        value=sum(one.value for one in results),
        value_error=sum(one.value_error for one in results),
        status=first.status,
        message=first.message,
        zero_based=data.zero_based,
        has_offset=problem.offset is not None,
        has_labels=has_labels,
        targets=data.names if scipy.sparse.issparse(data.train[1]) else (),  # of sets of labels
    )


# ---- what is shown ----


def named(name):
    """A target as text: its number, or its label."""
    return np.format_float_positional(name, trim="-")


def deliver(asked, each, settings):
    """Writes the model and prints what was found, also after a failure to write."""
    is_written = False
    try:
        if asked.out is not None:
            fasthoag.save_model(asked.out, each.model, overwrite=asked.force)
            is_written = True
    finally:
        if not is_written:
            settings = settings | {"out": None, "format": None}
        if asked.is_json:
            show(report.dump(to_dict(each, settings)))
        else:
            print_table(summary(each) + ([("model", asked.out)] if is_written else []))


def to_dict(each, settings):
    """What was found, for JSON: a dict for every target, and what is of all."""
    one_by_one = []
    for name, found in zip(each.names.tolist(), each.found, strict=True):
        own = report.to_dict(*found)
        of_all = {"settings": own.pop("settings"), "versions": own.pop("versions")}
        one_by_one.append({"name": name} | own)
    return {
        "targets": one_by_one,
        "status": each.worst.status,
        "message": each.worst.message,
        "n_passes": sum(one.result.n_passes for one in each.found),
        "seconds": sum(one.result.seconds for one in each.found),
    } | (of_all | {"settings": settings})


def summary(each):
    """What was found, as (name, text) pairs: a line for each of the first targets, then what is of
    all."""
    rows = [("targets", f"{len(each.names)}, each with a strength of its own")]
    for name, found in list(zip(each.names, each.found, strict=True))[:MOST_SHOWN]:
        rows.append((f"target {named(name)}", line_of(found)))
    if len(each.names) > MOST_SHOWN:
        rows.append(("", f"... {len(each.names) - MOST_SHOWN} more; --json has all of them"))
    unseen = [one.unseen for one in each.found if one.unseen is not None]
    if unseen:
        text = f"loss per row {np.mean([one['mean_loss'] for one in unseen]):.6g}"
        if "accuracy" in unseen[0]:
            text += f", accuracy {np.mean([one['accuracy'] for one in unseen]):.6g}"
        rows.append(("unseen rows", f"{text} ({unseen[0]['n_rows']} rows, mean of the targets)"))
    results = [one.result for one in each.found]
    n_passes, seconds = (sum(getattr(one, k) for one in results) for k in ("n_passes", "seconds"))
    return [*rows, ("work", f"{n_passes:.0f} passes over the rows, {seconds:.3f} s")]


def line_of(found):
    """One target in a line."""
    result, unseen = found.result, found.unseen
    text = f"{result.status}, λ {report.few(result.lam, '.6g')}, criterion {result.value:.6g}"
    if unseen is None:
        return text
    accuracy = f", accuracy {unseen['accuracy']:.4g}" if "accuracy" in unseen else ""
    return f"{text}, unseen loss per row {unseen['mean_loss']:.4g}{accuracy}"
