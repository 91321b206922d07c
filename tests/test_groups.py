"""Groups of rows: no fold has rows of a group that also trains, whoever cuts it."""

import inspect
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, get_scorer
from sklearn.model_selection import (
    GroupKFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    StratifiedGroupKFold,
    TimeSeriesSplit,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.estimators import CLASSIFIERS, EVERY, FORMATS, LINEAR, rows_for

import fasthoag
from fasthoag import HeldOut, KernelProblem, KFold, Problem, hoag

N = 60
GROUPS = np.random.default_rng(7).permutation(np.repeat(np.arange(12), 5))
every_estimator = pytest.mark.parametrize("Estimator", EVERY, ids=lambda E: E.__name__)
every_format = pytest.mark.parametrize("form", FORMATS)


@contextmanager
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def fitted(Estimator, form="dense", cv=4, rows=None, **given):
    X, y = rows_for(Estimator, N) if rows is None else rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        return Estimator(cv=cv).fit(FORMATS[form](X), y, **given)


def same(one, other):
    np.testing.assert_array_equal(one.scores_, other.scores_)
    np.testing.assert_array_equal(one.hoag_result_.theta, other.hoag_result_.theta)


# ---- estimators --------------------------------------------------------------------------------


@every_format
@every_estimator
def test_a_number_of_folds_keeps_groups_together(Estimator, form):
    X, y = rows_for(Estimator, N)
    splitter = (StratifiedGroupKFold if Estimator in CLASSIFIERS else GroupKFold)(4)
    pairs = list(splitter.split(X, y, GROUPS))
    by_pairs = fitted(Estimator, form, cv=pairs)
    same(fitted(Estimator, form, groups=GROUPS), by_pairs)
    named = np.array([f"patient {g:02}" for g in GROUPS])[:, None]
    same(fitted(Estimator, form, cv=splitter, groups=named), by_pairs)


@pytest.mark.parametrize(
    "cv",
    [TimeSeriesSplit(3), PredefinedSplit(np.arange(N) % 4 - 1)],
    ids=["time", "predefined"],
)
@every_estimator
def test_other_splitters_cut_folds(Estimator, cv):
    X, y = rows_for(Estimator, N)
    same(fitted(Estimator, cv=cv), fitted(Estimator, cv=list(cv.split(X, y))))


@every_estimator
def test_a_splitter_that_needs_groups_says_so(Estimator):
    with pytest.raises(ValueError, match=r"cv=GroupKFold\(.* needs groups=, a label for every row"):
        fitted(Estimator, cv=GroupKFold(3))


BAD = {
    "short": (GROUPS[1:], {}, r"groups must have one label a row, \(60,\); got shape \(59,\)"),
    "NaN": (np.where(GROUPS == 3, np.nan, GROUPS), {}, "groups has missing labels .*5 of them"),
    "None": ([None, *GROUPS[1:]], {}, "groups has missing labels"),
    "few": (GROUPS % 3, {}, "cv=4 folds need .*the number of groups is 3. Use cv <= 3"),
    "one": (GROUPS * 0, {}, "cv=4 folds need .*number of groups is 1. There is nothing to cut"),
    "pairs": (GROUPS, {"cv": [([0, 1], [2, 3])]}, r"cv has \(train, test\) pairs"),
    "few for a splitter": (GROUPS % 3, {"cv": GroupKFold(4)}, "number of groups"),
    "one for a splitter": (GROUPS * 0, {"cv": LeaveOneGroupOut()}, "fewer than 2 unique groups"),
}


@pytest.mark.parametrize("bad", BAD)
@every_estimator
def test_groups_that_cut_no_folds_are_named_before_any_work(Estimator, bad):
    groups, given, says = BAD[bad]
    X, y = rows_for(Estimator, N)
    work = {"callback": lambda _: pytest.fail("work was done")}
    with pytest.raises(ValueError, match=says):
        Estimator(**{"cv": 4} | given | work).fit(X, y, groups=groups)


@every_estimator
def test_groups_that_would_not_be_used_are_refused(Estimator):
    X, y = rows_for(Estimator, N)
    with pytest.raises(ValueError, match="groups= is for cutting folds, which validation="):
        Estimator().fit(X, y, groups=GROUPS, validation=(X, y))
    if "Ridge" in Estimator.__name__:
        with pytest.raises(ValueError, match="groups= needs folds, and cv=None leaves out"):
            Estimator(cv=None).fit(X, y, groups=GROUPS)


@pytest.mark.parametrize(
    ("per_target", "method"), [(False, "auto"), (True, "auto"), (True, "newton")]
)
def test_several_targets_have_the_folds_of_groups(per_target, method):
    """By factors of X, and by a search for each target."""
    X, y = rows_for(fasthoag.RidgeCV, N)
    Y = np.column_stack([y, X[:, 0] - y])
    model = fasthoag.RidgeCV(cv=4, alpha_per_target=per_target, method=method)
    found = model.fit(X, Y, groups=GROUPS).score_mean_
    pairs = list(GroupKFold(4).split(X, groups=GROUPS))
    np.testing.assert_array_equal(found, model.set_params(cv=pairs).fit(X, Y).score_mean_)


def test_labels_of_a_matrix_have_the_folds_of_groups():
    X, y = rows_for(fasthoag.RidgeCV, N)
    Y = np.column_stack([y > 0, X[:, 0] > 0]).astype(int)
    pairs = list(GroupKFold(4).split(X, groups=GROUPS))
    one, other = (
        fasthoag.RidgeClassifierCV(cv=cv).fit(X, Y, groups=groups).scores_
        for cv, groups in ((4, GROUPS), (pairs, None))
    )
    np.testing.assert_array_equal(one, other)


# ---- scikit-learn's metadata routing -----------------------------------------------------------


@every_estimator
def test_fits_request_what_they_are_told_to(Estimator):
    with routing():
        model = Estimator().set_fit_request(groups=True, sample_weight=True)
        asked = model.get_metadata_routing().fit.requests
        assert asked["groups"] is True
        assert asked["sample_weight"] is True
        for name in inspect.signature(Estimator.fit).parameters:
            assert name in ("self", "X", "y") or name in asked
        assert Estimator().get_metadata_routing().fit.requests["groups"] is None
        by_splitter = Estimator(cv=GroupKFold(3)).get_metadata_routing()
        assert by_splitter.fit.requests["groups"] is True
        refused = Estimator(cv=GroupKFold(3)).set_fit_request(groups=False)
        assert refused.get_metadata_routing().fit.requests["groups"] is False


@pytest.mark.parametrize("Estimator", LINEAR, ids=lambda E: E.__name__)
def test_nested_folds_keep_groups_together(Estimator):
    X, y = rows_for(Estimator, N)
    weight = np.random.default_rng(0).uniform(0.5, 2, N)
    with routing(), warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model = Estimator(cv=GroupKFold(3)).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        params = {"groups": GROUPS, "sample_weight": weight}
        how = {"cv": GroupKFold(2), "return_estimator": True, "scoring": unweighted}
        found = cross_validate(pipeline, X, y, params=params, **how)
        outer = zip(GroupKFold(2).split(X, y, GROUPS), found["estimator"], strict=True)
        for (train, _), one in outer:
            scaled = StandardScaler().fit_transform(X[train])
            pairs = list(GroupKFold(3).split(scaled, y[train], GROUPS[train]))
            alone = Estimator(cv=pairs).fit(scaled, y[train], sample_weight=weight[train])
            same(one[-1], alone)


def unweighted(model, X, y):
    return model.score(X, y)


def test_routing_asks_what_is_not_said():
    X, y = rows_for(fasthoag.LogisticRegressionCV, N)
    with routing(), pytest.raises(ValueError, match="groups.* not explicitly set as requested"):
        cross_validate(
            make_pipeline(fasthoag.LogisticRegressionCV()),
            X,
            y,
            params={"groups": GROUPS},
            cv=GroupKFold(2),
            error_score="raise",
        )


def test_a_scorer_may_refuse_weights():
    X, y = rows_for(fasthoag.LogisticRegressionCV, N)
    weight, pairs = np.linspace(0.1, 3, N), list(StratifiedGroupKFold(4).split(X, y, GROUPS))
    with routing():
        scorers = [
            get_scorer("accuracy").set_score_request(sample_weight=has) for has in (True, False)
        ]
        models = [
            fasthoag.LogisticRegressionCV(Cs=[1.0], scoring=one, cv=pairs).fit(X, y, weight)
            for one in scorers
        ]
        assert models[1].score(X, y) == accuracy_score(y, models[1].predict(X))
        with pytest.raises(ValueError, match="takes no sample_weight"):
            models[1].score(X, y, weight)
    for model, has_weights in zip(models, (True, False), strict=True):
        for (train, test), score in zip(pairs, model.scores_, strict=True):
            fold = fasthoag.LogisticRegressionCV(Cs=[1.0]).fit(X[train], y[train], weight[train])
            own = weight[test] if has_weights else None
            expected = accuracy_score(y[test], fold.predict(X[test]), sample_weight=own)
            assert score == pytest.approx(expected, rel=1e-12)


def test_tuned_cv_gets_groups_through_a_pipeline_too():
    X, y = rows_for(fasthoag.LogisticRegressionCV, N)
    pairs = list(GroupKFold(3).split(X, y, GROUPS))
    one = fasthoag.TunedCV(LogisticRegression(), cv=GroupKFold(3)).fit(X, y, groups=GROUPS)
    other = fasthoag.TunedCV(LogisticRegression(), cv=pairs).fit(X, y)
    with routing():
        model = fasthoag.TunedCV(LogisticRegression(), cv=GroupKFold(3))
        routed = model.fit(X, y, groups=GROUPS)
    assert one.best_params_ == other.best_params_ == routed.best_params_


# ---- hoag --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_kernel", [False, True])
@every_format
def test_the_criterion_takes_groups(form, is_kernel):
    X, y = rows_for(fasthoag.RidgeCV, N)
    X = FORMATS[form](X)
    problem = (KernelProblem if is_kernel else Problem)(X, y, loss="squared")
    one = hoag(problem, KFold(4, groups=GROUPS))
    other = hoag(problem, KFold(list(GroupKFold(4).split(X, y, GROUPS))))
    np.testing.assert_array_equal(one.theta, other.theta)


def test_groups_may_be_in_blocks():
    X, y = rows_for(fasthoag.RidgeCV, N)
    parts = [slice(0, 25), slice(25, N)]
    problem = Problem([X[part] for part in parts], [y[part] for part in parts], loss="squared")
    one = hoag(problem, KFold(4, groups=[GROUPS[part] for part in parts]))
    assert one.theta == hoag(problem, KFold(4, groups=GROUPS)).theta


def test_groups_of_rows_that_live_elsewhere():
    X, y = rows_for(fasthoag.RidgeCV, N)
    design = fasthoag.ShardedDesign([X[:25], X[25:]], fit_intercept=True)
    sharded = Problem(design, [y[:25], y[25:]], loss="squared")
    whole = hoag(Problem(X, y, loss="squared"), KFold(4, groups=GROUPS))
    for groups in (GROUPS, [GROUPS[:25], GROUPS[25:]]):
        one = hoag(sharded, KFold(4, groups=groups))
        assert one.value == pytest.approx(whole.value, rel=1e-6)
    with pytest.raises(ValueError, match=r"groups\[1\] has 34 values but X\[1\] has 35 rows"):
        hoag(sharded, KFold(4, groups=[GROUPS[:25], GROUPS[26:]]))


@pytest.mark.parametrize("has_weights", [False, True])
def test_groups_are_held_back_whole(has_weights):
    """What ends a search of many strengths are rows of groups that neither train nor judge."""
    X, y = rows_for(fasthoag.RidgeCV, N)
    weight = np.where(np.arange(N) % 4, 1.0, 0.0) if has_weights else None
    problem = Problem(X, y, loss="squared", sample_weight=weight)
    judge, back = KFold(3, groups=GROUPS).hold_back(problem)
    assert isinstance(back, HeldOut)
    is_back = back.sample_weight > 0
    assert 0 < is_back.sum() <= problem.n_used // 5
    pairs = judge.splits(problem)
    assert len(pairs) == 3
    for train, test in pairs:
        assert not np.isin(GROUPS[test], GROUPS[train]).any()
        assert not np.isin(GROUPS[is_back], GROUPS[np.r_[train, test]]).any()


def test_rows_are_held_back_where_every_fold_has_one_group():
    X, y = rows_for(fasthoag.RidgeCV, N)
    problem = Problem(X, y, loss="squared")
    judge, back = KFold(LeaveOneGroupOut(), groups=GROUPS).hold_back(problem)
    assert len(judge.splits(problem)) == 12
    assert (back.sample_weight > 0).sum() == N // 5


@pytest.mark.parametrize(
    "Estimator", [E for E in CLASSIFIERS if E in LINEAR], ids=lambda E: E.__name__
)
def test_classifiers_hold_back_whole_groups(Estimator, monkeypatch):
    X, y = rows_for(Estimator, N)
    seen = []

    def hold_back(self, problem, original=KFold.hold_back):
        seen.append(original(self, problem))
        return seen[-1]

    monkeypatch.setattr(KFold, "hold_back", hold_back)
    wide = np.hstack([X, np.random.default_rng(0).normal(size=(N, 140))])
    model = Estimator(cv=3, penalty_per="feature", max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
        model.fit(wide, y, groups=GROUPS)
    ((_, back),) = seen
    is_back = back.sample_weight > 0
    assert 0 < is_back.sum() <= N // 5
    assert not np.isin(GROUPS[is_back], GROUPS[~is_back]).any()


def test_stratified_folds_of_groups_balance_classes():
    X, y = rows_for(fasthoag.LogisticRegressionCV, N)
    y = np.where(y == "yes", 1.0, -1.0)
    found = KFold(3, groups=GROUPS).splits(Problem(X, y))
    expected = StratifiedGroupKFold(3).split(X, y, GROUPS)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("n_groups", [8, 64, 80])
def test_leaving_out_one_group_of_many_is_one_block_of_columns(n_groups):
    """All groups share the passes over X: 80 take as many as 8, but for how hard they are."""
    X, y = rows_for(fasthoag.LogisticRegressionCV, 5 * n_groups, 6)
    groups = np.repeat(np.arange(n_groups), 5)
    y = np.where(y == "yes", 1.0, -1.0)
    problem = Problem(FORMATS["csr"](X), y)
    result = hoag(problem, KFold(LeaveOneGroupOut(), groups=groups))
    assert result.status == "converged"
    assert result.w.shape == (7, n_groups)
    five = hoag(problem, KFold(5, groups=groups))
    assert result.n_passes <= 2 * five.n_passes
