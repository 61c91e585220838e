package prober

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806

	arpRequest = 1
	arpReply   = 2
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arp is an Ethernet frame with an ARP message (RFC 826). hardware is that of the target; nil: not known.
func arp(op uint16, to, mac net.HardwareAddr, self netip.Addr, hardware net.HardwareAddr, target netip.Addr) []byte {
	f := make([]byte, 42, 60)
	copy(f, to)
	copy(f[6:], mac)
	binary.BigEndian.PutUint16(f[12:], etherARP)
	binary.BigEndian.PutUint16(f[14:], 1) // Ethernet
	binary.BigEndian.PutUint16(f[16:], etherIPv4)
	f[18], f[19] = 6, 4
	binary.BigEndian.PutUint16(f[20:], op)
	copy(f[22:], mac)
	copy(f[28:], self.AsSlice())
	copy(f[32:], hardware)
	copy(f[38:], target.AsSlice())
	return f[:60] // the least that Ethernet carries
}

type arpMessage struct {
	op             uint16
	hardware       net.HardwareAddr
	sender, target netip.Addr
}

func parseARP(b []byte) (arpMessage, bool) {
	if len(b) < 28 || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != etherIPv4 || b[4] != 6 || b[5] != 4 {
		return arpMessage{}, false
	}
	return arpMessage{
		op: binary.BigEndian.Uint16(b[6:]), hardware: net.HardwareAddr(b[8:14]),
		sender: netip.AddrFrom4([4]byte(b[14:18])), target: netip.AddrFrom4([4]byte(b[24:28])),
	}, true
}

// echo is an Ethernet frame with an ICMP echo request.
func echo(to, mac net.HardwareAddr, self, target netip.Addr, sequence uint16) []byte {
	f := make([]byte, 60)
	copy(f, to)
	copy(f[6:], mac)
	binary.BigEndian.PutUint16(f[12:], etherIPv4)
	ip := f[14:42]
	ip[0], ip[8], ip[9] = 0x45, 64, 1 // version and length, TTL, ICMP
	binary.BigEndian.PutUint16(ip[2:], 28)
	copy(ip[12:], self.AsSlice())
	copy(ip[16:], target.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
	icmp := ip[20:28]
	icmp[0] = 8
	binary.BigEndian.PutUint16(icmp[4:], 0x4d48)
	binary.BigEndian.PutUint16(icmp[6:], sequence)
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	return f
}

func isEchoReply(b []byte, from, to netip.Addr) bool {
	if len(b) < 28 || b[0]>>4 != 4 || b[9] != 1 {
		return false
	}
	header := int(b[0]&15) * 4
	return header >= 20 && len(b) >= header+8 && b[header] == 0 && b[header+4] == 0x4d && b[header+5] == 0x48 &&
		netip.AddrFrom4([4]byte(b[12:16])) == from && netip.AddrFrom4([4]byte(b[16:20])) == to
}

// checksum is that of the internet (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
