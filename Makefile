# make demo and make test each work alone on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ENV := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1

.PHONY: setup demo test test-all lint docs bench bench-full bench-widths bench-step bench-training

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/tipx train selector=q3_only ratio=0.2 group=demo
	$(BIN)/tipx runs

test: setup
	$(ENV) $(BIN)/python -m pytest -m "not slow"

test-all: setup
	$(ENV) $(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

# The reference is written anew from the code, then the site: docs/_build/html/index.html. A warning is an error.
docs: $(VENV)/.docs
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html

# With TRL and Liger, which the bench alone needs.
$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	touch $@

bench: $(VENV)/.bench
	$(ENV) $(BIN)/python -m bench

# 512 to 8,192 tokens and every case: half an hour or more.
bench-full: $(VENV)/.bench
	$(ENV) $(BIN)/python -m bench --full

# Time of the loss at the hidden sizes of real models: an hour.
bench-widths: $(VENV)/.bench
	$(ENV) $(BIN)/python -m bench.widths

# Whole training steps of small models: five minutes.
bench-step: setup
	$(ENV) $(BIN)/python -m bench.step

# Training from end to end beside TRL's: four minutes.
bench-training: $(VENV)/.bench
	$(ENV) $(BIN)/python -m bench.training
