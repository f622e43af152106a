#!/usr/bin/env bash
# Offset stores against real servers: PostgreSQL and Redis of Debian's packages, on loopback, with TLS, in folders of their
# own. Tests/stores/run.sh FOLDER-OF-PROGRAMS [WORD…: only tests with it in their names]. Ends with "N passed, N failed".
# The folder has skein, skein-plugin-host and StoreDriver.
set -uo pipefail
cd "$(dirname "$0")/../.."
programs=$(cd "${1:-.build/release}" && pwd)
shift || true
for need in /usr/lib/postgresql/*/bin/postgres "$(command -v redis-server || echo redis-server)" "$programs/skein" "$programs/skein-plugin-host" "$programs/StoreDriver"; do
  [ -x "$need" ] || { echo "$need is missing: make deps, Deploy/build.sh, swift build -c release --product StoreDriver"; echo "0 passed, 1 failed"; exit 1; }
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
Plugins/build.sh "$out/plugins" postgres-offsets redis-offsets || { echo "0 passed, 1 failed"; exit 1; }
passed=0
failed=0
for store in postgres redis; do
  echo "--- $store"
  timeout 300 python3 "Tests/stores/test_$store.py" "$programs" "$out/plugins" "$@" 2>&1 | tee "$out/log"
  summary=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out/log" | tail -1)
  [ -n "$summary" ] || summary="0 passed, 1 failed" # it died
  passed=$((passed + $(awk '{print $1}' <<<"$summary")))
  failed=$((failed + $(awk '{print $3}' <<<"$summary")))
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
