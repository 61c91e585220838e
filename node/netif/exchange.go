package netif

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// Timing of an exchange.
const (
	maxRetransmit = 4 * time.Second // RFC 2131, 4.1 says 64 s, for a network of that time; a boot does not wait so long
	maxRequests   = 3               // for one offer, then a new DISCOVER
	afterRefusal  = time.Second     // before the next DISCOVER: a server that says NAK tends to say it again
)

// retransmit is how long the n-th message of a kind, counted from 0, waits for its answer.
func retransmit(n int) time.Duration { return min(time.Second<<min(n, 8), maxRetransmit) }

// jitter keeps a rack of machines that got power in one moment from asking in one moment (RFC 2131, 4.1).
func jitter(d time.Duration) time.Duration { return d + rand.N(d/8) }

// exchange gets a lease on one link.
type exchange struct {
	link   Link
	listen func(Link) (net.PacketConn, error)
	now    func() time.Duration
	// turn is taken for the way from offer to lease, so that a machine with two NICs in one network does not lease
	// two addresses.
	turn    chan struct{}
	offered func()     // an acceptable offer came
	want    netip.Addr // the address to ask for; invalid: any
	log     *slog.Logger

	tried Attempt
}

// run sends DISCOVERs until there is a lease or ctx ends; then it is false, and tried says why.
func (x *exchange) run(ctx context.Context) (Result, bool) {
	began := x.now()
	for ctx.Err() == nil {
		conn, err := x.listen(x.link)
		if err != nil {
			x.tried.note(err)
			pause(ctx, afterRefusal)
			continue
		}
		stop := unblock(ctx, conn)
		r, ok := x.talk(ctx, conn, began)
		stop()
		conn.Close()
		if ok {
			return r, true
		}
		pause(ctx, afterRefusal)
	}
	return Result{}, false
}

// talk goes on until there is a lease (true), the socket is dead, an offer came to nothing, or ctx ended.
func (x *exchange) talk(ctx context.Context, conn net.PacketConn, began time.Duration) (Result, bool) {
	msg := discover(x.link.hardware(), x.want)
	for n := 0; ctx.Err() == nil; n++ {
		since(x.now() - began)(msg)
		x.log.Debug("DHCP DISCOVER", "nic", x.link.Name, "n", n+1)
		if err := send(conn, msg, nclient4.DefaultServers); err != nil {
			x.tried.note(err)
			return Result{}, false
		}
		x.tried.Discovers++
		offer, ok := x.await(ctx, conn, msg, jitter(retransmit(n)), func(p *dhcpv4.DHCPv4) bool {
			if p.MessageType() != dhcpv4.MessageTypeOffer {
				return false
			}
			if _, err := readTerms(p, 0); err != nil {
				x.tried.declined(p, err)
				return false
			}
			return true
		})
		if !ok {
			continue
		}
		x.tried.Offers++
		x.tried.Server = offer.ServerIdentifier().String()
		x.offered()
		select {
		case x.turn <- struct{}{}:
		case <-ctx.Done():
			return Result{}, false
		}
		r, ok := x.accept(ctx, conn, offer, began)
		if ok {
			return r, true // and the turn is kept
		}
		<-x.turn
		return Result{}, false // run waits a little, lest the two of us spin
	}
	return Result{}, false
}

// accept asks for what was offered.
func (x *exchange) accept(ctx context.Context, conn net.PacketConn, offer *dhcpv4.DHCPv4, began time.Duration) (Result, bool) {
	for n := range maxRequests {
		req := request(offer, x.link.hardware(), x.now()-began)
		// RFC 2131, 4.4.1: a lease counts from the moment the request for it was sent.
		sent := x.now()
		if err := send(conn, req, nclient4.DefaultServers); err != nil {
			x.tried.note(err)
			return Result{}, false
		}
		x.tried.Requests++
		p, ok := x.await(ctx, conn, req, jitter(retransmit(n)), func(p *dhcpv4.DHCPv4) bool {
			t := p.MessageType()
			return (t == dhcpv4.MessageTypeAck || t == dhcpv4.MessageTypeNak) &&
				p.ServerIdentifier().Equal(offer.ServerIdentifier())
		})
		switch {
		case !ok && ctx.Err() != nil:
			return Result{}, false
		case !ok:
			continue
		case p.MessageType() == dhcpv4.MessageTypeNak:
			x.tried.refused(p)
			return Result{}, false
		}
		r, err := readTerms(p, sent)
		if err != nil {
			x.tried.declined(p, err)
			return Result{}, false
		}
		r.Link = x.link
		r.How = fmt.Sprintf("by dhcp from %v", r.Lease.Server)
		return r, true
	}
	return Result{}, false
}

// await reads until a packet of msg's transaction passes want, for at most d.
func (x *exchange) await(ctx context.Context, conn net.PacketConn, msg *dhcpv4.DHCPv4, d time.Duration,
	want func(*dhcpv4.DHCPv4) bool) (*dhcpv4.DHCPv4, bool) {
	p, err := await(ctx, conn, msg, d, want)
	if err != nil && ctx.Err() == nil && !isTimeout(err) {
		x.tried.note(err)
		pause(ctx, afterRefusal) // a dead socket answers at once
	}
	return p, err == nil
}

// await reads until a reply of msg's transaction passes want, for at most d. Whatever else comes is not for us.
func await(ctx context.Context, conn net.PacketConn, msg *dhcpv4.DHCPv4, d time.Duration,
	want func(*dhcpv4.DHCPv4) bool) (*dhcpv4.DHCPv4, error) {
	if err := conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return nil, fmt.Errorf("set DHCP deadline: %w", err)
	}
	buf := make([]byte, maxMessage)
	// ctx may have ended between unblock's deadline and ours.
	for ctx.Err() == nil {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return nil, fmt.Errorf("receive DHCP reply: %w", err)
		}
		p, err := dhcpv4.FromBytes(buf[:n])
		if err != nil || p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != msg.TransactionID ||
			!bytes.Equal(p.ClientHWAddr, msg.ClientHWAddr) {
			continue
		}
		if want(p) {
			return p, nil
		}
	}
	return nil, ctx.Err()
}

func send(conn net.PacketConn, p *dhcpv4.DHCPv4, to net.Addr) error {
	if _, err := conn.WriteTo(p.ToBytes(), to); err != nil {
		return fmt.Errorf("send DHCP%s: %w", p.MessageType(), err)
	}
	return nil
}

// unblock makes reads of conn return when ctx ends. stop must be called before conn is closed.
func unblock(ctx context.Context, conn net.PacketConn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
