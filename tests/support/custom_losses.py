"""The logarithm of the hyperbolic cosine as a user would write it."""

import math


def log_cosh(y, z):
    r = abs(z - y)
    return r + math.log1p(math.exp(-2 * r)) - math.log(2)


def log_cosh_d1(y, z):
    return math.tanh(z - y)


def log_cosh_d2(y, z):
    return 1 - math.tanh(z - y) ** 2


LOG_COSH = log_cosh, log_cosh_d1, log_cosh_d2
CUDA_LOG_COSH = (
    "fabs(z - y) + log1p(exp(-2 * fabs(z - y))) - 0.69314718055994530942",
    "tanh(z - y)",
    "1 - tanh(z - y) * tanh(z - y)",
    "-2 * tanh(z - y) * (1 - tanh(z - y) * tanh(z - y))",
)
