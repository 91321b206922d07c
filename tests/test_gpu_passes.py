"""Passes of the GPU where there is none: its kernels run on the CPU with many threads and give what
the passes of the CPU give. One test needs a real device."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from support.designs import assert_near, needs_gpu
from support.host_device import DeviceArray, HostDevice
from support.problems import sparse_problem, tall_matrix

import fasthoag
from fasthoag.design import HELD_OUT, TRAIN, UNWEIGHTED, Curvature, to_host
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.gpu import GpuDesign, cuda, memory
from fasthoag.design.gpu import design as gpu_design
from fasthoag.design.gpu.launches import run
from fasthoag.units import column_dots

ROUND_ROBIN = [(1, 1), (8, 4), (64, 8)]  # threads of a block, lanes of a warp


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
    assert len(design.stored.rows.segments)
    assert len(design.stored.columns.segments)
    assert len(design.stored.columns.long_rows)
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


def test_large_arrays_go_to_the_device_in_pieces_and_wide_products_in_groups(monkeypatch):
    X = tall_matrix()
    expected, V = CpuDesign(X, n_threads=1), np.random.default_rng(0).normal(size=(800, 12))
    C = np.random.default_rng(1).random((3000, 2))
    curvatures = (C, 1), (np.tile(C / 3, (1, 3)), 3)
    monkeypatch.setattr(memory, "PIECE", 1000)
    monkeypatch.setattr(gpu_design, "WIDE", 3000 * 5)
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
    strengths = {"lam": design.encode(lam), "lam_of": lam_of}
    run(design.product(Curvature(xp.asarray(C)), fold, design.encode(V), out, **strengths))
    expected = here.decode(here.hvp(Curvature(C[:, fold]), here.encode(V))) + lam[:, lam_of] * V
    assert_near(design.decode(out), expected)


@needs_gpu
@pytest.mark.parametrize(
    ("has_transpose", "dtype"), [*itertools.product([True, False], ["float32", "float64"])]
)
def test_passes_are_those_of_the_cpu_in_the_same_bits_every_time(has_transpose, dtype):
    X = tall_matrix(dtype)
    expected = passes_of(CpuDesign(X, fit_intercept=True))
    one, other = (
        passes_of(GpuDesign(X, fit_intercept=True, transpose=has_transpose)) for _ in range(2)
    )
    for name, value in expected.items():
        assert_near(one[name], value, message=name)
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
