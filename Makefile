#     make demo        see the product work
#     make test        the default tests; `make test ARGS=tests/layers` runs some
#     make slow-test   the tests that need minutes, a network or whole data sets;
#                      failures are printed when they happen
#     make torch-test  the tests of Keras on PyTorch, which it installs
#     make full-size   every recipe and documented command at the true number of images,
#                      on one to eight devices; `make full-size ARGS="--only=cifar"`
#     make real-data DATA=folder WEIGHTS=folder PUBLISHED=file   the tests on CIFAR
#                      itself, which are skipped elsewhere; docs/data.md says what
#                      lies in the folders and what the file is
#     make runtimes    one network in all forms, each in its runtime: installs these in
#                      .runtimes and prints the table of docs/device.md
#     make runtimes-test   the tests of exports and of what is evaluated so, none of which
#                      is skipped there
#     make web         exports in a headless Chromium and in Node: installs the packages of
#                      npm in .web and prints the table of docs/device.md; needs node, npm
#                      and chromium (Debian: apt-get install nodejs npm chromium)
#     make web-demo    the page of a packaged model with pictures, build/web-demo; needs
#                      node and npm, and says how to look at it
#     make neighbors   the code of docs/neighbors.md with the libraries that it is about,
#                      each in an environment of its own in .neighbors;
#                      `make neighbors ARGS=shap` runs a section
#     make lint        ruff
#     make bench       measurements against other libraries
#     make mutate      puts deliberate bugs in and checks that the tests see them
#     make results     writes the results of the packaged models into the documents
#     make docs        the documentation as a site, build/docs/index.html
#     make setup       the environment .venv, which all of these make by themselves;
#                      `make clean setup PYTHON=python3.12` takes that interpreter
#     make clean       removes .venv, .runtimes, .web, .neighbors and what else was made here,
#                      except runs/

PYTHON ?= python3
ARGS =
DATA =
WEIGHTS =
PUBLISHED =
JOBS = 2
VENV = .venv
BIN = $(VENV)/bin

.PHONY: setup test slow-test torch-test full-size real-data runtimes runtimes-test web web-demo \
  neighbors lint bench mutate results demo docs clean

setup: $(VENV)/complete

# The file `complete` lies in .venv when everything is installed, and only then. What
# an interrupted installation leaves behind is cleared and made anew.
$(VENV)/complete: setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  2>/dev/null || { echo "smoothzoo needs Python 3.11, 3.12 or 3.13, but $(PYTHON)" \
	  "is: $$($(PYTHON) --version 2>&1 | tail -n 1)." \
	  "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -f $@ || { echo "Making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@rm -f $@
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test]'
	@touch $@

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

slow-test: $(VENV)/docs
	$(BIN)/python -m pytest -v -m slow -n $(JOBS) --dist loadfile $(ARGS)

torch-test: $(VENV)/torch
	$(BIN)/python -m pytest -m torch -n $(JOBS) --dist loadfile $(ARGS)

full-size: setup
	$(BIN)/python -m tests.full_size $(ARGS)

real-data: setup
	@test -n "$(DATA)" || { echo "Give the folder of CIFAR: make real-data DATA=folder" \
	  >&2; exit 1; }
	SMOOTHZOO_REAL_DATA="$(DATA)" SMOOTHZOO_REAL_WEIGHTS="$(WEIGHTS)" \
	  SMOOTHZOO_REAL_PUBLISHED="$(PUBLISHED)" \
	  $(BIN)/python -m pytest -m "" -rs tests/real_data $(ARGS)

# They need other versions of some packages than .venv may have, and are large.
RUNTIMES = .runtimes

runtimes: $(RUNTIMES)/complete
	$(RUNTIMES)/bin/python -m benchmarks.runtimes $(ARGS)

runtimes-test: $(RUNTIMES)/complete
	$(RUNTIMES)/bin/python -m pytest -n $(JOBS) --dist loadfile tests/training/export \
	  tests/training/runtimes tests/training/evaluation/test_artifacts.py $(ARGS)

$(RUNTIMES)/complete: setup.cfg constraints.txt
	$(PYTHON) -m venv --clear $(RUNTIMES)
	$(RUNTIMES)/bin/python -m pip install --constraint constraints.txt \
	  --editable '.[runtimes,test]'
	@touch $@

# Packages of npm, of fixed versions, which browsers load from there.
WEB = .web

web: $(RUNTIMES)/complete $(WEB)/complete
	$(RUNTIMES)/bin/python -m tests.web $(ARGS)

$(WEB)/complete: tests/web/package.json
	@mkdir -p $(WEB)
	cp tests/web/package.json $(WEB)
	npm install --prefix $(WEB) --ignore-scripts --no-audit --no-fund
	@touch $@

web-demo: setup
	$(BIN)/python -m training.cli.web_demo --output=build/web-demo $(ARGS)
	npm install --prefix build/web-demo --ignore-scripts --no-audit --no-fund
	@echo "Now: $(BIN)/python -m http.server --directory build/web-demo," \
	  "and open http://localhost:8000"

neighbors: setup
	$(BIN)/python -m tests.neighbors $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mutate: setup
	$(BIN)/python -m tests.mutations $(ARGS)

bench: setup
	@for file in benchmarks/[!_]*.py; do \
	  test -f "$$file" || { echo "There is no benchmark in benchmarks/." >&2; exit 1; }; \
	  echo "$$file"; \
	  $(BIN)/python -m "benchmarks.$$(basename "$$file" .py)" $(ARGS) || exit 1; \
	done

results: setup
	$(BIN)/python -m benchmarks.results $(ARGS)

demo: setup
	$(BIN)/python -m training.cli.demo $(ARGS)

docs: $(VENV)/docs
	rm -rf build/docs docs/examples docs/reference
	$(BIN)/python -m sphinx -E -W --keep-going -b html docs build/docs $(ARGS)

# The packages of the extra `docs` are in .venv, too.
$(VENV)/docs: $(VENV)/complete
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[docs]'
	@touch $@

# PyTorch is large, and no default test needs it.
$(VENV)/torch: $(VENV)/complete
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[torch]'
	@touch $@

clean:
	rm -rf $(VENV) $(RUNTIMES) $(WEB) .neighbors build dist demo docs/examples docs/reference .pytest_cache .ruff_cache *.egg-info
	find layers zoo training tests -name __pycache__ -prune -exec rm -rf {} +
