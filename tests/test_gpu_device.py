"""Which device is used, and what is said where there is none, no driver or another one; CuPy itself
is made up, but for tests that need a real device."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from support.designs import DEVICE, NO_GPU, needs_gpu
from support.host_device import DeviceArray, HostDevice
from support.made_up_cupy import ArrayOf, DeviceCsr, MadeUpCupy, cupy_reporting
from support.problems import sparse_problem

import fasthoag
from fasthoag.design.cpu import CpuDesign
from fasthoag.design.gpu import CupyDevice, GpuDesign, describe_device
from fasthoag.design.gpu.matrix import fingerprint

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench" / "gpu.py"


NO_DEVICE = {
    "needs CuPy, which cannot be imported .* pip install 'fasthoag\\[gpu12\\]'": None,
    "needs an NVIDIA driver, and this machine has none": cupy_reporting(driver=0),
    "needs a newer NVIDIA driver: this one is for CUDA 11.4, CuPy for CUDA 12": cupy_reporting(
        driver=11040
    ),
    "this one is for CUDA 12.8, CuPy for CUDA 13. Update the driver": cupy_reporting(runtime=13000),
    "this machine shows none. Check nvidia-smi": cupy_reporting(n_devices=0),
    r"needs NVRTC, .* \(no libnvrtc\). .* or pip install 'cupy-cuda12x\[ctk\]'": cupy_reporting(
        has_nvrtc=False
    ),
    "CUDA reports: cudaErrorUnknown. Check nvidia-smi": cupy_reporting(n_devices=-1),
}


def test_the_device_over_cupy_compiles_launches_and_repeats(monkeypatch):
    made_up = MadeUpCupy()
    monkeypatch.setitem(sys.modules, "cupy", made_up)
    monkeypatch.setattr(CupyDevice, "warp", 1)  # of kernels that run on the CPU
    X, y = sparse_problem("logistic", 0, 300, 200, 0.1)
    here, there = (
        fasthoag.hoag(fasthoag.Problem(X, y, device=device), fasthoag.KFold(3), tol=1e-8)
        for device in ("cpu", "gpu")
    )
    np.testing.assert_allclose(there.theta, here.theta, atol=1e-6)
    assert made_up.n_graph_launches > 0
    assert made_up.options == ("-std=c++17",)
    assert describe_device() == ("14.2.0", "Made up, 1.0 GB free")


def test_arrays_of_the_host_and_of_other_devices_are_not_held(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", MadeUpCupy())
    device = CupyDevice()
    assert device.holds(ArrayOf(0))
    assert not device.holds(ArrayOf(1))
    assert not device.holds(np.ones(1))


@pytest.mark.parametrize("sentence", NO_DEVICE)
def test_a_device_that_cannot_be_used_is_an_error_that_says_what_to_do(sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", NO_DEVICE[sentence])
    X, y = sparse_problem("logistic", 0)
    with pytest.raises(ValueError, match=sentence):
        fasthoag.Problem(X, y, device="gpu")
    with pytest.raises(ValueError, match=sentence):
        fasthoag.LogisticRegressionCV(device="gpu").fit(X, y)
    assert "device='cpu'" in describe_device()[1]


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
        (lambda X: X.indptr.array.__setitem__(-1, -1), "row pointers"),
        (lambda X: X.indptr.array.__setitem__(0, 1), "row pointers"),
        (lambda X: setattr(X, "indptr", DeviceArray(X.indptr.array[:-1])), "row pointers"),
        (lambda X: setattr(X, "data", DeviceArray(X.data.array[:-1])), "row pointers"),
        (lambda X: X.indices.array.__setitem__(3, -1), "column indices outside 0..14"),
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
    if "row pointers" in sentence or "column indices" in sentence:
        model = fasthoag.LogisticRegressionCV(cv=3).fit(X, y)
        with pytest.raises(ValueError, match=sentence):
            model.predict(given)


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_values_on_the_device_that_change_are_told(on_host, kind):
    X, y = sparse_problem("logistic", 0)
    given = DeviceCsr(X) if kind == "sparse" else DeviceArray(X.toarray())
    problem = fasthoag.Problem(given, y, low_memory=True)
    held = problem.design.stored.rows.data.array  # the given values, or a copy of them
    fasthoag.hoag(problem, fasthoag.KFold(3))
    held[[0, 7]] *= -1
    with pytest.raises(ValueError, match="X was changed after the problem was made"):
        fasthoag.hoag(problem, fasthoag.KFold(3))


@pytest.mark.parametrize("n", [1, 255, 256, 70_001])
def test_a_fingerprint_sees_every_word_and_its_place(n):
    rng = np.random.default_rng(0)
    words = rng.integers(-(2**31), 2**31, n, dtype=np.int32)
    devices = [HostDevice(), HostDevice(8, 4), *([] if NO_GPU else [DEVICE])]

    def seen(words):
        [one] = {fingerprint(device, device.xp.asarray(words)) for device in devices}
        return one

    before = seen(words)
    for at in {0, n // 2, n - 1}:
        for bit in (0, 15, 31):
            changed = words.copy()
            changed.view(np.uint32)[at] ^= np.uint32(1 << bit)
            assert seen(changed) != before
    if n > 1:
        assert seen(np.roll(words, 35)) != before


def test_the_benchmark_runs_where_only_its_few_needs_are(tmp_path):
    """Emulated, and without scikit-learn, Numba and what else a bare machine lacks; every number
    has its line and its record."""
    code = (
        "import runpy, sys\nsys.modules.update(dict.fromkeys(('sklearn', 'numba', 'pytest', "
        "'joblib', 'typer', 'rich', 'hypothesis')))\nsys.argv = ['gpu.py', "
        f"'--emulate', '--records', {str(tmp_path)!r}]\nrunpy.run_path({str(BENCH)!r}, "
        "run_name='__main__')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "emulated on the CPU" in ran.stdout
    assert " met" in ran.stdout
    for number in "123456":
        assert any(line.startswith(number) for line in ran.stdout.splitlines()), number
    records = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert {record["case"] for record in records} == {
        "gpu-parity",
        "gpu-product",
        "gpu-holdout",
        "gpu-small",
        "gpu-kfold-large",
        "gpu-memory",
        "gpu-kernel",
    }


# ---- a real device ----


@needs_gpu
class TestGpu:
    def test_graph_of_an_iteration_gives_the_bits_of_its_launches(self, monkeypatch):
        X, y = sparse_problem("logistic", 0, 3000, 500, 0.05)
        results = [fasthoag.hoag(fasthoag.Problem(X, y, device="gpu"), fasthoag.KFold(5))]
        monkeypatch.setattr(
            CupyDevice,
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
        assert "GB free" in describe_device()[1]
