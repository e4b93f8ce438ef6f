PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-train test test-all matrix lint docs docs-check clean

# The stamp is newer than setup.py once all dependencies are installed.
$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/lipsync demo --out demo_out

demo-train: $(VENV)/.installed
	$(BIN)/lipsync demo --train --out demo_out

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m ''

matrix:
	$(PYTHON) scripts/matrix.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs-installed
	$(BIN)/python scripts/build_docs.py
	@echo open build/docs/html/index.html

docs-check: $(VENV)/.docs-installed
	$(BIN)/python -m pytest tests/docs tests/notebooks -m ''

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) demo_out build *.egg-info
