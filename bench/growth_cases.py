"""How the cost of a search grows with the rows."""

import numpy as np
import problems
from timing import ALL, Contender, add_ratios, alternate, outcome

import fasthoag

EXPONENTS = 1.0, 1.3  # of Zipf's law: in the second few words hold most


def growth(options):
    """5-fold tuning, estimator and all, of generated text: 100,000 words, about 100 a row, their
    log counts in rows of unit norm, by Zipf's law and by a steeper one; from 8e4 to 8e6 non-zeros
    (8e7 with --large, or --nnz). Gap: the value's own error, relative; `per_pass`: nanoseconds a
    non-zero and pass."""
    sizes = [8e4] if options.quick else [8e4, 8e5, 8e6, *([8e7] if options.large else [])]
    for exponent in EXPONENTS:
        for size in [options.nnz] if options.nnz else sizes:
            yield tuned(exponent, size, options.repeats or (3 if size < 1e7 else 1))


def tuned(exponent, size, repeats):
    """The record of one size."""
    X, y = problems.log_counts(size, exponent)

    def tune():
        return fasthoag.LogisticRegressionCV(cv=5).fit(X, y).hoag_result_

    settings = {"exponent": exponent, "shape": list(X.shape), "nnz": int(X.nnz)}
    records, (result,) = alternate([Contender("fasthoag", tune, ALL, settings=settings)], repeats)
    record = add_ratios(records, 0, has_gap=False)[0]
    record |= outcome(result) | {"criterion": result.value / len(y)}
    per_pass = 1e9 * np.median(record["seconds"]) / (X.nnz * result.n_passes)
    record["extra"] |= {"per_pass": per_pass}
    return record | {"gap": result.value_error / result.value}
