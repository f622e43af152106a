#!/usr/bin/env bash
# Runs the tests of the command line: the real programs, as processes, against a real broker.
#
#   SKEIN=.build/release/skein SKEIND=.build/release/skeind Tests/cli/run.sh [pytest arguments]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${SKEIN:?path of the skein program}" "${SKEIND:?path of the skeind program}"
exec "$here/../interop/run.sh" --python -m pytest -p no:cacheprovider "$here" "$@"
