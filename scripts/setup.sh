#!/bin/sh
# Installs what is missing, from the lockfile; does nothing when all is there. Sourced by test.sh and quickstart.sh, from the project's root.
# A copy of the lockfile is laid down after an installation that went through; another lockfile, or none, means "install".
if [ ! -x node_modules/.bin/node ] || ! cmp -s package-lock.json node_modules/.installed-lock.json; then
  echo "installing dependencies (once) …"
  npm ci --loglevel=error --no-audit --no-fund
  cp package-lock.json node_modules/.installed-lock.json
fi
PATH="$PWD/node_modules/.bin:$PATH"
export PATH
# Compiled code is kept: half of what a start of one of the programs, or of a test, costs.
NODE_COMPILE_CACHE="$PWD/node_modules/.cache/compile"
export NODE_COMPILE_CACHE
