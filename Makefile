# Everything happens in .venv at the repository's root, made if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test lint clean postgresql

demo: $(VENV)/.demo
	rm -rf $(DEMO)
	$(BIN)/defectflow demo-data $(DEMO)/data --product fabric
	$(BIN)/defectflow fit $(DEMO)/data/fabric --recipe default --out $(DEMO)/models/fabric
	$(BIN)/defectflow evaluate $(DEMO)/models/fabric --data $(DEMO)/data/fabric --json $(DEMO)/evaluation.json
	$(BIN)/defectflow verify $(DEMO)/models/fabric
	$(BIN)/defectflow score $(DEMO)/models/fabric $(DEMO)/data/fabric/test --out $(DEMO)/results --part-regex "(part\d+)"
	$(BIN)/defectflow report $(DEMO)/results
	@echo "ONNX file: $(DEMO)/models/fabric/model.onnx"

test: $(VENV)/.test postgresql
	$(BIN)/python -m pytest -n auto

# The store's tests start a server of their own; where it cannot be had, they say so and are skipped.
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 \
		|| { command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; } \
		|| echo "PostgreSQL is not installed and cannot be installed from here; the tests that need it will be skipped"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[train]"
	touch $@

$(VENV)/.test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
