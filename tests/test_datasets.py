"""Made data have what their docstrings say: frequencies, bursts, topics, rates, correlations."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from fasthoag import datasets
from fasthoag.datasets import make_claims, make_genes, make_text

MAKERS = [getattr(datasets, name) for name in datasets.__all__]


def same(a, b):
    if sp.issparse(a):
        return (a != b).nnz == 0
    return np.array_equal(a, b)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_seed_gives_the_same_data_and_another_seed_others(make):
    first, again, other = (make(50, random_state=seed) for seed in (3, 3, 4))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], other[0])
    assert not same(make(50)[0], make(50)[0])


# ---- text ----


def test_texts_are_rows_of_unit_norm_in_canonical_csr():
    X, y = make_text(300, 1000, random_state=0)
    assert (X.format, X.shape, y.shape) == ("csr", (300, 1000), (300,))
    assert X.has_canonical_format
    assert np.sqrt(X.multiply(X).sum(axis=1)) == pytest.approx(1)


def test_words_follow_the_law_of_zipf():
    X, _ = make_text(4000, 5000, n_topics=50, random_state=0)
    n_texts = np.sort(np.bincount(X.indices, minlength=5000))[::-1]
    ranks = np.array([100, 200, 400, 800])
    slope = np.polyfit(np.log(ranks), np.log(n_texts[ranks]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.3)
    assert n_texts[0] > 0.7 * 4000
    assert np.median(n_texts) < 0.01 * 4000


def test_a_rare_word_comes_again_as_often_as_the_logarithmic_law_says():
    X, _ = make_text(2000, 5000, use_idf=False, n_topics=50, random_state=0)
    of_one = np.minimum.reduceat(X.data, X.indptr[:-1])  # the value of a word that is there once
    logs = X.data / np.repeat(of_one, np.diff(X.indptr))  # 1 + log(count)
    is_rare = np.bincount(X.indices, minlength=5000)[X.indices] < 20
    once = 0.3 / -np.log1p(-0.3)  # of the logarithmic distribution
    share = np.mean(logs[is_rare] > 1.5)
    assert 1 - once < share < 1 - once + 0.05  # some are drawn twice: they are of the topic


def test_labels_that_are_drawn_anew_are_all_that_flip_y_changes():
    X, y = make_text(3000, 2000, flip_y=0.0, n_words=400, n_topics=4, random_state=0)
    same_X, noisy = make_text(3000, 2000, flip_y=0.4, n_words=400, n_topics=4, random_state=0)
    assert same(X, same_X)
    assert np.mean(y != noisy) == pytest.approx(0.2, abs=3 * np.sqrt(0.2 * 0.8 / 3000))
    scores = [LogisticRegression().fit(X, labels).score(X, labels) for labels in (y, noisy)]
    assert scores[0] > 0.9
    assert scores[1] < 0.85


def test_classes_and_words_of_a_topic_go_together():
    """Words of one class are correlated: two of its texts are nearer than two of different ones."""
    X, y = make_text(600, 2000, n_classes=3, n_topics=3, flip_y=0.0, random_state=0)
    assert np.unique(y).tolist() == [0, 1, 2]
    near = (X @ X.T).toarray()
    np.fill_diagonal(near, np.nan)
    is_same = y[:, None] == y
    assert np.nanmean(near[is_same]) > 1.3 * np.nanmean(near[~is_same])


def test_idf_holds_frequent_words_less():
    X, _ = make_text(500, 1000, random_state=0)
    plain, _ = make_text(500, 1000, use_idf=False, random_state=0)
    assert np.array_equal(X.indices, plain.indices)
    most = np.bincount(X.indices).argmax()
    assert X[:, [most]].sum() < 0.7 * plain[:, [most]].sum()


# ---- claims ----


def test_claims_come_in_proportion_to_the_exposure():
    X, y, exposure, variables = make_claims(200_000, random_state=0)
    assert X.shape == (200_000, len(variables))
    assert (exposure.min(), exposure.max() <= 1) == (1 / 365, True)
    is_short = exposure < 0.5
    rates = [y[rows].sum() / exposure[rows].sum() for rows in (is_short, ~is_short)]
    error = 3 * max(np.sqrt(y[rows].sum()) / exposure[rows].sum() for rows in (is_short, ~is_short))
    assert abs(rates[0] - rates[1]) < 2 * error
    assert y.var() > 1.02 * y.mean()  # more than a Poisson law has


def test_a_policy_has_one_level_of_each_variable():
    X, _, _, variables = make_claims(1000, random_state=0)
    for name in np.unique(variables):
        assert (X[:, variables == name].sum(axis=1) == 1).all()
    assert set(X.data) == {1.0}


# ---- genes ----


def test_genes_of_a_pathway_go_together_and_those_with_an_effect_make_the_response():
    X, y, groups = make_genes(20_000, 30, n_groups=3, noise=0.5, random_state=0)
    near = np.corrcoef(X.T)
    is_same = groups[:, None] == groups
    assert near[is_same & ~np.eye(30, dtype=bool)] == pytest.approx(0.3, abs=0.04)
    assert near[~is_same] == pytest.approx(0, abs=0.04)
    w, left, *_ = np.linalg.lstsq(X, y, rcond=None)
    assert left / len(y) == pytest.approx(0.5**2, rel=0.05)
    assert y.var() == pytest.approx(1 + 0.5**2, rel=0.05)
    assert w[groups == 2] == pytest.approx(0, abs=0.03)
    assert np.abs(w[groups < 2]).mean() > 0.1


# ---- errors ----


@pytest.mark.parametrize(
    ("make", "wrong", "sentence"),
    [
        (make_text, {"n_samples": 0}, "n_samples must be a whole number, 1 or more; got 0"),
        (make_text, {"n_features": 2.5}, "n_features must be a whole number, 1 or more; got 2.5"),
        (make_text, {"n_topics": True}, "n_topics must be a whole number, 1 or more; got True"),
        (make_text, {"n_classes": 3, "n_topics": 2}, "n_topics must be at least n_classes=3; got"),
        (make_text, {"n_words": -1}, "n_words must be a positive number; got -1"),
        (make_text, {"flip_y": 1.5}, "flip_y must be a number from 0 to 1; got 1.5"),
        (make_text, {"random_state": -1}, "random_state must be an integer from 0"),
        (make_claims, {"n_samples": "many"}, "n_samples must be a whole number"),
        (make_genes, {"n_informative": 11}, "n_informative must be at most n_groups=10; got 11"),
        (make_genes, {"noise": 0}, "noise must be a positive number; got 0"),
    ],
)
def test_what_cannot_be_is_said(make, wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**wrong)
