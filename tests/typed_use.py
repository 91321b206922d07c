"""What a type checker makes of code that uses fasthoag; `make lint` checks it, nothing runs it."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fasthoag
from fasthoag.criteria import Criterion
from fasthoag.losses import Loss
from fasthoag.penalties import Penalty, adopted

X, y = np.eye(4), [1.0, -1.0, 1.0, -1.0]


class Doubled:
    """A penalty of the user's own: the methods, and none of the attributes."""

    def check(self, n_features: int) -> None:
        pass

    def n_hyper(self, n: int) -> int:
        return 1

    def start(self, level: float, n: int) -> NDArray[np.float64]:
        return np.full(1, level)

    def box(
        self, low: float, high: float, n: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.full(1, low), np.full(1, high)

    def strengths(self, theta: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        return np.full(n, 2 * np.exp(theta[0]))

    def strengths_vjp(
        self, theta: NDArray[np.float64], u: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return np.array([2 * np.exp(theta[0]) * u.sum()])


def penalties() -> list[fasthoag.Problem]:
    sums = fasthoag.Ridge() + fasthoag.GroupRidge(["a", "b", "a", "b"])
    fixed = fasthoag.Fixed(fasthoag.FeatureRidge(), np.zeros(4))
    known: list[Penalty] = [fasthoag.Ridge(), sums, fixed, fasthoag.PerClass(sums, 3)]
    known.append(adopted(Doubled()))
    return [fasthoag.Problem(X, y, penalty=one) for one in (sums, fixed, Doubled())]


def criteria() -> list[Criterion]:
    return [
        fasthoag.HeldOut(X, y),
        fasthoag.KFold(3, loss="squared"),
        fasthoag.ApproximateLOO(),
        fasthoag.GCV(),
        fasthoag.AIC(),
        fasthoag.BIC(),
        fasthoag.Evidence(),
        fasthoag.CustomCriterion(X, lambda z: (float(z @ z), 2 * z)),
    ]


def search(criterion: Criterion) -> None:
    loss = fasthoag.find_loss("huber", delta=2.0)
    assert_type(loss, Loss)
    tuned = fasthoag.LossParameter("delta", low=0.1)
    problem = fasthoag.Problem(X, y, loss=loss, tuned=[tuned, fasthoag.SampleWeights()])
    result = fasthoag.hoag(problem, criterion, [0.0], bounds=(-3, 3), callback=print)
    assert_type(result, fasthoag.HoagResult)
    assert_type(result.value + fasthoag.check_hypergrad(problem, criterion, [0.0]), float)
    assert_type(result.lam, NDArray[np.float64])
    assert_type(problem.n_rows, int)
    fasthoag.plots.coefficients(problem, criterion, ax=fasthoag.plots.criterion(result))
    fasthoag.save_report("page.html", result, problem, criterion, overwrite=True)


def estimators() -> float:
    model = fasthoag.LogisticRegressionCV(cv=3, class_weight="balanced", bounds=(-3, 3))
    assert_type(model.fit(X, y), fasthoag.LogisticRegressionCV)
    kernel = fasthoag.KernelRidgeCV(kernel="laplacian", per_feature=True, cv=None)
    assert_type(kernel.fit(X, y, groups=[0, 0, 1, 1]), fasthoag.KernelRidgeCV)
    return fasthoag.QuantileRegressorCV(quantile=0.9).fit(X, y).score(X, y)


def files() -> None:
    assert_type(fasthoag.load_data("train.npz"), tuple[Any, NDArray[np.float64]])
    train, _ = fasthoag.load_data(["train.svm", "test.svm"], n_features=4)
    assert_type(train, tuple[Any, NDArray[np.float64]])
    fasthoag.save_model("model.npz", fasthoag.load_model("old.npz"), overwrite=True)
