#!/usr/bin/env bash
# Builds the host from before frames were bound to their receiver, for the tests of mixed fleets: target/older/framex-host.
# Needs the history of this repository. Does nothing if it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=61f0249
built=target/older/framex-host
if [ -x "$built" ]; then exit 0; fi
if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
  echo "error: commit $commit is not in this clone: fetch the whole history (git fetch --unshallow)" >&2
  exit 1
fi
echo "building the host of $commit, for the tests of mixed fleets"
sources=target/older/sources
rm -rf "$sources"
mkdir -p "$sources"
git archive "$commit" | tar -x -m -C "$sources"
# Most dependencies have the same version here: a copy of this build saves compiling them.
cache=target/older/target
mkdir -p "$cache/debug"
for part in deps build .fingerprint; do
  if [ -d "target/debug/$part" ]; then cp -a "target/debug/$part" "$cache/debug/"; fi
done
# Its own crates have the same names as the crates of this version, and must not be mistaken for them.
rm -rf "$cache"/debug/.fingerprint/framex-* "$cache"/debug/deps/*framex_*
CARGO_TARGET_DIR=$PWD/$cache cargo build --quiet --locked --manifest-path "$sources/Cargo.toml" -p framex-host
cp "$cache/debug/framex-host" "$built"
rm -rf "$cache"
