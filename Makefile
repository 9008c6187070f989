# distilkit: `make lab` to learn, `make test` to check. Bare `make` lists the rest.
PYTHON ?= python3
# On Linux the registry's torch brings gigabytes of CUDA; the CPU build comes from here. With a GPU: make lab TORCH_INDEX=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
TORCH := $(shell grep '^torch==' constraints.txt)
export OMP_NUM_THREADS = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help lab test notebooks bench lint teachers sweeps clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

lab: .venv/lab ## open the chapters in JupyterLab
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

test: .venv/test ## run every test: the fast ones first, then the chapters, then the browser
	$(BIN)/python -m pytest -n 2 -m "not notebooks and not browser"
	$(BIN)/python -m pytest -n 2 -m "notebooks"
	$(BIN)/python -m pytest -m "browser"

notebooks: .venv/test ## execute every chapter, results in build/notebooks
	$(BIN)/python -m pytest -m "notebooks"

bench: .venv/test ## print the benchmarks: ratios measured side by side
	@for file in tests/bench/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

lint: .venv/dev ## ruff, ruff format, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

teachers: .venv/lab ## train the shipped teachers again, into data/
	$(BIN)/python -m distilkit.tasks

sweeps: .venv/lab ## run the stored sweeps again, into data/sweeps
	$(BIN)/python -m distilkit.sweeps

clean: ## remove the environment and everything built
	rm -rf .venv build dist

# One stamp an extra: installed again only when the pins or the package's needs change.
.venv/lab .venv/test .venv/dev: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "distilkit needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Name another: make $(@F) PYTHON=python3.12"'
	test -e $(BIN)/python || $(PYTHON) -m venv .venv
	@test -z "$(TORCH_INDEX)" || $(BIN)/python -c "import torch" 2>/dev/null || \
	  $(BIN)/python -m pip install -q --no-deps --retries 0 --timeout 15 --index-url $(TORCH_INDEX) $(TORCH) || \
	  echo "no CPU build of torch there; taking the registry's"
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$(@F)]'
	@touch $@
