# Everything a person types: make run, make test; the rest is below.
.PHONY: bench-loader bench-resume bench-step check clean-state link-data lint lock plan run snakemake sync test workspace .venv-ready

VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
PYTHON ?= python3.11
# The CPU build of torch, or the CUDA one where there is an NVIDIA driver (or `make run TORCH=cuda`).
TORCH ?= $(if $(wildcard /proc/driver/nvidia/version),cuda,cpu)
# Named after what was installed: a changed lock installs again, a checkout with other file times does not.
LOCKS := requirements/lock.txt requirements/torch-$(TORCH).txt
INSTALLED := $(VENV)/installed-$(shell cat $(LOCKS) | sha256sum | cut -c1-12)
ARGS ?=

run: $(INSTALLED) ## the workflow by DVC, then the results
	@mimflow check
	@dvc repro $(ARGS)
	@mimflow table
	@dvc metrics diff

test: $(INSTALLED) ## the tests
	@pytest $(ARGS)

snakemake: $(INSTALLED) ## the workflow by Snakemake on this machine
	@snakemake --workflow-profile workflow/profiles/default $(ARGS)

plan: $(INSTALLED) ## make plan PRESET=cifar10: jobs, GPU-hours, disk, what is missing; submits nothing
	@mimflow plan $(if $(PRESET),--preset $(PRESET)) $(ARGS)

sync: $(INSTALLED) ## record in either program what the other made
	@mimflow sync

check: $(INSTALLED) ## is params.yaml right?
	@mimflow check

lint: $(INSTALLED) ## format, lint, types
	@ruff format --check . && ruff check . && mypy

bench-loader: $(INSTALLED) ## the loader beside its peers and the limit (fetches the peers into .bench)
	@OMP_NUM_THREADS=1 python -m benchmarks.loader $(ARGS)

workspace: $(INSTALLED) ## make workspace PRESET=cifar10 DIR=../cifar10
	@mimflow workspace $(PRESET) $(DIR)

clean-state: $(INSTALLED) ## training state that no present run can use: listed and removed
	@mimflow clean-state

bench-resume: $(INSTALLED) ## 25 trainings killed and resumed, against one that was not
	@python -m benchmarks.resume

bench-step: $(INSTALLED) ## a training step against MAE at 224 px; make bench-step ARGS="--method fastmim --size 128"
	@python -m benchmarks.step $(ARGS)

link-data: ## make link-data FROM=../shared/data: its files appear in data/raw
	@test -d "$(FROM)" || { echo "FROM=$(FROM): no such folder" >&2; exit 2; }
	@mkdir -p data/raw && ln -sfn $(abspath $(FROM))/* data/raw/ && ls data/raw

.venv-ready: $(INSTALLED) ## the environment alone

lock: ## resolve requirements/direct.in into requirements/lock.txt (needs pip-tools)
	@bash requirements/lock.sh

# --no-deps: the lock is complete. torch brings its own CUDA libraries, so it is installed with dependencies, its build
# first looked for as named, then as the index has it (which runs on a CPU too).
$(INSTALLED):
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/lock.txt
	@$(VENV)/bin/python -m pip install --quiet -r requirements/torch-$(TORCH).txt || \
	  { echo "no CPU build of torch in the package index: taking the CUDA build, which runs on a CPU too"; \
	    $(VENV)/bin/python -m pip install --quiet -r requirements/torch-cuda.txt; }
	@$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(VENV)/bin/python -m pip check
	@touch $@
