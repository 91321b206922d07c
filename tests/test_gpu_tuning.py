"""Whole tunings on the GPU: they find what the CPU finds, and what comes on the device goes back
there."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from support.custom_losses import CUDA_LOG_COSH, LOG_COSH
from support.designs import DEVICE
from support.host_device import DeviceArray, HostDevice
from support.leverage_ways import WAYS, has_probes, set_way
from support.made_up_cupy import DeviceCsr
from support.problems import sparse_problem

import fasthoag
from fasthoag.criteria import CRITERIA
from fasthoag.design import to_host
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.gpu import GpuDesign
from fasthoag.hypergradient import Accuracy
from fasthoag.losses import LOSSES

WITHOUT_ROWS = [name for name, rule in CRITERIA.items() if "hessian" not in rule.gives]


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
