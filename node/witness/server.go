package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Config is what a server must know.
type Config struct {
	Listen  netip.AddrPort
	Cluster string // its name
	Key     []byte // HMAC-SHA256 key of the cluster
	Longest time.Duration
	Margin  time.Duration
	Now     func() time.Duration // monotonic; nil: since New
	Log     *slog.Logger         // nil: none
	// Heard is called with each ask that was made with the key, when it is answered; nil: nobody cares. It must not block.
	Heard func(Ask)
}

// Server is a vote that can be asked over the network, and by this process. Its life begins with New, not with Run: how
// long it abstains counts from there.
type Server struct {
	config Config
	conn   *net.UDPConn

	mu     sync.Mutex
	voter  *Voter
	forged uint64
}

// New binds the port. Whoever does not call Run must call Close.
func New(c Config) (*Server, error) {
	switch {
	case len(c.Key) < 16:
		return nil, fmt.Errorf("witness: the key has %d bytes, want 16 or more", len(c.Key))
	case c.Longest <= 0 || c.Margin < 0:
		return nil, fmt.Errorf("witness: leases of %v with a margin of %v", c.Longest, c.Margin)
	}
	if c.Now == nil {
		zero := time.Now()
		c.Now = func() time.Duration { return time.Since(zero) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(c.Listen))
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	v := NewVoter(VoterConfig{Cluster: Hash(c.Cluster), Boot: rand.Uint64() | 1, Longest: c.Longest, Margin: c.Margin}, c.Now())
	return &Server{config: c, conn: conn, voter: v}, nil
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Close frees the port.
func (s *Server) Close() error { return s.conn.Close() }

// Ask asks the vote from within this process.
func (s *Server) Ask(a Ask) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.voter.Answer(a, s.config.Now())
}

// SetRoster sets what is answered about this head's list of voters.
func (s *Server) SetRoster(version uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.voter.SetRoster(version)
}

// Forged is how many messages came in that were not made with the cluster's key.
func (s *Server) Forged() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forged
}

// Run answers until ctx is done, then closes the port.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	defer s.conn.Close()
	var in [AskLen + 1]byte // a longer message does not fit, and is refused for its length
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(in[:])
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("witness: %w", err)
		case err != nil:
			// An ICMP error for an earlier answer; the next read says what is true now.
			s.config.Log.Debug("votes", "error", err)
			continue
		}
		a, err := ParseAsk(in[:n], s.config.Key)
		if err != nil {
			s.drop(from, err)
			continue
		}
		out := s.Ask(a)
		if _, err := s.conn.WriteToUDPAddrPort(out.Append(nil, s.config.Key), from); err != nil && ctx.Err() == nil {
			s.config.Log.Debug("answer", "to", from, "error", err) // a lost answer is asked for again
		}
		if s.config.Heard != nil {
			s.config.Heard(a)
		}
	}
}

// drop counts what is not answered, so that nobody learns from us what a right message looks like.
func (s *Server) drop(from netip.AddrPort, err error) {
	s.mu.Lock()
	s.forged++
	first := s.forged == 1
	s.mu.Unlock()
	if first {
		s.config.Log.Warn("an ask for a vote was not made with the cluster's key", "from", from, "error", err)
	}
}
