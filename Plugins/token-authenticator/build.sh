#!/usr/bin/env bash
# build.sh OUTDIR: plugin.so and manifest.json of the token authenticator. Called by ../build.sh.
#
# libcrypto and libprotobuf-c come inside (their static archives, of libssl-dev and libprotobuf-c-dev): in its sandbox
# the plug-in opens no file, so it must need none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
scratch=${SKEIN_PLUGIN_BUILD:+$SKEIN_PLUGIN_BUILD/token-authenticator}
scratch=${scratch:-$here/.build}
archives=$scratch/archives
mkdir -p "$archives"
for name in libcrypto.a libprotobuf-c.a; do
  ln -sfn "$(cc -print-file-name=$name)" "$archives/$name"
  [ -e "$archives/$name" ] || { echo "$name is missing: install libssl-dev and libprotobuf-c-dev" >&2; exit 1; }
done
# The system's description would put the shared library's folder first.
printf 'Name: libprotobuf-c\nDescription: its archive\nVersion: 1\nLibs: -L%s -lprotobuf-c\n' "$archives" >"$archives/libprotobuf-c.pc"
export SKEIN_STATIC_ARCHIVES=$archives PKG_CONFIG_PATH=$archives
swift build --package-path "$here" --scratch-path "$scratch" -c release -Xswiftc -static-stdlib >"$out/swift-build.log" 2>&1 ||
  { grep -E 'error:' -A4 "$out/swift-build.log" | head -40 >&2 || tail -40 "$out/swift-build.log" >&2; exit 1; }
rm "$out/swift-build.log"
cp "$scratch/release/libtoken-authenticator.so" "$out/plugin.so.new"
mv "$out/plugin.so.new" "$out/plugin.so"
cp "$here/manifest.json" "$out/manifest.json"
