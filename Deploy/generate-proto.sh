#!/usr/bin/env bash
# Generates everything that follows from Proto/: protobuf-c's structs and descriptors (Sources/CSkeinProto; those
# of skein/plugin, which plug-ins take along, in Sources/CSkeinPluginProto) and the Swift values over them
# (Sources/Wire/Generated).
#
#   Deploy/generate-proto.sh            writes the generated files
#   Deploy/generate-proto.sh --check    fails, and shows the difference, when they are not current
#
# Needs Debian's protobuf-c-compiler, protobuf-compiler and libprotobuf-dev, python3 (standard
# library only) and `swift format`. The output depends on nothing but Proto/ and these tools.
# Every .proto below Proto/ is taken; a new file needs no change here.
set -euo pipefail
export LC_ALL=C
root=$(cd "$(dirname "$0")/.." && pwd)
system=/usr/include
# What our files import from google.protobuf.
imported="google/protobuf/any.proto google/protobuf/duration.proto"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/proto" "$work/c" "$work/CSkeinProto/include" "$work/CSkeinPluginProto/include" "$work/Generated"

# protobuf-c 1.4.1 refuses proto3 `optional`. By definition such a field is a synthetic oneof of one
# member, with the same bytes on the wire, so the C side is generated from that spelling. Python and
# others read Proto/ itself.
files=$(cd "$root/Proto" && find . -name '*.proto' | sed 's|^\./||' | sort)
for file in $files; do
  mkdir -p "$work/proto/$(dirname "$file")"
  sed -E 's/^( *)optional +([A-Za-z0-9_.]+) +([A-Za-z0-9_]+)( *= *[0-9]+[^;]*;)/\1oneof _\3 { \2 \3\4 }/' \
    "$root/Proto/$file" > "$work/proto/$file"
done

cd "$work"
protoc-c -I proto -I "$system" --c_out=c $files $imported
protoc -I proto -I "$system" --include_imports --include_source_info -o descriptors.bin $files

for file in $files $imported; do
  stem=${file%.proto}
  target=CSkeinProto
  case "$file" in skein/plugin/*) target=CSkeinPluginProto ;; esac
  mkdir -p "$target/$(dirname "$file")" "$target/include/$(dirname "$file")"
  mv "c/$stem.pb-c.h" "$target/include/$stem.pb-c.h"
  mv "c/$stem.pb-c.c" "$target/$stem.pb-c.c"
done
python3 "$root/Deploy/generate-wire.py" descriptors.bin CSkeinProto/include Generated $files $imported
swift format --configuration "$root/.swift-format" -i Generated/*.swift

# What reflection serves: the public files as they are in Proto/, without comments, each with its imports
# before it. etcd's and the internal ones are nobody's business.
public=$(echo "$files" | tr ' ' '\n' | grep -v -e '^etcd/' -e '/internal/')
protoc -I "$root/Proto" -I "$system" --include_imports -o public.bin $public
python3 "$root/Deploy/generate-descriptors.py" public.bin CSkeinProto

cp "$root/Docs/json-api.md" json-api.md
python3 "$root/Deploy/generate-openapi.py" descriptors.bin Contract+Tables.swift openapi.json json-api.md
swift format --configuration "$root/.swift-format" -i Contract+Tables.swift

if [ "${1:-}" = "--check" ]; then
  failed=0
  diff -u "$root/Sources/Gateway/Generated/Contract+Tables.swift" Contract+Tables.swift || failed=1
  diff -u "$root/Docs/openapi.json" openapi.json || failed=1
  diff -u "$root/Docs/json-api.md" json-api.md || failed=1
  diff -ruN "$root/Sources/CSkeinProto" CSkeinProto || failed=1
  diff -ruN "$root/Sources/CSkeinPluginProto" CSkeinPluginProto || failed=1
  diff -ruN "$root/Sources/Wire/Generated" Generated || failed=1
  if [ $failed = 1 ]; then
    echo "Generated code is not current: run Deploy/generate-proto.sh and commit the result." >&2
    exit 1
  fi
  echo "Generated code is current."
else
  rm -rf "$root/Sources/CSkeinProto" "$root/Sources/CSkeinPluginProto" "$root/Sources/Wire/Generated"
  cp -r CSkeinProto CSkeinPluginProto "$root/Sources/"
  mkdir -p "$root/Sources/Wire"
  cp -r Generated "$root/Sources/Wire/Generated"
  mkdir -p "$root/Sources/Gateway/Generated"
  cp Contract+Tables.swift "$root/Sources/Gateway/Generated/"
  cp openapi.json json-api.md "$root/Docs/"
fi
