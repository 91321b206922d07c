"""The training side of a kernel model."""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fasthoag.criteria import ApproximateLOO, Criterion, HeldOut, KFold
from fasthoag.kernels.bound import BoundFold, BoundFolds, BoundRows
from fasthoag.kernels.kernel import find_kernel
from fasthoag.kernels.pairs import Samples
from fasthoag.losses import find_loss
from fasthoag.options import check_flag
from fasthoag.threads import check_n_threads, n_threads_of


@dataclass(frozen=True, eq=False)
class KernelProblem:
    X: Any
    y: Any
    kernel: Any = "rbf"
    loss: Any = "squared"
    per_feature: bool = False
    degree: float = 3
    coef0: float = 1
    fit_intercept: bool = True
    sample_weight: Any = None
    n_threads: int | None = None
