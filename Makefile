# make demo: build and run the main job on real data.  make test: build and run the tests.  make bench: the table of the README.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SOURCES = pyproject.toml setup.py $(wildcard csrc/*) $(wildcard csrc/cuda/*)

.PHONY: demo test bench clean

demo: $(VENV)/.built
	$(BIN)/fasthoag demo

test: $(VENV)/.built-test
	$(BIN)/python -m pytest -q -n 2

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

$(VENV)/.built-bench: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	touch $@ $(VENV)/.built

clean:
	rm -rf $(VENV) build fasthoag.egg-info fasthoag/_core*.so
