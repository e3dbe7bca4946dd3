#!/usr/bin/env bash
# Fuzzes all input of the host from strangers, peers, callers and operators (host/fuzz/README.md).
#
#   scripts/fuzz.sh [SECONDS] [target...]    every target, or these, each for SECONDS (60 by default)
#
# Prints a table, and fails on any panic, memory error, hang (above 5 s for one input) or growth (above 1 GiB), with
# the way to reproduce it. The corpus is kept beside the build for the next run. Works with the one stable
# toolchain; installs cargo-fuzz if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || { echo "usage: scripts/fuzz.sh [SECONDS] [target...]" >&2; exit 2; }
[ $# = 0 ] || shift

if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "installing cargo-fuzz"
  cargo install --quiet --locked cargo-fuzz
fi

# Sanitizers and coverage are unstable flags, so a stable compiler has to be told that they are meant.
export RUSTC_BOOTSTRAP=1
target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
unset CARGO_TARGET_DIR
triple=$(rustc -vV | sed -n 's/^host: //p')
# The versions that the host is built with.
cp Cargo.lock host/fuzz/Cargo.lock
cargo fuzz build --fuzz-dir host/fuzz --target-dir "$target" --sanitizer address

if [ $# = 0 ]; then
  mapfile -t targets < <(cargo fuzz list --fuzz-dir host/fuzz)
else
  targets=("$@")
fi

# The seeds of whole files are made, not kept.
made=$target/seeds
mkdir -p "$made/plugin_file" "$made/config"
cp config/config.toml config/document.toml "$made/config/"
if command -v cc >/dev/null; then
  cc -shared -fPIC -Os -s -Wl,-z,noseparate-code -Iplugin-sdk/abi/include tests/c/plugin.c -o "$made/plugin_file/plugin"
else
  echo "note: there is no C compiler, so plugin_file begins without a plugin" >&2
fi

status=0
rows=()
for name in "${targets[@]}"; do
  corpus=$target/corpus/$name
  artifacts=$target/artifacts/$name
  log=$target/$name.log
  rm -rf "$artifacts"
  mkdir -p "$corpus" "$artifacts"
  folders=("$corpus")
  for seeds in "host/fuzz/seeds/$name" "$made/$name"; do
    if [ -d "$seeds" ]; then folders+=("$seeds"); fi
  done
  # Most of what is worth a try is short; a plugin file is not.
  length=4096
  if [ "$name" = plugin_file ]; then length=32768; fi
  failed=no
  # Daemons leak nothing here that the bound on memory would not show, and looking for leaks needs ptrace.
  "$target/$triple/release/$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=256 \
    -max_len=$length -detect_leaks=0 -print_final_stats=1 -artifact_prefix="$artifacts/" "${folders[@]}" \
    </dev/null >"$log" 2>&1 || failed=yes
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
  peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
  covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  rows+=("$(printf '| %-14s | %10s | %8s | %7s | %8s | %s |' \
    "$name" "${runs:-?}" "${rate:-?}" "${covered:-?}" "${peak:-?}" "$([ $failed = no ] && echo ok || echo FAILED)")")
  if [ $failed = yes ]; then
    status=1
    tail -n 60 "$log"
    for input in "$artifacts"/*; do
      echo "error: $name failed; to run it again: $target/$triple/release/$name $input" >&2
    done
  fi
done

printf '| %-14s | %10s | %8s | %7s | %8s | %s |\n' target runs runs/s edges "peak MiB" result
echo '| --- | ---: | ---: | ---: | ---: | --- |'
printf '%s\n' "${rows[@]}"
exit $status
