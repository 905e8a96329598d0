# Everything a newcomer runs. `make demo` and `make test` need only Debian's python3.11, pip, venv and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

# Tests that run side by side; each file stays in one process. Those of pods and servers wait more than they compute.
JOBS ?= 3

# Tests start hundreds of processes of the same modules: each is compiled once, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test strict apiserver coverage bench soak fuzz lint fmt lock clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.installed ## make .venv and install the locked packages

demo: setup ## a mesh of real Envoys on this machine; Ctrl-C ends it
	@$(BIN)/dragoman demo $(ARGS)

test: setup ## lint, types, layers, unit tests, golden tests, end-to-end tests
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=line lint strict
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# What pods run may not write here, and each worker would compile all tests, with their assertions rewritten: that all
# are collected here leaves them compiled.
strict: setup
	@$(BIN)/python -m compileall -q dragoman xds translators ca crds e2e
	@echo "translators once with every message validated at construction"
	DRAGOMAN_STRICT=1 $(BIN)/python -m pytest -q -k "test_golden.py or test_construction.py"

apiserver: setup ## build kube-apiserver, helm and Istio's client for the tests, with go, into a cache outside the tree (15 minutes once)
	@$(BIN)/python -m e2e.apiserver --older
	@$(BIN)/python -m e2e.helm
	@$(BIN)/python -m e2e.istio_client

coverage: setup ## which lines the tests in tests/ run
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --cov --cov-report=term-missing:skip-covered tests

bench: setup ## how fast it is (docs/performance.md); QUICK=1, ROWS=a,b, BENCH_JSON=FILE, BENCH_MD=FILE
	@$(BIN)/python -m e2e.bench

soak: setup ## churn for MINUTES=30: memory must stay flat and the event loop prompt
	@$(BIN)/python -m e2e.bench.soak

# Not in the lock: nothing that is tested or shipped needs it.
fuzz: setup ## what strangers may send, found by coverage: TARGET=delta_stream SECONDS=60 (tests/fuzz)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3,<4'
	@$(BIN)/python -m tests.fuzz $(or $(TARGET),delta_stream) $(or $(SECONDS),60)

lint: setup ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup ## format and sort imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile --python-version 3.11 --universal --quiet --all-extras --group dev pyproject.toml -o requirements.lock

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
