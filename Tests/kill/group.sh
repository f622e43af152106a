#!/usr/bin/env bash
# A consumer group of 6 processes on 48 partitions under a steady load, release build, with the broker's own times
# (session 45 s, broken stream 6 s): members killed, stopped, joining, leaving, all replaced one after another, the
# broker killed, and a member that is slower than its processing deadline. Prints what each fault cost.
#
#   Tests/kill/group.sh            GROUP_ROUNDS=n (3), GROUP_RATE=records a second and partition (50); SKEIN_GROUP_BIN=DIR
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$(cd "${SKEIN_GROUP_BIN:-.build/release}" && pwd)
work=$(mktemp -d /tmp/skein-group.XXXXXX)
trap 'rm -rf "$work"' EXIT
code=0
timeout 3600 "$bin/KillDriver" group --skeind "$bin/skeind" --directory "$work" --rounds "${GROUP_ROUNDS:-3}" \
  --rate "${GROUP_RATE:-50}" "$@" || code=$?
# A driver that was timed out leaves its broker, and members, behind.
for pid in $(cat "$work"/*.pid 2>/dev/null); do
  case "$(readlink "/proc/$pid/exe" 2>/dev/null)" in "$bin/skeind" | "$bin/KillDriver") kill -KILL "$pid" ;; esac
done
if [ "$code" = 0 ]; then
  echo "1 passed, 0 failed"
else
  tail -5 "$work/skeind.log" >&2 || true
  find "$work" -name "member-*.err" -size +0 -exec tail -n 3 {} + 2>/dev/null | tail -40 >&2 || true
  echo "0 passed, 1 failed"
fi
exit "$code"
