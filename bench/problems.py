"""Data of the benchmarks: real files where they are, seeded text-like matrices otherwise."""

import bz2
import gzip
import os
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.optimize import brentq
from sklearn.datasets import load_svmlight_file
from sklearn.preprocessing import normalize, scale

from fasthoag.losses import COUNTS, LOSSES, REAL

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("FASTHOAG_DATA") or REPOSITORY.parent / "shared" / "data")


class Missing(Exception):
    """What a case needs is not on this machine; the case is skipped."""


def find(name):
    path = DATA / name
    if not path.exists():
        raise Missing(f"{path} is not there; set FASTHOAG_DATA to the folder that has {name}")
    return path


def read(name, n_features=None):
    """X (CSR, float64) and y of a file below DATA."""
    # not our reader: a fault of it must not hide in every case
    X, y = load_svmlight_file(str(find(name)), n_features=n_features)
    return X.tocsr(), y


def news_classes(is_quick):
    """The training rows of 20 newsgroups, of unit norm, and a column of labels 0 and 1 for each of
    the 20 classes. Quick: 2,000 rows and 3 classes."""
    X, y = read("20newsgroups/20news-bydate.counts.train.bz2")
    n, n_classes = (2000, 3) if is_quick else (len(y), 20)
    X, y = normalize(X[:n]), y[:n]
    kinds, counts = np.unique(y, return_counts=True)
    kept = np.sort(kinds[np.argsort(-counts, kind="stable")[:n_classes]])
    return X, (y[:, None] == kept).astype(int)


def news(is_quick):
    """20 newsgroups as the paper has it: topic among the last ten, rows of unit norm, the official
    split. Quick: 2,000 rows of a9a."""
    if is_quick:
        X, y = read("a9a/a9a.bz2")
        return X[:2000], y[:2000], X[2000:4000], y[2000:4000]
    X, y = read("20newsgroups/20news-bydate.counts.train.bz2")
    X_val, y_val = read("20newsgroups/20news-bydate.counts.test.bz2", X.shape[1])
    return (
        normalize(X),
        np.where(y > 10, 1.0, -1.0),
        normalize(X_val),
        np.where(y_val > 10, 1.0, -1.0),
    )


def idx(name, n_skipped):
    """The bytes of an idx file below DATA after its head."""
    return np.frombuffer(gzip.decompress(find(name).read_bytes()), np.uint8, offset=n_skipped)


def digits():
    """MNIST's 60,000 training digits in 0..1 and their labels."""
    X = idx("mnist/train-images-idx3-ubyte.gz", 16).reshape(-1, 784) / 255.0
    return X, idx("mnist/train-labels-idx1-ubyte.gz", 8).astype(float)


def regression(name):
    """Dense, as it comes: unscaled."""
    X, y = read(f"regression-small/{name}.bz2")
    return X.toarray(), y


def leukemia():
    """38 x 7,129, dense, columns standardised."""
    X, y = read("microarray/leukemia.bz2")
    return scale(X.toarray()), y


def uniform(n_rows, n_features, nnz_per_row, seed=0):
    """CSR with uniformly random columns and standard normal values, and labels of -1 and +1."""
    rng = np.random.default_rng(seed)
    columns = np.sort(rng.integers(0, n_features, (n_rows, nnz_per_row), np.int32), axis=1)
    indptr = np.arange(0, columns.size + 1, nnz_per_row, dtype=np.int32)
    X = sp.csr_matrix(
        (rng.normal(size=columns.size), columns.ravel(), indptr), shape=(n_rows, n_features)
    )
    X.sum_duplicates()
    return X, rng.choice([-1.0, 1.0], n_rows)


def zipf(n_rows, n_features, nnz_per_row=100, seed=0, part=0):
    """Text-like CSR and labels: word j of the vocabulary has frequency ~ 1/j, features are numbered
    in no useful order, rows have unit norm.

    Every row draws between half and 1.5 times as many words as give `nnz_per_row` distinct ones on
    average. Labels come from a logistic model with normal coefficients. Another `part` has other
    rows of the same vocabulary and model."""
    model, rng = np.random.default_rng(seed), np.random.default_rng([seed, part])
    name_of_rank, w = model.permutation(n_features).astype(np.int32), model.normal(size=n_features)
    span = np.log(n_features + 1)
    share = np.diff(np.log(np.arange(1, n_features + 2))) / span
    # distinct ones among k words
    n_words = brentq(lambda k: -np.expm1(-k * share).sum() - nnz_per_row, nnz_per_row / 2, 1e6)
    blocks = []
    for start in range(0, n_rows, max(1, int(4e6 / n_words))):  # bounded scratch
        m = min(n_rows - start, max(1, int(4e6 / n_words)))
        lengths = rng.integers(int(n_words / 2), int(1.5 * n_words) + 1, m)
        rank = np.exp(span * rng.random(lengths.sum()))  # inverse of the distribution function
        columns = name_of_rank[np.minimum(rank.astype(np.int64) - 1, n_features - 1)]
        blocks.append(
            normalize(
                sp.csr_matrix(
                    (np.ones(len(rank)), (np.repeat(np.arange(m), lengths), columns)),
                    shape=(m, n_features),
                )
            )
        )
    X = sp.vstack(blocks, format="csr")
    X.has_canonical_format = True
    z = X @ w
    return X, np.where(rng.random(n_rows) < 1 / (1 + np.exp(-2 * z / z.std())), 1.0, -1.0)


def log_counts(nnz, exponent, n_features=100_000, n_words=100, seed=0):
    """Text-like CSR with about so many non-zeros, and labels: rows of `n_words` draws by Zipf's law
    with this exponent, log(1 + count) in rows of unit norm; labels as of `zipf`."""
    nnz, rng = int(nnz), np.random.default_rng(seed)
    share = np.cumsum(np.arange(1, n_features + 1) ** -float(exponent))
    name_of_rank, w = rng.permutation(n_features).astype(np.int32), rng.normal(size=n_features)

    def rows(m):
        words = name_of_rank[np.searchsorted(share, share[-1] * rng.random(m * n_words))]
        pointers = np.arange(0, len(words) + 1, n_words)
        X = sp.csr_matrix((np.ones(len(words)), words, pointers), shape=(m, n_features))
        X.sum_duplicates()
        X.data = np.log1p(X.data)
        return normalize(X, copy=False)

    blocks = [rows(min(20_000, max(1, nnz // n_words)))]
    n_stored = blocks[0].nnz
    while n_stored < nnz:
        per_row = blocks[0].nnz / blocks[0].shape[0]
        blocks.append(rows(min(20_000, int(np.ceil((nnz - n_stored) / per_row)))))
        n_stored += blocks[-1].nnz
    X = sp.vstack(blocks, format="csr")
    z = X @ w
    return X, np.where(rng.random(len(z)) < 1 / (1 + np.exp(-2 * z / z.std())), 1.0, -1.0)


def targets(loss, z, rng, noise=1.0):
    """Targets in the domain of the loss that follow `z`, which is standardised, with noise."""
    z, loss = z - z.mean(), LOSSES[loss]
    z = z / max(z.std(), 1e-12)
    if loss.has_log_link:
        mean = np.exp(0.7 / noise * z)
        is_count = loss.domain is COUNTS
        return rng.poisson(mean).astype(float) if is_count else mean * rng.gamma(2, 0.5, len(z))
    noisy = z + noise * rng.normal(size=len(z))
    return np.where(noisy > 0, 1.0, -1.0) if loss.is_classification else noisy


def lognormal(loss, seed):
    """Dense features exp(σ N(0, 1)), 0.5 <= σ <= 2.5, of which a few rows hold most; targets."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(40, 200)), int(rng.integers(2, 40))
    X = np.exp(rng.uniform(0.5, 2.5) * rng.normal(size=(n, p)))
    return X, targets(loss, X @ (rng.normal(size=p) / X.std(axis=0)), rng)


def in_units(loss, seed):
    """Dense normal features, each in a unit of its own between 1e-4 and 1e4, half of which count;
    targets."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(40, 200)), int(rng.integers(2, 40))
    X, w = rng.normal(size=(n, p)), rng.normal(size=p) * (rng.random(p) < 0.5)
    units = 10 ** rng.uniform(-4, 4, p)
    return X * units, targets(loss, X @ w, rng)


def uneven(loss, n_rows, n_features, rng):
    """CSR with normal values whose columns range from full to nearly empty, and targets; numbers in
    a unit between 0.1 and 10, in which the parameters of a loss are narrow or wide."""
    share = np.minimum(1, 0.4 * 2 ** rng.normal(size=n_features))
    X = rng.normal(size=(n_rows, n_features)) * (rng.random((n_rows, n_features)) < share)
    y = targets(loss, X @ rng.normal(size=n_features), rng, rng.uniform(0.2, 1))
    unit = 10 ** rng.uniform(-1, 1) if LOSSES[loss].domain is REAL else 1.0
    return sp.csr_matrix(X), unit * y


def write_text(path, is_quick):
    """The text of 20 newsgroups (quick: a9a), uncompressed. Returns its size in bytes."""
    text = bz2.decompress(
        find(
            "a9a/a9a.bz2" if is_quick else "20newsgroups/20news-bydate.counts.train.bz2"
        ).read_bytes()
    )
    return Path(path).write_bytes(text)


def parkinsons_whole():
    """All rows with z-scores, and motor UPDRS."""
    X, y = read("parkinsons/parkinsons.motor_UPDRS.bz2")
    return scale(X.toarray()), y


def parkinsons(seed):
    """(X, y) of the thirds of 1,958 rows: features and targets in the scale of the first."""
    X, y = read("parkinsons/parkinsons.motor_UPDRS.bz2")
    X, rows = X.toarray(), np.random.RandomState(seed).permutation(len(y))
    n = len(y) // 3
    thirds = [rows[k * n : (k + 1) * n] for k in range(3)]
    mean, std, level = X[thirds[0]].mean(0), X[thirds[0]].std(0), y[thirds[0]].mean()
    return [((X[part] - mean) / std, y[part] - level) for part in thirds]


def friedman(n, seed=0):
    """Friedman's first regression problem with noise of 1, its ten features in units of their
    spread."""
    from sklearn.datasets import make_friedman1

    X, y = make_friedman1(n, noise=1.0, random_state=seed)
    return (X - 0.5) * np.sqrt(12), y
