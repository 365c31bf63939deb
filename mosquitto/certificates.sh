#!/bin/sh
# Make a small certificate authority, a certificate for the broker and one for each client.
#
#     certificates.sh OUTDIR NAME [CLIENT...]
#
# OUTDIR gets ca, server and one pair per CLIENT (default: `client`), each as .crt and .key. NAME is the broker's host
# name (127.0.0.1 and localhost are added); CLIENT is the user name. An authority that is there is used again, so
# running it once more renews the certificates or adds clients. ca.key signs: keep it away from the broker.
set -eu

usage() {
    echo "usage: certificates.sh OUTDIR NAME [CLIENT...]" >&2
    exit 2
}

[ $# -ge 2 ] || usage
directory=$1
name=$2
shift 2
[ $# -gt 0 ] || set -- client
for word in "$name" "$@"; do
    case $word in
    '' | -* | *[!A-Za-z0-9._-]*)
        echo "certificates.sh: not a name: '$word'" >&2
        exit 2
        ;;
    esac
done
for client in "$@"; do
    case $client in
    ca | server)
        echo "certificates.sh: a client cannot be called '$client'" >&2
        exit 2
        ;;
    esac
done
case $name in
*[!0-9.]*) address="DNS:$name" ;;
*) address="IP:$name" ;;
esac

umask 077
mkdir -p "$directory"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# key FILE: a new key on the curve that every TLS 1.2 client knows.
key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$1"
}

# sign BASE COMMON_NAME DAYS: BASE.key and BASE.crt, with the extensions in $work/extensions.
sign() {
    key "$1.key"
    openssl req -new -key "$1.key" -subj "/CN=$2" -out "$work/request"
    openssl x509 -req -in "$work/request" -CA "$directory/ca.crt" -CAkey "$directory/ca.key" \
        -set_serial "0x$(openssl rand -hex 16)" -days "$3" -extfile "$work/extensions" -out "$1.crt" 2>"$work/errors" || {
        cat "$work/errors" >&2
        exit 1
    }
    chmod 644 "$1.crt"
}

# extensions USAGE [LINE]: what a certificate may be used for; strict clients ask for every line of it.
extensions() {
    cat <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = $1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
${2-}
END
}

if [ ! -e "$directory/ca.key" ]; then
    key "$directory/ca.key"
    openssl req -x509 -new -key "$directory/ca.key" -subj "/CN=Busbar CA" -days 3650 \
        -addext "basicConstraints = critical, CA:TRUE, pathlen:0" -addext "keyUsage = critical, keyCertSign, cRLSign" \
        -out "$directory/ca.crt"
    chmod 644 "$directory/ca.crt"
fi

extensions serverAuth "subjectAltName = $address, DNS:localhost, IP:127.0.0.1" >"$work/extensions"
sign "$directory/server" "$name" 825

extensions clientAuth >"$work/extensions"
for client in "$@"; do
    sign "$directory/$client" "$client" 825
done
