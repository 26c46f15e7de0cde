#!/bin/sh
# npm run quickstart: needs sh, git's clone, npm, openssl and any Node that npm runs on; everything else comes from the lockfile.
set -eu
cd "$(dirname "$0")/.."
command -v openssl >/dev/null 2>&1 || { echo "quickstart: openssl is missing; install it (apt install openssl) and try again" >&2; exit 2; }
. scripts/setup.sh
exec node scripts/quickstart.ts "$@"
