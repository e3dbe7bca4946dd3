#!/usr/bin/env bash
# A thousand reloads under load, against the promised bounds, and 1,200 reloads each in hosts whose state directory
# is not its own real path; fails if one is broken.
# SOAK_PROFILE=dev runs it on an unoptimised build.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${SOAK_PROFILE:-release}
cargo build --workspace --profile "$profile"
cargo test --profile "$profile" --package framex-tests --test it -- \
  --ignored --exact reload::soak::a_thousand_reloads_under_load --nocapture
cargo test --profile "$profile" --package framex-tests --test it -- \
  --ignored --exact reload::lifecycles::twelve_hundred_reloads_leave_nothing_behind --nocapture
