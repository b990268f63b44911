# The two commands of the README are `make run` and `make test`; each works alone, first, on a machine with Python 3.11+.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
ARGS ?=
REAL := --compute libvirt --volume qcow2 --network linux
# What real guests and networks need of Debian and Ubuntu; the last four build libvirt-python.
PACKAGES := qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients libvirt-daemon-driver-lxc libnftables1 \
	iproute2 iputils-ping uidmap e2fsprogs openssh-client libvirt-dev pkg-config gcc python3-dev
PYTEST ?= $(BIN)/python -m pytest
# Tests wait for servers and guests: a process more than there are cores, but no more than the machine's memory likes.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run real test test-cloud-init test-image unit check fmt bench constraints docs revision clean postgresql clients packages

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Serve on http://127.0.0.1:4566 (ARGS="--ephemeral …")
	@exec $(BIN)/nephele serve $(ARGS)

real: packages $(VENV)/.real ## Serve with real guests and networks; as root, it installs what they need
	@if [ "$$(id -u)" = 0 ]; then exec $(BIN)/nephele serve $(REAL) $(ARGS); fi; \
	$(BIN)/nephele engine --rootless $(REAL) & engine=$$!; trap 'kill $$engine' EXIT; \
	$(BIN)/nephele serve --no-engine $(REAL) $(ARGS)

test: packages postgresql clients $(VENV)/.test $(VENV)/.try-real ## Run all tests (ARGS="tests/unit -k …")
	$(PYTEST) $(PARALLEL) $(ARGS)

unit: $(VENV)/.test ## Run the tests that need no server
	$(PYTEST) $(PARALLEL) tests/unit $(ARGS)

# A guest as Debian makes it takes minutes to boot where there is no KVM.
test-cloud-init: PACKAGES += mmdebstrap
test-cloud-init: packages $(VENV)/.try-real ## Boot a Debian with cloud-init through the API, as root
	NEPHELE_REQUIRE_REAL=1 $(PYTEST) -m on_demand tests/compat/real/test_cloud_init.py $(ARGS)

test-image: PACKAGES := buildah mmdebstrap util-linux
test-image: packages $(VENV)/.test ## Build the Dockerfile and run the image, as root, without Docker
	NEPHELE_REQUIRE_REAL=1 $(PYTEST) -m on_demand tests/compat/test_container_image.py $(ARGS)

check: $(VENV)/.check ## Format, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -q tests/unit/test_layers.py

fmt: $(VENV)/.check ## Format and tidy the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.test ## Measure start, memory and speed (ARGS="--help")
	$(BIN)/python -m bench $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m bench.guests)

docs: $(VENV)/.run ## Write the generated pages of docs/ anew
	$(BIN)/nephele operations --markdown > docs/coverage.md
	$(BIN)/nephele settings --markdown > docs/settings.md

revision: $(VENV)/.run ## Draft the migration for changed models (MESSAGE="what changed")
	@test -n "$(MESSAGE)" || { echo 'Say what changed: make revision MESSAGE="…"' >&2; exit 1; }
	$(BIN)/python -m gateway.revision "$(MESSAGE)"

constraints: ## Pin the newest versions that pyproject.toml admits
	@set -e; report=$$(mktemp); trap 'rm -f $$report' EXIT; \
	$(PYTHON) -m pip install --quiet --dry-run --ignore-installed --report $$report '.[test,dev,real]'; \
	{ sed -n '/^#/p' constraints.txt; $(PYTHON) -c 'import json, sys; print(*sorted("{}=={}".format(m["name"].lower().replace("_", "-"), m["version"]) for m in (i["metadata"] for i in json.load(open(sys.argv[1]))["install"]) if m["name"] != "nephele"), sep="\n")' $$report; } > constraints.new; \
	mv constraints.new constraints.txt

clean: ## Remove the virtual environment and every cache
	rm -rf $(VENV) .clients build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says what the environment holds, so that the second time costs nothing.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Nephele needs Python 3.11 or newer; found none in PATH (or set PYTHON=/path/to/python3)." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.check: pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) --editable '.[test,dev,real]' 2>/dev/null || $(PIP) --editable '.[test,dev]'
	@touch $@ $(VENV)/.run $(VENV)/.test

# Guests and networks of this machine's own: libvirt-python is compiled, which takes Debian's headers.
$(VENV)/.real: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[real]'
	@touch $@ $(VENV)/.run

# The same for tests, which skip what needs it where it cannot be had.
$(VENV)/.try-real: pyproject.toml constraints.txt | packages $(VENV)/.test
	@{ test $(VENV)/.real -nt pyproject.toml || $(PIP) --editable '.[test,real]'; } && touch $@ $(VENV)/.real \
	|| echo "What real guests need could not be installed: their tests are skipped." >&2

packages:
	@command -v dpkg-query >/dev/null || exit 0; \
	there=" $$(dpkg-query -W -f '$${Package}/$${db:Status-Status} ' $(PACKAGES) 2>/dev/null)"; \
	lacking=$$(for one in $(PACKAGES); do case "$$there" in *" $$one/installed "*) ;; *) echo $$one;; esac; done); \
	if [ -z "$$lacking" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing what real guests and networks need:" $$lacking; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$lacking; } >/dev/null </dev/null \
		|| echo "It could not be installed: see nephele doctor." >&2; \
	else \
		echo "For real guests and networks, root has to install: apt-get install --no-install-recommends" $$lacking >&2; \
	fi

# The tests run over SQLite, and over PostgreSQL too where it can be had: Debian's package, started by the tests themselves.
postgresql:
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing PostgreSQL for the tests"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql; } >/dev/null </dev/null \
		|| echo "PostgreSQL could not be installed: its tests are skipped." >&2; \
	else \
		echo "PostgreSQL is not installed, and only root may install it (apt-get install postgresql): its tests are skipped." >&2; \
	fi

# Programs that people use S3 with, Swift as another engine, the JavaScript SDK and DuckDB's extension from their registries.
CLIENTS := s3cmd rclone restic s3fs
ENGINE := swift-proxy swift-account swift-container swift-object memcached
clients: | $(BIN)/python
	@lacking=$$(for one in $(CLIENTS); do command -v $$one >/dev/null || echo $$one; done; \
		command -v swift-proxy-server >/dev/null || echo $(ENGINE); command -v npm >/dev/null || echo nodejs npm); \
	if [ -z "$$lacking" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing clients of S3 for the tests:" $$lacking; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$lacking; } >/dev/null </dev/null \
		|| echo "They could not be installed: their tests are skipped." >&2; \
	else \
		echo "Only root may install clients of S3 (apt-get install" $$lacking"): their tests are skipped." >&2; \
	fi
	@test .clients/.installed -nt tests/compat/s3_clients/package.json || { \
		mkdir -p .clients && cp tests/compat/s3_clients/package.json .clients/ && \
		npm install --prefix .clients --silent --no-audit --no-fund --fetch-retries=1 --fetch-timeout=60000 </dev/null >/dev/null 2>&1 && touch .clients/.installed; } \
	|| echo "The JavaScript SDK could not be installed (npm): its test is skipped." >&2
	@test .clients/duckdb/.installed -nt tests/compat/s3_clients/duckdb.txt || { \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .clients/duckdb \
			--requirement tests/compat/s3_clients/duckdb.txt 2>/dev/null && touch .clients/duckdb/.installed; } \
	|| echo "DuckDB's extension could not be installed (pip): its test is skipped." >&2
