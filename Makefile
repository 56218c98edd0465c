# `make demo` and `make test` work from a fresh clone; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.rulec-installed
RULEC := $(BIN)/rulec
DEMO := runs/demo
TESTS ?= tests
JOBS ?= auto
BENCH ?=
EXTRAS ?= test

export MPLBACKEND ?= Agg
# For networks as small as these a second thread costs more than it brings.
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo test lint types experiments bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP)  ## install rulec and what its tests need into .venv (an existing one is taken over; EXTRAS=test,triton for more)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rulec needs Python 3.11 or newer: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

demo: setup  ## check, compile and draw a rule, meta-learn its genome on digits, compare with SGD and Adam
	$(RULEC) check rules/*.rule
	$(RULEC) show rules/blur.rule -o recipe=normalised --net 64-32-10 --out $(DEMO)
	$(RULEC) compile rules/blur.rule -o recipe=normalised --net 64-32-10 --out $(DEMO)/compiled
	rm -rf $(DEMO)/digits
	$(RULEC) train rules/blur.rule -o recipe=normalised --task digits --net 64-32-10 --steps 300 --population 8 --out $(DEMO)/digits
	$(RULEC) eval $(DEMO)/digits --task digits --against sgd,momentum,adam --out $(DEMO)/eval
	@echo
	@echo "The picture: $(DEMO)/eval/accuracy.png   the table: $(DEMO)/eval/accuracy.md   the genome: $(DEMO)/digits/genome.safetensors"

test: setup  ## run the tests that take seconds (TESTS=tests/tasks for some of them, JOBS=4 for so many processes)
	$(BIN)/python -m pytest -q -n $(JOBS) --maxprocesses 8 --dist worksteal $(TESTS)

lint: setup  ## style, and imports that point only down
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: setup  ## check the annotations
	$(BIN)/mypy

experiments: setup  ## reproduce results (minutes)
	$(BIN)/python -m pytest -q -s -m experiment --timeout 3600 $(TESTS)

bench: setup  ## measure speed and memory beside rivals (BENCH="NAME... --quick" for a part; takes a quiet machine, an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]' \
		|| echo "the rivals could not be installed: their rows will say so"
	$(BIN)/python -m benchmarks $(BENCH)

clean:  ## remove what was built and measured; .venv stays
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
