package vip

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ARP over Ethernet (RFC 826) and neighbour discovery (RFC 4861, 4.3, 4.4), without the Ethernet header: the kernel makes
// it, also for VLANs.
const (
	arpLen               = 28
	arpRequest, arpReply = 1, 2

	ip6Len, ndLen              = 40, 24
	typeSolicit, typeAdvertise = 135, 136
	optionSource, optionTarget = 1, 2
	flagOverride               = 1 << 5
	onLink                     = 255 // the hop limit of what no router forwarded: only a neighbour can send it
)

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = netip.MustParseAddr("ff02::1")
)

// datagram is what is sent to a hardware address.
type datagram struct {
	proto   uint16 // EtherType
	to      net.HardwareAddr
	payload []byte
}

// announcements of a VIP. ARP in both forms: some listen to requests only, others to replies only. Linux takes the reply for
// gratuitous only if the target's hardware address is the sender's (arp_is_garp in net/ipv4/arp.c), and otherwise ignores
// it for the first second after it learned another one.
func announcements(vip netip.Addr, own net.HardwareAddr) []datagram {
	if vip.Is4() {
		return []datagram{
			{unix.ETH_P_ARP, broadcast, arp(arpRequest, own, vip, make(net.HardwareAddr, 6), vip)},
			{unix.ETH_P_ARP, broadcast, arp(arpReply, own, vip, own, vip)},
		}
	}
	b := nd(typeAdvertise, vip, optionTarget, own)
	b[4] = flagOverride
	return []datagram{{unix.ETH_P_IPV6, groupMAC(allNodes), ip6(vip, allNodes, b)}}
}

// question asks who has target. Without a source it changes nobody's table (RFC 5227, 2.1.1; for IPv6 the form of duplicate
// address detection, whose answer goes to all nodes: RFC 4862, 5.4).
func question(target, source netip.Addr, own net.HardwareAddr) datagram {
	if target.Is4() {
		if !source.IsValid() {
			source = netip.IPv4Unspecified()
		}
		return datagram{unix.ETH_P_ARP, broadcast, arp(arpRequest, own, source, make(net.HardwareAddr, 6), target)}
	}
	group := solicitedGroup(target)
	if !source.IsValid() {
		return datagram{unix.ETH_P_IPV6, groupMAC(group), ip6(netip.IPv6Unspecified(), group, nd(typeSolicit, target, 0, nil))}
	}
	return datagram{unix.ETH_P_IPV6, groupMAC(group), ip6(source, group, nd(typeSolicit, target, optionSource, own))}
}

func arp(op uint16, sha net.HardwareAddr, spa netip.Addr, tha net.HardwareAddr, tpa netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4} // Ethernet, IPv4, their lengths
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, sha...)
	b = append(b, spa.AsSlice()...)
	b = append(b, tha...)
	return append(b, tpa.AsSlice()...)
}

// nd is a solicitation or advertisement; its checksum is made by ip6.
func nd(kind byte, target netip.Addr, option byte, own net.HardwareAddr) []byte {
	b := make([]byte, 8, ndLen+8)
	b[0] = kind
	b = append(b, target.AsSlice()...)
	if own == nil {
		return b
	}
	return append(append(b, option, 1), own...)
}

// ip6 puts an IPv6 header before an ICMPv6 message, and the checksum into it (RFC 8200, 8.1).
func ip6(src, dst netip.Addr, icmp []byte) []byte {
	b := make([]byte, 8, ip6Len+len(icmp))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(icmp)))
	b[6], b[7] = unix.IPPROTO_ICMPV6, onLink
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	sum := uint32(len(icmp)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{b[8:], icmp} {
		for ; len(part) >= 2; part = part[2:] {
			sum += uint32(binary.BigEndian.Uint16(part))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(icmp[2:], ^uint16(sum))
	return append(b, icmp...)
}

// solicitedGroup is the group that the owner of an address listens to (RFC 4291, 2.7.1).
func solicitedGroup(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// groupMAC is where an IPv6 group is sent to on Ethernet (RFC 2464, 7).
func groupMAC(group netip.Addr) net.HardwareAddr {
	b := group.As16()
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// claim is a neighbour's word that it has an address.
type claim struct {
	addr netip.Addr
	mac  [6]byte
}

func (c claim) hardware() net.HardwareAddr { return net.HardwareAddr(c.mac[:]) }

// readClaim reads what a datagram that came from that hardware address says about who has an address: the sender of any ARP
// message, the target of a neighbour advertisement, the sender of a solicitation. Not ok: nothing.
func readClaim(proto uint16, from net.HardwareAddr, b []byte) (claim, bool) {
	switch {
	case proto == unix.ETH_P_ARP:
		if len(b) < arpLen || [6]byte(b[:6]) != [6]byte{0, 1, 8, 0, 6, 4} {
			return claim{}, false
		}
		c := claim{netip.AddrFrom4([4]byte(b[14:18])), [6]byte(b[8:14])}
		return c, !c.addr.IsUnspecified() // else it is a question only
	case proto == unix.ETH_P_IPV6 && len(from) == 6:
		return readNeighbor([6]byte(from), b)
	}
	return claim{}, false
}

func readNeighbor(from [6]byte, b []byte) (claim, bool) {
	if len(b) < ip6Len+ndLen || b[0]>>4 != 6 || b[6] != unix.IPPROTO_ICMPV6 || b[7] != onLink || b[ip6Len+1] != 0 {
		return claim{}, false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < ndLen || n > len(b)-ip6Len {
		return claim{}, false
	}
	icmp := b[ip6Len : ip6Len+n]
	c := claim{mac: from}
	want := byte(optionTarget)
	switch icmp[0] {
	case typeAdvertise:
		c.addr = netip.AddrFrom16([16]byte(icmp[8:24]))
	case typeSolicit:
		c.addr = netip.AddrFrom16([16]byte(b[8:24]))
		want = optionSource
	default:
		return claim{}, false
	}
	for options := icmp[ndLen:]; len(options) >= 8; {
		length := int(options[1]) * 8
		if length == 0 || length > len(options) {
			return claim{}, false // RFC 4861, 7.1.2: to be discarded
		}
		if options[0] == want && length == 8 {
			c.mac = [6]byte(options[2:8])
		}
		options = options[length:]
	}
	return c, !c.addr.IsUnspecified() && !c.addr.IsMulticast()
}
