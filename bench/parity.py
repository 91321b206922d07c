"""Whether the device finds what the CPU does: criterion, hypergradient and tuned θ of every loss,
penalty and criterion."""

import itertools
import warnings
from time import perf_counter

import numpy as np
import scipy.sparse as sp


def folds(n, F=3):
    """A KFold without scikit-learn, which a bare machine does not have."""
    import fasthoag

    class Folds(fasthoag.KFold):
        def splits(self, problem):
            return self.cv

    part = np.arange(n) % F
    return Folds([(np.flatnonzero(part != f), np.flatnonzero(part == f)) for f in range(F)])


def small_problem(loss, seed, n=80, p=12):
    from support.problems import targets

    rng = np.random.default_rng(seed)
    X = sp.csr_matrix(rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.4))
    return X, targets(loss, 0.3 + X @ rng.normal(size=p), rng)


class Differences:
    """The largest relative differences of the device from the CPU, and of how many cases. NaN
    stays, so that it is no success."""

    def __init__(self):
        self.worst, self.n_cases = {"value": 0.0, "hypergradient": 0.0, "theta": 0.0}, 0

    def see(self, name, difference):
        self.worst[name] = np.maximum(self.worst[name], difference)

    def see_value(self, here, there):
        self.see("value", abs(there.value - here.value) / abs(here.value))

    def see_theta(self, here, there):
        self.see("theta", np.abs(there.theta - here.theta).max())

    def see_grad(self, here, there, least=0.0):
        size = max(np.abs(here.grad).max(), least * abs(here.value))
        self.see("hypergradient", np.abs(there.grad - here.grad).max() / size)


def evaluated(problem, criterion, **options):
    """The criterion and its hypergradient at one θ, solved to rounding."""
    from fasthoag.hypergradient import Accuracy

    bound = criterion.bind(problem)
    zero = problem.design.zeros(bound.inner.units.n_columns)
    theta = np.full(problem.n_hyper, 0.5)
    return bound.evaluate(theta, zero, Accuracy(1e-11, 1e-11), **options)


def parity(bench):
    """Criterion, hypergradient and tuned θ of every loss x penalty x criterion, on the device and
    on the CPU."""
    import fasthoag

    # an optimum at the bound is as good for this
    warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
    found, began = Differences(), perf_counter()
    for part in (parity_of_losses, parity_of_multinomial, parity_without_rows):
        part(bench, found)
    worst, n = found.worst, found.n_cases
    text = ", ".join(f"{name} {value:.0e}" for name, value in worst.items())
    bench.record(
        "gpu-parity",
        "every loss x penalty x criterion",
        [perf_counter() - began],
        gap=worst["value"],
        extra=worst | {"n_cases": n},
    )
    is_met = worst["value"] <= 1e-6 and worst["theta"] <= 1e-6 and worst["hypergradient"] <= 1e-8
    bench.say(
        "1",
        f"largest relative difference from the CPU, {n} cases",
        text,
        "1e-6, hypergradient 1e-8",
        is_met,
    )


def both(bench, X):
    """X on the CPU and on the device."""
    from fasthoag.design.cpu import CpuDesign

    return CpuDesign(X, fit_intercept=True), bench.design(X, fit_intercept=True)


def parity_of_losses(bench, found):
    """Every loss, penalty and criterion with held-out rows."""
    import fasthoag
    from fasthoag.losses import LOSSES

    p = 12
    penalties = {
        "ridge": fasthoag.Ridge(),
        "group": fasthoag.GroupRidge(np.arange(p) % 3),
        "feature": fasthoag.FeatureRidge(),
        "structured": fasthoag.StructuredRidge(np.column_stack([np.ones(p), np.arange(p) / p])),
        "sum": fasthoag.Ridge() + fasthoag.GroupRidge(np.arange(p) % 2),
    }
    for loss, (name, penalty) in itertools.product(LOSSES, penalties.items()):
        (X, y), (X_val, y_val) = small_problem(loss, 0), small_problem(loss, 1)
        for criterion in (fasthoag.HeldOut(X_val, y_val), folds(len(y))):
            problems = [
                fasthoag.Problem(design, y, loss=loss, penalty=penalty) for design in both(bench, X)
            ]
            here, there = (evaluated(problem, criterion) for problem in problems)
            found.see_value(here, there)
            found.see_grad(here, there, least=1e-3)
            # the search itself, to the rounding of its steps
            if name == "ridge" and not LOSSES[loss].has_kinks:
                found.see_theta(
                    *(fasthoag.hoag(one, criterion, tol=1e-7, bounds=(-6, 6)) for one in problems)
                )
            found.n_cases += 1


def parity_of_multinomial(bench, found):
    """One strength for all classes, and one for each."""
    import fasthoag

    X, y = small_problem("squared", 0)
    y = np.digitize(y, np.quantile(y, [0.3, 0.7])).astype(float)
    one = fasthoag.Ridge()
    for penalty, has_tangents in ((one, True), (fasthoag.PerClass(one, 3), False)):
        here, there = (
            evaluated(
                fasthoag.Problem(design, y, loss="multinomial", penalty=penalty),
                folds(len(y)),
                has_tangents=has_tangents,
            )
            for design in both(bench, X)
        )
        found.see_value(here, there)
        found.see_grad(here, there)
        found.n_cases += 1


def parity_without_rows(bench, found):
    """Whole tunings by the criteria that have no rows of their own."""
    import fasthoag
    from fasthoag.criteria import CRITERIA

    X, y = small_problem("squared", 0)
    for rule in CRITERIA.values():
        if "hessian" in rule.gives:
            continue
        here, there = (
            fasthoag.hoag(fasthoag.Problem(design, y, loss="squared"), rule(), tol=1e-7)
            for design in both(bench, X)
        )
        found.see_value(here, there)
        found.see_theta(here, there)
        found.n_cases += 1
