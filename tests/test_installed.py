"""An installed package, as a wheel or from the sdist, is whole: what a checkout does not show."""

import importlib.metadata
import json
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info

import fasthoag
from fasthoag import _core
from fasthoag.design.gpu import cuda

PACKAGE = Path(fasthoag.__file__).parent
pytestmark = pytest.mark.skipif(
    (PACKAGE.parent / "csrc").is_dir(), reason="fasthoag is not installed but a checkout"
)


def test_the_kernels_have_what_this_platform_can_have():
    assert _core.has_openmp
    is_pc = platform.machine() in ("x86_64", "AMD64")
    assert _core.has_clones == (is_pc and sys.platform == "linux")


def test_the_metadata_are_those_of_the_package():
    found = importlib.metadata.metadata("fasthoag")
    assert found["Version"] == fasthoag.__version__
    assert found["License-Expression"] == "BSD-3-Clause"
    files = {Path(file).name for file in importlib.metadata.files("fasthoag")}
    assert {"LICENSE", "py.typed", "_core.pyi"} <= files


def test_the_sources_for_gpus_are_in_the_package():
    assert "struct Tweedie" in cuda.read("losses.hpp")
    assert {path.parent for path in PACKAGE.glob("**/*.cu")} == {PACKAGE / "cuda"}
    for path in PACKAGE.glob("cuda/*.cu"):
        assert cuda.source(path.name)


def test_the_command_is_there():
    command = Path(sysconfig.get_path("scripts")) / "fasthoag"
    done = subprocess.run([command, "info", "--json"], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["fasthoag"] == fasthoag.__version__


def test_threads_of_scikit_learn_and_of_the_kernels_live_side_by_side():
    """Each has an OpenMP library of its own in its wheel."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 20))
    y = np.where(X[:, 0] + rng.normal(size=len(X)) > 0, 1, -1)
    fits = []
    for _ in range(2):
        KMeans(2, n_init=1, random_state=0).fit(X)
        fits.append(fasthoag.LogisticRegressionCV(cv=3, n_threads=2).fit(X, y))
    np.testing.assert_array_equal(fits[0].coef_, fits[1].coef_)
    ours = [one for one in threadpool_info() if "fasthoag" in one["filepath"]]
    assert [one["user_api"] for one in ours] in ([], ["openmp"])  # []: it is that of the system
