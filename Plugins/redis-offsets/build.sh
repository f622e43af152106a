#!/usr/bin/env bash
# build.sh OUTDIR: plugin.so and manifest.json of the Redis offset store. Called by ../build.sh.
#
# OpenSSL and jansson are Debian's shared libraries, whose security fixes come by apt and the child's next start
# (../postgres-offsets/build.sh has more). hiredis' reader comes inside: its shared library has no TLS to keep patched.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
sources=$here/../../Sources
kit=$here/../store-kit
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
for script in commit page remove forget; do
  { echo "static const unsigned char script_$script[] = {"; od -An -v -tx1 "$here/scripts/$script.lua" | sed 's/ \(..\)/0x\1,/g'; echo "0};"; }
done >"$made/scripts.h"
# shellcheck disable=SC2086
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -g1 -Wall -Wextra -Wpedantic -Werror -fPIC -fvisibility=hidden -fstack-protector-strong \
  -D_FORTIFY_SOURCE=2 -shared -pthread ${SKEIN_STORE_CFLAGS:-} \
  -Wl,-z,defs -Wl,-z,nodelete -Wl,-z,noexecstack -Wl,-z,relro,-z,now -Wl,-s -Wl,--exclude-libs,ALL -Wl,-Bsymbolic \
  -I "$kit" -I "$made" -I "$sources/CSkeinPlugin/include" -I "$sources/CSkeinPluginProto/include" -o "$out/plugin.so.new" \
  "$here"/*.c "$kit"/*.c "$sources/CSkeinPluginProto/skein/plugin/v1/offset_store.pb-c.c" \
  -l:libprotobuf-c.a -l:libhiredis.a -ljansson -lssl -lcrypto
# Never written in place: a process may have the old file loaded.
mv "$out/plugin.so.new" "$out/plugin.so"
cp "$here/manifest.json" "$out/manifest.json"
