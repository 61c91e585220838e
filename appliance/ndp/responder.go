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

const (
	// askTime is how long a router has for our own solicitation: it may wait 0.5 s, and 3 s after its last advertisement
	// (RFC 4861, 6.2.6). Hosts too give it 4 s (RTR_SOLICITATION_INTERVAL).
	askTime = 4 * time.Second

	// A solicitation that cannot be sent is tried soon again while duplicate address detection (about 1 s) may be the
	// reason. After patience it is another one, IPv6 switched off or no cable.
	retrySoon, retryLate = 100 * time.Millisecond, 2 * time.Second
	patience             = 3 * time.Second
)

// Responder answers the router solicitations on one card.
type Responder struct {
	ifname string
	log    *slog.Logger
}

// New returns a Responder for a card.
func New(ifname string, log *slog.Logger) *Responder {
	return &Responder{ifname, log.With("interface", ifname)}
}

// Run answers until ctx ends, then returns nil. It begins when the card has a link-local address and no router has
// replied to a solicitation of ours. Without IPv6 on the card it says so once and waits.
func (r *Responder) Run(ctx context.Context) error {
	sock, err := listen(ctx, r.ifname)
	if errors.Is(err, unix.EAFNOSUPPORT) { // ipv6.disable=1
		r.log.Info(withoutIPv6, "err", err)
		<-ctx.Done()
		return nil
	}
	if err == nil {
		l := loop{log: r.log, sock: sock, began: time.Now()}
		err = l.run(ctx)
	}
	if err != nil {
		return fmt.Errorf("answer router solicitations on %s: %w", r.ifname, err)
	}
	return nil
}

const withoutIPv6 = "not answering router solicitations: no IPv6 on the card; iPXE waits 15 s for a router"

// loop is one run of a Responder, on one goroutine.
type loop struct {
	log    *slog.Logger
	sock   *socket
	pace   pace
	began  time.Time // to try to ask for routers
	told   bool      // that this fails
	asked  time.Time // zero: not yet
	silent time.Time // until when a router speaks here
	ready  bool      // to answer
}

// run owns the socket. It returns nil when ctx ends.
func (l *loop) run(ctx context.Context) error {
	defer l.sock.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = l.sock.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, 2048)
	for {
		if err := l.sock.conn.SetReadDeadline(l.step(time.Now())); err != nil {
			return err
		}
		if ctx.Err() != nil { // its deadline may just have been replaced
			return nil
		}
		packet, hop, src, err := l.sock.receive(buffer)
		if err == nil {
			l.take(time.Now(), packet, hop, src)
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// step does what is due, and returns when to look again unless a message comes; zero: not before.
func (l *loop) step(now time.Time) time.Time {
	if l.asked.IsZero() {
		err := l.sock.send(message(typeSolicitation, solicitationLen, l.sock.nic.HardwareAddr), allRouters)
		switch {
		case err == nil:
			l.asked, l.told = now, false
		case now.Sub(l.began) < patience:
			return now.Add(retrySoon)
		default:
			if !l.told {
				l.told = true
				l.log.Info(withoutIPv6, "err", err)
			}
			return now.Add(retryLate)
		}
	}
	if begin := later(l.asked.Add(askTime), l.silent); now.Before(begin) {
		return begin
	}
	if !l.ready {
		l.ready = true
		l.log.Info("answering router solicitations: no IPv6 router here")
	}
	return time.Time{}
}

// take handles a message.
func (l *loop) take(now time.Time, packet []byte, hop int, src netip.Addr) {
	if lasts := claims(packet, hop, src); lasts > 0 {
		if l.ready || l.silent.IsZero() {
			l.log.Info("not answering router solicitations: there is an IPv6 router", "router", src)
		}
		l.ready, l.silent = false, later(l.silent, now.Add(lasts))
		return
	}
	if !l.ready {
		return
	}
	reply, ok := Answer(packet, hop, src, l.sock.nic.HardwareAddr)
	if !ok {
		return
	}
	dst := src
	if !src.IsLinkLocalUnicast() {
		dst = allNodes // src is unspecified, or of a network whose route we may not have
	}
	if !l.pace.allows(now, dst == allNodes) {
		return
	}
	err := l.sock.send(reply, dst)
	if err != nil {
		l.log.Debug("router advertisement", "to", dst, "err", err)
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.ENETDOWN) {
		// The link went, and our address with it. It may come back in a network with a router.
		l.ready, l.began, l.asked = false, now, time.Time{}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
