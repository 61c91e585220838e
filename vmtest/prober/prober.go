package prober

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Wire carries Ethernet frames: a port of a lab's switch, or a raw socket. Send may be called while Receive waits.
type Wire interface {
	Send(frame []byte) error
	Receive(ctx context.Context, buffer []byte) (n int, err error)
}

// Prober asks for one address.
type Prober struct {
	wire   Wire
	mac    net.HardwareAddr
	self   netip.Addr
	target netip.Addr
	Record *Record
	// Interval is the time between two questions, to be changed before Run.
	Interval time.Duration

	mu        sync.Mutex
	neighbour net.HardwareAddr // as a neighbour's table has it: the last card that claimed the address
	sequence  uint16
}

// Every is how often a Prober asks that is not told otherwise.
const Every = 5 * time.Millisecond

// New makes a Prober that asks for target as a machine with that MAC and address, both its own.
func New(wire Wire, mac net.HardwareAddr, self, target netip.Addr) (*Prober, error) {
	if !self.Is4() || !target.Is4() || len(mac) != 6 {
		return nil, errors.New("prober: want IPv4 addresses and an Ethernet address")
	}
	return &Prober{wire: wire, mac: mac, self: self, target: target, Interval: Every, Record: NewRecord()}, nil
}

// Run asks and listens until its context ends.
func (p *Prober) Run(until context.Context) error {
	ctx, cancel := context.WithCancel(until)
	defer cancel()
	var listening sync.WaitGroup
	var heard error
	listening.Go(func() {
		defer cancel()
		heard = p.listen(ctx)
	})
	ticker := time.NewTicker(p.Interval)
	defer ticker.Stop()
	var err error
	for err == nil && ctx.Err() == nil {
		select {
		case <-ticker.C:
			err = p.ask()
		case <-ctx.Done():
		}
	}
	cancel()
	listening.Wait()
	if err == nil {
		err = heard
	}
	if err != nil && until.Err() == nil { // the end may have closed the wire before the last question
		return fmt.Errorf("probe %s: %w", p.target, err)
	}
	return nil
}

// ask sends an ARP request to all, and an echo request to the card that the neighbour's table names.
func (p *Prober) ask() error {
	p.Record.asked()
	if err := p.wire.Send(arp(arpRequest, broadcast, p.mac, p.self, nil, p.target)); err != nil {
		return err
	}
	p.mu.Lock()
	to := p.neighbour
	p.sequence++
	n := p.sequence
	p.mu.Unlock()
	if to == nil {
		return nil
	}
	return p.wire.Send(echo(to, p.mac, p.self, p.target, n))
}

func (p *Prober) listen(ctx context.Context) error {
	var buffer [2048]byte // what is longer is none of ours
	for {
		n, err := p.wire.Receive(ctx, buffer[:])
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		p.take(buffer[:n])
	}
}

// take looks at one frame.
func (p *Prober) take(f []byte) {
	if len(f) < 14 {
		return
	}
	from := net.HardwareAddr(f[6:12])
	switch binary.BigEndian.Uint16(f[12:]) {
	case etherARP:
		a, ok := parseARP(f[14:])
		if !ok || a.sender != p.target {
			if ok && a.op == arpRequest && a.target == p.self { // it wants to answer an echo
				_ = p.wire.Send(arp(arpReply, a.hardware, p.mac, p.self, a.hardware, a.sender))
			}
			return
		}
		p.mu.Lock()
		p.neighbour = net.HardwareAddr(append([]byte(nil), a.hardware...)) // as gratuitous announcements want it
		p.mu.Unlock()
		if a.op == arpReply && a.target == p.self {
			p.Record.add(&p.Record.all, a.hardware.String())
		}
	case etherIPv4:
		if isEchoReply(f[14:], p.target, p.self) {
			p.Record.add(&p.Record.echo, from.String())
		}
	}
}
