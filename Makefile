# Two commands do all the set-up: `make search` runs the main job, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed

.PHONY: search test test-cluster test-gpu lint bench torture clean

search: $(READY)  ## the main job, on the embedded digits
	$(BIN)/tune search --space resnet18.yaml

test: $(READY)  ## the fast tests, those that start Ray, and those in a browser (skipped where there is no Chromium)
	$(BIN)/python -m pytest --numprocesses auto
	$(BIN)/python -m pytest -m ray
	$(BIN)/python -m pytest -m browser

test-cluster: $(READY)  ## clusters of several nodes, databases, jobs (what is not installed is skipped)
	$(BIN)/python -m pytest -m cluster

test-gpu: $(READY)  ## what computes on a GPU (skipped where there is none)
	$(BIN)/python -m pytest -m gpu

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## tuneyard against its peers: speed (well over an hour; --peer-trials 4 shortens it), then resuming after kills
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.reliability

torture: $(READY)  ## a hundred kills with one worker, then with two; about an hour
	$(BIN)/python tests/torture.py --kills 100 --workers 1
	$(BIN)/python tests/torture.py --kills 100 --workers 2

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf .venv build *.egg-info
