"""The programs that `make fuzz` feeds agree on the corpus with the slow ones beside them, and read
no foreign memory."""

import os
import subprocess
import sys

import fuzzing
import pytest

SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
OPENMP = ["-fopenmp"] if sys.platform == "linux" else []  # Apple's compiler does not know it
FLAGS = ["-std=c++17", "-g", "-O0", *OPENMP, *SANITIZE]
CSRC = fuzzing.HERE.parents[1] / "csrc"


@pytest.fixture(scope="module", params=["text", "text -DFH_FROM_CHARS=0", "structure"])
def target(request, tmp_path_factory):
    """The program, and the name of its part of the corpus."""
    name, *flags = request.param.split()
    program = tmp_path_factory.mktemp("target") / name
    sources = [fuzzing.HERE / f"{name}.cpp", fuzzing.HERE / "replay.cpp"]
    compiler = os.environ.get("CXX", "g++")
    subprocess.run([compiler, *FLAGS, *flags, f"-I{CSRC}", *sources, "-o", program], check=True)
    return program, name


def test_a_target_agrees_with_the_slow_one_on_the_corpus(target):
    program, name = target
    done = subprocess.run(
        [program, *fuzzing.seeds(name)],
        capture_output=True,
        text=True,
        env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert done.returncode == 0, done.stderr
