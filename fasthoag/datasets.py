"""Made data that look like what the package is for: texts, insurance claims, gene expressions.

Nothing is downloaded. Rows are drawn independently of each other, so that some can train and the
others judge. With the same `random_state` a call gives the same data again, as long as the
generators of NumPy draw the same numbers."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fasthoag.options import is_number
from fasthoag.outer.trials import check_seed
from fasthoag.types import Array

__all__ = ["make_claims", "make_genes", "make_text"]

TOPICALITY = 2.5  # standard deviation of log frequencies between topics, of the rarest word
REPEATS = 0.3  # parameter of the logarithmic distribution: one word in six comes again


def make_text(
    n_samples: int = 2000,
    n_features: int = 10_000,
    *,
    n_classes: int = 2,
    n_topics: int = 20,
    n_words: float = 80,
    flip_y: float = 0.05,
    use_idf: bool = True,
    random_state: int | None = None,
) -> tuple[Any, Array]:
    """Texts as rows of word weights, and the class of each.

    Frequencies of words follow Zipf's law, and in each topic some words are more frequent and
    others less, by lognormal factors that are near 1 for the most frequent words and far from it
    for rare ones. The topic of a text decides its class, but about a third of its words come from
    another topic. Lengths are lognormal. Words come in bursts: one that is there may be there
    again, by the logarithmic distribution. Values are those of scikit-learn's
    ``TfidfTransformer(sublinear_tf=True)``, and rows have unit norm.

    Parameters
    ----------
    n_samples, n_features : int
        Texts, and words of the vocabulary; the column of a word that no text has is empty.
    n_classes, n_topics : int
        Topic t is of class t modulo `n_classes`. In memory is a matrix (n_topics, n_features).
    n_words : float
        Mean length of a text, in which a word that is repeated in a burst counts once.
    flip_y : float, 0 to 1
        Share of the texts whose class is drawn anew.
    use_idf : bool
        Whether words weigh less that are in many of these texts.
    random_state : int, optional
        Seed; None for other data in each call.

    Returns
    -------
    X : CSR matrix, shape (n_samples, n_features)
    y : array of int, shape (n_samples,)
        From 0 to ``n_classes - 1``.

    References
    ----------
    Church & Gale, *Poisson mixtures*, Natural Language Engineering 1 (1995), on bursts.

    Examples
    --------
    >>> import fasthoag
    >>> from fasthoag.datasets import make_text
    >>> X, y = make_text(1000, 5000, random_state=0)
    >>> model = fasthoag.LogisticRegressionCV().fit(X[:800], y[:800])
    >>> bool(model.score(X[800:], y[800:]) > 0.65)
    True
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    check_whole(n_samples=n_samples, n_features=n_features, n_classes=n_classes, n_topics=n_topics)
    if n_topics < n_classes:
        raise ValueError(f"n_topics must be at least n_classes={n_classes}; got {n_topics}")
    check_positive(n_words=n_words)
    if not is_number(flip_y) or not 0 <= flip_y <= 1:
        raise ValueError(f"flip_y must be a number from 0 to 1; got {flip_y!r}")
    check_seed(random_state)
    rng = np.random.default_rng(random_state)
    rank = np.arange(n_features)
    spread = TOPICALITY * (np.log1p(rank) / np.log1p(n_features)) ** 1.5
    factors = np.exp(spread * rng.normal(size=(n_topics, n_features)) - spread**2 / 2)
    ends = np.cumsum(factors / (rank + 3), axis=1)  # 3: Mandelbrot's correction
    ends = ends / ends[:, -1:] + np.arange(n_topics)[:, None]  # those of topic t from t to t + 1

    topics = rng.integers(n_topics, size=(n_samples, 2))  # of a text, and the other one
    lengths = 1 + rng.poisson(n_words * rng.lognormal(-0.32, 0.8, n_samples))  # of mean n_words + 1
    text = np.repeat(np.arange(n_samples), lengths)
    is_other = rng.random(len(text)) > rng.beta(4, 2, n_samples)[text]
    topic = topics[text, is_other.astype(int)]
    word = np.searchsorted(ends.ravel(), topic + rng.random(len(text))) - topic * n_features
    word = np.minimum(word, n_features - 1)  # The sum of t and 0.999... may be rounded to t + 1.
    column = rng.permutation(n_features)[word]  # Words are in no useful order.
    counts = rng.logseries(REPEATS, len(text)).astype(float)
    X = sp.csr_matrix((counts, (text, column)), shape=(n_samples, n_features))
    is_drawn = rng.random(n_samples) < flip_y
    y = np.where(is_drawn, rng.integers(n_classes, size=n_samples), topics[:, 0] % n_classes)
    return TfidfTransformer(use_idf=use_idf, sublinear_tf=True).fit_transform(X), y


class Claims(NamedTuple):
    """What `make_claims` returns."""

    X: Any
    y: Array
    exposure: Array
    variables: Any


# Levels of the variables of a policy, and how much the logarithm of the rate differs between them.
VARIABLES = {
    "area": (6, 0.2),
    "brand": (12, 0.15),
    "power": (12, 0.15),
    "vehicle age": (15, 0.2),
    "driver age": (20, 0.3),
    "car model": (500, 0.1),
    "region": (400, 0.5),
}


def make_claims(n_samples: int = 10_000, *, random_state: int | None = None) -> Claims:
    """Motor insurance: policies, and numbers of claims in the time that each was watched.

    The yearly rate of a policy is 0.1 times the exponential of the effects of its levels, times a
    gamma factor of its own of mean 1: drivers differ beyond what is known of them. Regions and
    models of cars are many, some with a few policies; regions differ most, models hardly.

    Parameters
    ----------
    n_samples : int
        Policies.
    random_state : int, optional
        Seed; None for other data in each call.

    Returns
    -------
    X : CSR matrix of 0 and 1, shape (n_samples, 965)
        A column for each level of each variable.
    y : array, shape (n_samples,)
        Numbers of claims.
    exposure : array, shape (n_samples,)
        Years that a policy was watched, from a day to a year.
    variables : array of str, shape (965,)
        The variable of each column.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> from fasthoag.datasets import make_claims
    >>> X, y, exposure, variables = make_claims(5000, random_state=0)
    >>> model = fasthoag.PoissonRegressorCV().fit(X, y, offset=np.log(exposure))
    >>> bool(0.05 < np.exp(model.intercept_) < 0.2)  # claims in a year
    True
    """
    check_whole(n_samples=n_samples)
    check_seed(random_state)
    rng = np.random.default_rng(random_state)
    columns, effects, start = [], [], 0
    for n_levels, spread in VARIABLES.values():
        share = 1 / np.sqrt(np.arange(1, n_levels + 1))
        columns.append(start + rng.choice(n_levels, n_samples, p=share / share.sum()))
        effects.append(spread * rng.normal(size=n_levels))
        start += n_levels
    indices, pointers = np.column_stack(columns).ravel(), len(VARIABLES) * np.arange(n_samples + 1)
    X = sp.csr_matrix((np.ones(len(indices)), indices, pointers), shape=(n_samples, start))
    exposure = np.maximum(rng.beta(0.8, 0.6, n_samples), 1 / 365)
    rate = 0.1 * np.exp(X @ np.concatenate(effects)) * rng.gamma(2.0, 0.5, n_samples)
    y = rng.poisson(rate * exposure).astype(float)
    names = [name for name, (n_levels, _) in VARIABLES.items() for _ in range(n_levels)]
    return Claims(X, y, exposure, np.array(names))


class Genes(NamedTuple):
    """What `make_genes` returns."""

    X: Array
    y: Array
    groups: Any


def make_genes(
    n_samples: int = 200,
    n_features: int = 2000,
    *,
    n_groups: int = 10,
    n_informative: int = 2,
    noise: float = 0.5,
    random_state: int | None = None,
) -> Genes:
    """Expressions of many genes in few samples, and a response that some pathways decide.

    The genes of a pathway go up and down together (correlation 0.3). Each gene of the first
    `n_informative` pathways has an effect of its own on the response, all others have none.

    Parameters
    ----------
    n_samples, n_features : int
        Samples, and genes.
    n_groups, n_informative : int
        Pathways, and those with an effect.
    noise : float
        Standard deviation of the response around what the genes say, whose own is 1.
    random_state : int, optional
        Seed; None for other data in each call.

    Returns
    -------
    X : array, shape (n_samples, n_features)
    y : array, shape (n_samples,)
    groups : array of int, shape (n_features,)
        The pathway of each gene, in no order.

    Examples
    --------
    >>> import fasthoag
    >>> from fasthoag.datasets import make_genes
    >>> X, y, groups = make_genes(300, 300, n_groups=4, random_state=0)
    >>> penalty = fasthoag.GroupRidge(groups)
    >>> problem = fasthoag.Problem(X, y, "squared", penalty=penalty)
    >>> lam = fasthoag.hoag(problem, fasthoag.Evidence()).lam
    >>> bool(lam[:2].max() < lam[2:].min())
    True
    """
    check_whole(n_samples=n_samples, n_features=n_features, n_groups=n_groups)
    check_whole(n_informative=n_informative)
    if n_informative > n_groups:
        raise ValueError(f"n_informative must be at most n_groups={n_groups}; got {n_informative}")
    check_positive(noise=noise)
    check_seed(random_state)
    rng = np.random.default_rng(random_state)
    groups = rng.permutation(np.arange(n_features) % n_groups)
    pathways = rng.normal(size=(n_samples, n_groups))
    X = np.sqrt(0.3) * pathways[:, groups] + np.sqrt(0.7) * rng.normal(size=(n_samples, n_features))
    effects = rng.normal(size=n_features) * (groups < n_informative)
    of_pathways = np.bincount(groups, effects)
    spread = np.sqrt(0.3 * of_pathways @ of_pathways + 0.7 * effects @ effects)
    return Genes(X, X @ effects / spread + noise * rng.normal(size=n_samples), groups)


def check_whole(**numbers: Any) -> None:
    for name, value in numbers.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number, 1 or more; got {value!r}")


def check_positive(**numbers: Any) -> None:
    for name, value in numbers.items():
        if not is_number(value, 0):
            raise ValueError(f"{name} must be a positive number; got {value!r}")
