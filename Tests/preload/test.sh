#!/usr/bin/env bash
# test.sh: builds the preload library and shows that it drops what was not synced, keeps what was, and
# catches programs that promise too early. Takes about 20 s on an idle machine.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/unsynced.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$here/build.sh" "$work/bin"
failed=0
fail() { echo "FAILED: $*"; failed=1; }

# is NAME TEXT: the file has exactly this text; NAME - : it does not exist.
is() {
  if [ "$2" = - ]; then
    [ ! -e "$work/root/$1" ] || fail "$1 exists"
  else
    [ "$(cat "$work/root/$1" 2>&1)" = "$2" ] || fail "$1 is '$(cat "$work/root/$1" 2>&1)', not '$2'"
  fi
}

fresh() { rm -rf "$work/root" "$work/root.unsynced" "$work/acks"; mkdir "$work/root"; }
under() { UNSYNCED_ROOT="$work/root" LD_PRELOAD="$work/bin/unsynced.so" "$@"; }
rollback() { "$work/bin/unsynced-rollback" "$work/root.unsynced" "$@"; }

echo "== every kind of change, taken back"
fresh
(under "$work/bin/unsynced-probe" script "$work/root") 2>/dev/null || true
is overwritten "NEWERld old"   # SIGKILL alone has lost nothing
rollback
is overwritten "old old old"
is grown abc
[ "$(stat -c %s "$work/root/grown")" = 3 ] || fail "size of grown"
is shrunk 0123456789
is truncated-on-open whole
is replaced before
is replacement -
is removed "still here"
is moved moved
is kept/moved -
[ -d "$work/root/emptied" ] || fail "emptied is gone"
is lost -
is kept/lost -
is kept/synced SYNCED
[ "$(stat -c %s "$work/root/kept/synced")" = 6 ] || fail "size of kept/synced"
[ -z "$(ls -A "$work/root.unsynced")" ] || fail "the state folder is not empty"
[ "$(stat -c %h "$work/root/grown")" = 1 ] || fail "links are left over"

echo "== one sync of everything"
fresh
(under "$work/bin/unsynced-probe" script-all "$work/root") 2>/dev/null || true
rollback
is left "by an earlier process"
is folder/file synced
is folder/late -
is new-name x
is old-name -

# kills ROUNDS BUG SEEDED: rounds of load, SIGKILL and rollback; returns 1 at the first broken promise.
kills() {
  fresh
  for round in $(seq "$1"); do
    UNSYNCED_ROOT="$work/root" LD_PRELOAD="$work/bin/unsynced.so" \
      "$work/bin/unsynced-probe" load "$work/root" "$work/acks" "$2" &
    pid=$!
    sleep "0.$((RANDOM % 25 + 5))"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    # Every third time only the process dies: the library must go on with what it has.
    if [ $((round % 3)) != 0 ]; then
      if [ "$3" = yes ]; then rollback "$round" >/dev/null; else rollback >/dev/null; fi
    fi
    "$work/bin/unsynced-probe" check "$work/root" "$work/acks" || return 1
  done
}

echo "== kills under load"
kills 12 none no || fail "a synced record was lost"
kills 12 none yes || fail "a synced record was lost (partial loss)"
records=$(od -An -t u8 "$work/acks" | xargs)
echo "records promised per thread: $records"
echo "== programs that promise too early are caught"
if kills 20 data no >"$work/out"; then fail "acknowledging before the sync was not caught"; else head -1 "$work/out"; fi
if kills 20 names no >"$work/out"; then fail "a missing folder sync was not caught"; else head -1 "$work/out"; fi

echo "== cost"
fresh
"$work/bin/unsynced-probe" bench "$work/root" | sed 's/^/  plain: /'
fresh
under "$work/bin/unsynced-probe" bench "$work/root" | sed 's/^/  under: /'
[ "$failed" = 0 ] && echo "all passed"
exit "$failed"
