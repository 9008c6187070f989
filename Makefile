# `make lab` to learn, `make test` to check; `make` alone prints all there is.
#   make lab PYTHON=python3.13        another interpreter, 3.11 or newer
#   make lab TORCH_INDEX=             PyTorch as the package index has it: on Linux the build for CUDA GPUs, several GB
#   make .venv/test CONSTRAINTS=constraints-colab.txt      the versions that Colab has
#   make lab ARGS=--no-browser        options for JupyterLab;  make test ARGS="-k jsd": for pytest

PYTHON ?= $(shell for python in python3 python python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
CONSTRAINTS ?= constraints.txt

BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := OMP_NUM_THREADS=1 $(BIN)/python
PYTEST := $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: .venv/lab ## open JupyterLab on the first chapter; the first call installs everything into .venv
	$(BIN)/python -m jupyterlab $(ALLOW_ROOT) $(ARGS) notebooks/00_start_here.ipynb

test: .venv/test ## run the tests: units and properties, each chapter, a real JupyterLab; build/durations.txt says how long
	$(PYTEST) -m "not slow" $(ARGS)

test-all: .venv/test ## run those, too, that try the same promises at a higher count
	$(PYTEST) $(ARGS)

notebooks: .venv/test ## execute every chapter as its reader would and check it; the results are in build/notebooks
	$(PYTEST) --dist load -m "notebook and not slow" tests/test_notebooks.py $(ARGS)

site: .venv/site ## build the pages without a kernel, in build/site/html; executes first what notebooks has not
	$(RUN) -m docs.site.pages $(ARGS)

slides: .venv/site ## make slides of the chapters that make notebooks has executed, in build/slides
	$(RUN) -m instructor.slides $(ARGS)

bench: .venv/test ## print every figure of the kit in one table, each beside the usual way
	$(RUN) -m tests.bench $(ARGS)

trust: .venv/test ## try what was promised at full count: kill, flip, fuzz, resume, offline and others; one table
	$(RUN) -m tests.trust $(ARGS)

lint: .venv/dev ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint --deny-warnings
	$(BIN)/mypy

audit: .venv/dev ## look every pinned package up among the known vulnerabilities
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt $(ARGS)

lock: .venv/dev ## write requirements.lock again: the pins of the extra lab, with the sha256 of every file
	@sed -i.old -n '/^#/p' requirements.lock && rm requirements.lock.old
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--constraint constraints.txt --extra lab pyproject.toml | awk '/^[^ ]/ {cuda = /^(cuda|nvidia|triton)/} !cuda' \
		>>requirements.lock

teachers: .venv/lab ## train the shipped teachers again, into data/
	$(RUN) -m distilkit.tasks

sweeps: .venv/lab ## run the stored sweeps again, into data/sweeps
	$(RUN) -m distilkit.sweeps

claims: .venv/lab ## write CLAIMS.md again, from the chapters' claims and the stored sweeps
	$(RUN) -m distilkit.claims

replicate: .venv/lab ## run tonight's part of the claims on fresh seeds; ARGS="noise few" names the sweeps
	$(RUN) -m distilkit.claims replicate $(ARGS)

clean: ## remove the environment and everything built
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache

.PHONY: help lab test test-all notebooks site slides bench trust lint teachers sweeps clean claims replicate

# JupyterLab wants to be told where root is the only user there is, as in a container.
ALLOW_ROOT = $(shell test "$$(id -u)" = 0 && echo --allow-root)

# One stamp an extra of pyproject.toml: installed again when the pins or the needs change.
.venv/lab .venv/site .venv/test .venv/dev: pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "distilkit needs Python 3.11 or newer, and there is none on the PATH." \
		"Say where it is: make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("distilkit needs Python 3.11 or newer," \
		" and $(PYTHON) is %d.%d. Say where a newer one is: make PYTHON=/path/to/python" % v[:2])'
	@$(PIP) --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@echo "Installing into .venv (a few minutes, the first time) ..."
	@test -z "$(TORCH_INDEX)" || test "$$(uname -s)" != Linux || \
		$(PIP) install --quiet --no-deps --retries 0 --timeout 15 --index-url "$(TORCH_INDEX)" \
			"$$(grep -xE 'torch(==.*)?' $(CONSTRAINTS))" 2>/dev/null || \
		echo "No CPU build of PyTorch at $(TORCH_INDEX): taking the one of the package index"
	@$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable ".[$(@F)]"
	@touch $@
