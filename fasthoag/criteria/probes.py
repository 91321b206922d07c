"""Random signs of rows, and what rows make of the products with them."""

import numpy as np

STREAM = 3 << 40  # where the counter of the probes' signs starts, as a seed is chosen


def random_signs(first, n_rows, n_probes):
    """Signs (n_rows, n_probes) that depend on the number of the row among all and on that of the
    probe alone, so that no cut of the rows changes them.

    The top bit of the finaliser of SplitMix64 on a counter: Steele, Lea & Flood (2014), "Fast
    splittable pseudorandom number generators", OOPSLA.
    """
    row = np.arange(STREAM + first, STREAM + first + n_rows, dtype=np.uint64)[:, None]
    z = row * np.uint64(n_probes) + np.arange(1, n_probes + 1, dtype=np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)  # modulo 2^64, as meant
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return 1.0 - 2.0 * ((z ^ (z >> np.uint64(31))) >> np.uint64(63)).astype(np.float64)


def signs_of_rows(n_probes, block, like):
    return block.xp.asarray(random_signs(block.first, like.shape[0], n_probes))


def squared_errors_of_rows(block, each, a):
    """Of the means of rows, (n, 1)."""
    m = each.shape[1]
    return block.xp.sum((each - a) ** 2, axis=1, keepdims=True) / ((m - 1) * m)


def through_root_of_rows(block, root, weight, signs, XY, XQ):
    """The derivative in the curvatures, from that in their roots and beside it."""
    xp = block.xp
    in_root = weight * XY + signs * XQ
    is_there = root > 1e-150
    part = xp.where(is_there, 0.5 * in_root / xp.where(is_there, root, xp.ones_like(root)), 0 * XQ)
    return xp.sum(part - XQ * XY, axis=1, keepdims=True)
