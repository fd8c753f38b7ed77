# `make` alone lists the targets. Every target that needs the environment makes it first.
.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-fast style lint bench clean distclean

PY := .venv/bin/python
SERVE ?= 1
ARGS ?=

export PYTHONUNBUFFERED = 1

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## .venv with the pinned libraries and facap; the other targets call it
	@requirements/install.sh

quickstart: setup ## a catalogue through every stage, then the search page; SERVE=0 ends instead, ARGS="--workspace DIR ..."
	@$(PY) -m jobs.quickstart $(if $(filter 0,$(SERVE)),--serve_after false) $(ARGS)

test: style ## lint, types and every test
	@requirements/chromium.sh
	@# Starting an engine keeps one core busy, so two files of tests go side by side; what measures time comes last.
	@nice .venv/bin/mypy & types=$$!; $(PY) -m pytest -n 2 --no-loadscope-reorder -m "not alone"; tests=$$?; \
		wait $$types && exit $$tests
	@$(PY) -m pytest -m alone $$(grep -rl mark.alone tests)

test-fast: setup ## the tests that start no engine, under a minute
	@$(PY) -m pytest -m "not slow"

style: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

lint: style ## ruff check, ruff format --check, mypy
	@.venv/bin/mypy

bench: setup ## NAME=x runs benchmarks/x.py and writes benchmarks/results/x.json
	@$(PY) -m benchmarks.harness $(NAME) $(ARGS)

clean: ## removes the workspace and caches, keeps .venv
	rm -rf workspace build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf platform/*.egg-info *.egg-info
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and removes .venv
	rm -rf .venv
