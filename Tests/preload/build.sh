#!/usr/bin/env bash
# build.sh DIR: builds unsynced.so, unsynced-rollback and the test program into DIR.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: build.sh DIR}
mkdir -p "$out"
flags="-std=gnu17 -O2 -g -Wall -Wextra -Werror"
${CC:-cc} $flags -fPIC -shared -o "$out/unsynced.so" "$here/unsynced.c" -ldl -pthread
${CC:-cc} $flags -o "$out/unsynced-rollback" "$here/unsynced-rollback.c"
${CC:-cc} $flags -o "$out/unsynced-probe" "$here/unsynced-probe.c" -pthread
