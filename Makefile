# make study   set up and run the quickstart study     make test   set up and run every check
# make setup   only set up                             make fast   the fast checks alone
# make soak    kill and damage studies for SOAK_MINUTES (10); SOAK_SEED repeats one
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup study test fast soak
setup: $(VENV)/.study

$(VENV)/.study: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.study
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

study: setup
	$(BIN)/ikusi study quickstart

test: $(VENV)/.dev
	scripts/check

fast: $(VENV)/.dev
	scripts/check --fast

soak: $(VENV)/.dev
	$(BIN)/python scripts/soak
