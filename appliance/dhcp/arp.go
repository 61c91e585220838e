package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

const (
	etherARP = 0x0806

	// probeTime is how long an address is looked for: a station on the same wire answers within a few milliseconds, and
	// the client's first retransmission comes after four seconds (RFC 2131, 4.1), so this may be spent.
	probeTime = 300 * time.Millisecond
	// probeRepeat sends the question a second time, for the one that got lost.
	probeRepeat = 100 * time.Millisecond
)

// arpProber asks the wire who has an address.
type arpProber struct {
	conn *packet.Conn
	own  MAC

	mu      sync.Mutex
	waiting map[netip.Addr]chan MAC
}

func newARPProber(ifi *net.Interface) (*arpProber, error) {
	conn, err := packet.Listen(ifi, packet.Raw, etherARP, nil)
	if err != nil {
		return nil, fmt.Errorf("listen for ARP on %s: %w", ifi.Name, err)
	}
	return &arpProber{conn: conn, own: MAC(ifi.HardwareAddr), waiting: map[netip.Addr]chan MAC{}}, nil
}

// run hands answers to those who wait, until ctx ends and the socket is closed.
func (p *arpProber) run(ctx context.Context) error {
	buf := make([]byte, 128)
	for {
		n, _, err := p.conn.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENETDOWN):
			continue // told once; the next read waits until the link is back
		}
		if err != nil {
			return fmt.Errorf("read ARP: %w", err)
		}
		mac, ip, ok := decodeARP(buf[:n])
		if !ok || mac == p.own {
			continue
		}
		p.mu.Lock()
		if ch := p.waiting[ip]; ch != nil {
			select {
			case ch <- mac:
			default: // has one already
			}
		}
		p.mu.Unlock()
	}
}

// probe returns who has ip, or false when nobody answered in time. There is at most one at a time for an address.
func (p *arpProber) probe(ctx context.Context, ip netip.Addr) (MAC, bool, error) {
	ch := make(chan MAC, 1)
	p.mu.Lock()
	p.waiting[ip] = ch
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, ip)
		p.mu.Unlock()
	}()
	end := time.After(probeTime)
	again := time.After(probeRepeat)
	for {
		if _, err := p.conn.WriteTo(encodeARPProbe(p.own, ip), &packet.Addr{HardwareAddr: everyStation[:]}); err != nil {
			return MAC{}, false, fmt.Errorf("ask for %v by ARP: %w", ip, err)
		}
		select {
		case mac := <-ch:
			return mac, true, nil
		case <-again:
			again = nil
			continue
		case <-end:
			return MAC{}, false, nil
		case <-ctx.Done():
			return MAC{}, false, ctx.Err()
		}
	}
}

// encodeARPProbe asks without claiming an address of our own, so that nobody's ARP cache changes (RFC 5227, 2.1.1).
func encodeARPProbe(own MAC, ip netip.Addr) []byte {
	var b []byte
	b = append(b, everyStation[:]...)
	b = append(b, own[:]...)
	b = binary.BigEndian.AppendUint16(b, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, their lengths, request
	b = append(b, own[:]...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, make([]byte, 6)...)
	target := ip.As4()
	return append(b, target[:]...)
}

// decodeARP reads who says to have which address, from a reply or from a request's sender.
func decodeARP(b []byte) (MAC, netip.Addr, bool) {
	if len(b) < etherHeader+28 || binary.BigEndian.Uint16(b[12:]) != etherARP {
		return MAC{}, netip.Addr{}, false
	}
	a := b[etherHeader:]
	if [6]byte(a[:6]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return MAC{}, netip.Addr{}, false
	}
	return MAC(a[8:14]), netip.AddrFrom4([4]byte(a[14:18])), true
}
