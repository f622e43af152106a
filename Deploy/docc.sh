#!/usr/bin/env bash
# The reference of SkeinClient as a DocC archive, from its doc comments and articles. Fails when an article links to
# something that is not there. (That the articles' code compiles and runs is Tests/DocumentationTests.)
#
#   Deploy/docc.sh [OUTPUT]     default .build/SkeinClient.doccarchive; needs the toolchain's docc
set -euo pipefail
cd "$(dirname "$0")/.."
build=${SKEIN_DEBUG_BUILD:-.build/debug}
output=${1:-.build/SkeinClient.doccarchive}
[ -n "${SKEIN_DEBUG_BUILD:-}" ] || swift build --target SkeinClient >/dev/null
graphs=$(mktemp -d)
trap 'rm -rf "$graphs"' EXIT
flags=()
for map in Sources/C*/module.modulemap $(find -L "$build" -maxdepth 2 -name module.modulemap); do
  flags+=(-Xcc "-fmodule-map-file=$map")
done
for folder in "$(dirname "$(readlink -f "$build")")"/../checkouts/*/Sources/*/include Sources/*/include; do
  [ -d "$folder" ] && flags+=(-Xcc "-I$folder")
done
swift-symbolgraph-extract -module-name SkeinClient -target "$(uname -m)-unknown-linux-gnu" -I "$build/Modules" "${flags[@]}" \
  -minimum-access-level public -output-dir "$graphs"
docc convert Sources/SkeinClient/SkeinClient.docc --additional-symbol-graph-dir "$graphs" \
  --fallback-display-name SkeinClient --fallback-bundle-identifier dev.skein.client --output-path "$output" \
  >"$graphs/log" 2>&1 || { cat "$graphs/log" >&2; exit 1; }
# Parameters whose names say it all are left undocumented on purpose.
findings=$(grep -E '^(warning|error):' "$graphs/log" | grep -v 'is missing documentation' || true)
if [ -n "$findings" ]; then
  printf '%s\n' "$findings" >&2
  echo "docc: 0 passed, 1 failed" >&2
  exit 1
fi
echo "docc: $output"
