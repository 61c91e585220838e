package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
)

// socket is one UDP socket, of an own card and address. Peers share it; the address of the sender says whose link it is.
type socket struct {
	h     *Heartbeat
	nic   string // as it was called in the configuration
	index int
	local netip.AddrPort
	ways  []way
}

// way is one peer's address.
type way struct {
	remote netip.AddrPort
	link   *link
}

const (
	// watchEvery is how often a link's carrier is read, and an interface is looked for that was taken away.
	watchEvery = 200 * time.Millisecond
	// reopenAfter is how long a link that could not be opened is left alone: an owner is suspected after as much silence.
	reopenAfter = 250 * time.Millisecond
	// precedence is that of network control (RFC 2474 CS6): switches that heed it send it before data.
	precedence = 6
)

var errCardGone = errors.New("the interface was taken away")

// run keeps the socket open until ctx ends. An interface that is not there yet, or is taken away and comes again under
// another number, needs a new socket; one that is down, or has no address yet, does not (IP_FREEBIND).
func (s *socket) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.serve(ctx)
		for _, w := range s.ways {
			s.h.closed(w.link, err)
			if ctx.Err() == nil {
				s.h.report(w.link)
			}
		}
		pause(ctx, reopenAfter)
	}
}

// serve opens the socket and returns why it is of no use any more.
func (s *socket) serve(ctx context.Context) error {
	name, number, _, err := s.card()
	if err != nil {
		return err
	}
	network := "udp4"
	if s.local.Addr().Is6() {
		network = "udp6"
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return s.control(name, c) }}
	pc, err := lc.ListenPacket(ctx, network, s.local.String())
	if err != nil {
		return err
	}
	conn := pc.(*net.UDPConn)
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return err
	}
	for _, w := range s.ways {
		to := sockaddr(w.remote, number)
		s.h.opened(w.link, func(b []byte) error { return sendNow(raw, b, to) })
	}
	done := make(chan error, 1)
	go func() { done <- s.read(conn) }()

	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for err == nil {
		called, now, carrier, e := s.card()
		if e != nil || now != number {
			err = errors.Join(errCardGone, e)
			break
		}
		for _, w := range s.ways {
			s.h.watched(w.link, called, carrier)
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case err = <-done:
			conn.Close()
			return err
		case <-tick.C:
		}
	}
	conn.Close()
	<-done
	return err
}

// card is the interface as it is called now, its number and its carrier. One that was taken away, and came again under
// another number, is found by its name.
func (s *socket) card() (name string, number int, carrier failover.Reading, err error) {
	if s.nic == "" {
		return "", 0, failover.Unknown, nil
	}
	name = s.nic
	if now := nameOf(s.index); now != "" {
		name = now
	}
	number, carrier, err = interfaceOf(name)
	return name, number, carrier, err
}

// control sets what must be set before bind(2).
func (s *socket) control(nic string, c syscall.RawConn) error {
	var err error
	outer := c.Control(func(fd uintptr) {
		if nic != "" {
			if err = unix.BindToDevice(int(fd), nic); err != nil {
				err = fmt.Errorf("bind to %s: %w", nic, err)
				return
			}
		}
		// Of IPv6 sockets too: inet6_bind asks the same flag (net/ipv6/af_inet6.c).
		if err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1); err != nil {
			err = fmt.Errorf("IP_FREEBIND: %w", err)
			return
		}
		// Heartbeats before data where somebody heeds it; nothing is lost where nobody does.
		if s.local.Addr().Is4() {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, precedence<<5)
		} else {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, precedence<<5)
		}
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, precedence)
	})
	return errors.Join(outer, err)
}

// read receives until the socket is closed, or fails.
func (s *socket) read(conn *net.UDPConn) error {
	b := make([]byte, 2*frameSize) // more than a frame, so that a longer one shows
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		s.h.received(s.linkFrom(from), b[:n])
	}
}

// linkFrom is the link of a sender. What strangers send is counted on the first one.
func (s *socket) linkFrom(from netip.AddrPort) *link {
	addr := from.Addr().Unmap().WithZone("")
	for _, w := range s.ways {
		if w.remote.Addr().WithZone("") == addr && w.remote.Port() == from.Port() {
			return w.link
		}
	}
	return s.ways[0].link
}

// sendNow sends from the calling thread, and once: a card that takes nothing must not hold up the others.
func sendNow(raw syscall.RawConn, b []byte, to unix.Sockaddr) error {
	var err error
	outer := raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, to)
		return true
	})
	return errors.Join(outer, err)
}

func sockaddr(a netip.AddrPort, nic int) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	to := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if a.Addr().IsLinkLocalUnicast() {
		to.ZoneId = uint32(nic)
	}
	return to
}

// interfaceOf is the number of an interface, and whether it has a carrier: IFF_RUNNING is that it is operational
// (RFC 2863), which an unplugged or a dormant one is not.
func interfaceOf(name string) (number int, carrier failover.Reading, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, failover.Unknown, fmt.Errorf("interface %s: %w", name, err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return 0, failover.Unknown, fmt.Errorf("interface %s: %w", name, err)
	}
	number = int(req.Uint32())
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return 0, failover.Unknown, fmt.Errorf("interface %s: %w", name, err)
	}
	if req.Uint16()&(unix.IFF_UP|unix.IFF_RUNNING) == unix.IFF_UP|unix.IFF_RUNNING {
		return number, failover.Up, nil
	}
	return number, failover.Down, nil
}

// nameOf is the name of the interface with a number; empty: there is none.
func nameOf(index int) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("")
	if err != nil {
		return ""
	}
	req.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, req); err != nil {
		return ""
	}
	return req.Name()
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
