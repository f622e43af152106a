#!/usr/bin/env bash
# Runs the interop suite: stock Python gRPC and kafka-python against a broker.
#
#   SKEIND=.build/release/skeind Tests/interop/run.sh [pytest arguments]   starts a broker itself
#     (the conformance table also needs `swift build --product ConformancePeer`, or CONFORMANCE_PEER=path)
#   Tests/interop/run.sh ADDRESS DIR [pytest arguments]                    uses a running `skeind --dev DIR`
#   Tests/interop/run.sh --python SCRIPT [arguments]                       runs a script of this folder
#
# Makes a virtual environment in .interop (needs python3-venv and PyPI the first time).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv="$root/.interop/venv"
stamp="$venv/.requirements"
if ! cmp -s "$here/requirements.txt" "$stamp"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$stamp"
fi
if [ "${1:-}" = "--python" ]; then
  shift
  exec "$venv/bin/python" "$@"
fi
if [ $# -ge 2 ] && [[ "$1" == *:* ]]; then
  export SKEIN_INTEROP_ADDRESS=$1 SKEIN_INTEROP_DIR=$2
  shift 2
elif [ -z "${SKEIND:-}" ]; then
  echo "usage: SKEIND=path/to/skeind $0 [pytest arguments], or $0 ADDRESS DIR" >&2
  exit 2
fi
exec "$venv/bin/python" -m pytest -p no:cacheprovider "$here" "$@"
