# make demo: build, run the main job on real data and on text.  make test: build and run the tests.
# make lint: check form and habits.  make format: mend the form.
# make bench: what docs/benchmarks.md reports.  make docs: the site, from docs/ into build/docs.
# make paper: the paper's comparison again, and its figures in docs/figures (see docs/paper.md).
# make sanitize: the tests of the kernels, built to find reads and writes of foreign memory.
# make browser: a browser for the tests of the report, which look at its pages with it.
# make fuzz: broken files and matrices for as long as FUZZ_SECONDS and FUZZ_EXAMPLES say.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
NATIVE = $(wildcard csrc/*.?pp csrc/*/*.?pp csrc/cuda/*.cu csrc/cuda/*.cuh tests/support/*.hpp \
    tests/fuzz/*.?pp)
# Tests that run with a coefficient map of every kind too; all but equivariances may.
IN_TWO_SPACES = tests/test_hypergradient.py tests/test_blocks.py
# Kernels and solvers, once more with one thread by the environment.
ON_ONE_THREAD = tests/test_passes.py tests/test_linsolve.py tests/test_solvers.py tests/test_inner.py
SOURCES = pyproject.toml setup.py $(wildcard csrc/* csrc/bind/* csrc/cuda/*)
# Kernels and readers, built with sanitizers.
SANITIZED = $(ON_ONE_THREAD) tests/test_io.py tests/test_structure.py tests/test_kernels.py
SANITIZERS = address,undefined
# What one fuzzer gets in seconds, and one test of tests/fuzz in cases.
FUZZ_SECONDS ?= 60
FUZZ_EXAMPLES ?= 5000
FUZZ_TARGETS = text structure

.PHONY: demo test tsan lint format bench docs paper sanitize fuzz browser clean

demo: $(VENV)/.built
	mkdir -p build
	$(BIN)/fasthoag demo --picture build/demo.svg

test: $(VENV)/.built-test
	for map in permute scale shift merge "row space"; do \
	    $(BIN)/python -m pytest -q -n 2 --coefficients "$$map" $(IN_TWO_SPACES) || exit 1; done
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 $(ON_ONE_THREAD)
	$(BIN)/python -m pytest -q -n 2

# Races between threads, found by ThreadSanitizer in a build of its own; none is to be suppressed. It
# does not see into Python and NumPy, nor the threads of libgomp, instead of which csrc/parallel.hpp
# starts others. It ends at the first race (halt_on_error): to go on it would look for every address
# of a race among all earlier ones, for hours. GCC's needs a fixed layout of memory (setarch -R).
tsan: $(VENV)/.built-test
	$(BIN)/python -m pip install --quiet --upgrade --target build/tools pybind11 setuptools
	FASTHOAG_SANITIZE=thread PYTHONPATH=build/tools $(BIN)/python setup.py -q build \
	    --build-base build/tsan --build-lib build/tsan/lib
	setarch -R env PYTHONPATH=build/tsan/lib LD_PRELOAD="$$($(CXX) -print-file-name=libtsan.so)" \
	    TSAN_OPTIONS="halt_on_error=1" \
	    OMP_NUM_THREADS=3 OPENBLAS_NUM_THREADS=1 $(BIN)/python -P tests/support/races.py

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

docs: $(VENV)/.built-docs
	$(BIN)/python -m sphinx -b html -W --keep-going --quiet docs build/docs
	@echo build/docs/index.html

paper: $(VENV)/.built-paper build/hoag-2016/hoag
	$(BIN)/python bench/paper.py

# The interpreter itself is not built with the sanitizers: their libraries have to be there first.
# What it still holds at its end is no leak of ours. Reports go past the capture of pytest.
sanitize: build/sanitize/.built
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    build/sanitize/bin/pytest -q -p no:cacheprovider -p no:faulthandler --capture=sys \
	        $(SANITIZED)

fuzz: $(FUZZ_TARGETS:%=build/fuzz/%) $(VENV)/.built-test
	for target in $(FUZZ_TARGETS); do \
	    mkdir -p build/fuzz/corpus/$$target build/fuzz/found; \
	    ASAN_OPTIONS=detect_leaks=0 build/fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=400 \
	        -timeout=5 -verbosity=0 -print_final_stats=1 -artifact_prefix=build/fuzz/found/$$target- \
	        build/fuzz/corpus/$$target tests/fuzz/corpus/$$target || exit 1; done
	FASTHOAG_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -q -n 2 tests/fuzz

# Chromium without windows for tests/test_report_in_browser.py, 90 MB from Debian's archive: it is
# unpacked into build/browser with the libraries that are missing here, and nothing is installed.
# On other systems FASTHOAG_BROWSER names a Chrome or Chromium, or it is found on the path.
browser: build/browser/usr/lib/chromium

build/browser/usr/lib/chromium:
	mkdir -p build/browser/packages
	cd build/browser/packages && apt-get download -qq $$(apt-get install --simulate \
	    --no-install-recommends chromium-headless-shell | sed -n 's/^Inst \([^ ]*\).*/\1/p')
	for package in build/browser/packages/*.deb; do dpkg -x $$package build/browser || exit 1; done
	rm -r build/browser/packages

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.built: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable ".[cli,plot]"
	touch $@

$(VENV)/.built-test: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/.built

# Tools and the types of NumPy: nothing is built for it. The versions are those of
# .pre-commit-config.yaml.
$(VENV)/.built-lint: $(BIN)/python Makefile
	$(BIN)/python -m pip install --quiet ruff==0.17.6 mypy==2.4.1 "numpy>=2.0" clang-format==23.1.5
	touch $@

$(VENV)/.built-docs: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@ $(VENV)/.built

$(VENV)/.built-bench: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	touch $@

$(VENV)/.built-paper: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable ".[bench,plot]"
	touch $@ $(VENV)/.built $(VENV)/.built-bench

# The paper's own code beside libraries of its time. Where these are not to be had, as for a Python
# beyond 3.12, the figures go without it.
HOAG_2016 ?= https://github.com/fabianp/hoag/archive/9b3c82b22c16816a39937934e9f787d0ba00a5e7.zip
build/hoag-2016/hoag: | $(BIN)/python
	-$(BIN)/python -m pip install --quiet --target build/hoag-2016 \
	    --only-binary numpy,scipy,scikit-learn \
	    numpy==1.26.4 scipy==1.11.4 scikit-learn==1.3.2 $(HOAG_2016)

build/sanitize/.built: $(SOURCES)
	$(PYTHON) -m venv build/sanitize
	FASTHOAG_SANITIZE=$(SANITIZERS) build/sanitize/bin/python -m pip install --quiet ".[test]"
	touch $@

# libFuzzer comes with atheris, which has it for Linux on x86-64; which Python it is for matters
# not, as only the archive is used. g++ has other callbacks than clang, see tests/fuzz/engine.cpp.
LIBFUZZER = build/fuzz/atheris/libclang_rt.fuzzer_no_main.a
FUZZ_FLAGS = -std=c++17 -g -O1 -fopenmp -fsanitize=$(SANITIZERS) -fno-sanitize-recover=all -Icsrc

$(LIBFUZZER): | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-deps --target build/fuzz/atheris \
	    --only-binary :all: --platform manylinux2014_x86_64 --python-version 3.13 atheris==3.1.0

build/fuzz/%: tests/fuzz/%.cpp tests/fuzz/engine.cpp tests/fuzz/expect.hpp $(LIBFUZZER) $(SOURCES)
	$(CXX) $(FUZZ_FLAGS) -fsanitize-coverage=trace-pc,trace-cmp -c $< -o $@.o
	$(CXX) $(FUZZ_FLAGS) -Wl,--wrap=__sanitizer_cov_trace_pc tests/fuzz/engine.cpp $@.o \
	    $(LIBFUZZER) -o $@

clean:
	rm -rf $(VENV) build fasthoag.egg-info fasthoag/_core*.so
	rm -rf docs/api docs/examples docs/options.rst docs/records.rst
