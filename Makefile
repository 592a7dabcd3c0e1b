# make setup [EXTRA=cuda13]   make run   make figures [SIZE=512] [IMAGES=DIR]   make test   make check   make help
PYTHON ?= python3
EXTRA ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready$(if $(EXTRA),-$(EXTRA))

.DEFAULT_GOAL := help
.PHONY: help setup run doodle figures test lint format check bench wheel clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: $(READY)  ## make the environment in .venv; EXTRA=cuda12, cuda13 or tpu for such a device

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev$(if $(EXTRA),$(comma)$(EXTRA))]"
	touch $@

comma := ,

run: setup  ## paint the example: starry.png; needs no weights and no network
	$(BIN)/python -m nst_jax --config configs/starry.yaml --weights compact

doodle: setup  ## paint a doodle: doodle.png
	$(BIN)/python -m nst_jax --config configs/doodle.yaml

figures: setup  ## paint the papers' figures: figures/index.html; SIZE=512, IMAGES=DIR of the papers' pictures
	$(BIN)/python -m nst_jax figures $(if $(SIZE),--size $(SIZE)) $(if $(IMAGES),--images $(IMAGES))

test: setup  ## run the tests
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: setup  ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test  ## all that must be green before a commit

bench: setup  ## time, memory and loss against PyTorch: half an hour; needs NST_JAX_WEIGHTS
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python benchmarks/convolutions.py
	$(BIN)/python benchmarks/solver_quality.py
	$(BIN)/python benchmarks/speed.py --out speed.json

wheel: setup  ## build dist/nst_jax-*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what was built here
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
