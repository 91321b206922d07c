"""The CUDA sources: they compile for every architecture, and what they declare is read as it is."""

import numpy as np
import pytest
from support import nvrtc
from support.custom_losses import CUDA_LOG_COSH

from fasthoag.design.gpu import cuda
from fasthoag.losses import LOSSES

PASSES = [
    ("passes.cu", (("FH_VALUE", value), ("FH_INDEX", index), ("FH_PER_LANE", n)))
    for value, index, n in (("double", "int", 1), ("float", "int", 2), ("double", "i64", 4))
]
SCATTER = [
    ("scatter.cu", (("FH_VALUE", value), ("FH_INDEX", index)))
    for value, index in (("double", "int"), ("float", "i64"))
]
SOURCES = [
    *PASSES,
    *SCATTER,
    ("rows.cu", (("FH_LOSS", "logistic"),)),
    ("cg.cu", ()),
    ("fingerprint.cu", ()),
]
needs_nvrtc = pytest.mark.skipif(
    nvrtc.library() is None,
    reason="the wheel nvidia-cuda-nvrtc-cu12 is not installed; it is part of the extra 'test'",
)


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_100"])
@pytest.mark.parametrize(
    ("name", "defines"),
    SOURCES,
    ids=lambda part: part if isinstance(part, str) else " ".join(str(value) for _, value in part),
)
def test_every_source_compiles_for(arch, name, defines):
    assert len(nvrtc.compile_for(arch, cuda.source(name, defines), name)) > 1000


@needs_nvrtc
@pytest.mark.parametrize("loss", [*(name for name in LOSSES if name != "logistic"), "custom"])
def test_every_loss_compiles(loss):
    nvrtc.compile_for(
        "sm_90",
        cuda.source("rows.cu", (("FH_LOSS", loss),), CUDA_LOG_COSH if loss == "custom" else None),
        "rows.cu",
    )


@needs_nvrtc
def test_a_mistake_in_a_source_is_reported():
    with pytest.raises(RuntimeError, match="undefined"):
        nvrtc.compile_for(
            "sm_90", 'extern "C" __global__ void f(double* x) { x[0] = undefined_name; }'
        )


def test_losses_are_those_of_the_header_for_the_cpu():
    header = cuda.read("losses.hpp")
    assert "struct Tweedie" in header
    assert header in cuda.source("rows.cu", (("FH_LOSS", "gamma"),))


def test_arguments_are_checked_against_the_kernel():
    kernel = cuda.kernels(cuda.source("cg.cu"))["cg_inverse"]
    A, counts = np.ones((3, 2)), np.ones(2, np.int32)
    assert kernel.arguments((3, 2, A, A, None, A, counts))[0].dtype == np.int64
    with pytest.raises(TypeError, match="takes 7 arguments; got 1"):
        kernel.arguments((3,))
    for bad in (A.astype(np.float32), A.T, A[:, :1]):
        with pytest.raises(
            TypeError, match="kernel cg_inverse takes a contiguous array of float64 as inverse"
        ):
            kernel.arguments((3, 2, bad, A, None, A, counts))
