# `make demo` runs the whole pipeline on the demo's parameters; `make test` lints, type-checks and tests.
# Each makes .venv first when it has to.

# What pip is told to install for torch; elsewhere e.g.
#   make demo TORCH="torch==2.13.0 --index-url <the index of CPU wheels>"
TORCH ?= torch==2.13.0
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
DEMO := params/demo.yaml
CONTROLS := params/controls.yaml
OVERFIT := params/overfit.yaml
COMPARE := params/compare-models.yaml
OPTIONS := params/options.yaml
ABLATION = params/ablation$(if $(TABLE),-$(TABLE))$(if $(filter-out 1,$(SEEDS)),-$(SEEDS)-seeds).yaml
SCRATCH := .work/venv
PEERS := .work/perf-venv
# The two must fit each other; elsewhere e.g. make contract-vlm VLM_TORCH="torch==2.13.0 torchvision==0.28.0"
VLM_TORCH ?= torch==2.14.1 torchvision==0.29.1
VLM := .work/vlm-venv

.PHONY: demo ablation controls overfit compare-models options perf test contract-vlm lint hooks format status gc plan fetch-models use bundle demo-models ceiling judge lock setup clean help

help:           ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /	/' | expand -t 16

setup: $(READY) ## make .venv with everything

$(READY): requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	touch $@

demo: $(READY)  ## run the demo; ends with the scores and where the report lies
	snakemake --cores all --configfile $(DEMO)
	@$(BIN)/python -m pipeline.reporting.headline --params $(DEMO)

ablation: $(READY) ## what text and image augmentation each bring; SEEDS=3: three times; TABLE=captions: short and long ones
	@ls $(ABLATION) > /dev/null
	snakemake --cores all --configfile $(ABLATION)
	@$(BIN)/python -m pipeline.reporting.headline --params $(ABLATION)

controls: $(READY) ## models that cannot know colours: are they right about them by chance alone?
	snakemake --cores all --configfile $(CONTROLS)
	@$(BIN)/python -m pipeline.demo.controls --params $(CONTROLS)

overfit: $(READY) ## DiT-I and CAD-I learn 64 pictures by heart: of how many is the one drawn nearest to its own?
	snakemake --cores all --configfile $(OVERFIT)
	@$(BIN)/python -m pipeline.reporting.memorization --params $(OVERFIT)

compare-models: $(READY) ## CAD-I beside DiT-I at equal steps and at equal time
	snakemake --cores all --configfile $(COMPARE)
	@$(BIN)/python -m pipeline.reporting.headline --params $(COMPARE)

options: $(READY) ## each option of DiT-I beside the network without any, at equal seconds, three seeds
	snakemake --cores all --configfile $(OPTIONS)
	@$(BIN)/python -m pipeline.reporting.headline --params $(OPTIONS)

perf: $(READY) $(PEERS)/ready ## the training loader and the stages beside other libraries and limits; ROWS=<part of a name>
	$(BIN)/python -m perf.compare --peers-python $(PEERS)/bin/python $(if $(ROWS),--rows "$(ROWS)")

$(PEERS)/ready: perf/requirements.txt
	rm -rf $(PEERS)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r perf/requirements.txt
	touch $@

test: $(READY) lint ## lint, type-check, test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup $(PYTEST)

contract-vlm: $(VLM)/ready ## each family of vision-language models, those that want torchvision too, through the captioner
	$(VLM)/bin/python -c "import torchvision, num2words"  # or families would be skipped
	$(VLM)/bin/python -m pytest -m contract -rs tests/captioners/test_contract.py $(PYTEST)

$(VLM)/ready: requirements.lock pyproject.toml
	rm -rf $(VLM)
	$(PYTHON) -m venv $(VLM)
	$(VLM)/bin/pip install --quiet --disable-pip-version-check $(VLM_TORCH)
	$(VLM)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(VLM)/bin/pip install --quiet --disable-pip-version-check $$($(VLM)/bin/python -c "import tomllib; \
	  print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['vlm'])")
	touch $@

lint: $(READY)  ## the checks of .pre-commit-config.yaml on all files: lint, format, types, spelling, ...
	PRE_COMMIT_HOME=$(CURDIR)/$(VENV)/pre-commit pre-commit run --all-files

hooks: $(READY) ## run the same checks, and one of the message, before every commit of this clone
	pre-commit install

format: $(READY) ## format everything
	ruff check --fix-only --quiet .
	ruff format .
	snakefmt Snakefile pipeline/rules

status: $(READY) ## per stage and row: done, missing, stale, failed; P=<preset> for another parameter file
	@$(BIN)/python -m pipeline.runner.status $(if $(P),--params params/$(P).yaml)

gc: $(READY)    ## list what no parameter file wants; DELETE=1 removes it
	@$(BIN)/python -m pipeline.runner.gc $(if $(DELETE),--delete) $(if $(MODELS),--models $(MODELS))

plan: $(READY)  ## what a run will cost, without data or models; P=<preset>; MORE="--devices 8 --device H100"
	@$(BIN)/python -m pipeline.planning $(if $(P),--params params/$(P).yaml) $(MORE)

fetch-models: $(READY) ## bring all models of the parameters into the Hub's cache; P=<preset>; PIN=1 writes missing commits
	@$(BIN)/python -m pipeline.interop.fetch_models $(if $(P),--params params/$(P).yaml) $(if $(PIN),--pin)

use: $(READY)   ## write a preset, resolved, into params.yaml: make use P=folder
	@$(BIN)/python -m pipeline.params.use $(P)

bundle: $(READY) ## write a model as a folder to hand on: make bundle MODEL=train/ta_ia OUT=ta_ia; P=<preset>
	@$(BIN)/python -m pipeline.inference.bundle_command --model $(MODEL) --out $(OUT) $(if $(P),--params params/$(P).yaml)

demo-models: $(READY) ## train the demo's autoencoders, text encoder and captioner anew
	$(BIN)/python -m pipeline.demo.models --out data/demo_models

ceiling: $(READY) ## truth pictures through the demo's autoencoder and judge: what a model of the demo can reach
	@$(BIN)/python -m pipeline.demo.ceiling --params $(DEMO)

judge: $(READY) ## how far the demo's judge can be trusted: its verdicts on right and wrong scenes of known truth
	@$(BIN)/python -m pipeline.demo.judge.table

lock:           ## write requirements.lock from requirements.in, in a fresh environment
	rm -rf $(SCRATCH)
	$(PYTHON) -m venv $(SCRATCH)
	$(SCRATCH)/bin/pip install --quiet $(TORCH)
	$(SCRATCH)/bin/pip install --quiet -r requirements.in
	$(SCRATCH)/bin/pip freeze --exclude torch --exclude pip --exclude setuptools > requirements.lock
	rm -rf $(SCRATCH)

clean:          ## remove .venv (data, reports and logs stay)
	rm -rf $(VENV)
