"""Cases of kernel models."""

import resource
from dataclasses import replace

import numpy as np
import problems
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import KFold
from timing import ALL, Contender, add_ratios, alternate, outcome

import fasthoag


def kernels(options):
    """Kernel ridge on parkinsons (motor UPDRS, thirds of 1,958 rows, RandomState(0)): whole tunings
    beside one fit and prediction of scikit-learn's KernelRidge and its grid of 10 x 10; all rows by
    5 folds; a width for every feature; 20,000 made-up rows. Criterion: mean squared error on the
    rows that judge, gap to the best known."""
    train, judge, _ = problems.parkinsons(0)
    held_out, best = fasthoag.HeldOut(*judge), 23.885878266
    problem = fasthoag.KernelProblem(*train, fit_intercept=False)

    def one_fit(gamma=0.2372, alpha=0.0899):
        model = KernelRidge(kernel="rbf", gamma=gamma, alpha=alpha).fit(*train)
        return float(np.mean((model.predict(judge[0]) - judge[1]) ** 2))

    def grid():
        axes = np.logspace(-3, 2, 10), np.logspace(-4, 2, 10)
        return min(one_fit(gamma, alpha) for gamma in axes[0] for alpha in axes[1])

    def tuned(problem, criterion):
        return Contender("", lambda: fasthoag.hoag(problem, criterion), ALL)

    repeats = options.repeats or 5
    contenders = [
        replace(tuned(problem, held_out), name="fasthoag"),
        Contender("scikit-learn KernelRidge, one fit at the optimum", one_fit, ALL),
        Contender("scikit-learn KernelRidge, 10 x 10", grid, ALL, at_most=1),
    ]
    records, results = alternate(contenders[: 2 if options.quick else 3], repeats)
    for record, result in zip(records, results, strict=True):
        is_ours = not isinstance(result, float)
        record |= outcome(result) if is_ours else {}
        record["criterion"] = mean_error(result) if is_ours else result
        record["gap"] = record["criterion"] - best
    yield from add_ratios(records, 1, has_gap=False)
    if options.quick:
        return
    X, y = problems.parkinsons_whole()
    folds = fasthoag.KFold(KFold(5, shuffle=True, random_state=0))
    widths = fasthoag.KernelProblem(*train, fit_intercept=False, per_feature=True)
    made_up, others = problems.friedman(20_000), problems.friedman(5_000, seed=1)
    for name, one, best in (
        ("5 folds of 5,875 rows", tuned(fasthoag.KernelProblem(X, y), folds), 18.041554536),
        ("19 widths", tuned(widths, held_out), 0.9555),
        (
            "20,000 made-up rows",
            tuned(fasthoag.KernelProblem(*made_up), fasthoag.HeldOut(*others)),
            None,
        ),
    ):
        [record], [result] = alternate([replace(one, name=f"fasthoag, {name}")], 1)
        record |= outcome(result) | {"criterion": mean_error(result)}
        record["gap"] = None if best is None else record["criterion"] - best
        record["extra"]["peak_rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        yield record


def mean_error(result):
    """The mean squared error of least squares, whose loss is half the square."""
    return float(2 * result.fold_values.sum() / result.fold_weights.sum())
