#!/usr/bin/env bash
# A thousand reloads under load, against the bounds that we promise, and a minute without any peer; fails if one is
# broken.
# FRAMEX_PROFILE=dev runs it on an unoptimised build.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${FRAMEX_PROFILE:-release}
cargo build --workspace --profile "$profile"
cargo test --profile "$profile" --package framex-tests --test it -- \
  --ignored --exact reload::soak::a_thousand_reloads_under_load \
  peers::steady::all_peers_are_away_for_a_minute_and_come_back --nocapture
