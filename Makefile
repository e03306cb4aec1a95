# Each target makes the environment it needs: nothing else has to be typed.

VENV := .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null && { echo "$$p"; break; }; done)
RUN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test lint bench campaign coverage clean

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "fsp-trio needs Python 3.11 or later" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# $(call extras,NAME) installs the package with an extra once, and again when pyproject.toml changes
$(VENV)/.runtime: pyproject.toml | $(VENV)/bin/python
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.bench: $(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

demo: $(VENV)/.runtime
	$(RUN)/python -m fsp_trio.cli.demo

test: $(VENV)/.test $(VENV)/.bench
	$(RUN)/python -m pytest --numprocesses $(WORKERS)

campaign: $(VENV)/.test
	$(RUN)/python -m pytest --numprocesses $(WORKERS) -m campaign --timeout 1800

coverage: $(VENV)/.test $(VENV)/.bench
	$(RUN)/python -m coverage erase
	$(RUN)/python -m coverage run --parallel-mode -m pytest
	$(RUN)/python -m coverage combine --quiet
	$(RUN)/python -m coverage report

lint: $(VENV)/.lint $(VENV)/.test $(VENV)/.bench
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/pyright
	$(RUN)/lint-imports

bench: $(VENV)/.bench
	$(RUN)/python -m bench

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
