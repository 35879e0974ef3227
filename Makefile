# Two commands set everything up: `make sweep` and `make test`. Both make `.venv` when it is missing or out of date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SWEEP ?= sweeps/quickstart.yaml

.PHONY: sweep test test-fast check fix clean

sweep: $(VENV)/.installed
	$(BIN)/python -m orchestrator.launch $(SWEEP)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile
	$(BIN)/python -m pytest -m slow -n 3 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

check: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

fix: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --disable-pip-version-check -q -e '.[builtin]'
	touch $@

$(VENV)/.installed-test: pyproject.toml Makefile | $(BIN)/python
	$(BIN)/pip install --disable-pip-version-check -q -e '.[builtin,test]'
	@# Its requirements are another torch with CUDA and much that its file of classes, which the tests load, never asks for.
	$(BIN)/pip install --disable-pip-version-check -q --no-deps dictionary-learning==0.1.0
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist *.egg-info
