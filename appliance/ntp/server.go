package ntp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Port is the one that clients know.
const Port = 123

// Config describes the service.
type Config struct {
	// Listen are this head's addresses, not the one that stands for all: an answer has to come from where the question
	// went, or the client drops it.
	Listen []netip.AddrPort
	Log    *slog.Logger
	Now    func() time.Time       // nil: time.Now
	Status func(time.Time) Status // nil: the kernel's word
}

// Server tells the time.
type Server struct {
	cfg  Config
	pace *pace

	mu     sync.Mutex
	status Status
	until  time.Time // when the status is asked for again
}

// New checks the configuration and names all that is wrong with it.
func New(c Config) (*Server, error) {
	var errs []error
	if len(c.Listen) == 0 {
		errs = append(errs, errors.New("ntp: no address to listen on"))
	}
	for _, a := range c.Listen {
		if !a.IsValid() || a.Addr().IsUnspecified() {
			errs = append(errs, fmt.Errorf("ntp: address %v: want one of this machine, ADDRESS:PORT", a))
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Status == nil {
		c.Status = kernelStatus
	}
	return &Server{cfg: c, pace: newPace()}, errors.Join(errs...)
}

// Run listens and serves until ctx ends, and returns nil then.
func (s *Server) Run(ctx context.Context) error {
	var conns []*net.UDPConn
	for _, a := range s.cfg.Listen {
		conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", a.String())
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return fmt.Errorf("ntp: %w", err)
		}
		conns = append(conns, conn.(*net.UDPConn))
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, conn := range conns {
		g.Go(func() error { return s.serve(ctx, conn) })
	}
	return g.Wait()
}

// serve answers on one socket and closes it.
func (s *Server) serve(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	buffer := make([]byte, 2*Size) // extensions and keys are not read
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		received := s.cfg.Now()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ntp: %w", err)
		}
		if !s.pace.allows(from.Addr(), received) {
			continue
		}
		answer, ok := Answer(buffer[:n], s.clock(received), received, s.cfg.Now())
		if !ok {
			continue
		}
		if _, err := conn.WriteToUDPAddrPort(answer[:], from); err != nil && ctx.Err() == nil {
			s.cfg.Log.Debug("ntp answer", "to", from, "err", err)
		}
	}
}

// clock is the status, not older than statusTime.
func (s *Server) clock(now time.Time) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.until) || now.Before(s.status.Set) { // the latter: the clock was set back
		s.status, s.until = s.cfg.Status(now), now.Add(statusTime)
	}
	return s.status
}
