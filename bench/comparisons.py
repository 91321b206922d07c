"""What the paper's comparison is made on: problems, rows that judge, rows that nothing sees, where
all begin, and what the criterion is at a θ by fits that no contender made."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import problems
from courses import ORIGINAL, course_of
from fold_cases import liblinear_fit, log_loss
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist
from timing import ALL

import fasthoag


@dataclass(frozen=True, eq=False)
class Comparison:
    """One data set of the paper. `train`, `judge` and `unseen` are pairs of X and y."""

    name: str
    train: Any
    judge: Any
    unseen: Any
    problem_of: Callable[[Any, Any], Any]  # of X and y
    theta0: Any
    seconds: float  # of a run at most
    original: str  # the class of the paper's own code
    n_trials: dict[str, int]
    measure_at: Callable[[Any, list], list]  # pairs of criterion and unseen loss at some θ
    bounds: Any = None  # of all methods
    n_threads: int = ALL
    is_kernel: bool = False
    left_out: tuple[str, ...] = ()
    shared_of: Callable[[Any, Any], Any] | None = None  # with one strength, for the grid
    reuses: bool = False  # what the runs found is exact enough, and far cheaper than to fit again
    folder_of_original: Any = ORIGINAL if (ORIGINAL / "hoag").exists() else None

    def problem(self, is_shared=False):
        return (self.shared_of if is_shared else self.problem_of)(*self.train)

    def settings(self, method):
        """What every run is given: a start or a number of trials, and bounds."""
        is_trial = method["method"] in self.n_trials
        n = self.n_trials.get(method["method"])
        return method | ({"n_trials": n} if is_trial else {"theta0": self.theta0})

    def warm_up(self):
        """Calls on few rows: what is compiled or imported at the first is not timed."""
        pairs = (self.train, self.judge, self.unseen)
        # from all over: rows may be in the order of their classes
        few = [tuple(part[:: max(1, len(pair[1]) // 200)] for part in pair) for pair in pairs]
        some = replace(self, train=few[0], judge=few[1], unseen=few[2])
        course_of(some, {"method": "lbfgs", "theta0": self.theta0}, 2)
        course_of(some, {"method": "bayes", "n_trials": 2}, 2)

    def reference(self, seconds):
        """A course that goes on beyond the others', for the best criterion that is known."""
        method = "lbfgs" if "Newton" in self.left_out else "newton"
        return course_of(self, {"method": method, "theta0": self.theta0, "tol": 1e-9}, 2 * seconds)

    def measure(self, courses):
        """(criteria, unseen losses a row) at all θ of every course."""
        wanted = {
            theta.tobytes(): theta
            for course in courses
            for theta, value in zip(course.thetas, course.values, strict=True)
            if not (self.reuses and np.isfinite(value))
        }
        known = dict(zip(wanted, self.measure_at(self, list(wanted.values())), strict=True))
        return [self._measured(course, known) for course in courses]

    def _measured(self, course, known):
        n = len(self.unseen[1])
        rows = zip(course.thetas, course.values, course.unseen, strict=True)
        pairs = [known.get(theta.tobytes(), (value, loss / n)) for theta, value, loss in rows]
        return [value for value, _ in pairs], [loss for _, loss in pairs]


# ---- 20 newsgroups ----


def newsgroups(is_quick):
    """The official halves; of a9a if quick."""
    return problems.news(is_quick)


def logistic_at(comparison, thetas):
    """By LIBLINEAR."""
    from liblinear.liblinear import problem

    X, y = comparison.train
    converted, (X_unseen, y_unseen) = problem(y, X), comparison.unseen

    def at(theta):
        w = liblinear_fit(converted, np.exp(-theta[0]), 1e-7)
        return log_loss(*comparison.judge, w), log_loss(X_unseen, y_unseen, w) / len(y_unseen)

    with ThreadPoolExecutor(ALL) as pool:
        return list(pool.map(at, thetas))


def news(is_quick):
    """20 newsgroups, two classes, one strength: logistic regression on the official training rows,
    judged by one half of the others, drawn by RandomState(0); none sees the other half. Criterion:
    summed log-loss by LIBLINEAR at the strength found; gap: to the best known one; unseen: log-loss
    a row."""
    X, y, X_more, y_more = newsgroups(is_quick)
    judge, unseen = np.array_split(np.random.RandomState(0).permutation(len(y_more)), 2)
    return Comparison(
        name="news",
        train=(X, y),
        judge=(X_more[judge], y_more[judge]),
        unseen=(X_more[unseen], y_more[unseen]),
        problem_of=lambda X, y: fasthoag.Problem(X, y, fit_intercept=False),
        theta0=np.zeros(1),
        seconds=2.0 if is_quick else 20.0,
        original="LogisticRegressionCV",
        n_trials={"grid": 20, "random": 20, "bayes": 20},
        measure_at=logistic_at,
    )


# ---- Parkinson ----


def kernel_ridge_at(comparison, thetas):
    """In closed form."""
    (X, y), (X_judge, y_judge), (X_unseen, y_unseen) = (
        comparison.train,
        comparison.judge,
        comparison.unseen,
    )
    own, to_judge, to_unseen = (cdist(A, X, "sqeuclidean") for A in (X, X_judge, X_unseen))
    found = []
    for theta in thetas:
        gamma, lam = np.exp(theta)
        K = np.exp(-gamma * own)
        K.flat[:: len(K) + 1] += lam
        alpha = cho_solve(cho_factor(K, lower=True, overwrite_a=True), y)
        errors = (
            y_some - np.exp(-gamma * D) @ alpha
            for D, y_some in ((to_judge, y_judge), (to_unseen, y_unseen))
        )
        judged, unseen = (error @ error for error in errors)
        found.append((judged, unseen / len(y_unseen)))
    return found


def parkinson(is_quick):
    """Parkinson's telemonitoring, kernel ridge regression with the width of the RBF kernel and the
    ridge: thirds by RandomState(0), z-scores from the training rows, no intercept, from gamma 1/19
    and lambda 1. Criterion: sum of squares in closed form; gap: to the best known one; unseen:
    mean square."""
    n = 200 if is_quick else None
    train, judge, unseen = ((X[:n], y[:n]) for X, y in problems.parkinsons(0))
    return Comparison(
        name="parkinson",
        train=train,
        judge=judge,
        unseen=unseen,
        problem_of=lambda X, y: fasthoag.KernelProblem(X, y, fit_intercept=False),
        theta0=np.array([-np.log(19), 0.0]),
        seconds=2.0 if is_quick else 20.0,
        original="KernelRidgeCV",
        n_trials={"grid": 25, "random": 30, "bayes": 30},
        measure_at=kernel_ridge_at,
        is_kernel=True,
        n_threads=1,  # on two, any other process makes a factor many times as slow
    )


# ---- MNIST ----


def multinomial_at(comparison, thetas):
    """By warm continuation, to 1e-5 of the criterion."""
    if not thetas:
        return []
    judged, unseen = (
        fasthoag.curve(comparison.problem(), fasthoag.HeldOut(*rows), thetas, tol=1e-5).values
        for rows in (comparison.judge, comparison.unseen)
    )
    return list(zip(judged, unseen / len(comparison.unseen[1]), strict=True))


def mnist(is_quick):
    """MNIST, a strength for each of 784 features and 10 classes within exp(-6) and exp(6), from 1:
    multinomial regression on 10,000 digits, tuned on 10,000 others; none sees the third 10,000. The
    grid has one strength for all. Criterion: summed log-loss as the run found it, to a part of 1e-4
    mostly; gap: to the best known one, of twice the time; unseen: log-loss a row."""
    X, y = problems.digits()
    n = 300 if is_quick else 10_000
    order = np.random.RandomState(0).permutation(len(y))
    train, judge, unseen = ((X[rows], y[rows]) for rows in np.split(order[: 3 * n], 3))
    each = fasthoag.PerClass(fasthoag.FeatureRidge(), 10)

    def problem(X, y, penalty):
        return fasthoag.Problem(X, y, loss="multinomial", penalty=penalty, fit_intercept=False)

    return Comparison(
        name="mnist",
        train=train,
        judge=judge,
        unseen=unseen,
        problem_of=lambda X, y: problem(X, y, each),
        theta0=np.zeros(10 * X.shape[1]),
        seconds=4.0 if is_quick else 20.0,
        original="MultiLogisticRegressionCV",
        n_trials={"grid": 20, "random": 20, "bayes": 20},
        measure_at=multinomial_at,
        bounds=(-6.0, 6.0),  # of the paper's own code
        left_out=("Newton",),
        shared_of=lambda X, y: problem(X, y, fasthoag.Ridge()),
        reuses=True,
    )


COMPARISONS = {"news": news, "parkinson": parkinson, "mnist": mnist}
