"""Cases of 5-fold tuning of logistic regression beside what else does it."""

import contextlib
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import problems
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold, cross_val_score
from timing import ALL, Contender, add_ratios, alternate, outcome

import fasthoag


def liblinear_fit(problem, C, eps):
    """Coefficients of LIBLINEAR's logistic regression (trust-region Newton, no intercept) for the
    label +1."""
    from liblinear.liblinearutil import parameter, train

    model = train(problem, parameter(f"-s 0 -c {float(C)!r} -e {eps} -q"))
    return np.array(model.get_decfun()[0]) * (1 if model.label[0] == 1 else -1)


def log_loss(X, y, w):
    return float(np.logaddexp(0, -y * (X @ w)).sum())


def grid(X, y, cv, **settings):
    """scikit-learn's search on a grid."""
    return LogisticRegressionCV(
        cv=cv,
        max_iter=5000,
        n_jobs=ALL,
        fit_intercept=False,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        l1_ratios=(0.0,),
        **settings,
    ).fit(X, y)


def tune_by_folds(X, y, repeats, slow_peers=()):
    """fasthoag's LogisticRegressionCV beside scikit-learn's, and the slow peers once; criterion and
    gap at the C of each by fits of LIBLINEAR to 1e-7. The best known criterion is the lowest on a
    fine grid around fasthoag's C, or a contender's."""
    from liblinear.liblinear import problem

    cv = StratifiedKFold(5, shuffle=True, random_state=0)

    contenders = [
        Contender(
            "fasthoag",
            lambda: fasthoag.LogisticRegressionCV(cv=cv, fit_intercept=False).fit(X, y),
            ALL,
        ),
        Contender(
            "scikit-learn LogisticRegressionCV",
            lambda: grid(X, y, cv, Cs=10, tol=1e-4),
            ALL,
            settings={"Cs": 10, "solver": "lbfgs"},
        ),
    ]
    records, results = alternate([*contenders, *slow_peers], repeats)
    folds = [(problem(y[train], X[train]), X[test], y[test]) for train, test in cv.split(X, y)]

    def exact(C):
        with ThreadPoolExecutor(ALL) as pool:
            return sum(
                pool.map(
                    lambda fold: log_loss(fold[1], fold[2], liblinear_fit(fold[0], C, 1e-7)), folds
                )
            ) / len(y)

    records[0] |= outcome(results[0].hoag_result_)
    for record, result in zip(records, results, strict=False):
        C = float(np.ravel(getattr(result, "C_", result))[0])
        record["criterion"], record["extra"]["C"] = exact(C), C
    near = [
        exact(records[0]["extra"]["C"] * factor) for factor in (0.8, 0.9, 0.95, 1.05, 1.1, 1.25)
    ]
    best = min(near + [record["criterion"] for record in records])
    return [record | {"gap": record["criterion"] - best} for record in add_ratios(records, 0)]


def kfold(options):
    """5-fold tuning of logistic regression on 20 newsgroups against a grid of 10, the same where
    range and tolerance are chosen to reach our criterion, Optuna over LIBLINEAR, and LIBLINEAR's
    own search (by accuracy, folds of its own). Criterion: held-out log-loss per row of inner
    problems solved to 1e-7 at each C; gap: to the best of all these and a fine grid around ours."""
    X, y, _, _ = problems.news(options.quick)
    slow = slow_peers(X, y, np.geomspace(10, 3000, 10), 3 if options.quick else 20)
    yield from tune_by_folds(X, y, options.repeats or 3, slow)


def kfold_text(options):
    """The same on generated text of 2.8 million non-zeros (see growth)."""
    X, y = problems.log_counts(1e4 if options.quick else 2.8e6, 1.0)
    slow = slow_peers(X, y, np.geomspace(0.1, 100, 10), 3 if options.quick else 20)
    yield from tune_by_folds(X, y, options.repeats or 3, slow)


def slow_peers(X, y, Cs, n_trials):
    """Contenders of `tune_by_folds`, of which others than ours run once."""
    import optuna
    from liblinear.liblinearutil import parameter, problem, train

    cv = StratifiedKFold(5, shuffle=True, random_state=0)

    def score(trial):
        model = LogisticRegression(
            C=trial.suggest_float("C", 1e-4, 1e4, log=True),
            solver="liblinear",
            fit_intercept=False,
            tol=1e-3,
            max_iter=1000,
        )
        return cross_val_score(model, X, y, cv=cv, scoring="neg_log_loss", n_jobs=ALL).mean()

    def search():
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=0)
        )
        study.optimize(score, n_trials=n_trials)
        return study.best_params["C"]

    def liblinear_search():
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it also returns
            return train(problem(y, X), parameter("-s 0 -C -v 5 -q"))[0]

    def trials():
        return fasthoag.LogisticRegressionCV(
            cv=cv,
            fit_intercept=False,
            method="bayes",
            n_trials=n_trials,
            bounds=(-np.log(1e4), np.log(1e4)),
        ).fit(X, y)

    ends = f"10 of {Cs[0]:g} to {Cs[-1]:g}"
    return [
        Contender("fasthoag, trials of Optuna", trials, ALL, settings={"n_trials": n_trials}),
        Contender(
            "scikit-learn, range and tol chosen",
            lambda: grid(X, y, cv, Cs=Cs, tol=1e-6),
            ALL,
            settings={"Cs": ends, "tol": 1e-6},
            at_most=1,
        ),
        Contender(
            "Optuna over LIBLINEAR",
            search,
            ALL,
            settings={"n_trials": n_trials, "sampler": "TPE"},
            at_most=1,
        ),
        Contender("LIBLINEAR -C -v 5", liblinear_search, settings={"s": 0}, at_most=1),
    ]


def microarray(options):
    """5-fold logistic regression on leukemia (38 x 7,129, standardised). Criterion and gap as in
    kfold-20news."""
    yield from tune_by_folds(*problems.leukemia(), options.repeats or 5)
