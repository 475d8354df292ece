# Everything works on a fresh machine that has Python (3.10 to 3.13) and make: the first target makes .venv by itself.
# Settings: PYTHON=path, EXTRAS=airflow,history,metrics,plot,postgres,web,dev, USE_UV=0 (install with pip only), KEEP=1 (make demo), TESTS="tests/unit -k name" (make test), BENCH=part (make bench)

PYTHON ?=
EXTRAS ?= airflow,history,metrics,plot,postgres,web,dev
TESTS ?= tests
VENV := .venv
BIN := $(VENV)/bin
BENCH ?=
KEEP ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench bench-quick clean

help: ## show this list
	@echo "make ..."
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done

setup: $(VENV)/.installed ## make .venv and install everything into it (all other targets do this first)
	@:

$(VENV)/pyvenv.cfg:
	@python="$(PYTHON)"; [ -n "$$python" ] || python=$$(dev/find_python.sh); [ -n "$$python" ] && echo "Using $$python ($$($$python --version))" && "$$python" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt dev/install.sh | $(VENV)/pyvenv.cfg
	@dev/install.sh $(VENV) constraints.txt $(EXTRAS)
	@touch $@

demo: setup ## run two of the DAGs in dags/ under a real Airflow with this executor and show what happens (KEEP=1 leaves the web UI running)
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

test: setup ## run all tests (TESTS="..." picks some)
	@$(BIN)/python -m pytest $(TESTS)

lint: setup ## check format, style, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: setup ## format the code and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## measure beside other executors and engines, and write docs/benchmarks.md (BENCH="side_by_side --help" for one part)
	@dev/install.sh $(VENV) constraints.txt plot
	@$(BIN)/python -m benchmarks $(BENCH)

bench-quick: setup ## the same with one round and less work, in five minutes; docs stay as they are
	@$(BIN)/python -m benchmarks --quick $(BENCH)

clean: ## remove .venv and all that was made, but no job directories
	rm -rf $(VENV) .venv-* .demo .bench build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
