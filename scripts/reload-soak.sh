#!/usr/bin/env bash
# A thousand reloads under load, against the bounds that we promise; fails if one is broken.
# FRAMEX_PROFILE=dev runs it on an unoptimised build.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${FRAMEX_PROFILE:-release}
cargo build --workspace --profile "$profile"
cargo test --profile "$profile" --package framex-tests --test it -- \
  --ignored --exact reload::soak::a_thousand_reloads_under_load --nocapture
