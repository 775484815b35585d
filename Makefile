# Every command a person or CI needs. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV := scripts/uv
RUN := $(UV) run --quiet
# The command runs from its source: nothing needs to be installed for it.
GREENDOCK := PYTHONPATH=packages/greendock/src PYTHONDONTWRITEBYTECODE=1 python3 -m greendock
ARGS :=

# Greendock's own developers have more to do; a project made from the template does not have this file.
-include packages/maintainers/maintainers.mk

.PHONY: help up down logs local test lint format rollout clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(BEFORE_UP) ## build, start and wait until healthy; prints the address
	@scripts/up

down: ## stop the stack; leaves no container and no network
	@docker compose down --remove-orphans

logs: ## follow both logs (Ctrl-C stops following)
	@docker compose logs --follow --tail 100

rollout: ## replace the running application without losing a request (ARGS=... is handed on)
	@$(GREENDOCK) rollout $(ARGS)

local: ## the same stack without containers (Ctrl-C ends it)
	@scripts/local

test: $(BEFORE_TEST) ## start the stack in containers of its own and test your application through Nginx
	$(RUN) pytest tests

lint: $(BEFORE_LINT) ## every static check
	$(UV) lock --check
	$(RUN) ruff check .
	$(RUN) ruff format --check .

format: ## rewrite Python files in one format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

clean: ## remove what these commands made in this folder; not containers, images or packages
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
