#!/usr/bin/env bash
# Builds out/plugin.so and out/manifest.json, which is what `skein plugin test out/plugin.so` and
# `skein plugin pack out --key KEY` take.
set -euo pipefail
cd "$(dirname "$0")"
# The Swift runtime inside the file, one exported symbol, nothing undefined, never unloaded.
swift build -c release --product {{NAME}} -Xswiftc -static-stdlib -Xswiftc -use-ld=lld \
  -Xlinker --version-script="$PWD/Kit/exports.map" -Xlinker -z -Xlinker nodelete -Xlinker -z -Xlinker defs \
  -Xlinker --gc-sections -Xlinker -s
mkdir -p out
cp "$(swift build -c release --show-bin-path)/lib{{NAME}}.so" out/plugin.so.new
mv out/plugin.so.new out/plugin.so
cp manifest.json out/manifest.json
echo "built out/plugin.so and out/manifest.json"
