"""Cases of whether searches end where they should, and know how far off they are."""

from collections import Counter
from statistics import median

import numpy as np
import problems
from timing import Contender, alternate

import fasthoag
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES
from fasthoag.outer.start import measured


def solved(bound, theta, W, tol):
    """The criterion at θ with inner problems and linear systems solved to `tol`, from `W`, and
    their solutions; NaN where that does not give it to 1e-4."""
    found = bound.evaluate(theta, W, Accuracy(tol, tol), has_tangents=False)
    is_known = found.is_solved and found.value_error <= 1e-4 * found.value
    return found.value if is_known else np.nan, found.W


def best_of_grid(bound, levels_between):
    """The least criterion of the null model and of the strengths ``levels_between(top, bottom)``,
    logs relative to the data: at the top the penalty is everything, at the bottom nothing. Each is
    solved to 1e-4 from the one before."""
    seen = measured(bound)
    top, bottom = np.log(seen.scales.sum()) + 2, np.log(seen.scales.min()) - 9
    W, best = seen.inner.null.W, bound.null_value
    for level in levels_between(top, bottom):
        value, found = solved(seen.bound, seen.rays[0].level(level), W, 1e-4)
        if np.isfinite(value):
            W, best = found, min(best, value)
    return best


def search_all(tunings, settings, repeats, levels_between):
    """The record of one search after another, with how far the criteria where they ended, solved to
    1e-11, are above the best of a grid; these criteria and the results."""

    def search():
        return [fasthoag.hoag(*tuning, n_threads=1) for tuning in tunings]

    contender = Contender("fasthoag", search, settings={"problems": len(tunings)} | settings)
    (record,), (results,) = alternate([contender], repeats)
    values, best = np.zeros((2, len(tunings)))
    for k, ((problem, rule), result) in enumerate(zip(tunings, results, strict=True)):
        bound = rule.bind(problem.with_threads(1))
        w = bound.inner.design.encode(result.w)
        values[k], _ = solved(bound, result.theta, w, 1e-11)
        best[k] = best_of_grid(bound, levels_between)
    n_passes, gaps = [result.n_passes for result in results], values / best - 1
    counts = Counter(result.status for result in results).most_common()
    record |= {
        "n_passes": median(n_passes),
        "gap": gaps.max(),
        "status": ", ".join(f"{count} {status}" for status, count in counts),
    }
    for gap in (0.001, 0.01, 0.1):  # what is not a number counts
        record["extra"][f"above_{100 * gap:g}%"] = int((~(gaps <= gap)).sum())
    record["extra"] |= {"worst": int(gaps.argmax()), "largest_passes": max(n_passes)}
    return record, values, results


def valleys(options):
    """3-fold tuning of random designs whose criterion may have several valleys: features exp(σ N(0,
    1)), and features in units between 1e-4 and 1e4. Passes: the median. Gap: of the criterion where
    a search ended, solved to 1e-11, to the best of 30 strengths and the null model, relative, the
    largest; `above_1%`: how many gaps are more than that; `worst`: the seed of the largest."""
    kinds = {
        problems.lognormal: ("poisson", "gamma", "squared"),
        problems.in_units: ("logistic", "squared", "poisson"),
    }
    for make, losses in kinds.items():
        for loss in losses:
            data = [make(loss, seed) for seed in range(4 if options.quick else 120)]
            yield search_all(
                [(fasthoag.Problem(X, y, loss=loss), fasthoag.KFold(3)) for X, y in data],
                {"X": make.__name__, "loss": loss},
                options.repeats or 1,
                lambda top, bottom: np.linspace(top, bottom, 30),
            )[0]


def random_tuning(number):
    """A problem and its criterion: the losses in turn, each with held-out rows and with 3 folds in
    turn; size, intercept and weights at random."""
    rng, losses = np.random.default_rng(number), list(LOSSES)
    loss, is_k_fold = losses[number % len(losses)], number // len(losses) % 2 == 1
    n, p = int(rng.integers(30, 160)), int(rng.choice([2, 5, 10, 30, 60, 140]))
    fit_intercept, is_weighted = bool(rng.integers(2)), bool(rng.integers(2))
    X, y = problems.uneven(loss, n, p, rng)
    weight = rng.integers(0, 3, n) + rng.random(n) if is_weighted else None

    def part(rows):
        return X[rows], y[rows], weight[rows] if is_weighted else None

    rule = fasthoag.KFold(3) if is_k_fold else fasthoag.HeldOut(*part(slice(n // 2, None)))
    X, y, weight = part(slice(n if is_k_fold else n // 2))
    options = {"fit_intercept": fit_intercept, "sample_weight": weight}
    return fasthoag.Problem(X, y, loss, **options), rule


def errors(options):
    """Whether `value_error` tells how far `value` is from the criterion solved to 1e-11 at the
    strength found: random problems of every loss, held-out and 3-fold, up to 160 x 140. `inside`:
    how many are not farther; `beyond_3`: more than 3 times as far; `farthest`: the number of that
    problem; `value_error`: the median, relative. The others as in valleys, but for a grid of
    strengths a factor of exp(1/4) apart."""
    record, values, results = search_all(
        [random_tuning(number) for number in range(2 * len(LOSSES) if options.quick else 400)],
        {},
        options.repeats or 1,
        lambda top, bottom: np.arange(top, bottom, -0.25),
    )
    said = np.array([result.value_error for result in results])
    off = abs(np.array([result.value for result in results]) - values) / said
    record["extra"] |= {
        "inside": int((off <= 1).sum()),
        "beyond_3": int((~(off <= 3)).sum()),
        "farthest": int(off.argmax()),
        "value_error": float(np.median(said / values)),
    }
    yield record


def coverage(options):
    """How often the loss on many other rows is within one and within two standard errors: logistic
    regression on 200 made-up rows of 10 features, of which with held-out rows half train; the loss
    of the models that were judged, and of `score_se_` that of the model on all rows, is taken on
    20,000 others. `mean`: the mean distance in standard errors, where below 0 is optimistic."""
    rng, n, count = np.random.default_rng(0), 200, 20 if options.quick else 400
    w = rng.normal(size=10)

    def rows(n):
        X = rng.normal(size=(n, len(w)))
        return X, np.where(X @ w + 2 * rng.logistic(size=n) > 0, 1.0, -1.0)

    X_all, y_all = rows(20_000)
    samples = [rows(n) for _ in range(count)]

    def loss(z):  # of one model or several, (n_rows,) or (n_rows, n_models)
        return np.logaddexp(0, -(y_all * z.T)).mean()

    def by_result(problem, rule, n_judging):
        result = fasthoag.hoag(problem, rule, n_threads=1)
        found, error = result.value / n_judging, result.standard_error / n_judging
        return (found - loss(X_all @ result.w[:-1] + result.w[-1])) / error

    def held_out(X, y):
        half = n // 2
        judge = fasthoag.HeldOut(X[half:], y[half:])
        return by_result(fasthoag.Problem(X[:half], y[:half]), judge, n - half)

    def folds(X, y):
        return by_result(fasthoag.Problem(X, y), fasthoag.KFold(5), n)

    def score_se(X, y):
        model = fasthoag.LogisticRegressionCV(cv=5, n_threads=1).fit(X, y)
        return (-model.score_mean_ - loss(model.decision_function(X_all))) / model.score_se_

    for name, distance in {"HeldOut": held_out, "KFold(5)": folds, "score_se_": score_se}.items():
        contender = Contender(
            "fasthoag",
            lambda distance=distance: [distance(X, y) for X, y in samples],
            settings={"problems": count, "of": name},
        )
        (record,), (found,) = alternate([contender], options.repeats or 1)
        found = np.array(found)
        shares = {f"within_{k}": float((abs(found) <= k).mean()) for k in (1, 2)}
        record["extra"] |= shares | {"mean": float(found.mean())}
        yield record
