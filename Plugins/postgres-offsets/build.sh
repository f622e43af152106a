#!/usr/bin/env bash
# build.sh OUTDIR: plugin.so and manifest.json of the PostgreSQL offset store. Called by ../build.sh.
#
# libpq, OpenSSL and jansson are Debian's shared libraries (libpq5, libjansson4 on the broker's machine): their security fixes
# come by apt and the child's next start, where a plug-in that carried them would need a new version for each; libpq.a leaves
# Kerberos and LDAP undefined, libjansson.a is not position independent. The sandbox lets a child read /usr/lib. protobuf-c
# comes inside.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
sources=$here/../../Sources
kit=$here/../store-kit
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
for version in 1 2; do
  { echo "static const unsigned char migration_$version[] = {"; od -An -v -tx1 "$here/migrations/$version.sql" | sed 's/ \(..\)/0x\1,/g'; echo "0};"; }
done >"$made/migrations.h"
# shellcheck disable=SC2086
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -g1 -Wall -Wextra -Wpedantic -Werror -fPIC -fvisibility=hidden -fstack-protector-strong \
  -D_FORTIFY_SOURCE=2 -shared -pthread ${SKEIN_STORE_CFLAGS:-} \
  -Wl,-z,defs -Wl,-z,nodelete -Wl,-z,noexecstack -Wl,-z,relro,-z,now -Wl,-s -Wl,--exclude-libs,ALL -Wl,-Bsymbolic \
  -I "$kit" -I "$made" -I "$sources/CSkeinPlugin/include" -I "$sources/CSkeinPluginProto/include" \
  -I "$(pg_config --includedir 2>/dev/null || echo /usr/include/postgresql)" -o "$out/plugin.so.new" \
  "$here"/*.c "$kit"/*.c "$sources/CSkeinPluginProto/skein/plugin/v1/offset_store.pb-c.c" \
  -l:libprotobuf-c.a -ljansson -lpq
# Never written in place: a process may have the old file loaded.
mv "$out/plugin.so.new" "$out/plugin.so"
cp "$here/manifest.json" "$out/manifest.json"
