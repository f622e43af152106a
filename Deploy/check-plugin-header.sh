#!/usr/bin/env bash
# The header that plug-in authors compile against: C11 and C++ without a warning, by gcc and by clang where there is one;
# the layout as it was released; the page generated from it. Part of `make lint`.
set -euo pipefail
cd "$(dirname "$0")/.."
include=Sources/CSkeinPlugin/include
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/plugin.c" <<'C'
#include "skein_plugin.h"
SKEIN_PLUGIN_ABI_MARK;
static const void *get(const char *kind) { (void)kind; return NULL; }
static const skein_plugin plugin = {sizeof(skein_plugin), SKEIN_ABI_MINOR, "org.skein.header", "1.0.0", get};
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) { (void)host; return &plugin; }
C
cp "$work/plugin.c" "$work/plugin.cpp"
strict=(-pedantic -Wall -Wextra -Werror -fvisibility=hidden -fPIC -I "$include")
for compiler in cc clang; do
  command -v "$compiler" >/dev/null || continue
  for source in "$work/plugin.c" Sources/CSkeinPlugin/abi.c; do
    "$compiler" -std=c11 -Wmissing-field-initializers "${strict[@]}" -c "$source" -o "$work/c.o"
  done
done
for compiler in c++ clang++; do
  command -v "$compiler" >/dev/null || continue
  for standard in c++11 c++20; do "$compiler" -std=$standard "${strict[@]}" -c "$work/plugin.cpp" -o "$work/cpp.o"; done
done
# What the macros promise: one symbol, and a mark that survives strip and a linker that drops unused sections.
cc -std=c11 "${strict[@]}" -ffunction-sections -fdata-sections -shared -Wl,--gc-sections -Wl,-z,defs -Wl,-z,nodelete \
  "$work/plugin.c" -o "$work/plugin.so"
strip "$work/plugin.so"
symbols=$(nm -D --defined-only "$work/plugin.so" | awk '{print $3}')
[ "$symbols" = skein_plugin_entry ] || { echo "a C plug-in exports: $symbols" >&2; exit 1; }
readelf -x .skein.abi "$work/plugin.so" | grep -q '534b4e31 01000000' || { echo "the ABI mark is gone" >&2; exit 1; }
Deploy/generate-plugin-abi.py --check
