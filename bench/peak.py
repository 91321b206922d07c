"""One child of the cases "memory" and "tall": `python peak.py FOLDER CONTENDER` loads a matrix,
tunes on it and prints what it needed beyond that as JSON."""

import contextlib
import ctypes
import gc
import json
import os
import sys
import threading
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


def resident():
    """Resident memory in bytes."""
    n_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return n_pages * os.sysconf("SC_PAGE_SIZE")


class Watch:
    """The most resident memory while it runs, read every 2 ms: the high water of the kernel cannot
    be reset everywhere."""

    def __enter__(self):
        self.most, self._is_over = resident(), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self):
        while not self._is_over.wait(0.002):
            self.most = max(self.most, resident())

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()


def load(folder):
    names = [path.stem for path in Path(folder).glob("*.npy")]
    arrays = {name: np.load(Path(folder, name + ".npy")) for name in names}
    if "X" in arrays:
        return arrays["X"], arrays["y"]
    parts = arrays["data"], arrays["indices"], arrays["indptr"]
    return sp.csr_matrix(parts, shape=tuple(arrays["shape"]), copy=False), arrays["y"]


def main(folder, contender):
    X, y = load(folder)
    fit = CONTENDERS[contender]
    fit(X[:300], y[:300])  # imports, thread pools
    # what the warm-up left in the heap would hide as much of what is measured
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    before, began = resident(), time.perf_counter()
    with Watch() as watch:
        found = fit(X, y)
    found |= {"seconds": time.perf_counter() - began}
    print(json.dumps(found | {"extra": {"peak_bytes": watch.most - before}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
