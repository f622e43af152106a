#!/usr/bin/env bash
# The demo: a broker with its own certificates, a real file of this machine through it over TLS, read alone and by a
# consumer group, and both results checked record by record.
#
#   Deploy/demo.sh            (`make demo` builds first)
#   SKEIN_BIN=DIR             where skeind and skein are, instead of .build/release
#   DEMO_FILE=F               a file of your own; column DEMO_KEY_COLUMN (default 4) is the key
set -euo pipefail
cd "$(dirname "$0")/.."
. Deploy/demo-broker.sh

step "input: a file of this machine, keyed by package"
source=${DEMO_FILE:-/var/log/dpkg.log}
if [ -r "$source" ] && [ "$(wc -l <"$source")" -ge 200 ]; then
  # "2026-11-23 00:45:01 status installed libssl-dev:amd64 3.0.17" → key libssl-dev:amd64
  awk -v column="${DEMO_KEY_COLUMN:-0}" '
    { key = column ? $column : ($3 == "status" ? $5 : ($3 == "startup" ? "dpkg" : $4)) }
    key == "" { key = "-" }
    { gsub(/\t/, " "); print key "\t" $0 }' "$source" >"$work/input.tsv"
  echo "$source: $(wc -l <"$work/input.tsv") lines"
else
  source="the dpkg database"
  dpkg-query -W -f '${Package}:${Architecture}\t${Status} ${Version} ${Installed-Size}\n' >"$work/input.tsv"
  echo "$source: $(wc -l <"$work/input.tsv") packages"
fi
records=$(wc -l <"$work/input.tsv")
keys=$(cut -f1 "$work/input.tsv" | sort -u | wc -l)
[ "$records" -gt 0 ] || die "no input"
echo "$records records, $keys keys; for example:"
head -2 "$work/input.tsv" | cut -c1-100 | sed 's/^/    /'

start_broker

step "topic: dpkg, 8 partitions, durable (fsync before the acknowledgement)"
skein topic create dpkg --partitions 8

step "produce: $records records over TLS"
started=$(date +%s.%N)
skein produce dpkg --key-separator $'\t' <"$work/input.tsv" >"$work/produce.out"
seconds=$(awk -v a="$started" -v b="$(date +%s.%N)" 'BEGIN { printf "%.2f", b - a }')
cat "$work/produce.out"
echo "acknowledged, durable, in $seconds s (with the program's start and connection)"

step "consume: read all of it back"
skein consume dpkg --from beginning --format json >"$work/output.json"

step "check: nothing lost, nothing twice, order kept per key"
python3 Deploy/check_demo.py "$work/input.tsv" "$work/output.json"

step "a consumer group: its first member leaves in the middle, the next goes on where it had committed"
skein consume dpkg --group audit --format json --max $((records / 3)) >"$work/group.json"
echo "the first: $(wc -l <"$work/group.json") records"
skein consume dpkg --group audit --format json >>"$work/group.json"
echo "both: $(wc -l <"$work/group.json") records"
python3 Deploy/check_demo.py "$work/input.tsv" "$work/group.json"
skein group describe audit

step "partitions"
skein topic describe dpkg

step "throughput: 1 KB records, durable, TLS, one producer"
skein topic create bench --partitions 8 >/dev/null
count=${DEMO_BENCH_RECORDS:-300000}
skein bench produce --topic bench --records "$count" --size 1000 --json >"$work/produce.json"
skein bench consume --topic bench --records "$count" --json >"$work/consume.json"
python3 - "$work/produce.json" "$work/consume.json" <<'PYTHON'
import json, sys
for verb, path in zip(("produced", "consumed"), sys.argv[1:]):
    r = json.load(open(path))
    assert r["records"] > 0, f"{verb}: no records"
    latency = r.get("latency_us") or {}
    tail = f", from record to acknowledgement p50 {latency['p50'] / 1000:.1f} ms, p99 {latency['p99'] / 1000:.1f} ms" if verb == "produced" else ""
    print(f"{verb} {r['records']:,} records in {r['seconds']:.2f} s: {r['records_per_second']:,.0f} records/s, "
          f"{r['megabytes_per_second']:.0f} MB/s{tail}")
PYTHON

step "lag at the end: high watermark less what was read"
curl -fsS "http://$operations/metrics" >"$work/metrics"
python3 Deploy/check_demo.py --lag "$work/output.json" "$work/metrics"

step "stop: SIGTERM drains the broker"
drain_broker
echo "stopped cleanly"
step "demo passed: $records records in, $records out, order per key kept"
