#!/usr/bin/env bash
# Builds out/plugin.so and out/manifest.json, which is what `skein plugin test out/plugin.so` and
# `skein plugin pack out --key KEY` take. Needs protobuf-c (Debian: libprotobuf-c-dev).
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p out
# One exported symbol, nothing undefined, never unloaded. protobuf-c comes inside: a plug-in in its sandbox finds no
# library that the host has not loaded.
${CC:-cc} -std=c11 -O2 -Wall -Wextra -Wpedantic -Werror -fPIC -fvisibility=hidden -shared -pthread \
  -Wl,-z,defs -Wl,-z,nodelete -Wl,-z,noexecstack -Wl,-s -Wl,--exclude-libs,ALL -Wl,-Bsymbolic \
  -I include -I proto/include -o out/plugin.so.new \
  {{NAME}}.c proto/skein/plugin/v1/*.c -l:libprotobuf-c.a
mv out/plugin.so.new out/plugin.so
cp manifest.json out/manifest.json
echo "built out/plugin.so and out/manifest.json"
