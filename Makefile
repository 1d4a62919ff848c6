# The commands of the README. `make` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each worker of the tests uses one thread; more of them than cores only wait for each other.
TEST_WORKERS ?= 2
TESTS ?= -m "not slow"
BENCH := benchmarks/results

# What runs on a GPU: another Python than that of .venv has to have all that halfnas needs. `make gpu` takes about
# GPU_SECONDS, the tests at most GPU_TEST_SECONDS of them.
GPU_PYTHON ?= $(BIN)/python
GPU_SECONDS ?= 460
GPU_TEST_SECONDS ?= 170
GPU_TEST_WORKERS ?= 4
GPU_RUN := trainer=gpu trainer.benchmark=false logger=csv dataset.max_train_images=200 \
	pruner.repeats=1 pruner.network.init_channels=4 space.init_channels=4 evaluation.init_channels=4 \
	searcher.epochs=2 searcher.warmup_epochs=1 searcher.batch_size=16 evaluation.epochs=1 evaluation.batch_size=32
DATASET ?= cifar10

.PHONY: help run bench gpu gpu-search install install-dev test test-all lint clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

run: install ## Prune, search and evaluate on scikit-learn's digits: a few minutes on two CPU cores
	$(BIN)/python train.py

bench: install ## Measure memory and time of every supernet and method: about 35 minutes on two CPU cores
	for name in supernet methods; do \
		bash -o pipefail -c "$(BIN)/python benchmarks/$$name.py --json $(BENCH)/$${name}_b32.json | tee $(BENCH)/$${name}_b32.txt" \
			|| exit 1; \
	done

gpu: ## Test halfnas on a CUDA device and measure it there: under 8 minutes
	@$(GPU_PYTHON) -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "error: no CUDA device")'
	@start=$$(date +%s); failed=0; \
	timeout -s INT -k 10 $(GPU_TEST_SECONDS) $(GPU_PYTHON) -u -m pytest -m gpu -v -W default --durations=10 \
		-n $(GPU_TEST_WORKERS) --continue-on-collection-errors || failed=1; \
	timeout -k 10 90 $(GPU_PYTHON) train.py $(GPU_RUN) || failed=1; \
	echo "tests and stages: $$(($$(date +%s) - start)) s"; \
	$(GPU_PYTHON) benchmarks/gpu.py --budget $$((start + $(GPU_SECONDS) - $$(date +%s))) || failed=1; \
	exit $$failed

gpu-search: ## Prune and search CIFAR-10 on a CUDA device, print seconds and memory; DATASET=fake takes noise instead
	$(GPU_PYTHON) benchmarks/gpu_search.py --dataset $(DATASET) trainer=gpu $(OVERRIDES)

gpu gpu-search: export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
ifeq ($(GPU_PYTHON),$(BIN)/python)
gpu gpu-search: install-dev
endif

test: install-dev ## Check style and types, run the tests that guard behaviour: 7 to 12 minutes on two CPU cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) $(TESTS)

test-all: ## The same with the slow tests: launchers, several devices, the documentation, recorded numbers
	$(MAKE) test TESTS=

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
