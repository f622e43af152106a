#!/usr/bin/env bash
# The tests of the plug-in's own code. `skein plugin test out/plugin.so` is the other half: what every plug-in promises.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p out
${CC:-cc} -std=c11 -g -Wall -Wextra -Wpedantic -Werror -fsanitize=address,undefined -pthread -I include -I proto/include \
  -o out/test test.c proto/skein/plugin/v1/*.c -l:libprotobuf-c.a
out/test
