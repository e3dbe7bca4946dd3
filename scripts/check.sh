#!/usr/bin/env bash
# The checks that every commit passes: format and lints, with warnings denied.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo fmt --manifest-path host/fuzz/Cargo.toml --check
# With the items for fuzz targets, which nothing else builds.
cargo clippy --workspace --all-targets --features framex-host/fuzzing --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
