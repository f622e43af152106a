# What the demos share; sourced. A folder `work` that goes in the end, steps on the screen, a broker of its own, and
# processes that are stopped by their id, whatever happens. Sets bin, work, broker.
bin=$(cd "${SKEIN_BIN:-.build/release}" && pwd)
demo=$(basename "$0" .sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/skein-$demo.XXXXXX")
chmod 700 "$work"
broker=""
load=""
step() { printf '\n== %s\n' "$*"; }
die() { echo "$demo: $*" >&2; tail -20 "$work/skeind.log" 2>/dev/null >&2 || true; exit 1; }
stop() { # PID: asks, waits, then insists
  kill -TERM "$1" 2>/dev/null || return 0
  for _ in $(seq 100); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
  kill -KILL "$1" 2>/dev/null || true
}
finish() {
  local code=$?
  [ -z "$load" ] || stop "$load"
  [ -z "$broker" ] || stop "$broker"
  rm -rf "$work"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
skein() { "$bin/skein" "$@" --context "$work/broker/context.yaml"; }

start_broker() { # sets address and operations
  step "broker: skeind --dev (own authority, TLS, client certificates)"
  "$bin/skeind" --dev "$work/broker" --listen 127.0.0.1:0 --operations 127.0.0.1:0 >"$work/ready" 2>"$work/skeind.log" &
  broker=$!
  for _ in $(seq 600); do
    grep -q '^skeind ready' "$work/ready" && break
    kill -0 "$broker" 2>/dev/null || die "the broker ended while starting"
    sleep 0.1
  done
  local ready
  ready=$(grep '^skeind ready' "$work/ready") || die "no ready line within 60 s"
  echo "$ready"
  address=$(sed -E 's/.*grpc=([^ ]+).*/\1/' <<<"$ready")
  operations=$(sed -E 's/.*operations=([^ ]+).*/\1/' <<<"$ready")
}

drain_broker() {
  kill -TERM "$broker"
  local code=0
  wait "$broker" || code=$?
  broker=""
  [ "$code" = 0 ] || die "the broker ended with $code"
}
