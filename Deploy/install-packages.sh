#!/usr/bin/env bash
# Installs the Debian packages of Deploy/packages.txt that are missing. Asks nothing; quiet when
# there is nothing to do. Refreshes apt's lists only when an install without that fails.
set -euo pipefail
list=$(dirname "$0")/packages.txt
missing=()
while read -r name _; do
  case "$name" in '' | '#'*) continue ;; esac
  dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || missing+=("$name")
done < "$list"
[ ${#missing[@]} -gt 0 ] || exit 0

echo "installing: ${missing[*]}"
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "these Debian packages are missing; install them as root: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A server among them (etcd) is for tests that start their own: keep Debian from starting it.
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$log" 2>&1
}
if ! install; then
  "${as_root[@]}" apt-get update -q >>"$log" 2>&1
  install || { tail -30 "$log" >&2; exit 1; }
fi
