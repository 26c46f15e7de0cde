#!/bin/sh
# Certificates for chat-server and its people: a certificate authority, a server certificate, one client certificate a name.
# POSIX sh and OpenSSL >= 3, nothing else. Everything is made in a private folder and renamed into place at the end, so that a run
# that fails or is interrupted leaves nothing under a final name.
set -eu
umask 077
LC_ALL=C
export LC_ALL
newline='
'

usage() {
  cat <<'TEXT'
Usage: gen-certs.sh [OPTIONS]

Makes in the output folder:
  ca.key ca.crt                        the certificate authority, if there is none yet; it is never replaced
  server.key server.csr server.crt     the server
  NAME.key NAME.csr NAME.crt           each person of --client ("client" in a new folder when none is named)
  ca.db ca.crl ca.crlnumber            what was issued, and what was revoked (--crl, --revoke)
In a folder that already has an authority, only what is named on the command line is made.

  --out DIR            output folder (default: certs)
  --client NAME[,NAME] people: a-z 0-9 . _ -, at most 64 characters, a letter or digit first and last
  --email-domain NAME  domain of the e-mail address in client certificates (default: example.org)
  --server NAME[,NAME] DNS names and IP addresses of the server (default: localhost,127.0.0.1,::1)
  --org NAME           organisation in the subjects (default: that of the authority, or SecureChat)
  --ca-name NAME       common name of a new authority (default: SecureChat CA)
  --key TYPE           client keys: rsa2048 (default), rsa3072, ec256, ed25519
  --server-key TYPE    server key: ec256 (default), or one of the same
  --days N             days that new certificates and the revocation list are valid (default: 365)
  --crl                write ca.crl, the list of revoked certificates
  --revoke NAME[,NAME] revoke every certificate that was issued as NAME.crt, and rewrite ca.crl
  --force              replace server and client files that exist (the authority stays)
  --keep-key           with --force: certify the keys that exist anew. To renew: the person's device stays the same device
  -h, --help           this text

Key types: clients sign every batch of messages and the server verifies all of them; RSA is the cheapest to verify, three times as
fast as ec256. The server signs at every connection, and there ec256 is ten times as fast as RSA.

Examples:
  gen-certs.sh                                             authority, server on localhost, one client
  gen-certs.sh --out pki --org 'Example Ltd' --server chat.example.org,192.0.2.7 --client alice,bob
  gen-certs.sh --out pki --client carol                    one more person, same authority
  gen-certs.sh --out pki --revoke alice                    alice is out; give ca.crl to the server
  gen-certs.sh --out pki --client alice --force --keep-key  alice is renewed, and her device with her
  gen-certs.sh --out pki --client alice --force            a new certificate and key for alice

The keys are not encrypted. In production ca.key belongs on another machine than the server.
Exit status: 0 done, 2 usage or refused, 1 OpenSSL failed.
TEXT
}

refuse() { printf 'gen-certs: %s\n' "$1" >&2; exit 2; }

# ---- command line ----------------------------------------------------------------------------------------------------------------
out=certs clients='' domain=example.org servers=localhost,127.0.0.1,::1 org='' ca_name='' key=rsa2048 server_key=ec256 days=365
named='' server_named='' crl='' revoke='' force='' keep_key=''

while [ $# -gt 0 ]; do
  option=$1
  case $option in
    --*=*) value=${option#*=} option=${option%%=*} ;;
    --out | --client | --email-domain | --server | --org | --ca-name | --key | --server-key | --days | --revoke)
      [ $# -ge 2 ] || refuse "$option needs a value"
      value=$2
      shift ;;
    -h | --help) usage; exit 0 ;;
    --crl | --force | --keep-key) value='' ;;
    *) refuse 'unknown option or argument; see --help' ;;
  esac
  shift
  case $option in
    --crl | --force | --keep-key) [ -z "$value" ] || refuse "$option takes no value" ;;
    *) [ -n "$value" ] || refuse "$option needs a value" ;;
  esac
  case $option in
    --out) out=$value ;;
    --client) clients=$clients${clients:+,}$value named=yes ;;
    --email-domain) domain=$value ;;
    --server) servers=$value named=yes server_named=yes ;;
    --org) org=$value ;;
    --ca-name) ca_name=$value ;;
    --key) key=$value ;;
    --server-key) server_key=$value named=yes server_named=yes ;;
    --days) days=$value ;;
    --crl) crl=yes named=yes ;;
    --revoke) revoke=$revoke${revoke:+,}$value named=yes ;;
    --force) force=yes ;;
    --keep-key) keep_key=yes ;;
    *) refuse 'unknown option or argument; see --help' ;;
  esac
done

# ---- checks: nothing is written before all of them have passed -------------------------------------------------------------------
[ -z "$keep_key" ] || [ -n "$force" ] || refuse '--keep-key goes with --force: it replaces the certificate'
command -v openssl >/dev/null 2>&1 || refuse 'openssl is not installed (or not in PATH)'
case $(openssl version 2>/dev/null || :) in
  'OpenSSL '[3-9].*) ;;
  *) refuse 'needs OpenSSL 3 or newer' ;;
esac

# Prints the items of a comma list, one a line; an empty item comes out as an empty line.
items() { printf '%s\n' "$1" | tr ',' '\n'; }

check_name() { # option name
  case $2 in
    '' | *[!a-z0-9._-]* | [!a-z0-9]* | *[!a-z0-9] | *..*)
      refuse "$1: a name has a-z 0-9 . _ - only, and a letter or digit first and last" ;;
    ca) refuse "$1: 'ca' is the authority's name" ;;
  esac
  [ ${#2} -le 64 ] || refuse "$1: a name has at most 64 characters"
}

is_dns() {
  case $1 in '' | *[!a-zA-Z0-9.-]* | .* | *. | *..* | -* | *- | *-.* | *.-*) return 1 ;; esac
  [ ${#1} -le 253 ] || return 1
  is_dns_rest=$1.
  while [ -n "$is_dns_rest" ]; do
    is_dns_label=${is_dns_rest%%.*} is_dns_rest=${is_dns_rest#*.}
    [ ${#is_dns_label} -le 63 ] || return 1
  done
}

is_ipv4() {
  is_ipv4_rest=$1.
  for _ in 1 2 3 4; do
    is_ipv4_part=${is_ipv4_rest%%.*} is_ipv4_rest=${is_ipv4_rest#*.}
    case $is_ipv4_part in [0-9] | [1-9][0-9] | 1[0-9][0-9] | 2[0-4][0-9] | 25[0-5]) ;; *) return 1 ;; esac
  done
  [ -z "$is_ipv4_rest" ]
}

is_ipv6() { # RFC 4291 §2.2, without an embedded IPv4 address
  case $1 in *[!0-9a-fA-F:]* | *:::* | *::*::* | :[!:]* | *[!:]:) return 1 ;; esac
  is_ipv6_groups=0 is_ipv6_rest=$1:
  while [ -n "$is_ipv6_rest" ]; do
    is_ipv6_group=${is_ipv6_rest%%:*} is_ipv6_rest=${is_ipv6_rest#*:}
    [ ${#is_ipv6_group} -le 4 ] || return 1
    [ -z "$is_ipv6_group" ] || is_ipv6_groups=$((is_ipv6_groups + 1))
  done
  case $1 in *::*) [ $is_ipv6_groups -le 7 ] ;; *) [ $is_ipv6_groups -eq 8 ] ;; esac
}

check_text() { # option value
  case $2 in
    *[[:cntrl:]]*) refuse "$1: no control characters" ;;
    ' '* | *' ') refuse "$1: no space at either end" ;;
  esac
  [ ${#2} -le 64 ] || refuse "$1: at most 64 bytes" # X.520 ub-common-name and ub-organization-name
}

check_key() {
  case $2 in rsa2048 | rsa3072 | ec256 | ed25519) ;; *) refuse "$1: want rsa2048, rsa3072, ec256 or ed25519" ;; esac
}

# A newline would pass for a separator below.
for value in "$clients" "$servers" "$revoke"; do
  case $value in *[[:cntrl:]]*) refuse 'a list of names has a control character in it' ;; esac
done
check_names() { # option list
  check_names_seen=,
  # An empty item at the end is lost by for(): look for it first.
  case ,$2, in *,,*) refuse "$1: an empty name in the list" ;; esac
  set -f
  for check_names_item in $(items "$2"); do
    check_name "$1" "$check_names_item"
    case $check_names_seen in *,"$check_names_item",*) refuse "$1: '$check_names_item' is named twice" ;; esac
    check_names_seen=$check_names_seen$check_names_item,
  done
  set +f
}
for value in "$clients" "$servers" "$revoke"; do
  case $value in *' '*) refuse 'a list of names is separated by commas, without spaces' ;; esac
done
[ -z "$clients" ] || check_names --client "$clients"
[ -z "$revoke" ] || check_names --revoke "$revoke"
# Names that would pass for the service or its staff: the server lets nobody register them.
reserved='admin administrator all anonymous chat chat-client chat-server chat-verify constructor daemon everyone guest help here host
localhost log me moderator nobody null operator owner postmaster root security server service staff support sysadmin system
undefined webmaster'
for value in $reserved; do
  case ,$clients, in *,"$value",*) refuse "--client: '$value' is a reserved name" ;; esac
done

case ,$servers, in *,,*) refuse '--server: an empty name in the list' ;; esac
server_cn='' server_san=''
set -f
for value in $(items "$servers"); do
  case $value in
    *:*) is_ipv6 "$value" || refuse '--server: not an IPv6 address'; kind=IP ;;
    *[!0-9.]*) is_dns "$value" || refuse '--server: not a DNS name or IP address'; kind=DNS ;;
    *) is_ipv4 "$value" || refuse '--server: not an IPv4 address'; kind=IP ;;
  esac
  [ -n "$server_cn" ] || [ ${#value} -gt 64 ] || server_cn=$value
  server_san=$server_san${server_san:+,}$kind:$value
done
set +f
: "${server_cn:=server}"

is_dns "$domain" || refuse '--email-domain: not a DNS name'
[ -z "$org" ] || check_text --org "$org"
[ -z "$ca_name" ] || check_text --ca-name "$ca_name"
check_key --key "$key"
check_key --server-key "$server_key"
case $days in [1-9] | [1-9][0-9] | [1-9][0-9][0-9] | [1-9][0-9][0-9][0-9] | [1-2][0-9][0-9][0-9][0-9]) ;;
  *) refuse '--days: want a whole number in 1..29999' ;;
esac

case $out in *[[:cntrl:]]*) refuse '--out: no control characters' ;; -*) out=./$out ;; esac
mkdir -p "$out" 2>/dev/null || refuse "cannot make the folder $out"
{ [ -d "$out" ] && [ -w "$out" ] && [ -x "$out" ]; } || refuse "cannot write to the folder $out"

# ---- one run at a time; the lock is also where everything is made ----------------------------------------------------------------
work=$out/.gen-certs
if ! mkdir "$work" 2>/dev/null; then
  owner=$(cat "$work/pid" 2>/dev/null || :)
  if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
    rm -rf "$work"
  fi
  mkdir "$work" 2>/dev/null || refuse "another run is at work here (if not, remove $work)"
fi
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
echo $$ >"$work/pid"
mkdir "$work/new"
new=$work/new

# Runs OpenSSL; on failure its first reason becomes the one line that is printed. A request fails for what is in its subject.
ssl() {
  openssl "$@" 2>"$work/stderr" && return
  ssl_reason=$(grep -i error "$work/stderr" | head -n 1)
  [ "$1" != req ] || refuse "OpenSSL refuses this subject: $ssl_reason"
  printf 'gen-certs: openssl %s failed: %s\n' "$1" "$ssl_reason" >&2
  exit 1
}

have_ca=''
if [ -e "$out/ca.key" ] && [ -e "$out/ca.crt" ]; then
  have_ca=yes
  field() { openssl x509 -in "$out/ca.crt" -noout -subject -nameopt sep_multiline,lname,space_eq,utf8 2>/dev/null | sed -n "s/^ *$1 = //p" | head -n 1; }
  [ "$(openssl x509 -in "$out/ca.crt" -noout -pubkey 2>/dev/null)" = "$(openssl pkey -in "$out/ca.key" -pubout 2>/dev/null </dev/null || echo none)" ] ||
    refuse "$out/ca.key is not the key of $out/ca.crt"
  [ -z "$ca_name" ] || [ "$ca_name" = "$(field commonName)" ] ||
    refuse "--ca-name: $out has an authority of another name, which is never replaced; choose another --out"
  [ -n "$org" ] || org=$(field organizationName)
elif [ -e "$out/ca.key" ] || [ -e "$out/ca.crt" ]; then
  refuse "$out has only one of ca.key and ca.crt: nothing can be signed, and nothing is replaced"
elif [ -n "$revoke" ]; then
  refuse "--revoke: there is no authority in $out"
fi
: "${org:=SecureChat}" "${ca_name:=SecureChat CA}"

make_server='' make_clients=$clients
if [ -z "$have_ca" ] || [ -z "$named" ]; then
  make_server=yes make_clients=${clients:-client}
elif [ -n "$server_named" ]; then
  make_server=yes
fi

if [ -n "$have_ca" ] && [ -n "$make_server$make_clients" ]; then
  openssl x509 -in "$out/ca.crt" -noout -checkend $((days * 86400)) >/dev/null ||
    refuse "--days: the authority ends before that ($(openssl x509 -in "$out/ca.crt" -noout -enddate | sed 's/notAfter=//'))"
fi

replaced=''
for name in ${make_server:+server} $(items "$make_clients"); do
  for file in "$name.key" "$name.csr" "$name.crt"; do
    [ -e "$out/$file" ] || [ -L "$out/$file" ] || continue
    [ -n "$force" ] || refuse "$out/$file exists; --force replaces it"
    [ ! -d "$out/$file" ] || refuse "$out/$file is a folder"
    [ "$file" != "$name.crt" ] || replaced="$replaced $name"
  done
done

# ---- OpenSSL's own configuration -------------------------------------------------------------------------------------------------
# A value for a configuration file: \ $ " ' # ; mean something there.
quoted() { printf '%s\n' "$1" | sed "s/[\\\\\$\"'#;]/\\\\&/g"; }

config() { # unit, common name, then the lines of the extensions
  cat <<TEXT
[req]
distinguished_name = subject
prompt = no
utf8 = yes
string_mask = utf8only
[subject]
O = $(quoted "$org")
OU = $1
CN = $(quoted "$2")
[extensions]
$3
TEXT
}

make_key() { # type, file
  case $1 in
    rsa*) ssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:${1#rsa}" -out "$2" ;;
    ec256) ssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2" ;;
    ed25519) ssl genpkey -algorithm ED25519 -out "$2" ;;
  esac
}

# In all that follows `ssl` stands alone or in an assignment: there, and only there, its failure ends the run (set -e).

make_ca() {
  make_key ec256 "$new/ca.key"
  config CA "$ca_name" 'basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash' >"$work/ca.cnf"
  # It has to outlive what it signs, also what it signs in some years.
  make_ca_days=3650
  [ "$days" -lt 1825 ] || make_ca_days=$((days * 2))
  serial=$(ssl rand -hex 16)
  ssl req -x509 -new -sha256 -config "$work/ca.cnf" -extensions extensions -key "$new/ca.key" \
    -set_serial "0x$serial" -days "$make_ca_days" -out "$new/ca.crt"
  : >"$new/ca.db"
}

# A line of OpenSSL's index (see openssl-ca): status, end, revocation, serial, file, subject. The file tells whose it was.
index_line() { # status, certificate, file
  index_text=$(ssl x509 -in "$2" -noout -enddate -dateopt iso_8601 -serial -subject -nameopt compat)
  index_field() { printf '%s\n' "$index_text" | sed -n "s/^$1= *//p"; }
  printf '%s\t%s\t\t%s\t%s\t%s\n' "$1" "$(index_time "$(index_field notAfter)")" "$(index_field serial)" "$3" "$(index_field subject)"
}
index_time() { # 2027-11-20 12:00:00Z: two digits for the year until 2049 (RFC 5280 §4.1.2.5)
  case $1 in 20[0-4]*) printf '%s' "${1#20}" ;; *) printf '%s' "$1" ;; esac | tr -d ' :-'
}

make_leaf() { # name, key type, unit, common name, usage, alternative names
  if [ -n "$keep_key" ] && [ -e "$out/$1.key" ]; then cp "$out/$1.key" "$new/$1.key"; else make_key "$2" "$new/$1.key"; fi
  config "$3" "$4" "basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = $5
subjectAltName = $6
subjectKeyIdentifier = hash" >"$work/csr.cnf"
  ssl req -new -sha256 -config "$work/csr.cnf" -reqexts extensions -key "$new/$1.key" -out "$new/$1.csr"
  { cat "$work/csr.cnf"; echo 'authorityKeyIdentifier = keyid:always'; } >"$work/crt.cnf"
  serial=$(ssl rand -hex 16)
  ssl x509 -req -sha256 -in "$new/$1.csr" -CA "$ca/ca.crt" -CAkey "$ca/ca.key" -set_serial "0x$serial" -days "$days" \
    -extfile "$work/crt.cnf" -extensions extensions -out "$new/$1.crt"
  index_line V "$new/$1.crt" "$1.crt" >>"$new/ca.db"
}

revoke_name() {
  revoke_crt=$out/$1.crt
  # A certificate that the authority signed before there was an index.
  if [ -e "$revoke_crt" ] && openssl verify -no_check_time -CAfile "$ca/ca.crt" "$revoke_crt" >/dev/null 2>&1; then
    revoke_serial=$(ssl x509 -in "$revoke_crt" -noout -serial)
    if awk -F '\t' -v serial="${revoke_serial#*=}" '$4 == serial { found = 1 } END { exit found }' "$new/ca.db"; then
      index_line V "$revoke_crt" "$1.crt" >>"$new/ca.db"
    fi
  fi
  awk -F '\t' -v file="$1.crt" '$5 == file { found = 1 } END { exit !found }' "$new/ca.db" ||
    refuse "--revoke: no certificate of '$1' was issued here"
  awk -F '\t' -v OFS='\t' -v file="$1.crt" -v now="$(date -u +%y%m%d%H%M%SZ)" \
    '$5 == file && $1 == "V" { $1 = "R"; $3 = now } { print }' "$new/ca.db" >"$work/db"
  mv -f "$work/db" "$new/ca.db"
}

make_crl() {
  if [ -e "$out/ca.crlnumber" ]; then cp "$out/ca.crlnumber" "$new/ca.crlnumber"; else echo 01 >"$new/ca.crlnumber"; fi
  cp "$new/ca.db" "$work/index"
  cat >"$work/crl.cnf" <<'TEXT'
[ca]
default_ca = authority
[authority]
database = index
crlnumber = new/ca.crlnumber
default_md = sha256
unique_subject = no
crl_extensions = extensions
[extensions]
authorityKeyIdentifier = keyid:always
TEXT
  # OpenSSL reads the paths in a configuration from where it stands.
  make_crl_ca=$(cd "$ca" && pwd)
  (cd "$work" && openssl ca -gencrl -config crl.cnf -cert "$make_crl_ca/ca.crt" -keyfile "$make_crl_ca/ca.key" -crldays "$days" \
    -out new/ca.crl 2>stderr) || {
    printf 'gen-certs: openssl ca failed: %s\n' "$(head -n 1 "$work/stderr")" >&2
    exit 1
  }
  rm -f "$new"/ca.crlnumber.old
}

# ---- make everything -------------------------------------------------------------------------------------------------------------
if [ -n "$have_ca" ]; then
  ca=$out
  if [ -e "$out/ca.db" ]; then cp "$out/ca.db" "$new/ca.db"; else : >"$new/ca.db"; fi
else
  ca=$new
  make_ca
fi
# First: a name that is revoked and issued anew in one run keeps its new certificate.
for name in $(items "$revoke"); do revoke_name "$name"; done
[ -z "$make_server" ] || make_leaf server "$server_key" Server "$server_cn" serverAuth "$server_san"
for name in $(items "$make_clients"); do
  make_leaf "$name" "$key" Client "$name" clientAuth "email:$name@$domain,URI:chat:$name"
done
[ -z "$crl$revoke" ] || make_crl

report=''
made=$make_clients
[ -z "$make_server" ] || made=server,$made
[ -n "$have_ca" ] || made=ca,$made
for name in $(items "$made"); do
  fingerprint=$(ssl x509 -in "$new/$name.crt" -noout -fingerprint -sha256)
  report=$report$(printf '%-16s SHA-256 %s' "$name.crt" "${fingerprint#*=}")$newline
done

# ---- rename into place: the index first, so that no certificate is there that it does not know -----------------------------------
for file in "$new"/*.crt "$new"/*.csr "$new"/*.crl; do
  [ ! -e "$file" ] || chmod 644 "$file"
done
trap '' HUP INT TERM
mv -f "$new/ca.db" "$out/ca.db"
for file in "$new"/*; do mv -f "$file" "$out/"; done

printf %s "$report"
for name in $(items "$revoke"); do printf '%-16s revoked\n' "$name"; done
[ -z "$crl$revoke" ] || printf '%-16s valid for %s days\n' ca.crl "$days"
for name in $replaced; do
  case ,$revoke, in
    *,"$name",*) ;;
    *) printf "gen-certs: the former certificate of %s stays valid; --revoke %s ends it (and the new one)\n" "$name" "$name" >&2 ;;
  esac
done
