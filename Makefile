# The main commands are `make train` and `make test`. Both create .venv if needed.

PYTHON ?= python3
CONFIG ?= configs/geo3k_tiny.yaml
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed

.PHONY: train test test-all test-easyr1 easyr1-env test-trl test-verl verl-env lint format docs docs-serve benchmark \
	evidence clean

train: $(READY)
	$(RUN) -m echorl_vl.train $(CONFIG) $(ARGS)

# JOBS processes share the tests out, file by file; each computes on one thread.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest tests -n $(JOBS) --dist loadfile

test: $(READY)
	$(PYTEST) $(ARGS)

test-all: $(READY)
	$(PYTEST) -m "slow or not slow" $(ARGS)

# EasyR1 in a separate environment (6.6 GB), installed for a CPU as in docs/easyr1.md. To use another environment:
# `make test-easyr1 PYTHON_EASYR1=/path/to/its/environment/bin/python`.
EASYR1_ENV := build/easyr1-env
EASYR1 ?= git+https://github.com/hiyouga/EasyR1@b44b311
PYTHON_EASYR1 ?= $(EASYR1_ENV)/bin/python
test-easyr1: $(if $(filter $(EASYR1_ENV)/bin/python,$(PYTHON_EASYR1)),easyr1-env)
	$(PYTHON_EASYR1) -m pytest tests/easyr1 tests/ray_engines -m "slow or not slow" $(ARGS)

easyr1-env: $(EASYR1_ENV)/.installed

$(EASYR1_ENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(EASYR1_ENV)
	$(EASYR1_ENV)/bin/python -m pip install --quiet --upgrade pip
	$(EASYR1_ENV)/bin/python -m pip install --quiet torch torchvision
	$(EASYR1_ENV)/bin/python -m pip install --quiet "transformers==4.57.6" accelerate codetiming datasets "ray[default]" \
		mathruler "omegaconf<2.4" peft pylatexenc qwen-vl-utils tensordict torchdata wandb einops msgspec pandas
	# EasyR1's own requirements include flash-attn and vllm, which don't build without CUDA.
	$(EASYR1_ENV)/bin/python -m pip install --quiet --no-deps "$(EASYR1)"
	$(EASYR1_ENV)/bin/python -m pip install --quiet -e ".[dev]"
	$(EASYR1_ENV)/bin/python -m echorl_vl.engines.check easyr1 --cpu
	touch $@

# TRL in a separate environment (several GB, mostly torch); see docs/trl.md.
TRL_ENV := build/trl-env
test-trl: $(TRL_ENV)/.installed
	$(TRL_ENV)/bin/python -m pytest tests/trl_trainer -m "slow or not slow" $(ARGS)

$(TRL_ENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(TRL_ENV)
	$(TRL_ENV)/bin/python -m pip install --quiet --upgrade pip
	$(TRL_ENV)/bin/python -m pip install --quiet -e ".[dev,trl]"
	touch $@

# verl in a separate environment (2 GB), with the versions that docs/verl.md lists.
VERL_ENV := build/verl-env
test-verl: verl-env
	$(VERL_ENV)/bin/python -m pytest tests/verl_engine tests/ray_engines -m "slow or not slow" $(ARGS)

verl-env: $(VERL_ENV)/.installed

$(VERL_ENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VERL_ENV)
	$(VERL_ENV)/bin/python -m pip install --quiet --upgrade pip
	$(VERL_ENV)/bin/python -m pip install --quiet -e ".[dev]" "verl[verl-core]==0.9.1" transformers==5.10.4 \
		tensordict==0.10.0 TransferQueue==0.1.11 ray==2.60.0 hydra-core==1.3.8 omegaconf==2.3.1 torch==2.13.0
	# Text models don't need torchvision, and a build that does not match torch's fails to import.
	$(VERL_ENV)/bin/python -m pip uninstall --quiet --yes torchvision
	$(VERL_ENV)/bin/python -m echorl_vl.engines.check verl --cpu
	touch $@

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Builds the documentation site in build/site; any warning is an error. `make docs-serve` serves it and reloads on changes.
DOCS_READY := $(VENV)/.docs
docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build

docs-serve: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs serve --no-strict

$(DOCS_READY): $(READY)
	$(RUN) -m pip install --quiet -e ".[docs]"
	touch $@

benchmark: $(READY)
	$(RUN) benchmarks/mining.py
	$(RUN) benchmarks/rollout_step.py
	$(RUN) benchmarks/echo_overhead.py

# Resumes where it was stopped; takes hours on 2 cores. `make evidence ARGS="--task text helps"`; see docs/evidence.md.
EVIDENCE := runs/evidence
evidence: $(READY)
	$(RUN) -m eval.evidence --out $(EVIDENCE) $(ARGS)
	$(RUN) -m eval.evidence report --out $(EVIDENCE) --into docs/evidence.md

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -e ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) build *.egg-info
