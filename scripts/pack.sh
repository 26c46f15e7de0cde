#!/bin/sh
# npm run pack: the programs, the packages that they need, and Node, as one archive for a machine of the same kind that has no network
# (docs/OPERATING.md). The same sources and packages give the same bytes. GNU tar.
set -eu
usage='usage: npm run pack [-- ARCHIVE.tar.gz]'
case ${1-} in --help | -h) echo "$usage"; exit 0 ;; -*) echo "$usage" >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
. scripts/setup.sh
name=$(node -p 'const { name, version } = require("./package.json"); `${name}-${version}-${process.platform}-${process.arch}`')
archive=${1:-$name.tar.gz}
case $archive in /*) ;; *) archive=${INIT_CWD:-$PWD}/$archive ;; esac
[ ! -e "$archive" ] || { echo "pack: $archive exists; remove it, or give another name" >&2; exit 2; }
# What the lockfile marks for development stays here. Of two packages of one name, one lies inside of the package that wants it.
packages=$(node -p '
  Object.entries(require("./package-lock.json").packages)
    .filter(([path, { dev, devOptional }]) => path.lastIndexOf("node_modules/") === 0 && !dev && !devOptional)
    .map(([path]) => path).join("\n")')
trap 'rm -f "$archive.part"' EXIT
trap 'exit 130' INT TERM
tar --create --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode='u+rwX,go=u,go-w' --hard-dereference \
  --transform "s,^,$name/,S" --use-compress-program='gzip -n' --file "$archive.part" \
  base bin client protocol runtime server sql store transcript verify x509 docs certs/README.md \
  scripts/gen-certs.sh scripts/quickstart.sh scripts/quickstart.ts scripts/setup.sh scripts/verify-with-openssl.sh \
  package.json package-lock.json README.md SECURITY.md CHANGELOG.md LICENSE \
  $packages node_modules/.installed-lock.json node_modules/.bin/node node_modules/node/bin/node
mv "$archive.part" "$archive"
sha256sum "$archive"
