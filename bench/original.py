"""The paper's own code of 2016 in a process of its own, as it wants libraries of its time: `python
original.py FILE.npz MODEL SCHEDULE SECONDS N_STEPS` with PYTHONPATH on a folder that has them
prints what it went through as JSON, pairs of seconds and θ. `paper.py` starts it.

Two repairs let it run: SciPy 1.11 has its `_lbfgsb` under another name, and θ has to be an array.
Its steps are as they are."""

import contextlib
import io
import json
import signal
import sys
import types
import warnings
from time import perf_counter

import numpy as np
import scipy.sparse as sp


def imported():
    """The package `hoag`, which asks for ``scipy.optimize.lbfgsb._lbfgsb``."""
    from scipy.optimize import _lbfgsb

    module = types.ModuleType("scipy.optimize.lbfgsb")
    module._lbfgsb = _lbfgsb
    sys.modules[module.__name__] = module
    import hoag

    return hoag


def loaded(path):
    """(Xt, yt, Xh, yh, theta0) of a file, sparse where it has their parts."""
    with np.load(path) as file:
        parts = dict(file)
    X = []
    for name in ("train", "judge"):
        if f"X_{name}" in parts:
            X.append(parts[f"X_{name}"])
        else:
            arrays = (parts[f"{part}_{name}"] for part in ("data", "indices", "indptr"))
            X.append(sp.csr_matrix(tuple(arrays), shape=parts[f"shape_{name}"]))
    return X[0], parts["y_train"], X[1], parts["y_judge"], parts["theta0"]


class Over(Exception):
    """The time is up."""


def stop(*_):
    raise Over


def steps(model, seconds, data):
    """[(seconds, θ)] of every step until the time is up, be it amid a step, or the code ends."""
    began, found = perf_counter(), []

    def callback(x, theta):
        found.append((perf_counter() - began, np.array(theta).tolist()))

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with contextlib.suppress(Over), contextlib.redirect_stdout(io.StringIO()):  # it prints steps
        model.fit(*data, callback=callback)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return found


def main(path, name, schedule, seconds, n_steps):
    warnings.simplefilter("ignore")
    hoag, (*data, theta0) = imported(), loaded(path)
    np.random.seed(0)  # where its first inner solve begins  # noqa: NPY002
    theta0 = theta0[0] if name == "LogisticRegressionCV" else theta0
    model = getattr(hoag, name)(alpha0=theta0, tolerance_decrease=schedule, max_iter=int(n_steps))
    print(json.dumps(steps(model, float(seconds), data)))


if __name__ == "__main__":
    main(*sys.argv[1:])
