#!/usr/bin/env bash
# The tests of the plug-in's own code. `skein plugin test out/plugin.so` is the other half: what every plug-in promises.
set -euo pipefail
cd "$(dirname "$0")"
swift test "$@"
