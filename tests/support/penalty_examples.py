"""Examples of every public penalty for P features."""

import numpy as np
import scipy.sparse as sp

from fasthoag import FeatureRidge, GroupRidge, Ridge, StructuredRidge

P = 12
RNG = np.random.default_rng(5)
FACTOR = np.r_[RNG.uniform(0.5, 2, P - 1), 0.0]
EXAMPLES = {
    "ridge": [Ridge(), Ridge(FACTOR)],
    "feature_ridge": [FeatureRidge(), FeatureRidge(FACTOR)],
    "group_ridge": [
        GroupRidge(np.arange(P) % 3),
        GroupRidge({"a": [0, 2, 4], "b": [1, 3, *range(5, P)]}, FACTOR),
        GroupRidge([[0, 1], list(range(2, P))]),
    ],
    "structured_ridge": [
        StructuredRidge(np.column_stack([np.ones(P), np.linspace(-1, 1, P)])),
        StructuredRidge(sp.csr_matrix(RNG.normal(size=(P, 3))), FACTOR),
    ],
    "sum": [Ridge() + FeatureRidge(), GroupRidge(np.arange(P) % 2) + Ridge(FACTOR) + Ridge()],
}
