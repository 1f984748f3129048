# Needs Python 3.11 or newer, make and git; everything else goes into .venv.
# ARGS are passed on: make test ARGS="-x tests/unit", make demo ARGS="--devices 50".

.DEFAULT_GOAL := help
.PHONY: help demo test check mutants chaos bench docs clean

BIN := .venv/bin
INSTALLED := .venv/.installed

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s  %s\n", $$1, $$2}' Makefile

demo: $(INSTALLED) ## Import a sample file, watch two workers go through it, check the result
	@$(BIN)/python -m device_status_worker.demo $(ARGS)

test: $(INSTALLED) ## All tests
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(INSTALLED) ## Lint, format, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

mutants: $(INSTALLED) ## Break the code in named places, one at a time: a test of the promise must fail (minutes)
	@PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

chaos: $(INSTALLED) ## Workers and servers killed and stopped at random, under load (minutes)
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

bench: $(INSTALLED) ## How fast publishing and working are on this machine (minutes)
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(INSTALLED) ## Renew what the code says of itself: settings, commands, schema
	@PYTHONPATH=tests $(BIN)/python -m support.reference

clean: ## Remove .venv and what tools left behind
	rm -rf .venv .demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find producers worker tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# Made again when a dependency changed.
$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { \
	  for python in "$${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do \
	    "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	    python=; \
	  done; \
	  test -n "$$python" || { echo 'make: found no Python 3.11 or newer with venv (Debian and Ubuntu: apt install python3-venv)' >&2; exit 1; }; \
	  echo "Installing into .venv, once; it takes about a minute …"; \
	  "$$python" -m venv --clear .venv; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
