#!/usr/bin/env bash
# Measures what calls cost (host/benches/README.md has the recorded figures). Takes about two minutes after the build.
#
#   scripts/bench.sh [HOST]    with the framex-host of another release build, beside its plugins: both are measured in
#                              one run, and their ratio is the cost of a change
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --workspace --quiet
if [ $# -gt 0 ]; then
  BENCH_OTHER_HOST=$(realpath "$1")
  export BENCH_OTHER_HOST
fi
exec cargo bench --quiet -p framex-host --bench sealed
