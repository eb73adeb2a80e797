# make demo and make test each work alone on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ENV := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
ENGINE := .venv-engine
# A home of its own: nothing is written to the user's caches.
ENGINE_HOME := $(CURDIR)/$(ENGINE)/var/home
ENGINE_ENV := $(ENV) TORCHDYNAMO_DISABLE=1 VLLM_NO_USAGE_STATS=1 HOME=$(ENGINE_HOME) \
	XDG_CACHE_HOME=$(ENGINE_HOME)/.cache XDG_CONFIG_HOME=$(ENGINE_HOME)/.config
# Where torch's builds for a CPU are, which vLLM's build for a CPU asks for by name.
TORCH_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: setup demo test test-all test-engine check-extras lint docs bench bench-full bench-widths bench-step bench-training gpu-check

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

test-all: setup test-engine
	$(ENV) $(BIN)/python -m pytest

# The real vLLM on a CPU, in an environment of its own, since it wants other versions than constraints.txt has.
test-engine: $(ENGINE)/.installed
	$(ENGINE_ENV) $(ENGINE)/bin/python -m pytest -n 1 tests/engine

$(ENGINE)/.installed: pyproject.toml constraints-engine.txt
	$(PYTHON) -m venv $(ENGINE)
	$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --extra-index-url $(TORCH_INDEX) \
		"$$(grep ^torch== constraints-engine.txt)"
	$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement constraints-engine.txt
	$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	mkdir -p $(ENGINE_HOME)
	touch $@

# What each extra of pyproject.toml resolves to, by itself; asks the package index.
check-extras:
	$(PYTHON) .ci/check_extras.py

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

# What one GPU does to tipx, at most ten minutes; `make gpu-check GPU_CHECK="--device cpu --small"` tries the script.
gpu-check: $(VENV)/.bench
	HF_HUB_OFFLINE=1 $(BIN)/python -m bench.gpu_check $(GPU_CHECK)
