"""Estimators of rows in blocks, a list of them or a `ShardedDesign`: what one piece gives."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.model_selection import GroupKFold, KFold
from support.several_targets import LINEAR, N_ROWS, is_classifier, made, rows, strength_of

import fasthoag

ENDS = [0, 40, 70, N_ROWS]
forms = pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "CSR"])
every = pytest.mark.parametrize("Estimator", LINEAR, ids=lambda E: E.__name__)
pytestmark = pytest.mark.filterwarnings("ignore")
# A search that ends early would end elsewhere for other roundings.
ACCURATE = {"tol": 1e-9, "refit_tol": 1e-9}


def parts(values):
    return [values[a:b] for a, b in pairwise(ENDS)]


def elsewhere(blocks):
    return fasthoag.ShardedDesign(blocks)


def agree(model, one, X, whole, known):
    """The model of rows in blocks and that of one piece are the same."""
    name = strength_of(one)
    np.testing.assert_allclose(getattr(model, name), getattr(one, name), rtol=1e-8)
    np.testing.assert_allclose(model.coef_, one.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, one.intercept_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.scores_, one.scores_, rtol=1e-8)
    expected = one.predict(whole, **known)
    np.testing.assert_allclose(model.predict(X, **known), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.predict(whole, **known), expected, rtol=1e-8, atol=1e-10)


@every
@forms
@pytest.mark.parametrize("place", [list, elsewhere], ids=["list", "sharded"])
@pytest.mark.parametrize("t", [1, 3])
def test_rows_in_blocks_give_the_model_of_one_piece(Estimator, form, place, t):
    X, Y = rows(Estimator)
    y = Y[:, 2] if t == 1 else Y
    whole, X = form(X), place(parts(form(X)))
    one = made(Estimator, cv=KFold(3), **ACCURATE).fit(whole, y)
    model = made(Estimator, cv=KFold(3), **ACCURATE).fit(X, parts(y))
    agree(model, one, X, whole, {})
    assert model.score(X, parts(y)) == pytest.approx(one.score(whole, y), rel=1e-8)
    assert model.n_features_in_ == 8


@every
@pytest.mark.parametrize("place", [list, elsewhere], ids=["list", "sharded"])
def test_what_rows_carry_may_be_in_blocks_too(Estimator, place):
    X, Y = rows(Estimator)
    rng, form = np.random.default_rng(3), sp.csr_array
    weight, offset = rng.uniform(1, 2, N_ROWS), rng.normal(size=N_ROWS)
    groups = np.arange(N_ROWS) % 9
    carried = {"sample_weight": weight, "offset": offset, "groups": groups}
    whole, blocks = form(X), place(parts(form(X)))
    one = made(Estimator, cv=GroupKFold(3), **ACCURATE).fit(whole, Y, **carried)
    in_parts = {name: parts(values) for name, values in carried.items()}
    model = made(Estimator, cv=GroupKFold(3), **ACCURATE).fit(blocks, parts(Y), **in_parts)
    known = {"offset": offset}
    agree(model, one, blocks, whole, known)
    score = one.score(whole, Y, weight, **known)
    in_parts = {name: in_parts[name] for name in ("sample_weight", "offset")}
    assert model.score(blocks, parts(Y), **in_parts) == pytest.approx(score, rel=1e-8)


@every
@pytest.mark.parametrize("place", [list, elsewhere], ids=["list", "sharded"])
def test_rows_that_judge_may_be_in_blocks_too(Estimator, place):
    X, Y = rows(Estimator)
    whole, weight = sp.csr_array(X), np.arange(1.0, N_ROWS + 1)
    other = whole[::-1]
    one = made(Estimator, **ACCURATE).fit(whole, Y, validation=(other, Y[::-1], weight))
    judges = [sp.csr_array(block) for block in parts(other)], parts(Y[::-1]), parts(weight)
    blocks = place(parts(whole))
    model = made(Estimator, **ACCURATE).fit(blocks, Y, validation=judges)
    agree(model, one, blocks, whole, {})


@forms
@pytest.mark.parametrize("place", [list, elsewhere], ids=["list", "sharded"])
def test_leave_one_out_of_blocks_is_that_of_one_piece(form, place):
    X, Y = rows(fasthoag.RidgeCV)
    one = fasthoag.RidgeCV(alpha_per_target=True, method="lbfgs", **ACCURATE).fit(form(X), Y)
    blocks = place(parts(form(X)))
    model = fasthoag.RidgeCV(alpha_per_target=True, **ACCURATE).fit(blocks, Y)
    np.testing.assert_allclose(model.alpha_, one.alpha_, rtol=1e-6)
    np.testing.assert_allclose(model.coef_, one.coef_, rtol=1e-6)


@pytest.mark.parametrize("place", [list, elsewhere], ids=["list", "sharded"])
def test_scorers_choose_over_blocks(place):
    X, Y = rows(fasthoag.LogisticRegressionCV)
    known = {"cv": KFold(3), "scoring": "roc_auc", **ACCURATE}
    one = fasthoag.LogisticRegressionCV(**known).fit(X, Y)
    blocks = place(parts(X))
    model = fasthoag.LogisticRegressionCV(**known).fit(blocks, Y)
    np.testing.assert_allclose(model.C_, one.C_, rtol=1e-8)
    assert model.score(blocks, parts(Y)) == pytest.approx(one.score(X, Y))
    np.testing.assert_allclose(model.predict_proba(blocks), one.predict_proba(X), rtol=1e-8)
    y = Y[:, 0] + Y[:, 1]  # three classes of one model
    one = fasthoag.LogisticRegressionCV(cv=KFold(3), **ACCURATE).fit(X, y)
    model = fasthoag.LogisticRegressionCV(cv=KFold(3), **ACCURATE).fit(blocks, parts(y))
    np.testing.assert_allclose(model.coef_, one.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.predict_proba(blocks), one.predict_proba(X), rtol=1e-8)


def test_x_of_a_place_is_prepared_once_for_all_targets(monkeypatch):
    X, Y = rows(fasthoag.HuberRegressorCV)
    design = elsewhere(parts(X))
    monkeypatch.setattr(fasthoag.ShardedDesign, "__init__", lambda *_: pytest.fail("made anew"))
    fasthoag.HuberRegressorCV(cv=3).fit(design, Y)


@forms
def test_a_design_without_an_intercept_is_one_of_such_a_model(form):
    X, Y = rows(fasthoag.HuberRegressorCV)
    design = fasthoag.ShardedDesign(parts(form(X)), fit_intercept=False)
    options = {"cv": KFold(3), "fit_intercept": False, **ACCURATE}
    model = fasthoag.HuberRegressorCV(**options).fit(design, Y)
    one = fasthoag.HuberRegressorCV(**options).fit(form(X), Y)
    agree(model, one, design, form(X), {})
    with pytest.raises(ValueError, match="made with fit_intercept=False, and HuberRegressorCV has"):
        fasthoag.HuberRegressorCV().fit(design, Y)


# ---- what is refused ---------------------------------------------------------------------------


@every
def test_blocks_that_do_not_fit_are_refused(Estimator):
    X, Y = rows(Estimator)
    model = made(Estimator, callback=lambda record: pytest.fail("work"))
    with pytest.raises(ValueError, match=r"X\[1\] has 7 columns, X\[0\] has 8"):
        model.fit([X[:40], X[40:, :7]], Y)
    with pytest.raises(ValueError, match=r"y has 2 parts but X has 3 blocks"):
        model.fit(parts(X), [Y[:40], Y[40:]])
    with pytest.raises(ValueError, match=r"sample_weight\[0\] has 39 values but X\[0\] has 40"):
        model.fit(parts(X), Y, sample_weight=[np.ones(39), np.ones(30), np.ones(20)])
    with pytest.raises(ValueError, match="y has 40 values and X has 90 rows"):
        model.fit(parts(X), Y[:40])
    with pytest.raises(ValueError, match=r"X\[1\]"):
        broken = X.copy()
        broken[50, 2] = np.nan
        model.fit(parts(broken), Y)
    if not is_classifier(Estimator):
        Y = Y.copy()
        Y[50, 1] = np.nan
        with pytest.raises(ValueError, match="target 1 is the first that does, in row 50"):
            model.fit(parts(X), parts(Y))


def test_rows_in_blocks_have_no_factors():
    X, Y = rows(fasthoag.RidgeCV)
    with pytest.raises(ValueError, match=r"X in blocks is .* pass alpha_per_target=True"):
        fasthoag.RidgeCV(cv=3).fit(parts(X), Y)


def test_kernel_estimators_take_one_piece():
    X, Y = rows(fasthoag.RidgeCV)
    with pytest.raises(TypeError, match="X must be one array .*; got a list of 3 blocks"):
        fasthoag.KernelRidgeCV().fit(parts(X), Y[:, 0])


def test_hoag_says_what_takes_several_targets():
    X, Y = rows(fasthoag.HuberRegressorCV)
    with pytest.raises(ValueError, match=r"got shape \(90, 3\). Each of several targets"):
        fasthoag.Problem(X, Y, loss="huber")
    problem = fasthoag.Problem(X, Y[:, 0], loss="huber")
    with pytest.raises(ValueError, match=r"y_val must have 1 dimension; .* several targets"):
        fasthoag.hoag(problem, fasthoag.HeldOut(X, Y))
