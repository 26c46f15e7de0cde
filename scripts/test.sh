#!/bin/sh
# npm test: the whole suite, or the files given. CHAT_REQUIRE=mysql,vectors turns their skips into failures.
# Prints one line for each file, the failures with their reasons, and tap's own closing line.
set -eu
usage='usage: npm test [-- FILE.test.ts …]'
case ${1-} in --help | -h) echo "$usage"; exit 0 ;; -*) echo "$usage" >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
. scripts/setup.sh
# tap's plugins are built into node_modules: again whenever those were installed again.
[ -n "$(find .tap/built -newer node_modules/.package-lock.json 2>/dev/null)" ] || { tap build >/dev/null && touch .tap/built; }
if [ $# -eq 0 ]; then set -- $(find test -name '*.test.ts' | sort); fi
status=$(mktemp)
trap 'rm -f "$status"' EXIT INT TERM
{ node scripts/suite.ts "$@" || echo $? >"$status"; } | awk '
  /^ok / || /^# \{/ || /# SKIP/ { print; fflush(); next }
  /^ *not ok /                  { print; fflush(); reason = 1; next }
  reason                        { print }
  /^ +\.\.\.$/                         { reason = 0 }
'
[ ! -s "$status" ] || exit "$(cat "$status")"
