#!/usr/bin/env bash
# A newcomer's path: does what "Five minutes" of README.md says, block by block, in an empty home.
#
#   Tests/newcomer.sh                 all of it
#   Tests/newcomer.sh --no-swift      without building the Swift package (minutes the first time)
#   SKEIN_NEWCOMER_BIN=DIR            programs that are built already, instead of `make build`
#
# Only ports are changed: a machine may run a broker of its own. What is built stays in .build/newcomer.
set -euo pipefail
exec python3 "$(dirname "$0")/newcomer.py" "$@"
