#!/usr/bin/env bash
# Installs what is missing and runs all tests.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { # what it is for, command that shows that it is there, Debian packages...
  local what=$1 probe=$2
  shift 2
  if eval "$probe" >/dev/null 2>&1; then return; fi
  if ! command -v apt-get >/dev/null; then
    echo "error: $what is missing; install it (on Debian: $*)" >&2
    exit 1
  fi
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  echo "installing $what: $*"
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

need "Rust (https://rustup.rs)" "command -v cargo" cargo
need "a C compiler" "command -v cc" gcc libc6-dev
need "Python with the libraries of tests/interop/client.py" \
  "/usr/bin/python3 -c 'import argon2, nacl.bindings, msgpack, lz4.block'" \
  python3 python3-nacl python3-argon2 python3-msgpack python3-lz4
need "Python's venv, for clients that tests generate" "/usr/bin/python3 -c 'import ensurepip, venv'" python3-venv
need "Node.js with npm, for clients that tests generate" "command -v node && command -v npm" nodejs npm
need "MariaDB, as a database of the tests" "PATH=\$PATH:/usr/sbin command -v mariadbd && command -v mariadb-install-db" \
  mariadb-server
need "nginx, in front of hosts of the tests" "PATH=\$PATH:/usr/sbin command -v nginx" nginx-light
need "promtool, for the metrics" "command -v promtool" prometheus
need "commands for networks of the tests' own" "PATH=\$PATH:/usr/sbin command -v ip && command -v unshare" \
  iproute2 util-linux

# The tests use the daemon's binary and the plugins' libraries of this very build.
cargo build --workspace
# For the tests of hosts of two builds that call each other.
scripts/older-host.sh
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

# cargo closes each of its many test programs with a line; this is the sum of them.
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log"
exit "$status"
