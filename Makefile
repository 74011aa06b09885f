# Needs make and Python >= 3.11, nothing else. PORT, DATA_DIR and EXIT may be given: make demo EXIT=1 PORT=8123
.PHONY: help demo run bench test contract openapi faults lint fmt reset

help:
	@echo "make demo    everything from nothing, plays a scenario, serves until Ctrl-C (EXIT=1: ends after it)"
	@echo "make run     the same stack without demonstration data"
	@echo "make reset   asks, then removes all data"
	@echo "make bench   measures everything in one table, half an hour (QUICK=1: four; ONLY=single: one part)"
	@echo "make test    runs the tests"
	@echo "make contract  every call of the API against its description, and the examples of docs/ci.md: three minutes"
	@echo "make openapi   publishes the API's description, docs/openapi-v1.json (BREAK=1: even if it breaks clients)"
	@echo "make faults  kills, fills and stops parts of a running service for some ten minutes (ROUNDS=20 kills, SEED)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make fmt     formats the code"
	@echo "PORT (8000) and DATA_DIR (.prooftrail, .prooftrail-demo, .prooftrail-bench) may be given."

# The first Python that is new enough and can make environments; failing that one that is new enough (the
# bootstrap then says what it lacks). A name on the path may be a wrapper that does not work: each is tried.
bootstrap = set -e; python=; \
	for wanted in "import ensurepip, venv" "pass"; do \
	  for candidate in $(PYTHON) python3.13 python3.12 python3.11 python3 python; do \
	    if "$$candidate" -c "import sys; sys.exit(sys.version_info < (3, 11)); " >/dev/null 2>&1 \
	       && "$$candidate" -c "$$wanted" >/dev/null 2>&1; then python="$$candidate"; break 2; fi; \
	  done; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: There is no Python 3.11 or later here. Install one (Debian, Ubuntu: apt-get install python3 python3-venv)." >&2; \
	  exit 1; \
	fi; \
	"$$python" -m config.stack.bootstrap

demo run:
	@$(bootstrap) run; exec .venv/bin/python -m config.stack $@

bench:
	@$(bootstrap) dev; exec .venv/bin/python -m config.stack bench

reset:
	@$(bootstrap) run; exec .venv/bin/python -m config.stack reset

test:
	@$(bootstrap) dev; exec .venv/bin/python -m pytest -n auto --dist loadgroup

contract:
	@$(bootstrap) dev; exec env LOG_LEVEL=WARNING .venv/bin/python -m pytest -n 0 -m contract tests/contract tests/docs

openapi:
	@$(bootstrap) dev; exec .venv/bin/python -m tests.contract

faults:
	@$(bootstrap) dev; exec env LOG_LEVEL=WARNING .venv/bin/python -m pytest -n 0 -s -m faults tests/faults

lint:
	@$(bootstrap) dev; \
	.venv/bin/ruff check .; \
	.venv/bin/ruff format --check .; \
	.venv/bin/mypy .; \
	.venv/bin/lint-imports

fmt:
	@$(bootstrap) dev; .venv/bin/ruff check --fix-only .; .venv/bin/ruff format .
