# Everything happens in .venv at the repository's root, made if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test fast fuzz docs coverage chromium postgresql mosquitto aravis node-opcua screenshots words lint clean

demo: $(VENV)/.demo
	rm -rf $(DEMO)
	$(BIN)/defectflow demo-data $(DEMO)/data --product fabric
	$(BIN)/defectflow fit $(DEMO)/data/fabric --recipe default --out $(DEMO)/models/fabric
	$(BIN)/defectflow evaluate $(DEMO)/models/fabric --data $(DEMO)/data/fabric --json $(DEMO)/evaluation.json
	$(BIN)/defectflow verify $(DEMO)/models/fabric
	$(BIN)/defectflow score $(DEMO)/models/fabric $(DEMO)/data/fabric/test --out $(DEMO)/results --part-regex "(part\d+)"
	$(BIN)/defectflow report $(DEMO)/results
	@echo "ONNX file: $(DEMO)/models/fabric/model.onnx"
	@echo "Inspection station: $(BIN)/defectflow ui $(DEMO)/models --data $(DEMO)/data"

# The pages are tested in Debian's Chromium: installed where that is possible, and skipped where it is not.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || ! command -v apt-get >/dev/null || \
	    { apt-get update && apt-get install -y --no-install-recommends chromium; } || \
	    echo "no Chromium could be installed: the tests of the pages are skipped"

screenshots: chromium $(VENV)/.test
	$(BIN)/python ui/screenshots.py

# New texts of the station into its catalogues; says how many wait for a translation.
words: $(VENV)/.test
	$(BIN)/python ui/catalogues.py

test: lint chromium postgresql mosquitto aravis node-opcua
	$(BIN)/python -m pytest -n auto

# The store's tests start a server of their own; where it cannot be had, they say so and are skipped.
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 \
		|| { command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; } \
		|| echo "PostgreSQL is not installed and cannot be installed from here; the tests that need it will be skipped"

# A real broker for what the service tells over MQTT.
mosquitto:
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] \
		|| { command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends mosquitto; } \
		|| echo "mosquitto is not installed and cannot be installed from here; the test that needs it will be skipped"

# A camera of GigE Vision that is none, and what reads it.
aravis:
	@command -v arv-fake-gv-camera-0.8 >/dev/null \
		|| { command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends aravis-tools gir1.2-aravis-0.8 python3-gi; } \
		|| echo "Aravis is not installed and cannot be installed from here; the tests that need it will be skipped"

# An OPC UA client that shares no code with the service.
node-opcua:
	@[ -d build/node/node_modules/node-opcua-client ] \
		|| { command -v npm >/dev/null && npm install --no-audit --no-fund --silent --prefix build/node node-opcua-client@2; } \
		|| echo "node-opcua is not installed and cannot be installed from here; the test that needs it will be skipped"

# Under a minute on an idle machine: rooms that need no fit, no browser and no server.
fast: $(VENV)/.test
	$(BIN)/python -m pytest -q -n auto tests/recipe tests/image tests/flows tests/verdict tests/common

# Damaged and hostile input, for about ten minutes; tests/fuzz does some of it at each run.
fuzz: $(VENV)/.test
	$(BIN)/python benchmarks/fuzz.py --inputs 100000 --keep build/fuzz

docs: $(VENV)/.test
	$(BIN)/python -m mkdocs build --strict

# Branch coverage of what decides and of what is kept; their tests need no browser.
coverage: $(VENV)/.test
	$(BIN)/python -m pytest -q -n auto --cov-branch --cov-report=term --cov-fail-under=90 \
	    --cov=defectflow.image --cov=defectflow.verdict --cov=defectflow.bundle --cov=defectflow.store \
	    tests/image tests/verdict tests/bundle tests/store tests/line

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[train,ui]"
	touch $@

$(VENV)/.test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
