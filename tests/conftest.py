import itertools

import pytest
import scipy.linalg  # noqa: F401  its BLAS too is there before the limit below
from support.coefficient_maps import MAPS, switch_on
from support.designs import DESIGNS, DTYPES, OF_USE, MakeDesign
from support.host_device import use_host
from threadpoolctl import threadpool_limits

from fasthoag import threads

# the dense references are small: threads would only wait for each other
threadpool_limits(1, "blas")


def pytest_addoption(parser):
    parser.addoption(
        "--coefficients",
        choices=tuple(MAPS),
        help="Give every design on the CPU a random coefficient map w = E u of this kind.",
    )


@pytest.fixture(autouse=True)
def many_cores(monkeypatch):
    """Threads that tests ask for are there, whatever machine they run on."""
    monkeypatch.setattr(threads, "n_cores", lambda: 8)


@pytest.fixture(autouse=True)
def coefficient_map(request, monkeypatch):
    """What ``--coefficients`` asks for, but for tests marked ``no_map(why, *kinds)``."""
    kind = request.config.getoption("coefficients")
    if kind is not None:
        marker = request.node.get_closest_marker("no_map")
        if marker and kind in (marker.args[1:] or MAPS):
            pytest.skip(f"no coefficient map here: {marker.args[0]}")
        switch_on(kind, monkeypatch)


@pytest.fixture(params=list(itertools.product(DESIGNS, DTYPES)), ids=" ".join)
def make_design(request):
    """Every design with every dtype: for the tests of the passes themselves."""
    return MakeDesign(*request.param)


@pytest.fixture(params=OF_USE, ids=" ".join)
def make_a_design(request):
    """Every design of use once, and float32 where kernels differ: enough for what is built on
    passes, which have tests with everything."""
    return MakeDesign(*request.param)


@pytest.fixture(params=[False, True], ids=["no intercept", "intercept"])
def fit_intercept(request):
    return request.param


@pytest.fixture
def on_host(monkeypatch):
    """The device of ``device="gpu"`` is this CPU."""
    use_host(monkeypatch)
