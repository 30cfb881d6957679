# Everything a person or CI does with a checkout. `make setup` first, which all targets do themselves.

FOUND = $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p)))
# A name on the path may be a version manager's, which runs nothing while another version is chosen.
PYTHON ?= $(shell for p in $(FOUND); do $$p $(IS_NEW) && echo $$p && exit; done; echo $(firstword $(FOUND)))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(VENV)/.peers-installed
# Arguments that tell whether a Python is new enough.
IS_NEW := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
CHROMIUM := DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium fonts-dejavu-core

.PHONY: help setup demo test lint types types-packages types-bench browser zoo bench clean

help:
	@echo "make setup          .venv with everything, at the versions of constraints.txt"
	@echo "make demo           serve the zoo, train, export and add a generator; ONCE=1 stops the service at the end"
	@echo "make test           lint, types and the whole test suite"
	@echo "make lint | types   those alone"
	@echo "make browser        Chromium for tests/browser, where it is missing and apt can install it"
	@echo "make zoo            train, export and measure the artifacts of zoo/ again; ONLY=NAME for one, RUNS=DIR, MEASURE=1: docs/zoo.md"
	@echo "make bench          measure everything and write docs/performance.md; ONLY=serving for one, QUICK=1 to try it"
	@echo "make clean          delete .venv, caches and what was built"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python found; install python3.11 and python3.11-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) $(IS_NEW) || \
		{ echo "make: $(PYTHON) is not Python 3.11 or newer; name another: make setup PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@{ $(BIN)/python $(IS_NEW) && $(BIN)/python -m pip --version >/dev/null 2>&1; } || \
		{ echo "make: $(VENV) has no pip, or a Python older than 3.11; make clean deletes it" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# Its requirement torchvision has no use here, and no build without CUDA in the index.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps torch-fidelity
	@touch $@

demo: setup
	$(BIN)/python examples/demo.py $(if $(ONCE),--once)

# A process for each core, and one thread for each process: more threads would fight for the cores. Hundreds of
# processes are started, each of which would compile our code again where no bytecode may be written. A test process
# that dies ends the run: what pytest-xdist starts in its place may wait for ever.
test: lint types browser
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --max-worker-restart 0

# Nothing to do where there is one. Without one, and without apt or its rights, those tests say that they were skipped,
# unless REQUIRE_BROWSER=1, as in CI.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
		echo "installing Chromium for tests/browser"; \
		$(CHROMIUM) >/dev/null 2>&1 && exit 0; \
		apt-get update -qq && $(CHROMIUM) >/dev/null && exit 0; \
	fi; \
	echo "make: no Chromium, and apt can't install it: tests/browser can't run" >&2; test -z "$(REQUIRE_BROWSER)"

zoo: setup
	$(BIN)/python zoo/build.py $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS)) $(if $(MEASURE),--measure)

# QUICK=1 writes into build/bench/ and leaves docs/ alone. The serving part needs wrk, and says so where there is none.
bench: $(PEERS)
	$(BIN)/python bench/performance.py $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

# What the benchmarks compare with.
$(PEERS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	@$(MAKE) --no-print-directory --jobs 2 types-packages types-bench

types-packages: setup
	$(BIN)/mypy training export serving clients zoo examples

types-bench: setup
	cd bench && ../$(BIN)/mypy --config-file ../pyproject.toml .  # its files import each other as scripts do

clean:
	rm -rf $(VENV) .mypy_cache bench/.mypy_cache .pytest_cache .ruff_cache .hypothesis .schemathesis build dist
