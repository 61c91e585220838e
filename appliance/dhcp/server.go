package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sync/errgroup"
)

const (
	// maxBusy is how many requests are worked on at a time; most of them wait for a probe or for the store. Further ones
	// wait in the socket's buffer and are dropped there: clients repeat themselves.
	maxBusy = 256
	// maxTries bounds how many addresses of the pool are found in use by others before a client is left to ask again.
	maxTries = 4
	// commitTime is less than the four seconds after which a client asks again (RFC 2131, 4.1).
	commitTime = 3 * time.Second
	// maxPacket is an Ethernet's worth. A longer request is cut, and refused for it.
	maxPacket = 1500
)

// Server answers on one interface. The fields may be set before Run.
type Server struct {
	// Event is told of every noteworthy step, by many goroutines at a time; it must not block. Nil: nobody is told.
	Event func(Event)
	// Probe looks for an address on the wire: who has it, if anybody, within 300 ms or so. Nil: by ARP.
	Probe func(context.Context, netip.Addr) (MAC, bool, error)
	// Now is the clock. Nil: time.Now.
	Now func() time.Time

	config   Config
	registry Registry
	store    Store

	mu     sync.Mutex // decisions are taken one at a time; their effects overlap
	offers *offers
	busy   map[MAC]bool // a client's repeated question is not worked on twice
}

// New checks the configuration. The registry and the store stay the caller's.
func New(c Config, registry Registry, store Store) (*Server, error) {
	c, err := c.Complete()
	if err != nil {
		return nil, err
	}
	return &Server{config: c, registry: registry, store: store, offers: newOffers(), busy: map[MAC]bool{}}, nil
}

// Run serves until ctx ends, and returns nil then, after its goroutines have ended. It needs CAP_NET_RAW and the right
// to bind to a device and to ports 67 and 4011.
func (s *Server) Run(ctx context.Context) error {
	ports := []uint16{serverPort}
	switch s.config.Mode {
	case ModeOff:
		<-ctx.Done()
		return nil
	case ModeProxy:
		ports = append(ports, proxyPort)
	}
	ifi, err := net.InterfaceByName(s.config.Interface)
	if err != nil {
		return fmt.Errorf("dhcp: interface %s: %w", s.config.Interface, err)
	}
	socks, err := openSockets(ctx, ifi, s.config.Address.Addr(), ports...)
	if err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	probe := s.Probe
	closers := []func() error{socks.close}
	if probe == nil && s.config.Mode == ModeServer {
		arp, err := newARPProber(ifi)
		if err != nil {
			socks.close()
			return fmt.Errorf("dhcp: %w", err)
		}
		probe = arp.probe
		closers = append(closers, arp.conn.Close)
		group.Go(func() error { return arp.run(ctx) })
	}
	group.Go(func() error {
		<-ctx.Done()
		for _, c := range closers {
			c() // wakes the readers; there is nothing left to do about an error
		}
		return nil
	})
	room := make(chan struct{}, maxBusy)
	for _, port := range ports {
		group.Go(func() error { return s.read(ctx, socks, port, probe, room) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("dhcp: %s: %w", s.config.Interface, err)
	}
	return nil
}

// read hands each datagram of a port to a goroutine of its own, and returns after those have ended.
func (s *Server) read(ctx context.Context, socks *sockets, port uint16, probe prober, room chan struct{}) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		buf := make([]byte, maxPacket)
		n, in, err := socks.receive(port, buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("receive on port %d: %w", port, err)
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		workers.Go(func() {
			defer func() { <-room }()
			s.handle(ctx, buf[:n], in, probe, func(to Destination, p []byte) error { return socks.send(port, to, p) })
		})
	}
}

type (
	prober func(context.Context, netip.Addr) (MAC, bool, error)
	sender func(Destination, []byte) error
)

// handle takes one datagram from bytes to reply.
func (s *Server) handle(ctx context.Context, b []byte, in Ingress, probe prober, send sender) {
	req, err := dhcpv4.FromBytes(b)
	if err != nil {
		e := Event{Time: s.now(), Kind: KindIgnored, Detail: fmt.Sprintf("malformed packet from %v: %v", in.Source, err)}
		if len(b) >= 34 {
			e.MAC = MAC(b[28:34]) // chaddr, where it would be
		}
		s.emit(e)
		return
	}
	mac, _ := MACFrom(req.ClientHWAddr)
	if !s.begin(mac) {
		return
	}
	defer s.end(mac)
	for try := range maxTries {
		d := s.decide(req, in)
		if try == 0 {
			s.emit(d.Heard)
		}
		again, err := s.effect(ctx, d, probe, send)
		if err != nil {
			e := d.Outcome
			e.Kind, e.Detail = KindFailed, fmt.Sprintf("no %s: %v", d.Outcome.Kind, err)
			s.emit(e)
		}
		if !again {
			return
		}
	}
	s.emit(Event{Time: s.now(), Kind: KindFailed, MAC: mac, Detail: fmt.Sprintf("found %d addresses taken by others", maxTries)})
}

// decide asks the pure function and holds the address that it chose, so that no other client gets it while this one's
// lease is on its way.
func (s *Server) decide(req *dhcpv4.DHCPv4, in Ingress) Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	d := s.config.Answer(req, in, view{s.registry, s.store, s.offers, now}, now)
	if d.Declined {
		mac, _ := MACFrom(req.ClientHWAddr)
		s.offers.drop(s.offers.byMAC[mac])
	}
	if d.Lease != nil && (d.Lease.State == Offered || d.Lease.State == Bound) {
		held := *d.Lease
		held.State, held.Expires = Offered, now.Add(s.config.OfferTime)
		s.offers.hold(held, now)
	}
	return d
}

// effect carries a decision out. It tells to decide again when the address turned out to be somebody else's.
func (s *Server) effect(ctx context.Context, d Decision, probe prober, send sender) (again bool, err error) {
	if d.Probe.IsValid() {
		who, taken, err := probe(ctx, d.Probe)
		switch {
		case ctx.Err() != nil:
			return false, nil
		case err != nil:
			// The client looks for itself before it uses the address (RFC 2131, 4.4.1).
			d.Outcome.Detail += fmt.Sprintf("; not probed: %v", err)
		case taken && who != d.Lease.MAC:
			conflict := d.Outcome
			conflict.Kind, conflict.Detail = KindConflict, fmt.Sprintf("%v answers for it", who)
			s.emit(conflict)
			err := s.commit(ctx, s.config.quarantine(d.Probe, who, s.now()))
			if errors.Is(err, ErrTaken) {
				err = nil // leased meanwhile by another head
			}
			return err == nil, err
		}
	}
	if d.Lease != nil && d.Lease.State != Offered {
		err := s.commit(ctx, *d.Lease)
		if errors.Is(err, ErrTaken) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	if d.Reply != nil {
		if err := send(d.To, d.Reply.ToBytes()); err != nil {
			return false, err
		}
	}
	s.emit(d.Outcome)
	return false, nil
}

// commit stores a lease. What was held in memory for it is needed no longer, unless the store failed: then the client
// will come again for it.
func (s *Server) commit(ctx context.Context, l Lease) error {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	err := s.store.Commit(ctx, l)
	if err == nil || errors.Is(err, ErrTaken) {
		s.mu.Lock()
		s.offers.drop(l.IP)
		s.mu.Unlock()
		return err
	}
	return fmt.Errorf("store the lease of %v: %w", l.IP, err)
}

func (s *Server) begin(mac MAC) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[mac] {
		return false
	}
	s.busy[mac] = true
	return true
}

func (s *Server) end(mac MAC) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, mac)
}

func (s *Server) emit(e Event) {
	if s.Event != nil && e.Kind != "" {
		s.Event(e)
	}
}

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now().Round(0) // leases are compared across machines: no monotonic reading
}
