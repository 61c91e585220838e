package netif

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// Renewer keeps a lease. Whatever servers say or do not say, it never takes an address away: the machine's root comes
// over it, and a machine with an address that is not quite its own can still be told to go, while one without cannot.
type Renewer struct {
	result Result
	event  func(Event)
	log    *slog.Logger

	now      func() time.Duration
	listen   func(Link) (net.PacketConn, error)
	tries    int           // REQUESTs of one renewal
	patience time.Duration // with one attempt to get a new lease
	expired  bool          // said so
	void     bool          // the server took it back
}

// discoverTime is how long one attempt to get a new lease lasts.
const discoverTime = 15 * time.Second

// NewRenewer keeps the lease of r, which Up made, in this process or an earlier one of this boot. event is called for
// each thing that happens, from Run's goroutine. log may be nil.
func NewRenewer(r Result, event func(Event), log *slog.Logger) (*Renewer, error) {
	if r.Lease == nil || !r.Prefix.IsValid() {
		return nil, errors.New("renew: the address is not leased")
	}
	if r.Link.hardware() == nil {
		return nil, fmt.Errorf("renew: %s has no MAC address", r.Link.Name)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Renewer{result: r, event: event, log: log, now: sinceBoot, listen: listenRaw,
		tries: maxRequests, patience: discoverTime}, nil
}

// Run keeps the lease until ctx ends, and returns the reason for that.
func (r *Renewer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		do, again := next(*r.result.Lease, r.now())
		if r.void {
			do, again = rediscover, r.now()+discoverRetry
		}
		if do != keep && r.act(ctx, do) {
			continue
		}
		if ctx.Err() == nil {
			pause(ctx, max(0, again-r.now()))
		}
	}
	return context.Cause(ctx)
}

// act is one attempt. It is true if the schedule is to be looked at again at once.
func (r *Renewer) act(ctx context.Context, do deed) bool {
	var got Result
	var err error
	switch do {
	case renew:
		got, err = r.extend(ctx, &net.UDPAddr{IP: r.result.Lease.Server.AsSlice(), Port: nclient4.ServerPort})
	case rebind:
		got, err = r.extend(ctx, nclient4.DefaultServers)
	default:
		if !r.expired && !r.void {
			r.expired = true
			r.event(Event{Kind: Expired, Result: r.result})
		}
		got, err = r.rediscover(ctx)
	}
	if ctx.Err() != nil {
		return false
	}
	_, nak := errors.AsType[*nakError](err)
	switch {
	case nak:
		r.void = true
		r.event(Event{Kind: NAK, Result: r.result, Err: err})
		return do != rediscover
	case err != nil:
		r.event(Event{Kind: Silent, Result: r.result, Err: err})
		return false
	}
	return r.adopt(got)
}

// adopt makes a new lease the present one.
func (r *Renewer) adopt(got Result) bool {
	kind := Renewed
	if got.Prefix.Addr() != r.result.Prefix.Addr() {
		kind = Moved
	}
	got.Link = r.result.Link
	got.How = fmt.Sprintf("by dhcp from %v", got.Lease.Server)
	// RFC 2131, 4.3.1 lets a server leave out in a renewal what it said before; Windows servers do.
	if len(got.DNS) == 0 && kind == Renewed {
		got.DNS, got.Domain = r.result.DNS, r.result.Domain
	}
	if !got.Gateway.IsValid() && kind == Renewed {
		got.Gateway = r.result.Gateway
	}
	r.result, r.void, r.expired = got, false, false
	if err := apply(got); err != nil {
		r.event(Event{Kind: NotSet, Result: got, Err: err})
		return true
	}
	r.event(Event{Kind: kind, Result: got})
	return true
}

type nakError struct{ server, message string }

func (e *nakError) Error() string { return fmt.Sprintf("NAK from %s (%q)", e.server, e.message) }

// extend asks one server, or all, for more time on the present address.
func (r *Renewer) extend(ctx context.Context, to *net.UDPAddr) (Result, error) {
	addr, mac := r.result.Prefix.Addr(), r.result.Link.hardware()
	// The packet socket hears what an ordinary one at our address would not: a NAK is broadcast (RFC 2131, 4.1).
	conn, err := r.listen(r.result.Link)
	if err != nil {
		return Result{}, err
	}
	defer conn.Close()
	defer unblock(ctx, conn)()
	// A renewal goes from the address to the server by the kernel's own ARP and routes.
	var out net.PacketConn
	if out, err = listenUDP(ctx, r.result.Link, addr); err != nil {
		// Somebody took the address off the link: put it back. Or he holds the port for himself: the packet socket
		// does not mind, and servers take a broadcast for a rebinding.
		_ = apply(r.result)
		out, err = listenUDP(ctx, r.result.Link, addr)
	}
	if err != nil {
		r.log.Debug("renewing by broadcast", "nic", r.result.Link.Name, "err", err)
		out, to = conn, nclient4.DefaultServers
	} else {
		defer out.Close()
	}
	began := r.now()
	sent := 0
	for n := range r.tries {
		msg := extend(addr, mac, r.now()-began)
		at := r.now()
		if err := send(out, msg, to); err != nil {
			return Result{}, err
		}
		sent++
		p, err := await(ctx, conn, msg, jitter(retransmit(n)), func(p *dhcpv4.DHCPv4) bool {
			t := p.MessageType()
			return t == dhcpv4.MessageTypeAck || t == dhcpv4.MessageTypeNak
		})
		switch {
		case isTimeout(err) && ctx.Err() == nil:
			continue
		case err != nil:
			return Result{}, err
		case p.MessageType() == dhcpv4.MessageTypeNak:
			return Result{}, &nakError{server: sender(p), message: oneLine(p.Message())}
		}
		return readTerms(p, at)
	}
	return Result{}, fmt.Errorf("%d REQUEST sent to %v in %v, no answer", sent, to.IP, (r.now() - began).Round(time.Second))
}

// rediscover gets a new lease, of the same address if the server is willing.
func (r *Renewer) rediscover(parent context.Context) (Result, error) {
	ctx, cancel := context.WithTimeout(parent, r.patience)
	defer cancel()
	x := &exchange{
		link: r.result.Link, listen: r.listen, now: r.now, turn: make(chan struct{}, 1), log: r.log,
		offered: func() {}, want: r.result.Prefix.Addr(),
	}
	got, ok := x.run(ctx)
	if !ok {
		x.tried.Link = r.result.Link
		return Result{}, errors.New(x.tried.String())
	}
	return got, nil
}
