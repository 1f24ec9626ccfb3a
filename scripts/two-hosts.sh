#!/usr/bin/env bash
# Runs a server and a client on two hosts with their own addresses: two network namespaces joined by a cable.
#
#   scripts/two-hosts.sh                      only tries out the cable
#   scripts/two-hosts.sh SERVER CLIENT        runs two shell commands (SERVER: a single one), one on each host
#   scripts/two-hosts.sh segment [FLAG ...]   segments the sample scan as the README describes; flags go to Alice
#
# Both commands find the hosts' addresses in $SERVER_HOST and $CLIENT_HOST, and the port in $PORT (7600). The client
# starts once the server listens there; its exit status is the script's. The server is stopped afterwards. Files are
# shared: make the keys before, with `bunet keygen`. `segment` takes the programs from $BIN (target/release).
#
# Needs root and iproute2 on Linux. Where these are missing it says so and counts as skipped (exit 0).
set -euo pipefail

if (( $# != 0 && $# != 2 )) && [[ ${1:-} != segment ]]; then
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
fi

skip() {
    echo "two-hosts: skipped: $1"
    exit 0
}

[[ $(uname -s) == Linux ]] || skip "network namespaces exist on Linux only"
(( EUID == 0 )) || skip "it needs root to make network namespaces (try sudo)"
for tool in ip ss; do
    command -v "$tool" >/dev/null || skip "it needs '$tool' (package iproute2)"
done

if [[ ${1:-} == segment ]]; then
    root=$(cd "$(dirname "$0")/.." && pwd)
    BIN=$(cd "${BIN:-$root/target/release}" && pwd) || { echo "two-hosts: build first: cargo build --release" >&2; exit 1; }
    work=$(mktemp -d) # only its owner may enter
    cd "$work"
    "$BIN/bunet" keygen
    serve=("$BIN/bob" serve --model "$root/data/models/em_relu.bunet" --identity keys/bob.key --trust keys/alice.crt)
    segment=("$BIN/alice" segment -i "$root/data/em_slice26_image.png" -o mask.png
        --reference "$root/data/em_slice26_label.png" --identity keys/alice.key --trust keys/bob.crt "${@:2}")
    set -- "$(printf '%q ' "${serve[@]}") --listen \$SERVER_HOST:\$PORT" \
        "$(printf '%q ' "${segment[@]}") --server \$SERVER_HOST:\$PORT"
fi

export SERVER_HOST=10.76.0.1 CLIENT_HOST=10.76.0.2 PORT=${PORT:-7600}
server=server-$$ client=client-$$
server_pid=

clean_up() {
    [[ -z ${work:-} ]] || rm -r "$work"
    if [[ -n $server_pid ]]; then
        kill "$server_pid" 2>/dev/null || true
        for (( tries = 0; tries < 50; tries++ )); do
            kill -0 "$server_pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
    fi
    # The cable goes with the namespaces.
    ip netns del "$server" 2>/dev/null || true
    ip netns del "$client" 2>/dev/null || true
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# A host, its address, and its end of the cable.
plug_in() {
    ip -n "$1" addr add "$2/30" dev cable
    ip -n "$1" link set lo up
    ip -n "$1" link set cable up
}

ip netns add "$server" 2>/dev/null || skip "this system does not allow network namespaces"
ip netns add "$client"
ip -n "$server" link add cable type veth peer name cable netns "$client" 2>/dev/null \
    || skip "this system does not allow virtual cables (veth)"
plug_in "$server" "$SERVER_HOST"
plug_in "$client" "$CLIENT_HOST"

listening() {
    [[ -n $(ip netns exec "$server" ss -Hltn "sport = :$PORT") ]]
}

if (( $# == 0 )); then
    command -v ping >/dev/null || skip "the two hosts are there, but trying them out needs 'ping'"
    ip netns exec "$client" ping -c 3 -i 0.2 -W 2 "$SERVER_HOST"
    ip netns exec "$server" ping -c 3 -i 0.2 -W 2 "$CLIENT_HOST"
    exit 0
fi

# `exec`, so that the process to stop is the server itself.
ip netns exec "$server" bash -c "exec $1" &
server_pid=$!
for (( tries = 0; tries < 600; tries++ )); do
    listening && break
    kill -0 "$server_pid" 2>/dev/null || { echo "two-hosts: the server ended before it listened" >&2; exit 1; }
    sleep 0.1
done
listening || { echo "two-hosts: the server does not listen at port $PORT after 60 s" >&2; exit 1; }
ip netns exec "$client" bash -c "$2"
