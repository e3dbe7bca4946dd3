#!/usr/bin/env bash
# Checks the dependencies by deny.toml: licences, bans, sources. Installs cargo-deny if it is missing.
#
#   scripts/deny.sh              what needs no network beyond the crates themselves
#   scripts/deny.sh advisories   known vulnerabilities, from the database of rustsec.org, which must be reachable
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "") checks=(bans licenses sources) ;;
  advisories) checks=(advisories) ;;
  *) echo "usage: scripts/deny.sh [advisories]" >&2; exit 2 ;;
esac

if ! cargo deny --version >/dev/null 2>&1; then
  echo "installing cargo-deny"
  cargo install --quiet --locked cargo-deny
fi
cargo deny check "${checks[@]}"
