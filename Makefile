# make serve    set up and run the server on its embedded model (ARGS="--port 8080 …" are passed on)
# make test     set up and run all tests
# make test-fast  the inner loop: what starts no server and compiles little
# make check    lint, format and types
# make bench    measure (see docs/performance.md)
# make setup    .venv with the locked versions and this package, editable
# make lock     choose the newest versions that pyproject.toml allows and write the lock files
#
# Needs python3 (3.11 to 3.14) and make; uses uv when it is there.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# With the hashes of all files of a version, for every platform: what installs takes no other.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header \
  --no-annotate --generate-hashes

.PHONY: serve test test-fast check bench setup lock
.DEFAULT_GOAL := serve

serve: setup
	$(BIN)/rwkv-server serve --config config/server.toml $(ARGS)

test: setup
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile $(ARGS)

FAST := access assistant batches checkpoints grammars machine protocol registry sampling state_cache stores worker
FAST_FILES := architecture cli config inspection regular_file words

test-fast: setup
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile -m "not slow" \
	  $(FAST:%=tests/%) $(FAST_FILES:%=tests/test_%.py) $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/rwkv-server bench --shape 0.1b
	$(BIN)/python -m benchmarks.serving

setup: $(READY)

$(READY): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "error: rwkv-server needs Python 3.11 to 3.14; name one with make PYTHON=python3.12"; exit 2; }
	@if command -v uv >/dev/null; then \
	  set -ex; uv venv --quiet --allow-existing --seed --python $(PYTHON) .venv; \
	  uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock; \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  set -ex; $(PYTHON) -m venv .venv; \
	  $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.lock; \
	  $(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $(READY)

lock:
	$(COMPILE) --upgrade pyproject.toml --extra postgres --extra otel --output-file requirements.lock
	$(COMPILE) --upgrade pyproject.toml --extra test --output-file requirements-dev.lock
	echo hatchling | $(COMPILE) --upgrade --constraint requirements-dev.lock - \
	  --output-file requirements-build.lock
