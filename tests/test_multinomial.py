"""The multinomial loss: passes of both designs against formulas, inner solutions against
scikit-learn, hypergradients against differences."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold
from support.designs import DESIGNS
from support.problems import sparse_matrix

import fasthoag
from fasthoag import (
    FeatureRidge,
    HeldOut,
    KFold,
    PerClass,
    Problem,
    Ridge,
    SampleWeights,
    check_hypergrad,
    find_loss,
    hoag,
)
from fasthoag.design import HELD_OUT, TRAIN, UNWEIGHTED, to_host
from fasthoag.hypergradient import Accuracy
from fasthoag.problem import refit

N, P, K, F = 90, 7, 4, 3
LOSS = find_loss("multinomial", n_classes=K)


def data(seed=0, n=N, p=P):
    rng = np.random.default_rng(seed)
    X = sparse_matrix(rng, n, p, 0.5)
    return X, np.argmax(X @ rng.normal(size=(p, K)) + 2 * rng.gumbel(size=(n, K)), axis=1).astype(
        float
    )


def folds(n=N):
    return KFold(
        [
            (np.flatnonzero(np.arange(n) % F != k), np.flatnonzero(np.arange(n) % F == k))
            for k in range(F)
        ]
    )


def softmax(Z):
    e = np.exp(Z - Z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", [name for name in DESIGNS if "float32" not in name])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_passes(name, fit_intercept):
    X, y = data()
    design = DESIGNS[name](X, fit_intercept)
    A = np.hstack([X.toarray(), np.ones((N, 1))]) if fit_intercept else X.toarray()
    A = A @ design.coefficients.apply(np.eye(design.n_coef))
    rng, given = np.random.default_rng(1), design.xp.asarray
    W, V, Q = (rng.normal(size=(design.n_coef, F * K)) for _ in range(3))
    weight, mask = rng.random(N), rng.integers(0, 4, (N, F)).astype(np.uint8)
    offset = rng.normal(size=N)
    rows = design.place(y, weight, mask, offset)
    found = rows.loss_grad(LOSS, given(W))
    back = rows.loss_grad(LOSS, given(W), HELD_OUT)
    bare = rows.terms(LOSS, 2, UNWEIGHTED, found.Z)
    curvature = rows.curvature(LOSS, found.Z)
    H = to_host(design.hvp(curvature, given(np.hstack([W, V]))))[:, F * K :]
    third = rows.curvature(LOSS, found.Z, HELD_OUT, 3)
    M = design.contract(curvature, third, given(-Q), given(np.hstack([V, W])))
    np.testing.assert_allclose(to_host(found.Z), A @ W + offset[:, None], rtol=0, atol=1e-12)
    label = np.eye(K)[y.astype(int)]
    for f in range(F):
        c = slice(f * K, (f + 1) * K)
        p = softmax(A @ W[:, c] + offset[:, None])
        s, v = weight * ((mask[:, f] & TRAIN) > 0), weight * ((mask[:, f] & HELD_OUT) > 0)
        values = -np.log((p * label).sum(axis=1))
        np.testing.assert_allclose(to_host(bare)[:, c], p, rtol=0, atol=1e-12)
        for part, own, other in ((found, s, v), (back, v, s)):
            np.testing.assert_allclose(
                [part.value[c].sum(), part.other[c].sum()],
                [own @ values, other @ values],
                rtol=1e-12,
            )
            np.testing.assert_allclose(
                to_host(part.grad)[:, c],
                A.T @ (own[:, None] * (p - label)),
                rtol=0,
                atol=1e-11,
            )
        u = A @ V[:, c]
        np.testing.assert_allclose(
            H[:, c],
            A.T @ (s[:, None] * (p * u - p * (p * u).sum(axis=1, keepdims=True))),
            rtol=0,
            atol=1e-11,
        )
        blocks = [u, A @ W[:, c]]
        centred = [b - (p * b).sum(axis=1, keepdims=True) for b in (*blocks, A @ Q[:, c])]
        for a in range(2):
            for b in range(2):
                expected = (p * centred[a] * centred[b]).sum(axis=1) @ s - (
                    p * centred[a] * centred[b] * centred[2]
                ).sum(axis=1) @ v
                assert to_host(M)[f, a, b] == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("name", ["cpu sparse", "reference sparse", "cpu dense"])
@pytest.mark.parametrize("start", [0.0, 10.0])
def test_refit_is_scikit_learns_solution(name, start):
    from sklearn.linear_model import LogisticRegression

    X, y = data()
    theirs = LogisticRegression(C=1 / np.exp(0.3), tol=1e-12, max_iter=10000).fit(X.toarray(), y)
    design = DESIGNS[name](X, True)
    w = refit(
        Problem(design, y, loss="multinomial"),
        [0.3],
        w0=start * np.ones((P + 1, K)) * np.arange(K),
        tol=1e-9,
    )[0]
    np.testing.assert_allclose(w[:P].T, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(
        w[P] - w[P].mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-5
    )


@pytest.mark.parametrize("criterion", ["held_out", "k_fold"])
@pytest.mark.parametrize(
    "penalty",
    [
        Ridge(),
        FeatureRidge(),
        PerClass(Ridge(), K),
        PerClass(FeatureRidge(np.r_[np.ones(P - 1), 2.0]), K),
    ],
    ids=["all", "feature", "class", "feature_class"],
)
def test_hypergradient_is_the_difference_quotient(penalty, criterion):
    X, y = data()
    problem = Problem(X, y, loss="multinomial", penalty=penalty)
    rule = folds() if criterion == "k_fold" else HeldOut(*data(1))
    theta = problem.inner().start(0.2) + 0.2 * np.random.default_rng(0).normal(size=problem.n_hyper)
    assert check_hypergrad(problem, rule, theta) < 1e-6


def test_outer_hessian_is_the_difference_quotient():
    X, y = data()
    bound, h, exact = folds().bind(Problem(X, y, loss="multinomial")), 1e-3, Accuracy(1e-12, 1e-12)
    zero = bound.inner.design.zeros(F * K)
    at, *around = (bound.evaluate(np.array([0.4 + k * h]), zero, exact) for k in (0, 1, -1, 2, -2))
    g = [e.grad[0] for e in around]
    assert at.hess[0, 0] == pytest.approx((8 * (g[0] - g[1]) - (g[2] - g[3])) / (12 * h), rel=1e-6)


def test_weights_of_rows_are_tuned_too():
    X, y = data()
    problem = Problem(X, y, loss="multinomial", tuned=SampleWeights(groups=np.arange(N) % 5))
    assert check_hypergrad(problem, HeldOut(*data(1)), problem.inner().start(0.2)) < 1e-6


@pytest.mark.parametrize("criterion", [folds(), "held_out"], ids=["k_fold", "held_out"])
def test_tuning_ends_at_the_minimum(criterion):
    X, y = data(n=2 * N)
    rule, X, y = (HeldOut(X[N:], y[N:]) if criterion == "held_out" else criterion), X[:N], y[:N]
    problem = Problem(X, y, loss="multinomial")
    result = hoag(problem, rule)
    assert result.status == "converged"
    assert result.w.shape == (P + 1, 1 if criterion == "held_out" else F, K)
    assert result.w_all.shape == (P + 1, K)
    bound = rule.bind(problem)
    zero = problem.design.zeros(bound.inner.units.n_columns)
    values = [
        bound.evaluate(result.theta + d, zero, Accuracy(1e-9, 1e-9)).value for d in (0, 0.05, -0.05)
    ]
    assert abs(result.value - values[0]) <= result.value_error
    assert values[0] <= min(values[1:])


def test_many_strengths_fit_better_than_one():
    X, y = data(n=300)
    one, each = (
        hoag(Problem(X, y, loss="multinomial", penalty=penalty), folds(300), bounds=(-8, 8))
        for penalty in (Ridge(), PerClass(Ridge(), K))
    )
    assert each.value <= one.value + one.value_error + each.value_error


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1.5, 2], "y must contain class numbers"),
        ([-1, 0, 1], "y must contain class numbers"),
        ([1, 1, 1], "one class only"),
    ],
)
def test_bad_targets_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        Problem(np.eye(3), y, loss="multinomial")


def test_penalty_for_other_classes_is_refused():
    X, y = data()
    with pytest.raises(ValueError, match="penalty is for 3 classes; loss 'multinomial' has 4"):
        Problem(X, y, loss="multinomial", penalty=PerClass(Ridge(), 3))
    with pytest.raises(ValueError, match="loss of the criterion must predict as many columns"):
        hoag(Problem(X, y, loss="multinomial"), KFold(3, loss="squared"))


def test_classes_of_the_criterion_that_the_model_does_not_have_are_refused():
    X, y = np.eye(6), np.array([0.0, 1, 2, 0, 1, 2])
    with pytest.raises(
        ValueError, match="y_val must contain class numbers below n_classes = 3; found 3"
    ):
        hoag(Problem(X, y, loss="multinomial"), HeldOut(X, y + 1))


# ---- rare classes ------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-3, 1.0])
@pytest.mark.parametrize("shape", ["per class", "per feature and class"])
def test_classes_with_hardly_a_row_keep_the_common_strength(shape, unit):
    rng = np.random.default_rng(0)
    counts = np.append(np.full(8, 30), np.full(6, 2))
    y = np.repeat(np.arange(14.0), counts).astype(int)
    X = unit * (rng.normal(size=(14, 5))[y] + rng.normal(size=(len(y), 5)))
    inside = Ridge() if shape == "per class" else FeatureRidge()
    folds = KFold(StratifiedKFold(2, shuffle=True, random_state=0))
    single = hoag(Problem(X, y, loss="multinomial"), folds)
    penalty = PerClass(inside, 14)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        result = hoag(Problem(X, y, loss="multinomial", penalty=penalty), folds, stop_on=None)
    assert result.status in ("converged", "at_bound")
    assert np.isfinite(result.value)
    assert result.value <= single.value * 1.001
    assert "(6 of 14: 8, 9, 10, 11, 12, ...) keep the best single strength" in result.message
    rare = result.theta.reshape(14, -1)[8:]
    np.testing.assert_allclose(rare, rare[0, 0], atol=1e-9)
