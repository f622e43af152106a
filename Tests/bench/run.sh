#!/usr/bin/env bash
# `make bench`: Skein against its yardsticks, in interleaved pairs on this machine. All runs are printed;
# the figure is the median of the pairwise ratios. Takes about ten minutes; stops by itself.
#
#   SKEIN_SPIKES=DIR       the yardsticks (default ../shared/spikes): h2tls is built unmodified, and
#                          journal/writebehind.c compiled, in a temporary folder
#   SKEIN_BENCH_PAIRS=N    pairs (5)
#   SKEIN_BENCH_PARTS=a,b  only these: produce,consume,unary,partitions,idle,refusals,assign,groups
#                          (assign: a partitioner in a child beside a built-in; groups: a group's member beside a
#                          reader; these two need no yardstick)
set -euo pipefail
cd "$(dirname "$0")/../.."
case ",${SKEIN_BENCH_PARTS:-}," in ,assign, | ,groups, | ,assign,groups, | ,groups,assign,)
  exec python3 Tests/bench/bench.py --bin "$(cd "${SKEIN_BIN:-.build/release}" && pwd)" --yardsticks - \
    --pairs "${SKEIN_BENCH_PAIRS:-5}" --parts "$SKEIN_BENCH_PARTS" ;;
esac
spikes=$(cd "${SKEIN_SPIKES:-../shared/spikes}" 2>/dev/null && pwd) || {
  echo "bench: the yardsticks are missing; set SKEIN_SPIKES" >&2
  exit 2
}
bin=$(cd "${SKEIN_BIN:-.build/release}" && pwd)
cache=${SKEIN_BENCH_CACHE:-$PWD/.build/yardsticks}
mkdir -p "$cache"
if [ ! -x "$cache/h2tls/.build/release/BBench" ]; then
  echo "bench: building the yardstick h2tls (release) ..."
  rm -rf "$cache/h2tls"
  cp -r "$spikes/h2tls" "$cache/h2tls"
  chmod -R u+w "$cache/h2tls"
  swift build --package-path "$cache/h2tls" -c release >"$cache/h2tls.log" 2>&1 || { tail -30 "$cache/h2tls.log" >&2; exit 1; }
fi
if [ "$bin" = "$PWD/.build/release" ] || [ "$bin" = "$(readlink -f .build/release)" ]; then
  swift build -c release --static-swift-stdlib --product CallDriver >"$cache/unary.log" 2>&1 || { tail -30 "$cache/unary.log" >&2; exit 1; }
fi
[ -x "$cache/writebehind" ] || cc -O2 -pthread -w "$spikes/journal/writebehind.c" -o "$cache/writebehind"
exec python3 Tests/bench/bench.py --bin "$bin" --yardsticks "$cache" \
  --pairs "${SKEIN_BENCH_PAIRS:-5}" --parts "${SKEIN_BENCH_PARTS:-produce,consume,unary,partitions,idle,refusals,assign,groups}"
