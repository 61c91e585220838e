package ndp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// socket sends and receives the router messages of one card.
type socket struct {
	conn *ipv6.PacketConn
	nic  *net.Interface
}

func listen(ctx context.Context, ifname string) (*socket, error) {
	nic, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var bound error
		if err := raw.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), ifname) }); err != nil {
			return err
		}
		return bound
	}}
	c, err := lc.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, err
	}
	s := &socket{ipv6.NewPacketConn(c), nic}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"filter", func() error { return s.conn.SetICMPFilter(&filter) }},
		{"hop limits", func() error { return s.conn.SetControlMessage(ipv6.FlagHopLimit, true) }},
		{"no loopback", func() error { return s.conn.SetMulticastLoopback(false) }}, // we are not our own neighbour
		{"join", func() error { return s.conn.JoinGroup(nic, &net.IPAddr{IP: allRouters.AsSlice()}) }},
	} {
		if err := step.do(); err != nil {
			c.Close()
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return s, nil
}

// receive waits for a message, until the deadline of the connection.
func (s *socket) receive(b []byte) (packet []byte, hop int, src netip.Addr, err error) {
	n, cm, from, err := s.conn.ReadFrom(b)
	if err != nil {
		return nil, 0, netip.Addr{}, err
	}
	if cm != nil {
		hop = cm.HopLimit
	}
	if ip, ok := from.(*net.IPAddr); ok {
		src, _ = netip.AddrFromSlice(ip.IP)
	}
	return b[:n], hop, src, nil
}

// send sends to a neighbour or a group. The kernel takes the card's link-local address as the source (RFC 6724, rule 2),
// which hosts want (RFC 4861, 6.1.2). Before duplicate address detection has passed it, or without one, send fails.
func (s *socket) send(packet []byte, dst netip.Addr) error {
	cm := &ipv6.ControlMessage{HopLimit: onLink, IfIndex: s.nic.Index}
	_, err := s.conn.WriteTo(packet, cm, &net.IPAddr{IP: dst.AsSlice(), Zone: s.nic.Name})
	return err
}
