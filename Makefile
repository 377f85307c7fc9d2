# Everything a newcomer or the continuous integration runs. `make demo` and `make test` set up what they need.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO_ARGS ?=
BENCH_ARGS ?=
SCHEDULES ?= 1000
CLUSTER_SCHEDULES ?= 40
CHAOS_REPORT ?= .chaos/report.json
SEGMENTS ?= 1000
REQUESTS ?= 10000
DEVICE_SCHEDULES ?= 200
# Tests wait about half of their time, so there is one more worker than cores, and at most four for the memory they take.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(os.cpu_count() + 1, 4))')
# Test files run side by side, the long ones first; those that start Ray follow one another in one worker.
PYTEST := $(BIN)/pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder
SLOW_MARKERS := ray or redis or rtsp or slow or chaos

.PHONY: setup demo test test-fast check bench bench-accuracy chaos fuzz protos docs format

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("hermes needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name another one: make $(MAKECMDGOALS) PYTHON=python3.11" % sys.version_info[:2])'
	@echo "Installing hermes and what it needs into .venv: about 3.3 GB on disk,"
	@echo "and some more where pip takes PyTorch for CUDA (docs/getting-started.md says how to take the one for CPUs)."
	@echo "This happens once and takes one to ten minutes, as fast as your network. Nothing outside of .venv is changed."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	@$(BIN)/hermes demo $(DEMO_ARGS)

test: $(READY)
	$(PYTEST)

test-fast: $(READY)
	$(PYTEST) -m 'not ($(SLOW_MARKERS))'

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m benchmarks.ttft

bench-accuracy: $(READY)
	$(BIN)/python -m benchmarks.accuracy $(BENCH_ARGS)

chaos: $(READY)
	HERMES_CHAOS_SCHEDULES=$(SCHEDULES) HERMES_CHAOS_CLUSTER_SCHEDULES=$(CLUSTER_SCHEDULES) \
		HERMES_CHAOS_REPORT=$(CHAOS_REPORT) $(PYTEST) -m chaos

fuzz: $(READY)
	HERMES_FUZZ_SEGMENTS=$(SEGMENTS) HERMES_FUZZ_REQUESTS=$(REQUESTS) HERMES_FUZZ_SCHEDULES=$(DEVICE_SCHEDULES) \
		$(BIN)/pytest tests/pipeline/decoding/test_fuzz.py tests/actors/server/test_fuzz.py \
		tests/pipeline/device/test_random_schedules.py

protos: $(READY)
	$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. --grpc_python_out=. protos/hermes_v1.proto

docs: $(READY)
	$(BIN)/python -m actors.config.reference > docs/configuration.md
	$(BIN)/python -m protos.reference > docs/api.md
	$(BIN)/python -m actors.metrics.reference > docs/metrics.md

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
