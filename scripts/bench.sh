#!/bin/sh
# npm run bench: what the server costs on this machine, beside a bare TLS relay in the same run. Linux only (it reads /proc). `-- --help`.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
exec node bench/run.ts "$@"
