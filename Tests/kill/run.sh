#!/usr/bin/env bash
# Real brokers, killed under load by Tests/kill/driver. Trials, each with its seed printed:
#
#   kill      SIGKILL at random moments; the page cache survives                            must hold
#   layer     the tests of Tests/preload itself                                             must hold
#   power     SIGKILL, then what was not synced is taken away, bytes and directory entries  must hold
#             (by that layer)
#   control   power, with a broker that acknowledges before the sync                        must FAIL
#   rotation  every certificate replaced under load, then SIGTERM, drain and start again    must hold
#   stale     the same, but the broker is not told of the new certificates                  must FAIL
#   swap      the partitioner of the live topic swapped with a fence, SIGKILL amid half     must hold
#             of the swaps: one generation after each restart, the committed one
#   reorder   swapped without a fence, read as if keys stayed together                      must FAIL
#   group     six members of a consumer group, killed, stopped, replaced, added; the        must hold
#             broker killed: who is back when, who notices, what is done twice (Tests/kill/group.sh)
#   sqlite    three members whose offsets are in the embedded store; broker, member, broker must hold
#             killed
#   eager     members that commit before they process, killed                               must FAIL
#
# Without the controls a green run would prove nothing.
#
# Tests/kill/run.sh rotation   only these two; Tests/kill/run.sh swap, Tests/kill/run.sh group  the same
# SKEIN_KILL_ROUNDS=N   kills of the first trial (20); power has half of them, rotation a quarter
# SKEIN_KILL_SEED=N     replay a seed
# Needs a debug build: a release build ignores SKEIN_BREAKAGE.
set -uo pipefail
cd "$(dirname "$0")/../.."
bin=${SKEIN_DEBUG_BIN:-.build/debug}
rounds=${SKEIN_KILL_ROUNDS:-20}
seed=${SKEIN_KILL_SEED:-0}
passed=0
failed=0

if [ -z "${SKEIN_DEBUG_BIN:-}" ]; then
  echo "kill: building (debug) ..."
  for product in skeind KillDriver; do
    swift build --product "$product" >.build/logs/kill-build.log 2>&1 || {
      grep -E 'error:' .build/logs/kill-build.log | head -20
      echo "0 passed, 1 failed"
      exit 1
    }
  done
fi
bin=$(cd "$bin" && pwd)
work=$(mktemp -d /tmp/skein-kill.XXXXXX)
trap 'rm -rf "$work"' EXIT

# trial NAME EXPECTED_EXIT ARGUMENTS...
trial() {
  local name=$1 expected=$2 folder=$work/$1 code=0
  shift 2
  mkdir -p "$folder"
  echo "== $name"
  local verb=(kill --seed "$seed")
  if [ "$1" = swap ]; then verb=(swap --seed "$seed") && shift; fi
  if [ "$1" = group ]; then verb=(group) && shift; fi
  timeout $((300 + 10 * rounds)) "$bin/KillDriver" "${verb[@]}" --skeind "$bin/skeind" --directory "$folder" "$@" || code=$?
  # A driver that was timed out leaves its broker, and members, behind.
  local pid
  for pid in $(cat "$folder"/*.pid 2>/dev/null); do
    case "$(readlink "/proc/$pid/exe" 2>/dev/null)" in "$bin/skeind" | "$bin/KillDriver") kill -KILL "$pid" ;; esac
  done
  if [ "$code" = "$expected" ]; then
    passed=$((passed + 1))
    echo "== $name: as it must be (exit $code)"
  else
    failed=$((failed + 1))
    echo "== $name: exit $code, must be $expected; last lines of the broker's log:"
    tail -15 "$folder/skeind.log" 2>/dev/null
    find "$folder" -name "member-*.err" -size +0 -exec tail -n 3 {} + 2>/dev/null | tail -40
  fi
  rm -rf "$folder"
}

# The application sees 0 errors; 0 records are lost, repeated or reordered.
rotation() {
  trial rotation 0 --stop term --rotate --rounds $(((rounds + 3) / 4))
  trial stale 1 --stop term --rotate --no-reload --rounds 1 --environment SKEIN_TLS_WATCH_MS=0
}

swap() {
  trial swap 0 swap --swap sticky --swap murmur2 --fence --swaps "$rounds" --every 100
  trial reorder 1 swap --swap sticky --swap murmur2 --accept-reorder --unkeyed "" --swaps 4 --every 200 --kill-share 0
}

# Shortened: sessions of 4 s and 3 s for a broken stream instead of 45 s and 6 s; and a debug build on a busy machine may
# let unaffected partitions wait 100 ms longer instead of 50 (Tests/kill/group.sh has the real ones).
group() {
  trial group 0 group --session-ms 4000 --grace-ms 3000 --heartbeat-ms 500 --before 3000 --gap-limit-ms 100
  # Offsets in the embedded store: the broker is killed in the middle of its commits, twice.
  trial sqlite 0 group --session-ms 3000 --grace-ms 3000 --heartbeat-ms 500 --before 1000 --members 3 --partitions 12 --faults broker,kill,broker --gap-limit-ms 2000 --environment SKEIN_GROUPS_OFFSET_STORE=sqlite
  trial eager 1 group --session-ms 3000 --grace-ms 1000 --heartbeat-ms 500 --before 500 --members 3 --partitions 12 --faults kill --commit-first
}

if [ "${1:-}" = rotation ] || [ "${1:-}" = swap ] || [ "${1:-}" = group ]; then
  "$1"
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
  exit
fi

trial kill 0 --rounds "$rounds"
rotation
swap
group

# power NAME EXPECTED_EXIT ARGUMENTS...: a trial under the layer. After every second kill everything unsynced is
# lost, after the others a random part of it, with one write torn.
power() {
  local name=$1 expected=$2
  shift 2
  trial "$name" "$expected" --rounds $((rounds / 2)) \
    --environment "LD_PRELOAD=$work/preload/unsynced.so" \
    --environment "UNSYNCED_ROOT=$work/$name/broker" --environment "UNSYNCED_STATE=$work/$name/state" \
    --after-kill "'$work/preload/unsynced-rollback' '$work/$name/state' \$([ \$((ROUND_SEED % 2)) = 0 ] || echo \$ROUND_SEED) >/dev/null" "$@"
}

echo "== layer"
if Tests/preload/test.sh >"$work/layer.log" 2>&1; then
  passed=$((passed + 1))
else
  failed=$((failed + 1))
  tail -20 "$work/layer.log"
fi

if Tests/preload/build.sh "$work/preload" >"$work/preload.log" 2>&1; then
  power power 0
  # A kill finds something acknowledged and unsynced about one time in four; should ten not do, it tries again.
  for attempt in 1 2 3; do
    before=$failed
    power control 1 --environment SKEIN_BREAKAGE=ack-before-sync
    [ "$failed" != "$before" ] && [ "$attempt" -lt 3 ] || break
    failed=$before
  done
else
  cat "$work/preload.log"
  failed=$((failed + 2))
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
