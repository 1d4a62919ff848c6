# The commands of the README. `make` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each worker of the tests uses one thread; more of them than cores only wait for each other.
TEST_WORKERS ?= 2
BENCH := benchmarks/results/supernet_b32

.PHONY: help run bench install install-dev test lint clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

run: install ## Prune, search and evaluate on scikit-learn's digits: a few minutes on two CPU cores
	$(BIN)/python train.py

bench: install ## Measure memory and time of every supernet: about 25 minutes on two CPU cores
	bash -o pipefail -c '$(BIN)/python benchmarks/supernet.py --json $(BENCH).json | tee $(BENCH).txt'

test: install-dev ## Check style and types, run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS)

lint: install-dev ## Mend the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.installed ## Make .venv with what halfnas needs

install-dev: $(VENV)/.installed-dev ## The same with the tools of its tests

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean: ## Remove .venv and caches; data and runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
