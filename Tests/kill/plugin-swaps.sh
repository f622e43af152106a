#!/usr/bin/env bash
# A live topic's partitioner, swapped between murmur2 and a third party's C plug-in in a child, SWAPS times (default 200)
# with a fence, under load; half of the swaps are met by a SIGKILL of the broker. After each restart exactly one
# generation is in force, the committed one; nothing is lost, doubled, or reordered within a key. The release build.
#
#   Tests/kill/plugin-swaps.sh          SWAPS=n SKEIN_KILL_SEED=n (0 draws one)
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$PWD/.build/release
work=$(mktemp -d /tmp/skein-plugin-swaps.XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/acme" "$work/run"
cp Deploy/examples/plugins/acme-region/{region.c,manifest.json} Sources/CSkeinPlugin/include/skein_plugin.h "$work/acme"
(cd "$work/acme" && cc -std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden -Wl,-z,nodelete,-z,defs -I . region.c -o plugin.so)
"$bin/skein" plugin keygen "$work/key" >/dev/null
"$bin/skein" plugin pack "$work/acme" --key "$work/key.key" --to "$work/region.skeinplug"
cat >"$work/setup" <<SETUP
set -e
"$bin/skein" --context "\$CONTEXT" plugin trust add "$work/key.pem"
"$bin/skein" --context "\$CONTEXT" plugin install "$work/region.skeinplug"
SETUP
code=0
timeout 1500 "$bin/KillDriver" swap --skeind "$bin/skeind" --directory "$work/run" --setup "sh $work/setup" \
  --swap 'com.acme.region@1.0.0 {"spread": 3}' --swap murmur2 --fence --swaps "${SWAPS:-200}" --every 150 \
  --kill-share 50 --seed "${SKEIN_KILL_SEED:-0}" --rate 2000 --keys 300 --size 100 || code=$?
# A driver that was timed out leaves its broker behind.
broker=$(cat "$work/run/skeind.log.pid" 2>/dev/null || echo 0)
[ "$(readlink "/proc/$broker/exe" 2>/dev/null)" != "$bin/skeind" ] || kill -KILL "$broker"
if [ "$code" = 0 ]; then echo "1 passed, 0 failed"; else tail -5 "$work/run/skeind.log" >&2; echo "0 passed, 1 failed"; fi
exit "$code"
