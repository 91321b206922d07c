"""Every public estimator, and small data that it takes."""

import numpy as np
import scipy.sparse as sp

import fasthoag
import fasthoag.estimators

EVERY = [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS]
KERNELS = [fasthoag.KernelRidgeCV, fasthoag.KernelLogisticRegressionCV]
LINEAR = [E for E in EVERY if E not in KERNELS]
CLASSIFIERS = [E for E in EVERY if "class_weight" in E().get_params()]
POSITIVE = [fasthoag.PoissonRegressorCV, fasthoag.GammaRegressorCV, fasthoag.TweedieRegressorCV]
FORMATS = {"dense": np.asarray, "csr": sp.csr_array}


def rows_for(Estimator, n=60, p=4, seed=0):
    """X, a third of which is 0, and targets that this estimator takes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.67)
    z = X @ np.linspace(1, -0.5, p) + 0.3
    if Estimator in CLASSIFIERS:
        return X, np.where(z + rng.logistic(size=n) > 0, "yes", "no")
    if Estimator in POSITIVE:
        return X, np.exp(0.5 * z) * rng.gamma(3, 1 / 3, size=n)
    return X, z + rng.normal(size=n)
