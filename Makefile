# distilkit. `make` alone prints the targets; `make lab` is all that a reader needs.
#   make lab PYTHON=python3.12     another interpreter (3.11 or newer)
#   make lab TORCH_INDEX=          PyTorch as PyPI has it: on Linux the build for CUDA GPUs, several GB
#   make lab ARGS=--no-browser     options for JupyterLab; `make test ARGS="-k jsd"`: for pytest

PYTHON ?= $(shell for python in python3 python python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest $(ARGS)

# Small models: one thread each is fastest, and two processes share two cores.
ONE_THREAD := OMP_NUM_THREADS=1

help: ## Print this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: .venv/installed ## Open JupyterLab on the first chapter (installs everything on the first call)
	$(BIN)/python -m jupyterlab $(ROOT) $(ARGS) notebooks/00_start_here.ipynb

test: .venv/installed ## Run every test: units and properties, then the notebooks, then a real JupyterLab
	$(ONE_THREAD) $(PYTEST) -n 2 -m "not notebook and not browser"
	$(ONE_THREAD) $(PYTEST) -m notebook
	$(ONE_THREAD) $(PYTEST) -m browser

notebooks: .venv/installed ## Execute every chapter as a reader would and check it; results in build/
	$(ONE_THREAD) $(BIN)/python -m tests.notebook_checker notebooks build/notebooks

bench: .venv/installed ## Measure latency, payload and overhead beside the usual way
	$(ONE_THREAD) $(BIN)/python -m pytest $(ARGS) -s tests/bench

lint: .venv/installed ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## Remove the environment and everything built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help lab test notebooks bench lint clean

# JupyterLab asks for this flag where the only user is root, as in a container.
ROOT = $(shell test "$$(id -u)" = 0 && echo --allow-root)

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "distilkit needs Python 3.11 or newer and found none." \
		"Install one (python.org), or say where it is: make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("distilkit needs Python 3.11 or newer, and" \
		" $(PYTHON) is %d.%d. Say where a newer one is: make PYTHON=/path/to/python" % v[:2])'
	@$(PIP) --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@echo "Installing into .venv: a few minutes the first time, about 2 GB"
	@test -z "$(TORCH_INDEX)" || test "$$(uname -s)" != Linux || \
		$(PIP) install --no-deps --retries 0 --timeout 15 --index-url "$(TORCH_INDEX)" \
			$$(grep '^torch==' constraints.txt) 2>/dev/null || \
		echo "No CPU build of PyTorch at $(TORCH_INDEX): taking the ordinary one"
	$(PIP) install --quiet --constraint constraints.txt --editable ".[lab,test,dev]"
	@touch $@
