# Carronade. `make help` lists what there is; `make run` and `make test` need nothing set up first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
ENV := source scripts/env.sh;
MODEL ?=
ARGS ?=
BIN := build/release/carronade

.PHONY: help run build test test-fast test-deep dev bench lint format package clean

help:  ## this list
	@echo 'make TARGET, where TARGET is'
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  %-10s %s\n", $$1, $$2}'

run: build  ## build, get a model and serve the chat page: make run [MODEL=name] [ARGS="--port 9000"]
	@$(ENV) exec $(BIN) serve $(MODEL) $(ARGS)

build:  ## build/release/carronade
	@scripts/setup.sh run
	@$(ENV) scripts/build.sh release carronade

test:  ## every test; ends with "N passed, N failed"
	@scripts/setup.sh test
	@$(ENV) exec python3 scripts/run_tests.py all

test-fast:  ## the unit tests alone, about a minute
	@scripts/setup.sh test
	@$(ENV) exec python3 scripts/run_tests.py fast

test-deep:  ## the unit tests again under ASan, UBSan and TSan (builds of their own: half an hour)
	@scripts/setup.sh test
	@$(ENV) exec python3 scripts/run_tests.py sanitizers threads

dev: build  ## the server with the page rebuilt in the browser as you edit it
	@$(ENV) exec scripts/dev.sh $(MODEL) $(ARGS)

bench:  ## measure the kernels, and beside llama.cpp (built from its package) for docs/benchmarks.md: two hours; ARGS=--quick: 10 minutes
	@scripts/setup.sh bench
	@$(ENV) scripts/build.sh release carronade kernel_bench
	@$(ENV) build/release/bench/kernels/kernel_bench --benchmark_counters_tabular=true
	@$(ENV) exec python3 bench/peers/compare.py $(ARGS)

lint:  ## formatting, clang-tidy, room borders, the page's linters
	@scripts/setup.sh lint
	@$(ENV) exec scripts/lint.sh

format:  ## let clang-format and prettier have their way
	@scripts/setup.sh lint
	@git ls-files '*.h' '*.cc' | xargs clang-format -i
	@$(ENV) scripts/web.sh run format

package: build  ## dist/carronade-VERSION-linux-ARCH.tar.gz
	@$(ENV) exec scripts/package.sh

clean:  ## remove build/ and dist/ (downloads stay in ~/.cache/carronade)
	rm -rf build dist
