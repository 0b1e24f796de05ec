# One file for people and machines alike. Needs Python >= 3.11 with venv, and make; nothing else.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
# Rules, in-process replays, SQL and its servers share the cores; Ray clusters have them alone.
PARALLEL := tests/unit tests/scenarios tests/serve tests/contract tests/database tests/embedded tests/chaos
# Kills on Ray first: they take longest and run one after the other, beside all the rest.
CHAOS := -m chaos -n 2 --dist loadgroup --no-loadscope-reorder tests/end_to_end tests/scenarios tests/chaos
# How often make chaos tries a promise.
TRIALS ?= 1000
SERIAL := tests/actors tests/end_to_end
SOURCES := schema storage fetchers agents scenarios tests run_cluster.py

.PHONY: help setup demo test test-long chaos lint format clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

# Python packages are installed again only when pyproject.toml changed; Node packages and the
# PostgreSQL binaries only when package-lock.json did.
$(STAMP): pyproject.toml package.json package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "gridpact needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || { echo "[1/4] virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "[2/4] Python packages (about 600 MB once, a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' 2> >(grep -v '^WARNING: Location' >&2)
	@$(BIN)/python -c 'from storage.embedded.node import find_node; find_node()' >/dev/null 2>&1 \
	  || { echo "      no Node >= 20.19 here: taking it from PyPI (61 MB)"; \
	       $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[node]' 2> >(grep -v '^WARNING: Location' >&2); }
	@echo "[3/4] embedded Supabase: PostgreSQL and its REST API (about 80 MB once)"
	@$(BIN)/python -c 'from storage.cli_supabase import app; app()' install
	@echo "[4/4] compiling the market's kernels (once, about a minute)"
	@$(BIN)/python -m agents.core.warm
	@touch $@

setup: $(STAMP) ## virtual environment, packages and the embedded Supabase

demo: setup ## replay windy-night through Ray into Supabase
	@$(BIN)/python run_cluster.py replay windy-night

test: setup ## format, lint, types, import contracts, and the test suite
	@$(MAKE) --no-print-directory lint
	@echo "tests of rules, replays and the embedded Supabase, on all cores"
	@$(BIN)/python -m pytest -q -m 'not long and not live' -n auto --dist loadfile $(PARALLEL)
	@echo "tests with Ray clusters whose processes are killed, one after the other"
	@$(BIN)/python -m pytest -q -m 'not long and not live' $(SERIAL)

test-long: setup ## what takes longer than the suite may
	@$(BIN)/python -m pytest -q -m 'long and not live and not chaos'
	@GRIDPACT_CHAOS_TRIALS=200 $(BIN)/python -m pytest -q $(CHAOS)

chaos: setup ## kills, power cuts and I/O errors by the thousand; one table of promises kept
	@GRIDPACT_CHAOS_TRIALS=$(TRIALS) $(BIN)/python -m pytest -q $(CHAOS)

lint: setup ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: setup ## write files the way lint wants them
	@$(BIN)/ruff format --quiet $(SOURCES)
	@$(BIN)/ruff check --quiet --fix $(SOURCES)

clean: ## remove what set-up and runs made here
	@rm -rf $(VENV) .gridpact .mypy_cache .ruff_cache .pytest_cache
