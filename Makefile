# Every target sets up what it needs in .venv: `make demo` in a fresh clone is all there is to type.

PYTHON ?= python3
PORT ?= 5000
ARGS ?=
WORKERS ?= 5
RECIPES ?=
SUITES ?=
SCALE ?= 1

VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
# Typing is checked strictly wherever people will read or copy the code.
TYPED := src tests/typing tests/support bench examples scripts

# The wheel's own Node.js, never the machine's or a download.
export PYRIGHT_PYTHON_GLOBAL_NODE := 0
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check format format-check lint mypy pyright imports bench faults upstream lock venv clean

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: venv ## Run the demo on PORT (5000); Ctrl-C stops all of it.
	@exec $(BIN)/python examples/data_desk/run.py --port $(PORT)

test: venv ## Run the tests; ARGS="tests/cli -k config" chooses.
	$(RUN) pytest -n $(WORKERS) $(ARGS)

# The tests come last, so that the line that counts them closes the output.
check: format-check lint mypy pyright imports test ## Run everything CI runs (the docs are tests).

format: venv ## Format the code, and fix what the linter can fix.
	$(RUN) ruff format
	$(RUN) ruff check --fix

format-check: venv
	$(RUN) ruff format --check

lint: venv
	$(RUN) ruff check

mypy: venv
	$(RUN) mypy $(wildcard $(TYPED))

pyright: venv
	$(RUN) pyright

imports: venv
	$(BIN)/lint-imports --no-cache

bench: venv ## Compare with stock Celery; needs a Redis server.
	@exec $(RUN) bench $(ARGS)

faults: venv ## Break workers, brokers and disks, ours and Celery's; RECIPES="T1 T9", SCALE=0.1.
	@exec $(RUN) tests.faults --scale $(SCALE) $(ARGS) $(RECIPES)

upstream: venv ## Run Celery's and kombu's own tests on the embedded broker; SUITES=kombu.
	@exec $(BIN)/python scripts/upstream.py $(SUITES)

lock: venv ## Choose the newest versions again and write requirements.lock.
	$(RUN) pip install --quiet uv
	$(RUN) uv --no-python-downloads pip compile pyproject.toml --quiet --upgrade --all-extras \
		--group check --universal --python-version 3.10 --no-emit-index-url --generate-hashes \
		--no-header --output-file requirements.lock

venv: $(VENV)/.installed ## Make .venv, or bring it up to date.

$(VENV)/.installed: requirements.lock pyproject.toml scripts/setup_venv.py
	@$(PYTHON) scripts/setup_venv.py

clean: ## Remove .venv, caches and built files.
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
