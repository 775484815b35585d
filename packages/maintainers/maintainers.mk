# Commands for developing Greendock itself. The Makefile at the root includes this file where it exists.
RUN := $(UV) run --quiet --all-packages --all-extras --all-groups
# Most tests wait for others' processes more than they work.
WORKERS := $(shell echo $$(($$(nproc) * 3 / 2)))
# One session for each kind of test, with the benchmarks' own beside the machinery's.
PYTEST := cd packages/greendock && $(abspath $(UV)) run --quiet --all-packages --all-extras --all-groups pytest --numprocesses $(WORKERS) --dist worksteal
SUITE := trixie
RUFF_CONFIG := --config packages/maintainers/ruff.toml

# The rest has stricter rules: lint-machinery.
CODE := app tests gunicorn.conf.py

BEFORE_UP := engine base-images
BEFORE_MONITORING := monitoring-images
# Everything that is installed comes first: a machine that cannot have it says so before the first test.
BEFORE_TEST := test-deps engine base-images test-unit test-process test-container
BEFORE_LINT := lint-machinery

.PHONY: fuzz new locks local test-unit test-process test-container test-bench test-newest-python test-fresh test-deps lint-machinery engine engine-stop base-images monitoring-images \
	reference bench bench-containers

new: ## make a project from this commit (DIR=../site, ARGS="--defaults --data framework=django")
	@scripts/copier new "$(DIR)" $(ARGS)

locks: ## write the lock of each framework's project anew (UPGRADE=1: the newest versions)
	@scripts/copier locks

local: ## the same stack without containers (Ctrl-C ends it)
	@scripts/local

test-unit: ## the machinery without processes
	export LEAN_FUZZ_SECONDS=$${LEAN_FUZZ_SECONDS:-5} && $(PYTEST) tests/unit ../../bench/tests --ignore ../../bench/tests/test_in_containers.py

fuzz: ## whole environments and .env files made up at random, 10,000 of each
	export FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-10000} && $(PYTEST) tests/unit/test_fuzz.py

test-process: test-deps ## real Gunicorn, real Nginx, a real browser, as processes
	@scripts/local-nginx >/dev/null
	$(PYTEST) tests/process tests/browser

test-container: test-deps engine monitoring-images ## the real stack in containers
	export GREENDOCK_REQUIRE_ENGINE=1 && $(PYTEST) tests/container

test-bench: test-deps engine base-images ## the benchmark in containers, at its shortest
	export GREENDOCK_REQUIRE_ENGINE=1 && $(PYTEST) ../../bench/tests/test_in_containers.py

test-fresh: test-deps engine base-images ## `make up` and the whole of `make test` on a machine that has nothing (SUITE=trixie)
	export FRESH_TESTS=all FRESH_SUITE=$(SUITE) && $(PYTEST) --numprocesses 0 tests/container/test_fresh.py

test-newest-python: engine base-images ## what applications do to their process, on the image's Python
	docker run --rm --ulimit nofile=20000:20000 --volume $(CURDIR):/src:ro --workdir /src/packages/greendock \
		--env PYTHONPATH=/src/packages/greendock/src --env PYTHONDONTWRITEBYTECODE=1 python:3.14-slim sh -ec 'python3 -m venv /tmp/venv; \
		/tmp/venv/bin/pip install --quiet "gunicorn>=27.0.1,<28" python-dotenv flask hypothesis httpx pytest-xdist websockets; \
		/tmp/venv/bin/pytest -p no:cacheprovider --numprocesses auto tests/process/lean/test_lean_hostile.py \
		tests/process/lean/test_lean_survives.py'

test-deps: ## programs that the tests call (root, Debian)
	@scripts/test-deps

lint-machinery:
	$(RUN) ruff check $(RUFF_CONFIG) .
	$(RUN) ruff format $(RUFF_CONFIG) --check .
	$(RUN) mypy --config-file packages/maintainers/mypy.ini
	$(RUN) hadolint Dockerfile bench/Dockerfile
	git ls-files -z ':!template' | xargs -0 awk 'FNR == 1 && /^#!.*sh$$|^# shellcheck shell=/ { print FILENAME } { nextfile }' \
		| xargs $(RUN) shellcheck
	$(RUN) zizmor --offline --no-progress --quiet .github template/project/*/workflows
	$(RUN) deploy/kubernetes/check
	@mkdir -p .cache
	$(RUN) greendock proxy config > .cache/nginx-rendered.conf && $(RUN) gixy .cache/nginx-rendered.conf

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

monitoring-images: engine ## the base images, and those of deploy/monitoring
	@scripts/base-images monitoring

bench: ## side-by-side benchmarks (ARGS=... is handed on)
	$(RUN) python -m bench $(ARGS)

bench-containers: engine base-images ## the same in containers (ARGS=... is handed on)
	$(RUN) python -m bench --containers $(ARGS)
