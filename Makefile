# The habits of this project. Needs Python 3.11+ and make; everything else is installed into .venv by the first target.
.PHONY: setup demo test test-types test-parts fuzz conformance lint bench up down status clean
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The stamp is named after what it stands for: an unchanged lock and interpreter mean no installation work.
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml Makefile | cksum | cut -d ' ' -f 1)

# Models ship in a wheel: nothing is fetched from a hub.
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit("SampleMix needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# What is imported is compiled then, a small part of it all.
	$(BIN)/python -m pip install --quiet --no-compile -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	rm -f $(VENV)/.installed-*
	touch $@

demo: setup
	$(BIN)/samplemix demo

# A thread for each process: several with a thread for each core wait for each other, and some take three times as long.
test: export OMP_NUM_THREADS := 1
test: export NUMBA_NUM_THREADS := 1
# First three at once of what needs services of its own, types checked beside them. Then Airflow's tests, which take longest and keep
# one core busy, beside all others: those that need a platform, then those that need nothing. ARGS=tests/unit/x for less.
BEGAN := $(shell date +%s)
test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --jobs=2 test-types test-parts
	$(if $(ARGS),,$(BIN)/pytest -n 2 --no-loadscope-reorder tests/e2e tests/unit tests/property)
	$(if $(ARGS),,echo $$(($$(date +%s) - $(BEGAN))) >.pytest_cache/v/samplemix/seconds)

test-types:
	$(BIN)/mypy

test-parts:
	$(BIN)/pytest $(or $(ARGS),-n 3 --no-loadscope-reorder tests/local tests/integration tests/dags)

# Properties on examples that nobody has seen yet; SEED repeats a run. For nights, and after a change of what they hold.
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
fuzz: setup
	@echo "seed $(SEED)"
	SAMPLEMIX_HYPOTHESIS=fuzz $(BIN)/pytest --hypothesis-seed=$(SEED) $(or $(ARGS),tests/property)

# Exports through the stock readers of their formats, which are installed into environments of their own.
conformance: setup
	$(BIN)/pytest $(or $(ARGS),tests/conformance)

lint: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

NAME ?= main
bench: setup
	$(BIN)/python -m bench.$(NAME) $(ARGS)

up down status: setup
	$(BIN)/samplemix $@

clean: setup
	$(BIN)/samplemix down --delete
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
