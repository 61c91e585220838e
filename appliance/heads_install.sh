#!/bin/sh
# Makes this server a head of the cluster of {{head}}: installs the program of that head and joins.
#
# This script came over plain HTTP: whoever sits on the way can change it, and then it does what they want, whatever it
# prints. Where that is not excluded, look at it before it runs, and compare its CA with what 'masthead status' prints on
# {{head}}; or copy /usr/local/bin/masthead over SSH instead:
#     curl -fsSL {{plain}} -o install-head && less install-head && sh install-head
# If nobody has changed it, the rest cannot be tampered with: the program comes over TLS from a head with that CA and has
# the SHA-256 that stands here, and the join token, which carries the same CA, is shown to no other cluster.
#
# Nothing is asked if these are set: MASTHEAD_TOKEN_FILE (file with the join token), MASTHEAD_INTERFACE,
# MASTHEAD_ADDRESS (ADDRESS/PREFIX), MASTHEAD_NAME, MASTHEAD_DHCP (auto, server, proxy, off).
set -eu

HEAD='{{head}}'
HEAD_HOST='{{host}}'
HEAD_URL='{{url}}'
CA='{{ca}}'
SHA256='{{sha256}}'
MACHINE='{{machine}}'
BINARY=/usr/local/bin/masthead
UNIT=/etc/systemd/system/masthead-head.service
OWNER_UNIT=/etc/systemd/system/masthead-owner.service

say() { printf '%s\n' "$*"; }

die() {
	printf 'error: %s\n' "$1" >&2
	if [ $# -gt 1 ]; then
		printf 'try: %s\n' "$2" >&2
	fi
	exit 1
}

check() {
	[ "$(id -u)" = 0 ] || die 'this has to run as root' 'curl -fsSL {{plain}} | sudo sh'
	[ -d /run/systemd/system ] || die 'this server does not run systemd' 'masthead head run, started by its own init'
	machine=$(uname -m)
	[ "$machine" = "$MACHINE" ] ||
		die "this server is $machine, the program of $HEAD is for $MACHINE" 'take the script from a head of this architecture'
	for tool in curl ip sha256sum systemctl mktemp install; do
		command -v "$tool" >/dev/null 2>&1 || die "$tool is missing" 'apt-get install curl iproute2 coreutils systemd'
	done
	if [ -e /run/masthead/node.json ]; then
		die 'masthead booted this machine: it is a head or a node already' 'masthead head join'
	fi
}

# From the terminal, since the script itself may be the standard input.
ask() {
	prompt=$1
	default=$2
	answer=
	if (: </dev/tty) 2>/dev/null; then
		printf '%s [%s]: ' "$prompt" "$default" >/dev/tty
		IFS= read -r answer </dev/tty || true
	fi
	printf '%s\n' "${answer:-$default}"
}

network() {
	route=$(ip -o route get "$HEAD_HOST" 2>/dev/null) || die "no route to $HEAD at $HEAD_HOST" 'ip route'
	device=$(printf '%s\n' "$route" | sed -n 's/.* dev \([^ ]*\).*/\1/p')
	source=$(printf '%s\n' "$route" | sed -n 's/.* src \([^ ]*\).*/\1/p')
	INTERFACE=${MASTHEAD_INTERFACE:-$(ask 'Interface of the cluster network' "$device")}
	prefix=$(ip -o addr show dev "$INTERFACE" 2>/dev/null | sed -n 's/.* inet6\{0,1\} \([^ ]*\).*/\1/p' | grep -F "$source/" | head -n 1 || true)
	ADDRESS=${MASTHEAD_ADDRESS:-$(ask 'Address of this server there' "${prefix:-ADDRESS/PREFIX}")}
	case $ADDRESS in
	ADDRESS/PREFIX | */ | /*) die "no address on $INTERFACE" "MASTHEAD_ADDRESS=ADDRESS/PREFIX" ;;
	*/*) ;;
	*) die "$ADDRESS: want ADDRESS/PREFIX" "MASTHEAD_ADDRESS=$ADDRESS/24" ;;
	esac
	name=$(hostname 2>/dev/null || cat /etc/hostname)
	name=$(printf '%s\n' "${name%%.*}" | tr '[:upper:]' '[:lower:]')
	NAME=${MASTHEAD_NAME:-$(ask 'Name of the new head' "$name")}
	DHCP=${MASTHEAD_DHCP:-auto}
	for word in "$INTERFACE" "$ADDRESS" "$NAME" "$DHCP"; do
		case $word in
		'' | *[!A-Za-z0-9.:/_-]*) die "'$word' cannot be a name, an interface or an address" ;;
		esac
	done
}

fetch() {
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	trap 'exit 1' HUP INT TERM
	cat >"$work/ca.pem" <<'PEM'
{{pem}}
PEM
	say "Fetches masthead {{version}} from $HEAD_URL"
	curl -fsS --cacert "$work/ca.pem" --max-time 600 -o "$work/masthead" "$HEAD_URL{{path}}" ||
		die "$HEAD_URL gave no program" "curl -v --cacert CA $HEAD_URL{{path}}"
	printf '%s  %s\n' "$SHA256" "$work/masthead" | sha256sum -c - >/dev/null 2>&1 ||
		die 'the program is not the one that this script is for' 'fetch the script again: the head may have been updated meanwhile'
	install -m 0755 "$work/masthead" "$BINARY.new"
	mv -f "$BINARY.new" "$BINARY"
}

unit() {
	cat >"$UNIT" <<UNIT
[Unit]
Description=masthead head node
Documentation=man:masthead(1)
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=$BINARY head run --name $NAME --interface $INTERFACE --address $ADDRESS --dhcp $DHCP --join $HEAD_URL
Restart=always
RestartSec=2
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
UNIT
	cat >"$OWNER_UNIT" <<UNIT
[Unit]
Description=masthead owner daemon
Documentation=man:masthead(1)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=$BINARY owner run
Restart=always
RestartSec=0
OOMScoreAdjust=-1000
KillMode=process
TimeoutStopSec=90
LimitMEMLOCK=infinity
LimitRTPRIO=infinity
TasksMax=infinity

[Install]
WantedBy=multi-user.target
UNIT
	systemctl daemon-reload
	systemctl enable --quiet masthead-head.service masthead-owner.service
	systemctl restart masthead-owner.service
	# With --join it serves nothing, no DHCP above all, before it is a head of the cluster.
	systemctl restart masthead-head.service
	serving
}

# The socket alone says nothing: one that a program before it has left stays there.
serving() {
	count=0
	until "$BINARY" head list >/dev/null 2>&1; do
		count=$((count + 1))
		[ "$count" -le 150 ] || die 'the head does not start' 'journalctl -u masthead-head.service'
		sleep 0.2
	done
}

join() {
	# One line is the title, one a head that is alone.
	if [ "$("$BINARY" head list 2>/dev/null | wc -l)" -gt 2 ]; then
		say 'This server is a head of a cluster already: only its program is new.'
	elif [ -n "${MASTHEAD_TOKEN_FILE:-}" ]; then
		"$BINARY" head join "$HEAD_URL" --token-file "$MASTHEAD_TOKEN_FILE"
	elif (: </dev/tty) 2>/dev/null; then
		"$BINARY" head join "$HEAD_URL" </dev/tty
	else
		die 'there is no terminal to read the token from' 'MASTHEAD_TOKEN_FILE=FILE'
	fi
	serving # who has joined starts again
}

main() {
	say "Makes this server a head of the cluster of $HEAD."
	say "This script came over plain HTTP. Compare, on $HEAD, with: masthead status"
	say "  CA $CA"
	check
	network
	fetch
	unit
	join
	say "Done. Look at it with: masthead head list"
}

# The last line, so that a transfer that was cut off runs nothing.
main "$@"
