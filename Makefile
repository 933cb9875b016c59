# Needs Python 3.11 or newer and make; everything else is installed into .venv.
# Another interpreter: make PYTHON=python3.12 setup
PYTHON ?= python3
SHELL := bash
VENV := .venv
BIN := $(VENV)/bin
# Touched when the set-up is complete; older than the lock file means: install again.
STAMP := $(VENV)/.setup-complete
# `make lock TORCH=2.14.0` moves torch; without it, torch stays where the lock file has it.
TORCH ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test test-extras test-oldest test-newest test-wheel mutants fuzz faults peers docs lint lock release clean
.DEFAULT_GOAL := help

help: ## show these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-12s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## create .venv and install the locked packages into it

demo: $(STAMP) ## train, prune and audit a small network; writes reports/demo/report.html
	@$(BIN)/audit demo

test: lint ## lint, then run the whole suite
	@$(BIN)/pytest -q -n auto --maxprocesses 8 --dist loadfile

# An environment of its own (6 GB), for torchvision must match its torch, and both are newer here.
EXTRAS := $(VENV)/extras
$(EXTRAS)/.complete: requirements.lock tests/extras/requirements.txt
	@$(PYTHON) -m venv $(EXTRAS)
	@grep -vE '^torch(vision)?==' requirements.lock > $(EXTRAS)/rest.txt
	@echo "extras: installing into $(EXTRAS) (6 GB, minutes)"
	@$(EXTRAS)/bin/pip install -q -r tests/extras/requirements.txt -r $(EXTRAS)/rest.txt
	@$(EXTRAS)/bin/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

test-extras: $(EXTRAS)/.complete ## files that torchvision, timm, transformers, ONNX … wrote, trackers, under the newest torch
	@PYTHONPATH=. OMP_NUM_THREADS=1 $(EXTRAS)/bin/python -m pytest -q tests/extras tests/models tests/report/test_trackers.py

peers: $(STAMP) ## install other libraries for Hessians into .venv/peers, and test that they agree
	@$(BIN)/pip install -q --no-deps --upgrade --target $(VENV)/peers -r benchmarks/requirements.txt
	@PYTHONPATH=$(VENV)/peers $(BIN)/pytest -q tests/measure/test_peers.py

mutants: $(STAMP) ## change the code that judges, a little at a time; do tests notice? ALL=1: all of it
	@$(BIN)/python .ci/mutants $(if $(ALL),--all) $(MODULES)

fuzz: $(STAMP) ## mutate settings at random, a hundred thousand times each way (minutes)
	@AUDIT_FUZZ=100000 $(BIN)/pytest -q -n 3 tests/test_fuzz.py

faults: $(STAMP) ## kills at random and at every write, rights taken away, Ctrl-C in each phase (over an hour)
	@AUDIT_KILLS=$(or $(KILLS),10) $(BIN)/pytest -q -s tests/study/test_faults.py tests/study/test_forked_faults.py

test-oldest: ## the demo, measures and commands with the oldest versions that pyproject.toml admits
	@PYTHON=$(PYTHON) .ci/versions oldest

test-newest: ## the same with the newest versions
	@PYTHON=$(PYTHON) .ci/versions newest

docs: $(STAMP) ## build the documentation's site into site/; it opens from disk
	@[ -x $(VENV)/docs/bin/mkdocs ] || { $(PYTHON) -m venv $(VENV)/docs; \
		$(VENV)/docs/bin/pip install -q -r docs/requirements.txt; }
	@NO_MKDOCS_2_WARNING=1 AUDIT_PYTHON=$(BIN)/python $(VENV)/docs/bin/mkdocs build -q --clean
	@echo "docs: open site/index.html"

test-wheel: $(STAMP) ## build the wheel, install it in an empty environment, and put it to work
	@.ci/wheel $(PYTHON)

release: $(STAMP) ## make VERSION=0.2.0 release: version, changelog, tag, wheel, sdist, checksums
	@.ci/release $(VERSION)

lint: $(STAMP) ## style, format and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

# pip prints several lines for each package. The loop keeps one line in ten, and every large download.
$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || \
		{ echo "make: no '$(PYTHON)' here; install Python 3.11 or newer, or name one: make PYTHON=… setup" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: Python 3.11 or newer is needed, and $(PYTHON) is %d.%d; name another: make PYTHON=python3.12 setup" % sys.version_info[:2])'
	@[ -x $(BIN)/pip ] || { echo "setup: creating $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@set -eo pipefail; total=$$(grep -c == requirements.lock); count=0; \
	echo "setup: installing $$total packages from requirements.lock"; \
	$(BIN)/pip install --progress-bar off -r requirements.lock | while read -r line; do \
		case "$$line" in \
			Collecting*|Processing*|"Requirement already satisfied"*) \
				count=$$((count + 1)); \
				if ((count % 10 == 0 && count <= total)); then echo "setup: $$count of $$total packages found"; fi ;; \
			Downloading*\([0-9][0-9]*.[0-9]\ [MG]B\)) echo "setup: $$line" ;; \
			"Installing collected packages"*) echo "setup: unpacking" ;; \
		esac; \
	done
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@
	@echo "setup: done; the command is $(BIN)/audit"

lock: ## write requirements.lock and the versions in environment.yml anew
	@$(PYTHON) .ci/lock $(TORCH)

clean: ## remove .venv and what tools leave behind; reports stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
