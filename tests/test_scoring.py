"""Scorers and unseen rows are reported as scikit-learn would from refitted models, and choose
nothing."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, get_scorer, make_scorer, mean_absolute_error
from support.problems import sparse_problem

from fasthoag import GCV, HeldOut, KFold, LogisticRegressionCV, Problem, hoag, mix_losses
from fasthoag.losses import derivative

N, P = 120, 6


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "neg_log_loss", "f1", "average_precision"])
@pytest.mark.parametrize("has_weights", [False, True], ids=["alike", "weighted"])
def test_scores_of_folds_are_those_of_scikit_learn(name, has_weights):
    X, y = sparse_problem("logistic", 0, N, P)
    weight = np.random.default_rng(0).uniform(0.5, 2, N) if has_weights else None
    rule = KFold(4)
    problem = Problem(X, y, sample_weight=weight)
    result = hoag(problem, rule, scoring=name, tol=1e-6)
    for fold, (train, test) in enumerate(rule.splits(problem)):
        more = (
            ({}, {})
            if weight is None
            else ({"sample_weight": weight[train]}, {"sample_weight": weight[test]})
        )
        model = LogisticRegression(C=1 / result.lam[0], tol=1e-10, max_iter=10000).fit(
            X[train], y[train], **more[0]
        )
        assert result.scores[name][fold] == pytest.approx(
            get_scorer(name)(model, X[test], y[test], **more[1]), rel=1e-3
        )
    assert result.trace[-1]["scores"][name].shape == (4,)


def test_scores_of_regression_and_callables():
    X, y = sparse_problem("squared", 0, N, P)

    def worst(model, X, y):
        return np.abs(y - model.predict(X)).max()

    result = hoag(
        Problem(X[:60], y[:60], loss="squared"),
        HeldOut(X[60:], y[60:]),
        scoring={"mae": "neg_mean_absolute_error", "worst": worst},
        tol=1e-6,
    )
    model = Ridge(alpha=result.lam[0]).fit(X[:60], y[:60])
    assert result.scores["mae"][0] == pytest.approx(
        -mean_absolute_error(y[60:], model.predict(X[60:])), rel=1e-3
    )
    assert result.scores["worst"][0] == pytest.approx(
        np.abs(y[60:] - model.predict(X[60:])).max(), rel=1e-3
    )


def test_scores_of_multinomial_models():
    X, y = sparse_problem("squared", 0, N, P)
    y = np.digitize(y, np.quantile(y, [0.3, 0.6])).astype(float)
    result = hoag(
        Problem(X, y, loss="multinomial"),
        KFold(3),
        scoring=["accuracy", "neg_log_loss", "roc_auc_ovr"],
    )
    assert -result.scores["neg_log_loss"] @ result.fold_weights == pytest.approx(
        result.value, rel=1e-2
    )
    assert (result.scores["roc_auc_ovr"] > 0.5).all()
    assert (result.scores["accuracy"] > 0.3).all()


def test_unseen_rows_are_judged_by_the_models_of_the_folds_and_choose_nothing():
    X, y = sparse_problem("logistic", 0, N, P)
    problem, unseen = Problem(X[:80], y[:80]), HeldOut(X[80:], y[80:])
    result, plain = hoag(problem, KFold(4), unseen=unseen), hoag(problem, KFold(4))
    Z = X[80:] @ result.w[:P] + result.w[P]
    assert result.unseen_value == pytest.approx(
        np.mean([derivative("logistic", 0, y[80:], z).sum() for z in Z.T]), rel=1e-9
    )
    assert np.isnan(plain.unseen_value)
    assert plain.theta == result.theta
    assert [
        record["unseen_value"]
        for record in result.trace
        if record["phase"] == "all" and record["is_accepted"]
    ]
    with pytest.raises(TypeError, match="unseen must be a fasthoag.HeldOut"):
        hoag(problem, KFold(4), unseen=5)


def test_estimators_report_scores():
    X, y = sparse_problem("logistic", 0, N, P)
    assert LogisticRegressionCV(scoring="roc_auc").fit(X, y).hoag_result_.scores[
        "roc_auc"
    ].shape == (5,)


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        ("no such", "scoring: .*no such"),
        (5, "scoring must be the name of"),
        ("r2_", "scoring: "),
        ("neg_log_loss", "scoring 'neg_log_loss' cannot judge loss 'squared_hinge' on fold 0"),
    ],
)
def test_bad_scoring_is_refused_before_any_work(scoring, message):
    X, y = sparse_problem("logistic", 0, N, P)
    problem = Problem(X, y, loss="squared_hinge")
    with pytest.raises((TypeError, ValueError), match=message):
        hoag(problem, KFold(3), scoring=scoring)
    assert problem.design.n_passes == 0


ROWS = np.arange(N)


@pytest.mark.parametrize(
    ("loss", "scoring", "reason"),
    [
        ("logistic", "roc_auc", "one class"),
        ("squared_hinge", "roc_auc", "one class"),
        ("logistic", "neg_log_loss", "one label"),
        ("multinomial", "roc_auc_ovr", ""),
        ("squared", "r2", "two samples"),
    ],
)
@pytest.mark.parametrize("is_alone", [False, True])
def test_a_fold_that_a_scorer_cannot_judge_is_nan_with_a_warning(loss, scoring, reason, is_alone):
    X, z = sparse_problem("squared", 0, N, P)
    y = {
        "squared": lambda: z,
        "multinomial": lambda: np.digitize(z, np.quantile(z, [0.3, 0.6])).astype(float),
    }.get(loss, lambda: np.sign(z - np.median(z)))()
    first = [0] if loss == "squared" else np.flatnonzero(y == y[0])[:6]
    folds = [(np.setdiff1d(ROWS, first), first), (ROWS[::2], ROWS[1::2])]
    message = f"scoring '{scoring}' gives NaN on fold 0: .*{reason}"
    with pytest.warns(UserWarning, match=message) as heard:
        result = hoag(
            Problem(X, y, loss=loss), KFold(folds[:1] if is_alone else folds), scoring=[scoring]
        )
    scores = result.scores[scoring]
    assert np.isnan(scores[0])
    assert np.isfinite(scores[1:]).all()
    # once a run, however many steps
    assert sum("gives NaN" in str(one.message) for one in heard) == 1


def test_errors_of_any_kind_in_a_scorer_are_nan_where_another_fold_is_judged():
    X, y = sparse_problem("logistic", 0, N, P)

    def mine(model, X, y):
        if len(y) < 10:
            raise ZeroDivisionError("too few rows")
        return 1.0

    folds = [(ROWS[::2], ROWS[1:10:2]), (ROWS[::2], ROWS[1::2])]
    with pytest.warns(UserWarning, match="scoring 'mine' gives NaN on fold 0: too few rows"):
        scores = hoag(Problem(X, y), KFold(folds), scoring=mine).scores["mine"]
    np.testing.assert_array_equal(scores, [np.nan, 1.0])
    with pytest.raises(ValueError, match="scoring 'mine' cannot judge loss 'logistic' on fold 0"):
        hoag(Problem(X, y), KFold(folds[:1]), scoring=mine)


@pytest.mark.parametrize(
    ("loss", "scoring"),
    [
        ("squared", "roc_auc"),
        ("poisson", "accuracy"),
        ("multinomial", "roc_auc"),
        ("multinomial", "f1"),
        ("smoothed_hinge", "neg_brier_score"),
        ("logistic", make_scorer(f1_score, pos_label="yes")),
        ("logistic", lambda model, X, y: model.no_such_method()),
    ],
)
def test_a_scorer_that_judges_no_fold_of_the_loss_is_refused_before_any_work(loss, scoring):
    X, z = sparse_problem("squared", 0, N, P)
    y = {
        "squared": lambda: z,
        "poisson": lambda: np.round(np.exp(z / np.abs(z).max())),
        "multinomial": lambda: np.digitize(z, np.quantile(z, [0.3, 0.6])).astype(float),
    }.get(loss, lambda: np.sign(z))()
    problem = Problem(X, y, loss=loss)
    with pytest.raises(ValueError, match=f"cannot judge loss '{loss}'"):
        hoag(problem, KFold(3), scoring=scoring, callback=lambda _: pytest.fail("work was done"))
    assert problem.design.n_passes == 0


def test_criteria_without_rows_have_no_scores():
    X, y = sparse_problem("squared", 0, N, P)
    with pytest.raises(
        ValueError, match="scoring needs a criterion with rows and targets of its own"
    ):
        hoag(Problem(X, y, loss="squared"), GCV(), scoring="r2")


def test_weights_go_to_the_scorers_that_take_them():
    X, y = sparse_problem("squared", 0, N, P)

    def worst(model, X, y):
        return np.abs(y - model.predict(X)).max()

    problem = Problem(X, y, loss="squared", sample_weight=np.linspace(0.5, 2, N))
    scores = hoag(
        problem, KFold(3), scoring={"worst": worst, "max": "neg_max_error", "r2": "r2"}
    ).scores
    np.testing.assert_allclose(scores["worst"], -scores["max"])


def test_mixes_of_log_links_predict_exponentials():
    X, y = sparse_problem("poisson", 0, N, P)
    one, mixed = (
        hoag(Problem(X, y + 0.5, loss=loss), KFold(3), scoring="r2").scores["r2"]
        for loss in ("poisson", mix_losses("poisson", "gamma", 0.9))
    )
    np.testing.assert_allclose(one, mixed, atol=0.1)


@pytest.mark.parametrize("what", ["unseen", "stop_on"])
def test_watched_rows_are_rows(what):
    X, y = sparse_problem("logistic", 0, N, P)
    with pytest.raises(TypeError, match=f"{what} must be a fasthoag.HeldOut"):
        hoag(Problem(X, y), KFold(3), **{what: KFold(3)})
