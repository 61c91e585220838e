package dhcp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Frames are built and read by hand only where a socket of the kernel cannot: to a client that has no address yet, and
// on an interface that has none.

const (
	etherIPv4   = 0x0800
	etherHeader = 14
	ipHeader    = 20
	udpHeader   = 8
	protoUDP    = 17
)

// datagram is a UDP datagram on an Ethernet.
type datagram struct {
	srcMAC, dstMAC MAC
	src, dst       netip.AddrPort
	payload        []byte
}

func (d datagram) encode() []byte {
	b := make([]byte, 0, etherHeader+ipHeader+udpHeader+len(d.payload))
	b = append(b, d.dstMAC[:]...)
	b = append(b, d.srcMAC[:]...)
	b = binary.BigEndian.AppendUint16(b, etherIPv4)

	src, dst := d.src.Addr().As4(), d.dst.Addr().As4()
	ip := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(ipHeader+udpHeader+len(d.payload)))
	b = append(b, 0, 0, 0, 0, 64, protoUDP, 0, 0)
	b = append(b, src[:]...)
	b = append(b, dst[:]...)
	binary.BigEndian.PutUint16(b[ip+10:], checksum(0, b[ip:]))

	udp := len(b)
	n := uint16(udpHeader + len(d.payload))
	b = binary.BigEndian.AppendUint16(b, d.src.Port())
	b = binary.BigEndian.AppendUint16(b, d.dst.Port())
	b = binary.BigEndian.AppendUint16(b, n)
	b = append(b, 0, 0)
	b = append(b, d.payload...)
	pseudo := uint32(protoUDP) + uint32(n)
	for _, a := range [][4]byte{src, dst} {
		pseudo += uint32(binary.BigEndian.Uint16(a[:])) + uint32(binary.BigEndian.Uint16(a[2:]))
	}
	sum := checksum(pseudo, b[udp:])
	if sum == 0 {
		sum = 0xffff // zero means "no checksum" (RFC 768)
	}
	binary.BigEndian.PutUint16(b[udp+6:], sum)
	return b
}

var errNotUDP = errors.New("not a whole IPv4 UDP datagram")

// decodeFrame reads a frame. The payload is a part of b. Checksums are not looked at: between two interfaces of one
// machine the kernel leaves them to hardware that is not there.
func decodeFrame(b []byte) (datagram, error) {
	if len(b) < etherHeader+ipHeader || binary.BigEndian.Uint16(b[12:]) != etherIPv4 {
		return datagram{}, errNotUDP
	}
	ip := b[etherHeader:]
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:]) & 0x3fff
	if ip[0]>>4 != 4 || header < ipHeader || ip[9] != protoUDP || fragment != 0 || total > len(ip) || total < header+udpHeader {
		return datagram{}, errNotUDP
	}
	udp := ip[header:total]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpHeader || n > len(udp) {
		return datagram{}, errNotUDP
	}
	addr := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(ip[at : at+4])) }
	return datagram{
		dstMAC:  MAC(b[0:6]),
		srcMAC:  MAC(b[6:12]),
		src:     netip.AddrPortFrom(addr(12), binary.BigEndian.Uint16(udp)),
		dst:     netip.AddrPortFrom(addr(16), binary.BigEndian.Uint16(udp[2:])),
		payload: udp[udpHeader:n],
	}, nil
}

// checksum is RFC 1071's, continued from sum.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
