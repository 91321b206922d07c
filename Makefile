# make demo: build and run the main job on real data.  make test: build and run the tests.
# make lint: check form and habits.  make format: mend the form.  make bench: the table of the README.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
NATIVE = $(wildcard csrc/*.?pp csrc/*/*.?pp csrc/cuda/*.cu csrc/cuda/*.cuh tests/support/*.hpp)
# Tests that run with a coefficient map of every kind too; all but equivariances may.
IN_TWO_SPACES = tests/test_hypergradient.py tests/test_blocks.py
# Kernels and solvers, once more with one thread by the environment.
ON_ONE_THREAD = tests/test_passes.py tests/test_linsolve.py tests/test_solvers.py tests/test_inner.py
SOURCES = pyproject.toml setup.py $(wildcard csrc/* csrc/bind/* csrc/cuda/*)

.PHONY: demo test tsan lint format bench clean

demo: $(VENV)/.built
	$(BIN)/fasthoag demo

test: $(VENV)/.built-test
	for map in permute scale shift merge "row space"; do \
	    $(BIN)/python -m pytest -q -n 2 --coefficients "$$map" $(IN_TWO_SPACES) || exit 1; done
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 $(ON_ONE_THREAD)
	$(BIN)/python -m pytest -q -n 2

# Races between threads, found by ThreadSanitizer in a build of its own, with what Python and OpenMP
# do hidden from it. Without a fixed layout of memory (setarch -R) GCC's does not start.
tsan: $(VENV)/.built-test
	$(BIN)/python -m pip install --quiet --upgrade --target build/tools pybind11 setuptools
	FASTHOAG_SANITIZE=thread PYTHONPATH=build/tools $(BIN)/python setup.py -q build \
	    --build-base build/tsan --build-lib build/tsan/lib
	setarch -R env PYTHONPATH=build/tsan/lib LD_PRELOAD="$$($(CXX) -print-file-name=libtsan.so)" \
	    TSAN_OPTIONS="suppressions=tests/support/tsan.txt" $(BIN)/python -P tests/support/races.py

lint: $(VENV)/.built-lint
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(NATIVE)

format: $(VENV)/.built-lint
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/clang-format -i $(NATIVE)

bench: $(VENV)/.built-bench
	$(BIN)/python bench/run.py --all

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.built: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable ".[cli]"
	touch $@

$(VENV)/.built-test: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/.built

# Tools and the types of NumPy: nothing is built for it. The versions are those of
# .pre-commit-config.yaml.
$(VENV)/.built-lint: $(BIN)/python Makefile
	$(BIN)/python -m pip install --quiet ruff==0.17.6 mypy==2.4.1 "numpy>=2.0" clang-format==23.1.5
	touch $@

$(VENV)/.built-bench: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	touch $@ $(VENV)/.built

clean:
	rm -rf $(VENV) build fasthoag.egg-info fasthoag/_core*.so
