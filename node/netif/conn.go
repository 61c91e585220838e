package netif

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// listenRaw opens a packet socket on a link that has no address yet. It sends to all and hears what is for UDP port
// 68, to whatever address.
func listenRaw(l Link) (net.PacketConn, error) {
	filter, err := bpf.Assemble(clientPortFilter())
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	// By index: udev may rename the link while we listen.
	raw, err := packet.Listen(&net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.hardware()},
		packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", l.Name, err)
	}
	return nclient4.NewBroadcastUDPConn(raw, &net.UDPAddr{Port: nclient4.ClientPort}), nil
}

// clientPortFilter keeps the kernel from copying all of a busy machine's traffic to us. Offsets count from the IP
// header, since the socket is of type SOCK_DGRAM.
func clientPortFilter() []bpf.Instruction {
	const (
		offProtocol = 9
		offFragment = 6
		protoUDP    = 17
		all         = 0xffff
	)
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: offProtocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 6},
		bpf.LoadAbsolute{Off: offFragment, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4}, // a later fragment has no port
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: nclient4.ClientPort, SkipTrue: 1},
		bpf.RetConstant{Val: all},
		bpf.RetConstant{Val: 0},
	}
}

// listenUDP opens an ordinary socket at a leased address, bound to its link by index. The port is shared with a DHCP
// client that the root may run.
func listenUDP(ctx context.Context, l Link, addr netip.Addr) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			for _, o := range []struct{ level, opt, value int }{
				{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
				{unix.SOL_SOCKET, unix.SO_BROADCAST, 1},
				{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, l.Index},
			} {
				if err = unix.SetsockoptInt(int(fd), o.level, o.opt, o.value); err != nil {
					return
				}
			}
		})
		if cerr != nil {
			return cerr
		}
		return err
	}}
	at := netip.AddrPortFrom(addr, nclient4.ClientPort)
	c, err := lc.ListenPacket(ctx, "udp4", at.String())
	if err != nil {
		return nil, fmt.Errorf("open DHCP socket on %s: %w", l.Name, err)
	}
	return c, nil
}
