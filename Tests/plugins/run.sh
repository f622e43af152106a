#!/usr/bin/env bash
# Plug-ins: builds Plugins/, tries the built files through the ABI and through the conformance kit, and the kit on
# plug-ins that break one promise each.  Tests/plugins/run.sh FOLDER-OF-PROGRAMS. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.."
programs=$(cd "${1:-.build/release}" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0
failed=0

# part NAME COMMAND…: its last line with "N passed" counts; a part that dies without one has failed.
part() {
  local name=$1 summary code=0 good bad
  shift
  echo "--- $name"
  "$@" 2>&1 | tee "$out/log"
  code=${PIPESTATUS[0]}
  summary=$(grep -E '[0-9]+ passed' "$out/log" | tail -1)
  good=$(grep -oE '[0-9]+ passed' <<<"$summary" | grep -oE '[0-9]+' || echo 0)
  bad=$(grep -oE '[0-9]+ (failed|errors?)' <<<"$summary" | awk '{n += $1} END {print n + 0}')
  [ "$code" = 0 ] || [ "$bad" -gt 0 ] || bad=1
  [ "$((good + bad))" -gt 0 ] || bad=1
  passed=$((passed + good))
  failed=$((failed + bad))
}

Plugins/build.sh "$out/plugins" || { echo "0 passed, 1 failed"; exit 1; }
part "the plug-ins through the ABI" python3 Plugins/tests/test_plugins.py "$out/plugins"
part "the token authenticator through the ABI" python3 Plugins/tests/test_token_authenticator.py "$out/plugins"
part "a new author" Tests/plugins/newcomer.py "$programs"
part "plug-ins to begin with" Tests/plugins/new_plugins.py "$programs"
part "the conformance kit" Tests/plugins/conformance.py "$programs/skein" --plugins "$out/plugins"
part "bad plug-ins on a broker" Tests/plugins/refusals.py "$programs"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
