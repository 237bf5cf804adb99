# Everything a fresh machine needs is Python 3.11 or newer with venv, and a way to PyPI. Nothing is installed outside
# this folder, no root is needed, and HOME is not touched.

# The first Python that starts and is new enough (a shim may exist and lead nowhere).
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3.14 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$name; break; }; done)
BIN := .venv/bin
# uv, where the machine has it; else its wheel goes into the virtual environment. Its cache stays in this folder.
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo $(BIN)/uv)
export UV_CACHE_DIR ?= $(CURDIR)/.venv/cache/uv
export PIP_CACHE_DIR ?= $(CURDIR)/.venv/cache/pip
export UV_PROJECT_ENVIRONMENT = .venv
export UV_PYTHON_DOWNLOADS ?= never
# Behind a company's proxy the right certificates are the system's.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt),)
export UV_SYSTEM_CERTS ?= true
endif
PYTEST := $(BIN)/pytest -q
SEEDS ?= 1000
# Most tests wait, for processes, leases and time-outs: some at once fill the cores. A file is one process's, in order, and
# each process has a PostgreSQL of its own. Tests marked `alone` measure time, and so nothing runs beside them.
TESTS_AT_ONCE ?= 3
SLOW_TESTS_AT_ONCE ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo demo-labour test test-slow simulate schema bench check docs clean

help: ## Say what there is.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: .venv/.installed ## Make .venv with everything, exactly as uv.lock says.

.venv/.installed: pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "Stanchion needs Python 3.11 or newer; none was found. Name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11. Name a newer one: make PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "Install the venv module (Debian, Ubuntu: apt install python3-venv), or uv."; exit 1; }
	@test -x "$(UV)" || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) sync --quiet --frozen --python $(BIN)/python
	@touch $@

demo: install ## Run the case-triage example from nothing: about 20 seconds when installed.
	@$(BIN)/stanchion demo

demo-labour: install ## Run the labour-costs example: time sheets to postings in a ledger and an ERP, exactly once.
	@$(BIN)/stanchion demo labour

test: install ## Every test that is not marked slow.
	$(PYTEST) -n $(TESTS_AT_ONCE) --dist loadgroup -m "not slow and not alone"
	$(PYTEST) -m "not slow and alone"

test-slow: install ## The long ones: 200 kills, fuzzing, PostgreSQL 15. CI runs them too.
	$(PYTEST) -n $(SLOW_TESTS_AT_ONCE) --dist loadgroup -m "slow and not alone"
	$(PYTEST) -m "slow and alone"

simulate: install ## Simulate the engine under faults: SEEDS lives (1000), the same for the same seeds.
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

schema: install ## Write src/stanchion/db/schema.sql anew from the migrations.
	$(PYTEST) tests/migrations -k schema_sql --write-schema

bench: install ## Measure; writes bench/latest.json.
	$(UV) sync --quiet --frozen --group bench --python $(BIN)/python
	$(BIN)/python -m bench

check: install ## What the build enforces: lint, form, types, layers, tidiness.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(PYTEST) tests/tidy

docs: install ## Write docs/reference anew from the code.
	$(BIN)/python docs/generate.py

clean: ## Remove what install made; never data.
	rm -rf .venv .ruff_cache .import_linter_cache .hypothesis dist
