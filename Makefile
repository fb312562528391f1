# `make` alone lists what there is. All that is needed: Python 3.11+, make, git. uv, Java 17 with Maven, and Docker are used where they are there.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
PYTEST := $(BIN)/python -m pytest
ARGS ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## the environment in .venv, nothing run (again only when the lock or pyproject.toml changed)

$(STAMP): requirements.lock pyproject.toml
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python '>=3.11' $(VENV); \
		uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock; \
		uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .; \
	else \
		$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; name it with PYTHON=..." if sys.version_info < (3, 11) else 0)'; \
		$(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .; \
	fi
	@touch $@

.PHONY: demo
demo: $(STAMP) ## a real chat log through the whole pipeline, with what came of it, in under a minute
	@$(BIN)/python -m pipeline.local.demo $(ARGS)

.PHONY: test
test: $(STAMP) ## all tests, on a real Kafka and ClickHouse where they can be had (ARGS: further pytest arguments)
	@$(PYTEST) $(ARGS)

.PHONY: test-fast
test-fast: $(STAMP) ## the tests that need no server, in under a minute
	@$(PYTEST) -q -n auto -m 'not kafka and not clickhouse and not slow and not faults' $(ARGS)

COMPILED := build/compiled
.PHONY: compiled
compiled: $(COMPILED)/.stamp ## the package with its pure core as C extensions, in build/compiled (needs a C compiler)

# Built from a copy: extensions beside the sources would go on running after the sources changed.
$(COMPILED)/.stamp: $(STAMP) $(shell find pipeline schemas -name '*.py' -o -name '*.avsc')
	@rm -rf build/source build/wheel $(COMPILED)
	@mkdir -p build/source $(COMPILED)
	@cp -r pipeline schemas pyproject.toml README.md LICENSE build/source
	@cd build/source && HATCH_BUILD_HOOKS_ENABLE=true ../../$(BIN)/python -m hatchling build -t wheel -d ../wheel >../compile.log 2>&1 \
		|| { tail -n 5 ../compile.log; echo "make compiled: needs a C compiler and Python's headers; all else runs without"; exit 1; }
	@$(BIN)/python -m zipfile -e build/wheel/*.whl $(COMPILED)
	@touch $@

.PHONY: bench
bench: $(STAMP) ## the benchmarks, one JSON object a line, all from the same run
	@$(MAKE) --silent compiled >&2 || true
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: oracle
oracle: $(STAMP) ## real logs as captures through the pipeline, the archive held against the true answer
	@$(BIN)/python -m tests.oracle $(ARGS)

.PHONY: lint
lint: $(STAMP) ## ruff (all rules), the formatting and strict types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

.PHONY: format
format: $(STAMP) ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix --exit-zero --quiet
	@$(BIN)/ruff format

.PHONY: reference
reference: $(STAMP) ## write docs/reference.md anew: every command, setting and metric
	@$(BIN)/python -m pipeline.reference > docs/reference.md.new
	@mv docs/reference.md.new docs/reference.md

.PHONY: lock
lock: ## resolve requirements.lock anew from pyproject.toml (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command 'make lock' --group dev --upgrade --output-file requirements.lock pyproject.toml

.PHONY: clean
clean: ## remove what make and the tools made, .venv included
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
