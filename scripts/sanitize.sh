#!/usr/bin/env bash
# Runs tests with memory errors made visible; fails on any report of one, and shows it.
#
#   scripts/sanitize.sh            daemon and plugins built with AddressSanitizer; all tests of reloads and of native libraries
#   scripts/sanitize.sh valgrind   the ordinary build under valgrind, far slower; a selection of them
#
# More arguments are names of tests to run instead, `""` for all. On 2 cores, AddressSanitizer takes about
# 5 minutes for the first build and 2 for the tests; valgrind takes about 3 minutes after the usual build.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=asan
case "${1:-}" in
  asan | valgrind) mode=$1; shift ;;
  -*) echo "usage: scripts/sanitize.sh [asan|valgrind] [test...]" >&2; exit 2 ;;
esac

target=${CARGO_TARGET_DIR:-$PWD/target}/sanitize
reports=$target/reports
rm -rf "$reports"
mkdir -p "$reports"
reports=$(cd "$reports" && pwd) # the daemons that write there have another working directory

case $mode in
  asan)
    # The flags of sanitizers are unstable, so a stable compiler has to be told that they are meant. With `--target`
    # they are not applied to build scripts and macros. Plugins have the runtime of AddressSanitizer from the binary
    # that loads them, which has to export it.
    export RUSTC_BOOTSTRAP=1
    export RUSTFLAGS="-Zsanitizer=address -Zexport-executable-symbols -Clink-args=-rdynamic"
    triple=$(rustc -vV | sed -n 's/^host: //p')
    built=$target/$triple/debug
    # A folder of its own, or the usual one would be built again for other flags; only what these tests use.
    place=(--target-dir "$target" --target "$triple")
    packages=(
      --package framex-host --package framex-tests
      --package changing --package misbehave --package wrong_layout --package demo --package hooks --package allocates
    )
    # Daemons are killed at the end of many tests, and libraries that stay mapped are part of others: leaks say
    # nothing. `abort` lets the test see a crash.
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=1:check_initialization_order=1
    ASAN_OPTIONS+=:strict_init_order=1:log_path=$reports/report
    if symbolizer=$(command -v llvm-symbolizer || command -v addr2line); then
      ASAN_OPTIONS+=:external_symbolizer_path=$symbolizer
    fi
    export ASAN_OPTIONS
    tests=(reload:: native::)
    ;;
  valgrind)
    if ! command -v valgrind >/dev/null; then
      if ! command -v apt-get >/dev/null; then
        echo "error: valgrind is missing; install it (on Debian: valgrind)" >&2
        exit 1
      fi
      root=()
      [ "$(id -u)" = 0 ] || root=(sudo)
      echo "installing valgrind"
      "${root[@]}" apt-get update -qq
      "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq valgrind >/dev/null
    fi
    place=()
    packages=(--workspace)
    # One thread at a time runs under valgrind; without `--fair-sched` busy ones starve the others.
    TESTS_RUNNER="$(command -v valgrind) --quiet --fair-sched=yes --error-exitcode=99 --log-file=$reports/%p"
    export TESTS_RUNNER
    # Without the tests that have short deadlines, or hundreds of reloads.
    tests=(
      reload::calls:: reload::requests:: reload::many::a_ reload::many::kept reload::many::reloads
      reload::load::a_peer reload::bad_builds::a_function reload::bad_builds::arguments
    )
    ;;
esac
[ $# = 0 ] || tests=("$@")

cargo build "${place[@]}" "${packages[@]}"

# Both sides of the calls must be watched: without this, a build that lost the flags would pass unseen.
if [ "$mode" = asan ]; then
  for file in framex-host libchanging.so libmisbehave.so; do
    if ! grep -q __asan_report_load8 "$built/$file"; then
      echo "error: $built/$file was not built with AddressSanitizer" >&2
      exit 1
    fi
  done
fi

# The tools take memory for themselves, so the bounds of memory are not checked.
export TESTS_INSTRUMENTED=1
status=0
timeout 1800 cargo test "${place[@]}" --package framex-tests --test it -- "${tests[@]}" || status=$?

# The destructors of plugins run on a stack of their own, of which AddressSanitizer warns. That is not an error.
if [ "$mode" = asan ]; then
  find "$reports" -type f | while read -r report; do
    grep -q ERROR: "$report" || rm "$report"
  done
fi
found=$(find "$reports" -type f -size +0)
if [ -n "$found" ]; then
  echo "$found" | while read -r report; do
    echo "--- $report"
    cat "$report"
  done
  echo "error: memory errors were reported" >&2
  exit 1
fi
exit "$status"
