package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// sockets are those of one interface: a UDP socket for each port, through which the kernel routes, and a packet socket
// for clients that have no address to route to.
type sockets struct {
	udp   map[uint16]*net.UDPConn
	frame *packet.Conn
	mac   MAC
	addr  netip.Addr
}

// openSockets takes the ports for itself: another server on them is an error to be told, not to be shared with.
func openSockets(ctx context.Context, ifi *net.Interface, addr netip.Addr, ports ...uint16) (*sockets, error) {
	mac, ok := MACFrom(ifi.HardwareAddr)
	if !ok {
		return nil, fmt.Errorf("interface %s has no Ethernet address", ifi.Name)
	}
	s := &sockets{udp: map[uint16]*net.UDPConn{}, mac: mac, addr: addr}
	var err error
	// Protocol 0 receives nothing.
	if s.frame, err = packet.Listen(ifi, packet.Raw, 0, nil); err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", ifi.Name, err)
	}
	for _, port := range ports {
		if s.udp[port], err = listenUDP(ctx, ifi.Name, port); err != nil {
			delete(s.udp, port)
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func listenUDP(ctx context.Context, ifname string, port uint16) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var opt error
		err := c.Control(func(fd uintptr) {
			opt = errors.Join(
				unix.BindToDevice(int(fd), ifname),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1),
			)
		})
		return errors.Join(err, opt)
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen for DHCP on %s: %w", ifname, err)
	}
	return conn.(*net.UDPConn), nil
}

func (s *sockets) close() error {
	errs := []error{s.frame.Close()}
	for _, c := range s.udp {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// receive reads one datagram. n is 0 for one that carries nothing.
func (s *sockets) receive(port uint16, buf []byte) (n int, in Ingress, err error) {
	oob := make([]byte, 64)
	n, oobn, _, src, err := s.udp[port].ReadMsgUDPAddrPort(buf, oob)
	if err != nil {
		return 0, Ingress{}, err
	}
	return n, Ingress{
		Source:  netip.AddrPortFrom(src.Addr().Unmap(), src.Port()),
		Unicast: sentTo(oob[:oobn]) == s.addr,
		Port:    port,
	}, nil
}

// sentTo reads the destination address of a received datagram's header from IP_PKTINFO (ip(7)).
func sentTo(oob []byte) netip.Addr {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range msgs {
		// struct in_pktinfo: int ifindex, in_addr spec_dst, in_addr addr
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo {
			return netip.AddrFrom4([4]byte(m.Data[8:12]))
		}
	}
	return netip.Addr{}
}

// send returns when the kernel has the packet. The source is the head's address even if the interface has others.
func (s *sockets) send(port uint16, to Destination, payload []byte) error {
	if to.Link != (MAC{}) {
		f := datagram{s.mac, to.Link, netip.AddrPortFrom(s.addr, port), to.Addr, payload}
		if _, err := s.frame.WriteTo(f.encode(), &packet.Addr{HardwareAddr: to.Link[:]}); err != nil {
			return fmt.Errorf("send to %v at %v: %w", to.Addr, to.Link, err)
		}
		return nil
	}
	from := unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: s.addr.As4()})
	if _, _, err := s.udp[port].WriteMsgUDPAddrPort(payload, from, to.Addr); err != nil {
		return fmt.Errorf("send to %v: %w", to.Addr, err)
	}
	return nil
}
