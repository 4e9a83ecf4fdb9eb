# `make run` starts the gateway, `make test` tests it; both need only Python 3.11 or newer.
# Everything is installed into .venv, from lock files with hashes: by uv if there is one, else by pip.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)
IN_VENV := .venv/bin/python
RUFF := .venv/bin/ruff
COMPILE := .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--python-version 3.11 --custom-compile-command "make lock" pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help run stack stack-stop test bench chaos lint format lock lock-check

help:
	@echo "make run         start the gateway (settings: docs/configuration.md)"
	@echo "make stack       start 2 web processes and 2 workers behind nginx (PostgreSQL and Redis of this machine); make stack-stop"
	@echo "make test        run all tests, embedded and, where PostgreSQL and Redis answer, distributed"
	@echo "make bench       run the benchmarks and compare them with their budgets"
	@echo "make chaos       kill, freeze, fail over, restore, fill and disconnect a fleet at random (CHAOS_SECONDS, CHAOS_FAULTS, CHAOS_SEED: tests/stack/chaos.py)"
	@echo "make lint        check formatting, lint, types and import layers"
	@echo "make format      format the code"
	@echo "make lock        write the lock files from pyproject.toml (UPGRADE=1 takes the newest versions)"
	@echo "make lock-check  fail when the lock files do not match pyproject.toml"

run: .venv/runtime.stamp .venv/bin/agent-gateway
	@exec .venv/bin/gateway serve

# The command line of this checkout. -P: nothing is imported from the directory that it is used in.
.venv/bin/agent-gateway: Makefile .venv/bin/python
	@printf '%s\n' '#!/bin/sh' 'exec "$(CURDIR)/.venv/bin/python" -P -c "import sys; sys.path.insert(0, sys.argv.pop(1)); \
	from gateway_client.__main__ import main; main()" "$(CURDIR)" "$$@"' > $@ && chmod +x $@

# The processes of docker-compose.yml without Docker: docs/operating.md.
stack: .venv/runtime.stamp
	@$(IN_VENV) -m tests.stack.stack start

stack-stop: .venv/runtime.stamp
	@$(IN_VENV) -m tests.stack.stack stop

test: .venv/dev.stamp .venv/javascript.stamp
	@$(IN_VENV) -m tests $(ARGS)

bench: .venv/dev.stamp
	@$(IN_VENV) -m tests.benchmarks $(ARGS)

chaos: .venv/dev.stamp
	@$(IN_VENV) -m tests.stack.chaos

lint: .venv/dev.stamp
	$(RUFF) format --check .
	$(RUFF) check .
	.venv/bin/mypy --num-workers 2 .
	.venv/bin/lint-imports

format: .venv/dev.stamp
	$(RUFF) format .
	$(RUFF) check --fix .

lock: .venv/dev.stamp
	$(COMPILE) $(if $(UPGRADE),--upgrade) --output-file requirements.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra otel --constraints requirements.lock --output-file requirements-otel.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra otel --extra dev --constraints requirements-otel.lock \
		--output-file requirements-dev.lock

# Locked versions that satisfy pyproject.toml are kept, so a new release of a package changes nothing.
lock-check: .venv/dev.stamp
	@mkdir -p .venv/lock && cp requirements.lock requirements-otel.lock requirements-dev.lock .venv/lock/
	@$(COMPILE) --output-file .venv/lock/requirements.lock
	@$(COMPILE) --extra otel --constraints requirements.lock --output-file .venv/lock/requirements-otel.lock
	@$(COMPILE) --extra otel --extra dev --constraints requirements-otel.lock --output-file .venv/lock/requirements-dev.lock
	@diff -u requirements.lock .venv/lock/requirements.lock && \
		diff -u requirements-otel.lock .venv/lock/requirements-otel.lock && \
		diff -u requirements-dev.lock .venv/lock/requirements-dev.lock || \
		{ echo "The lock files do not match pyproject.toml: run 'make lock'." >&2; exit 1; }

# A `.venv` of an older Python, or of one that is gone, is made again.
ifneq ($(shell .venv/bin/python -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null),True)
.PHONY: .venv/bin/python
endif
.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Agent Gateway needs Python 3.11 or newer: PYTHON=/path/to/it make run" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Agent Gateway needs Python 3.11 or newer, and PYTHON is $$("$(PYTHON)" --version 2>&1)" >&2; exit 1; }
	@rm -rf .venv
	@"$(PYTHON)" -m venv .venv || { rm -rf .venv; \
		echo "$(PYTHON) cannot create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

PIP_INSTALL := $(IN_VENV) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r

# By uv if it is in PATH or in .venv; by pip without it, or when uv fails.
define install
	@echo "Installing $(1) into .venv ..."
	@export PATH="$$PATH:$$PWD/.venv/bin"; { uv --version >/dev/null 2>&1 && \
		uv pip install --quiet --compile-bytecode --python $(IN_VENV) --require-hashes -r $(1); } || $(PIP_INSTALL) $(1)
endef

# The command of this checkout. It finds the checkout from its own place, so a moved one needs no other.
.venv/bin/gateway: .venv/bin/python
	@printf '#!/bin/sh\nhere=$$(dirname "$$(readlink -f "$$0")")\nexec "$$here/python" "$$here/../../manage.py" "$$@"\n' > $@
	@chmod 755 $@

.venv/runtime.stamp: requirements.lock .venv/bin/python | .venv/bin/gateway
	$(call install,requirements.lock)
	@touch $@

# The JavaScript clients that tests run; without a suitable node they are skipped.
.venv/javascript.stamp: tests/javascript/package.json tests/javascript/package-lock.json .venv/bin/python
	@if ! command -v npm >/dev/null || ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then \
		echo "JavaScript clients: skipped, they need node 20 or newer with npm"; \
	elif (cd tests/javascript && npm ci --silent --ignore-scripts --no-audit --no-fund); then touch $@; \
	elif [ "$$GATEWAY_REQUIRE_SERVICES" = 1 ]; then \
		echo "JavaScript clients: failed, GATEWAY_REQUIRE_SERVICES=1 and npm ci does not install them" >&2; exit 1; \
	else echo "JavaScript clients: skipped, npm ci does not install them"; fi

# The packages for tests are a superset, so a later `make run` has nothing to install. uv is installed first, because it
# installs the rest in a tenth of pip's time.
.venv/dev.stamp: requirements-dev.lock .venv/bin/python .venv/bin/agent-gateway
	@awk '/^[a-z]/ { mine = 0 } /^uv==/ { mine = 1 } mine' requirements-dev.lock > .venv/uv.lock
	@uv --version >/dev/null 2>&1 || $(PIP_INSTALL) .venv/uv.lock
	$(call install,requirements-dev.lock)
	@touch $@ .venv/runtime.stamp
