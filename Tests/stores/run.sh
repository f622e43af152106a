#!/usr/bin/env bash
# Offset stores: the embedded one in a process of its own; PostgreSQL and Redis of Debian's packages, on loopback, with TLS,
# in folders of their own; and a broker over all of them. Tests/stores/run.sh FOLDER-OF-PROGRAMS [WORD…: only tests with it in
# their names]. Ends with "N passed, N failed".
# The folder has skein, skeind, skein-plugin-host and StoreDriver.
set -uo pipefail
cd "$(dirname "$0")/../.."
programs=$(cd "${1:-.build/release}" && pwd)
shift || true
for need in /usr/lib/postgresql/*/bin/postgres "$(command -v redis-server || echo redis-server)" "$programs/skein" "$programs/skeind" "$programs/skein-plugin-host" "$programs/StoreDriver"; do
  [ -x "$need" ] || { echo "$need is missing: make deps, Deploy/build.sh, swift build -c release --product StoreDriver"; echo "0 passed, 1 failed"; exit 1; }
done
out=$(mktemp -d)
export SKEIN_STORES_RUN=$$
pids=()
finish() {
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null # each ends its servers
  wait
  rm -rf "$out"
  # Of one that was killed itself; its servers have ended with it.
  for left in /dev/shm/skein-stores-$$-* "${TMPDIR:-/tmp}"/skein-stores-$$-*; do
    [ -d "$left" ] || continue
    awk -v left="$left/" 'index($2, left) == 1 {print $2}' /proc/mounts | xargs -r umount -l
    rm -rf "$left"
  done
}
trap finish EXIT
trap 'exit 1' INT TERM
Plugins/build.sh "$out/plugins" postgres-offsets redis-offsets || { echo "0 passed, 1 failed"; exit 1; }
Tests/interop/run.sh --python -c pass || { echo "0 passed, 1 failed"; exit 1; } # the broker's clients are stock grpcio
# At once: most of the time they wait for servers to die and come back.
for store in sqlite postgres redis broker; do
  timeout 300 Tests/interop/run.sh --python "Tests/stores/test_$store.py" "$programs" "$out/plugins" "$@" >"$out/$store" 2>&1 &
  pids+=($!)
done
passed=0
failed=0
for store in sqlite postgres redis broker; do
  wait "${pids[0]}"
  code=$?
  pids=("${pids[@]:1}")
  echo "--- $store"
  cat "$out/$store"
  summary=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out/$store" | tail -1)
  [ -n "$summary" ] || summary="0 passed, 1 failed" # it died
  good=$(awk '{print $1}' <<<"$summary")
  bad=$(awk '{print $3}' <<<"$summary")
  [ "$code" = 0 ] || [ "$bad" -gt 0 ] || [ "$good" = 0 ] || bad=1 # something was left running
  passed=$((passed + good))
  failed=$((failed + bad))
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
