# Each target makes the environment that it needs: nothing else has to be typed.  PYTHON=... chooses another Python.

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

# The first that is new enough and can make environments; what comes first in PATH may be neither.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)

.PHONY: demo test lint bench campaign namespaces coverage page clean
.NOTPARALLEL:

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "fsp-trio needs Python 3.11 or later, with venv and ensurepip" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

# One stamp for each set of extras: installed once, and again when pyproject.toml changes.
$(VENV)/.for-demo: EXTRAS :=
$(VENV)/.for-test: EXTRAS := [test,bench]
$(VENV)/.for-lint: EXTRAS := [dev]
$(VENV)/.for-bench: EXTRAS := [bench]
$(VENV)/.for-page: EXTRAS := [test,browser]

$(VENV)/.for-%: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRAS)'
	@touch $@

demo: $(VENV)/.for-demo
	$(BIN)/python -m fsp_trio.cli.demo

test: $(VENV)/.for-test
	$(BIN)/python -m pytest --numprocesses $(WORKERS)

campaign: $(VENV)/.for-test
	$(BIN)/python -m pytest --numprocesses $(WORKERS) -m campaign --timeout 1800

# Mobility between network namespaces: root, and ip, tc, nft and conntrack.
namespaces: $(VENV)/.for-test
	$(BIN)/python -m tests.namespaces

coverage: $(VENV)/.for-test
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run --parallel-mode -m pytest
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# The page of the conformance report in a browser: a Chromium must be installed.
page: $(VENV)/.for-page
	$(BIN)/python -m pytest -m browser

lint: $(VENV)/.for-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.for-bench
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .import_linter_cache
