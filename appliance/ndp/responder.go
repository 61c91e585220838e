package ndp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Responder answers the router solicitations on one card.
type Responder struct {
	ifname string
	log    *slog.Logger
}

// New returns a Responder for a card; log nil: slog.Default.
func New(ifname string, log *slog.Logger) *Responder {
	if log == nil {
		log = slog.Default()
	}
	return &Responder{ifname, log.With("interface", ifname)}
}

// Run answers until ctx ends, then returns nil. Without IPv6 on the card it says so once and waits. It starts no
// answers before the card has a link-local address and no router has replied to a solicitation of ours.
func (r *Responder) Run(ctx context.Context) error {
	s, err := listen(ctx, r.ifname)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		r.log.Info("no router advertisements: this kernel is without IPv6; iPXE waits 15 s for a router", "err", err)
		<-ctx.Done()
		return nil
	}
	if err != nil {
		return r.end(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer func() {
		if stop() {
			s.conn.Close()
		}
	}()
	l := loop{Responder: r, s: s}
	l.phase.lost(time.Now())
	return r.end(ctx, l.run())
}

// end is what Run returns: the end of ctx is no failure.
func (r *Responder) end(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("router advertisements on %s: %w", r.ifname, err)
}

// loop is one run of a Responder, on one goroutine.
type loop struct {
	*Responder
	s     *socket
	phase phase
	pace  pace
	self  netip.Addr // the link-local address, where phase.since is zero
}

func (l *loop) run() error {
	buffer := make([]byte, 2048)
	for {
		now := time.Now()
		if err := l.step(now); err != nil {
			return err
		}
		wake := l.phase.wake(now)
		if due := l.pace.due; !due.IsZero() && (wake.IsZero() || due.Before(wake)) {
			wake = due
		}
		if err := l.s.conn.SetReadDeadline(wake); err != nil {
			return err
		}
		packet, hop, src, err := l.s.read(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ENETDOWN):
			// Of a link that went down the socket tells once; the link may come back.
		case err != nil:
			return err
		default:
			if err := l.take(time.Now(), packet, hop, src); err != nil {
				return err
			}
		}
	}
}

// step does what is due by time.
func (l *loop) step(now time.Time) error {
	if !l.phase.since.IsZero() {
		if ok, err := l.locate(now); !ok || err != nil {
			return err
		}
	}
	if l.phase.asked.IsZero() {
		// A failure is as good as a loss on the way: routers also speak unasked, and hold our tongue then.
		l.try("solicit", allRouters, l.s.send(solicitation(l.s.nic.HardwareAddr), l.self, allRouters))
		l.phase.asked = now
	}
	if answering := l.phase.answers(now); answering != l.phase.answering {
		l.phase.answering = answering
		if answering {
			l.log.Info("answering router solicitations: no IPv6 router here", "address", l.self)
		}
	}
	if l.pace.multicast(now) && l.phase.answers(now) {
		l.try("advertise", allNodes, l.s.send(advertisement(l.s.nic.HardwareAddr), l.self, allNodes))
	}
	return nil
}

// locate looks for the link-local address, which may have gone with the link.
func (l *loop) locate(now time.Time) (bool, error) {
	addr, ok, err := l.s.address()
	switch {
	case err != nil:
		return false, err
	case ok:
		l.self, l.phase.since, l.phase.told = addr, time.Time{}, false
		return true, nil
	}
	l.phase.lost(now)
	if !l.phase.told && now.Sub(l.phase.since) >= patience {
		l.phase.told = true
		l.log.Info("no router advertisements: the card has no IPv6 link-local address; iPXE waits 15 s for a router")
	}
	return false, nil
}

// take handles a message.
func (l *loop) take(now time.Time, packet []byte, hop int, src netip.Addr) error {
	if lasts := advertised(packet, hop, src); lasts > 0 {
		if now.After(l.phase.silent) {
			l.log.Info("silent to router solicitations: a router speaks here", "router", src, "for", lasts)
		}
		l.phase.heard(now, lasts)
		return nil
	}
	if !l.phase.answers(now) {
		return nil
	}
	reply, ok := Answer(packet, hop, src, l.s.nic.HardwareAddr)
	if !ok || src == l.self {
		return nil
	}
	// The address may have changed since the last machine asked, which was perhaps yesterday.
	if ok, err := l.locate(now); !ok || err != nil {
		return err
	}
	if !src.IsLinkLocalUnicast() {
		l.pace.wantMulticast(now)
		return nil
	}
	if l.pace.unicast(now) {
		l.try("learn a neighbour", src, l.s.introduce(src, packet))
		l.try("advertise", src, l.s.send(reply, l.self, src))
	}
	return nil
}

// try logs what failed for one machine, which asks again; the others do not suffer from it.
func (l *loop) try(what string, whom netip.Addr, err error) {
	if err != nil {
		l.log.Debug("router advertisement", "step", what, "to", whom, "err", err)
	}
}
