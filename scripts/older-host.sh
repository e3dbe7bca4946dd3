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
git archive "$commit" | tar -x -C "$sources"
# In the same folder as this version's build: most of the dependencies are the same. What it puts there under this
# version's name is replaced when this version is built.
CARGO_TARGET_DIR=$PWD/target cargo build --quiet --locked --manifest-path "$sources/Cargo.toml" -p framex-host
cp target/debug/framex-host "$built"
