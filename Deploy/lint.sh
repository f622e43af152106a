#!/usr/bin/env bash
# What a compiler does not check: formatting, and that generated files are current. (The rules on
# modules and style are Tests/ArchitectureTests.)
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
# A line that stays too long is one that the formatter cannot break (a long literal): no error.
findings=$(swift format lint --strict --recursive --parallel Sources Tests Package.swift Plugins/*.swift Plugins/*/*.swift 2>&1 | grep -v '\[LineLength\]' || true)
if [ -n "$findings" ]; then
  printf '%s\n' "$findings" | head -60 >&2
  echo "lint: not formatted; run 'make format'" >&2
  failed=1
fi
Deploy/generate-proto.sh --check >/dev/null || { echo "lint: generated code is not current; run 'make proto'" >&2; failed=1; }
Deploy/generate-plugin-files.py --check || { echo "lint: skein plugin new would write old files" >&2; failed=1; }
Deploy/check-plugin-header.sh || { echo "lint: the plug-in ABI is not what it was" >&2; failed=1; }
for script in $(git ls-files '*.sh' .ci/run); do
  bash -n "$script" || failed=1
done
[ $failed = 0 ] && echo "lint: clean"
exit $failed
