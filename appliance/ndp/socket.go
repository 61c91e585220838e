package ndp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
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
		return nil, fmt.Errorf("interface: %w", err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var bound error
		err := raw.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), ifname) })
		if err != nil {
			return err
		}
		return bound
	}}
	c, err := lc.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, err
	}
	s := &socket{ipv6.NewPacketConn(c), nic}
	if err := s.prepare(); err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket) prepare() error {
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	for _, step := range []struct {
		name string
		err  error
	}{
		{"filter ICMPv6", s.conn.SetICMPFilter(&filter)},
		{"see hop limits", s.conn.SetControlMessage(ipv6.FlagHopLimit, true)},
		// What this host sends is no neighbour's.
		{"do without loopback", s.conn.SetMulticastLoopback(false)},
		{"join all routers", s.conn.JoinGroup(s.nic, &net.UDPAddr{IP: allRouters.AsSlice()})},
	} {
		if step.err != nil {
			return fmt.Errorf("%s: %w", step.name, step.err)
		}
	}
	return nil
}

// read waits for a message, until the deadline of the connection.
func (s *socket) read(b []byte) (packet []byte, hop int, src netip.Addr, err error) {
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

// send sends a message from our link-local address: hosts take an advertisement from no other (RFC 4861, 6.1.2).
func (s *socket) send(packet []byte, src, dst netip.Addr) error {
	cm := &ipv6.ControlMessage{HopLimit: onLink, Src: src.AsSlice(), IfIndex: s.nic.Index}
	_, err := s.conn.WriteTo(packet, cm, &net.IPAddr{IP: dst.AsSlice(), Zone: s.nic.Name})
	return err
}

// address is the card's link-local address, once no duplicate was found. Not ok: it has none now.
func (s *socket) address() (netip.Addr, bool, error) {
	link, err := netlink.LinkByName(s.nic.Name)
	if err != nil {
		return netip.Addr{}, false, fmt.Errorf("interface %s: %w", s.nic.Name, err)
	}
	if link.Attrs().Index != s.nic.Index {
		return netip.Addr{}, false, fmt.Errorf("interface %s is another one now", s.nic.Name)
	}
	list, err := netlink.AddrList(link, unix.AF_INET6)
	if err != nil {
		return netip.Addr{}, false, fmt.Errorf("addresses of %s: %w", s.nic.Name, err)
	}
	for _, a := range list {
		tentative := a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0
		if addr, ok := netip.AddrFromSlice(a.IP); ok && addr.IsLinkLocalUnicast() && !tentative && a.Flags&unix.IFA_F_DADFAILED == 0 {
			return addr, true, nil
		}
	}
	return netip.Addr{}, false, nil
}

// introduce tells the kernel the link-layer address that a machine gave with its solicitation (RFC 4861, 6.2.6), so
// that the answer need not wait until the machine was asked for it. What is known already stays.
func (s *socket) introduce(ip netip.Addr, packet []byte) error {
	opts, ok := parseOptions(packet[solicitationLen:])
	if !ok || len(opts.source) < len(s.nic.HardwareAddr) || len(s.nic.HardwareAddr) == 0 {
		return nil
	}
	err := netlink.NeighAdd(&netlink.Neigh{
		Family: unix.AF_INET6, LinkIndex: s.nic.Index, State: unix.NUD_STALE,
		IP: ip.AsSlice(), HardwareAddr: net.HardwareAddr(opts.source[:len(s.nic.HardwareAddr)]),
	})
	if err == unix.EEXIST {
		return nil
	}
	return err
}
