#!/usr/bin/env bash
# Runs the suites and ends with one line, "N passed, N failed", over all of them.
#
#   Tests/run-all.sh                 lint, swift, plugins, stores, interop, cli, newcomer, limits, examples, kill
#   Tests/run-all.sh swift|plugins|stores|interop|cli|newcomer|limits|examples|kill …   only these
#
# Logs: .build/logs/<suite>.log. A suite that ran no test, or died before its summary, has failed.
set -uo pipefail
cd "$(dirname "$0")/.."
logs=.build/logs
mkdir -p "$logs"
passed=0
failed=0
suites=("$@")
[ $# -gt 0 ] || suites=(lint swift plugins stores interop cli newcomer limits examples kill)

note() { printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$*"; }

# count SUITE PASSED FAILED EXIT_CODE: adds one suite's result, correcting results that cannot be true.
count() {
  local name=$1 good=${2:-0} bad=${3:-0} code=$4
  if [ "$code" != 0 ] && [ "$bad" = 0 ]; then
    echo "$name: exit code $code without a counted failure; see $logs/$name.log" >&2
    bad=1
  fi
  if [ "$good" = 0 ] && [ "$bad" = 0 ]; then
    echo "$name: ran no test" >&2
    bad=1
  fi
  note "$name: $good passed, $bad failed"
  passed=$((passed + good))
  failed=$((failed + bad))
}

run_lint() {
  Deploy/lint.sh && count lint 1 0 0 || count lint 0 1 1
}

# One run for the targets that only compute, then one for each target that talks over sockets: those have
# deadlines, and the simulations beside them in one process would starve their event loops.
computing='ArchitectureTests|CommitLogTests|RecordFormatTests|SkeinCoreTests|WireTests'

# Swift Testing ends with "Test run with N tests in M suites passed|failed"; each failed test has a line
# of its own. A test that traps takes the process with it: then there is no such line, only an exit code.
run_swift() {
  local folder target log code total bad skipped
  note "swift: building the tests (debug; the first time takes minutes) ..."
  if ! swift build --build-tests >"$logs/swift-build.log" 2>&1; then
    grep -E 'error:' -A3 "$logs/swift-build.log" | head -60 >&2
    echo "the build of the tests failed; the whole log is $logs/swift-build.log" >&2
    count swift 0 1 1
    return
  fi
  # One of Transport's tests is a stock client's; without its environment it would be skipped.
  Tests/interop/run.sh --python -c '' >"$logs/interop-environment.log" 2>&1 || note "no Python environment; see $logs"
  local groups=("($computing)")
  for folder in Tests/*Tests; do
    [[ "${folder#Tests/}" =~ ^($computing)$ ]] || groups+=("${folder#Tests/}")
  done
  for target in "${groups[@]}"; do
    code=0
    log=$logs/swift-${target//[^A-Za-z]/}.log
    [ "$target" != "($computing)" ] || log=$logs/swift-computing.log
    note "swift: ${target//[()]/} ..."
    timeout 1500 swift test --skip-build --filter "^$target\\." >"$log" 2>&1 || code=$?
    total=$(grep -oE 'Test run with [0-9]+ tests?' "$log" | awk '{n += $4} END {print n + 0}')
    bad=$(grep -E '^✘ Test .* failed after' "$log" | grep -vc '^✘ Test run with' || true)
    skipped=$(grep -cE '^[^ ]+ Test .* skipped' "$log" || true)
    [ "$code" = 0 ] || grep -E '^✘|error:|Fatal|^ *↳|signal' "$log" | cut -c1-600 | head -80 >&2
    [ "$total" -gt 0 ] || total=$bad
    count "swift $(basename "$log" .log | sed 's/swift-//')" $((total - bad - skipped)) "$bad" "$code"
    [ "$skipped" = 0 ] || note "swift: $skipped skipped"
  done
}

# A script of ours or pytest: its last line with "N passed" counts ("N failed", "N error(s)" may stand beside it).
run_script() {
  local name=$1 log=$logs/$1.log code=0 summary
  shift
  note "$name: running ..."
  "$@" 2>&1 | tee "$log" | grep --line-buffered -vE '^(=+ test session starts|platform |rootdir|plugins|collected)' || true
  code=${PIPESTATUS[0]}
  summary=$(grep -E '[0-9]+ (passed|failed|errors?)\b' "$log" | tail -1)
  number() { grep -oE "[0-9]+ $1" <<<"$summary" | awk '{n += $1} END {print n + 0}'; }
  count "$name" "$(number passed)" "$(($(number failed) + $(number 'errors?')))" "$code"
}

for suite in "${suites[@]}"; do
  case "$suite" in
    lint) run_lint ;;
    swift) run_swift ;;
    plugins)
      Deploy/build.sh || { count plugins 0 1 1; continue; }
      run_script plugins Tests/plugins/run.sh .build/release
      ;;
    stores)
      Deploy/build.sh && swift build -c release --static-swift-stdlib --product StoreDriver >"$logs/stores-build.log" 2>&1 ||
        { tail -40 "$logs/stores-build.log" >&2; count stores 0 1 1; continue; }
      run_script stores Tests/stores/run.sh .build/release
      ;;
    interop)
      Deploy/build.sh || { count interop 0 1 1; continue; }
      swift build -c release --static-swift-stdlib --product ConformancePeer >"$logs/conformance-build.log" 2>&1 ||
        { tail -40 "$logs/conformance-build.log" >&2; count interop 0 1 1; continue; }
      SKEIND=$PWD/.build/release/skeind run_script interop Tests/interop/run.sh -q
      ;;
    limits)
      Deploy/build.sh && swift build -c release --static-swift-stdlib --product CallDriver >"$logs/limits-build.log" 2>&1 ||
        { count limits 0 1 1; continue; }
      run_script limits Tests/limits/stalled_streams.py .build/release
      run_script limits-groups Tests/limits/groups.py .build/release --small
      ;;
    cli)
      Deploy/build.sh || { count cli 0 1 1; continue; }
      SKEIN=$PWD/.build/release/skein SKEIND=$PWD/.build/release/skeind run_script cli Tests/cli/run.sh -q
      ;;
    newcomer)
      Deploy/build.sh || { count newcomer 0 1 1; continue; }
      SKEIN_NEWCOMER_BIN=$PWD/.build/release run_script newcomer Tests/newcomer.sh
      ;;
    examples) run_script examples Deploy/examples/run.sh ;;
    kill) run_script kill Tests/kill/run.sh ;;
    *) echo "unknown suite: $suite" >&2; exit 2 ;;
  esac
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
