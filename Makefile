# Every target makes what it needs first: Python 3.11+ and make are all that must be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: demo test bench lint docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   the example CRM on the embedded PostgreSQL: a tour, then it serves (CHECK=1 verifies each step and call, and ends)"
	@echo "make test   format, lint, types, layers, tests, and a part of them on the oldest PostgreSQL where it is there"
	@echo "make bench  the benchmarks against the peers (ONLY=name for one, ONLY=http for those of the server)"
	@echo "make lint   the checks of 'make test' without the tests"
	@echo "make docs   the manual, into site/"

$(STAMP): pyproject.toml scripts/setup.sh
	@PYTHON=$(PYTHON) sh scripts/setup.sh $(VENV) dev
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m examples.renoz.demo $(if $(CHECK),--check)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	@sh scripts/servers.sh install
	$(BIN)/pytest -n 2 $(ARGS)
	@$(if $(ARGS),,sh scripts/servers.sh test $(BIN)/pytest)

bench: $(STAMP)
	@PYTHON=$(PYTHON) sh scripts/setup.sh $(VENV) bench
	@$(BIN)/python -m benchmarks $(ONLY)

docs: $(STAMP)
	@PYTHON=$(PYTHON) sh scripts/setup.sh $(VENV) docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site .freehold
