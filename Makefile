# `make help` lists the targets. Each sets up the environment first if needed.
PYTHON ?= python3
PORT ?= 8000
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Every stage is a process: without cached bytecode each would compile PyTorch's sources again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo repro serve test test-slow test-ray mutate lint fresh reproduce test-long package test-nf4 environment readme plots-page ablation-clip review image remotes

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## create the environment .venv from uv.lock

.venv/installed: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed: make PYTHON=python3.12" \
	    if sys.version_info < (3, 11) else 0)'
	test -x .venv/bin/uv || { $(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet uv; }
	.venv/bin/uv sync --frozen --quiet
	@touch $@

demo: setup ## run the pipeline on synthetic radiographs, in build/demo
	python -m scripts.demo $(DEMO)

repro: setup ## run the pipeline on the data that params.yaml names
	dvc repro

test: setup ## run the tests, on two cores
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive pytest -n 2 --dist loadfile --no-loadscope-reorder

test-long: setup ## run the long tests, among them every command of docs/walkthrough.md; six minutes
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive pytest -n 2 --dist loadfile -m long

test-slow: setup ## run the tests that take minutes: every recipe at full input size
	pytest -m slow

package: setup ## build the wheel, install its base layer in a clean environment, and try it there; a minute
	pytest -m slow tests/test_package.py

test-nf4: setup ## run the tests of 4-bit language models, in an environment with the layer nf4
	uv run --frozen --isolated --extra nf4 pytest tests/reports/test_language_model.py -k "nf4 or quantisation"

test-ray: setup ## run the tests on two nodes of a Ray cluster, which they start on this machine; minutes
	.venv/bin/uv sync --frozen --quiet --inexact --extra ray
	pytest -m slow tests/cluster

mutate: setup ## put the errors of tests/mutations/ into the code, one by one: do its tests notice? (an hour)
	python -m scripts.mutate --jobs 2

serve: setup ## run the HTTP service on the model of repro, else of demo; PORT=8000
	@home=$$(for each in . build/demo; do test -f $$each/models/classifier.onnx && echo $$each; done | head -1); \
	    test -n "$$home$$CXR_HOME$$CXR_MODEL" || { echo "error: no models/classifier.onnx here or in build/demo;" \
	    "build it with make repro (real radiographs) or make demo (synthetic ones)" >&2; exit 1; }; \
	    CXR_HOME=$${CXR_HOME:-$${home:-.}} exec python -m service --port $(PORT)

lint: setup ## run ruff, mypy, and import-linter (the order of the rooms)
	ruff check .
	ruff format --check .
	mypy
	lint-imports

fresh: setup ## check that the committed results belong to the committed code, else name what is stale
	@python -m scripts.fresh

environment: setup ## write environment.txt from uv.lock, after an upgrade of packages
	python -m scripts.environment

readme: setup ## write the results in README.md, and docs/test_ledger.md, from metrics/ and the ledger
	python -m scripts.readme
	python -m scripts.test_ledger

plots-page: setup ## write .dvc/plots_page.html, the page of `dvc plots`, after an upgrade of vl-convert-python
	uv run --frozen --isolated --only-group plots python -m scripts.plots_page

ablation-clip: setup ## compare class weights and sub-classes of CLIP embeddings, in docs/ablation_clip.md; about an hour
	python -m benchmarks.training_ablation --clip

review: setup ## check HEAD against BASE=main as a pull request is; STEPS="lint test ..." runs a part
	python -m scripts.review $(BASE) $(if $(STEPS),--steps $(STEPS))

image: setup ## run the steps of the Dockerfile without Docker, report the installed size
	python -m scripts.docker_image

reproduce: setup ## run the pipeline twice from scratch, compare the outputs byte for byte
	python -m scripts.reproduce

remotes: setup ## push and pull the results by S3, SSH, HTTP and a folder on this machine, in docs/sharing.md; ten minutes
	python -m scripts.remotes
