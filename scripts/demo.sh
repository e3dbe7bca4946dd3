#!/usr/bin/env bash
# The case that framex-host is built for, on real data: host A has no database and may only call out over HTTP; host B
# has the database; the same plugin files are on both. First it builds the host and the plugins, with the profile
# `quick`: fast to build, with slower calls than `--release`. `--keep` leaves both hosts running.
set -euo pipefail
cd "$(dirname "$0")/.."

keep=no
case "${1:-}" in
  "") ;;
  --keep) keep=yes ;;
  *) echo "usage: scripts/demo.sh [--keep]" >&2; exit 2 ;;
esac

if ! command -v cargo >/dev/null; then
  echo "error: Rust is missing; install it from https://rustup.rs" >&2
  exit 1
fi
if ! command -v curl >/dev/null; then
  echo "error: curl is missing; install it (on Debian: curl)" >&2
  exit 1
fi

say() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
say "Building the host and two plugins: the first time about 3.5 minutes of one core, or half of it on two, after the downloads ..."
cargo build --profile quick -p framex-host -p demo -p reports
echo "built in $SECONDS s"

place=$(mktemp -d)
built=${CARGO_TARGET_DIR:-target}/quick
host=$built/framex-host
pids=()
clean_up() {
  status=$?
  if [ "$keep" = yes ] && [ "$status" = 0 ]; then return; fi
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$place"
}
trap clean_up EXIT

# The same plugin files for both hosts.
for name in a b; do
  mkdir -p "$place/$name/plugins"
  cp "$built/libdemo.so" "$built/libreports.so" "$place/$name/plugins/"
done
"$host" keygen --out "$place/proxy.key"

# Host B has the database: SQLite, filled from the data set that the plugin carries.
cat >"$place/b/config.toml" <<TOML
host_id = "host-b"
[server]
port = 0
[plugins.proxy.auth]
rules = { "/api/v1/proxy/remote" = ["file:../proxy.key"] }
[plugins.reports]
database = "$place/b/flights.db"
create = true
TOML

start() { # folder: starts a host and sets `url` to where it listens
  # Created here, because it is read below before the host may have opened it.
  : >"$place/$1/log"
  "$host" --config "$place/$1/config.toml" 2>>"$place/$1/log" &
  pids+=($!)
  local pid=$! tries=0
  until url=$(sed -n 's/.*listening address=\([0-9.:]*\).*/http:\/\/\1/p' "$place/$1/log") && [ -n "$url" ]; do
    if ! kill -0 "$pid" 2>/dev/null || [ $((tries += 1)) -gt 200 ]; then
      echo "error: host $1 did not start:" >&2
      cat "$place/$1/log" >&2
      exit 1
    fi
    sleep 0.05
  done
}

say "Starting host B, which has the database ..."
start b
b=$url
echo "host-b listens on $b, database $place/b/flights.db ($(stat -c %s "$place/b/flights.db") bytes)"

# Host A has no database and no path to the file: its config says where the database functions run.
cat >"$place/a/config.toml" <<TOML
host_id = "host-a"
[server]
port = 0
[plugins.proxy]
proxy_urls = ["$b"]
white_list = ["/api/v1/proxy/remote"]
[plugins.proxy.proxy_functions]
"$b" = [
  "reports.flights.busiest_routes",
  "reports.flights.carrier_delays",
  "reports.flights.day",
  "reports.flights.departures",
]
[plugins.proxy.auth]
rules = { "/api/v1/proxy/remote" = ["file:../proxy.key"] }
TOML

say "Starting host A, which has none; the plugin files are the same:"
start a
a=$url
(cd "$place" && sha256sum {a,b}/plugins/libreports.so)
echo "host-a listens on $a"

say "What can be called on host A, and where it runs:"
"$host" functions --url "$a"

ask() { # function, arguments, host that must serve it, text that the answer must hold
  echo
  echo "\$ curl -X POST $a/api/v1/functions/$1 -H 'content-type: application/json' -d '$2'"
  local answer served
  answer=$(curl -sS --fail-with-body -D "$place/headers" -X POST "$a/api/v1/functions/$1" -H 'content-type: application/json' -d "$2") || {
    echo "error: the call failed: $answer" >&2
    exit 1
  }
  served=$(sed -n 's/^x-framex-served-by: \([^\r]*\).*/\1/p' "$place/headers")
  echo "$answer"
  echo "  served by: $served"
  if [ "$served" != "$3" ]; then echo "error: $3 should have served it" >&2; exit 1; fi
  case "$answer" in
    *"$4"*) ;;
    *) echo "error: the answer should hold: $4" >&2; exit 1 ;;
  esac
}

say "A function that needs no database runs on A itself:"
ask demo.some.example_func '{"id": 7, "user": {"id": 7, "name": "Ada"}}' host-a '"7: Ada"'

say "A question to the database, asked on A, runs on B:"
ask reports.flights.busiest_routes '{"limit": 2}' host-b '"destination":"LAX"'

say "A report that runs on A calls those functions as ordinary typed Rust; their bodies run on B:"
ask reports.briefing.morning '{"airport": "EWR", "date": "2013-01-02"}' host-a '350 departures (45 more than the day before)'

say "The database's own error arrives on A with its code and details:"
problem=$(curl -sS -X POST "$a/api/v1/functions/reports.briefing.morning" -H 'content-type: application/json' -d '{"airport": "JKF", "date": "2013-01-02"}')
echo "$problem"
case "$problem" in
  *'"app_code":"unknown_airport"'*) ;;
  *) echo "error: the app_code should be unknown_airport" >&2; exit 1 ;;
esac

say "A new build on B, under load: no call fails."
(
  for _ in $(seq 200); do
    curl -sS -o /dev/null -w '%{http_code}\n' -X POST "$a/api/v1/functions/reports.flights.day" \
      -H 'content-type: application/json' -d '{"airport": "JFK", "date": "2013-01-04"}'
  done
) >"$place/statuses" &
load=$!
for _ in 1 2 3; do
  cp "$built/libreports.so" "$place/b/plugins/libreports.so"
  "$host" --config "$place/b/config.toml" plugins reload reports
done
wait "$load"
echo "$(wc -l <"$place/statuses") calls meanwhile, $(grep -vc '^200$' "$place/statuses" || true) of them failed"
if grep -qv '^200$' "$place/statuses"; then echo "error: no call should have failed" >&2; exit 1; fi

say "Without B the call fails, and says so; it does not run in the wrong place:"
if [ "$keep" = yes ]; then
  echo "(skipped: --keep leaves B running)"
else
  kill "${pids[0]}"
  wait "${pids[0]}"
  problem=$(curl -sS -X POST "$a/api/v1/functions/reports.flights.busiest_routes" -H 'content-type: application/json' -d '{}')
  echo "$problem"
  case "$problem" in
    *'"code":"unavailable"'*'"executed":false'*) ;;
    *) echo "error: the code should be unavailable, and executed false" >&2; exit 1 ;;
  esac
fi

if [ "$keep" = yes ]; then
  say "Both hosts are still running. Try:"
  cat <<TEXT
  $host functions --url $a
  $host call reports.flights.carrier_delays --url $a --json '{"origin": "EWR"}'
  curl $a/api/v1/openapi.json
  less $place/a/config.toml $place/b/config.toml $place/a/log $place/b/log
To stop them:
  kill ${pids[*]}; rm -r $place
TEXT
fi
say "Done: every step went as expected."
