package ndp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// Of RFC 4861, 4.1, 4.2 and 4.6. Packets begin with the ICMPv6 type, after the IPv6 header.
const (
	typeSolicitation, solicitationLen   = 133, 8
	typeAdvertisement, advertisementLen = 134, 16

	optionSource = 1 // the sender's link-layer address
	optionPrefix = 3
	optionUnit   = 8 // of an option's length

	flagsManagedOther = 0xc0 // M and O: addresses, or other things, by DHCPv6

	onLink = 255 // the hop limit of what no router forwarded: only a neighbour can send it
)

// Answer returns the advertisement for a router solicitation, which came with a hop limit from src; self is the
// address of the card that answers. Not ok: this is none that a router may answer (RFC 4861, 6.1.1). The checksum is
// the kernel's, both ways.
func Answer(packet []byte, hop int, src netip.Addr, self net.HardwareAddr) (reply []byte, ok bool) {
	if len(packet) < solicitationLen || packet[0] != typeSolicitation || packet[1] != 0 || hop != onLink {
		return nil, false
	}
	if !src.Is6() || src.Is4In6() || src.IsMulticast() || src.IsLoopback() {
		return nil, false
	}
	options, ok := parseOptions(packet[solicitationLen:])
	if !ok || src.IsUnspecified() && options[optionSource] {
		return nil, false
	}
	return message(typeAdvertisement, advertisementLen, self), true
}

// message is a solicitation, or an advertisement that says nothing: all is zero but the option of its sender's address,
// which is padded to whole units (InfiniBand's has 20 bytes, RFC 4391).
func message(kind byte, length int, self net.HardwareAddr) []byte {
	units := (2 + len(self) + optionUnit - 1) / optionUnit
	if len(self) == 0 {
		return append([]byte{kind}, make([]byte, length-1)...)
	}
	p := make([]byte, length+units*optionUnit)
	p[0], p[length], p[length+1] = kind, optionSource, byte(units)
	copy(p[length+2:], self)
	return p
}

// withoutLifetime is how long other things count than a default router, whose advertisement says it: that they come
// again is due in a third of this (RFC 4861, 6.2.1: MaxRtrAdvInterval, AdvDefaultLifetime).
const withoutLifetime = 30 * time.Minute

// claims reports for how long an advertisement makes IPv6 somebody else's business here: there is a default router, or
// prefixes, or DHCPv6. 0: it says no more than ours do and may be another head's, or it is invalid (RFC 4861, 6.1.2).
func claims(packet []byte, hop int, src netip.Addr) time.Duration {
	if len(packet) < advertisementLen || packet[0] != typeAdvertisement || packet[1] != 0 || hop != onLink || !src.IsLinkLocalUnicast() {
		return 0
	}
	options, ok := parseOptions(packet[advertisementLen:])
	if !ok {
		return 0
	}
	if lifetime := binary.BigEndian.Uint16(packet[6:]); lifetime > 0 {
		return time.Duration(lifetime) * time.Second
	}
	if packet[5]&flagsManagedOther != 0 || options[optionPrefix] {
		return withoutLifetime
	}
	return 0
}

// parseOptions returns the types of options that are there. Not ok: one has no length, or more than is left.
func parseOptions(b []byte) (there [256]bool, ok bool) {
	for len(b) > 0 {
		if len(b) < optionUnit || b[1] == 0 || int(b[1])*optionUnit > len(b) {
			return there, false
		}
		there[b[0]] = true
		b = b[int(b[1])*optionUnit:]
	}
	return there, true
}
