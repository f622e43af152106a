#!/usr/bin/env bash
# The demo of plug-ins: a live topic under steady load gets a third party's partitioner, compiled from C by the header
# alone and signed by that third party, and then its own again; nothing is lost, doubled, or reordered within a key.
#
#   Deploy/demo-plugins.sh    (`make demo-plugins` builds first)
#   SKEIN_BIN=DIR             where the programs are, instead of .build/release
#   DEMO_RATE=N               records a second (default 2,000)
set -euo pipefail
cd "$(dirname "$0")/.."
. Deploy/demo-broker.sh

start_broker

step "a third party compiles its partitioner: cc, one C file, one header"
mkdir "$work/acme"
cp Deploy/examples/plugins/acme-region/{region.c,manifest.json} Sources/CSkeinPlugin/include/skein_plugin.h "$work/acme"
(cd "$work/acme" && set -x && cc -std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden -Wl,-z,nodelete,-z,defs \
  -I . region.c -o plugin.so)

step "it signs the package with its own key"
"$bin/skein" plugin keygen "$work/acme-key"
"$bin/skein" plugin pack "$work/acme" --key "$work/acme-key.key" --to "$work/region.skeinplug"

step "the conformance kit looks at it (each check in a child of its own)"
"$bin/skein" plugin test "$work/region.skeinplug" --fuzz-seconds 1

step "the operator does not know the key yet: refused"
if skein plugin install "$work/region.skeinplug" 2>"$work/refusal"; then die "a package of an unknown key was installed"; fi
sed 's/^/    /' "$work/refusal"

step "the operator trusts the key and installs"
skein plugin trust add "$work/acme-key.pem" --name acme
skein plugin install "$work/region.skeinplug"
skein plugin list

step "a live topic: orders, 8 partitions, murmur2; ${DEMO_RATE:-2000} records/s, 600 keys"
skein topic create orders --partitions 8
"$bin/KillDriver" swap --address "$address" --tls "$work/broker/tls" --topic orders --rate "${DEMO_RATE:-2000}" \
  --keys 300 --producers 2 --seconds 25 >"$work/load.out" 2>&1 &
load=$!
sleep 5

step "what would move?"
skein topic partitioner diff orders com.acme.region@1.0.0

step "swap to the plug-in, fenced, under load"
skein topic partitioner set orders com.acme.region@1.0.0 --config '{"spread": 3}' --fence --watch 2s
sleep 2

step "and back, fenced"
skein topic partitioner rollback orders --fence --watch 2s
skein topic describe orders

step "check, as a consumer: every partition up to its cut before any goes on"
code=0
wait "$load" || code=$?
load=""
cat "$work/load.out"
[ "$code" = 0 ] || die "the checker found something (exit $code)"

step "stop: SIGTERM drains the broker and its child"
drain_broker
step "demo passed: two swaps on a live topic, 0 lost, 0 doubled, 0 reordered within a key"
