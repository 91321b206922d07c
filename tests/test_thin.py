"""Products of tall thin blocks are those of BLAS, whatever the parts that they are cut into."""

import numpy as np
import pytest

from fasthoag import thin

SHAPES = [(0, 2, 3), (1, 1, 1), (7, 16, 12), (thin.FEW_PRODUCTS // 256, 16, 16), (20_001, 16, 5)]


@pytest.mark.parametrize(("n", "a", "b"), [*SHAPES, (3, 400, 401)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_thin_products_are_those_of_blas(n, a, b, order):
    rng = np.random.default_rng(0)
    A, B, M = (rng.standard_normal(shape) for shape in ((n, a), (n, b), (a, b)))
    A, B = np.array(A, order=order), np.array(B, order=order)
    size = np.abs(A).T @ np.abs(B)
    assert (np.abs(thin.inner_product(A, B) - A.T @ B) <= 1e-15 * max(n, 1) * size).all()
    assert (np.abs(thin.times(A, M) - A @ M) <= 1e-15 * a * (np.abs(A) @ np.abs(M))).all()
    assert thin.times(A, M).shape == (n, b)
