# `make help` lists what there is. Every target sets up the environment first if needed.
PYTHON ?= python3
PORT ?= 8000
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Every stage is a process of its own: without cached bytecode each would compile PyTorch's sources again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo repro serve test test-slow lint fresh reproduce environment readme review image

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## the environment .venv, from uv.lock

.venv/installed: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed: make PYTHON=python3.12" \
	    if sys.version_info < (3, 11) else 0)'
	test -x .venv/bin/uv || { $(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet uv; }
	.venv/bin/uv sync --frozen --quiet
	@touch $@

demo: setup ## the whole pipeline on synthetic radiographs, in build/demo
	python -m scripts.demo

repro: setup ## the whole pipeline on the data that params.yaml names
	dvc repro

test: setup ## the test suite, on two cores
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive pytest -n 2 --dist loadfile

test-slow: setup ## tests that take minutes: every recipe at full input size
	pytest -m slow

serve: setup ## the HTTP service on the real model, else on the demo's; PORT=8000
	@home=$$(for each in . build/demo; do test -f $$each/models/classifier.onnx && echo $$each; done | head -1); \
	    test -n "$$home$$CXR_HOME$$CXR_MODEL" || { echo "error: no models/classifier.onnx here or in build/demo;" \
	    "build it with make repro (real radiographs) or make demo (synthetic ones)" >&2; exit 1; }; \
	    CXR_HOME=$${CXR_HOME:-$${home:-.}} exec uvicorn service.app:app --port $(PORT) --no-access-log \
	    --timeout-graceful-shutdown 10

lint: setup ## ruff, mypy, and the order of the rooms
	ruff check .
	ruff format --check .
	mypy
	lint-imports

fresh: setup ## prove that the committed results belong to the committed code
	@said=$$(dvc repro --dry --allow-missing 2>&1); echo "$$said"; \
	    echo "$$said" | grep -qx "Data and pipelines are up to date."

environment: setup ## write environment.txt from uv.lock, after an upgrade of packages
	python -m scripts.environment

readme: setup ## write the results table of README.md from the metrics files
	python -m scripts.readme

review: setup ## what a pull request is judged by: HEAD against BASE=main, or only STEPS="lint test ..."
	python -m scripts.review $(BASE) $(if $(STEPS),--steps $(STEPS))

image: setup ## the steps of the Dockerfile without Docker, and the size of what they install
	python -m scripts.docker_image

reproduce: setup ## two runs from nothing, compared byte for byte
	python -m scripts.reproduce
