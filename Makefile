# Every command a person or CI needs. `make` alone lists them; docs/machines.md says what they install and where.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV := scripts/uv
RUN := $(UV) run --quiet --all-extras
PYTEST := $(RUN) pytest --numprocesses auto
DOCKERFILES := $(wildcard Dockerfile nginx/Dockerfile bench/Dockerfile)
ARGS :=

.PHONY: help up down logs local test test-unit test-process test-container test-deps lint format engine engine-stop \
	base-images reference bench bench-containers rollout clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: engine base-images ## build, start and wait until healthy; prints the address
	@scripts/up

down: ## stop the stack; leaves no container and no network
	@docker compose down --remove-orphans

logs: ## follow both logs (Ctrl-C stops following)
	@docker compose logs --follow --tail 100

local: ## the same stack without containers (Ctrl-C ends it)
	@scripts/local

test: test-unit test-process test-container ## all tests in turn

test-unit: ## no processes
	LEAN_FUZZ_SECONDS=$${LEAN_FUZZ_SECONDS:-5} $(PYTEST) tests/unit

test-process: ## real Gunicorn, real Nginx, a real browser, as processes
	@scripts/local-nginx >/dev/null
	$(PYTEST) tests/process tests/browser

test-container: engine base-images ## the real stack in containers
	GREENDOCK_REQUIRE_ENGINE=1 $(PYTEST) tests/container

test-deps: ## programs that some tests and benchmarks call (root, Debian)
	@scripts/test-deps

lint: ## every static check
	$(UV) lock --check
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(if $(DOCKERFILES),$(RUN) hadolint $(DOCKERFILES))
	git ls-files -z | xargs -0 awk 'FNR == 1 && /^#!.*sh$$|^# shellcheck shell=/ { print FILENAME } { nextfile }' \
		| xargs $(RUN) shellcheck
	$(RUN) deploy/kubernetes/check
	@mkdir -p .cache
	$(if $(wildcard greendock/proxy/__main__.py),$(RUN) python -m greendock.proxy config > .cache/nginx-rendered.conf \
		&& $(RUN) gixy .cache/nginx-rendered.conf)

format: ## rewrite Python files in the project's format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

reference: ## write the generated files: docs/configuration.md, .env.example, nginx/variables.env
	$(RUN) greendock env --format markdown > docs/configuration.md
	$(RUN) greendock env --format dotenv > .env.example
	$(RUN) greendock env --format proxy > nginx/variables.env

engine: ## find a container engine, or install and start one (root, Debian)
	@scripts/engine

engine-stop: ## stop the engine that `make engine` started
	@scripts/engine stop

base-images: ## pull the base images, or build stand-ins where the registry cannot be reached
	@scripts/base-images

bench: ## side-by-side benchmarks (ARGS=... is handed on)
	@scripts/test-deps bench
	$(RUN) --group bench python -m bench $(ARGS)

bench-containers: engine base-images ## the same in containers (ARGS=... is handed on)
	$(RUN) --group bench python -m bench --containers $(ARGS)

rollout: ## replace the running application without losing a request (ARGS=... is handed on)
	deploy/rollout $(ARGS)

clean: ## remove what these commands made in this folder; not containers, images or packages
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
