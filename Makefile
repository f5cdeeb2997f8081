# One command each; CI and the README call nothing else.
#
# Needs rustc/cargo 1.95 or newer, gcc, git, make, psql and python3 (with venv).
# `make setup` installs what it can and says in one line what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(HOME)/.cache/tidemill/target
export CARGO_TERM_COLOR ?= never
VENV := $(abspath $(CARGO_TARGET_DIR)/../venv)
PYTHON := $(VENV)/bin/python
# The server that demo and tests run; `make bench` builds and uses an optimised one.
export TIDEMILL_BIN ?= $(CARGO_TARGET_DIR)/debug/tidemill
RELEASE_BIN := $(CARGO_TARGET_DIR)/release/tidemill
# Passed to the harness of `make bench`, for example BENCH="--events 20000000 q0 q2".
BENCH ?=

.PHONY: help setup venv build demo test unit black-box clients oracle acceptance bench fmt lint ci

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Install or name what is missing
	@sql-tests/scripts/setup.sh

venv: setup
	@sql-tests/scripts/venv.sh "$(VENV)"

build: setup
	cargo build --package tidemill-server

demo: build ## Build, start a server, watch a windowed view change, stop
	@sql-tests/scripts/demo.sh

fmt: ## Format the sources
	cargo fmt --all

lint: setup ## rustfmt --check and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: build ## All Rust tests, the SQL tests against the server included
	@sql-tests/scripts/cargo-test.sh

clients: build venv ## Real clients and real input against the server
	$(PYTHON) sql-tests/clients/run.py

oracle: build venv ## Recompute the expected rows of the SQL tests and compare
	$(PYTHON) sql-tests/oracle/expect.py --check

test: lint unit oracle clients ## Everything that must pass before a change lands

acceptance: build venv ## The client tests at full size: 1 GB results, a minute of load
	TIDEMILL_STREAM_MB=1024 TIDEMILL_LOAD_SECONDS=60 TIDEMILL_FLIGHTS=all $(PYTHON) sql-tests/clients/run.py

bench: venv ## Events per second, CPU and memory of the optimised build
	cargo build --release --package tidemill-server --package tidemill-connectors --examples --bins
	TIDEMILL_BIN=$(RELEASE_BIN) $(PYTHON) sql-tests/bench/bench.py $(BENCH)

ci: ## What the CI runs
	@.ci/run
