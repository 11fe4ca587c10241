# `make demo` and `make test` set up everything they need from a bare Python 3.11.
PYTHON ?= python3.11
BASE := $(shell command -v $(PYTHON) 2>/dev/null || command -v python3)
BIN := .venv/bin
SEEDS ?= 1-10
JOBS ?= 1
TESTS := $(BIN)/pytest -q -n 2 --dist loadfile
READY := .venv/.ready

.PHONY: help setup demo test check format lint types mutants bench chaos lock schemas settings kafka clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(READY) ## make .venv from the lock (quick when nothing changed)

$(READY): requirements.lock pyproject.toml
	@$(BASE) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "agentracer needs Python 3.11 or 3.12; set PYTHON=python3.11")'
	@test -x $(BIN)/python || $(BASE) -m venv .venv
	@echo "setting up .venv from requirements.lock: about 3 GB to fetch, 7 GB on disk …"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m ops.embedded.tracer
	@touch $(READY)

demo: setup ## a simulated fleet through everything, ending with verdicts beside the true faults
	@$(BIN)/agentracer demo

test: setup kafka ## all tests; those of guarantees run on a real Apache Kafka
	$(TESTS)

check: setup kafka ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy schemas streams tracer trainer ops tests benchmarks
	$(BIN)/python -m schemas.export --check
	$(BIN)/python -m ops.settings_page --check
	$(TESTS)

format: setup ## write the code as the formatter has it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mutants: setup kafka ## plant each known fault in a copy of the tree; the tests have to notice (NAMES=… for some)
	$(BIN)/python -m tests.mutants $(NAMES)

bench: setup kafka ## the benchmarks: ratios against a baseline run beside them
	$(BIN)/python -m benchmarks

chaos: setup kafka ## the guarantees under fire: ten seeds of six minutes, e.g. SEEDS=3,4 JOBS=2
	$(BIN)/python -m tests.chaos --seeds $(SEEDS) --jobs $(JOBS)

kafka: setup ## fetch Apache Kafka's jars by Maven, where Maven and Java 17 are
	@$(BIN)/python -m ops.kafka.server fetch

schemas: setup ## rewrite the committed JSON Schemas; refuses what breaks the wire
	$(BIN)/python -m schemas.export

settings: setup ## rewrite ops/settings.md, the page of every setting
	$(BIN)/python -m ops.settings_page

lock: setup ## resolve pyproject.toml into requirements.lock, and into requirements.gpu.lock for the image with CUDA
	$(BIN)/uv pip compile -q pyproject.toml --extra streams --extra tracer --extra endpoint --extra model \
		--extra train --extra embedded --extra dev --generate-hashes --python-version 3.11 --no-annotate --no-header \
		-o requirements.lock
	$(BIN)/uv pip compile -q --no-config pyproject.toml --extra tracer --extra endpoint --extra gpu \
		--generate-hashes --only-binary :all: --python-version 3.11 --python-platform x86_64-manylinux_2_36 \
		--no-annotate --no-header -o requirements.gpu.lock

clean: ## remove the environment and what was fetched
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
