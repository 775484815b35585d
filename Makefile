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
# What `make lint` and `make format` look at.
CODE := .

# Greendock's own developers have more to do; a project made from the template does not have this file.
-include packages/maintainers/maintainers.mk

.PHONY: help up dev monitoring run shell down top logs test lint format rollout upgrade sbom audit clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(BEFORE_UP) ## build, start and wait until healthy; prints the address
	@$(GREENDOCK) up $(ARGS)

dev: $(BEFORE_UP) ## the same with your source mounted: an edit below app/ shows in seconds
	@COMPOSE_FILE=$(subst $(eval ) ,:,$(wildcard docker-compose.yml docker-compose.override.yml) compose.dev.yml) $(GREENDOCK) up $(ARGS)

monitoring: $(BEFORE_UP) $(BEFORE_MONITORING) ## the same with Prometheus and Alertmanager (docs/operating.md)
	@COMPOSE_FILE=$(subst $(eval ) ,:,$(wildcard docker-compose.yml docker-compose.override.yml) deploy/monitoring/compose.yml) $(GREENDOCK) up $(ARGS)

run: ## a command in a container of the application (CMD="python app/manage.py createsuperuser")
	@docker compose run --rm app $(CMD)

shell: ## a shell in the running application's container
	@docker compose exec app greendock run bash

down: ## stop the stack; leaves no container and no network
	@docker compose down --remove-orphans

top: ## every replica and worker as they go on: requests, times, CPU, memory (q ends it)
	@$(GREENDOCK) top --all $(ARGS)

logs: ## follow both logs (Ctrl-C stops following)
	@docker compose logs --follow --tail 100

rollout: ## replace what has changed without losing a request (ARGS=... is handed on)
	@$(GREENDOCK) rollout $(ARGS)

test: $(BEFORE_TEST) ## start the stack in containers of its own and test your application through Nginx
	$(RUN) pytest tests

upgrade: ## bring this project the template's next version (ARGS=... is handed on to Copier)
	@$(GREENDOCK) upgrade $(ARGS)

sbom: ## what is in both images, as CycloneDX: dist/*.cdx.json
	docker compose build
	$(UV) run --quiet --group audit greendock sbom

audit: sbom ## known vulnerabilities of what is in both images
	$(UV) run --quiet --group audit greendock audit $(ARGS)

lint: $(BEFORE_LINT) ## every static check
	$(UV) lock --check
	$(RUN) ruff check $(CODE)
	$(RUN) ruff format --check $(CODE)

format: ## rewrite Python files in one format
	$(RUN) ruff check --fix $(CODE)
	$(RUN) ruff format $(CODE)

clean: ## remove what these commands made in this folder; not containers, images or packages
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
