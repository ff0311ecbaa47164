#!/usr/bin/env bash
# TLS between Ray's processes, for networks that you do not trust: each side shows a certificate of your own authority.
#
#     bash cluster/tls.sh ca        once, where you type `ray up`: the authority, in ~/.groundwork-tls
#     bash tls.sh node              on every node, by setup_commands: its certificate, and Ray's variables in ~/.bashrc
#
# Nodes come and go with new addresses, so they sign their own: they need the authority's key (file_mounts copies it).
# README.md has the lines for the cluster file. The dashboard stays HTTP, on loopback. Needs openssl.
set -euo pipefail
umask 077

folder=${GROUNDWORK_TLS:-$HOME/.groundwork-tls}
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

case "${1:-}" in
ca)
    mkdir -p "$folder"
    if [ ! -f "$folder/ca.key" ]; then
        openssl req -x509 "${key[@]}" -keyout "$folder/ca.key" -out "$folder/ca.crt" -days 3650 \
            -subj "/CN=groundwork $(date -u +%Y-%m-%d)" 2>/dev/null
    fi
    echo "$folder/ca.crt"
    ;;
node)
    [ -f "$folder/ca.key" ] || { echo "tls.sh: $folder/ca.key: missing; run 'tls.sh ca' and copy the folder" >&2; exit 2; }
    names="DNS:localhost,DNS:$(hostname),IP:127.0.0.1"
    for address in $(hostname -I) ${GROUNDWORK_TLS_ADDRESSES:-}; do
        names+=",IP:$address"
    done
    openssl req "${key[@]}" -keyout "$folder/node.key" -out "$folder/node.csr" -subj "/CN=$(hostname)" 2>/dev/null
    openssl x509 -req -in "$folder/node.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -days 825 \
        -set_serial "0x$(openssl rand -hex 16)" -out "$folder/node.crt" 2>/dev/null \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$names")
    rm "$folder/node.csr"
    cat >"$folder/env" <<ENV
export RAY_USE_TLS=1
export RAY_TLS_SERVER_CERT=$folder/node.crt
export RAY_TLS_SERVER_KEY=$folder/node.key
export RAY_TLS_CA_CERT=$folder/ca.crt
ENV
    touch "$HOME/.bashrc"
    grep -qF "$folder/env" "$HOME/.bashrc" || echo ". \"$folder/env\"" >>"$HOME/.bashrc"
    echo "$names"
    ;;
*)
    echo "usage: tls.sh ca|node" >&2
    exit 2
    ;;
esac
