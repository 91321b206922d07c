"""The outer loop: it reaches the minimum, says how exact its answer is, and does what its arguments
say."""

import functools
import itertools
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from support.closed_form import exact, minimum
from support.designs import DESIGNS, FEW_LOSSES, OF_USE, MakeDesign, with_losses
from support.problems import has_log_link, real_data, sparse_problem
from support.tunings import WITH_ROWS, Plain, splits_of, threaded_problem, tuning

import fasthoag
from fasthoag import ConvergenceWarning, HeldOut, KFold, Problem, hoag
from fasthoag.losses import LOSSES, derivative
from fasthoag.outer import METHODS
from fasthoag.outer.classic import SCHEDULES
from fasthoag.outer.lbfgs import bent

LOW, HIGH = -9.0, 9.0
on_every_design = with_losses(OF_USE)
ENDS = ("converged", "stalled", "max_iter")


def run(problem, criterion, *args, callback=None, n_most=400, **options):
    """`hoag` with a guard against an outer loop that never ends."""
    records = []

    def count(record):
        records.append(record)
        assert len(records) <= n_most, (
            f"the outer loop does not end; the last evaluations: {records[-3:]}"
        )
        return callback is not None and callback(record)

    return hoag(problem, criterion, *args, callback=count, **options)


@functools.cache
def case(criterion, loss, fit_intercept):
    """A problem with a clear minimum inside: dense arrays, the minimum, and the outer curvature
    relative to f there."""
    for seed in range(50):
        split = tuning(criterion, loss, fit_intercept, Plain(), seed)[2]
        theta, value = minimum(split, loss, LOW, HIGH)
        bend = (
            (f(split, loss, theta + 0.5) + f(split, loss, theta - 0.5) - 2 * value) / 0.25 / value
        )
        if (
            LOW + 3 < theta < HIGH - 3
            and bend > 0.02
            and not crosses_a_kink(split, loss, theta, 0.03)
            and has_one_valley(split, loss, theta)
        ):
            return seed, split, theta, value
    raise AssertionError("no problem with a minimum inside")


def crosses_a_kink(split, loss, theta, distance):
    """Whether the curvature of a training row jumps within this distance of θ: there f' jumps too,
    and a minimum need not be a stationary point."""
    if not LOSSES[loss].has_kinks:
        return False
    ends = [
        np.column_stack(
            [derivative(loss, 2, split.y, split.X @ w) for w in exact(split, loss, t)[1].T]
        )
        for t in theta + distance * np.arange(-1, 2)
    ]
    return any((split.train * np.abs(end - ends[0])).any() for end in ends[1:])


def has_one_valley(split, loss, theta):
    """Whether no second minimum and no flat stretch is near θ: a narrow corner or a kink makes
    small ones, and a local method may end in any."""
    if loss != "quantile" and not LOSSES[loss].has_kinks:
        return True
    at = theta + np.linspace(-0.75, 0.75, 31)
    W, values = None, []
    for t in at[::-1]:
        fold_values, W = exact(split, loss, t, W)
        values.append(fold_values.sum())
    slopes = np.diff(values[::-1]) / 0.05
    return (
        not ((slopes[:-1] >= 0) & (slopes[1:] < 0)).any()
        and (np.abs(slopes)[np.abs(at[1:] - theta) > 0.3] > 3.1e-4 * values[0]).all()
    )


BEYOND = {"quantile": 1e-3, "smoothed_hinge": 3.3e-4}  # the slope that is asked for, 3e-4


def is_stationary(split, loss, theta, value):
    """The slope is below tol. With kinks: that of some θ within 0.05, or it changes its sign there
    (0 is in the generalised gradient). The loss with a smoothed corner has third derivatives of 1 /
    smoothing², which the error of a hypergradient does not see."""
    at = theta + (
        np.linspace(-0.05, 0.05, 51) if LOSSES[loss].has_kinks else np.array([-1e-3, 1e-3])
    )
    slopes = np.diff([f(split, loss, t) for t in at]) / np.diff(at)
    return (
        np.abs(slopes).min() <= BEYOND.get(loss, 3.1e-4) * value or slopes.min() < 0 < slopes.max()
    )


def f(split, loss, theta, W=None):
    """The criterion of exactly solved inner problems; `W` only shortens the way there."""
    return float(exact(split, loss, theta, W)[0].sum())


def is_minimum(result, split, loss, theta, value):
    """θ within 1e-2, or f within 1e-5 of the minimum that the scalar search found."""
    return abs(result.theta[0] - theta) <= 1e-2 or f(split, loss, result.theta[0]) <= value * (
        1 + 1e-5
    )


@pytest.mark.parametrize("criterion", WITH_ROWS)
@on_every_design
@pytest.mark.parametrize("method", METHODS)
def test_every_method_reaches_the_minimum_on_every_design(
    make_a_design, fit_intercept, method, loss, criterion
):
    seed, split, theta, value = case(criterion, loss, fit_intercept)
    problem, rule, _ = tuning(criterion, loss, fit_intercept, make_a_design, seed)
    result = run(problem, rule, method=method)
    # a jump of the slope on the way stops a method of first order
    if LOSSES[loss].has_kinks and method != "newton":
        assert result.status in ENDS, result.message
        assert is_stationary(split, loss, result.theta[0], value), (
            f"{result.status} at {result.theta[0]}, minimum at {theta}"
        )
        return
    assert result.status == "converged", result.message
    assert is_minimum(result, split, loss, theta, value), (
        f"theta {result.theta[0]} for {theta}, f {f(split, loss, result.theta[0])} for {value}"
    )
    # an estimate: 99 of 100 below
    assert (
        abs(result.value - f(split, loss, result.theta[0]))
        <= 3 * result.value_error + 1e-11 * value
    )
    W = exact(split, loss, result.theta[0])[1]
    np.testing.assert_allclose(result.w, W, rtol=0, atol=1e-2 * np.abs(W).max())
    assert result.method == method
    assert result.lam[0] == np.exp(result.theta[0])


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("method", METHODS)
def test_tight_tolerance_gives_the_minimum_to_many_digits(method, loss, criterion):
    seed, split, theta, value = case(criterion, loss, True)
    problem, rule, _ = tuning(criterion, loss, True, Plain(), seed)
    result = run(problem, rule, method=method, tol=1e-7, max_iter=200, n_most=1100)
    if LOSSES[loss].has_kinks and method != "newton":  # as above
        assert result.status in ENDS, result.message
        assert is_stationary(split, loss, result.theta[0], value), (
            f"{result.status} at {result.theta[0]}, minimum at {theta}"
        )
        return
    assert result.status == "converged", result.message
    assert abs(result.theta[0] - theta) <= 1e-4
    assert f(split, loss, result.theta[0]) <= value * (1 + 1e-10)
    assert np.linalg.norm(result.grad) + result.grad_error <= 1e-7 * value


@pytest.mark.no_map("where a search ends depends on the design's units")
@pytest.mark.parametrize("start", [-8.0, -3.0, 4.0, 8.0])
@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("method", METHODS)
def test_every_start_leads_to_a_stationary_point(method, loss, criterion, start):
    seed, split, theta, value = case(criterion, loss, True)
    problem, rule, _ = tuning(criterion, loss, True, Plain(), seed)
    result = run(problem, rule, [start], method=method, max_iter=200, n_most=1100)
    # a kink on the way may be a minimum without a small slope
    assert result.status in (ENDS if LOSSES[loss].has_kinks else ["converged"]), result.message
    assert result.trace[0]["theta"] == [start]
    assert is_stationary(split, loss, result.theta[0], value), (
        f"{result.status} at {result.theta[0]}, minimum at {theta}"
    )


@pytest.mark.no_map("which valley is found depends on the units", "row space", "shift")
@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", LOSSES)
def test_all_methods_agree(loss, criterion):
    seed, split, _, value = case(criterion, loss, True)
    problem, rule, _ = tuning(criterion, loss, True, Plain(), seed)
    one, *others = (
        run(problem, rule, method=method, tol=1e-6, max_iter=200, n_most=1100) for method in METHODS
    )
    for other in others:
        if LOSSES[loss].has_kinks:  # a jump of the slope on the way stops a method of first order
            assert one.value == pytest.approx(other.value, rel=1e-4)
            continue
        assert one.value == pytest.approx(other.value, rel=1e-8)
        assert abs(one.theta[0] - other.theta[0]) <= 1e-3
        assert abs(f(split, loss, one.theta[0]) - f(split, loss, other.theta[0])) <= 1e-8 * value


def random_cases():
    rng = np.random.default_rng(7)
    for number in range(100):
        yield (
            number,
            list(LOSSES)[number % len(LOSSES)],
            list(WITH_ROWS)[number // 2 % 2],
            bool(rng.integers(2)),
            bool(rng.integers(2)),
            int(rng.integers(30, 160)),
            int(rng.choice([2, 5, 10, 30, 60, 140])),
        )


@pytest.mark.no_map("beside kinks a search ends by rounding")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
def test_value_is_within_its_error_of_the_exact_one_at_the_returned_theta(method):
    misses, statuses = [], []
    for number, loss, criterion, fit_intercept, is_weighted, n_rows, n_features in random_cases():
        problem, rule, split = tuning(
            criterion, loss, fit_intercept, Plain(), number, is_weighted, n_rows, n_features
        )
        result = run(problem, rule, method=method, bounds=(-8, 12))
        statuses.append(result.status)
        expected = f(split, loss, result.theta[0], result.w)
        off = abs(result.value - expected)
        if LOSSES[loss].has_kinks:  # rows beyond a kink are not in the expansion behind the error
            assert off <= result.value_error + 1e-3 * expected, (
                f"case {number}: {loss} off by {off:.2e}, value {expected:.4g}"
            )
            # the minimum may be at a jump of the slope
            assert statuses.pop() in (*ENDS, "at_bound")
        # third derivatives are larger than theirs
        elif not off <= (1 if loss in FEW_LOSSES else 2) * result.value_error + 1e-12 * abs(
            expected
        ):
            misses.append(
                f"case {number}: {loss} {criterion} {n_rows} x {n_features}: {result.status} at "
                f"{result.theta[0]:.2f}, off by {abs(result.value - expected):.2e}, said "
                f"{result.value_error:.2e}, value {expected:.4g}"
            )
    assert len(misses) <= 1, "\n".join([f"{len(misses)} of 100", *misses])
    bad = [status for status in statuses if status not in ("converged", "at_bound")]
    # the gradient method may need more than its 50 steps
    assert len(bad) <= (1 if method == "newton" else 5), bad


@pytest.mark.no_map("which valley is found depends on the units")
@pytest.mark.filterwarnings("ignore::fasthoag.ConvergenceWarning")
def test_newton_ends_as_low_as_the_scalar_search_on_random_problems():
    """Where f is flat the slope is below its tolerance early: 3e-4 of f a unit of θ, some units
    wide. One problem may end in another valley, and one of those with kinks, which make valleys."""
    worse, in_kinks = [], []
    for number, loss, criterion, fit_intercept, is_weighted, n_rows, n_features in itertools.islice(
        random_cases(), 40
    ):
        if n_features > 60:
            continue
        problem, rule, split = tuning(
            criterion, loss, fit_intercept, Plain(), number, is_weighted, n_rows, n_features
        )
        result = run(problem, rule, bounds=(-8, 12))
        theta, value = minimum(split, loss, -8, 12, 25)
        mine = f(split, loss, result.theta[0], result.w)
        if mine > value * (1 + 1e-3):
            found = in_kinks if LOSSES[loss].has_kinks else worse
            found.append(
                f"case {number}: {loss} {criterion} {n_rows} x {n_features}: {result.status} at "
                f"{result.theta[0]:.3f}, f {mine:.8g}; minimum at {theta:.3f}, f {value:.8g}"
            )
    assert len(worse) <= 1, "\n".join(worse)
    assert len(in_kinks) <= 1, "\n".join(in_kinks)


# ---- trace, callback, limits


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def usual(criterion="k_fold", loss="logistic"):
    seed, split, theta, value = case(criterion, loss, True)
    return (*tuning(criterion, loss, True, Plain(), seed)[:2], split, theta, value)


FIELDS = {
    "theta",
    "value",
    "value_error",
    "grad_norm",
    "grad_error",
    "inner_tol",
    "linear_tol",
    "n_inner",
    "n_cg",
    "n_passes",
    "seconds",
    "is_accepted",
}


@pytest.mark.parametrize("criterion", WITH_ROWS)
def test_trace_has_a_complete_record_of_every_evaluation(method, criterion):
    import json

    problem, rule, split, _, _ = usual(criterion)
    result = run(problem, rule, method=method)
    assert len(result.trace) >= result.n_iter  # a last step may be taken on the model alone
    for record in result.trace:
        assert set(record) >= FIELDS
        assert len(record["theta"]) == 1
        assert np.isfinite([record[name] for name in FIELDS - {"theta"}]).all()
        assert record["value_error"] >= 0
        assert record["grad_error"] >= 0
        assert record["n_inner"] >= 0
        assert isinstance(record["is_accepted"], bool)
    json.dumps(result.trace)  # plain numbers
    for name in ("n_passes", "seconds"):
        values = [record[name] for record in result.trace]
        assert values == sorted(values)
    assert result.n_passes >= result.trace[-1]["n_passes"] > 0
    assert result.seconds >= result.trace[-1]["seconds"]
    for record in result.trace:
        if record.get("phase", "all") == "all":
            assert (
                abs(record["value"] - f(split, "logistic", record["theta"][0]))
                <= 3 * record["value_error"] + 1e-9
            )


def test_passes_are_those_of_the_design(method):
    problem, rule, _, _, _ = usual()
    before = problem.design.n_passes
    result = run(problem, rule, method=method)
    # the bounds read X once, before the count starts
    assert result.n_passes == pytest.approx(problem.design.n_passes - before, abs=2)


@pytest.mark.no_map("passes depend on the design's units")
@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", LOSSES)
def test_newton_takes_few_passes(loss, criterion):
    """About what the method is for: 60 passes of a small problem, and as many to look at strengths
    first, against several hundred of the plain algorithm. The corner of the quantile loss, 0.1
    wide, is crossed by many rows in a step: more steps and shorter ones. So with kinks, and with a
    log link, whose curvature is that of exp."""
    problem, rule, _, _, _ = usual(criterion, loss)
    assert run(problem, rule).n_passes <= (
        300
        if loss in ("quantile", "smoothed_hinge") or LOSSES[loss].has_kinks or has_log_link(loss)
        else 220
    )


@pytest.mark.parametrize("cut", [None, 23])
def test_callback_can_ask_for_the_coefficients_at_every_step(cut):
    rng, seen = np.random.default_rng(0), []
    X, y = rng.normal(size=(60, 4)) + 3, rng.normal(size=60)

    def look(record):
        w = record["w"]()
        assert w.shape == (5, 3)
        seen.append((record, w))

    blocks = X if cut is None else fasthoag.ShardedDesign([X[:cut], X[cut:]], fit_intercept=True)
    problem = fasthoag.Problem(blocks, y, loss="squared")
    hoag(problem, fasthoag.KFold(3), callback=look)
    folds = np.arange(60) // 20
    for number, (record, w) in enumerate(seen, start=1):
        near = 1e-3 if number == len(seen) else 0.05  # the first are rough
        for k in range(3):
            A, b = X[folds != k], y[folds != k]
            A_mean, b_mean, lam = A.mean(axis=0), b.mean(), np.exp(record["theta"][0])
            gram = (A - A_mean).T @ (A - A_mean) + lam * np.eye(4)
            solution = np.linalg.solve(gram, (A - A_mean).T @ (b - b_mean))
            solution = np.append(solution, b_mean - A_mean @ solution)
            np.testing.assert_allclose(w[:, k], solution, atol=near * np.abs(solution).max())


@pytest.mark.parametrize("criterion", WITH_ROWS)
def test_callback_sees_every_record_and_can_stop_at_any_of_them(method, criterion):
    problem, rule, _, _, _ = usual(criterion)
    seen = []
    # None goes on
    full = hoag(problem, rule, method=method, callback=lambda record: seen.append(dict(record)))
    for record in seen:
        assert record.pop("w")().shape[0] == problem.design.coefficients.n_user
    assert seen == full.trace
    for n in range(1, min(len(full.trace), 12) + 1):
        count = itertools.count(1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = hoag(problem, rule, method=method, callback=lambda record: next(count) >= n)
        seen = f"{result.status} after {len(result.trace)} evaluations, asked at {n}"
        assert result.status in ("stopped", full.status), seen
        assert len(result.trace) <= n + 1, seen
        assert result.status == "stopped" or n >= len(full.trace) - 1
        assert result.theta.shape == (1,)
        assert np.isfinite(result.value)
        assert result.w.shape[0] == problem.design.coefficients.n_user
        assert result.w.shape[1] == len(result.fold_values)


def test_exception_in_the_callback_comes_through(method):
    problem, rule, _, _, _ = usual()

    def fail(record):
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        hoag(problem, rule, method=method, callback=fail)


@pytest.mark.parametrize("max_iter", [1, 2, 3])
@pytest.mark.parametrize("criterion", WITH_ROWS)
def test_max_iter_ends_the_loop_with_a_warning(method, criterion, max_iter):
    problem, rule, split, _, _ = usual(criterion)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        result = run(problem, rule, [-8.0], method=method, tol=1e-12, max_iter=max_iter)
    assert result.status == "max_iter"
    assert "raise max_iter=" in result.message
    assert abs(result.value - f(split, "logistic", result.theta[0])) <= result.value_error + 1e-11


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("side", ["lower", "upper"])
def test_optimum_beyond_the_bound_gives_at_bound_and_a_warning(
    make_a_design, method, criterion, side
):
    seed, _, theta, _ = case(criterion, "logistic", True)
    problem, rule, _ = tuning(criterion, "logistic", True, make_a_design, seed)
    bounds = (theta + 1, theta + 4) if side == "lower" else (theta - 4, theta - 1)
    with pytest.warns(ConvergenceWarning, match=r"at the bound of theta \(theta\[0\] = "):
        result = run(problem, rule, method=method, bounds=bounds)
    assert result.status == "at_bound"
    assert result.theta[0] == bounds[0 if side == "lower" else 1]
    assert (result.grad[0] > 0) == (side == "lower")
    assert all(bounds[0] <= record["theta"][0] <= bounds[1] for record in result.trace)
    assert "Widen bounds=" in result.message


def test_bounds_may_be_arrays_and_start_outside_is_moved_in(method):
    problem, rule, _, theta, _ = usual()
    one = run(
        problem,
        rule,
        [50.0],
        method=method,
        bounds=(np.array([theta - 2]), np.array([theta + 2])),
        max_iter=200,
    )
    assert one.status == "converged"
    assert one.trace[0]["theta"] == [theta + 2]
    other = run(problem, rule, 50.0, method=method, bounds=(theta - 2, theta + 2), max_iter=200)
    np.testing.assert_array_equal(one.theta, other.theta)


def test_optimum_inside_gives_no_warning(method):
    problem, rule, _, _, _ = usual()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(problem, rule, method=method).status == "converged"


@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize(
    "schedule", [*SCHEDULES, lambda k: 0.05 / (k + 1) ** 2.5], ids=[*SCHEDULES, "callable"]
)
def test_every_schedule_of_the_paper_reaches_the_minimum(criterion, schedule):
    problem, rule, split, theta, value = usual(criterion)
    result = run(problem, rule, method="hoag", schedule=schedule, max_iter=200)
    assert result.status == "converged", result.message
    assert is_minimum(result, split, "logistic", theta, value)


def test_callable_schedule_sets_the_tolerances_that_the_trace_shows():
    problem, rule, _, _, _ = usual()
    asked = []

    def schedule(k):
        asked.append(k)
        return 0.02 * 0.8**k

    result = run(problem, rule, method="hoag", schedule=schedule)
    assert asked[0] == 0
    assert asked == sorted(asked)
    shown = [record["inner_tol"] for record in result.trace if record["phase"] == "all"]
    assert shown[0] == 0.02
    assert set(shown) <= {0.02 * 0.8**k for k in asked}


@pytest.mark.no_map("shifted columns of zeros are not flat but for rounding", "shift")
def test_flat_criterion_converges_at_once(method):
    """All-zero X: every strength is as good."""
    import scipy.sparse as sp

    y = np.where(np.arange(40) % 3 > 0, 1.0, -1.0)
    for criterion in (KFold(4), HeldOut(sp.csr_matrix((40, 5)), y)):
        result = run(Problem(sp.csr_matrix((40, 5)), y), criterion, method=method)
        assert result.status == "converged"
        assert result.grad[0] == 0
        assert len(result.trace) <= 3
        # any is as good, but a model file with 1e-299 helps nobody
        assert 1e-12 <= result.lam[0] <= 1e12


def test_rounding_floor_ends_the_loop_and_says_so(method):
    problem, rule, _, theta, _ = usual()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run(problem, rule, method=method, tol=1e-16, max_iter=100, n_most=600)
    assert result.status in ("stalled", "max_iter", "converged")
    assert abs(result.theta[0] - theta) < 1e-3


# ---- the same problem in other clothes


def same(one, other, rel=1e-9):
    assert one.status == other.status
    assert len(one.trace) == len(other.trace)
    np.testing.assert_allclose(one.theta, other.theta, rtol=0, atol=rel * 10)
    assert one.value == pytest.approx(other.value, rel=rel)
    np.testing.assert_allclose(one.w, other.w, rtol=0, atol=10 * rel * np.abs(other.w).max())


def same_bits(one, other):
    for name in ("theta", "w", "fold_values", "grad"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.value, one.value_error, one.grad_error, one.n_passes) == (
        other.value,
        other.value_error,
        other.grad_error,
        other.n_passes,
    )

    def drop(trace):
        return [{k: value for k, value in record.items() if k != "seconds"} for record in trace]

    assert drop(one.trace) == drop(other.trace)


def test_number_of_threads_changes_no_more_than_rounding(method):
    problem, rule = threaded_problem()
    same(*(run(problem, rule, method=method, n_threads=n) for n in (1, 2)), rel=1e-9)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_two_runs_give_the_same_bits(method, n_threads):
    problem, rule = threaded_problem()
    same_bits(*(run(problem, rule, method=method, n_threads=n_threads) for _ in range(2)))


def test_deterministic_gives_the_same_bits_for_every_number_of_threads(method):
    problem, rule = threaded_problem(deterministic=True)
    first = run(problem, rule, method=method, n_threads=1)
    for n_threads in (2, 3):
        same_bits(first, run(problem, rule, method=method, n_threads=n_threads))


@pytest.mark.no_map("where a search ends depends on the design's units", "shift")
@pytest.mark.parametrize("criterion", WITH_ROWS)
@pytest.mark.parametrize("loss", LOSSES)
def test_whole_weights_equal_repeated_rows(method, loss, criterion):
    X, y = sparse_problem(loss, 4, 60, 8)
    weight = np.random.default_rng(0).integers(0, 3, 60)
    rows = np.repeat(np.arange(60), weight)
    make = Plain()
    if criterion == "k_fold":
        splits = splits_of(60, 3)
        position = [np.flatnonzero(rows == i) for i in range(60)]
        repeated_splits = [
            tuple(np.concatenate([position[i] for i in part]) for part in split) for split in splits
        ]
        weighted = Problem(make(X, True), y, loss, sample_weight=weight), KFold(splits)
        repeated = Problem(make(X[rows], True), y[rows], loss), KFold(repeated_splits)
    else:
        weighted = (
            Problem(make(X[:30], True), y[:30], loss, sample_weight=weight[:30]),
            HeldOut(X[30:], y[30:], weight[30:]),
        )
        repeated = (
            Problem(make(X[rows[rows < 30]], True), y[rows[rows < 30]], loss),
            HeldOut(X[rows[rows >= 30]], y[rows[rows >= 30]]),
        )
    one, other = (
        run(*pair, method=method, bounds=(-8, 8), tol=1e-5, max_iter=200, n_most=1100)
        for pair in (weighted, repeated)
    )
    if LOSSES[loss].has_kinks:  # at a jump of the slope the steps end where rounding says
        assert one.status in (*ENDS, "at_bound")
        assert one.value == pytest.approx(other.value, rel=1e-3)
        return
    assert one.status == other.status
    assert one.status in ("converged", "at_bound")
    # both at the same stationary point, as far as tol says: rounding decides when a column of CG
    # stops, and so the steps
    assert abs(one.theta[0] - other.theta[0]) <= 5e-3
    assert one.value == pytest.approx(other.value, rel=1e-7)
    np.testing.assert_allclose(one.w, other.w, rtol=0, atol=5e-3 * np.abs(other.w).max())


@pytest.mark.parametrize("criterion", WITH_ROWS)
def test_layout_of_the_data_changes_no_more_than_rounding(method, criterion):
    seed, _, _, _ = case(criterion, "logistic", True)
    reference, rule, split = tuning(
        criterion, "logistic", True, MakeDesign("cpu dense", "float64"), seed
    )
    expected = run(reference, rule, method=method)
    D, y = split.X[:, :-1], split.y
    wide = np.full((2 * len(D), 3 * D.shape[1]), np.nan)
    wide[::2, 1::3] = D
    frozen = D.copy()
    frozen.flags.writeable = False
    frozen_y = y.copy()
    frozen_y.flags.writeable = False
    for X, targets in (
        (wide[::2, 1::3], np.repeat(y, 2)[::2]),
        (np.asfortranarray(D), y),
        (frozen, frozen_y),
        (D.tolist(), y.tolist()),
        (D, y[:, None]),
    ):
        same(run(Problem(X, targets), rule, method=method, n_threads=1), expected)


@pytest.mark.parametrize("formats", [("sparse", "dense"), ("dense", "sparse")], ids=" then ".join)
def test_criterion_rows_may_have_the_other_format(formats):
    """Training rows sparse and criterion rows dense, and the reverse."""
    seed, split, theta, value = case("held_out", "logistic", True)
    X, y = sparse_problem("logistic", seed, 90, 12)
    train, val = (
        {"sparse": part, "dense": part.toarray()}[kind]
        for part, kind in zip((X[:45], X[45:]), formats, strict=False)
    )
    result = run(Problem(train, y[:45]), HeldOut(val, y[45:]), n_threads=1)
    assert is_minimum(result, split, "logistic", theta, value), (
        f"theta {result.theta[0]} for {theta}"
    )


def test_criterion_may_be_used_again_and_problem_and_data_stay_unchanged(method):
    X, y = sparse_problem("logistic", 5)
    before = X.copy(), y.copy()
    problem, rule = Problem(X, y), KFold(4)
    first = run(problem, rule, method=method, n_threads=1)
    same_bits(first, run(problem, rule, method=method, n_threads=1))
    assert (before[0] != X).nnz == 0
    assert X.data.tobytes() == before[0].data.tobytes()
    assert X.indices.tobytes() == before[0].indices.tobytes()
    np.testing.assert_array_equal(y, before[1])


def test_public_estimates_have_the_shapes_of_the_documentation(method):
    for criterion, n_folds in (("held_out", 1), ("k_fold", 4)):
        problem, rule, _, _, _ = usual(criterion)
        result = run(problem, rule, method=method)
        assert result.theta.shape == result.lam.shape == result.grad.shape == (1,)
        assert result.w.shape == (13, n_folds)
        assert result.fold_values.shape == (n_folds,)
        assert isinstance(result.value, float)
        assert isinstance(result.value_error, float)
        assert isinstance(result.grad_error, float)
        assert result.value == pytest.approx(result.fold_values.sum(), rel=1e-2)
        assert isinstance(result.n_iter, int)
        assert 0 <= result.inner_error < 1


def test_names_of_the_package_are_those_it_lists():
    assert set(fasthoag.__all__) <= set(dir(fasthoag))
    assert set(METHODS) == {"newton", "hoag", "lbfgs"}
    assert len(DESIGNS) >= 7


@pytest.mark.slow
def test_twenty_newsgroups_optimum_is_that_of_the_paper():
    """θ ≈ -4.564, f ≈ 1610.08: counts with rows of unit norm, labels above 10 against the rest,
    official split, no intercept."""
    import scipy.sparse as sp

    def load(part):
        X, y = fasthoag.load_svmlight(
            real_data("20newsgroups", f"20news-bydate.counts.{part}.bz2"), n_features=130107
        )
        norm = np.sqrt(np.asarray(X.multiply(X).sum(1)).ravel())
        return sp.csr_matrix(sp.diags(1 / np.where(norm > 0, norm, 1)) @ X), np.where(
            y > 10, 1.0, -1.0
        )

    (X, y), (X_val, y_val) = load("train"), load("test")
    result = run(Problem(X, y, fit_intercept=False), HeldOut(X_val, y_val), [0.0], tol=3e-4)
    assert result.status == "converged"
    assert abs(result.theta[0] + 4.564) < 0.02
    assert abs(result.value - 1610.08) < 0.02


def test_a_bent_step_finds_the_zero_of_a_parabola():
    # nearest zero at -1.95
    theta, slope_of = np.array([-1.0, -2.0, -2.6]), np.poly1d([0.7, 6.0, 9.0])
    gradients = slope_of(theta)
    pairs = [
        (np.array([a]), np.array([b]), a * b)
        for a, b in zip(np.diff(theta), np.diff(gradients), strict=False)
    ]
    secant = np.array([-gradients[2] * np.diff(theta)[1] / np.diff(gradients)[1]])
    zero = max(slope_of.roots)
    assert theta[2] + bent(secant, gradients[2:], *pairs)[0] == pytest.approx(zero, abs=1e-12)
    straight = [(s, 3 * s, 3 * s * s) for s, _, _ in pairs]
    np.testing.assert_allclose(bent(np.array([-0.5]), np.array([1.5]), *straight), [-0.5])
    # not far from the secant
    assert bent(np.array([-0.1]), gradients[2:], *pairs)[0] in (-0.05, -0.2)


@pytest.mark.no_map("scales are those of the design")
@pytest.mark.parametrize("rule", ["k_fold", "loo"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("n_small", [10, 300])
def test_features_of_very_different_scales_do_not_hide_the_best_valley(loss, rule, n_small):
    """Two features are a million times as large as the others and tell a little: a valley of its
    own at strengths where the others are nothing."""
    rng = np.random.default_rng(0)
    n = 400
    small = (rng.random((n, n_small)) < (1 if n_small == 10 else 0.05)) * rng.normal(
        size=(n, n_small)
    )
    large, noise = rng.normal(size=(n, 2)), rng.normal(size=n)
    z = large.sum(axis=1) * 0.5 + small @ rng.normal(size=n_small) + 0.5 * noise
    X, y = sp.csr_matrix(np.hstack([1e6 * large, small])), z if loss == "squared" else np.sign(z)
    criterion, problem = (
        KFold(5) if rule == "k_fold" else fasthoag.ApproximateLOO(),
        Problem(X, y, loss=loss),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        best = min(
            (
                hoag(problem, criterion, np.array([theta]), bounds=(theta - 1, theta + 1))
                for theta in np.arange(-9.0, 30.0, 2.0)
            ),
            key=lambda result: result.value,
        )
        result = hoag(problem, criterion)
    assert result.value <= 1.01 * best.value


@pytest.mark.no_map("scales are those of the design", "row space", "shift")
@pytest.mark.parametrize("rule", [KFold(5), fasthoag.ApproximateLOO()], ids=["k_fold", "loo"])
@pytest.mark.parametrize("case", ["a few small among large", "eight decades", "large and useless"])
def test_small_features_are_found(case, rule):
    rng = np.random.default_rng(1)
    if case == "a few small among large":
        X = np.hstack([rng.normal(size=(400, 28)) * 1e3, rng.normal(size=(400, 2))])
        y = X[:, 28] + X[:, 29] + 0.1 * rng.normal(size=400) + 3e-4 * X[:, 0]
    elif case == "eight decades":
        X = rng.normal(size=(60, 6)) * 10.0 ** np.linspace(-4, 4, 6)
        y = 1e4 * X[:, 0] + 0.5 * rng.normal(size=60)
    else:
        X = np.hstack([rng.normal(size=(100, 30)) * 1e3, rng.normal(size=(100, 10)) * 0.1])
        y = 10 * X[:, 30:].sum(axis=1) + 0.3 * rng.normal(size=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = hoag(Problem(X, y, loss="squared"), rule)
    assert result.value < 0.3 * 0.5 * ((y - y.mean()) ** 2).sum()  # in the other valleys 0.6 to 1.1


@pytest.mark.parametrize("rule", [KFold(5), fasthoag.ApproximateLOO()], ids=["k_fold", "loo"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_an_offset_of_the_columns_changes_nothing_beside_an_intercept(loss, rule):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    z = 0.3 * X @ rng.normal(size=20) + 2 * rng.normal(size=200)
    values = [
        hoag(Problem(X + offset, z if loss == "squared" else np.sign(z), loss=loss), rule).value
        for offset in (0, 100)
    ]
    assert values[1] == pytest.approx(values[0], rel=1e-3)
