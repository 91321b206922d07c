"""What is put on the device: how rows are shared, the transposed copy, uploads, and the memory that
all of it takes."""

import gc
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
from support.host_device import DeviceArray, HostDevice
from support.problems import sparse_matrix, sparse_problem

import fasthoag
from fasthoag.design import HELD_OUT, TRAIN
from fasthoag.design.gpu import GpuDesign
from fasthoag.design.gpu.columns import Entries, count_columns, transpose
from fasthoag.design.gpu.layout import LONG_ROW, cut_rows, share_rows
from fasthoag.inner.cg import Hessian, cg, cg_in_ball
from fasthoag.inner.problem import InnerProblem

# ---- set-up ----


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tile", [16, 600, 5000])
def test_every_entry_is_in_one_block_or_segment(seed, tile):
    rng = np.random.default_rng(seed)
    lengths = np.where(
        rng.random(200) < 0.1, rng.integers(500, 3000, 200), rng.integers(0, 30, 200)
    )
    indptr = np.r_[0, np.cumsum(lengths)]
    rows = share_rows(np, Entries(indptr, None, None), 200, 777, tile)
    seen = np.zeros(indptr[-1], int)
    for first, end in rows.blocks:
        assert first < end
        assert indptr[end] - indptr[first] <= tile + max(LONG_ROW, tile // 4)
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
    entries = Entries(X.indptr.astype(np.int64), X.indices, X.data)
    counts = count_columns(np, X.indices, 30, chunk)
    indptr, indices, data = transpose(np, entries, counts, chunk)
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
            problem = InnerProblem(rows, fasthoag.find_loss("logistic"), None)
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
    X.sum_duplicates()
    device = HostDevice()
    tracemalloc.start()
    try:
        design = GpuDesign(X, transpose=has_transpose, device=device)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    said = design.sizes.n_bytes(has_transpose)
    # Python's own objects
    assert 0.5 * said < peak <= said + 200_000
    assert kept <= (2.1 if has_transpose else 1.1) * 12 * X.nnz
