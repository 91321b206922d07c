"""Criteria without rows of their own: leave-one-out, GCV, AIC, BIC and the evidence, by the inverse
of H, by the rows' Gram matrix and by probes."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal
from support.leverage_ways import WAYS, has_probes, set_way
from support.problems import sparse_problem

from fasthoag import (
    AIC,
    BIC,
    GCV,
    ApproximateLOO,
    Evidence,
    FeatureRidge,
    KFold,
    Problem,
    Ridge,
    find_loss,
    hoag,
)
from fasthoag.criteria import CRITERIA, inverses
from fasthoag.criteria.criterion import LIKELIHOODS
from fasthoag.design.rows import Curvature
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES, derivative
from fasthoag.problem import refit

N, P = 50, 6
ALL = [rule for rule in CRITERIA.values() if "hessian" not in rule.gives]
SMOOTH = [name for name, loss in LOSSES.items() if not loss.has_kinks]
EXACT = Accuracy(1e-12, 1e-12)


def value_at(problem, rule, theta):
    bound = rule.bind(problem)
    return bound.evaluate(
        np.atleast_1d(np.asarray(theta, float)),
        problem.design.zeros(1),
        EXACT,
        has_tangents=False,
    )


def losses_of(rule):
    return ["squared"] if rule is GCV else SMOOTH if rule is ApproximateLOO else LIKELIHOODS


def refitted(problem, theta):
    """The sum of losses of every row predicted by the model without it."""
    total, X, weight = (
        0.0,
        problem.X.tocsr(),
        np.ones(N) if problem.sample_weight is None else problem.sample_weight,
    )
    for i in range(N):
        keep = np.arange(N) != i
        w = refit(
            Problem(X[keep], problem.y[keep], loss=problem.loss, sample_weight=weight[keep]),
            [theta],
            tol=1e-10,
        )[0]
        total += (
            weight[i]
            * derivative(
                problem.loss, 0, problem.y[i : i + 1], np.array([(X[i] @ w[:-1])[0] + w[-1]])
            )[0]
        )
    return total


@pytest.mark.parametrize("has_weights", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize(
    ("way", "loss", "tol"),
    [
        ("spectrum", "squared", 1e-8),
        *(
            (way, *case)
            for way in ("inverse", "gram")
            for case in (("squared", 1e-8), ("logistic", 1e-2), ("poisson", 2e-2))
        ),
    ],
)
def test_leave_one_out_is_that_of_refits(loss, tol, has_weights, way, monkeypatch):
    set_way(monkeypatch, way)
    X, y = sparse_problem(loss, 0, N, P)
    problem = Problem(
        X,
        y,
        loss=loss,
        sample_weight=np.random.default_rng(3).uniform(0, 2, N) if has_weights else None,
    )
    assert value_at(problem, ApproximateLOO(), 1.0).value == pytest.approx(
        refitted(problem, 1.0), rel=tol
    )


def test_gcv_and_aic_are_their_closed_forms():
    X, y = sparse_problem("squared", 0, N, P)
    problem, A = Problem(X, y, loss="squared", fit_intercept=False), X.toarray()
    hat = A @ np.linalg.solve(A.T @ A + np.exp(1.0) * np.eye(P), A.T)
    rss = np.sum((y - hat @ y) ** 2)
    assert value_at(problem, GCV(), 1.0).value == pytest.approx(
        0.5 * rss / (1 - np.trace(hat) / N) ** 2, rel=1e-9
    )
    assert value_at(problem, AIC(), 1.0).value == pytest.approx(
        0.5 * N * np.log(rss / N) + np.trace(hat), rel=1e-9
    )
    assert value_at(problem, BIC(), 1.0).value == pytest.approx(
        0.5 * N * np.log(rss / N) + 0.5 * np.log(N) * np.trace(hat), rel=1e-9
    )


def test_evidence_is_the_density_of_the_targets():
    """Least squares: y ~ N(0, σ² (I + X Λ⁻¹ Xᵀ)), maximal over σ²."""
    X, y = sparse_problem("squared", 0, N, P)
    problem, A = (
        Problem(X, y, loss="squared", penalty=FeatureRidge(), fit_intercept=False),
        X.toarray(),
    )

    def minus_log_density(theta):
        C = np.eye(N) + A @ np.diag(np.exp(-theta)) @ A.T
        return -multivariate_normal(np.zeros(N), y @ np.linalg.solve(C, y) / N * C).logpdf(y)

    one, other = np.linspace(-1, 1, P), np.linspace(2, 0, P)
    assert value_at(problem, Evidence(), one).value - value_at(
        problem, Evidence(), other
    ).value == pytest.approx(minus_log_density(one) - minus_log_density(other), rel=1e-9)


PENALTIES = {
    "one": Ridge(),
    "each": FeatureRidge(),
    "one unpenalised": FeatureRidge(np.array([1.0, 0, 2, 1, 1, 1])),
}


def ways_of(rule, loss, penalty="one"):
    """The ways of leverages that take this."""
    refused = {
        "probes": not has_probes(rule, loss),
        "spectrum": loss != "squared" or penalty != "one",
    }
    return [way for way in WAYS if not refused.get(way)]


@pytest.mark.parametrize(
    ("rule", "loss", "penalty", "way"),
    [
        (rule, loss, penalty, way)
        for rule in ALL
        for loss in losses_of(rule)
        for penalty in PENALTIES
        for way in ways_of(rule, loss, penalty)
    ],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_hypergradient_is_the_difference_quotient(rule, loss, penalty, way, monkeypatch):
    set_way(monkeypatch, way)
    penalty = PENALTIES[penalty]
    X, y = sparse_problem(loss, 1, N, P)
    problem = Problem(
        X, y, loss=loss, penalty=penalty, sample_weight=np.random.default_rng(0).uniform(0.5, 2, N)
    )
    theta = problem.inner().start(1.0)
    at, h = value_at(problem, rule(), theta), 1e-4
    quotient = np.array(
        [
            (
                value_at(problem, rule(), theta + h * e).value
                - value_at(problem, rule(), theta - h * e).value
            )
            / (2 * h)
            for e in np.eye(len(theta))
        ]
    )
    assert np.abs(at.grad - quotient).max() <= 1e-6 * max(
        np.linalg.norm(quotient), 1e-2 * abs(at.value)
    )


@pytest.mark.parametrize(
    ("rule", "loss"),
    [(rule, loss) for rule in ALL for loss in losses_of(rule)],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_the_ways_agree(rule, loss, monkeypatch):
    X, y = sparse_problem(loss, 2, N, P)
    problem, found = Problem(X, y, loss=loss), {}
    for way in ways_of(rule, loss):
        set_way(monkeypatch, way)
        found[way] = value_at(problem, rule() if way != "probes" else rule(n_probes=4000), 0.5)
    assert found["gram"].value == pytest.approx(found["inverse"].value, rel=1e-9)
    np.testing.assert_allclose(found["gram"].grad, found["inverse"].grad, rtol=1e-7)
    if loss == "squared":
        assert found["spectrum"].value == pytest.approx(found["inverse"].value, rel=1e-11)
        np.testing.assert_allclose(found["spectrum"].grad, found["inverse"].grad, rtol=1e-10)
    if has_probes(rule, loss):
        assert found["probes"].value == pytest.approx(found["inverse"].value, rel=0.01)


@pytest.mark.parametrize(
    ("shape", "rank"), [((30, 50), 30), ((50, 12), 12), ((40, 60), 9), ((40, 12), 5)], ids=str
)
@pytest.mark.parametrize("n_free", [0, 1, 3])
def test_leverages_and_solves_from_singular_values(shape, rank, n_free):
    """Wide, tall and rank-deficient rows, coefficients without a penalty, weights: against the
    plain inverse."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    factor, weight = (
        np.where(np.arange(shape[1]) < n_free, 0.0, rng.uniform(0.5, 2, shape[1])),
        rng.uniform(0, 2, shape[0]),
    )
    problem = Problem(
        X, rng.normal(size=shape[0]), loss="squared", penalty=Ridge(factor), sample_weight=weight
    )
    inner = problem.inner()
    for theta in (-3.0, 0.0, 5.0):
        lam, b = inner.strengths(np.array([theta])), rng.normal(size=(shape[1] + 1, 1))
        hat = inverses.Spectrum(inner.rows, Curvature(weight[:, None]), lam, {})
        A = inner.design.dense()
        H = A.T @ (weight[:, None] * A) + np.diag(lam[:, 0])
        inverse = np.linalg.inv(H)
        a = weight * np.einsum("ij,jk,ik->i", A, inverse, A)
        np.testing.assert_allclose(hat.a[:, 0], a, atol=1e-9)
        np.testing.assert_allclose(hat.e[:, 0], 1 - a, atol=1e-9)
        np.testing.assert_allclose(hat.solve(b), inverse @ b, atol=1e-8 * np.abs(inverse @ b).max())
        assert hat.log_det == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-9)
        is_penalised = lam[:, 0] > 0
        np.testing.assert_allclose(
            hat.inverse_diagonal[is_penalised], np.diag(inverse)[is_penalised], rtol=1e-7
        )


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.__name__)
def test_tuning_ends_where_the_criterion_is_least(rule):
    X, y = sparse_problem("squared", 0, N, P)
    # so much noise that some penalty helps
    problem = Problem(X, y + np.random.default_rng(1).normal(size=N), loss="squared")
    result = hoag(problem, rule(), tol=1e-6)
    assert result.status == "converged"
    assert -2 < result.theta[0] < 8
    around = [value_at(problem, rule(), result.theta + d).value for d in (0, 0.1, -0.1)]
    assert around[0] <= min(around[1:])
    assert result.value == pytest.approx(around[0], rel=1e-5)
    if rule is ApproximateLOO:
        assert result.theta[0] == pytest.approx(
            hoag(problem, KFold(N), tol=1e-6).theta[0], abs=0.01
        )


def test_probes_come_near_leave_one_out_where_rows_nearly_fit():
    """More features than rows and a weak penalty: leverages near 1, where a plain mean over probes
    is off by half."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1200)) * (rng.random((300, 1200)) < 0.05)
    y = np.sign(X @ rng.normal(size=1200) * (rng.random(300) < 0.9) + rng.normal(size=300))
    problem = Problem(X, y)
    exact = value_at(problem, ApproximateLOO(), -2.0).value
    with pytest.MonkeyPatch.context() as patch:
        set_way(patch, "probes")
        assert value_at(problem, ApproximateLOO(), -2.0).value == pytest.approx(exact, rel=0.05)
        close, loose = (hoag(problem, ApproximateLOO(), tol=tol) for tol in (1e-6, 1e-3))
    assert close.status == loose.status == "converged"
    assert abs(loose.value - close.value) <= loose.value_error + close.value_error + 1e-3 * abs(
        close.value
    )


@pytest.mark.no_map("coefficients are counted in the design", "merge", "row space")
@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.__name__)
def test_what_makes_no_sense_is_refused(rule):
    name = rule.__name__
    X, y = sparse_problem("squared_hinge", 0, N, P)
    with pytest.raises(ValueError, match=f"{name} needs a smooth loss of one output"):
        hoag(Problem(X, y, loss="squared_hinge"), rule())
    X, y = sparse_problem("squared", 0, N, P)
    with pytest.raises(
        ValueError, match=f"method 'newton' needs the outer Hessian, which {name} does not have"
    ):
        hoag(Problem(X, y, loss="squared"), rule(), method="newton")
    if rule is not ApproximateLOO:
        with pytest.raises(
            ValueError,
            match=f"{name} is for loss .*'squared'.*; got 'smoothed_hinge'. Use KFold or "
            "ApproximateLOO",
        ):
            hoag(Problem(X, np.sign(y), loss="smoothed_hinge"), rule())
    if rule is Evidence:
        with pytest.raises(
            ValueError,
            match="Evidence takes up to 2000 coefficients or 1000 rows; there are 2101 and 1001",
        ):
            X, y = sparse_problem("squared", 0, 1001, 2100)
            hoag(Problem(X, y, loss="squared"), Evidence())
    elif rule is ApproximateLOO:
        with pytest.raises(
            ValueError,
            match="of loss 'quantile', which is straight for most rows, takes up to 2000 "
            "coefficients or 1000 rows",
        ):
            X, y = sparse_problem("squared", 0, 1001, 2100)
            hoag(Problem(X, y, loss="quantile"), ApproximateLOO())
    else:
        with pytest.raises(ValueError, match="n_probes must be an integer from 2 to 65536; got 1"):
            hoag(Problem(X, y, loss="squared"), rule(n_probes=1))


@pytest.mark.no_map("the digits that are left depend on the order of sums")
@pytest.mark.parametrize("theta", [-6.0, -10.0, -14.0])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_rows_that_nearly_fit_keep_their_digits(loss, theta):
    """Fewer rows than coefficients and hardly a penalty: 1 - a is far below the rounding of a."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 400))
    y = X[:, :3].sum(axis=1) if loss == "squared" else np.sign(X[:, 0] + rng.normal(size=30))
    at = value_at(Problem(X, y, loss=loss, fit_intercept=False), ApproximateLOO(), theta)
    assert at.is_solved
    # in the limit the minimum-norm interpolation, whose leave-one-out residual is (K⁻¹ y)_i /
    # (K⁻¹)_ii
    if loss == "squared":
        inverse = np.linalg.inv(X @ X.T + np.exp(theta) * np.eye(30))
        assert at.value == pytest.approx(
            0.5 * np.sum((inverse @ y / np.diag(inverse)) ** 2), rel=1e-8
        )
    step = 0.05
    above, below = (
        value_at(Problem(X, y, loss=loss, fit_intercept=False), ApproximateLOO(), theta + d).value
        for d in (step, -step)
    )
    assert at.grad[0] == pytest.approx(
        (above - below) / (2 * step), rel=1e-2, abs=1e-7 * abs(at.value)
    )


def test_ill_conditioned_least_squares_takes_no_conjugate_gradients():
    x = np.linspace(0, 1, 200)
    X, y = np.exp(-50 * (x[:, None] - np.linspace(0, 1, 100)) ** 2), np.sin(8 * x)
    result = hoag(Problem(X, y, loss="squared"), ApproximateLOO())
    assert sum(record["n_cg"] for record in result.trace) == 0


def test_whole_weights_are_repeated_rows_for_the_sums_of_rows():
    X, y = sparse_problem("squared", 0, N, P)
    times = np.random.default_rng(0).integers(1, 4, N)
    again = np.repeat(np.arange(N), times)
    for rule in (AIC, BIC, Evidence):
        weighted = value_at(Problem(X, y, loss="squared", sample_weight=times), rule(), 0.5)
        assert weighted.value == pytest.approx(
            value_at(Problem(X[again], y[again], loss="squared"), rule(), 0.5).value, rel=1e-9
        )


@pytest.mark.parametrize("factor", [1e-9, 1 / N, 1e9])
def test_generalised_cross_validation_sees_ratios_of_weights_only(factor):
    X, y = sparse_problem("squared", 0, N, P)
    weight = np.random.default_rng(0).uniform(0.5, 2, size=N)
    weight[:3] = 0.0  # rows that are not there
    A, s = X.toarray() if sp.issparse(X) else X, weight[3:]
    A = np.column_stack([A[3:], np.ones(N - 3)]) * np.sqrt(s)[:, None]
    hat = A @ np.linalg.solve(A.T @ A + np.diag(np.append(np.full(P, np.exp(0.5)), 0.0)), A.T)
    r = np.sqrt(s) * y[3:] - hat @ (np.sqrt(s) * y[3:])
    expected = 0.5 * (r @ r) / (1 - np.trace(hat) / (N - 3)) ** 2
    problem = Problem(X, y, loss="squared", sample_weight=factor * weight)
    found = value_at(problem, GCV(), 0.5 + np.log(factor))
    assert found.value == pytest.approx(factor * expected, rel=1e-9)


def random_intercepts(seed, unit=1.0):
    """12 groups of 3 rows with an effect each, and 20 covariates without a penalty: X, y, its
    penalty factors."""
    rng = np.random.default_rng(seed)
    Z = np.eye(12)[np.repeat(np.arange(12), 3)]
    F = rng.normal(size=(36, 20))
    y = Z @ rng.normal(size=12) + F @ (0.3 * rng.normal(size=20)) + rng.normal(size=36)
    return np.hstack([Z, unit * F]), y, np.append(np.ones(12), np.zeros(20))


@pytest.mark.no_map("coefficients differ in their penalties", "row space", "merge")
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("seed", range(3))
def test_evidence_of_least_squares_is_restricted_maximum_likelihood(seed, unit):
    X, y, factor = random_intercepts(seed, unit)
    Z, A = X[:, :12], np.column_stack([np.ones(36), X[:, 12:] / unit])
    n_left = 36 - A.shape[1]

    def reml(theta):  # minus its logarithm, up to a constant (Harville 1974)
        inverse = np.linalg.inv(np.eye(36) + np.exp(-theta) * Z @ Z.T)
        M = A.T @ inverse @ A
        P = inverse - inverse @ A @ np.linalg.solve(M, A.T @ inverse)
        log_dets = np.linalg.slogdet(M)[1] - np.linalg.slogdet(inverse)[1]
        return 0.5 * (n_left * np.log(y @ P @ y / n_left) + log_dets)

    problem = Problem(X, y, loss="squared", penalty=Ridge(factor))
    result = hoag(problem, Evidence(), tol=1e-6)
    best = minimize_scalar(reml, bounds=(-8, 8), method="bounded", options={"xatol": 1e-6}).x
    assert result.theta[0] == pytest.approx(best, abs=1e-3)
    values = [value_at(problem, Evidence(), t).value for t in (-1.0, 1.0)]
    assert values[1] - values[0] == pytest.approx(reml(1.0) - reml(-1.0), rel=1e-6)


@pytest.mark.no_map("coefficients are counted in the design", "row space")
def test_weights_that_are_too_few_rows_for_a_likelihood_are_said():
    X, y = sparse_problem("squared", 0, N, P)
    for rule in (AIC(), BIC(), Evidence()):
        few = Problem(X, y, loss="squared", sample_weight=np.full(N, 2 / N))
        with pytest.warns(UserWarning, match="sample_weight adds up to 2, less than the") as told:
            hoag(few, rule, max_iter=1)
        assert any("sample_weight" in str(one.message) and one.filename == __file__ for one in told)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rule.bind(Problem(X, y, loss="squared", sample_weight=np.ones(N)))
            GCV().bind(few)
    with pytest.raises(ValueError, match="more rows than coefficients without a penalty, 1;"):
        Evidence().bind(Problem(X, y, loss="squared", sample_weight=np.full(N, 1 / N)))


@pytest.mark.no_map("coefficients are counted in the design", "row space")
def test_a_perfect_fit_has_no_information_criterion():
    X, y = sparse_problem("squared", 0, 20, 50)
    with pytest.raises(ValueError, match="AIC of least squares needs more rows than coefficients"):
        hoag(Problem(X, y, loss="squared"), AIC())
    X, _ = sparse_problem("squared", 0, N, P)
    with pytest.raises(
        ValueError, match="Evidence of least squares estimates the noise of y; all targets are 2"
    ):
        hoag(Problem(X, np.full(N, 2.0), loss="squared"), Evidence())


def test_smoothed_labels_have_no_likelihood():
    X, y = sparse_problem("logistic", 0, N, P)
    with pytest.raises(
        ValueError, match="AIC needs a likelihood; loss 'logistic' with smoothing=0.1 is none"
    ):
        hoag(Problem(X, y, loss=find_loss("logistic", smoothing=0.1)), AIC())


@pytest.mark.parametrize("theta", [-8.0, -14.0, -20.0])
def test_rounding_of_nearly_singular_problems_is_in_the_error(theta):
    """Few more rows than coefficients, two of these nearly alike: the inverse of H against the
    singular value decomposition."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 38)), rng.normal(size=40)
    X[:, 1] = X[:, 0] + 1e-6 * rng.normal(size=40)
    U, s, _ = np.linalg.svd(X, full_matrices=False)
    shrink = s**2 / (s**2 + np.exp(theta))
    residual, e = y - U @ (shrink * (U.T @ y)), 1 - (U**2) @ shrink
    at = value_at(Problem(X, y, loss="squared", fit_intercept=False), ApproximateLOO(), theta)
    assert abs(at.value - 0.5 * np.sum((residual / e) ** 2)) <= at.value_error + 1e-9 * at.value
    assert at.value_error < 1e-2 * at.value


def test_a_row_that_cannot_be_left_out_is_named():
    X, y = sparse_problem("squared", 0, N, P)
    X = sp.hstack([X, sp.csr_matrix((np.ones(1), ([5], [0])), shape=(N, 1))]).tocsr()
    with pytest.raises(
        ValueError, match=r"row 5 alone determines a coefficient without a penalty \(1 such rows\)"
    ):
        hoag(Problem(X, y, loss="squared", penalty=Ridge(np.r_[np.ones(P), 0.0])), ApproximateLOO())
    assert hoag(Problem(X, y, loss="squared"), ApproximateLOO()).status == "converged"
    weight = np.ones(N)
    weight[5] = 0  # it does not train
    hoag(
        Problem(X, y, loss="squared", penalty=Ridge(np.r_[np.ones(P), 0.0]), sample_weight=weight),
        ApproximateLOO(),
    )


@pytest.mark.no_map("a shift in other units than those of X leaves none of its digits")
def test_singular_values_in_any_unit_and_columns_that_others_span():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 20)), rng.normal(size=200)
    results = [
        hoag(Problem(scale * X, y + X[:, 0], loss="squared"), ApproximateLOO())
        for scale in (1.0, 1e12, 1e-12)
    ]
    assert all(
        result.status == "converged" and result.value == pytest.approx(results[0].value, rel=1e-9)
        for result in results
    )
    for n in (2, 3):  # constant columns beside an intercept: the mean of the others predicts
        y = rng.normal(size=n)
        value = value_at(
            Problem(np.full((n, n - 1), 3.0), y, loss="squared"), ApproximateLOO(), 0.0
        ).value
        assert value == pytest.approx(
            0.5 * sum((y[i] - np.delete(y, i).mean()) ** 2 for i in range(n))
        )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_a_step_leads_to_the_solution_after_it(loss, way, monkeypatch):
    """∂w/∂θ, by differences."""
    set_way(monkeypatch, way)
    X, y = sparse_problem(loss, 0, N, P)
    problem, h = Problem(X, y, loss=loss), 1e-4
    low, here, high = (value_at(problem, ApproximateLOO(), theta) for theta in (-h, 0.0, h))
    slope = (high.W - low.W) / (2 * h)
    found = here.predict(np.ones(1)) - here.predict(np.zeros(1))
    np.testing.assert_allclose(found, slope, rtol=1e-5, atol=1e-6 * np.abs(slope).max())
