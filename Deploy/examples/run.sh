#!/usr/bin/env bash
# Runs the examples, in Swift and in Python, on a broker of their own and checks what they did. Ends by itself.
#
#   Deploy/examples/run.sh          builds skeind and the examples (debug) if they are not built
#   SKEIN_EXAMPLES_BIN=DIR          where skeind, OrderService, AuditSink, FanOut and GroupWorker are
#   SKEIN_EXAMPLES_ORDERS=N         orders by each order service (200)
#
# Each order service fills a topic; each topic is fanned out by the other language; each audit sink copies
# every topic, is stopped half way, and goes on. A group of workers works a topic off, though one leaves half way and one is killed.
set -euo pipefail
cd "$(dirname "$0")/../.."
examples=$PWD/Deploy/examples
orders=${SKEIN_EXAMPLES_ORDERS:-200}
if [ -z "${SKEIN_EXAMPLES_BIN:-}" ]; then
  mkdir -p .build/logs
  echo "examples: building (debug) ..."
  for product in skeind OrderService AuditSink FanOut GroupWorker; do
    swift build --product "$product" >.build/logs/examples-build.log 2>&1 || {
      grep -E 'error:' .build/logs/examples-build.log | head -20
      echo "0 passed, 1 failed"
      exit 1
    }
  done
fi
bin=$(cd "${SKEIN_EXAMPLES_BIN:-.build/debug}" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/skein-examples.XXXXXX")
chmod 700 "$work"
broker=""
finish() {
  local code=$?
  if [ -n "$broker" ] && kill -0 "$broker" 2>/dev/null; then
    kill -TERM "$broker" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$broker" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$broker" 2>/dev/null || true
  fi
  [ "$code" = 0 ] || tail -5 "$work/skeind.log" >&2 2>/dev/null || true
  rm -rf "$work"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Stubs of the contract, as a user makes them.
Tests/interop/run.sh --python -c ''
venv=$PWD/.interop/venv/bin/python
mkdir "$work/stubs"
"$venv" -m grpc_tools.protoc -I Proto --python_out="$work/stubs" --grpc_python_out="$work/stubs" \
  $(cd Proto && find skein/v1 google/rpc -name '*.proto')
export PYTHONPATH=$work/stubs:$examples/python PYTHONDONTWRITEBYTECODE=1
python() { "$venv" "$examples/python/$1.py" "${@:2}"; }

# The broker on a port; in an environment without the clients' settings, for some have the names of its own.
start() {
  env -u SKEIN_TLS_CERTIFICATE -u SKEIN_TLS_KEY \
    "$bin/skeind" --dev "$work/broker" --listen "127.0.0.1:$1" --operations 127.0.0.1:0 >"$work/ready" 2>>"$work/skeind.log" &
  broker=$!
  for _ in $(seq 600); do
    ! grep -q '^skeind ready' "$work/ready" || return 0
    kill -0 "$broker" 2>/dev/null || break
    sleep 0.1
  done
  echo "the broker did not start" >&2
  exit 1
}
start 0
SKEIN_SERVERS=$(sed -n 's/.* grpc=\([^ ]*\).*/\1/p' "$work/ready")
export SKEIN_SERVERS SKEIN_TLS_CA=$work/broker/tls/ca.pem
export SKEIN_TLS_CERTIFICATE=$work/broker/tls/admin.pem SKEIN_TLS_KEY=$work/broker/tls/admin.key

"$bin/OrderService" orders-swift "$orders"
python order_service orders-python "$orders"
"$bin/FanOut" orders-python
python fan_out orders-swift
for topic in orders-{swift,python}{,.billing,.shipping,.mail}; do
  "$bin/AuditSink" "$topic" "$work/$topic.swift.jsonl" $((orders / 2)) >/dev/null
  printf '{"partition":0,"off' >>"$work/$topic.swift.jsonl" # as a sink leaves it that is killed in a line
  "$bin/AuditSink" "$topic" "$work/$topic.swift.jsonl"
  python audit_sink "$topic" "$work/$topic.python.jsonl" $((orders / 2)) >/dev/null
  python audit_sink "$topic" "$work/$topic.python.jsonl"
done

# Three workers share four partitions while orders come in. The first leaves after some records; the broker is killed, and
# the others go on as the members that they were; the second is killed; the third, in Swift, does what they leave, and ends
# when all is done.
"$venv" -c 'from bus import Bus; Bus().create("orders-worked", partitions=4)'
workers=()
for number in 1 2 3; do
  max=()
  [ "$number" != 1 ] || max=("$((orders / 8))")
  worker=("$venv" "$examples/python/group_worker.py")
  [ "$number" != 3 ] || worker=("$bin/GroupWorker")
  "${worker[@]}" orders-worked workers "$work/worker.$number.jsonl" "${max[@]}" 2>"$work/worker.$number.log" &
  workers+=($!)
done
members() { # members COUNT: their ids and epochs, when there are so many
  "$venv" -c 'import sys, time
from bus import Bus
bus, count = Bus(), int(sys.argv[1])
while len(members := bus.members("workers")) != count: time.sleep(0.1)
print(*sorted(members))' "$1"
}
members 3 >/dev/null
python order_service orders-worked "$((orders / 2))"
wait "${workers[0]}"
before=$(members 2)
kill -KILL "$broker"
wait "$broker" 2>/dev/null || true
start "${SKEIN_SERVERS##*:}"
had=$(wc -l <"$work/worker.2.jsonl")
python order_service orders-worked "$((orders - orders / 2))"
until [ "$(wc -l <"$work/worker.2.jsonl")" -gt "$had" ]; do
  kill -0 "${workers[1]}" || { tail -3 "$work/worker.2.log" >&2; exit 1; }
  sleep 0.1
done
[ "$(members 2)" = "$before" ] || { echo "the broker was killed, and the workers did not resume" >&2; exit 1; }
kill -KILL "${workers[1]}"
wait "${workers[1]}" 2>/dev/null || true
# The killed one's partitions wait for it for some seconds, then they are the third's.
for _ in $(seq 60); do
  ! "$venv" "$examples/check.py" --worked "$work" "$orders" || break
  sleep 0.5
done
kill -TERM "${workers[2]}"
wait "${workers[2]}"

"$venv" "$examples/check.py" "$work" "$orders"
