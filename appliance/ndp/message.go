package ndp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// Of RFC 4861, 4.1, 4.2 and 4.6; the packets begin at the ICMPv6 type, after the IPv6 header.
const (
	typeSolicitation  = 133
	typeAdvertisement = 134
	solicitationLen   = 8
	advertisementLen  = 16

	optionSourceAddress = 1
	optionPrefix        = 3
	optionUnit          = 8 // of an option's length

	flagsManagedOther = 0xc0 // M and O: addresses, or other things, by DHCPv6

	// onLink is the hop limit of a packet that no router forwarded: only neighbours can send it.
	onLink = 255
)

// Answer returns the advertisement for a router solicitation, which came with a hop limit from src; self is the
// address of the card that answers. Not ok: this is none that RFC 4861, 6.1.1, lets a router answer. The kernel has
// verified the checksum, and makes that of the reply.
func Answer(packet []byte, hop int, src netip.Addr, self net.HardwareAddr) (reply []byte, ok bool) {
	if len(packet) < solicitationLen || packet[0] != typeSolicitation || packet[1] != 0 || hop != onLink {
		return nil, false
	}
	if !src.Is6() || src.Is4In6() || src.IsMulticast() || src.IsLoopback() {
		return nil, false
	}
	opts, ok := parseOptions(packet[solicitationLen:])
	if !ok || src.IsUnspecified() && opts.source != nil {
		return nil, false
	}
	return advertisement(self), true
}

// advertisement is one of lifetime 0, which says nothing but its sender's link-layer address.
func advertisement(self net.HardwareAddr) []byte {
	p := make([]byte, advertisementLen)
	p[0] = typeAdvertisement
	return appendSource(p, self)
}

// solicitation asks the routers of the link to advertise themselves.
func solicitation(self net.HardwareAddr) []byte {
	p := make([]byte, solicitationLen)
	p[0] = typeSolicitation
	return appendSource(p, self)
}

// appendSource appends the source link-layer address option, padded to whole units (20 bytes on InfiniBand, RFC 4391).
func appendSource(p []byte, self net.HardwareAddr) []byte {
	if len(self) == 0 {
		return p
	}
	option := make([]byte, (2+len(self)+optionUnit-1)/optionUnit*optionUnit)
	option[0], option[1] = optionSourceAddress, byte(len(option)/optionUnit)
	copy(option[2:], self)
	return append(p, option...)
}

// maxSilence is the default of AdvDefaultLifetime (RFC 4861, 6.2.1: three times MaxRtrAdvInterval): how long something
// counts that is advertised without a lifetime of its router.
const maxSilence = 30 * time.Minute

// advertised reports for how long an advertisement means that IPv6 is somebody else's here: its router is a default
// router, or tells of prefixes or DHCPv6. 0: it says no more than ours do, and is perhaps another head's.
func advertised(packet []byte, hop int, src netip.Addr) time.Duration {
	if len(packet) < advertisementLen || packet[0] != typeAdvertisement || packet[1] != 0 || hop != onLink || !src.IsLinkLocalUnicast() {
		return 0 // RFC 4861, 6.1.2
	}
	opts, ok := parseOptions(packet[advertisementLen:])
	if !ok {
		return 0
	}
	if lifetime := time.Duration(binary.BigEndian.Uint16(packet[6:])) * time.Second; lifetime > 0 {
		return lifetime
	}
	if packet[5]&flagsManagedOther != 0 || opts.prefix {
		return maxSilence
	}
	return 0
}

type options struct {
	source []byte // link-layer address, with its padding
	prefix bool
}

// parseOptions reads what matters here; unknown options are to be ignored. Not ok: one has no length, or more than is
// there.
func parseOptions(b []byte) (o options, ok bool) {
	for len(b) > 0 {
		if len(b) < optionUnit || b[1] == 0 || int(b[1])*optionUnit > len(b) {
			return options{}, false
		}
		length := int(b[1]) * optionUnit
		switch b[0] {
		case optionSourceAddress:
			o.source = b[2:length]
		case optionPrefix:
			o.prefix = true
		}
		b = b[length:]
	}
	return o, true
}
