# Everything runs in .venv, which each target sets up for itself: begin with `make demo`. `make help` lists the rest.

PYTHON ?= python3
TORCH ?= $(if $(wildcard .venv/own-torch),own,$(shell grep '^torch==' constraints.txt))
TORCH_ARGS ?=
PIP_ARGS ?=
VENV_ARGS ?=
WORKERS ?= auto
PYTEST_ARGS ?=
MODEST := --set model.width=4 --set model.depth=1

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test battery bench lint check format clean has-git

IN := .venv/bin/python
PIP := $(IN) -m pip install --quiet --disable-pip-version-check
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo "sudo ")
APT := $(SUDO)apt update && $(SUDO)apt install

help:  ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12 | sed 's/^/  make /'
	@printf '%s\n' '' \
	'Variables, given after the target, as in: make demo PYTHON=python3.12' \
	'  PYTHON       what .venv is made from, 3.11 or newer  [python3]' \
	'  TORCH        the torch to install, or own: keep the one that PYTHON has  [$(TORCH)]' \
	'  TORCH_ARGS   more for pip when it installs torch' \
	'  PIP_ARGS     more for pip when it installs the rest' \
	'  VENV_ARGS    more for python -m venv' \
	'  WORKERS      processes that run tests  [auto: one a core]' \
	'  PYTEST_ARGS  more for pytest, as in: make test PYTEST_ARGS="-k curvature"' \
	'' \
	'No GPU? This build of torch is a tenth of the size:' \
	'  make demo TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"' \
	'A torch of your own (CUDA, ROCm)? .venv sees it and leaves it as it is:' \
	'  make demo TORCH=own PYTHON=/path/to/its/python'

# Networks this small are fastest on one thread, and undisturbed by whatever else the machine does.
demo: export OMP_NUM_THREADS = 1
demo: .venv/ready  ## from a modest network for digits: find what holds it back, cure it, prove it
	.venv/bin/thalweg improve digits $(MODEST)

# One thread each, or the workers fight over the cores.
test: export OMP_NUM_THREADS = 1
test: export MKL_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
# Each of the hundreds of processes that tests start would compile all that it imports.
test: export PYTHONDONTWRITEBYTECODE =
test: .venv/ready-dev  ## units, doctests and house rules
	$(IN) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

battery: export OMP_NUM_THREADS = 1
battery: export THALWEG_BATTERY = 1
battery: export PYTHONDONTWRITEBYTECODE =
battery: .venv/ready-dev  ## all tests, the long ones too: every case on five seeds, every remedy on its own case
	$(IN) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

bench: .venv/ready  ## one run and many against a loop written by hand, in turn, as medians and ratios
	cd bench && $(CURDIR)/$(IN) one_run.py && $(CURDIR)/$(IN) many_runs.py

lint: .venv/ready-dev  ## formatting, rules and types; changes nothing
	$(IN) -m ruff format --check .
	$(IN) -m ruff check .
	$(IN) -m mypy

check: lint test  ## what the gate runs: lint, then test

format: .venv/ready-dev  ## format, and mend what ruff can mend
	$(IN) -m ruff format .
	$(IN) -m ruff check --fix .

clean:  ## remove .venv, builds and caches; never runs/
	rm -rf .venv build dist thalweg.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# --- set-up -----------------------------------------------------------------------------------------------------------
# torch comes first and alone, since its build depends on the machine; then the rest to the pinned version. A stamp is
# touched last, so what was interrupted is done again. `unfinished` stands until the first set-up is through: a .venv that
# has it is half made, and made anew (pip's cache makes that quick); any other that runs is kept. Where the system's Python
# or the folder has moved, the stamps are void.
$(shell $(IN) -c '' 2>/dev/null && [ "$$(cat .venv/ready)" = "$(CURDIR)" ] || rm -f .venv/ready .venv/ready-dev)

.venv/ready: pyproject.toml constraints.txt
	@if [ -e .venv/unfinished ] || ! $(IN) -c '' 2>/dev/null; then \
		command -v $(PYTHON) >/dev/null || { \
			echo '$(PYTHON) is missing. Install it:  $(APT) python3 python3-venv'; exit 1; }; \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
			echo "$(PYTHON) is $$($(PYTHON) -V), but thalweg needs 3.11 or newer. Install one that your system offers:"; \
			echo '  $(APT) python3.11 python3.11-venv    (or 3.12, 3.13)'; \
			echo 'and name it:  make $(or $(MAKECMDGOALS),demo) PYTHON=python3.11'; exit 1; }; \
		$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
			echo "$(PYTHON) cannot make virtual environments. Install what it lacks:"; \
			$(PYTHON) -c 'import sys; print("  $(APT) python%d.%d-venv" % sys.version_info[:2])'; exit 1; }; \
		[ ! -e .venv ] || echo 'The .venv here is half made, or its Python is gone: making it anew ...'; \
		rm -rf .venv && mkdir .venv && touch .venv/unfinished; \
		$(PYTHON) -m venv $(VENV_ARGS) .venv; \
	fi
	@$(IN) -c 'import pip' 2>/dev/null || $(IN) -m ensurepip >/dev/null
	@if [ '$(TORCH)' = own ]; then \
		$(IN) -c 'import torch' 2>/dev/null || $(PYTHON) -c 'import torch as t; print(t.__path__[0].rpartition("torch")[0])' \
			2>/dev/null > "$$($(IN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/own-torch.pth" || true; \
		$(IN) -c 'import sys, torch as t; print("Your own torch:", t.__version__, "in", t.__path__[0]); \
			sys.exit(tuple(map(int, t.__version__.split(".")[:2])) < (2, 13))' 2>/dev/null || { \
			echo 'TORCH=own needs a PYTHON that has torch 2.13 or newer:  make clean, then make demo TORCH=own PYTHON=...'; \
			exit 1; }; \
		grep -v '^torch==' constraints.txt > .venv/constraints.txt; touch .venv/own-torch; \
	else \
		$(IN) -m pip freeze 2>/dev/null | grep '^$(TORCH)' >/dev/null || \
		echo 'Installing $(TORCH): with CUDA about 3 GB, 5 to 15 minutes (no GPU? see make help) ...'; \
		$(PIP) $(TORCH_ARGS) '$(TORCH)'; \
		cp constraints.txt .venv/constraints.txt; \
	fi
	@echo 'Installing thalweg and what it runs on: 100 MB and a minute the first time ...'
	@$(PIP) $(PIP_ARGS) -c .venv/constraints.txt -e .
	@rm -f .venv/unfinished; echo '$(CURDIR)' > $@

.venv/ready-dev: pyproject.toml constraints.txt | has-git .venv/ready
	@echo 'Installing what tests and linting need: 40 MB and half a minute the first time ...'
	@$(PIP) $(PIP_ARGS) -c .venv/constraints.txt -e '.[dev]'
	@touch $@

has-git:
	@command -v git >/dev/null || { echo 'git is missing. Install it:  $(APT) git'; exit 1; }
