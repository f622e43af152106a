#!/usr/bin/env bash
# The release build: all programs, linked statically against the Swift runtime. Output only on
# failure, besides a line of progress.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .build/logs
log=.build/logs/release-build.log
started=$SECONDS
echo "building skeind, skein and skein-plugin-host (release; the first time takes minutes) ..."
for product in skeind skein skein-plugin-host; do
  if ! swift build -c release --static-swift-stdlib --product "$product" >"$log" 2>&1; then
    grep -E 'error:' -A3 "$log" | head -60 >&2 || tail -60 "$log" >&2
    echo "the build failed; the whole log is $log" >&2
    exit 1
  fi
done
echo "built .build/release/{skeind,skein,skein-plugin-host} in $((SECONDS - started)) s"
