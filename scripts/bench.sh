#!/usr/bin/env bash
# Measures what calls cost (host/benches/README.md has the recorded figures). Takes about two minutes after the build.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --workspace --quiet
exec cargo bench --quiet -p framex-host --bench sealed
