#!/bin/sh
# npm test: the whole suite, or the files and tap options given. CHAT_REQUIRE=mysql,vectors turns their skips into failures.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
# tap's plugins are built into node_modules: again whenever those were installed again.
[ -n "$(find .tap/built -newer node_modules/.package-lock.json 2>/dev/null)" ] || { tap build >/dev/null && touch .tap/built; }
if [ $# -eq 0 ]; then set -- $(find test -name '*.test.ts' | sort); fi
options="--disable-coverage --allow-empty-coverage --jobs=3 --timeout=500"
if [ -t 1 ]; then exec tap run $options --reporter=base "$@"; fi

# Into a file or a pipe: one line for each file, the failures with their reasons, and tap's own closing line.
results=$(mktemp)
trap 'rm -f "$results"' EXIT INT TERM
status=0
tap run $options --reporter=silent --output-file="$results" "$@" || status=$?
awk '
  /^(not )?ok / || /^# \{/ || /# SKIP/ { print; next }
  /^ +not ok /                         { print; reason = 1; next }
  reason                               { print }
  /^ +\.\.\.$/                         { reason = 0 }
' "$results"
exit $status
