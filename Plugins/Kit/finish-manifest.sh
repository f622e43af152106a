#!/usr/bin/env bash
# finish-manifest.sh MANIFEST PLUGIN.SO: the manifest with what is known of the built file: its platform, size, hash and
# the least glibc that it needs.
set -euo pipefail
case $(uname -m) in
  x86_64) arch=amd64 ;;
  aarch64) arch=arm64 ;;
  *) arch=$(uname -m) ;;
esac
libc=$(readelf --version-info --wide "$2" | grep -oE 'GLIBC_[0-9]+\.[0-9]+' | sort -uV | tail -1 | cut -d_ -f2) || true
artifact="{\"os\": \"linux\", \"arch\": \"$arch\", \"size\": $(wc -c <"$2"), \"sha256\": \"$(sha256sum "$2" | cut -d' ' -f1)\"${libc:+, \"libc_min\": \"$libc\"}}"
sed "s|^  \"schema\": 1,\$|&\n  \"artifacts\": [$artifact],|" "$1"
