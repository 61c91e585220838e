package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"masthead/vmtest"
	"masthead/vmtest/ethernet"
)

// station is a host on the lab's network that is nothing but frames: it says what no decent network stack would say.
type station struct {
	port *ethernet.Port
	mac  net.HardwareAddr
	ip   netip.Addr
}

// newStation plugs a host into a switch of the lab for the length of the test.
func newStation(t *testing.T, lab *vmtest.Lab, sw, mac, ip string) *station {
	t.Helper()
	port, err := lab.Switch(sw).Attach("station " + mac)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	return &station{port, hw, netip.MustParseAddr(ip)}
}

var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	protoTCP  = 6
	protoUDP  = 17
)

// udpPacket is an IPv4 packet with a UDP datagram in it.
func udpPacket(from, to netip.AddrPort, payload []byte) []byte {
	const header, udpHeader = 20, 8
	p := make([]byte, header+udpHeader, header+udpHeader+len(payload))
	p[0], p[8], p[9] = 0x45, 64, protoUDP
	binary.BigEndian.PutUint16(p[2:], uint16(header+udpHeader+len(payload)))
	copy(p[12:], from.Addr().AsSlice())
	copy(p[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[10:], checksum(p[:header]))
	binary.BigEndian.PutUint16(p[20:], from.Port())
	binary.BigEndian.PutUint16(p[22:], to.Port())
	binary.BigEndian.PutUint16(p[24:], uint16(udpHeader+len(payload))) // no checksum: RFC 768 allows that
	return append(p, payload...)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// frame puts a payload into an Ethernet frame of the station's.
func (s *station) frame(to net.HardwareAddr, etherType uint16, payload []byte) []byte {
	f := append(append([]byte(nil), to...), s.mac...)
	return append(binary.BigEndian.AppendUint16(f, etherType), payload...)
}

// send puts a UDP datagram on the wire.
func (s *station) send(t *testing.T, to net.HardwareAddr, from, dst netip.AddrPort, payload []byte) {
	t.Helper()
	must(t, s.port.Send(s.frame(to, etherIPv4, udpPacket(from, dst, payload))))
}

// datagram is a UDP datagram that the station received.
type datagram struct {
	from, to netip.AddrPort
	data     []byte
}

// receive waits for a datagram to one of the station's ports. It answers ARP requests for the station meanwhile.
func (s *station) receive(ctx context.Context, port uint16) (datagram, error) {
	buffer := make([]byte, ethernet.MaxFrame)
	for {
		n, err := s.port.Receive(ctx, buffer)
		if err != nil {
			return datagram{}, fmt.Errorf("station %s: %w", s.ip, err)
		}
		f := buffer[:n]
		if err := s.answerARP(f); err != nil {
			return datagram{}, err
		}
		if d, ok := parseUDP(f); ok && d.to.Port() == port {
			return d, nil
		}
	}
}

// parseUDP takes a datagram out of a frame.
func parseUDP(f []byte) (datagram, bool) {
	if len(f) < 14+20+8 || binary.BigEndian.Uint16(f[12:]) != etherIPv4 || f[14]>>4 != 4 || f[14+9] != protoUDP {
		return datagram{}, false
	}
	ip := f[14:]
	header := int(ip[0]&15) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if total > len(ip) || header+8 > total {
		return datagram{}, false
	}
	udp := ip[header:total]
	return datagram{
		from: netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(udp)),
		to:   netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(udp[2:])),
		data: append([]byte(nil), udp[8:]...),
	}, true
}

// answerARP tells who asks for the station's address (RFC 826).
func (s *station) answerARP(f []byte) error {
	const size, request, reply = 28, 1, 2
	if len(f) < 14+size || binary.BigEndian.Uint16(f[12:]) != etherARP {
		return nil
	}
	arp := f[14 : 14+size]
	if binary.BigEndian.Uint16(arp[6:]) != request || netip.AddrFrom4([4]byte(arp[24:28])) != s.ip {
		return nil
	}
	answer := append([]byte(nil), arp...)
	binary.BigEndian.PutUint16(answer[6:], reply)
	copy(answer[8:], s.mac)
	copy(answer[14:], s.ip.AsSlice())
	copy(answer[18:], arp[8:18])
	return s.port.Send(s.frame(net.HardwareAddr(arp[8:14]), etherARP, answer))
}
