"""One child of the case "memory": `python peak.py FOLDER CONTENDER` loads a matrix, tunes on it and
prints what it needed beyond that as JSON."""

import contextlib
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp


def fit_fasthoag(X, y, **options):
    import fasthoag

    model = fasthoag.LogisticRegressionCV(cv=5, **options).fit(X, y)
    result = model.hoag_result_
    return {
        "criterion": -model.score_mean_,
        "status": result.status,
        "n_passes": result.n_passes,
        "hypergradient_norm": float(np.linalg.norm(result.grad)),
    }


def fit_grid(X, y):
    from sklearn.linear_model import LogisticRegressionCV

    model = LogisticRegressionCV(
        Cs=10,
        cv=5,
        max_iter=20,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        l1_ratios=(0.0,),
    ).fit(X, y)
    return {"criterion": -float(np.asarray(model.scores_).mean(axis=0).max())}


CONTENDERS = {
    "fasthoag": fit_fasthoag,
    "fasthoag, low_memory": lambda X, y: fit_fasthoag(X, y, low_memory=True),
    "scikit-learn LogisticRegressionCV": fit_grid,
}


def high_water():
    """The most resident memory since the last reset, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(folder, contender):
    data, indices, indptr, shape, y = (
        np.load(Path(folder, name + ".npy")) for name in ("data", "indices", "indptr", "shape", "y")
    )
    X, fit = (
        sp.csr_matrix((data, indices, indptr), shape=tuple(shape), copy=False),
        CONTENDERS[contender],
    )
    fit(X[:300], y[:300])  # imports, thread pools
    # The high water starts again from here; without that file it counts from the loaded matrix.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before, began = high_water(), time.perf_counter()
    found = fit(X, y)
    print(
        json.dumps(
            found
            | {
                "seconds": time.perf_counter() - began,
                "extra": {"peak_bytes": high_water() - before},
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
