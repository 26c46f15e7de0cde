#!/bin/sh
# Proves one message of an evidence bundle without any of our programs: openssl 3, sha256sum, tar and a POSIX shell. docs/TRANSCRIPT.md §f.
# It shows that nothing here depends on believing us. It checks one message, and no revocation; chat-verify checks all of it, and is stricter
# about certificates than openssl.
set -u
LC_ALL=C
export LC_ALL

usage() {
  echo 'usage: verify-with-openssl.sh BUNDLE.tar MESSAGE-NUMBER --ca CA.crt [--tsa TSA-CA.crt]' >&2
  exit 2
}
fail() {
  echo "FAILED $1" >&2
  exit 1
}
ok() { echo "ok     $1"; }

bundle='' number='' ca='' tsa=''
while [ $# -gt 0 ]; do
  case $1 in
  --ca)
    [ $# -ge 2 ] || usage
    ca=$2
    shift
    ;;
  --tsa)
    [ $# -ge 2 ] || usage
    tsa=$2
    shift
    ;;
  -*) usage ;;
  *) if [ -z "$bundle" ]; then bundle=$1; elif [ -z "$number" ]; then number=$1; else usage; fi ;;
  esac
  shift
done
case $number in '' | *[!0-9]* | ???????*) usage ;; esac
if [ -z "$bundle" ] || [ -z "$ca" ]; then usage; fi
[ -r "$bundle" ] || fail "cannot read $bundle"
[ -r "$ca" ] || fail "cannot read $ca"
ca=$(cd "$(dirname "$ca")" && pwd)/$(basename "$ca")
if [ -n "$tsa" ]; then
  [ -r "$tsa" ] || fail "cannot read $tsa"
  tsa=$(cd "$(dirname "$tsa")" && pwd)/$(basename "$tsa")
fi

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# Before anything is unpacked: plain files under harmless names, and nothing else.
tar -tf "$bundle" >"$work/names" 2>/dev/null || fail 'the archive cannot be read'
! grep -Eqv '^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$' "$work/names" || fail 'a name in the archive'
! tar -tvf "$bundle" | grep -qv '^-' || fail 'something in the archive is not a plain file'
mkdir "$work/b"
tar -xf "$bundle" -C "$work/b" || fail 'the archive cannot be unpacked'
cd "$work/b" || exit 1

# --- small tools: bytes stay in files or base64, for a shell has no bytes ---------------------------------------------------------
b64() { openssl base64 -A; }
unb64() { printf '%s' "$1" | openssl base64 -d -A; }
hash() { openssl dgst -sha256 -binary | b64; }
hex() { od -An -v -tx1 | tr -d ' \n'; }
# bytes FILE OFFSET COUNT
bytes() { dd "if=$1" bs=1 "skip=$2" "count=$3" 2>/dev/null; }
size() { cat "$1" 2>/dev/null | wc -c | tr -d ' '; }
line() { sed -n "s/^$2 //p" "$1" | head -n 1; }
is_number() { case $1 in '' | *[!0-9]* | 0?* | ????????????????*) return 1 ;; esac; }
# RFC 9162 §2.1.1: leaves and inner nodes hash with different first bytes
leaf() { { printf '\000'; cat; } | hash; }
node() { { printf '\001'; unb64 "$1"; unb64 "$2"; } | hash; }
# climb LEAF INDEX SIZE, one sibling a line on standard input: the root (RFC 9162 §2.1.3.2); the lines as they must be, in $work/climbed
climb() {
  climb_root=$1 at=$2 last=$(($3 - 1))
  : >"$work/climbed"
  [ "$at" -le "$last" ] || return 1
  while read -r sibling; do
    sibling=$(unb64 "$sibling" | b64)
    [ "$last" -gt 0 ] && [ "${#sibling}" -eq 44 ] || return 1
    printf '%s\n' "$sibling" >>"$work/climbed"
    if [ $((at % 2)) -eq 1 ] || [ "$at" -eq "$last" ]; then
      climb_root=$(node "$sibling" "$climb_root")
      while [ $((at % 2)) -eq 0 ] && [ "$at" -ne 0 ]; do at=$((at / 2)) last=$((last / 2)); done
    else
      climb_root=$(node "$climb_root" "$sibling")
    fi
    at=$((at / 2)) last=$((last / 2))
  done
  [ "$last" -eq 0 ] && printf '%s' "$climb_root"
}
# tbs CONTEXT FILE: what a certificate key signs
tbs() {
  printf '%64s' ''
  printf '%s\000' "$1"
  cat "$2"
}
# key CERTIFICATE: its public key, in $work/key.pem, after a look at its fingerprint
key() {
  case $1 in '' | *[!0-9a-f]*) fail 'a fingerprint' ;; esac
  [ "$(openssl x509 -in "cert/$1.pem" -outform DER 2>/dev/null | openssl dgst -sha256 -binary | hex)" = "$1" ] ||
    fail "cert/$1.pem is missing, or is not that certificate"
  openssl x509 -in "cert/$1.pem" -noout -pubkey >"$work/key.pem"
}
# signed FILE SIGNATURE, by the key in $work/key.pem; sets $algorithm. openssl may read as many bytes as the key has, and no more
signed() {
  case $(openssl pkey -pubin -in "$work/key.pem" -noout -text) in
  *ED25519*)
    algorithm=01
    [ "$(size "$2")" -eq 64 ] && openssl pkeyutl -verify -rawin -pubin -inkey "$work/key.pem" -in "$1" -sigfile "$2" >/dev/null 2>&1
    ;;
  *prime256v1*)
    algorithm=02
    [ "$(size "$2")" -le 72 ] && openssl dgst -sha256 -verify "$work/key.pem" -signature "$2" "$1" >/dev/null 2>&1
    ;;
  *odulus*)
    algorithm=03
    modulus=$(openssl rsa -pubin -in "$work/key.pem" -noout -modulus)
    modulus=${modulus#*=}
    exponent=$(openssl rsa -pubin -in "$work/key.pem" -noout -text | sed -n 's/^Exponent: \([0-9]*\) .*/\1/p') # none: above 64 bits
    case $exponent in *[13579]) ;; *) return 1 ;; esac
    { [ "${#exponent}" -gt 5 ] || [ "$exponent" -ge 65537 ]; } && [ "${#modulus}" -ge 512 ] && [ "${#modulus}" -le 2048 ] &&
      [ "$(size "$2")" -eq $(((${#modulus} + 1) / 2)) ] &&
      openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sigopt rsa_mgf1_md:sha256 \
        -verify "$work/key.pem" -signature "$2" "$1" >/dev/null 2>&1
    ;;
  *) return 1 ;;
  esac
}
# is_for CERTIFICATE USAGE: it was issued for that, and not for everything
is_for() {
  case $(openssl x509 -in "cert/$1.pem" -noout -ext extendedKeyUsage 2>/dev/null) in
  *'Any Extended Key Usage'*) return 1 ;;
  *"TLS Web $2 Authentication"*) ;;
  *) return 1 ;;
  esac
}
# trusted CERTIFICATE SECONDS USAGE [MORE]: a chain to the given CA at that time, for Client or Server
trusted() {
  is_for "$1" "$3" || return 1
  certificate=cert/$1.pem seconds=$2 purpose=sslclient
  [ "$3" = Client ] || purpose=sslserver
  shift 3
  [ -f cert/chain.pem ] && set -- "$@" -untrusted cert/chain.pem
  # Without -no-CAstore it would also believe the authorities of this machine.
  openssl verify -CAfile "$ca" -no-CApath -no-CAstore -attime "$seconds" -purpose "$purpose" "$@" "$certificate" >/dev/null 2>&1
}

# --- the files are those that the exporter sealed ------------------------------------------------------------------------------------
grep -Ev '^SHA256SUMS(\.sig)?$' "$work/names" >"$work/listed"
! grep -Eqv '^[0-9a-f]{64}  [^ ]+$' SHA256SUMS || fail 'SHA256SUMS: a line that is no sum' # sha256sum would pass over it
sed 's/^[0-9a-f]*  //' SHA256SUMS | cmp -s - "$work/listed" || fail 'SHA256SUMS: lists other files than these'
sha256sum -c SHA256SUMS >/dev/null 2>&1 || fail 'SHA256SUMS: a file is not the one that is listed'
exporter=$(line BUNDLE exporter)
key "$exporter"
tbs 'chatlog/v1, bundle' SHA256SUMS >"$work/tbs"
signed "$work/tbs" SHA256SUMS.sig || fail 'SHA256SUMS.sig: the exporter did not sign these files'
created=$(line BUNDLE created)
is_number "$created" || fail 'BUNDLE: no time'
is_trusted=''
if is_for "$exporter" Client; then
  trusted "$exporter" $((created / 1000)) Client && is_trusted=yes
else # the operator's, of what is in a log of his
  for statement in log/*/key-*.stmt; do
    host=$(line "$statement" origin)
    trusted "$exporter" $((created / 1000)) Server -verify_hostname "${host%%/*}" && is_trusted=yes
  done
fi
[ -n "$is_trusted" ] || fail "cert/$exporter.pem: this CA did not vouch for the exporter when he sealed these files"
ok "sealed by $(openssl x509 -in "cert/$exporter.pem" -noout -subject -nameopt RFC2253,esc_ctrl | sed 's/^subject= *//')"

# --- the entry --------------------------------------------------------------------------------------------------------------------------
number=$(printf '%06d' "$(printf '%s' "$number" | sed 's/^0*\([0-9]\)/\1/')")
msg=msg/$number
[ -f "$msg/entry" ] || fail "there is no message $number"
[ "$(size "$msg/entry")" -eq 260 ] || fail "$msg/entry: not the entry of a message"
[ "$(bytes "$msg/entry" 0 2 | hex)" = 0100 ] || fail "$msg/entry: not the entry of a message"
bytes "$msg/entry" 12 248 >"$work/ms"
[ "$(bytes "$work/ms" 0 8)" = clog-ms1 ] || fail "$msg/entry: no statement of a message"
position=$((0x$(bytes "$msg/entry" 2 2 | hex)))
time=$((0x$(bytes "$msg/entry" 4 8 | hex)))
sender=$(bytes "$work/ms" 16 32 | hex)
kind=$(bytes "$work/ms" 8 1 | hex)
case $kind in
01 | 02 | 05) [ ! -e "$msg/ciphertext" ] || fail "$msg/ciphertext: only a receipt has its contents here" ;;
03 | 04) ;;
*) fail "$msg/entry: not of a conversation" ;;
esac

# --- the log's key, vouched for by the server's certificate ------------------------------------------------------------------------
sed -n '/^$/,$p' "$msg/log.tlog-proof" | sed 1d >"$work/note"
sed -n '1,3p' "$work/note" >"$work/text"
origin=$(sed -n 1p "$work/text")
printf '%s\n' "$origin" | grep -Eqx '[a-z0-9.-]+/log/[a-z0-9-]+(/e[0-9]+)?' || fail "$msg/log.tlog-proof: no name of a log"
statement='' from='' until=''
for candidate in log/*/key-*.stmt; do # one for each certificate that the server has had: the one that covers the time
  [ "$(line "$candidate" origin)" = "$origin" ] || continue
  from=$(line "$candidate" not-before) until=$(line "$candidate" not-after)
  { is_number "$from" && is_number "$until"; } || fail "$candidate: times"
  { [ "$time" -ge "$from" ] && [ "$time" -le "$until" ]; } && statement=$candidate
done
[ -n "$statement" ] || fail "$msg/log.tlog-proof: no statement names the key of its log at this time"
sealed=${statement%.stmt}.sig
server=$(line "$statement" server-cert-sha256)
key "$server"
tbs 'chatlog/v1, log key' "$statement" >"$work/tbs"
tail -c +2 "$sealed" >"$work/sig"
signed "$work/tbs" "$work/sig" || fail "$sealed: the server's certificate did not sign this key"
[ "$(bytes "$sealed" 0 1 | hex)" = "$algorithm" ] || fail "$sealed: another algorithm than that of the key"
trusted "$server" $((time / 1000)) Server -verify_hostname "${origin%%/*}" ||
  fail "cert/$server.pem: no server of ${origin%%/*} that this CA vouches for at the time of the message"
vkey=$(line "$statement" vkey)
rest=${vkey#*+} keyid=${vkey#*+} # the base64 may hold a +: only the first two separate
keyid=${keyid%%+*} public=${rest#*+}
[ "${vkey%%+*}" = "$origin" ] || fail "$statement: a key of another log"
unb64 "$public" >"$work/public"
{ [ "$(size "$work/public")" -eq 33 ] && [ "$(bytes "$work/public" 0 1 | hex)" = 01 ]; } || fail "$statement: no Ed25519 key"
{
  printf '\060\052\060\005\006\003\053\145\160\003\041\000' # RFC 8410: the SubjectPublicKeyInfo around 32 bytes
  tail -c +2 "$work/public"
} | openssl pkey -pubin -inform DER -out "$work/log.pem" 2>/dev/null || fail "$statement: no Ed25519 key"
ok "log $origin: the CA vouches for its key"

# --- the checkpoint, and the entry under it -------------------------------------------------------------------------------------------
[ -z "$(sed -n 4p "$work/note")" ] || fail "$msg/log.tlog-proof: a checkpoint of more than three lines"
sed 1,4d "$work/note" >"$work/signatures"
! grep -Evq '^— [^ ]+ [A-Za-z0-9+/]+=*$' "$work/signatures" || fail "$msg/log.tlog-proof: a line that is no signature"
is_signed=''
while read -r _ name signature; do
  [ "$name" = "$origin" ] || continue
  unb64 "$signature" >"$work/sig"
  [ "$(bytes "$work/sig" 0 4 | hex)" = "$keyid" ] || continue
  tail -c +5 "$work/sig" >"$work/sig64"
  { [ "$(b64 <"$work/sig")" = "$signature" ] && [ "$(size "$work/sig64")" -eq 64 ]; } ||
    fail "$msg/log.tlog-proof: a signature of another form"
  openssl pkeyutl -verify -rawin -pubin -inkey "$work/log.pem" -in "$work/text" -sigfile "$work/sig64" >/dev/null 2>&1 ||
    fail "$msg/log.tlog-proof: the log did not sign the checkpoint"
  is_signed=yes
done <"$work/signatures"
[ -n "$is_signed" ] || fail "$msg/log.tlog-proof: signed by another key than that of the log"
entries=$(sed -n 2p "$work/text") index=$(line "$msg/log.tlog-proof" index)
{ is_number "$entries" && is_number "$index"; } || fail "$msg/log.tlog-proof: numbers"
extra=$(sed -n '2s/^extra //p' "$msg/log.tlog-proof") # says what it says, and proves nothing
sed '1d;/^$/,$d' "$msg/log.tlog-proof" | grep -Ev '^(extra|index) ' >"$work/path"
root=$(climb "$(leaf <"$msg/entry")" "$index" "$entries" <"$work/path") && [ "$root" = "$(sed -n 3p "$work/text")" ] ||
  fail "$msg/log.tlog-proof: the entry is not in the log at this index"
{
  printf 'c2sp.org/tlog-proof@v1\n'
  [ -z "$extra" ] || printf 'extra %s\n' "$(unb64 "$extra" | b64)"
  printf 'index %s\n' "$index"
  cat "$work/climbed"
  echo
  cat "$work/note"
} | cmp -s - "$msg/log.tlog-proof" || fail "$msg/log.tlog-proof: of another form"
ok "entry $index of $entries, under a checkpoint that the log signed"

# --- its time-stamp, if the authority is named ------------------------------------------------------------------------------------------
if [ -n "$tsa" ]; then
  stamped=${statement%/*}/checkpoint
  cmp -s "$work/note" "$stamped" || fail "$msg/log.tlog-proof: under another checkpoint than the one that may be stamped"
  openssl ts -verify -data "$stamped" -in "$stamped.tsr" -CAfile "$tsa" >/dev/null 2>&1 ||
    fail "$stamped.tsr: no time-stamp of this authority over the checkpoint"
  ok "stamped at $(openssl ts -reply -in "$stamped.tsr" -text 2>/dev/null | sed -n 's/^Time stamp: //p')"
fi

# --- the sender's signature, and the message under it ------------------------------------------------------------------------------
key "$sender"
signed "$msg/batch.tbs" "$msg/batch.sig" || fail "$msg/batch.sig: the sender did not sign this batch"
tail -c 172 "$msg/batch.tbs" >"$work/bs"
tbs 'chatlog/v1, sender batch' "$work/bs" | cmp -s - "$msg/batch.tbs" || fail "$msg/batch.tbs: not what a sender signs"
[ "$(bytes "$work/bs" 0 8)" = clog-bs1 ] || fail "$msg/batch.tbs: no statement of a batch"
[ "$(bytes "$work/bs" 8 48 | hex)" = "$(bytes "$work/ms" 16 48 | hex)" ] || fail "$msg/entry: of another sender than the batch"
[ "$(bytes "$work/bs" 140 32 | b64)" = "$(printf '%s' "$origin" | hash)" ] || fail "$msg/batch.tbs: made for another log"
count=$((0x$(bytes "$work/bs" 64 4 | hex)))
[ $((0x$(bytes "$work/bs" 56 8 | hex) + position - 1)) -eq $((0x$(bytes "$work/ms" 64 8 | hex))) ] || fail "$msg/entry: its counter"
{ [ "$(sed -n 1p "$msg/batch.path")" = "index $((position - 1))" ] && [ "$(sed -n 2p "$msg/batch.path")" = "size $count" ]; } ||
  fail "$msg/batch.path: another place in the batch"
sed 1,2d "$msg/batch.path" >"$work/path"
root=$(climb "$(leaf <"$work/ms")" $((position - 1)) "$count" <"$work/path") && [ "$root" = "$(bytes "$work/bs" 108 32 | b64)" ] ||
  fail "$msg/batch.path: the message is not one of those that were signed"
{
  printf 'index %s\nsize %s\n' $((position - 1)) "$count"
  cat "$work/climbed"
} | cmp -s - "$msg/batch.path" || fail "$msg/batch.path: of another form"
[ "$(line BUNDLE conversation)" = "$(bytes "$work/ms" 80 32 | hex)" ] || fail "$msg/entry: of another conversation"
trusted "$sender" $((time / 1000)) Client || fail "cert/$sender.pem: this CA did not vouch for it at the time of the message"
ok "signed by $(openssl x509 -in "cert/$sender.pem" -noout -subject -nameopt RFC2253,esc_ctrl | sed 's/^subject= *//')"

# --- what a receipt is about ----------------------------------------------------------------------------------------------------------
if [ "$kind" = 03 ] || [ "$kind" = 04 ]; then
  part=$(size "$msg/ciphertext")
  { [ "$part" -gt 0 ] && [ "$part" -le 32768 ] && [ $((part % 32)) -eq 0 ]; } || fail "$msg/ciphertext: not that of a receipt"
  [ "$(bytes "$work/ms" 10 2 | hex)" = 0001 ] && [ "$part" -eq $((0x$(bytes "$work/ms" 12 4 | hex))) ] &&
    [ "$(leaf <"$msg/ciphertext")" = "$(bytes "$work/ms" 216 32 | b64)" ] ||
    fail "$msg/ciphertext: is not what the sender signed"
  word=delivered
  [ "$kind" = 03 ] || word=read
  ok "it says that messages were $word, those whose statements have these hashes:"
  hex <"$msg/ciphertext" | fold -w 64 | sed 's/^/       /'
  echo
fi

# --- the text, if it is disclosed -----------------------------------------------------------------------------------------------------
if [ -f "$msg/opening" ]; then
  [ "$(size "$msg/opening")" -ge 32 ] || fail "$msg/opening: too short"
  tail -c +33 "$msg/opening" >"$work/plaintext"
  {
    printf 'chatlog/v1, plaintext commitment\000'
    bytes "$work/ms" 0 184
    cat "$work/plaintext"
  } >"$work/committed"
  mac=$(openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(bytes "$msg/opening" 0 32 | hex)" -binary "$work/committed" | hex)
  [ "$mac" = "$(bytes "$work/ms" 184 32 | hex)" ] || fail "$msg/opening: is not what the sender committed to"
  # It is CBOR (docs/TRANSCRIPT.md, a): a text stands behind its type, and behind one to five bytes that say how long it is.
  ok "its content, with ? for all that is not plain ASCII; a text stands behind text/plain;charset=utf-8:"
  tr -c '[:print:]\n' '?' <"$work/plaintext" | sed 's/^/       /'
  echo
elif [ "$kind" = 01 ] || [ "$kind" = 02 ]; then
  ok 'its text is not disclosed'
fi
seconds=$((time / 1000))
# POSIX has no way to write a time that is not now; GNU and busybox have this one.
when=$(date -u -d "@$seconds" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null) || when="$seconds s after 1970"
echo "PROVEN message $number, at $when by the server's clock"
