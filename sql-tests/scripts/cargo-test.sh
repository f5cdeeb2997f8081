#!/usr/bin/env bash
# Runs all Rust tests: with cargo-nextest where it is installed, else with cargo.
set -euo pipefail
if cargo nextest --version >/dev/null 2>&1; then
    exec cargo nextest run --workspace --no-fail-fast --locked
fi
exec cargo test --workspace --no-fail-fast --locked
