package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// port is raw sockets on one interface. It hears with all protocols (ETH_P_ALL): only such sockets get a frame before the
// gate can drop it. It sends through the gate, with a socket for each protocol, since the kernel writes the header by the
// socket's.
type port struct {
	nic       net.Interface
	hear      *packet.Conn
	arp, ipv6 *packet.Conn
}

func openPort(nic net.Interface) (*port, error) {
	p := &port{nic: nic}
	for _, s := range []struct {
		conn   **packet.Conn
		proto  int
		filter []bpf.Instruction
	}{{&p.hear, unix.ETH_P_ALL, hearing}, {&p.arp, unix.ETH_P_ARP, deaf}, {&p.ipv6, unix.ETH_P_IPV6, deaf}} {
		filter, err := bpf.Assemble(s.filter)
		if err == nil {
			*s.conn, err = packet.Listen(&nic, packet.Datagram, s.proto, &packet.Config{Filter: filter})
		}
		if err == nil {
			err = ignoreOutgoing(*s.conn)
		}
		if err != nil {
			p.close()
			return nil, fmt.Errorf("open a raw socket on %s: %w", nic.Name, err)
		}
	}
	return p, nil
}

// ignoreOutgoing spares the kernel a copy of each packet that this machine sends: storage and images go out here too.
func ignoreOutgoing(c *packet.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) // Linux 4.20
	})
	return errors.Join(err, failed)
}

func (p *port) close() {
	for _, c := range []*packet.Conn{p.hear, p.arp, p.ipv6} {
		if c != nil {
			c.Close()
		}
	}
}

// The filter has a frame from the network header on. Not one's own (PACKET_OUTGOING), none of another VLAN on the same
// interface; ARP, and neighbour discovery without extension headers (RFC 6980 forbids fragments).
var (
	hearing = []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 11},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 9},
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IPV6, SkipTrue: 6},
		bpf.LoadAbsolute{Off: offIP6Next, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: offType, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeSolicit, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: typeAdvertise, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	}
	deaf = []bpf.Instruction{bpf.RetConstant{Val: 0}}
)

// run tells each claim that it hears, until ctx ends or the interface is gone.
func (p *port) run(ctx context.Context, heard func(*port, claim)) error {
	stop := context.AfterFunc(ctx, func() { _ = p.hear.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, 2048)
	for {
		n, from, err := p.hear.ReadFrom(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENETDOWN):
			continue // told once; the next read waits until the interface is up again, or for ever if it is gone
		case err != nil:
			return fmt.Errorf("read raw socket on %s: %w", p.nic.Name, err)
		}
		proto := uint16(unix.ETH_P_ARP)
		if n > 0 && buffer[0]>>4 == 6 { // an ARP message begins with zero
			proto = unix.ETH_P_IPV6
		}
		addr, ok := from.(*packet.Addr)
		if !ok {
			continue
		}
		if c, ok := readClaim(proto, addr.HardwareAddr, buffer[:n]); ok {
			heard(p, c)
		}
	}
}

// send reports whether the kernel took the datagram. Our own gate drops some while it is shut (ENOBUFS).
func (p *port) send(d datagram) error {
	conn := p.arp
	if d.proto == unix.ETH_P_IPV6 {
		conn = p.ipv6
	}
	_, err := conn.WriteTo(d.payload, &packet.Addr{HardwareAddr: d.to})
	return err
}

// source is an address of the interface in the network of target, but not one of vips; the zero value: there is none. For a
// link-local target it is the link-local one.
func source(nic net.Interface, target netip.Addr, vips map[netip.Addr]bool) netip.Addr {
	list, err := nic.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range list {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, _ := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		if addr = addr.Unmap(); !vips[addr] && addr.Is4() == target.Is4() && netip.PrefixFrom(addr, bits).Contains(target) {
			return addr
		}
	}
	return netip.Addr{}
}
