#!/usr/bin/env bash
# Builds every plug-in of this folder:  Plugins/build.sh OUTDIR [NAME…]
#
# Writes OUTDIR/NAME/plugin.so and OUTDIR/NAME/manifest.json, which is what `skein plugin pack OUTDIR/NAME --key KEY` and
# `skein plugin test OUTDIR/NAME/plugin.so` take. A folder with C in it is compiled by cc from the header alone,
# the others are products of Package.swift; one with a build.sh of its own is built by that (build.sh OUTDIR/NAME).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
names=("$@")
[ ${#names[@]} -gt 0 ] || for manifest in "$here"/*/manifest.json; do names+=("$(basename "$(dirname "$manifest")")"); done
scratch=${SKEIN_PLUGIN_BUILD:-$here/.build}

swift_built=no
for name in "${names[@]}"; do
  folder=$here/$name
  [ -f "$folder/manifest.json" ] || { echo "there is no plug-in $name in $here" >&2; exit 2; }
  mkdir -p "$out/$name"
  if [ -x "$folder/build.sh" ]; then
    "$folder/build.sh" "$out/$name"
    continue
  elif compgen -G "$folder/*.c" >/dev/null; then
    cc -std=c11 -O2 -Wall -Wextra -Wpedantic -Werror -fPIC -fvisibility=hidden -shared \
      -Wl,-z,defs -Wl,-z,nodelete -Wl,-z,noexecstack -Wl,-s \
      -I "$here/../Sources/CSkeinPlugin/include" -o "$out/$name/plugin.so.new" "$folder"/*.c
  else
    if [ $swift_built = no ]; then
      swift build --package-path "$here" --scratch-path "$scratch" -c release -Xswiftc -static-stdlib >"$out/swift-build.log" 2>&1 ||
        { grep -E 'error:' -A4 "$out/swift-build.log" | head -40 >&2 || tail -40 "$out/swift-build.log" >&2; exit 1; }
      rm "$out/swift-build.log"
      swift_built=yes
    fi
    cp "$scratch/release/lib$name.so" "$out/$name/plugin.so.new"
  fi
  # Never written in place: a process may have the old file loaded.
  mv "$out/$name/plugin.so.new" "$out/$name/plugin.so"
  cp "$folder/manifest.json" "$out/$name/manifest.json"
done
