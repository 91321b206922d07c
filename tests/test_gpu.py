"""The GPU path where there is no GPU: CUDA sources compiled by NVRTC, kernels run on the CPU with
many threads, errors with a device that is made up. Tests marked `gpu` need a real one; the tests by
design run on it too where there is one."""

import gc
import itertools
import json
import pathlib
import pickle
import subprocess
import sys
import tracemalloc
import types
import warnings
import weakref

import numpy as np
import nvrtc
import pytest
import scipy.sparse as sp
from designs import assert_near, sparse_matrix, sparse_problem
from host_device import DeviceArray, HostDevice, HostModule, Namespace
from sklearn.base import is_classifier
from test_custom_loss import log_cosh, log_cosh_d1, log_cosh_d2
from test_leverage import WAYS, has_probes, set_way

import fasthoag
from fasthoag.criteria import CRITERIA
from fasthoag.design import HELD_OUT, TRAIN, UNWEIGHTED, Curvature, cuda, to_host
from fasthoag.design import gpu as gpu_module
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.gpu import (
    GpuDesign,
    count_columns,
    cut_rows,
    find_device,
    share_rows,
    transpose,
)
from fasthoag.hypergradient import Accuracy
from fasthoag.inner.cg import Hessian, cg, cg_in_ball
from fasthoag.losses import LOSSES
from fasthoag.units import column_dots

LOG_COSH = log_cosh, log_cosh_d1, log_cosh_d2
CUDA_LOG_COSH = (
    "fabs(z - y) + log1p(exp(-2 * fabs(z - y))) - 0.69314718055994530942",
    "tanh(z - y)",
    "1 - tanh(z - y) * tanh(z - y)",
    "-2 * tanh(z - y) * (1 - tanh(z - y) * tanh(z - y))",
)
WITHOUT_ROWS = [name for name, rule in CRITERIA.items() if "hessian" not in rule.gives]
PASSES = [
    ("passes.cu", (("FH_VALUE", value), ("FH_INDEX", index), ("FH_PER_LANE", n)))
    for value, index, n in (("double", "int", 1), ("float", "int", 2), ("double", "i64", 4))
]
SCATTER = [
    ("scatter.cu", (("FH_VALUE", value), ("FH_INDEX", index)))
    for value, index in (("double", "int"), ("float", "i64"))
]
SOURCES = [*PASSES, *SCATTER, ("rows.cu", (("FH_LOSS", "logistic"),)), ("cg.cu", ())]
BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench" / "gpu.py"
ROUND_ROBIN = [(1, 1), (8, 4), (64, 8)]  # threads of a block, lanes of a warp


# ---- sources ----


@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_100"])
@pytest.mark.parametrize(
    ("name", "defines"),
    SOURCES,
    ids=lambda part: part if isinstance(part, str) else " ".join(str(value) for _, value in part),
)
def test_every_source_compiles_for(arch, name, defines):
    if nvrtc.library() is None:
        pytest.skip(
            "the wheel nvidia-cuda-nvrtc-cu12 is not installed; it is part of the extra 'test'"
        )
    assert len(nvrtc.compile_for(arch, cuda.source(name, defines), name)) > 1000


@pytest.mark.parametrize("loss", [*(name for name in LOSSES if name != "logistic"), "custom"])
def test_every_loss_compiles(loss):
    if nvrtc.library() is None:
        pytest.skip(
            "the wheel nvidia-cuda-nvrtc-cu12 is not installed; it is part of the extra 'test'"
        )
    nvrtc.compile_for(
        "sm_90",
        cuda.source("rows.cu", (("FH_LOSS", loss),), CUDA_LOG_COSH if loss == "custom" else None),
        "rows.cu",
    )


def test_a_mistake_in_a_source_is_reported():
    if nvrtc.library() is None:
        pytest.skip(
            "the wheel nvidia-cuda-nvrtc-cu12 is not installed; it is part of the extra 'test'"
        )
    with pytest.raises(RuntimeError, match="undefined"):
        nvrtc.compile_for(
            "sm_90", 'extern "C" __global__ void f(double* x) { x[0] = undefined_name; }'
        )


def test_losses_are_those_of_the_header_for_the_cpu():
    header = cuda._read("losses.hpp")
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


# ---- kernels with many threads ----


def tall_matrix(dtype="float64"):
    """Columns from full (many segments of the transpose) to empty, rows of 0 to 700 entries (a
    segment of X)."""
    rng = np.random.default_rng(0)
    share = np.r_[1, 0.5, 0.2, 0, 0.03 * np.ones(796)]
    X = rng.normal(size=(3000, 800)) * (rng.random((3000, 800)) < share)
    X[::5] = 0
    X[7] = rng.normal(size=800)
    return sp.csr_matrix(X.astype(dtype))


def passes_of(design, m=5):
    rng = np.random.default_rng(1)
    n, xp = design.shape[0], design.xp
    V, R, C = (
        design.encode(rng.normal(size=(design.n_coef, m))),
        xp.asarray(rng.normal(size=(n, m))),
        rng.random((n, 3)),
    )
    # of every column a fold out of three, in any order
    C_of_columns = Curvature(xp.asarray(C[:, rng.integers(0, 3, m)]))
    C = Curvature(xp.asarray(C))
    y, offset = np.where(rng.random(n) < 0.5, -1.0, 1.0), rng.normal(size=n)
    mask = rng.integers(0, 4, (n, 3)).astype(np.uint8)
    rows = design.place(y, rng.random(n), mask)
    at, there = rows.loss_grad("logistic", V), design.place(y, rows.weight, mask, offset)
    moved = there.loss_grad("logistic", V, HELD_OUT)
    found = {
        "matvec": design.matvec(V),
        "rmatvec": design.decode(design.rmatvec(R)),
        "hvp": design.decode(design.hvp(C, V)),
        "hvp of columns": design.decode(design.hvp(C_of_columns, V)),
        "hess_diag": design.decode(design.hess_diag(Curvature(R))),
        "train": at.value,
        "held_out": at.other,
        "gradient": design.decode(at.grad),
        "predictions": at.Z,
        "contract": design.contract(C, C, V[:, :3], V[:, :3]),
        "row_terms": rows.terms("logistic", 3, TRAIN, at.Z),
        "bare terms": rows.terms("logistic", 2, UNWEIGHTED, at.Z),
        "loss_sum": rows.sums("logistic", HELD_OUT, at.Z),
        "bare sum": rows.sums("logistic", UNWEIGHTED, at.Z),
        "value with offset": moved.value,
        "other with offset": moved.other,
        "gradient of held-out rows": design.decode(moved.grad),
        "predictions with offset": moved.Z,
    }
    return {name: to_host(value) for name, value in found.items()}


@pytest.mark.parametrize(("n_threads", "warp"), ROUND_ROBIN)
@pytest.mark.parametrize("has_transpose", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_passes_with_many_threads_are_those_of_the_cpu(n_threads, warp, has_transpose, dtype):
    X = tall_matrix(dtype)
    expected = passes_of(CpuDesign(X, fit_intercept=True, n_threads=1))
    design = GpuDesign(
        X, fit_intercept=True, transpose=has_transpose, device=HostDevice(n_threads, warp)
    )
    for rows in (design._rows, design._columns):
        assert len(rows.segments)
    assert len(design._columns.long_rows)
    for m in (5,) if n_threads > 1 else (5, 3, 17):
        found = passes_of(design, m)
        for name, value in (
            expected if m == 5 else passes_of(CpuDesign(X, fit_intercept=True, n_threads=1), m)
        ).items():
            assert_near(found[name], value, message=name)


@pytest.mark.parametrize(("n_threads", "warp"), ROUND_ROBIN[1:])
def test_solves_with_many_threads_are_those_of_one(n_threads, warp):
    X, y = sparse_problem("logistic", 0, 300, 200, 0.1)
    results = []
    for device in (HostDevice(), HostDevice(n_threads, warp)):
        problem = fasthoag.Problem(GpuDesign(X, fit_intercept=True, device=device), y)
        results.append(fasthoag.hoag(problem, fasthoag.KFold(3)))
    np.testing.assert_allclose(results[1].theta, results[0].theta, atol=1e-9)
    np.testing.assert_allclose(results[1].value, results[0].value, rtol=1e-10)


@pytest.mark.parametrize("has_transpose", [True, False])
def test_two_runs_give_the_same_bits(has_transpose):
    one, other = (
        passes_of(
            GpuDesign(
                tall_matrix(), fit_intercept=True, transpose=has_transpose, device=HostDevice(8, 4)
            )
        )
        for _ in range(2)
    )
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_sums_in_fixed_point_are_the_same_bits_in_any_order():
    """Atomics add in an order that nobody knows. Here 1, 8 and 64 threads add in three orders."""
    results = []
    for n_threads, warp in ROUND_ROBIN:
        design = GpuDesign(tall_matrix(), transpose=False, device=HostDevice(n_threads, warp))
        R = design.xp.asarray(
            np.random.default_rng(0).normal(size=(3000, 4)) * 10.0 ** np.arange(-6, 6, 3)
        )
        results.append(to_host(design.rmatvec(R)))
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


def test_sums_in_fixed_point_keep_what_is_not_finite_in_its_column():
    design = GpuDesign(tall_matrix(), transpose=False, device=HostDevice())
    R = np.ones((3000, 3))
    R[1, 1], R[2, 2] = np.nan, np.inf
    G = to_host(design.rmatvec(design.xp.asarray(R)))
    assert np.isfinite(G[:, 0]).all()
    assert np.isnan(G[:, 1]).all()
    assert np.isnan(G[:, 2]).all()


def test_sums_in_fixed_point_of_huge_tiny_and_no_values():
    X = sp.csr_matrix(np.array([[1e200, 0, 1e-200], [0, 3.0, 0], [1e-300, 0, 0]]))
    design = GpuDesign(X, transpose=False, device=HostDevice())
    for scale in (1e-100, 1e-300, 1.0, 0.0, 1e100):
        R = scale * np.array([[0.0, 1.0], [1.0, 1.0], [-2.0, 0.0]])
        expected = X.toarray().T @ R
        G = design.decode(design.rmatvec(design.xp.asarray(R)))
        for j in range(2):
            assert_near(G[:, j], expected[:, j], scale=max(np.abs(expected[:, j]).max(), 1e-280))


def test_threads_that_wait_for_ever_are_found(monkeypatch):
    device = HostDevice(4, 4)
    text = (
        'extern "C" __global__ void half(int n) { if (threadIdx.x < n) __syncthreads(); else '
        "__shfl_xor_sync(0, 1.0, 1); }\n"
    )
    monkeypatch.setattr(cuda, "source", lambda *_: text)
    with pytest.raises(RuntimeError, match="wait for each other"):
        device.module("made up").launch("half", 1, 4, 2)


@pytest.mark.parametrize("n", [3, 1000, 70_001])
def test_dots_of_columns(n):
    A, B = np.random.default_rng(0).normal(size=(2, n, 3))
    np.testing.assert_allclose(
        column_dots(DeviceArray(A), DeviceArray(B)),
        np.einsum("ij,ij->j", A, B),
        rtol=0,
        atol=1e-11 * n**0.5,
    )


# ---- set-up ----


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tile", [16, 600, 5000])
def test_every_entry_is_in_one_block_or_segment(seed, tile):
    rng = np.random.default_rng(seed)
    lengths = np.where(
        rng.random(200) < 0.1, rng.integers(500, 3000, 200), rng.integers(0, 30, 200)
    )
    indptr = np.r_[0, np.cumsum(lengths)]
    rows = share_rows(np, indptr, None, None, 200, 777, tile)
    seen = np.zeros(indptr[-1], int)
    for first, end in rows.blocks:
        assert first < end
        assert indptr[end] - indptr[first] <= tile + max(gpu_module.LONG_ROW, tile // 4)
        seen[indptr[first] : indptr[end]] += 1
    ones = np.zeros(777, int)
    for row, begin, end, part in rows.segments:
        assert end - begin <= tile
        (ones if row == 200 else seen)[begin:end] += 1
        assert part >= 0 or row == 200 or end - begin == lengths[row]
    assert (seen == 1).all()
    assert (ones == 1).all()
    assert sorted(part for part in rows.segments[:, 3] if part >= 0) == list(range(rows.n_parts))
    for row, first, end in rows.long_rows:
        np.testing.assert_array_equal(
            rows.segments[np.isin(rows.segments[:, 3], np.arange(first, end)), 0],
            np.full(end - first, row),
        )


def test_no_long_row_gives_no_segment():
    segments, long_rows, n_parts = cut_rows(
        np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), 100
    )
    assert segments.shape == (0, 4)
    assert long_rows.shape == (0, 3)
    assert n_parts == 0


@pytest.mark.parametrize("chunk", [1, 7, 100, 10**6])
def test_transpose_is_scipys(chunk):
    X = sparse_matrix(np.random.default_rng(0), 40, 30)
    indptr, indices, data = transpose(
        np,
        X.indptr.astype(np.int64),
        X.indices,
        X.data,
        count_columns(np, X.indices, 30, chunk),
        np.int32,
        chunk,
    )
    expected = X.T.tocsr()
    expected.sort_indices()
    np.testing.assert_array_equal(indptr, expected.indptr)
    np.testing.assert_array_equal(indices, expected.indices)
    np.testing.assert_array_equal(data, expected.data)


def test_matrices_without_entries():
    for X in (sp.csr_matrix((4, 3)), np.zeros((4, 3))):
        for has_transpose in (True, False):
            design = GpuDesign(X, fit_intercept=True, transpose=has_transpose, device=HostDevice())
            np.testing.assert_array_equal(
                design.decode(design.rmatvec(design.xp.asarray(np.ones((4, 2))))),
                [[0, 0]] * 3 + [[4, 4]],
            )


def test_large_arrays_go_to_the_device_in_pieces_and_wide_products_in_groups(monkeypatch):
    X = tall_matrix()
    expected, V = CpuDesign(X, n_threads=1), np.random.default_rng(0).normal(size=(800, 12))
    C = np.random.default_rng(1).random((3000, 2))
    curvatures = (C, 1), (np.tile(C / 3, (1, 3)), 3)
    monkeypatch.setattr(gpu_module, "PIECE", 1000)
    monkeypatch.setattr(gpu_module, "WIDE", 3000 * 5)
    for given in (X, X.toarray()):
        design = GpuDesign(given, device=HostDevice())
        xp, began = design.xp, design.n_passes
        for values, n_classes in curvatures:
            found = design.hvp(Curvature(xp.asarray(values), n_classes), design.encode(V))
            there = expected.hvp(Curvature(values, n_classes), expected.encode(V))
            assert_near(design.decode(found), expected.decode(there))
        assert design.n_passes == began + 2


@pytest.mark.parametrize(("n_threads", "warp"), ROUND_ROBIN)
@pytest.mark.parametrize("has_transpose", [True, False])
def test_columns_of_a_product_may_be_of_any_folds_and_strengths(n_threads, warp, has_transpose):
    """As those that are left of a block when the others are solved."""
    X, rng, m = tall_matrix(), np.random.default_rng(1), 5
    here = CpuDesign(X, n_threads=1)
    design = GpuDesign(X, transpose=has_transpose, device=HostDevice(n_threads, warp))
    xp, out = design.xp, design.zeros(m)
    V, lam, C = rng.normal(size=(800, m)), rng.random((800, 2)), rng.random((3000, 3))
    fold, lam_of = rng.integers(0, 3, m), rng.integers(0, 2, m)
    blocks = xp.asarray(C), fold, 1, design.encode(V), out
    strengths = {"lam": design.encode(lam), "lam_of": lam_of}
    gpu_module.gpu_cg.run(design.product(*blocks, **strengths))
    expected = here.decode(here.hvp(Curvature(C[:, fold]), here.encode(V))) + lam[:, lam_of] * V
    assert_near(design.decode(out), expected)


@pytest.fixture
def uploads(monkeypatch):
    """What has come from the host to the made-up device, in order: its size, and a weak reference
    to where it is there."""
    found, asarray = [], HostDevice.xp.asarray

    def counted(array, *args, **kwargs):
        there = asarray(array, *args, **kwargs)
        if not isinstance(array, DeviceArray):
            found.append((there.size, weakref.ref(there)))
        return there

    monkeypatch.setattr(HostDevice.xp, "asarray", counted, raising=False)
    return found


@pytest.mark.parametrize("has_transpose", [True, False])
def test_what_rows_carry_is_uploaded_once_by_place_and_by_no_pass_after_it(uploads, has_transpose):
    rng = np.random.default_rng(0)
    n, X = 2000, sp.random(2000, 5, 0.5, format="csr", random_state=0)
    design = GpuDesign(X, fit_intercept=True, transpose=has_transpose, device=HostDevice())
    y, weight, offset = np.where(rng.random(n) < 0.5, -1.0, 1.0), rng.random(n), rng.normal(size=n)
    mask = rng.integers(0, 4, (n, 3)).astype(np.uint8)
    for carried in ((), (weight,), (weight, mask), (weight, mask, offset)):
        uploads.clear()
        rows = design.place(y, *carried)
        for (_, there), a in zip(uploads, (y, *carried), strict=True):
            np.testing.assert_array_equal(there().get(), a)
        uploads.clear()
        began = design.n_passes
        for m in (rows.n_folds, 2 * rows.n_folds):
            W, precond = design.zeros(m), fasthoag.inner.precond.NO_PRECONDITIONER
            for part in (TRAIN, HELD_OUT):
                at = rows.loss_grad("logistic", W, part)
                rows.sums("logistic", part, at.Z)
                rows.terms("logistic", 1, part, at.Z)
            c = rows.curvature(fasthoag.find_loss("logistic"), at.Z)
            design.hvp(c, W)
            design.hess_diag(c)
            design.rmatvec(rows.blend(at.Z, np.full(m, 0.5), at.Z))
            hess = Hessian(design, c, design.zeros(1) + 1.0)
            cg(hess, at.grad, tol=1e-8)
            cg_in_ball(hess, at.grad, np.full(m, 1e-8), precond, 10, np.full(m, 0.1))
            problem = fasthoag.inner.problem.InnerProblem(
                rows, fasthoag.find_loss("logistic"), None
            )
            fasthoag.inner.solve.newton_cg(problem, hess.lam, W, tol=1e-6)
        assert design.n_passes > began + 10
        assert max(size for size, _ in uploads) < n


def test_targets_that_their_owner_changes_are_seen_by_the_next_place(uploads):
    X = sp.random(2000, 5, 0.5, format="csr", random_state=0)
    y, weight = np.ones(2000), np.ones(2000)
    design = GpuDesign(X, device=HostDevice())
    Z = design.xp.asarray(np.zeros((2000, 1)))
    for change in (lambda: None, lambda: y.__imul__(3), lambda: weight.__setitem__(7, 5.0)):
        change()
        rows = design.place(y, weight)
        assert rows.sums("squared", TRAIN, Z)[0] == pytest.approx(0.5 * weight @ y**2)
    uploads.clear()
    for k in range(20):  # weights that are new each time, as those that are tuned, do not pile up
        rows = rows.with_weight(np.full(2000, k + 1.0))
        assert rows.sums("squared", TRAIN, Z)[0] == pytest.approx(0.5 * (k + 1) * y @ y)
    assert len(uploads) >= 20
    gc.collect()
    assert sum(there() is not None for _, there in uploads) <= 2


# ---- memory ----


def test_too_little_memory_says_what_is_needed_and_had_before_anything_is_allocated(monkeypatch):
    X = sp.random(2000, 50, 0.5, format="csr", random_state=0)
    device = HostDevice(free=100_000)
    monkeypatch.setattr(
        HostDevice.xp, "asarray", lambda *args, **kwargs: pytest.fail("allocated"), raising=False
    )
    with pytest.raises(
        MemoryError,
        match=r"needs [\d,]+ bytes on the device; "
        "90,000 of its 100,000 free bytes may be used. Use float32",
    ):
        GpuDesign(X, device=device)


def test_memory_for_one_copy_only_is_said_and_used():
    X = sp.random(2000, 50, 0.5, format="csr", random_state=0)
    device = HostDevice(free=5_400_000)
    with pytest.warns(UserWarning, match="one copy is kept"):
        design = GpuDesign(X, device=device)
    assert not design.has_transpose
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not GpuDesign(X, transpose=False, device=device).has_transpose
        assert GpuDesign(X, device=HostDevice(free=10**9)).has_transpose
    with pytest.raises(MemoryError, match="transpose=False"):
        GpuDesign(X, transpose=True, device=device)


def test_too_little_memory_for_the_linear_systems_is_said_before_any_work():
    X, y = sparse_problem("logistic", 0, 2000, 500, 0.01)
    design = GpuDesign(X, device=HostDevice(free=3_000_000))
    began = design.n_passes
    with pytest.raises(
        MemoryError,
        match="15 columns need at least 540,000 bytes on the device beside X, "
        "and 500,000 are free. Use fewer folds",
    ):
        design.device.free = 500_000
        fasthoag.hoag(fasthoag.Problem(design, y), fasthoag.KFold(5))
    assert design.n_passes == began


@pytest.mark.parametrize("has_transpose", [True, False])
def test_set_up_allocates_no_more_than_it_said(has_transpose):
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(
        (
            rng.normal(size=10**6),
            rng.integers(0, 3000, 10**6, np.int32),
            np.arange(0, 10**6 + 1, 500),
        ),
        shape=(2000, 3000),
    )
    X.has_canonical_format = True
    device = HostDevice()
    tracemalloc.start()
    try:
        design = GpuDesign(X, transpose=has_transpose, device=device)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Python's own objects
    assert 0.5 * design._bytes(has_transpose) < peak <= design._bytes(has_transpose) + 200_000
    assert kept <= (2.1 if has_transpose else 1.1) * 12 * X.nnz


# ---- what users call ----


@pytest.fixture
def on_host(monkeypatch):
    """The device of device="gpu" is this CPU."""
    monkeypatch.setattr(gpu_module, "find_device", HostDevice)


class DeviceCsr:
    """As much of cupyx.scipy.sparse.csr_matrix as is asked for."""

    has_canonical_format, format = True, "csr"

    def tocsr(self):
        return self

    def __init__(self, X):
        self.data, self.indices, self.indptr = (
            DeviceArray(a.copy()) for a in (X.data, X.indices, X.indptr)
        )
        self.shape, self.nnz, self.dtype = X.shape, X.nnz, X.dtype

    def __matmul__(self, V):
        return DeviceArray(
            sp.csr_matrix(
                tuple(a.array for a in (self.data, self.indices, self.indptr)), shape=self.shape
            )
            @ V.array
        )


PENALTIES = {
    "ridge": fasthoag.Ridge(),
    "feature": fasthoag.FeatureRidge(),
    "group": fasthoag.GroupRidge(np.arange(8) % 3),
    "structured": fasthoag.StructuredRidge(np.column_stack([np.ones(8), np.arange(8) / 8])),
    "sum": fasthoag.Ridge() + fasthoag.GroupRidge(np.arange(8) % 2),
}


@pytest.mark.parametrize("criterion", ["held_out", "k_fold"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_criterion_and_hypergradient_are_those_of_the_cpu(loss, penalty, criterion):
    """Number 1 of the GPU path: the criterion to 1e-6, here 1e-8, and the hypergradient to 1e-8."""
    X, y = sparse_problem(loss, 3, 60, 8)
    X_val, y_val = sparse_problem(loss, 4, 30, 8)
    found = []
    for design in (
        CpuDesign(X, fit_intercept=True, n_threads=1),
        GpuDesign(X, fit_intercept=True, device=DEVICE),
    ):
        problem = fasthoag.Problem(design, y, loss=loss, penalty=PENALTIES[penalty])
        bound = (
            fasthoag.HeldOut(X_val, y_val) if criterion == "held_out" else fasthoag.KFold(3)
        ).bind(problem)
        zero = design.zeros(bound.inner.units.n_columns)
        at = bound.evaluate(np.full(problem.n_hyper, 0.5), zero, Accuracy(1e-11, 1e-11))
        found.append((at.value, at.grad))
    (value, grad), (on_device, grad_on_device) = found
    assert on_device == pytest.approx(value, rel=1e-8)
    np.testing.assert_allclose(
        grad_on_device, grad, rtol=0, atol=1e-8 * max(np.abs(grad).max(), 1e-3 * abs(value))
    )


def test_device_gpu_copies_x_once_and_gives_numpy(on_host):
    X, y = sparse_problem("logistic", 0)
    here = fasthoag.hoag(fasthoag.Problem(X, y), fasthoag.KFold(5))
    there = fasthoag.hoag(fasthoag.Problem(X, y, device="gpu"), fasthoag.KFold(5))
    np.testing.assert_allclose(there.theta, here.theta, atol=1e-6)
    np.testing.assert_allclose(there.value, here.value, rtol=1e-6)
    assert isinstance(there.w, np.ndarray)
    assert there.w.shape == here.w.shape


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("low_memory", [False, True])
def test_what_comes_on_the_device_goes_back_on_the_device(on_host, kind, low_memory):
    X, y = sparse_problem("logistic", 0)
    given = DeviceArray(X.toarray()) if kind == "dense" else DeviceCsr(X)
    before = [
        a.get()
        for a in ((given,) if kind == "dense" else (given.data, given.indices, given.indptr))
    ]
    result = fasthoag.hoag(
        fasthoag.Problem(given, DeviceArray(y), low_memory=low_memory), fasthoag.KFold(5)
    )
    assert isinstance(result.w, DeviceArray)
    assert isinstance(result.w_all, DeviceArray)
    assert isinstance(result.theta, np.ndarray)
    expected = fasthoag.hoag(
        fasthoag.Problem(X if kind == "sparse" else X.toarray(), y), fasthoag.KFold(5)
    )
    np.testing.assert_allclose(result.theta, expected.theta, atol=1e-6)
    np.testing.assert_allclose(to_host(result.w), expected.w, atol=1e-3 * np.abs(expected.w).max())
    for a, b in zip(
        before,
        (given,) if kind == "dense" else (given.data, given.indices, given.indptr),
        strict=False,
    ):
        np.testing.assert_array_equal(a, b.get())


@pytest.mark.parametrize("n_features", [10, 200])
@pytest.mark.parametrize("rule", [fasthoag.KFold, fasthoag.ApproximateLOO])
def test_features_of_very_different_scales(on_host, rule, n_features):
    X, y = sparse_problem("logistic", 0, 120, n_features)
    X = sp.csr_matrix(X.multiply(np.where(np.arange(n_features) < 2, 1e5, 1.0)))
    here, there = (
        fasthoag.hoag(fasthoag.Problem(X, y, device=device), rule(), tol=1e-5)
        for device in ("cpu", "gpu")
    )
    assert there.value == pytest.approx(here.value, rel=1e-4)


def test_rows_of_the_criterion_may_be_on_either_side(on_host):
    X, y = sparse_problem("logistic", 0)
    X_val, y_val = sparse_problem("logistic", 1)
    problem = fasthoag.Problem(X, y, device="gpu")
    one, other = (
        fasthoag.hoag(problem, fasthoag.HeldOut(rows, y_val)) for rows in (X_val, DeviceCsr(X_val))
    )
    np.testing.assert_array_equal(one.theta, other.theta)


def test_estimators_take_a_device(on_host):
    X, y = sparse_problem("logistic", 0)
    here, there = (
        fasthoag.LogisticRegressionCV(device=device).fit(X, y) for device in ("cpu", "gpu")
    )
    assert pytest.approx(here.C_, rel=1e-3) == there.C_
    assert isinstance(there.coef_, np.ndarray)
    np.testing.assert_array_equal(there.predict(X), here.predict(X))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize(
    "Estimator",
    [getattr(fasthoag, name) for name in fasthoag.estimators.ESTIMATORS],
    ids=lambda E: E.__name__,
)
def test_estimators_work_where_x_is(on_host, Estimator, kind):
    X, z = sparse_problem("squared", 0, 80, 6)
    y = (
        np.array([0, 5])[(z > np.median(z)).astype(int)]
        if is_classifier(Estimator())
        else np.exp(z / np.abs(z).max())
    )
    weight = np.random.default_rng(0).random(80) + 0.5
    X = X.toarray() if kind == "dense" else X
    X_there = DeviceArray(X) if kind == "dense" else DeviceCsr(X)
    here = Estimator(cv=3).fit(X, y, weight)
    there = Estimator(cv=3).fit(X_there, DeviceArray(y), DeviceArray(weight))
    assert isinstance(there.coef_, DeviceArray)
    assert there.n_features_in_ == 6
    np.testing.assert_allclose(
        to_host(there.coef_), here.coef_, atol=1e-3 * np.abs(here.coef_).max()
    )
    for name in ("predict", "decision_function", "predict_proba", "predict_log_proba"):
        if hasattr(there, name):
            expected, found = getattr(here, name)(X), getattr(there, name)(X_there)
            assert isinstance(found, DeviceArray)
            np.testing.assert_allclose(found.get(), expected, atol=3e-3 * np.abs(expected).max())
            # rows of the other side
            np.testing.assert_allclose(
                getattr(there, name)(X), expected, atol=3e-3 * np.abs(expected).max()
            )
            np.testing.assert_array_equal(getattr(here, name)(X_there).get(), expected)
    assert there.score(X_there, DeviceArray(y), DeviceArray(weight)) == pytest.approx(
        here.score(X, y, weight), abs=0.01
    )


def test_estimators_on_the_device_say_what_is_wrong(on_host):
    X, y = sparse_problem("logistic", 0, 80, 6)
    model = fasthoag.LogisticRegressionCV().fit(DeviceCsr(X), np.where(y > 0, "yes", "no"))
    assert set(model.predict(DeviceCsr(X))) == {"yes", "no"}  # words cannot be on a GPU
    with pytest.raises(
        ValueError,
        match="X has 5 features, but LogisticRegressionCV is expecting 6 features as input",
    ):
        model.predict(DeviceCsr(X[:, :5]))
    with pytest.raises(ValueError, match="y has 79 values and X has 80 rows"):
        model.fit(DeviceCsr(X), y[1:])
    with pytest.raises(ValueError, match="X must have 2 dimensions"):
        model.fit(DeviceArray(y), y)
    with pytest.raises(ValueError, match="device='cpu'"):
        fasthoag.LogisticRegressionCV(device="cpu").fit(DeviceCsr(X), y)
    X_val = sparse_problem("logistic", 1, 30, 6)
    expected = fasthoag.LogisticRegressionCV().fit(X, y, validation=X_val)
    found = fasthoag.LogisticRegressionCV().fit(
        DeviceCsr(X), y, validation=(DeviceCsr(X_val[0]), X_val[1])
    )
    assert pytest.approx(expected.C_, rel=1e-3) == found.C_


def test_many_hyperparameters_and_weights_of_rows(on_host):
    X, y = sparse_problem("logistic", 0)
    X_val, y_val = sparse_problem("logistic", 1)
    for options in (
        {"penalty": fasthoag.FeatureRidge()},
        {"tuned": [fasthoag.SampleWeights()]},
        {"tuned": [fasthoag.ClassWeights()]},
    ):
        here, there = (
            fasthoag.hoag(
                fasthoag.Problem(X, y, device=device, **options),
                fasthoag.HeldOut(X_val, y_val),
                method="lbfgs",
                tol=1e-3,
                stop_on=None,
            )
            for device in ("cpu", "gpu")
        )
        assert there.value == pytest.approx(here.value, rel=2e-3)


@pytest.mark.parametrize(
    ("rule", "way"),
    [
        (name, way)
        for name in WITHOUT_ROWS
        for way in WAYS
        if way != "probes" or has_probes(CRITERIA[name], "logistic")
    ],
)
def test_criteria_without_held_out_rows(rule, way, monkeypatch):
    set_way(monkeypatch, way)
    loss = "squared" if rule == "gcv" else "logistic"
    X, y = sparse_problem(loss, 0, 60, 8)
    found = []
    for design in (
        CpuDesign(X, fit_intercept=True, n_threads=1),
        GpuDesign(X, fit_intercept=True, device=DEVICE),
    ):
        problem = fasthoag.Problem(
            design, y, loss=loss, penalty=fasthoag.GroupRidge(np.arange(8) % 3)
        )
        bound = CRITERIA[rule]().bind(problem)
        at = bound.evaluate(np.array([0.5, 0.0, 1.0]), design.zeros(1), Accuracy(1e-11, 1e-11))
        found.append((at.value, at.grad))
    (value, grad), (on_device, grad_on_device) = found
    assert on_device == pytest.approx(value, rel=1e-8)
    np.testing.assert_allclose(grad_on_device, grad, rtol=0, atol=1e-8 * np.abs(grad).max())


@pytest.mark.parametrize("rule", CRITERIA)
def test_every_criterion_finds_the_same_on_the_device(on_host, rule):
    (X, y), (X_val, y_val) = sparse_problem("squared", 0), sparse_problem("squared", 1)
    rows = {
        "held_out": (X_val, y_val),
        "custom": (X_val, lambda z: (0.5 * ((z - y_val) ** 2).sum(), z - y_val)),
    }
    criterion = CRITERIA[rule](*rows.get(rule, ()))
    here, there = (
        fasthoag.hoag(fasthoag.Problem(X, y, loss="squared", device=device), criterion)
        for device in ("cpu", "gpu")
    )
    assert there.value == pytest.approx(here.value, rel=1e-6)
    assert there.status == here.status


def test_scores_and_unseen_rows(on_host):
    X, y = sparse_problem("logistic", 0)
    options = {
        "unseen": fasthoag.HeldOut(*sparse_problem("logistic", 1)),
        "scoring": ["accuracy", "roc_auc"],
    }
    here, there = (
        fasthoag.hoag(fasthoag.Problem(X, y, device=device), fasthoag.KFold(3), **options)
        for device in ("cpu", "gpu")
    )
    assert there.unseen_value == pytest.approx(here.unseen_value, rel=1e-5)
    for name in options["scoring"]:
        np.testing.assert_allclose(there.scores[name], here.scores[name], atol=0.02)


# ---- losses of the user ----


def test_custom_loss_with_cuda_expressions():
    X, y = sparse_problem("huber", 0)
    loss = fasthoag.custom_loss(*LOG_COSH, name="log_cosh", cuda=CUDA_LOG_COSH)
    assert pickle.loads(pickle.dumps(loss)).cuda == CUDA_LOG_COSH
    here, there = (
        fasthoag.hoag(fasthoag.Problem(design, y, loss=loss), fasthoag.KFold(3))
        for design in (CpuDesign(X), GpuDesign(X, device=HostDevice()))
    )
    np.testing.assert_allclose(there.theta, here.theta, atol=1e-6)
    assert there.value == pytest.approx(here.value, rel=1e-6)


def test_custom_loss_without_cuda_expressions_says_what_to_do():
    X, y = sparse_problem("huber", 0)
    problem = fasthoag.Problem(
        GpuDesign(X, device=HostDevice()), y, loss=fasthoag.custom_loss(*LOG_COSH, name="log_cosh")
    )
    with pytest.raises(
        ValueError,
        match=r"'log_cosh' is compiled by Numba for the CPU. .*cuda=\(value, d1, d2, d3\)",
    ):
        fasthoag.hoag(problem, fasthoag.KFold(3))


def test_cuda_expressions_of_another_function_are_refused():
    X, y = sparse_problem("huber", 0)
    loss = fasthoag.custom_loss(*LOG_COSH, name="log_cosh", cuda=(*CUDA_LOG_COSH[:2], "0.5", "0.0"))
    with pytest.raises(
        ValueError,
        match="the CUDA expression of d2 of loss 'log_cosh' is not its Python function: at y = ",
    ):
        fasthoag.hoag(
            fasthoag.Problem(GpuDesign(X, device=HostDevice()), y, loss=loss), fasthoag.KFold(3)
        )


@pytest.mark.parametrize("bad", [("a", "b", "c"), "z - y", ("", "", "", ""), (1, 2, 3, 4)])
def test_cuda_must_be_four_expressions(bad):
    with pytest.raises(TypeError, match="cuda must be four CUDA expressions"):
        fasthoag.custom_loss(*LOG_COSH, cuda=bad)


# ---- no device, no driver, mixed devices ----


def made_up_cupy(driver=12080, runtime=12080, n_devices=1, has_nvrtc=True):
    class CUDARuntimeError(RuntimeError):
        pass

    def count():
        if n_devices < 0:
            raise CUDARuntimeError("cudaErrorUnknown")
        return n_devices

    def version():
        if not has_nvrtc:
            raise ImportError("no libnvrtc")

    module = types.SimpleNamespace
    found = module(
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: runtime,
        getDeviceCount=count,
        getDevice=lambda: 0,
        CUDARuntimeError=CUDARuntimeError,
    )
    return module(
        __version__="14.2.0", cuda=module(nvrtc=module(getVersion=version), runtime=found)
    )


NO_DEVICE = {
    "needs CuPy, which cannot be imported .* pip install 'fasthoag\\[gpu12\\]'": None,
    "needs an NVIDIA driver, and this machine has none": made_up_cupy(driver=0),
    "needs a newer NVIDIA driver: this one is for CUDA 11.4, CuPy for CUDA 12": made_up_cupy(
        driver=11040
    ),
    "this one is for CUDA 12.8, CuPy for CUDA 13. Update the driver": made_up_cupy(runtime=13000),
    "this machine shows none. Check nvidia-smi": made_up_cupy(n_devices=0),
    r"needs NVRTC, .* \(no libnvrtc\). .* or pip install 'cupy-cuda12x\[ctk\]'": made_up_cupy(
        has_nvrtc=False
    ),
    "CUDA reports: cudaErrorUnknown. Check nvidia-smi": made_up_cupy(n_devices=-1),
}


class MadeUpCupy(Namespace):
    """As much of CuPy as `CupyDevice` uses: launches run on the CPU at once, but while a stream
    captures they only go into its graph."""

    __version__ = "14.2.0"

    def __init__(self):
        self.capturing, self.n_graph_launches, self.options = None, 0, None
        self.cuda = made_up_cupy().cuda
        self.cuda.runtime.getDeviceProperties = lambda number: {"name": b"Made up"}
        self.cuda.Device = lambda number: types.SimpleNamespace(mem_info=(10**9, 2 * 10**9))
        self.cuda.Stream = lambda non_blocking: Stream(self)
        self.cuda.get_current_stream = lambda: "current"

    def get_default_memory_pool(self):
        return types.SimpleNamespace(free_bytes=lambda: 10**6)

    def RawModule(self, code, options):
        self.options = options
        module = HostModule(code, HostDevice())

        def get_function(name):
            def launch(grid, block, args):
                assert grid[0] >= 1
                assert block in ((256,), (512,))
                assert len(grid) == 1
                step = module.bind(
                    name, grid[0], block[0], *(None if a is cuda.NULL else a for a in args)
                )
                if self.capturing is None:
                    step()
                else:
                    self.capturing.append(step)

            return launch

        return types.SimpleNamespace(get_function=get_function)


class Stream:
    def __init__(self, cupy):
        self.cupy = cupy

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.cupy.capturing is None

    def begin_capture(self):
        self.cupy.capturing = []

    def end_capture(self):
        steps, self.cupy.capturing = self.cupy.capturing, None

        def launch(stream):
            assert stream == "current"
            assert steps
            self.cupy.n_graph_launches += 1
            for step in steps:
                step()

        return types.SimpleNamespace(launch=launch)


def test_the_device_over_cupy_compiles_launches_and_repeats(monkeypatch):
    made_up = MadeUpCupy()
    monkeypatch.setitem(sys.modules, "cupy", made_up)
    monkeypatch.setattr(gpu_module.CupyDevice, "warp", 1)  # of kernels that run on the CPU
    X, y = sparse_problem("logistic", 0, 300, 200, 0.1)
    here, there = (
        fasthoag.hoag(fasthoag.Problem(X, y, device=device), fasthoag.KFold(3), tol=1e-8)
        for device in ("cpu", "gpu")
    )
    np.testing.assert_allclose(there.theta, here.theta, atol=1e-6)
    assert made_up.n_graph_launches > 0
    assert made_up.options == ("-std=c++17",)
    assert gpu_module.describe_device() == ("14.2.0", "Made up, 1.0 GB free")


@pytest.mark.parametrize("sentence", NO_DEVICE)
def test_a_device_that_cannot_be_used_is_an_error_that_says_what_to_do(sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", NO_DEVICE[sentence])
    X, y = sparse_problem("logistic", 0)
    with pytest.raises(ValueError, match=sentence):
        fasthoag.Problem(X, y, device="gpu")
    with pytest.raises(ValueError, match=sentence):
        fasthoag.LogisticRegressionCV(device="gpu").fit(X, y)
    assert "device='cpu'" in gpu_module.describe_device()[1]


def test_mixed_devices_are_refused(on_host):
    X, y = sparse_problem("logistic", 0)
    with pytest.raises(ValueError, match="device must be 'cpu', 'gpu' or None"):
        fasthoag.Problem(X, y, device="cuda")
    with pytest.raises(ValueError, match=r"X is on the GPU, and device='cpu'. Pass X.get\(\)"):
        fasthoag.Problem(DeviceCsr(X), y, device="cpu")
    with pytest.raises(ValueError, match="X_val is on the GPU and the problem is not"):
        fasthoag.hoag(fasthoag.Problem(X, y), fasthoag.HeldOut(DeviceCsr(X), y))
    with pytest.raises(ValueError, match="X is a design on the CPU, and device='gpu'"):
        fasthoag.Problem(CpuDesign(X), y, device="gpu")
    with pytest.raises(ValueError, match="on another GPU than the current device"):
        elsewhere = HostDevice()
        elsewhere.holds = lambda array: False
        GpuDesign(DeviceArray(X.toarray()), device=elsewhere)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda X: X.indices.array.__setitem__(3, 15), "column indices outside 0..14"),
        (lambda X: X.indptr.array.__setitem__(3, 10**6), "row pointers"),
        (lambda X: X.data.array.__setitem__(3, np.nan), "contains NaN or infinity"),
        (lambda X: setattr(X, "data", DeviceArray(np.ones(X.nnz, int))), "float32 or float64"),
        (
            lambda X: setattr(X, "format", "csc"),
            "X on the GPU must be CSR or dense; got format 'csc'. Use X.tocsr",
        ),
    ],
)
def test_damaged_matrices_on_the_device_are_refused(on_host, spoil, sentence):
    X, y = sparse_problem("logistic", 0)
    given = DeviceCsr(X)
    spoil(given)
    with pytest.raises(ValueError, match=sentence):
        fasthoag.Problem(given, y)


def test_the_benchmark_runs_where_only_its_few_needs_are(tmp_path):
    """Emulated, and without scikit-learn, Numba and what else a bare machine lacks; every number
    has its line and its record."""
    code = (
        "import runpy, sys\nsys.modules.update(dict.fromkeys(('sklearn', 'numba', 'pytest', "
        "'threadpoolctl', 'joblib', 'typer', 'rich', 'hypothesis')))\nsys.argv = ['gpu.py', "
        f"'--emulate', '--records', {str(tmp_path)!r}]\nrunpy.run_path({str(BENCH)!r}, "
        "run_name='__main__')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "emulated on the CPU" in ran.stdout
    assert " met" in ran.stdout
    for number in "12345":
        assert any(line.startswith(number) for line in ran.stdout.splitlines()), number
    records = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert {record["case"] for record in records} == {
        "gpu-parity",
        "gpu-product",
        "gpu-holdout",
        "gpu-small",
        "gpu-kfold-large",
        "gpu-memory",
    }


# ---- a real device ----


def real_device():
    try:
        return find_device()
    except ValueError as error:
        return str(error)


REAL = real_device()
DEVICE = HostDevice() if isinstance(REAL, str) else REAL
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(isinstance(REAL, str), reason=str(REAL))]


class TestGpu:
    pytestmark = needs_gpu

    @pytest.mark.parametrize(
        ("has_transpose", "dtype"), [*itertools.product([True, False], ["float32", "float64"])]
    )
    def test_passes_are_those_of_the_cpu_in_the_same_bits_every_time(self, has_transpose, dtype):
        X = tall_matrix(dtype)
        expected = passes_of(CpuDesign(X, fit_intercept=True))
        one, other = (
            passes_of(GpuDesign(X, fit_intercept=True, transpose=has_transpose)) for _ in range(2)
        )
        for name, value in expected.items():
            assert_near(one[name], value, message=name)
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)

    def test_graph_of_an_iteration_gives_the_bits_of_its_launches(self, monkeypatch):
        X, y = sparse_problem("logistic", 0, 3000, 500, 0.05)
        results = [fasthoag.hoag(fasthoag.Problem(X, y, device="gpu"), fasthoag.KFold(5))]
        monkeypatch.setattr(
            gpu_module.CupyDevice,
            "repeated",
            lambda self, steps: lambda: [step() for step in steps],
        )
        results.append(fasthoag.hoag(fasthoag.Problem(X, y, device="gpu"), fasthoag.KFold(5)))
        np.testing.assert_array_equal(results[0].theta, results[1].theta)

    def test_cupy_in_cupy_out(self):
        import cupy
        import cupyx.scipy.sparse as csp

        X, y = sparse_problem("logistic", 0, 3000, 500, 0.05)
        for given, here in (
            (csp.csr_matrix(X), X),
            (cupy.asarray(X.toarray()), CpuDesign(X.toarray(), fit_intercept=True)),
        ):
            expected = fasthoag.hoag(fasthoag.Problem(here, y), fasthoag.KFold(5))
            result = fasthoag.hoag(fasthoag.Problem(given, cupy.asarray(y)), fasthoag.KFold(5))
            assert isinstance(result.w, cupy.ndarray)
            np.testing.assert_allclose(result.theta, expected.theta, atol=1e-6)

    def test_info_shows_the_device(self):
        assert "GB free" in gpu_module.describe_device()[1]
